//! Models: what the server can load.

use leptos::prelude::*;

use crate::components::{ModelTable, Notice, PageHead, RegisterModel};
use crate::state::{Models as State, Page, Store};

/// The page.
#[component]
pub fn Models() -> impl IntoView {
    provide_context(State::new(Store::here()));
    view! {
        <PageHead page=Page::Models/>
        <Notice/>
        <div class="grid"><ModelTable/> <RegisterModel/></div>
    }
}
