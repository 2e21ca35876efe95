//! The attempts of this server: what goes on is in memory and in the ledger, what has ended in the ledger alone.
//! Every change of state is a function here, written before the act and then published to all readers.

mod live;
mod transitions;

pub use live::{EndedBy, Job, Taken};

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{SystemTime, UNIX_EPOCH};

use phi3::api::{Attempt, AttemptKind, AttemptRecord, AttemptState, ErrorObject, EventKind};

use self::live::{Entry, Live};
use crate::events::Hub;
use crate::ledger::{Filter, Ledger, is_readable, lost};
use crate::processes;
use crate::store::StoreError;

/// Attempts that may wait; more are refused.
pub const QUEUE: usize = 16;

/// Longest note of an attempt or a model, in bytes.
pub const NOTE_BYTES: usize = 64 << 10;

/// Generated text kept with an attempt.
const TEXT_BYTES: usize = 1 << 20;

/// Why an attempt was not made, or not found.
#[derive(Debug, thiserror::Error)]
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
    /// It cannot be kept, or read.
    #[error(transparent)]
    Store(#[from] StoreError),
}

impl AttemptsError {
    /// The stable name.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::QueueFull => "queue_full",
            Self::ShuttingDown => "shutting_down",
            Self::Unknown(_) => "no_such_attempt",
            Self::Store(error) => error.code(),
        }
    }
}

/// All attempts.
#[derive(Debug)]
pub struct Attempts {
    live: Mutex<Live>,
    ledger: Ledger,
    hub: Arc<Hub>,
    /// Held while an attempt is added, so that ids and the queue have one order.
    adding: tokio::sync::Mutex<()>,
    /// Wakes the runner.
    pub(crate) arrived: tokio::sync::Notify,
    /// Wakes those that wait for a state.
    changed: tokio::sync::Notify,
}

impl Attempts {
    /// The attempts of a ledger; changes go to `hub`. Those that a dead server left open are `lost` from here on, and
    /// their workers are killed.
    ///
    /// # Errors
    /// The ledger cannot be read or written.
    pub async fn open(ledger: Ledger, hub: Arc<Hub>) -> Result<Self, StoreError> {
        for open in ledger.open_ones().await? {
            if let Some(worker) = open.worker {
                processes::kill_if_same(worker);
            }
            let mut record = open.record;
            if !is_readable(&record) {
                ledger.lose(record.attempt.id).await?;
                continue;
            }
            tracing::warn!(
                attempt = record.attempt.id,
                state = record.attempt.state.name(),
                "lost: the server died"
            );
            record.attempt.error = Some(lost(record.attempt.state));
            record.attempt.state = AttemptState::Lost;
            record.attempt.position = None;
            record.attempt.progress = None;
            record.attempt.finished_ms = Some(now_ms());
            let log = ledger.log(record.attempt.id).await?.unwrap_or_default();
            ledger.write(&record, &log, open.worker).await?;
        }
        Ok(Self {
            live: Mutex::default(),
            ledger,
            hub,
            adding: tokio::sync::Mutex::default(),
            arrived: tokio::sync::Notify::new(),
            changed: tokio::sync::Notify::new(),
        })
    }

