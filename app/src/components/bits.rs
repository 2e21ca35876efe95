//! Small parts used everywhere.

use leptos::prelude::*;
use phi3::fit::Verdict;

use crate::format::{Unit, exact_bytes};
use crate::platform::page;
use crate::state::Store;
use crate::text;

/// A label in a soft colour; `tone` is `ok`, `warn`, `bad`, `acc` or nothing.
pub(super) fn badge(tone: &'static str, words: impl Into<String>) -> impl IntoView {
    view! { <span class=format!("badge {tone}")>{words.into()}</span> }
}

/// A verdict in a word; `is_lacking` where the device does not compute in the format that weights are in.
pub(super) fn fit_badge(verdict: Verdict, is_lacking: bool) -> impl IntoView {
    match verdict {
        Verdict::Fits if is_lacking => badge("warn", text::memory::USE_F16),
        Verdict::Fits => badge("ok", text::memory::FITS),
        Verdict::Tight => badge("warn", text::memory::TIGHT),
        Verdict::DoesNotFit => badge("bad", text::memory::NO),
    }
}

/// The colour of a term, by its place in `Terms`.
pub(super) const TERM_COLOURS: [&str; 4] =
    ["var(--c-weights)", "var(--c-kv)", "var(--c-act)", "var(--c-over)"];

/// Bytes in a unit; the exact number on hover, on the clipboard and for screen readers.
pub(super) fn bytes(value: u64, unit: Unit, testid: &'static str) -> impl IntoView {
    let store = Store::here();
    let exact = exact_bytes(value);
    let copied = exact.clone();
    view! {
        <button
            type="button"
            class="value"
            title=exact.clone()
            aria-label=format!("{} {}, {exact}", unit.print(value), unit.name())
            data-value=value.to_string()
            data-testid=testid
            on:click=move |_| store.copy(value.to_string(), &copied)
        >
            {unit.print(value)}
        </button>
    }
}

/// Longest value that is repeated when it was copied, in characters.
const SAID: usize = 40;

/// A value that a click copies; what is copied may be more exact than what is shown.
pub(super) fn copyable(shown: String, copied: String) -> impl IntoView {
    let store = Store::here();
    let what = match copied.char_indices().nth(SAID) {
        Some((end, _)) => format!("{}…", &copied[..end]),
        None => copied.clone(),
    };
    view! {
        <button type="button" class="value wrap" title=text::COPY on:click=move |_| store.copy(copied.clone(), &what)>{shown}</button>
    }
}

/// The same where what is shown is what is copied.
pub(super) fn copies(value: String) -> impl IntoView {
    copyable(value.clone(), value)
}

/// Arrows go from tab to tab.
pub(super) fn arrows(ev: leptos::ev::KeyboardEvent) {
    match ev.key().as_str() {
        "ArrowRight" => page::press_beside(&ev, true),
        "ArrowLeft" => page::press_beside(&ev, false),
        _ => return,
    }
    ev.prevent_default();
}

/// What opens below a button: until the keyboard leaves it, Escape is pressed or, unless it `stays`, something in it.
#[component]
pub fn Menu(
    /// What stands on the button.
    label: &'static str,
    /// For tests.
    testid: &'static str,
    /// Class of the button.
    class: &'static str,
    /// Whether it stays open when something in it is pressed.
    #[prop(optional)]
    stays: bool,
    /// What opens.
    children: Children,
) -> impl IntoView {
    let pressed = move |ev: leptos::ev::MouseEvent| {
        if !stays {
            page::close_menu(&ev, true);
        }
    };
    let escaped = move |ev: leptos::ev::KeyboardEvent| {
        if ev.key() == "Escape" && page::close_menu(&ev, true) {
            ev.stop_propagation();
        }
    };
    let left = move |ev: leptos::ev::FocusEvent| {
        if page::leaves(&ev) {
            page::close_menu(&ev, false);
        }
    };
    view! {
        <details class="menu" data-testid=testid on:keydown=escaped on:focusout=left>
            <summary class=class>{label} <span aria-hidden="true">"▾"</span></summary>
            // What is pressed beside a control gives the panel the keyboard, which so stays within.
            <div class="panel" tabindex="-1" on:click=pressed>{children()}</div>
        </details>
    }
}

/// A field that sifts a list of the page; the address keeps what stands in it.
#[component]
pub fn Search(
    /// What is searched.
    label: &'static str,
    /// For tests.
    testid: &'static str,
) -> impl IntoView {
    let sift = Store::here().sift;
    view! {
        <input
            type="search"
            class="filter"
            placeholder=label
            aria-label=label
            data-testid=testid
            prop:value=move || sift.get()
            on:input=move |ev| sift.set(event_target_value(&ev))
        />
    }
}

/// What is looked for on this page, in lower case: of ASCII alone, since the table of all letters is large.
pub(super) fn sought(store: Store) -> String {
    store.sift.with(|sift| sift.trim().to_ascii_lowercase())
}

/// A list to choose one value from.
#[component]
pub fn Choice(
    /// What is chosen.
    label: &'static str,
    /// For tests.
    testid: &'static str,
    /// Width in columns of the controls: `w2`, `w3`.
    width: &'static str,
    /// Values and their names.
    #[prop(into)]
    options: Signal<Vec<(String, String)>>,
    /// The value now.
    #[prop(into)]
    value: Signal<String>,
    /// Takes the value chosen.
    on_choose: impl Fn(String) + 'static,
) -> impl IntoView {
    let option = move |(key, name): (String, String)| {
        let own = key.clone();
        let selected = move || value.with(|v| *v == own);
        view! { <option value=key prop:selected=selected>{name}</option> }
    };
    view! {
        <div class=format!("ctl {width}")>
            <label for=testid>{label}</label>
            <select id=testid data-testid=testid on:change=move |ev| on_choose(event_target_value(&ev))>
                {move || options.get().into_iter().map(option).collect_view()}
            </select>
        </div>
    }
}

/// A short confirmation at the foot of the window.
#[component]
pub fn Toast() -> impl IntoView {
    let toast = Store::here().toast;
    view! {
        <div role="status" aria-live="polite">
            {move || toast.get().map(|words| view! { <div class="toast">{words}</div> })}
        </div>
    }
}

/// What covers the page while a file is dragged over it.
#[component]
pub fn Dropping() -> impl IntoView {
    view! { <div class="dropping" aria-hidden="true">{text::DROP_HERE}</div> }
}
