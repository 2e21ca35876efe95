//! Matrices on the device: formats, padding, and parts where one binding cannot hold them.

use half::{bf16, f16};

use super::gpu::{Gpu, Phase};
use crate::dtype::DType;
use crate::engine::EngineError;
use crate::estimate::{held_as, wgpu_workspace};

/// Columns are padded with zeros to whole blocks, so that every kernel reads vectors and every format has blocks.
pub(super) const BLOCK: usize = wgpu_workspace::BLOCK as usize;
/// Rows of a part are a multiple of this: the widest tile.
const PART_ROWS: u64 = 128;

/// A width with its padding.
pub(super) fn padded(width: usize) -> usize {
    width.next_multiple_of(BLOCK)
}

/// A matrix `[rows, columns]` (or a vector as one row) in the format that it is held in.
pub(super) struct Matrix {
    pub(super) dtype: DType,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) parts: Vec<Part>,
}

/// Neighbouring rows of a matrix in buffers of their own.
pub(super) struct Part {
    pub(super) first_row: usize,
    pub(super) rows: usize,
    pub(super) values: wgpu::Buffer,
    pub(super) scales: Option<wgpu::Buffer>,
    /// `{first_row, rows}` for shaders.
    pub(super) uniform: wgpu::Buffer,
}

/// Bytes of a padded row: values, and scales of 16 bits for its blocks.
fn row_bytes(dtype: DType, columns: usize) -> (usize, usize) {
    let stride = padded(columns);
    match dtype {
        DType::F32 => (4 * stride, 0),
        DType::Q8_0 => (stride, stride / BLOCK * 2),
        DType::Q4_0 => (stride / 2, stride / BLOCK * 2),
        _ => (2 * stride, 0),
    }
}

impl Matrix {
    /// Room for a tensor of this shape in the format that weights of `dtype` hold it in.
    pub(super) async fn new(gpu: &Gpu, dtype: DType, shape: &[usize]) -> Result<Self, EngineError> {
        let dtype = held_as(dtype, shape);
        let (columns, rows) = match shape {
            [.., rows, columns] => (*columns, *rows),
            _ => (shape.iter().product(), 1),
        };
        let (values, scales) = row_bytes(dtype, columns);
        let most = gpu.limits.max_storage_buffer_binding_size.min(gpu.limits.max_buffer_size);
        let part_rows = (most / values as u64 / PART_ROWS * PART_ROWS).clamp(1, rows as u64) as usize;
        let mut parts = Vec::new();
        for first_row in (0..rows).step_by(part_rows) {
            let rows = part_rows.min(rows - first_row);
            let bytes = ((values + scales) * rows) as u64;
            let make = |gpu: &Gpu| Part {
                first_row,
                rows,
                values: gpu.storage("weights", (values * rows) as u64),
                scales: (scales > 0).then(|| gpu.storage("scales", (scales * rows) as u64)),
                uniform: gpu.uniform("part", &[first_row as u32, rows as u32, 0, 0]),
            };
            parts.push(gpu.scoped("weights" as Phase, bytes, make).await?);
        }
        Ok(Self { dtype, rows, columns, parts })
    }

    /// Bytes of its buffers.
    pub(super) fn bytes(&self) -> u64 {
        let of = |part: &Part| part.values.size() + part.scales.as_ref().map_or(0, wgpu::Buffer::size);
        self.parts.iter().map(of).sum()
    }

    /// Whether products with one row take it as int8.
    pub(super) fn is_quantized(&self) -> bool {
        self.dtype.is_quantized()
    }

    /// Writes rows from `first_row` on; `values` are theirs without padding. An even number of rows at an even row,
    /// except at the end.
    pub(super) fn write(&self, gpu: &Gpu, first_row: usize, values: &[f32]) {
        let (value_bytes, scale_bytes) = row_bytes(self.dtype, self.columns);
        let rows = values.len() / self.columns;
        let mut packed = Packed::default();
        for part in &self.parts {
            let from = first_row.max(part.first_row);
            let to = (first_row + rows).min(part.first_row + part.rows);
            if from >= to {
                continue;
            }
            packed.clear();
            for row in values[(from - first_row) * self.columns..(to - first_row) * self.columns]
                .chunks_exact(self.columns)
            {
                packed.push(self.dtype, row);
            }
            let at = (from - part.first_row) as u64;
            gpu.queue.write_buffer(&part.values, at * value_bytes as u64, &packed.values);
            if let Some(scales) = &part.scales {
                packed.scales.resize(packed.scales.len().next_multiple_of(4), 0);
                gpu.queue.write_buffer(scales, at * scale_bytes as u64, &packed.scales);
            }
        }
    }
}

/// Rows as they lie in the buffers.
#[derive(Default)]
struct Packed {
    values: Vec<u8>,
    scales: Vec<u8>,
}

impl Packed {
    fn clear(&mut self) {
        self.values.clear();
        self.scales.clear();
    }

    fn push(&mut self, dtype: DType, row: &[f32]) {
        let end = self.values.len() + row_bytes(dtype, row.len()).0;
        match dtype {
            DType::F32 => self.values.extend(row.iter().flat_map(|value| value.to_le_bytes())),
            DType::Bf16 => {
                self.values.extend(row.iter().flat_map(|value| bf16::from_f32(*value).to_le_bytes()));
            }
            DType::Q8_0 | DType::Q4_0 => {
                for block in row.chunks(BLOCK) {
                    let mut values = [0.0; BLOCK];
                    values[..block.len()].copy_from_slice(block);
                    let scale =
                        if dtype == DType::Q8_0 { self.push_q8(&values) } else { self.push_q4(&values) };
                    self.scales.extend(scale.to_le_bytes());
                }
            }
            _ => self.values.extend(row.iter().flat_map(|value| f16::from_f32(*value).to_le_bytes())),
        }
        self.values.resize(end, 0);
    }

    /// As GGML quantises q8_0 (`quantize_row_q8_0_ref`); gives the scale.
    fn push_q8(&mut self, values: &[f32; BLOCK]) -> f16 {
        let peak = values.iter().fold(0.0_f32, |peak, value| peak.max(value.abs()));
        let scale = peak / 127.0;
        let inverse = if scale > 0.0 { 1.0 / scale } else { 0.0 };
        self.values.extend(values.iter().map(|value| (value * inverse).round() as i8 as u8));
        f16::from_f32(scale)
    }

    /// As GGML quantises q4_0 (`quantize_row_q4_0_ref`): the value that is largest in size becomes −8.
    fn push_q4(&mut self, values: &[f32; BLOCK]) -> f16 {
        let largest = values.iter().fold(0.0_f32, |most, v| if v.abs() > most.abs() { *v } else { most });
        let scale = largest / -8.0;
        let inverse = if scale == 0.0 { 0.0 } else { 1.0 / scale };
        let nibble = |value: f32| ((value * inverse + 8.5) as u8).min(15);
        let (low, high) = values.split_at(BLOCK / 2);
        self.values.extend(low.iter().zip(high).map(|(low, high)| nibble(*low) | nibble(*high) << 4));
        f16::from_f32(scale)
    }
}
