//! GGUF's names of tensors and Hugging Face's; source: `MODEL_TENSOR` in llama.cpp's `gguf-py/gguf/constants.py`.

use crate::decoder::{Attention, Decoder};
use crate::tensors::{self, Part, Role};

/// Parts of a layer of `phi3`: GGUF's name and Hugging Face's. These files keep gate and up in `ffn_up`.
const PHI3_PARTS: [(&str, &str); 6] = [
    ("attn_norm", "input_layernorm"),
    ("attn_qkv", "self_attn.qkv_proj"),
    ("attn_output", "self_attn.o_proj"),
    ("ffn_norm", "post_attention_layernorm"),
    ("ffn_up", "mlp.gate_up_proj"),
    ("ffn_down", "mlp.down_proj"),
];

/// Tensors that stand in the config of a Hugging Face checkpoint.
pub(super) const LONG_FACTORS: &str = "rope_factors_long.weight";
pub(super) const SHORT_FACTORS: &str = "rope_factors_short.weight";

pub(super) const EMBEDDING: &str = "token_embd.weight";
pub(super) const HEAD: &str = "output.weight";

pub(super) fn is_rope_factor(name: &str) -> bool {
    [LONG_FACTORS, SHORT_FACTORS].contains(&name)
}

/// Whether a tensor is not held: frequencies that are computed anew.
pub(in crate::weights) fn is_recomputed(name: &str) -> bool {
    name == "rope_freqs.weight"
        || is_rope_factor(name)
        || name.starts_with("blk.") && name.ends_with(".attn_rot_embd.weight")
}

/// Whether a tensor corrects a router's scores: held, and no parameter.
pub(in crate::weights) fn is_correction(name: &str) -> bool {
    name.starts_with("blk.") && (name.ends_with(".exp_probs_b.bias") || name.ends_with(".exp_probs_b"))
}

/// Hugging Face's name for a tensor of the architecture that is loaded here, `phi3`; other files keep GGUF's names.
pub(super) fn to_hugging_face(architecture: &str, name: &str) -> Option<String> {
    if architecture != "phi3" {
        return None;
    }
    let (stem, kind) = name.rsplit_once('.')?;
    let outer = match stem {
        "token_embd" => Some("model.embed_tokens"),
        "output_norm" => Some("model.norm"),
        "output" => Some("lm_head"),
        _ => None,
    };
    if let Some(outer) = outer {
        return Some(format!("{outer}.{kind}"));
    }
    let (layer, part) = stem.strip_prefix("blk.")?.split_once('.')?;
    let (_, phi3) = PHI3_PARTS.iter().find(|(gguf, _)| *gguf == part)?;
    Some(format!("model.layers.{layer}.{phi3}.{kind}"))
}

/// The module of a decoder ([`tensors::module`]) that a tensor under GGUF's name belongs to; `None` where it is no
/// such name, or one of a layer that the decoder has not.
#[must_use]
pub fn module(decoder: &Decoder, name: &str) -> Option<String> {
    let role = match name.split('.').next()? {
        "blk" => {
            let layer = name.split('.').nth(1)?.parse().ok().filter(|layer| *layer < decoder.layers.len())?;
            return Some(tensors::module(decoder, Role::InputNorm, Some(layer)));
        }
        "token_embd" => Role::Embedding,
        "output_norm" => Role::FinalNorm,
        "output" => Role::LmHead,
        _ => return None,
    };
    Some(tensors::module(decoder, role, None))
}

/// A tensor by GGUF's name, in the shape that it has there, row-major.
pub(super) type Named = (String, Vec<usize>);

/// The tensors that hold a part of a decoder together. Where files of different years differ, `has` says which names
/// are there; without any, it is today's spelling.
pub(super) fn spelled(decoder: &Decoder, part: &Part, has: &dyn Fn(&str) -> bool) -> Vec<Named> {
    let kind = if part.is_bias { "bias" } else { "weight" };
    let name = |stem: &str| match part.layer {
        Some(layer) => format!("blk.{layer}.{stem}.{kind}"),
        None => format!("{stem}.{kind}"),
    };
    // All experts lie in one tensor.
    let stacked = || [&[part.copies][..], part.shape.as_slice()].concat();
    let experts = |stem: &str| {
        let single = |expert: usize| name(&format!("{stem}.{expert}"));
        match has(&single(0)) {
            // As files were written before April 2024.
            true => (0..part.copies).map(|expert| (single(expert), part.shape.clone())).collect(),
            false => vec![(name(&format!("{stem}_exps")), stacked())],
        }
    };
    let fused_experts = || name("ffn_gate_up_exps");
    let stem = match part.role {
        Role::ExpertGateProj | Role::ExpertUpProj if has(&fused_experts()) => {
            let mut shape = stacked();
            shape[1] *= 2;
            let is_first = part.role == Role::ExpertGateProj;
            return if is_first { vec![(fused_experts(), shape)] } else { Vec::new() };
        }
        Role::ExpertGateProj => return experts("ffn_gate"),
        Role::ExpertUpProj => return experts("ffn_up"),
        Role::ExpertDownProj => return experts("ffn_down"),
        Role::ExpertsGateUpProj | Role::ExpertsDownProj => return transposed_experts(part, &name),
        Role::KvExpandProj => return expanded(decoder, part, &name, has),
        role => stem(decoder, role),
    };
    vec![(name(stem), part.shape.clone())]
}

