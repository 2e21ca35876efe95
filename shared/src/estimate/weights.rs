//! Bytes of weights in a format, from the list of tensors or from a checkpoint's headers.

use std::collections::{BTreeMap, BTreeSet};

use super::format::Format;
use crate::decoder::{Attention, Decoder, Exempt, Layer, Mlp, Quantization, SCALE_BLOCK, Scales};
use crate::dtype::DType;
use crate::tensors::{self, Group, Part, Role};
use crate::weights::{StoredTensor, is_correction};

/// The tensors of a checkpoint by name, as its headers have them.
pub type StoredTensors = BTreeMap<String, StoredTensor>;

/// Format that a tensor is held in when the weights are planned in `dtype`.
///
/// Quantised formats take matrices whose rows are whole blocks; those of 256 have stand-ins with blocks of 32. Other
/// matrices stay in f16 and vectors (norms) in f32, all as llama.cpp writes them.
#[must_use]
pub fn held_as(dtype: DType, shape: &[usize]) -> DType {
    match shape {
        _ if !dtype.is_quantized() => dtype,
        [_, .., columns] if (*columns as u64).is_multiple_of(dtype.block_len()) => dtype,
        [_, _, ..] => match dtype {
            DType::Q4K => held_as(DType::Q5_0, shape),
            DType::Q5K => held_as(DType::Q5_1, shape),
            DType::Q6K => held_as(DType::Q8_0, shape),
            _ => DType::F16,
        },
        _ => DType::F32,
    }
}

/// Bytes of all weights in a format.
#[must_use]
pub fn weights_bytes(decoder: &Decoder, format: impl Into<Format>) -> u64 {
    let format = format.into();
    let listed = tensors::parts(decoder)
        .fold(0, |sum: u64, part| sum.saturating_add(part_bytes(decoder, &part, format)));
    listed.saturating_add(decoder.layers.sum(|layer| correction_bytes(decoder, layer)))
}

/// Bytes of the correction of a layer's scores, in f32 whatever the format: no parameter, and stored beside them.
pub(crate) fn correction_bytes(decoder: &Decoder, layer: &Layer) -> u64 {
    match layer.mlp {
        Mlp::Experts { count, .. } if decoder.family.corrects_scores => 4 * count as u64,
        _ => 0,
    }
}

/// Bytes of all copies of a part in a format.
#[must_use]
pub fn part_bytes(decoder: &Decoder, part: &Part, format: Format) -> u64 {
    let one = match format {
        Format::Plain(dtype) => held_as(dtype, &part.shape).tensor_bytes(&part.shape),
        Format::Q4KM => q4_k_m_bytes(decoder, part),
        Format::Quantized(quantization) => quantized_bytes(decoder, part, quantization),
    };
    one.saturating_mul(part.copies as u64)
}

/// Projections of layers are what published quantisations touch: not the embedding, the head, norms, the router or a
/// convolution.
fn is_projection(part: &Part) -> bool {
    let grouped = matches!(part.role.group(), Group::Attention | Group::Mlp | Group::Experts);
    grouped && !part.is_bias && part.shape.len() >= 2 && part.role != Role::StateConv
}

