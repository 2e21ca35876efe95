//! Groups of tensors.

use serde::{Deserialize, Serialize};

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

    /// The group that a tensor's name speaks of, where no list has it; an MLP's where it speaks of none.
    #[must_use]
    pub fn named(tensor: &str) -> Self {
        Self::spoken_of(tensor).unwrap_or(Self::Mlp)
    }

    /// The group that a tensor's name speaks of, as transformers and as llama.cpp name them.
    #[must_use]
    pub fn spoken_of(tensor: &str) -> Option<Self> {
        let words = [
            ("norm", Self::Norm),
            ("embed", Self::Embedding),
            ("token_embd", Self::Embedding),
            ("lm_head", Self::LmHead),
            ("attn", Self::Attention),
            ("attention", Self::Attention),
            ("router", Self::Router),
            ("gate_inp", Self::Router),
            ("exps", Self::Experts),
            ("experts", Self::Experts),
            ("mlp", Self::Mlp),
            ("ffn", Self::Mlp),
            ("feed_forward", Self::Mlp),
        ];
        let found = words.into_iter().find(|(word, _)| tensor.contains(word));
        let head = (tensor == "output.weight").then_some(Self::LmHead);
        head.or(found.map(|(_, group)| group))
    }
}
