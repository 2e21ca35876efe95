//! The families of decoders as a table of differences.
//!
//! Defaults are those of each family's config class in transformers 5.23.0: published files leave keys out.

use super::Role;
use super::differences::{
    Augmented, Bias, ExpertNames, Experts, HeadDim, KvHeads, Latent, Linear, Oracle, QkNorm, SharedExperts,
    Window,
};

/// What sets one family of decoders apart from the others.
#[derive(Debug, PartialEq, Eq)]
pub struct Family {
    /// `model_type` of its configs; further spellings after the first.
    pub model_types: &'static [&'static str],
    /// What its counts rest on.
    pub oracle: Oracle,
    /// Query, key and value are one tensor, gate and up another.
    pub fused: bool,
    /// LayerNorm, which has a bias, instead of RMSNorm.
    pub layer_norm: bool,
    /// Norms of a layer, in the order of computation.
    pub norms: &'static [Role],
    /// Norms on queries and keys.
    pub qk_norm: QkNorm,
    /// A learned sink for each head.
    pub sinks: bool,
    /// A correction of a router's scores for each expert: a buffer in f32, no parameter.
    pub corrects_scores: bool,
    /// Bias of query, key and value projections.
    pub qkv_bias: Bias,
    /// Bias of attention's output projection.
    pub output_bias: Bias,
    /// Bias of the MLP.
    pub mlp_bias: Bias,
    /// Bias of the head.
    pub head_bias: Bias,
    /// Latent attention.
    pub latent: Option<Latent>,
    /// Experts.
    pub experts: Option<Experts>,
    /// Sliding window.
    pub window: Window,
    /// Layers that keep a state instead of keys and values.
    pub linear: Option<Linear>,
    /// Whether queries are projected beside a gate for what attention gives.
    pub query_gate: bool,
    /// The number of last layers that read the cache of an earlier one; key with its default.
    pub cache_sharing: Option<(&'static str, usize)>,
    /// What Gemma 3n adds.
    pub augmented: Option<Augmented>,
    /// The object that holds the language model's keys, in files of several parts.
    pub nested: Option<&'static str>,
    /// The module of everything but the head.
    pub body: &'static str,
    /// The head's module.
    pub head: &'static str,
    /// Tensors that start so are in published files and are not loaded by the class.
    pub unloaded: &'static [&'static str],
    /// Share of a head that is rotated where the file does not say.
    pub rotary_percent: u8,
    /// Key of the MLP's width.
    pub width_key: &'static str,
    /// Whether that key may list a width for each layer.
    pub lists_widths: bool,
    /// Other spellings of keys, each with the one that is read: `attribute_map` of transformers' class, which writes
    /// some keys under one name and reads both.
    pub spellings: &'static [(&'static str, &'static str)],
    /// Defaults of the config class.
    pub defaults: Defaults,
}

/// Values of a family's config class where the file names none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Defaults {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the MLP, under the family's key.
    pub intermediate_size: usize,
    /// Decoder layers.
    pub num_hidden_layers: usize,
    /// Query heads.
    pub num_attention_heads: usize,
    /// Key and value heads.
    pub kv_heads: KvHeads,
    /// Width of one head.
    pub head_dim: HeadDim,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Longest sequence.
    pub max_position_embeddings: usize,
    /// Whether the head reuses the embedding.
    pub tie_word_embeddings: bool,
}

const TWO_NORMS: &[Role] = &[Role::InputNorm, Role::PostAttentionNorm];
const FOUR_NORMS: &[Role] =
    &[Role::InputNorm, Role::PostAttentionNorm, Role::PreFeedforwardNorm, Role::PostFeedforwardNorm];

const fn sizes(
    [hidden_size, intermediate_size, num_hidden_layers, num_attention_heads]: [usize; 4],
    kv_heads: KvHeads,
    head_dim: HeadDim,
    [vocab_size, max_position_embeddings]: [usize; 2],
) -> Defaults {
    Defaults {
        hidden_size,
        intermediate_size,
        num_hidden_layers,
        num_attention_heads,
        kv_heads,
        head_dim,
        vocab_size,
        max_position_embeddings,
        tie_word_embeddings: false,
    }
}

/// What the others are said against: split projections, RMSNorm twice a layer, no bias, no window.
const LLAMA: Family = Family {
    model_types: &["llama"],
    oracle: Oracle::HuggingFace,
    fused: false,
    layer_norm: false,
    norms: TWO_NORMS,
    qk_norm: QkNorm::None,
    sinks: false,
    corrects_scores: false,
    qkv_bias: Bias::Key("attention_bias", false),
    output_bias: Bias::Key("attention_bias", false),
    mlp_bias: Bias::Key("mlp_bias", false),
    head_bias: Bias::Never,
    latent: None,
    experts: None,
    window: Window::None,
    linear: None,
    query_gate: false,
    cache_sharing: None,
    augmented: None,
    nested: None,
    body: "model",
    head: "lm_head",
    unloaded: &[],
    rotary_percent: 100,
    width_key: "intermediate_size",
    lists_widths: false,
    spellings: &[],
    defaults: sizes([4096, 11008, 32, 32], KvHeads::Same, HeadDim::Quotient, [32000, 2048]),
};

