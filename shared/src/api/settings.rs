//! A server's settings, each with where it comes from.

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// The settings of a server as they hold while it runs.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Settings {
    /// The config file that was read, where there was one.
    pub file: Option<String>,
    /// Every setting.
    pub settings: Vec<Setting>,
}

/// A value with its origin.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Setting {
    /// Its key in the config file; of `token`, which no file holds, only whether there is one is told.
    pub key: String,
    /// The value; null where none holds.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub value: Value,
    /// Where it comes from.
    pub origin: SettingOrigin,
}

/// Where a value comes from, the strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum SettingOrigin {
    /// The command line.
    Flag,
    /// An environment variable.
    Environment,
    /// The config file.
    File,
    /// What holds where nothing is said.
    Default,
}

impl SettingOrigin {
    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Flag => "flag",
            Self::Environment => "environment",
            Self::File => "file",
            Self::Default => "default",
        }
    }
}

impl Setting {
    /// The value for people.
    #[must_use]
    pub fn told(&self) -> String {
        let text = |value: &Value| match value {
            Value::String(text) => text.clone(),
            value => value.to_string(),
        };
        match &self.value {
            Value::Null => "none".to_owned(),
            Value::Array(items) if items.is_empty() => "none".to_owned(),
            Value::Object(map) if map.is_empty() => "none".to_owned(),
            Value::Array(items) => items.iter().map(text).collect::<Vec<_>>().join(", "),
            value => text(value),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn values_are_told_in_words() {
        for (value, told) in [
            (json!(null), "none"),
            (json!([]), "none"),
            (json!({}), "none"),
            (json!(false), "false"),
            (json!("127.0.0.1:8080"), "127.0.0.1:8080"),
            (json!(["/a", "/b"]), "/a, /b"),
            (json!({ "dtype": "float16" }), "{\"dtype\":\"float16\"}"),
        ] {
            let setting = Setting { key: "k".to_owned(), value, origin: SettingOrigin::Default };
            assert_eq!(setting.told(), told);
        }
        let origins =
            [SettingOrigin::Flag, SettingOrigin::Environment, SettingOrigin::File, SettingOrigin::Default];
        for origin in origins {
            assert_eq!(serde_json::to_value(origin).expect("a name"), origin.words());
        }
    }
}
