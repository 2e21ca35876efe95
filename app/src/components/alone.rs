//! Weights without a config: what their headers hold, and what would tell the rest.

use leptos::prelude::*;
use phi3::estimate::GroupCount;
use phi3::inspect::{FormatCount, TotalParams, by_format};
use phi3::units::format_count;

use super::Findings;
use super::bits::{bytes, copies, copyable};
use crate::format::{Unit, percent};
use crate::state::weights::Weights;
use crate::text::{self, alone as words, params};

/// A whole number that a click copies without its commas.
fn number(count: u64) -> impl IntoView {
    copyable(format_count(count), count.to_string())
}

/// The page's cards.
#[component]
pub fn WeightsAlone(
    /// Headers of the weights.
    weights: Weights,
    /// Parameters, by the groups that names speak of.
    #[prop(into)]
    params: Signal<TotalParams>,
) -> impl IntoView {
    let findings = weights.findings.clone();
    let formats = by_format(&weights.stored());
    view! {
        <section id="fit" tabindex="-1" class="verdict warn" aria-label=text::verdict::HEADING data-testid="verdict" data-value="unknown">
            <div class="big">{text::verdict::NOT_KNOWN}</div>
            <div>
                <div>{words::NO_CONFIG}</div>
                <div class="dim">{words::NEXT}</div>
            </div>
        </section>
        <div class="grid">
            <Findings findings=Signal::derive(move || findings.clone())/>
            <section class="card c5 x-params" id="parameters" tabindex="-1" data-testid="weights-alone">
                <h2>{words::HEADING}</h2>
                {format_table(&formats)}
                {move || params.with(group_table)}
                <p class="rule">{words::read(&weights)}</p>
            </section>
        </div>
    }
}

fn format_table(formats: &[FormatCount]) -> impl IntoView + use<> {
    let sum = |read: fn(&FormatCount) -> u64| formats.iter().map(read).fold(0, u64::saturating_add);
    let unit = Unit::of(sum(|format| format.bytes));
    let row = |format: &FormatCount| {
        view! {
            <tr data-format=format.dtype.name()>
                <td class="mono">{copies(format.dtype.to_string())}</td>
                <td class="num">{number(format.tensors as u64)}</td>
                <td class="num">{number(format.numbers)}</td>
                <td class="num">{bytes(format.bytes, unit, "")}</td>
            </tr>
        }
    };
    let tensors = sum(|format| format.tensors as u64);
    view! {
        <table>
            <thead>
                <tr>
                    <th>{words::FORMAT}</th><th class="num">{words::TENSORS}</th>
                    <th class="num">{words::NUMBERS}</th><th class="num">{format!("{}, {}", words::SIZE, unit.name())}</th>
                </tr>
            </thead>
            <tbody>{formats.iter().map(row).collect_view()}</tbody>
            <tfoot>
                <tr>
                    <td>{params::TOTAL}</td>
                    <td class="num" data-testid="alone-tensors" data-value=tensors.to_string()>{number(tensors)}</td>
                    <td class="num">{number(sum(|format| format.numbers))}</td>
                    <td class="num">{bytes(sum(|format| format.bytes), unit, "alone-bytes")}</td>
                </tr>
            </tfoot>
        </table>
    }
}

fn group_table(counted: &TotalParams) -> impl IntoView + use<> {
    let total = counted.total.unwrap_or(0);
    let named = counted.groups.iter().map(|group| group.count).fold(0, u64::saturating_add);
    let row = |name: String, count: u64| {
        view! {
            <tr>
                <td>{name}</td>
                <td class="num">{number(count)}</td>
                <td class="num dim">{copies(percent(count, total))}</td>
            </tr>
        }
    };
    let of_group = |group: &GroupCount| row(text::group(group.name), group.count);
    let others = total.saturating_sub(named);
    view! {
        <table class="below">
            <thead><tr><th>{words::GROUP}</th><th class="num">{params::HEADING}</th><th class="num">{params::SHARE}</th></tr></thead>
            <tbody>
                {counted.groups.iter().map(of_group).collect_view()}
                {(others > 0).then(|| row(words::OTHERS.to_owned(), others))}
            </tbody>
            <tfoot>
                <tr>
                    <td>{params::TOTAL}</td>
                    <td class="num" data-testid="alone-params" data-value=total.to_string()>{number(total)}</td>
                    <td></td>
                </tr>
            </tfoot>
        </table>
    }
}
