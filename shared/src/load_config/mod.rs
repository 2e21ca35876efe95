//! The load config: overrides of a load, in Hugging Face's field names (`load_config_json`).
//!
//! Every key is a [`Knob`]: understood, sized and compared here, and honoured, without effect or refused by name
//! when a model is loaded ([`LoadConfig::refusals`]). None is dropped.
//!
//! Null is a value for `rope_scaling` and `sliding_window` (it takes them away from the model); for every other
//! knob it means the built-in default, as it does for Hugging Face.

mod error;
mod knobs;
mod device_map;
mod budget;
mod rope;
mod quantization;
mod write;
mod layers;
mod diff;
mod estimate;
mod preview;
mod outcome;
mod next;

pub use budget::{Budgets, budget_key};
pub use diff::{Change, TooManyChanges, diff, one_change, shown};
pub use error::LoadConfigError;
pub use estimate::{EstimateError, Estimated, estimate};
pub use knobs::{Effect, KNOBS, Kind, Knob};
pub use layers::{Layer, LayerError, Leaf, Origin, Resolved, leaves, resolve};
pub use next::{Facts, Proposal, Scope, advice, next_changes};
pub use outcome::OutcomeClass;
pub use preview::{Preview, PreviewError, Subject, TermChange, preview, preview_candidates, term_changes};
pub use quantization::Quantization;

use serde_json::{Map, Value};

use crate::config::{ConfigError, Fields, ModelConfig, limits};
use crate::dtype::DType;
use crate::estimate::Options;
use crate::estimate::activations::Attention;
use crate::placement::{DeviceId, Strategy};
use crate::units::format_count;

/// Overrides of one load, parsed; `None` leaves the choice to the defaults.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LoadConfig {
    /// Format to hold weights in.
    pub dtype: Option<DType>,
    /// What to quantize weights to.
    pub quantization: Option<Quantization>,
    /// bitsandbytes' settings beside the number of bits.
    pub quantization_config: Map<String, Value>,
    /// Whether tensors stream to their device one at a time.
    pub low_cpu_mem_usage: Option<bool>,
    /// How attention is computed.
    pub attention: Option<Attention>,
    /// Whether fused attention is asked for by the name of one kernel, `flash_attention_2`: to our engines it is any
    /// fused one, to transformers it is not.
    pub is_flash: bool,
    /// Where the layers go.
    pub device_map: Option<Strategy>,
    /// Budget of each device in bytes.
    pub max_memory: Budgets,
    /// Folder for layers that fit no device.
    pub offload_folder: Option<String>,
    /// Whether keys and values are kept.
    pub use_cache: Option<bool>,
    /// Whether repository code may run; it never does.
    pub trust_remote_code: Option<bool>,
    /// Revision on the Hub.
    pub revision: Option<String>,
    /// Folder of downloaded files.
    pub cache_dir: Option<String>,
    /// Whether the tokenizer is the fast one.
    pub use_fast: Option<bool>,
    /// Whether the tokenizer puts the bos id first.
    pub add_bos_token: Option<bool>,
    /// Whether a Llama tokenizer splits the old way.
    pub legacy: Option<bool>,
    /// Template that takes the place of the tokenizer's.
    pub chat_template: Option<String>,
    /// `rope_scaling`; the inner `None` takes scaling away.
    pub rope_scaling: Option<Option<Map<String, Value>>>,
    /// `sliding_window`; the inner `None` takes the window away.
    pub sliding_window: Option<Option<u64>>,
}

/// What the four keys of quantization say, before they are held against each other.
#[derive(Default)]
struct Bits {
    /// Formats asked for, each with the key that does so.
    asked: Vec<(String, Quantization)>,
    /// Formats that a `false` excludes.
    excluded: Vec<(&'static str, Quantization)>,
}

impl LoadConfig {
    /// Parses an object of overrides.
    ///
    /// # Errors
    /// Not JSON, an unknown key (with the nearest known one), or a bad value (with its path): the first of them.
    pub fn parse(json: &[u8]) -> Result<Self, LoadConfigError> {
        Self::from_map(Fields::parse(json).map_err(LoadConfigError::Json)?.map())
    }

