//! One sequence: its ids, its keys and values, and how its next id is chosen.

use std::ops::Range;

use candle_core::Tensor;

use super::workspace::{tensor_bytes, zeroed_tensor};
use crate::dtype::DType;
use crate::engine::{EngineError, LoadPlan, Sampler, Sampling};
use crate::rope::Rope;

/// An open sequence. Every id is kept: crossing to the long rope factors computes all keys anew.
pub(super) struct Sequence {
    pub(super) ids: Vec<u32>,
    pub(super) capacity: usize,
    /// The id sampled last, not yet part of the sequence.
    pub(super) pending: Option<u32>,
    pub(super) sampler: Sampler,
    /// Keys and values of each layer.
    pub(super) cache: Vec<Tensor>,
    /// Leading ids whose keys and values stand in the cache.
    cached: usize,
    /// Whether those were rotated by the long factors.
    pub(super) long: bool,
}

impl Sequence {
    pub(super) fn new(plan: &LoadPlan, capacity: usize, sampling: &Sampling) -> Result<Self, EngineError> {
        let sampler = Sampler::new(sampling)?;
        let layers = 0..plan.config.num_hidden_layers;
        let cache = layers.map(|_| layer_cache(plan, capacity)).collect::<Result<_, _>>()?;
        Ok(Self { ids: Vec::new(), capacity, pending: None, sampler, cache, cached: 0, long: false })
    }

    /// Positions that must be computed before the next id can be sampled.
    pub(super) fn uncached(&mut self, rope: &Rope) -> Range<usize> {
        let long = rope.is_long(self.ids.len());
        if long != self.long {
            self.long = long;
            self.cached = 0;
        }
        self.cached..self.ids.len()
    }

    /// Notes that keys and values of the first `positions` ids stand in the cache.
    pub(super) fn set_cached(&mut self, positions: usize) {
        self.cached = positions;
    }

    /// Forgets the ids from `len` on.
    pub(super) fn truncate(&mut self, len: usize) {
        self.ids.truncate(len);
        self.cached = self.cached.min(len);
    }

    /// Bytes of its cache.
    pub(super) fn cache_bytes(&self) -> u64 {
        self.cache.iter().map(tensor_bytes).sum()
    }
}

/// Keys and values of `capacity` tokens in one layer: `[2, kv heads, capacity, head_dim]`.
pub(super) fn layer_cache(plan: &LoadPlan, capacity: usize) -> Result<Tensor, EngineError> {
    let config = &plan.config;
    let dtype: DType = plan.kv_dtype;
    zeroed_tensor("kv_cache", dtype, &[2, config.num_key_value_heads, capacity, config.head_dim])
}
