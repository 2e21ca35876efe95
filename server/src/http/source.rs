//! `{"source": {config|path|preset|hub}}`: where a request's model comes from.

use phi3::api::ErrorObject;
use preflight_files::Source;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::error::HttpError;
use crate::state::AppState;

/// Exactly one of these.
#[derive(Debug, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(super) enum SourceRequest {
    /// A pasted `config.json`.
    #[schema(value_type = Object)]
    Config(Map<String, Value>),
    /// A path under a model root.
    Path(String),
    /// A preset's name.
    Preset(String),
    /// A Hub id, `ORG/NAME[@REV]`, or an address of the Hub.
    Hub(String),
}

impl SourceRequest {
    /// What `answer` says of it, off the async threads: a disk may be slow, and the Hub is.
    ///
    /// # Errors
    /// A path outside the roots, or whatever is wrong with the files; paths are told as clients may know them.
    pub(super) async fn ask<T: Send + 'static>(
        self,
        state: &AppState,
        answer: impl FnOnce(&Source) -> Result<T, ErrorObject> + Send + 'static,
    ) -> Result<T, HttpError> {
        let registry = state.registry.clone();
        let ask = move || {
            let source = match self {
                Self::Config(map) => Source::Pasted(map),
                Self::Path(path) => {
                    Source::resolve(&registry.folders().allowed(&path)?.display().to_string())?
                }
                Self::Preset(name) => Source::preset(&name)?,
                Self::Hub(id) => Source::hub(&id)?,
            };
            answer(&source)
        };
        let asked = tokio::task::spawn_blocking(ask).await.map_err(HttpError::internal)?;
        asked.map_err(|error| HttpError(state.registry.folders().told(error)))
    }
}
