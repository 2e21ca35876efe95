//! What is predicted held against what others published or measured. Writes `docs/accuracy.md`, worst case first:
//! `UPDATE_DOCS=1 cargo test -p phi3 --test accuracy` writes it anew, without that it must be up to date.
#![cfg(not(target_arch = "wasm32"))]

use std::fmt::Write as _;
use std::path::Path;

use phi3::decoder::Decoder;
use phi3::dtype::DType::{Bf16, F16, Q4_0, Q8_0};
use phi3::estimate::{self, Format, KvPolicy};
use phi3::units::format_count;

/// A published or measured number, and how far off a prediction may be.
struct Truth {
    model: &'static str,
    what: &'static str,
    predicted: u64,
    truth: u64,
    tolerance: f64,
    source: &'static str,
}

fn decoder(name: &str) -> Decoder {
    let path =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/data/configs").join(format!("{name}.json"));
    Decoder::parse(&std::fs::read(&path).expect(name)).expect(name)
}

const EXACT: f64 = 0.0;
const GIB: f64 = (1u64 << 30) as f64;
const MINI: &str = "microsoft__Phi-3-mini-4k-instruct";
const MINI_128K: &str = "microsoft__Phi-3-mini-128k-instruct";
const LLAMA: &str = "meta-llama__Llama-3.1-8B";

fn counts() -> Vec<Truth> {
    let hub = "published parameter count";
    [
        (MINI, 3_821_079_552, hub),
        ("microsoft__Phi-3.5-mini-instruct", 3_821_079_552, hub),
        ("microsoft__Phi-3-medium-4k-instruct", 13_960_238_080, hub),
        ("microsoft__phi-4", 14_659_507_200, hub),
        ("microsoft__Phi-4-mini-instruct", 3_836_021_760, hub),
        ("microsoft__Phi-3-small-8k-instruct", 7_392_272_384, hub),
        (LLAMA, 8_030_261_248, hub),
        ("meta-llama__Llama-3.2-1B-Instruct", 1_235_814_400, hub),
        ("mistralai__Mistral-7B-v0.1", 7_241_732_096, hub),
        ("Qwen__Qwen2.5-7B", 7_615_616_512, hub),
        ("google__gemma-2-9b", 9_241_705_984, hub),
        ("HuggingFaceTB__SmolLM2-135M__DERIVED", 134_515_008, hub),
    ]
    .map(|(model, truth, source)| Truth {
        model,
        what: "parameters",
        predicted: estimate::params(&decoder(model)).total,
        truth,
        tolerance: EXACT,
        source,
    })
    .into()
}

/// Models with experts or a latent, from the sizes that their papers and pages state.
const QWEN3_MOE: &str = r#"{"model_type":"qwen3_moe","hidden_size":2048,"intermediate_size":6144,"num_hidden_layers":48,
    "num_attention_heads":32,"num_key_value_heads":4,"head_dim":128,"vocab_size":151936,"moe_intermediate_size":768,
    "num_experts":128,"num_experts_per_tok":8,"decoder_sparse_step":1,"mlp_only_layers":[]}"#;
const MIXTRAL: &str = r#"{"model_type":"mixtral","hidden_size":4096,"intermediate_size":14336,"num_hidden_layers":32,
    "num_attention_heads":32,"num_key_value_heads":8,"vocab_size":32000,"num_local_experts":8,"num_experts_per_tok":2}"#;
const DEEPSEEK_LITE: &str = r#"{"model_type":"deepseek_v2","hidden_size":2048,"intermediate_size":10944,
    "num_hidden_layers":27,"num_attention_heads":16,"num_key_value_heads":16,"vocab_size":102400,
    "moe_intermediate_size":1408,"n_routed_experts":64,"n_shared_experts":2,"num_experts_per_tok":6,
    "first_k_dense_replace":1,"kv_lora_rank":512,"q_lora_rank":null,"qk_nope_head_dim":128,"qk_rope_head_dim":64,
    "v_head_dim":128}"#;
const GPT_OSS: &str = r#"{"model_type":"gpt_oss","hidden_size":2880,"intermediate_size":2880,"num_hidden_layers":24,
    "num_attention_heads":64,"num_key_value_heads":8,"head_dim":64,"vocab_size":201088,"num_local_experts":32,
    "num_experts_per_tok":4,"sliding_window":128,"torch_dtype":"bfloat16",
    "quantization_config":{"quant_method":"mxfp4"}}"#;

