//! Each key of a config: what it means, and what its value implies for this model, with the number.

use serde_json::{Value, json};

use super::keys::{self, Key};
use super::{Field, Known, Status, scaling};
use crate::config::{Fields, RopeScaling};
use crate::decoder::{Attention, Decoder, FAMILIES, Layer, Mlp, Role};
use crate::dtype::DType;
use crate::estimate::{self, KvPolicy, LayerKv};
use crate::rope::attention_factor;
use crate::tensors;
use crate::units::{format_bytes, format_count};

/// Longest list that is shown whole.
const SHOWN_ITEMS: usize = 8;

/// Explains every key of a known config, in the file's order; keys of a nested language model after their parent.
pub(super) fn fields(fields: &Fields, known: Known<'_>) -> Vec<Field> {
    let every = keys::every(fields, known.decoder.family);
    every.into_iter().map(|(path, name, value)| explain(&path, name, value, known)).collect()
}

/// Every key of a config whose architecture is not known: what the key means in others, and nothing of what follows.
pub(super) fn unexplained(fields: &Fields) -> Vec<Field> {
    let one = |(key, value): (&String, &Value)| {
        let Some(known) = FAMILIES.iter().find_map(|family| Key::find(family, key)) else {
            return field(key, value, Status::UnknownKey);
        };
        Field {
            meaning: known.meaning().to_owned(),
            implication: "As other architectures have it: what follows is not known of this one".to_owned(),
            ..field(key, value, Status::Unsupported)
        }
    };
    fields.map().iter().map(one).collect()
}

