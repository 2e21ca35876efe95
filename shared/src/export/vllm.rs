//! A command line of vLLM, 0.12 and later.

use serde_json::{Map, Value};

use super::quote::{command, has_nul, shell};
use super::stated::Stated;
use super::{Model, Subject};
use crate::dtype::DType;
use crate::load_config::Quantization;

pub(super) fn write(subject: &Subject<'_>, stated: &mut Stated) -> String {
    stated.grant_what_servers_do();
    // vLLM never writes scores out.
    stated.grant("attn_implementation", &"fused".into());
    let mut environment = Vec::new();
    let mut lines: Vec<Vec<String>> = Vec::new();
    let mut option = |flag: &str, value: &str| {
        // A value that looks like an option would be taken for one.
        lines.push(match value.starts_with('-') {
            true => vec![shell(&format!("{flag}={value}"))],
            false => vec![flag.to_owned(), shell(value)],
        });
    };

    match subject.model {
        Model::Gguf(path) => {
            let reason =
                "vLLM reads GGUF by way of experiment; give --tokenizer with the base model's repository too";
            stated.approximated("model", path.as_str().into(), reason);
        }
        Model::Unplaced(name) => {
            stated.dropped(
                "model",
                name.as_str().into(),
                "there are no weights to it; put a path or a Hub id there",
            );
        }
        Model::Hub(_) | Model::Directory(_) => {}
    }
    let dtype = stated.take_text("dtype");
    let is_fp8 = subject.load_config.quantization == Some(Quantization::Q8_0);
    match dtype.as_deref() {
        Some(wide @ "float32") if is_fp8 => {
            stated.dropped("dtype", wide.into(), "vLLM multiplies fp8 weights with 16-bit values only");
        }
        Some(name) => option("--dtype", name),
        None => {}
    }
    if let Some(context) = stated.take_context() {
        option("--max-model-len", &context.to_string());
    }
    match stated.take_kv_dtype() {
        Some(DType::Fp8) => option("--kv-cache-dtype", "fp8"),
        Some(kv) if dtype.as_ref().is_some_and(|name| name.parse() == Ok(kv)) => {}
        Some(DType::Bf16) => option("--kv-cache-dtype", "bfloat16"),
        Some(kv) => {
            let reason = "vLLM keeps the cache in the model's dtype, bfloat16 or fp8";
            stated.dropped("kv_dtype", kv.name().into(), reason);
        }
        None => {}
    }
    if let Some(format) = stated.take_text("quantization") {
        let (method, reason) = match format.as_str() {
            "q8_0" => ("fp8", "fp8 on load: 8 bit as a float, other rounding than q8_0"),
            _ => ("bitsandbytes", "bitsandbytes on load: 4 bit, other rounding than q4_0"),
        };
        option("--quantization", method);
        stated.approximated("quantization", format.into(), reason);
    }
    if stated.get("attn_implementation").is_some_and(|name| name == "flash_attention_2") {
        stated.drop_key("attn_implementation", "vLLM chooses the kernel itself; it is a fused one always");
    }
    stated.drop_key(
        "attn_implementation",
        "vLLM has no attention that writes scores out; --enforce-eager is about CUDA graphs",
    );
    device_map(stated, &mut environment, &mut option);
    budgets(subject, stated, &mut option);

    let mut overrides = Map::new();
    if let Some(scaling) = stated.take("rope_scaling") {
        let mut parameters = Map::new();
        if let Some(config) = subject.config {
            parameters.insert("rope_theta".to_owned(), config.rope_theta.into());
            if config.partial_rotary_factor < 1.0 {
                parameters.insert("partial_rotary_factor".to_owned(), config.partial_rotary_factor.into());
            }
        } else {
            let reason = "replaces rope_parameters as a whole; add the model's rope_theta";
            stated.approximated("rope_scaling", scaling.clone(), reason);
        }
        parameters.insert("rope_type".to_owned(), "default".into());
        parameters.extend(scaling.as_object().cloned().unwrap_or_default());
        overrides.insert("rope_parameters".to_owned(), parameters.into());
    }
    if let Some(window) = stated.take("sliding_window") {
        overrides.insert("sliding_window".to_owned(), window);
    }
    if !overrides.is_empty() {
        option("--hf-overrides", &Value::Object(overrides).to_string());
    }

    if let Some(revision) = stated.take_text("revision") {
        match subject.model {
            Model::Hub(_) if !has_nul(&revision) => {
                option("--revision", &revision);
                option("--tokenizer-revision", &revision);
            }
            _ => stated.dropped("revision", revision.into(), "a local path has no revision"),
        }
    }
    if let Some(folder) = stated.take_text("cache_dir") {
        argument(stated, "cache_dir", "--download-dir", folder, &mut option);
    }
    if let Some(false) = stated.take_flag("use_fast") {
        option("--tokenizer-mode", "slow");
    }
    if let Some(template) = stated.take_text("chat_template") {
        argument(stated, "chat_template", "--chat-template", template, &mut option);
    }
    if let Some(true) = stated.take_flag("trust_remote_code") {
        lines.push(vec!["--trust-remote-code".to_owned()]);
    }
    let mut first = environment;
    first.extend(["vllm".to_owned(), "serve".to_owned(), shell(&subject.model.argument())]);
    lines.insert(0, first);
    command(&lines)
}

