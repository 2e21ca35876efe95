//! The state of a page, and its JSON.

use serde::de::DeserializeOwned;
use serde_json::{Map, Value, json, to_value};

use super::{LinkError, model};
use crate::config::Preset;
use crate::estimate::Options;
use crate::units::{one_line, parse_size};

/// All that a page shows, as far as it was chosen: what is `None` or empty takes the page's default.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct State {
    /// Name of the page.
    pub page: Option<String>,
    /// The model.
    pub model: Option<LinkedModel>,
    /// Overrides of the load, in Hugging Face's names; not judged here.
    pub load_config: Map<String, Value>,
    /// The device that has to have room.
    pub device: Option<Device>,
    /// The estimate's choices; its `device` and `device_memory` have their place in `device` here and are not carried.
    pub options: Options,
    /// A short name for all this.
    pub label: Option<String>,
    /// Words of whoever made the link.
    pub notes: Option<String>,
}

/// The model of a page.
#[derive(Debug, Clone, PartialEq)]
pub enum LinkedModel {
    /// One of the presets, by name.
    Preset(String),
    /// Any other config; not judged here.
    Config {
        /// `config.json`.
        config: Map<String, Value>,
        /// `generation_config.json`, where it was there.
        generation_config: Option<Map<String, Value>>,
    },
    /// A config that is too large or too private for a link: only the page that made the link has it.
    Own,
}

/// What has to have room.
#[derive(Debug, Clone, PartialEq)]
pub enum Device {
    /// A name in [`crate::devices`]; not judged here.
    Named(String),
    /// Free memory in bytes.
    Bytes(u64),
    /// The browser that opens the link.
    Browser,
}

/// A state as it was read, with what was not understood.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Decoded {
    /// The state.
    pub state: State,
    /// JSON paths of keys that this build does not know; a newer one wrote them.
    pub unknown: Vec<String>,
}

impl State {
    /// The state as one JSON object, for people and programs; what takes its default is left out.
    #[must_use]
    pub fn to_json(&self) -> Value {
        self.to_json_near(&[])
    }

    /// The JSON with a config as the difference to the preset that is nearest, where one is near.
    pub(super) fn to_json_near(&self, presets: &[Preset]) -> Value {
        let Self { page, model, load_config, device, options, label, notes } = self;
        let mut map = Map::new();
        let mut put = |key: &str, value: Value| {
            let is_empty = value.is_null() || value.as_object().is_some_and(Map::is_empty);
            if !is_empty {
                map.insert(key.to_owned(), value);
            }
        };
        put("page", page.clone().into());
        if let Some(model) = model {
            let mut value = model::to_json(model, presets);
            if let LinkedModel::Config { generation_config: Some(generation), .. } = model {
                value["generation_config"] = Value::Object(generation.clone());
            }
            put("model", value);
        }
        put("load_config", Value::Object(load_config.clone()));
        put(
            "device",
            match device {
                None => Value::Null,
                Some(Device::Named(name)) => json!({ "name": name }),
                Some(Device::Bytes(bytes)) => json!({ "bytes": bytes }),
                Some(Device::Browser) => json!("browser"),
            },
        );
        put("options", Value::Object(chosen(options)));
        put("label", label.clone().into());
        put("notes", notes.clone().into());
        Value::Object(map)
    }

    /// Reads the JSON of a state.
    pub(super) fn read(json: Value, presets: &[Preset]) -> Result<Decoded, LinkError> {
        let mut unknown = Vec::new();
        let Value::Object(map) = json else { return Err(invalid("state", &json, "an object")) };
        let mut part = Part { path: "", map, unknown: &mut unknown };
        let mut state = Self {
            page: part.text("page")?,
            label: part.text("label")?,
            notes: part.text("notes")?,
            load_config: part.object("load_config")?.unwrap_or_default(),
            ..Self::default()
        };
        state.device = match part.take("device") {
            None => None,
            Some(Value::String(word)) if word == "browser" => Some(Device::Browser),
            Some(Value::Object(map)) => {
                Some(read_device(Part { path: "device", map, unknown: part.unknown })?)
            }
            Some(other) => {
                return Err(invalid("device", &other, "\"browser\", {\"name\": …} or {\"bytes\": …}"));
            }
        };
        state.model = match part.take("model") {
            None => None,
            Some(Value::String(word)) if word == "own" => Some(LinkedModel::Own),
            Some(Value::Object(map)) => {
                let mut model = Part { path: "model", map, unknown: part.unknown };
                let read = model::from_json(&mut model, presets)?;
                model.finish();
                Some(read)
            }
            Some(other) => {
                return Err(invalid("model", &other, "\"own\", {\"preset\": …} or {\"config\": …}"));
            }
        };
        if let Some(map) = part.object("options")? {
            state.options = read_options(Part { path: "options", map, unknown: part.unknown })?;
        }
        part.finish();
        Ok(Decoded { state, unknown })
    }
}

