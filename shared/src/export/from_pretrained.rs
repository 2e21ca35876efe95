//! Python with Hugging Face transformers.
//!
//! The values that hold here without being said are written out: transformers has other defaults.
//! Read at transformers 5.23.0: `low_cpu_mem_usage` is ignored, bitsandbytes goes through its config class,
//! `rope_parameters` holds theta too and is replaced as a whole.

use serde_json::{Map, Value};

use super::quote::{python, python_text};
use super::stated::Stated;
use super::{Model, Subject};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    Four,
    Five,
}

/// Keyword arguments of a call, in order.
type Arguments = Vec<(&'static str, String)>;

pub(super) fn write(subject: &Subject<'_>, stated: &mut Stated, version: Version) -> String {
    let mut model: Arguments = Vec::new();
    let mut tokenizer: Arguments = Vec::new();
    let mut hub = hub_arguments(stated);
    let (from, file) = place(subject, stated);
    // Of a GGUF each class reads its own part.
    hub.splice(0..0, file);
    model.extend(hub.clone());
    tokenizer.extend(hub.clone());
    let dtype_key = if version == Version::Four { "torch_dtype" } else { "dtype" };
    let dtype = stated.take_text("dtype");
    model.push((dtype_key, dtype.as_ref().map_or("\"auto\"".to_owned(), |name| format!("torch.{name}"))));
    let uses_cpu = uses_cpu(stated);
    device_map(stated, &mut model);
    max_memory(stated, &mut model);
    let attention = match stated.take_text("attn_implementation").as_deref() {
        Some("flash_attention_2") => "flash_attention_2",
        Some("fused") => "sdpa",
        _ => "eager",
    };
    model.push(("attn_implementation", python_text(attention)));
    let low = stated.take_flag("low_cpu_mem_usage");
    match (version, low) {
        (Version::Four, low) => model.push(("low_cpu_mem_usage", python(&low.unwrap_or(true).into()))),
        (Version::Five, Some(false)) => {
            stated.dropped("low_cpu_mem_usage", false.into(), "transformers 5 always streams tensors");
        }
        (Version::Five, _) => {}
    }
    if let Some(folder) = stated.take_text("offload_folder") {
        model.push(("offload_folder", python_text(&folder)));
    }
    let quantized = quantization(stated, uses_cpu, &mut model);
    let config = config_lines(stated, version);
    if !config.is_empty() {
        model.push(("config", "config".to_owned()));
    }

    match (version, stated.take_flag("use_fast")) {
        (Version::Four, Some(fast)) => tokenizer.push(("use_fast", python(&fast.into()))),
        (Version::Five, Some(false)) => {
            stated.dropped("use_fast", false.into(), "transformers 5 chooses the tokenizer's backend itself");
        }
        _ => {}
    }
    for key in ["add_bos_token", "legacy"] {
        tokenizer.extend(stated.take(key).map(|value| (key, python(&value))));
    }
    if let Some(context) = stated.take_context() {
        let reason = "is no argument of a load; give max_length or max_new_tokens to generate()";
        stated.dropped("context", context.into(), reason);
    }
    if let Some(kv_dtype) = stated.take_kv_dtype() {
        let as_weights = dtype.is_some_and(|name| name.parse() == Ok(kv_dtype));
        if !as_weights {
            stated.dropped(
                "kv_dtype",
                kv_dtype.name().into(),
                "transformers keeps the cache in the model's dtype",
            );
        }
    }

    let mut text = String::new();
    if model.iter().any(|(_, value)| value.contains("torch.")) {
        text += "import torch\n";
    }
    let mut names = vec!["AutoModelForCausalLM", "AutoTokenizer"];
    if !config.is_empty() {
        names.insert(0, "AutoConfig");
    }
    if quantized {
        names.push("BitsAndBytesConfig");
    }
    text += &format!("from transformers import {}\n\nMODEL = {from}\n\n", names.join(", "));
    if !config.is_empty() {
        text += &call("config", "AutoConfig", &hub);
        text += &config;
    }
    text += &call("model", "AutoModelForCausalLM", &model);
    text += &call("tokenizer", "AutoTokenizer", &tokenizer);
    if let Some(template) = stated.take_text("chat_template") {
        text += &format!("tokenizer.chat_template = {}\n", python_text(&template));
    }
    text
}

fn call(name: &str, class: &str, arguments: &Arguments) -> String {
    if arguments.is_empty() {
        return format!("{name} = {class}.from_pretrained(MODEL)\n");
    }
    let lines: String = arguments.iter().map(|(key, value)| format!("    {key}={value},\n")).collect();
    format!("{name} = {class}.from_pretrained(\n    MODEL,\n{lines})\n")
}

/// What every call that may fetch files needs.
fn hub_arguments(stated: &mut Stated) -> Arguments {
    let mut arguments = Vec::new();
    for key in ["revision", "cache_dir", "trust_remote_code"] {
        arguments.extend(stated.take(key).map(|value| (key, python(&value))));
    }
    arguments
}

/// The literal that names the model, and the argument that names its file.
fn place(subject: &Subject<'_>, stated: &mut Stated) -> (String, Option<(&'static str, String)>) {
    match subject.model {
        Model::Gguf(path) => {
            let (folder, file) = path.rsplit_once('/').unwrap_or((".", path));
            let folder = if folder.is_empty() { "/" } else { folder };
            let reason = "transformers widens a GGUF's blocks to the dtype, to float32 where none is named: the memory is that of the dtype";
            stated.approximated("model", path.as_str().into(), reason);
            (python_text(folder), Some(("gguf_file", python_text(file))))
        }
        Model::Unplaced(name) => {
            stated.dropped(
                "model",
                name.as_str().into(),
                "there are no weights to it; put a path or a Hub id there",
            );
            (python_text(name), None)
        }
        Model::Hub(name) | Model::Directory(name) => (python_text(name), None),
    }
}

