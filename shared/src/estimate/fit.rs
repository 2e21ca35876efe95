//! Will it fit: the verdict, its reason, how far the context reaches, and the cheapest single change.

use serde::{Deserialize, Serialize};

use crate::config::ModelConfig;
use crate::dtype::DType;
use crate::estimate::{self, KvPolicy, Resolved, StoredTensors};
use crate::units::{format_bytes, format_count};

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
    config: &ModelConfig,
    stored: Option<&StoredTensors>,
    resolved: &Resolved,
    weights_bytes: u64,
    available: Option<u64>,
) -> Fit {
    let total = |changed: &Resolved| {
        // Only a change of format changes the weights; summing them anew at each step would cost milliseconds.
        let same = (changed.dtype, changed.convert_to) == (resolved.dtype, resolved.convert_to);
        let weights =
            if same { weights_bytes } else { estimate::resolved_weights_bytes(config, stored, changed) };
        estimate::total_bytes(config, weights, changed)
    };
    let total_bytes = total(resolved);
    let per_token = estimate::bytes_per_token(config, resolved.kv_dtype);
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
    let max_context = largest(config.max_position_embeddings as u64, |context| {
        total(&Resolved { context, ..resolved.clone() }) <= available
    });
    let verdict = Verdict::of(total_bytes, available);
    let suggestions = match verdict {
        Verdict::Fits => Vec::new(),
        _ => suggest(config, resolved, &total, available, verdict),
    };
    Fit {
        verdict: Some(verdict),
        required_bytes: total_bytes,
        available_bytes: Some(available),
        max_context: Some(max_context),
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
fn largest(max: u64, holds: impl Fn(u64) -> bool) -> u64 {
    let (mut yes, mut no) = (0, max + 1);
    while no - yes > 1 {
        let middle = yes + (no - yes) / 2;
        if holds(middle) { yes = middle } else { no = middle }
    }
    yes
}

/// Marks a format that the engines of this build do not compute in: the arithmetic holds for others.
fn elsewhere(dtype: DType) -> &'static str {
    if dtype.is_float() { "" } else { " (not run by this build)" }
}

/// Tries each lever alone, from the one that changes least; keeps those that better the verdict.
fn suggest(
    config: &ModelConfig,
    resolved: &Resolved,
    total: &dyn Fn(&Resolved) -> u64,
    available: u64,
    now: Verdict,
) -> Vec<Suggestion> {
    let mut levers: Vec<(String, String, Resolved)> = Vec::new();
    if resolved.batch > 1 {
        let batch = largest(resolved.batch - 1, |batch| {
            Verdict::of(total(&Resolved { batch, ..resolved.clone() }), available) < now
        });
        if batch > 0 {
            let label = format!("run {batch} sequences at once instead of {}", resolved.batch);
            levers.push((format!("batch={batch}"), label, Resolved { batch, ..resolved.clone() }));
        }
    }
    let shorter = largest(resolved.context - 1, |context| {
        Verdict::of(total(&Resolved { context, ..resolved.clone() }), available) < now
    });
    // A context of a few tokens is no help to anyone.
    if shorter >= 128 {
        let label = format!("shorten the context to {} tokens", format_count(shorter));
        levers.push((format!("context={shorter}"), label, Resolved { context: shorter, ..resolved.clone() }));
    }
    let narrower = |dtype: &DType, than: DType| dtype.tensor_bytes(&[256]) < than.tensor_bytes(&[256]);
    if resolved.kv_policy == KvPolicy::Full && config.effective_window(resolved.context as usize).is_some() {
        let label = "keep only the sliding window in the KV cache".to_owned();
        let kv_policy = KvPolicy::Window;
        levers.push(("kv_policy=window".to_owned(), label, Resolved { kv_policy, ..resolved.clone() }));
    }
    for kv_dtype in DType::KV_CACHE.into_iter().filter(|d| narrower(d, resolved.kv_dtype)) {
        let label = format!("keep the KV cache in {kv_dtype}{}", elsewhere(kv_dtype));
        levers.push((format!("kv_dtype={kv_dtype}"), label, Resolved { kv_dtype, ..resolved.clone() }));
    }
    for dtype in DType::WEIGHTS.into_iter().filter(|d| narrower(d, resolved.dtype)) {
        let verb = if dtype.is_quantized() { "quantize the weights to" } else { "load the weights in" };
        let label = format!("{verb} {dtype}{}", elsewhere(dtype));
        let change = Resolved { dtype, convert_to: Some(dtype), ..resolved.clone() };
        levers.push((format!("dtype={dtype}"), label, change));
    }
    levers
        .into_iter()
        .map(|(change, label, resolved)| {
            let total_bytes = total(&resolved);
            Suggestion { change, label, total_bytes, verdict: Verdict::of(total_bytes, available) }
        })
        .filter(|suggestion| suggestion.verdict < now)
        .collect()
}
