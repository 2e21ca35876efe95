//! The estimate to take along: the command and the request that give it, and its numbers.

use leptos::prelude::*;
use phi3::estimate::Options;

use crate::platform::page;
use crate::state::link::{self, View};
use crate::state::{Ask, Presence, ServerWatch, Store};
use crate::text::header as words;

/// Copies what the first program asks for.
pub fn listen(store: Store, watch: ServerWatch) {
    let now = move || untrack(|| (store.view(), store.asked.get()));
    let on = |ask: Ask, copy: Box<dyn Fn()>| {
        let asked = window_event_listener_untyped(ask.event(), move |_| copy());
        on_cleanup(move || asked.remove());
    };
    on(
        Ask::CopyCommand,
        Box::new(move || {
            let (view, asked) = now();
            store.copy(command(&view, &asked), words::WHAT_CLI);
        }),
    );
    on(
        Ask::CopyCurl,
        Box::new(move || {
            let (view, asked) = now();
            let is_present = watch.presence.get_untracked() == Presence::Present;
            let server = if is_present { page::address() } else { words::LOCAL.to_owned() };
            store.copy(curl(&server, &view, &asked), words::WHAT_CURL);
        }),
    );
    on(
        Ask::CopyEstimate,
        Box::new(move || {
            if let Ok(json) = store.report.with_untracked(|report| serde_json::to_string_pretty(&**report)) {
                store.copy(json, words::WHAT_JSON);
            }
        }),
    );
}

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
