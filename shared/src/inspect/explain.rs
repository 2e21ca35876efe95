//! Each key of a decoder's config: what it means, and what its value implies for this model.

use serde_json::{Value, json};

use super::{Field, Status};
use crate::config::{Fields, ModelConfig, RopeScaling};
use crate::dtype::DType;
use crate::estimate;
use crate::rope::attention_factor;
use crate::units::{format_bytes, format_count};

/// Longest list that is shown whole.
const SHOWN_ITEMS: usize = 8;

/// Explains every key of a known config, in the file's order.
pub(super) fn fields(fields: &Fields, config: &ModelConfig) -> Vec<Field> {
    fields
        .map()
        .iter()
        .map(|(key, value)| {
            let (meaning, implication, status) = explain(key, value, config);
            Field { key: key.clone(), value: shown(value), meaning: meaning.to_owned(), implication, status }
        })
        .collect()
}

/// Every key of a config that nothing here understands.
pub(super) fn unexplained(fields: &Fields) -> Vec<Field> {
    let field = |(key, value): (&String, &Value)| Field {
        key: key.clone(),
        value: shown(value),
        meaning: String::new(),
        implication: String::new(),
        status: Status::UnknownKey,
    };
    fields.map().iter().map(field).collect()
}

fn shown(value: &Value) -> Value {
    match value {
        Value::Array(list) if list.len() > SHOWN_ITEMS => {
            let (first, last) = (&list[..3], &list[list.len() - 1]);
            json!([first[0], first[1], first[2], format!("… {} in all", list.len()), last])
        }
        Value::Object(map) => Value::Object(map.iter().map(|(k, v)| (k.clone(), shown(v))).collect()),
        other => other.clone(),
    }
}

