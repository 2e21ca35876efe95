//! A Modelfile of Ollama.

use serde_json::Value;

use super::stated::Stated;
use super::{Model, Subject, quote};
use crate::dtype::DType;

pub(super) fn write(subject: &Subject<'_>, stated: &mut Stated) -> String {
    stated.grant_what_servers_do();
    let name = subject.model.name();
    let from = match subject.model {
        Model::Hub(id) => {
            stated.approximated(
                "model",
                id.as_str().into(),
                "only a repository that holds GGUF files is read",
            );
            format!("hf.co/{id}")
        }
        // What does not look like a path could be the name of a model in Ollama's own registry.
        Model::Directory(path) | Model::Gguf(path) if !path.starts_with(['/', '.', '~']) => {
            format!("./{path}")
        }
        Model::Directory(path) | Model::Gguf(path) => path.clone(),
        Model::Unplaced(name) => {
            stated.dropped("model", name.as_str().into(), "there are no weights to it; put a path there");
            format!("./{name}")
        }
    };
    let from = quote::modelfile(&from).unwrap_or_else(|| {
        stated.dropped("model", name.into(), "a Modelfile cannot hold this name; rename the file");
        "./model".to_owned()
    });

    let create = match stated.take_text("quantization") {
        Some(format) => {
            let ollama = if format == "q8_0" { "q8_0" } else { "q4_K_M" };
            let reason = format!(
                "is said when the model is made: ollama create NAME -f Modelfile --quantize {ollama}"
            );
            stated.approximated("quantization", format.into(), reason);
            format!("ollama create NAME -f Modelfile --quantize {ollama}")
        }
        None => "ollama create NAME -f Modelfile".to_owned(),
    };
    let mut text = format!("# {create}\nFROM {from}\n");
    if let Some(context) = stated.take_context() {
        text += &format!("PARAMETER num_ctx {context}\n");
    }
    match stated.take("device_map") {
        Some(device) if device == "cpu" => text += "PARAMETER num_gpu 0\n",
        Some(Value::Object(map)) => {
            for (module, device) in map {
                let reason = "Ollama places layers itself; PARAMETER num_gpu says how many lie on GPUs";
                stated.dropped(format!("device_map.{module}"), device, reason);
            }
        }
        Some(device) => {
            let reason = "Ollama places layers itself; GPUs are hidden from it with CUDA_VISIBLE_DEVICES";
            stated.dropped("device_map", device, reason);
        }
        None => {}
    }
    if let Some(dtype) = stated.take_kv_dtype() {
        let reason = match dtype {
            DType::F16 | DType::Q8_0 | DType::Q4_0 => format!(
                "is said to the server: OLLAMA_KV_CACHE_TYPE={dtype}, quantized with OLLAMA_FLASH_ATTENTION=1"
            ),
            _ => "Ollama keeps the cache in f16, q8_0 or q4_0".to_owned(),
        };
        stated.dropped("kv_dtype", dtype.name().into(), reason);
    }
    stated.drop_key("attn_implementation", "is said to the server: OLLAMA_FLASH_ATTENTION=1 or 0");
    stated.drop_key("dtype", "a model keeps the format it was made in; convert it before");
    stated.drop_key(
        "chat_template",
        "TEMPLATE is a Go template, and this is a Jinja one; it has to be rewritten",
    );
    stated.drop_key("cache_dir", "is said to the server: OLLAMA_MODELS");
    stated.drop_key("revision", "Ollama takes no revision; download the files and give their path");
    text
}
