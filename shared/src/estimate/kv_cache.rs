//! The KV cache as data: what each layer keeps, summed under a policy.

use serde::{Deserialize, Serialize};

use super::KvPolicy;
use crate::decoder::{Attention, Decoder, Layer};
use crate::dtype::DType;
use crate::units::{format_count, format_counted};

/// What one layer keeps: for each token `rows` rows of `width` values, and one of `extra`; for a whole sequence a state.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LayerKv {
    /// What it is.
    pub kind: KvKind,
    /// Keys and values of each head, or the one latent; 0 where neither is kept.
    pub rows: u64,
    /// Values of one row.
    pub width: u64,
    /// Values beside: the rotated part of a latent layer; 0 for none.
    pub extra: u64,
    /// Tokens that a query sees, where the layer has a window.
    pub window: Option<u64>,
    /// Values of a state in f32, whatever the cache's format: each token adds to what all before left.
    pub recurrent: u64,
    /// Values that a convolution reads again, in the format of activations.
    pub convolved: u64,
}

impl LayerKv {
    /// What a layer keeps. Of a convolution over n tokens the last n are kept, as Hugging Face does.
    #[must_use]
    pub fn new(layer: &Layer) -> Self {
        let window = layer.window.map(|window| window as u64);
        let nothing =
            Self { kind: KvKind::Shared, rows: 0, width: 0, extra: 0, window, recurrent: 0, convolved: 0 };
        if layer.cache_of.is_some() {
            return nothing;
        }
        match layer.attention {
            Attention::Heads { kv_heads, head_dim, .. } => Self {
                kind: if window.is_some() { KvKind::Window } else { KvKind::Full },
                rows: 2 * kv_heads as u64,
                width: head_dim as u64,
                ..nothing
            },
            Attention::Latent { kv_rank, rope_dim, .. } => Self {
                kind: KvKind::Latent,
                rows: 1,
                width: kv_rank as u64,
                extra: rope_dim as u64,
                ..nothing
            },
            Attention::Linear { key_heads, value_heads, key_dim, value_dim, kernel } => {
                let [key_heads, value_heads, key_dim, value_dim, kernel] =
                    [key_heads, value_heads, key_dim, value_dim, kernel].map(|n| n as u64);
                Self {
                    kind: KvKind::Linear,
                    recurrent: value_heads * key_dim * value_dim,
                    convolved: (2 * key_heads * key_dim + value_heads * value_dim) * kernel,
                    ..nothing
                }
            }
        }
    }

    /// Bytes of one token. Blocks of a quantised format do not cross rows.
    #[must_use]
    pub fn bytes_per_token(&self, dtype: DType) -> u64 {
        self.rows * dtype.row_bytes(self.width) + dtype.row_bytes(self.extra)
    }

    /// Bytes of one sequence's state, however many tokens it has.
    #[must_use]
    pub fn state_bytes(&self, dtype: DType) -> u64 {
        4 * self.recurrent + state_dtype(dtype).row_bytes(self.convolved)
    }

    /// Tokens held under a policy for a context.
    #[must_use]
    pub fn tokens(&self, policy: KvPolicy, context: u64) -> u64 {
        if self.rows == 0 {
            return 0;
        }
        match policy {
            KvPolicy::Full => context,
            KvPolicy::Window => self.window.map_or(context, |window| window.min(context)),
            KvPolicy::Paged(block) => context.next_multiple_of(u64::from(block).max(1)),
        }
    }

    /// Bytes for `batch` sequences of `context` tokens; saturates far above any memory.
    #[must_use]
    pub fn bytes(&self, dtype: DType, policy: KvPolicy, context: u64, batch: u64) -> u64 {
        let tokens = self.tokens(policy, context).saturating_mul(batch);
        let state = self.state_bytes(dtype).saturating_mul(batch);
        self.bytes_per_token(dtype).saturating_mul(tokens).saturating_add(state)
    }
}

/// The format of what a convolution reads again, beside a cache in `dtype`: that of activations, never a narrower one.
pub(super) fn state_dtype(dtype: DType) -> DType {
    if dtype.is_float() { dtype } else { DType::Bf16 }
}

/// What each layer of a model keeps, the first layer first.
pub fn layers(decoder: &Decoder) -> impl Iterator<Item = LayerKv> + '_ {
    decoder.layers.iter().map(LayerKv::new)
}

/// Bytes that one token takes over all layers, no window counted.
#[must_use]
pub fn bytes_per_token(decoder: &Decoder, dtype: DType) -> u64 {
    decoder.layers.sum(|layer| LayerKv::new(layer).bytes_per_token(dtype))
}

