//! The table of attempts: ten thousand rows, of which the document holds what is to be seen.

use leptos::prelude::*;
use phi3::api::{Attempt, AttemptState};
use phi3::units::format_bytes;

use crate::api;
use crate::components::bits::badge;
use crate::components::{Menu, VirtualRows};
use crate::format::{duration, percent_of_one, rate};
use crate::platform::page::{self, moment};
use crate::state::columns::{Column, Columns};
use crate::state::ledger::Row;
use crate::state::{Attempts, Store, ledger};
use crate::text::{self, attempts as words};

/// Formats that the server writes all attempts in, and their names.
const EXPORTS: [(&str, &str); 3] = [("csv", "CSV"), ("jsonl", "JSON Lines"), ("markdown", "Markdown")];
/// Height of a row in CSS pixels; the style sheet has the same.
const ROW_PX: f64 = 37.0;
/// The same on a narrow screen, where model and change stand below the id.
const NARROW_ROW_PX: f64 = 66.0;

/// The colour of how an attempt stands: of its state, but that what shows too little is no plain success.
pub(super) fn tone(state: AttemptState, standing: &str) -> &'static str {
    match state {
        _ if standing == Attempt::UNVERIFIED => "warn",
        AttemptState::Stopped | AttemptState::Ready => "ok",
        AttemptState::Failed | AttemptState::Lost => "bad",
        AttemptState::Cancelled | AttemptState::Queued => "",
        _ => "acc",
    }
}

/// How an attempt stands, in its colour.
pub(super) fn standing_badge(state: AttemptState, standing: &'static str) -> impl IntoView {
    badge(tone(state, standing), standing)
}

/// The table with its search and filter.
#[component]
pub fn Table() -> impl IntoView {
    let attempts = Attempts::here();
    let count = Signal::derive(move || attempts.shown.with(Vec::len));
    let columns = Columns::kept();
    let is_narrow = page::narrow();
    let row_height = Signal::derive(move || if is_narrow.get() { NARROW_ROW_PX } else { ROW_PX });
    let draw = move |place: usize| {
        let shown = columns.shown.get();
        with_row(attempts, place, |row| cells(attempts, &shown, row, is_narrow.get()))
    };
    let store = Store::here();
    let press = move |place: usize, ev: &leptos::ev::Event| {
        let Some(id) = untrack(|| with_row(attempts, place, |row| row.map(|row| row.id))) else { return };
        if page::source_of(ev, ".link").is_some() {
            attempts.choose(id);
        } else if page::source_of(ev, "input").is_some() {
            attempts.mark(id);
        } else if let Some(text) = page::source_of(ev, ".value").and_then(|value| value.text_content()) {
            store.copy(text.clone(), &text);
        }
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
    let option = |word: &'static str, shown: String, is_chosen: Signal<bool>| {
        view! { <option value=word prop:selected=is_chosen>{shown}</option> }
    };
    let standing = move |word: &'static str| {
        option(
            word,
            word.to_owned(),
            Signal::derive(move || attempts.sieve.with(|sieve| sieve.standing == Some(word))),
        )
    };
    // What no row has is no choice, unless it is chosen.
    let outcomes = Memo::new(move |_| {
        let mut there = attempts.rows.with(|rows| ledger::outcomes(rows));
        let chosen = attempts.sieve.with(|sieve| sieve.outcome);
        there.extend(chosen.filter(|chosen| !there.contains(chosen)));
        there
    });
    let outcome = move |word: &'static str| {
        option(
            word,
            text::outcome::of_name(word),
            Signal::derive(move || attempts.sieve.with(|sieve| sieve.outcome == Some(word))),
        )
    };
    let choose_standing = move |ev| {
        let word = event_target_value(&ev);
        attempts.sieve.update(|sieve| sieve.standing = ledger::standing(&word));
    };
    let choose_outcome = move |ev| {
        let word = event_target_value(&ev);
        attempts.sieve.update(|sieve| sieve.outcome = ledger::outcome(&word));
    };
    view! {
        <section class="card" aria-labelledby="attempts-title" data-testid="attempts" data-count=move || attempts.rows.with(Vec::len).to_string()>
            <div class="card-head">
                <h2 id="attempts-title">{words::HEADING} " " <span class="faint">{move || (!attempts.waits()).then(|| text::of(count.get(), attempts.rows.with(Vec::len)))}</span></h2>
                <div class="row">
                    <Show when=move || { attempts.marked.with(|m| m.len() >= 2) }>
                        <button type="button" class="btn small primary" data-testid="compare" on:click=move |_| attempts.compare()>
                            {move || words::compare(attempts.marked.with(Vec::len))}
                        </button>
                    </Show>
                    <ColumnMenu columns/>
                    <Menu label=text::header::EXPORT testid="attempts-export" class="btn small">
                        {EXPORTS.into_iter().map(|(format, name)| view! { <a class="quiet" href=api::exported(format) download="">{name}</a> }).collect_view()}
                    </Menu>
                    <select class="filter" aria-label=words::STATE data-testid="attempts-state" on:change=choose_standing>
                        <option value="">{words::ANY_STATE}</option>
                        {ledger::standings().map(standing).collect_view()}
                    </select>
                    <select class="filter" aria-label=words::OUTCOME data-testid="attempts-outcome" on:change=choose_outcome>
                        <option value="">{words::ANY_OUTCOME}</option>
                        {move || outcomes.get().into_iter().map(outcome).collect_view()}
                    </select>
                    <input
                        type="search"
                        class="filter"
                        placeholder=words::SEARCH
                        aria-label=words::SEARCH
                        data-testid="attempts-search"
                        prop:value=move || attempts.sieve.with(|sieve| sieve.needle.clone())
                        on:input=move |ev| { let needle = event_target_value(&ev); attempts.sieve.update(|s| s.needle = needle); }
                    />
                </div>
            </div>
            <div class="attempts" role="table" style=move || columns.style() aria-labelledby="attempts-title" aria-rowcount=move || (count.get() + 1).to_string()>
                <div role="rowgroup" class="vhead-box"><div class="vhead" role="row">
                    <div role="columnheader"><span class="sr">{words::MARK}</span></div>
                    {move || columns.shown.get().into_iter().map(heading).collect_view()}
                </div></div>
                <VirtualRows count row_height draw press/>
            </div>
            <Show when=move || { count.get() == 0 && attempts.rows.with(|rows| !rows.is_empty()) }><p class="dim below">{words::NONE}</p></Show>
        </section>
    }
}

