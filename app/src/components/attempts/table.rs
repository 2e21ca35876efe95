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
    let is_narrow = page::is_narrow();
    let row_height = if is_narrow { NARROW_ROW_PX } else { ROW_PX };
    let draw = move |place: Memo<usize>| cells(attempts, columns, place, is_narrow).into_any();
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
                <VirtualRows count row_height draw/>
            </div>
            <Show when=move || { count.get() == 0 && attempts.rows.with(|rows| !rows.is_empty()) }><p class="dim below">{words::NONE}</p></Show>
        </section>
    }
}

fn class_of(column: Column) -> &'static str {
    match column {
        Column::Id => "x-id",
        Column::Duration | Column::Load | Column::Ttft | Column::Rate | Column::Memory => "num hide-narrow",
        Column::Note | Column::Model | Column::Device | Column::Change => "hide-narrow",
        Column::State => "",
    }
}

/// The cells of a row: made once for each element of the list, whatever attempt it shows.
fn cells(attempts: Attempts, columns: Columns, place: Memo<usize>, is_narrow: bool) -> impl IntoView {
    let row = Memo::new(move |_| {
        let at = attempts.shown.with(|shown| shown.get(place.get()).copied())?;
        attempts.rows.with(|rows| rows.get(at).cloned())
    });
    let id = move || row.with(|row| row.as_ref().map_or(0, |row| row.id));
    let marked = move || attempts.marked.with(|marked| marked.contains(&id()));
    view! {
        <div role="cell"><input type="checkbox" aria-label=move || words::mark(id()) prop:checked=marked on:change=move |_| attempts.mark(untrack(id))/></div>
        {move || columns.shown.get().into_iter().map(|column| cell(attempts, column, row, is_narrow)).collect_view()}
    }
}

fn cell(attempts: Attempts, column: Column, row: Memo<Option<Row>>, is_narrow: bool) -> impl IntoView {
    let text =
        move |read: fn(&Row) -> String| move || row.with(|row| row.as_ref().map(read).unwrap_or_default());
    let titled = move |class: &'static str, read: fn(&Row) -> String| {
        view! { <span class=class title=text(read)>{text(read)}</span> }.into_any()
    };
    let content = match column {
        Column::Id => id_cell(attempts, row, is_narrow).into_any(),
        Column::State => {
            let class = move || {
                row.with(|row| {
                    format!("badge {}", row.as_ref().map_or("", |row| tone(row.state, row.standing)))
                })
            };
            let state = text(|row| row.standing.to_owned());
            let outcome = move || {
                row.with(|row| {
                    let row = row.as_ref()?;
                    let share = attempts.loads.of(row.id).map(|loading| percent_of_one(loading.share()));
                    share.or(row.outcome.filter(|outcome| *outcome != "passed").map(text::outcome::of_name))
                })
            };
            view! { <span class=class>{state}</span> " " <span class="dim">{outcome}</span> }.into_any()
        }
        Column::Model => {
            let name = move || row.with(|row| row.as_ref().map(|row| attempts.told.name(&row.model)));
            view! { <span class="two" title=name>{name}</span> }.into_any()
        }
        Column::Device => titled("mono", |row| row.device.clone()),
        Column::Change => titled("mono two", |row| words::change(&row.change, row.parent)),
        Column::Note => titled("two", |row| row.note.clone()),
        Column::Duration => number(row, |row| shown(row.duration_ms.map(|ms| ms as f64), duration)),
        Column::Load => number(row, |row| shown(row.load_ms, duration)),
        Column::Ttft => number(row, |row| shown(row.ttft_ms, duration)),
        Column::Rate => number(row, |row| shown(row.decode_tokens_per_s, rate)),
        Column::Memory => number(row, |row| row.memory_bytes.map(format_bytes).unwrap_or_default()),
    };
    view! { <div role="cell" class=class_of(column)>{content}</div> }
}

/// A number in its unit; nothing where there is none.
fn shown(value: Option<f64>, print: fn(f64) -> String) -> String {
    value.map(print).unwrap_or_default()
}

/// A number that a click copies. Its element stays where a row has none: scrolling makes no other.
fn number(row: Memo<Option<Row>>, read: fn(&Row) -> String) -> AnyView {
    let store = Store::here();
    let text = Memo::new(move |_| row.with(|row| row.as_ref().map(read).unwrap_or_default()));
    let copy = move |_| text.with_untracked(|text| store.copy(text.clone(), text));
    view! { <button type="button" class="value" title=text::COPY hidden=move || text.with(String::is_empty) on:click=copy>{text}</button> }
        .into_any()
}

fn id_cell(attempts: Attempts, row: Memo<Option<Row>>, is_narrow: bool) -> impl IntoView {
    let id = move || row.with(|row| row.as_ref().map_or(0, |row| row.id));
    let current = move || attempts.chosen.with(|chosen| *chosen == Some(id())).then_some("true");
    // Where there is no room for their columns.
    let below = move || {
        row.with(|row| {
            let row = row.as_ref()?;
            let change = Some(row.change.as_str()).filter(|change| !change.is_empty());
            let model = attempts.told.name(&row.model);
            Some(change.map_or(model.clone(), |change| format!("{model} · {change}")))
        })
    };
    let when = move || row.with(|row| row.as_ref().map(|row| moment(row.created_ms)));
    view! {
        <button type="button" class="link" aria-current=current on:click=move |_| attempts.choose(untrack(id))>{move || format!("#{}", id())}</button>
        " " <span class="faint">{when}</span>
        {is_narrow.then(|| view! { <span class="under two dim" data-testid="attempt-under">{below}</span> })}
    }
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
