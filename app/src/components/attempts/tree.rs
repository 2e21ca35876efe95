//! The chain of parents, drawn: how one change led to the next.

use leptos::prelude::*;

use super::table::standing_badge;
use crate::state::ledger::{Branch, Guide, Row};
use crate::state::{Attempts, ledger};
use crate::text::attempts as words;

/// What is drawn of one attempt.
#[derive(Clone, PartialEq)]
struct Drawn {
    row: Row,
    guides: Vec<Guide>,
    /// Whether the line of its lane comes from its parent above, and goes on to its child below.
    above: bool,
    below: bool,
}

fn drawn(tree: &[Branch], rows: &[Row]) -> Vec<Drawn> {
    let one = |(at, branch): (usize, &Branch)| Drawn {
        row: rows[branch.row].clone(),
        guides: ledger::guides(tree, at),
        above: at > 0 && !branch.is_branched,
        // A child follows its parent; those of several hang in the lane below it too.
        below: tree.get(at + 1).is_some_and(|next| rows[next.row].parent == Some(rows[branch.row].id)),
    };
    tree.iter().enumerate().map(one).collect()
}

fn guide(guide: Guide) -> impl IntoView {
    let class = match guide {
        Guide::Gap => "",
        Guide::Pass => "pass",
        Guide::Tee => "tee",
        Guide::End => "end",
    };
    view! { <i class=class></i> }
}

/// The tree that the chosen attempt belongs to.
#[component]
pub fn Tree(
    /// The chosen attempt.
    id: u64,
) -> impl IntoView {
    let attempts = Attempts::here();
    let tree = Memo::new(move |_| attempts.rows.with(|rows| drawn(&ledger::tree(rows, id), rows)));
    let item = move |Drawn { row, guides, above, below }: Drawn| {
        let other = row.id;
        let change = words::change(&row.change, row.parent);
        view! {
            <li aria-current=(other == id).then_some("true") data-attempt=other.to_string()>
                <span class="guides" aria-hidden="true">
                    {guides.into_iter().map(guide).collect_view()}
                    <i class="node" class:from=above class:on=below></i>
                </span>
                <span class="leaf">
                    <button type="button" class="link" on:click=move |_| attempts.choose(other)>{format!("#{other}")}</button>
                    <span class="mono">{change}</span> {standing_badge(row.state, row.standing)}
                    {row.parent.map(|parent| view! { <span class="sr">{words::after(parent)}</span> })}
                </span>
            </li>
        }
    };
    view! {
        <Show when=move || { tree.with(|tree| tree.len() > 1) }>
            <h3>{words::TREE}</h3>
            <ul class="plain tree" data-testid="tree">{move || tree.get().into_iter().map(item).collect_view()}</ul>
        </Show>
    }
}
