//! Quantization on load: one format out of `quantization`, `load_in_8bit`, `load_in_4bit` and
//! `quantization_config`, which must agree.

use serde_json::{Map, Value};

use super::LoadConfigError;
use crate::dtype::DType;

/// What weights are quantized to while they are loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Quantization {
    /// Nothing is quantized.
    Off,
    /// 8 bit: blocks of 32 with one scale. Stands for Hugging Face's `load_in_8bit`.
    Q8_0,
    /// 4 bit: blocks of 32 with one scale. Stands for Hugging Face's `load_in_4bit`.
    Q4_0,
}

impl Quantization {
    pub(super) const EXPECTED: &str = "q8_0 (8 bit), q4_0 (4 bit) or none";

    pub(super) fn parse(value: &Value) -> Option<Self> {
        match value.as_str()? {
            "none" => Some(Self::Off),
            "q8_0" | "8bit" => Some(Self::Q8_0),
            "q4_0" | "4bit" => Some(Self::Q4_0),
            _ => None,
        }
    }

    /// The name in a load config.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "none",
            Self::Q8_0 => "q8_0",
            Self::Q4_0 => "q4_0",
        }
    }

    /// The format, where there is one.
    #[must_use]
    pub fn dtype(self) -> Option<DType> {
        match self {
            Self::Off => None,
            Self::Q8_0 => Some(DType::Q8_0),
            Self::Q4_0 => Some(DType::Q4_0),
        }
    }
}

/// bitsandbytes' settings beside the number of bits. They steer Hugging Face; our formats have none of them.
const DETAILS: [&str; 8] = [
    "llm_int8_threshold",
    "llm_int8_skip_modules",
    "llm_int8_enable_fp32_cpu_offload",
    "llm_int8_has_fp16_weight",
    "bnb_4bit_compute_dtype",
    "bnb_4bit_quant_type",
    "bnb_4bit_use_double_quant",
    "bnb_4bit_quant_storage",
];

/// Reads a `quantization_config`: its format, where it names one, and its other settings.
pub(super) fn parse_config(
    key: &str,
    value: &Value,
    errors: &mut Vec<LoadConfigError>,
) -> (Option<Quantization>, Map<String, Value>) {
    let Some(map) = value.as_object() else {
        errors.push(LoadConfigError::invalid(key, value, r#"an object: {"load_in_8bit": true}"#));
        return (None, Map::new());
    };
    let mut flags = [None; 2];
    let mut details = Map::new();
    for (name, value) in map {
        let path = format!("{key}.{name}");
        match name.trim_start_matches('_') {
            // transformers writes its own configs with a leading underscore too, saying the same twice.
            bits @ ("load_in_8bit" | "load_in_4bit") => match value.as_bool() {
                Some(flag) => {
                    let slot = &mut flags[usize::from(bits == "load_in_4bit")];
                    *slot = Some(slot.unwrap_or(false) || flag);
                }
                None => errors.push(LoadConfigError::invalid(&path, value, "true or false")),
            },
            "quant_method" => match value.as_str() {
                Some("bitsandbytes") => {}
                Some(_) => {
                    let reason = format!(
                        "{value} describes weights that are already quantized; on load there is bitsandbytes only"
                    );
                    errors.push(LoadConfigError::refused(&path, &reason));
                }
                None => errors.push(LoadConfigError::invalid(&path, value, "bitsandbytes")),
            },
            detail if DETAILS.contains(&detail) => {
                let dtype = if detail.ends_with("dtype") || detail.ends_with("storage") {
                    value.as_str().and_then(|name| name.parse().ok()).and_then(super::torch_name)
                } else {
                    None
                };
                let value = dtype.map_or_else(|| value.clone(), Value::from);
                if !value.is_null() {
                    details.insert(detail.to_owned(), value);
                }
            }
            _ => {
                let known = DETAILS.into_iter().chain(["load_in_8bit", "load_in_4bit", "quant_method"]);
                errors.push(LoadConfigError::unknown_among(&path, name, known));
            }
        }
    }
    let format = match flags {
        [Some(true), Some(true)] => {
            errors.push(LoadConfigError::contradiction(key, "asks for 8 bit and for 4 bit; choose one"));
            None
        }
        [Some(true), _] => Some(Quantization::Q8_0),
        [_, Some(true)] => Some(Quantization::Q4_0),
        [None, None] => None,
        _ => Some(Quantization::Off),
    };
    (format, details)
}
