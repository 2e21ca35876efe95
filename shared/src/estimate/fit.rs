//! Will it fit: the verdict, its reason, how far the context reaches, and the cheapest single change.

use serde::{Deserialize, Serialize};

use super::Format;
use super::levers::{self, Levers};
use crate::decoder::Decoder;
use crate::estimate::{self, Resolved, StoredTensors};
use crate::units::{format_bytes, format_count};
use crate::weights;

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

/// A change that brings the need below what is available.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Suggestion {
    /// The option and its new value: `context=2048`.
    pub change: String,
    /// The change in words.
    pub label: String,
    /// The need with it, on all devices together.
    pub total_bytes: u64,
    /// Of a change that brings in another device, what lies on the fuller of those that the verdict is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device_bytes: Option<u64>,
    /// The verdict with it.
    pub verdict: Verdict,
    /// Whether the engines of this build do it.
    pub runs: bool,
}

impl Suggestion {
    /// A change; what the engines of this build do not do is marked in its words, unless they do nothing of the model:
    /// then no lever is less run than another.
    pub(crate) fn new(
        decoder: &Decoder,
        change: String,
        mut label: String,
        total_bytes: u64,
        verdict: Verdict,
        runs: bool,
    ) -> Self {
        let is_run = decoder.family.runs();
        if is_run && !runs {
            label.push_str(" (not run by this build)");
        }
        Self { change, label, total_bytes, device_bytes: None, verdict, runs: is_run && runs }
    }

    /// What is held against the device's memory.
    #[must_use]
    pub fn held_bytes(&self) -> u64 {
        self.device_bytes.unwrap_or(self.total_bytes)
    }
}

/// The 1.2× rule as teams use it, on weights alone, beside what it forgets.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MarginRule {
    /// 1.2 × weights.
    pub weights_only_bytes: u64,
    /// 1.2 × everything.
    pub everything_bytes: u64,
    /// Tokens of KV cache that use up the rule's 20 %: beyond, the rule on weights alone says yes where it should not.
    /// None where the cache does not grow with the context and does not use them up.
    pub break_even_context: Option<u64>,
}

/// Most sequences at once that may be asked for, and where the search for the largest batch ends.
pub const MOST_SEQUENCES: u64 = 1 << 16;

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
    /// Free memory it was held against; of budgets in pieces that modules do not fill, what of the need finds room there.
    pub available_bytes: Option<u64>,
    /// Longest context that still loads, capped at the model's positions; 0 where none does.
    pub max_context: Option<u64>,
    /// Most sequences that still load at the asked context, capped at [`MOST_SEQUENCES`]; 0 where not one does.
    pub max_batch: Option<u64>,
    /// The same at a context of 4,096 tokens, or at the model's positions where those are fewer.
    pub max_batch_at_4096: Option<u64>,
    /// The longest context for each of some batches.
    pub max_contexts: Vec<BatchLimit>,
    /// Why, with the numbers.
    pub reason: String,
    /// Single changes that help, the smallest first.
    pub suggestions: Vec<Suggestion>,
    /// Several changes at once, joined by `&`, where no single one that this build runs is enough.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub together: Option<Suggestion>,
    /// What to do then, in words.
    pub advice: Option<String>,
    /// What a verdict on memory does not say: a context that the model was not made for.
    pub warnings: Vec<String>,
    /// The 1.2× rule both ways.
    pub margin_rule: MarginRule,
}

/// 1.2 × bytes, rounded up.
pub(crate) fn with_margin(bytes: u64) -> u64 {
    (u128::from(bytes) * 6).div_ceil(5).try_into().unwrap_or(u64::MAX)
}

/// A load and what it is held against: one device, or the budgets of several.
pub(crate) struct Case<'a> {
    pub(crate) decoder: &'a Decoder,
    pub(crate) stored: Option<&'a StoredTensors>,
    pub(crate) resolved: &'a Resolved,
    pub(crate) weights_bytes: u64,
    /// Free memory, or the sum of the budgets.
    pub(crate) available: u64,
    /// The need under options that may differ, and the verdict on it.
    pub(crate) need: &'a dyn Fn(&Resolved) -> (u64, Verdict),
    /// Changes beyond those of the options.
    pub(crate) further: &'a dyn Fn(&Levers<'_>) -> Vec<Suggestion>,
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
    let mut fit = alone(decoder, stored, resolved, weights_bytes, available);
    fit.warnings.extend(estimate::unsure(decoder, stored, resolved).map(|doubt| format!("weights: {doubt}")));
    if let Some((held, bytes)) = held_by_a_load(decoder, stored, resolved, weights_bytes) {
        let load = Resolved { format: held, ..resolved.clone() };
        let total = estimate::total_bytes(decoder, bytes, &load);
        let of_load = available.map(|available| Verdict::of(total, available));
        let told = of_load.filter(|_| of_load != fit.verdict);
        fit.warnings.push(held_words(resolved.format, held, bytes, total, told));
    }
    fit
}

