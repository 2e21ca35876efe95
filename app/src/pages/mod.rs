//! Pages: they put components together. There is one; the frame has room for more.

use leptos::ev::{ClipboardEvent, DragEvent};
use leptos::prelude::*;
use leptos::task::spawn_local;

use crate::components::{
    Assumptions, Controls, DTypes, Dropping, Header, Notice, Params, Plot, Rail, Terms, Toast, Verdict,
    open_files,
};
use crate::platform::{files, page};
use crate::state::Store;
use crate::state::model::OwnFiles;
use crate::text;

/// The dashboard.
#[component]
pub fn Preflight() -> impl IntoView {
    let store = Store::new();
    provide_context(store);
    let dropping = RwSignal::new(false);
    take_drops(store, dropping);
    take_pastes(store);
    let sections = vec![
        ("fit", text::verdict::HEADING),
        ("memory", text::memory::PLOT),
        ("parameters", text::params::HEADING),
    ];
    view! {
        <div id="app">
            <a class="skip" href="#fit" on:click=move |ev| { ev.prevent_default(); page::go_to("fit"); }>{text::SKIP}</a>
            <Rail sections foot=view! { {text::rail::LOCAL} }.into_any()/>
            <main class="main">
                <Header/>
                <Notice/>
                <Verdict/>
                <Controls/>
                <div class="grid">
                    <Plot/>
                    <Terms/>
                    <DTypes/>
                    <Params/>
                    <Assumptions/>
                </div>
            </main>
            <Show when=move || dropping.get()><Dropping/></Show>
            <Toast/>
        </div>
    }
}

/// Files may be dropped anywhere.
fn take_drops(store: Store, dropping: RwSignal<bool>) {
    let over = window_event_listener(leptos::ev::dragover, move |ev: DragEvent| {
        ev.prevent_default();
        dropping.set(true);
    });
    let leave = window_event_listener(leptos::ev::dragleave, move |ev: DragEvent| {
        // Leaving the window, not one element for another.
        if ev.related_target().is_none() {
            dropping.set(false);
        }
    });
    let drop = window_event_listener(leptos::ev::drop, move |ev: DragEvent| {
        ev.prevent_default();
        dropping.set(false);
        if let Some(transfer) = ev.data_transfer() {
            let picked = files::from_drop(&transfer);
            spawn_local(async move { open_files(store, picked.await) });
        }
    });
    on_cleanup(move || {
        over.remove();
        leave.remove();
        drop.remove();
    });
}

/// A config may be pasted anywhere but into a field.
fn take_pastes(store: Store) {
    let paste = window_event_listener(leptos::ev::paste, move |ev: ClipboardEvent| {
        let text = ev.clipboard_data().and_then(|data| data.get_data("text").ok()).unwrap_or_default();
        if !page::is_typing() && text.trim_start().starts_with('{') {
            ev.prevent_default();
            store.open_own(&OwnFiles { name: String::new(), config: text, generation: None });
        }
    });
    on_cleanup(move || paste.remove());
}