    /// Keeps an attempt and puts it at the end of the queue of its device. A load of what is loaded already, or being
    /// loaded, is that attempt; so is a download of what is on its way.
    ///
    /// # Errors
    /// The queue is full, the server ends, or it cannot be kept.
    pub async fn queue(&self, mut record: AttemptRecord, job: Job) -> Result<u64, AttemptsError> {
        let _one_at_a_time = self.adding.lock().await;
        if job.kind == AttemptKind::Load
            && let Some((id, loads)) = self.loading(&job.model)
            && loads == job.loads
        {
            return Ok(id);
        }
        if job.kind == AttemptKind::Stage
            && let Some(id) = self.alike(&job.fingerprint)
        {
            return Ok(id);
        }
        {
            let live = self.lock();
            if live.closed {
                return Err(AttemptsError::ShuttingDown);
            }
            if live.queued().count() >= QUEUE {
                return Err(AttemptsError::QueueFull);
            }
            record.attempt.position = Some(live.ahead(&job.lanes, u64::MAX));
        }
        let id = self.ledger.add(&record, &job.fingerprint).await?;
        record.attempt.id = id;
        let closed = {
            let mut live = self.lock();
            // Others may have ended meanwhile.
            record.attempt.position = Some(live.ahead(&job.lanes, id));
            self.tell(&record.attempt);
            live.open.insert(id, Entry::new(record, job));
            live.closed
        };
        if closed {
            self.cancel(id, EndedBy::Shutdown).await.ok();
        }
        self.arrived.notify_one();
        Ok(id)
    }

    /// Takes the first attempt of a device that is free.
    pub(crate) fn take_next(&self) -> Option<Taken> {
        let mut live = self.lock();
        let id = live.next()?;
        let entry = live.open.get_mut(&id)?;
        entry.taken = true;
        Some(entry.take(id))
    }

    /// Asks for the end of an attempt; one that has ended stays as it is.
    ///
    /// # Errors
    /// No such attempt, or its end cannot be kept.
    pub async fn cancel(&self, id: u64, by: EndedBy) -> Result<Attempt, AttemptsError> {
        let waits = {
            let mut live = self.lock();
            live.open.get_mut(&id).is_some_and(|entry| {
                entry.ended_by.get_or_insert(by);
                entry.cancel.cancel();
                !std::mem::replace(&mut entry.taken, true)
            })
        };
        if waits {
            self.failed(id, ErrorObject::new("cancelled", format!("cancelled {by} while it waited")), None)
                .await;
        }
        Ok(self.get(id).await?.attempt)
    }

    /// Who asked for the end of an attempt that is not over.
    pub(crate) fn ended_by(&self, id: u64) -> Option<EndedBy> {
        self.lock().open.get(&id)?.ended_by
    }

    /// Ends everything and takes no more.
    pub async fn close(&self) {
        let open: Vec<u64> = {
            let mut live = self.lock();
            live.closed = true;
            live.open.keys().copied().collect()
        };
        for id in open {
            self.cancel(id, EndedBy::Shutdown).await.ok();
        }
        self.arrived.notify_one();
    }