/// Families without any bias key.
const PLAIN: Family =
    Family { qkv_bias: Bias::Never, output_bias: Bias::Never, mlp_bias: Bias::Never, ..LLAMA };

const PHI3: Family = Family {
    model_types: &["phi3"],
    fused: true,
    window: Window::Every(None),
    defaults: sizes([3072, 8192, 32, 32], KvHeads::Same, HeadDim::Quotient, [32064, 4096]),
    ..PLAIN
};

const MIXTRAL_EXPERTS: Experts = Experts {
    count: ("num_local_experts", 8),
    active: ("num_experts_per_tok", 2),
    width: ("intermediate_size", 14336),
    shared: None,
    dense_layers: None,
    sparse_step: false,
    names: ExpertNames::Numbered,
};

const DEEPSEEK_EXPERTS: Experts = Experts {
    count: ("n_routed_experts", 64),
    // transformers' class has no default here; the authors' has 6 for V2.
    active: ("num_experts_per_tok", 6),
    width: ("moe_intermediate_size", 1407),
    shared: Some(SharedExperts::Count("n_shared_experts", 2)),
    dense_layers: Some(("first_k_dense_replace", 0)),
    sparse_step: false,
    names: ExpertNames::Named,
};

const GEMMA2: Family = Family {
    model_types: &["gemma2"],
    norms: FOUR_NORMS,
    mlp_bias: Bias::Never,
    window: Window::AllButEvery { window: 4096, period: 2, key: None },
    defaults: Defaults {
        tie_word_embeddings: true,
        ..sizes([2304, 9216, 26, 8], KvHeads::Fixed(4), HeadDim::Fixed(256), [256_000, 8192])
    },
    ..LLAMA
};

const GEMMA3: Family = Family {
    model_types: &["gemma3_text"],
    qk_norm: QkNorm::Head,
    window: Window::AllButEvery { window: 4096, period: 6, key: Some("sliding_window_pattern") },
    defaults: Defaults { vocab_size: 262_208, max_position_embeddings: 131_072, ..GEMMA2.defaults },
    ..GEMMA2
};

const GEMMA3N: Family = Family {
    model_types: &["gemma3n_text"],
    qk_norm: QkNorm::Head,
    window: Window::AllButEvery { window: 512, period: 5, key: None },
    cache_sharing: Some(("num_kv_shared_layers", 15)),
    augmented: Some(Augmented { streams: 4, rank: 64, rows: 262_144, width: 256 }),
    lists_widths: true,
    defaults: Defaults {
        tie_word_embeddings: true,
        ..sizes([2048, 16_384, 35, 8], KvHeads::Fixed(2), HeadDim::Fixed(256), [262_400, 32_768])
    },
    ..GEMMA2
};

const QWEN3: Family = Family {
    model_types: &["qwen3"],
    qk_norm: QkNorm::Head,
    mlp_bias: Bias::Never,
    window: Window::Upper { window: 4096, first: 28 },
    defaults: sizes([4096, 22016, 32, 32], KvHeads::Fixed(32), HeadDim::Fixed(128), [151_936, 32_768]),
    ..LLAMA
};

const QWEN3_MOE: Family = Family {
    model_types: &["qwen3_moe"],
    experts: Some(Experts {
        count: ("num_experts", 128),
        active: ("num_experts_per_tok", 8),
        width: ("moe_intermediate_size", 768),
        shared: None,
        dense_layers: None,
        sparse_step: true,
        names: ExpertNames::Named,
    }),
    spellings: &[("num_local_experts", "num_experts")],
    window: Window::Switched(4096),
    defaults: sizes([2048, 6144, 24, 32], KvHeads::Fixed(4), HeadDim::Quotient, [151_936, 32_768]),
    ..QWEN3
};

const QWEN3_NEXT: Family = Family {
    model_types: &["qwen3_next"],
    experts: Some(Experts {
        count: ("num_experts", 512),
        active: ("num_experts_per_tok", 10),
        width: ("moe_intermediate_size", 512),
        shared: Some(SharedExperts::Gated("shared_expert_intermediate_size", 512)),
        dense_layers: None,
        sparse_step: true,
        names: ExpertNames::Named,
    }),
    spellings: &[],
    window: Window::None,
    linear: Some(GATED_DELTA_NET),
    query_gate: true,
    unloaded: &["mtp."],
    rotary_percent: 25,
    defaults: sizes([2048, 5632, 48, 16], KvHeads::Fixed(2), HeadDim::Fixed(256), [151_936, 32_768]),
    ..QWEN3_MOE
};

