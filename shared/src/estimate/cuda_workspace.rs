//! What the CUDA engine holds beyond weights and KV cache. It allocates its buffers from these sizes, so that the
//! estimate and the allocation are one number.

use super::activations::{Attention, LOGIT_ROWS, product, sum};
use super::kv_policy::PAGE_TOKENS;
use crate::decoder::{Decoder, Layer};
use crate::dtype::DType;
use crate::units::format_count;

/// Rows (tokens) that go through the model at once: enough to keep the tensor cores busy.
pub const CHUNK: u64 = 2048;

/// What cuBLASLt may use as scratch.
pub const GEMM_BYTES: u64 = 32 << 20;

/// Bytes of weights read and copied at a time: small enough that a cancelled load ends at once.
pub const LOAD_PIECE_BYTES: u64 = 4 << 20;

/// Pieces that a thread has on their way: one is read while the other is copied.
pub const LOAD_SLOTS: u64 = 2;

/// Threads that read: what it takes to keep a PCIe 5 link busy from the page cache.
pub const LOAD_THREADS: u64 = 12;

/// Most bytes of attention scores held at once, where they are written out and one row of each sequence needs less.
const SCORE_BYTES: u64 = 64 << 20;

/// Bytes of a row's description: `Row` of the engine.
const ROW_BYTES: u64 = 48;

/// Bytes of every buffer of the CUDA engine's workspace; allocated once, when a model is loaded.
///
/// Activations are held in the format of the weights, quantised ones beside bf16; the residual stream and logits in f32.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CudaWorkspace {
    /// Rows of a chunk.
    pub rows: u64,
    /// Rows whose scores are written out at once; 0 where none are.
    pub score_rows: u64,
    /// Rows of logits held at once.
    pub logit_rows: u64,
    /// Residual stream, `[rows, hidden]`, f32, all copies of it.
    pub residual: u64,
    /// Normed rows, as wide.
    pub normed: u64,
    /// `qkv_proj`, then `gate_up_proj`, `[rows, max(q + 2·kv, 2·intermediate)]`.
    pub projected: u64,
    /// Mixed values, then the gated MLP, `[rows, max(q, intermediate)]`.
    pub mixed: u64,
    /// Cosines and sines of every position, f32, for short and for long factors.
    pub rotary: u64,
    /// Attention scores, `[score rows, heads, context]`, f32; none where they stay on the chip.
    pub scores: u64,
    /// The largest quantised weight in bf16, for products over many rows.
    pub panel: u64,
    /// Last rows of sequences, `[logit rows, hidden]`, f32.
    pub last: u64,
    /// `[logit rows, vocab]`, f32.
    pub logits: u64,
    /// Which token of which sequence each row is: of a chunk and of a batch.
    pub descriptions: u64,
    /// Addresses of the blocks of each sequence's cache, `[batch, blocks of a context]`, where caches share memory.
    pub lists: u64,
    /// Scratch of cuBLASLt.
    pub gemm: u64,
}

impl CudaWorkspace {
    /// Sizes for sequences of up to `context` tokens, `batch` of them at once.
    #[must_use]
    pub fn new(decoder: &Decoder, dtype: DType, attention: Attention, context: u64, batch: u64) -> Self {
        let widest_of = |width: fn(&Layer) -> usize| decoder.widest(width) as u64;
        let [hidden, stream, vocab] =
            [decoder.hidden_size, decoder.stream_width(), decoder.vocab_size].map(|n| n as u64);
        let intermediate = widest_of(|layer| layer.mlp.active_width());
        let qkv = widest_of(|layer| layer.attention.projected_width());
        let query = widest_of(|layer| layer.attention.mixed_width());
        let heads = widest_of(|layer| layer.attention.heads());
        let act = if dtype == DType::F32 { 4 } else { 2 };
        let logit_rows = batch.max(LOGIT_ROWS);
        let rows = context.min(CHUNK).max(logit_rows);
        let row_scores = heads.saturating_mul(context).saturating_mul(4);
        let values = |rows: u64, columns: u64, bytes: u64| product(&[rows, columns, bytes]);
        // All of the allowance where it is not enough for every row: in whole rows alone a longer context could take
        // less, and a search for the longest that fits would miss it.
        let scores = match attention {
            Attention::Eager => {
                values(rows, row_scores, 1).min(SCORE_BYTES.max(values(batch, row_scores, 1)))
            }
            Attention::Fused => 0,
        };
        let is_quantized = !dtype.is_float();
        let largest = values(hidden, qkv.max(query).max(2 * intermediate).max(vocab), 2);
        Self {
            rows,
            score_rows: (scores / row_scores.max(1)).min(rows),
            logit_rows,
            residual: values(rows, stream, 4),
            normed: values(rows, stream, act),
            projected: values(rows, qkv.max(2 * intermediate), act),
            mixed: values(rows, query.max(intermediate), act),
            rotary: values(context, decoder.rotary_dim as u64, 8),
            scores,
            panel: if is_quantized { largest } else { 0 },
            last: values(logit_rows, hidden, 4),
            logits: values(logit_rows, vocab, 4),
            descriptions: values(rows.saturating_add(batch), ROW_BYTES, 1),
            lists: values(batch, context.div_ceil(u64::from(PAGE_TOKENS)), 8),
            gemm: GEMM_BYTES,
        }
    }

