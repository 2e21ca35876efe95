//! `GET /api/models`: what the server can load.

use axum::Json;
use axum::extract::State;
use phi3::api::ModelEntry;

use crate::state::AppState;

/// The default first, then the folders of the model roots.
pub(super) async fn list(State(state): State<AppState>) -> Json<Vec<ModelEntry>> {
    Json(state.models.list())
}
