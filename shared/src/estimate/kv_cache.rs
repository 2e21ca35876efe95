//! The KV cache as data: what each layer keeps, summed under a policy.

use serde::{Deserialize, Serialize};

use crate::decoder::{Attention, Decoder, Layer};
use crate::dtype::DType;

/// Tokens in a block of the paged policy; vLLM's default.
pub const PAGE_TOKENS: u64 = 16;

/// How an engine sizes its cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KvPolicy {
    /// Every layer holds the whole context, allocated up front: what our engines do for one stream.
    #[default]
    Full,
    /// A layer with a sliding window holds no more than the window.
    Window,
    /// Blocks of [`PAGE_TOKENS`] tokens: what the CUDA engine does for several streams.
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

/// What one layer keeps for each token: `rows` rows of `width` values, and one of `extra`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerKv {
    /// Keys and values of each head, or the one latent.
    pub rows: u64,
    /// Values of one row.
    pub width: u64,
    /// Values beside: the rotated part of a latent layer; 0 for none.
    pub extra: u64,
    /// Tokens that a query sees, where the layer has a window.
    pub window: Option<u64>,
}

impl LayerKv {
    /// What a layer keeps.
    #[must_use]
    pub fn new(layer: &Layer) -> Self {
        let [rows, width, extra] = match layer.attention {
            Attention::Heads { kv_heads, head_dim, .. } => [2 * kv_heads, head_dim, 0],
            Attention::Latent { kv_rank, rope_dim, .. } => [1, kv_rank, rope_dim],
        }
        .map(|n| n as u64);
        Self { rows, width, extra, window: layer.window.map(|window| window as u64) }
    }

    /// Bytes of one token. Blocks of a quantised format do not cross rows.
    #[must_use]
    pub fn bytes_per_token(&self, dtype: DType) -> u64 {
        self.rows * dtype.row_bytes(self.width) + dtype.row_bytes(self.extra)
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

    /// Bytes for `batch` sequences of `context` tokens; saturates far above any memory.
    #[must_use]
    pub fn bytes(&self, dtype: DType, policy: KvPolicy, context: u64, batch: u64) -> u64 {
        let tokens = self.tokens(policy, context).saturating_mul(batch);
        self.bytes_per_token(dtype).saturating_mul(tokens)
    }
}

/// What each layer of a model keeps, the first layer first.
pub fn layers(decoder: &Decoder) -> impl Iterator<Item = LayerKv> + '_ {
    decoder.layers.iter().map(LayerKv::new)
}

/// Bytes that one token takes over all layers, no window counted.
#[must_use]
pub fn bytes_per_token(decoder: &Decoder, dtype: DType) -> u64 {
    layers(decoder).fold(0u64, |sum, layer| sum.saturating_add(layer.bytes_per_token(dtype)))
}

/// Bytes of the cache for `batch` sequences of `context` tokens; saturates far above any memory.
#[must_use]
pub fn cache_bytes(decoder: &Decoder, dtype: DType, policy: KvPolicy, context: u64, batch: u64) -> u64 {
    layers(decoder).fold(0u64, |sum, layer| sum.saturating_add(layer.bytes(dtype, policy, context, batch)))
}

/// What layers that are alike keep.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KvLayers {
    /// What is kept.
    pub kind: KvKind,
    /// How many layers keep it.
    pub layers: u64,
    /// Tokens that a query sees, where they have a window.
    pub window: Option<u64>,
    /// Rows of a token: the keys and values of each head, or one latent.
    pub rows: u64,
    /// Values of a row.
    pub width: u64,
    /// Values beside: the rotated part of a latent.
    pub extra: u64,
    /// Tokens that each layer holds under the policy.
    pub tokens: u64,
    /// Bytes of all of them, for the whole batch.
    pub bytes: u64,
}

/// What a layer's cache holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KvKind {
    /// Keys and values of every token.
    Full,
    /// Keys and values of which only a window is seen.
    Window,
    /// A latent that keys and values are made of (MLA).
    Latent,
}

/// The cache layer by layer, layers that are alike together, in the order of their first.
#[must_use]
pub fn kinds(decoder: &Decoder, dtype: DType, policy: KvPolicy, context: u64, batch: u64) -> Vec<KvLayers> {
    let mut kinds: Vec<(LayerKv, u64)> = Vec::new();
    for layer in layers(decoder) {
        match kinds.iter_mut().find(|(kind, _)| *kind == layer) {
            Some((_, count)) => *count += 1,
            None => kinds.push((layer, 1)),
        }
    }
    let kept = |(layer, count): (LayerKv, u64)| KvLayers {
        kind: match (layer.extra, layer.window) {
            (0, None) => KvKind::Full,
            (0, Some(_)) => KvKind::Window,
            _ => KvKind::Latent,
        },
        layers: count,
        window: layer.window,
        rows: layer.rows,
        width: layer.width,
        extra: layer.extra,
        tokens: layer.tokens(policy, context),
        bytes: layer.bytes(dtype, policy, context, batch).saturating_mul(count),
    };
    kinds.into_iter().map(kept).collect()
}

/// The sum in words. Where no window is honoured, layers with and without one are the same.
pub(super) fn formula(kinds: &[KvLayers], dtype: DType, policy: KvPolicy, batch: u64) -> String {
    let mut terms: Vec<(String, u64)> = Vec::new();
    for KvLayers { layers, window, rows, width, extra, tokens, .. } in kinds {
        let kept = match extra {
            0 => format!("{} heads × {width} × 2", rows / 2),
            _ => format!("(latent {width} + rotated {extra})"),
        };
        let tokens = match (policy, window) {
            (KvPolicy::Full, _) => format!("{tokens} tokens"),
            (KvPolicy::Window, Some(window)) => format!("{tokens} tokens (window {window})"),
            (KvPolicy::Window, None) => format!("{tokens} tokens (no window)"),
            (KvPolicy::Paged, _) => format!("{tokens} tokens in blocks of {PAGE_TOKENS}"),
        };
        let term = format!("layers × {kept} × {dtype} × {tokens}");
        match terms.iter_mut().find(|(known, _)| *known == term) {
            Some((_, count)) => *count += layers,
            None => terms.push((term, *layers)),
        }
    }
    let terms: Vec<String> = terms.into_iter().map(|(term, count)| format!("{count} {term}")).collect();
    match terms.as_slice() {
        [one] => format!("{one} × batch {batch}"),
        many => format!("({}) × batch {batch}", many.join(" + ")),
    }
}
