//! What proves a run: its logits against others, and what the device was seen to do.

use leptos::prelude::*;
use phi3::engine::{DeviceFacts, LimitFact};
use phi3::units::{format_bytes, format_count, format_small};
use phi3::validate::{Difference, Report};

use super::bits::{badge, copies, copyable};
use super::report::{fact, verdict};
use crate::format::percent_of_one;
use crate::text::proof as words;

/// What of a report proves it; nothing of one that has neither.
pub(super) fn proof(report: &Report) -> impl IntoView + use<> {
    let difference = report.difference.clone();
    let facts = report.facts.clone();
    (difference.is_some() || facts.is_some()).then(|| {
        let against = match difference {
            Some(difference) => view! {
                <h3>{words::AGAINST} " " {verdict(difference.verdict)}</h3>
                {apart(&difference)}
            }
            .into_any(),
            None => view! { <h3>{words::AGAINST}</h3> <p class="dim">{words::NOT_COMPARED}</p> }.into_any(),
        };
        view! {
            <div class="halves proof" data-testid="proof">
                <div>{against}</div>
                {facts.map(|facts| device(&facts))}
            </div>
        }
    })
}

/// How far logits are apart.
pub(super) fn apart(difference: &Difference) -> AnyView {
    // Where not one logit was a number there is nothing that could be told.
    if difference.scale == 0.0 {
        return view! { <p class="dim" data-testid="difference">{words::NOTHING_TO_COMPARE}</p> }.into_any();
    }
    let share = difference.max / difference.scale;
    let relative = words::of_scale(&small(share), &small(difference.bound));
    view! {
        <dl class="facts" data-testid="difference" data-max=difference.max.to_string()>
            <div><dt>{words::LARGEST}</dt><dd>{copyable(small(difference.max), difference.max.to_string())} <small>{relative}</small></dd></div>
            {fact(words::MEAN, small(difference.mean))}
            {fact(words::TOP1, percent_of_one(difference.top1_agreement))}
            {fact(words::TOP5, percent_of_one(difference.top5_overlap))}
            {fact(words::ROWS, format_count(difference.rows as u64))}
        </dl>
    }
    .into_any()
}

/// A number that may be very small: `0`, `3.1e-6`, `0.042`.
fn small(value: f64) -> String {
    if value.abs() < 1e-3 { format_small(value) } else { format!("{value:.3}") }
}

fn device(facts: &DeviceFacts) -> impl IntoView + use<> {
    let name = if facts.name.is_empty() { words::UNNAMED.to_owned() } else { facts.name.clone() };
    let row = |name: &'static str, value: String| view! { <tr><th scope="row">{name}</th><td>{copies(value)}</td></tr> };
    // Sizes in bytes are told as sizes; what is counted is counted.
    let amount = |limit: &LimitFact, value: u64| {
        let is_size = ["Size", "memory"].iter().any(|word| limit.name.contains(word)) && value >= 1 << 10;
        if is_size && !limit.name.contains("Workgroup") { format_bytes(value) } else { format_count(value) }
    };
    let limit = |limit: &LimitFact| {
        let needed =
            limit.needed.map_or_else(|| words::NOT_COUNTED.to_owned(), |needed| amount(limit, needed));
        view! { <tr><td class="mono">{limit.name.clone()}</td><td class="num">{amount(limit, limit.granted)}</td><td class="num">{needed}</td></tr> }
    };
    let was_used = facts.submissions > 0;
    view! {
        <div data-testid="device-facts" data-submissions=facts.submissions.to_string()>
            <h3>{words::DEVICE}</h3>
            <p>{name} " " {facts.is_software.then(|| badge("warn", words::SOFTWARE))}</p>
            <table class="about">
                <tbody>
                    {was_used.then(|| row(words::SUBMISSIONS, format_count(facts.submissions)))}
                    {was_used.then(|| row(words::BUFFERS, format_bytes(facts.buffer_bytes)))}
                    {(!facts.features.is_empty()).then(|| row(words::USES, facts.features.join(", ")))}
                </tbody>
            </table>
            {(!facts.limits.is_empty()).then(|| view! {
                <table>
                    <thead><tr><th>{words::LIMIT}</th><th class="num">{words::GRANTED}</th><th class="num">{words::NEEDED}</th></tr></thead>
                    <tbody>{facts.limits.iter().map(limit).collect_view()}</tbody>
                </table>
            })}
        </div>
    }
}
