//! Runs the steps of a ladder on this machine, one worker at a time.

use std::sync::Arc;

use phi3::api::ErrorObject;
use phi3::api::worker::{Load, Loaded, Message, PromptSource, Request, Validate};
use phi3::engine::{LoadProgress, Memory};
use phi3::ladder::{Action, Prompt, Run, Rung, RungReport, judge};
use phi3::load_config::OutcomeClass;
use phi3::placement::DeviceId;
use phi3::validate::{ProbeSet, Report};
use preflight_files::{Model, Source};
use tokio_util::sync::CancellationToken;

use crate::launcher::Local;
use crate::log_ring::LogRing;
use crate::reports;
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
            Action::Inspect => inspect(&self.path),
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
        let measured = done.as_ref().ok().copied().flatten();
        let on_host = rung.device.as_ref().is_none_or(|device| *device == DeviceId::Cpu);
        let run = match &done {
            Ok(_) => Run::Done { measured, reports: &reports },
            Err(error) => Run::Failed {
                class: OutcomeClass::of_error(&error.code, error.path.as_deref(), on_host),
                message: &error.message,
            },
        };
        let (status, class, reason) = judge(&rung.expectations, &run);
        let mut outcome = rung.outcome(status, Some(class), reason);
        outcome.measured = measured;
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

/// What is asked of the loaded model.
fn requests(rung: &Rung) -> Vec<Validate> {
    if rung.action == Action::Load {
        return Vec::new();
    }
    let one = |prompt: PromptSource, max_new_tokens: Option<usize>, probe| Validate {
        prompt,
        max_new_tokens: max_new_tokens.unwrap_or(rung.max_new_tokens),
        probe,
        reference: rung.action == Action::Validate,
    };
    let source = |Prompt { text, chat, .. }: &Prompt| match (text, chat) {
        (Some(text), _) => PromptSource::Text(text.clone()),
        (None, Some(chat)) => PromptSource::Chat(chat.clone()),
        (None, None) => PromptSource::Default,
    };
    if rung.prompts.is_empty() {
        return vec![one(PromptSource::Default, None, rung.probe)];
    }
    // Probes do not depend on the prompt: once is enough.
    let probes = std::iter::once(rung.probe).chain(std::iter::repeat(ProbeSet::None));
    rung.prompts
        .iter()
        .zip(probes)
        .map(|(prompt, probe)| one(source(prompt), prompt.max_new_tokens, probe))
        .collect()
}

fn inspect(path: &str) -> Result<Option<Memory>, ErrorObject> {
    let model = Model::open(&Source::resolve(path)?)?;
    let inspected = reports::inspect(&model)?;
    match inspected.error {
        Some(error) => Err(error),
        None => Ok(None),
    }
}
