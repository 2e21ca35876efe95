//! Generation: the loop over an engine that turns a prompt into ids, one at a time.

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use crate::engine::{Engine, EngineError, Prompt, Sampled, Sampling, SequenceId};
use crate::platform::Instant;

/// What to generate.
#[derive(Debug, Clone)]
pub struct Request<'a> {
    /// At least one id.
    pub prompt: &'a [u32],
    /// Most ids to add.
    pub max_new_tokens: usize,
    /// Ids that end the generation.
    pub stop_ids: &'a [u32],
    /// How ids are chosen.
    pub sampling: Sampling,
}

impl Request<'_> {
    /// Tokens that the sequence must have room for: the last id added is never computed on.
    #[must_use]
    pub fn capacity(&self) -> usize {
        (self.prompt.len() + self.max_new_tokens).saturating_sub(1)
    }
}

/// Why a generation ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopReason {
    /// A stop id; it is the last of the ids.
    Stop,
    /// As many ids as were asked for.
    Length,
    /// The callback broke off.
    Cancelled,
}

/// How long it took. Rates are `None` where there is nothing to divide.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Timings {
    /// From the call until the first id was readable.
    pub ttft_ms: Option<f64>,
    /// Prompt tokens by that time.
    pub prefill_tokens_per_s: Option<f64>,
    /// Ids after the first, by the time from the first to the last.
    pub decode_tokens_per_s: Option<f64>,
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Generation {
    /// The ids added, a stop id included.
    pub ids: Vec<u32>,
    /// Why it ended.
    pub stop_reason: StopReason,
    /// How long it took.
    pub timings: Timings,
}

/// Generates on a sequence of its own, `id`, which is released in any case.
///
/// `on_token` sees every id as soon as it is readable; breaking ends the generation after that id.
/// Ids may lag behind the engine's steps, which are never more than `max_new_tokens`.
///
/// # Errors
/// Those of the engine; a prompt and `max_new_tokens` that do not fit the planned context are
/// [`EngineError::SequenceFull`].
pub async fn generate<E: Engine>(
    engine: &mut E,
    id: SequenceId,
    request: &Request<'_>,
    on_token: &mut dyn FnMut(u32) -> ControlFlow<()>,
) -> Result<Generation, EngineError> {
    engine.open(id, request.capacity(), &request.sampling).await?;
    let generation = run(engine, id, request, on_token).await;
    engine.release(id);
    generation
}

async fn run<E: Engine>(
    engine: &mut E,
    id: SequenceId,
    request: &Request<'_>,
    on_token: &mut dyn FnMut(u32) -> ControlFlow<()>,
) -> Result<Generation, EngineError> {
    let mut clock = Clock { start: Instant::now(), first_s: None, last_s: 0.0 };
    let mut ids = Vec::new();
    let mut steps = 0;
    let stop_reason = 'ended: {
        while ids.len() < request.max_new_tokens {
            let readable = match steps {
                0 => engine.prefill(&[Prompt { sequence: id, tokens: request.prompt }]).await?,
                n if n < request.max_new_tokens => engine.decode(&[id]).await?,
                _ => engine.drain().await?,
            };
            if steps == request.max_new_tokens && readable.is_empty() {
                return Err(EngineError::Backend(format!("{steps} steps gave {} ids", ids.len())));
            }
            steps = (steps + 1).min(request.max_new_tokens);
            for Sampled { id: token, .. } in readable.into_iter().filter(|sampled| sampled.sequence == id) {
                clock.tick();
                ids.push(token);
                let broke = on_token(token).is_break();
                if request.stop_ids.contains(&token) {
                    break 'ended StopReason::Stop;
                }
                if broke {
                    break 'ended StopReason::Cancelled;
                }
            }
        }
        StopReason::Length
    };
    // Ids that a lagging engine sampled beyond the end must not surface in someone else's step.
    engine.drain().await?;
    Ok(Generation { timings: clock.timings(request.prompt.len(), ids.len()), ids, stop_reason })
}

struct Clock {
    start: Instant,
    first_s: Option<f64>,
    last_s: f64,
}

impl Clock {
    fn tick(&mut self) {
        self.last_s = self.start.elapsed_seconds();
        self.first_s.get_or_insert(self.last_s);
    }

    fn timings(&self, prompt: usize, ids: usize) -> Timings {
        let rate = |count: usize, seconds: f64| (seconds > 0.0).then(|| count as f64 / seconds);
        Timings {
            ttft_ms: self.first_s.map(|seconds| seconds * 1e3),
            prefill_tokens_per_s: self.first_s.and_then(|seconds| rate(prompt, seconds)),
            decode_tokens_per_s: self
                .first_s
                .filter(|_| ids > 1)
                .and_then(|first| rate(ids - 1, self.last_s - first)),
        }
    }
}

#[cfg(test)]
mod tests;
