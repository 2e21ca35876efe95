//! How these pages look, and how they write numbers.

use leptos::prelude::*;

use crate::state::theme::{self, Theme};
use crate::text::settings as words;

/// The cards.
#[component]
pub fn Look() -> impl IntoView {
    let now = RwSignal::new(Theme::now());
    let told = window_event_listener_untyped(theme::CHANGED, move |_| now.set(Theme::now()));
    on_cleanup(move || told.remove());
    let option = move |theme: Theme| {
        view! {
            <label class="task">
                <input type="radio" name="theme" prop:checked=move || now.get() == theme on:change=move |_| theme.choose() data-theme-choice=theme.name()/>
                <span>{words::theme(theme)}</span>
            </label>
        }
    };
    view! {
        <section class="card c6">
            <h2>{words::THEME}</h2>
            <fieldset class="tasks"><legend class="sr">{words::THEME}</legend>{Theme::ALL.into_iter().map(option).collect_view()}</fieldset>
            <p class="dim below-table">{words::THEME_WHY}</p>
        </section>
        <section class="card c6"><h2>{words::UNITS}</h2> <p class="prose">{words::UNITS_WHY}</p></section>
    }
}
