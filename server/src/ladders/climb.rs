//! Runs ladders, one at a time: rung after rung through attempts like all others, in their queue and their ledger.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use phi3::api::worker::Validate;
use phi3::api::{AttemptKind, AttemptRecord, AttemptState, ErrorObject, LadderState};
use phi3::engine::Memory;
use phi3::ladder::{Action, Next, Outcome, Past, Profile, Rung, conclude, next};
use phi3::load_config::{Layer, Origin, OutcomeClass, resolve};
use phi3::placement::DeviceId;
use phi3::validate::Report;
use serde_json::{Map, Value};
use tokio_util::sync::CancellationToken;
use tracing::Instrument as _;

use super::{Ladder, Ladders, Taken, interrupted, stop};
use crate::ask::{Ask, AskError, Parent, ask};
use crate::attempts::{Attempts, AttemptsError, EndedBy};
use crate::climb::{Failure, Ground, inspect, judged, requests};
use crate::environment::Host;
use crate::registry::Registry;
use crate::store::StoreError;

/// How long to wait before what could not be written, or found no room in the queue, is tried again.
const AGAIN: Duration = Duration::from_secs(1);

/// Runs ladders.
pub struct LadderRunner {
    /// What is to be run, and where its course is kept.
    pub ladders: Arc<Ladders>,
    /// Where rungs are made attempts.
    pub attempts: Arc<Attempts>,
    /// Knows the models.
    pub registry: Arc<Registry>,
    /// This machine.
    pub host: Arc<Host>,
}

/// Why a rung, or the ladder, goes on no more.
enum Halt {
    /// Somebody asked for the end, of the ladder or of this attempt of it.
    Cancelled(Option<u64>),
    /// It could not be written, which is told: what comes next is not begun.
    Store(String),
    /// The ladder cannot be climbed.
    Broken(ErrorObject),
    /// The rung has failed.
    Rung(Failure),
    /// The rung has failed before, and would again: the ladder decides anew, knowing that.
    Known,
}

impl From<StoreError> for Halt {
    fn from(error: StoreError) -> Self {
        Self::Store(error.to_string())
    }
}

impl LadderRunner {
    /// Runs ladders until they are closed and the last has stopped.
    pub async fn run(self: Arc<Self>) {
        loop {
            let Some(taken) = self.ladders.take_next() else {
                if self.ladders.is_closed() {
                    return;
                }
                self.ladders.arrived.notified().await;
                continue;
            };
            let (turn, mut ladder) = (taken.turn, taken.ladder.clone());
            let span = tracing::info_span!("ladder", id = ladder.id);
            let climbed = tokio::spawn(Arc::clone(&self).ladder(taken).instrument(span)).await;
            if climbed.is_err() {
                // A fault of ours must not leave a ladder running for ever.
                tracing::error!(ladder = ladder.id, "the task of a ladder panicked");
                stop(&mut ladder, LadderState::Failed, "a fault of the server");
                self.ladders.keep(turn, &ladder).await.ok();
            }
        }
    }

    async fn ladder(self: Arc<Self>, taken: Taken) {
        let Taken { turn, ladder, profile, cancel } = taken;
        let mut climb = Climb {
            by: &self,
            turn,
            ladder,
            cancel,
            path: String::new(),
            under: Map::new(),
            past: Vec::new(),
            kept: None,
        };
        let ended = climb.climb(&profile).await;
        climb.unload().await;
        climb.end(ended).await;
    }
}

/// A ladder that is being climbed.
struct Climb<'a> {
    by: &'a LadderRunner,
    turn: u64,
    ladder: Ladder,
    cancel: CancellationToken,
    /// What a worker opens.
    path: String,
    /// The layers of load config below an attempt's own.
    under: Map<String, Value>,
    /// Attempts that were found to have failed alike.
    past: Vec<Past>,
    kept: Option<Kept>,
}

/// A model that a rung has loaded, and that the next ones may use.
struct Kept {
    attempt: u64,
    load_config: Map<String, Value>,
    device: Option<DeviceId>,
    context: Option<u64>,
    measured: Option<Memory>,
}

