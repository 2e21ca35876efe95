//! Requests, read field by field: each value in its range, and no field that is passed over in silence.

use axum::body::Bytes;
use axum::extract::{FromRequest, Request};
use axum::http::header::CONTENT_TYPE;
use phi3::api::ErrorObject;
use phi3::config::{JsonError, JsonLimits, parse_json};
use phi3::engine::Sampling;
use serde_json::{Map, Value};

use super::super::extract;
use super::error::ApiError;

/// Most choices of one request.
const MOST_CHOICES: u64 = 16;

/// Most stop texts, and bytes of each.
const MOST_STOPS: usize = 16;
const MOST_STOP_BYTES: usize = 256;

/// The bytes of a request. What says that it is of another type than JSON is refused, so that a form of another page cannot
/// send one.
pub(super) struct Body(pub(super) Bytes);

impl<S: Send + Sync> FromRequest<S> for Body {
    type Rejection = ApiError;

    async fn from_request(request: Request, _state: &S) -> Result<Self, ApiError> {
        if request.headers().contains_key(CONTENT_TYPE) && !extract::is_json(&request) {
            return Err(ApiError::not_json());
        }
        // It is in memory already, within its limits.
        let body = axum::body::to_bytes(request.into_body(), usize::MAX).await;
        body.map(Self).map_err(|error| ErrorObject::new("internal", error.to_string()).into())
    }
}

/// The fields of a request that have not been read yet.
pub(super) struct Fields(Map<String, Value>);

impl Fields {
    /// A body's object; a key that stands twice is refused.
    pub(super) fn parse(body: &Bytes) -> Result<Self, ApiError> {
        // A prompt of ids is as long as the longest context.
        let limits = JsonLimits { depth: 64, values: 1 << 20, string_bytes: usize::MAX };
        match parse_json(body, limits) {
            Ok(Value::Object(fields)) => Ok(Self(fields)),
            Ok(_) => Err(ApiError::body("The body is no JSON object.".to_owned())),
            Err(JsonError::Syntax(_)) => {
                let number = "a number is out of range, or a text is no Unicode".to_owned();
                let problem = extract::syntax(body).unwrap_or(number);
                Err(ApiError::body(format!("The body is not JSON: {problem}")))
            }
            Err(error) => Err(ApiError::body(format!("The body is refused: {error}"))),
        }
    }

    /// Takes a field; `null` counts as none.
    pub(super) fn take(&mut self, key: &str) -> Option<Value> {
        self.0.remove(key).filter(|value| !value.is_null())
    }

    pub(super) fn text(&mut self, key: &str) -> Result<Option<String>, ApiError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(wrong(key, &other, "a string")),
        }
    }

    pub(super) fn flag(&mut self, key: &str) -> Result<bool, ApiError> {
        match self.take(key) {
            None => Ok(false),
            Some(Value::Bool(flag)) => Ok(flag),
            Some(other) => Err(wrong(key, &other, "a boolean")),
        }
    }

    pub(super) fn count(
        &mut self,
        key: &str,
        range: std::ops::RangeInclusive<u64>,
    ) -> Result<Option<u64>, ApiError> {
        let Some(value) = self.take(key) else { return Ok(None) };
        match value.as_u64().filter(|count| range.contains(count)) {
            Some(count) => Ok(Some(count)),
            None => Err(wrong(key, &value, &format!("an integer from {} to {}", range.start(), range.end()))),
        }
    }

    fn number(&mut self, key: &str, range: std::ops::RangeInclusive<f64>) -> Result<Option<f64>, ApiError> {
        let Some(value) = self.take(key) else { return Ok(None) };
        match value.as_f64().filter(|number| range.contains(number)) {
            Some(number) => Ok(Some(number)),
            None => Err(wrong(key, &value, &format!("a number from {} to {}", range.start(), range.end()))),
        }
    }

    /// Fields that say nothing here: who asks, and how it is filed.
    pub(super) fn pass_over(&mut self, keys: &[&str]) {
        keys.iter().for_each(|key| {
            self.0.remove(*key);
        });
    }

    /// A field that has one meaning here; every other value is refused by name.
    pub(super) fn only(&mut self, key: &str, allowed: &[Value]) -> Result<(), ApiError> {
        match self.take(key) {
            Some(value) if !allowed.contains(&value) => {
                Err(ApiError::param(key, format!("`{key}` is not supported by this server")))
            }
            _ => Ok(()),
        }
    }

    /// What is left is nothing that is known.
    pub(super) fn end(self) -> Result<(), ApiError> {
        let mut unknown: Vec<&str> = self.0.keys().map(String::as_str).collect();
        unknown.sort_unstable();
        let Some(first) = unknown.first() else { return Ok(()) };
        let plural = if unknown.len() > 1 { "s" } else { "" };
        let message = format!("Unrecognized request argument{plural} supplied: {}", unknown.join(", "));
        Err(ApiError::param(*first, message))
    }
}

