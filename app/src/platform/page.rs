//! The page: its address, its clipboard, its elements.

/// An element of the page.
pub use web_sys::Element;

use gloo::storage::{SessionStorage, Storage};
use leptos::prelude::{document, window};
use wasm_bindgen::JsValue;
use wasm_bindgen_futures::JsFuture;

/// What stands after `#` in the address; empty where there is nothing.
pub fn hash() -> String {
    let hash = window().location().hash().unwrap_or_default();
    hash.strip_prefix('#').unwrap_or(&hash).to_owned()
}

/// Writes the part after `#`; `push` makes a step that Back returns from.
pub fn set_hash(hash: &str, push: bool) {
    let url = format!("#{hash}");
    // Refused only where a page floods the history; the address then lags, the page is right.
    let _ = window().history().and_then(|history| {
        if push {
            history.push_state_with_url(&JsValue::NULL, "", Some(&url))
        } else {
            history.replace_state_with_url(&JsValue::NULL, "", Some(&url))
        }
    });
}

/// Sets the window's title.
pub fn set_title(title: &str) {
    document().set_title(title);
}

/// Takes an element off the page.
pub fn remove(id: &str) {
    if let Some(element) = document().get_element_by_id(id) {
        element.remove();
    }
}

/// Brings an element into view and moves the keyboard to it.
pub fn go_to(id: &str) {
    use wasm_bindgen::JsCast as _;
    if let Some(element) = document().get_element_by_id(id) {
        element.scroll_into_view();
        if let Ok(element) = element.dyn_into::<web_sys::HtmlElement>() {
            let _ = element.focus();
        }
    }
}

/// Whether the keyboard is in a field where text is typed.
pub fn is_typing() -> bool {
    document()
        .active_element()
        .is_some_and(|e| ["INPUT", "TEXTAREA", "SELECT"].contains(&e.tag_name().as_str()))
}

/// Puts text on the clipboard; false where the browser refuses.
pub async fn copy(text: String) -> bool {
    // Absent on plain-HTTP pages of other machines, whatever the binding's type says.
    let clipboard = js_sys::Reflect::get(&window().navigator(), &JsValue::from_str("clipboard"));
    if !clipboard.is_ok_and(|c| c.is_object()) {
        return false;
    }
    JsFuture::from(window().navigator().clipboard().write_text(&text)).await.is_ok()
}

/// Keeps a text for this tab; it survives a reload.
pub fn keep(key: &str, text: &str) {
    // Full or forbidden storage costs only the restore on reload.
    let _ = SessionStorage::raw().set_item(key, text);
}

/// A text kept for this tab.
pub fn kept(key: &str) -> Option<String> {
    SessionStorage::raw().get_item(key).ok().flatten()
}

/// Where on an element a pointer is, as a share of its width.
pub fn share_of_width(element: &Element, client_x: f64) -> f64 {
    let rect = element.get_bounding_client_rect();
    if rect.width() <= 0.0 { 0.0 } else { ((client_x - rect.left()) / rect.width()).clamp(0.0, 1.0) }
}

/// The element that listens to this event.
pub fn target_of(event: &web_sys::Event) -> Option<Element> {
    use wasm_bindgen::JsCast as _;
    event.current_target()?.dyn_into().ok()
}
