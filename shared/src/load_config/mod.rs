//! The load config: overrides of a load, in Hugging Face's field names (`load_config_json`).
//!
//! Every key is honoured, said to be without effect here, or refused by name; none is dropped.

mod error;
mod knobs;

pub use error::LoadConfigError;
pub use knobs::{Effect, KNOBS, Knob};

use serde_json::{Map, Value};

use crate::config::{Fields, ModelConfig};
use crate::dtype::DType;
use crate::estimate::activations::Attention;
use crate::units::parse_size;

/// Overrides of one load, parsed; `None` leaves the choice to the defaults.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LoadConfig {
    /// Format to hold weights in.
    pub dtype: Option<DType>,
    /// Whether tensors stream to their device one at a time.
    pub low_cpu_mem_usage: Option<bool>,
    /// How attention is computed.
    pub attention: Option<Attention>,
    /// Where the layers go: `auto`, `cpu`, `cuda:0`; a map of modules that all name one device is that device.
    pub device: Option<String>,
    /// Budget of host memory in bytes.
    pub max_host_memory: Option<u64>,
    /// Whether the tokenizer puts the bos id first.
    pub add_bos_token: Option<bool>,
    /// Template that takes the place of the tokenizer's.
    pub chat_template: Option<String>,
    /// `rope_scaling`, raw; the inner `None` takes scaling away.
    pub rope_scaling: Option<Option<Value>>,
    /// `sliding_window`; the inner `None` takes the window away.
    pub sliding_window: Option<Option<u64>>,
}

impl LoadConfig {
    /// Parses an object of overrides.
    ///
    /// # Errors
    /// Not JSON, an unknown key (with the nearest known one), a bad value (with its path), or a knob that this
    /// build has no meaning for.
    pub fn parse(json: &[u8]) -> Result<Self, LoadConfigError> {
        Self::from_map(Fields::parse(json).map_err(LoadConfigError::Json)?.map())
    }

    /// Reads a parsed object of overrides.
    ///
    /// # Errors
    /// As [`LoadConfig::parse`], but for JSON.
    pub fn from_map(map: &Map<String, Value>) -> Result<Self, LoadConfigError> {
        let mut config = Self::default();
        for (key, value) in map {
            let knob =
                KNOBS.iter().find(|knob| knob.key == key).ok_or_else(|| LoadConfigError::unknown(key))?;
            if let Effect::Refused(reason) = knob.effect
                && !value.is_null()
                && *value != Value::Bool(false)
            {
                return Err(LoadConfigError::refused(key, reason));
            }
            config.set(key, value)?;
        }
        Ok(config)
    }

    fn set(&mut self, key: &str, value: &Value) -> Result<(), LoadConfigError> {
        let invalid = |expected: &str| LoadConfigError::invalid(key, value, expected);
        let flag = || value.as_bool().ok_or_else(|| invalid("true or false"));
        match key {
            "rope_scaling" => self.rope_scaling = Some((!value.is_null()).then(|| value.clone())),
            "sliding_window" => {
                let window = value.as_u64().filter(|window| *window > 0);
                if window.is_none() && !value.is_null() {
                    return Err(invalid("a whole number above 0, or null"));
                }
                self.sliding_window = Some(window);
            }
            // For every other knob null means the default, as it does for Hugging Face.
            _ if value.is_null() => {}
            "torch_dtype" | "dtype" => {
                let name = value.as_str().ok_or_else(|| invalid("a dtype's name"))?;
                if name != "auto" {
                    let dtype =
                        name.parse::<DType>().ok().filter(|d| DType::is_float(*d) && *d != DType::F64);
                    let dtype = dtype.ok_or_else(|| invalid("float32, bfloat16, float16 or auto"))?;
                    if self.dtype.is_some_and(|other| other != dtype) {
                        return Err(invalid("the same as the other spelling of dtype"));
                    }
                    self.dtype = Some(dtype);
                }
            }
            "low_cpu_mem_usage" => self.low_cpu_mem_usage = Some(flag()?),
            "attn_implementation" => {
                self.attention = Some(match value.as_str() {
                    Some("eager") => Attention::Eager,
                    Some("fused" | "sdpa" | "flash_attention_2") => Attention::Fused,
                    _ => return Err(invalid("eager, or fused (also sdpa, flash_attention_2)")),
                });
            }
            "device_map" => self.device = Some(device(key, value)?),
            "max_memory" => self.max_host_memory = host_budget(value)?,
            "add_bos_token" => self.add_bos_token = Some(flag()?),
            "chat_template" => {
                let template = value.as_str().ok_or_else(|| invalid("a template's text"))?;
                self.chat_template = Some(template.to_owned());
            }
            "use_cache" | "use_fast" if !flag()? => {
                let reason = if key == "use_cache" {
                    "generation always keeps keys and values"
                } else {
                    "only tokenizer.json (the fast tokenizer) is read"
                };
                return Err(LoadConfigError::refused(key, reason));
            }
            "trust_remote_code" => {
                flag()?;
            }
            _ => {}
        }
        Ok(())
    }

    /// The model as this load sees it: the config with its overrides, validated as a whole.
    ///
    /// # Errors
    /// A config that is refused, with or without the overrides.
    pub fn apply(&self, fields: &Fields) -> Result<ModelConfig, crate::config::ConfigError> {
        ModelConfig::from_fields(&self.overridden(fields))
    }

