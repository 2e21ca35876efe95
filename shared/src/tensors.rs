//! The one list of a model's tensors: names, shapes, groups.
//!
//! The estimator sums it, loaders check files against it, engines and synthetic weights ask it for names,
//! so that they cannot disagree. No other module spells a tensor's name.

use serde::{Deserialize, Serialize};

use crate::config::ModelConfig;

/// What a tensor is to the model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Role {
    /// Token embedding `[vocab, hidden]`.
    Embedding,
    /// Fused query, key and value projection `[q + 2·kv, hidden]`: all q heads, all k heads, all v heads.
    QkvProj,
    /// Output projection of attention `[hidden, q]`.
    OProj,
    /// Fused gate and up projection `[2·intermediate, hidden]`: gate first.
    GateUpProj,
    /// Down projection `[hidden, intermediate]`.
    DownProj,
    /// RMSNorm before attention `[hidden]`.
    InputNorm,
    /// RMSNorm before the MLP `[hidden]`.
    PostAttentionNorm,
    /// RMSNorm after the last layer `[hidden]`.
    FinalNorm,
    /// Output head `[vocab, hidden]`; absent where it is tied to the embedding.
    LmHead,
}

/// How parameter counts are grouped in reports.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "the names are the field's own")]
pub enum Group {
    Embedding,
    Attention,
    Mlp,
    Router,
    Experts,
    Norm,
    LmHead,
}

impl Group {
    /// Every group, in the order of reports.
    pub const ALL: [Self; 7] =
        [Self::Embedding, Self::Attention, Self::Mlp, Self::Router, Self::Experts, Self::Norm, Self::LmHead];

    /// The name in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Embedding => "embedding",
            Self::Attention => "attention",
            Self::Mlp => "mlp",
            Self::Router => "router",
            Self::Experts => "experts",
            Self::Norm => "norm",
            Self::LmHead => "lm_head",
        }
    }
}

/// One tensor that a checkpoint of the model must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// Name in a Hugging Face checkpoint.
    pub name: String,
    /// Dimensions, row-major: `[rows, columns]` or `[width]`.
    pub shape: Vec<usize>,
    /// What it is.
    pub role: Role,
    /// Its decoder layer; `None` outside the layers.
    pub layer: Option<usize>,
}

impl TensorSpec {
    /// Number of parameters.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.shape.iter().map(|d| *d as u64).product()
    }

    /// Group in reports.
    #[must_use]
    pub fn group(&self) -> Group {
        match self.role {
            Role::Embedding => Group::Embedding,
            Role::QkvProj | Role::OProj => Group::Attention,
            Role::GateUpProj | Role::DownProj => Group::Mlp,
            Role::InputNorm | Role::PostAttentionNorm | Role::FinalNorm => Group::Norm,
            Role::LmHead => Group::LmHead,
        }
    }
}

/// Roles of one decoder layer, in the order of computation.
pub const LAYER_ROLES: [Role; 6] =
    [Role::InputNorm, Role::QkvProj, Role::OProj, Role::PostAttentionNorm, Role::GateUpProj, Role::DownProj];

/// The tensor of a role; `layer` is ignored for roles outside the layers.
#[must_use]
pub fn spec(config: &ModelConfig, role: Role, layer: usize) -> TensorSpec {
    let (hidden, vocab) = (config.hidden_size, config.vocab_size);
    let (part, shape) = match role {
        Role::Embedding => ("model.embed_tokens", vec![vocab, hidden]),
        Role::LmHead => ("lm_head", vec![vocab, hidden]),
        Role::FinalNorm => ("model.norm", vec![hidden]),
        Role::InputNorm => ("input_layernorm", vec![hidden]),
        Role::PostAttentionNorm => ("post_attention_layernorm", vec![hidden]),
        Role::QkvProj => {
            ("self_attn.qkv_proj", vec![config.query_width() + 2 * config.key_value_width(), hidden])
        }
        Role::OProj => ("self_attn.o_proj", vec![hidden, config.query_width()]),
        Role::GateUpProj => ("mlp.gate_up_proj", vec![2 * config.intermediate_size, hidden]),
        Role::DownProj => ("mlp.down_proj", vec![hidden, config.intermediate_size]),
    };
    let in_layer = LAYER_ROLES.contains(&role);
    let name =
        if in_layer { format!("model.layers.{layer}.{part}.weight") } else { format!("{part}.weight") };
    TensorSpec { name, shape, role, layer: in_layer.then_some(layer) }
}

/// Every tensor of a checkpoint, in the order of computation. A tied head has no tensor of its own.
pub fn list(config: &ModelConfig) -> impl Iterator<Item = TensorSpec> + '_ {
    let layers = (0..config.num_hidden_layers)
        .flat_map(move |layer| LAYER_ROLES.into_iter().map(move |role| spec(config, role, layer)));
    let head = (!config.tie_word_embeddings).then_some(Role::LmHead);
    std::iter::once(spec(config, Role::Embedding, 0))
        .chain(layers)
        .chain(std::iter::once(spec(config, Role::FinalNorm, 0)))
        .chain(head.map(|role| spec(config, role, 0)))
}
