//! From a model of the Hub to the attempt that brings its files.

use phi3::api::worker::Load;
use phi3::api::{
    Attempt, AttemptKind, AttemptRecord, AttemptState, ErrorObject, Evidence, ModelSource, Timings,
};
use serde_json::Map;

use crate::attempts::{AttemptsError, Job, now_ms};
use crate::state::AppState;

/// The queue of downloads: one at a time, beside those of the devices.
const LANE: &str = "hub";

/// Why no attempt is made.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StageError {
    #[error(transparent)]
    Refused(#[from] ErrorObject),
    #[error(transparent)]
    Attempts(#[from] AttemptsError),
}

/// Puts the download of a model's files into the queue; one that goes on is that attempt. `None` where its files are no
/// repository's.
///
/// # Errors
/// [`StageError`]: no such model, the queue is full, or it cannot be written.
pub(crate) async fn stage(state: &AppState, model: &str) -> Result<Option<u64>, StageError> {
    let Some(hub) = state.registry.repository(model).await? else { return Ok(None) };
    let name = format!("hf:{hub}");
    let attempt = Attempt {
        id: 0,
        model: model.to_owned(),
        kind: AttemptKind::Stage,
        state: AttemptState::Queued,
        outcome: None,
        parent: None,
        changes: Vec::new(),
        position: None,
        device: LANE.to_owned(),
        load_config: Map::new(),
        created_ms: now_ms(),
        started_ms: None,
        finished_ms: None,
        progress: None,
        text: String::new(),
        report: None,
        error: None,
        note: String::new(),
        log: Vec::new(),
    };
    let evidence = Evidence {
        source: ModelSource::Hub(hub),
        branch: false,
        resolved: Vec::new(),
        run: None,
        seed: None,
        files: Vec::new(),
        environment: state.host.environment(),
        predicted: None,
        engine: None,
        context: None,
        memory: None,
        timings: Timings::default(),
        unload: None,
        next: Vec::new(),
        advice: None,
    };
    let fingerprint = format!("stage {name}");
    let job = Job {
        model: model.to_owned(),
        kind: AttemptKind::Stage,
        load: Load { path: name, ..Load::default() },
        validate: None,
        lane: LANE.to_owned(),
        loads: fingerprint.clone(),
        fingerprint,
        force: true,
    };
    Ok(Some(state.attempts.queue(AttemptRecord { attempt, evidence }, job).await?))
}
