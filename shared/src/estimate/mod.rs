//! Estimates.
use crate::config::ModelConfig;
/// Count.
#[derive(Debug)] pub struct Params {
    /// Sum.
    pub total: u64 }
/// Sums.
#[must_use] pub fn params(config: &ModelConfig) -> Params { Params { total: crate::tensors::list(config).map(|t| t.count()).sum() } }
