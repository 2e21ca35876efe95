//! Plan: the load config of the next attempt.

use leptos::prelude::*;

use crate::components::{Header, Notice, plan};
use crate::state::{self, Store};

/// The page.
#[component]
pub fn Plan() -> impl IntoView {
    provide_context(state::Plan::new(Store::here()));
    view! {
        <Header/>
        <Notice/>
        <div class="grid">
            <plan::Form/>
            <div class="c5 column">
                <plan::Changes/>
                <plan::Json/>
                <plan::Effect/>
                <plan::Candidates/>
            </div>
            <plan::Exports/>
        </div>
    }
}
