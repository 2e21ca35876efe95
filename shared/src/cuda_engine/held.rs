//! bf16 in f16: the same values, and three bits more for what they are multiplied with.
//!
//! Weights of bf16 are within the range of f16 almost always, and then f16 holds every one of them from 2^-17 on, and smaller
//! ones to 2^-25. Held so, what products read, what they write and the cache are rounded to eleven bits in place of eight, at
//! the same bytes and the same speed. What does not fit ends as NaN in the logits: infinities of f16 meet a norm or a softmax
//! on their way there. Then the model goes over to bf16, once and for all, and what was lost is computed anew.

use std::sync::Arc;

use super::Cuda;
use super::driver::{Buffer, Gpu, Ptr, Stream};
use super::kernels::{Format, Matrix};
use crate::engine::{EngineError, HostPart, SequenceId};
use crate::tensors::{Role, TensorSpec};

/// Largest value of f16, the smallest that has all its bits, and the smallest that has as many as bf16.
const LARGEST: f32 = 65_504.0;
const SMALLEST: f32 = 1.0 / 16_384.0;
const SMALL: f32 = 1.0 / 131_072.0;
/// Largest weight behind activations that may have lost their last bits.
const LARGEST_BEHIND: f32 = 16.0;

/// How weights and cache of these formats are held as long as they fit.
pub(super) fn finer([weights, kv]: [Format; 2]) -> [Format; 2] {
    match (weights, kv) {
        (Format::Bf16, Format::Bf16) => [Format::F16; 2],
        (Format::Bf16, kv) => [Format::F16, kv],
        other => other.into(),
    }
}

/// Magnitudes of tensors on the device, two words each, that `convert_in_f16` writes.
pub(super) struct Peaks(Buffer);

impl Peaks {
    const NONE: [u32; 2] = [0, u32::MAX];

    pub(super) fn new(gpu: &Arc<Gpu>, tensors: usize) -> Result<Self, EngineError> {
        let words = vec![Self::NONE; tensors];
        let buffer = gpu.alloc(size_of_val(&words[..]) as u64, "weights")?;
        let stream = Stream::new()?;
        stream.upload(buffer.ptr(), bytemuck::cast_slice(&words))?;
        stream.synchronize()?;
        Ok(Self(buffer))
    }

    /// The words of a tensor.
    pub(super) fn of(&self, tensor: usize) -> Ptr {
        self.0.ptr().at(tensor * size_of::<[u32; 2]>())
    }

    /// Whether f16 holds the tensors well enough: nothing is too large, nor is what a norm puts out; a row is rounded no
    /// more than by bf16 beside its largest value, one of the embedding, which is normed, less; and nothing makes much of
    /// values and gates that are so small that f16 rounds them.
    pub(super) fn fit(&self, tensors: &[(TensorSpec, Matrix)]) -> Result<bool, EngineError> {
        let mut words = vec![Self::NONE; tensors.len()];
        Stream::new()?.download(bytemuck::cast_slice_mut(&mut words), self.0.ptr())?;
        Ok(tensors.iter().zip(words).all(|((spec, matrix), words)| fits(spec, matrix.columns, words)))
    }
}

fn fits(spec: &TensorSpec, columns: i32, words: [u32; 2]) -> bool {
    if words == Peaks::NONE {
        return true;
    }
    let [largest, least] = words.map(f32::from_bits);
    match spec.role {
        Role::InputNorm | Role::PostAttentionNorm | Role::FinalNorm => {
            largest * (columns as f32).sqrt() <= LARGEST && largest >= SMALLEST
        }
        Role::OProj | Role::DownProj => largest <= LARGEST_BEHIND && least >= SMALL,
        Role::Embedding => largest <= LARGEST && least >= SMALLEST,
        _ => largest <= LARGEST && least >= SMALL,
    }
}

impl<H: HostPart> Cuda<H> {
    /// Reads ids until no more than `left` steps are on their way. Whether the model went over to bf16 for that: then none
    /// are.
    pub(super) fn settle(&mut self, left: usize) -> Result<bool, EngineError> {
        match self.collect(left) {
            Err(EngineError::NanLogits) if self.widen()? => Ok(true),
            result => result.map(|()| false),
        }
    }

    /// Goes over to bf16, where that is what was asked for and not how the model is held. Steps on their way are done again,
    /// the first of them the one that gave NaN.
    ///
    /// # Errors
    /// No memory for other kernels: nothing has changed. NaN again: the ids of the other sequences are there, and a step
    /// that followed has not been.
    pub(super) fn widen(&mut self) -> Result<bool, EngineError> {
        let Some([_, kv]) = self.wide else { return Ok(false) };
        let kernels = self.parts.iter().map(|part| part.wider(&self.plan, kv));
        let kernels = kernels.collect::<Result<Vec<_>, _>>()?;
        self.wide = None;
        for (part, kernels) in self.parts.iter_mut().zip(kernels) {
            part.widen(&self.plan, kv, kernels)?;
        }
        self.kv = kv;
        let mut lost = std::mem::take(&mut self.steps);
        for id in lost.iter().flat_map(|step| &step.ids) {
            if let Some(sequence) = self.sequences.get_mut(id) {
                sequence.len -= 1;
            }
        }
        self.sequences.values_mut().for_each(|sequence| sequence.cached = 0);
        self.resident.clear();
        self.logits_of.clear();
        if let Some(first) = lost.pop_front() {
            let again = self.again(&first.ids);
            if matches!(again, Err(EngineError::NanLogits)) {
                // It was promised before: whoever is well gets it.
                first.ids.iter().for_each(|id| drop(self.again(&[*id])));
            }
            again?;
        }
        lost.iter().try_for_each(|step| self.again(&step.ids))?;
        Ok(true)
    }

    fn again(&mut self, ids: &[SequenceId]) -> Result<(), EngineError> {
        let pending = self.pending(ids)?;
        self.try_extend(&pending, pending.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_f16_cannot_hold_does_not_fit() {
        let spec = |role| TensorSpec { name: String::new(), shape: vec![4, 64], role, layer: None };
        let fit = |role, largest: f32, least: f32| fits(&spec(role), 64, [largest, least].map(f32::to_bits));
        assert!(fit(Role::QkvProj, 0.1, 1e-5));
        assert!(fit(Role::QkvProj, 65_504.0, 1e-5));
        assert!(!fit(Role::QkvProj, 0.1, 1e-6), "values of a head, say");
        assert!(fit(Role::DownProj, 16.0, 1e-5));
        assert!(!fit(Role::DownProj, 17.0, 1e-5));
        assert!(!fit(Role::QkvProj, 65_536.0, 1.0));
        assert!(!fit(Role::QkvProj, f32::INFINITY, 1.0));
        assert!(!fit(Role::QkvProj, f32::NAN, 1.0));
        // A norm of 64 values puts out eight times its weight at most.
        assert!(fit(Role::FinalNorm, 8_000.0, 8_000.0));
        assert!(!fit(Role::FinalNorm, 9_000.0, 9_000.0));
        assert!(!fit(Role::Embedding, 0.1, 1e-6));
        assert!(fits(&spec(Role::Embedding), 64, Peaks::NONE), "zeros alone");
    }
}