impl Climb<'_> {
    async fn climb(&mut self, profile: &Profile) -> Result<(bool, String), Halt> {
        self.goes_on()?;
        self.ladder.state = LadderState::Running;
        self.ladder.position = None;
        self.keep().await?;
        let (profile, ground) = self.prepare(profile).await?;
        loop {
            self.goes_on()?;
            let done = self.ladder.done();
            let at = done.len();
            match next(&profile, &ground.facts(&self.past), &done) {
                Next::Done => return Ok(conclude(&profile, &done)),
                Next::Skip(outcome) => self.ladder.rungs[at].settle(*outcome),
                Next::Run(rung) => {
                    self.ladder.rungs[at].begin(&rung);
                    self.keep().await?;
                    match self.rung(at, &rung).await {
                        Ok(outcome) => self.ladder.rungs[at].settle(outcome),
                        Err(Halt::Known) => continue,
                        Err(halt) => return Err(halt),
                    }
                }
            }
            self.keep().await?;
        }
    }

    /// Finds the model, sanitizes, and looks at what there is.
    async fn prepare(&mut self, profile: &Profile) -> Result<(Profile, Ground), Halt> {
        let by = self.by;
        let located = by.registry.locate(&self.ladder.model).await.map_err(Halt::Broken)?;
        self.path = located.path.display().to_string();
        let layer = |origin, overrides: &Map<String, Value>| Layer { origin, overrides: overrides.clone() };
        let mut layers =
            vec![layer(Origin::Global, by.registry.global()), layer(Origin::Model, &located.load_config)];
        let broken = |error: String| Halt::Broken(ErrorObject::new("load_config_invalid", error));
        self.under = resolve(&layers).map_err(|error| broken(error.to_string()))?.overrides;
        layers.push(layer(Origin::Attempt, &profile.overrides));
        let mut overrides = resolve(&layers).map_err(|error| broken(error.to_string()))?.overrides;
        if !profile.overrides.contains_key("device_map") {
            // Where a model is loaded as a rule is not where the steps of a ladder try it.
            overrides.remove("device_map");
        }
        let profile = Profile { overrides, ..profile.clone() };
        profile.check().map_err(|error| {
            Halt::Broken(ErrorObject::new(
                "profile_invalid",
                format!("with this model's load config: {error}"),
            ))
        })?;
        if let Some((loaded, _)) = by.attempts.loading(&self.ladder.model) {
            self.end_attempt(loaded).await;
        }
        let path = self.path.clone();
        let ground = self.blocking(move || Ground::survey(&path)).await.map_err(Halt::Broken)?;
        Ok((profile, ground))
    }

    /// Runs a rung that was found worth it, and judges it.
    async fn rung(&mut self, at: usize, rung: &Rung) -> Result<Outcome, Halt> {
        let mut reports = Vec::new();
        let done = match rung.action {
            Action::Inspect => {
                let path = self.path.clone();
                let inspected = self.blocking(move || inspect(&path)).await;
                inspected.map(|()| None).map_err(|error| Halt::Rung(Failure::of(&error, rung)))
            }
            Action::Unload => {
                self.unload().await;
                Ok(None)
            }
            Action::Document => self.document(rung).await.map(|()| None),
            Action::Load | Action::Validate | Action::Infer => self.compute(at, rung, &mut reports).await,
        };
        let done = match done {
            Ok(measured) => Ok(measured),
            Err(Halt::Rung(failure)) => Err(failure),
            Err(halt) => return Err(halt),
        };
        Ok(judged(rung, done, &reports))
    }

    /// Loads, or uses what is loaded, and runs what is asked.
    async fn compute(
        &mut self,
        at: usize,
        rung: &Rung,
        reports: &mut Vec<Report>,
    ) -> Result<Option<Memory>, Halt> {
        let asked = requests(rung);
        let mut over = self.over(at).await;
        let reuses = self.kept.as_ref().is_some_and(|kept| {
            rung.action != Action::Load
                && kept.load_config == rung.load_config
                && kept.device == rung.device
                && kept.context >= rung.context
        });
        if !reuses {
            self.unload().await;
        }
        if rung.action == Action::Load || (asked.len() > 1 && !reuses) {
            let record = match over.pop_front_if(|record| record.attempt.kind == AttemptKind::Load) {
                Some(record) => record,
                None => self.attempt(at, rung, AttemptKind::Load, None).await?,
            };
            if record.attempt.state != AttemptState::Ready {
                return Err(Halt::Rung(failure(&record)));
            }
            self.kept = Some(Kept {
                attempt: record.attempt.id,
                load_config: rung.load_config.clone(),
                device: rung.device.clone(),
                context: rung.context,
                measured: record.evidence.memory.map(|memory| memory.measured),
            });
        }
        let mut measured = self.kept.as_ref().and_then(|kept| kept.measured);
        for request in asked {
            let record = match over.pop_front_if(|record| record.evidence.run.as_ref() == Some(&request)) {
                Some(record) => record,
                None => self.attempt(at, rung, AttemptKind::Validate, Some(request)).await?,
            };
            let Some(report) = record.attempt.report else { return Err(Halt::Rung(failure(&record))) };
            measured = Some(report.memory.measured);
            reports.push(report);
        }
        Ok(measured)
    }

    /// Attempts of a rung that had come to an end of their own when the ladder was stopped: they are not made again.
    async fn over(&self, at: usize) -> VecDeque<AttemptRecord> {
        let mut over = VecDeque::new();
        for id in &self.ladder.rungs[at].attempts {
            let Ok(record) = self.by.attempts.get(*id).await else { continue };
            let has_failed = record.attempt.state == AttemptState::Failed && unwritten(&record).is_none();
            if record.attempt.report.is_some() || has_failed {
                over.push_back(record);
            }
        }
        over
    }

    /// Makes an attempt, and waits for its end, or until its model is loaded.
    async fn attempt(
        &mut self,
        at: usize,
        rung: &Rung,
        kind: AttemptKind,
        validate: Option<Validate>,
    ) -> Result<AttemptRecord, Halt> {
        let by = self.by;
        let parent = rung.parent.as_ref().and_then(|step| {
            let rung = self.ladder.rungs.iter().find(|rung| rung.step == *step)?;
            rung.attempts.last().copied()
        });
        let own = rung.load_config.iter().filter(|(key, value)| self.under.get(*key) != Some(*value));
        let is_mapped = rung.load_config.contains_key("device_map");
        let context = self.kept.as_ref().map_or(rung.context, |kept| kept.context);
        let asked = Ask {
            model: self.ladder.model.clone(),
            kind,
            device: rung.device.as_ref().filter(|_| !is_mapped).map(ToString::to_string),
            load_config: own.map(|(key, value)| (key.clone(), value.clone())).collect(),
            validate,
            context: context.and_then(|tokens| usize::try_from(tokens).ok()),
            parent: parent.map_or(Parent::Root, Parent::Of),
            branch: rung.branch,
            force: false,
            note: format!("ladder {}, rung {}: {}", self.ladder.id, rung.step, rung.title),
        };
        let id = loop {
            match ask(&by.registry, &by.attempts, &by.host, asked.clone()).await {
                Ok(id) => break id,
                Err(AskError::Identical(record)) => return Err(self.known(rung, &record)),
                Err(AskError::Attempts(AttemptsError::QueueFull)) => {
                    tokio::time::timeout(AGAIN, self.cancel.cancelled()).await.ok();
                    self.goes_on()?;
                }
                Err(AskError::Attempts(AttemptsError::ShuttingDown)) => return Err(Halt::Cancelled(None)),
                Err(AskError::Attempts(AttemptsError::Store(error))) => return Err(error.into()),
                Err(AskError::Refused(error)) => return Err(Halt::Rung(Failure::of(&error, rung))),
                Err(error) => {
                    let error = ErrorObject::new("load_config_invalid", error.to_string());
                    return Err(Halt::Rung(Failure::of(&error, rung)));
                }
            }
        };
        self.ladder.rungs[at].attempts.push(id);
        if let Err(halt) = self.keep().await {
            self.end_attempt(id).await;
            return Err(halt);
        }
        self.wait(id, kind).await
    }

    async fn wait(&self, id: u64, kind: AttemptKind) -> Result<AttemptRecord, Halt> {
        let is_there = |state: AttemptState| {
            state.is_final() || (kind == AttemptKind::Load && state == AttemptState::Ready)
        };
        let record = tokio::select! {
            record = self.by.attempts.until(id, is_there) => record,
            () = self.cancel.cancelled() => {
                self.end_attempt(id).await;
                return Err(Halt::Cancelled(None));
            }
        };
        match record {
            Ok(record) if record.attempt.state == AttemptState::Cancelled => Err(Halt::Cancelled(Some(id))),
            Ok(record) => match unwritten(&record) {
                Some(reason) => Err(Halt::Store(reason)),
                None => Ok(record),
            },
            Err(AttemptsError::Store(error)) => Err(error.into()),
            Err(error) => Err(Halt::Broken(ErrorObject::new("internal", error.to_string()))),
        }
    }

    /// An attempt alike has failed for certain: the ladder is told, and decides what that means.
    fn known(&mut self, rung: &Rung, record: &AttemptRecord) -> Halt {
        let is_told = self.past.iter().any(|past| past.attempt == record.attempt.id);
        let (Some(class), Some(device), false) = (record.attempt.outcome, &rung.device, is_told) else {
            return Halt::Rung(failure(record));
        };
        self.past.push(Past {
            attempt: record.attempt.id,
            load_config: rung.load_config.clone(),
            device: device.to_string(),
            class,
        });
        Halt::Known
    }

    /// Commits what the validated rung has proved.
    async fn document(&mut self, rung: &Rung) -> Result<(), Halt> {
        let refuse = |error: ErrorObject| Halt::Rung(Failure::of(&error, rung));
        let validated = self.ladder.rungs.iter().find(|other| Some(&other.step) == rung.parent.as_ref());
        let attempt = validated.and_then(|validated| validated.attempts.last().copied());
        let none = || ErrorObject::new("not_validated", "no attempt of this ladder was validated");
        let attempt = attempt.ok_or_else(|| refuse(none()))?;
        let record = self.by.attempts.get(attempt).await;
        let record = record.map_err(|error| refuse(ErrorObject::new("internal", error.to_string())))?;
        self.by.registry.commit(&self.ladder.model, &record).await.map_err(refuse)?;
        self.ladder.known_good = Some(attempt);
        Ok(())
    }

    /// Unloads what a rung has loaded; its memory is back when this returns.
    async fn unload(&mut self) {
        if let Some(kept) = self.kept.take() {
            self.end_attempt(kept.attempt).await;
        }
    }

    async fn end_attempt(&self, id: u64) {
        let by = match self.by.ladders.is_closed() {
            true => EndedBy::Shutdown,
            false => EndedBy::Ladder(self.ladder.id),
        };
        self.by.attempts.cancel(id, by).await.ok();
        self.by.attempts.until(id, AttemptState::is_final).await.ok();
    }

    /// Writes how the ladder ended, or why it stopped.
    async fn end(&mut self, ended: Result<(bool, String), Halt>) {
        let is_closed = self.by.ladders.is_closed();
        let folders = self.by.registry.folders();
        let (state, reason) = match ended {
            Ok((true, reason)) => (LadderState::Passed, reason),
            Ok((false, reason)) => (LadderState::Failed, reason),
            Err(Halt::Cancelled(_)) if is_closed => {
                (LadderState::Interrupted, interrupted("was shut down", LadderState::Running))
            }
            Err(Halt::Cancelled(Some(id))) if !self.cancel.is_cancelled() => {
                (LadderState::Cancelled, format!("attempt {id} was cancelled"))
            }
            Err(Halt::Cancelled(_)) => (LadderState::Cancelled, "cancelled on request".to_owned()),
            Err(Halt::Store(reason)) => (LadderState::Interrupted, format!("{reason}; it can be resumed")),
            Err(Halt::Broken(error)) => (LadderState::Failed, folders.told(error).message),
            Err(Halt::Rung(failure)) => (LadderState::Failed, failure.message),
            Err(Halt::Known) => (LadderState::Failed, "a rung that fails for certain".to_owned()),
        };
        stop(&mut self.ladder, state, reason);
        // The end must be kept: a full disk may have room again.
        while let Err(error) = self.by.ladders.keep(self.turn, &self.ladder).await {
            tracing::error!(ladder = self.ladder.id, %error, "its end cannot be written; tried again");
            if self.by.ladders.is_closed() {
                break;
            }
            tokio::time::sleep(AGAIN).await;
        }
    }

    fn goes_on(&self) -> Result<(), Halt> {
        if self.cancel.is_cancelled() { Err(Halt::Cancelled(None)) } else { Ok(()) }
    }

    async fn keep(&self) -> Result<(), Halt> {
        Ok(self.by.ladders.keep(self.turn, &self.ladder).await?)
    }

    /// Runs what reads files or starts processes off the async threads; its errors name no path of this machine.
    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, ErrorObject> + Send + 'static,
    ) -> Result<T, ErrorObject> {
        let done = tokio::task::spawn_blocking(work).await;
        let done = done.map_err(|error| ErrorObject::new("internal", error.to_string())).flatten();
        done.map_err(|error| self.by.registry.folders().told(error))
    }
}

/// Why an attempt could not be kept, where that ended it: it says nothing of its rung.
fn unwritten(record: &AttemptRecord) -> Option<String> {
    let error = record.attempt.error.as_ref()?;
    ["storage_full", "database"].contains(&error.code.as_str()).then(|| error.message.clone())
}

/// What the end of an attempt means for its rung.
fn failure(record: &AttemptRecord) -> Failure {
    let error = record.attempt.error.as_ref();
    Failure {
        class: record.attempt.outcome.unwrap_or(OutcomeClass::WorkerLost),
        message: error.map_or_else(|| "it was unloaded by somebody else".to_owned(), ToString::to_string),
    }
}
