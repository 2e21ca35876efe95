//! One sequence: its ids, its cache, how its next id is chosen.

use std::ops::Range;
use std::sync::Arc;

use super::blocks::{Block, TOKENS};
use super::driver::{Buffer, Gpu, Ptr};
use super::kernels::{Format, ONE_BLOCK, Row};
use crate::engine::{EngineError, LoadPlan, Sampler, Sampling};

/// An open sequence. Every id is kept: crossing to the long rope factors computes all keys anew.
pub(super) struct Sequence {
    /// Ids that the host knows: the sequence itself, then the id sampled last. While a step is on its way the last
    /// ones are known to the device alone.
    pub(super) known: Vec<u32>,
    /// Ids that belong to the sequence on the device.
    pub(super) len: usize,
    /// Whether a next id has been sampled.
    pub(super) is_sampled: bool,
    pub(super) capacity: usize,
    /// Chooses ids on the host, where the device does not.
    pub(super) host_sampler: Option<Sampler>,
    /// How the device draws; 0 takes the likeliest id.
    inverse_temperature: f32,
    seed: u64,
    cache: Cache,
    /// Leading ids whose keys and values stand in the cache, and whether those were rotated by the long factors.
    pub(super) cached: usize,
    pub(super) long: bool,
}

/// Where keys and values are, of its layers on each device.
enum Cache {
    /// In one block on each device, with room for the whole capacity.
    Whole { buffers: Vec<Buffer>, layer_bytes: u64 },
    /// In blocks of a pool, which a list on each device names, so many bytes behind the first list.
    Shared { blocks: Vec<Block>, list: usize, layer_bytes: u64 },
}

/// Least temperature that the device draws with: below it quotients leave the range of f32.
const LEAST_TEMPERATURE: f64 = 1e-3;

/// Seeds are often neighbours: what begins with them should not be.
fn mixed(seed: u64) -> u64 {
    let z = (seed ^ (seed >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    let z = (z ^ (z >> 33)).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    z ^ (z >> 33)
}

/// Bytes of the keys and values of `tokens` tokens in one layer.
pub(super) fn layer_bytes(plan: &LoadPlan, kv: Format, tokens: usize) -> u64 {
    (2 * plan.config.num_key_value_heads * tokens) as u64 * kv.bytes(plan.config.head_dim) as u64
}

impl Sequence {
    /// A sequence with a cache of its own. `gpus` are the devices, each with the number of its layers. Where the device
    /// that has the head does not choose ids (`draws`), the host does.
    pub(super) fn whole<'a>(
        gpus: impl Iterator<Item = (&'a Arc<Gpu>, usize)>,
        plan: &LoadPlan,
        kv: Format,
        capacity: usize,
        sampling: &Sampling,
        draws: bool,
    ) -> Result<Self, EngineError> {
        let layer_bytes = layer_bytes(plan, kv, capacity);
        let mut buffers = Vec::new();
        for (gpu, layers) in gpus {
            buffers.push(gpu.alloc(layer_bytes * layers as u64, "kv_cache")?);
        }
        Self::new(Cache::Whole { buffers, layer_bytes }, capacity, sampling, draws)
    }

    /// A sequence that takes blocks as it grows; `list` is where their list is among all lists, in bytes.
    pub(super) fn shared(
        plan: &LoadPlan,
        kv: Format,
        capacity: usize,
        sampling: &Sampling,
        draws: bool,
        list: usize,
    ) -> Result<Self, EngineError> {
        let layer_bytes = layer_bytes(plan, kv, TOKENS);
        Self::new(Cache::Shared { blocks: Vec::new(), list, layer_bytes }, capacity, sampling, draws)
    }

    fn new(cache: Cache, capacity: usize, sampling: &Sampling, draws: bool) -> Result<Self, EngineError> {
        let sampler = Sampler::new(sampling)?;
        let is_plain = sampling.top_p == 1.0 && sampling.top_k == 0 && sampling.min_p == 0.0;
        let on_device = draws
            && !sampling.penalizes()
            && (sampling.temperature == 0.0 || is_plain && sampling.temperature >= LEAST_TEMPERATURE);
        Ok(Self {
            known: Vec::new(),
            len: 0,
            is_sampled: false,
            capacity,
            host_sampler: (!on_device).then_some(sampler),
            inverse_temperature: match sampling.temperature {
                temperature if on_device && temperature > 0.0 => temperature.recip() as f32,
                _ => 0.0,
            },
            seed: mixed(sampling.seed),
            cache,
            cached: 0,
            long: false,
        })
    }

    /// Describes the id at a position to the kernels of a device, on which the first list of blocks is at `lists`.
    pub(super) fn row(&self, position: usize, part: usize, lists: Ptr) -> Row {
        let (blocks, layer_bytes, stride, shift) = match &self.cache {
            Cache::Whole { buffers, layer_bytes } => {
                (buffers[part].ptr(), *layer_bytes, self.capacity, ONE_BLOCK)
            }
            Cache::Shared { list, layer_bytes, .. } => {
                (lists.at(*list), *layer_bytes, TOKENS, TOKENS.trailing_zeros() as u16)
            }
        };
        Row {
            blocks: blocks.0,
            layer_bytes,
            stride: stride as u32,
            position: position as u32,
            token: self.known.get(position).copied().unwrap_or(0),
            is_long: u16::from(self.long),
            shift,
            tick: 0,
            inverse_temperature: self.inverse_temperature,
            seed: self.seed,
        }
    }

    /// Blocks that it lacks for `tokens` tokens.
    pub(super) fn lacks(&self, tokens: usize) -> usize {
        match &self.cache {
            Cache::Whole { .. } => 0,
            Cache::Shared { blocks, .. } => tokens.div_ceil(TOKENS).saturating_sub(blocks.len()),
        }
    }

    /// Takes blocks in; where their part of the list begins, in bytes.
    pub(super) fn grow(&mut self, more: &[Block]) -> usize {
        let Cache::Shared { blocks, list, .. } = &mut self.cache else { return 0 };
        let place = *list + blocks.len() * size_of::<u64>();
        blocks.extend_from_slice(more);
        place
    }

    /// Gives its blocks back: what stood in them is to be computed anew.
    pub(super) fn shrink(&mut self) -> Vec<Block> {
        let Cache::Shared { blocks, .. } = &mut self.cache else { return Vec::new() };
        self.cached = 0;
        std::mem::take(blocks)
    }

    /// Where its list of blocks is, if it has one.
    pub(super) fn list(&self) -> Option<usize> {
        match &self.cache {
            Cache::Whole { .. } => None,
            Cache::Shared { list, .. } => Some(*list),
        }
    }

    /// Positions that must be computed before the next id can be sampled, with the long factors or not.
    pub(super) fn uncached(&mut self, long: bool) -> Range<usize> {
        if long != self.long {
            self.long = long;
            self.cached = 0;
        }
        self.cached..self.len
    }

    /// Forgets the ids from `len` on.
    pub(super) fn truncate(&mut self, len: usize) {
        self.known.truncate(len);
        self.len = len;
        self.cached = self.cached.min(len);
    }

    /// Bytes of a cache of its own on a device.
    pub(super) fn cache_bytes(&self, part: usize) -> u64 {
        match &self.cache {
            Cache::Whole { buffers, .. } => buffers[part].bytes,
            Cache::Shared { .. } => 0,
        }
    }
}