    /// The keys of a config with the overrides in their place, not judged.
    #[must_use]
    pub fn overridden(&self, fields: &Fields) -> Fields {
        let mut map = fields.map().clone();
        if let Some(scaling) = &self.rope_scaling {
            // The new spelling carries more than scaling: what else it holds moves back to the old keys.
            if let Some(Value::Object(parameters)) = map.shift_remove("rope_parameters") {
                for key in ["rope_theta", "partial_rotary_factor"] {
                    if let Some(value) = parameters.get(key) {
                        map.insert(key.to_owned(), value.clone());
                    }
                }
            }
            map.insert("rope_scaling".to_owned(), scaling.clone().unwrap_or(Value::Null));
        }
        if let Some(window) = self.sliding_window {
            map.insert("sliding_window".to_owned(), window.into());
        }
        Fields::from_map(map)
    }
}

/// The one device that a `device_map` names.
fn device(key: &str, value: &Value) -> Result<String, LoadConfigError> {
    let expected = "auto, cpu, cuda:0, or a map of module names that all name one device";
    let invalid = || LoadConfigError::invalid(key, value, expected);
    match value {
        Value::String(name) => Ok(match name.as_str() {
            "balanced" | "balanced_low_0" | "sequential" => "auto".to_owned(),
            other => other.to_owned(),
        }),
        Value::Object(map) => {
            let name = |device: &Value| match device {
                Value::String(name) => Some(name.clone()),
                Value::Number(index) => index.as_u64().map(|index| format!("cuda:{index}")),
                _ => None,
            };
            let mut names = map.values().map(|device| name(device).ok_or_else(invalid));
            let first = names.next().ok_or_else(invalid)??;
            for other in names {
                if other? != first {
                    let reason = "layers on more than one device are not in this build; name one device";
                    return Err(LoadConfigError::refused(key, reason));
                }
            }
            Ok(first)
        }
        _ => Err(invalid()),
    }
}

/// The host's budget; budgets of devices that are not here have nothing to bind.
fn host_budget(value: &Value) -> Result<Option<u64>, LoadConfigError> {
    let path = |device: &str| format!("max_memory.{device}");
    let map = value.as_object().ok_or_else(|| {
        LoadConfigError::invalid("max_memory", value, r#"a map of devices to sizes: {"cpu": "8GiB"}"#)
    })?;
    let mut host = None;
    for (device, size) in map {
        let bytes = match size {
            Value::Number(number) => number.as_u64(),
            Value::String(text) => Some(parse_size(text).map_err(|error| LoadConfigError::Invalid {
                path: path(device),
                found: size.to_string(),
                expected: error.to_string(),
            })?),
            _ => None,
        };
        let bytes = bytes
            .ok_or_else(|| LoadConfigError::invalid(&path(device), size, "bytes or a size such as 8GiB"))?;
        match device.as_str() {
            "cpu" => host = Some(bytes),
            index if index.parse::<u16>().is_ok() => {}
            _ => {
                let found = Value::String(device.clone());
                return Err(LoadConfigError::invalid("max_memory", &found, "cpu or the index of a GPU"));
            }
        }
    }
    Ok(host)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::RopeScaling;

    fn parse(json: &str) -> Result<LoadConfig, LoadConfigError> {
        LoadConfig::parse(json.as_bytes())
    }

    #[test]
    fn the_seed_guide_examples_are_understood() {
        assert_eq!(parse(r#"{"low_cpu_mem_usage": true}"#).map(|c| c.low_cpu_mem_usage), Ok(Some(true)));
        let budget = parse(r#"{"max_memory": {"0": "12GiB", "cpu": "32GiB"}}"#).expect("a budget");
        assert_eq!(budget.max_host_memory, Some(32 << 30));
        assert_eq!(parse(r#"{"torch_dtype": "float16"}"#).map(|c| c.dtype), Ok(Some(DType::F16)));
        let device = |json| parse(json).expect("a device").device.expect("named");
        assert_eq!(device(r#"{"device_map": {"": "cuda:0"}}"#), "cuda:0");
        assert_eq!(device(r#"{"device_map": "sequential"}"#), "auto");
        assert_eq!(device(r#"{"device_map": {"model.embed_tokens": 0, "model.layers": 0}}"#), "cuda:0");
    }

    #[test]
    fn nothing_is_dropped() {
        let error = |json: &str| parse(json).expect_err(json).to_string();
        assert!(error(r#"{"slidingwindow": 5}"#).contains("`sliding_window`"));
        assert!(error(r#"{"low_cpu_mem_usage": 1}"#).contains("true or false"));
        assert!(error(r#"{"max_memory": {"cpu": "32G"}}"#).contains("max_memory.cpu"));
        assert!(error(r#"{"load_in_8bit": true}"#).contains("load_in_8bit"));
        assert!(error(r#"{"use_cache": false}"#).contains("use_cache"));
        assert!(error(r#"{"use_fast": false}"#).contains("tokenizer.json"));
        assert!(error(r#"{"dtype": "bf16", "torch_dtype": "f16"}"#).contains("spelling"));
        assert!(error(r#"{"device_map": {"a": "cpu", "b": "cuda:0"}}"#).contains("more than one device"));
        assert!(parse(r#"{"load_in_8bit": false, "quantization_config": null}"#).is_ok());
    }

    #[test]
    fn overrides_reach_the_model() {
        let fields = Fields::parse(
            br#"{"model_type":"phi3","sliding_window":2047,"rope_parameters":{"rope_type":"default","rope_theta":5e5}}"#,
        )
        .expect("an object");
        let config = parse(r#"{"rope_scaling": {"type": "linear", "factor": 2.0}, "sliding_window": null}"#)
            .expect("known knobs")
            .apply(&fields)
            .expect("a valid model");
        assert_eq!(config.rope_scaling, RopeScaling::Linear { factor: 2.0 });
        assert_eq!((config.sliding_window, config.rope_theta), (None, 5e5));
        assert_eq!(LoadConfig::default().apply(&fields), ModelConfig::from_fields(&fields));
    }
}
