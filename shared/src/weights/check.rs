//! A checkpoint held against a config: every difference, not only the first.

use std::collections::HashSet;

use super::checkpoint::is_buffer;
use super::differences::Differences;
use super::{Checkpoint, WeightSource, WeightsError, WeightsFinding, WeightsProblem, floats, gguf, packed};
use crate::decoder::Decoder;
use crate::tensors::{self, Role};
use crate::units::format_count;

/// Bytes compared at a time.
const PIECE_BYTES: usize = 1 << 20;

/// Differences that one sentence names.
const MOST_IN_A_SENTENCE: usize = 8;

impl<S: WeightSource> Checkpoint<S> {
    /// Checks that the files hold the tensors of a model in their shapes and in a float format, and names every
    /// difference. A tied checkpoint may store its head again ([`Checkpoint::check_tied_head`]).
    ///
    /// # Errors
    /// [`WeightsProblem::Mismatch`] with all missing, misshapen and unexpected tensors.
    pub fn check(&self, decoder: &Decoder) -> Result<(), WeightsError> {
        self.refuse(self.differences(decoder, true))
    }

    /// The same but for formats: what no engine here reads is described all the same, and can be sized.
    ///
    /// # Errors
    /// [`WeightsProblem::Mismatch`].
    pub fn check_described(&self, decoder: &Decoder) -> Result<(), WeightsError> {
        self.refuse(self.named_differences(decoder))
    }

    fn refuse(&self, lines: Vec<String>) -> Result<(), WeightsError> {
        if lines.is_empty() {
            return Ok(());
        }
        let lines = self.missing_parts().into_iter().chain(lines).collect();
        Err(WeightsError::new(&self.name, WeightsProblem::Mismatch(lines)))
    }

    /// What explains tensors that are missing.
    fn missing_parts(&self) -> Option<String> {
        let missing = self.findings.iter().find(|f| matches!(f, WeightsFinding::MissingParts(_)));
        missing.map(ToString::to_string)
    }

    /// What is missing, misshapen or unexpected, a line each; and what is in no float format, if `floats_wanted`.
    #[must_use]
    pub fn differences(&self, decoder: &Decoder, floats_wanted: bool) -> Vec<String> {
        let tied_head = decoder.tie_word_embeddings.then(|| tensors::spec(decoder, Role::LmHead, 0));
        let tied_head = tied_head.filter(|head| self.tensors.contains_key(&head.name));
        let mut differences = Differences::default();
        let mut wanted = HashSet::new();
        // One after the other: a few hundred bytes of config describe millions of tensors.
        for spec in tensors::list(decoder).chain(tied_head) {
            if differences.is_full() {
                return differences.lines();
            }
            match self.tensors.get_key_value(&spec.name) {
                None => differences.push(&spec.name, format!("is missing, expected {:?}", spec.shape)),
                Some((name, found)) => {
                    wanted.insert(name.as_str());
                    if found.shape != spec.shape {
                        differences
                            .push(&spec.name, format!("is {:?}, expected {:?}", found.shape, spec.shape));
                    }
                    if floats_wanted && !floats::is_convertible(found.dtype) {
                        differences.push(&spec.name, format!("is {}, expected a float format", found.dtype));
                    }
                }
            }
        }
        for (name, found) in &self.tensors {
            if !wanted.contains(name.as_str()) && !is_buffer(name) && !tensors::is_apart(decoder, name) {
                differences.push(name, format!("{:?} is not in the config", found.shape));
            }
        }
        differences.lines()
    }

    /// As [`Checkpoint::differences`], whatever the files' names and formats: those of GGUF, and of weights that somebody
    /// packed, are held against the list by theirs.
    #[must_use]
    pub fn named_differences(&self, decoder: &Decoder) -> Vec<String> {
        match () {
            () if decoder.is_packed() => packed::differences(&self.tensors, decoder),
            // The list's names, in formats that an engine may not take: that is for who loads it to say.
            () if self.is_gguf && decoder.family.runs() => self.differences(decoder, false),
            () if self.is_gguf => gguf::differences(&self.tensors, decoder),
            () => self.differences(decoder, decoder.family.runs()),
        }
    }

    /// What the files say against the config, in a sentence's words.
    #[must_use]
    pub fn contradiction(&self, decoder: &Decoder) -> Option<String> {
        let mut lines: Vec<String> = self.missing_parts().into_iter().collect();
        lines.extend(self.named_differences(decoder));
        let more = lines.len().saturating_sub(MOST_IN_A_SENTENCE);
        if more > 0 {
            lines.truncate(MOST_IN_A_SENTENCE);
            lines.push(format!("and {} more", format_count(more as u64)));
        }
        (!lines.is_empty()).then(|| lines.join("; "))
    }

    /// Checks that a head stored beside a tied embedding holds the same bytes.
    ///
    /// Hugging Face ties the two only if they are equal and else computes with both; a checkpoint whose config
    /// and weights disagree on that is refused here. Costs one read of both tensors, nothing where there is no head.
    ///
    /// # Errors
    /// The two differ, or a read fails.
    pub async fn check_tied_head(&self, decoder: &Decoder) -> Result<(), WeightsError> {
        let name = |role| tensors::spec(decoder, role, 0).name;
        let (head_name, embedding_name) = (name(Role::LmHead), name(Role::Embedding));
        let (Some(head), Some(embedding)) = (self.tensors.get(&head_name), self.tensors.get(&embedding_name))
        else {
            return Ok(());
        };
        if !decoder.tie_word_embeddings {
            return Ok(());
        }
        let differ = || {
            let what =
                format!("`{head_name}` differs from `{embedding_name}`: set tie_word_embeddings to false");
            WeightsError::new(&self.name, WeightsProblem::Mismatch(vec![what]))
        };
        if (head.dtype, &head.shape) != (embedding.dtype, &embedding.shape) {
            return Err(differ());
        }
        let most = head.len.min(PIECE_BYTES as u64) as usize;
        let (mut left, mut right) = (vec![0; most], vec![0; most]);
        let mut offset = 0;
        while offset < head.len {
            let piece = (head.len - offset).min(most as u64) as usize;
            self.read_at(head, offset, &mut left[..piece]).await?;
            self.read_at(embedding, offset, &mut right[..piece]).await?;
            if left[..piece] != right[..piece] {
                return Err(differ());
            }
            offset += piece as u64;
        }
        Ok(())
    }
}
