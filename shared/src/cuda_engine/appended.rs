//! What a pass appends to sequences.

use super::Cuda;
use crate::engine::{EngineError, HostPart, SequenceId};

/// Ids for a sequence.
pub(super) struct Appended {
    pub(super) sequence: SequenceId,
    pub(super) tokens: Vec<u32>,
    /// Whether they are a prompt's, not the id that was sampled last.
    pub(super) is_prompt: bool,
}

impl Appended {
    pub(super) fn prompt(sequence: SequenceId, tokens: &[u32]) -> Self {
        Self { sequence, tokens: tokens.to_vec(), is_prompt: true }
    }
}

impl<H: HostPart> Cuda<H> {
    /// Whether sequences can take a step, and whether keys and values of one of them have to be computed anew for it.
    pub(super) fn check_step(&self, sequences: &[SequenceId]) -> Result<bool, EngineError> {
        let mut anew = false;
        for (index, id) in sequences.iter().enumerate() {
            let sequence = self.sequences.get(id).filter(|sequence| sequence.is_sampled);
            let sequence = sequence.ok_or(EngineError::UnknownSequence(*id))?;
            let (tokens, capacity) = (sequence.len + 1, sequence.capacity);
            if tokens > capacity {
                return Err(EngineError::SequenceFull { tokens, capacity });
            }
            if sequences[..index].contains(id) {
                return Err(EngineError::SequenceInUse(*id));
            }
            anew |= self.rope.is_long(tokens) != sequence.long || sequence.cached < sequence.len;
        }
        Ok(anew)
    }

    /// The ids sampled last, none of them on its way any more, to be appended.
    pub(super) fn pending(&self, sequences: &[SequenceId]) -> Result<Vec<Appended>, EngineError> {
        let pending = |id: &SequenceId| {
            let sequence = self.sequences.get(id);
            let token = sequence.and_then(|sequence| sequence.known.get(sequence.len).copied());
            let token = token.ok_or(EngineError::UnknownSequence(*id))?;
            Ok(Appended { sequence: *id, tokens: vec![token], is_prompt: false })
        };
        sequences.iter().map(pending).collect()
    }
}
