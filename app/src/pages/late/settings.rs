//! Settings: theme, units, the server's token and its own settings.

use leptos::prelude::*;

use crate::components::settings::{Look, OfServer, Token};
use crate::components::{Notice, PageHead};
use crate::state::Page;

/// The page.
#[component]
pub fn Settings() -> impl IntoView {
    view! {
        <PageHead page=Page::Settings/>
        <Notice/>
        <div class="grid"><Look/> <Token/> <OfServer/></div>
    }
}
