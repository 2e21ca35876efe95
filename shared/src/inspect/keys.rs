//! The keys of decoders' configs as data: what each means, where it is read, what one can do about it.

use serde_json::Value;

use super::Status;
use crate::config::Fields;
use crate::decoder::{Bias, Family, Window};

/// Which families read a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Scope {
    /// All.
    All,
    /// Those that have experts.
    Experts,
    /// Those that keep a latent.
    Latent,
    /// Those of which some layers keep a state.
    Linear,
    /// Those that have several residual streams.
    Augmented,
    /// Those whose layers may have a window.
    Windowed,
    /// Those whose layers differ in it.
    LayerTypes,
    /// Those whose projections may have a bias.
    Biased,
    /// Those of the gemma kind: tied, with soft caps.
    Gemma,
    /// These, by their first `model_type`.
    Only(&'static [&'static str]),
}

/// What a key is known by.
#[derive(Debug, Clone, Copy)]
struct Spelled {
    names: &'static [&'static str],
    scope: Scope,
}

/// What is said of a key.
#[derive(Debug, Clone, Copy)]
struct Said {
    status: Status,
    meaning: &'static str,
    lever: &'static str,
}

/// A key of a config that is known: its place in the tables.
#[derive(Debug, Clone, Copy)]
pub(super) struct Key(usize);

impl Key {
    /// The key of a family's config by that name.
    pub(super) fn find(family: &Family, name: &str) -> Option<Self> {
        let name = family.spelled(name);
        SPELLED.iter().position(|key| key.names.contains(&name) && key.scope.holds(family)).map(Self)
    }

    /// What our engine makes of it in a phi3 config.
    pub(super) fn status(self) -> Status {
        SAID[self.0].status
    }

    /// What it means.
    pub(super) fn meaning(self) -> &'static str {
        SAID[self.0].meaning
    }

    /// What one can do about it without training; empty where nothing.
    pub(super) fn lever(self) -> &'static str {
        SAID[self.0].lever
    }
}

/// Every key of a config as path, name and value, in the file's order; keys of a nested language model after their
/// parent.
pub(super) fn every<'a>(fields: &'a Fields, family: &Family) -> Vec<(String, &'a str, &'a Value)> {
    let mut found = Vec::new();
    for (key, value) in fields.map() {
        found.push((key.clone(), key.as_str(), value));
        if let (true, Some(map)) = (family.nested == Some(key), value.as_object()) {
            found.extend(map.iter().map(|(inner, value)| (format!("{key}.{inner}"), inner.as_str(), value)));
        }
    }
    found
}

impl Scope {
    fn holds(self, family: &Family) -> bool {
        match self {
            Self::All => true,
            Self::Experts => family.experts.is_some(),
            Self::Latent => family.latent.is_some(),
            Self::Linear => family.linear.is_some(),
            Self::Augmented => family.augmented.is_some(),
            Self::Windowed => family.window != Window::None,
            Self::LayerTypes => !matches!(family.window, Window::None | Window::Every(_)),
            Self::Biased => family.output_bias != Bias::Never,
            Self::Gemma => family.defaults.tie_word_embeddings && family.norms.len() == 4,
            Self::Only(names) => names.contains(&family.name()),
        }
    }
}

const fn key(
    names: &'static [&'static str],
    scope: Scope,
    status: Status,
    meaning: &'static str,
    lever: &'static str,
) -> (Spelled, Said) {
    (Spelled { names, scope }, Said { status, meaning, lever })
}

use Scope::{All, Augmented, Biased, Experts, Gemma, Latent, LayerTypes, Linear, Only, Windowed};
use Status::{EstimateOnly, Honoured, NoEffect, Unsupported};

