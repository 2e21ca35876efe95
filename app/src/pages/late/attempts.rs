//! Attempts: every try to load a model on the server.

use leptos::prelude::*;

use crate::components::attempts::{Compare, Detail, Table};
use crate::components::{NotTold, Notice, PageHead, Refusal};
use crate::state::attempts::Beside;
use crate::state::{Attempts as State, Page, Store};
use crate::text::attempts as words;

/// The page.
#[component]
pub fn Attempts() -> impl IntoView {
    let attempts = State::new(Store::here());
    provide_context(attempts);
    let beside = move || match attempts.beside.get() {
        Beside::Nothing => ().into_any(),
        Beside::One(record) => view! { <Detail record=*record/> }.into_any(),
        Beside::Several(comparison) => view! { <Compare comparison/> }.into_any(),
        Beside::Refused(why) => {
            let why = Signal::stored(Some(why));
            view! { <Refusal problem=why again=move || attempts.look()/> }.into_any()
        }
    };
    let is_empty = move || {
        !attempts.loading.get() && attempts.problem.with(Option::is_none) && attempts.rows.with(Vec::is_empty)
    };
    view! {
        <PageHead page=Page::Attempts/>
        <Notice/>
        <Refusal problem=attempts.problem again=move || attempts.fetch()/>
        <div class="column">
            <Table/>
            <Show when=is_empty><p class="dim">{words::EMPTY}</p></Show>
            <NotTold is_told=Signal::derive(move || !attempts.waits())/>
            {beside}
        </div>
    }
}
