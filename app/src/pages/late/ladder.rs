//! Ladder: a profile run rung after rung on the server.

use leptos::prelude::*;

use crate::components::ladder::{List, Rungs, Start, Telling};
use crate::components::{Notice, PageHead};
use crate::state::{Ladders as State, Page, Store};

/// The page.
#[component]
pub fn Ladder() -> impl IntoView {
    let ladders = State::new(Store::here());
    provide_context(ladders);
    view! {
        <PageHead page=Page::Ladder/>
        <Notice/>
        {move || ladders.problem.get().map(|why| view! { <div class="notice" role="alert"><div>{why}</div></div> })}
        <div class="grid">
            <Rungs/>
            <div class="c4 column"><Telling/> <List/> <Start/></div>
        </div>
    }
}
