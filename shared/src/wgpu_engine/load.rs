//! Weights from a checkpoint to the device, some rows at a time.

use std::ops::ControlFlow;

use super::gpu::Gpu;
use super::matrix::Matrix;
use super::model::{LayerWeights, Weights};
use crate::decoder::Decoder;
use crate::engine::{EngineError, LoadPlan, LoadProgress, LoadStage};
use crate::estimate::{held_as, weights_bytes, wgpu_workspace};
use crate::tensors::{self, Role};
use crate::weights::{Checkpoint, WeightSource};

/// Values that are on the host at once.
const PIECE: usize = wgpu_workspace::LOAD_VALUES as usize;

/// Reads a model's tensors and reports how far it is.
pub(super) struct Loader<'a, S> {
    pub(super) gpu: &'a Gpu,
    pub(super) checkpoint: &'a Checkpoint<S>,
    pub(super) plan: &'a LoadPlan,
    pub(super) decoder: Decoder,
    pub(super) progress: &'a mut dyn FnMut(LoadProgress) -> ControlFlow<()>,
    pub(super) done_bytes: u64,
}

impl<S: WeightSource> Loader<'_, S> {
    /// All weights.
    pub(super) async fn weights(&mut self) -> Result<Weights, EngineError> {
        let config = &self.plan.config;
        self.report(LoadStage::Checking)?;
        self.checkpoint.check(&self.decoder)?;
        self.report(LoadStage::Weights)?;
        let embedding = self.tensor(Role::Embedding, 0).await?;
        let mut layers = Vec::with_capacity(config.num_hidden_layers);
        for layer in 0..config.num_hidden_layers {
            layers.push(LayerWeights {
                input_norm: self.tensor(Role::InputNorm, layer).await?,
                qkv_proj: self.tensor(Role::QkvProj, layer).await?,
                o_proj: self.tensor(Role::OProj, layer).await?,
                post_attention_norm: self.tensor(Role::PostAttentionNorm, layer).await?,
                gate_up_proj: self.tensor(Role::GateUpProj, layer).await?,
                down_proj: self.tensor(Role::DownProj, layer).await?,
            });
        }
        let norm = self.tensor(Role::FinalNorm, 0).await?;
        let head = if config.tie_word_embeddings { None } else { Some(self.tensor(Role::LmHead, 0).await?) };
        Ok(Weights { embedding, layers, norm, head })
    }

    async fn tensor(&mut self, role: Role, layer: usize) -> Result<Matrix, EngineError> {
        let spec = tensors::spec(&self.decoder, role, layer);
        let matrix = Matrix::new(self.gpu, self.plan.dtype, &spec.shape).await?;
        let (rows, columns) = (matrix.rows, matrix.columns);
        // Pairs of rows: what shaders read two of at a time is written so.
        let at_once = (PIECE / columns / 2 * 2).max(2);
        let mut values = Vec::new();
        let mut mingled = Vec::new();
        for first in (0..rows).step_by(at_once) {
            let count = at_once.min(rows - first);
            values.resize(count * columns, 0.0);
            if role == Role::GateUpProj {
                let (gate, up) = values.split_at_mut(count / 2 * columns);
                let at = (first / 2 * columns) as u64;
                self.checkpoint.read_part_as_f32(&spec.name, at, gate).await?;
                self.checkpoint.read_part_as_f32(&spec.name, at + (rows / 2 * columns) as u64, up).await?;
                mingled.clear();
                for (gate, up) in gate.chunks_exact(columns).zip(up.chunks_exact(columns)) {
                    mingled.extend_from_slice(gate);
                    mingled.extend_from_slice(up);
                }
                matrix.write(self.gpu, first, &mingled);
            } else {
                self.checkpoint.read_part_as_f32(&spec.name, (first * columns) as u64, &mut values).await?;
                matrix.write(self.gpu, first, &values);
            }
            self.gpu.settle().await?;
        }
        self.done_bytes += held_as(self.plan.dtype, &spec.shape).tensor_bytes(&spec.shape);
        self.report(LoadStage::Weights)?;
        Ok(matrix)
    }

    fn report(&mut self, stage: LoadStage) -> Result<(), EngineError> {
        let total_bytes = weights_bytes(&self.decoder, self.plan.dtype);
        let step = LoadProgress { stage, done_bytes: self.done_bytes, total_bytes };
        match (self.progress)(step) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(EngineError::Cancelled),
        }
    }
}
