//! Every knob: its value, where the value comes from, what our engine does with it.

use leptos::prelude::*;
use phi3::load_config::{Effect, KNOBS, Kind, Knob, Origin};
use serde_json::Value;

use crate::components::bits::badge;
use crate::state::Plan;
use crate::text::{self, plan as words};

fn effect(effect: Effect) -> impl IntoView {
    let tone = match effect {
        Effect::Honoured(_) => "ok",
        Effect::Nothing(_) => "",
        Effect::EstimateOnly(_) => "acc",
        Effect::Refused(_) => "warn",
    };
    view! { <span title=effect.words()>{badge(tone, effect.word())}</span> }
}

/// A value as a person reads and types it: texts without quotes, the rest as JSON.
pub(super) fn shown(value: &Value) -> String {
    value.as_str().map_or_else(|| value.to_string(), str::to_owned)
}

/// What was typed, as a value: JSON where it is JSON, else a text; nothing where it is empty.
pub(super) fn typed(text: &str) -> Option<Value> {
    let text = text.trim();
    if text.is_empty() {
        return None;
    }
    Some(serde_json::from_str(text).unwrap_or_else(|_no_json| Value::String(text.to_owned())))
}

/// Values to choose from, as JSON.
fn choices(knob: &Knob) -> Vec<&'static str> {
    let mut choices: Vec<&str> = match knob.kind {
        Kind::Flag => vec!["true", "false"],
        Kind::Choice | Kind::DeviceMap => knob.candidates.to_vec(),
        Kind::Text | Kind::Count | Kind::Budgets | Kind::Parameters => Vec::new(),
    };
    choices.retain(|json| Some(*json) != knob.default || knob.kind == Kind::Flag);
    choices
}

/// The form.
#[component]
pub fn Form() -> impl IntoView {
    let plan = Plan::here();
    let needle = RwSignal::new(String::new());
    let rows = KNOBS.iter().map(move |knob| {
        let hidden = move || {
            let needle = needle.with(|n| n.trim().to_ascii_lowercase());
            !needle.is_empty()
                && ![knob.key, knob.meaning].iter().any(|t| t.to_ascii_lowercase().contains(&needle))
        };
        view! { <Row plan knob hidden=Signal::derive(hidden)/> }
    });
    view! {
        <section class="card c7" aria-labelledby="plan-form">
            <div class="card-head">
                <h2 id="plan-form">{words::FORM} " " <span class="faint">{KNOBS.len()}</span></h2>
                <input type="search" class="filter" placeholder=words::SEARCH aria-label=words::SEARCH on:input=move |ev| needle.set(event_target_value(&ev))/>
            </div>
            <div class="knobs">{rows.collect_view()}</div>
        </section>
    }
}

#[component]
fn Row(plan: Plan, knob: &'static Knob, hidden: Signal<bool>) -> impl IntoView {
    let value = Memo::new(move |_| plan.value(knob));
    let is_own = move || value.with(|(_, origin)| *origin == Origin::Attempt);
    // A list of choices says by itself what it takes.
    let takes = if choices(knob).is_empty() { knob.allowed } else { "" };
    let more = [
        text::sentence(words::TAKES, takes),
        text::sentence(words::MEMORY, knob.memory),
        text::sentence(words::QUALITY, knob.quality),
        text::sentence(words::ENGINE, knob.effect.words()),
    ];
    let more: Vec<String> = more.into_iter().filter(|sentence| !sentence.is_empty()).collect();
    let id = format!("knob-{}", knob.key);
    view! {
        <div class="knob" class:own=is_own hidden=move || hidden.get() data-knob=knob.key>
            <label for=id.clone() class="mono">{knob.key}</label>
            <Input plan knob id value/>
            <div class="marks">
                // That a knob would be refused is no news of one that nobody has set.
                {move || (is_own() || !matches!(knob.effect, Effect::Refused(_))).then(|| effect(knob.effect))}
                <button
                    type="button"
                    class="quiet"
                    aria-label=text::plan::reset(knob.key)
                    title=words::RESET
                    disabled=move || !is_own()
                    on:click=move |_| plan.set(knob, None)
                >
                    "×"
                </button>
            </div>
            <details><summary>{knob.meaning}</summary><ul class="plain">{more.into_iter().map(|words| view! { <li>{words}</li> }).collect_view()}</ul></details>
            <span class="origin">{move || value.with(|(_, origin)| origin.words())}</span>
        </div>
    }
}

#[component]
fn Input(plan: Plan, knob: &'static Knob, id: String, value: Memo<(Option<Value>, Origin)>) -> impl IntoView {
    let listed = choices(knob);
    let text_now = move || value.with(|(value, _)| value.as_ref().map(shown).unwrap_or_default());
    let as_own =
        move || value.with(|(value, origin)| (*origin == Origin::Attempt).then(|| value.clone()).flatten());
    if listed.is_empty() {
        let own_text = move || as_own().as_ref().map(shown).unwrap_or_default();
        let placeholder =
            move || if text_now().is_empty() { words::NOTHING_SET.to_owned() } else { text_now() };
        return view! {
            <input
                id=id
                type="text"
                autocomplete="off"
                spellcheck="false"
                title=knob.allowed
                placeholder=placeholder
                prop:value=own_text
                on:change=move |ev| plan.set(knob, typed(&event_target_value(&ev)))
            />
        }
        .into_any();
    }
    let default_words = text::plan::left(knob.default);
    let option = move |json: &'static str| {
        let is_it = move || as_own().map(|own| own.to_string()).as_deref() == Some(json);
        view! { <option value=json prop:selected=is_it>{json.trim_matches('"')}</option> }
    };
    // A value that is written but not in the list, such as a map of modules.
    let written = {
        let listed = listed.clone();
        move || as_own().map(|own| own.to_string()).filter(|own| !listed.contains(&own.as_str()))
    };
    view! {
        <select id=id on:change=move |ev| plan.set(knob, typed(&event_target_value(&ev)))>
            <option value="" prop:selected=move || as_own().is_none()>{default_words}</option>
            {listed.into_iter().map(option).collect_view()}
            {move || written().map(|json| view! { <option value=json.clone() prop:selected=true>{json.clone()}</option> })}
        </select>
    }
    .into_any()
}

#[cfg(test)]
mod tests {
    use super::*;
    use phi3::load_config::LoadConfig;
    use wasm_bindgen_test::wasm_bindgen_test;

    #[wasm_bindgen_test(unsupported = test)]
    fn what_is_typed_is_json_or_a_text() {
        assert_eq!(typed("2047"), Some(2047.into()));
        assert_eq!(typed(" null "), Some(Value::Null));
        assert_eq!(typed(r#"{"0":"9GiB"}"#), Some(serde_json::json!({"0": "9GiB"})));
        assert_eq!(typed("main"), Some("main".into()));
        assert_eq!(typed("  "), None);
        assert_eq!(shown(&"main".into()), "main");
    }

    /// A choice that the form offers and the parser refuses would be a trap.
    #[wasm_bindgen_test(unsupported = test)]
    fn every_choice_is_accepted() {
        for knob in &KNOBS {
            for json in choices(knob) {
                let value = typed(json).expect("a value");
                assert!(LoadConfig::default().with(knob.key, &value).is_ok(), "{} {json}", knob.key);
            }
        }
    }
}
