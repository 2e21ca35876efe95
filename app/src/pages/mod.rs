//! Pages: they put components together. There is one; the frame has room for more.

use std::sync::Arc;

use leptos::ev::{ClipboardEvent, DragEvent};
use leptos::prelude::*;
use leptos::task::spawn_local;

use crate::components::{
    Assumptions, Controls, DTypes, Dropping, FieldTable, Findings, Header, Notice, Params, Plot, Rail, Terms,
    Toast, Unknown, Validate, Verdict, open_files,
};
use crate::platform::{files, page};
use crate::state::model::{OwnFiles, Stranger};
use crate::state::{Server, Store, Validation};
use crate::text;

/// The dashboard.
#[component]
pub fn Preflight() -> impl IntoView {
    let store = Store::new();
    provide_context(store);
    let dropping = RwSignal::new(false);
    take_drops(store, dropping);
    take_pastes(store);
    let validation = Validation::new();
    provide_context(validation);
    let escape = window_event_listener(leptos::ev::keydown, move |ev| {
        if ev.key() == "Escape" && untrack(|| validation.is_live()) {
            validation.cancel();
        }
    });
    on_cleanup(move || escape.remove());
    let sections = Signal::derive(move || {
        let all = [
            ("fit", text::verdict::HEADING),
            ("memory", text::memory::PLOT),
            ("findings", text::findings::HEADING),
            ("parameters", text::params::HEADING),
            ("validate-card", text::validate::HEADING),
            ("fields", text::fields::HEADING),
        ];
        // Of an unknown architecture there is no number to go to.
        let known = store.stranger.with(Option::is_none);
        all.into_iter().filter(|(id, _)| known || !["memory", "parameters"].contains(id)).collect::<Vec<_>>()
    });
    let body = move || match store.stranger.get() {
        None => view! { <Known/> }.into_any(),
        Some(stranger) => view! { <NotKnown stranger/> }.into_any(),
    };
    view! {
        <div id="app">
            <a class="skip" href="#fit" on:click=move |ev| { ev.prevent_default(); page::go_to("fit"); }>{text::SKIP}</a>
            <Rail sections foot=view! { <Foot/> }.into_any()/>
            <main class="main">{body}</main>
            <Show when=move || dropping.get()><Dropping/></Show>
            <Toast/>
        </div>
    }
}

/// Everything about a model whose architecture is known.
#[component]
fn Known() -> impl IntoView {
    let store = Store::here();
    let findings = Signal::derive(move || store.model.with(|m| m.inspection.findings.clone()));
    let fields = Signal::derive(move || store.model.with(|m| m.inspection.fields.clone()));
    view! {
        <Header/>
        <Notice/>
        <Verdict/>
        <Controls/>
        <div class="grid">
            <Plot/>
            <Terms/>
            <DTypes/>
            <Findings findings/>
            <Params/>
            <Assumptions/>
            <Validate/>
            <FieldTable fields/>
        </div>
    }
}

/// What can still be said about any other.
#[component]
fn NotKnown(stranger: Arc<Stranger>) -> impl IntoView {
    let report = stranger.inspection.clone();
    let (findings, fields) = (report.findings, report.fields);
    view! {
        <header><div class="who"><h1>{stranger.title.clone()}</h1><div class="dim">{report.architecture}</div></div></header>
        <Notice/>
        <Unknown model_type=report.model_type/>
        <div class="grid">
            <Findings findings=Signal::derive(move || findings.clone())/>
            <Validate/>
            <FieldTable fields=Signal::derive(move || fields.clone())/>
        </div>
    }
}

/// Whether a server is there, at the end of the rail.
#[component]
fn Foot() -> impl IntoView {
    let server = Validation::here().server;
    let words = move || match server.get() {
        Server::Checking => text::rail::SERVER_CHECKING.to_owned(),
        Server::Absent => text::rail::SERVER_NONE.to_owned(),
        Server::Present(model) => text::server(model.as_ref().map(|m| m.name.as_str())),
    };
    let class = move || if matches!(server.get(), Server::Present(_)) { "dot on" } else { "dot" };
    view! {
        <div><span class=class></span>{words}</div>
        <div>{text::rail::LOCAL}</div>
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
