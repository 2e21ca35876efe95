//! Runs the steps of a ladder without a server, one worker at a time.

use std::sync::Arc;

use phi3::api::ErrorObject;
use phi3::api::worker::{Load, Loaded, Message, Request};
use phi3::engine::{LoadProgress, Memory};
use phi3::ladder::{Action, Rung, RungReport};
use phi3::validate::Report;
use tokio_util::sync::CancellationToken;

use super::{Failure, inspect, judged, requests};
use crate::launcher::Local;
use crate::log_ring::LogRing;
use crate::worker_client::{Limits, Worker, WorkerError};

/// A model that is climbed with, and the worker of its last load.
pub struct Climber {
    path: String,
    limits: Limits,
    cancel: CancellationToken,
    kept: Option<Kept>,
}

/// A worker with its model.
struct Kept {
    worker: Worker,
    rung: Rung,
    loaded: Loaded,
}

impl Climber {
    /// For the model at `path`, which must be on this machine.
    #[must_use]
    pub fn new(path: String, limits: Limits, cancel: CancellationToken) -> Self {
        Self { path, limits, cancel, kept: None }
    }

    /// Runs a step that was found worth it, and judges it.
    ///
    /// # Errors
    /// It was cancelled: the step has no outcome then.
    pub async fn climb(
        &mut self,
        rung: &Rung,
        on_progress: &mut (dyn FnMut(LoadProgress) + Send),
    ) -> Result<RungReport, WorkerError> {
        let mut reports = Vec::new();
        let done = match rung.action {
            Action::Inspect => inspect(&self.path).map(|()| None),
            Action::Unload => {
                self.unload().await;
                Ok(None)
            }
            // What is good stands in the report; a server keeps it.
            Action::Document => Ok(None),
            Action::Load | Action::Validate | Action::Infer => {
                self.run(rung, on_progress, &mut reports).await.map_err(ErrorObject::from).map(Some)
            }
        };
        if self.cancel.is_cancelled() {
            return Err(WorkerError::Cancelled);
        }
        let done = done.map_err(|error| Failure::of(&error, rung));
        let outcome = judged(rung, done, &reports);
        Ok(RungReport { title: rung.title.clone(), action: rung.action, outcome, reports })
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
