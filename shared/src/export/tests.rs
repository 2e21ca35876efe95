use super::*;
use crate::config::Fields;

fn load_config(json: &str) -> LoadConfig {
    LoadConfig::parse(json.as_bytes()).unwrap_or_else(|error| panic!("{json}: {error}"))
}

fn written(model: &Model, json: &str, target: Target) -> Export {
    let load_config = load_config(json);
    let fields = Fields::parse(br#"{"model_type":"phi3","rope_theta":10000.0,"num_hidden_layers":3}"#)
        .expect("an object");
    let config = ModelConfig::from_fields(&fields).expect("valid");
    let subject = Subject {
        model,
        config: Some(&config),
        load_config: &load_config,
        context: None,
        kv_dtype: None,
        device_memory: None,
    };
    export(&subject, target)
}

fn hub() -> Model {
    Model::Hub("microsoft/Phi-3-mini-4k-instruct".to_owned())
}

fn paths(export: &Export) -> Vec<&str> {
    export.unexpressed.iter().map(|lost| lost.path.as_str()).collect()
}

#[test]
fn names_round_trip() {
    for target in Target::ALL {
        assert_eq!(target.name().parse(), Ok(target));
        assert_eq!(serde_json::to_value(target).expect("a name"), target.name());
    }
    assert!("gguf".parse::<Target>().is_err());
}

/// The rule of every export: a value shows in the text or is reported.
#[test]
fn nothing_is_dropped_in_silence() {
    let values = [
        r#"{"dtype": "float16"}"#,
        r#"{"quantization": "q8_0"}"#,
        r#"{"load_in_4bit": true}"#,
        r#"{"quantization_config": {"load_in_4bit": true, "bnb_4bit_quant_type": "nf4"}}"#,
        r#"{"quantization_config": {"bnb_4bit_quant_type": "nf4"}}"#,
        r#"{"device_map": "sequential"}"#,
        r#"{"device_map": "cpu"}"#,
        r#"{"device_map": "cuda:1"}"#,
        r#"{"device_map": "wgpu:0"}"#,
        r#"{"device_map": {"model.layers.0": "cpu", "model.layers.1": 0, "lm_head": 1}}"#,
        r#"{"device_map": {"model": "wgpu:0"}}"#,
        r#"{"max_memory": {"0": "12GiB"}}"#,
        r#"{"max_memory": {"wgpu:0": "12GiB", "cpu": "32GiB"}}"#,
        r#"{"low_cpu_mem_usage": false}"#,
        r#"{"offload_folder": "/var/tmp"}"#,
        r#"{"attn_implementation": "fused"}"#,
        r#"{"attn_implementation": "flash_attention_2"}"#,
        r#"{"rope_scaling": {"type": "linear", "factor": 2.0}}"#,
        r#"{"rope_scaling": {"type": "longrope", "short_factor": [1.5], "long_factor": [2.5]}}"#,
        r#"{"rope_scaling": {"type": "yarn", "factor": 4, "beta_fast": 32, "mscale": 1}}"#,
        r#"{"rope_scaling": null}"#,
        r#"{"rope_parameters": {"rope_theta": 5e5}}"#,
        r#"{"sliding_window": 1024}"#,
        r#"{"sliding_window": null}"#,
        r#"{"use_cache": false}"#,
        r#"{"trust_remote_code": true}"#,
        r#"{"revision": "0a67737cc96d2554230f90338b163bc6380a2a85"}"#,
        r#"{"cache_dir": "/var/cache/hf"}"#,
        r#"{"use_fast": false}"#,
        r#"{"add_bos_token": true}"#,
        r#"{"legacy": true}"#,
        r#"{"chat_template": "{{ messages }}"}"#,
    ];
    let models = [
        hub(),
        Model::Directory("models/phi".to_owned()),
        Model::Gguf("phi.gguf".to_owned()),
        Model::Unplaced("preset:phi-4".to_owned()),
    ];
    for model in &models {
        for target in Target::ALL {
            let plain = written(model, "{}", target);
            for json in values {
                if target == Target::Vllm && json.contains("fused") {
                    // What vLLM always does needs no word.
                    continue;
                }
                let export = written(model, json, target);
                for (key, value) in load_config(json).to_map() {
                    for (path, value) in crate::load_config::leaves(&key, &value) {
                        let reported =
                            export.unexpressed.iter().any(|lost| path.starts_with(lost.path.as_str()));
                        let shown = export.text != plain.text;
                        assert!(
                            reported || shown,
                            "{target:?}, {model:?}: {path} = {value}\n{}",
                            export.text
                        );
                    }
                }
            }
        }
    }
}

/// transformers refuses quantized weights on the CPU unless it is told to keep those in f32.
#[test]
fn from_pretrained_leaves_quantized_modules_on_the_cpu() {
    let offload = "llm_int8_enable_fp32_cpu_offload=True";
    for (row, is_there) in [
        (r#"{"load_in_4bit": true, "device_map": {"": 0, "lm_head": "cpu"}}"#, true),
        (r#"{"load_in_8bit": true, "max_memory": {"0": "4GiB", "cpu": "8GiB"}}"#, true),
        (
            r#"{"load_in_8bit": true, "device_map": "cuda:0", "max_memory": {"0": "4GiB", "cpu": "8GiB"}}"#,
            false,
        ),
        (r#"{"load_in_8bit": true, "max_memory": {"0": "4GiB"}}"#, false),
    ] {
        let text = written(&hub(), row, Target::FromPretrained).text;
        assert_eq!(text.contains(offload), is_there, "{row}\n{text}");
    }
}

#[test]
fn from_pretrained_speaks_both_versions() {
    let row = r#"{"torch_dtype": "float16", "device_map": {"": "cuda:0"}, "max_memory": {"0": "12GiB", "cpu": 1000},
        "rope_scaling": {"type": "linear", "factor": 2.0}, "sliding_window": null, "use_fast": false, "load_in_4bit": true}"#;
    let four = written(&hub(), row, Target::FromPretrained4);
    for line in [
        "from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, BitsAndBytesConfig",
        "    torch_dtype=torch.float16,",
        "    device_map=\"cuda:0\",",
        "    max_memory={0: \"12GiB\", \"cpu\": 1000},",
        "    attn_implementation=\"eager\",",
        "    low_cpu_mem_usage=True,",
        "    quantization_config=BitsAndBytesConfig(load_in_4bit=True),",
        "    config=config,",
        "config.rope_scaling = {\"rope_type\": \"linear\", \"factor\": 2.0}",
        "config.sliding_window = None",
        "    use_fast=False,",
    ] {
        assert!(four.text.lines().any(|found| found == line), "{line}\n{}", four.text);
    }
    assert_eq!(paths(&four), ["quantization"]);
    let five = written(&hub(), row, Target::FromPretrained);
    assert!(
        five.text.contains("    dtype=torch.float16,\n") && !five.text.contains("torch_dtype"),
        "{}",
        five.text
    );
    assert!(
        five.text
            .contains("config.rope_parameters = {**kept, **{\"rope_type\": \"linear\", \"factor\": 2.0}}")
    );
    assert_eq!(
        paths(&five),
        ["use_fast", "quantization"].map(|path| path).iter().rev().copied().collect::<Vec<_>>()
    );
    let gguf = written(&Model::Gguf("/m/phi.gguf".to_owned()), "{}", Target::FromPretrained);
    assert!(
        gguf.text.contains("MODEL = \"/m\"") && gguf.text.matches("gguf_file=\"phi.gguf\"").count() == 2,
        "{}",
        gguf.text
    );
}

/// transformers has two kinds of fused attention, and we one.
#[test]
fn the_kernel_that_was_asked_for_is_exported() {
    let row = r#"{"attn_implementation": "flash_attention_2"}"#;
    for target in [Target::FromPretrained, Target::FromPretrained4, Target::Json, Target::Toml] {
        let export = written(&hub(), row, target);
        assert!(export.text.contains("flash_attention_2") && paths(&export).is_empty(), "{}", export.text);
    }
    let sdpa = written(&hub(), r#"{"attn_implementation": "sdpa"}"#, Target::FromPretrained);
    assert!(sdpa.text.contains("attn_implementation=\"sdpa\""), "{}", sdpa.text);
    assert_eq!(paths(&written(&hub(), row, Target::Vllm)), ["attn_implementation"]);
}

#[test]
fn command_lines_use_the_flags_that_there_are() {
    let row = r#"{"dtype": "bf16", "device_map": "cuda:1", "rope_scaling": {"type": "linear", "factor": 2.0},
        "sliding_window": 1024, "max_memory": {"0": "12GiB"}, "attn_implementation": "eager", "revision": "main"}"#;
    let config = load_config(row);
    let model = hub();
    let subject = Subject {
        model: &model,
        config: None,
        load_config: &config,
        context: Some(8192),
        kv_dtype: Some(DType::Q8_0),
        device_memory: Some(24 << 30),
    };
    let vllm = export(&subject, Target::Vllm);
    for word in [
        "CUDA_VISIBLE_DEVICES=1 vllm serve microsoft/Phi-3-mini-4k-instruct",
        "--dtype bfloat16",
        "--max-model-len 8192",
        "--gpu-memory-utilization 0.5",
        r#"--hf-overrides '{"rope_parameters":{"rope_type":"linear","factor":2.0},"sliding_window":1024}'"#,
        "--revision main",
    ] {
        assert!(vllm.text.contains(word), "{word}\n{}", vllm.text);
    }
    assert_eq!(paths(&vllm), ["kv_dtype", "attn_implementation", "max_memory.0", "rope_scaling"]);

    let llama = export(&subject, Target::LlamaCpp);
    for word in [
        "--hf-repo microsoft/Phi-3-mini-4k-instruct",
        "--ctx-size 8192",
        "--device CUDA1",
        "--n-gpu-layers 999",
        "--fit-target 12288",
        "--flash-attn off",
        "--cache-type-k q8_0",
        "--rope-scaling linear",
        "--rope-scale 2",
    ] {
        assert!(llama.text.contains(word), "{word}\n{}", llama.text);
    }
    assert!(!llama.text.contains("--cache-type-v"), "{}", llama.text);
    assert_eq!(paths(&llama), ["model", "dtype", "max_memory.0", "kv_dtype", "sliding_window", "revision"]);

    let directory =
        written(&Model::Directory("phi".to_owned()), r#"{"quantization": "q4_0"}"#, Target::LlamaCpp);
    assert_eq!(
        directory.text,
        "python3 convert_hf_to_gguf.py phi --outfile model-unquantized.gguf --outtype auto\n\
         llama-quantize model-unquantized.gguf model.gguf Q4_0\nllama-server --model model.gguf\n"
    );
    assert!(directory.unexpressed.is_empty(), "{directory:?}");
    let layers = r#"{"device_map": {"model.layers.0": "cpu", "model.layers.1": 0, "model.layers.2": 1}}"#;
    let split = written(&Model::Gguf("p.gguf".to_owned()), layers, Target::LlamaCpp);
    // Whoever counts layers counts the head as the last of them.
    assert!(split.text.contains("--n-gpu-layers 3 --tensor-split 1,2\n"), "{}", split.text);
    let whole = r#"{"device_map": {"model.embed_tokens": 0, "model.layers.0": 0, "model.layers.1": 0, "model.layers.2": 0, "model.norm": 0, "lm_head": 0}}"#;
    let whole = written(&Model::Gguf("p.gguf".to_owned()), whole, Target::LlamaCpp);
    assert!(whole.text.contains("--n-gpu-layers 4\n"), "{}", whole.text);
    let left = ["device_map.model.embed_tokens", "device_map.model.norm"];
    assert_eq!(paths(&whole), left);
    let none = r#"{"device_map": {"model.layers.0": "cpu", "model.layers.1": "cpu"}}"#;
    let none = written(&Model::Gguf("p.gguf".to_owned()), none, Target::LlamaCpp);
    assert!(none.text.contains("--n-gpu-layers 0\n"), "{}", none.text);
    // Names of groups, and what llama.cpp cannot do: a gap in the middle, a head elsewhere.
    for (map, command, told) in [
        (r#"{"model": 0, "lm_head": 0}"#, "--n-gpu-layers 4\n", &[][..]),
        (r#"{"": 0, "lm_head": 1}"#, "--n-gpu-layers 4 --tensor-split 3,1\n", &[]),
        (r#"{"": "cpu", "lm_head": 0}"#, "--n-gpu-layers 1\n", &[]),
        (
            r#"{"": 0, "model.layers.1": "cpu"}"#,
            "--n-gpu-layers 3\n",
            &["device_map.", "device_map.model.layers.1"],
        ),
        (
            r#"{"": 1, "lm_head": 0}"#,
            "--n-gpu-layers 4 --tensor-split 1,3\n",
            &["device_map.", "device_map.lm_head"],
        ),
    ] {
        let split = written(
            &Model::Gguf("p.gguf".to_owned()),
            &format!(r#"{{"device_map":{map}}}"#),
            Target::LlamaCpp,
        );
        assert!(split.text.contains(command), "{map}: {}", split.text);
        assert_eq!(paths(&split), told, "{map}");
    }
}

#[test]
fn a_modelfile_stays_one() {
    let model = Model::Gguf("my models/phi 3.gguf".to_owned());
    let none = LoadConfig::default();
    let subject = Subject {
        model: &model,
        config: None,
        load_config: &none,
        context: Some(4096),
        kv_dtype: None,
        device_memory: None,
    };
    let text = export(&subject, Target::Ollama).text;
    assert!(text.ends_with("FROM \"\"\"./my models/phi 3.gguf\"\"\"\nPARAMETER num_ctx 4096\n"), "{text}");
    for hostile in ["a\nPARAMETER num_ctx 1", "x\"\"\"\nSYSTEM y", "\u{7}"] {
        let export = written(&Model::Directory(hostile.to_owned()), "{}", Target::Ollama);
        assert_eq!(export.text.lines().count(), 2, "{}", export.text);
        assert_eq!(paths(&export), ["model"]);
    }
    let template = written(&hub(), r#"{"chat_template": "\"\"\"\nSYSTEM evil"}"#, Target::Ollama);
    assert!(!template.text.contains("evil"), "{}", template.text);
    assert_eq!(paths(&template), ["model", "chat_template"]);
}

#[test]
fn json_and_toml_are_read_back() {
    let row = r#"{"torch_dtype": "float16", "max_memory": {"0": "12GiB"}, "chat_template": "\u007f\n\"'{{"}"#;
    let json = written(&hub(), row, Target::Json);
    assert_eq!(load_config(&json.text), load_config(row));
    assert!(json.unexpressed.is_empty());
    let toml = written(
        &hub(),
        r#"{"sliding_window": null, "max_memory": {"wgpu:0": 9223372036854775808}}"#,
        Target::Toml,
    );
    assert_eq!(toml.text, "[max_memory]\n\"wgpu:0\" = \"9223372036854775808\"\n");
    assert_eq!(paths(&toml), ["sliding_window"]);
}

#[test]
fn markdown_holds_hostile_text() {
    let row = r#"{"chat_template": "a|b\n<script>`x`\n````\n# h"}"#;
    let text = written(&Model::Hub("[x](javascript:y)\n# z".to_owned()), row, Target::Markdown).text;
    assert!(
        !text.contains("\n# z") && text.starts_with("# Load config of \\[x\\]\\(javascript:y\\) \\# z\n"),
        "{text}"
    );
    let table: Vec<_> = text.lines().filter(|line| line.starts_with('|')).collect();
    assert_eq!(table.len(), 3, "{text}");
    assert!(table[2].contains("&lt;script&gt;") && table[2].contains("a\\|b"), "{text}");
    assert!(text.contains("\n`````json\n"), "{text}");
}
