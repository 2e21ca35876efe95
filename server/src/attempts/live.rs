//! Attempts that go on: their queue, one for each device, and what is known of them in memory alone.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;

use phi3::api::worker::{Load, Validate};
use phi3::api::{AttemptKind, AttemptRecord, AttemptState};
use phi3::load_config::Facts;
use tokio_util::sync::CancellationToken;

use crate::ledger::WorkerMark;
use crate::log_ring::LogRing;

/// What to run, decided.
#[derive(Debug, Clone)]
pub struct Job {
    /// Id of the model.
    pub model: String,
    /// What is tried.
    pub kind: AttemptKind,
    /// What to load.
    pub load: Load,
    /// The branch or tag that a download's commit was asked for by.
    pub revision: Option<String>,
    /// What to run then, for a validation.
    pub validate: Option<Validate>,
    /// The device that it is of first of all: the first GPU of several.
    pub lane: String,
    /// Every device in whose queue it waits: one load at a time on each.
    pub lanes: Vec<String>,
    /// Attempts of the same fingerprint are alike in all that decides how they end.
    pub fingerprint: String,
    /// Jobs with this in common load the same, in the same words, whatever is run then.
    pub loads: String,
    /// Load although the estimate says that it does not fit.
    pub force: bool,
}

/// Who asks for the end of an attempt.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EndedBy {
    /// A person, through a request.
    Request,
    /// The attempt that loads the same model anew.
    Load(u64),
    /// The ladder that made it, or needs its place.
    Ladder(u64),
    /// The server, which ends.
    Shutdown,
}

impl fmt::Display for EndedBy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Request => write!(f, "on request"),
            Self::Load(attempt) => write!(f, "for attempt {attempt}, which loads the model anew"),
            Self::Ladder(ladder) => write!(f, "by ladder {ladder}"),
            Self::Shutdown => write!(f, "with the server, which was shut down"),
        }
    }
}

/// An attempt that the runner has taken.
#[derive(Debug, Clone)]
pub struct Taken {
    /// Id of the attempt.
    pub id: u64,
    /// What to run.
    pub job: Arc<Job>,
    /// Fires when somebody asks for the end.
    pub cancel: CancellationToken,
    /// Where the worker's log goes.
    pub log: Arc<LogRing>,
}

#[derive(Debug, Default)]
pub(super) struct Live {
    /// By id, which is the order that they came in.
    pub(super) open: BTreeMap<u64, Entry>,
    pub(super) closed: bool,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) record: AttemptRecord,
    pub(super) job: Arc<Job>,
    pub(super) cancel: CancellationToken,
    pub(super) log: Arc<LogRing>,
    /// What the model is made for: what to try next rests on it.
    pub(super) facts: Facts,
    /// Who asked for its end first, where somebody did.
    pub(super) ended_by: Option<EndedBy>,
    /// Somebody sees to it: the runner, or whoever cancelled it while it waited.
    pub(super) taken: bool,
    pub(super) worker: Option<WorkerMark>,
    /// Since when it is in its state.
    pub(super) since: Instant,
    /// The state before its end, while that is being written: nobody is told what is not kept yet.
    pub(super) ending: Option<AttemptState>,
}

impl Entry {
    pub(super) fn new(record: AttemptRecord, job: Job) -> Self {
        Self {
            record,
            job: Arc::new(job),
            cancel: CancellationToken::new(),
            log: Arc::default(),
            facts: Facts::default(),
            ended_by: None,
            taken: false,
            worker: None,
            since: Instant::now(),
            ending: None,
        }
    }

    /// The attempt as it may be told.
    pub(super) fn shown(&self) -> AttemptRecord {
        let mut record = self.record.clone();
        if let Some(state) = self.ending {
            record.attempt.state = state;
            record.attempt.finished_ms = None;
            record.attempt.outcome = None;
            record.attempt.error = None;
        }
        record
    }

    pub(super) fn take(&self, id: u64) -> Taken {
        Taken { id, job: Arc::clone(&self.job), cancel: self.cancel.clone(), log: Arc::clone(&self.log) }
    }

    /// Whether it keeps its device from loading another: a loaded model at rest does not, until it is asked to end.
    fn occupies(&self) -> bool {
        self.taken && (self.record.attempt.state != AttemptState::Ready || self.is_ending())
    }

    /// Whether it has been asked to end, or ends by itself.
    pub(super) fn is_ending(&self) -> bool {
        self.cancel.is_cancelled()
            || self.ending.is_some()
            || self.record.attempt.state == AttemptState::Stopping
    }
}

impl Live {
    /// Those that wait, in order.
    pub(super) fn queued(&self) -> impl Iterator<Item = (u64, &Entry)> {
        self.open.iter().filter(|(_, entry)| !entry.taken).map(|(id, entry)| (*id, entry))
    }

    /// The first that waits for a device that is free.
    pub(super) fn next(&self) -> Option<u64> {
        let occupying = self.open.values().filter(|entry| entry.occupies());
        let mut busy: Vec<&String> = occupying.flat_map(|entry| &entry.job.lanes).collect();
        for (id, entry) in self.queued() {
            if !entry.job.lanes.iter().any(|lane| busy.contains(&lane)) {
                return Some(id);
            }
            // None overtakes another of its devices.
            busy.extend(&entry.job.lanes);
        }
        None
    }

    /// Attempts that come before `id` on any of its devices.
    pub(super) fn ahead(&self, lanes: &[String], id: u64) -> usize {
        let before = self.open.range(..id).map(|(_, entry)| entry);
        let is_before = |entry: &&Entry| {
            (entry.occupies() || !entry.taken) && entry.job.lanes.iter().any(|lane| lanes.contains(lane))
        };
        before.filter(is_before).count()
    }
}
