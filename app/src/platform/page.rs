//! The page: its address, its clipboard, its elements.

/// An element of the page.
pub use web_sys::Element;

use leptos::prelude::{
    Get as _, Memo, RwSignal, Set as _, document, on_cleanup, request_animation_frame, set_timeout, window,
    window_event_listener,
};
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

/// The address without what stands after `#`.
pub fn address() -> String {
    let href = window().location().href().unwrap_or_default();
    href.split('#').next().unwrap_or_default().to_owned()
}

/// Tells both programs of the tab that something happened.
pub fn tell(event: &str) {
    if let Ok(event) = web_sys::Event::new(event) {
        let _ = window().dispatch_event(&event);
    }
}

/// Sets the window's title.
pub fn set_title(title: &str) {
    document().set_title(title);
}

/// An element of the page to draw into.
pub fn host(id: &str) -> Option<web_sys::HtmlElement> {
    use wasm_bindgen::JsCast as _;
    document().get_element_by_id(id)?.dyn_into().ok()
}

/// Marks this moment in the browser's timeline, for whoever measures the page.
pub fn mark(name: &str) {
    if let Some(performance) = window().performance() {
        let _ = performance.mark(name);
    }
}

/// A moment by the clock and calendar of this machine: `11-25 14:02`.
pub fn moment(ms_since_1970: u64) -> String {
    let date = js_sys::Date::new(&JsValue::from_f64(ms_since_1970 as f64));
    format!(
        "{:02}-{:02} {:02}:{:02}",
        date.get_month() + 1,
        date.get_date(),
        date.get_hours(),
        date.get_minutes()
    )
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

/// Scrolls to the top, at once.
pub fn to_top() {
    let options = web_sys::ScrollToOptions::new();
    options.set_top(0.0);
    options.set_behavior(web_sys::ScrollBehavior::Instant);
    window().scroll_to_with_scroll_to_options(&options);
}

/// Scrolls an element to its end when what is new has been drawn, unless somebody has scrolled up in it.
pub fn follow_end(id: &str) {
    /// How far from the end counts as being there, in CSS pixels.
    const NEAR: i32 = 80;
    let Some(element) = document().get_element_by_id(id) else { return };
    if element.scroll_height() - element.scroll_top() - element.client_height() <= NEAR {
        request_animation_frame(move || element.set_scroll_top(element.scroll_height()));
    }
}

/// Whether the window is as narrow as a telephone's, now and whenever its size changes; the style sheets have the same width.
pub fn narrow() -> Memo<bool> {
    let width = || window().inner_width().ok().and_then(|width| width.as_f64()).unwrap_or(f64::MAX);
    let now = RwSignal::new(width());
    let listening = window_event_listener(leptos::ev::resize, move |_| now.set(width()));
    on_cleanup(move || listening.remove());
    Memo::new(move |_| now.get() <= 560.0)
}

/// Puts the keyboard into the first search field that is to be seen; false where there is none.
pub fn go_to_search() -> bool {
    use wasm_bindgen::JsCast as _;
    let Ok(fields) = document().query_selector_all("input[type=search]") else { return false };
    let seen = (0..fields.length())
        .filter_map(|i| fields.get(i)?.dyn_into::<web_sys::HtmlElement>().ok())
        .find(|field| field.offset_parent().is_some());
    seen.is_some_and(|field| {
        field.scroll_into_view();
        field.focus().is_ok()
    })
}

/// Opens or closes a dialog; the browser keeps the keyboard inside and closes it with Escape.
pub fn show_dialog(id: &str, open: bool) {
    use wasm_bindgen::JsCast as _;
    let dialog =
        document().get_element_by_id(id).and_then(|e| e.dyn_into::<web_sys::HtmlDialogElement>().ok());
    match dialog {
        Some(dialog) if open && !dialog.open() => {
            let _ = dialog.show_modal();
        }
        Some(dialog) if !open => dialog.close(),
        _ => {}
    }
}

/// Whether a dialog lies over the page: it has the keys.
pub fn is_covered() -> bool {
    document().query_selector("dialog[open]").is_ok_and(|dialog| dialog.is_some())
}

/// An attribute of the whole page.
pub fn attribute(name: &str) -> String {
    document().document_element().and_then(|e| e.get_attribute(name)).unwrap_or_default()
}

/// Sets an attribute of the whole page; an empty value takes it away.
pub fn set_attribute(name: &str, value: &str) {
    if let Some(element) = document().document_element() {
        let _ = if value.is_empty() {
            element.remove_attribute(name)
        } else {
            element.set_attribute(name, value)
        };
    }
}

/// Whether the keyboard is in a field where text is typed.
pub fn is_typing() -> bool {
    document()
        .active_element()
        .is_some_and(|e| ["INPUT", "TEXTAREA", "SELECT"].contains(&e.tag_name().as_str()))
}

/// Whether the page is in a window or tab that nobody sees.
pub fn is_hidden() -> bool {
    document().hidden()
}

/// What a browser says of the machine and of what a page may do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Limits {
    /// Memory of the machine in GiB, rounded and capped; only some browsers tell.
    pub memory_gib: Option<f64>,
    /// Threads that the machine runs at once.
    pub threads: Option<u32>,
    /// Whether threads may share memory.
    pub is_isolated: bool,
}