    /// Reads a parsed object of overrides.
    ///
    /// # Errors
    /// As [`LoadConfig::parse`], but for JSON.
    pub fn from_map(map: &Map<String, Value>) -> Result<Self, LoadConfigError> {
        Self::from_map_all(map).map_err(|mut errors| errors.swap_remove(0))
    }

    /// Reads a parsed object of overrides and names everything that is wrong with it.
    ///
    /// # Errors
    /// At least one error, in the object's order; contradictions between keys come last.
    pub fn from_map_all(map: &Map<String, Value>) -> Result<Self, Vec<LoadConfigError>> {
        let mut config = Self::default();
        let mut bits = Bits::default();
        let mut errors = Vec::new();
        for (key, value) in map {
            if let Some((_, reason)) = knobs::REFUSED_KEYS.iter().find(|(refused, _)| refused == key) {
                errors.push(LoadConfigError::refused(key, reason));
            } else if let Some(knob) = Knob::find(key) {
                config.set(knob.key, key, value, &mut bits, &mut errors);
            } else {
                errors.push(LoadConfigError::unknown(key));
            }
        }
        config.settle_quantization(&bits, &mut errors);
        if errors.is_empty() { Ok(config) } else { Err(errors) }
    }

    /// Sets the knob `knob` from the value of `key`, which is how it was spelt.
    fn set(
        &mut self,
        knob: &str,
        key: &str,
        value: &Value,
        bits: &mut Bits,
        errors: &mut Vec<LoadConfigError>,
    ) {
        let null_is_a_value = ["rope_scaling", "sliding_window"].contains(&knob);
        if value.is_null() && !null_is_a_value {
            return;
        }
        match knob {
            "dtype" => {
                let dtype = read_dtype(key, value).and_then(|dtype| match (self.dtype, dtype) {
                    (Some(one), Some(other)) if one != other => Err(LoadConfigError::contradiction(
                        key,
                        format!("is {other}, but the other spelling of dtype says {one}"),
                    )),
                    _ => Ok(dtype.or(self.dtype)),
                });
                keep(&mut self.dtype, dtype, errors);
            }
            "quantization" => match Quantization::parse(value) {
                Some(format) => bits.asked.push((key.to_owned(), format)),
                None => errors.push(LoadConfigError::invalid(key, value, Quantization::EXPECTED)),
            },
            "load_in_8bit" | "load_in_4bit" => {
                let (name, format) = match knob {
                    "load_in_8bit" => ("load_in_8bit", Quantization::Q8_0),
                    _ => ("load_in_4bit", Quantization::Q4_0),
                };
                match flag(key, value) {
                    Ok(Some(true)) => bits.asked.push((key.to_owned(), format)),
                    Ok(_) => bits.excluded.push((name, format)),
                    Err(error) => errors.push(error),
                }
            }
            "quantization_config" => {
                let (format, details) = quantization::parse_config(key, value, errors);
                bits.asked.extend(format.map(|format| (key.to_owned(), format)));
                self.quantization_config = details;
            }
            "device_map" => self.device_map = device_map::parse(key, value, errors),
            "max_memory" => self.max_memory = budget::parse(key, value, errors).unwrap_or_default(),
            "attn_implementation" => match value.as_str() {
                Some("eager") => self.attention = Some(Attention::Eager),
                Some(name @ ("fused" | "sdpa" | "flash_attention_2")) => {
                    self.attention = Some(Attention::Fused);
                    self.is_flash = name == "flash_attention_2";
                }
                _ => {
                    let expected = "eager, or fused (also sdpa, flash_attention_2)";
                    errors.push(LoadConfigError::invalid(key, value, expected));
                }
            },
            "rope_scaling" => {
                let scaling = rope::parse(key, value, errors);
                match (&self.rope_scaling, scaling) {
                    (Some(one), Some(other)) if *one != other => {
                        let rule = "differs from the other spelling of rope_scaling; keep one";
                        errors.push(LoadConfigError::contradiction(key, rule));
                    }
                    (_, Some(scaling)) => self.rope_scaling = Some(scaling),
                    (_, None) => {}
                }
            }
            "sliding_window" => match whole(value).filter(|n| (1..=limits::POSITIONS as u64).contains(n)) {
                None if !value.is_null() => {
                    let most = format_count(limits::POSITIONS as u64);
                    let expected = format!("a whole number from 1 to {most}, or null");
                    errors.push(LoadConfigError::invalid(key, value, expected));
                }
                window => self.sliding_window = Some(window),
            },
            "low_cpu_mem_usage" => keep(&mut self.low_cpu_mem_usage, flag(key, value), errors),
            "use_cache" => keep(&mut self.use_cache, flag(key, value), errors),
            "trust_remote_code" => keep(&mut self.trust_remote_code, flag(key, value), errors),
            "use_fast" => keep(&mut self.use_fast, flag(key, value), errors),
            "add_bos_token" => keep(&mut self.add_bos_token, flag(key, value), errors),
            "legacy" => keep(&mut self.legacy, flag(key, value), errors),
            "offload_folder" => keep(&mut self.offload_folder, text(key, value), errors),
            "revision" => keep(&mut self.revision, text(key, value), errors),
            "cache_dir" => keep(&mut self.cache_dir, text(key, value), errors),
            "chat_template" => keep(&mut self.chat_template, text(key, value), errors),
            // `Knob::find` gives no other key; a test goes through all of them.
            _ => errors.push(LoadConfigError::unknown(key)),
        }
    }