/// Models whose layers keep a state or share a cache: the defaults of their classes are these models.
const QWEN3_NEXT: &str = r#"{"model_type":"qwen3_next"}"#;
const QWEN3_5_9B: &str = r#"{"model_type":"qwen3_5_text"}"#;
const QWEN3_5_35B: &str = r#"{"model_type":"qwen3_5_moe_text"}"#;
const GEMMA3N_E4B: &str = r#"{"model_type":"gemma3n_text"}"#;
const GEMMA3N_E2B: &str = r#"{"model_type":"gemma3n_text","num_hidden_layers":30,"num_kv_shared_layers":10,"intermediate_size":8192}"#;
/// Gemma 2 2B is its class's defaults.
const GEMMA2_2B: &str = r#"{"model_type":"gemma2"}"#;

fn by_class() -> Vec<Truth> {
    let class = "parameters of transformers 5.23.0's model, built from its config class";
    [
        ("Qwen/Qwen3-Next-80B-A3B-Instruct", QWEN3_NEXT, 79_674_391_296, class),
        ("Qwen/Qwen3.5-9B (language part)", QWEN3_5_9B, 8_953_803_264, class),
        ("Qwen/Qwen3.5-35B-A3B (language part)", QWEN3_5_35B, 34_660_610_688, class),
        ("google/gemma-3n-E4B (language part)", GEMMA3N_E4B, 6_835_235_568, class),
        ("google/gemma-3n-E2B (language part)", GEMMA3N_E2B, 4_435_182_688, class),
        ("google/gemma-2-2b", GEMMA2_2B, 2_614_341_888, "counted by BishopFox's BrokenHill"),
    ]
    .map(|(model, config, truth, source)| Truth {
        model,
        what: "parameters",
        predicted: estimate::params(&Decoder::parse(config.as_bytes()).expect(config)).total,
        truth,
        tolerance: EXACT,
        source,
    })
    .into()
}

fn experts() -> Vec<Truth> {
    let of = |config: &str| Decoder::parse(config.as_bytes()).expect(config);
    let oss = of(GPT_OSS);
    let truth = |model, what, predicted, truth, source| Truth {
        model,
        what,
        predicted,
        truth,
        tolerance: EXACT,
        source,
    };
    let params = |model, config, count| {
        truth(model, "parameters", estimate::params(&of(config)).total, count, "published parameter count")
    };
    vec![
        params("Qwen/Qwen3-30B-A3B", QWEN3_MOE, 30_532_122_624),
        params("mistralai/Mixtral-8x7B-v0.1", MIXTRAL, 46_702_792_704),
        params("deepseek-ai/DeepSeek-V2-Lite", DEEPSEEK_LITE, 15_706_484_224),
        truth(
            "openai/gpt-oss-20b",
            "weights in mxfp4 as published, bytes",
            estimate::weights_bytes(&oss, estimate::stored_format(&oss)),
            13_761_264_768,
            "total_size of model.safetensors.index.json",
        ),
    ]
}

fn weights() -> Vec<Truth> {
    let bytes = |model: &str, format: Format| estimate::weights_bytes(&decoder(model), format);
    vec![
        Truth {
            model: MINI,
            what: "weights in bf16, bytes",
            predicted: bytes(MINI, Bf16.into()),
            truth: 7_642_159_104,
            tolerance: EXACT,
            source: "total_size of model.safetensors.index.json",
        },
        Truth {
            model: MINI,
            what: "weights in q4_k_m, bytes",
            predicted: bytes(MINI, Format::Q4KM),
            truth: 2_393_231_072,
            tolerance: 0.001,
            source: "size of Phi-3-mini-4k-instruct-q4.gguf, its metadata included",
        },
        Truth {
            model: "microsoft__Phi-4-mini-instruct",
            what: "weights in q4_k_m, bytes",
            predicted: bytes("microsoft__Phi-4-mini-instruct", Format::Q4KM),
            truth: (2.31 * GIB) as u64,
            tolerance: 0.003,
            source: "2.31 GiB in llama.cpp's log, three digits",
        },
        Truth {
            model: "microsoft__Phi-3.5-mini-instruct",
            what: "weights in q4_0, bytes",
            predicted: bytes("microsoft__Phi-3.5-mini-instruct", Q4_0.into()),
            truth: (2.03 * GIB) as u64,
            tolerance: 0.02,
            source: "2.03 GiB in llama.cpp's log, which keeps the head in q6_k; ours is in q4_0",
        },
        Truth {
            model: MINI_128K,
            what: "weights in f16, bytes",
            predicted: bytes(MINI_128K, F16.into()),
            truth: 7_642_165_248,
            tolerance: 0.000_001,
            source: "resident in BishopFox's BrokenHill",
        },
        Truth {
            model: LLAMA,
            what: "weights in bf16, bytes",
            predicted: bytes(LLAMA, Bf16.into()),
            truth: 16_095_389_941,
            tolerance: 0.005,
            source: "14.99 GiB measured by vLLM on an H100 (llm-d-benchmark)",
        },
    ]
}

