//! Models: what the server can load.

use leptos::prelude::*;

use crate::components::{ModelTable, Notice, PageHead, RegisterModel};
use crate::state::{Models as State, Page, Store};

/// The page.
#[component]
pub fn Models() -> impl IntoView {
    let models = State::new(Store::here());
    provide_context(models);
    // What stands below the table comes with it, so that nothing jumps.
    let is_known =
        Memo::new(move |_| models.entries.with(Option::is_some) || models.problem.with(Option::is_some));
    view! {
        <PageHead page=Page::Models/>
        <Notice/>
        <div class="grid"><ModelTable/> <Show when=move || is_known.get()><RegisterModel/></Show></div>
    }
}
