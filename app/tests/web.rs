//! The dashboard in a real browser: what is done to it must change the numbers, and the numbers must be phi3's.
#![cfg(target_arch = "wasm32")]

use app::pages::Preflight;
use leptos::mount::mount_to;
use leptos::prelude::*;
use phi3::decoder::Decoder;
use phi3::estimate::{self, Options, Report, Size};
use wasm_bindgen::JsCast;
use wasm_bindgen_futures::JsFuture;
use wasm_bindgen_test::{wasm_bindgen_test, wasm_bindgen_test_configure};
use web_sys::{Event, EventInit, HtmlElement, HtmlInputElement, HtmlTextAreaElement};

wasm_bindgen_test_configure!(run_in_browser);

const MINI: &[u8] = include_bytes!("../../public/presets/phi-3-mini-4k-instruct.json");

fn expected(options: &Options) -> Report {
    let config = Decoder::parse(MINI).expect("a preset");
    estimate::estimate(&config, None, options).expect("options in range")
}

/// A page of its own; unmounted when dropped.
struct Page {
    root: HtmlElement,
    _mounted: Box<dyn std::any::Any>,
}

impl Page {
    fn open(hash: &str) -> Self {
        window().location().set_hash(hash).expect("a hash");
        let root: HtmlElement = document().create_element("div").expect("a div").unchecked_into();
        document().body().expect("a body").append_child(&root).expect("appended");
        let mounted = mount_to(root.clone(), Preflight);
        Self { root, _mounted: Box::new(mounted) }
    }

    fn find(&self, testid: &str) -> Option<HtmlElement> {
        let found = self.root.query_selector(&format!("[data-testid={testid}]")).expect("a selector");
        found.map(JsCast::unchecked_into)
    }

    fn at(&self, testid: &str) -> HtmlElement {
        self.find(testid).unwrap_or_else(|| panic!("no {testid} on the page"))
    }

    fn value(&self, testid: &str) -> String {
        self.at(testid).get_attribute("data-value").unwrap_or_default()
    }

    fn shows(&self, report: &Report) {
        let found = ["params-total", "weights-bytes", "kv-bytes", "kv-per-token", "total-bytes"]
            .map(|t| self.value(t));
        let numbers = [
            report.params_total,
            report.weights_bytes,
            report.kv_cache_bytes,
            report.kv_bytes_per_token,
            report.total_bytes,
        ];
        assert_eq!(found, numbers.map(|n| n.to_string()));
    }

    async fn enter(&self, testid: &str, text: &str) {
        let element = self.at(testid);
        match element.dyn_ref::<HtmlInputElement>() {
            Some(input) => input.set_value(text),
            None => element.unchecked_ref::<HtmlTextAreaElement>().set_value(text),
        }
        let bubbles = EventInit::new();
        bubbles.set_bubbles(true);
        let event = Event::new_with_event_init_dict("input", &bubbles).expect("an event");
        element.dispatch_event(&event).expect("dispatched");
        settle().await;
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        self.root.remove();
    }
}

/// Longer than any debounce of the page.
async fn settle() {
    let wait = |resolve: js_sys::Function, _| {
        window().set_timeout_with_callback_and_timeout_and_arguments_0(&resolve, 400).expect("a timer");
    };
    let mut wait = wait;
    JsFuture::from(js_sys::Promise::new(&mut wait)).await.expect("time passes");
}

#[wasm_bindgen_test]
async fn it_opens_on_phi_3_mini_and_follows_the_controls() {
    let page = Page::open("");
    settle().await;
    page.shows(&expected(&Options::default()));
    page.enter("context", "1000").await;
    page.shows(&expected(&Options { context: Some(1000), ..Options::default() }));
    // A number that makes no sense changes nothing.
    page.enter("context", "0").await;
    page.shows(&expected(&Options { context: Some(1000), ..Options::default() }));
    page.enter("batch", "3").await;
    page.shows(&expected(&Options { context: Some(1000), batch: Some(3), ..Options::default() }));
    let hash = window().location().hash().expect("a hash");
    let state = phi3::link::decode(&hash, phi3::config::PRESETS).expect("the address follows").state;
    assert_eq!((state.options.context, state.options.batch), (Some(1000), Some(3)));
}

