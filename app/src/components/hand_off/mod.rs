//! Run on server: a dialog over any page of the browser.

use leptos::prelude::*;
use phi3::api::ErrorObject;

use super::Choice;
use super::lost::start_a_server;
use crate::platform::page;
use crate::state::hand_off::{DIALOG, HandOff as State, How, Task};
use crate::state::{Ask, Names, Presence, ServerWatch, Store};
use crate::text::{self, hand_off as words};

/// The dialog.
#[component]
pub fn HandOff() -> impl IntoView {
    let state = State::new(Store::here());
    let watch = ServerWatch::here();
    let asked = window_event_listener_untyped(Ask::RunOnServer.event(), move |_| state.open());
    on_cleanup(move || asked.remove());
    let body = move || match watch.presence.get() {
        Presence::Absent => view! { <p>{start_a_server()}</p> }.into_any(),
        _ if state.there.with(Option::is_none) && state.problem.with(Option::is_some) => ().into_any(),
        _ if state.there.with(Option::is_none) => {
            view! { <p class="dim" role="status">{words::LOOKING}</p> }.into_any()
        }
        _ => view! { <Form state/> }.into_any(),
    };
    view! {
        <dialog id=DIALOG class="overlay wide" aria-labelledby="hand-off-title" data-testid="hand-off">
            <div class="card-head">
                <h2 id="hand-off-title">{words::TITLE}</h2>
                <button type="button" class="btn small" autofocus on:click=move |_| page::show_dialog(DIALOG, false)>{words::CANCEL}</button>
            </div>
            <p class="dim">{words::WHY}</p>
            {body}
            <div role="alert">{move || state.problem.get().map(|error| refusal(state, error))}</div>
        </dialog>
    }
}

fn refusal(state: State, error: ErrorObject) -> impl IntoView {
    let next = text::problem::next(&error.code);
    let told = text::outcome::told(&error.message);
    let insist = match error.code.as_str() {
        "identical_retry" => Some((How::Force, words::FORCE)),
        "too_many_changes" => Some((How::Branch, words::BRANCH)),
        // What would not fit, or runs on a device that is broken.
        _ if text::outcome::can_insist(&error.message) => Some((How::Force, words::FORCE)),
        _ => None,
    };
    view! {
        <div class="notice" data-testid="hand-off-error">
            <div>
                <b title=error.code.clone()>{text::outcome::heading(&error.code)}</b> {error.path.map(|path| view! { " " <code>{path}</code> })}
                <div>{told}</div>
                <div class="dim">{next}</div>
            </div>
            {insist.map(|(how, name)| view! { <button type="button" class="btn small" on:click=move |_| state.run(how)>{name}</button> })}
        </div>
    }
}

fn task_words(task: Task) -> (&'static str, &'static str) {
    match task {
        Task::Load => (words::LOAD, words::LOAD_WHY),
        Task::Validate => (words::VALIDATE, words::VALIDATE_WHY),
        Task::Ladder => (words::LADDER, words::LADDER_WHY),
    }
}

#[component]
fn Form(state: State) -> impl IntoView {
    let models = Signal::derive(move || {
        let models = state.there.get().map(|there| there.models).unwrap_or_default();
        let names = Names::new(&models);
        models.iter().map(|m| (m.id.clone(), names.of(&m.id).to_owned())).collect::<Vec<_>>()
    });
    let devices = Signal::derive(move || {
        let first = if state.is_placed() { words::AS_PLANNED } else { words::AUTO };
        let there = state.there.get().into_iter().flat_map(|there| there.devices);
        let live = there.map(|d| {
            let label = format!("{} · {}", d.device, d.name);
            (d.device, label)
        });
        std::iter::once((String::new(), first.to_owned())).chain(live).collect::<Vec<_>>()
    });
    let option = move |task: Task| {
        let (name, why) = task_words(task);
        view! {
            <label class="task">
                <input type="radio" name="task" prop:checked=move || state.task.get() == task on:change=move |_| state.task.set(task) data-task=name.to_lowercase()/>
                <span><b>{name}</b> <span class="sub">{why}</span></span>
            </label>
        }
    };
    let has_models = move || models.with(|m| !m.is_empty());
    // Another model than the page is about is no small print.
    let same = move || if state.is_same() { "dim small-text" } else { "notice warn small-text" };
    view! {
        <fieldset class="tasks"><legend class="sr">{words::TASK}</legend>{Task::ALL.into_iter().map(option).collect_view()}</fieldset>
        <Show when=has_models fallback=|| view! { <p class="problem">{words::NO_MODELS}</p> }>
            <div class="pair">
                <Choice label=words::MODEL testid="hand-off-model" width="" options=models value=state.model on_choose=move |id| state.model.set(id)/>
                <Show when=move || state.task.get() != Task::Ladder>
                    <Choice label=words::DEVICE testid="hand-off-device" width="" options=devices value=state.device on_choose=move |device| state.device.set(device)/>
                </Show>
            </div>
            <p class=same data-testid="hand-off-same">{move || if state.is_same() { words::SAME } else { words::NOT_SAME }}</p>
        </Show>
        <Along state/>
        <div class="row end">
            <button type="button" class="btn primary" data-testid="hand-off-run" disabled=move || state.asking.get() || !has_models() on:click=move |_| state.run(How::Plainly)>
                {move || if state.asking.get() { words::GOING } else { words::GO }}
            </button>
        </div>
    }
}

/// What goes along, and what stays.
#[component]
fn Along(state: State) -> impl IntoView {
    let context = move || {
        let context = state.carried.with(|carried| carried.context);
        context.map_or_else(|| words::CONTEXT_DEFAULT.to_owned(), |tokens| text::plural(tokens, "token"))
    };
    let overrides = move || {
        if state.carried.with(|c| c.load_config.is_empty()) {
            view! { <span class="dim">{words::NOTHING}</span> }.into_any()
        } else {
            view! { <pre class="log" tabindex="0" data-testid="hand-off-config">{state.load_config_text()}</pre> }.into_any()
        }
    };
    let left = move || {
        let left = state.carried.with(|carried| carried.left.clone());
        left.into_iter().map(|l| view! { <li><b>{l.what}</b> ": " {l.why} "."</li> }).collect_view()
    };
    view! {
        <h3>{words::CARRIED}</h3>
        <table class="about">
            <tbody>
                <tr><th scope="row">{words::LOAD_CONFIG}</th><td>{overrides}</td></tr>
                <Show when=move || state.task.get() != Task::Validate><tr><th scope="row">{words::CONTEXT}</th><td>{context}</td></tr></Show>
            </tbody>
        </table>
        <Show when=move || state.carried.with(|c| !c.left.is_empty())>
            <h3>{words::LEFT}</h3>
            <ul class="plain prose" data-testid="hand-off-left">{left}</ul>
        </Show>
    }
}
