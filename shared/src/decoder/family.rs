//! The families of decoders as a table of differences.
//!
//! Defaults are those of each family's config class in transformers 5.23.0: published files leave keys out.

use super::Role;

/// How well the counts of a family are known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Oracle {
    /// Held against Hugging Face transformers: see `tests/goldens/families.json`.
    HuggingFace,
    /// Computed from the authors' code: transformers has no such class, or one of more parts than the language model.
    Computed,
}

/// Whether projections have a bias.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Bias {
    /// Never.
    Never,
    /// Always.
    Always,
    /// As a key says, with the value where it is absent.
    Key(&'static str, bool),
}

/// Norms on queries and keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum QkNorm {
    /// None.
    None,
    /// One weight a dimension of a head.
    Head,
    /// One weight a dimension of all heads.
    Whole,
}

/// Width of a head where `head_dim` is absent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum HeadDim {
    /// hidden / heads.
    Quotient,
    /// A number of its own.
    Fixed(usize),
}

/// Key and value heads where `num_key_value_heads` is absent; where it is null they are the query heads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KvHeads {
    /// As many as query heads.
    Same,
    /// A number of its own.
    Fixed(usize),
}

/// Which layers have the sliding window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Window {
    /// None; a `sliding_window` in the file is not read.
    None,
    /// All, where `sliding_window` is a number; with its default.
    Every(Option<usize>),
    /// All, if `use_sliding_window` is true.
    Switched(usize),
    /// Those from `max_window_layers` on, if `use_sliding_window` is true, unless `layer_types` says otherwise.
    Upper {
        /// Default of `sliding_window`.
        window: usize,
        /// Default of `max_window_layers`.
        first: usize,
    },
    /// All but every n-th, unless `layer_types` says otherwise.
    AllButEvery {
        /// Default of `sliding_window`.
        window: usize,
        /// n.
        period: usize,
        /// The key that sets n, where there is one.
        key: Option<&'static str>,
    },
    /// The layers without rotary positions, if `use_sliding_window` is true, unless `layer_types` says otherwise.
    WithoutRope,
}

/// How experts are spelled in checkpoints.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExpertNames {
    /// `block_sparse_moe.experts.N.w1`, `w3`, `w2`.
    Numbered,
    /// `mlp.experts.N.gate_proj`, `up_proj`, `down_proj`.
    Named,
    /// `mlp.experts.gate_up_proj`: one tensor for all.
    Stacked,
}

/// How a family's experts are described; keys with their defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Experts {
    /// How many are held.
    pub count: (&'static str, usize),
    /// How many a token goes through.
    pub active: (&'static str, usize),
    /// Width of one.
    pub width: (&'static str, usize),
    /// How many every token goes through.
    pub shared: Option<(&'static str, usize)>,
    /// Leading layers without experts.
    pub dense_layers: Option<(&'static str, usize)>,
    /// Whether `decoder_sparse_step` and `mlp_only_layers` take experts away from layers.
    pub sparse_step: bool,
    /// Names.
    pub names: ExpertNames,
}

/// Defaults of latent attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Latent {
    /// `q_lora_rank`.
    pub q_rank: usize,
    /// `kv_lora_rank`.
    pub kv_rank: usize,
    /// `qk_nope_head_dim`.
    pub nope_dim: usize,
    /// `qk_rope_head_dim`.
    pub rope_dim: usize,
    /// `v_head_dim`.
    pub value_dim: usize,
}

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
    /// The object that holds the language model's keys, in files of several parts.
    pub nested: Option<&'static str>,
    /// What stands before every tensor name.
    pub prefix: &'static str,
    /// Key of the MLP's width.
    pub width_key: &'static str,
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
    qkv_bias: Bias::Key("attention_bias", false),
    output_bias: Bias::Key("attention_bias", false),
    mlp_bias: Bias::Key("mlp_bias", false),
    head_bias: Bias::Never,
    latent: None,
    experts: None,
    window: Window::None,
    nested: None,
    prefix: "",
    width_key: "intermediate_size",
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
    shared: Some(("n_shared_experts", 2)),
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

const QWEN3: Family = Family {
    model_types: &["qwen3"],
    qk_norm: QkNorm::Head,
    mlp_bias: Bias::Never,
    window: Window::Upper { window: 4096, first: 28 },
    defaults: sizes([4096, 22016, 32, 32], KvHeads::Fixed(32), HeadDim::Fixed(128), [151_936, 32_768]),
    ..LLAMA
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
pub static FAMILIES: [Family; 20] = [
    PHI3,
    Family { model_types: &["phi3_v"], oracle: Oracle::Computed, ..PHI3 },
    Family {
        model_types: &["phi4_multimodal", "phi4mm"],
        oracle: Oracle::Computed,
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
    Family {
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
    },
    GEMMA2,
    GEMMA3,
    Family { model_types: &["gemma3"], nested: Some("text_config"), prefix: "language_model.", ..GEMMA3 },
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
        mlp_bias: Bias::Never,
        latent: Some(Latent { q_rank: 1536, kv_rank: 512, nope_dim: 128, rope_dim: 64, value_dim: 128 }),
        experts: Some(Experts {
            count: ("n_routed_experts", 256),
            active: ("num_experts_per_tok", 8),
            width: ("moe_intermediate_size", 2048),
            shared: Some(("n_shared_experts", 1)),
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
        oracle: Oracle::Computed,
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
