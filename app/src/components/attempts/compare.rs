//! Attempts side by side: what differs, and nothing else.

use leptos::prelude::*;
use phi3::api::Comparison;
use serde_json::Value;

use crate::components::bits::copies;
use crate::state::Attempts;
use crate::text::attempts as words;

fn shown(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

/// The table of differences.
#[component]
pub fn Compare(
    /// What the server found.
    comparison: Comparison,
) -> impl IntoView {
    let attempts = Attempts::here();
    let needle = RwSignal::new(String::new());
    let ids = comparison.ids.clone();
    let heads = ids.iter().map(|id| { let id = *id; view! { <th><button type="button" class="link" on:click=move |_| attempts.choose(id)>{format!("#{id}")}</button></th> } }).collect_view();
    let differences = StoredValue::new(comparison.differences);
    let rows = move || {
        let needle = needle.with(|n| n.trim().to_lowercase());
        differences.with_value(|all| {
            let row = |difference: &phi3::api::Difference| {
                let values = difference
                    .values
                    .iter()
                    .map(|value| {
                        let words = shown(value);
                        view! { <td class="mono clip" title=words.clone()>{copies(words.clone())}</td> }
                    })
                    .collect_view();
                view! { <tr><th scope="row" class="mono">{difference.path.clone()}</th>{values}</tr> }
            };
            all.iter().filter(|d| d.path.to_lowercase().contains(&needle)).map(row).collect_view()
        })
    };
    view! {
        <section class="card" data-testid="comparison">
            <div class="card-head">
                <h2>{words::COMPARISON} " " <span class="faint">{differences.with_value(Vec::len)}</span></h2>
                <div class="row">
                    <input type="search" class="filter" placeholder=words::SEARCH_PATHS aria-label=words::SEARCH_PATHS on:input=move |ev| needle.set(event_target_value(&ev))/>
                    <button type="button" class="btn small" on:click=move |_| attempts.close()>{words::CLOSE}</button>
                </div>
            </div>
            <div class="scroll"><table class="compare"><thead><tr><th>{words::PATH}</th>{heads}</tr></thead><tbody>{rows}</tbody></table></div>
        </section>
    }
}
