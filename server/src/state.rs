//! What every handler can reach: cheap clones of handles.

use std::path::PathBuf;
use std::sync::Arc;

use crate::attempts::Attempts;
use crate::events::Hub;
use crate::models::Models;

/// The state of a server.
#[derive(Clone)]
pub struct AppState {
    /// Models that may be used.
    pub models: Arc<Models>,
    /// What was tried.
    pub attempts: Arc<Attempts>,
    /// Events for readers.
    pub hub: Arc<Hub>,
    /// Folder of the dashboard, where it is built.
    pub dashboard: Option<Arc<PathBuf>>,
    /// Bound to loopback: other names in `Host` are refused.
    pub loopback_only: bool,
}
