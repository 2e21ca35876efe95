//! Every ladder of the server, the newest first.

use leptos::prelude::*;
use phi3::api::{Ladder, LadderState};

use crate::components::bits::badge;
use crate::platform::page::moment;
use crate::state::Ladders;
use crate::text::ladder as words;

/// A state in its colour.
pub(super) fn state_badge(state: LadderState) -> impl IntoView {
    let tone = match state {
        LadderState::Passed => "ok",
        LadderState::Failed | LadderState::Interrupted => "bad",
        LadderState::Running => "acc",
        LadderState::Queued | LadderState::Cancelled => "",
    };
    badge(tone, words::state(state))
}

/// The list.
#[component]
pub fn List() -> impl IntoView {
    let ladders = Ladders::here();
    let current = move |id: u64| {
        ladders.shown.with(|shown| shown.as_ref().is_some_and(|l| l.id == id)).then_some("true")
    };
    let row = move |ladder: Ladder| {
        let id = ladder.id;
        let model = move || ladders.told.name(&ladder.model);
        view! {
            <tr aria-current=move || current(id)>
                <td><button type="button" class="link" on:click=move |_| ladders.choose(id)>{format!("#{id}")}</button> <span class="sub">{moment(ladder.created_ms)}</span></td>
                <td>{model} <span class="sub">{words::profile(&ladder.profile)}</span></td>
                <td>{state_badge(ladder.state)}</td>
            </tr>
        }
    };
    let rows = move || ladders.all.get().unwrap_or_default().into_iter().map(row).collect_view();
    let is_empty = move || ladders.all.with(|all| all.as_ref().is_none_or(Vec::is_empty));
    view! {
        <section class="card" data-testid="ladders">
            <h2>{words::ALL}</h2>
            <Show when=move || !is_empty() fallback=|| view! { <p class="dim">{words::NONE}</p> }>
                <table class="picked"><tbody>{rows}</tbody></table>
            </Show>
        </section>
    }
}
