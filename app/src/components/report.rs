//! What a validation reported.

use leptos::prelude::*;
use phi3::engine::Memory;
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

/// Tokens a second after the first: nothing tells where there was no second.
pub(super) fn decoding(measured: Option<f64>) -> String {
    measured.map_or_else(|| "–".to_owned(), rate)
}

fn probe(probe: Probe) -> impl IntoView {
    let name = text::probe(probe.kind);
    view! { <tr><td>{name}</td><td class="num">{probe.tokens}</td><td>{verdict(probe.verdict)}</td><td>{probe.detail}</td></tr> }
}

pub(super) fn memory_row(name: &'static str, predicted: u64, measured: u64, unit: Unit) -> impl IntoView {
    let error = (predicted > 0).then(|| signed_percent(measured as f64 / predicted as f64 - 1.0));
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
    let terms =
        |m: Memory| [m.weights_bytes, m.kv_cache_bytes, m.activation_bytes, m.overhead_bytes, m.total_bytes];
    let unit = Unit::of(report.memory.predicted.total_bytes.max(report.memory.measured.total_bytes));
    let names = memory::NAMES.into_iter().chain([memory::TOTAL]);
    let rows = names.zip(terms(report.memory.predicted)).zip(terms(report.memory.measured));
    let rows =
        rows.map(|((name, predicted), measured)| memory_row(name, predicted, measured, unit)).collect_view();
    let (numbers, proof) = (numbers(&report), proof(&report));
    let ids = |ids: &[u32]| ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" ");
    let probes = (!report.probes.is_empty()).then(|| {
        view! {
            <table>
                <thead><tr><th>{words::PROBE}</th><th class="num">{words::TOKENS}</th><th>{words::VERDICT}</th><th></th></tr></thead>
                <tbody>{report.probes.into_iter().map(probe).collect_view()}</tbody>
            </table>
        }
    });
    view! {
        <div class="halves">
            <div>
                <dl class="facts">
                    {fact(words::TTFT, duration(report.ttft_ms))}
                    {fact(words::PREFILL, rate(report.prefill_tokens_per_s))}
                    {fact(words::DECODE, decoding(report.decode_tokens_per_s))}
                    {fact(words::LOAD, duration(report.load_ms))}
                    {fact(words::NAN_INF, format!("{} / {}", report.nan_count, report.inf_count))}
                    {fact(words::DEVICE, format!("{}, {}", report.device, report.dtype))}
                </dl>
                <dl class="ids">
                    <dt>{text::token_ids(words::PROMPT, report.prompt_tokens.len())}</dt>
                    <dd class="mono">{copies(ids(&report.prompt_tokens))}</dd>
                    <dt>{text::token_ids(words::GENERATED, report.generated_tokens.len())} ", " {text::stop_reason(&report.stop_reason)}</dt>
                    <dd class="mono">{copies(ids(&report.generated_tokens))}</dd>
                </dl>
                {probes}
            </div>
            <table>
                <thead>
                    <tr>
                        <th>{text::memory_in(unit.name())}</th><th class="num">{words::PREDICTED}</th>
                        <th class="num">{words::MEASURED}</th><th class="num">{words::DIFFERENCE}</th>
                    </tr>
                </thead>
                <tbody>{rows}</tbody>
            </table>
        </div>
        {numbers}
        {proof}
    }
}
