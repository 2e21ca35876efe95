//! Who the model is, and the answer to take away.

use leptos::prelude::*;

use phi3::inspect::{Field, InspectReport};

use super::bits::badge;
use crate::format::short_count;
use crate::state::Store;
use crate::state::link;
use crate::state::link::View;
use crate::text;

/// The command that gives this page's answer in a terminal.
fn command(view: &View, memory: Option<u64>) -> String {
    let path =
        if view.model == link::OWN { "config.json".to_owned() } else { format!("preset:{}", view.model) };
    let options = &view.options;
    let flags = [
        ("dtype", options.dtype.map(|d| d.name().to_owned())),
        ("kv-dtype", options.kv_dtype.map(|d| d.name().to_owned())),
        ("context", options.context.map(|n| n.to_string())),
        ("batch", options.batch.map(|n| n.to_string())),
        ("attn", options.attn.map(|a| link::attn_name(a).to_owned())),
        ("kv-policy", options.kv_policy.map(|p| p.name().to_owned())),
        ("device-memory", memory.map(|bytes| bytes.to_string())),
    ];
    let flags = flags.into_iter().filter_map(|(flag, value)| Some(format!(" --{flag} {}", value?)));
    format!("preflight estimate {path}{}", flags.collect::<String>())
}

/// Whether the config asks transformers to run code of the repository.
fn has_remote_code(report: &InspectReport) -> bool {
    let asks =
        |field: &Field| field.key == "auto_map" && field.value.as_object().is_some_and(|map| !map.is_empty());
    report.fields.iter().any(asks)
}

/// Name, shape, support; copy buttons.
#[component]
pub fn Header() -> impl IntoView {
    let store = Store::here();
    let title = move || store.model.with(|m| m.title.clone());
    let identity = move || store.model.with(|m| text::identity(&m.decoder));
    let params = move || store.report.with(|r| r.params_total);
    let copy_json = move |_| {
        if let Ok(json) = store.report.with_untracked(|r| serde_json::to_string_pretty(&**r)) {
            store.copy(json, text::header::WHAT_JSON);
        }
    };
    let copy_command = move |_| {
        let view = untrack(|| store.view());
        store.copy(command(&view, store.memory.get_untracked()), text::header::WHAT_CLI);
    };
    let asks_for_code = move || store.model.with(|m| has_remote_code(&m.inspection));
    view! {
        <header>
            <div class="who">
                <div class="named">
                    <h1>{title}</h1>
                    {badge("ok", text::header::RUNS)}
                    <Show when=asks_for_code>{badge("", text::header::NO_REMOTE_CODE)}</Show>
                </div>
                <div class="dim">
                    {identity} " · "
                    <span
                        class="num"
                        data-testid="params-total"
                        data-value=move || params().to_string()
                        title=move || text::plural(params(), "parameter")
                    >
                        {move || text::header::parameters(&short_count(params()))}
                    </span>
                </div>
            </div>
            <div class="row">
                <button type="button" class="btn" on:click=copy_command>{text::header::COPY_CLI}</button>
                <button type="button" class="btn" on:click=copy_json>{text::header::COPY_JSON}</button>
            </div>
        </header>
    }
}
