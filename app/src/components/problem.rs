//! What was refused, why, and what to do.

use leptos::prelude::*;

use crate::state::{Problem, Store};
use crate::text;

/// What, where, why and what next.
fn told(problem: Problem, and_then: &'static str) -> impl IntoView {
    view! {
        <div>
            <b>{problem.what}</b>
            {problem.path.map(|path| view! { " " {text::problem::AT} " " <code data-testid="error-path">{path}</code> })}
            <div>{problem.why}</div>
            <div class="dim">{problem.next} " " {and_then}</div>
        </div>
    }
}

/// The notice above the verdict; nothing where nothing was refused.
#[component]
pub fn Notice() -> impl IntoView {
    let store = Store::here();
    let notice = move |problem: Problem| {
        // Of a link the rest was taken.
        let kept = if problem.next == text::problem::OWN_CHOICES { "" } else { text::problem::KEPT };
        view! {
            <div class="notice" data-testid="error">
                {told(problem, kept)}
                <button type="button" class="btn small" on:click=move |_| store.problem.set(None)>{text::DISMISS}</button>
            </div>
        }
    };
    view! { <div role="alert">{move || store.problem.get().map(notice)}</div> }
}

/// Why something of the server is not on the page, with a way to ask for it again.
#[component]
pub fn Refusal(
    /// Why; nothing where nothing was refused.
    #[prop(into)]
    problem: Signal<Option<Problem>>,
    /// Asks again.
    again: impl Fn() + Clone + Send + Sync + 'static,
) -> impl IntoView {
    let notice = move |problem: Problem| {
        let again = again.clone();
        view! {
            <div class="notice" data-testid="refusal">
                {told(problem, "")}
                <button type="button" class="btn small" data-testid="ask-again" on:click=move |_| again()>{text::pages::TRY_AGAIN}</button>
            </div>
        }
    };
    view! { <div role="alert">{move || problem.get().map(notice.clone())}</div> }
}
