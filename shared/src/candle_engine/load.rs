//! Weights from a checkpoint to tensors, one at a time, each within its device's budget.

use std::ops::ControlFlow;
use std::sync::Arc;

use candle_core::{Device, Tensor};
use half::{bf16, f16};
use kernels::team::{Team, TeamError};
use kernels::{BlockFormat, BlockMatrix, Float, Weight, quantize};

use super::arena::{Arena, Places};
use super::backend;
use super::model::{Layer, Model, Shape};
use super::workspace::zeroed;
use crate::decoder::Decoder;
use crate::dtype::DType;
use crate::engine::{EngineError, LoadPlan, LoadProgress, LoadStage};
use crate::estimate::{held_as, weights_bytes};
use crate::rope::Rope;
use crate::tensors::{self, Role, TensorSpec};
use crate::weights::{Checkpoint, WeightSource};

const WEIGHTS: &str = "weights";
/// Values of a matrix that a team shares: a product with fewer takes no longer than asking the others to help.
const SHARED_FROM: u64 = 1 << 15;

/// The blocks that a matrix is held in, where it is not held in floats: of the formats that the engine takes.
pub(super) fn block_format(dtype: DType) -> Option<BlockFormat> {
    match dtype {
        DType::Q8_0 => Some(BlockFormat::Q8_0),
        DType::Q4_0 => Some(BlockFormat::Q4_0),
        _ => None,
    }
}

/// Reads a model's tensors and reports how far it is.
pub(super) struct Loader<'a, S> {
    pub(super) checkpoint: &'a Checkpoint<S>,
    pub(super) plan: &'a LoadPlan,
    pub(super) decoder: Decoder,
    pub(super) arenas: &'a mut [Arena],
    pub(super) progress: &'a mut dyn FnMut(LoadProgress) -> ControlFlow<()>,
    pub(super) done_bytes: u64,
    /// Whose threads hold the matrices.
    pub(super) team: Option<&'a Arc<Team>>,
}

