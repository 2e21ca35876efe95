//! Pages: they put components together.
//!
//! Two programs draw them into one document. [`Preflight`] is the first: the frame and Estimate, small enough for a
//! first visit. [`Late`] is the second: every other page, and what opens over a page; fetched when first wanted.
//! Neither calls the other: both read and write the address.

pub mod estimate;
mod intake;
mod keys;
pub mod late;

use leptos::prelude::*;

use crate::components::{Dropping, LateStage, Rail, Toast};
use crate::platform::page;
use crate::state::{Late as LateProgram, Live, Page, ServerWatch, Store};
use crate::text;

pub use late::Late;

/// Id of the element that the second program draws its pages into.
pub const LATE_HOST: &str = "late";

/// The first program.
#[component]
pub fn Preflight() -> impl IntoView {
    let store = Store::new();
    provide_context(store);
    let watch = ServerWatch::start();
    provide_context(watch);
    provide_context(Live::follow(watch));
    let late = LateProgram::new(store);
    provide_context(late);
    let dropping = RwSignal::new(false);
    intake::take_drops(late, dropping);
    intake::take_pastes(late);
    keys::listen(store, late);
    Effect::new(move |_| {
        // Only the second program knows what a load config may hold, and says so of one that came with a link.
        if !store.page.get().is_first() || store.rest.with(|rest| !rest.load_config.is_empty()) {
            late.want();
        }
    });
    // Going to a page starts at its top.
    Effect::new(move |before: Option<Page>| {
        let now = store.page.get();
        if before.is_some_and(|before| before != now) {
            page::to_top();
        }
        now
    });
    let is_first = Memo::new(move |_| store.page.get().is_first());
    view! {
        <div id="app">
            <a class="skip" href="#main" on:click=move |ev| { ev.prevent_default(); page::go_to("main"); }>{text::SKIP}</a>
            <Rail/>
            <main class="main" id="main" tabindex="-1">
                <div id=LATE_HOST></div>
                <LateStage/>
                <Show when=move || is_first.get()><estimate::Estimate/></Show>
            </main>
            <Show when=move || dropping.get()><Dropping/></Show>
            <Toast/>
        </div>
    }
}
