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

/// The sum in words: layers that are alike once.
#[must_use]
pub(super) fn formula(decoder: &Decoder, dtype: DType, policy: KvPolicy, context: u64, batch: u64) -> String {
    let mut kinds: Vec<(LayerKv, usize)> = Vec::new();
    for mut layer in layers(decoder) {
        // Where no window is honoured, layers with and without one cost the same.
        layer.window = layer.window.filter(|_| policy == KvPolicy::Window);
        match kinds.iter_mut().find(|(kind, _)| *kind == layer) {
            Some((_, count)) => *count += 1,
            None => kinds.push((layer, 1)),
        }
    }
    let terms: Vec<String> = kinds
        .into_iter()
        .map(|(layer, count)| {
            let LayerKv { rows, width, extra, window } = layer;
            let kept = match extra {
                0 => format!("2 × {count} layers × {} heads × {width}", rows / 2),
                _ => format!("{count} layers × (latent {width} + rotated {extra})"),
            };
            let tokens = match (policy, window) {
                (KvPolicy::Full, _) => format!("{context} tokens"),
                (KvPolicy::Window, Some(window)) => format!("min({context}, window {window}) tokens"),
                (KvPolicy::Window, None) => format!("{context} tokens (no window)"),
                (KvPolicy::Paged, _) => format!("{context} tokens in blocks of {PAGE_TOKENS}"),
            };
            format!("{kept} × {dtype} × {tokens}")
        })
        .collect();
    match terms.as_slice() {
        [one] => format!("{one} × batch {batch}"),
        many => format!("({}) × batch {batch}", many.join(" + ")),
    }
}
