//! What may be dropped or pasted anywhere on the page.

use leptos::ev::{ClipboardEvent, DragEvent};
use leptos::prelude::*;
use leptos::task::spawn_local;

use crate::platform::{files, page};
use crate::state::Late;

/// Files may be dropped anywhere.
pub(super) fn take_drops(late: Late, dropping: RwSignal<bool>) {
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
            spawn_local(async move { late.read(&picked.await) });
        }
    });
    on_cleanup(move || {
        over.remove();
        leave.remove();
        drop.remove();
    });
}

/// A config may be pasted anywhere but into a field.
pub(super) fn take_pastes(late: Late) {
    let paste = window_event_listener(leptos::ev::paste, move |ev: ClipboardEvent| {
        let text = ev.clipboard_data().and_then(|data| data.get_data("text").ok()).unwrap_or_default();
        if !page::is_typing() && text.trim_start().starts_with('{') {
            ev.prevent_default();
            late.take_config(text);
        }
    });
    on_cleanup(move || paste.remove());
}
