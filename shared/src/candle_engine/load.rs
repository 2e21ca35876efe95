//! Weights from a checkpoint to tensors, one at a time.

use std::ops::ControlFlow;

use candle_core::{Device, Tensor};
use half::{bf16, f16};

use super::backend;
use super::kernels::Float;
use super::model::{Layer, Model, Shape};
use super::workspace::zeroed;
use crate::decoder::Decoder;
use crate::dtype::DType;
use crate::engine::{EngineError, LoadPlan, LoadProgress, LoadStage};
use crate::estimate::weights_bytes;
use crate::rope::Rope;
use crate::tensors::{self, Role, TensorSpec};
use crate::weights::{Checkpoint, WeightSource};

/// Reads a model's tensors and reports how far it is.
pub(super) struct Loader<'a, S> {
    pub(super) checkpoint: &'a Checkpoint<S>,
    pub(super) plan: &'a LoadPlan,
    pub(super) decoder: Decoder,
    pub(super) progress: &'a mut dyn FnMut(LoadProgress) -> ControlFlow<()>,
    pub(super) done_bytes: u64,
}

impl<S: WeightSource> Loader<'_, S> {
    /// The whole model; the host holds one tensor beside it at most.
    pub(super) async fn model(&mut self) -> Result<Model, EngineError> {
        let config = &self.plan.config;
        self.report(LoadStage::Checking)?;
        self.checkpoint.check(&self.decoder)?;
        self.report(LoadStage::Weights)?;
        let embedding = self.tensor(Role::Embedding, 0).await?;
        let mut layers = Vec::with_capacity(config.num_hidden_layers);
        for layer in 0..config.num_hidden_layers {
            layers.push(Layer {
                input_norm: self.tensor(Role::InputNorm, layer).await?,
                qkv_proj: self.tensor(Role::QkvProj, layer).await?,
                o_proj: self.tensor(Role::OProj, layer).await?,
                post_attention_norm: self.tensor(Role::PostAttentionNorm, layer).await?,
                gate_up_proj: self.tensor(Role::GateUpProj, layer).await?,
                down_proj: self.tensor(Role::DownProj, layer).await?,
            });
        }
        let norm = self.tensor(Role::FinalNorm, 0).await?;
        let head =
            if config.tie_word_embeddings { embedding.clone() } else { self.tensor(Role::LmHead, 0).await? };
        let shape = Shape::new(config, Rope::new(config).rotary_dim(), self.plan.dtype);
        Ok(Model { embedding, layers, norm, head, shape })
    }

    async fn tensor(&mut self, role: Role, layer: usize) -> Result<Tensor, EngineError> {
        let spec = tensors::spec(&self.decoder, role, layer);
        let tensor = match self.plan.dtype {
            DType::Bf16 => self.read::<bf16>(&spec).await?,
            DType::F16 => self.read::<f16>(&spec).await?,
            _ => self.read::<f32>(&spec).await?,
        };
        self.done_bytes += self.plan.dtype.tensor_bytes(&spec.shape);
        self.report(LoadStage::Weights)?;
        Ok(tensor)
    }

    async fn read<F: Float + candle_core::WithDType>(
        &self,
        spec: &TensorSpec,
    ) -> Result<Tensor, EngineError> {
        let len = spec.count() as usize;
        let mut values = zeroed::<F>("weights", len)?;
        if self.checkpoint.tensors().get(&spec.name).is_some_and(|stored| stored.dtype == self.plan.dtype) {
            self.checkpoint.read(&spec.name, bytemuck::cast_slice_mut(&mut values)).await?;
        } else if let Some(wide) = F::as_f32_mut(&mut values) {
            self.checkpoint.read_f32_into(&spec.name, wide).await?;
        } else {
            let mut wide = zeroed::<f32>("weights", len)?;
            self.checkpoint.read_f32_into(&spec.name, &mut wide).await?;
            values.iter_mut().zip(&wide).for_each(|(value, wide)| *value = F::narrow(*wide));
        }
        Tensor::from_vec(values, spec.shape.as_slice(), &Device::Cpu).map_err(backend)
    }

    pub(super) fn report(&mut self, stage: LoadStage) -> Result<(), EngineError> {
        let total_bytes = weights_bytes(&self.decoder, self.plan.dtype);
        match (self.progress)(LoadProgress { stage, done_bytes: self.done_bytes, total_bytes }) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(EngineError::Cancelled),
        }
    }
}