#[wasm_bindgen_test]
async fn an_address_restores_the_page() {
    let page = Page::open("#model=phi-3-mini-4k-instruct&context=2048&dtype=q4_k&memory=16+GiB");
    settle().await;
    let dtype = Some(phi3::dtype::DType::Q4K.into());
    let device_memory = Some(Size(16 << 30));
    let report = expected(&Options { context: Some(2048), dtype, device_memory, ..Options::default() });
    page.shows(&report);
    assert_eq!(page.value("verdict"), "fits");
}

#[wasm_bindgen_test]
async fn a_link_restores_the_page_with_a_config_of_ones_own() {
    use phi3::config::PRESETS;
    use phi3::link::{self, Device, LinkedModel, State};

    let config: serde_json::Value =
        serde_json::from_str(r#"{"model_type":"phi3","num_hidden_layers":1}"#).expect("JSON");
    let state = State {
        model: Some(LinkedModel::Config {
            config: config.as_object().expect("an object").clone(),
            generation_config: None,
        }),
        device: Some(Device::Bytes(16 << 30)),
        options: Options { context: Some(777), ..Options::default() },
        notes: Some("kept".to_owned()),
        ..State::default()
    };
    let page = Page::open(&link::encode(&state, PRESETS).expect("a link"));
    settle().await;
    let one = Decoder::parse(config.to_string().as_bytes()).expect("a config");
    assert_eq!(page.value("params-total"), estimate::params(&one).total.to_string());
    assert_eq!(page.value("verdict"), "fits");
    let hash = window().location().hash().expect("a hash");
    assert_eq!(link::decode(&hash, PRESETS).expect("the address").state, state);
}

#[wasm_bindgen_test]
async fn a_bad_link_is_told_and_the_page_works() {
    let page = Page::open("#s=1.AAAA");
    settle().await;
    assert!(page.find("error").is_some(), "says what is wrong");
    page.shows(&expected(&Options::default()));
}

#[wasm_bindgen_test]
async fn a_bad_config_leaves_the_last_good_one() {
    let page = Page::open("");
    settle().await;
    page.enter("config-input", r#"{"model_type":"phi3","num_key_value_heads":7}"#).await;
    assert_eq!(page.at("error-path").text_content().as_deref(), Some("num_key_value_heads"));
    page.shows(&expected(&Options::default()));
    page.enter("config-input", r#"{"model_type":"phi3","num_hidden_layers":1}"#).await;
    assert!(page.find("error").is_none(), "the error is gone");
    let one = Decoder::parse(br#"{"model_type":"phi3","num_hidden_layers":1}"#).expect("a config");
    assert_eq!(page.value("params-total"), estimate::params(&one).total.to_string());
    // An unknown architecture gets no number at all.
    page.enter("config-input", r#"{"model_type":"mamba"}"#).await;
    assert_eq!(page.value("verdict"), "unknown");
    assert!(page.find("total-bytes").is_none());
}

#[wasm_bindgen_test]
async fn a_suggestion_is_one_click() {
    let page = Page::open("");
    settle().await;
    page.enter("device-memory", "16G").await;
    assert!(
        page.at("device-memory-problem").text_content().is_some_and(|t| t.contains("16GiB")),
        "says what to write"
    );
    assert_eq!(page.value("verdict"), "none");
    page.enter("device-memory", "8.3 GiB").await;
    assert_eq!(page.value("verdict"), "does_not_fit");
    let lever = page.root.query_selector("[data-change^=context]").expect("a selector").expect("a lever");
    lever.unchecked_ref::<HtmlElement>().click();
    settle().await;
    assert_eq!(page.value("verdict"), "tight");
}
