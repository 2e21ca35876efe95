//! Weights without a config: what their headers hold, and what would tell the rest.

use leptos::prelude::*;
use phi3::estimate::{GroupCount, StoredTensors};
use phi3::inspect::{FormatCount, TotalParams, by_format};
use phi3::units::format_count;
use phi3::weights::StoredTensor;

use super::bits::{bytes, copies, copyable, sought};
use super::{Findings, Search};
use crate::format::{Unit, percent};
use crate::state::Store;
use crate::state::weights::Weights;
use crate::text::{self, alone as words, params};

/// Tensors that are drawn; more are found by the filter.
const DRAWN: usize = 200;

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
    let stored = weights.stored();
    let formats = by_format(&stored);
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
            <Tensors stored/>
        </div>
    }
}

/// The list of tensors, sifted by the page's search.
#[component]
fn Tensors(stored: StoredTensors) -> impl IntoView {
    let store = Store::here();
    let unit = Unit::of(stored.values().map(|tensor| tensor.len).max().unwrap_or(0));
    let all = StoredValue::new(stored);
    let found = Memo::new(move |_| {
        let needle = sought(store);
        let has = |name: &String, tensor: &StoredTensor| {
            name.to_ascii_lowercase().contains(&needle) || tensor.dtype.name().contains(&needle)
        };
        all.with_value(|all| {
            all.iter()
                .filter(|(name, tensor)| has(name, tensor))
                .map(|(name, _)| name.clone())
                .collect::<Vec<_>>()
        })
    });
    let row = move |name: &String| {
        let tensor = all.with_value(|all| all.get(name).cloned())?;
        let shape =
            tensor.shape.iter().map(|side| format_count(*side as u64)).collect::<Vec<_>>().join(" × ");
        Some(view! {
            <tr>
                <td class="mono">{copies(name.clone())}</td>
                <td class="mono">{tensor.dtype.to_string()}</td>
                <td class="num">{shape}</td>
                <td class="num">{bytes(tensor.len, unit, "")}</td>
            </tr>
        })
    };
    let rows = move || found.with(|found| found.iter().take(DRAWN).map(row).collect_view());
    let hidden = move || found.with(|found| found.len().saturating_sub(DRAWN));
    let count = move || text::of(found.with(Vec::len), all.with_value(StoredTensors::len));
    view! {
        <section class="card c12" data-testid="tensors">
            <div class="card-head">
                <h2>{words::ALL} " " <span class="faint">{count}</span></h2>
                <Search label=words::FILTER testid="tensors-filter"/>
            </div>
            <div class="scroll">
                <table class="tensors">
                    <thead>
                        <tr>
                            <th>{words::NAME}</th><th>{words::FORMAT}</th><th class="num">{words::SHAPE}</th>
                            <th class="num">{format!("{}, {}", words::SIZE, unit.name())}</th>
                        </tr>
                    </thead>
                    <tbody>{rows}</tbody>
                </table>
            </div>
            <Show when=move || found.with(Vec::is_empty)><p class="dim">{words::NOTHING}</p></Show>
            <Show when=move || { hidden() > 0 }><p class="dim below-table">{move || words::more(hidden())}</p></Show>
        </section>
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
