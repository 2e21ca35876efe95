//! The attempts of this server, append-only and in memory. Every change of state is a function here,
//! written before the act and published to all readers.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use phi3::api::worker::{Load, Validate};
use phi3::api::{Attempt, AttemptKind, AttemptState, ErrorObject, EventKind};
use phi3::engine::LoadProgress;
use phi3::validate::{Report, Verdict};
use tokio_util::sync::CancellationToken;

use crate::events::Hub;
use crate::log_ring::LogRing;

/// Attempts that may wait; more are refused.
pub const QUEUE: usize = 16;

/// Generated text kept with an attempt.
const TEXT_BYTES: usize = 1 << 20;

/// What to run, as it was asked for.
#[derive(Debug, Clone)]
pub struct Job {
    /// Id of the model.
    pub model: String,
    /// What to load.
    pub load: Load,
    /// What to run then.
    pub validate: Validate,
}

/// Why an attempt was not made, or not found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AttemptsError {
    /// [`QUEUE`] attempts wait already.
    #[error("{QUEUE} attempts wait already; try again when one has ended")]
    QueueFull,
    /// The server ends.
    #[error("the server is shutting down")]
    ShuttingDown,
    /// No attempt of that id.
    #[error("there is no attempt {0}")]
    Unknown(u64),
}

/// All attempts, oldest first.
#[derive(Debug)]
pub struct Attempts {
    inner: Mutex<Inner>,
    hub: Arc<Hub>,
    /// Wakes the runner.
    pub(crate) arrived: tokio::sync::Notify,
}

#[derive(Debug, Default)]
struct Inner {
    records: Vec<Record>,
    closed: bool,
}

#[derive(Debug)]
struct Record {
    attempt: Attempt,
    job: Job,
    cancel: CancellationToken,
    log: Arc<LogRing>,
}

/// An attempt that the runner has taken.
#[derive(Debug)]
pub struct Taken {
    /// Id of the attempt.
    pub id: u64,
    /// What to run.
    pub job: Job,
    /// Fires when somebody asks for the end.
    pub cancel: CancellationToken,
    /// Where the worker's log goes.
    pub log: Arc<LogRing>,
}

impl Attempts {
    /// No attempts yet; changes go to `hub`.
    #[must_use]
    pub fn new(hub: Arc<Hub>) -> Self {
        Self { inner: Mutex::default(), hub, arrived: tokio::sync::Notify::new() }
    }

    /// Puts an attempt at the end of the queue and tells its id.
    ///
    /// # Errors
    /// The queue is full, or the server ends.
    pub fn queue(&self, job: Job) -> Result<u64, AttemptsError> {
        let mut inner = self.lock();
        if inner.closed {
            return Err(AttemptsError::ShuttingDown);
        }
        let ahead = inner.records.iter().filter(|record| !record.attempt.state.is_final()).count();
        if inner.queued().count() >= QUEUE {
            return Err(AttemptsError::QueueFull);
        }
        let id = inner.records.len() as u64 + 1;
        let attempt = Attempt {
            id,
            model: job.model.clone(),
            kind: AttemptKind::Validate,
            state: AttemptState::Queued,
            position: Some(ahead),
            device: job.load.device.clone().unwrap_or_else(|| "auto".to_owned()),
            created_ms: now_ms(),
            started_ms: None,
            finished_ms: None,
            progress: None,
            text: String::new(),
            report: None,
            error: None,
            log: Vec::new(),
        };
        self.tell(&attempt);
        inner.records.push(Record { attempt, job, cancel: CancellationToken::new(), log: Arc::default() });
        drop(inner);
        self.arrived.notify_one();
        Ok(id)
    }

    /// Takes the first of the queue: it is `starting` now.
    pub fn start_next(&self) -> Option<Taken> {
        let mut inner = self.lock();
        let index = inner.queued().next()?;
        let record = &mut inner.records[index];
        record.attempt.state = AttemptState::Starting;
        record.attempt.started_ms = Some(now_ms());
        record.attempt.position = None;
        self.tell(&record.attempt);
        let taken = Taken {
            id: record.attempt.id,
            job: record.job.clone(),
            cancel: record.cancel.clone(),
            log: Arc::clone(&record.log),
        };
        for (place, index) in inner.queued().collect::<Vec<_>>().into_iter().enumerate() {
            let attempt = &mut inner.records[index].attempt;
            attempt.position = Some(place + 1);
            self.tell(attempt);
        }
        Some(taken)
    }

    /// Its worker was told to load.
    pub fn loading(&self, id: u64) {
        self.change(id, |attempt| attempt.state = AttemptState::Loading);
    }

    /// Its load went on.
    pub fn progress(&self, id: u64, progress: LoadProgress) {
        self.update(id, |attempt| attempt.progress = Some(progress));
        self.hub.publish(EventKind::Progress { attempt_id: id, progress });
    }

