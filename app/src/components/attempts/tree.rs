//! The chain of parents: how one change led to the next.

use leptos::prelude::*;

use super::table::state_badge;
use crate::state::{Attempts, ledger};
use crate::text::attempts as words;

/// The tree that the chosen attempt belongs to.
#[component]
pub fn Tree(
    /// The chosen attempt.
    id: u64,
) -> impl IntoView {
    let attempts = Attempts::here();
    let branches = Memo::new(move |_| {
        attempts.rows.with(|rows| {
            ledger::tree(rows, id).into_iter().map(|b| (b.depth, rows[b.row].clone())).collect::<Vec<_>>()
        })
    });
    let branch = move |(depth, row): (usize, ledger::Row)| {
        let other = row.id;
        let change = if row.change.is_empty() { words::NO_CHANGE.to_owned() } else { row.change.clone() };
        view! {
            <li style=format!("--depth:{depth}") aria-current=(other == id).then_some("true")>
                <button type="button" class="link" on:click=move |_| attempts.choose(other)>{format!("#{other}")}</button>
                " " <span class="mono">{change}</span> " " {state_badge(row.state)}
            </li>
        }
    };
    view! {
        <Show when=move || { branches.with(|b| b.len() > 1) }>
            <h3>{words::TREE}</h3>
            <ul class="plain tree">{move || branches.get().into_iter().map(branch).collect_view()}</ul>
        </Show>
    }
}
