//! Ladder: a profile run rung after rung on the server.

use leptos::prelude::*;

use crate::components::ladder::{List, Rungs, Start, Steps, Telling};
use crate::components::{NotTold, Notice, PageHead, Refusal};
use crate::state::{Ladders as State, Page, Presence, ServerWatch, Store};

/// The page.
#[component]
pub fn Ladder() -> impl IntoView {
    let ladders = State::new(Store::here());
    provide_context(ladders);
    // Where none was started there is one thing to do, and it comes first.
    let is_first = Memo::new(move |_| {
        ladders.shown.with(Option::is_none) && ladders.all.with(|all| all.as_ref().is_some_and(Vec::is_empty))
    });
    // Nothing is drawn before the server has told, so that nothing jumps when it does.
    let is_known =
        Memo::new(move |_| ladders.all.with(Option::is_some) || ladders.problem.with(Option::is_some));
    let watch = ServerWatch::here();
    let is_lost = Memo::new(move |_| watch.presence.get() == Presence::Lost);
    let body = move || match (is_known.get(), is_first.get()) {
        (false, _) if is_lost.get() => ().into_any(),
        (false, _) => view! {
            <div class="c8 ghost ghost-plot" aria-hidden="true"></div>
            <div class="c4 ghost ghost-plot" aria-hidden="true"></div>
        }
        .into_any(),
        (true, true) => view! { <div class="c5 column"><Start/></div> <Steps/> }.into_any(),
        (true, false) => {
            view! { <Rungs/> <div class="c4 column"><Telling/> <List/> <Start/></div> }.into_any()
        }
    };
    view! {
        <PageHead page=Page::Ladder/>
        <Notice/>
        <Refusal problem=ladders.problem again=move || ladders.fetch()/>
        <NotTold is_told=Signal::derive(move || ladders.all.with(Option::is_some))/>
        <div class="grid">{body}</div>
    }
}
