//! Models as the registry tells them.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use super::{ErrorObject, FileFact};
use crate::inspect::card::Card;
use crate::validate::{ProbeKind, Report};

use super::worker::Validate;

/// A model that the server knows.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ModelEntry {
    /// Id in URLs: `default`, or the folder's name.
    pub id: String,
    /// Name for people.
    pub name: String,
    /// Path under its model root, of several behind its name, for `{"path": …}`; empty where it is from the Hub.
    pub path: String,
    /// `ORG/NAME@COMMIT`, where it is from the Hub.
    #[serde(default)]
    pub hub: Option<String>,
    /// What somebody noted.
    #[serde(default)]
    pub notes: String,
    /// Overrides for every load of this model.
    #[serde(default)]
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub load_config: Map<String, Value>,
    /// Whether it has a row in the registry, or was only found under a model root.
    #[serde(default)]
    pub registered: bool,
    /// The attempt that holds it loaded.
    #[serde(default)]
    pub loaded_by: Option<u64>,
    /// The attempt whose load config is known to be good.
    #[serde(default)]
    pub known_good: Option<u64>,
    /// What of its row cannot be read, where that is so; all else is told as it stands there.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<ErrorObject>,
}

/// Where a model's files are from.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "snake_case")]
pub enum ModelSource {
    /// A directory or file, below its model root.
    Path(String),
    /// A repository on the Hub at a commit: `ORG/NAME@COMMIT`.
    Hub(String),
}

impl std::fmt::Display for ModelSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Path(path) => f.write_str(path),
            Self::Hub(hub) => write!(f, "hf:{hub}"),
        }
    }
}

/// A model with all that the registry keeps of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ModelDetail {
    /// The entry.
    #[serde(flatten)]
    pub entry: ModelEntry,
    /// What its card and the files beside its config tell.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<Object>))]
    pub card: Option<Card>,
    /// Its files.
    pub files: Vec<FileFact>,
    /// Milliseconds since 1970 when it was registered.
    pub created_ms: Option<u64>,
    /// Milliseconds since 1970 when its row was changed last.
    pub updated_ms: Option<u64>,
}

/// Answer to a request that registers a model.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Registered {
    /// Its id in URLs.
    pub model_id: String,
    /// The attempt that brings its files, where they are not all on this machine.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attempt_id: Option<u64>,
    /// Of a repository: its name and the commit that the model is kept at. Where the Hub was not asked, that of the cache.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hub: Option<String>,
}

/// The load config that is known to be good, with its evidence: what another machine runs again and compares.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Certificate {
    /// Version of this format.
    pub preflight_certificate: u32,
    /// Id of the model.
    pub model: String,
    /// Its name.
    pub name: String,
    /// Where its files are from. A path is below the model root of the machine that wrote this, or as it was given to
    /// `preflight ladder` there.
    pub source: super::ModelSource,
    /// Its files.
    pub files: Vec<FileFact>,
    /// The load config.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub load_config: Map<String, Value>,
    /// What was run.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub run: Validate,
    /// What came of it.
    #[cfg_attr(feature = "openapi", schema(value_type = Object))]
    pub report: Report,
    /// Where.
    pub environment: super::Environment,
    /// The attempt that it is made of; 0 where `preflight ladder` wrote it, which keeps no ledger.
    pub attempt: u64,
    /// What was noted with that attempt, or the step of the ladder.
    pub note: String,
    /// The last lines of that attempt's log.
    #[serde(default)]
    pub log: Vec<String>,
    /// Milliseconds since 1970 when that attempt, or the step, ended.
    pub finished_ms: u64,
}

impl Certificate {
    /// The version that this build writes.
    pub const VERSION: u32 = 1;
    /// Stands for the attempt where there was none: ids begin with 1.
    pub const NO_ATTEMPT: u64 = 0;

    /// What it lacks to be held against another run: a part that is not there could not differ.
    #[must_use]
    pub fn lacks(&self) -> Option<String> {
        let has = |kind: &ProbeKind| self.report.probes.iter().any(|probe| probe.kind == *kind);
        let no_hash = || self.files.iter().find(|file| file.sha256.is_none());
        let no_probe = || self.run.probe.kinds().iter().find(|kind| !has(kind));
        if self.files.is_empty() {
            Some("a file of the model".to_owned())
        } else if let Some(file) = no_hash() {
            Some(format!("the SHA-256 of {}", file.name))
        } else if self.report.top_logits.is_empty() {
            Some("the likeliest tokens after the prompt".to_owned())
        } else if self.report.layers.is_empty() {
            Some("what each layer put out".to_owned())
        } else {
            no_probe().map(|kind| format!("the probe {}, which was asked for", json!(kind)))
        }
    }
}
