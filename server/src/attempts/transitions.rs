//! From one state to the next: written first, then told.

use std::time::{Duration, Instant};

use phi3::api::{AttemptRecord, AttemptState, ErrorObject, EventKind};
use phi3::engine::LoadProgress;
use phi3::load_config::{Facts, OutcomeClass};
use phi3::validate::{Report, Verdict};

use super::live::Entry;
use super::{Attempts, TEXT_BYTES, now_ms};
use crate::ledger::WorkerMark;
use crate::store::StoreError;
use crate::worker_client::WorkerError;
use crate::{metrics, outcome};

/// How long to wait before an end that could not be written is written again.
const AGAIN: Duration = Duration::from_secs(1);

impl Attempts {
    /// Writes that an attempt goes on to `state`, with what `change` says of it.
    ///
    /// # Errors
    /// It could not be written: what it announces must not be done.
    pub(crate) async fn enter(
        &self,
        id: u64,
        state: AttemptState,
        change: impl FnOnce(&mut AttemptRecord),
    ) -> Result<(), StoreError> {
        let Some((record, log, worker)) = self.change(id, |entry| {
            entry.leave(state);
            change(&mut entry.record);
        }) else {
            return Ok(());
        };
        self.ledger.write(&record, &log, worker).await?;
        self.tell(&record.attempt);
        self.tell_positions(&record);
        // A model that came to rest has left its device to others.
        self.arrived.notify_one();
        Ok(())
    }

    /// The worker of an attempt was started.
    ///
    /// # Errors
    /// It could not be written: the worker must be ended.
    pub(crate) async fn started(&self, id: u64, worker: Option<WorkerMark>) -> Result<(), StoreError> {
        let Some((record, log, worker)) = self.change(id, |entry| entry.worker = worker) else {
            return Ok(());
        };
        self.ledger.write(&record, &log, worker).await
    }

    /// Its load went on.
    pub(crate) fn progress(&self, id: u64, progress: LoadProgress) {
        self.change(id, |entry| entry.record.attempt.progress = Some(progress));
        self.hub.publish(EventKind::Progress { attempt_id: id, progress });
    }

    /// It generated a token.
    pub(crate) fn token(&self, id: u64, token: u32, text: String) {
        {
            let mut live = self.lock();
            if let Some(entry) = live.open.get_mut(&id) {
                let kept = &mut entry.record.attempt.text;
                if kept.len() + text.len() <= TEXT_BYTES {
                    kept.push_str(&text);
                }
            }
        }
        self.hub.publish(EventKind::Token { attempt_id: id, token, text });
    }

    /// It reported.
    pub(crate) fn report(&self, id: u64, report: Report) {
        self.hub.publish(EventKind::Report { attempt_id: id, report: Box::new(report.clone()) });
        self.change(id, |entry| {
            entry.record.attempt.text.clone_from(&report.text);
            entry.record.attempt.report = Some(report);
        });
    }

    /// More is known of it; kept with its next state.
    pub(crate) fn learn(&self, id: u64, change: impl FnOnce(&mut AttemptRecord)) {
        self.change(id, |entry| change(&mut entry.record));
    }

    /// What its model is made for is known.
    pub(crate) fn know(&self, id: u64, facts: Facts) {
        self.change(id, |entry| entry.facts = facts);
    }

    /// It has ended as planned: it failed if its report says so.
    pub(crate) async fn stopped(&self, id: u64) {
        self.end(id, None, |record, _lane| {
            let failed = record.attempt.report.as_ref().filter(|report| report.verdict == Verdict::Fail);
            let error = failed.map(|report| ErrorObject::new("validation_failed", &report.reason));
            record.attempt.outcome = Some(match record.attempt.report.as_ref() {
                Some(report) if report.verdict == Verdict::Fail => outcome::of_report(report),
                _ => OutcomeClass::Passed,
            });
            let state = if error.is_some() { AttemptState::Failed } else { AttemptState::Stopped };
            record.attempt.error = error;
            state
        })
        .await;
    }

    /// It has ended with an error, and so many bytes are free on its device since; `cancelled` is a state of its own.
    pub(crate) async fn failed(&self, id: u64, error: ErrorObject, free_bytes: Option<u64>) {
        self.end(id, free_bytes, |record, lane| {
            record.attempt.outcome = outcome::of_error(&error, record, lane);
            let cancelled = error.code == "cancelled";
            record.attempt.error = Some(error);
            if cancelled { AttemptState::Cancelled } else { AttemptState::Failed }
        })
        .await;
    }

