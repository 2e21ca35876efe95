//! One sequence: its ids, its keys and values, and how its next id is chosen.

use std::ops::Range;

use candle_core::Tensor;
use kernels::tensor_bytes;

use super::arena::Arena;
use super::workspace::zeroed_tensor;
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
    /// Whether keys and values outlive the step that computed them.
    keeps: bool,
}

impl Sequence {
    /// An empty sequence with room for `capacity` tokens in the budgets of its layers' arenas.
    pub(super) fn new(
        plan: &LoadPlan,
        capacity: usize,
        sampling: &Sampling,
        arenas: &mut [Arena],
        places: &[usize],
    ) -> Result<Self, EngineError> {
        let sampler = Sampler::new(sampling)?;
        let mut sequence = Self {
            ids: Vec::new(),
            capacity,
            pending: None,
            sampler,
            cache: Vec::with_capacity(places.len()),
            cached: 0,
            long: false,
            keeps: plan.use_cache,
        };
        for place in places {
            let bytes = layer_cache_bytes(plan, capacity);
            let budget = &mut arenas[*place].budget;
            let cache = budget
                .take(KV_CACHE, bytes)
                .and_then(|()| layer_cache(plan, capacity).inspect_err(|_error| budget.give_back(bytes)));
            match cache {
                Ok(cache) => sequence.cache.push(cache),
                Err(error) => {
                    sequence.give_back(arenas, places);
                    return Err(error);
                }
            }
        }
        Ok(sequence)
    }

    /// Gives what its cache takes back to the budgets.
    pub(super) fn give_back(&self, arenas: &mut [Arena], places: &[usize]) {
        for (cache, place) in self.cache.iter().zip(places) {
            arenas[*place].budget.give_back(tensor_bytes(cache));
        }
    }

    /// Positions that must be computed before the next id can be sampled.
    pub(super) fn uncached(&mut self, rope: &Rope) -> Range<usize> {
        let long = rope.is_long(self.ids.len());
        if long != self.long || !self.keeps {
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

    /// Bytes of its cache in an arena.
    pub(super) fn cache_bytes(&self, arena: usize, places: &[usize]) -> u64 {
        let here = self.cache.iter().zip(places).filter(|(_, place)| **place == arena);
        here.map(|(cache, _)| tensor_bytes(cache)).sum()
    }
}

/// Where memory ran out, in the words of an error.
const KV_CACHE: &str = "kv_cache";

/// Keys and values of `capacity` tokens in one layer: `[2, kv heads, capacity, head_dim]`.
pub(super) fn layer_cache(plan: &LoadPlan, capacity: usize) -> Result<Tensor, EngineError> {
    zeroed_tensor(KV_CACHE, plan.kv_dtype, &layer_shape(plan, capacity))
}

pub(super) fn layer_cache_bytes(plan: &LoadPlan, capacity: usize) -> u64 {
    plan.kv_dtype.tensor_bytes(&layer_shape(plan, capacity))
}

fn layer_shape(plan: &LoadPlan, capacity: usize) -> [usize; 4] {
    let config = &plan.config;
    [2, config.num_key_value_heads, capacity, config.head_dim]
}
