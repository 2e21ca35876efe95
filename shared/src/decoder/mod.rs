//! What a decoder-only language model is, as far as its parameters and its memory go: `config.json` of any known
//! family in, a validated [`Decoder`] out. [`crate::config::ModelConfig`] says the rest for the family that runs here.
//!
//! Families differ by a row of [`FAMILIES`], not by a module each.

mod apart;
mod differences;
mod family;
mod layers;
mod parse;
mod pattern;
mod quantization;
mod role;
mod stack;

pub use apart::Apart;
pub use differences::{
    Augmented, Bias, ExpertNames, Experts, HeadDim, KvHeads, Latent, Linear, Oracle, QkNorm, SharedExperts,
    Window,
};
pub use family::{FAMILIES, Family};
pub use pattern::Pattern;
pub use quantization::{Exempt, Quantization, SCALE_BLOCK, Scales, WHOLE_ROW};
pub use role::Role;
pub use stack::Layers;

use crate::config::{Defaulted, ModelConfig};
use crate::dtype::DType;

/// A decoder-only model: sizes, and what each of its layers is made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Decoder {
    /// How its family names and arranges tensors.
    pub family: &'static Family,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Rows of the embedding, padding included.
    pub vocab_size: usize,
    /// Longest sequence the model is meant for.
    pub max_position_embeddings: usize,
    /// Whether the head reuses the embedding.
    pub tie_word_embeddings: bool,
    /// Which projections have a bias.
    pub biases: Biases,
    /// Every decoder layer, the first one first.
    pub layers: Layers,
    /// What Gemma 3n has beside its layers.
    pub augmented: Option<Augmented>,
    /// Layers that only predict tokens further ahead (MTP); not loaded for generation, counted apart.
    pub predictors: Vec<Layer>,
    /// Dimensions of a head that are rotated.
    pub rotary_dim: usize,
    /// Format the authors stored the weights in.
    pub dtype: Option<DType>,
    /// How they quantised them.
    pub quantization: Option<Quantization>,
    /// The method where its layout is not known here.
    pub unknown_quantization: Option<String>,
    /// What that quantisation leaves as it was.
    pub exempt: Exempt,
    /// Parts of the model beside the language model: named, not counted.
    pub apart: Vec<Apart>,
    /// Keys that the file left out.
    pub defaulted: Vec<Defaulted>,
}

/// Which projections have a bias.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Biases {
    /// Query, key and value projections.
    pub qkv: bool,
    /// Output projection of attention.
    pub output: bool,
    /// MLP, or experts and router.
    pub mlp: bool,
    /// Output head.
    pub head: bool,
}

/// One decoder layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Layer {
    /// How it attends.
    pub attention: Attention,
    /// Visible keys of a query, itself included; `None` sees all.
    pub window: Option<usize>,
    /// What follows attention.
    pub mlp: Mlp,
    /// The earlier layer whose keys and values it reads instead of projecting and keeping its own.
    pub cache_of: Option<usize>,
}

/// Sizes of a layer's attention.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Attention {
    /// Keys and values of some heads are projected and kept: MHA, GQA, MQA.
    Heads {
        /// Query heads.
        heads: usize,
        /// Key and value heads; divides `heads`.
        kv_heads: usize,
        /// Width of one head.
        head_dim: usize,
        /// Whether the queries' projection gives a gate of their width too.
        gated: bool,
    },
    /// Keys and values are projected from a narrow latent, which alone is kept: multi-head latent attention.
    Latent {
        /// Heads.
        heads: usize,
        /// Width of the queries' latent; `None` projects queries directly.
        q_rank: Option<usize>,
        /// Width of the latent that is kept.
        kv_rank: usize,
        /// Width of a head's part without rotary positions.
        nope_dim: usize,
        /// Width of the rotated part, one for all heads; kept beside the latent.
        rope_dim: usize,
        /// Width of a head's values.
        value_dim: usize,
    },
    /// No keys and values are kept, but a state that each token changes (gated DeltaNet): of every value head a matrix
    /// `[key_dim, value_dim]`, and the last columns that a convolution reads.
    Linear {
        /// Heads of queries and keys; divides `value_heads`.
        key_heads: usize,
        /// Heads of values.
        value_heads: usize,
        /// Width of a key head.
        key_dim: usize,
        /// Width of a value head.
        value_dim: usize,
        /// Tokens that the convolution reads.
        kernel: usize,
    },
}

impl Attention {
    /// Heads that scores are computed for; 0 where there are no scores.
    #[must_use]
    pub fn heads(self) -> usize {
        match self {
            Self::Heads { heads, .. } | Self::Latent { heads, .. } => heads,
            Self::Linear { .. } => 0,
        }
    }

    /// Whether a state is kept instead of keys and values.
    #[must_use]
    pub fn is_linear(self) -> bool {
        matches!(self, Self::Linear { .. })
    }

    /// Width of all queries together.
    #[must_use]
    pub fn query_width(self) -> usize {
        match self {
            Self::Heads { heads, head_dim, .. } => heads * head_dim,
            Self::Latent { heads, nope_dim, rope_dim, .. } => heads * (nope_dim + rope_dim),
            Self::Linear { key_heads, key_dim, .. } => key_heads * key_dim,
        }
    }