/// One tensor as its quantisation stores it, scales and zeros included; source: the tensor names and shapes that
/// AutoAWQ, GPTQModel, DeepSeek-V3, gpt-oss and llm-compressor (`compressed_tensors/compressors`) publish.
fn quantized_bytes(decoder: &Decoder, part: &Part, quantization: Quantization) -> u64 {
    let half = || DType::Bf16.tensor_bytes(&part.shape);
    // What the config leaves out says nothing of another format that is asked for.
    let exempt = Some(&decoder.exempt).filter(|_| decoder.quantization == Some(quantization));
    let is_left =
        |exempt: &Exempt| !exempt.lists_none() && exempt.leaves(&tensors::own_module(decoder, part));
    // What is said of the only modules is said of those of layers.
    let is_packed = |exempt: &Exempt| exempt.head && !(exempt.only.is_empty() && is_left(exempt));
    let is_head = part.role == Role::LmHead && !part.is_bias && exempt.is_some_and(is_packed);
    if !is_head && (!is_projection(part) || exempt.is_some_and(is_left)) {
        return half();
    }
    let [rows, columns] = match *part.shape.as_slice() {
        [rows, columns] => [rows as u64, columns as u64],
        // All experts in one tensor: a matrix for each.
        [count, reads, gives] => [(count * gives) as u64, reads as u64],
        _ => return half(),
    };
    let words = |numbers: u64, bits: usize| (numbers * bits as u64).div_ceil(32) * 4;
    let scales = |scales| {
        let side = SCALE_BLOCK as u64;
        let of_weights = match scales {
            Scales::Tensor => 1,
            Scales::Channel => rows,
            Scales::Block => rows.div_ceil(side) * columns.div_ceil(side),
            Scales::Group(inputs) => rows * columns.div_ceil(inputs as u64),
        };
        of_weights + u64::from(exempt.is_some_and(|exempt| exempt.static_activations))
    };
    match quantization {
        Quantization::Fp8(by) => rows * columns + 4 * scales(by),
        // Beside packed numbers two of 64 bits: the shape.
        Quantization::Compressed { bits, packed: true, scales: by } => {
            rows * words(columns, bits) + 16 + 2 * scales(by)
        }
        Quantization::Compressed { packed: false, scales: by, .. } => rows * columns + 2 * scales(by),
        Quantization::Awq { group } => {
            let groups = columns.div_ceil(group as u64);
            let zeros = groups * rows.div_ceil(8) * 4;
            (rows * columns).div_ceil(2) + zeros + 2 * groups * rows
        }
        Quantization::Gptq { bits, group } => {
            let groups = columns.div_ceil(group as u64);
            words(columns, bits) * rows + groups * words(rows, bits) + 2 * groups * rows + 4 * columns
        }
        Quantization::MxFp4 if part.role.group() == Group::Experts => DType::MxFp4.row_bytes(columns) * rows,
        Quantization::MxFp4 => half(),
    }
}

/// Whether it is not certain what a published quantisation leaves as it was: then a size from the config is no exact one.
pub(super) fn is_unsure(decoder: &Decoder) -> bool {
    if has_other_projections(decoder) {
        return true;
    }
    // Of compressed-tensors every linear module is quantised that is not left out: a router too.
    let is_compressed = matches!(decoder.quantization, Some(Quantization::Compressed { .. }));
    let is_beside = |part: &Part| matches!(part.role, Role::Router | Role::SharedGate) && !part.is_bias;
    let mut beside = tensors::parts(decoder).filter(|part| is_compressed && is_beside(part));
    if beside.any(|part| !decoder.exempt.leaves(&tensors::own_module(decoder, &part))) {
        return true;
    }
    if decoder.exempt == Exempt::default() {
        return false;
    }
    let mut roles = BTreeSet::new();
    let only_experts = decoder.quantization == Some(Quantization::MxFp4);
    let touched = |part: &Part| is_projection(part) && (!only_experts || part.role.group() == Group::Experts);
    let firsts = tensors::parts(decoder).filter(|part| touched(part) && roles.insert(part.role));
    let modules: Vec<String> = firsts.map(|part| tensors::own_module(decoder, &part)).collect();
    decoder.exempt.is_unsure(&modules)
}

/// Whether there are projections beside those of attention and MLP: what tools make of them is each tool's own.
pub(super) fn has_other_projections(decoder: &Decoder) -> bool {
    decoder.augmented.is_some() || decoder.layers.iter().any(|layer| layer.attention.is_linear())
}

