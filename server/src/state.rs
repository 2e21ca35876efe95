//! What every handler can reach: cheap clones of handles.

use std::path::PathBuf;
use std::sync::Arc;

use phi3::api::Settings;

use crate::attempts::Attempts;
use crate::environment::Host;
use crate::events::Hub;
use crate::http::Token;
use crate::ladders::{Ladders, Profiles};
use crate::loaded::{LoadedModel, LoadedModels};
use crate::registry::Registry;
use crate::store::Store;

/// The state of a server.
#[derive(Clone)]
pub struct AppState {
    /// Models that may be used.
    pub registry: Arc<Registry>,
    /// What was tried.
    pub attempts: Arc<Attempts>,
    /// Ladders that run, wait, or have stopped.
    pub ladders: Arc<Ladders>,
    /// Profiles that they are started with.
    pub profiles: Arc<Profiles>,
    /// Models that are loaded.
    pub loaded: Arc<LoadedModels>,
    /// The database.
    pub store: Arc<Store>,
    /// This machine.
    pub host: Arc<Host>,
    /// Events for readers.
    pub hub: Arc<Hub>,
    /// Folder of the dashboard, where it is built.
    pub dashboard: Option<Arc<PathBuf>>,
    /// What holds, and where it comes from.
    pub settings: Arc<Settings>,
    /// Bound to loopback: other names in `Host` are refused.
    pub loopback_only: bool,
    /// Names that `Host` may have beside those of loopback.
    pub allowed_hosts: Arc<[String]>,
    /// What requests must carry; `None` lets everyone in.
    pub token: Option<Token>,
}

impl AppState {
    /// The handle to a loaded model; `None` where it is not loaded.
    #[must_use]
    pub fn loaded(&self, model_id: &str) -> Option<LoadedModel> {
        self.loaded.get(model_id)
    }
}