/// Bytes of one sequence's states over all layers, however many tokens it has.
#[must_use]
pub fn state_bytes(decoder: &Decoder, dtype: DType) -> u64 {
    decoder.layers.sum(|layer| LayerKv::new(layer).state_bytes(dtype))
}

/// Bytes of the cache for `batch` sequences of `context` tokens; saturates far above any memory.
#[must_use]
pub fn cache_bytes(decoder: &Decoder, dtype: DType, policy: KvPolicy, context: u64, batch: u64) -> u64 {
    decoder.layers.sum(|layer| LayerKv::new(layer).bytes(dtype, policy, context, batch))
}

/// The width of a row that is no whole number of a format's blocks, where a layer has one: sized as if it were padded,
/// which no tool does.
#[must_use]
pub fn broken_row(decoder: &Decoder, dtype: DType) -> Option<u64> {
    let widths = layers(decoder).flat_map(|layer| [layer.width, layer.extra]);
    widths.into_iter().find(|width| !width.is_multiple_of(dtype.block_len()))
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
    /// Bytes of the state that one of them keeps of one sequence, whatever the context.
    #[serde(default)]
    pub state_bytes: u64,
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
    /// A state of one size, which each token changes, instead of keys and values.
    Linear,
    /// Nothing of its own: the layer reads an earlier one's.
    Shared,
}

/// The cache layer by layer, layers that are alike together, in the order of their first.
#[must_use]
pub fn kinds(decoder: &Decoder, dtype: DType, policy: KvPolicy, context: u64, batch: u64) -> Vec<KvLayers> {
    let mut kinds: Vec<(LayerKv, u64)> = Vec::new();
    for (layer, alike) in decoder.layers.kinds() {
        let layer = LayerKv::new(layer);
        match kinds.iter_mut().find(|(kind, _)| *kind == layer) {
            Some((_, count)) => *count += alike,
            None => kinds.push((layer, *alike)),
        }
    }
    let kept = |(layer, count): (LayerKv, u64)| KvLayers {
        kind: layer.kind,
        layers: count,
        window: layer.window,
        rows: layer.rows,
        width: layer.width,
        extra: layer.extra,
        tokens: layer.tokens(policy, context),
        state_bytes: layer.state_bytes(dtype),
        bytes: layer.bytes(dtype, policy, context, batch).saturating_mul(count),
    };
    kinds.into_iter().map(kept).collect()
}

/// The sum in words. Where no window is honoured, layers with and without one are the same.
pub(super) fn formula(kinds: &[KvLayers], dtype: DType, policy: KvPolicy, batch: u64) -> String {
    let mut terms: Vec<(String, u64)> = Vec::new();
    for KvLayers { kind, layers, window, rows, width, extra, tokens, state_bytes, .. } in kinds {
        let kept = match kind {
            KvKind::Linear => {
                let convolved = state_dtype(dtype);
                let state =
                    format!("layers × state of {state_bytes} B (recurrent f32, convolution {convolved})");
                terms.push((state, *layers));
                continue;
            }
            KvKind::Shared => continue,
            KvKind::Full | KvKind::Window => format!("{} heads × {width} × 2", rows / 2),
            KvKind::Latent => format!("(latent {width} + rotated {extra})"),
        };
        let tokens = format_counted(*tokens, "token");
        let tokens = match (policy, window) {
            (KvPolicy::Full, _) => tokens,
            (KvPolicy::Window, Some(window)) => format!("{tokens} (window {})", format_count(*window)),
            (KvPolicy::Window, None) => format!("{tokens} (no window)"),
            (KvPolicy::Paged(block), _) => format!("{tokens} in blocks of {block}"),
        };
        let term = format!("layers × {kept} × {dtype} × {tokens}");
        match terms.iter_mut().find(|(known, _)| *known == term) {
            Some((_, count)) => *count += layers,
            None => terms.push((term, *layers)),
        }
    }
    let terms: Vec<String> = terms.into_iter().map(|(term, count)| format!("{count} {term}")).collect();
    let sharing: u64 = kinds.iter().filter(|kind| kind.kind == KvKind::Shared).map(|kind| kind.layers).sum();
    let sharing = match sharing {
        0 => String::new(),
        count => format!("; {count} layers read the cache of earlier ones"),
    };
    match terms.as_slice() {
        [one] => format!("{one} × batch {batch}{sharing}"),
        many => format!("({}) × batch {batch}{sharing}", many.join(" + ")),
    }
}
