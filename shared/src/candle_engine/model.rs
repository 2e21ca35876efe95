//! Phi-3: a pre-norm decoder with fused projections and rotary positions.

use candle_core::{Result, Tensor};

use super::ops::{self, Heads, Segment};
use super::workspace::{Workspace, tensor_bytes};
use crate::config::ModelConfig;
use crate::dtype::DType;

/// The weights, each `[out, in]` or `[width]`, in the format of the plan.
pub(super) struct Model {
    pub(super) embedding: Tensor,
    pub(super) layers: Vec<Layer>,
    pub(super) norm: Tensor,
    /// The embedding itself where they are tied.
    pub(super) head: Tensor,
    pub(super) shape: Shape,
}

/// The weights of one decoder layer.
pub(super) struct Layer {
    pub(super) input_norm: Tensor,
    pub(super) qkv_proj: Tensor,
    pub(super) o_proj: Tensor,
    pub(super) post_attention_norm: Tensor,
    pub(super) gate_up_proj: Tensor,
    pub(super) down_proj: Tensor,
}

/// What all layers have in common.
pub(super) struct Shape {
    hidden: usize,
    intermediate: usize,
    pub(super) heads: Heads,
    eps: f64,
    /// Format that values are rounded to where Hugging Face casts.
    dtype: DType,
}

impl Shape {
    pub(super) fn new(config: &ModelConfig, rotary_dim: usize, dtype: DType) -> Self {
        Self {
            hidden: config.hidden_size,
            intermediate: config.intermediate_size,
            heads: Heads {
                query: config.num_attention_heads,
                key_value: config.num_key_value_heads,
                dim: config.head_dim,
                rotary_dim,
                window: config.sliding_window,
            },
            eps: config.rms_norm_eps,
            dtype,
        }
    }
}

impl Model {
    /// Bytes of the weights; a head that is the embedding counts once.
    pub(super) fn bytes(&self) -> u64 {
        let head = (self.head.id() != self.embedding.id()).then_some(&self.head);
        let of_layers = self.layers.iter().flat_map(|layer| {
            let Layer { input_norm, qkv_proj, o_proj, post_attention_norm, gate_up_proj, down_proj } = layer;
            [input_norm, qkv_proj, o_proj, post_attention_norm, gate_up_proj, down_proj]
        });
        [&self.embedding, &self.norm].into_iter().chain(head).chain(of_layers).map(tensor_bytes).sum()
    }

    /// Token ids to the residual stream `[rows, hidden]`.
    pub(super) fn embed(&self, ids: &[u32], residual: &Tensor) -> Result<()> {
        ops::embed(residual, &self.embedding, ids)
    }

    /// The final norm and the head: `rows` rows of the residual stream to `logits`.
    pub(super) fn logits(&self, x: &Tensor, rows: usize, space: &mut Workspace) -> Result<()> {
        let Shape { eps, dtype, .. } = self.shape;
        ops::rms_norm(&space.normed, x, &self.norm, rows, eps, dtype)?;
        ops::linear(&space.logits, &space.normed, &self.head, rows, dtype, &mut space.panel)
    }
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
        let Shape { hidden, intermediate, ref heads, eps, dtype } = *shape;
        let Workspace { normed, projected, mixed, rotary, scores, panel, .. } = space;
        let rows = segments.last().map_or(0, |segment| segment.rows.end);

        ops::rms_norm(normed, x, &self.input_norm, rows, eps, dtype)?;
        ops::linear(projected, normed, &self.qkv_proj, rows, dtype, panel)?;
        ops::rotate(projected, rotary, rows, heads, dtype)?;
        for segment in segments {
            ops::append(projected, segment, heads)?;
            ops::attend(mixed, projected, segment, heads, dtype, scores, panel)?;
        }
        ops::linear(normed, mixed, &self.o_proj, rows, dtype, panel)?;
        ops::add(x, normed, rows, hidden, dtype)?;

        ops::rms_norm(normed, x, &self.post_attention_norm, rows, eps, dtype)?;
        ops::linear(projected, normed, &self.gate_up_proj, rows, dtype, panel)?;
        ops::silu_mul(mixed, projected, rows, intermediate, dtype)?;
        ops::linear(normed, mixed, &self.down_proj, rows, dtype, panel)?;
        ops::add(x, normed, rows, hidden, dtype)
    }
}