    /// Its model is loaded and runs.
    pub fn validating(&self, id: u64) {
        self.change(id, |attempt| {
            attempt.state = AttemptState::Validating;
            attempt.progress = None;
        });
    }

    /// It generated a token.
    pub fn token(&self, id: u64, token: u32, text: String) {
        self.update(id, |attempt| {
            if attempt.text.len() + text.len() <= TEXT_BYTES {
                attempt.text.push_str(&text);
            }
        });
        self.hub.publish(EventKind::Token { attempt_id: id, token, text });
    }

    /// It reported; its worker is being ended.
    pub fn stopping(&self, id: u64, report: Report) {
        self.hub.publish(EventKind::Report { attempt_id: id, report: Box::new(report.clone()) });
        self.change(id, |attempt| {
            attempt.state = AttemptState::Stopping;
            attempt.text.clone_from(&report.text);
            attempt.report = Some(report);
        });
    }

    /// Its worker has ended as planned: it failed if its report says so.
    pub fn stopped(&self, id: u64) {
        self.change(id, |attempt| {
            let failed = attempt.report.as_ref().filter(|report| report.verdict == Verdict::Fail);
            attempt.error = failed.map(|report| ErrorObject::new("validation_failed", &report.reason));
            attempt.state = if failed.is_some() { AttemptState::Failed } else { AttemptState::Stopped };
            attempt.finished_ms = Some(now_ms());
        });
    }

    /// It ended with an error; `cancelled` is a state of its own.
    pub fn failed(&self, id: u64, error: ErrorObject) {
        self.change(id, |attempt| {
            let cancelled = error.code == "cancelled";
            attempt.state = if cancelled { AttemptState::Cancelled } else { AttemptState::Failed };
            attempt.error = Some(error);
            attempt.position = None;
            attempt.progress = None;
            attempt.finished_ms = Some(now_ms());
        });
    }

    /// Asks for the end of an attempt; one that has ended stays as it is.
    ///
    /// # Errors
    /// No such attempt.
    pub fn cancel(&self, id: u64) -> Result<Attempt, AttemptsError> {
        let waits = {
            let inner = self.lock();
            let record = inner.record(id)?;
            record.cancel.cancel();
            record.attempt.state == AttemptState::Queued
        };
        if waits {
            self.failed(id, ErrorObject::new("cancelled", "cancelled while it waited"));
        }
        self.get(id)
    }

    /// Ends everything and takes no more.
    pub fn close(&self) {
        let open: Vec<u64> = {
            let mut inner = self.lock();
            inner.closed = true;
            let open = inner.records.iter().filter(|record| !record.attempt.state.is_final());
            open.map(|record| record.attempt.id).collect()
        };
        for id in open {
            self.cancel(id).ok();
        }
        self.arrived.notify_one();
    }

    /// Whether [`Attempts::close`] was called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Every attempt without its log, newest first.
    #[must_use]
    pub fn list(&self) -> Vec<Attempt> {
        self.lock().records.iter().rev().map(|record| record.attempt.clone()).collect()
    }

    /// One attempt with its log.
    ///
    /// # Errors
    /// No such attempt.
    pub fn get(&self, id: u64) -> Result<Attempt, AttemptsError> {
        let inner = self.lock();
        let record = inner.record(id)?;
        Ok(Attempt { log: record.log.lines(), ..record.attempt.clone() })
    }

    fn change(&self, id: u64, change: impl FnOnce(&mut Attempt)) {
        if let Some(attempt) = self.update(id, change) {
            self.tell(&attempt);
        }
    }

    fn update(&self, id: u64, change: impl FnOnce(&mut Attempt)) -> Option<Attempt> {
        let mut inner = self.lock();
        let record = inner.record_mut(id)?;
        // What has ended stays as it is.
        if record.attempt.state.is_final() {
            return None;
        }
        change(&mut record.attempt);
        Some(record.attempt.clone())
    }

    fn tell(&self, attempt: &Attempt) {
        self.hub.publish(EventKind::Attempt { attempt: Box::new(attempt.clone()) });
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Indices of those that wait, in order.
    fn queued(&self) -> impl Iterator<Item = usize> + '_ {
        let waits = |(index, record): (usize, &Record)| {
            (record.attempt.state == AttemptState::Queued).then_some(index)
        };
        self.records.iter().enumerate().filter_map(waits)
    }

    fn index(id: u64) -> Option<usize> {
        usize::try_from(id).ok()?.checked_sub(1)
    }

    fn record(&self, id: u64) -> Result<&Record, AttemptsError> {
        Self::index(id).and_then(|index| self.records.get(index)).ok_or(AttemptsError::Unknown(id))
    }

    fn record_mut(&mut self, id: u64) -> Option<&mut Record> {
        self.records.get_mut(Self::index(id)?)
    }
}

fn now_ms() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}