const GATED_DELTA_NET: Linear = Linear {
    key_heads: 16,
    value_heads: 32,
    key_dim: 128,
    value_dim: 128,
    kernel: 4,
    split: false,
    interval: 4,
};

const QWEN3_5: Family = Family {
    model_types: &["qwen3_5_text"],
    experts: None,
    linear: Some(Linear { split: true, ..GATED_DELTA_NET }),
    unloaded: &["mtp.", "model.visual."],
    defaults: sizes([4096, 12_288, 32, 16], KvHeads::Fixed(4), HeadDim::Fixed(256), [248_320, 32_768]),
    ..QWEN3_NEXT
};

const QWEN3_5_MOE: Family = Family {
    model_types: &["qwen3_5_moe_text"],
    experts: Some(Experts {
        count: ("num_experts", 256),
        active: ("num_experts_per_tok", 8),
        width: ("moe_intermediate_size", 512),
        shared: Some(SharedExperts::Gated("shared_expert_intermediate_size", 512)),
        dense_layers: None,
        sparse_step: false,
        names: ExpertNames::Named,
    }),
    // No layer is without experts.
    defaults: sizes([2048, 512, 40, 16], KvHeads::Fixed(2), HeadDim::Fixed(256), [248_320, 32_768]),
    ..QWEN3_5
};

const OLMO2: Family = Family {
    model_types: &["olmo2"],
    norms: &[Role::PostAttentionNorm, Role::PostFeedforwardNorm],
    qk_norm: QkNorm::Whole,
    mlp_bias: Bias::Never,
    defaults: sizes([4096, 11008, 32, 32], KvHeads::Same, HeadDim::Quotient, [50_304, 2048]),
    ..LLAMA
};