/// An option whose value is any text.
fn argument(stated: &mut Stated, path: &str, flag: &str, value: String, option: &mut impl FnMut(&str, &str)) {
    if has_nul(&value) {
        stated.dropped(path, value.into(), "holds a NUL, which no command line can");
    } else {
        option(flag, &value);
    }
}

fn device_map(stated: &mut Stated, environment: &mut Vec<String>, option: &mut impl FnMut(&str, &str)) {
    const MANY: &str = "vLLM is told how many GPUs to use: --tensor-parallel-size (each layer split) or --pipeline-parallel-size";
    match stated.take("device_map") {
        Some(Value::String(device)) => match device.split_once(':') {
            Some(("cuda", index)) => environment.push(format!("CUDA_VISIBLE_DEVICES={index}")),
            Some(_) => stated.dropped("device_map", device.into(), "vLLM has no such device"),
            None if device == "cpu" => {
                stated.dropped("device_map", device.into(), "the CPU needs vLLM's CPU build, not an option");
            }
            None => stated.dropped("device_map", device.into(), MANY),
        },
        Some(Value::Object(map)) => {
            let mut gpus = Vec::new();
            for (module, device) in map {
                let path = format!("device_map.{module}");
                match device.as_str().and_then(|device| device.strip_prefix("cuda:")) {
                    Some(index) => {
                        if !gpus.contains(&index.to_owned()) {
                            gpus.push(index.to_owned());
                        }
                        let reason =
                            "vLLM splits layers evenly over the GPUs; single modules cannot be placed";
                        stated.approximated(path, device, reason);
                    }
                    None => {
                        let reason =
                            "vLLM moves weights to the CPU by amount, not by module: --cpu-offload-gb";
                        stated.dropped(path, device, reason);
                    }
                }
            }
            if !gpus.is_empty() {
                gpus.sort_by_key(|index| index.parse::<u16>().unwrap_or(u16::MAX));
                environment.push(format!("CUDA_VISIBLE_DEVICES={}", gpus.join(",")));
            }
            if gpus.len() > 1 {
                option("--pipeline-parallel-size", &gpus.len().to_string());
            }
        }
        _ => {}
    }
}

/// vLLM takes one share of every GPU's whole memory.
fn budgets(subject: &Subject<'_>, stated: &mut Stated, option: &mut impl FnMut(&str, &str)) {
    let Some(Value::Object(map)) = stated.take("max_memory") else { return };
    let smallest = map
        .iter()
        .filter(|(device, _)| device.parse::<u16>().is_ok())
        .filter_map(|(_, bytes)| bytes.as_u64())
        .min();
    let total = subject.device_memory.filter(|total| *total > 0);
    let share =
        smallest.zip(total).map(|(bytes, total)| ((bytes as f64 / total as f64) * 100.0).floor() / 100.0);
    let share = share.filter(|share| *share > 0.0).map(|share| share.min(1.0));
    if let Some(share) = share {
        option("--gpu-memory-utilization", &share.to_string());
    }
    for (device, bytes) in map {
        let path = format!("max_memory.{device}");
        if device.parse::<u16>().is_err() {
            stated.dropped(path, bytes, "vLLM has no budget for it");
        } else if share.is_some() {
            let reason =
                "a share of the GPU's whole memory, rounded down; the same share holds for every GPU";
            stated.approximated(path, bytes, reason);
        } else {
            let reason =
                "vLLM takes a share of the GPU's whole memory: --gpu-memory-utilization = budget / total";
            stated.dropped(path, bytes, reason);
        }
    }
}
