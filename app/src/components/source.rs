//! Which model: a preset, a config pasted, files chosen or dropped.

use std::time::Duration;

use leptos::prelude::*;
use phi3::config::{PRESETS, Preset};

use crate::platform::files;
use crate::state::{Late, Store};
use crate::text;

/// The picker.
#[component]
pub fn Source() -> impl IntoView {
    let store = Store::here();
    let shown = move || store.preset_shown();
    let option = move |preset: &Preset| {
        let name = preset.name;
        view! { <option value=name prop:selected=move || shown() == Some(name)>{preset.title}</option> }
    };
    let own_option = move || {
        shown().is_none().then(|| view! { <option value="" prop:selected=true>{store.title()}</option> })
    };
    // What was accepted is on the page; what was refused stays to be corrected.
    let draft = RwSignal::new(String::new());
    Effect::new(move |_| {
        store.model.track();
        store.stranger.track();
        draft.set(String::new());
    });
    let late = expect_context::<Late>();
    // A paste is one event; whoever types is not told off at every letter.
    let mut pasted = debounce(Duration::from_millis(250), move |config: String| {
        draft.set(config.clone());
        if !config.trim().is_empty() {
            late.take_config(config);
        }
    });
    let file_chosen = move |ev| late.read(&files::from_input(&event_target(&ev)));
    view! {
        <section class="source" aria-label=text::rail::MODEL>
            <label class="sr" for="preset">{text::rail::MODEL}</label>
            <select id="preset" data-testid="preset" on:change=move |ev| store.open_preset(&event_target_value(&ev))>
                {own_option}
                {PRESETS.iter().map(option).collect_view()}
            </select>
            <label class="sr" for="config-input">{text::rail::OWN}</label>
            <textarea
                id="config-input"
                data-testid="config-input"
                spellcheck="false"
                autocomplete="off"
                placeholder=text::rail::PASTE
                prop:value=move || draft.get()
                on:input=move |ev| pasted(event_target_value(&ev))
            ></textarea>
            <div class="pair">
                <label class="btn small">
                    {text::rail::FILE}
                    <input type="file" data-testid="file-input" multiple on:change=file_chosen/>
                </label>
                <label class="btn small">
                    {text::rail::FOLDER}
                    <input type="file" data-testid="folder-input" prop:webkitdirectory=true on:change=file_chosen/>
                </label>
            </div>
        </section>
    }
}