const NATIVE: &str = "trust_remote_code stays false";
const CONTEXT: &str = "plan a shorter context";
const DTYPE: &str = "dtype: bf16, else f16 where bf16 is not supported; quantize where neither fits";
const KV: &str = "a shorter context or a narrower KV cache";
const EXPERTS: &str = "Experts of a layer; all are held in memory";
const MOE: &[&str] = &[
    "mixtral",
    "phimoe",
    "qwen3_moe",
    "qwen3_next",
    "qwen3_5_moe_text",
    "qwen3_5_moe",
    "gpt_oss",
    "deepseek_v2",
    "deepseek_v3",
];
const SPARSE: &[&str] = &["qwen3_moe", "qwen3_next"];
const NUM_EXPERTS: &[&str] = &["qwen3_moe", "qwen3_next", "qwen3_5_moe_text", "qwen3_5_moe"];
const ONE_SHARED: &[&str] = &["qwen3_next", "qwen3_5_moe_text", "qwen3_5_moe"];
const NESTED: &[&str] = &["gemma3", "gemma3n", "qwen3_5", "qwen3_5_moe"];
const GEMMA3: &[&str] = &["gemma3_text", "gemma3"];
const SMALL: &[&str] = &["phi3small"];
const VISION: &[&str] = &["phi3_v", "phi4_multimodal", "gemma3", "gemma3n", "qwen3_5", "qwen3_5_moe"];

// Two tables, so that a program that only asks which keys are known carries no word of what they mean.
static SPELLED: [Spelled; KEYS.len()] = {
    let mut spelled = [KEYS[0].0; KEYS.len()];
    let mut place = 0;
    while place < KEYS.len() {
        spelled[place] = KEYS[place].0;
        place += 1;
    }
    spelled
};
static SAID: [Said; KEYS.len()] = {
    let mut said = [KEYS[0].1; KEYS.len()];
    let mut place = 0;
    while place < KEYS.len() {
        said[place] = KEYS[place].1;
        place += 1;
    }
    said
};

