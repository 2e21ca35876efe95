//! Phi-3 as recorded steps: what is dispatched for some rows of a sequence.

use super::attention::{Attention, Cache, Span};
use super::gpu::Gpu;
use super::kernels::{self, Heads, Into, Kernels};
use super::matrix::{Matrix, padded};
use super::ops::{Linear, Made, Norm, Op, Pass, Route, bindings};
use super::workspace::Workspace;
use crate::engine::{EngineError, LoadPlan};

/// The weights, each in the format that the plan holds it in.
pub(super) struct Weights {
    pub(super) embedding: Matrix,
    pub(super) layers: Vec<LayerWeights>,
    pub(super) norm: Matrix,
    /// `None` where the embedding is the head.
    pub(super) head: Option<Matrix>,
}

/// The weights of one decoder layer.
pub(super) struct LayerWeights {
    pub(super) input_norm: Matrix,
    pub(super) qkv_proj: Matrix,
    pub(super) o_proj: Matrix,
    pub(super) post_attention_norm: Matrix,
    /// Rows alternate: gate, up.
    pub(super) gate_up_proj: Matrix,
    pub(super) down_proj: Matrix,
}

impl Weights {
    fn matrices(&self) -> impl Iterator<Item = &Matrix> {
        let of_layers = self.layers.iter().flat_map(|layer| {
            let LayerWeights { input_norm, qkv_proj, o_proj, post_attention_norm, gate_up_proj, down_proj } =
                layer;
            [input_norm, qkv_proj, o_proj, post_attention_norm, gate_up_proj, down_proj]
        });
        [&self.embedding, &self.norm].into_iter().chain(&self.head).chain(of_layers)
    }

    /// Bytes on the device.
    pub(super) fn bytes(&self) -> u64 {
        self.matrices().map(Matrix::bytes).sum()
    }

    /// Bytes of the largest buffer.
    pub(super) fn largest_buffer(&self) -> u64 {
        let parts = self.matrices().flat_map(|matrix| &matrix.parts);
        parts.map(|part| part.values.size()).max().unwrap_or(0)
    }
}

/// The steps.
pub(super) struct Model {
    embed: Vec<Op>,
    pub(super) attention: Attention,
    layers: Vec<Layer>,
    norm: Norm,
    head: Linear,
    pub(super) argmax: Op,
    pub(super) count_residual: Op,
    /// What the counting steps write.
    pub(super) counts: wgpu::Buffer,
}

struct Layer {
    input_norm: Norm,
    qkv_proj: Linear,
    o_proj: Linear,
    post_attention_norm: Norm,
    gate_up_proj: Linear,
    down_proj: Linear,
}

impl Model {
    /// Compiles every shader and binds every buffer; `told` hears of each layer.
    pub(super) async fn new(
        gpu: &Gpu,
        plan: &LoadPlan,
        heads: Heads,
        weights: &Weights,
        space: &Workspace,
        told: &mut dyn FnMut() -> Result<(), EngineError>,
    ) -> Result<Self, EngineError> {
        let config = &plan.config;
        let kernels = &mut Kernels::new(gpu);
        let vocab = config.vocab_size;
        let mut embed = Vec::new();
        let shader = kernels::embed(weights.embedding.dtype, weights.embedding.columns);
        for part in &weights.embedding.parts {
            let mut buffers = bindings(part);
            buffers.extend([(3, &space.residual), (4, &part.uniform)]);
            embed.push(Op::new(kernels, &shader, &buffers).await?);
        }
        let head = weights.head.as_ref().unwrap_or(&weights.embedding);
        let eps = config.rms_norm_eps;
        let takes_q8 = weights.layers.first().is_some_and(|layer| layer.o_proj.is_quantized());
        let attention = Attention::new(kernels, heads, space, takes_q8).await?;
        let mut layers = Vec::with_capacity(weights.layers.len());
        for layer in &weights.layers {
            layers.push(Layer::new(kernels, layer, space, eps, attention.gives_q8()).await?);
            told()?;
        }
        let norm = Norm::new(kernels, &weights.norm, space, eps, head, true).await?;
        let to_logits = normed(space, &space.logits, vocab, Into::Store, None);
        let head = Linear::new(kernels, head, space, to_logits).await?;
        let argmax = Op::new(kernels, &kernels::argmax(vocab), &[(0, &space.logits)]).await?;
        let counts = gpu.storage("counts", 8);
        let count = kernels::count(config.hidden_size, padded(config.hidden_size));
        let counted = [(0, &space.residual), (3, &counts), (5, &space.step)];
        let count_residual = Op::new(kernels, &count, &counted).await?;
        Ok(Self { embed, attention, layers, norm, head, argmax, count_residual, counts })
    }