/// Asks the browser.
pub fn limits() -> Limits {
    let of = |object: &JsValue, key: &str| js_sys::Reflect::get(object, &JsValue::from_str(key)).ok();
    let navigator: JsValue = window().navigator().into();
    let number = |key| of(&navigator, key).and_then(|value| value.as_f64());
    Limits {
        memory_gib: number("deviceMemory"),
        threads: number("hardwareConcurrency").map(|threads| threads as u32),
        is_isolated: of(&window(), "crossOriginIsolated").and_then(|v| v.as_bool()).unwrap_or(false),
    }
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

/// Saves a text as a file, where the browser saves what is downloaded; false where it refuses.
pub fn save(name: &str, kind: &str, text: &str) -> bool {
    use wasm_bindgen::JsCast as _;
    let parts = js_sys::Array::of1(&JsValue::from_str(text));
    let options = web_sys::BlobPropertyBag::new();
    options.set_type(kind);
    let saved = || -> Result<(), JsValue> {
        let blob = web_sys::Blob::new_with_str_sequence_and_options(&parts, &options)?;
        let url = web_sys::Url::create_object_url_with_blob(&blob)?;
        let link: web_sys::HtmlAnchorElement = document().create_element("a")?.unchecked_into();
        link.set_href(&url);
        link.set_download(name);
        link.click();
        // Browsers begin a download some time after the click.
        let forget = move || drop(web_sys::Url::revoke_object_url(&url));
        set_timeout(forget, std::time::Duration::from_secs(20));
        Ok(())
    };
    saved().is_ok()
}

/// What the tab keeps; `None` where the browser keeps nothing of this site, and throws as soon as it is asked for it.
fn of_tab() -> Option<web_sys::Storage> {
    window().session_storage().ok().flatten()
}

fn of_browser() -> Option<web_sys::Storage> {
    window().local_storage().ok().flatten()
}

/// Keeps a text for this tab; it survives a reload.
pub fn keep(key: &str, text: &str) {
    // Full or forbidden storage costs only the restore on reload.
    let _ = of_tab().map(|storage| storage.set_item(key, text));
}

/// A text kept for this tab.
pub fn kept(key: &str) -> Option<String> {
    of_tab()?.get_item(key).ok().flatten()
}

/// Keeps a text in this browser for every page of this address; an empty one is forgotten.
pub fn keep_for_good(key: &str, text: &str) {
    // Forbidden storage costs only that it is asked again.
    let _ = of_browser()
        .map(|storage| if text.is_empty() { storage.remove_item(key) } else { storage.set_item(key, text) });
}

/// A text kept in this browser.
pub fn kept_for_good(key: &str) -> Option<String> {
    of_browser()?.get_item(key).ok().flatten()
}

/// Where on an element a pointer is, as a share of its width.
pub fn share_of_width(element: &Element, client_x: f64) -> f64 {
    let rect = element.get_bounding_client_rect();
    if rect.width() <= 0.0 { 0.0 } else { ((client_x - rect.left()) / rect.width()).clamp(0.0, 1.0) }
}

/// Whether what stands in a field of numbers is none: its value is empty then.
pub fn is_bad_input(event: &web_sys::Event) -> bool {
    use wasm_bindgen::JsCast as _;
    let field = event.target().and_then(|target| target.dyn_into::<web_sys::HtmlInputElement>().ok());
    field.is_some_and(|field| field.value().is_empty() && !field.check_validity())
}

/// The element that listens to this event.
pub fn target_of(event: &web_sys::Event) -> Option<Element> {
    use wasm_bindgen::JsCast as _;
    event.current_target()?.dyn_into().ok()
}

/// What an event came from, if that is such an element.
pub fn source_of(event: &web_sys::Event, selector: &str) -> Option<Element> {
    use wasm_bindgen::JsCast as _;
    let source: Element = event.target()?.dyn_into().ok()?;
    source.matches(selector).ok()?.then_some(source)
}

/// The index of the row that an event came from.
pub fn row_of(event: &web_sys::Event) -> Option<usize> {
    use wasm_bindgen::JsCast as _;
    let source: Element = event.target()?.dyn_into().ok()?;
    source.closest("[aria-rowindex]").ok()??.get_attribute("aria-rowindex")?.parse().ok()
}

/// Whether the keyboard goes to somewhere outside of the element that listens; where it goes to nothing, as it does
/// when a button is pressed with the mouse in some browsers, it is not known to leave.
pub fn leaves(event: &web_sys::FocusEvent) -> bool {
    use wasm_bindgen::JsCast as _;
    let to = event.related_target().and_then(|target| target.dyn_into::<web_sys::Node>().ok());
    match (target_of(event), to) {
        (Some(element), Some(to)) => !element.contains(Some(&to)),
        _ => false,
    }
}

/// Closes the menu that the listening element is or lies in, and gives the keyboard back to its button where that is
/// asked for; false where it was closed already.
pub fn close_menu(event: &web_sys::Event, give_back: bool) -> bool {
    use wasm_bindgen::JsCast as _;
    let menu = target_of(event).and_then(|element| element.closest("details").ok().flatten());
    let Some(menu) = menu else { return false };
    let was_open = menu.has_attribute("open");
    let _ = menu.remove_attribute("open");
    if was_open
        && give_back
        && let Ok(Some(button)) = menu.query_selector("summary")
        && let Ok(button) = button.dyn_into::<web_sys::HtmlElement>()
    {
        let _ = button.focus();
    }
    was_open
}

/// Presses the button beside the one that has the keyboard, and moves the keyboard there: arrows among tabs.
pub fn press_beside(event: &web_sys::Event, forward: bool) {
    use wasm_bindgen::JsCast as _;
    let here = event.target().and_then(|target| target.dyn_into::<Element>().ok());
    let beside = here
        .and_then(|here| if forward { here.next_element_sibling() } else { here.previous_element_sibling() });
    if let Some(button) = beside.and_then(|element| element.dyn_into::<web_sys::HtmlElement>().ok()) {
        let _ = button.focus();
        button.click();
    }
}

/// Brings the current page into sight in a list of pages that scrolls sideways.
pub fn show_current_page() {
    use wasm_bindgen::JsCast as _;
    let current = document().query_selector("nav a[aria-current=page]").ok().flatten();
    let Some(link) = current.and_then(|e| e.dyn_into::<web_sys::HtmlElement>().ok()) else { return };
    if let Some(list) = link.offset_parent().and(link.parent_element()) {
        let middle = link.offset_left() + link.offset_width() / 2;
        list.set_scroll_left(middle - list.client_width() / 2);
    }
}