/// Every key that is known, grouped by what it is about.
const KEYS: [(Spelled, Said); 94] = [
    key(&["model_type"], All, Honoured, "Architecture family", ""),
    key(&["architectures"], All, NoEffect, "Class that transformers instantiates", ""),
    key(&["auto_map"], All, NoEffect, "Python classes in the repository, for trust_remote_code", NATIVE),
    key(&["hidden_size"], All, Honoured, "Width of the residual stream", ""),
    key(&["intermediate_size"], All, Honoured, "Width of the MLP; gate and up are as wide each", ""),
    key(&["num_hidden_layers"], All, Honoured, "Decoder layers", "device_map: some layers on another device"),
    key(&["num_attention_heads"], All, Honoured, "Query heads", ""),
    key(&["num_key_value_heads"], All, Honoured, "Heads that keys and values are kept for", KV),
    key(&["head_dim"], All, Honoured, "Width of one head, where it is not hidden / heads", ""),
    key(&["per_layer_config"], All, Honoured, "What single layers have other than the rest", ""),
    key(&["vocab_size"], All, Honoured, "Rows of the embedding and of the head, padding included", ""),
    key(&["max_position_embeddings"], All, Honoured, "Longest sequence the model is meant for", CONTEXT),
    key(
        &["original_max_position_embeddings"],
        All,
        Honoured,
        "Length at which longrope changes from short to long factors",
        "stay below it and the short factors hold throughout",
    ),
    key(&["rope_theta"], All, Honoured, "Base of the rotary frequencies", ""),
    key(
        &["rope_scaling", "rope_parameters"],
        All,
        Honoured,
        "Scaling of the rotary frequencies",
        "rope_scaling in the load config, where the architecture allows it",
    ),
    key(&["partial_rotary_factor"], All, Honoured, "Share of each head that is rotated", ""),
    key(
        &["sliding_window"],
        Windowed,
        Honoured,
        "Keys that a query sees, itself included",
        "kv_policy window keeps no more than these; sliding_window null sees all, untrained",
    ),
    key(&["use_sliding_window"], LayerTypes, Honoured, "Whether sliding_window is used at all", ""),
    key(&["max_window_layers"], LayerTypes, Honoured, "First layer that has the window", ""),
    key(&["layer_types"], LayerTypes, Honoured, "Which layers have the window", "kv_policy window"),
    key(&["layer_types"], Linear, Honoured, "Which layers keep a state instead of keys and values", ""),
    key(
        &["full_attention_interval"],
        Linear,
        Honoured,
        "Every n-th layer keeps keys and values, the others a state",
        "",
    ),
    key(
        &["linear_num_key_heads", "linear_key_head_dim"],
        Linear,
        Honoured,
        "Query and key heads of layers that keep a state, and their width",
        "",
    ),
    key(
        &["linear_num_value_heads", "linear_value_head_dim"],
        Linear,
        Honoured,
        "Value heads of layers that keep a state, and their width: each has a matrix of key × value width",
        "",
    ),
    key(
        &["linear_conv_kernel_dim"],
        Linear,
        Honoured,
        "Tokens that the convolution before a state reads; as many are kept",
        "",
    ),
    key(
        &["shared_expert_intermediate_size"],
        Only(ONE_SHARED),
        Honoured,
        "Width of the expert that every token goes through",
        "",
    ),
    key(
        &["num_kv_shared_layers"],
        Augmented,
        Honoured,
        "Last layers that read the cache of the last one of their kind before them",
        "",
    ),
    key(
        &["hidden_size_per_layer_input", "vocab_size_per_layer_input"],
        Augmented,
        Honoured,
        "Width and rows of the embedding that each layer has of its own",
        "device_map: that embedding may stay on the CPU",
    ),
    key(
        &["altup_num_inputs"],
        Augmented,
        Honoured,
        "Residual streams that are kept side by side (AltUp)",
        "",
    ),
    key(
        &["altup_active_idx", "altup_coef_clip", "altup_correct_scale", "altup_lr_multiplier"],
        Augmented,
        NoEffect,
        "How the residual streams are mixed; no bytes",
        "",
    ),
    key(&["laurel_rank"], Augmented, Honoured, "Width of the narrow path beside attention (LAuReL)", ""),
    key(
        &["activation_sparsity_pattern"],
        Augmented,
        NoEffect,
        "Share of the MLP that is zeroed, for each layer; all weights are held",
        "",
    ),
    key(
        &["sliding_window_pattern", "_sliding_window_pattern"],
        Only(GEMMA3),
        Honoured,
        "Every n-th layer sees all, the others the window",
        "kv_policy window",
    ),
    key(&["sliding_window_size", "cache_implementation"], Gemma, NoEffect, "Read by older code", ""),
    key(&["rms_norm_eps"], All, Honoured, "Added to the mean square in RMSNorm", ""),
    key(&["hidden_act", "hidden_activation"], All, Honoured, "Activation of the MLP", ""),
    key(&["tie_word_embeddings"], All, Honoured, "Whether the head reuses the embedding", ""),
    key(&["torch_dtype", "dtype"], All, Honoured, "Format that the weights were stored in", DTYPE),
    key(&["bos_token_id"], All, NoEffect, "Id that starts a text", "add_bos_token"),
    key(&["eos_token_id"], All, Honoured, "Id or ids that end a generation", ""),
    key(&["pad_token_id"], All, NoEffect, "Id of padding", ""),
    key(
        &["use_cache"],
        All,
        NoEffect,
        "Whether generation keeps keys and values",
        "use_cache in the load config",
    ),
    key(&["attention_bias"], Biased, Honoured, "Bias of the attention projections", ""),
    key(&["attention_bias"], All, NoEffect, "Bias of the attention projections", ""),
    key(&["mlp_bias"], Biased, Honoured, "Bias of the MLP", ""),
    key(&["lm_head_bias"], Only(&["phimoe"]), Honoured, "Bias of the head", ""),
    key(&["attention_dropout", "embd_pdrop", "resid_pdrop"], All, NoEffect, "Dropout while training", ""),
    key(&["initializer_range"], All, NoEffect, "Spread of fresh weights", ""),
    key(&["pretraining_tp"], All, NoEffect, "Slices of the original training", ""),
    key(
        &["full_attn_mod", "interpolate_factor", "lm_head_bias", "mlp_bias"],
        Only(&["phi3", "phi4_multimodal"]),
        NoEffect,
        "A key of Phi-4-mini's first code",
        "",
    ),
    key(
        &["quantization_config"],
        All,
        Unsupported,
        "How the stored weights are quantised",
        "take the original checkpoint and quantize on load",
    ),
    key(
        &["attn_implementation", "_attn_implementation"],
        All,
        NoEffect,
        "Attention kernel",
        "attn_implementation in the load config: eager is the guard rail",
    ),
    key(
        &["transformers_version", "_name_or_path", "name_or_path"],
        All,
        NoEffect,
        "Where the file comes from",
        "",
    ),
    key(&["transformers.js_config"], All, NoEffect, "What transformers.js is to load", ""),
    key(&["_partial"], All, EstimateOnly, "Marks a file with values missing", ""),
    key(&["num_local_experts"], Only(&["mixtral", "phimoe", "gpt_oss"]), Honoured, EXPERTS, ""),
    key(&["num_experts"], Only(NUM_EXPERTS), Honoured, EXPERTS, ""),
    key(&["n_routed_experts"], Latent, Honoured, EXPERTS, ""),
    key(
        &["num_experts_per_tok", "experts_per_token"],
        Experts,
        Honoured,
        "Experts that one token goes through: speed, not memory",
        "",
    ),
    key(&["moe_intermediate_size"], Experts, Honoured, "Width of one expert", ""),
    key(&["n_shared_experts"], Experts, Honoured, "Experts that every token goes through", ""),
    key(&["first_k_dense_replace"], Latent, Honoured, "Leading layers without experts", ""),
    key(
        &["moe_layer_freq"],
        Latent,
        NoEffect,
        "Every how many layers experts come; 1 in every published file",
        "",
    ),
    key(&["decoder_sparse_step", "mlp_only_layers"], Only(SPARSE), Honoured, "Which layers have experts", ""),
    key(
        &[
            "router_aux_loss_coef",
            "output_router_logits",
            "router_jitter_noise",
            "input_jitter_noise",
            "aux_loss_alpha",
            "seq_aux",
            "initial_context_length",
            "swiglu_limit",
            "swiglu_alpha",
            "hidden_dropout",
        ],
        Only(MOE),
        NoEffect,
        "Training, or how experts are mixed; no bytes",
        "",
    ),
    key(
        &[
            "norm_topk_prob",
            "topk_method",
            "topk_group",
            "n_group",
            "scoring_func",
            "routed_scaling_factor",
            "ep_size",
        ],
        Only(MOE),
        NoEffect,
        "How experts are chosen; no bytes",
        "",
    ),
    key(&["q_lora_rank"], Latent, Honoured, "Width of the queries' latent; null for none", ""),
    key(&["kv_lora_rank"], Latent, Honoured, "Width of the latent that the cache keeps", ""),
    key(&["qk_rope_head_dim"], Latent, Honoured, "Width of the rotated part, kept beside the latent", ""),
    key(&["qk_nope_head_dim"], Latent, Honoured, "Width of a head's part without positions", ""),
    key(&["v_head_dim"], Latent, Honoured, "Width of a head's values", ""),
    key(&["qk_head_dim", "rope_interleave"], Latent, NoEffect, "Follows from other keys, or order alone", ""),
    key(
        &["num_nextn_predict_layers"],
        Latent,
        Honoured,
        "Layers that predict tokens further ahead; not loaded for generation",
        "",
    ),
    key(
        &["final_logit_softcapping", "attn_logit_softcapping", "query_pre_attn_scalar"],
        Gemma,
        NoEffect,
        "How scores and logits are squashed; no bytes",
        "",
    ),
    key(&["rope_local_base_freq"], Gemma, NoEffect, "Base of the frequencies in windowed layers", ""),
    key(
        &["use_bidirectional_attention"],
        Only(GEMMA3),
        Honoured,
        "Whether a query sees later tokens: half the window on each side",
        "",
    ),
    key(&["use_bidirectional_attention"], Gemma, NoEffect, "Whether a query sees later tokens", ""),
    key(
        &["no_rope_layers", "no_rope_layer_interval"],
        Only(&["smollm3"]),
        Honoured,
        "Which layers have no rotary positions",
        "",
    ),
    key(&["use_mrope"], Only(&["qwen2"]), NoEffect, "Rotary positions of pictures", ""),
    key(
        &["is_llama_config", "rope_interleaved", "attention_multiplier"],
        Only(&["llama", "smollm3"]),
        NoEffect,
        "A note of the authors",
        "",
    ),
    key(&["ff_intermediate_size"], Only(SMALL), Honoured, "Width of the MLP", ""),
    key(
        &[
            "blocksparse_block_size",
            "blocksparse_num_local_blocks",
            "blocksparse_vert_stride",
            "blocksparse_homo_head_pattern",
            "blocksparse_triton_kernel_block_size",
            "dense_attention_every_n_layers",
        ],
        Only(SMALL),
        NoEffect,
        "Which keys a query sees in sparse layers; the cache keeps all",
        "",
    ),
    key(
        &[
            "mup_use_scaling",
            "mup_width_multiplier",
            "mup_embedding_multiplier",
            "mup_attn_multiplier",
            "gegelu_limit",
            "gegelu_pad_to_256",
            "ff_dim_multiplier",
            "reorder_and_upcast_attn",
            "pad_sequence_to_multiple_of_64",
            "rope_position_scale",
            "layer_norm_epsilon",
            "attention_dropout_prob",
            "embedding_dropout_prob",
            "ffn_dropout_prob",
        ],
        Only(SMALL),
        NoEffect,
        "How it computes or was trained; no bytes",
        "",
    ),
    key(&["rope_embedding_base"], Only(SMALL), Honoured, "Base of the rotary frequencies", ""),
    key(&["text_config"], Only(NESTED), Honoured, "The language model", ""),
    key(
        &["vision_config", "img_processor", "audio_config", "audio_processor", "embd_layer"],
        Only(VISION),
        NoEffect,
        "A part beside the language model; named, not counted",
        "",
    ),
    key(
        &["vision_lora", "speech_lora"],
        Only(VISION),
        NoEffect,
        "An adapter beside the language model; named, not counted",
        "",
    ),
    key(
        &[
            "image_token_index",
            "boi_token_index",
            "eoi_token_index",
            "mm_tokens_per_image",
            "image_token_id",
            "audio_token_id",
            "boa_token_id",
            "boi_token_id",
            "eoa_token_id",
            "eoi_token_id",
            "audio_soft_tokens_per_image",
            "vision_soft_tokens_per_image",
            "video_token_id",
            "vision_start_token_id",
            "vision_end_token_id",
        ],
        Only(VISION),
        NoEffect,
        "Where pictures and sound stand in a prompt",
        "",
    ),
    key(
        &["is_decoder", "is_encoder_decoder", "add_cross_attention"],
        All,
        NoEffect,
        "A decoder, as all of these",
        "",
    ),
    key(
        &["chunk_size_feed_forward", "output_attentions", "output_hidden_states", "return_dict"],
        All,
        NoEffect,
        "How Python calls it",
        "",
    ),
    key(
        &["id2label", "label2id", "problem_type", "num_labels"],
        All,
        NoEffect,
        "Classification; not used here",
        "",
    ),
    key(
        &["torchscript", "use_bfloat16", "pruned_heads", "tokenizer_class", "prefix", "task_specific_params"],
        All,
        NoEffect,
        "A leftover of older versions",
        "",
    ),
    key(&["unsloth_version", "unsloth_fixed"], All, NoEffect, "A note of a tool", ""),
    key(&["eos_token", "bos_token"], All, NoEffect, "A token's text; the tokenizer's files decide", ""),
];