fn field(path: &str, value: &Value, status: Status) -> Field {
    Field {
        key: path.to_owned(),
        value: shown(value),
        meaning: String::new(),
        implication: String::new(),
        lever: String::new(),
        status,
    }
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

fn explain(path: &str, name: &str, value: &Value, known: Known<'_>) -> Field {
    let family = known.decoder.family;
    let Some(key) = Key::find(family, name) else {
        let implication = format!("Not a key of {}", family.name());
        return Field { implication, ..field(path, value, Status::UnknownKey) };
    };
    let status = match key.status() {
        // Nothing of a family that does not run here is computed with.
        Status::Honoured | Status::Unsupported if !family.runs() => Status::EstimateOnly,
        status => status,
    };
    Field {
        meaning: key.meaning().to_owned(),
        implication: implication(name, value, known),
        lever: key.lever().to_owned(),
        ..field(path, value, status)
    }
}

/// What a key's value implies for this model; empty where there is nothing to say beyond its meaning.
fn implication(name: &str, value: &Value, known: Known<'_>) -> String {
    let decoder = known.decoder;
    let (layer, layers) = (decoder.first_attending(), decoder.layers.len());
    let rows = (decoder.vocab_size as u64).saturating_mul(decoder.hidden_size as u64);
    let kv_token = estimate::bytes_per_token(decoder, DType::Bf16);
    let kv = || format!("KV cache {} a token in 16 bit", format_bytes(kv_token));
    let positions = decoder.max_position_embeddings as u64;
    match decoder.family.spelled(name) {
        "model_type" if decoder.family.runs() => "Native here: no remote code is needed".to_owned(),
        "model_type" => "Sized here, not run".to_owned(),
        "auto_map" if decoder.family.runs() => {
            "Ignored: phi3 is supported natively and repository code is never run".to_owned()
        }
        "auto_map" => "Ignored: repository code is never run".to_owned(),
        "hidden_size" => format!("Every matrix has it as one side; embedding {}", params(rows)),
        "intermediate_size" | "ff_intermediate_size" | "moe_intermediate_size" => mlp(decoder, name),
        "num_hidden_layers" => {
            let each = tensors::parts(decoder).filter(|part| part.layer == Some(layers - 1));
            format!("{} in the last one; {}", params(each.map(|part| part.count()).sum()), kv())
        }
        "num_attention_heads" | "num_key_value_heads" if varies(decoder) => {
            format!("Not the same in all layers: {}", kv())
        }
        "per_layer_config" => kv(),
        "num_attention_heads" => match layer.attention {
            Attention::Heads { heads, head_dim, .. } => {
                let width = format_count(layer.attention.query_width() as u64);
                format!("{heads} heads of {head_dim} dimensions: attention is {width} wide")
            }
            Attention::Latent { heads, .. } => format!("{heads} heads, all from one latent"),
            Attention::Linear { .. } => "No layer of this model attends".to_owned(),
        },
        "num_key_value_heads" => match layer.attention {
            Attention::Heads { heads, kv_heads, .. } if heads == kv_heads => {
                format!("As many as query heads: no grouped-query attention; {}", kv())
            }
            Attention::Heads { heads, kv_heads, .. } => {
                format!("{} query heads share one: {}", heads / kv_heads, kv())
            }
            Attention::Latent { .. } => format!("The latent is kept instead: {}", kv()),
            Attention::Linear { .. } => "No layer of this model keeps keys and values".to_owned(),
        },
        "head_dim" | "kv_lora_rank" | "qk_rope_head_dim" => kv(),
        "linear_num_key_heads"
        | "linear_num_value_heads"
        | "linear_key_head_dim"
        | "linear_value_head_dim"
        | "linear_conv_kernel_dim"
        | "full_attention_interval" => states(decoder),
        "layer_types" if decoder.family.linear.is_some() => states(decoder),
        "num_kv_shared_layers" => sharing(decoder),
        "hidden_size_per_layer_input" | "vocab_size_per_layer_input" => {
            of_roles(decoder, &[Role::LayerEmbeddings])
        }
        "altup_num_inputs" => {
            let streams = decoder.stream_width() / decoder.hidden_size;
            format!("{streams} residual streams of {}: activations, no cache", decoder.hidden_size)
        }
        "laurel_rank" => of_roles(decoder, &[Role::LaurelDownProj, Role::LaurelUpProj]),
        "shared_expert_intermediate_size" => {
            of_roles(decoder, &[Role::SharedGateProj, Role::SharedUpProj, Role::SharedDownProj])
        }
        "vocab_size" => {
            let times = if decoder.tie_word_embeddings {
                "once: the head reuses them"
            } else {
                "twice: embedding and head"
            };
            format!("{} {times}", params(rows))
        }
        "max_position_embeddings" => format!(
            "A cache for all {} tokens takes {} in 16 bit",
            format_count(positions),
            format_bytes(kv_token.saturating_mul(positions))
        ),
        "original_max_position_embeddings" => match known.config {
            Some(config) if matches!(config.rope_scaling, RopeScaling::LongRope { .. }) => format!(
                "Beyond {} tokens the long factors hold for the whole sequence, and cached keys are computed anew",
                format_count(config.original_max_position_embeddings as u64)
            ),
            // Not run here: what the file itself says of its scaling.
            None if scaling::changes_at_original_length(known.fields, decoder) => format!(
                "Beyond {} tokens the long factors hold",
                value.as_u64().map_or_else(|| value.to_string(), format_count)
            ),
            _ => "Without longrope it changes nothing".to_owned(),
        },
        "rope_scaling" | "rope_parameters" => {
            known.config.map_or_else(|| scaling::words(value, decoder), rope)
        }
        "partial_rotary_factor" => match layer.attention {
            Attention::Heads { head_dim, .. } => {
                format!("{} of {head_dim} dimensions are rotated, the rest pass through", decoder.rotary_dim)
            }
            Attention::Latent { .. } | Attention::Linear { .. } => String::new(),
        },
        "sliding_window" | "layer_types" | "use_sliding_window" | "sliding_window_pattern" => window(decoder),
        "hidden_act" if decoder.family.runs() => "silu(gate) × up".to_owned(),
        "tie_word_embeddings" if decoder.tie_word_embeddings => format!("{} are counted once", params(rows)),
        "tie_word_embeddings" => format!("The head is a tensor of its own: {}", params(rows)),
        "torch_dtype" | "dtype" => {
            let format = estimate::stored_format(decoder);
            format!("{} of weights in {format}", format_bytes(estimate::weights_bytes(decoder, format)))
        }
        "eos_token_id" => "generation_config.json's list goes before it".to_owned(),
        "pad_token_id" => "No padding in our batches".to_owned(),
        "use_cache" => "On unless the load config says otherwise; what stands here is not read".to_owned(),
        "attention_bias" => match (decoder.biases.qkv, decoder.biases.output, value) {
            (false, false, Value::Bool(true)) => {
                "This family has none: Hugging Face ignores this key, and so do we".to_owned()
            }
            (false, false, _) => "No bias".to_owned(),
            (_, false, _) => "Query, key and value have one".to_owned(),
            _ => "All four projections have one".to_owned(),
        },
        "attention_dropout" | "embd_pdrop" | "resid_pdrop" => "None at inference".to_owned(),
        "initializer_range" => "Training only".to_owned(),
        "full_attn_mod" | "interpolate_factor" => "Hugging Face's phi3 does not read it".to_owned(),
        "quantization_config" => match decoder.quantization {
            Some(_) => format!("Sized as published: {}", estimate::stored_format(decoder)),
            None => "A layout that is not known here: sized by the header, or by dtype".to_owned(),
        },
        "attn_implementation" | "_attn_implementation" => "Set by the load config".to_owned(),
        "num_local_experts" | "num_experts" | "n_routed_experts" | "num_experts_per_tok" => experts(decoder),
        "num_nextn_predict_layers" => {
            format!("{} apart, not in the total", params(estimate::predictor_params(decoder)))
        }
        _ => String::new(),
    }
}

/// Whether layers that attend do so differently.
fn varies(decoder: &Decoder) -> bool {
    let first = decoder.first_attending().attention;
    decoder.layers.iter().any(|layer| !layer.attention.is_linear() && layer.attention != first)
}

/// What layers without keys and values keep.
fn states(decoder: &Decoder) -> String {
    let count = decoder.layers.iter().filter(|layer| layer.attention.is_linear()).count();
    if count == 0 {
        return "No layer of this model keeps a state".to_owned();
    }
    let bytes = estimate::state_bytes(decoder, DType::Bf16);
    format!(
        "{count} of {} layers keep a state of {} each, {} a sequence in all, whatever its length",
        decoder.layers.len(),
        format_bytes(bytes / count as u64),
        format_bytes(bytes)
    )
}

/// What layers that read an earlier one's cache save.
fn sharing(decoder: &Decoder) -> String {
    let count = decoder.layers.iter().filter(|layer| layer.cache_of.is_some()).count();
    if count == 0 {
        return "Every layer keeps keys and values of its own".to_owned();
    }
    let kv = estimate::bytes_per_token(decoder, DType::Bf16);
    let own = decoder.layers.iter().map(|layer| LayerKv::new(&Layer { cache_of: None, ..*layer }));
    let unshared = own.map(|layer| layer.bytes_per_token(DType::Bf16)).fold(0, u64::saturating_add);
    format!(
        "{count} of {} layers keep none: KV cache {} a token in 16 bit instead of {}",
        decoder.layers.len(),
        format_bytes(kv),
        format_bytes(unshared)
    )
}

/// Parameters of all tensors of some roles.
fn of_roles(decoder: &Decoder, roles: &[Role]) -> String {
    let parts = tensors::parts(decoder).filter(|part| roles.contains(&part.role));
    params(parts.map(|part| part.count()).fold(0, u64::saturating_add))
}

fn params(count: u64) -> String {
    format!("{} parameters", format_count(count))
}

fn is_of_mlp(role: Role) -> bool {
    let dense = matches!(role, Role::GateUpProj | Role::GateProj | Role::UpProj | Role::DownProj);
    dense || role.group() == tensors::Group::Experts
}

/// Parameters of one layer's MLP, of the layers that have a width from a key.
fn mlp(decoder: &Decoder, key: &str) -> String {
    let of_experts = decoder.family.experts.as_ref().is_some_and(|experts| experts.width.0 == key);
    let has_it = |layer: &Layer| matches!(layer.mlp, Mlp::Experts { .. }) == of_experts;
    let of_kind = || decoder.layers.iter().enumerate().filter(|(_, layer)| has_it(layer));
    let Some((last, _)) = of_kind().next_back() else {
        return "No layer has an MLP of this width".to_owned();
    };
    let parts = tensors::parts(decoder).filter(|part| part.layer == Some(last) && is_of_mlp(part.role));
    let count = params(parts.map(|part| part.count()).fold(0, u64::saturating_add));
    match (of_kind().count(), decoder.layers.len()) {
        (1, _) => format!("MLP {count} in the one layer that has it"),
        (some, all) if some < all => format!("MLP {count} in the last of the {some} layers that have it"),
        (_, all) => format!("MLP {count} in the last of {all} layers"),
    }
}

fn experts(decoder: &Decoder) -> String {
    let routed = decoder.layers.iter().find_map(|layer| match layer.mlp {
        Mlp::Experts { count, active, .. } => Some((count, active)),
        Mlp::Dense { .. } => None,
    });
    let Some((count, active)) = routed else { return String::new() };
    format!(
        "{active} of {count} experts a token: {} of {} compute, all are held",
        format_count(estimate::active_params(decoder)),
        params(estimate::params(decoder).total)
    )
}

fn rope(config: &crate::config::ModelConfig) -> String {
    match &config.rope_scaling {
        RopeScaling::None => "None: positions as trained".to_owned(),
        RopeScaling::Linear { factor } => format!("Positions divided by {factor}"),
        RopeScaling::LongRope { short_factor, .. } => format!(
            "longrope: {} factors; cos and sin × {:.6}, short and long alike",
            short_factor.len(),
            attention_factor(config)
        ),
    }
}

fn window(decoder: &Decoder) -> String {
    let positions = decoder.max_position_embeddings as u64;
    let windowed = decoder.layers.iter().filter(|layer| layer.window.is_some()).count();
    let Some(window) = decoder.layers.iter().find_map(|layer| layer.window) else {
        return "None: every query sees all keys".to_owned();
    };
    if decoder.effective_window(positions).is_none() {
        return format!(
            "{} reaches over all {} positions: no effect",
            format_count(window as u64),
            format_count(positions)
        );
    }
    let cache = |policy| format_bytes(estimate::cache_bytes(decoder, DType::Bf16, policy, positions, 1));
    let layers = match windowed == decoder.layers.len() {
        true => String::new(),
        false => format!(" in {windowed} of {} layers", decoder.layers.len()),
    };
    format!(
        "Beyond {} tokens older keys are hidden{layers}; a cache of the window alone takes {} instead of {}",
        format_count(window as u64),
        cache(KvPolicy::Window),
        cache(KvPolicy::Full)
    )
}