/// An object that is read by key; what is left over is unknown.
pub(super) struct Part<'a> {
    path: &'static str,
    map: Map<String, Value>,
    unknown: &'a mut Vec<String>,
}

impl Part<'_> {
    /// The value of a key; `null` counts as absent.
    pub(super) fn take(&mut self, key: &str) -> Option<Value> {
        self.map.shift_remove(key).filter(|value| !value.is_null())
    }

    /// The keys that it still has, in words.
    pub(super) fn keys(&self) -> String {
        let keys: Vec<String> = self.map.keys().map(|key| format!("`{}`", one_line(key))).collect();
        if keys.is_empty() { "empty".to_owned() } else { format!("an object of {}", keys.join(", ")) }
    }

    /// JSON path of a key.
    pub(super) fn path(&self, key: &str) -> String {
        if self.path.is_empty() { key.to_owned() } else { format!("{}.{key}", self.path) }
    }

    /// A text.
    pub(super) fn text(&mut self, key: &str) -> Result<Option<String>, LinkError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(other) => Err(invalid(&self.path(key), &other, "a string")),
        }
    }

    /// An object.
    pub(super) fn object(&mut self, key: &str) -> Result<Option<Map<String, Value>>, LinkError> {
        match self.take(key) {
            None => Ok(None),
            Some(Value::Object(map)) => Ok(Some(map)),
            Some(other) => Err(invalid(&self.path(key), &other, "an object")),
        }
    }

    /// A value that its type reads by itself.
    fn option<T: DeserializeOwned>(&mut self, key: &str) -> Result<Option<T>, LinkError> {
        let Some(value) = self.take(key) else { return Ok(None) };
        let read = T::deserialize(&value);
        read.map(Some)
            .map_err(|error| invalid(&self.path(key), &value, &format!("an option of this build ({error})")))
    }

    /// Reports what was not taken.
    fn finish(self) {
        for key in self.map.keys() {
            let path = self.path(key);
            self.unknown.push(path);
        }
    }
}

fn read_device(mut part: Part<'_>) -> Result<Device, LinkError> {
    let keys = part.keys();
    let device = match (part.text("name")?, part.take("bytes")) {
        (Some(name), None) => Device::Named(name),
        (None, Some(bytes)) => {
            let read = match &bytes {
                Value::String(text) => parse_size(text).ok(),
                number => number.as_u64(),
            };
            let refused = || invalid("device.bytes", &bytes, "bytes, or a size such as \"16GiB\"");
            Device::Bytes(read.ok_or_else(refused)?)
        }
        _ => return Err(wrong_keys("device", keys, "one of `name` and `bytes`")),
    };
    part.finish();
    Ok(device)
}

/// Options that were chosen, by their names in the CLI. `device` and `device_memory` are [`Device`]'s to say.
fn chosen(options: &Options) -> Map<String, Value> {
    let Options {
        dtype,
        kv_dtype,
        context,
        batch,
        attn,
        kv_policy,
        backend,
        calibration,
        device: _,
        device_memory: _,
        other_parts: _,
    } = options;
    let mut map = Map::new();
    let mut put = |key: &str, value: Result<Value, serde_json::Error>| {
        if let Ok(value) = value
            && !value.is_null()
        {
            map.insert(key.to_owned(), value);
        }
    };
    put("dtype", to_value(dtype));
    put("kv_dtype", to_value(kv_dtype));
    put("context", to_value(context));
    put("batch", to_value(batch));
    put("attn", to_value(attn));
    put("kv_policy", to_value(kv_policy));
    put("backend", to_value(backend));
    if !calibration.is_empty() {
        put("calibration", to_value(calibration));
    }
    map
}

fn read_options(mut part: Part<'_>) -> Result<Options, LinkError> {
    let options = Options {
        dtype: part.option("dtype")?,
        kv_dtype: part.option("kv_dtype")?,
        context: part.option("context")?,
        batch: part.option("batch")?,
        attn: part.option("attn")?,
        kv_policy: part.option("kv_policy")?,
        backend: part.option("backend")?,
        calibration: part.option::<Vec<_>>("calibration")?.unwrap_or_default(),
        device: None,
        device_memory: None,
        other_parts: None,
    };
    part.finish();
    Ok(options)
}

/// An error about an object that has other keys than it should; none of its values is repeated.
pub(super) fn wrong_keys(path: &str, found: String, expected: &str) -> LinkError {
    LinkError::Invalid { path: path.to_owned(), found, expected: expected.to_owned() }
}

/// An error about a value.
pub(super) fn invalid(path: &str, found: &Value, expected: &str) -> LinkError {
    let found = one_line(&found.to_string());
    LinkError::Invalid { path: path.to_owned(), found, expected: expected.to_owned() }
}
