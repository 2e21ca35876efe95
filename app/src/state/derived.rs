//! What follows from the model and the choices beyond one estimate: the curve over contexts, the bars over dtypes.

use phi3::decoder::Decoder;
use phi3::estimate::activations::Workspace;
use phi3::estimate::{self, Format, Options, Resolved, StoredTensors};
use phi3::fit::Verdict;
use phi3::tensors;

/// Points of a curve; with 8 to an octave nothing that bends is missed.
const POINTS: u64 = 64;

/// Bytes of weights with what is loaded beside them, KV cache, activations and overhead, in this order everywhere on the
/// page.
pub type Terms = [u64; 4];

/// Memory against context.
#[derive(Debug, Clone, PartialEq)]
pub struct Curve {
    /// Context at the right end.
    pub end: u64,
    /// Contexts and the terms there, rising.
    pub points: Vec<(u64, Terms)>,
}

impl Curve {
    /// The sum at the right end, where it is largest.
    #[must_use]
    pub fn top(&self) -> u64 {
        self.points.last().map_or(0, |(_, terms)| terms.iter().sum())
    }
}

/// One format of the weights at the chosen context.
#[derive(Debug, Clone, PartialEq)]
pub struct DTypeRow {
    /// The format.
    pub dtype: Format,
    /// What it needs.
    pub terms: Terms,
    /// Whether it is the one chosen.
    pub chosen: bool,
    /// The verdict, where a device is given.
    pub verdict: Option<Verdict>,
}

impl DTypeRow {
    /// Sum of the terms.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.terms.iter().sum()
    }
}

/// Bytes of the weights in every format that can be planned; as they lie in a checkpoint for its own format.
#[must_use]
pub fn weights_by_dtype(decoder: &Decoder, stored: Option<&StoredTensors>) -> Vec<(Format, u64)> {
    let bytes = |format| {
        let options = Options { dtype: Some(format), ..Options::default() };
        let resolved = Resolved::new(decoder, stored, &options).ok()?;
        Some((format, estimate::resolved_weights_bytes(decoder, stored, &resolved)))
    };
    Format::LEVERS.into_iter().filter_map(bytes).collect()
}

fn terms(decoder: &Decoder, weights_bytes: u64, r: &Resolved) -> Terms {
    let kv = estimate::cache_bytes(decoder, r.kv_dtype, r.kv_policy, r.cache_tokens(), r.batch);
    let activations = Workspace::on(r.backend, decoder, r).bytes();
    [weights_bytes + r.other_bytes(), kv, activations, r.overhead_bytes()]
}

/// Memory from one token to `end`.
#[must_use]
pub fn curve(decoder: &Decoder, weights_bytes: u64, resolved: &Resolved, end: u64) -> Curve {
    let mut contexts: Vec<u64> = (0..=POINTS).map(|i| (end * i / POINTS).max(1)).collect();
    contexts.extend(decoder.effective_window(end).map(|window| window as u64));
    contexts.sort_unstable();
    contexts.dedup();
    let at = |context| (context, terms(decoder, weights_bytes, &Resolved { context, ..resolved.clone() }));
    Curve { end, points: contexts.into_iter().map(at).collect() }
}

/// Bytes of the largest tensor of a load: what has to lie in one piece.
#[must_use]
pub fn largest_tensor_bytes(decoder: &Decoder, format: Format) -> u64 {
    let one = |part: tensors::Part| {
        let copies = part.copies.max(1) as u64;
        estimate::part_bytes(decoder, &part, format) / copies
    };
    tensors::parts(decoder).map(one).max().unwrap_or(0)
}

/// Every format at the chosen context.
#[must_use]
pub fn rows(
    decoder: &Decoder,
    weights: &[(Format, u64)],
    options: &Options,
    chosen: Format,
    available: Option<u64>,
) -> Vec<DTypeRow> {
    let row = |(dtype, bytes): &(Format, u64)| {
        let options = Options { dtype: Some(*dtype), ..options.clone() };
        // Refused options have been refused before they came here.
        let resolved = Resolved::new(decoder, None, &options).ok()?;
        let terms = terms(decoder, *bytes, &resolved);
        let verdict = available.map(|available| Verdict::of(terms.iter().sum(), available));
        Some(DTypeRow { dtype: *dtype, terms, chosen: *dtype == chosen, verdict })
    };
    weights.iter().filter_map(row).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use phi3::dtype::DType;
    use phi3::weights::OtherParts;
    use wasm_bindgen_test::wasm_bindgen_test;

    /// The curve and the bars must say what the estimate says.
    #[wasm_bindgen_test(unsupported = test)]
    fn agrees_with_the_estimate() {
        let config = Decoder::parse(br#"{"model_type":"phi3","sliding_window":2047,"dtype":"bfloat16"}"#);
        let config = config.expect("a phi3 config");
        let weights = weights_by_dtype(&config, None);
        for policy in ["full", "window", "paged"] {
            let other_parts = (policy == "paged").then_some(OtherParts { tensors: 2, bytes: 1 << 20 });
            let kv_policy = crate::state::link::policy(policy);
            let options = Options { kv_policy, other_parts, ..Options::default() };
            let resolved = Resolved::new(&config, None, &options).expect("defaults");
            let bf16 = weights.iter().find(|w| w.0 == DType::Bf16.into()).expect("listed").1;
            let curve = curve(&config, bf16, &resolved, 4096);
            assert!(curve.points.is_sorted_by(|a, b| a.0 < b.0));
            assert_eq!(curve.points.first().map(|p| p.0), Some(1));
            for (context, terms) in curve.points {
                let options = Options { context: Some(context), ..options.clone() };
                let report = estimate::estimate(&config, None, &options).expect("in range");
                assert_eq!(terms.iter().sum::<u64>(), report.total_bytes, "{policy} {context}");
            }
            for row in rows(&config, &weights, &options, DType::Bf16.into(), Some(16 << 30)) {
                let size = estimate::Size(16 << 30);
                let options =
                    Options { dtype: Some(row.dtype), device_memory: Some(size), ..options.clone() };
                let report = estimate::estimate(&config, None, &options).expect("in range");
                assert_eq!((row.total(), row.verdict), (report.total_bytes, report.fit.verdict));
                assert_eq!(row.chosen, row.dtype == DType::Bf16.into());
            }
        }
    }
}
