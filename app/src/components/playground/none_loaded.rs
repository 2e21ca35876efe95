//! What to do where no model is loaded.

use leptos::prelude::*;
use phi3::api::{Attempt, AttemptState};

use crate::components::bits::badge;
use crate::state::{Page, Playground, Store};
use crate::text::{self, models, playground as words};

/// The card: the models that could be loaded, and the load that goes on.
#[component]
pub fn NoneLoaded() -> impl IntoView {
    let (playground, store) = (Playground::here(), Store::here());
    let busy = Memo::new(move |_| {
        playground
            .loading
            .with(|l| l.as_ref().is_some_and(|l| !l.state.is_final() && l.state != AttemptState::Stopping))
    });
    let row = move |(id, name): (String, String)| {
        let load = id.clone();
        view! {
            <li class="row">
                <button type="button" class="btn small" disabled=move || busy.get() data-load=id.clone() on:click=move |_| playground.load(load.clone())>{words::LOAD}</button>
                <b>{name}</b>
            </li>
        }
    };
    let list = Memo::new(move |_| playground.told.choices());
    view! {
        <section class="card empty" data-testid="none-loaded">
            <h2>{words::NONE_LOADED}</h2>
            <p>{words::NONE_LOADED_WHY}</p>
            {move || playground.loading.get().map(|attempt| progress(playground, store, &attempt))}
            <ul class="plain loadable">{move || list.get().into_iter().map(row).collect_view()}</ul>
            <Show when=move || list.with(Vec::is_empty)><p class="dim">{words::NO_MODELS}</p></Show>
            <p class="dim">{words::PLANNED} " · " <button type="button" class="link" on:click=move |_| store.go(Page::Models)>{words::TO_MODELS}</button></p>
        </section>
    }
}

/// How far the load is; why it failed.
fn progress(playground: Playground, store: Store, attempt: &Attempt) -> impl IntoView + use<> {
    let id = attempt.id;
    let share = attempt.progress.map(|p| p.done_bytes as f64 / p.total_bytes.max(1) as f64 * 100.0);
    let tone = if attempt.state == AttemptState::Failed { "bad" } else { "acc" };
    let error = attempt.error.as_ref().map(|error| text::outcome::told(&error.message));
    view! {
        <div role="status">
            {badge(tone, words::loading(&playground.told.name(&attempt.model), attempt.state.name()))} " "
            <button type="button" class="link" on:click=move |_| store.go_to(Page::Attempts, id.to_string())>{models::attempt(id)}</button>
        </div>
        {share.map(|share| view! { <div class="bar" aria-hidden="true"><i style=format!("width:{share:.1}%")></i></div> })}
        {error.map(|why| view! { <p class="problem">{why}</p> })}
    }
}
