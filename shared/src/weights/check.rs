//! A checkpoint held against a config: every difference, not only the first.

use std::collections::HashSet;

use super::checkpoint::is_buffer;
use super::differences::Differences;
use super::{Checkpoint, WeightSource, WeightsError, WeightsProblem, floats};
use crate::decoder::Decoder;
use crate::tensors::{self, Role};
use crate::units::format_counted;

/// Bytes compared at a time.
const PIECE_BYTES: usize = 1 << 20;

impl<S: WeightSource> Checkpoint<S> {
    /// Checks that the files hold the tensors of a model in their shapes and in a float format, and names every
    /// difference. A tied checkpoint may store its head again ([`Checkpoint::check_tied_head`]).
    ///
    /// # Errors
    /// [`WeightsProblem::Mismatch`] with all missing, misshapen and unexpected tensors.
    pub fn check(&self, decoder: &Decoder) -> Result<(), WeightsError> {
        let lines = self.differences(decoder, true);
        if lines.is_empty() {
            return Ok(());
        }
        Err(WeightsError::new(&self.name, WeightsProblem::Mismatch(lines)))
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

    /// As [`Checkpoint::differences`]; none where the files have names of their own, which cannot be held against the
    /// list: GGUF and packed formats.
    #[must_use]
    pub fn named_differences(&self, decoder: &Decoder) -> Vec<String> {
        if decoder.quantization.is_some() || self.is_gguf() {
            return Vec::new();
        }
        self.differences(decoder, decoder.family.runs())
    }

    /// What the files say against the config, in a sentence's words; of a GGUF only the number of its layers.
    #[must_use]
    pub fn contradiction(&self, decoder: &Decoder) -> Option<String> {
        if !self.is_gguf() {
            let lines = self.named_differences(decoder);
            return (!lines.is_empty()).then(|| lines.join("; "));
        }
        // Other names than the list's, all with the number of their layer.
        let layer = |name: &String| {
            let mut parts = name.split('.').skip_while(|part| !["blk", "layers"].contains(part));
            parts.nth(1)?.parse::<usize>().ok()
        };
        let stored = self.tensors.keys().filter_map(layer).max().map_or(0, |last| last + 1);
        let layers = decoder.layers.len();
        // More may be heads that predict several tokens.
        (stored < layers)
            .then(|| format!("{} of {layers} in the file", format_counted(stored as u64, "layer")))
    }

    fn is_gguf(&self) -> bool {
        self.name.ends_with(".gguf")
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
