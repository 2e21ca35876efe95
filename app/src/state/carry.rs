//! The state of a page in the server's words: what a load or a validation is asked with, and what has no word there.

use phi3::api::{DeviceNow, ModelEntry};
use phi3::dtype::DType;
use phi3::estimate::{Format, KvPolicy, Options};
use phi3::load_config::Knob;
use serde_json::{Map, Value};

use super::plan::set_knob;
use super::{devices, link};
use crate::text::hand_off as words;

/// A choice that does not go along.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Left {
    /// What was chosen.
    pub what: String,
    /// Why it stays here.
    pub why: &'static str,
}

/// What goes along.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Carried {
    /// The load config: what is planned, and above it what was chosen for the estimate.
    pub load_config: Map<String, Value>,
    /// The context that was chosen.
    pub context: Option<u64>,
    /// What stays here.
    pub left: Vec<Left>,
}

/// Hugging Face's name of a float dtype.
fn float_name(dtype: DType) -> Option<&'static str> {
    match dtype {
        DType::F32 => Some("float32"),
        DType::F16 => Some("float16"),
        DType::Bf16 => Some("bfloat16"),
        _ => None,
    }
}

/// Puts choices and plan together.
#[must_use]
pub fn carry(options: &Options, planned: &Map<String, Value>) -> Carried {
    let mut load_config = planned.clone();
    let mut left = Vec::new();
    let mut set = |key: &str, value: &str| {
        if let Some(knob) = Knob::find(key) {
            set_knob(&mut load_config, knob, Some(value.into()));
        }
    };
    match options.dtype {
        None => {}
        Some(Format::Plain(dtype)) if float_name(dtype).is_some() => {
            set("dtype", float_name(dtype).unwrap_or_default());
        }
        Some(Format::Plain(dtype @ (DType::Q8_0 | DType::Q4_0))) => set("quantization", dtype.name()),
        Some(other) => left.push(Left { what: words::weights(other.name()), why: words::ESTIMATE_ONLY }),
    }
    if let Some(attn) = options.attn {
        set("attn_implementation", link::attn_name(attn));
    }
    if let Some(dtype) = options.kv_dtype {
        left.push(Left { what: words::kv_cache(dtype.name()), why: words::ENGINE_KEEPS });
    }
    if let Some(policy) = options.kv_policy.filter(|policy| *policy != KvPolicy::Full) {
        left.push(Left { what: words::kv_policy(&policy.to_string()), why: words::ENGINE_KEEPS });
    }
    if let Some(batch) = options.batch.filter(|batch| *batch > 1) {
        left.push(Left { what: words::batch(batch), why: words::ENGINE_BATCHES });
    }
    Carried { load_config, context: options.context, left }
}

/// A profile's text with overrides and a context under every step.
///
/// # Errors
/// The key of a value that TOML has no word for: null.
pub fn profile_with(
    profile: &str,
    load_config: &Map<String, Value>,
    context: Option<u64>,
) -> Result<String, String> {
    let context = context.map_or_else(String::new, |tokens| format!("context = {tokens}\n"));
    let mut text = format!("{context}{profile}\n[overrides]\n");
    for (key, value) in load_config {
        let value = toml(value).ok_or_else(|| key.clone())?;
        text.push_str(&format!("{} = {value}\n", Value::from(key.as_str())));
    }
    Ok(text)
}

/// A value in TOML, in one line; its strings and numbers are those of JSON.
fn toml(value: &Value) -> Option<String> {
    let list = |parts: Vec<String>| parts.join(", ");
    match value {
        Value::Null => None,
        Value::Array(values) => {
            values.iter().map(toml).collect::<Option<Vec<_>>>().map(|parts| format!("[{}]", list(parts)))
        }
        Value::Object(map) => map
            .iter()
            .map(|(key, value)| Some(format!("{} = {}", Value::from(key.as_str()), toml(value)?)))
            .collect::<Option<Vec<_>>>()
            .map(|parts| format!("{{ {} }}", list(parts))),
        plain => Some(plain.to_string()),
    }
}

/// The last part of a name with slashes, without what follows `@`.
fn short(name: &str) -> &str {
    let name = name.split('@').next().unwrap_or(name);
    name.rsplit('/').next().unwrap_or(name)
}

/// The server's model that is called like the one on the page: by its repository, else by its name.
#[must_use]
pub fn same_model<'a>(entries: &'a [ModelEntry], names: &[String]) -> Option<&'a ModelEntry> {
    let alike = |a: &str, b: &str| !a.is_empty() && a.eq_ignore_ascii_case(b);
    let repository = |entry: &&ModelEntry| {
        let hub = entry.hub.as_deref().and_then(|hub| hub.split('@').next()).unwrap_or_default();
        let hub = hub.trim_start_matches('/');
        names.iter().any(|name| alike(hub, name))
    };
    let called = |entry: &&ModelEntry| {
        let hub = entry.hub.clone().unwrap_or_default();
        [&entry.id, &entry.name, &entry.path, &hub]
            .into_iter()
            .any(|own| names.iter().any(|name| alike(short(own), short(name))))
    };
    entries.iter().find(repository).or_else(|| entries.iter().find(called))
}

