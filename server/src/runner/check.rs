//! What can be known before a worker is started: files, config, load config, and whether there is room.

use std::path::PathBuf;
use std::sync::Arc;

use phi3::api::worker::Load;
use phi3::api::{AttemptKind, AttemptState, ErrorObject, ModelSource};
use phi3::config::RopeScaling;
use phi3::estimate::{Backend, Options};
use phi3::load_config::{Facts, LoadConfig};
use phi3::placement::{DeviceId, DeviceUse};
use phi3::units::format_bytes;
use preflight_files::{FilesError, Model, Source, of_override};
use serde_json::{Map, Value};

use super::{CANCELLED, RunError, Runner};
use crate::attempts::{Job, Taken};
use crate::devices::MemoryNow;
use crate::{devices, evidence, launcher, reports};

impl Runner {
    /// Checks what an attempt is about to load; what the estimator says of it is kept before anything runs.
    pub(super) async fn check(&self, taken: &Taken) -> Result<(), RunError> {
        let id = taken.id;
        self.attempts.enter(id, AttemptState::Checking, |_| ()).await?;
        let (load, lane) = (taken.job.load.clone(), taken.job.lane.clone());
        let attempts = Arc::clone(&self.attempts);
        let checked =
            tokio::task::spawn_blocking(move || check(&load, &lane, |facts| attempts.know(id, facts)));
        let checked = tokio::select! {
            () = taken.cancel.cancelled() => return Err(CANCELLED),
            checked = checked => checked.map_err(|error| ErrorObject::new("internal", error.to_string()))??,
        };
        let path = PathBuf::from(&taken.job.load.path);
        let files = evidence::facts(self.attempts.ledger().store(), &path, false).await;
        let parts = parts(&taken.job, &checked);
        self.attempts.learn(id, |record| {
            record.evidence.predicted = Some(checked.predicted);
            record.evidence.files = files;
            let said = |key: &&str| record.attempt.load_config.contains_key(*key);
            if let ModelSource::Path(_) = record.evidence.source {
                for key in ["revision", "cache_dir"].into_iter().filter(said) {
                    taken.log.add(&format!("{key} has no effect: the model is no repository of the Hub"));
                }
            }
        });
        if !taken.job.force {
            let replaced = self.replaced(taken).await?;
            for (lane, needed) in parts {
                let given_back = replaced.as_ref().map_or(0, |model| model.held_on(&lane));
                fits(&lane, needed, given_back).await?;
            }
        }
        Ok(())
    }

    /// Says anew what is predicted, once it is known for how long sequences a run needs its model.
    pub(super) async fn predict_for(&self, taken: &Taken, context: usize) {
        let load = Load { context: Some(context), ..taken.job.load.clone() };
        let lane = taken.job.lane.clone();
        let again = tokio::task::spawn_blocking(move || {
            sized(&Model::open(&Source::resolve(&load.path)?)?, &load, &lane)
        });
        // What was predicted for the default stands where the files have changed meanwhile.
        if let Ok(Ok(Checked { predicted, .. })) = again.await {
            self.attempts.learn(taken.id, |record| record.evidence.predicted = Some(predicted));
        }
    }
}

/// What a check finds.
struct Checked {
    /// Predicted bytes by the names of the estimate, with its terms.
    predicted: Map<String, Value>,
    /// Of a load on several devices, what lies on each.
    placed: Vec<DeviceUse>,
}