impl<S: WeightSource> Loader<'_, S> {
    /// The whole model; the host holds one tensor beside it at most.
    pub(super) async fn model(&mut self, places: Places) -> Result<Model, EngineError> {
        let config = &self.plan.config;
        self.report(LoadStage::Checking)?;
        self.checkpoint.check(&self.decoder)?;
        self.report(LoadStage::Weights)?;
        let embedding = self.matrix(Role::Embedding, 0, places.embedding).await?;
        let mut layers = Vec::with_capacity(config.num_hidden_layers);
        for (layer, place) in places.layers.iter().copied().enumerate() {
            layers.push(self.layer(layer, place).await?);
        }
        let norm = self.vector(Role::FinalNorm, 0, places.norm).await?;
        let head = match config.tie_word_embeddings {
            true => embedding.clone(),
            false => self.matrix(Role::LmHead, 0, places.head).await?,
        };
        let shape = Shape::new(self.plan, Rope::new(config).rotary_dim());
        Ok(Model { embedding, layers, norm, head, shape, places })
    }

    pub(super) async fn layer(&mut self, layer: usize, place: usize) -> Result<Layer, EngineError> {
        Ok(Layer {
            input_norm: self.vector(Role::InputNorm, layer, place).await?,
            qkv_proj: self.matrix(Role::QkvProj, layer, place).await?,
            o_proj: self.matrix(Role::OProj, layer, place).await?,
            post_attention_norm: self.vector(Role::PostAttentionNorm, layer, place).await?,
            gate_up_proj: self.matrix(Role::GateUpProj, layer, place).await?,
            down_proj: self.matrix(Role::DownProj, layer, place).await?,
        })
    }

    pub(super) async fn vector(
        &mut self,
        role: Role,
        layer: usize,
        place: usize,
    ) -> Result<Tensor, EngineError> {
        let (spec, dtype) = self.begin(role, layer, place)?;
        let tensor = self.tensor(&spec, dtype).await?;
        self.end(&spec, dtype)?;
        Ok(tensor)
    }

    pub(super) async fn matrix(
        &mut self,
        role: Role,
        layer: usize,
        place: usize,
    ) -> Result<Weight, EngineError> {
        let (spec, dtype) = self.begin(role, layer, place)?;
        let weight = match block_format(dtype) {
            Some(format) => Weight::Blocks(Arc::new(self.blocks(&spec, dtype, format).await?)),
            None => Weight::Plain(self.tensor(&spec, dtype).await?),
        };
        let weight = match self.team {
            Some(team) if spec.count() >= SHARED_FROM => team.share(weight).map_err(of_team)?,
            _ => weight,
        };
        self.end(&spec, dtype)?;
        Ok(weight)
    }

    /// Takes room for a tensor in the format that it will be held in.
    fn begin(&mut self, role: Role, layer: usize, place: usize) -> Result<(TensorSpec, DType), EngineError> {
        let spec = tensors::spec(&self.decoder, role, layer);
        let dtype = held_as(self.plan.dtype, &spec.shape);
        self.arenas[place].budget.take(WEIGHTS, dtype.tensor_bytes(&spec.shape))?;
        Ok((spec, dtype))
    }

    fn end(&mut self, spec: &TensorSpec, dtype: DType) -> Result<(), EngineError> {
        self.done_bytes += dtype.tensor_bytes(&spec.shape);
        self.report(LoadStage::Weights)
    }

    async fn tensor(&self, spec: &TensorSpec, dtype: DType) -> Result<Tensor, EngineError> {
        match dtype {
            DType::Bf16 => self.read::<bf16>(spec, dtype).await,
            DType::F16 => self.read::<f16>(spec, dtype).await,
            _ => self.read::<f32>(spec, dtype).await,
        }
    }

    fn is_stored_as(&self, spec: &TensorSpec, dtype: DType) -> bool {
        self.checkpoint.tensors().get(&spec.name).is_some_and(|stored| stored.dtype == dtype)
    }

    async fn read<F: Float + candle_core::WithDType>(
        &self,
        spec: &TensorSpec,
        dtype: DType,
    ) -> Result<Tensor, EngineError> {
        let len = spec.count() as usize;
        let mut values = zeroed::<F>(WEIGHTS, len)?;
        if self.is_stored_as(spec, dtype) {
            self.checkpoint.read(&spec.name, bytemuck::cast_slice_mut(&mut values)).await?;
        } else if let Some(wide) = F::as_f32_mut(&mut values) {
            self.checkpoint.read_f32_into(&spec.name, wide).await?;
        } else {
            let mut wide = zeroed::<f32>(WEIGHTS, len)?;
            self.checkpoint.read_f32_into(&spec.name, &mut wide).await?;
            F::narrow_all(&wide, &mut values);
        }
        Tensor::from_vec(values, spec.shape.as_slice(), &Device::Cpu).map_err(backend)
    }

    /// A matrix in blocks: as stored, or quantized by way of f32.
    async fn blocks(
        &self,
        spec: &TensorSpec,
        dtype: DType,
        format: BlockFormat,
    ) -> Result<BlockMatrix, EngineError> {
        let [rows, columns] = *spec.shape.as_slice() else {
            return Err(EngineError::Backend(format!("`{}` is no matrix", spec.name)));
        };
        let mut bytes = zeroed::<u8>(WEIGHTS, dtype.tensor_bytes(&spec.shape) as usize)?;
        if self.is_stored_as(spec, dtype) {
            self.checkpoint.read(&spec.name, &mut bytes).await?;
        } else {
            let mut wide = zeroed::<f32>(WEIGHTS, spec.count() as usize)?;
            self.checkpoint.read_f32_into(&spec.name, &mut wide).await?;
            quantize(format, &wide, &mut bytes);
        }
        Ok(BlockMatrix { format, rows, columns, bytes })
    }

    fn report(&mut self, stage: LoadStage) -> Result<(), EngineError> {
        let total_bytes = weights_bytes(&self.decoder, self.plan.dtype);
        match (self.progress)(LoadProgress { stage, done_bytes: self.done_bytes, total_bytes }) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(EngineError::Cancelled),
        }
    }
}

fn of_team(error: TeamError) -> EngineError {
    match error {
        TeamError::OutOfMemory(requested_bytes) => {
            EngineError::OutOfMemory { phase: WEIGHTS, requested_bytes, free_bytes: 0 }
        }
        error => EngineError::Backend(error.to_string()),
    }
}
