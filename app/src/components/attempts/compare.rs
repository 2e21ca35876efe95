//! Attempts side by side: what differs, and nothing else.

use leptos::prelude::*;
use phi3::api::{AttemptState, Comparison, Difference, Topic};
use phi3::units::format_bytes;
use serde_json::Value;

use crate::components::bits::copyable;
use crate::state::{Attempts, Told};
use crate::text::{self, attempts as words};

/// The table of differences.
#[component]
pub fn Compare(
    /// What the server found.
    comparison: Comparison,
) -> impl IntoView {
    let attempts = Attempts::here();
    let needle = RwSignal::new(String::new());
    // Where nothing differs that has a name, there is nothing else to show.
    let all = RwSignal::new(comparison.differences.iter().all(|d| words::name_of(&d.path).is_none()));
    let ids = comparison.ids.clone();
    let heads = ids.iter().map(|id| { let id = *id; view! { <th><button type="button" class="link" on:click=move |_| attempts.choose(id)>{format!("#{id}")}</button></th> } }).collect_view();
    let columns = ids.len() + 1;
    let topics = StoredValue::new(comparison.by_topic());
    let count_of = |is_counted: fn(&Difference) -> bool| {
        topics.with_value(|topics| topics.iter().flat_map(|(_, rows)| rows).filter(|d| is_counted(d)).count())
    };
    let (named, whole) = (count_of(|d| words::name_of(&d.path).is_some()), count_of(|_| true));
    let count = move || text::of(if all.get() { whole } else { named }, whole);
    let row = move |difference: &Difference| {
        let cell = |value: &Value| {
            let exact = exact(value);
            view! { <td class="mono" title=exact.clone()>{copyable(shown(attempts.told, difference, value), exact.clone())}</td> }
        };
        let values = difference.values.iter().map(cell).collect_view();
        let name = words::name_of(&difference.path);
        view! { <tr><th scope="row" class="name" title=difference.path.clone()>{name.unwrap_or_else(|| difference.path.clone())}</th>{values}</tr> }
    };
    let groups = move || {
        let needle = needle.with(|n| n.trim().to_lowercase());
        // Who searches searches everything; else what people compare comes without what only machines do.
        let is_wanted = |difference: &Difference, needle: &str| {
            let name = words::name_of(&difference.path);
            if needle.is_empty() {
                all.get() || name.is_some()
            } else {
                [Some(&difference.path), name.as_ref()]
                    .into_iter()
                    .flatten()
                    .any(|t| t.to_lowercase().contains(needle))
            }
        };
        topics.with_value(|topics| {
            let group = |(topic, rows): &(Topic, Vec<Difference>)| {
                let found: Vec<_> = rows.iter().filter(|d| is_wanted(d, &needle)).map(row).collect();
                (!found.is_empty()).then(|| view! { <tbody><tr class="topic"><th scope="rowgroup" colspan=columns.to_string()>{topic.heading()}</th></tr>{found}</tbody> })
            };
            topics.iter().filter_map(group).collect_view()
        })
    };
    view! {
        <section class="card" data-testid="comparison">
            <div class="card-head">
                <h2>{words::COMPARISON} " " <span class="faint">{count}</span></h2>
                <div class="row">
                    <button type="button" class="quiet" aria-pressed=move || all.get().to_string() on:click=move |_| all.update(|a| *a = !*a)>
                        {move || if all.get() { words::FEWER } else { words::EVERYTHING }}
                    </button>
                    <input type="search" class="filter" placeholder=words::SEARCH_PATHS aria-label=words::SEARCH_PATHS on:input=move |ev| needle.set(event_target_value(&ev))/>
                    <button type="button" class="btn small" on:click=move |_| attempts.close()>{words::CLOSE}</button>
                </div>
            </div>
            <div class="scroll"><table class="compare" style=format!("--of:{}", columns - 1)><thead><tr><th class="name">{words::PATH}</th>{heads}</tr></thead>{groups}</table></div>
        </section>
    }
}

/// A value as people read it. A time and a rate of zero were not measured.
fn shown(told: Told, difference: &Difference, value: &Value) -> String {
    let is_timed = ["_ms", "_per_s"].iter().any(|end| difference.path.ends_with(end));
    let value = if is_timed && value.as_f64() == Some(0.0) { &Value::Null } else { value };
    match (difference.path.as_str(), value) {
        ("model", Value::String(id)) => told.name(id),
        ("state", Value::String(state)) if state == AttemptState::Stopped.name() => words::STOPPED.to_owned(),
        ("outcome" | "error.code", Value::String(code)) => text::outcome::of_name(code),
        ("error.message", Value::String(message)) => text::outcome::told(message),
        (path, Value::Number(bytes)) if path.contains("max_memory") => {
            bytes.as_u64().map_or_else(|| bytes.to_string(), format_bytes)
        }
        ("report.stop_reason", Value::String(reason)) => text::stop_reason(reason),
        _ => difference.shown(value),
    }
}

/// A value as it stands in the record.
fn exact(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
