//! Prompts that ride along with the steps of running streams, and what happens where their memory runs out.

use phi3::api::{ErrorObject, StreamEvent};
use phi3::engine::{Diagnostics, Engine, EngineError, PromptPart, SequenceId};
use pollster::block_on;

use super::{Batch, Entered, Running, Tell};
use crate::text::Text;

/// Tokens that a stream which gave its memory back must have room for before it goes on: computing it anew for less
/// would not be worth it.
const WORTH_RESUMING: usize = 64;

/// A prompt's next ids, up to `until`.
struct Part {
    sequence: SequenceId,
    until: usize,
}

impl Running {
    /// Whether the engine has all of its prompt.
    fn is_fed(&self) -> bool {
        self.fed == self.prompt.len()
    }

    /// Whether the next step is one of its own.
    fn is_ready(&self) -> bool {
        self.is_fed() && !self.is_parked && self.steps < self.max_new_tokens
    }
}

/// Whether a step failed because sequences that share memory have outgrown it.
pub(super) fn has_outgrown(error: &EngineError) -> bool {
    matches!(error, EngineError::OutOfMemory { phase: "kv_cache", .. })
}

impl Batch {
    /// Sequences that can take a step.
    pub(super) fn ready(&self) -> Vec<SequenceId> {
        self.running.iter().filter(|stream| stream.is_ready()).map(|stream| stream.sequence).collect()
    }

    /// Whether a stream waits for memory that it had.
    pub(super) fn is_short(&self) -> bool {
        self.running.iter().any(|stream| stream.is_parked)
    }

    /// One step of all, with as much of prompts as does not hold it up.
    pub(super) fn mixed_step<E: Engine + Diagnostics>(
        &mut self,
        engine: &mut E,
        text: &Text,
        most: usize,
        tell: Tell<'_>,
    ) {
        while !self.is_short() && self.running.len() < most {
            let Some(Entered { sequence, .. }) = self.enter(engine, text, tell) else { break };
            // Its prompt goes bit by bit.
            let stream = self.running.iter_mut().find(|stream| stream.sequence == sequence);
            stream.into_iter().for_each(|stream| stream.fed = 0);
        }
        let ready = self.ready();
        let parts = self.parts(engine.part_rows(ready.len()));
        match (parts.is_empty(), ready.is_empty()) {
            (false, _) => self.mix(engine, text, &ready, &parts, tell),
            (true, false) => self.decode(engine, text, &ready, tell),
            (true, true) => self.late(engine, text, tell),
        }
    }

    /// The next ids of prompts, as many as `rows`; who came first is first.
    fn parts(&self, mut rows: usize) -> Vec<Part> {
        let mut waiting: Vec<&Running> = self.running.iter().filter(|stream| !stream.is_fed()).collect();
        waiting.sort_by_key(|stream| stream.sequence);
        let mut parts = Vec::new();
        for stream in waiting {
            let until = stream.prompt.len().min(stream.fed + rows);
            if until > stream.fed {
                rows -= until - stream.fed;
                parts.push(Part { sequence: stream.sequence, until });
            }
        }
        parts
    }

    /// Parts of prompts beside a step of running streams. Where that fails, each is tried alone, so that one takes nobody
    /// along.
    fn mix<E: Engine + Diagnostics>(
        &mut self,
        engine: &mut E,
        text: &Text,
        ready: &[SequenceId],
        parts: &[Part],
        tell: Tell<'_>,
    ) {
        let of = |sequence: SequenceId| self.running.iter().find(|stream| stream.sequence == sequence);
        let asked = parts.iter().filter_map(|Part { sequence, until }| {
            let stream = of(*sequence)?;
            let tokens = &stream.prompt[stream.fed..*until];
            Some(PromptPart { sequence: *sequence, tokens, is_last: *until == stream.prompt.len() })
        });
        let asked: Vec<PromptPart<'_>> = asked.collect();
        let error = match block_on(engine.mixed(&asked, ready)) {
            Ok(sampled) => {
                for stream in &mut self.running {
                    stream.steps += usize::from(ready.contains(&stream.sequence));
                    let part = parts.iter().find(|part| part.sequence == stream.sequence);
                    let Some(Part { until, .. }) = part else { continue };
                    stream.fed = *until;
                    // Only now is it sure that nothing of it is refused.
                    if stream.is_fed() {
                        tell(stream.id, StreamEvent::Started { prompt_tokens: stream.prompt.len() });
                    }
                }
                return self.took(engine, text, &sampled, tell);
            }
            Err(error) => error,
        };
        match (ready, parts) {
            ([], [part]) => self.fail(engine, part.sequence, &error, tell),
            (ready, _) if !ready.is_empty() && has_outgrown(&error) => self.park(engine, ready),
            (ready, parts) => {
                if !ready.is_empty() {
                    self.decode(engine, text, ready, tell);
                }
                parts.iter().for_each(|part| self.mix(engine, text, &[], std::slice::from_ref(part), tell));
            }
        }
    }

    /// Lets the one of them that came last give its memory to the others, and wait.
    pub(super) fn park<E: Engine>(&mut self, engine: &mut E, ready: &[SequenceId]) {
        let Some(last) = ready.iter().max() else { return };
        engine.park(*last);
        if let Some(stream) = self.running.iter_mut().find(|stream| stream.sequence == *last) {
            stream.is_parked = true;
        }
    }

    /// Lets streams that gave their memory back go on, as far as there is memory again; who came first is first. Not
    /// before another has left: what they need would be taken from those that they made room for.
    pub(super) fn resume<E: Engine>(&mut self, engine: &mut E, tell: Tell<'_>) {
        let all_wait = |batch: &Self| batch.running.iter().all(|stream| stream.is_parked);
        if !(std::mem::take(&mut self.has_room) || all_wait(self)) {
            return;
        }
        while let Some(place) = self.first_parked() {
            let stream = &mut self.running[place];
            let left = stream.max_new_tokens - stream.steps;
            let tokens = stream.prompt.len() + stream.steps - 1 + left.min(WORTH_RESUMING);
            match engine.reserve(stream.sequence, tokens) {
                Ok(()) => stream.is_parked = false,
                // It will never have more.
                Err(error) if all_wait(self) => {
                    let stream = self.leave(engine, place);
                    tell(stream.id, StreamEvent::Failed { error: ErrorObject::from(&error) });
                }
                Err(_) => return,
            }
        }
    }

    fn first_parked(&self) -> Option<usize> {
        let parked = self.running.iter().enumerate().filter(|(_, stream)| stream.is_parked);
        parked.min_by_key(|(_, stream)| stream.sequence).map(|(place, _)| place)
    }
}
