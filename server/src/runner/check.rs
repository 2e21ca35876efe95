//! What can be known before a worker is started: files, config, load config, and whether there is room.

use std::path::PathBuf;

use phi3::api::worker::Load;
use phi3::api::{AttemptKind, AttemptState, ErrorObject};
use phi3::estimate::Options;
use phi3::load_config::LoadConfig;
use phi3::placement::DeviceId;
use phi3::units::format_bytes;
use preflight_files::{FilesError, Model, Source};
use serde_json::{Map, Value};

use super::{CANCELLED, RunError, Runner};
use crate::attempts::{Job, Taken};
use crate::{devices, evidence, reports};

impl Runner {
    /// Checks what an attempt is about to load; what the estimator says of it is kept before anything runs.
    pub(super) async fn check(&self, taken: &Taken) -> Result<(), RunError> {
        let id = taken.id;
        self.attempts.enter(id, AttemptState::Checking, |_| ()).await?;
        let (load, lane) = (taken.job.load.clone(), taken.job.lane.clone());
        let checked = tokio::task::spawn_blocking(move || check(&load, &lane));
        let predicted = tokio::select! {
            () = taken.cancel.cancelled() => return Err(CANCELLED),
            checked = checked => checked.map_err(|error| ErrorObject::new("internal", error.to_string()))??,
        };
        let path = PathBuf::from(&taken.job.load.path);
        let files = evidence::facts(self.attempts.ledger().store(), &path, false).await;
        let kept = predicted.clone();
        self.attempts.learn(id, |record| {
            record.evidence.predicted = Some(kept);
            record.evidence.files = files;
        });
        if !taken.job.force {
            let given_back = self.given_back(taken).await?;
            fits(&taken.job, &predicted, given_back).await?;
        }
        Ok(())
    }
}

/// The predicted bytes of a load, or what is wrong with it.
fn check(load: &Load, lane: &str) -> Result<Map<String, Value>, ErrorObject> {
    let model = Model::open(&Source::resolve(&load.path)?)?;
    let overrides = LoadConfig::from_map(&load.load_config).map_err(|error| ErrorObject::from(&error))?;
    if let Some(error) = overrides.refusals().first() {
        return Err(error.into());
    }
    let config = overrides.apply(&model.fields()?).map_err(|error| model.refuse(error))?;
    match &model.checkpoint {
        // A head beside a tied embedding is compared by the worker, which reads both anyway.
        Some(checkpoint) => checkpoint.check(&config.decoder()).map_err(FilesError::from)?,
        None => {
            model.checked_weights(&config.decoder())?;
        }
    }
    let options = Options {
        context: load.context.map(|tokens| tokens as u64),
        batch: load.batch.map(|sequences| sequences as u64),
        backend: lane.parse::<DeviceId>().ok().map(|device| device.backend()),
        calibration: load.calibration.clone(),
        ..Options::default()
    };
    let estimated = reports::estimate(&model, &options, &load.load_config)?;
    let report = serde_json::to_value(&estimated.report);
    let report = report.map_err(|error| ErrorObject::new("internal", error.to_string()))?;
    let Value::Object(mut report) = report else { return Ok(Map::new()) };
    report.retain(|key, _| key.ends_with("_bytes") || key == "terms");
    Ok(report)
}

/// Refuses what is known not to fit, and a device that is known to be broken. A validation's context is known to the worker alone: its weights count.
async fn fits(job: &Job, predicted: &Map<String, Value>, given_back: u64) -> Result<(), ErrorObject> {
    let memory = devices::memory(&job.lane).await;
    if let Some(fault) = &memory.fault {
        let message = format!("{} computes nothing: {fault}; `force: true` tries it all the same", job.lane);
        return Err(ErrorObject::new("device_unhealthy", message).at("device"));
    }
    let key = if job.kind == AttemptKind::Load { "total_bytes" } else { "weights_bytes" };
    let Some(needed) = predicted.get(key).and_then(Value::as_u64) else { return Ok(()) };
    let (free, place) = match job.lane.as_str() {
        "cpu" => (memory.host_available_bytes, "this machine"),
        lane => (memory.gpu_free_bytes, lane),
    };
    let Some(free) = free.filter(|free| needed > free.saturating_add(given_back)) else { return Ok(()) };
    let others = memory.others();
    let more = match given_back {
        0 => String::new(),
        bytes => format!(" and {} held by what it is loaded as", format_bytes(bytes)),
    };
    let message = format!(
        "needs {}, {} free on {place}{more}{others}; `force: true` loads it all the same",
        format_bytes(needed),
        format_bytes(free)
    );
    Err(ErrorObject::new("does_not_fit", message))
}