/// Every family whose tensors are known. The first is the one that this build runs.
pub static FAMILIES: [Family; 27] = [
    PHI3,
    Family { model_types: &["phi3_v"], oracle: Oracle::Computed, ..PHI3 },
    Family {
        model_types: &["phi4_multimodal", "phi4mm"],
        defaults: sizes([3072, 8192, 32, 32], KvHeads::Fixed(8), HeadDim::Quotient, [200_064, 131_072]),
        ..PHI3
    },
    Family {
        model_types: &["phi3small"],
        oracle: Oracle::Computed,
        fused: true,
        layer_norm: true,
        qkv_bias: Bias::Always,
        output_bias: Bias::Always,
        mlp_bias: Bias::Always,
        width_key: "ff_intermediate_size",
        defaults: Defaults {
            tie_word_embeddings: true,
            ..sizes([4096, 14336, 32, 32], KvHeads::Fixed(8), HeadDim::Quotient, [100_352, 8192])
        },
        ..PLAIN
    },
    Family {
        model_types: &["phimoe"],
        layer_norm: true,
        mlp_bias: Bias::Never,
        head_bias: Bias::Key("lm_head_bias", false),
        experts: Some(Experts {
            count: ("num_local_experts", 16),
            width: ("intermediate_size", 6400),
            ..MIXTRAL_EXPERTS
        }),
        window: Window::Every(None),
        defaults: sizes([4096, 6400, 32, 32], KvHeads::Fixed(8), HeadDim::Quotient, [32064, 131_072]),
        ..LLAMA
    },
    LLAMA,
    Family {
        model_types: &["mistral"],
        window: Window::Every(Some(4096)),
        defaults: sizes([4096, 14336, 32, 32], KvHeads::Fixed(8), HeadDim::Quotient, [32000, 131_072]),
        ..PLAIN
    },
    Family {
        model_types: &["mixtral"],
        experts: Some(MIXTRAL_EXPERTS),
        spellings: &[("num_experts", "num_local_experts")],
        window: Window::Every(None),
        defaults: sizes([4096, 14336, 32, 32], KvHeads::Fixed(8), HeadDim::Quotient, [32000, 131_072]),
        ..PLAIN
    },
    Family {
        model_types: &["qwen2"],
        qkv_bias: Bias::Always,
        window: Window::Upper { window: 4096, first: 28 },
        defaults: sizes([4096, 22016, 32, 32], KvHeads::Fixed(32), HeadDim::Quotient, [151_936, 32_768]),
        ..PLAIN
    },
    QWEN3,
    QWEN3_MOE,
    QWEN3_NEXT,
    QWEN3_5,
    Family {
        model_types: &["qwen3_5"],
        nested: Some("text_config"),
        body: "model.language_model",
        unloaded: &["mtp."],
        ..QWEN3_5
    },
    QWEN3_5_MOE,
    Family {
        model_types: &["qwen3_5_moe"],
        nested: Some("text_config"),
        body: "model.language_model",
        unloaded: &["mtp."],
        ..QWEN3_5_MOE
    },
    GEMMA2,
    GEMMA3,
    Family {
        model_types: &["gemma3"],
        nested: Some("text_config"),
        body: "language_model.model",
        head: "language_model.lm_head",
        ..GEMMA3
    },
    GEMMA3N,
    Family {
        model_types: &["gemma3n"],
        nested: Some("text_config"),
        body: "model.language_model",
        ..GEMMA3N
    },
    Family {
        model_types: &["deepseek_v2"],
        latent: Some(Latent { q_rank: 1536, kv_rank: 512, nope_dim: 128, rope_dim: 64, value_dim: 128 }),
        experts: Some(DEEPSEEK_EXPERTS),
        spellings: &[("num_experts", "n_routed_experts")],
        defaults: sizes([4096, 11008, 32, 32], KvHeads::Same, HeadDim::Quotient, [102_400, 2048]),
        ..LLAMA
    },
    Family {
        model_types: &["deepseek_v3"],
        corrects_scores: true,
        mlp_bias: Bias::Never,
        latent: Some(Latent { q_rank: 1536, kv_rank: 512, nope_dim: 128, rope_dim: 64, value_dim: 128 }),
        experts: Some(Experts {
            count: ("n_routed_experts", 256),
            active: ("num_experts_per_tok", 8),
            width: ("moe_intermediate_size", 2048),
            shared: Some(SharedExperts::Count("n_shared_experts", 1)),
            dense_layers: Some(("first_k_dense_replace", 3)),
            ..DEEPSEEK_EXPERTS
        }),
        spellings: &[
            ("num_local_experts", "n_routed_experts"),
            ("num_mtp_layers", "num_nextn_predict_layers"),
        ],
        defaults: sizes([7168, 18432, 61, 128], KvHeads::Fixed(128), HeadDim::Quotient, [129_280, 4096]),
        ..LLAMA
    },
    Family {
        model_types: &["smollm3"],
        window: Window::WithoutRope,
        defaults: Defaults {
            tie_word_embeddings: true,
            ..sizes([2048, 11008, 36, 16], KvHeads::Fixed(4), HeadDim::Quotient, [128_256, 32_768])
        },
        ..LLAMA
    },
    OLMO2,
    Family {
        model_types: &["olmo3"],
        window: Window::AllButEvery { window: 4096, period: 4, key: None },
        ..OLMO2
    },
    Family {
        model_types: &["gpt_oss"],
        sinks: true,
        qkv_bias: Bias::Key("attention_bias", true),
        output_bias: Bias::Key("attention_bias", true),
        mlp_bias: Bias::Always,
        experts: Some(Experts {
            count: ("num_local_experts", 128),
            active: ("num_experts_per_tok", 4),
            width: ("intermediate_size", 2880),
            names: ExpertNames::Stacked,
            ..MIXTRAL_EXPERTS
        }),
        spellings: &[("num_experts", "num_local_experts")],
        window: Window::AllButEvery { window: 128, period: 2, key: None },
        defaults: sizes([2880, 2880, 36, 64], KvHeads::Fixed(8), HeadDim::Fixed(64), [201_088, 131_072]),
        ..LLAMA
    },
];

/// The family that this build runs.
pub(super) fn phi3() -> &'static Family {
    &FAMILIES[0]
}

impl Family {
    /// What is said of a family that no engine here computes.
    pub const NOT_RUN: &str = "is inspected and estimated here, not run: this build runs phi3 alone";

    /// The family of a `model_type`.
    #[must_use]
    pub fn of(model_type: &str) -> Option<&'static Self> {
        FAMILIES.iter().find(|family| family.model_types.contains(&model_type))
    }

    /// Its first `model_type`.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.model_types[0]
    }

    /// The spelling of a key that is read.
    #[must_use]
    pub fn spelled<'a>(&self, key: &'a str) -> &'a str {
        self.spellings.iter().find(|(other, _)| *other == key).map_or(key, |(_, read)| read)
    }

    /// Whether GGUF files of it are known here: those of families whose layers are of several kinds, or that have parts
    /// beside the language model, hold other tensors under other names.
    #[must_use]
    pub fn has_gguf(&self) -> bool {
        self.linear.is_none() && self.augmented.is_none() && self.nested.is_none()
    }

    /// Whether this build loads and runs it.
    #[must_use]
    pub fn runs(&self) -> bool {
        std::ptr::eq(self, phi3())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_model_type_is_one_family() {
        let mut names: Vec<_> = FAMILIES.iter().flat_map(|family| family.model_types).collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count);
        assert!(Family::of("phi3").is_some_and(Family::runs));
        assert!(Family::of("llama").is_some_and(|family| !family.runs()));
        assert!(Family::of("bert").is_none());
    }
}
