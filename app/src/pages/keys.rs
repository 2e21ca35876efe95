//! Keys that work on every page.

use leptos::ev::KeyboardEvent;
use leptos::prelude::*;

use crate::platform::page;
use crate::state::{Ask, Late, Page, Store};

/// What a key asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Asked {
    Open(Ask),
    Search,
    Go(Page),
}

/// What a key asks for; `typing` is a field that wants the key itself.
fn asked(key: &str, command: bool, typing: bool) -> Option<Asked> {
    if command {
        return key.eq_ignore_ascii_case("k").then_some(Asked::Open(Ask::Palette));
    }
    if typing {
        return None;
    }
    match key {
        "?" => Some(Asked::Open(Ask::Keys)),
        "/" => Some(Asked::Search),
        digit => {
            let digit = digit.parse::<usize>().ok().filter(|_| digit.len() == 1)?;
            // As on the keyboard, 0 comes after 9.
            let place = if digit == 0 { 9 } else { digit - 1 };
            Page::ALL.get(place).copied().map(Asked::Go)
        }
    }
}

/// Listens as long as the page stands.
pub(super) fn listen(store: Store, late: Late) {
    let handle = window_event_listener(leptos::ev::keydown, move |ev: KeyboardEvent| {
        if ev.alt_key() {
            return;
        }
        let command = ev.ctrl_key() || ev.meta_key();
        if !command && late.keeps(&ev.key()) {
            return ev.prevent_default();
        }
        let Some(asked) = asked(&ev.key(), command, page::is_typing()) else { return };
        match asked {
            Asked::Open(ask) => late.ask(ask),
            Asked::Go(page) => store.go(page),
            // Where a page has nothing to search all else is searched.
            Asked::Search if !page::go_to_search() => late.ask(Ask::Palette),
            Asked::Search => {}
        }
        ev.prevent_default();
    });
    on_cleanup(move || handle.remove());
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_bindgen_test::wasm_bindgen_test;

    #[wasm_bindgen_test(unsupported = test)]
    fn keys_lead_to_pages_but_not_while_typing() {
        assert_eq!(asked("1", false, false), Some(Asked::Go(Page::Inspect)));
        assert_eq!(asked("4", false, false), Some(Asked::Go(Page::Validate)));
        assert_eq!(asked("0", false, false), Some(Asked::Go(Page::Settings)));
        assert_eq!(asked("10", false, false), None);
        assert_eq!(asked("1", false, true), None);
        assert_eq!(asked("k", true, true), Some(Asked::Open(Ask::Palette)));
        assert_eq!(asked("k", false, false), None);
        assert_eq!(asked("?", false, false), Some(Asked::Open(Ask::Keys)));
        assert_eq!(asked("F12", false, false), None);
    }
}
