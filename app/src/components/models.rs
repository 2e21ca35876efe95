//! The models of the server: what is known, loaded, known to be good; and what can be done with each.

use leptos::prelude::*;
use phi3::api::{ModelEntry, ModelSource};

use super::bits::{Search, badge, copies, sought};
use super::loading::bar;
use crate::components::{NotTold, Refusal};
use crate::state::{Models as State, Page, Store};
use crate::text::{self, models as words};

fn has(entry: &ModelEntry, needle: &str) -> bool {
    let hub = entry.hub.clone().unwrap_or_default();
    [&entry.id, &entry.name, &entry.path, &hub, &entry.notes]
        .into_iter()
        .any(|text| text.to_ascii_lowercase().contains(needle))
}

/// The table.
#[component]
pub fn ModelTable() -> impl IntoView {
    let models = State::here();
    let store = Store::here();
    let shown = Memo::new(move |_| {
        let needle = sought(store);
        models
            .entries
            .with(|all| all.iter().flatten().filter(|entry| has(entry, &needle)).cloned().collect::<Vec<_>>())
    });
    let all = move || models.entries.with(|all| all.as_ref().map(Vec::len));
    view! {
        <section class="card c12" data-testid="models">
            <div class="card-head">
                <h2>{words::HEADING} " " <span class="faint">{move || all().map(|all| text::of(shown.with(Vec::len), all))}</span></h2>
                <Search label=words::SEARCH testid="models-search"/>
            </div>
            <Refusal problem=models.problem again=move || { models.problem.set(None); models.fetch(); }/>
            <div class="scroll">
                <table class="rows">
                    <thead>
                        <tr><th>{words::MODEL}</th><th>{words::SOURCE}</th><th>{words::STATE}</th><th>{words::KNOWN_GOOD}</th><th>{words::ACTIONS}</th></tr>
                    </thead>
                    <tbody>{move || shown.with(|list| list.iter().map(|entry| row(models, entry)).collect_view())}</tbody>
                </table>
            </div>
            <Show when=move || all().is_some() && shown.with(Vec::is_empty)>
                <p class="dim">{move || if all() == Some(0) { words::EMPTY } else { words::NONE }}</p>
            </Show>
            <NotTold is_told=Signal::derive(move || all().is_some())/>
        </section>
    }
}

fn row(models: State, entry: &ModelEntry) -> impl IntoView + use<> {
    let store = Store::here();
    let attempt = move |id: u64| {
        let go = move |_| store.go_to(Page::Attempts, id.to_string());
        view! { <button type="button" class="link" on:click=go>{words::attempt(id)}</button> }
    };
    let source = entry.hub.clone().unwrap_or_else(|| entry.path.clone());
    let standing = match entry.loaded_by {
        Some(id) => view! { {badge("ok", words::LOADED)} " " {attempt(id)} }.into_any(),
        None => badge("", if entry.registered { words::REGISTERED } else { words::FOUND }).into_any(),
    };
    let own = entry.id.clone();
    let loading = move || {
        let (id, loading) = models.loads.of_model(&own)?;
        Some(view! { <div>{badge("acc", words::LOADING)} " " {attempt(id)} {loading.map(bar)}</div> })
    };
    let button = |name: &'static str, act: Box<dyn Fn()>| view! { <button type="button" class="btn small" on:click=move |_| act()>{name}</button> };
    let id = |act: fn(State, String)| {
        let id = entry.id.clone();
        Box::new(move || act(models, id.clone())) as Box<dyn Fn()>
    };
    let load = match entry.loaded_by {
        Some(_) => button(words::UNLOAD, id(State::unload)),
        None => button(words::LOAD, id(State::load)),
    };
    view! {
        <tr data-model=entry.id.clone()>
            <td><b>{entry.name.clone()}</b> <span class="sub mono">{copies(entry.id.clone())}</span> <span class="sub">{entry.notes.clone()}</span></td>
            <td class="mono">{copies(source)}</td>
            <td>{standing} {loading}</td>
            <td>{entry.known_good.map(|id| view! { <span class="narrow-only faint">{words::KNOWN_GOOD} " "</span> {attempt(id)} })}</td>
            <td><div class="row">{load} {button(words::VALIDATE, id(State::validate))} {button(words::COMMIT, id(State::commit))}</div></td>
        </tr>
    }
}

/// A form for one more.
#[component]
pub fn RegisterModel() -> impl IntoView {
    let models = State::here();
    let path = RwSignal::new(String::new());
    let hub = RwSignal::new(false);
    let add = move || {
        let text = path.get_untracked().trim().to_owned();
        if !text.is_empty() {
            models.register(if hub.get_untracked() {
                ModelSource::Hub(text)
            } else {
                ModelSource::Path(text)
            });
        }
    };
    view! {
        <form class="card c12" data-testid="register" on:submit=move |ev: leptos::ev::SubmitEvent| { ev.prevent_default(); add(); }>
            <h2>{words::REGISTER}</h2>
            <p class="dim above">{words::REGISTER_WHY}</p>
            <Refusal problem=models.unregistered again=add/>
            <div class="row register">
                <input type="text" aria-label=words::PATH placeholder=words::PATH prop:value=move || path.get() on:input=move |ev| path.set(event_target_value(&ev))/>
                <label class="row"><input type="checkbox" prop:checked=move || hub.get() on:change=move |_| hub.update(|h| *h = !*h)/> {words::FROM_HUB}</label>
                <button type="submit" class="btn">{words::ADD}</button>
            </div>
        </form>
    }
}
