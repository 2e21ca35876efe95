//! Will it fit: the verdict, its reason, how far the context reaches, and the cheapest single change.

use serde::{Deserialize, Serialize};

use super::levers::Levers;
use crate::decoder::Decoder;
use crate::estimate::{self, Resolved, StoredTensors};
use crate::units::format_bytes;

/// Whether a load fits into the memory that is available.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    /// 1.2 × total ≤ available.
    Fits,
    /// total ≤ available.
    Tight,
    /// total > available.
    DoesNotFit,
}

impl Verdict {
    /// The verdict for a need and what there is.
    #[must_use]
    pub fn of(total_bytes: u64, available_bytes: u64) -> Self {
        if with_margin(total_bytes) <= available_bytes {
            Self::Fits
        } else if total_bytes <= available_bytes {
            Self::Tight
        } else {
            Self::DoesNotFit
        }
    }

    /// In words.
    #[must_use]
    pub fn words(self) -> &'static str {
        match self {
            Self::Fits => "fits",
            Self::Tight => "tight",
            Self::DoesNotFit => "does not fit",
        }
    }
}

/// One change that brings the need below what is available.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suggestion {
    /// The option and its new value: `context=2048`.
    pub change: String,
    /// The change in words.
    pub label: String,
    /// The need with it.
    pub total_bytes: u64,
    /// The verdict with it.
    pub verdict: Verdict,
    /// Whether the engines of this build do it.
    pub runs: bool,
}

/// The 1.2× rule as teams use it, on weights alone, beside what it forgets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarginRule {
    /// 1.2 × weights.
    pub weights_only_bytes: u64,
    /// 1.2 × everything.
    pub everything_bytes: u64,
    /// Tokens of KV cache that use up the rule's 20 %: beyond, the rule on weights alone says yes where it should not.
    pub break_even_context: u64,
}

/// Where the search for the largest batch ends.
pub const MOST_SEQUENCES: u64 = 1 << 12;

/// Batches that the longest context is told for.
const BATCHES: [u64; 8] = [1, 2, 3, 4, 5, 6, 7, 8];

/// The longest context of a batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct BatchLimit {
    /// Sequences at once.
    pub batch: u64,
    /// Tokens of each that still load, capped at the model's positions; 0 where none do.
    pub max_context: u64,
}

/// The verdict and what it rests on. Without a device `verdict`, `available_bytes` and `max_context` are null.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fit {
    /// The verdict.
    pub verdict: Option<Verdict>,
    /// The need, without margin.
    pub required_bytes: u64,
    /// Free memory it was held against.
    pub available_bytes: Option<u64>,
    /// Longest context that still loads, capped at the model's positions; 0 where none does.
    pub max_context: Option<u64>,
    /// Most sequences that still load at the asked context, capped at [`MOST_SEQUENCES`]; 0 where not one does.
    pub max_batch: Option<u64>,
    /// The longest context for each of some batches.
    pub max_contexts: Vec<BatchLimit>,
    /// Why, with the numbers.
    pub reason: String,
    /// Single changes that help, the smallest first.
    pub suggestions: Vec<Suggestion>,
    /// The 1.2× rule both ways.
    pub margin_rule: MarginRule,
}

/// 1.2 × bytes, rounded up.
fn with_margin(bytes: u64) -> u64 {
    (u128::from(bytes) * 6).div_ceil(5).try_into().unwrap_or(u64::MAX)
}

/// Holds a need against a device.
#[must_use]
pub fn judge(
    decoder: &Decoder,
    stored: Option<&StoredTensors>,
    resolved: &Resolved,
    weights_bytes: u64,
    available: Option<u64>,
) -> Fit {
    let total = |changed: &Resolved| {
        // Only a change of format changes the weights; summing them anew at each step would cost milliseconds.
        let same = (changed.format, changed.convert_to) == (resolved.format, resolved.convert_to);
        let weights =
            if same { weights_bytes } else { estimate::resolved_weights_bytes(decoder, stored, changed) };
        estimate::total_bytes(decoder, weights, changed)
    };
    let total_bytes = total(resolved);
    let per_token = estimate::bytes_per_token(decoder, resolved.kv_dtype);
    let margin_rule = MarginRule {
        weights_only_bytes: with_margin(weights_bytes),
        everything_bytes: with_margin(total_bytes),
        break_even_context: weights_bytes / 5 / per_token.max(1),
    };
    let Some(available) = available else {
        return Fit {
            required_bytes: total_bytes,
            reason: format!("needs {}; no device memory given", format_bytes(total_bytes)),
            margin_rule,
            ..Fit::default()
        };
    };
    let fits = |batch, context| total(&Resolved { batch, context, ..resolved.clone() }) <= available;
    let longest = |batch| largest(decoder.max_position_embeddings as u64, |context| fits(batch, context));
    let max_contexts =
        BATCHES.into_iter().map(|batch| BatchLimit { batch, max_context: longest(batch) }).collect();
    let verdict = Verdict::of(total_bytes, available);
    let suggestions = match verdict {
        Verdict::Fits => Vec::new(),
        now => Levers { decoder, resolved, total: &total, available, now }.that_help(),
    };
    Fit {
        verdict: Some(verdict),
        required_bytes: total_bytes,
        available_bytes: Some(available),
        max_context: Some(longest(resolved.batch)),
        max_batch: Some(largest(MOST_SEQUENCES, |batch| fits(batch, resolved.context))),
        max_contexts,
        reason: reason(verdict, total_bytes, available),
        suggestions,
        margin_rule,
    }
}

fn reason(verdict: Verdict, total: u64, available: u64) -> String {
    let (need, have) = (format_bytes(total), format_bytes(available));
    match verdict {
        Verdict::Fits => format!("needs {need} of {have}, with a margin of 20 % and more"),
        Verdict::Tight => {
            format!("needs {need} of {have}; a margin of 20 % would be {}", format_bytes(with_margin(total)))
        }
        Verdict::DoesNotFit => {
            format!("needs {need}, {have} available: short by {}", format_bytes(total - available))
        }
    }
}

/// The largest `n` in `1..=max` for which `holds`, which must be monotone; 0 where it holds for none.
pub(super) fn largest(max: u64, holds: impl Fn(u64) -> bool) -> u64 {
    let (mut yes, mut no) = (0, max + 1);
    while no - yes > 1 {
        let middle = yes + (no - yes) / 2;
        if holds(middle) { yes = middle } else { no = middle }
    }
    yes
}
