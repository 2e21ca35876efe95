//! Phi-3: a pre-norm decoder with fused projections and rotary positions.

use candle_core::{Result, Tensor};
use kernels::ops::{self, Heads, Segment};
use kernels::{Precision, Weight, tensor_bytes};

use super::arena::{Arena, Places};
use super::workspace::Workspace;
use crate::dtype::DType;
use crate::engine::{Attention, LoadPlan};
use crate::rope::{Rope, visible_keys};

/// The weights, matrices `[out, in]` and vectors `[width]`, in the format of the plan.
pub(super) struct Model {
    pub(super) embedding: Weight,
    pub(super) layers: Vec<Layer>,
    pub(super) norm: Tensor,
    /// The embedding itself where they are tied.
    pub(super) head: Weight,
    pub(super) shape: Shape,
    /// The arena of each part.
    pub(super) places: Places,
}

/// The weights of one decoder layer.
pub(super) struct Layer {
    pub(super) input_norm: Tensor,
    pub(super) qkv_proj: Weight,
    pub(super) o_proj: Weight,
    pub(super) post_attention_norm: Tensor,
    pub(super) gate_up_proj: Weight,
    pub(super) down_proj: Weight,
}

/// What all layers have in common.
pub(super) struct Shape {
    pub(super) hidden: usize,
    intermediate: usize,
    pub(super) heads: Heads,
    pub(super) eps: f64,
    /// Format that values are rounded to where Hugging Face casts.
    precision: Precision,
}

impl Shape {
    pub(super) fn new(plan: &LoadPlan, rotary_dim: usize) -> Self {
        let config = &plan.config;
        Self {
            hidden: config.hidden_size,
            intermediate: config.intermediate_size,
            heads: Heads {
                query: config.num_attention_heads,
                key_value: config.num_key_value_heads,
                dim: config.head_dim,
                rotary_dim,
                visible: visible_keys,
                window: config.sliding_window,
                in_tiles: plan.attention == Attention::Fused,
            },
            eps: config.rms_norm_eps,
            precision: rounded_to(plan.dtype),
        }
    }

    /// The format that values are rounded to.
    pub(super) fn precision(&self) -> Precision {
        self.precision
    }

    /// Cosines and sines of each row's position into `rotary`, `[cosines | sines]` a row; `true` for the long factors.
    pub(super) fn write_rotary(
        &self,
        rotary: &Tensor,
        rope: &Rope,
        positions: impl Iterator<Item = (bool, usize)>,
    ) -> Result<()> {
        ops::write_rows(rotary, rope.rotary_dim(), positions, self.precision, |(long, position), row| {
            rope.write_row(long, position, row);
        })
    }
}

/// The format that activations are rounded to: where Hugging Face casts to the model's; with quantized weights, which
/// it has no such casts for, f32.
fn rounded_to(dtype: DType) -> Precision {
    match dtype {
        DType::Bf16 => Precision::Bf16,
        DType::F16 => Precision::F16,
        _ => Precision::F32,
    }
}

impl Layer {
    /// Bytes of its weights.
    pub(super) fn bytes(&self) -> u64 {
        let Self { input_norm, qkv_proj, o_proj, post_attention_norm, gate_up_proj, down_proj } = self;
        let matrices = [qkv_proj, o_proj, gate_up_proj, down_proj].map(Weight::bytes);
        let vectors = [input_norm, post_attention_norm].map(tensor_bytes);
        matrices.iter().chain(&vectors).sum()
    }
}

impl Model {
    /// Bytes of the weights in an arena; a head that is the embedding counts once.
    pub(super) fn bytes(&self, arena: usize) -> u64 {
        let Self { embedding, layers, norm, head, places, .. } = self;
        let on = |place: usize, bytes: u64| if place == arena { bytes } else { 0 };
        let layers = layers.iter().zip(&places.layers).map(|(layer, place)| on(*place, layer.bytes()));
        let head_bytes = if head.is(embedding) { 0 } else { head.bytes() };
        on(places.embedding, embedding.bytes())
            + layers.sum::<u64>()
            + on(places.norm, tensor_bytes(norm))
            + on(places.head, head_bytes)
    }

    /// Token ids to the residual stream `[rows, hidden]`.
    pub(super) fn embed(&self, ids: &[u32], residual: &Tensor) -> Result<()> {
        ops::embed(residual, &self.embedding, ids)
    }

    /// The final norm and the head: `rows` rows of the residual stream to the head's `logits`.
    pub(super) fn logits(&self, x: &Tensor, rows: usize, arenas: &mut [Arena]) -> Result<()> {
        let Shape { eps, precision, hidden, .. } = self.shape;
        // The stream is done with when the last rows are normed: they pass through it.
        let stream = arenas[self.places.norm].space.residual.clone();
        copy(&stream, x, rows * hidden)?;
        let Workspace { last, logits, panel, .. } = &mut arenas[self.places.head].space;
        ops::rms_norm(last, &stream, &self.norm, rows, eps, precision)?;
        ops::linear(logits, last, &self.head, rows, precision, panel)
    }
}

/// The first `len` values from one device to another.
pub(super) fn copy(to: &Tensor, from: &Tensor, len: usize) -> Result<()> {
    to.slice_set(&from.narrow(0, 0, len)?, 0, 0)
}

impl Layer {
    /// `x += attention(norm(x)); x += mlp(norm(x))` for the rows of all segments; their keys and values are cached.
    pub(super) fn forward(
        &self,
        x: &Tensor,
        segments: &[Segment],
        shape: &Shape,
        space: &mut Workspace,
    ) -> Result<()> {
        let Shape { hidden, intermediate, ref heads, eps, precision } = *shape;
        let Workspace { normed, projected, mixed, rotary, scores, panel, .. } = space;
        let rows = segments.last().map_or(0, |segment| segment.rows.end);

        ops::rms_norm(normed, x, &self.input_norm, rows, eps, precision)?;
        ops::linear(projected, normed, &self.qkv_proj, rows, precision, panel)?;
        ops::rotate(projected, rotary, rows, heads, precision)?;
        for segment in segments {
            ops::append(projected, segment, heads)?;
            ops::attend(mixed, projected, segment, heads, precision, scores, panel)?;
        }
        ops::linear(normed, mixed, &self.o_proj, rows, precision, panel)?;
        ops::add(x, normed, rows, hidden, precision)?;

        ops::rms_norm(normed, x, &self.post_attention_norm, rows, eps, precision)?;
        ops::linear(projected, normed, &self.gate_up_proj, rows, precision, panel)?;
        ops::silu_mul(mixed, projected, rows, intermediate, precision)?;
        ops::linear(normed, mixed, &self.down_proj, rows, precision, panel)?;
        ops::add(x, normed, rows, hidden, precision)
    }
}