    /// Width of what one token's projections give: queries, keys and values, and what goes with them.
    #[must_use]
    pub fn projected_width(self) -> usize {
        match self {
            Self::Heads { kv_heads, head_dim, gated, .. } => {
                self.query_width() * if gated { 2 } else { 1 } + 2 * kv_heads * head_dim
            }
            Self::Latent { heads, nope_dim, value_dim, .. } => {
                self.query_width() + heads * (nope_dim + value_dim)
            }
            // Queries, keys, values, their gate, and two numbers for each value head.
            Self::Linear { value_heads, .. } => {
                2 * self.query_width() + 2 * self.mixed_width() + 2 * value_heads
            }
        }
    }

    /// Width of what the output projection reads.
    #[must_use]
    pub fn mixed_width(self) -> usize {
        match self {
            Self::Heads { .. } => self.query_width(),
            Self::Latent { heads, value_dim, .. } => heads * value_dim,
            Self::Linear { value_heads, value_dim, .. } => value_heads * value_dim,
        }
    }
}

/// Sizes of a layer's gated MLP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mlp {
    /// One for all tokens.
    Dense {
        /// Width.
        width: usize,
    },
    /// A router sends each token to some of many.
    Experts {
        /// Experts held.
        count: usize,
        /// Experts that a token goes through.
        active: usize,
        /// Width of one.
        width: usize,
        /// Width of the experts that every token goes through, all together; 0 for none.
        shared_width: usize,
        /// Whether a gate weighs what those give.
        gated: bool,
    },
}

impl Mlp {
    /// Width that one token's computation has: that of its experts together.
    #[must_use]
    pub fn active_width(self) -> usize {
        match self {
            Self::Dense { width } => width,
            Self::Experts { active, width, shared_width, .. } => {
                active.saturating_mul(width).saturating_add(shared_width)
            }
        }
    }
}

impl Decoder {
    /// The largest of a width over all layers.
    #[must_use]
    pub fn widest(&self, width: impl Fn(&Layer) -> usize) -> usize {
        self.layers.kinds().iter().map(|(layer, _)| width(layer)).max().unwrap_or(0)
    }

    /// The window of the layers that have one, where it can hide a key from a sequence of `tokens`.
    #[must_use]
    pub fn effective_window(&self, tokens: u64) -> Option<usize> {
        self.layers.iter().filter_map(|layer| layer.window).find(|window| (*window as u64) < tokens)
    }

    /// Whether somebody packed the weights, in a layout that is known or not: the numbers in a checkpoint's tensors are no
    /// parameters then.
    #[must_use]
    pub fn is_packed(&self) -> bool {
        self.quantization.is_some() || self.unknown_quantization.is_some()
    }

    /// The same with nothing packed.
    #[must_use]
    pub fn unpacked(self) -> Self {
        Self { quantization: None, unknown_quantization: None, exempt: Exempt::default(), ..self }
    }

    /// Whether this build loads and runs such a model: its engines read plain weights of one family.
    #[must_use]
    pub fn runs(&self) -> bool {
        self.family.runs() && !self.is_packed()
    }

    /// Width of the residual stream, all of its copies together.
    #[must_use]
    pub fn stream_width(&self) -> usize {
        self.hidden_size * self.augmented.map_or(1, |augmented| augmented.streams)
    }

    /// The first layer that has keys and values, which stands for all of those where they are alike; the first of all
    /// where none has.
    #[must_use]
    pub fn first_attending(&self) -> Layer {
        let attending = self.layers.iter().find(|layer| !layer.attention.is_linear());
        attending.copied().unwrap_or_else(|| self.first())
    }

    /// The first layer, which stands for all where they are alike.
    #[must_use]
    pub fn first(&self) -> Layer {
        // Every constructor makes at least one.
        self.layers[0]
    }
}

impl ModelConfig {
    /// This model as far as its parameters and its memory go.
    #[must_use]
    pub fn decoder(&self) -> Decoder {
        let attention = Attention::Heads {
            heads: self.num_attention_heads,
            kv_heads: self.num_key_value_heads,
            head_dim: self.head_dim,
            gated: false,
        };
        let layer = Layer {
            attention,
            window: self.sliding_window,
            mlp: Mlp::Dense { width: self.intermediate_size },
            cache_of: None,
        };
        Decoder {
            family: family::phi3(),
            hidden_size: self.hidden_size,
            vocab_size: self.vocab_size,
            max_position_embeddings: self.max_position_embeddings,
            tie_word_embeddings: self.tie_word_embeddings,
            biases: Biases::default(),
            layers: vec![layer; self.num_hidden_layers].into(),
            augmented: None,
            predictors: Vec::new(),
            rotary_dim: self.rotary_dim(),
            dtype: self.dtype,
            quantization: None,
            unknown_quantization: None,
            exempt: Exempt::default(),
            apart: Vec::new(),
            defaulted: self.defaulted.clone(),
        }
    }
}

impl From<&ModelConfig> for Decoder {
    fn from(config: &ModelConfig) -> Self {
        config.decoder()
    }
}
