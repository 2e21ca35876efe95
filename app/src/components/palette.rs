//! What opens over a page: every action, found by typing; and the keys.

use leptos::ev::KeyboardEvent;
use leptos::prelude::*;
use phi3::config::PRESETS;
use phi3::estimate::Format;

use crate::platform::page;
use crate::state::late::TYPED;
use crate::state::theme::Theme;
use crate::state::{Ask, Page, Store, devices};
use crate::text::{self, palette as words};

const PALETTE: &str = "palette";
const KEYS: &str = "keys";
/// Actions shown at once.
const MOST: usize = 9;

/// Something that can be done from any page.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Action {
    Go(Page),
    Preset(&'static str),
    Device(&'static str),
    DType(Format),
    Theme(Theme),
    Ask(Ask),
    Share,
    Defaults,
}

/// Every action with its words.
fn actions() -> Vec<(String, Action)> {
    let pages = Page::ALL.into_iter().map(|page| (words::go(text::pages::name(page)), Action::Go(page)));
    let presets = PRESETS.iter().map(|preset| (words::open(preset.title), Action::Preset(preset.name)));
    let offered = devices::OFFERED.into_iter().map(|name| (words::fit_on(name), Action::Device(name)));
    let rest = [
        (words::VALIDATE.to_owned(), Action::Ask(Ask::Validate)),
        (words::RUN_ON_SERVER.to_owned(), Action::Ask(Ask::RunOnServer)),
        (words::SHARE.to_owned(), Action::Share),
        (words::DEFAULTS.to_owned(), Action::Defaults),
        (words::SHOW_KEYS.to_owned(), Action::Ask(Ask::Keys)),
    ];
    let dtypes =
        Format::LEVERS.into_iter().map(|format| (words::weights_in(format.name()), Action::DType(format)));
    let themes = Theme::ALL.into_iter().map(|theme| (words::theme(theme), Action::Theme(theme)));
    pages.chain(rest).chain(presets).chain(offered).chain(dtypes).chain(themes).collect()
}

/// Whether all words of what was typed are in a text, in any order.
fn matches(text: &str, typed: &str) -> bool {
    let text = text.to_ascii_lowercase();
    typed.to_ascii_lowercase().split_whitespace().all(|word| text.contains(word))
}

fn act(store: Store, action: &Action) {
    match action {
        Action::Go(page) => store.go(*page),
        Action::Preset(name) => store.open_preset(name),
        Action::Device(row) => store.choose_device(Some((*row).to_owned())),
        Action::DType(format) => store.choose(|options| options.dtype = Some(*format)),
        Action::Theme(theme) => theme.choose(),
        Action::Ask(ask) => {
            if *ask == Ask::Validate {
                store.go(Page::Validate);
            }
            page::tell(ask.event());
        }
        Action::Share => store.share(),
        Action::Defaults => store.reset(),
    }
}

/// Opens a dialog when it is asked for.
fn open_on(ask: Ask, id: &'static str, opened: impl Fn() + 'static) {
    let handle = window_event_listener_untyped(ask.event(), move |_| {
        opened();
        page::show_dialog(id, true);
    });
    on_cleanup(move || handle.remove());
}

/// Every action, to be found by typing.
#[component]
pub fn Palette() -> impl IntoView {
    let store = Store::here();
    let typed = RwSignal::new(String::new());
    let at = RwSignal::new(0usize);
    open_on(Ask::Palette, PALETTE, move || {
        typed.set(page::attribute(TYPED));
        page::set_attribute(TYPED, "");
        at.set(0);
    });
    let all = StoredValue::new(actions());
    let found = Memo::new(move |_| {
        typed.with(|typed| {
            all.with_value(|all| {
                all.iter().filter(|(text, _)| matches(text, typed)).take(MOST).cloned().collect::<Vec<_>>()
            })
        })
    });
    let run = move |action: Action| {
        page::show_dialog(PALETTE, false);
        act(store, &action);
    };
    let pressed = move |ev: KeyboardEvent| {
        let last = found.with(Vec::len).saturating_sub(1);
        match ev.key().as_str() {
            "ArrowDown" => at.update(|at| *at = (*at + 1).min(last)),
            "ArrowUp" => at.update(|at| *at = at.saturating_sub(1)),
            "Enter" => {
                if let Some((_, action)) = found.with(|f| f.get(at.get()).cloned()) {
                    run(action);
                }
            }
            _ => return,
        }
        ev.prevent_default();
    };
    let option = move |(i, (text, action)): (usize, (String, Action))| {
        view! {
            <li
                id=format!("action-{i}")
                role="option"
                aria-selected=move || (at.get() == i).to_string()
                on:mousedown=move |ev| { ev.prevent_default(); run(action.clone()); }
            >
                {text}
            </li>
        }
    };
    view! {
        <dialog id=PALETTE class="overlay" aria-label=words::TITLE data-testid="palette">
            <input
                type="text"
                role="combobox"
                aria-expanded="true"
                aria-controls="actions"
                aria-activedescendant=move || format!("action-{}", at.get())
                aria-label=words::TITLE
                placeholder=words::PLACEHOLDER
                autocomplete="off"
                spellcheck="false"
                autofocus
                prop:value=move || typed.get()
                on:input=move |ev| { typed.set(event_target_value(&ev)); at.set(0); }
                on:keydown=pressed
            />
            <ul id="actions" role="listbox" aria-label=words::TITLE>{move || found.get().into_iter().enumerate().map(option).collect_view()}</ul>
            <Show when=move || found.with(Vec::is_empty)><p class="dim">{words::NOTHING}</p></Show>
        </dialog>
    }
}

/// The keys that work on every page.
#[component]
pub fn Keys() -> impl IntoView {
    open_on(Ask::Keys, KEYS, || {});
    let row = |(keys, what): (&'static str, &'static str)| view! { <div><dt><kbd>{keys}</kbd></dt><dd>{what}</dd></div> };
    view! {
        <dialog id=KEYS class="overlay" aria-labelledby="keys-title" data-testid="keys">
            <div class="card-head">
                <h2 id="keys-title">{words::KEYS}</h2>
                <button type="button" class="btn small" autofocus on:click=move |_| page::show_dialog(KEYS, false)>{words::CLOSE}</button>
            </div>
            <dl class="keys">{words::LIST.into_iter().map(row).collect_view()}</dl>
        </dialog>
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use phi3::dtype::DType;
    use wasm_bindgen_test::wasm_bindgen_test;

    #[wasm_bindgen_test(unsupported = test)]
    fn words_in_any_order_find_an_action() {
        let found = |typed: &str| {
            actions().into_iter().filter(|(text, _)| matches(text, typed)).map(|a| a.1).collect::<Vec<_>>()
        };
        assert_eq!(found("plan go"), [Action::Go(Page::Plan)]);
        assert_eq!(found("q4_0"), [Action::DType(DType::Q4_0.into())]);
        assert_eq!(found("theme dark"), [Action::Theme(Theme::Dark)]);
        assert_eq!(found("validate this"), [Action::Ask(Ask::Validate)]);
        assert!(found("phi-4").contains(&Action::Preset("phi-4")));
        assert!(found("zzz").is_empty());
        assert!(found("").len() > MOST);
    }
}
