//! Special tokens by role, and where the chat template is.

use serde_json::{Map, Value};

use super::{TokenizerError, TokenizerFiles};

const CONFIG: &str = "tokenizer_config.json";

/// `bos_token`, `eos_token`, … as templates see them.
#[derive(Debug, Clone, Default)]
pub(super) struct SpecialTokens {
    tokens: Map<String, Value>,
    config: Map<String, Value>,
}

impl SpecialTokens {
    pub(super) fn read(files: &TokenizerFiles<'_>) -> Result<Self, TokenizerError> {
        let config = object(files.tokenizer_config, CONFIG)?;
        let map = object(files.special_tokens_map, "special_tokens_map.json")?;
        let mut tokens = Map::new();
        // The config wins: it comes last.
        for (name, value) in map.iter().chain(&config) {
            if let Some(text) = name.ends_with("_token").then(|| text_of(value)).flatten() {
                tokens.insert(name.clone(), Value::from(text));
            }
        }
        Ok(Self { tokens, config })
    }

    pub(super) fn bos(&self) -> Option<&str> {
        self.tokens.get("bos_token").and_then(Value::as_str)
    }

    pub(super) fn all(&self) -> &Map<String, Value> {
        &self.tokens
    }

    /// The template: a file of its own, else the config's; of several named ones the one called `default`.
    pub(super) fn chat_template(&self, files: &TokenizerFiles<'_>) -> Result<Option<String>, TokenizerError> {
        if let Some(bytes) = files.chat_template {
            let text = std::str::from_utf8(bytes).map_err(|error| TokenizerError::Invalid {
                file: "chat_template.jinja",
                message: error.to_string(),
            })?;
            return Ok(Some(text.to_owned()));
        }
        match self.config.get("chat_template") {
            None | Some(Value::Null) => Ok(None),
            Some(Value::String(text)) => Ok(Some(text.clone())),
            Some(Value::Array(named)) => {
                let default = named.iter().find(|entry| entry["name"] == "default");
                let text = default.and_then(|entry| entry["template"].as_str());
                let missing = || invalid("`chat_template` is a list without a template named `default`");
                text.map(|text| Some(text.to_owned())).ok_or_else(missing)
            }
            Some(_) => Err(invalid("`chat_template` is neither a string nor a list")),
        }
    }
}

fn invalid(message: &str) -> TokenizerError {
    TokenizerError::Invalid { file: CONFIG, message: message.to_owned() }
}

/// A token is a string, or an object with its `content`.
fn text_of(value: &Value) -> Option<&str> {
    value.as_str().or_else(|| value.get("content")?.as_str())
}

fn object(bytes: Option<&[u8]>, file: &'static str) -> Result<Map<String, Value>, TokenizerError> {
    let Some(bytes) = bytes else { return Ok(Map::new()) };
    serde_json::from_slice(bytes)
        .map_err(|error| TokenizerError::Invalid { file, message: format!("no JSON object: {error}") })
}
