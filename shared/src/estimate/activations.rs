//! What the engine holds beyond weights and KV cache. The engine allocates its workspace from [`Workspace`],
//! so that the estimate and the allocation are one number.

use serde::{Deserialize, Serialize};

use crate::decoder::{Decoder, Layer};
use crate::dtype::DType;
use crate::units::{format_bytes, format_count};

/// Rows (tokens) that go through the model at once; longer prompts are cut, so that temporaries are bounded.
pub const CHUNK: u64 = 512;

/// Rows of logits that are held at once.
pub const LOGIT_ROWS: u64 = 16;

/// Rows of attention scores that are held at once, shared out among the threads.
const SCORE_ROWS: u64 = 256;

/// Most values of a narrow weight that are widened to f32 at once, shared out among the threads.
const PANEL: u64 = 1 << 20;

/// How attention is computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Attention {
    /// The score matrix is written out; the guard rail.
    #[default]
    Eager,
    /// Scores never leave the chip.
    Fused,
}

/// Values (f32, four bytes each) of every buffer of an engine's workspace; allocated once, when a model is loaded.
///
/// Stages that never overlap share a buffer, hence the maxima.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Workspace {
    /// Rows of a chunk.
    pub rows: u64,
    /// Residual stream, `[rows, hidden]`.
    pub residual: u64,
    /// Normed rows, and what a block adds to the residual, `[rows, hidden]`.
    pub normed: u64,
    /// `qkv_proj`, then `gate_up_proj`, `[rows, max(q + 2·kv, 2·intermediate)]`.
    pub projected: u64,
    /// Mixed values, then the gated MLP, `[rows, max(q, intermediate)]`.
    pub mixed: u64,
    /// Cosines and sines, `[rows, rotary_dim]`.
    pub rotary: u64,
    /// Attention scores, `[score rows, context]`; none where they stay on the chip.
    pub scores: u64,
    /// Weights being widened; none in f32.
    pub panel: u64,
    /// Last rows of sequences, `[logit rows, hidden]`.
    pub last: u64,
    /// `[logit rows, vocab]`.
    pub logits: u64,
}

impl Workspace {
    /// Sizes for sequences of up to `context` tokens, `batch` of them at once.
    #[must_use]
    pub fn new(decoder: &Decoder, dtype: DType, attention: Attention, context: u64, batch: u64) -> Self {
        let widest_of = |width: fn(&Layer) -> usize| decoder.widest(width) as u64;
        let [hidden, vocab] = [decoder.hidden_size, decoder.vocab_size].map(|n| n as u64);
        let intermediate = widest_of(|layer| layer.mlp.active_width());
        let qkv = widest_of(|layer| layer.attention.projected_width());
        let query = widest_of(|layer| layer.attention.mixed_width());
        let logit_rows = batch.max(LOGIT_ROWS);
        let rows = context.min(CHUNK).max(logit_rows);
        let widest = hidden.max(query).max(intermediate);
        let values = |rows: u64, columns: u64| rows.saturating_mul(columns);
        Self {
            rows,
            residual: values(rows, hidden),
            normed: values(rows, hidden),
            projected: values(rows, qkv.max(2 * intermediate)),
            mixed: values(rows, query.max(intermediate)),
            rotary: values(rows, decoder.rotary_dim as u64),
            scores: if attention == Attention::Eager { values(SCORE_ROWS, context) } else { 0 },
            panel: if dtype == DType::F32 { 0 } else { PANEL.max(widest) },
            last: values(logit_rows, hidden),
            logits: values(logit_rows, vocab),
        }
    }

    /// Bytes of all buffers.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let Self { rows: _, residual, normed, projected, mixed, rotary, scores, panel, last, logits } = *self;
        [residual, normed, projected, mixed, rotary, scores, panel, last, logits]
            .iter()
            .fold(0u64, |sum, values| sum.saturating_add(*values))
            .saturating_mul(4)
    }
}

/// Bytes beyond weights and KV cache, and how they come about.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Activations {
    /// Bytes.
    pub bytes: u64,
    /// The sum, for people.
    pub formula: String,
}

