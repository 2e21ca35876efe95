//! Rotary positions, the cache and attention: what differs from layer to layer is the cache alone.

use super::gpu::Gpu;
use super::kernels::{Heads, Kernels, Mixed, THREADS};
use super::matrix::BLOCK;
use super::ops::{Op, Pass};
use super::workspace::Workspace;
use crate::engine::EngineError;
use crate::estimate::wgpu_workspace;
use crate::units::format_counted;

/// A cache has room for a multiple of so many tokens.
const CACHE_STEP: usize = wgpu_workspace::CACHE_STEP as usize;

/// Most parts that the keys of one row are split into.
const MAX_SPLITS: usize = wgpu_workspace::MAX_SPLITS as usize;

/// Keys that one part of split attention is worth.
const SPLIT_KEYS: usize = 256;

/// The steps between `qkv_proj` and `o_proj`.
pub(super) struct Attention {
    pub(super) heads: Heads,
    rope: Op,
    way: Way,
}

enum Way {
    /// Scores stay on the chip; keys of a single row are split between workgroups.
    Fused { many: Op, one: Op, split: Op, combine: Op, gives_q8: bool },
    /// Scores are written out, some rows at a time.
    Eager { scores: Op, softmax: Op, mix: Op, blocks: Vec<Block> },
}

/// First row of a block of score rows, for each of the three steps.
struct Block {
    scores: wgpu::BindGroup,
    softmax: wgpu::BindGroup,
    mix: wgpu::BindGroup,
}

/// Keys and values of one sequence in every layer.
pub(super) struct Cache {
    layers: Vec<LayerCache>,
    capacity: wgpu::Buffer,
}

/// One layer of a cache: a buffer of keys, then values.
pub(super) struct LayerCache {
    buffer: wgpu::Buffer,
    rope: wgpu::BindGroup,
    attention: LayerWay,
}

/// The cache as the steps of each way read it.
enum LayerWay {
    Fused { many: wgpu::BindGroup, one: wgpu::BindGroup, split: wgpu::BindGroup },
    Eager { scores: wgpu::BindGroup, mix: wgpu::BindGroup },
}

/// Rows of a pass and the position of the first.
#[derive(Debug, Clone, Copy)]
pub(super) struct Span {
    pub(super) rows: usize,
    pub(super) start: usize,
}

impl Attention {
    pub(super) async fn new(
        kernels: &mut Kernels<'_>,
        heads: Heads,
        space: &Workspace,
        takes_q8: bool,
    ) -> Result<Self, EngineError> {
        let Workspace { step, qkv, query, mixed, rotary, parts, .. } = space;
        let gpu = kernels.gpu;
        let rope = [(0, qkv), (1, rotary), (3, query), (5, step)];
        let rope = Op::new(kernels, &heads.rope(), &rope).await?;
        let way = if let Some(scores) = &space.scores {
            let written = [(2, query), (3, scores), (5, step)];
            let scored = Op::new(kernels, &heads.scores(), &written).await?;
            let softmax = [(3, scores), (5, step)];
            let softmax = Op::new(kernels, &heads.softmax(gpu.lanes), &softmax).await?;
            let mix = Op::new(kernels, &heads.mix(), &[(2, scores), (3, mixed), (5, step)]).await?;
            let block = |first_row: usize| {
                let uniform = gpu.uniform("block", &[first_row as u32, 0, 0, 0]);
                let whole = [(0, uniform.as_entire_binding())];
                Block {
                    scores: scored.group(gpu, 2, &whole),
                    softmax: softmax.group(gpu, 1, &whole),
                    mix: mix.group(gpu, 2, &whole),
                }
            };
            let blocks = (0..space.rows).step_by(space.score_rows).map(block).collect();
            Way::Eager { scores: scored, softmax, mix, blocks }
        } else {
            let gives_q8 = takes_q8 && heads.dim.is_multiple_of(BLOCK);
            let (mixed_as, out) =
                if gives_q8 { (Mixed::Q8, (6, &space.quantized)) } else { (Mixed::F32, (3, mixed)) };
            let many = [(2, query), (3, mixed), (5, step)];
            let one = [(0, qkv), (1, rotary), out, (5, step)];
            let split = [(0, qkv), (1, rotary), (3, parts), (5, step)];
            Way::Fused {
                many: Op::new(kernels, &heads.attention(gpu.lanes), &many).await?,
                one: Op::new(kernels, &heads.attention_of_one(mixed_as, gpu.lanes), &one).await?,
                split: Op::new(kernels, &heads.attention_of_one(Mixed::Parts, gpu.lanes), &split).await?,
                combine: Op::new(kernels, &heads.combine(mixed_as), &[(2, parts), out, (5, step)]).await?,
                gives_q8,
            }
        };
        Ok(Self { heads, rope, way })
    }

    /// Whether a single row comes out as int8 blocks.
    pub(super) fn gives_q8(&self) -> bool {
        matches!(self.way, Way::Fused { gives_q8: true, .. })
    }

    /// Parts that the keys of a row are split into.
    pub(super) fn splits(&self, span: Span) -> usize {
        if span.rows > 1 || matches!(self.way, Way::Eager { .. }) {
            return 1;
        }
        let keys = (span.start + 1).min(self.heads.window.unwrap_or(usize::MAX));
        keys.div_ceil(SPLIT_KEYS).min(MAX_SPLITS)
    }

