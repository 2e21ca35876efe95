//! The same object as JSON: what is typed is taken as soon as it is right.

use std::time::Duration;

use leptos::prelude::*;
use phi3::load_config::{LoadConfig, LoadConfigError};
use serde_json::{Map, Value};

use crate::platform::page;
use crate::state::{Plan, Store};
use crate::text::plan as words;

/// What is wrong with a text.
fn read(text: &str) -> Result<Map<String, Value>, Vec<LoadConfigError>> {
    if text.trim().is_empty() {
        return Ok(Map::new());
    }
    // The parser of the crate says where JSON ends to be JSON.
    if let Err(error @ LoadConfigError::Json(_)) = LoadConfig::parse(text.as_bytes()) {
        return Err(vec![error]);
    }
    let map: Map<String, Value> = serde_json::from_str(text).unwrap_or_default();
    LoadConfig::from_map_all(&map).map(|_fine| map)
}

/// Where the tab keeps a text that is not right yet, with what the form shows meanwhile.
const KEY: &str = "preflight.plan";

/// The text that was being typed when the page was left, as long as the plan is what it was then.
fn left(overrides: &Map<String, Value>) -> Option<String> {
    let (text, then): (String, Map<String, Value>) = serde_json::from_str(&page::kept(KEY)?).ok()?;
    (then == *overrides).then_some(text)
}

fn keep(text: &str, overrides: &Map<String, Value>) {
    if let Ok(json) = serde_json::to_string(&(text, overrides)) {
        page::keep(KEY, &json);
    }
}

/// The editor.
#[component]
pub fn Json() -> impl IntoView {
    let (plan, store) = (Plan::here(), Store::here());
    // A text that is not right yet; the form still shows the last that was.
    let draft = RwSignal::new(plan.overrides.with_untracked(left));
    let problems = RwSignal::new(Vec::<LoadConfigError>::new());
    let written = Memo::new(move |_| {
        plan.overrides.with(|map| {
            if map.is_empty() { String::new() } else { format!("{:#}", Value::Object(map.clone())) }
        })
    });
    let take = move |text: String| match read(&text) {
        Ok(map) if plan.overrides.with_untracked(|now| *now == map) => problems.set(Vec::new()),
        Ok(map) => plan.replace(map),
        Err(errors) => {
            draft.set(Some(text));
            problems.set(errors);
        }
    };
    // What comes from elsewhere takes the place of what was being typed, and is judged alike.
    Effect::new(move |before: Option<()>| {
        plan.overrides.track();
        if before.is_some() {
            draft.set(None);
        }
        match draft.get_untracked() {
            Some(text) => take(text),
            None => {
                problems.set(plan.config.with(|config| config.as_ref().err().cloned().unwrap_or_default()))
            }
        }
    });
    let mut typed = debounce(Duration::from_millis(300), take);
    // The page may be left before it is looked at.
    let mut input = move |text: String| {
        plan.overrides.with_untracked(|overrides| keep(&text, overrides));
        typed(text);
    };
    let is_bad = move || problems.with(|p| !p.is_empty());
    view! {
        <section class="card" aria-labelledby="plan-json">
            <div class="card-head">
                <h2 id="plan-json">{words::JSON}</h2>
                <div class="row">
                    <button type="button" class="btn small" on:click=move |_| store.copy(written.get_untracked(), words::WHAT_JSON)>{words::COPY}</button>
                    <button type="button" class="btn small" disabled=move || plan.overrides.with(Map::is_empty) && !is_bad() on:click=move |_| plan.replace(Map::new())>
                        {words::CLEAR}
                    </button>
                </div>
            </div>
            <textarea
                class="code"
                rows="9"
                spellcheck="false"
                autocomplete="off"
                placeholder=words::PLACEHOLDER
                data-testid="plan-json"
                aria-labelledby="plan-json"
                aria-describedby="plan-problems"
                aria-invalid=move || is_bad().to_string()
                prop:value=move || draft.get().unwrap_or_else(|| written.get())
                on:input=move |ev| input(event_target_value(&ev))
            ></textarea>
            <ul class="plain problems" id="plan-problems" aria-live="polite" data-testid="plan-problems">
                {move || problems.get().into_iter().map(|e| view! { <li class="problem">{e.to_string()}</li> }).collect_view()}
            </ul>
        </section>
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use wasm_bindgen_test::wasm_bindgen_test;

    #[wasm_bindgen_test(unsupported = test)]
    fn everything_wrong_is_named() {
        assert_eq!(read("  ").map(|m| m.len()), Ok(0));
        assert_eq!(read(r#"{"torch_dtype":"float16"}"#).map(|m| m.len()), Ok(1));
        assert_eq!(read("{").map_err(|e| e.len()), Err(1));
        assert_eq!(read(r#"{"tourch_dtype":"float16","use_cache":3}"#).map_err(|e| e.len()), Err(2));
    }
}
