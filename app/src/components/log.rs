//! Lines that a program has written, to be read and copied.

use leptos::prelude::*;

use crate::state::Store;
use crate::text;

/// The lines, with a button that copies them.
#[component]
pub fn Log(
    /// All of them.
    log: String,
) -> impl IntoView {
    let store = Store::here();
    let copied = log.clone();
    view! {
        <div class="log-lines">
            <button type="button" class="quiet" on:click=move |_| store.copy(copied.clone(), text::WHAT_LOG)>{text::COPY}</button>
            <pre class="log" tabindex="0">{log}</pre>
        </div>
    }
}
