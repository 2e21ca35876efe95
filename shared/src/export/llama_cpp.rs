//! A command line of llama.cpp's server, after the conversion that it needs.

use serde_json::{Map, Value};

use super::quote::{command, has_nul, shell};
use super::stated::Stated;
use super::{Model, Subject};
use crate::dtype::DType;
use crate::placement::covers;

/// The file that a conversion writes.
const CONVERTED: &str = "model.gguf";

/// More layers than any model has: all of them.
const ALL_LAYERS: &str = "999";

/// Layers and GPUs that a map is counted for.
const MOST_LAYERS: usize = 1000;
const MOST_GPUS: usize = 64;

pub(super) fn write(subject: &Subject<'_>, stated: &mut Stated) -> String {
    stated.grant_what_servers_do();
    let mut lines: Vec<Vec<String>> = vec![vec!["llama-server".to_owned()]];
    let mut option = |flag: &str, value: &str| lines.push(vec![flag.to_owned(), shell(value)]);
    let conversion = place(subject, stated, &mut option);

    if let Some(context) = stated.take_context() {
        option("--ctx-size", &context.to_string());
    }
    device_map(subject, stated, &mut option);
    budgets(subject, stated, &mut option);
    let attention = stated.take_text("attn_implementation");
    match attention.as_deref() {
        Some("eager") => option("--flash-attn", "off"),
        Some(_) => option("--flash-attn", "on"),
        None => {}
    }
    match stated.take_kv_dtype() {
        Some(dtype @ (DType::F32 | DType::Bf16 | DType::F16 | DType::Q8_0 | DType::Q4_0)) => {
            option("--cache-type-k", dtype.name());
            if dtype.is_quantized() && attention.as_deref() == Some("eager") {
                let reason = "values are quantized only with flash attention; keys alone are";
                stated.approximated("kv_dtype", dtype.name().into(), reason);
            } else {
                option("--cache-type-v", dtype.name());
            }
        }
        Some(dtype) => stated.dropped("kv_dtype", dtype.name().into(), "llama.cpp has no such cache"),
        None => {}
    }
    rope(stated, &mut option);
    stated.drop_key("sliding_window", "llama.cpp takes the window from the GGUF, and disables that of Phi-3");
    if let Some(add) = stated.take_flag("add_bos_token") {
        option("--override-kv", &format!("tokenizer.ggml.add_bos_token=bool:{add}"));
    }
    stated.drop_key(
        "low_cpu_mem_usage",
        "files are mapped by default; --no-mmap (in newer builds --load-mode none) reads them whole",
    );
    stated.drop_key("trust_remote_code", "llama.cpp runs no repository code");
    stated.drop_key("revision", "llama.cpp takes no revision; download the file and give its path");
    let cache = stated.take_text("cache_dir");
    if let Some(template) = stated.take_text("chat_template") {
        if has_nul(&template) {
            stated.dropped("chat_template", template.into(), "holds a NUL, which no command line can");
        } else {
            lines.push(vec!["--jinja".to_owned()]);
            lines.push(vec!["--chat-template".to_owned(), shell(&template)]);
        }
    }
    match (cache, subject.model) {
        (None, _) => {}
        (Some(folder), Model::Hub(_)) if !has_nul(&folder) => {
            lines[0].insert(0, format!("LLAMA_CACHE={}", shell(&folder)));
        }
        (Some(folder), _) => stated.dropped("cache_dir", folder.into(), "a local file needs no cache"),
    }
    conversion + &command(&lines)
}

