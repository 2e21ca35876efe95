//! Typed reading of a JSON object's fields, with errors that name the path and the value.

use serde_json::{Map, Value};

use super::ConfigError;
use super::json::{JsonLimits, parse_json};
use crate::dtype::{DType, UnknownDType};
use crate::units::format_count;

/// Largest config that is read; real ones have a few KB, those with factor lists 5 KB.
pub const MAX_CONFIG_BYTES: u64 = 1 << 20;

/// Far above any config: the largest have a factor list or a name for each of a thousand labels.
const LIMITS: JsonLimits = JsonLimits { depth: 64, values: 1 << 14, string_bytes: MAX_CONFIG_BYTES as usize };

/// A JSON object whose fields are read by name; `null` counts as absent.
#[derive(Debug, Clone)]
pub struct Fields {
    prefix: String,
    map: Map<String, Value>,
}

impl Fields {
    /// Parses a JSON object.
    ///
    /// # Errors
    /// Empty, over [`MAX_CONFIG_BYTES`], not JSON, a key that stands twice, nested deeper than 64 levels, more than
    /// 16,384 values, or no object.
    pub fn parse(bytes: &[u8]) -> Result<Self, ConfigError> {
        if bytes.iter().all(u8::is_ascii_whitespace) {
            return Err(ConfigError::Empty);
        }
        if bytes.len() as u64 > MAX_CONFIG_BYTES {
            return Err(ConfigError::TooLarge { bytes: bytes.len() as u64, limit: MAX_CONFIG_BYTES });
        }
        let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
        match parse_json(bytes, LIMITS)? {
            Value::Object(map) => Ok(Self { prefix: String::new(), map }),
            _ => Err(ConfigError::NotAnObject),
        }
    }

    /// Fields of an object that is already parsed.
    #[must_use]
    pub fn from_map(map: Map<String, Value>) -> Self {
        Self { prefix: String::new(), map }
    }

    /// With values under the names that are read, where the file has another spelling, `(other, read)`.
    ///
    /// # Errors
    /// Both spellings are there and differ.
    pub fn respelled(&self, spellings: &[(&str, &str)]) -> Result<Self, ConfigError> {
        let mut fields = self.clone();
        for (other, read) in spellings {
            let Some(value) = self.get(other) else { continue };
            if self.get(read).is_some_and(|found| found != value) {
                let rule = format!("it is another spelling of {}, and the two differ", self.path(read));
                return Err(ConfigError::Contradiction { field: self.path(other), rule });
            }
            fields.map.insert((*read).to_owned(), value.clone());
        }
        Ok(fields)
    }

    /// The whole object, in the file's order.
    #[must_use]
    pub fn map(&self) -> &Map<String, Value> {
        &self.map
    }

    /// The value of a key; `None` if absent or `null`.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    /// JSON path of a key, for messages.
    #[must_use]
    pub fn path(&self, key: &str) -> String {
        format!("{}{key}", self.prefix)
    }

    /// An error about the value of a key.
    #[must_use]
    pub fn invalid(&self, key: &str, expected: &str) -> ConfigError {
        let found = self.map.get(key).map_or_else(|| "absent".to_owned(), shorten);
        ConfigError::Invalid { field: self.path(key), found, expected: expected.to_owned() }
    }

    /// A whole number in `min..=max`.
    ///
    /// # Errors
    /// Another type, a fraction, out of range.
    pub fn count(&self, key: &str, min: usize, max: usize) -> Result<Option<usize>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let number = value.as_u64().or_else(|| {
            // Some writers store counts as `32.0`.
            let float = value.as_f64()?;
            (float.fract() == 0.0 && (0.0..9e15).contains(&float)).then_some(float as u64)
        });
        number.and_then(|n| usize::try_from(n).ok()).filter(|n| (min..=max).contains(n)).map(Some).ok_or_else(
            || self.invalid(key, &format!("a whole number from {min} to {}", format_count(max as u64))),
        )
    }

    /// A finite number in `min..=max`.
    ///
    /// # Errors
    /// Another type or out of range.
    pub fn number(&self, key: &str, min: f64, max: f64) -> Result<Option<f64>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value
            .as_f64()
            .filter(|n| n.is_finite() && (min..=max).contains(n))
            .map(Some)
            .ok_or_else(|| self.invalid(key, &format!("a number from {min} to {max}")))
    }

    /// A truth value.
    ///
    /// # Errors
    /// Another type.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_bool().map(Some).ok_or_else(|| self.invalid(key, "true or false"))
    }

    /// A text.
    ///
    /// # Errors
    /// Another type.
    pub fn text(&self, key: &str) -> Result<Option<&str>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        value.as_str().map(Some).ok_or_else(|| self.invalid(key, "a string"))
    }

    /// A token id or a list of them; empty if absent.
    ///
    /// # Errors
    /// Another type, negative, above 2^32.
    pub fn token_ids(&self, key: &str) -> Result<Vec<u32>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(Vec::new()) };
        let ids = match value {
            Value::Array(list) => list.as_slice(),
            single => std::slice::from_ref(single),
        };
        ids.iter()
            .map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok()))
            .collect::<Option<_>>()
            .ok_or_else(|| self.invalid(key, "a token id or a list of token ids"))
    }

    /// A list of finite numbers above zero.
    ///
    /// # Errors
    /// Another type, or an element that is no positive number.
    pub fn positive_numbers(&self, key: &str) -> Result<Option<Vec<f64>>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let positive = |v: &Value| v.as_f64().filter(|n| n.is_finite() && *n > 0.0);
        value
            .as_array()
            .and_then(|list| list.iter().map(positive).collect::<Option<Vec<_>>>())
            .map(Some)
            .ok_or_else(|| self.invalid(key, "a list of numbers above 0"))
    }

    /// The format that the authors stored the weights in: `dtype`, or `torch_dtype` as it was spelt.
    ///
    /// # Errors
    /// Another type, or an unknown name.
    pub fn dtype(&self) -> Result<Option<DType>, ConfigError> {
        let key = if self.get("dtype").is_some() { "dtype" } else { "torch_dtype" };
        match self.text(key)? {
            None | Some("auto") => Ok(None),
            Some(name) => {
                let unknown = |_: UnknownDType| self.invalid(key, "float32, bfloat16 or float16");
                name.parse().map(Some).map_err(unknown)
            }
        }
    }

    /// A nested object.
    ///
    /// # Errors
    /// Another type.
    pub fn object(&self, key: &str) -> Result<Option<Self>, ConfigError> {
        let Some(value) = self.get(key) else { return Ok(None) };
        let map = value.as_object().ok_or_else(|| self.invalid(key, "an object or null"))?;
        Ok(Some(Self { prefix: format!("{}.", self.path(key)), map: map.clone() }))
    }
}

/// A value as it stands in the file, cut to a length that fits one line.
fn shorten(value: &Value) -> String {
    const MOST: usize = 60;
    let text = value.to_string();
    if text.chars().count() <= MOST {
        return text;
    }
    text.chars().take(MOST).chain(['…']).collect()
}
