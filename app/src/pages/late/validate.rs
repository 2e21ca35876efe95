//! Validate: a short run that proves that a model loads and computes.

use leptos::prelude::*;

use crate::components::{self, Header, Notice};

/// The page.
#[component]
pub fn Validate() -> impl IntoView {
    view! {
        <Header/>
        <Notice/>
        <div class="grid"><components::Validate/></div>
    }
}