    /// Bytes of the buffers of each [`Stage`](super::activations::Stage), in their order.
    #[must_use]
    pub fn by_stage(&self) -> [u64; 4] {
        let Self {
            residual,
            normed,
            projected,
            mixed,
            rotary,
            scores,
            panel,
            last,
            logits,
            descriptions,
            lists,
            gemm,
            ..
        } = *self;
        [
            sum(&[residual, descriptions, lists]),
            sum(&[normed, projected, mixed, rotary, scores]),
            sum(&[panel, gemm]),
            sum(&[last, logits]),
        ]
    }

    /// Bytes of all buffers.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        sum(&self.by_stage())
    }

    /// The sum in words, part by part with its bytes.
    pub(super) fn parts(&self) -> Vec<(String, u64)> {
        let Self { rows, score_rows, logit_rows, residual, normed, projected, mixed, .. } = *self;
        let Self { rotary, scores, panel, last, logits, descriptions, lists, gemm, .. } = *self;
        let hidden = residual / rows / 4;
        // Normed rows are as wide as the residual stream.
        let act = (normed / rows / hidden.max(1)).max(1);
        let width = |bytes: u64| format_count(bytes / rows / act);
        vec![
            (
                format!(
                    "{} rows × (residual {} × 4 B + (hidden {} + projections {} + mixed {}) × {act} B)",
                    format_count(rows),
                    format_count(hidden),
                    width(normed),
                    width(projected),
                    width(mixed)
                ),
                sum(&[residual, normed, projected, mixed]),
            ),
            ("cosines and sines of every position, short and long".to_owned(), rotary),
            (format!("scores, {} rows at once", format_count(score_rows)), scores),
            ("the largest quantized weight in 16 bits".to_owned(), panel),
            (
                format!(
                    "logits {logit_rows} × (hidden {} + vocab {}) × 4 B",
                    format_count(last / logit_rows / 4),
                    format_count(logits / logit_rows / 4)
                ),
                sum(&[last, logits]),
            ),
            (
                format!("descriptions of rows, {ROW_BYTES} B each, and of blocks, 8 B each"),
                sum(&[descriptions, lists]),
            ),
            ("scratch of cuBLASLt".to_owned(), gemm),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn phi3_mini_by_hand() {
        let decoder = Decoder::parse(br#"{"model_type":"phi3"}"#).expect("class defaults");
        let fused = CudaWorkspace::new(&decoder, DType::Bf16, Attention::Fused, 4096, 1);
        let rows = 2048 * (4 * 3072 + 2 * (3072 + 16384 + 8192));
        let rest = 4096 * 96 * 8 + 16 * (3072 + 32064) * 4 + (2048 + 1) * 48 + 256 * 8 + (32 << 20);
        assert_eq!(fused.bytes(), rows + rest);
        let eager = CudaWorkspace::new(&decoder, DType::Bf16, Attention::Eager, 4096, 1);
        // A row of scores takes 32 × 4096 × 4 bytes: 128 of them are 64 MiB.
        assert_eq!((eager.score_rows, eager.bytes() - fused.bytes()), (128, 64 << 20));
        let quantized = CudaWorkspace::new(&decoder, DType::Q8_0, Attention::Fused, 4096, 1);
        assert_eq!(quantized.bytes() - fused.bytes(), 32064 * 3072 * 2);
    }

    #[test]
    fn no_size_overflows() {
        let decoder = Decoder::parse(br#"{"model_type":"phi3"}"#).expect("class defaults");
        let huge = u64::MAX / 64;
        assert_eq!(CudaWorkspace::new(&decoder, DType::F32, Attention::Eager, huge, 1).bytes(), u64::MAX);
    }
}
