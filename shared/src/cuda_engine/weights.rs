//! The weights on the device: one allocation, each tensor at its place in it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::driver::{Buffer, Gpu, Ptr};
use super::kernels::{Format, Matrix, Norm};
use crate::dtype::DType;
use crate::engine::{EngineError, LoadPlan};
use crate::placement::DeviceId;
use crate::tensors::{self, Role, TensorSpec};

/// What every address of a tensor is a multiple of.
const ALIGNMENT: usize = 256;

/// The weights of one decoder layer.
#[derive(Debug, Clone, Copy)]
pub(super) struct Layer {
    pub(super) input_norm: Norm,
    pub(super) qkv: Matrix,
    pub(super) o: Matrix,
    pub(super) post_attention_norm: Norm,
    pub(super) gate_up: Matrix,
    pub(super) down: Matrix,
    /// Its place among the layers of the device, in the order of which their caches lie.
    pub(super) cache: usize,
}

/// The weights that lie on a device.
pub(super) struct Weights {
    arena: Buffer,
    /// Bytes of the tensors, without the gaps between them.
    pub(super) bytes: u64,
    pub(super) format: Format,
    /// Whether they are bf16's values, held in f16; see `held.rs`.
    pub(super) in_f16: bool,
    embedding: Option<Matrix>,
    layers: BTreeMap<usize, Layer>,
    norm: Option<Norm>,
    /// The embedding itself where they are tied.
    head: Option<Matrix>,
    /// Every tensor and where it goes, in the order of computation.
    pub(super) tensors: Vec<(TensorSpec, Matrix)>,
}

impl Weights {
    /// Space for the tensors that a plan puts on a device, nothing in it yet.
    pub(super) fn new(
        gpu: &Arc<Gpu>,
        device: &DeviceId,
        plan: &LoadPlan,
        format: Format,
    ) -> Result<Self, EngineError> {
        let in_f16 = plan.dtype == DType::Bf16 && format == Format::F16;
        let split = plan.places();
        let is_here = |spec: &TensorSpec| split.device_of(spec.role, spec.layer) == Some(device);
        let config = &plan.config;
        let mut end = 0;
        let mut bytes = 0;
        let mut tensors: Vec<(TensorSpec, Matrix)> = Vec::new();
        for spec in tensors::list(&config.decoder()).filter(is_here) {
            let (rows, columns, format) = match *spec.shape.as_slice() {
                // Rows that are looked up and no factors of a product stay as they are.
                [rows, columns] if spec.role == Role::Embedding && !config.tie_word_embeddings && in_f16 => {
                    (rows, columns, Format::Bf16)
                }
                [rows, columns] => (rows, columns, format),
                _ => (1, spec.count() as usize, format.norms()),
            };
            if !columns.is_multiple_of(format.block()) {
                return Err(EngineError::Unavailable {
                    what: format!("dtype {}", plan.dtype),
                    reason: format!(
                        "`{}` has rows of {columns}, no multiple of {}; use bf16",
                        spec.name,
                        format.block()
                    ),
                });
            }
            let (values, scales) = (format.bytes(rows * columns), format.scale_bytes(rows, columns));
            bytes += (values + scales) as u64;
            let scales_at = end + values.next_multiple_of(ALIGNMENT);
            let matrix = Matrix {
                values: Ptr(end as u64),
                scales: Ptr(scales_at as u64),
                format,
                rows: rows as i32,
                columns: columns as i32,
            };
            end = scales_at + scales.next_multiple_of(ALIGNMENT);
            tensors.push((spec, matrix));
        }
        let arena = gpu.alloc(end as u64, "weights")?;
        for (_, matrix) in &mut tensors {
            matrix.values = arena.ptr().at(matrix.values.0 as usize);
            matrix.scales = arena.ptr().at(matrix.scales.0 as usize);
        }
        let mut weights = Self {
            arena,
            bytes,
            format,
            in_f16,
            embedding: None,
            layers: BTreeMap::new(),
            norm: None,
            head: None,
            tensors,
        };
        weights.assemble(device, plan);
        Ok(weights)
    }

    /// The tensors by what they are for.
    fn assemble(&mut self, device: &DeviceId, plan: &LoadPlan) {
        let (config, split) = (&plan.config, plan.places());
        let find = |role: Role, layer: Option<usize>| {
            let found = self.tensors.iter().find(|(spec, _)| spec.role == role && spec.layer == layer);
            found.map(|(_, matrix)| *matrix)
        };
        let norm = |role, layer| {
            let eps = config.rms_norm_eps as f32;
            find(role, layer).map(|matrix| Norm { weight: matrix.values, format: matrix.format, eps })
        };
        let layer = |index: usize, cache: usize| -> Option<Layer> {
            let at = Some(index);
            Some(Layer {
                input_norm: norm(Role::InputNorm, at)?,
                qkv: find(Role::QkvProj, at)?,
                o: find(Role::OProj, at)?,
                post_attention_norm: norm(Role::PostAttentionNorm, at)?,
                gate_up: find(Role::GateUpProj, at)?,
                down: find(Role::DownProj, at)?,
                cache,
            })
        };
        let here = (0..config.num_hidden_layers).filter(|index| split.layers[*index] == *device);
        let here = here.enumerate().filter_map(|(cache, index)| Some((index, layer(index, cache)?)));
        let layers = here.collect();
        let embedding = find(Role::Embedding, None);
        let head = if config.tie_word_embeddings { embedding } else { find(Role::LmHead, None) };
        let norm = norm(Role::FinalNorm, None);
        (self.layers, self.embedding, self.head, self.norm) = (layers, embedding, head, norm);
    }

    /// Says that what was held in f16 is in bf16 now.
    pub(super) fn are_bf16(&mut self, device: &DeviceId, plan: &LoadPlan) {
        (self.format, self.in_f16) = (Format::Bf16, false);
        self.tensors.iter_mut().for_each(|(_, matrix)| matrix.format = Format::Bf16);
        self.assemble(device, plan);
    }

    pub(super) fn embedding(&self) -> Result<Matrix, EngineError> {
        self.embedding.ok_or_else(|| elsewhere("the embedding"))
    }

    /// How many layers are here.
    pub(super) fn layers(&self) -> usize {
        self.layers.len()
    }

    pub(super) fn layer(&self, index: usize) -> Result<Layer, EngineError> {
        self.layers.get(&index).copied().ok_or_else(|| elsewhere(&format!("layer {index}")))
    }

    pub(super) fn norm(&self) -> Result<Norm, EngineError> {
        self.norm.ok_or_else(|| elsewhere("the last norm"))
    }

    pub(super) fn head(&self) -> Result<Matrix, EngineError> {
        self.head.ok_or_else(|| elsewhere("the head"))
    }

    /// Bytes between tensors.
    pub(super) fn padding_bytes(&self) -> u64 {
        self.arena.bytes - self.bytes
    }
}

fn elsewhere(what: &str) -> EngineError {
    EngineError::Backend(format!("{what} lies on another device"))
}
