//! The table of attempts: ten thousand rows, of which the document holds what is to be seen.

use leptos::prelude::*;
use phi3::api::AttemptState;

use crate::components::VirtualRows;
use crate::components::bits::badge;
use crate::format::{duration, rate};
use crate::platform::page::moment;
use crate::state::Attempts;
use crate::state::ledger::{Column, Row};
use crate::text::{self, attempts as words};

/// Height of a row in CSS pixels; the style sheet has the same.
const ROW_PX: f64 = 37.0;

/// A state in its colour.
pub(super) fn state_badge(state: AttemptState) -> impl IntoView {
    let tone = match state {
        AttemptState::Stopped | AttemptState::Ready => "ok",
        AttemptState::Failed | AttemptState::Lost => "bad",
        AttemptState::Cancelled | AttemptState::Queued => "",
        _ => "acc",
    };
    badge(tone, state.name())
}

/// The table with its search and filter.
#[component]
pub fn Table() -> impl IntoView {
    let attempts = Attempts::here();
    let count = Signal::derive(move || attempts.shown.with(Vec::len));
    let version = Signal::derive(move || attempts.version.get());
    let draw = move |place: usize| {
        let row = attempts
            .shown
            .with(|shown| shown.get(place).copied())
            .and_then(|i| attempts.rows.with(|rows| rows.get(i).cloned()));
        row.map_or_else(|| ().into_any(), |row| cells(attempts, &row).into_any())
    };
    let heading = move |column: Column| {
        let sorted = move || {
            let (by, descending) = attempts.sieve.with(|s| (s.by, s.descending));
            if by != column {
                "none"
            } else if descending {
                "descending"
            } else {
                "ascending"
            }
        };
        let arrow = move || match sorted() {
            "descending" => " ↓",
            "ascending" => " ↑",
            _ => "",
        };
        view! {
            <div role="columnheader" aria-sort=sorted class=class_of(column)>
                <button type="button" class="quiet" on:click=move |_| attempts.sort_by(column)>{words::column(column)} {arrow}</button>
            </div>
        }
    };
    let state_option = |state: AttemptState| view! { <option value=state.name()>{state.name()}</option> };
    let choose_state = move |ev| {
        let name = event_target_value(&ev);
        attempts.sieve.update(|s| s.state = AttemptState::ALL.into_iter().find(|state| state.name() == name));
    };
    view! {
        <section class="card" aria-labelledby="attempts-title" data-testid="attempts" data-count=move || attempts.rows.with(Vec::len).to_string()>
            <div class="card-head">
                <h2 id="attempts-title">{words::HEADING} " " <span class="faint">{move || text::of(count.get(), attempts.rows.with(Vec::len))}</span></h2>
                <div class="row">
                    <Show when=move || { attempts.marked.with(|m| m.len() >= 2) }>
                        <button type="button" class="btn small primary" data-testid="compare" on:click=move |_| attempts.compare()>
                            {move || words::compare(attempts.marked.with(Vec::len))}
                        </button>
                    </Show>
                    <select class="filter" aria-label=words::STATE on:change=choose_state>
                        <option value="">{words::ANY_STATE}</option>
                        {AttemptState::ALL.into_iter().map(state_option).collect_view()}
                    </select>
                    <input
                        type="search"
                        class="filter"
                        placeholder=words::SEARCH
                        aria-label=words::SEARCH
                        data-testid="attempts-search"
                        on:input=move |ev| { let needle = event_target_value(&ev); attempts.sieve.update(|s| s.needle = needle); }
                    />
                </div>
            </div>
            <div class="attempts" role="table" aria-labelledby="attempts-title" aria-rowcount=move || (count.get() + 1).to_string()>
                <div role="rowgroup"><div class="vhead" role="row">
                    <div role="columnheader"><span class="sr">{words::MARK}</span></div>
                    {Column::ALL.into_iter().map(heading).collect_view()}
                </div></div>
                <VirtualRows count row_height=ROW_PX draw version/>
            </div>
            <Show when=move || { count.get() == 0 && !attempts.loading.get() }><p class="dim">{words::NONE}</p></Show>
        </section>
    }
}

fn class_of(column: Column) -> &'static str {
    match column {
        Column::Id => "x-id",
        Column::Duration | Column::Rate => "num hide-narrow",
        Column::Note | Column::Model => "hide-narrow",
        Column::State | Column::Change => "",
    }
}

fn cells(attempts: Attempts, row: &Row) -> impl IntoView + use<> {
    let id = row.id;
    let marked = move || attempts.marked.with(|marked| marked.contains(&id));
    let current = move || attempts.chosen.with(|chosen| *chosen == Some(id)).then_some("true");
    let cell =
        |column: Column, content: AnyView| view! { <div role="cell" class=class_of(column)>{content}</div> };
    let change = if row.change.is_empty() { words::NO_CHANGE.to_owned() } else { row.change.clone() };
    let outcome = row.outcome.filter(|outcome| *outcome != "passed");
    view! {
        <div role="cell"><input type="checkbox" aria-label=words::mark(id) prop:checked=marked on:change=move |_| attempts.mark(id)/></div>
        {cell(Column::Id, view! { <button type="button" class="link" aria-current=current on:click=move |_| attempts.choose(id)>{format!("#{id}")}</button> <span class="faint">{moment(row.created_ms)}</span> }.into_any())}
        {cell(Column::State, view! { {state_badge(row.state)} {outcome.map(|o| view! { " " <span class="dim">{o}</span> })} }.into_any())}
        {cell(Column::Model, view! { <span title=row.model.clone()>{row.model.clone()}</span> }.into_any())}
        {cell(Column::Change, view! { <span class="mono" title=change.clone()>{change.clone()}</span> }.into_any())}
        {cell(Column::Duration, row.duration_ms.map(|ms| duration(ms as f64)).into_any())}
        {cell(Column::Rate, row.decode_tokens_per_s.map(rate).into_any())}
        {cell(Column::Note, view! { <span title=row.note.clone()>{row.note.clone()}</span> }.into_any())}
    }
}