    fn settle_quantization(&mut self, bits: &Bits, errors: &mut Vec<LoadConfigError>) {
        let Some((first, format)) = bits.asked.first() else {
            self.quantization = (!bits.excluded.is_empty()).then_some(Quantization::Off);
            return;
        };
        for (key, other) in bits.asked.iter().skip(1).filter(|(_, other)| other != format) {
            let rule = format!("asks for {}, but `{first}` asks for {}", other.name(), format.name());
            errors.push(LoadConfigError::contradiction(key, rule));
        }
        if let Some((key, _)) = bits.excluded.iter().find(|(_, excluded)| excluded == format) {
            let rule = format!("is false, but `{first}` asks for {}", format.name());
            errors.push(LoadConfigError::contradiction(key, rule));
        }
        self.quantization = Some(*format);
    }

    /// The same with one knob, or one entry of a map (`max_memory.0`), set to `value`; null takes it out.
    ///
    /// # Errors
    /// Everything that is wrong with the key or the value.
    pub fn with(&self, key: &str, value: &Value) -> Result<Self, Vec<LoadConfigError>> {
        let mut map = self.to_map();
        let (name, entry) = match key.split_once('.') {
            Some((name, entry)) if Knob::find(key).is_none() => (name, Some(entry)),
            _ => (key, None),
        };
        let Some(knob) = Knob::find(name) else { return Err(vec![LoadConfigError::unknown(name)]) };
        let before = map.shift_remove(knob.states);
        let value = match (entry, before) {
            (None, _) => value.clone(),
            (Some(entry), before) => {
                let mut entries = match before {
                    Some(Value::Object(entries)) => entries,
                    _ => Map::new(),
                };
                match value {
                    Value::Null => entries.shift_remove(entry),
                    _ => entries.insert(entry.to_owned(), value.clone()),
                };
                if entries.is_empty() { Value::Null } else { Value::Object(entries) }
            }
        };
        map.insert(name.to_owned(), value);
        Self::from_map_all(&map)
    }