/// The predicted bytes of a load, or what is wrong with it; `know` is told what the model is made for.
fn check(load: &Load, lane: &str, know: impl FnOnce(Facts)) -> Result<Checked, ErrorObject> {
    let model = Model::open(&Source::resolve(&load.path)?)?;
    let overrides = LoadConfig::from_map(&load.load_config).map_err(|error| ErrorObject::from(&error))?;
    if let Some(error) = overrides.refusals().first() {
        return Err(error.into());
    }
    overrides.chat_template.as_deref().map_or(Ok(()), launcher::check_template)?;
    let own = model.fields()?;
    let config = overrides.apply(&own).map_err(|error| {
        of_override(&overrides, &own, &error).unwrap_or_else(|| model.refuse(error).into())
    })?;
    know(Facts {
        max_position_embeddings: Some(config.max_position_embeddings as u64),
        sliding_window: config.sliding_window.map(|tokens| tokens as u64),
        // Factors that were trained are not to be replaced.
        rope_scaling_allowed: config.rope_scaling == RopeScaling::None,
        ..Facts::default()
    });
    load.check_context(&config)?;
    reports::check_beside(&model, &config)?;
    match &model.checkpoint {
        // A head beside a tied embedding is compared by the worker, which reads both anyway.
        Some(checkpoint) => checkpoint.check(&config.decoder()).map_err(FilesError::from)?,
        None => {
            model.checked_weights(&config.decoder())?;
        }
    }
    sized(&model, load, lane)
}

/// What the estimator says of a load.
fn sized(model: &Model, load: &Load, lane: &str) -> Result<Checked, ErrorObject> {
    let options = Options {
        context: load.context.map(|tokens| tokens as u64),
        batch: load.batch.map(|sequences| sequences as u64),
        backend: lane.parse::<DeviceId>().ok().map(|device| device.backend()),
        calibration: load.calibration.clone(),
        ..Options::default()
    };
    let estimated = reports::estimate(model, &options, &load.load_config)?;
    let report = serde_json::to_value(&estimated.report);
    let report = report.map_err(|error| ErrorObject::new("internal", error.to_string()))?;
    let Value::Object(mut predicted) = report else {
        return Err(ErrorObject::new("internal", "an estimate that is no object"));
    };
    predicted.retain(|key, _| key.ends_with("_bytes") || key == "terms");
    let placed = estimated.placement.map(|placement| placement.devices).unwrap_or_default();
    Ok(Checked { predicted, placed })
}

/// The bytes that are needed on each device, `None` where nobody knows. A validation's context is known to the worker
/// alone: its weights count. Where layers are spread over several devices without budgets, the worker places them by what
/// is free then.
fn parts(job: &Job, checked: &Checked) -> Vec<(String, Option<u64>)> {
    let is_load = job.kind == AttemptKind::Load;
    let on = |lane: &String| {
        let here = checked.placed.iter().filter(|part| match part.device.backend() {
            Backend::Cpu => lane == "cpu",
            _ => part.device.to_string() == *lane,
        });
        here.map(|part| if is_load { part.total_bytes } else { part.weights_bytes })
            .reduce(u64::saturating_add)
    };
    let whole = if is_load { "total_bytes" } else { "weights_bytes" };
    match job.lanes.as_slice() {
        [one] => vec![(one.clone(), checked.predicted.get(whole).and_then(Value::as_u64))],
        several => several.iter().map(|lane| (lane.clone(), on(lane))).collect(),
    }
}

/// What is free now on a device, where that is known.
pub(crate) async fn free_on(lane: &str) -> Option<u64> {
    free_of(&devices::memory(lane).await, lane)
}

fn free_of(memory: &MemoryNow, lane: &str) -> Option<u64> {
    if lane == "cpu" { memory.host_available_bytes } else { memory.gpu_free_bytes }
}

/// Refuses what is known not to fit on a device, and a device that is known to be broken.
async fn fits(lane: &str, needed: Option<u64>, given_back: u64) -> Result<(), ErrorObject> {
    let memory = devices::memory(lane).await;
    if let Some(fault) = &memory.fault {
        let message = format!("{lane} computes nothing: {fault}; `force: true` tries it all the same");
        return Err(ErrorObject::new("device_unhealthy", message).at("device"));
    }
    let Some(needed) = needed else { return Ok(()) };
    let place = if lane == "cpu" { "this machine" } else { lane };
    let Some(free) = free_of(&memory, lane).filter(|free| needed > free.saturating_add(given_back)) else {
        return Ok(());
    };
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
    Err(ErrorObject::new("does_not_fit", message).short(needed, free))
}
