//! Who the model is, and the answer to take away.

use leptos::prelude::*;

use phi3::estimate::Options;
use phi3::inspect::Support;
use serde_json::{Value, json};

use super::bits::{Menu, badge};
use crate::format::short_count;
use crate::platform::page;
use crate::state::link::{self, View};
use crate::state::{Ask, Late, Page, Presence, ServerWatch, Store, devices};
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
        ("backend", options.backend.map(|b| b.name().to_owned())),
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

/// A word of a shell, whatever is in it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The request that has a server give this page's answer; `server` is where its pages lie.
fn curl(server: &str, view: &View, asked: &Options) -> String {
    let config = || {
        let files = view.own.as_ref()?;
        serde_json::from_str::<Value>(&files.config).ok()
    };
    let source = match config() {
        Some(config) => json!({ "config": config }),
        None => json!({ "preset": view.model }),
    };
    let mut options = serde_json::to_value(asked).unwrap_or_default();
    if let Some(map) = options.as_object_mut() {
        map.retain(|_, value| !value.is_null() && value.as_array().is_none_or(|list| !list.is_empty()));
    }
    let address = format!(
        "{}api/estimate",
        server.rsplit_once('/').map_or(server, |(folder, _)| &server[..folder.len() + 1])
    );
    let body = json!({ "source": source, "options": options });
    format!(
        "curl -s {} -H 'content-type: application/json' -d {}",
        quoted(&address),
        quoted(&body.to_string())
    )
}

#[component]
fn Copies() -> impl IntoView {
    let (store, watch) = (Store::here(), ServerWatch::here());
    let copy_json = move |_| {
        if let Ok(json) = store.report.with_untracked(|r| serde_json::to_string_pretty(&**r)) {
            store.copy(json, text::header::WHAT_JSON);
        }
    };
    let copy_command = move |_| {
        let view = untrack(|| store.view());
        store.copy(command(&view, store.memory.get_untracked()), text::header::WHAT_CLI);
    };
    let copy_curl = move |_| {
        let (view, asked) = untrack(|| (store.view(), store.asked.get()));
        let server = if watch.presence.get_untracked() == Presence::Present {
            page::address()
        } else {
            text::header::LOCAL.to_owned()
        };
        store.copy(curl(&server, &view, &asked), text::header::WHAT_CURL);
    };
    view! {
        <Menu label=text::header::EXPORT testid="export" class="btn">
            <button type="button" class="quiet" data-testid="copy-command" on:click=copy_command>{text::header::COPY_CLI}</button>
            <button type="button" class="quiet" data-testid="copy-curl" on:click=copy_curl>{text::header::COPY_CURL}</button>
            <button type="button" class="quiet" data-testid="copy-estimate" on:click=copy_json>{text::header::COPY_JSON}</button>
        </Menu>
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
            <button
                type="button"
                class="value"
                data-testid="params-total"
                data-value=move || params().to_string()
                title=move || text::plural(params(), "parameter")
                on:click=move |_| store.copy(params().to_string(), &text::plural(params(), "parameter"))
            >
                {move || text::header::parameters(&short_count(params()))}
            </button>
        </div>
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::model::OwnFiles;
    use wasm_bindgen_test::wasm_bindgen_test;

    #[wasm_bindgen_test(unsupported = test)]
    fn a_request_goes_to_the_folder_of_the_page_and_says_what_was_chosen() {
        let view = View { model: "phi-4".to_owned(), ..View::default() };
        let asked = Options { context: Some(7), ..Options::default() };
        let line = curl("http://host:1/sub/index.html", &view, &asked);
        assert!(line.starts_with("curl -s 'http://host:1/sub/api/estimate' "), "{line}");
        assert!(line.ends_with(r#"-d '{"source":{"preset":"phi-4"},"options":{"context":7}}'"#), "{line}");
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_quote_in_a_config_does_not_end_the_word() {
        let files = OwnFiles::config_only(r#"{"model_type":"it's"}"#.to_owned());
        let view = View { model: link::OWN.to_owned(), own: Some(files), ..View::default() };
        let line = curl("http://host/", &view, &Options::default());
        assert!(line.contains(r#""model_type":"it'\''s""#), "{line}");
    }
}
