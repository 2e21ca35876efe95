//! The worker's own scope: the only place that touches the browser's objects.

pub(super) mod disk;
pub(super) mod hands;

use std::future::Future;

use js_sys::{Array, Object, Reflect, Uint8Array, WebAssembly};
use wasm_bindgen::prelude::{Closure, wasm_bindgen};
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::{JsFuture, spawn_local};
use web_sys::{DedicatedWorkerGlobalScope, File, MessageEvent, Response};

/// Posted once messages are heard.
pub(super) const READY: &str = "ready";

#[wasm_bindgen]
extern "C" {
    #[wasm_bindgen(js_name = fetch)]
    fn fetch(url: &str, init: &JsValue) -> js_sys::Promise;
}

fn scope() -> DedicatedWorkerGlobalScope {
    js_sys::global().unchecked_into()
}

/// Says something to the page.
pub(super) fn post(text: &str) {
    // Refused only where the page is gone.
    scope().post_message(&JsValue::from_str(text)).ok();
}

/// What the page posts.
pub(super) enum Asked {
    /// `{run: text, files: [File]}`.
    Run(String, Vec<File>),
    /// `{rehearse: text}`: such a run will most likely be asked for.
    Rehearsal(String),
    /// `{kept: text, files: [File]}`: something about models that are kept.
    Kept(String, Vec<File>),
    /// `{hand: number, board: SharedArrayBuffer}`: what a worker of the same program asks for, to be one of its threads.
    Hand(usize, hands::SharedBoard),
}

/// Hears what the page posts.
pub(super) fn on_message<F: Future<Output = ()> + 'static>(heard: impl Fn(Asked) -> F + 'static) {
    let listener = Closure::<dyn Fn(MessageEvent)>::new(move |event: MessageEvent| {
        let part = |name: &str| Reflect::get(&event.data(), &JsValue::from_str(name)).unwrap_or_default();
        if let Some(run) = part("rehearse").as_string() {
            return spawn_local(heard(Asked::Rehearsal(run)));
        }
        if let (Some(number), Ok(board)) = (part("hand").as_f64(), part("board").dyn_into()) {
            return spawn_local(heard(Asked::Hand(number as usize, hands::SharedBoard::new(&board))));
        }
        let files = part("files").dyn_into::<Array>().unwrap_or_default();
        let files = files.iter().filter_map(|file| file.dyn_into().ok()).collect();
        if let Some(task) = part("kept").as_string() {
            return spawn_local(heard(Asked::Kept(task, files)));
        }
        spawn_local(heard(Asked::Run(part("run").as_string().unwrap_or_default(), files)));
    });
    scope().set_onmessage(Some(listener.as_ref().unchecked_ref()));
    // For as long as the worker lives.
    listener.forget();
}

/// What a host answered.
pub(super) struct Fetched {
    /// The bytes of the answer.
    pub(super) bytes: Vec<u8>,
    /// Length of the whole file, where the answer is a range of it.
    pub(super) whole_len: Option<u64>,
}

/// A file by its address, whole or a range of it. Hosts that know no ranges answer with the whole.
pub(super) async fn fetched(url: &str, range: Option<(u64, u64)>) -> Result<Fetched, String> {
    let init = Object::new();
    if let Some((start, end)) = range {
        let headers = Object::new();
        set(&headers, "range", &format!("bytes={start}-{}", end - 1).into())?;
        set(&init, "headers", &headers)?;
    }
    let response = JsFuture::from(fetch(url, &init)).await.map_err(|error| words(&error))?;
    let response: Response = response.unchecked_into();
    if !response.ok() {
        return Err(format!("HTTP {}", response.status()));
    }
    let ranged = response.headers().get("content-range").ok().flatten();
    let whole_len = ranged.as_deref().and_then(|range| range.rsplit('/').next()?.parse().ok());
    let whole_len = whole_len.filter(|_| response.status() == 206);
    let buffer = response.array_buffer().map_err(|error| words(&error))?;
    let buffer = JsFuture::from(buffer).await.map_err(|error| words(&error))?;
    Ok(Fetched { bytes: Uint8Array::new(&buffer).to_vec(), whole_len })
}

fn set(object: &Object, name: &str, value: &JsValue) -> Result<(), String> {
    Reflect::set(object, &JsValue::from_str(name), value).map(|_| ()).map_err(|error| words(&error))
}

/// Bytes of a chosen file from a position on; no other part of it comes into memory.
pub(super) async fn slice(file: &File, offset: u64, buffer: &mut [u8]) -> Result<(), String> {
    let end = offset as f64 + buffer.len() as f64;
    let part = file.slice_with_f64_and_f64(offset as f64, end).map_err(|error| words(&error))?;
    let bytes = JsFuture::from(part.array_buffer()).await.map_err(|error| words(&error))?;
    let bytes = Uint8Array::new(&bytes);
    if bytes.length() as usize != buffer.len() {
        return Err(format!("{} bytes where {} were to be read", bytes.length(), buffer.len()));
    }
    bytes.copy_to(buffer);
    Ok(())
}

/// Bytes of this module's memory: it never shrinks, so they are its peak.
pub(super) fn memory_bytes() -> u64 {
    let memory: WebAssembly::Memory = wasm_bindgen::memory().unchecked_into();
    let bytes = Reflect::get(&memory.buffer(), &JsValue::from_str("byteLength")).ok();
    bytes.and_then(|bytes| bytes.as_f64()).map_or(0, |bytes| bytes as u64)
}

/// Whether the page is isolated, which browsers ask for before they share memory between threads.
pub(super) fn is_isolated() -> bool {
    Reflect::get(&js_sys::global(), &JsValue::from_str("crossOriginIsolated"))
        .is_ok_and(|flag| flag.is_truthy())
}

/// What the browser tells of its GPU: vendor, architecture, device, description, as far as they are told.
pub(super) async fn gpu_words() -> Vec<String> {
    let get = |of: &JsValue, name: &str| Reflect::get(of, &JsValue::from_str(name)).ok();
    let adapter = async {
        let gpu = get(&get(&js_sys::global(), "navigator")?, "gpu").filter(JsValue::is_object)?;
        let request: js_sys::Function = get(&gpu, "requestAdapter")?.dyn_into().ok()?;
        let promise: js_sys::Promise = request.call0(&gpu).ok()?.dyn_into().ok()?;
        JsFuture::from(promise).await.ok().filter(JsValue::is_object)
    };
    let Some(info) = adapter.await.and_then(|adapter| get(&adapter, "info")) else { return Vec::new() };
    let told = |name| get(&info, name).and_then(|value| value.as_string()).filter(|text| !text.is_empty());
    ["vendor", "architecture", "device", "description"].into_iter().filter_map(told).collect()
}

fn words(error: &JsValue) -> String {
    error.dyn_ref::<js_sys::Error>().map_or_else(|| format!("{error:?}"), |e| String::from(e.message()))
}