/// Names the model; gives the commands that make a GGUF of it where it is none.
fn place(subject: &Subject<'_>, stated: &mut Stated, option: &mut impl FnMut(&str, &str)) -> String {
    let argument = subject.model.argument();
    match subject.model {
        Model::Directory(_) => {
            option("--model", CONVERTED);
            let quantization = stated.take_text("quantization");
            let dtype = stated.take_text("dtype");
            let outtype = match (quantization.as_deref(), dtype.as_deref()) {
                (Some("q8_0"), _) => "q8_0",
                (_, Some("float32")) => "f32",
                (_, Some("float16")) => "f16",
                (_, Some("bfloat16")) => "bf16",
                _ => "auto",
            };
            let convert = |file: &str| {
                let words = [
                    "python3",
                    "convert_hf_to_gguf.py",
                    &shell(&argument),
                    "--outfile",
                    file,
                    "--outtype",
                    outtype,
                ];
                words.join(" ") + "\n"
            };
            match quantization.as_deref() {
                Some("q4_0") => {
                    let whole = "model-unquantized.gguf";
                    convert(whole) + &format!("llama-quantize {whole} {CONVERTED} Q4_0\n")
                }
                _ => convert(CONVERTED),
            }
        }
        Model::Gguf(_) => {
            option("--model", &argument);
            fixed(stated);
            String::new()
        }
        Model::Hub(name) => {
            option("--hf-repo", &argument);
            stated.approximated(
                "model",
                name.as_str().into(),
                "only a repository that holds GGUF files is read",
            );
            fixed(stated);
            String::new()
        }
        Model::Unplaced(name) => {
            option("--model", &argument);
            stated.dropped(
                "model",
                name.as_str().into(),
                "there are no weights to it; put the path of a GGUF there",
            );
            fixed(stated);
            String::new()
        }
    }
}

/// A GGUF holds its number format.
fn fixed(stated: &mut Stated) {
    stated.drop_key("dtype", "a GGUF holds its number format; choose the file in that format");
    stated.drop_key(
        "quantization",
        "a GGUF holds its number format; choose the file in it, or run llama-quantize",
    );
}

fn device_map(subject: &Subject<'_>, stated: &mut Stated, option: &mut impl FnMut(&str, &str)) {
    match stated.take("device_map") {
        Some(Value::String(device)) => match device.split_once(':') {
            Some(("cuda", index)) => {
                option("--device", &format!("CUDA{index}"));
                option("--n-gpu-layers", ALL_LAYERS);
            }
            Some(("wgpu" | "webgpu", index)) => {
                option("--device", &format!("Vulkan{index}"));
                option("--n-gpu-layers", ALL_LAYERS);
                let reason = "Vulkan's order of devices may differ: see --list-devices";
                stated.approximated("device_map", device.into(), reason);
            }
            Some(_) => {
                let reason = "llama.cpp has its own names of devices: take one from --list-devices";
                stated.dropped("device_map", device.into(), reason);
            }
            None if device == "cpu" => option("--device", "none"),
            None => {
                let reason = "llama.cpp splits layers over all GPUs by their free memory";
                stated.approximated("device_map", device.into(), reason);
            }
        },
        Some(Value::Object(map)) => {
            let layers = subject.config.map(|config| config.num_hidden_layers);
            placed_layers(&map, layers, stated, option);
        }
        _ => {}
    }
}

/// How many layers lie on GPUs, and on which. The head counts as the last of them; llama.cpp fills GPUs in their order,
/// from a layer on that the number on GPUs says.
fn placed_layers(
    map: &Map<String, Value>,
    layers: Option<usize>,
    stated: &mut Stated,
    option: &mut impl FnMut(&str, &str),
) {
    let number = |module: &String| module.rsplit_once("layers.")?.1.parse::<usize>().ok();
    let named = map.keys().filter_map(number).filter(|number| *number < MOST_LAYERS).max();
    let Some(layers) = layers.or(named.map(|last| last + 1)) else {
        for (module, device) in map {
            let reason = "llama.cpp counts layers, and how many there are is not known here";
            stated.dropped(format!("device_map.{module}"), device.clone(), reason);
        }
        return;
    };
    let decides =
        |module: &str| map.iter().filter(|(key, _)| covers(key, module)).max_by_key(|(key, _)| key.len());
    let gpu =
        |device: &Value| device.as_str()?.strip_prefix("cuda:")?.parse().ok().filter(|gpu| *gpu < MOST_GPUS);
    let modules = (0..layers).map(|layer| format!("model.layers.{layer}")).chain(["lm_head".to_owned()]);
    // Where nothing is said, as of a head that is the embedding, it lies with what comes before.
    let mut wished: Vec<(Option<&String>, Option<usize>)> = Vec::new();
    for module in modules {
        let before = wished.last().and_then(|(_, gpu)| *gpu);
        let decided = decides(&module);
        wished.push((decided.map(|(key, _)| key), decided.map_or(before, |(_, device)| gpu(device))));
    }
    let mut made: Vec<Option<usize>> = wished.iter().map(|(_, gpu)| *gpu).collect();
    // Those on the CPU first.
    made.sort_unstable();
    for (key, device) in map {
        let own = wished.iter().zip(&made).filter(|((decided, _), _)| *decided == Some(key));
        let (count, elsewhere) = own.fold((0, 0), |(count, elsewhere), ((_, wished), made)| {
            (count + 1, elsewhere + usize::from(wished != made))
        });
        let path = format!("device_map.{key}");
        if device != "cpu" && gpu(device).is_none() {
            stated.dropped(path, device.clone(), "llama.cpp's device for it is not known");
        } else if count == 0 {
            stated.dropped(path, device.clone(), "llama.cpp places whole layers and the head");
        } else if elsewhere > 0 {
            let reason = "layers are counted from the last one, the head among them, and fill GPUs in order: some lie elsewhere";
            stated.approximated(path, device.clone(), reason);
        }
    }
    let counts = made.iter().flatten().fold(Vec::new(), |mut counts: Vec<u32>, gpu| {
        counts.resize(counts.len().max(gpu + 1), 0);
        counts[*gpu] += 1;
        counts
    });
    option("--n-gpu-layers", &counts.iter().sum::<u32>().to_string());
    if counts.len() > 1 {
        let shares: Vec<String> = counts.iter().map(u32::to_string).collect();
        option("--tensor-split", &shares.join(","));
    }
}

