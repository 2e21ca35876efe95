//! Numbers that others published, measured or got wrong, each a test here: exact counts (P), KV caches (K), verdicts
//! and the faults of other estimators (R), by the ids of the list that they were collected in.

use phi3::decoder::Decoder;
use phi3::dtype::DType;
use phi3::estimate::fit::{Verdict, largest};
use phi3::estimate::{self, Format, KvPolicy, Options, Size};
use phi3::tensors;
use phi3::units::parse_size;
use phi3::weights::safetensors::{Layout, NewTensor, ShardIndex};
use phi3::weights::{BytesSource, Checkpoint};
use pollster::block_on;
use serde_json::{Value, json};

use crate::support::config_json;

const MINI_BYTES: u64 = 7_642_159_104;

fn config(name: &str) -> Decoder {
    Decoder::parse(&config_json(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn mini() -> Decoder {
    config("microsoft__Phi-3-mini-4k-instruct")
}

/// A config with keys changed; null takes one out.
fn changed(name: &str, changes: &Value) -> Decoder {
    let mut config: Value = serde_json::from_slice(&config_json(name)).expect("JSON");
    for (key, value) in changes.as_object().expect("an object") {
        config[key] = value.clone();
    }
    Decoder::parse(config.to_string().as_bytes()).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn total(decoder: &Decoder) -> u64 {
    estimate::params(decoder).total
}

fn kv(decoder: &Decoder, dtype: DType, policy: KvPolicy, context: u64) -> u64 {
    estimate::cache_bytes(decoder, dtype, policy, context, 1)
}

#[test]
fn p1_p2_counts_of_phi3_mini_by_part() {
    let mini = mini();
    let of = |layer: Option<usize>| -> u64 {
        tensors::parts(&mini).filter(|part| part.layer == layer).map(|part| part.count()).sum()
    };
    assert_eq!((of(Some(0)), of(Some(31))), (113_252_352, 113_252_352));
    let group = |name: &str| {
        let params = estimate::params(&mini);
        params.groups.iter().find(|group| group.name.name() == name).map(|group| group.count)
    };
    assert_eq!((group("embedding"), group("lm_head")), (Some(98_500_608), Some(98_500_608)));
    let bytes = |dtype| estimate::weights_bytes(&mini, dtype);
    assert_eq!([DType::Bf16, DType::F32, DType::I8].map(bytes), [MINI_BYTES, 2 * MINI_BYTES, MINI_BYTES / 2]);
    assert_eq!(mini.layers.len() * 6 + 3, tensors::list(&mini).count());
}

/// Its two shards on the Hub, as Hugging Face laid them out: 128 tensors and 67, their headers to the byte.
#[test]
fn p3_headers_of_phi3_mini() {
    let mut list: Vec<NewTensor> = tensors::list(&mini())
        .map(|tensor| NewTensor { name: tensor.name, dtype: DType::Bf16, shape: tensor.shape })
        .collect();
    list.sort_by(|a, b| a.name.cmp(&b.name));
    let is_first = |name: &str| {
        let layer = name.strip_prefix("model.layers.").and_then(|rest| rest.split('.').next()?.parse().ok());
        name == "model.embed_tokens.weight"
            || name == "model.layers.21.self_attn.o_proj.weight"
            || layer.is_some_and(|layer: usize| layer < 21)
    };
    let (first, second): (Vec<_>, Vec<_>) = list.into_iter().partition(|tensor| is_first(&tensor.name));
    assert_eq!((first.len(), second.len()), (128, 67));
    let [first, second] = [first, second].map(|tensors| Layout::new("m.safetensors".to_owned(), tensors));
    assert_eq!((first.header.len() - 8, second.header.len() - 8), (14_952, 7_808));
    assert_eq!(first.file_bytes() + second.file_bytes(), MINI_BYTES + 22_776);
}

#[test]
fn p4_p5_and_every_count_of_the_table() {
    // Model, parameters, bytes in bf16, KV bytes a token in 16 bits with every layer full.
    for (name, params, bytes, per_token) in [
        ("microsoft__Phi-3-mini-4k-instruct", 3_821_079_552, MINI_BYTES, 393_216),
        ("microsoft__Phi-3-medium-4k-instruct", 13_960_238_080, 27_920_476_160, 204_800),
        ("microsoft__Phi-3.5-MoE-instruct", 41_873_153_344, 83_746_306_688, 131_072),
        ("microsoft__phi-4", 14_659_507_200, 29_319_014_400, 204_800),
        ("microsoft__Phi-4-mini-instruct", 3_836_021_760, 7_672_043_520, 131_072),
        ("meta-llama__Llama-3.1-8B", 8_030_261_248, 16_060_522_496, 131_072),
        ("meta-llama__Llama-3.2-1B-Instruct", 1_235_814_400, 2_471_628_800, 32_768),
        ("mistralai__Mistral-7B-v0.1", 7_241_732_096, 14_483_464_192, 131_072),
        ("Qwen__Qwen2.5-7B", 7_615_616_512, 15_231_233_024, 57_344),
        ("google__gemma-2-9b", 9_241_705_984, 18_483_411_968, 344_064),
        ("HuggingFaceTB__SmolLM2-135M__DERIVED", 134_515_008, 269_030_016, 23_040),
    ] {
        let decoder = config(name);
        assert_eq!(total(&decoder), params, "{name}");
        assert_eq!(estimate::weights_bytes(&decoder, DType::Bf16), bytes, "{name}");
        assert_eq!(estimate::bytes_per_token(&decoder, DType::Bf16), per_token, "{name}");
    }
}

/// A checkpoint whose metadata tells another total: its tensors count.
#[test]
fn p9_a_declared_total_is_not_believed() {
    let tensor = NewTensor { name: "a".to_owned(), dtype: DType::Bf16, shape: vec![3, 5] };
    let layout = Layout::new("model-00001-of-00001.safetensors".to_owned(), vec![tensor]);
    let mut file = layout.header.clone();
    file.resize(layout.file_bytes() as usize, 0);
    let index = json!({ "metadata": { "total_size": 333_312 }, "weight_map": { "a": layout.file } });
    let index =
        ShardIndex::parse("model.safetensors.index.json", index.to_string().as_bytes()).expect("read");
    let files = vec![(layout.file, BytesSource(file))];
    let checkpoint = block_on(Checkpoint::from_shards(&index, files)).expect("its tensors are there");
    assert_eq!((checkpoint.parameter_count(), checkpoint.stored_bytes()), (15, 30));
    assert!(checkpoint.findings().iter().any(|finding| finding.to_string().contains("333,312")));
}

#[test]
fn k1_to_k5_caches_of_phi3_mini() {
    let mini = mini();
    let per_token = |dtype| estimate::bytes_per_token(&mini, dtype);
    assert_eq!([DType::Bf16, DType::Q8_0, DType::Q4_0].map(per_token), [384 << 10, 208_896, 110_592]);
    assert_eq!(kv(&mini, DType::Bf16, KvPolicy::Full, 4096), 3 << 29);
    assert_eq!(kv(&mini, DType::Bf16, KvPolicy::Window, 4096), 804_913_152);
    assert_eq!(kv(&mini, DType::Bf16, KvPolicy::Full, 131_072), 48 << 30);
    assert_eq!(kv(&mini, DType::F16, KvPolicy::Full, 131_328), 49_248 << 20);
    assert_eq!(kv(&mini, DType::Q4_0, KvPolicy::Full, 131_072), 27 << 29);
}

/// What else is said of caches: that of a full batch (27.4 GB), and the window as transformers keeps it since 4.57, one
/// token less than a query sees (0.80 GB).
#[test]
fn further_caches_of_phi3_mini() {
    let mini = mini();
    let batch = estimate::cache_bytes(&mini, DType::F16, KvPolicy::Full, 4352, 16);
    assert_eq!(batch, 16 * 4352 * 393_216);
    assert_eq!(batch / 100_000_000, 273);
    let window = config("microsoft__Phi-3-mini-4k-instruct").layers[0].window.expect("a window");
    let kept = kv(&mini, DType::Bf16, KvPolicy::Full, window as u64 - 1);
    assert_eq!((window - 1, kept / 1_000_000), (2046, 804));
}

#[test]
fn k6_caches_of_llama() {
    let llama = config("meta-llama__Llama-3.1-8B");
    assert_eq!(estimate::bytes_per_token(&llama, DType::Bf16), 131_072);
    assert_eq!(kv(&llama, DType::Bf16, KvPolicy::Full, 8192), 1 << 30);
    let three = changed(
        "meta-llama__Llama-3.1-8B",
        &json!({ "hidden_size": 3072, "num_hidden_layers": 28, "num_attention_heads": 24, "head_dim": 128 }),
    );
    assert_eq!(kv(&three, DType::Bf16, KvPolicy::Full, 32_768), 7 << 29);
}

#[test]
fn k15_what_is_missing_is_said_and_never_zero() {
    let error = Decoder::parse(br#"{"model_type":"kimi_k9","hidden_size":64}"#).expect_err("not known");
    assert!(error.to_string().contains("kimi_k9"), "{error}");
}

/// With weights and cache alone, as the list computes them.
#[test]
fn verdicts_of_phi3_mini_in_bf16() {
    let mini = mini();
    let need = |context| MINI_BYTES + kv(&mini, DType::Bf16, KvPolicy::Full, context);
    let longest =
        |gib: u64, verdict| largest(131_072, |context| Verdict::of(need(context), gib << 30) <= verdict);
    assert_eq!((longest(8, Verdict::Tight), longest(8, Verdict::Fits)), (2_410, 0));
    assert_eq!((longest(16, Verdict::Tight), longest(16, Verdict::Fits)), (24_255, 16_973));
    let rule = |gib: u64| {
        let options = Options { device_memory: Some(Size(gib << 30)), ..Options::default() };
        estimate::estimate(&mini, None, &options).expect("options").fit.margin_rule
    };
    assert_eq!((rule(8).weights_only_bytes, rule(8).break_even_context), (9_170_590_925, Some(3_887)));
    // A dry run in f32.
    assert_eq!(estimate::weights_bytes(&mini, DType::F32), 15_284_318_208);
    assert_eq!(estimate::bytes_per_token(&mini, DType::F32), 768 << 10);
}

#[test]
fn r1_r6_heads_are_counted_once_and_never_left_out() {
    for (name, tied) in
        [("microsoft__Phi-3-mini-4k-instruct", false), ("microsoft__Phi-4-mini-instruct", true)]
    {
        let [as_is, other] = [tied, !tied].map(|tied| changed(name, &json!({ "tie_word_embeddings": tied })));
        let head = (as_is.vocab_size * as_is.hidden_size) as u64;
        let (with, without) = if tied { (other, as_is) } else { (as_is, other) };
        assert_eq!(total(&with) - total(&without), head, "{name}");
    }
}

#[test]
fn r2_r3_formats_are_applied_once_and_by_blocks() {
    let mini = mini();
    let stored = |dtype: Option<Format>| {
        let options = Options { dtype, ..Options::default() };
        estimate::estimate(&mini, None, &options).expect("options").weights_bytes
    };
    assert_eq!(stored(None), stored(Some(Format::Plain(DType::Bf16))));
    assert_eq!(stored(Some(Format::Plain(DType::F16))), MINI_BYTES);
    // 34 bytes for 32 values: neither 34 a value nor one.
    assert_eq!(estimate::bytes_per_token(&mini, DType::Q8_0) * 32, 196_608 * 34);
}

/// A list for each layer is of no family here: refused with its path, not taken for its first number.
#[test]
fn r4_kv_heads_in_a_list_are_refused_by_name() {
    let mut config: Value = serde_json::from_slice(&config_json("meta-llama__Llama-3.1-8B")).expect("JSON");
    config["num_key_value_heads"] = json!([8, 4]);
    let error = Decoder::parse(config.to_string().as_bytes()).expect_err("a list");
    assert!(error.to_string().contains("num_key_value_heads"), "{error}");
}

#[test]
fn r10_a_nested_text_config_is_the_language_model() {
    let inner =
        json!({ "model_type": "gemma3_text", "hidden_size": 64, "num_hidden_layers": 6, "vocab_size": 100 });
    let nested = json!({ "model_type": "gemma3", "text_config": inner });
    let [inner, nested] =
        [inner, nested].map(|json| Decoder::parse(json.to_string().as_bytes()).expect("gemma3"));
    assert_eq!(total(&inner), total(&nested));
    assert_eq!((nested.hidden_size, nested.layers.len()), (64, 6));
}

#[test]
fn r5_an_explicit_head_dim_counts() {
    let narrow = changed("microsoft__Phi-3-mini-4k-instruct", &json!({ "head_dim": 64 }));
    assert_eq!(estimate::bytes_per_token(&narrow, DType::Bf16), 393_216 * 64 / 96);
    assert!(total(&narrow) < total(&mini()));
}

#[test]
fn r7_r8_r9_spellings_and_switches() {
    let name = "microsoft__Phi-3-mini-4k-instruct";
    let dtype = |changes: Value| changed(name, &changes).dtype;
    assert_eq!(dtype(json!({ "torch_dtype": "float32", "dtype": null })), Some(DType::F32));
    assert_eq!(dtype(json!({ "torch_dtype": null, "dtype": "float16" })), Some(DType::F16));
    assert_eq!(dtype(json!({ "torch_dtype": null, "dtype": null })), None);
    assert_eq!(total(&changed(name, &json!({ "rope_scaling": null }))), total(&mini()));
    let qwen = "Qwen__Qwen2.5-7B";
    let windows = |on: bool| {
        let changes = json!({ "use_sliding_window": on, "sliding_window": 100, "max_window_layers": 0 });
        kv(&changed(qwen, &changes), DType::Bf16, KvPolicy::Window, 4096)
    };
    assert_eq!(windows(false), kv(&config(qwen), DType::Bf16, KvPolicy::Full, 4096));
    assert_eq!(windows(true), 100 * estimate::bytes_per_token(&config(qwen), DType::Bf16));
}

#[test]
fn r11_gb_is_not_gib() {
    assert_eq!((parse_size("16GB"), parse_size("16GiB")), (Ok(16_000_000_000), Ok(16 << 30)));
    assert!(parse_size("16G").is_err());
}

#[test]
fn r12_the_format_of_the_cache_is_said_where_it_is_not_the_weights() {
    let options = Options { dtype: Some(Format::Plain(DType::Q8_0)), ..Options::default() };
    let report = estimate::estimate(&mini(), None, &options).expect("options");
    let said = report.assumptions.iter().find(|assumed| assumed.name == "kv_dtype").expect("said");
    assert_eq!((said.value.as_str(), said.is_default), ("bf16", true));
}

#[test]
fn r13_r14_a_need_does_not_depend_on_what_is_free() {
    let mini = mini();
    let need = |memory: u64| {
        let options = Options { device_memory: Some(Size(memory)), ..Options::default() };
        estimate::estimate(&mini, None, &options).expect("options")
    };
    let (small, large) = (need(6 << 30), need(80 << 30));
    assert_eq!(small.total_bytes, large.total_bytes);
    // Against what is free: a card of 80 GiB of which another process holds 74.
    assert_eq!(small.fit.verdict, Some(Verdict::DoesNotFit));
    assert_eq!(small.fit.available_bytes, Some(6 << 30));
}