/// Experts that Hugging Face stacks `[experts, reads, gives]` lie in GGUF as `[experts, gives, reads]`, gate apart from up.
fn transposed_experts(part: &Part, name: &dyn Fn(&str) -> String) -> Vec<Named> {
    let split = part.role == Role::ExpertsGateUpProj;
    let stems: &[&str] = if split { &["ffn_gate_exps", "ffn_up_exps"] } else { &["ffn_down_exps"] };
    let shape = match *part.shape.as_slice() {
        [count, reads, gives] => vec![count, gives / stems.len(), reads],
        [count, gives] => vec![count, gives / stems.len()],
        _ => part.shape.clone(),
    };
    stems.iter().map(|stem| (name(stem), shape.clone())).collect()
}

/// Keys and values from their latent: one matrix, or, since April 2025, one for each of the two, a head at a time.
fn expanded(
    decoder: &Decoder,
    part: &Part,
    name: &dyn Fn(&str) -> String,
    has: &dyn Fn(&str) -> bool,
) -> Vec<Named> {
    let layer = part.layer.and_then(|layer| decoder.layers.get(layer).or(decoder.layers.last()));
    let Some(Attention::Latent { heads, kv_rank, nope_dim, value_dim, .. }) =
        layer.map(|layer| layer.attention)
    else {
        return vec![(name("attn_kv_b"), part.shape.clone())];
    };
    if has(&name("attn_kv_b")) && !has(&name("attn_k_b")) {
        return vec![(name("attn_kv_b"), part.shape.clone())];
    }
    vec![
        (name("attn_k_b"), vec![heads, kv_rank, nope_dim]),
        (name("attn_v_b"), vec![heads, value_dim, kv_rank]),
    ]
}

/// The name of a role that one tensor of the same shape holds.
fn stem(decoder: &Decoder, role: Role) -> &'static str {
    let family = decoder.family;
    // Norms of what is added to the residual, or gpt-oss's second one.
    let norm_after = family.norms.contains(&Role::PostFeedforwardNorm) || family.sinks;
    match role {
        Role::Embedding => "token_embd",
        Role::FinalNorm => "output_norm",
        Role::LmHead => "output",
        Role::InputNorm => "attn_norm",
        Role::PostAttentionNorm if norm_after => "post_attention_norm",
        Role::PostAttentionNorm | Role::PreFeedforwardNorm => "ffn_norm",
        Role::PostFeedforwardNorm => "post_ffw_norm",
        Role::QkvProj => "attn_qkv",
        Role::QProj => "attn_q",
        Role::KProj => "attn_k",
        Role::VProj => "attn_v",
        Role::OProj => "attn_output",
        Role::QNorm => "attn_q_norm",
        Role::KNorm => "attn_k_norm",
        Role::Sinks => "attn_sinks",
        Role::QLatentProj => "attn_q_a",
        Role::QLatentNorm => "attn_q_a_norm",
        Role::QExpandProj => "attn_q_b",
        Role::KvLatentProj => "attn_kv_a_mqa",
        Role::KvLatentNorm => "attn_kv_a_norm",
        Role::KvExpandProj => "attn_kv_b",
        Role::GateProj => "ffn_gate",
        Role::GateUpProj | Role::UpProj => "ffn_up",
        Role::DownProj => "ffn_down",
        Role::Router => "ffn_gate_inp",
        Role::ExpertGateProj | Role::ExpertsGateUpProj => "ffn_gate_exps",
        Role::ExpertUpProj => "ffn_up_exps",
        Role::ExpertDownProj | Role::ExpertsDownProj => "ffn_down_exps",
        Role::SharedGateProj => "ffn_gate_shexp",
        Role::SharedUpProj => "ffn_up_shexp",
        Role::SharedDownProj => "ffn_down_shexp",
        Role::PredictorEmbeddingNorm => "nextn.enorm",
        Role::PredictorHiddenNorm => "nextn.hnorm",
        Role::PredictorProj => "nextn.eh_proj",
        Role::PredictorFinalNorm => "nextn.shared_head_norm",
        // Of families whose files are not known here ([`Family::has_gguf`]): no tensor has this name.
        _ => "unknown",
    }
}
