//! The weights on the device: one allocation, each tensor at its place in it.

use std::sync::Arc;

use super::driver::{Buffer, Gpu, Ptr};
use super::kernels::{Format, Matrix, Norm};
use crate::engine::{EngineError, LoadPlan};
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
}

/// All weights.
pub(super) struct Weights {
    arena: Buffer,
    /// Bytes of the tensors, without the gaps between them.
    pub(super) bytes: u64,
    pub(super) format: Format,
    pub(super) embedding: Matrix,
    pub(super) layers: Vec<Layer>,
    pub(super) norm: Norm,
    /// The embedding itself where they are tied.
    pub(super) head: Matrix,
    /// Every tensor and where it goes, in the order of computation.
    pub(super) tensors: Vec<(TensorSpec, Matrix)>,
}

impl Weights {
    /// Space for a model's tensors, nothing in it yet.
    pub(super) fn new(gpu: &Arc<Gpu>, plan: &LoadPlan, format: Format) -> Result<Self, EngineError> {
        let config = &plan.config;
        let norm_format = if plan.dtype.is_float() { format } else { Format::F32 };
        let mut end = 0;
        let mut bytes = 0;
        let mut tensors: Vec<(TensorSpec, Matrix)> = Vec::new();
        for spec in tensors::list(&config.decoder()) {
            let (rows, columns, format) = match *spec.shape.as_slice() {
                [rows, columns] => (rows, columns, format),
                _ => (1, spec.count() as usize, norm_format),
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
        let find = |role: Role, layer: Option<usize>| {
            let found = tensors.iter().find(|(spec, _)| spec.role == role && spec.layer == layer);
            found
                .map(|(_, matrix)| *matrix)
                .ok_or_else(|| EngineError::Backend(format!("no {role:?} in layer {layer:?}")))
        };
        let norm = |role, layer| {
            let eps = config.rms_norm_eps as f32;
            find(role, layer).map(|matrix| Norm { weight: matrix.values, format: matrix.format, eps })
        };
        let layer = |index| -> Result<Layer, EngineError> {
            let at = Some(index);
            Ok(Layer {
                input_norm: norm(Role::InputNorm, at)?,
                qkv: find(Role::QkvProj, at)?,
                o: find(Role::OProj, at)?,
                post_attention_norm: norm(Role::PostAttentionNorm, at)?,
                gate_up: find(Role::GateUpProj, at)?,
                down: find(Role::DownProj, at)?,
            })
        };
        let embedding = find(Role::Embedding, None)?;
        Ok(Self {
            bytes,
            format,
            embedding,
            layers: (0..config.num_hidden_layers).map(layer).collect::<Result<_, _>>()?,
            norm: norm(Role::FinalNorm, None)?,
            head: if config.tie_word_embeddings { embedding } else { find(Role::LmHead, None)? },
            tensors,
            arena,
        })
    }

    /// Bytes between tensors.
    pub(super) fn padding_bytes(&self) -> u64 {
        self.arena.bytes - self.bytes
    }
}