    /// What this build's engine cannot do of it: why a load with it is refused, although its size is known.
    #[must_use]
    pub fn refusals(&self) -> Vec<LoadConfigError> {
        let mut refused = Vec::new();
        for knob in &KNOBS {
            let (Effect::Refused(reason) | Effect::EstimateOnly(reason)) = knob.effect else { continue };
            let asked = match knob.key {
                "quantization_config" => !self.quantization_config.is_empty(),
                "offload_folder" => self.offload_folder.is_some(),
                "use_fast" => self.use_fast == Some(false),
                "legacy" => self.legacy == Some(true),
                _ => false,
            };
            if asked {
                refused.push(LoadConfigError::refused(knob.key, reason));
            }
        }
        let kind = self.rope_scaling.iter().flatten().find_map(|map| map.get("rope_type")?.as_str());
        if let Some(kind @ ("dynamic" | "llama3")) = kind {
            let reason =
                format!("{kind} is sized for other families; no phi3 model was trained with it: use linear");
            refused.push(LoadConfigError::refused("rope_scaling", &reason));
        }
        refused
    }

    /// What of it the CPU engine refuses although other devices have it.
    #[must_use]
    pub fn refusals_on_cpu(&self) -> Vec<LoadConfigError> {
        let mut refused = Vec::new();
        if let Ok(Some(device)) = self.single_device()
            && device != "auto"
            && !device.starts_with("cpu")
        {
            let reason = format!(
                "{device} takes a worker that drives it, on a machine that has it; the CPU worker runs cpu"
            );
            refused.push(LoadConfigError::refused("device_map", &reason));
        }
        refused
    }

    /// Every device that `device_map` names, each once, in order; none where the loader chooses.
    #[must_use]
    pub fn devices(&self) -> Vec<&DeviceId> {
        self.device_map.as_ref().map(device_map::devices).unwrap_or_default()
    }

    /// The one device that all layers go to, `auto` where the loader chooses; `None` where nothing is said.
    ///
    /// # Errors
    /// Layers on several devices.
    pub fn single_device(&self) -> Result<Option<String>, LoadConfigError> {
        let Some(map) = &self.device_map else { return Ok(None) };
        match device_map::devices(map).as_slice() {
            [] => Ok(Some("auto".to_owned())),
            [device] => Ok(Some(device.to_string())),
            _ => {
                let reason = "layers are on more than one device, where one is asked for";
                Err(LoadConfigError::refused("device_map", reason))
            }
        }
    }

    /// Options of an estimate with this load config below them.
    #[must_use]
    pub fn options(&self, above: &Options) -> Options {
        let quantized = self.quantization.and_then(Quantization::dtype);
        // What is multiplied, and so kept in the cache, stays a float where weights are quantized.
        let kv_dtype = if quantized.is_some() && above.dtype.is_none() { self.dtype } else { None };
        // A GPU that is named says more than that it is `cuda:0`.
        let device = match &self.device_map {
            Some(Strategy::Single(device)) => Some(device),
            // By several names to one place.
            Some(Strategy::Explicit(map)) => map.first().map(|(_, device)| device),
            _ => None,
        };
        let is_alone = |device: &&DeviceId| match &self.device_map {
            Some(Strategy::Explicit(map)) => map.iter().all(|(_, other)| other == *device),
            _ => true,
        };
        let device = device.filter(|_| above.device.is_none()).filter(is_alone);
        let backend = device.map(DeviceId::backend);
        Options {
            dtype: above.dtype.or(quantized.or(self.dtype).map(Into::into)),
            kv_dtype: above.kv_dtype.or(kv_dtype),
            attn: above.attn.or(self.attention),
            backend: above.backend.or(backend),
            ..above.clone()
        }
    }

