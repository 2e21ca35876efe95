//! Memory term by term, each with its formula and how sure it is.

use leptos::prelude::*;
use phi3::estimate::{Badge, Term};

use super::bits::{TERM_COLOURS, badge, bytes};
use crate::format::{Unit, exact_bytes};
use crate::state::Store;
use crate::text::{self, memory as words};

fn sureness(sure: Badge) -> impl IntoView {
    let tone = match sure {
        Badge::Exact | Badge::Measured => "ok",
        Badge::Formula => "acc",
        Badge::Calibrated => "",
    };
    view! { <span title=text::sureness(sure)>{badge(tone, sure.name())}</span> }
}

/// Longest formula shown whole; a longer one opens on a click.
const SHORT: usize = 90;

fn formula(formula: &str) -> AnyView {
    let words = formula.to_owned();
    if formula.len() <= SHORT {
        return view! { <span class="sub">{words}</span> }.into_any();
    }
    let whole = words.clone();
    view! { <details class="sub long" title=whole><summary>{words}</summary></details> }.into_any()
}

/// Place of a term in the page's order; for the colour and for tests.
fn place(name: &str) -> Option<(usize, &'static str)> {
    ["weights", "kv_cache", "activations", "overhead"]
        .into_iter()
        .position(|n| n == name)
        .map(|i| (i, ["weights-bytes", "kv-bytes", "activation-bytes", "overhead-bytes"][i]))
}

/// The table of terms.
#[component]
pub fn Terms() -> impl IntoView {
    let store = Store::here();
    let row = |term: &Term, unit: Unit| {
        let (name, colour, testid) = match place(&term.name) {
            Some((i, testid)) => (text::capitalised(words::NAMES[i]), TERM_COLOURS[i], testid),
            // What is loaded beside the weights lies with them in the bars.
            None => (text::capitalised(&term.name.replace('_', " ")), TERM_COLOURS[0], ""),
        };
        view! {
            <tr>
                <td class="key">
                    <i style=format!("background:{colour}")></i>{name}
                    {formula(&term.formula)}
                </td>
                <td class="num">{bytes(term.bytes, unit, testid)}</td>
                <td>{sureness(term.badge)}</td>
            </tr>
        }
    };
    let rows =
        move || store.report.with(|r| r.terms.iter().map(|t| row(t, Unit::of(r.total_bytes))).collect_view());
    let unit = Memo::new(move |_| store.report.with(|r| Unit::of(r.total_bytes)));
    let total = move || bytes(store.report.with(|r| r.total_bytes), unit.get(), "total-bytes");
    let per_token = move || store.report.with(|r| r.kv_bytes_per_token);
    view! {
        <section class="card c5 x-terms" data-testid="terms">
            <h2>
                {words::TERMS}
                <button
                    type="button"
                    class="value faint"
                    data-testid="kv-per-token"
                    data-value=move || per_token().to_string()
                    title=move || exact_bytes(per_token())
                    on:click=move |_| store.copy(per_token().to_string(), &exact_bytes(per_token()))
                >
                    {move || text::per_token(per_token())}
                </button>
            </h2>
            <table>
                <thead><tr><th>{words::TERM}</th><th class="num">{move || unit.get().name()}</th><th>{words::HOW_SURE}</th></tr></thead>
                <tbody>{rows}</tbody>
                <tfoot><tr><td>{words::TOTAL}</td><td class="num">{total}</td><td></td></tr></tfoot>
            </table>
        </section>
    }
}