fn explain(key: &str, value: &Value, c: &ModelConfig) -> (&'static str, String, Status) {
    use Status::{EstimateOnly, Honoured, NoEffect, UnknownKey, Unsupported};
    let params = |count: u64| format!("{} parameters", format_count(count));
    let per_layer = |count: usize| format!("{} a layer", params(count as u64));
    let layers = c.num_hidden_layers;
    let kv_token = estimate::bytes_per_token(c, DType::Bf16);
    let kv_text = || format!("KV cache {} a token in 16 bit", format_bytes(kv_token));
    let nothing = String::new;
    match key {
        "model_type" => ("Architecture family", "Native here: no remote code is needed".to_owned(), Honoured),
        "architectures" => ("Class that transformers instantiates", nothing(), NoEffect),
        "auto_map" => (
            "Python classes in the repository, for trust_remote_code",
            "Ignored: phi3 is supported natively and repository code is never run".to_owned(),
            NoEffect,
        ),
        "hidden_size" => (
            "Width of the residual stream",
            format!(
                "Every matrix has it as one side; embedding {}",
                params((c.vocab_size * c.hidden_size) as u64)
            ),
            Honoured,
        ),
        "intermediate_size" => (
            "Width of the MLP; gate and up are fused",
            format!("MLP {}, {} in all", per_layer(3 * c.hidden_size * c.intermediate_size), layers),
            Honoured,
        ),
        "num_hidden_layers" => (
            "Decoder layers",
            {
                let total = estimate::params(c).total;
                let outside = ((c.vocab_size * c.hidden_size) * if c.tie_word_embeddings { 1 } else { 2 }
                    + c.hidden_size) as u64;
                format!("{} each; {}", params((total - outside) / layers as u64), kv_text())
            },
            Honoured,
        ),
        "num_attention_heads" => (
            "Query heads",
            format!(
                "{} heads of {} dimensions: attention is {} wide",
                c.num_attention_heads,
                c.head_dim,
                c.query_width()
            ),
            Honoured,
        ),
        "num_key_value_heads" => (
            "Heads that keys and values are kept for",
            if c.heads_per_key() == 1 {
                format!("As many as query heads: no grouped-query attention; {}", kv_text())
            } else {
                format!("{} query heads share one: {}", c.heads_per_key(), kv_text())
            },
            Honoured,
        ),
        "head_dim" => ("Width of one head, where it is not hidden / heads", kv_text(), Honoured),
        "vocab_size" => (
            "Rows of the embedding and of the head, padding included",
            format!(
                "{} {}",
                params((c.vocab_size * c.hidden_size) as u64),
                if c.tie_word_embeddings {
                    "once: the head reuses them"
                } else {
                    "twice: embedding and head"
                }
            ),
            Honoured,
        ),
        "max_position_embeddings" => (
            "Longest sequence the model is meant for",
            format!(
                "A cache for all {} tokens takes {} in 16 bit",
                format_count(c.max_position_embeddings as u64),
                format_bytes(kv_token.saturating_mul(c.max_position_embeddings as u64))
            ),
            Honoured,
        ),
        "original_max_position_embeddings" => (
            "Length at which longrope changes from short to long factors",
            if matches!(c.rope_scaling, RopeScaling::LongRope { .. }) {
                format!(
                    "Beyond {} tokens the long factors hold for the whole sequence, and cached keys are computed anew",
                    format_count(c.original_max_position_embeddings as u64)
                )
            } else {
                "Without longrope it changes nothing".to_owned()
            },
            Honoured,
        ),
        "rope_theta" => ("Base of the rotary frequencies", nothing(), Honoured),
        "rope_scaling" | "rope_parameters" => {
            ("Scaling of the rotary frequencies", rope_implication(c), Honoured)
        }
        "partial_rotary_factor" => (
            "Share of each head that is rotated",
            format!("{} of {} dimensions are rotated, the rest pass through", c.rotary_dim(), c.head_dim),
            Honoured,
        ),
        "sliding_window" => ("Keys that a query sees, itself included", window_implication(c), Honoured),
        "rms_norm_eps" => ("Added to the mean square in RMSNorm", nothing(), Honoured),
        "hidden_act" => ("Activation of the MLP", "silu(gate) × up".to_owned(), Honoured),
        "tie_word_embeddings" => (
            "Whether the head reuses the embedding",
            if c.tie_word_embeddings {
                format!("{} are counted once", params((c.vocab_size * c.hidden_size) as u64))
            } else {
                format!("The head is a tensor of its own: {}", params((c.vocab_size * c.hidden_size) as u64))
            },
            Honoured,
        ),
        "torch_dtype" | "dtype" => (
            "Format that the weights were stored in",
            {
                let dtype = c.dtype.unwrap_or(DType::Bf16);
                format!("{} of weights in {dtype}", format_bytes(estimate::weights_bytes(c, dtype)))
            },
            Honoured,
        ),
        "bos_token_id" => ("Id that starts a text", nothing(), NoEffect),
        "eos_token_id" => (
            "Id or ids that end a generation",
            "generation_config.json's list goes before it".to_owned(),
            Honoured,
        ),
        "pad_token_id" => ("Id of padding", "No padding in our batches".to_owned(), NoEffect),
        "use_cache" => ("Whether generation keeps keys and values", "Always on here".to_owned(), NoEffect),
        "attention_bias" => match value {
            Value::Bool(true) => (
                "Bias of the attention projections",
                "phi3 has none: Hugging Face ignores this key, and so do we".to_owned(),
                NoEffect,
            ),
            _ => ("Bias of the attention projections", "No bias".to_owned(), NoEffect),
        },
        "attention_dropout" | "embd_pdrop" | "resid_pdrop" => {
            ("Dropout while training", "None at inference".to_owned(), NoEffect)
        }
        "initializer_range" => ("Spread of fresh weights", "Training only".to_owned(), NoEffect),
        "full_attn_mod" | "interpolate_factor" | "lm_head_bias" | "mlp_bias" => {
            ("A key of Phi-4-mini's first code", "Hugging Face's phi3 does not read it".to_owned(), NoEffect)
        }
        "quantization_config" => (
            "How the stored weights are quantised",
            "The estimate takes the stored tensors; this build does not run it".to_owned(),
            Unsupported,
        ),
        "attn_implementation" | "_attn_implementation" => {
            ("Attention kernel", "Set by the load config".to_owned(), NoEffect)
        }
        "transformers_version" | "_name_or_path" | "name_or_path" => {
            ("Where the file comes from", nothing(), NoEffect)
        }
        "_partial" => ("Marks a file with values missing", nothing(), EstimateOnly),
        _ => ("", "Not a key of phi3".to_owned(), UnknownKey),
    }
}

fn rope_implication(c: &ModelConfig) -> String {
    match &c.rope_scaling {
        RopeScaling::None => "None: positions as trained".to_owned(),
        RopeScaling::Linear { factor } => format!("Positions divided by {factor}"),
        RopeScaling::LongRope { short_factor, .. } => format!(
            "longrope: {} factors; cos and sin × {:.6}, short and long alike",
            short_factor.len(),
            attention_factor(c)
        ),
    }
}

fn window_implication(c: &ModelConfig) -> String {
    let positions = c.max_position_embeddings;
    match (c.sliding_window, c.effective_window(positions)) {
        (None, _) => "None: every query sees all keys".to_owned(),
        (Some(window), None) => {
            format!("{} reaches over all {positions} positions: no effect", format_count(window as u64))
        }
        (Some(window), Some(_)) => {
            let full = estimate::cache_bytes(c, DType::Bf16, estimate::KvPolicy::Full, positions as u64, 1);
            let capped =
                estimate::cache_bytes(c, DType::Bf16, estimate::KvPolicy::Window, positions as u64, 1);
            format!(
                "Beyond {} tokens older keys are hidden; a cache of the window alone takes {} instead of {}",
                format_count(window as u64),
                format_bytes(capped),
                format_bytes(full)
            )
        }
    }
}