/// The server's device that is a row of the table of GPUs.
#[must_use]
pub fn same_device<'a>(live: &'a [DeviceNow], row: &str) -> Option<&'a DeviceNow> {
    let name = |text: &str| phi3::devices::find(text).ok().map(|device| device.name);
    let wanted = name(row)?;
    live.iter().find(|device| name(&device.name) == Some(wanted))
}

/// What of the device on the page stays here, where the server has no such device.
#[must_use]
pub fn left_device(chosen: Option<&str>, memory: Option<u64>, live: &[DeviceNow]) -> Option<Left> {
    match chosen {
        Some(devices::BROWSER) => Some(Left { what: words::THIS_BROWSER.to_owned(), why: words::NOT_THERE }),
        Some(row) if same_device(live, row).is_none() => {
            Some(Left { what: row.to_owned(), why: words::NO_SUCH_DEVICE })
        }
        Some(_) => None,
        None => memory.map(|bytes| Left { what: words::memory(bytes), why: words::MEASURES_FREE }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use phi3::engine::Attention;
    use phi3::load_config::LoadConfig;
    use wasm_bindgen_test::wasm_bindgen_test;

    fn map(json: &str) -> Map<String, Value> {
        serde_json::from_str(json).expect("an object")
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn choices_stand_above_the_plan_and_nothing_is_lost_in_silence() {
        let planned = map(r#"{"torch_dtype":"float32","use_cache":false}"#);
        let options = Options {
            dtype: Some(DType::F16.into()),
            attn: Some(Attention::Fused),
            context: Some(2048),
            batch: Some(4),
            kv_policy: Some(KvPolicy::Window),
            ..Options::default()
        };
        let carried = carry(&options, &planned);
        let expected = r#"{"torch_dtype":"float16","use_cache":false,"attn_implementation":"fused"}"#;
        assert_eq!((carried.load_config, carried.context), (map(expected), Some(2048)));
        assert_eq!(carried.left.len(), 2);
        assert_eq!(
            carry(&Options::default(), &planned),
            Carried { load_config: planned, ..Carried::default() }
        );
    }

    /// Every format that can be chosen either makes a load config that is accepted, or is said to stay.
    #[wasm_bindgen_test(unsupported = test)]
    fn every_format_goes_along_or_is_named() {
        for format in Format::ALL {
            let carried = carry(&Options { dtype: Some(format), ..Options::default() }, &Map::new());
            assert!(carried.load_config.is_empty() != carried.left.is_empty(), "{}", format.name());
            assert!(LoadConfig::from_map(&carried.load_config).is_ok(), "{}", format.name());
        }
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_profile_takes_overrides_along() {
        let load_config =
            map(r#"{"dtype":"float16","max_memory":{"0":"9GiB"},"use_cache":false,"x":[1,2.5]}"#);
        let text = profile_with("name = \"p\"\n", &load_config, Some(64)).expect("no null");
        let expected = "context = 64\nname = \"p\"\n\n[overrides]\n\"dtype\" = \"float16\"\n\"max_memory\" = { \"0\" = \"9GiB\" }\n\"use_cache\" = false\n\"x\" = [1, 2.5]\n";
        assert_eq!(text, expected);
        assert_eq!(
            profile_with("", &map(r#"{"sliding_window":null}"#), None),
            Err("sliding_window".to_owned())
        );
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn the_same_model_is_found_by_repository_then_by_name() {
        let entry = |id: &str, hub: Option<&str>| -> ModelEntry {
            serde_json::from_value(serde_json::json!({"id": id, "name": id, "path": "", "hub": hub}))
                .expect("an entry")
        };
        let entries = [
            entry("phi-3-mini-4k-instruct", None),
            entry("mini", Some("microsoft/Phi-3-mini-4k-instruct@abc")),
        ];
        let found = |names: &[&str]| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            same_model(&entries, &names).map(|entry| entry.id.as_str())
        };
        assert_eq!(found(&["microsoft/Phi-3-mini-4k-instruct"]), Some("mini"));
        assert_eq!(found(&["other/Phi-3-mini-4k-instruct"]), Some("phi-3-mini-4k-instruct"));
        assert_eq!(found(&["phi-4", ""]), None);
    }

    #[wasm_bindgen_test(unsupported = test)]
    fn a_row_of_the_table_is_found_among_drivers_names() {
        let device = |name: &str| DeviceNow {
            device: "cuda:0".to_owned(),
            name: name.to_owned(),
            driver: None,
            total_bytes: None,
            free_bytes: None,
            used_bytes: None,
            holders: Vec::new(),
            source: "nvml".to_owned(),
            fault: None,
        };
        let live = [device("NVIDIA GeForce RTX 4090")];
        assert!(same_device(&live, "RTX 4090").is_some());
        assert!(same_device(&live, "T4").is_none());
        assert_eq!(left_device(Some("RTX 4090"), None, &live), None);
        assert!(left_device(Some(devices::BROWSER), None, &live).is_some());
        assert!(left_device(None, Some(1 << 30), &live).is_some());
    }
}
