//! What an engine can fail with.

use thiserror::Error;

use super::{SamplingError, SequenceId};
use crate::units::format_counted;
use crate::weights::WeightsError;

/// A failed load or step; the sequence stays as it was before the call.
#[derive(Debug, Error)]
pub enum EngineError {
    /// The engine cannot do this here; a reason for people.
    #[error("{what} is not available: {reason}")]
    Unavailable {
        /// What was asked for.
        what: String,
        /// Why it cannot be had and what to do instead.
        reason: String,
    },
    /// A load was cancelled by its progress callback.
    #[error("cancelled")]
    Cancelled,
    /// The checkpoint could not be read or does not match.
    #[error(transparent)]
    Weights(#[from] WeightsError),
    /// Memory ran out; `phase` is `weights`, `kv_cache`, `activation`, or `runtime`: what a driver takes for itself.
    #[error("out of memory in {phase}: {requested_bytes} bytes asked for, {free_bytes} free")]
    OutOfMemory {
        /// Where.
        phase: &'static str,
        /// Bytes asked for; 0 where the driver does not say.
        requested_bytes: u64,
        /// Bytes that were free; 0 where the device does not say.
        free_bytes: u64,
    },
    /// No such sequence, or one that has no tokens yet.
    #[error("sequence {} is not open or has no tokens", .0.0)]
    UnknownSequence(SequenceId),
    /// The id is taken.
    #[error("sequence {} is open already", .0.0)]
    SequenceInUse(SequenceId),
    /// A token id outside the vocabulary.
    #[error("token id {id} at position {position} is outside the vocabulary of {vocab_size}")]
    TokenOutOfRange {
        /// The id.
        id: u32,
        /// Its index in the call.
        position: usize,
        /// Rows of the embedding.
        vocab_size: usize,
    },
    /// No tokens where at least one is needed.
    #[error("the prompt is empty: at least one token is needed")]
    EmptyPrompt,
    /// The sequence would outgrow its capacity.
    #[error("a sequence of {} is longer than its capacity of {capacity}", format_counted(*tokens as u64, "token"))]
    SequenceFull {
        /// Length asked for.
        tokens: usize,
        /// Room there is.
        capacity: usize,
    },
    /// A sampling parameter out of range.
    #[error(transparent)]
    Sampling(#[from] SamplingError),
    /// Logits hold NaN, so that nothing can be sampled.
    #[error("the model produced NaN logits; try dtype f32 or bf16")]
    NanLogits,
    /// The backend's own message, unchanged.
    #[error("{0}")]
    Backend(String),
}

impl EngineError {
    /// A stable name for programs: the `code` of an error object.
    #[must_use]
    pub fn code(&self) -> &'static str {
        match self {
            Self::Unavailable { .. } => "unavailable",
            Self::Cancelled => "cancelled",
            Self::Weights(error) => error.code(),
            Self::OutOfMemory { .. } => "oom",
            Self::UnknownSequence(_) | Self::SequenceInUse(_) => "sequence",
            Self::TokenOutOfRange { .. } => "token_out_of_range",
            Self::EmptyPrompt => "empty_prompt",
            Self::SequenceFull { .. } => "sequence_full",
            Self::Sampling(_) => "invalid_sampling",
            Self::NanLogits => "nan_logits",
            Self::Backend(_) => "backend",
        }
    }
}
