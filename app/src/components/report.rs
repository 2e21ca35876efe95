//! What a validation reported.

use leptos::prelude::*;
use phi3::engine::Memory;
use phi3::units::format_count;
use phi3::validate::{Probe, Report, Verdict};

use super::bits::{badge, bytes, copies};
use super::numbers::numbers;
use super::proof::proof;
use crate::format::{Unit, duration, rate, signed_percent};
use crate::text::{self, memory, validate as words};

/// A verdict as a badge.
pub(super) fn verdict(verdict: Verdict) -> impl IntoView {
    match verdict {
        Verdict::Pass => badge("ok", words::PASS),
        Verdict::Fail => badge("bad", words::FAIL),
        Verdict::Unverified => badge("warn", words::UNVERIFIED),
    }
}

pub(super) fn fact(name: &'static str, value: String) -> impl IntoView {
    view! { <div><dt>{name}</dt><dd>{copies(value)}</dd></div> }
}

/// What was timed; a run that ended before has nothing to tell.
pub(super) fn timed(measured: Option<f64>, print: fn(f64) -> String) -> String {
    measured.map_or_else(|| words::NOT_MEASURED.to_owned(), print)
}

fn probe(probe: Probe) -> impl IntoView {
    let name = text::probe(probe.kind);
    // What has no boundary to cross is no doubt.
    let standing = if probe.tokens == 0 && probe.verdict == Verdict::Unverified {
        badge("", words::NOT_RUN).into_any()
    } else {
        verdict(probe.verdict).into_any()
    };
    view! { <tr><td>{name}</td><td class="num">{format_count(probe.tokens as u64)}</td><td>{standing}</td><td>{probe.detail}</td></tr> }
}

/// Whether what a load keeps is held against what a run on it has filled: a cache of thousands of tokens, and few of them.
fn is_partly_filled(predicted: &Memory, measured: &Memory) -> bool {
    measured.kv_cache_bytes < predicted.kv_cache_bytes / 2
}

/// Terms predicted and measured; where they are not about the same number of tokens, no difference is told.
pub(super) fn memory_table(predicted: Memory, measured: Memory) -> impl IntoView {
    let terms =
        |m: Memory| [m.weights_bytes, m.kv_cache_bytes, m.activation_bytes, m.overhead_bytes, m.total_bytes];
    let is_partly = is_partly_filled(&predicted, &measured);
    let unit = Unit::of(predicted.total_bytes.max(measured.total_bytes));
    let names = memory::NAMES.into_iter().chain([memory::TOTAL]);
    let row = |(name, (predicted, measured)): (&'static str, (u64, u64))| {
        let is_apart = is_partly && [memory::NAMES[1], memory::TOTAL].contains(&name);
        memory_row(name, predicted, measured, unit, !is_apart)
    };
    view! {
        <div class="memory">
            <table data-testid="memory-table">
                <thead>
                    <tr>
                        <th>{text::memory_in(unit.name())}</th><th class="num">{words::PREDICTED}</th>
                        <th class="num">{words::MEASURED}</th><th class="num">{words::DIFFERENCE}</th>
                    </tr>
                </thead>
                <tbody>{names.zip(terms(predicted).into_iter().zip(terms(measured))).map(row).collect_view()}</tbody>
            </table>
            {is_partly.then(|| view! { <p class="dim below-table" data-testid="partly-filled">{words::PARTLY_FILLED}</p> })}
        </div>
    }
}

fn memory_row(
    name: &'static str,
    predicted: u64,
    measured: u64,
    unit: Unit,
    is_compared: bool,
) -> impl IntoView {
    let error =
        (is_compared && predicted > 0).then(|| signed_percent(measured as f64 / predicted as f64 - 1.0));
    view! {
        <tr>
            <td>{text::capitalised(name)}</td>
            <td class="num">{bytes(predicted, unit, "predicted")}</td>
            <td class="num">{bytes(measured, unit, "measured")}</td>
            <td class="num dim">{error.unwrap_or_else(|| "–".to_owned())}</td>
        </tr>
    }
}

/// The report of a run that came to its end.
pub(super) fn report(report: Report) -> impl IntoView {
    let (numbers, proof) = (numbers(&report), proof(&report));
    let stopped = text::stop_reason(&report.stop_reason);
    let ids = |ids: &[u32]| ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
    let probes = (!report.probes.is_empty()).then(|| {
        view! {
            <table>
                <thead><tr><th>{words::PROBE}</th><th class="num">{words::TOKENS}</th><th>{words::VERDICT}</th><td></td></tr></thead>
                <tbody>{report.probes.into_iter().map(probe).collect_view()}</tbody>
            </table>
        }
    });
    view! {
        <div class="halves">
            <div>
                <dl class="facts">
                    {fact(words::TTFT, timed(report.ttft_ms, duration))}
                    {fact(words::PREFILL, timed(report.prefill_tokens_per_s, rate))}
                    {fact(words::DECODE, timed(report.decode_tokens_per_s, rate))}
                    {fact(words::LOAD, timed(Some(report.load_ms), duration))}
                    {fact(words::NAN_INF, format!("{} / {}", format_count(report.nan_count), format_count(report.inf_count)))}
                    {fact(words::DEVICE, format!("{}, {}", report.device, report.dtype))}
                </dl>
                <dl class="ids">
                    <dt>{text::token_ids(words::PROMPT, report.prompt_tokens.len())}</dt>
                    <dd class="mono">{copies(ids(&report.prompt_tokens))}</dd>
                    <dt>{text::token_ids(words::GENERATED, report.generated_tokens.len())} ", " {stopped}</dt>
                    <dd class="mono">{copies(ids(&report.generated_tokens))}</dd>
                </dl>
                {probes}
            </div>
            {memory_table(report.memory.predicted, report.memory.measured)}
        </div>
        {numbers}
        {proof}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_bindgen_test::wasm_bindgen_test;

    #[wasm_bindgen_test(unsupported = test)]
    fn what_was_not_timed_is_no_zero() {
        let ms = |measured| timed(measured, duration);
        assert_eq!((ms(None), ms(Some(12.0))), ("–".to_owned(), duration(12.0)));
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_cache_that_is_hardly_filled_is_not_held_against_what_was_kept_for_it() {
        let memory =
            |kv_cache_bytes| Memory { kv_cache_bytes, total_bytes: kv_cache_bytes, ..Memory::default() };
        assert!(is_partly_filled(&memory(377_487_360), &memory(1_152_000)));
        assert!(!is_partly_filled(&memory(1_152_000), &memory(1_152_000)));
        assert!(!is_partly_filled(&memory(0), &memory(0)));
    }
}
