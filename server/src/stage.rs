//! From a model of the Hub to the attempt that brings its files.

use phi3::api::worker::Load;
use phi3::api::{Attempt, AttemptKind, AttemptRecord, ErrorObject, Evidence, ModelSource};

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
/// repository's. `revision` is the branch or tag that the model's commit was asked for by: the cache keeps what it
/// meant.
///
/// # Errors
/// [`StageError`]: no such model, the queue is full, or it cannot be written.
pub(crate) async fn stage(
    state: &AppState,
    model: &str,
    revision: Option<String>,
) -> Result<Option<u64>, StageError> {
    let _as_it_is = state.registry.as_it_is().await;
    let Some(hub) = state.registry.repository(model).await? else { return Ok(None) };
    let name = format!("hf:{hub}");
    let attempt = Attempt::queued(model, AttemptKind::Stage, LANE, now_ms());
    let evidence = Evidence::new(ModelSource::Hub(hub), state.host.environment());
    let fingerprint = format!("stage {name}");
    let job = Job {
        model: model.to_owned(),
        kind: AttemptKind::Stage,
        load: Load { path: name, ..Load::default() },
        revision,
        validate: None,
        lane: LANE.to_owned(),
        lanes: vec![LANE.to_owned()],
        loads: fingerprint.clone(),
        fingerprint,
        force: true,
    };
    Ok(Some(state.attempts.queue(AttemptRecord { attempt, evidence }, job).await?))
}
