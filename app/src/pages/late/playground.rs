//! Playground: a conversation with a loaded model.

use leptos::prelude::*;

use crate::components::playground::conversation::ASK;
use crate::components::playground::{Conversation, NoneLoaded, Settings};
use crate::components::{Notice, PageHead, Refusal};
use crate::platform::page;
use crate::state::{Page, Playground as State};
use crate::text::playground as words;

/// The page.
#[component]
pub fn Playground() -> impl IntoView {
    let playground = State::here();
    playground.follow();
    // Nothing is said of models before the server has told of them.
    let is_empty = Memo::new(move |_| playground.answering.with(|all| all.as_ref().map(Vec::is_empty)));
    // Who waited for a model wants to ask it something.
    Effect::new(move |before: Option<Option<bool>>| {
        let now = is_empty.get();
        if (before.flatten(), now) == (Some(true), Some(false)) {
            request_animation_frame(|| page::go_to(ASK));
        }
        now
    });
    // What was said stays to be read where the model is gone, and what is being written to be sent to the next.
    let talks = Memo::new(move |before: Option<&Option<bool>>| {
        let has_talked = || before == Some(&Some(true)) || playground.has_talked();
        is_empty.get().map(|is_empty| !is_empty || has_talked())
    });
    let beside = move || match is_empty.get() {
        Some(true) => view! { <div class="c4 column"><NoneLoaded/></div> }.into_any(),
        _ => view! { <Settings/> }.into_any(),
    };
    let body = move || match talks.get() {
        None => view! { <p class="dim" role="status">{words::LOOKING}</p> }.into_any(),
        Some(false) => view! { <NoneLoaded/> }.into_any(),
        Some(true) => view! { <div class="grid"><Conversation/> {beside}</div> }.into_any(),
    };
    view! {
        <PageHead page=Page::Playground/>
        <Notice/>
        <Refusal problem=playground.problem again=move || playground.look()/>
        {body}
    }
}
