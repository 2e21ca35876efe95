//! One sequence: its ids, its cache, how its next id is chosen.

use std::ops::Range;
use std::sync::Arc;

use super::driver::{Buffer, Gpu};
use super::kernels::{Format, Row};
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
    /// Keys and values on each device, of its layers.
    caches: Vec<Buffer>,
    layer_bytes: u64,
    /// Leading ids whose keys and values stand in the cache, and whether those were rotated by the long factors.
    pub(super) cached: usize,
    pub(super) long: bool,
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
    /// `gpus` are the devices, each with the number of its layers. Where the device that has the head does not choose
    /// ids (`draws`), the host does.
    pub(super) fn new<'a>(
        gpus: impl Iterator<Item = (&'a Arc<Gpu>, usize)>,
        plan: &LoadPlan,
        kv: Format,
        capacity: usize,
        sampling: &Sampling,
        draws: bool,
    ) -> Result<Self, EngineError> {
        let sampler = Sampler::new(sampling)?;
        let is_plain = sampling.top_p == 1.0 && sampling.top_k == 0 && sampling.min_p == 0.0;
        let on_device = draws
            && !sampling.penalizes()
            && (sampling.temperature == 0.0 || is_plain && sampling.temperature >= LEAST_TEMPERATURE);
        let layer_bytes = layer_bytes(plan, kv, capacity);
        let mut caches = Vec::new();
        for (gpu, layers) in gpus {
            caches.push(gpu.alloc(layer_bytes * layers as u64, "kv_cache")?);
        }
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
            caches,
            layer_bytes,
            cached: 0,
            long: false,
        })
    }

    /// Describes the id at a position to the kernels of a device.
    pub(super) fn row(&self, position: usize, part: usize) -> Row {
        Row {
            keys: self.caches[part].ptr().0,
            layer_bytes: self.layer_bytes,
            capacity: self.capacity as u32,
            position: position as u32,
            token: self.known.get(position).copied().unwrap_or(0),
            is_long: u32::from(self.long),
            tick: 0,
            inverse_temperature: self.inverse_temperature,
            seed: self.seed,
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

    /// Bytes of its cache on a device.
    pub(super) fn cache_bytes(&self, part: usize) -> u64 {
        self.caches[part].bytes
    }
}
