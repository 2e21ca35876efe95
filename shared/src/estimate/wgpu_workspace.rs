//! What the WGSL engine holds beyond weights and KV cache. It makes its buffers in these sizes.

use super::activations::{Attention, LOGIT_ROWS, product, sum};
use crate::decoder::{Decoder, Layer};
use crate::units::format_count;

/// Rows (tokens) that go through the model at once.
const CHUNK: u64 = 512;

/// Numbers of a weight that are on the host at once while it is loaded.
pub const LOAD_VALUES: u64 = 4 << 20;

/// Rows of scores, of one head each, that are held at once.
const SCORE_ROWS: u64 = 256;

/// Rows are padded with zeros to whole blocks.
pub const BLOCK: u64 = 32;

/// Most parts that the keys of one row are split into.
pub const MAX_SPLITS: u64 = 32;

/// Words of a block of int8 activations.
const Q8_WORDS: u64 = 12;

/// A cache has room for a multiple of so many tokens: both of its halves begin where bindings may.
pub const CACHE_STEP: u64 = 64;

/// Bytes of a buffer that is asked for with so many: bindings are read in words of sixteen.
#[must_use]
pub fn buffer_bytes(bytes: u64) -> u64 {
    bytes.max(16).checked_next_multiple_of(16).unwrap_or(u64::MAX)
}

/// Bytes of every buffer of the WGSL engine's workspace; made once, when a model is loaded. Activations are f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct WgpuWorkspace {
    /// Rows of a chunk.
    pub rows: u64,
    /// Rows of logits held at once.
    pub logit_rows: u64,
    /// Rows whose scores are written out at once; 0 where none are.
    pub score_rows: u64,
    /// Ids of the rows.
    pub ids: u64,
    /// `[rows, hidden]`, all copies of it.
    pub residual: u64,
    /// As wide.
    pub normed: u64,
    /// Normed rows, or rows of mixed values, as int8 blocks.
    pub quantized: u64,
    /// Rows of the gated MLP as int8 blocks.
    pub gated_q8: u64,
    /// `[rows, q + 2·kv]`.
    pub qkv: u64,
    /// Rotated queries, `[rows, heads, head_dim]`.
    pub query: u64,
    /// Mixed values `[rows, q]`, then the gated MLP `[rows, intermediate]`.
    pub mixed: u64,
    /// `[rows, cosines | sines]`.
    pub rotary: u64,
    /// What the parts of split attention leave, `[heads, MAX_SPLITS, head_dim + 4]`.
    pub parts: u64,
    /// `[score rows, heads, context]`; 0 where scores stay on the chip.
    pub scores: u64,
    /// `[logit rows, vocab]`.
    pub logits: u64,
}

impl WgpuWorkspace {
    /// Sizes for sequences of up to `context` tokens, `batch` of them at once.
    #[must_use]
    pub fn new(decoder: &Decoder, attention: Attention, context: u64, batch: u64) -> Self {
        let widest_of = |width: fn(&Layer) -> usize| decoder.widest(width) as u64;
        let padded = |width: u64| width.next_multiple_of(BLOCK);
        let [hidden, stream] = [decoder.hidden_size, decoder.stream_width()].map(|n| padded(n as u64));
        let intermediate = padded(widest_of(|layer| layer.mlp.active_width()));
        let qkv = padded(widest_of(|layer| layer.attention.projected_width()));
        let query = padded(widest_of(|layer| layer.attention.mixed_width()));
        let heads = widest_of(|layer| layer.attention.heads());
        // Vectors of four.
        let head_dim = widest_of(|layer| match layer.attention.heads() {
            0 => 0,
            heads => layer.attention.query_width() / heads,
        });
        let head_dim = head_dim.next_multiple_of(4);
        let logit_rows = batch.max(LOGIT_ROWS);
        let rows = context.min(CHUNK).max(logit_rows);
        let score_rows = match attention {
            Attention::Eager => (SCORE_ROWS / heads.max(1)).clamp(1, rows),
            Attention::Fused => 0,
        };
        let floats = |factors: &[u64]| buffer_bytes(product(factors).saturating_mul(4));
        Self {
            rows,
            logit_rows,
            score_rows,
            ids: floats(&[rows]),
            residual: floats(&[rows, stream]),
            normed: floats(&[rows, stream]),
            quantized: floats(&[rows, hidden.max(query) / BLOCK, Q8_WORDS]),
            gated_q8: floats(&[rows, intermediate / BLOCK, Q8_WORDS]),
            qkv: floats(&[rows, qkv]),
            query: floats(&[rows, heads, head_dim]),
            mixed: floats(&[rows, query.max(intermediate)]),
            rotary: floats(&[rows, decoder.rotary_dim as u64]),
            parts: floats(&[heads, MAX_SPLITS, head_dim + 4]),
            scores: if score_rows > 0 { floats(&[score_rows, heads, context]) } else { 0 },
            logits: floats(&[logit_rows, decoder.vocab_size as u64]),
        }
    }

    /// Bytes of the buffers of each [`Stage`](super::activations::Stage), in their order.
    #[must_use]
    pub fn by_stage(&self) -> [u64; 4] {
        let Self { ids, residual, normed, quantized, gated_q8, qkv, query, mixed, .. } = *self;
        let Self { rotary, parts, scores, logits, .. } = *self;
        let layers = sum(&[normed, quantized, gated_q8, qkv, query, mixed, rotary, parts, scores]);
        [sum(&[ids, residual]), layers, 0, logits]
    }

    /// Bytes of all buffers.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        sum(&self.by_stage())
    }

    /// The sum in words, part by part with its bytes.
    pub(super) fn parts(&self) -> Vec<(String, u64)> {
        let Self {
            rows, score_rows, logit_rows, ids, residual, normed, quantized, gated_q8, qkv, query, ..
        } = *self;
        let Self { mixed, rotary, parts, scores, logits, .. } = *self;
        let width = |bytes: u64| format_count(bytes / rows / 4);
        vec![
            (
                format!(
                    "{rows} rows × (hidden {} × 2 + qkv {} + queries {} + mixed {} + rotary {} + id 1) × 4 B",
                    width(residual),
                    width(qkv),
                    width(query),
                    width(mixed),
                    width(rotary)
                ),
                sum(&[ids, residual, normed, qkv, query, mixed, rotary]),
            ),
            (format!("scores, {score_rows} rows at once"), scores),
            (format!("keys of one row in {MAX_SPLITS} parts"), parts),
            (format!("{rows} rows as int8 blocks"), sum(&[quantized, gated_q8])),
            (format!("logits {logit_rows} × vocab {} × 4 B", format_count(logits / logit_rows / 4)), logits),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phi3_mini_by_hand() {
        let decoder = Decoder::parse(br#"{"model_type":"phi3"}"#).expect("class defaults");
        let fused = WgpuWorkspace::new(&decoder, Attention::Fused, 4096, 1);
        let rows = 512 * (2 * 3072 + 3 * 3072 + 3072 + 8192 + 96 + 1) * 4;
        let blocks = 512 * (3072 / 32 + 8192 / 32) * 12 * 4;
        assert_eq!(fused.bytes(), rows + blocks + 32 * 32 * 100 * 4 + 16 * 32064 * 4);
        let eager = WgpuWorkspace::new(&decoder, Attention::Eager, 4096, 1);
        // 256 rows of one head each are 8 of all 32.
        assert_eq!((eager.score_rows, eager.bytes() - fused.bytes()), (8, 8 * 32 * 4096 * 4));
    }
}
