//! What this browser's WebGPU grants.

use js_sys::{Function, Promise, Reflect};
use leptos::prelude::window;
use wasm_bindgen::{JsCast as _, JsValue};
use wasm_bindgen_futures::JsFuture;

/// Limits of the adapter that the browser offers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Adapter {
    /// What the browser tells of it: `nvidia ada`; empty where it tells nothing.
    pub name: String,
    /// `maxBufferSize` in bytes.
    pub max_buffer_bytes: u64,
    /// `maxStorageBufferBindingSize` in bytes.
    pub max_binding_bytes: u64,
    /// Whether shaders compute in f16.
    pub has_f16: bool,
    /// Whether it computes on the CPU.
    pub is_software: bool,
}

/// Asks for the adapter; `None` where the browser has no WebGPU or offers none.
pub async fn adapter() -> Option<Adapter> {
    let get = |of: &JsValue, key: &str| Reflect::get(of, &JsValue::from_str(key)).ok();
    let gpu = get(&window().navigator(), "gpu").filter(JsValue::is_object)?;
    let request: Function = get(&gpu, "requestAdapter")?.dyn_into().ok()?;
    let promise: Promise = request.call0(&gpu).ok()?.dyn_into().ok()?;
    let adapter = JsFuture::from(promise).await.ok().filter(JsValue::is_object)?;
    let limits = get(&adapter, "limits")?;
    let limit = |key| get(&limits, key).and_then(|v| v.as_f64()).map_or(0, |v| v as u64);
    let info = get(&adapter, "info").unwrap_or(JsValue::UNDEFINED);
    let told = |key| get(&info, key).and_then(|v| v.as_string()).unwrap_or_default();
    let flag = |of: &JsValue, key| get(of, key).and_then(|v| v.as_bool()).unwrap_or(false);
    let features = get(&adapter, "features")?;
    let has: Option<Function> = get(&features, "has").and_then(|has| has.dyn_into().ok());
    let has_f16 = has.and_then(|has| has.call1(&features, &JsValue::from_str("shader-f16")).ok());
    let (vendor, architecture) = (told("vendor"), told("architecture"));
    Some(Adapter {
        is_software: flag(&info, "isFallbackAdapter")
            || flag(&adapter, "isFallbackAdapter")
            || architecture.contains("swiftshader"),
        name: format!("{vendor} {architecture}").trim().to_owned(),
        max_buffer_bytes: limit("maxBufferSize"),
        max_binding_bytes: limit("maxStorageBufferBindingSize"),
        has_f16: has_f16.is_some_and(|v| v.is_truthy()),
    })
}
