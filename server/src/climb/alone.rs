//! Runs the steps of a ladder without a server, one worker at a time.

use std::path::PathBuf;
use std::sync::Arc;

use phi3::api::worker::{Load, Loaded, Message, Request};
use phi3::api::{Certificate, ErrorObject};
use phi3::engine::{LoadProgress, Memory};
use phi3::ladder::{Action, Outcome, Rung, Status};
use phi3::validate::Report;
use serde_json::Value;
use tokio_util::sync::CancellationToken;

use super::proof::Proof;
use super::{Failure, inspect, judged, requests};
use crate::attempts::now_ms;
use crate::launcher::Local;
use crate::log_ring::LogRing;
use crate::worker_client::{Limits, Worker, WorkerError};

/// A model that is climbed with, and the worker of its last load.
pub struct Climber {
    /// Name of the ladder.
    ladder: String,
    /// The model as somebody said it.
    asked: String,
    path: String,
    limits: Limits,
    cancel: CancellationToken,
    kept: Option<Kept>,
    proof: Option<Proof>,
    certificate: Option<Certificate>,
}

/// A worker with its model.
struct Kept {
    worker: Worker,
    rung: Rung,
    loaded: Loaded,
}

impl Climber {
    /// Climbs the ladder of this name with the model that was asked for; `path` is where it lies on this machine.
    #[must_use]
    pub fn new(
        ladder: String,
        asked: String,
        path: String,
        limits: Limits,
        cancel: CancellationToken,
    ) -> Self {
        Self { ladder, asked, path, limits, cancel, kept: None, proof: None, certificate: None }
    }

    /// What the last `document` has certified.
    #[must_use]
    pub fn into_certificate(self) -> Option<Certificate> {
        self.certificate
    }

    /// Runs a step that was found worth it, and judges it: its outcome, and a report of each run.
    ///
    /// # Errors
    /// It was cancelled: the step has no outcome then.
    pub async fn climb(
        &mut self,
        rung: &Rung,
        on_progress: &mut (dyn FnMut(LoadProgress) + Send),
    ) -> Result<(Outcome, Vec<Report>), WorkerError> {
        let mut reports = Vec::new();
        let done = match rung.action {
            Action::Inspect => inspect(&self.path).map(|()| None),
            Action::Unload => {
                self.unload().await;
                Ok(None)
            }
            Action::Document => self.document().await.map(|()| None),
            Action::Load | Action::Validate | Action::Infer => {
                self.run(rung, on_progress, &mut reports).await.map_err(ErrorObject::from).map(Some)
            }
        };
        if self.cancel.is_cancelled() {
            return Err(WorkerError::Cancelled);
        }
        let done = done.map_err(|error| Failure::of(&error, rung));
        let outcome = judged(rung, done, &reports);
        if rung.action == Action::Validate && outcome.status == Status::Passed {
            self.proof = self.proved(rung, reports.last());
        }
        Ok((outcome, reports))
    }

    /// What a validation that passed has proved.
    fn proved(&self, rung: &Rung, report: Option<&Report>) -> Option<Proof> {
        let mut load_config = rung.load_config.clone();
        if let Some(device) = &rung.device {
            load_config.entry("device_map").or_insert_with(|| Value::String(device.to_string()));
        }
        Some(Proof {
            step: rung.step.clone(),
            load_config,
            run: requests(rung).pop()?,
            report: report?.clone(),
            worker_build: self.kept.as_ref().map(|kept| kept.worker.build().to_owned()),
            note: format!("ladder {}, step {}: {}", self.ladder, rung.step, rung.title),
            log: self.kept.as_ref().map(|kept| kept.worker.log()).unwrap_or_default(),
            finished_ms: now_ms(),
        })
    }

    /// Makes the certificate of what was validated last.
    async fn document(&mut self) -> Result<(), ErrorObject> {
        let proof = self.proof.clone();
        let proof =
            proof.ok_or_else(|| ErrorObject::new("not_validated", "no step of this ladder was validated"))?;
        let (asked, path) = (self.asked.clone(), PathBuf::from(&self.path));
        // Every file is read, which may take minutes.
        let made = tokio::task::spawn_blocking(move || proof.certificate(&asked, &path));
        let made = self.cancel.run_until_cancelled(made).await.ok_or(WorkerError::Cancelled)?;
        self.certificate = Some(made.map_err(|error| ErrorObject::new("internal", error.to_string()))??);
        Ok(())
    }

    /// Ends the worker that is kept; its memory is back when this returns.
    pub async fn unload(&mut self) {
        if let Some(kept) = self.kept.take() {
            kept.worker.shutdown().await;
        }
    }

    async fn run(
        &mut self,
        rung: &Rung,
        on_progress: &mut (dyn FnMut(LoadProgress) + Send),
        reports: &mut Vec<Report>,
    ) -> Result<Memory, WorkerError> {
        let reuses = self.kept.as_ref().is_some_and(|kept| {
            rung.action != Action::Load
                && kept.rung.load_config == rung.load_config
                && kept.rung.device == rung.device
                && kept.rung.context >= rung.context
        });
        if !reuses {
            self.unload().await;
            self.load(rung, on_progress).await?;
        }
        let Some(kept) = &mut self.kept else { return Err(WorkerError::Cancelled) };
        let mut measured = kept.loaded.memory.measured;
        for request in requests(rung) {
            let is_report = |message| match message {
                Message::Report(report) => Some(*report),
                _ => None,
            };
            match kept.worker.call("validating", &Request::Validate(request), is_report).await {
                Ok(report) => {
                    measured = report.memory.measured;
                    reports.push(report);
                }
                Err(error) => {
                    // Whatever it is in now, the next step starts from a fresh one.
                    self.unload().await;
                    return Err(error);
                }
            }
        }
        Ok(measured)
    }

    async fn load(
        &mut self,
        rung: &Rung,
        on_progress: &mut (dyn FnMut(LoadProgress) + Send),
    ) -> Result<(), WorkerError> {
        let device = rung.device.as_ref().map(ToString::to_string);
        let load = Load {
            path: self.path.clone(),
            device: device.clone(),
            load_config: rung.load_config.clone(),
            context: rung.context.map(|tokens| tokens as usize),
            ..Load::default()
        };
        let local = Local::find(device.as_deref())?;
        let log = Arc::new(LogRing::default());
        let mut worker = Worker::start(&local, self.limits, log, self.cancel.child_token()).await?;
        let loaded = worker
            .call("loading", &Request::Load(load), |message| match message {
                Message::Progress(progress) => {
                    on_progress(progress);
                    None
                }
                Message::Loaded(loaded) => Some(loaded),
                _ => None,
            })
            .await;
        match loaded {
            Ok(loaded) => {
                self.kept = Some(Kept { worker, rung: rung.clone(), loaded });
                Ok(())
            }
            Err(error) => {
                worker.shutdown().await;
                Err(error)
            }
        }
    }
}