    /// A group of bindings for the buffer that rows' ids come from.
    pub(super) fn ids(&self, gpu: &Gpu, ids: &wgpu::Buffer) -> Vec<wgpu::BindGroup> {
        self.embed.iter().map(|op| op.group(gpu, 1, &[(0, ids.as_entire_binding())])).collect()
    }

    /// Ids to the residual stream.
    pub(super) fn embed(&self, pass: &mut Pass<'_>, ids: &[wgpu::BindGroup], rows: usize) {
        for (op, ids) in self.embed.iter().zip(ids) {
            op.run(pass, &[ids], [rows as u32, 1, 1]);
        }
    }

    /// All layers, for rows whose residual stands in the workspace.
    pub(super) fn layers(&self, pass: &mut Pass<'_>, cache: &Cache, span: Span, space: &Workspace) {
        for index in 0..self.layers.len() {
            self.layer(pass, index, cache, span, space);
        }
    }

    /// One layer.
    pub(super) fn layer(
        &self,
        pass: &mut Pass<'_>,
        index: usize,
        cache: &Cache,
        span: Span,
        space: &Workspace,
    ) {
        let (layer, rows) = (&self.layers[index], span.rows);
        layer.input_norm.run(pass, rows);
        layer.qkv_proj.run(pass, rows);
        self.attention.run(pass, cache.layer(index), span, space);
        layer.o_proj.run(pass, rows);
        layer.post_attention_norm.run(pass, rows);
        layer.gate_up_proj.run(pass, rows);
        layer.down_proj.run(pass, rows);
    }

    /// Logits of `rows` rows from the step's head row on.
    pub(super) fn logits(&self, pass: &mut Pass<'_>, rows: usize) {
        self.norm.run(pass, rows);
        self.head.run(pass, rows);
    }
}

/// The way of a product whose input a norm has left.
fn normed<'a>(
    space: &'a Workspace,
    out: &'a wgpu::Buffer,
    out_stride: usize,
    into: Into,
    out_q8: Option<&'a wgpu::Buffer>,
) -> Route<'a> {
    let (x, x_q8) = (&space.normed, &space.quantized);
    Route { x, x_q8, made: Made::Always, out, out_stride, into, out_q8 }
}

impl Layer {
    async fn new(
        kernels: &mut Kernels<'_>,
        weights: &LayerWeights,
        space: &Workspace,
        eps: f64,
        attention_gives_q8: bool,
    ) -> Result<Self, EngineError> {
        let LayerWeights { input_norm, qkv_proj, o_proj, post_attention_norm, gate_up_proj, down_proj } =
            weights;
        // Onto the residual stream.
        let mixed = |x_q8, made| Route {
            x: &space.mixed,
            x_q8,
            made,
            out: &space.residual,
            out_stride: padded(o_proj.rows),
            into: Into::Add,
            out_q8: None,
        };
        let gated = down_proj.is_quantized().then_some(&space.gated_q8);
        let to_qkv = normed(space, &space.qkv, padded(qkv_proj.rows), Into::Store, None);
        let to_mlp = normed(space, &space.mixed, padded(gate_up_proj.rows / 2), Into::Silu, gated);
        let made = if attention_gives_q8 { Made::ForOneRow } else { Made::Never };
        let from_attention = mixed(&space.quantized, made);
        let from_mlp = mixed(&space.gated_q8, Made::ForOneRow);
        Ok(Self {
            input_norm: Norm::new(kernels, input_norm, space, eps, qkv_proj, false).await?,
            qkv_proj: Linear::new(kernels, qkv_proj, space, to_qkv).await?,
            o_proj: Linear::new(kernels, o_proj, space, from_attention).await?,
            post_attention_norm: Norm::new(kernels, post_attention_norm, space, eps, gate_up_proj, false)
                .await?,
            gate_up_proj: Linear::new(kernels, gate_up_proj, space, to_mlp).await?,
            down_proj: Linear::new(kernels, down_proj, space, from_mlp).await?,
        })
    }
}