/// The same, as if a load held weights as they are stored.
fn alone(
    decoder: &Decoder,
    stored: Option<&StoredTensors>,
    resolved: &Resolved,
    weights_bytes: u64,
    available: Option<u64>,
) -> Fit {
    let total = |changed: &Resolved| total_with(decoder, stored, resolved, weights_bytes, changed);
    let Some(available) = available else {
        let required_bytes = total(resolved);
        let reason = format!("needs {}; no device memory given", format_bytes(required_bytes));
        return without_device(decoder, resolved, weights_bytes, required_bytes, reason);
    };
    let need = |changed: &Resolved| {
        let bytes = total(changed);
        (bytes, Verdict::of(bytes, available))
    };
    let further = |levers: &Levers<'_>| levers.other_devices(available);
    let case = Case { decoder, stored, resolved, weights_bytes, available, need: &need, further: &further };
    let fit = against(&case);
    let reason =
        fit.verdict.map_or_else(String::new, |verdict| reason(verdict, fit.required_bytes, available));
    Fit { reason, ..fit }
}

/// The format that our engines hold weights in that are stored in another or in several, and their bytes then, where
/// these are others by more than a hundredth.
pub(crate) fn held_by_a_load(
    decoder: &Decoder,
    stored: Option<&StoredTensors>,
    resolved: &Resolved,
    weights_bytes: u64,
) -> Option<(Format, u64)> {
    let mut all = stored.filter(|_| decoder.runs() && resolved.convert_to.is_none())?.values();
    let is_read = all.all(|tensor| weights::is_convertible(tensor.dtype));
    let held = Format::Plain(resolved.format.widened());
    let bytes = estimate::weights_bytes(decoder, held);
    (is_read && bytes.abs_diff(weights_bytes) > weights_bytes / 100).then_some((held, bytes))
}

/// The same in words, with all that such a load needs, and its verdict where that is another.
pub(crate) fn held_words(
    format: Format,
    held: Format,
    weights_bytes: u64,
    total_bytes: u64,
    verdict: Option<Verdict>,
) -> String {
    let (stored, makes) = match format == held {
        true => ("several formats, most of them in ", "holds all of them in"),
        false => ("", "widens them to"),
    };
    let [weights, total] = [weights_bytes, total_bytes].map(format_bytes);
    let (colon, verdict) = verdict.map_or(("", ""), |verdict| (": ", verdict.words()));
    format!(
        "weights stored in {stored}{format}: a load {makes} {held}, {weights}, {total} in all{colon}{verdict}"
    )
}

/// The total under options that may differ from those whose weights are summed already: only a change of format
/// changes the weights, and summing them anew at each step of a search would cost milliseconds.
pub(crate) fn total_with(
    decoder: &Decoder,
    stored: Option<&StoredTensors>,
    resolved: &Resolved,
    weights_bytes: u64,
    changed: &Resolved,
) -> u64 {
    let same = (changed.format, changed.convert_to) == (resolved.format, resolved.convert_to);
    let weights =
        if same { weights_bytes } else { estimate::resolved_weights_bytes(decoder, stored, changed) };
    estimate::total_bytes(decoder, weights, changed)
}

/// A need that is held against nothing, for this reason.
pub(crate) fn without_device(
    decoder: &Decoder,
    resolved: &Resolved,
    weights_bytes: u64,
    required_bytes: u64,
    reason: String,
) -> Fit {
    Fit {
        required_bytes,
        reason,
        warnings: warnings(decoder, resolved),
        margin_rule: margin_rule(decoder, resolved, weights_bytes, required_bytes),
        ..Fit::default()
    }
}

