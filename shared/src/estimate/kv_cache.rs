//! The KV cache as data: what each layer keeps, summed under a policy.

use serde::{Deserialize, Serialize};

use crate::config::ModelConfig;
use crate::dtype::DType;

/// Tokens in a block of the paged policy; vLLM's default.
pub const PAGE_TOKENS: u64 = 16;

/// How an engine sizes its cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KvPolicy {
    /// Every layer holds the whole context, allocated up front: what our engines do.
    #[default]
    Full,
    /// A layer with a sliding window holds no more than the window.
    Window,
    /// Blocks of [`PAGE_TOKENS`] tokens.
    Paged,
}

impl KvPolicy {
    /// The name in the CLI and in JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Full => "full",
            Self::Window => "window",
            Self::Paged => "paged",
        }
    }
}

/// What one layer keeps for each token.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerKv {
    /// Key/value heads.
    pub heads: u64,
    /// Values of one key, and of one value.
    pub head_dim: u64,
    /// Tokens that a query sees, where the layer has a window.
    pub window: Option<u64>,
}

impl LayerKv {
    /// Bytes of one token's keys and values. Blocks of a quantised format do not cross heads.
    #[must_use]
    pub fn bytes_per_token(&self, dtype: DType) -> u64 {
        2 * self.heads * dtype.row_bytes(self.head_dim)
    }

    /// Tokens held under a policy for a context.
    #[must_use]
    pub fn tokens(&self, policy: KvPolicy, context: u64) -> u64 {
        match policy {
            KvPolicy::Full => context,
            KvPolicy::Window => self.window.map_or(context, |window| window.min(context)),
            KvPolicy::Paged => context.next_multiple_of(PAGE_TOKENS),
        }
    }
}

/// What each layer of a model keeps.
pub fn layers(config: &ModelConfig) -> impl Iterator<Item = LayerKv> {
    let layer = LayerKv {
        heads: config.num_key_value_heads as u64,
        head_dim: config.head_dim as u64,
        window: config.sliding_window.map(|window| window as u64),
    };
    std::iter::repeat_n(layer, config.num_hidden_layers)
}

/// Bytes that one token takes over all layers, no window counted.
#[must_use]
pub fn bytes_per_token(config: &ModelConfig, dtype: DType) -> u64 {
    layers(config).map(|layer| layer.bytes_per_token(dtype)).sum()
}

/// Bytes of the cache for `batch` sequences of `context` tokens; saturates far above any memory.
#[must_use]
pub fn cache_bytes(config: &ModelConfig, dtype: DType, policy: KvPolicy, context: u64, batch: u64) -> u64 {
    layers(config).fold(0u64, |sum, layer| {
        let tokens = layer.tokens(policy, context).saturating_mul(batch);
        sum.saturating_add(layer.bytes_per_token(dtype).saturating_mul(tokens))
    })
}
