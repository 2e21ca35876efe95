//! Runs queued attempts: one at a time on each device, each in a worker of its own, unless its model is loaded already.

mod bring;
mod check;
mod ready;

pub(crate) use check::free_on;

use std::collections::HashMap;
use std::path::PathBuf;
use std::sync::Arc;

use phi3::api::worker::{Loaded, Message, Request, Validate};
use phi3::api::{AttemptKind, AttemptState, ErrorObject, Unload};
use phi3::validate::Report;
use tokio::task::{JoinHandle, JoinSet};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use crate::attempts::{Attempts, AttemptsError, EndedBy, Job, Taken};
use crate::devices::{self, xid};
use crate::evidence;
use crate::kernel_log::KernelLog;
use crate::launcher::Launchers;
use crate::loaded::{LoadedModel, LoadedModels};
use crate::metrics;
use crate::processes;
use crate::registry::Registry;
use crate::store::StoreError;
use crate::worker_client::{Limits, Worker, WorkerError};

/// Runs attempts.
pub struct Runner {
    /// What is to be run, and where its course is kept.
    pub attempts: Arc<Attempts>,
    /// Who starts workers.
    pub launchers: Arc<dyn Launchers>,
    /// How long workers may be quiet.
    pub limits: Limits,
    /// Where loaded models are found.
    pub loaded: Arc<LoadedModels>,
    /// Knows what clients may be told of this machine.
    pub registry: Arc<Registry>,
}

