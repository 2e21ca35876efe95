//! Everything the answer rests on; what nobody chose is marked.

use leptos::prelude::*;
use phi3::estimate::Assumption;

use super::bits::{badge, copies};
use crate::state::Store;
use crate::text::assumptions as words;

/// The list.
#[component]
pub fn Assumptions() -> impl IntoView {
    let store = Store::here();
    let list = Memo::new(move |_| store.report.with(|r| r.assumptions.clone()));
    let row = |assumption: &Assumption| {
        let origin =
            if assumption.is_default { badge("", words::DEFAULT) } else { badge("acc", words::CHOSEN) };
        view! {
            <tr data-assumption=assumption.name.clone()>
                <td><code>{assumption.name.clone()}</code></td>
                <td>{copies(assumption.value.clone())}</td>
                <td>{origin}</td>
            </tr>
        }
    };
    view! {
        <section class="card c7 x-assumptions" data-testid="assumptions">
            <h2>{words::HEADING}</h2>
            <table class="rows pairs">
                <thead><tr><th>{words::NAME}</th><th>{words::VALUE}</th><th>{words::ORIGIN}</th></tr></thead>
                <tbody>{move || list.with(|l| l.iter().map(row).collect_view())}</tbody>
            </table>
        </section>
    }
}
