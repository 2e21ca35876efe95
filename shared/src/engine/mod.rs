//! The contract between generation and whatever computes: candle on a CPU, CUDA, WebGPU.
//!
//! Sequences are named by id and live in the engine with their KV cache, their length and the last id sampled,
//! so that a token need not leave the device between steps. [`Engine::decode`] returns the ids that have *become
//! readable*: a GPU engine may return those of an earlier step, or none, and [`Engine::drain`] collects the rest.
//! Several sequences in one call are one batch. What costs a transfer stands apart, in [`Diagnostics`].

mod error;
mod facts;
mod split;
mod plan;
#[cfg(any(feature = "cuda", test))]
pub(crate) mod route;
mod host;
mod loading;
mod requests;
mod logprobs;
mod sampling;

pub use error::EngineError;
pub use facts::{DeviceFacts, LimitFact};
pub use host::{HostPart, HostRows, NoHost};
pub use loading::Loading;
pub use logprobs::Logprobs;
pub use plan::{Attention, DeviceInfo, LoadPlan, LoadProgress, LoadStage, Memory};
pub use requests::{check_room, check_tokens};
pub use sampling::{Sampler, Sampling, SamplingError};
pub use split::{Split, Stretch};

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use crate::dtype::DType;
use crate::placement::DeviceId;
use crate::weights::{Checkpoint, WeightSource};

/// Names a sequence; chosen by the caller, unique while the sequence is open.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SequenceId(pub u64);

/// Tokens to append to a sequence.
#[derive(Debug, Clone, Copy)]
pub struct Prompt<'a> {
    /// An open sequence.
    pub sequence: SequenceId,
    /// At least one id, each below the vocabulary's size.
    pub tokens: &'a [u32],
}

/// A part of a prompt's tokens.
#[derive(Debug, Clone, Copy)]
pub struct PromptPart<'a> {
    /// An open sequence.
    pub sequence: SequenceId,
    /// At least one id, each below the vocabulary's size.
    pub tokens: &'a [u32],
    /// Whether the prompt ends with them, so that the next id is sampled.
    pub is_last: bool,
}

/// A sampled id that has become readable; in order within its sequence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sampled {
    /// The sequence it continues.
    pub sequence: SequenceId,
    /// The id.
    pub id: u32,
}

/// What an engine is and runs on; for reports.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct EngineInfo {
    /// `candle`, `cuda`, `wgpu`.
    pub engine: String,
    /// Device in the CLI's spelling: `cpu`, `cuda:0`, `wgpu:0`.
    pub device: String,
    /// Format that weights are held and multiplied in.
    pub dtype: DType,
    /// Compute threads, where the engine has any.
    pub threads: usize,
}

/// Computes a loaded model.
#[expect(
    async_fn_in_trait,
    reason = "engines stay on the thread that made them; a Send bound would shut out the browser"
)]
pub trait Engine: Sized {
    /// The devices that it can compute on here. Asking may cost a driver's start, and a broken driver may end the
    /// process: a server has it asked by another process.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] with the reason why there is none: no driver, no adapter.
    async fn devices() -> Result<Vec<DeviceInfo>, EngineError>;

    /// Loads a checked checkpoint. `progress` is called at least once a tensor; breaking cancels.
    ///
    /// # Errors
    /// [`EngineError::Cancelled`], out of memory with phase and bytes, or a failed read.
    async fn load<S: WeightSource>(
        checkpoint: &Checkpoint<S>,
        plan: &LoadPlan,
        progress: &mut dyn FnMut(LoadProgress) -> ControlFlow<()>,
    ) -> Result<Self, EngineError>;

    /// What it is and runs on.
    fn info(&self) -> EngineInfo;

    /// Opens an empty sequence with room for `capacity` tokens in all.
    ///
    /// # Errors
    /// Id in use, more sequences or tokens than planned, out of memory.
    async fn open(
        &mut self,
        sequence: SequenceId,
        capacity: usize,
        sampling: &Sampling,
    ) -> Result<(), EngineError>;

