//! Which rows of the GGUF make up which tensor, and writing them in f32.

use crate::config::ModelConfig;
use crate::tensors::{self, Role, TensorSpec};
use crate::weights::gguf::Gguf;
use crate::weights::safetensors::TensorEntry;
use crate::weights::sink::Output;
use crate::weights::{WeightSink, WeightSource, WeightsError, WeightsProblem, floats};

/// Bytes of the source read at a time, roughly.
const PIECE_BYTES: u64 = 1 << 20;

/// A source tensor: all of its rows, some reordered.
pub(super) struct Part<'a> {
    tensor: &'a TensorEntry,
    /// Rows of a head whose rotary pairs lie side by side and must be split into halves.
    interleaved_head: Option<usize>,
}

/// GGUF tensors of a role, in the order of the rows of the fused tensor.
fn gguf_names(role: Role, layer: usize) -> Vec<String> {
    let parts: &[&str] = match role {
        Role::Embedding => return vec!["token_embd.weight".to_owned()],
        Role::FinalNorm => return vec!["output_norm.weight".to_owned()],
        Role::LmHead => return vec!["output.weight".to_owned()],
        Role::InputNorm => &["attn_norm"],
        Role::QkvProj => &["attn_q", "attn_k", "attn_v"],
        Role::OProj => &["attn_output"],
        Role::PostAttentionNorm => &["ffn_norm"],
        Role::GateUpProj => &["ffn_gate", "ffn_up"],
        Role::DownProj => &["ffn_down"],
        // No role of a phi3 model.
        _ => &[],
    };
    parts.iter().map(|part| format!("blk.{layer}.{part}.weight")).collect()
}

/// The parts of each tensor of [`tensors::list`], checked: all there, in their shapes, dequantisable, none left over.
pub(super) fn sources<'a>(gguf: &'a Gguf, model: &ModelConfig) -> Result<Vec<Vec<Part<'a>>>, WeightsProblem> {
    let by_name: std::collections::HashMap<&str, &TensorEntry> =
        gguf.tensors.iter().map(|tensor| (tensor.name.as_str(), tensor)).collect();
    let mut used = std::collections::HashSet::new();
    let mut differences = Vec::new();
    let mut all = Vec::new();
    for spec in tensors::list(&model.decoder()) {
        let names = gguf_names(spec.role, spec.layer.unwrap_or(0));
        let mut parts = Vec::new();
        for (name, rows) in names.iter().zip(rows_of(&spec, model)) {
            let expected: Vec<usize> = std::iter::once(rows).chain(spec.shape[1..].iter().copied()).collect();
            let Some(tensor) = by_name.get(name.as_str()) else {
                differences.push(format!("`{name}` is missing, expected {expected:?}"));
                continue;
            };
            used.insert(tensor.name.as_str());
            if tensor.shape != expected {
                differences.push(format!("`{name}` is {:?}, expected {expected:?}", tensor.shape));
            }
            if !floats::is_convertible(tensor.dtype) {
                differences.push(format!("`{name}` is {}, which is not dequantised here", tensor.dtype));
            }
            let rotary = name.ends_with("attn_q.weight") || name.ends_with("attn_k.weight");
            parts.push(Part { tensor, interleaved_head: rotary.then_some(model.head_dim) });
        }
        all.push(parts);
    }
    let left_over = gguf.tensors.iter().filter(|tensor| !used.contains(tensor.name.as_str()));
    for tensor in left_over {
        let reason = match tensor.name.as_str() {
            "rope_freqs.weight" => "scales rotary frequencies, which phi3 cannot express",
            name if name.ends_with(".bias") => "is a bias, which phi3 has not",
            name if name.contains("_exps") || name.contains("ffn_gate_inp") => {
                "belongs to a mixture of experts"
            }
            _ => "has no place in phi3",
        };
        differences.push(format!("`{}` {reason}", tensor.name));
    }
    if differences.is_empty() { Ok(all) } else { Err(WeightsProblem::Unsupported(differences.join("; "))) }
}

/// Rows of each part of a tensor.
fn rows_of(spec: &TensorSpec, model: &ModelConfig) -> Vec<usize> {
    match spec.role {
        Role::QkvProj => vec![model.query_width(), model.key_value_width(), model.key_value_width()],
        Role::GateUpProj => vec![model.intermediate_size; 2],
        _ => vec![spec.shape[0]],
    }
}

/// Writes a part in f32, a group of rows at a time.
pub(super) async fn write_part<S: WeightSource, W: WeightSink>(
    file: &str,
    source: &S,
    part: &Part<'_>,
    output: &mut Output<W>,
) -> Result<(), WeightsError> {
    let tensor = part.tensor;
    // A vector is one row.
    let (rows, columns) = match tensor.shape[..] {
        [columns] => (1, columns),
        _ => (tensor.shape[0], tensor.shape[1..].iter().product()),
    };
    let row_bytes = tensor.dtype.row_bytes(columns as u64);
    let group = part.interleaved_head.unwrap_or((PIECE_BYTES / row_bytes).max(1) as usize);
    let mut bytes = vec![0; (row_bytes * group.min(rows) as u64) as usize];
    let mut values = vec![0.0f32; columns * group.min(rows)];
    let mut row = 0;
    while row < rows {
        let count = group.min(rows - row);
        let (bytes, values) = (&mut bytes[..count * row_bytes as usize], &mut values[..count * columns]);
        let offset = tensor.offset + row as u64 * row_bytes;
        source.read_into(offset, bytes).await.map_err(|error| WeightsError::new(file, error))?;
        floats::convert(tensor.dtype, bytes, values);
        match part.interleaved_head {
            None => output.write(bytemuck::cast_slice(values))?,
            Some(head_dim) => {
                for row in halves(head_dim) {
                    output.write(bytemuck::cast_slice(&values[row * columns..(row + 1) * columns]))?;
                }
            }
        }
        row += count;
    }
    Ok(())
}

/// Rows of an interleaved head in the order of a head in halves: even rows, then odd ones.
fn halves(head_dim: usize) -> impl Iterator<Item = usize> {
    (0..head_dim).step_by(2).chain((1..head_dim).step_by(2))
}
