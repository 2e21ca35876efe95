//! GGUF's names of tensors and Hugging Face's.

/// Parts of a layer: GGUF's name, `phi3`'s, and `llama`'s where it differs. `phi3` files keep gate and up in `ffn_up`.
const LAYER_PARTS: [(&str, &str, &str); 10] = [
    ("attn_norm", "input_layernorm", "input_layernorm"),
    ("attn_qkv", "self_attn.qkv_proj", "self_attn.qkv_proj"),
    ("attn_q", "self_attn.q_proj", "self_attn.q_proj"),
    ("attn_k", "self_attn.k_proj", "self_attn.k_proj"),
    ("attn_v", "self_attn.v_proj", "self_attn.v_proj"),
    ("attn_output", "self_attn.o_proj", "self_attn.o_proj"),
    ("ffn_norm", "post_attention_layernorm", "post_attention_layernorm"),
    ("ffn_gate", "mlp.gate_proj", "mlp.gate_proj"),
    ("ffn_up", "mlp.gate_up_proj", "mlp.up_proj"),
    ("ffn_down", "mlp.down_proj", "mlp.down_proj"),
];

/// Tensors that stand in the config of a Hugging Face checkpoint.
pub(super) const LONG_FACTORS: &str = "rope_factors_long.weight";
pub(super) const SHORT_FACTORS: &str = "rope_factors_short.weight";

pub(super) fn is_rope_factor(name: &str) -> bool {
    [LONG_FACTORS, SHORT_FACTORS].contains(&name)
}

/// Hugging Face's name for a tensor of an architecture; `None` where it is not known.
pub(super) fn to_hugging_face(architecture: &str, name: &str) -> Option<String> {
    let is_phi3 = match architecture {
        "phi3" => true,
        "llama" => false,
        _ => return None,
    };
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
    let (_, phi3, llama) = LAYER_PARTS.iter().find(|(gguf, ..)| *gguf == part)?;
    Some(format!("model.layers.{layer}.{}.{kind}", if is_phi3 { phi3 } else { llama }))
}