    /// The model as this load sees it: the config with its overrides, validated as a whole.
    ///
    /// # Errors
    /// A config that is refused, with or without the overrides.
    pub fn apply(&self, fields: &Fields) -> Result<ModelConfig, ConfigError> {
        ModelConfig::from_fields(&self.overridden(fields))
    }

    /// Positions that a model has with the overrides.
    #[must_use]
    pub fn positions(&self, config: &ModelConfig) -> u64 {
        let scaling = self.rope_scaling.as_ref().and_then(Option::as_ref);
        let stretched =
            scaling.and_then(|scaling| stretched(scaling, config.original_max_position_embeddings as u64));
        stretched.unwrap_or(config.max_position_embeddings as u64)
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
            let trained = ["original_max_position_embeddings", "max_position_embeddings"];
            let trained = trained.iter().find_map(|key| map.get(*key)?.as_u64());
            let stretched = |trained| scaling.as_ref().and_then(|scaling| stretched(scaling, trained));
            if let Some(positions) = trained.and_then(stretched) {
                map.insert("max_position_embeddings".to_owned(), positions.into());
            }
            let scaling = scaling.clone().map_or(Value::Null, Value::Object);
            map.insert("rope_scaling".to_owned(), scaling);
        }
        if let Some(window) = self.sliding_window {
            map.insert("sliding_window".to_owned(), window.into());
        }
        Fields::from_map(map)
    }
}

/// Positions of a model whose trained ones are spread by a linear factor: longer sequences are what it is set for.
fn stretched(scaling: &Map<String, Value>, trained: u64) -> Option<u64> {
    let is_linear = scaling.get("rope_type").and_then(Value::as_str) == Some("linear");
    let factor = scaling.get("factor").and_then(Value::as_f64).filter(|_| is_linear)?;
    Some(((trained as f64 * factor) as u64).min(limits::POSITIONS as u64))
}

/// PyTorch's name of a format that a load computes in.
fn torch_name(dtype: DType) -> Option<&'static str> {
    Some(match dtype {
        DType::F32 => "float32",
        DType::Bf16 => "bfloat16",
        DType::F16 => "float16",
        _ => return None,
    })
}

/// A whole number, also where a writer has stored it as `2047.0`.
fn whole(value: &Value) -> Option<u64> {
    value.as_u64().or_else(|| {
        let float = value.as_f64()?;
        (float.fract() == 0.0 && (0.0..9e15).contains(&float)).then_some(float as u64)
    })
}

/// A dtype; `auto` is none.
fn read_dtype(key: &str, value: &Value) -> Result<Option<DType>, LoadConfigError> {
    let name = value.as_str();
    if name == Some("auto") {
        return Ok(None);
    }
    let dtype = name.and_then(|name| name.parse().ok());
    match dtype {
        Some(dtype) if torch_name(dtype).is_some() => Ok(Some(dtype)),
        Some(DType::Q8_0 | DType::Q4_0) => {
            let expected = "a float format; quantized formats go into `quantization`";
            Err(LoadConfigError::invalid(key, value, expected))
        }
        _ => Err(LoadConfigError::invalid(key, value, "float32, bfloat16, float16 or auto")),
    }
}

fn flag(key: &str, value: &Value) -> Result<Option<bool>, LoadConfigError> {
    value.as_bool().map(Some).ok_or_else(|| LoadConfigError::invalid(key, value, "true or false"))
}

fn text(key: &str, value: &Value) -> Result<Option<String>, LoadConfigError> {
    let text = value.as_str().filter(|text| !text.is_empty());
    text.map(|text| Some(text.to_owned())).ok_or_else(|| LoadConfigError::invalid(key, value, "a text"))
}

fn keep<T>(
    slot: &mut Option<T>,
    read: Result<Option<T>, LoadConfigError>,
    errors: &mut Vec<LoadConfigError>,
) {
    match read {
        Ok(value) => *slot = value,
        Err(error) => errors.push(error),
    }
}

#[cfg(test)]
mod tests;