/// Sizes what the engine allocates beyond weights and KV cache to prefill and decode `batch` sequences of `context` tokens.
///
/// Activations are held in f32 whatever the dtype, rounded to it where Hugging Face casts.
#[must_use]
pub fn activations(
    decoder: &Decoder,
    dtype: DType,
    attention: Attention,
    context: u64,
    batch: u64,
) -> Activations {
    let workspace = Workspace::new(decoder, dtype, attention, context, batch);
    let Workspace { rows, residual, normed, projected, mixed, rotary, scores, panel, last, logits } =
        workspace;
    let sum = |values: &[u64]| values.iter().fold(0u64, |sum, values| sum.saturating_add(*values));
    let width = |values: u64| format_count(values / rows);
    let logit_rows = batch.max(LOGIT_ROWS);
    let mut terms = vec![
        (
            format!(
                "{rows} rows × (hidden {} × 2 + projections {} + mixed {} + rotary {})",
                width(residual),
                width(projected),
                width(mixed),
                width(rotary)
            ),
            sum(&[residual, normed, projected, mixed, rotary]),
        ),
        (format!("scores {SCORE_ROWS} × context {}", format_count(context)), scores),
        (format!("widened weights {}", format_count(panel)), panel),
        (
            format!(
                "logits {logit_rows} × (hidden {} + vocab {})",
                format_count(last / logit_rows),
                format_count(logits / logit_rows)
            ),
            sum(&[last, logits]),
        ),
    ];
    terms.retain(|(_, values)| *values > 0);
    let sum: Vec<_> = terms
        .iter()
        .map(|(name, values)| format!("{name} × 4 B = {}", format_bytes(values.saturating_mul(4))))
        .collect();
    Activations { bytes: workspace.bytes(), formula: sum.join("; ") }
}

/// The bytes of [`activations`] alone, for searches.
#[must_use]
pub fn activations_bytes(
    decoder: &Decoder,
    dtype: DType,
    attention: Attention,
    context: u64,
    batch: u64,
) -> u64 {
    Workspace::new(decoder, dtype, attention, context, batch).bytes()
}

/// What [`logits of a whole sequence`](crate::engine::Diagnostics::logits) allocate on top: the residual of every
/// token and one layer's keys and values.
#[must_use]
pub fn diagnostics(decoder: &Decoder, kv_dtype: DType, tokens: u64) -> u64 {
    let key_value =
        decoder.widest(|layer| layer.attention.projected_width() - layer.attention.query_width()) / 2;
    let cache = kv_dtype.tensor_bytes(&[2, key_value, tokens as usize]);
    (4 * decoder.hidden_size as u64).saturating_mul(tokens).saturating_add(cache)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phi3_mini_by_hand() {
        let config = Decoder::parse(br#"{"model_type":"phi3"}"#).expect("class defaults");
        let rows = 512 * (2 * 3072 + 16384 + 8192 + 96);
        let head = 16 * (3072 + 32064);
        let f32 = activations(&config, DType::F32, Attention::Eager, 4096, 1);
        assert_eq!(f32.bytes, 4 * (rows + 256 * 4096 + head));
        let fused = activations(&config, DType::F32, Attention::Fused, 4096, 1);
        assert_eq!(f32.bytes - fused.bytes, 4 * 256 * 4096);
        assert_eq!(
            f32.formula,
            "512 rows × (hidden 3,072 × 2 + projections 16,384 + mixed 8,192 + rotary 96) × 4 B = 60.19 MiB; \
             scores 256 × context 4,096 × 4 B = 4.00 MiB; logits 16 × (hidden 3,072 + vocab 32,064) × 4 B = 2.14 MiB"
        );
        let bf16 = activations(&config, DType::Bf16, Attention::Eager, 4096, 1);
        assert_eq!(bf16.bytes - f32.bytes, 4 << 20);
    }

    #[test]
    fn no_size_overflows() {
        let config = Decoder::parse(br#"{"model_type":"phi3"}"#).expect("class defaults");
        assert_eq!(activations(&config, DType::F32, Attention::Eager, u64::MAX, u64::MAX).bytes, u64::MAX);
    }
}