/// Everything of a verdict but its reason.
pub(crate) fn against(case: &Case<'_>) -> Fit {
    let Case { decoder, stored, resolved, weights_bytes, available, need, further } = *case;
    let (required_bytes, verdict) = need(resolved);
    let loads =
        |batch, context| need(&Resolved { batch, context, ..resolved.clone() }).1 != Verdict::DoesNotFit;
    let longest = |batch| largest(decoder.max_position_embeddings as u64, |context| loads(batch, context));
    let max_contexts =
        BATCHES.into_iter().map(|batch| BatchLimit { batch, max_context: longest(batch) }).collect();
    let most = |context| largest(MOST_SEQUENCES, |batch| loads(batch, context));
    let levers = Levers { decoder, stored, resolved, need, now: verdict };
    let suggestions = match verdict {
        Verdict::Fits => Vec::new(),
        _ => levers.that_help(further),
    };
    let is_helped = verdict != Verdict::DoesNotFit || levers.is_answered(&suggestions);
    let together = if is_helped { None } else { levers.together() };
    Fit {
        verdict: Some(verdict),
        available_bytes: Some(available),
        max_context: Some(longest(resolved.batch)),
        max_batch: Some(most(resolved.context)),
        max_batch_at_4096: Some(most(decoder.max_position_embeddings.min(4096) as u64)),
        max_contexts,
        advice: (!is_helped).then(|| levers.advice(&suggestions, together.as_ref())),
        suggestions,
        together,
        ..without_device(decoder, resolved, weights_bytes, required_bytes, String::new())
    }
}

fn margin_rule(decoder: &Decoder, resolved: &Resolved, weights_bytes: u64, total_bytes: u64) -> MarginRule {
    let per_token = estimate::bytes_per_token(decoder, resolved.kv_dtype);
    // States are there from the first token on.
    let left = (weights_bytes / 5).checked_sub(estimate::state_bytes(decoder, resolved.kv_dtype));
    MarginRule {
        weights_only_bytes: with_margin(weights_bytes),
        everything_bytes: with_margin(total_bytes),
        break_even_context: left.map_or(Some(0), |left| left.checked_div(per_token)),
    }
}

fn warnings(decoder: &Decoder, resolved: &Resolved) -> Vec<String> {
    let positions = decoder.max_position_embeddings as u64;
    let warning = format!(
        "a context of {} tokens is beyond the model's {} positions: the bytes are right, its answers would not be",
        format_count(resolved.context),
        format_count(positions)
    );
    let beyond = (resolved.context > positions).then_some(warning);
    let mut apart: Vec<&str> = decoder.apart.iter().map(|part| part.name).collect();
    apart.dedup();
    let apart = apart.join(", ");
    let beside = match resolved.other_parts {
        _ if apart.is_empty() => None,
        Some(_) => Some(format!("{apart}: counted as stored, without what is computed there")),
        None => Some(format!("the language model alone, without {apart}: the whole model needs more")),
    };
    let broken = estimate::broken_row(decoder, resolved.kv_dtype).map(|width| {
        let (dtype, block) = (resolved.kv_dtype, resolved.kv_dtype.block_len());
        format!("rows of {width} are no blocks of {block}: no known tool keeps them in {dtype}, llama.cpp refuses it")
    });
    let refused = (decoder.family.runs() && decoder.is_packed()).then(|| refused(decoder));
    let not_run = (decoder.family.runs() && !levers::computes(resolved)).then(|| not_run(resolved));
    let not_run = refused.or(not_run);
    beyond.into_iter().chain(beside).chain(broken).chain(not_run).collect()
}

/// Weights that somebody quantised: what is sized is not loaded.
fn refused(decoder: &Decoder) -> String {
    let format = decoder.quantization.map(|known| Format::Quantized(known).to_string());
    let format = format.or(decoder.unknown_quantization.clone()).unwrap_or_default();
    format!(
        "weights in {format}: sized here, and a load refuses them, whatever its dtype: take the model in bf16, f16 or f32"
    )
}

/// What of a plan the engines of this build do not do.
fn not_run(resolved: &Resolved) -> String {
    let Resolved { format, kv_dtype, kv_policy, .. } = *resolved;
    let planned = match () {
        () if !format.runs() => format!("weights in {format}"),
        () if !kv_dtype.is_float() => format!("a KV cache in {kv_dtype}"),
        () => format!("the KV policy {kv_policy}"),
    };
    format!("{planned}: not run by every engine here")
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
pub fn largest(max: u64, holds: impl Fn(u64) -> bool) -> u64 {
    let (mut yes, mut no) = (0, max + 1);
    while no - yes > 1 {
        let middle = yes + (no - yes) / 2;
        if holds(middle) { yes = middle } else { no = middle }
    }
    yes
}