    /// Appends tokens to sequences and starts sampling the next id of each; chunks long prompts itself.
    /// Where a sequence's rotary factors change with its length, cached keys are computed anew.
    ///
    /// # Errors
    /// Unknown sequence, id out of the vocabulary, sequence full.
    async fn prefill(&mut self, prompts: &[Prompt<'_>]) -> Result<Vec<Sampled>, EngineError>;

    /// Appends each sequence's last sampled id to it and starts sampling the next.
    ///
    /// # Errors
    /// Unknown or empty sequence, sequence full.
    async fn decode(&mut self, sequences: &[SequenceId]) -> Result<Vec<Sampled>, EngineError>;

    /// Rows of prompts that ride along with a step of `running` sequences, in [`mixed`](Engine::mixed), and hold it up for
    /// no longer than a moment; with none running, rows that are worth one pass. 0 of an engine that does not mix.
    fn part_rows(&self, running: usize) -> usize {
        let _ = running;
        0
    }

    /// One step of `sequences`, as [`decode`](Engine::decode), with parts of prompts in the same pass.
    ///
    /// # Errors
    /// As [`decode`](Engine::decode) and [`prefill`](Engine::prefill); of an engine that does not mix,
    /// [`EngineError::Unavailable`].
    async fn mixed(
        &mut self,
        parts: &[PromptPart<'_>],
        sequences: &[SequenceId],
    ) -> Result<Vec<Sampled>, EngineError> {
        let _ = (parts, sequences);
        Err(EngineError::Unavailable {
            what: "a prompt beside a step".to_owned(),
            reason: "this engine does one after the other".to_owned(),
        })
    }

    /// Makes sure of the memory for a sequence's first `tokens` tokens, where sequences share it: elsewhere each has all
    /// of its own since it was opened. Without it memory is taken as a sequence grows, so that a step may fail for want
    /// of it; nothing has been computed then.
    ///
    /// # Errors
    /// [`EngineError::OutOfMemory`] in `kv_cache`.
    fn reserve(&mut self, sequence: SequenceId, tokens: usize) -> Result<(), EngineError> {
        let _ = (sequence, tokens);
        Ok(())
    }

    /// Gives back what a sequence shares with others, but not the sequence: when it is decoded again, its keys and values
    /// are computed anew.
    fn park(&mut self, sequence: SequenceId) {
        let _ = sequence;
    }

    /// Waits for every id still in flight.
    ///
    /// # Errors
    /// A device that failed meanwhile.
    async fn drain(&mut self) -> Result<Vec<Sampled>, EngineError>;

    /// Forgets a sequence and gives its memory back; unknown ids are ignored.
    fn release(&mut self, sequence: SequenceId);

    /// Whether its device has failed for this process for good: only another process can go on.
    fn is_lost(&self) -> bool {
        false
    }
}

/// Adds the NaN and infinite ones among `values` to what was counted.
pub fn count_non_finite(values: &[f32], (nan, infinite): &mut (u64, u64)) {
    *nan += values.iter().filter(|value| value.is_nan()).count() as u64;
    *infinite += values.iter().filter(|value| value.is_infinite()).count() as u64;
}

/// Looks inside a model at the price of transfers; never on the path of a token.
#[expect(async_fn_in_trait, reason = "as for Engine")]
pub trait Diagnostics {
    /// Logits of a whole sequence in one pass, `rows(position, &[f32; vocab_size])` in order; no cache is kept.
    ///
    /// # Errors
    /// Id out of the vocabulary, out of memory.
    async fn logits(
        &mut self,
        tokens: &[u32],
        rows: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<(), EngineError>;

    /// NaN and infinite values that each layer put out over `tokens`, as `(nan, infinite)`, the last entry being the
    /// logits, which are shown on the way as [`Diagnostics::logits`] shows them.
    ///
    /// # Errors
    /// As [`Diagnostics::logits`].
    async fn non_finite(
        &mut self,
        tokens: &[u32],
        rows: &mut dyn FnMut(usize, &[f32]),
    ) -> Result<Vec<(u64, u64)>, EngineError>;

    /// How likely ids were where the last step chose `id` for a sequence, before temperature and penalties: `id`
    /// itself, and the `top` likeliest. Asked right after the step, if at all.
    ///
    /// # Errors
    /// [`EngineError::Unavailable`] of an engine that keeps no logits; an unknown sequence.
    async fn logprobs(&mut self, sequence: SequenceId, id: u32, top: usize) -> Result<Logprobs, EngineError> {
        let what = format!("logprobs of sequence {}, id {id}, top {top}", sequence.0);
        Err(EngineError::Unavailable {
            what,
            reason: "this engine samples where no logits are kept".to_owned(),
        })
    }

    /// Bytes the engine holds now, and the peak of its temporaries since it was loaded.
    fn memory(&self) -> Memory;

    /// The same for each device of a split; of an engine that has one device, nothing.
    fn memory_by_device(&self) -> Vec<(DeviceId, Memory)> {
        Vec::new()
    }

    /// What is known of the device that computes; `None` of an engine that asks nobody.
    fn facts(&self) -> Option<DeviceFacts> {
        None
    }
}
