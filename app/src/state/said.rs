//! What a load config says of the estimate's options.
//!
//! The whole of a load config is read where it is planned. An estimate follows a few of its keys, and the first
//! program reads those alone: the table of all knobs is a tenth of it. A test holds it against `phi3::load_config`.

use phi3::dtype::DType;
use phi3::engine::Attention;
use phi3::estimate::Options;
use phi3::placement::DeviceId;
use serde_json::{Map, Value};

/// The format that weights are quantized to.
fn quantized(load_config: &Map<String, Value>) -> Option<DType> {
    let is_on = |key: &str| load_config.get(key).is_some_and(|value| *value == Value::Bool(true));
    match load_config.get("quantization").and_then(Value::as_str) {
        Some("q8_0") => Some(DType::Q8_0),
        Some("q4_0") => Some(DType::Q4_0),
        _ if is_on("load_in_8bit") => Some(DType::Q8_0),
        _ if is_on("load_in_4bit") => Some(DType::Q4_0),
        _ => None,
    }
}

/// The one device that all layers go to, where one is named.
fn device(load_config: &Map<String, Value>) -> Option<DeviceId> {
    let named = match load_config.get("device_map")? {
        // `{"": "cuda:0"}` is how Hugging Face spells one device.
        Value::Object(map) if map.len() == 1 => map.get("")?,
        other => other,
    };
    match named {
        Value::Number(index) => index.to_string().parse().ok(),
        name => name.as_str()?.parse().ok(),
    }
}

/// Options of an estimate with a load config below them. What is refused in it says nothing here.
#[must_use]
pub fn options(load_config: &Map<String, Value>, above: &Options) -> Options {
    if load_config.is_empty() {
        return above.clone();
    }
    let text = |keys: &[&str]| keys.iter().find_map(|key| load_config.get(*key)?.as_str());
    let dtype =
        text(&["dtype", "torch_dtype"]).and_then(|name| name.parse::<DType>().ok()).filter(|d| d.is_float());
    let quantized = quantized(load_config);
    // What is multiplied, and so kept in the cache, stays a float where weights are quantized.
    let kv_dtype = if quantized.is_some() && above.dtype.is_none() { dtype } else { None };
    let attn = text(&["attn_implementation"]).and_then(|name| match name {
        "eager" => Some(Attention::Eager),
        "fused" | "sdpa" | "flash_attention_2" => Some(Attention::Fused),
        _ => None,
    });
    // A GPU that is chosen by name says more than that it is `cuda:0`.
    let backend = device(load_config).filter(|_| above.device.is_none()).map(|device| device.backend());
    Options {
        backend: above.backend.or(backend),
        dtype: above.dtype.or(quantized.or(dtype).map(Into::into)),
        kv_dtype: above.kv_dtype.or(kv_dtype),
        attn: above.attn.or(attn),
        ..above.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use phi3::load_config::{KNOBS, LoadConfig};
    use wasm_bindgen_test::wasm_bindgen_test;

    /// Every value that a form offers, in every spelling, alone and below a choice.
    #[wasm_bindgen_test(unsupported = test)]
    fn says_what_the_crate_says() {
        let extra = [
            r#"{"load_in_8bit":true,"torch_dtype":"float16"}"#,
            r#"{"quantization":"q4_0","load_in_4bit":true}"#,
            r#"{"attn_implementation":"sdpa"}"#,
            r#"{"device_map":{"":"cuda:0"}}"#,
            r#"{"device_map":{"":0}}"#,
            r#"{"device_map":{"model.embed_tokens":"cpu","model.layers":0}}"#,
            "{}",
        ];
        let offered = KNOBS.iter().flat_map(|knob| {
            let values = knob.candidates.iter().copied().chain(knob.default);
            values.flat_map(move |json| knob.names().map(move |name| format!(r#"{{"{name}":{json}}}"#)))
        });
        let chosen = Options { dtype: Some(DType::F32.into()), ..Options::default() };
        let named = Options { device: Some("RTX 4090".to_owned()), ..Options::default() };
        for json in offered.chain(extra.map(str::to_owned)) {
            let map: Map<String, Value> = serde_json::from_str(&json).expect("an object");
            let parsed = LoadConfig::from_map(&map).expect("accepted");
            for above in [&Options::default(), &chosen, &named] {
                assert_eq!(options(&map, above), parsed.options(above), "{json}");
            }
        }
    }
}
