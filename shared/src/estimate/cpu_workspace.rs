//! What the CPU engine holds beyond weights and KV cache. It allocates its buffers from these sizes.

use super::activations::{Attention, LOGIT_ROWS, product, sum};
use crate::decoder::{Decoder, Layer};
use crate::dtype::DType;
use crate::units::format_count;

/// Rows (tokens) that go through the model at once; longer prompts are cut, so that temporaries are bounded.
pub const CHUNK: u64 = 512;

/// Rows of attention scores that are held at once, shared out among the threads.
const SCORE_ROWS: u64 = 256;

/// Most values of a narrow weight that are widened to f32 at once, shared out among the threads.
const PANEL: u64 = 1 << 20;

/// Values (f32, four bytes each) of every buffer of the CPU engine's workspace; allocated once, when a model is loaded.
/// Activations are held in f32 whatever the dtype, rounded to it where Hugging Face casts.
///
/// Stages that never overlap share a buffer, hence the maxima.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CpuWorkspace {
    /// Rows of a chunk.
    pub rows: u64,
    /// Rows of logits held at once.
    pub logit_rows: u64,
    /// Residual stream, `[rows, hidden]`, all copies of it.
    pub residual: u64,
    /// Normed rows, and what a block adds to the residual, as wide.
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

impl CpuWorkspace {
    /// Sizes for sequences of up to `context` tokens, `batch` of them at once.
    #[must_use]
    pub fn new(decoder: &Decoder, dtype: DType, attention: Attention, context: u64, batch: u64) -> Self {
        let widest_of = |width: fn(&Layer) -> usize| decoder.widest(width) as u64;
        let [hidden, stream, vocab] =
            [decoder.hidden_size, decoder.stream_width(), decoder.vocab_size].map(|n| n as u64);
        let intermediate = widest_of(|layer| layer.mlp.active_width());
        let qkv = widest_of(|layer| layer.attention.projected_width());
        let query = widest_of(|layer| layer.attention.mixed_width());
        let logit_rows = batch.max(LOGIT_ROWS);
        let rows = context.min(CHUNK).max(logit_rows);
        let widest = hidden.max(query).max(intermediate);
        let values = |rows: u64, columns: u64| product(&[rows, columns]);
        Self {
            rows,
            logit_rows,
            residual: values(rows, stream),
            normed: values(rows, stream),
            projected: values(rows, qkv.max(2 * intermediate)),
            mixed: values(rows, query.max(intermediate)),
            rotary: values(rows, decoder.rotary_dim as u64),
            scores: if attention == Attention::Eager { values(SCORE_ROWS, context) } else { 0 },
            panel: if dtype == DType::F32 { 0 } else { PANEL.max(widest) },
            last: values(logit_rows, hidden),
            logits: values(logit_rows, vocab),
        }
    }

    /// Bytes of the buffers of each [`Stage`](super::activations::Stage), in their order.
    #[must_use]
    pub fn by_stage(&self) -> [u64; 4] {
        let Self { residual, normed, projected, mixed, rotary, scores, panel, last, logits, .. } = *self;
        [residual, sum(&[normed, projected, mixed, rotary, scores]), panel, sum(&[last, logits])]
            .map(|values| values.saturating_mul(4))
    }

    /// Bytes of all buffers.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        sum(&self.by_stage())
    }

    /// The sum in words, part by part with its bytes.
    pub(super) fn parts(&self) -> Vec<(String, u64)> {
        let Self {
            rows,
            logit_rows,
            residual,
            normed,
            projected,
            mixed,
            rotary,
            scores,
            panel,
            last,
            logits,
        } = *self;
        let width = |values: u64| format_count(values / rows);
        let bytes = |values: &[u64]| sum(values).saturating_mul(4);
        vec![
            (
                format!(
                    "{rows} rows × (hidden {} × 2 + projections {} + mixed {} + rotary {}) × 4 B",
                    width(residual),
                    width(projected),
                    width(mixed),
                    width(rotary)
                ),
                bytes(&[residual, normed, projected, mixed, rotary]),
            ),
            (
                format!("scores {SCORE_ROWS} × context {} × 4 B", format_count(scores / SCORE_ROWS)),
                bytes(&[scores]),
            ),
            (format!("widened weights {} × 4 B", format_count(panel)), bytes(&[panel])),
            (
                format!(
                    "logits {logit_rows} × (hidden {} + vocab {}) × 4 B",
                    format_count(last / logit_rows),
                    format_count(logits / logit_rows)
                ),
                bytes(&[last, logits]),
            ),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::estimate::Backend;
    use crate::estimate::activations::Workspace;

    #[test]
    fn phi3_mini_by_hand() {
        let decoder = Decoder::parse(br#"{"model_type":"phi3"}"#).expect("class defaults");
        let of = |dtype, attention| Workspace::new(Backend::Cpu, &decoder, dtype, attention, 4096, 1);
        let rows = 512 * (2 * 3072 + 16384 + 8192 + 96);
        let head = 16 * (3072 + 32064);
        let f32 = of(DType::F32, Attention::Eager);
        assert_eq!(f32.bytes(), 4 * (rows + 256 * 4096 + head));
        assert_eq!(f32.bytes() - of(DType::F32, Attention::Fused).bytes(), 4 * 256 * 4096);
        assert_eq!(
            f32.formula(),
            "512 rows × (hidden 3,072 × 2 + projections 16,384 + mixed 8,192 + rotary 96) × 4 B = 60.19 MiB; \
             scores 256 × context 4,096 × 4 B = 4.00 MiB; logits 16 × (hidden 3,072 + vocab 32,064) × 4 B = 2.14 MiB"
        );
        assert_eq!(of(DType::Bf16, Attention::Eager).bytes() - f32.bytes(), 4 << 20);
    }
}