    /// Whether [`Attempts::close`] was called.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.lock().closed
    }

    /// Attempts without their logs, newest first.
    ///
    /// # Errors
    /// The ledger cannot be read.
    pub async fn list(&self, filter: &Filter) -> Result<Vec<AttemptRecord>, AttemptsError> {
        let mut records = self.ledger.list(filter).await?;
        let mut ended = Vec::new();
        {
            let live = self.lock();
            for (i, record) in records.iter_mut().enumerate() {
                if let Some(entry) = live.open.get(&record.attempt.id) {
                    let note = std::mem::take(&mut record.attempt.note);
                    *record = entry.shown();
                    record.attempt.note = note;
                } else if !record.attempt.state.is_final() {
                    ended.push(i);
                }
            }
        }
        // Those ended between the two looks.
        for i in ended {
            if let Some(record) = self.ledger.get(records[i].attempt.id).await? {
                records[i] = record;
            }
        }
        Ok(records)
    }

    /// One attempt with its log.
    ///
    /// # Errors
    /// No such attempt, or the ledger cannot be read.
    pub async fn get(&self, id: u64) -> Result<AttemptRecord, AttemptsError> {
        let kept = self.ledger.get(id).await?;
        let live = {
            let live = self.lock();
            live.open.get(&id).map(|entry| (entry.shown(), entry.log.lines()))
        };
        let note = kept.as_ref().map(|record| record.attempt.note.clone());
        let mut record = match live {
            Some((mut record, log)) => {
                record.attempt.log = log;
                record
            }
            None => {
                // It may have ended between the two looks.
                let mut record = match kept {
                    Some(record) if record.attempt.state.is_final() => record,
                    _ => self.ledger.get(id).await?.ok_or(AttemptsError::Unknown(id))?,
                };
                record.attempt.log = self.ledger.log(id).await?.unwrap_or_default();
                record
            }
        };
        if let Some(note) = note {
            record.attempt.note = note;
        }
        Ok(record)
    }

    /// Replaces the note of an attempt.
    ///
    /// # Errors
    /// No such attempt, or it cannot be kept.
    pub async fn note(&self, id: u64, note: &str) -> Result<AttemptRecord, AttemptsError> {
        if !self.ledger.note(id, note).await? {
            return Err(AttemptsError::Unknown(id));
        }
        let record = self.get(id).await?;
        // As with every other event: the log is asked for.
        self.tell(&Attempt { log: Vec::new(), ..record.attempt.clone() });
        Ok(record)
    }

    /// The ledger, for what has ended.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The attempts that go on, loaded models included, oldest first.
    #[must_use]
    pub fn going_on(&self) -> Vec<Attempt> {
        self.lock().open.values().map(|entry| entry.shown().attempt).collect()
    }

    /// Attempts that wait, and those that run (loaded models included).
    #[must_use]
    pub fn counts(&self) -> (usize, usize) {
        let live = self.lock();
        let waiting = live.queued().count();
        (waiting, live.open.len() - waiting)
    }

    /// The attempt that loads or holds a model, with the fingerprint of what it loads.
    #[must_use]
    pub fn loading(&self, model: &str) -> Option<(u64, String)> {
        let live = self.lock();
        live.open.iter().rev().find_map(|(id, entry)| {
            let attempt = &entry.record.attempt;
            let is_load = attempt.kind == AttemptKind::Load && attempt.model == model;
            (is_load && !entry.is_ending()).then(|| (*id, entry.job.loads.clone()))
        })
    }

    /// Loads of a model that were begun and are not over, oldest first, each with whether it is ending.
    pub(crate) fn begun(&self, model: &str) -> Vec<(u64, bool)> {
        let live = self.lock();
        let is_load = |entry: &Entry| {
            let attempt = &entry.record.attempt;
            entry.taken && attempt.kind == AttemptKind::Load && attempt.model == model
        };
        let begun = live.open.iter().filter(|(_, entry)| is_load(entry));
        begun.map(|(id, entry)| (*id, entry.is_ending())).collect()
    }

    /// Waits until an attempt is in a state that is wanted, and gives it as it is then, with its log.
    ///
    /// # Errors
    /// No such attempt, or the ledger cannot be read.
    pub async fn until(
        &self,
        id: u64,
        wanted: impl Fn(AttemptState) -> bool,
    ) -> Result<AttemptRecord, AttemptsError> {
        loop {
            let changed = self.changed.notified();
            tokio::pin!(changed);
            // Before the look: what changes meanwhile is not missed.
            changed.as_mut().enable();
            let record = self.get(id).await?;
            if wanted(record.attempt.state) {
                return Ok(record);
            }
            changed.await;
        }
    }

    /// An attempt of this fingerprint that goes on.
    fn alike(&self, fingerprint: &str) -> Option<u64> {
        let live = self.lock();
        let alike = |entry: &Entry| entry.job.fingerprint == fingerprint && !entry.cancel.is_cancelled();
        live.open.iter().find(|(_, entry)| alike(entry)).map(|(id, _)| *id)
    }

    pub(super) fn tell(&self, attempt: &Attempt) {
        self.hub.publish(EventKind::Attempt { attempt: Box::new(attempt.clone()) });
        self.changed.notify_waiters();
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Live> {
        // Every change is complete before anything in here can panic.
        self.live.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Milliseconds since 1970.
#[must_use]
pub fn now_ms() -> u64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since_1970.as_millis()).unwrap_or(u64::MAX)
}
