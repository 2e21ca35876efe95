//! The left rail: which model, what is on the page, whether a server is there.

use std::time::Duration;

use leptos::prelude::*;
use leptos::task::spawn_local;
use phi3::config::{ConfigError, MAX_CONFIG_BYTES, PRESETS, Preset};

use crate::platform::files::{self, Picked};
use crate::platform::page;
use crate::state::model::{OwnFiles, choose};
use crate::state::{Problem, Store};
use crate::text;

/// Reads a config out of what was chosen or dropped and shows it.
pub fn open_files(store: Store, picked: Vec<Picked>) {
    if picked.is_empty() {
        return;
    }
    spawn_local(async move {
        match read(&picked).await {
            Ok(files) => store.open_own(&files),
            Err(problem) => store.problem.set(Some(problem)),
        }
    });
}

async fn read(picked: &[Picked]) -> Result<OwnFiles, Problem> {
    let paths: Vec<&str> = picked.iter().map(|p| p.path.as_str()).collect();
    let (config, generation) = choose(&paths).ok_or_else(|| text::problem::no_config(paths.len()))?;
    let name = match paths[config].rsplit_once('/') {
        Some((folder, _)) => folder.rsplit('/').next().unwrap_or(folder),
        None => paths[config],
    };
    let generation = match generation {
        Some(index) => Some(read_text(&picked[index]).await?),
        None => None,
    };
    Ok(OwnFiles { name: name.to_owned(), config: read_text(&picked[config]).await?, generation })
}

async fn read_text(file: &Picked) -> Result<String, Problem> {
    let limit = MAX_CONFIG_BYTES;
    if file.size() > limit {
        return Err(Problem::config(&file.path, &ConfigError::TooLarge { bytes: file.size(), limit }));
    }
    let bytes = file.read().await.map_err(|why| text::problem::unreadable(&file.path, why))?;
    // Bytes that are no text are no JSON either, and the parser says where.
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The rail. `foot` stands at its end.
#[component]
pub fn Rail(
    /// Sections of the page: id and name.
    #[prop(into)]
    sections: Signal<Vec<(&'static str, &'static str)>>,
    /// Stands at the end.
    foot: AnyView,
) -> impl IntoView {
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
    // A paste is one event; whoever types is not told off at every letter.
    let mut pasted = debounce(Duration::from_millis(250), move |config: String| {
        draft.set(config.clone());
        if !config.trim().is_empty() {
            store.open_own(&OwnFiles { name: String::new(), config, generation: None });
        }
    });
    let file_chosen = move |ev| open_files(store, files::from_input(&event_target(&ev)));
    let link = |(id, name): (&'static str, &'static str)| {
        let go = move |ev: leptos::ev::MouseEvent| {
            ev.prevent_default();
            page::go_to(id);
        };
        view! { <a href=format!("#{id}") on:click=go>{name}</a> }
    };
    view! {
        <aside class="rail">
            <div class="brand"><i></i>{text::BRAND}</div>
            <div>
                <h2><label for="preset">{text::rail::PRESET}</label></h2>
                <select id="preset" data-testid="preset" on:change=move |ev| store.open_preset(&event_target_value(&ev))>
                    {own_option}
                    {PRESETS.iter().map(option).collect_view()}
                </select>
            </div>
            <div>
                <h2><label for="config-input">{text::rail::OWN}</label></h2>
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
                        <input type="file" data-testid="file-input" accept=".json,application/json" multiple on:change=file_chosen/>
                    </label>
                    <label class="btn small">
                        {text::rail::FOLDER}
                        <input type="file" data-testid="folder-input" prop:webkitdirectory=true on:change=file_chosen/>
                    </label>
                </div>
            </div>
            <nav class="toc" aria-label=text::rail::ON_THIS_PAGE>
                {move || sections.get().into_iter().map(link).collect_view()}
            </nav>
            <div class="foot">{foot}</div>
        </aside>
    }
}