/// A value that is not what it should be.
pub(super) fn wrong(key: &str, found: &Value, expected: &str) -> ApiError {
    let found: String = found.to_string().chars().take(60).collect();
    ApiError::param(key, format!("Invalid value for '{key}': expected {expected}, got {found}"))
}

/// What both kinds of completions have in common.
pub(super) struct Common {
    pub(super) model: String,
    pub(super) sampling: Sampling,
    /// Whether somebody chose the seed: choices of one request then count up from it.
    pub(super) seeded: bool,
    pub(super) stop: Vec<String>,
    pub(super) choices: usize,
    pub(super) stream: bool,
    pub(super) include_usage: bool,
}

impl Common {
    pub(super) fn take(fields: &mut Fields) -> Result<Self, ApiError> {
        let model =
            fields.text("model")?.ok_or_else(|| ApiError::param("model", "you must provide a model"))?;
        let seed = match fields.take("seed") {
            None => None,
            // Any 64 bits, signed or not.
            Some(value) => match value.as_u64().or_else(|| value.as_i64().map(i64::cast_unsigned)) {
                Some(seed) => Some(seed),
                None => return Err(wrong("seed", &value, "an integer")),
            },
        };
        let sampling = Sampling {
            temperature: fields.number("temperature", 0.0..=2.0)?.unwrap_or(1.0),
            top_p: fields.number("top_p", 0.0..=1.0)?.unwrap_or(1.0),
            top_k: fields.count("top_k", 0..=u64::from(u32::MAX))?.unwrap_or(0) as usize,
            min_p: fields.number("min_p", 0.0..=1.0)?.unwrap_or(0.0),
            repetition_penalty: fields.number("repetition_penalty", 0.0..=10.0)?.unwrap_or(1.0),
            frequency_penalty: fields.number("frequency_penalty", -2.0..=2.0)?.unwrap_or(0.0),
            presence_penalty: fields.number("presence_penalty", -2.0..=2.0)?.unwrap_or(0.0),
            seed: seed.unwrap_or_default(),
        };
        sampling.check().map_err(|error| ApiError::param(error.field, error.to_string()))?;
        let stream = fields.flag("stream")?;
        let options = fields.take("stream_options");
        let include_usage = match &options {
            None => false,
            Some(_) if !stream => {
                let message = "'stream_options' is only allowed when 'stream' is enabled";
                return Err(ApiError::param("stream_options", message));
            }
            Some(Value::Object(options)) => {
                if let Some(key) = options.keys().find(|key| *key != "include_usage") {
                    let message = format!("Unrecognized request argument supplied: stream_options.{key}");
                    return Err(ApiError::param(format!("stream_options.{key}"), message));
                }
                match options.get("include_usage") {
                    None => false,
                    Some(Value::Bool(flag)) => *flag,
                    Some(other) => return Err(wrong("stream_options.include_usage", other, "a boolean")),
                }
            }
            Some(other) => return Err(wrong("stream_options", other, "an object")),
        };
        let choices = fields.count("n", 1..=MOST_CHOICES)?.unwrap_or(1) as usize;
        let stop = stops(fields)?;
        fields.pass_over(&["user", "metadata", "service_tier", "safety_identifier", "prompt_cache_key"]);
        fields.only("logit_bias", &[Value::Object(Map::new())])?;
        fields.only("store", &[Value::Bool(false)])?;
        Ok(Self { model, sampling, seeded: seed.is_some(), stop, choices, stream, include_usage })
    }

    /// The sampling of a choice. Without a seed each draws its own.
    pub(super) fn sampling_of(&self, choice: usize, random: u64) -> Sampling {
        let base = if self.seeded { self.sampling.seed } else { random };
        Sampling { seed: base.wrapping_add(choice as u64), ..self.sampling.clone() }
    }
}

fn stops(fields: &mut Fields) -> Result<Vec<String>, ApiError> {
    let value = match fields.take("stop") {
        None => return Ok(Vec::new()),
        Some(Value::String(stop)) => Value::Array(vec![Value::String(stop)]),
        Some(value) => value,
    };
    let texts = value.as_array().and_then(|list| {
        list.iter().map(|text| text.as_str().map(str::to_owned)).collect::<Option<Vec<String>>>()
    });
    let is_good = |texts: &Vec<String>| {
        texts.len() <= MOST_STOPS
            && texts.iter().all(|text| !text.is_empty() && text.len() <= MOST_STOP_BYTES)
    };
    texts.filter(is_good).ok_or_else(|| {
        let expected = format!("a string, or up to {MOST_STOPS} strings of 1 to {MOST_STOP_BYTES} bytes");
        wrong("stop", &value, &expected)
    })
}
