//! The rungs of a ladder, as they run.

use leptos::prelude::*;
use phi3::api::{Ladder, LadderRung, RungState};
use phi3::ladder::Action;
use phi3::load_config::OutcomeClass;

use super::list::state_badge;
use crate::components::bits::badge;
use crate::components::loading::bar;
use crate::platform::page::moment;
use crate::state::{Ladders, Page, Store};
use crate::text::{self, ladder as words, models};

/// The ladder that is looked at.
#[component]
pub fn Rungs() -> impl IntoView {
    let ladders = Ladders::here();
    let is_known = move || ladders.all.with(Option::is_some);
    move || match ladders.shown.get() {
        Some(ladder) => view! { <Shown ladder/> }.into_any(),
        None if is_known() => {
            let is_empty = ladders.all.with(|all| all.as_ref().is_none_or(Vec::is_empty));
            let words = if is_empty { words::NONE } else { words::GONE };
            view! { <section class="card c8"><p class="dim">{words}</p></section> }.into_any()
        }
        None => {
            view! { <div class="c8" aria-hidden="true"><div class="ghost ghost-plot"></div></div> }.into_any()
        }
    }
}

#[component]
fn Shown(ladder: Ladder) -> impl IntoView {
    let ladders = Ladders::here();
    let id = ladder.id;
    let place = ladder.rungs.iter().position(|rung| rung.state == RungState::Running);
    let where_it_is = match (place, ladder.position) {
        (Some(place), _) => Some(words::place(place + 1, ladder.rungs.len())),
        (None, Some(before)) => Some(words::waits(before)),
        (None, None) => None,
    };
    let cancel = ladder.state.goes_on().then(|| view! {
        <button type="button" class="btn small" data-testid="ladder-cancel" on:click=move |_| ladders.cancel(id)>{words::CANCEL} <kbd class="faint">{text::validate::ESC}</kbd></button>
    });
    let resume = ladder.state.can_resume().then(|| view! {
        <button type="button" class="btn small primary" data-testid="ladder-resume" on:click=move |_| ladders.resume(id)>{words::RESUME}</button>
    });
    let known_good = ladder
        .known_good
        .map(|attempt| view! { <p class="dim">{words::KNOWN_GOOD} ": " {attempt_link(attempt)}</p> });
    let reason = ladder.reason.clone();
    let model = ladder.model.clone();
    let title = move || words::title(id, &ladders.told.name(&model));
    view! {
        <section class="card c8 ladder" data-testid="ladder" data-id=id.to_string() data-state=ladder.state.name()>
            <div class="card-head">
                <div>
                    <h2 class="title">{title}</h2>
                    <div class="dim">
                        {words::profile(&ladder.profile)} " · " {moment(ladder.created_ms)} " · " {state_badge(ladder.state)}
                        {where_it_is.map(|words| view! { " " {badge("acc", words)} })}
                    </div>
                </div>
                <div class="row">{cancel} {resume}</div>
            </div>
            {(!reason.is_empty()).then(|| view! { <p class="prose" role="status">{text::capitalised(&text::outcome::told(&reason))} "."</p> })}
            {known_good}
            <ol class="rungs" aria-label=words::RUNGS>{ladder.rungs.into_iter().map(rung).collect_view()}</ol>
        </section>
    }
}

fn attempt_link(id: u64) -> impl IntoView {
    let store = Store::here();
    view! { <button type="button" class="link" on:click=move |_| store.go_to(Page::Attempts, id.to_string())>{models::attempt(id)}</button> }
}

fn mark(rung: &LadderRung) -> String {
    match rung.state {
        RungState::Passed => "✓".to_owned(),
        RungState::Failed => "✕".to_owned(),
        RungState::Skipped => "–".to_owned(),
        RungState::Waiting | RungState::Running => rung.step.clone(),
    }
}

fn rung(rung: LadderRung) -> impl IntoView {
    let ladders = Ladders::here();
    let class = match rung.class {
        // The attempt has passed, and not shown what was expected of it: the rung has one state.
        Some(OutcomeClass::Passed) if rung.state == RungState::Failed => {
            Some(badge("bad", words::UNEXPECTED))
        }
        Some(class) if rung.state == RungState::Failed => Some(badge("bad", text::outcome::outcome(class))),
        _ => None,
    };
    let change = match rung.changes.as_slice() {
        [one] => Some(badge("acc", words::one_change(&one.to_string()))),
        _ => None,
    };
    let predicted = rung.predicted.map(|memory| {
        words::predicted(memory.total_bytes, rung.device.as_deref().unwrap_or("auto"), rung.free_bytes)
    });
    let measured = rung.measured.map(|memory| words::measured(memory.total_bytes));
    let sums: Vec<String> = predicted.into_iter().chain(measured).collect();
    let reason = (!rung.reason.is_empty())
        .then(|| format!("{}.", text::capitalised(&text::outcome::told(&rung.reason))));
    let last = rung.attempts.last().copied();
    let is_running = rung.state == RungState::Running;
    let progress = move || if is_running { ladders.loading(last).map(bar) } else { None };
    let attempts = rung.attempts.iter().map(|id| view! { {attempt_link(*id)} " " }).collect_view();
    view! {
        <li class="rung" data-rung=rung.step.clone() data-state=words::rung_state(rung.state)>
            <span class="mark" aria-hidden="true">{mark(&rung)}</span>
            <div>
                <div class="named">
                    <b>{text::capitalised(&rung.title)}</b> <span class="sr">{words::rung_state(rung.state)}</span>
                    {class} {change} {(rung.branch && rung.action == Action::Load).then(|| badge("", words::BRANCH))}
                </div>
                {(!sums.is_empty()).then(|| view! { <div class="dim num left">{sums.join(" ")}</div> })}
                {reason.map(|words| view! { <div class="dim">{words}</div> })}
                {progress}
            </div>
            <div class="links">{attempts}</div>
        </li>
    }
}
