//! Reports to take along: as JSON and as Markdown, copied or saved.

use leptos::prelude::*;
use phi3::export;
use phi3::validate::Validations;

use crate::platform::page;
use crate::state::Store;
use crate::text::in_browser as words;

/// Four buttons.
#[component]
pub fn Exports(
    /// The reports.
    all: Validations,
) -> impl IntoView {
    let store = Store::here();
    let name = file_name(&all.model);
    let json = StoredValue::new(serde_json::to_string_pretty(&all).unwrap_or_default());
    let markdown = StoredValue::new(export::validations(&all));
    let copy = move |text: StoredValue<String>, what| move |_| store.copy(text.get_value(), what);
    let save = move |text: StoredValue<String>, ending: &str, kind: &'static str| {
        let name = format!("{name}.{ending}");
        move |_| {
            if !text.with_value(|text| page::save(&name, kind, text)) {
                store.say(words::SAVE_REFUSED);
            }
        }
    };
    view! {
        <div class="row">
            <button type="button" class="btn small" data-testid="copy-json" on:click=copy(json, words::WHAT_JSON)>{words::COPY_JSON}</button>
            <button type="button" class="btn small" data-testid="copy-markdown" on:click=copy(markdown, words::WHAT_MARKDOWN)>{words::COPY_MARKDOWN}</button>
            <button type="button" class="btn small" data-testid="save-json" on:click=save(json, "json", "application/json")>{words::SAVE_JSON}</button>
            <button type="button" class="btn small" data-testid="save-markdown" on:click=save(markdown, "md", "text/markdown")>{words::SAVE_MARKDOWN}</button>
        </div>
    }
}

/// A name that every file system takes, without its ending.
fn file_name(model: &str) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() || "-_.".contains(c) { c } else { '-' };
    let model: String = model.chars().map(plain).take(60).collect();
    format!("validation-{}", model.trim_matches(['-', '.']).to_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_bindgen_test::wasm_bindgen_test;

    #[wasm_bindgen_test(unsupported = test)]
    fn names_of_files_are_plain() {
        assert_eq!(file_name("Phi-3 mini, made-up/../weights"), "validation-phi-3-mini--made-up-..-weights");
        assert_eq!(file_name(".."), "validation-");
    }
}