/// Why a run ended early.
#[derive(Debug, thiserror::Error)]
enum RunError {
    #[error(transparent)]
    Worker(#[from] WorkerError),
    /// Its next state could not be written: then it is not entered.
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Refused(#[from] ErrorObject),
}

impl From<RunError> for ErrorObject {
    fn from(error: RunError) -> Self {
        match error {
            RunError::Worker(error) => error.into(),
            RunError::Store(error) => error.into(),
            RunError::Refused(error) => error,
        }
    }
}

const CANCELLED: RunError = RunError::Worker(WorkerError::Cancelled);

impl Runner {
    /// Runs attempts until they are closed and the last has ended.
    pub async fn run(self: Arc<Self>) {
        let mut tasks = JoinSet::new();
        let mut ids = HashMap::new();
        loop {
            while let Some(taken) = self.attempts.take_next() {
                let id = taken.id;
                let span = tracing::info_span!("attempt", id);
                let task = tasks.spawn(Arc::clone(&self).attempt(taken).instrument(span));
                ids.insert(task.id(), id);
            }
            if self.attempts.is_closed() && tasks.is_empty() {
                return;
            }
            tokio::select! {
                () = self.attempts.arrived.notified() => {}
                Some(ended) = tasks.join_next_with_id() => match ended {
                    Ok((task, ())) => {
                        ids.remove(&task);
                    }
                    Err(error) => {
                        // A fault of ours must not leave an attempt running for ever.
                        if let Some(id) = ids.remove(&error.id()) {
                            tracing::error!(attempt = id, "the task of an attempt panicked");
                            let fault = ErrorObject::new("internal", "a fault of the server");
                            self.attempts.failed(id, fault, None).await;
                        }
                    }
                },
            }
        }
    }

    async fn attempt(self: Arc<Self>, taken: Taken) {
        let id = taken.id;
        let kernel = KernelLog::from_now_on();
        xid::listen(&taken.job.lanes, &taken.log);
        let ran = match taken.job.kind {
            AttemptKind::Load => self.load(&taken).await,
            AttemptKind::Validate => self.validate(&taken).await,
            AttemptKind::Stage => self.bring(&taken).await,
        };
        if ran.is_err() {
            xid::last_words(&taken.job.lanes).await;
        }
        kernel.tell(&taken.log);
        match ran {
            Ok(()) => self.attempts.stopped(id).await,
            Err(error) => {
                let mut error = self.registry.folders().told(error.into());
                let memory = devices::memory(&taken.job.lane).await;
                if error.code == "oom" {
                    // Somebody else may have come after the look at what is free.
                    error.message.push_str(&memory.others());
                }
                // In quotes, with escapes: parts of it come from requests and files.
                tracing::warn!(attempt = id, code = error.code, error = ?error.message, "attempt ended early");
                self.attempts.failed(id, error, memory.gpu_free_bytes).await;
            }
        }
    }

    /// Loads a model and holds it until somebody asks for its end.
    async fn load(&self, taken: &Taken) -> Result<(), RunError> {
        let id = taken.id;
        self.check(taken).await?;
        self.make_room(taken).await?;
        let hashes = self.hash(taken);
        let before = devices::memory(&taken.job.lane).await;
        let token = CancellationToken::new();
        let forward = forward(taken.cancel.clone(), token.clone());
        let mut worker = self.start(taken, token).await?;
        let loaded = self.load_into(&mut worker, taken).await?;
        let Job { model, loads, load, .. } = &*taken.job;
        let (model, calls) = LoadedModel::new(model.clone(), id, loaded, loads.clone(), load.context);
        // From here on an end is written before it is brought about.
        forward.abort();
        // Whoever is told that it is ready finds it.
        self.loaded.insert(model);
        if let Err(error) = self.attempts.enter(id, AttemptState::Ready, |_| ()).await {
            self.loaded.remove(&taken.job.model, id);
            return Err(error.into());
        }
        let served = ready::serve(worker, calls, &taken.cancel, || self.attempts.ended_by(id)).await;
        self.loaded.remove(&taken.job.model, id);
        hashes.abort();
        match served {
            Ok(worker) => {
                self.stop(id, worker, before, &taken.job.lane).await;
                Ok(())
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Runs a validation in the worker that has its model, else in one of its own.
    async fn validate(&self, taken: &Taken) -> Result<(), RunError> {
        let missing = || ErrorObject::new("internal", "a validation without a run");
        let spec = taken.job.validate.clone().ok_or_else(missing)?;
        let id = taken.id;
        let mut taken = taken.clone();
        if let Some(model) = self.loaded.get(&taken.job.model)
            && model.loads == taken.job.loads
        {
            match self.validate_loaded(&taken, &model, &spec).await {
                // It was loaded for shorter sequences, or was unloaded meanwhile: a worker of its own loads it for as
                // long ones as the run needs.
                Err(RunError::Refused(error))
                    if ["sequence_full", "model_unloaded"].contains(&error.code.as_str()) =>
                {
                    let mut job = Job::clone(&taken.job);
                    job.load.context = None;
                    taken.job = Arc::new(job);
                    self.attempts.learn(id, |record| record.evidence.context = None);
                }
                other => return other,
            }
        }
        let taken = &taken;
        self.check(taken).await?;
        let hashes = self.hash(taken);
        let before = devices::memory(&taken.job.lane).await;
        let mut worker = self.start(taken, taken.cancel.child_token()).await?;
        let context = self.load_into(&mut worker, taken).await?.context;
        self.predict_for(taken, context).await;
        self.attempts.enter(id, AttemptState::Validating, |_| ()).await?;
        let request = Request::Validate(spec);
        let report = worker.call("validating", &request, |message| self.heard(id, message)).await?;
        self.attempts.report(id, report);
        tokio::select! {
            () = taken.cancel.cancelled() => {}
            _ = hashes => {}
        }
        self.stop(id, worker, before, &taken.job.lane).await;
        Ok(())
    }

    async fn validate_loaded(
        &self,
        taken: &Taken,
        model: &LoadedModel,
        spec: &Validate,
    ) -> Result<(), RunError> {
        let id = taken.id;
        let hashes = self.hash(taken);
        let loaded = Arc::clone(&model.loaded);
        self.attempts.enter(id, AttemptState::Validating, |record| learn(record, &loaded)).await?;
        let mut answer = model.call("validating", Request::Validate(spec.clone()))?;
        let report = loop {
            let message = tokio::select! {
                () = taken.cancel.cancelled() => return Err(CANCELLED),
                message = answer.next() => message,
            };
            let message = message.ok_or_else(|| crate::loaded::unloaded(&model.model))??;
            if let Some(report) = self.heard(id, message) {
                break report;
            }
        };
        self.attempts.report(id, report);
        hashes.await.ok();
        Ok(())
    }

    /// What a message of a validation changes; its report.
    fn heard(&self, id: u64, message: Message) -> Option<Report> {
        match message {
            Message::Token { id: token, text } => {
                self.attempts.token(id, token, text);
                None
            }
            Message::Report(report) => Some(*report),
            _ => None,
        }
    }

    /// Unloads what the model has been loaded as, and waits for its memory to be back. Of two loads on two devices the
    /// one that was asked for last counts.
    async fn make_room(&self, taken: &Taken) -> Result<(), RunError> {
        let begun = self.attempts.begun(&taken.job.model);
        if let Some((newer, _)) = begun.iter().find(|(id, is_ending)| *id > taken.id && !is_ending) {
            return Err(ErrorObject::new("cancelled", format!("attempt {newer} loads the model")).into());
        }
        for (older, _) in begun.into_iter().filter(|(id, _)| *id < taken.id) {
            self.attempts.cancel(older, EndedBy::Load(taken.id)).await.ok();
            self.until_over(older, taken).await?;
        }
        Ok(())
    }

    /// What a load takes the place of: devices get its memory back. What is ending has ended when this returns: its memory
    /// counts as free then.
    async fn replaced(&self, taken: &Taken) -> Result<Option<LoadedModel>, RunError> {
        if taken.job.kind != AttemptKind::Load {
            return Ok(None);
        }
        for (other, is_ending) in self.attempts.begun(&taken.job.model) {
            if is_ending && other < taken.id {
                self.until_over(other, taken).await?;
            }
        }
        Ok(self.loaded.get(&taken.job.model))
    }

    async fn until_over(&self, other: u64, taken: &Taken) -> Result<(), RunError> {
        tokio::select! {
            () = taken.cancel.cancelled() => Err(CANCELLED),
            over = self.attempts.until(other, AttemptState::is_final) => match over {
                Err(AttemptsError::Store(error)) => Err(error.into()),
                _ => Ok(()),
            },
        }
    }

    async fn start(&self, taken: &Taken, token: CancellationToken) -> Result<Worker, RunError> {
        self.attempts.enter(taken.id, AttemptState::Starting, |_| ()).await?;
        let (launchers, lane) = (Arc::clone(&self.launchers), taken.job.lane.clone());
        let launcher = tokio::task::spawn_blocking(move || launchers.launcher(&lane)).await;
        let launcher = launcher.map_err(std::io::Error::other).and_then(|found| found);
        let launcher = launcher.map_err(WorkerError::Launch)?;
        let worker = Worker::start(&*launcher, self.limits, Arc::clone(&taken.log), token).await?;
        metrics::worker_started(&taken.job.model);
        let build = worker.build().to_owned();
        self.attempts.learn(taken.id, |record| record.evidence.environment.worker_build = Some(build));
        self.attempts.started(taken.id, worker.pid().and_then(processes::mark)).await?;
        Ok(worker)
    }

    async fn load_into(&self, worker: &mut Worker, taken: &Taken) -> Result<Loaded, RunError> {
        let id = taken.id;
        self.attempts.enter(id, AttemptState::Loading, |_| ()).await?;
        let request = Request::Load(taken.job.load.clone());
        let loaded = worker.call("loading", &request, |message| match message {
            Message::Progress(progress) => {
                self.attempts.progress(id, progress);
                None
            }
            Message::Loaded(loaded) => Some(loaded),
            _ => None,
        });
        let loaded = loaded.await?;
        self.attempts.learn(id, |record| learn(record, &loaded));
        Ok(loaded)
    }

    /// Ends a worker, and measures what comes back.
    async fn stop(&self, id: u64, worker: Worker, before_load: devices::MemoryNow, lane: &str) {
        let worker_resident_bytes = worker.pid().and_then(processes::resident_bytes);
        let before = devices::memory(lane).await;
        // Whether it can be written or not, the worker ends, and what it did was as good: the attempt's end is kept as
        // soon as it can be.
        if let Err(error) = self.attempts.enter(id, AttemptState::Stopping, |_| ()).await {
            tracing::warn!(attempt = id, %error, "that it is being unloaded cannot be written");
        }
        worker.shutdown().await;
        let after = devices::memory(lane).await;
        let unload = Unload {
            worker_resident_bytes,
            host_available_before_load_bytes: before_load.host_available_bytes,
            host_available_before_bytes: before.host_available_bytes,
            host_available_after_bytes: after.host_available_bytes,
            gpu_used_before_load_bytes: before_load.gpu_used_bytes,
            gpu_used_before_bytes: before.gpu_used_bytes,
            gpu_used_after_bytes: after.gpu_used_bytes,
        };
        self.attempts.learn(id, |record| record.evidence.unload = Some(unload));
    }

    /// Hashes the model's files beside all else.
    fn hash(&self, taken: &Taken) -> JoinHandle<()> {
        let (attempts, id) = (Arc::clone(&self.attempts), taken.id);
        let path = PathBuf::from(&taken.job.load.path);
        tokio::spawn(async move {
            let files = evidence::facts(attempts.ledger().store(), &path, true).await;
            attempts.learn(id, |record| record.evidence.files = files);
        })
    }
}

fn learn(record: &mut phi3::api::AttemptRecord, loaded: &Loaded) {
    record.evidence.engine = Some(loaded.engine.clone());
    record.evidence.context = Some(loaded.context);
    record.evidence.memory = Some(loaded.memory);
}

/// Hands a cancel on until it is aborted.
fn forward(from: CancellationToken, to: CancellationToken) -> JoinHandle<()> {
    tokio::spawn(async move {
        from.cancelled().await;
        to.cancel();
    })
}
