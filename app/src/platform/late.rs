//! The second program: a module of its own, fetched when first needed.

use std::cell::Cell;

use leptos::prelude::document;
use wasm_bindgen::JsCast as _;
use wasm_bindgen::closure::Closure;

use super::page;

/// Told in the tab when it runs.
pub const READY: &str = "preflight-late-ready";
/// Told when it cannot be fetched or started.
pub const FAILED: &str = "preflight-late-failed";

thread_local! {
    /// Whether this program has failed: what is left of it may do so again, and another has its place then.
    static HAS_FAILED: Cell<bool> = const { Cell::new(false) };
}

/// Takes what it has drawn off the page and tells that it failed; the starter reads it anew then.
pub fn fail(host: &str) {
    if HAS_FAILED.replace(true) {
        return;
    }
    if let Some(host) = document().get_element_by_id(host) {
        let _ = host.set_attribute("data-failed", "true");
        host.replace_children_with_node_0();
    }
    page::tell(FAILED);
}

/// Puts its starter on the page; [`READY`] or [`FAILED`] follows.
pub fn start() {
    let script = document().create_element("script").and_then(|script| {
        script.set_attribute("type", "module")?;
        // An address that failed once is not fetched again under the same name.
        script.set_attribute("src", &format!("late-start.js?{}", js_sys::Date::now()))?;
        Ok(script)
    });
    let (Ok(script), Some(head)) = (script, document().head()) else { return page::tell(FAILED) };
    let failed = Closure::once_into_js(|| page::tell(FAILED));
    if let Some(element) = script.dyn_ref::<web_sys::HtmlElement>() {
        element.set_onerror(Some(failed.unchecked_ref()));
    }
    if head.append_child(&script).is_err() {
        page::tell(FAILED);
    }
}