    pub(super) fn run(&self, pass: &mut Pass<'_>, cache: &LayerCache, span: Span, space: &Workspace) {
        let (heads, rows) = (self.heads.query as u32, span.rows as u32);
        let rotate = |pass: &mut Pass<'_>| {
            let items = (self.heads.query + 2 * self.heads.key_value) * self.heads.fours();
            self.rope.run(pass, &[&cache.rope], [items.div_ceil(THREADS) as u32, rows, 1]);
        };
        match (&self.way, &cache.attention) {
            (
                Way::Fused { many, one, split, combine, .. },
                LayerWay::Fused { many: of_many, one: of_one, split: of_split },
            ) => match (rows, self.splits(span)) {
                (1, 1) => one.run(pass, &[of_one], [heads, 1, 1]),
                (1, splits) => {
                    split.run(pass, &[of_split], [heads, 1, splits as u32]);
                    combine.run(pass, &[], [heads, 1, 1]);
                }
                _ => {
                    rotate(pass);
                    many.run(pass, &[of_many], [heads, rows, 1]);
                }
            },
            (
                Way::Eager { scores, softmax, mix, blocks },
                LayerWay::Eager { scores: of_scores, mix: of_mix },
            ) => {
                rotate(pass);
                let keys = (span.start + span.rows).min(self.heads.window.unwrap_or(usize::MAX));
                let across = keys.div_ceil(THREADS) as u32;
                for (block, first) in blocks.iter().zip((0..span.rows).step_by(space.score_rows)) {
                    let rows = space.score_rows.min(span.rows - first) as u32;
                    scores.run(pass, &[of_scores, &block.scores], [across, heads, rows]);
                    softmax.run(pass, &[&block.softmax], [heads, rows, 1]);
                    mix.run(pass, &[of_mix, &block.mix], [heads, rows, 1]);
                }
            }
            _ => unreachable!("a cache is made by the attention that reads it"),
        }
    }

    /// Bytes of a cache.
    pub(super) fn cache_bytes(&self, layers: usize, capacity: usize) -> u64 {
        2 * self.heads.half_cache_bytes(capacity.next_multiple_of(CACHE_STEP)) * layers as u64
    }

    /// An empty cache of so many layers; they share one buffer where `shared`.
    pub(super) async fn cache(
        &self,
        gpu: &Gpu,
        layers: usize,
        capacity: usize,
    ) -> Result<Cache, EngineError> {
        let capacity = capacity.next_multiple_of(CACHE_STEP);
        let half = self.heads.half_cache_bytes(capacity);
        let most = gpu.limits.max_storage_buffer_binding_size;
        if half > most || 2 * half > gpu.limits.max_buffer_size {
            return Err(EngineError::Unavailable {
                what: format!("a sequence of {}", format_counted(capacity as u64, "token")),
                reason: format!(
                    "keys of one layer take {half} bytes, this device binds {most} at most: shorten the context"
                ),
            });
        }
        let bytes = 2 * half * layers as u64;
        let make = |gpu: &Gpu| {
            let uniform = gpu.uniform("capacity", &[capacity as u32, 0, 0, 0]);
            let layers = (0..layers).map(|_| self.layer_cache(gpu, half, &uniform)).collect();
            Cache { layers, capacity: uniform }
        };
        gpu.scoped("kv_cache", bytes, make).await
    }

    fn layer_cache(&self, gpu: &Gpu, half: u64, capacity: &wgpu::Buffer) -> LayerCache {
        let buffer = gpu.storage("kv cache", 2 * half);
        let part = |offset| {
            let size = wgpu::BufferSize::new(half);
            wgpu::BindingResource::Buffer(wgpu::BufferBinding { buffer: &buffer, offset, size })
        };
        let (keys, values) = ((0, part(0)), (1, part(half)));
        let capacity = (2, capacity.as_entire_binding());
        let all = [keys.clone(), values.clone(), capacity.clone()];
        let attention = match &self.way {
            Way::Fused { many, one, split, .. } => {
                let [many, one, split] = [many, one, split].map(|op| op.group(gpu, 1, &all));
                LayerWay::Fused { many, one, split }
            }
            Way::Eager { scores, mix, .. } => LayerWay::Eager {
                scores: scores.group(gpu, 1, &[keys, capacity.clone()]),
                mix: mix.group(gpu, 1, &[values, capacity]),
            },
        };
        let rope = self.rope.group(gpu, 1, &all);
        LayerCache { buffer, rope, attention }
    }
}

impl Cache {
    pub(super) fn layer(&self, index: usize) -> &LayerCache {
        // A cache of one layer serves all in turn.
        &self.layers[index.min(self.layers.len() - 1)]
    }

    /// Bytes of its buffers.
    pub(super) fn bytes(&self) -> u64 {
        self.layers.iter().map(|layer| layer.buffer.size()).sum()
    }
}

impl Drop for Cache {
    fn drop(&mut self) {
        self.layers.iter().for_each(|layer| layer.buffer.destroy());
        self.capacity.destroy();
    }
}
