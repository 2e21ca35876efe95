//! Who the model is, and the answer to take away.

use leptos::prelude::*;

use phi3::estimate::Options;
use phi3::inspect::Support;

use super::bits::{Menu, badge};
use crate::format::short_count;
use crate::platform::page;
use crate::state::link::{self, View};
use crate::state::{Ask, Late, Page, Presence, ServerWatch, Store};
use crate::text;

/// What was chosen, by the names of the command line.
fn choices(asked: &Options) -> Vec<(&'static str, String)> {
    // A device of the table brings its memory along.
    let memory = asked.device_memory.filter(|_| asked.device.is_none());
    let choices = [
        ("dtype", asked.dtype.map(|d| d.name().to_owned())),
        ("kv-dtype", asked.kv_dtype.map(|d| d.name().to_owned())),
        ("context", asked.context.map(|n| n.to_string())),
        ("batch", asked.batch.map(|n| n.to_string())),
        ("attn", asked.attn.map(|a| link::attn_name(a).to_owned())),
        ("kv-policy", asked.kv_policy.map(|p| p.to_string())),
        ("device", asked.device.clone()),
        ("device-memory", memory.map(|size| size.0.to_string())),
        ("backend", asked.backend.map(|b| b.name().to_owned())),
    ];
    choices.into_iter().filter_map(|(name, value)| Some((name, value?))).collect()
}

/// A word of a shell, whatever is in it.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The command that gives this page's answer in a terminal.
fn command(view: &View, asked: &Options) -> String {
    let path =
        if view.model == link::OWN { "config.json".to_owned() } else { format!("preset:{}", view.model) };
    let mut line = format!("preflight estimate {path}");
    for (name, value) in choices(asked) {
        let value = if value.contains(' ') { quoted(&value) } else { value };
        line.push_str(&format!(" --{name} {value}"));
    }
    line
}

/// The request that has a server give this page's answer; `server` is where its pages lie.
fn curl(server: &str, view: &View, asked: &Options) -> String {
    let source = match &view.own {
        Some(files) => format!(r#""config":{}"#, files.config),
        None => format!(r#""preset":"{}""#, view.model),
    };
    // Names of the table and numbers: nothing in them is to be escaped.
    let option = |(name, value): (&str, String)| {
        let is_number = value.bytes().all(|byte| byte.is_ascii_digit());
        let value = if is_number { value } else { format!(r#""{value}""#) };
        format!(r#""{}":{value}"#, name.replace('-', "_"))
    };
    let options = choices(asked).into_iter().map(option).collect::<Vec<_>>().join(",");
    let folder = server.rsplit_once('/').map_or(server, |(folder, _)| folder);
    let body = format!(r#"{{"source":{{{source}}},"options":{{{options}}}}}"#);
    format!(
        "curl -s {} -H 'content-type: application/json' -d {}",
        quoted(&format!("{folder}/api/estimate")),
        quoted(&body)
    )
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
    let (store, watch) = (Store::here(), ServerWatch::here());
    let copy_json = move |_| {
        if let Ok(json) = store.report.with_untracked(|r| serde_json::to_string_pretty(&**r)) {
            store.copy(json, text::header::WHAT_JSON);
        }
    };
    let copy_command = move |_| {
        let (view, asked) = untrack(|| (store.view(), store.asked.get()));
        store.copy(command(&view, &asked), text::header::WHAT_CLI);
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