    async fn end(
        &self,
        id: u64,
        free_bytes: Option<u64>,
        change: impl FnOnce(&mut AttemptRecord, &str) -> AttemptState,
    ) {
        let ended = self.change(id, |entry| {
            entry.ending = Some(entry.record.attempt.state);
            let state = change(&mut entry.record, &entry.job.lane);
            // A worker that was ended knows no more than that.
            if let (Some(by), Some(error)) = (entry.ended_by, &mut entry.record.attempt.error)
                && error.message == WorkerError::Cancelled.to_string()
            {
                error.message = format!("{} {by}", error.message);
            }
            entry.leave(state);
            let attempt = &mut entry.record.attempt;
            attempt.position = None;
            attempt.progress = None;
            attempt.finished_ms = Some(now_ms());
            outcome::advise(&mut entry.record, &entry.job.lane, free_bytes, &entry.facts);
        });
        let Some((record, log, worker)) = ended else { return };
        // The end must be kept: a full disk may have room again.
        while let Err(error) = self.ledger.write(&record, &log, worker).await {
            tracing::error!(attempt = id, %error, "the end of an attempt cannot be written; tried again");
            if self.is_closed() {
                // With the next start it is `lost`: that it went on is written.
                break;
            }
            tokio::time::sleep(AGAIN).await;
        }
        self.lock().open.remove(&id);
        metrics::attempt_ended(&record);
        self.tell(&record.attempt);
        self.tell_positions(&record);
        self.arrived.notify_one();
    }

    /// Changes an attempt that goes on; gives what is to be written. What has ended stays as it is.
    fn change(
        &self,
        id: u64,
        change: impl FnOnce(&mut Entry),
    ) -> Option<(AttemptRecord, Vec<String>, Option<WorkerMark>)> {
        let mut live = self.lock();
        let entry = live.open.get_mut(&id)?;
        if entry.record.attempt.state.is_final() {
            return None;
        }
        change(entry);
        Some((entry.record.clone(), entry.log.lines(), entry.worker))
    }

    /// Those that wait behind an attempt have moved up.
    fn tell_positions(&self, moved: &AttemptRecord) {
        let mut live = self.lock();
        let moves = |(id, entry): (&u64, &Entry)| {
            let position = Some(live.ahead(&entry.job.lanes, *id));
            let is_new = !entry.taken && *id != moved.attempt.id && entry.record.attempt.position != position;
            is_new.then_some((*id, position))
        };
        let moved: Vec<_> = live.open.iter().filter_map(moves).collect();
        for (id, position) in moved {
            if let Some(entry) = live.open.get_mut(&id) {
                entry.record.attempt.position = position;
                self.tell(&entry.record.attempt);
            }
        }
    }
}

impl Entry {
    /// Goes on to `state`, and notes how long the one before took.
    fn leave(&mut self, state: AttemptState) {
        let elapsed_ms = self.since.elapsed().as_secs_f64() * 1e3;
        let timings = &mut self.record.evidence.timings;
        let stage = match self.record.attempt.state {
            AttemptState::Queued => Some(&mut timings.queued_ms),
            AttemptState::Downloading => Some(&mut timings.downloading_ms),
            AttemptState::Checking => Some(&mut timings.checking_ms),
            AttemptState::Starting => Some(&mut timings.starting_ms),
            AttemptState::Loading => Some(&mut timings.loading_ms),
            AttemptState::Validating => Some(&mut timings.validating_ms),
            AttemptState::Ready => Some(&mut timings.ready_ms),
            AttemptState::Stopping => Some(&mut timings.stopping_ms),
            _ => None,
        };
        if let Some(stage) = stage {
            *stage = Some(stage.unwrap_or_default() + elapsed_ms);
        }
        self.since = Instant::now();
        let attempt = &mut self.record.attempt;
        if attempt.state == AttemptState::Queued {
            attempt.position = None;
            if !state.is_final() {
                attempt.started_ms = Some(now_ms());
            }
        }
        if ![AttemptState::Loading, AttemptState::Downloading].contains(&state) {
            attempt.progress = None;
        }
        attempt.state = state;
    }
}
