//! Who the model is, and the answer to take away.

use leptos::prelude::*;

use phi3::inspect::Support;

use super::bits::badge;
use crate::format::short_count;
use crate::platform::page;
use crate::state::link::{self, View};
use crate::state::{Ask, Late, Page, Store, devices};
use crate::text;

/// The command that gives this page's answer in a terminal.
fn command(view: &View, memory: Option<u64>) -> String {
    let path =
        if view.model == link::OWN { "config.json".to_owned() } else { format!("preset:{}", view.model) };
    let options = &view.options;
    let named = view.device.as_ref().filter(|name| *name != devices::BROWSER);
    let flags = [
        ("dtype", options.dtype.map(|d| d.name().to_owned())),
        ("kv-dtype", options.kv_dtype.map(|d| d.name().to_owned())),
        ("context", options.context.map(|n| n.to_string())),
        ("batch", options.batch.map(|n| n.to_string())),
        ("attn", options.attn.map(|a| link::attn_name(a).to_owned())),
        ("kv-policy", options.kv_policy.map(|p| p.name().to_owned())),
        ("device", named.cloned().map(|name| if name.contains(' ') { format!("'{name}'") } else { name })),
        ("device-memory", memory.filter(|_| named.is_none()).map(|bytes| bytes.to_string())),
    ];
    let flags = flags.into_iter().filter_map(|(flag, value)| Some(format!(" --{flag} {}", value?)));
    format!("preflight estimate {path}{}", flags.collect::<String>())
}

/// Name, shape, support; what can be taken away.
#[component]
pub fn Header() -> impl IntoView {
    let store = Store::here();
    let late = use_context::<Late>();
    // The first program has the second fetched; in the second itself an event is enough.
    let ask = move |ask: Ask| match late {
        Some(late) => late.ask(ask),
        None => page::tell(ask.event()),
    };
    let validate = move |_| {
        store.go(Page::Validate);
        ask(Ask::Validate);
    };
    view! {
        <header>
            <div class="who">
                {move || match store.stranger.get() {
                    None => view! { <Known/> }.into_any(),
                    Some(stranger) => view! {
                        <div class="named"><h1>{stranger.title.clone()}</h1></div>
                        <div class="dim">{stranger.model_type.clone()}</div>
                    }
                    .into_any(),
                }}
            </div>
            <div class="row">
                <Show when=move || store.page.get() == Page::Estimate && store.stranger.with(Option::is_none)><Copies/></Show>
                <Show when=move || store.page.get() != Page::Validate>
                    <button type="button" class="btn" data-testid="run" on:click=validate>{text::header::VALIDATE}</button>
                </Show>
                <button type="button" class="btn" data-testid="run-on-server" on:click=move |_| ask(Ask::RunOnServer)>{text::hand_off::RUN}</button>
                <button type="button" class="btn primary" data-testid="share" on:click=move |_| store.share()>
                    {text::share::SHARE}
                </button>
            </div>
        </header>
    }
}

#[component]
fn Copies() -> impl IntoView {
    let store = Store::here();
    let copy_json = move |_| {
        if let Ok(json) = store.report.with_untracked(|r| serde_json::to_string_pretty(&**r)) {
            store.copy(json, text::header::WHAT_JSON);
        }
    };
    let copy_command = move |_| {
        let view = untrack(|| store.view());
        store.copy(command(&view, store.memory.get_untracked()), text::header::WHAT_CLI);
    };
    view! {
        <button type="button" class="btn" on:click=copy_command>{text::header::COPY_CLI}</button>
        <button type="button" class="btn" on:click=copy_json>{text::header::COPY_JSON}</button>
    }
}

#[component]
fn Known() -> impl IntoView {
    let store = Store::here();
    let title = move || store.model.with(|m| m.title.clone());
    let identity = move || store.model.with(|m| text::identity(&m.decoder));
    let params = move || store.report.with(|r| r.params_total);
    let runs = move || store.model.with(|m| m.support == Support::Run);
    view! {
        <div class="named">
            <h1>{title}</h1>
            {move || if runs() { badge("ok", text::header::RUNS) } else { badge("acc", text::header::ESTIMATE_ONLY) }}
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
    }
}
