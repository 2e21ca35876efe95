//! In what families of decoders may differ: the vocabulary of the table.

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
    /// What every token goes through beside them.
    pub shared: Option<SharedExperts>,
    /// Leading layers without experts.
    pub dense_layers: Option<(&'static str, usize)>,
    /// Whether `decoder_sparse_step` and `mlp_only_layers` take experts away from layers.
    pub sparse_step: bool,
    /// Names.
    pub names: ExpertNames,
}

/// What every token goes through beside the experts that it is sent to; keys with their defaults.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SharedExperts {
    /// So many experts, as wide as the others.
    Count(&'static str, usize),
    /// One of a width of its own, weighed by a gate of its own.
    Gated(&'static str, usize),
}

/// Defaults of layers that keep a state instead of keys and values (gated DeltaNet).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Linear {
    /// `linear_num_key_heads`.
    pub key_heads: usize,
    /// `linear_num_value_heads`.
    pub value_heads: usize,
    /// `linear_key_head_dim`.
    pub key_dim: usize,
    /// `linear_value_head_dim`.
    pub value_dim: usize,
    /// `linear_conv_kernel_dim`.
    pub kernel: usize,
    /// Whether gate and rates are projected each by a tensor of its own.
    pub split: bool,
    /// `full_attention_interval`: every so many layers one attends, unless `layer_types` says otherwise.
    pub interval: usize,
}

/// Defaults of what Gemma 3n has beside a decoder: several residual streams (AltUp), a narrow path beside each attention
/// (LAuReL), and an embedding of its own for every layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Augmented {
    /// `altup_num_inputs`: residual streams.
    pub streams: usize,
    /// `laurel_rank`.
    pub rank: usize,
    /// `vocab_size_per_layer_input`: rows of the layers' embeddings.
    pub rows: usize,
    /// `hidden_size_per_layer_input`: width of one layer's embedding.
    pub width: usize,
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