/// Whether a device is none of PyTorch's.
fn is_webgpu(device: &str) -> bool {
    device.starts_with("wgpu") || device.starts_with("webgpu")
}

fn device_map(stated: &mut Stated, model: &mut Arguments) {
    const NO_WGPU: &str = "PyTorch has no such device";
    let value = match stated.take("device_map") {
        None => Value::from("auto"),
        Some(Value::String(device)) if is_webgpu(&device) => {
            stated.dropped("device_map", device.into(), NO_WGPU);
            Value::from("auto")
        }
        Some(Value::Object(mut map)) => {
            for (module, device) in map.clone() {
                if device.as_str().is_some_and(is_webgpu) {
                    map.shift_remove(&module);
                    stated.dropped(format!("device_map.{module}"), device, NO_WGPU);
                }
            }
            if map.is_empty() { Value::from("auto") } else { Value::Object(map) }
        }
        Some(device) => device,
    };
    model.push(("device_map", python(&value)));
}

fn max_memory(stated: &mut Stated, model: &mut Arguments) {
    let Some(Value::Object(map)) = stated.take("max_memory") else { return };
    let mut entries = Vec::new();
    for (device, bytes) in map {
        if is_webgpu(&device) {
            stated.dropped(format!("max_memory.{device}"), bytes, "PyTorch has no such device");
            continue;
        }
        // GPUs are indices there, and indices are numbers.
        let key = device
            .parse::<u16>()
            .map_or_else(|_not_an_index| python_text(&device), |index| index.to_string());
        entries.push(format!("{key}: {}", size(&bytes)));
    }
    if !entries.is_empty() {
        model.push(("max_memory", format!("{{{}}}", entries.join(", "))));
    }
}

/// A size as accelerate reads it, in the largest unit that holds it without a fraction.
fn size(bytes: &Value) -> String {
    let Some(count) = bytes.as_u64() else { return python(bytes) };
    for (unit, power) in [("GiB", 30), ("MiB", 20)] {
        if count > 0 && count.is_multiple_of(1 << power) {
            return python_text(&format!("{}{unit}", count >> power));
        }
    }
    count.to_string()
}

/// Whether a part of the model may come to lie on the CPU beside a GPU.
fn uses_cpu(stated: &Stated) -> bool {
    match stated.get("device_map") {
        Some(Value::Object(map)) => map.values().any(|device| device == "cpu"),
        Some(Value::String(name)) if !["auto", "balanced", "sequential"].contains(&name.as_str()) => false,
        _ => stated.get("max_memory").is_some_and(|budgets| budgets.get("cpu").is_some()),
    }
}

/// Writes the quantization; whether there is one.
fn quantization(stated: &mut Stated, uses_cpu: bool, model: &mut Arguments) -> bool {
    let (flag, bits) = match stated.take_text("quantization").as_deref() {
        Some("q8_0") => ("load_in_8bit", 8),
        Some("q4_0") => ("load_in_4bit", 4),
        // Details without a number of bits stay, and are reported.
        _ => return false,
    };
    let reason = format!("bitsandbytes' {bits} bit: about the same memory, other rounding than our blocks");
    stated.approximated("quantization", format!("q{bits}_0").into(), reason);
    let mut arguments = vec![format!("{flag}=True")];
    // Without it transformers refuses quantized weights some of which lie on the CPU.
    if uses_cpu {
        arguments.push("llm_int8_enable_fp32_cpu_offload=True".to_owned());
    }
    if let Some(Value::Object(details)) = stated.take("quantization_config") {
        arguments.extend(details.iter().map(|(key, value)| format!("{key}={}", python(value))));
    }
    model.push(("quantization_config", format!("BitsAndBytesConfig({})", arguments.join(", "))));
    true
}

/// Lines that change the model's config before it is loaded.
fn config_lines(stated: &mut Stated, version: Version) -> String {
    let mut lines = String::new();
    match (stated.take("rope_scaling"), version) {
        (None, _) => {}
        (Some(scaling), Version::Four) => {
            let mut parameters = scaling.as_object().cloned().unwrap_or_default();
            for key in ["rope_theta", "partial_rotary_factor"] {
                if let Some(value) = parameters.shift_remove(key) {
                    lines += &format!("config.{key} = {}\n", python(&value));
                }
            }
            let scaling = if parameters.is_empty() { Value::Null } else { parameters.into() };
            lines += &format!("config.rope_scaling = {}\n", python(&scaling));
        }
        (Some(scaling), Version::Five) => {
            let mut parameters = match scaling {
                Value::Object(map) => map,
                _ => Map::new(),
            };
            parameters.entry("rope_type").or_insert_with(|| "default".into());
            lines += "kept = (\"rope_theta\", \"partial_rotary_factor\")\n";
            lines += "kept = {key: value for key, value in config.rope_parameters.items() if key in kept}\n";
            lines += &format!("config.rope_parameters = {{**kept, **{}}}\n", python(&parameters.into()));
        }
    }
    if let Some(window) = stated.take("sliding_window") {
        lines += &format!("config.sliding_window = {}\n", python(&window));
    }
    if let Some(false) = stated.take_flag("use_cache") {
        lines += "config.use_cache = False\n";
    }
    lines
}