fn class_of(column: Column) -> &'static str {
    match column {
        Column::Id => "x-id",
        Column::Duration | Column::Load | Column::Ttft | Column::Rate | Column::Memory => "num hide-narrow",
        Column::Model | Column::Note => "two hide-narrow",
        Column::Change => "code two hide-narrow",
        Column::Device => "code cut hide-narrow",
        Column::State => "cut",
    }
}

/// What is read of the attempt that stands in a place, if there is one.
fn with_row<T>(attempts: Attempts, place: usize, read: impl FnOnce(Option<&Row>) -> T) -> T {
    attempts
        .rows
        .with(|rows| read(attempts.shown.with(|shown| shown.get(place).copied()).and_then(|at| rows.get(at))))
}

/// The cells of a row, the same elements whatever attempt it shows.
fn cells(attempts: Attempts, columns: &[Column], row: Option<&Row>, is_narrow: bool) -> AnyView {
    let Some(row) = row else { return ().into_any() };
    let marked = attempts.marked.with(|marked| marked.contains(&row.id));
    view! {
        <div role="cell"><input type="checkbox" aria-label=words::mark(row.id) prop:checked=marked/></div>
        {columns.iter().map(|column| cell(attempts, *column, row, is_narrow)).collect_view()}
    }
    .into_any()
}

fn cell(attempts: Attempts, column: Column, row: &Row, is_narrow: bool) -> AnyView {
    let class = class_of(column);
    let titled = |text: String| {
        let said = text.clone();
        view! { <div role="cell" class=class title=said>{text}</div> }.into_any()
    };
    // A click copies it. Its element stays where a row has none.
    let number = |text: String| {
        let is_empty = text.is_empty();
        view! { <div role="cell" class=class><button type="button" class="value" title=text::COPY hidden=is_empty>{text}</button></div> }
            .into_any()
    };
    match column {
        Column::Id => id_cell(attempts, row, is_narrow),
        Column::State => {
            let loading = attempts.loads.of(row.id).map(|loading| percent_of_one(loading.share()));
            let outcome = row.outcome.filter(|outcome| *outcome != "passed").map(text::outcome::of_name);
            let said = loading.or(outcome).unwrap_or_default();
            let badge = format!("badge {}", tone(row.state, row.standing));
            view! { <div role="cell" class=class><span class=badge>{row.standing}</span> " " <span class="dim">{said}</span></div> }
                .into_any()
        }
        Column::Model => titled(attempts.told.name(&row.model)),
        Column::Device => titled(row.device.clone()),
        Column::Change => titled(words::change(&row.change, row.parent)),
        Column::Note => titled(row.note.clone()),
        Column::Duration => number(shown(row.duration_ms.map(|ms| ms as f64), duration)),
        Column::Load => number(shown(row.load_ms, duration)),
        Column::Ttft => number(shown(row.ttft_ms, duration)),
        Column::Rate => number(shown(row.decode_tokens_per_s, rate)),
        Column::Memory => number(row.memory_bytes.map(format_bytes).unwrap_or_default()),
    }
}

/// A number in its unit; nothing where there is none.
fn shown(value: Option<f64>, print: fn(f64) -> String) -> String {
    value.map(print).unwrap_or_default()
}

fn id_cell(attempts: Attempts, row: &Row, is_narrow: bool) -> AnyView {
    let current = attempts.chosen.with(|chosen| *chosen == Some(row.id)).then_some("true");
    // Where there is no room for their columns.
    let below = is_narrow.then(|| {
        let model = attempts.told.name(&row.model);
        let text = if row.change.is_empty() { model } else { format!("{model} · {}", row.change) };
        view! { <span class="under two dim" data-testid="attempt-under">{text}</span> }
    });
    view! {
        <div role="cell" class=class_of(Column::Id)>
            <button type="button" class="link" aria-current=current>{format!("#{}", row.id)}</button>
            " " <span class="faint">{moment(row.created_ms)}</span>
            {below}
        </div>
    }
    .into_any()
}

/// The columns, to be chosen.
#[component]
fn ColumnMenu(columns: Columns) -> impl IntoView {
    let option = move |column: Column| {
        let is_shown = move || columns.shown.with(|shown| shown.contains(&column));
        view! {
            <label class="row"><input type="checkbox" prop:checked=is_shown disabled=column == Column::Id data-column=column.name() on:change=move |_| columns.toggle(column)/> {words::column(column)}</label>
        }
    };
    view! {
        <Menu label=words::COLUMNS testid="columns" class="btn small" stays=true>
            <fieldset><legend class="sr">{words::COLUMNS}</legend>{Column::ALL.into_iter().map(option).collect_view()}</fieldset>
        </Menu>
    }
}