/// llama.cpp leaves a margin on each GPU; a budget is what is left of the whole.
fn budgets(subject: &Subject<'_>, stated: &mut Stated, option: &mut impl FnMut(&str, &str)) {
    let Some(Value::Object(map)) = stated.take("max_memory") else { return };
    let only_gpu = map.keys().filter(|device| device.parse::<u16>().is_ok()).count() == 1;
    for (device, bytes) in map {
        let path = format!("max_memory.{device}");
        let spare =
            subject.device_memory.zip(bytes.as_u64()).and_then(|(total, budget)| total.checked_sub(budget));
        match (device.as_str(), spare) {
            ("0", Some(spare)) if only_gpu => {
                option("--fit-target", &spare.div_ceil(1 << 20).to_string());
                let reason = "a margin to leave free: it holds against free memory, not as a budget";
                stated.approximated(path, bytes, reason);
            }
            ("cpu", _) => stated.dropped(path, bytes, "llama.cpp has no budget for the host"),
            _ => {
                let reason =
                    "llama.cpp has no budget: give --n-gpu-layers, or --fit-target with the margin in MiB";
                stated.dropped(path, bytes, reason);
            }
        }
    }
}

fn rope(stated: &mut Stated, option: &mut impl FnMut(&str, &str)) {
    let Some(scaling) = stated.take("rope_scaling") else { return };
    let Value::Object(mut parameters) = scaling else {
        option("--rope-scaling", "none");
        return;
    };
    let kind = parameters.shift_remove("rope_type");
    let known: &[(&str, &str)] = match kind.as_ref().and_then(Value::as_str) {
        Some(kind @ "linear") => {
            option("--rope-scaling", kind);
            &[("factor", "--rope-scale")]
        }
        Some(kind @ "yarn") => {
            option("--rope-scaling", kind);
            &[
                ("factor", "--rope-scale"),
                ("original_max_position_embeddings", "--yarn-orig-ctx"),
                ("attention_factor", "--yarn-attn-factor"),
                ("beta_fast", "--yarn-beta-fast"),
                ("beta_slow", "--yarn-beta-slow"),
            ]
        }
        Some(kind) => {
            let reason = "llama.cpp has linear and yarn; what else there is comes with the GGUF";
            stated.dropped("rope_scaling.rope_type", kind.into(), reason);
            &[]
        }
        None => &[],
    };
    for (name, flag) in known.iter().chain(&[("rope_theta", "--rope-freq-base")]) {
        if let Some(number) = parameters.shift_remove(*name).as_ref().and_then(Value::as_f64) {
            option(flag, &number.to_string());
        }
    }
    for (name, value) in parameters {
        stated.dropped(format!("rope_scaling.{name}"), value, "comes with the GGUF");
    }
}
