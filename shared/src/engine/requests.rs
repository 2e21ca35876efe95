//! What every engine refuses before it computes.

use std::collections::{BTreeMap, BTreeSet};

use super::{EngineError, LoadPlan, SequenceId};

impl LoadPlan {
    /// Whether a sequence for `capacity` tokens may be opened beside those that are open.
    ///
    /// # Errors
    /// [`EngineError::SequenceInUse`]; [`EngineError::SequenceFull`], longer than the planned context;
    /// [`EngineError::Unavailable`], more than the planned batch.
    pub fn check_open<T>(
        &self,
        open: &BTreeMap<SequenceId, T>,
        id: SequenceId,
        capacity: usize,
    ) -> Result<(), EngineError> {
        if open.contains_key(&id) {
            return Err(EngineError::SequenceInUse(id));
        }
        self.check_length(capacity)?;
        if open.len() >= self.batch {
            return Err(EngineError::Unavailable {
                what: "another sequence".to_owned(),
                reason: format!("the model was loaded for a batch of {}; release one first", self.batch),
            });
        }
        Ok(())
    }

    /// Whether there are tokens, each of the vocabulary.
    ///
    /// # Errors
    /// [`EngineError::EmptyPrompt`], [`EngineError::TokenOutOfRange`].
    pub fn check_tokens(&self, tokens: &[u32]) -> Result<(), EngineError> {
        check_tokens(tokens, self.config.vocab_size)
    }

    /// The same of tokens that are a whole sequence.
    ///
    /// # Errors
    /// As [`LoadPlan::check_tokens`]; [`EngineError::SequenceFull`], longer than the planned context.
    pub fn check_whole(&self, tokens: &[u32]) -> Result<(), EngineError> {
        self.check_tokens(tokens)?;
        self.check_length(tokens.len())
    }

    fn check_length(&self, tokens: usize) -> Result<(), EngineError> {
        match self.context {
            capacity if tokens > capacity => Err(EngineError::SequenceFull { tokens, capacity }),
            _ => Ok(()),
        }
    }
}

/// Whether each sequence is open, named once, and has room for so many tokens more; `room` gives its length and capacity.
///
/// # Errors
/// [`EngineError::UnknownSequence`], [`EngineError::SequenceFull`], [`EngineError::SequenceInUse`].
pub fn check_room(
    asked: impl IntoIterator<Item = (SequenceId, usize)>,
    room: impl Fn(SequenceId) -> Option<(usize, usize)>,
) -> Result<(), EngineError> {
    let mut named = BTreeSet::new();
    for (id, more) in asked {
        let (length, capacity) = room(id).ok_or(EngineError::UnknownSequence(id))?;
        let tokens = length + more;
        if tokens > capacity {
            return Err(EngineError::SequenceFull { tokens, capacity });
        }
        if !named.insert(id) {
            return Err(EngineError::SequenceInUse(id));
        }
    }
    Ok(())
}

/// Whether there are tokens, each of a vocabulary of `vocab_size`.
///
/// # Errors
/// [`EngineError::EmptyPrompt`], [`EngineError::TokenOutOfRange`].
pub fn check_tokens(tokens: &[u32], vocab_size: usize) -> Result<(), EngineError> {
    if tokens.is_empty() {
        return Err(EngineError::EmptyPrompt);
    }
    match tokens.iter().enumerate().find(|(_, id)| **id as usize >= vocab_size) {
        Some((position, id)) => Err(EngineError::TokenOutOfRange { id: *id, position, vocab_size }),
        None => Ok(()),
    }
}
