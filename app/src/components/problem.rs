//! What was refused, why, and what to do.

use leptos::prelude::*;

use crate::state::{Problem, Store};
use crate::text;

/// The notice above the verdict; nothing where nothing was refused.
#[component]
pub fn Notice() -> impl IntoView {
    let store = Store::here();
    let notice = move |problem: Problem| {
        view! {
            <div class="notice" data-testid="error">
                <div>
                    <b>{problem.what}</b>
                    {problem.path.map(|path| view! { " " {text::problem::AT} " " <code data-testid="error-path">{path}</code> })}
                    <div>{problem.why}</div>
                    <div class="dim">{problem.next} " " {text::problem::KEPT}</div>
                </div>
                <button type="button" class="btn small" on:click=move |_| store.problem.set(None)>{text::DISMISS}</button>
            </div>
        }
    };
    view! { <div role="alert">{move || store.problem.get().map(notice)}</div> }
}
