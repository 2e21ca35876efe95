//! Parameters by group, counted.

use leptos::prelude::*;
use phi3::estimate;
use phi3::inspect::TotalParams;
use phi3::tensors::Group;
use phi3::units::format_count;

use super::bits::{copies, copyable};
use crate::format::percent;
use crate::state::Store;
use crate::text::{self, params as words};

/// The table, a bar for each group.
#[component]
pub fn Params(
    /// The counts.
    #[prop(into)]
    params: Signal<TotalParams>,
) -> impl IntoView {
    let store = Store::here();
    let rows = move || {
        let tied = store.model.with(|m| m.decoder.tie_word_embeddings);
        params.with(|p| {
            let most = p.groups.iter().map(|g| g.count).max().unwrap_or(0).max(1);
            let row = |group: &estimate::GroupCount| {
                let is_tied = tied && group.name == Group::LmHead;
                if group.count == 0 && !is_tied {
                    return None;
                }
                let width = format!("width:{:.2}%", group.count as f64 / most as f64 * 100.0);
                Some(view! {
                    <tr>
                        <td>{text::group(group.name)} {is_tied.then(|| view! { <span class="sub">{words::TIED}</span> })}</td>
                        <td class="wide hide-narrow"><div class="bar" aria-hidden="true"><i style=width></i></div></td>
                        <td class="num" data-value=group.count.to_string()>{copyable(format_count(group.count), group.count.to_string())}</td>
                        <td class="num dim">{copies(percent(group.count, p.total.unwrap_or(0)))}</td>
                    </tr>
                })
            };
            p.groups.iter().filter_map(row).collect_view()
        })
    };
    let total = move || params.with(|p| p.total.unwrap_or(0));
    let counted = move || store.model.with(|m| m.weights.as_ref().map(text::counted));
    view! {
        <section class="card c5 x-params" id="parameters" tabindex="-1">
            <h2>{words::HEADING}</h2>
            <table class="groups">
                <thead>
                    <tr>
                        <th>{words::GROUP}</th><td class="hide-narrow"></td>
                        <th class="num">{words::COUNT}</th><th class="num">{words::SHARE}</th>
                    </tr>
                </thead>
                <tbody>{rows}</tbody>
                <tfoot>
                    <tr>
                        <td>{words::TOTAL}</td><td class="hide-narrow"></td>
                        <td class="num" data-value=move || total().to_string()>{move || copyable(format_count(total()), total().to_string())}</td><td></td>
                    </tr>
                </tfoot>
            </table>
            {move || counted().map(|words| view! { <p class="rule" data-testid="counted">{words}</p> })}
        </section>
    }
}