fn caches() -> Vec<Truth> {
    let cache =
        |model: &str, dtype, tokens| estimate::cache_bytes(&decoder(model), dtype, KvPolicy::Full, tokens, 1);
    vec![
        Truth {
            model: MINI_128K,
            what: "KV cache of 131,328 tokens in f16, bytes",
            predicted: cache(MINI_128K, F16, 131_328),
            truth: 49_248 << 20,
            tolerance: EXACT,
            source: "allocated by llama.cpp (issue 6849)",
        },
        Truth {
            model: "microsoft__Phi-3.5-mini-instruct",
            what: "KV cache of 131,072 tokens in f16, bytes",
            predicted: cache("microsoft__Phi-3.5-mini-instruct", F16, 131_072),
            truth: 49_152 << 20,
            tolerance: EXACT,
            source: "allocated by llama.cpp (QuantFactory's discussion 1)",
        },
        Truth {
            model: MINI,
            what: "KV cache of 4,096 tokens in f16, bytes",
            predicted: cache(MINI, F16, 4096),
            truth: 1_610_612_736,
            tolerance: EXACT,
            source: "1.5 GB in web-llm's issue 432",
        },
        Truth {
            model: MINI,
            what: "KV cache of a token in q4_0, bytes",
            predicted: cache(MINI, Q4_0, 1),
            truth: 108 << 10,
            tolerance: EXACT,
            source: "108 KiB in exllamav2's issue 425",
        },
        Truth {
            model: MINI,
            what: "KV cache of a token in q8_0, bytes",
            predicted: cache(MINI, Q8_0, 1),
            truth: 204 << 10,
            tolerance: EXACT,
            source: "34 bytes for 32 values, GGML's block",
        },
        Truth {
            model: LLAMA,
            what: "KV cache of 8,192 tokens in bf16, bytes",
            predicted: cache(LLAMA, Bf16, 8192),
            truth: 1 << 30,
            tolerance: EXACT,
            source: "llmfit's test",
        },
        Truth {
            model: "google__gemma-2-9b",
            what: "KV cache of a token in bf16, all layers full, bytes",
            predicted: cache("google__gemma-2-9b", Bf16, 1),
            truth: 344_064,
            tolerance: EXACT,
            source: "42 layers × 2 × 8 heads × 256 × 2 bytes",
        },
    ]
}

fn page(rows: &[Truth]) -> String {
    let mut page = String::from(
        "# Accuracy\n\nWhat Preflight predicts from a `config.json` alone, held against what others published or measured; the\nworst case first. A test makes this page and fails where a row is further off than it may be. Counts of random\nconfigs of every family that transformers has are held against its classes besides (`tests/goldens/families.json`), names,\nshapes and caches against tiny models that they save and run (`family_files.json`), and bytes of running models\nagainst this machine (`docs/benchmarks.md`).\n\n| model | what | predicted | truth | error | source |\n|---|---|---:|---:|---:|---|\n",
    );
    for row in rows {
        let name = row.model.trim_end_matches("__DERIVED").replacen("__", "/", 1);
        let (predicted, truth) = (format_count(row.predicted), format_count(row.truth));
        let error = match error(row) {
            0.0 => "0".to_owned(),
            error => format!("{:+.3} %", error * 100.0),
        };
        writeln!(page, "| {name} | {} | {predicted} | {truth} | {error} | {} |", row.what, row.source)
            .expect("a string takes all");
    }
    page
}

fn error(row: &Truth) -> f64 {
    row.predicted as f64 / row.truth as f64 - 1.0
}

#[test]
fn predictions_are_as_accurate_as_the_page_says() {
    let mut rows: Vec<Truth> =
        counts().into_iter().chain(experts()).chain(by_class()).chain(weights()).chain(caches()).collect();
    for row in &rows {
        let off = error(row).abs();
        assert!(off <= row.tolerance, "{} {}: off by {off}", row.model, row.what);
    }
    rows.sort_by(|a, b| error(b).abs().total_cmp(&error(a).abs()));
    let page = page(&rows);
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/accuracy.md");
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &page).expect("docs can be written");
    }
    let kept = std::fs::read_to_string(&path).expect("docs/accuracy.md");
    assert!(
        kept == page,
        "docs/accuracy.md is out of date: UPDATE_DOCS=1 cargo test -p phi3 --test accuracy"
    );
}