/// One tensor as llama.cpp's `Q4_K_M` stores it: source, `llama_tensor_get_type` in its `llama-quant.cpp`, and what its
/// converter leaves in f32.
///
/// Queries, keys and values in one tensor go by the rule that every published file of such a model was made by; since
/// the rules go by categories (2026) llama.cpp treats them, and the expansion of a latent, as it treats values: 0.15 %
/// more of Phi-3-mini.
fn q4_k_m_bytes(decoder: &Decoder, part: &Part) -> u64 {
    let mut shape = part.shape.clone();
    // Experts that are stacked `[experts, reads, gives]` lie there as `[experts, gives, reads]`.
    if matches!(part.role, Role::ExpertsGateUpProj | Role::ExpertsDownProj) && !part.is_bias {
        shape.swap(1, 2);
    }
    q4_k_m(decoder, part, &shape).tensor_bytes(&shape)
}

fn q4_k_m(decoder: &Decoder, part: &Part, shape: &[usize]) -> DType {
    if shape.len() < 2
        || part.is_bias
        || matches!(part.role, Role::Router | Role::SharedGate | Role::StateConv)
    {
        return DType::F32;
    }
    let few_experts = matches!(decoder.first().mlp, Mlp::Experts { count: 8, .. });
    let wished = match part.role {
        Role::LmHead => DType::Q6K,
        Role::Embedding if decoder.tie_word_embeddings => DType::Q6K,
        Role::QkvProj => DType::Q5K,
        Role::VProj | Role::KProj if few_experts => DType::Q8_0,
        Role::VProj
        | Role::DownProj
        | Role::ExpertDownProj
        | Role::ExpertsDownProj
        | Role::SharedDownProj
            if more_bits(decoder, part) =>
        {
            DType::Q6K
        }
        Role::VProj if is_70b(decoder) => DType::Q5K,
        Role::OProj if few_experts => DType::Q5K,
        _ => DType::Q4K,
    };
    held_as(wished, shape)
}

/// What llama.cpp calls a 70B: 80 layers whose values are few beside the queries.
fn is_70b(decoder: &Decoder) -> bool {
    let Attention::Heads { heads, kv_heads, .. } = decoder.first().attention else { return false };
    let named = match decoder.family.name() {
        "llama" | "mistral" => heads != kv_heads,
        name => name == "qwen2",
    };
    named && decoder.layers.len() == 80
}

/// The first and the last eighth of the layers, and every third in between.
fn more_bits(decoder: &Decoder, part: &Part) -> bool {
    let (layer, layers) = (part.layer.unwrap_or(0), decoder.layers.len());
    let eighth = layers / 8;
    layer < eighth || layer >= 7 * layers / 8 || (layer - eighth) % 3 == 2
}

/// Bytes of a checkpoint's tensors: as stored, or converted to `dtype`.
#[must_use]
pub fn stored_bytes(stored: &StoredTensors, dtype: Option<DType>) -> u64 {
    stored.iter().map(|(name, tensor)| tensor_bytes(name, tensor, dtype)).fold(0, u64::saturating_add)
}

/// Bytes of one of them. Corrections of scores stay what they are.
pub(crate) fn tensor_bytes(name: &str, tensor: &StoredTensor, dtype: Option<DType>) -> u64 {
    match dtype.filter(|_| !is_correction(name)) {
        None => tensor.len,
        Some(dtype) => held_as(dtype, &tensor.shape).tensor_bytes(&tensor.shape),
    }
}

/// Parameters of a checkpoint: the product of each shape, summed; buffers are none.
#[must_use]
pub fn stored_count(stored: &StoredTensors) -> u64 {
    let parameters = stored.iter().filter(|(name, _)| !is_correction(name));
    parameters.map(|(_, tensor)| tensor.count()).fold(0, u64::saturating_add)
}

/// The format that most of a checkpoint's bytes are in.
#[must_use]
pub fn stored_dtype(stored: &StoredTensors) -> Option<DType> {
    let mut bytes: BTreeMap<DType, u64> = BTreeMap::new();
    for tensor in stored.values() {
        *bytes.entry(tensor.dtype).or_default() += tensor.len;
    }
    bytes.into_iter().max_by_key(|(_, bytes)| *bytes).map(|(dtype, _)| dtype)
}
