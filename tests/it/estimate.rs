//! Counts, caches and verdicts of real configs, to the unit.
//!
//! The expected numbers come from published checkpoints and tables, not from this crate.

use phi3::config::ConfigError;
use phi3::decoder::Decoder;
use phi3::dtype::DType;
use phi3::estimate::activations::{Attention, Workspace};
use phi3::estimate::fit::Verdict;
use phi3::estimate::{self, Backend, KvPolicy, Options, Resolved, Size, StoredTensors};
use phi3::weights::StoredTensor;
use phi3::{placement, tensors};

use crate::support::config_json;

fn config(name: &str) -> Decoder {
    Decoder::parse(&config_json(name)).unwrap_or_else(|error| panic!("{name}: {error}"))
}

fn options(set: impl FnOnce(&mut Options)) -> Options {
    let mut options = Options::default();
    set(&mut options);
    options
}

/// Published parameter counts (Hub metadata, keras-hub presets) and KV bytes a token in 16 bit.
#[test]
fn parameters_and_kv_of_every_phi3_config() {
    for (name, params, kv) in [
        ("microsoft__Phi-3-mini-4k-instruct", 3_821_079_552, 393_216),
        ("microsoft__Phi-3-mini-4k-instruct__2024-04", 3_821_079_552, 393_216),
        ("microsoft__Phi-3-mini-128k-instruct", 3_821_079_552, 393_216),
        ("microsoft__Phi-3.5-mini-instruct", 3_821_079_552, 393_216),
        ("microsoft__Phi-3-medium-4k-instruct", 13_960_238_080, 204_800),
        ("microsoft__phi-4", 14_659_507_200, 204_800),
        ("microsoft__phi-4__2024-12-initial", 14_659_507_200, 204_800),
        ("microsoft__Phi-4-mini-instruct", 3_836_021_760, 131_072),
    ] {
        let config = config(name);
        let counted = estimate::params(&config);
        assert_eq!(counted.total, params, "{name}");
        assert_eq!(counted.groups.iter().map(|g| g.count).sum::<u64>(), params, "{name}: groups add up");
        assert_eq!(estimate::bytes_per_token(&config, DType::Bf16), kv, "{name}");
        // Index total_size of Phi-3-mini's files: 7,642,159,104.
        assert_eq!(estimate::weights_bytes(&config, DType::Bf16), 2 * params, "{name}");
    }
}

/// Phi-3-vision and Phi-4-multimodal, as their authors publish them: the language model is that of Phi-3-mini and of
/// Phi-4-mini, and encoders and adapters stand beside it.
#[test]
fn the_language_models_of_multimodal_phi_are_counted_alone() {
    let longrope = |factors: usize| {
        let list = vec!["1.0"; factors].join(",");
        format!(r#"{{"type":"longrope","short_factor":[{list}],"long_factor":[{list}]}}"#)
    };
    let vision = format!(
        r#"{{"architectures":["Phi3VForCausalLM"],"embd_layer":{{"embedding_cls":"image","use_hd_transform":true}},
        "hidden_size":3072,"img_processor":{{"image_dim_out":1024,"model_name":"openai/clip-vit-large-patch14-336",
        "name":"clip_vision_model","num_img_tokens":144}},"intermediate_size":8192,"max_position_embeddings":131072,
        "model_type":"phi3_v","num_attention_heads":32,"num_hidden_layers":32,"num_key_value_heads":32,
        "original_max_position_embeddings":4096,"rope_scaling":{},"sliding_window":262144,
        "tie_word_embeddings":false,"torch_dtype":"bfloat16","vocab_size":32064}}"#,
        longrope(48)
    );
    let multimodal = format!(
        r#"{{"architectures":["Phi4MMForCausalLM"],"audio_processor":{{"name":"cascades","config":{{}}}},
        "embd_layer":{{"audio_embd_layer":{{}},"embedding_cls":"image_audio","image_embd_layer":{{}}}},
        "full_attn_mod":1,"hidden_size":3072,"img_processor":null,"intermediate_size":8192,"interpolate_factor":1,
        "max_position_embeddings":131072,"model_type":"phi4mm","num_attention_heads":24,"num_hidden_layers":32,
        "num_key_value_heads":8,"original_max_position_embeddings":4096,"partial_rotary_factor":0.75,
        "rope_scaling":{},"sliding_window":262144,"speech_lora":{{"dp":0.01,"layer":"layers","lora_alpha":640,"r":320}},
        "tie_word_embeddings":true,"torch_dtype":"bfloat16","vision_lora":{{"dp":0.0,"layer":"layers","lora_alpha":512,
        "r":256}},"vocab_size":200064}}"#,
        longrope(48)
    );
    let [vision, multimodal] =
        [vision, multimodal].map(|json| Decoder::parse(json.as_bytes()).expect("a published config"));
    assert_eq!(estimate::params(&vision).total, 3_821_079_552);
    assert_eq!(estimate::params(&multimodal).total, 3_836_021_760);
    for (decoder, name, apart) in [
        (&vision, "model.vision_embed_tokens.img_processor.vision_model.embeddings.class_embedding", true),
        (&vision, "model.layers.0.self_attn.qkv_proj.weight", false),
        (&multimodal, "model.layers.0.self_attn.qkv_proj.lora_A.vision.weight", true),
        (&multimodal, "model.layers.31.mlp.down_proj.lora_B.speech.weight", true),
        (
            &multimodal,
            "model.embed_tokens_extend.image_embed.img_processor.encoder.layers.0.mlp.fc1.weight",
            true,
        ),
        (&multimodal, "model.embed_tokens_extend.audio_embed.encoder.encoders.0.layer_norm1.weight", true),
        (&multimodal, "model.layers.0.self_attn.qkv_proj.base_layer.weight", false),
        (&multimodal, "model.embed_tokens.weight", false),
    ] {
        assert_eq!(tensors::is_apart(decoder, name), apart, "{name}");
    }
    let listed = tensors::list(&multimodal).find(|tensor| tensor.role == tensors::Role::QkvProj);
    assert_eq!(listed.expect("there").name, "model.layers.0.self_attn.qkv_proj.base_layer.weight");
}

/// What no table knows is said to be unknown; never a number from a guess.
#[test]
fn other_architectures_are_unknown_not_wrong() {
    for model_type in ["bert", "mamba2", "phi", "falcon"] {
        let json = format!(r#"{{"model_type":"{model_type}","hidden_size":64,"num_hidden_layers":2}}"#);
        let error = Decoder::parse(json.as_bytes()).expect_err(model_type);
        assert!(matches!(error, ConfigError::UnknownArchitecture { .. }), "{model_type}: {error}");
    }
}

/// exllamav2 #425 and llama.cpp #6849 measured these.
#[test]
fn kv_cache_of_phi3_mini() {
    let mini = config("microsoft__Phi-3-mini-4k-instruct");
    let bytes = |dtype, policy, context| estimate::cache_bytes(&mini, dtype, policy, context, 1);
    assert_eq!(bytes(DType::Bf16, KvPolicy::Full, 4096), 1_610_612_736);
    assert_eq!(bytes(DType::Bf16, KvPolicy::Window, 4096), 804_913_152);
    assert_eq!(bytes(DType::Bf16, KvPolicy::Full, 131_072), 51_539_607_552);
    assert_eq!(bytes(DType::F16, KvPolicy::Full, 131_328), 49_248 << 20);
    assert_eq!(bytes(DType::Bf16, KvPolicy::PAGED, 17), 32 * 393_216);
    assert_eq!(bytes(DType::Bf16, KvPolicy::Paged(128), 129), 256 * 393_216);
    assert_eq!(bytes(DType::Bf16, KvPolicy::Paged(1), 129), 129 * 393_216);
    assert_eq!(estimate::bytes_per_token(&mini, DType::Q8_0), 208_896);
    assert_eq!(estimate::bytes_per_token(&mini, DType::Q4_0), 110_592);
}

#[test]
fn terms_add_up_and_defaults_are_named() {
    let mini = config("microsoft__Phi-3-mini-4k-instruct");
    let report = estimate::estimate(&mini, None, &Options::default()).expect("defaults");
    assert_eq!(report.total_bytes, report.terms.iter().map(|term| term.bytes).sum::<u64>());
    assert_eq!(report.kv_cache_bytes, 1_610_612_736);
    assert!(report.activation_bytes > 0, "a forward pass needs temporaries");
    assert_eq!(report.fit.verdict, None);
    for name in ["dtype", "kv_dtype", "context", "batch", "attn", "kv_policy"] {
        let assumption = report.assumptions.iter().find(|a| a.name == name).expect(name);
        assert!(assumption.is_default, "{name}");
    }
    let chosen = options(|o| o.context = Some(4096));
    let report = estimate::estimate(&mini, None, &chosen).expect("in range");
    assert!(!report.assumptions.iter().find(|a| a.name == "context").expect("listed").is_default);
}

#[test]
fn the_rule_on_weights_alone_breaks_even_at_3887_tokens() {
    let mini = config("microsoft__Phi-3-mini-4k-instruct");
    let report = estimate::estimate(&mini, None, &Options::default()).expect("defaults");
    assert_eq!(report.fit.margin_rule.break_even_context, Some(3_887));
    assert_eq!(report.fit.margin_rule.weights_only_bytes, 9_170_590_925);
}

#[test]
fn verdicts_turn_at_the_byte() {
    let mini = config("microsoft__Phi-3-mini-4k-instruct");
    let total = estimate::estimate(&mini, None, &Options::default()).expect("defaults").total_bytes;
    let verdict = |bytes| {
        let options = options(|o| o.device_memory = Some(Size(bytes)));
        estimate::estimate(&mini, None, &options).expect("in range").fit.verdict
    };
    assert_eq!(verdict(total - 1), Some(Verdict::DoesNotFit));
    assert_eq!(verdict(total), Some(Verdict::Tight));
    assert_eq!(verdict((total * 6).div_ceil(5) - 1), Some(Verdict::Tight));
    assert_eq!(verdict((total * 6).div_ceil(5)), Some(Verdict::Fits));
}

#[test]
fn max_context_is_the_last_that_loads() {
    let mini = config("microsoft__Phi-3-mini-128k-instruct");
    let at = |context, memory| {
        let options = options(|o| {
            o.context = Some(context);
            o.device_memory = Some(Size(memory));
        });
        estimate::estimate(&mini, None, &options).expect("in range")
    };
    let memory = 16 << 30;
    let max = at(4096, memory).fit.max_context.expect("a device");
    assert!(max > 4096 && max < 131_072, "{max}");
    assert!(at(max, memory).total_bytes <= memory);
    assert!(at(max + 1, memory).total_bytes > memory);
    // Capped at the model's positions; 0 where not even one token fits.
    assert_eq!(at(4096, 1 << 40).fit.max_context, Some(131_072));
    assert_eq!(at(4096, 1 << 30).fit.max_context, Some(0));
}

/// Of a model in bf16, of one in f32 whose cache follows its format, and of a mixture as files of GGUF hold them.
#[test]
fn each_suggestion_is_what_its_change_gives() {
    let mini = config("microsoft__Phi-3-mini-128k-instruct");
    let wide = Decoder { dtype: Some(DType::F32), ..mini.clone() };
    let stored = mixture(&mini);
    let asked = |gib: u64, set: fn(&mut Options)| {
        options(|o| {
            o.context = Some(32_768);
            o.device_memory = Some(Size(gib << 30));
            set(o);
        })
    };
    for (decoder, stored, asked, first_format) in [
        (&mini, None, asked(18, |o| o.batch = Some(2)), None),
        (
            &mini,
            None,
            asked(19, |o| (o.backend, o.attn) = (Some(Backend::Cuda), Some(Attention::Fused))),
            Some("dtype=q8_0"),
        ),
        // With its weights a cache that nobody asked for is narrowed too.
        (&wide, None, asked(30, |_| {}), Some("dtype=bf16")),
        (&wide, None, asked(30, |o| o.kv_dtype = Some(DType::F32)), Some("dtype=q8_0")),
        (&mini, Some(&stored), asked(13, |_| {}), None),
        (&mini, Some(&stored), asked(19, |o| o.dtype = Some(DType::F16.into())), Some("dtype=q8_0")),
    ] {
        let report = estimate::estimate(decoder, stored, &asked).expect("in range");
        assert_eq!(report.fit.verdict, Some(Verdict::DoesNotFit), "{asked:?}");
        let mut seen = Vec::new();
        for suggestion in &report.fit.suggestions {
            let (key, value) = suggestion.change.split_once('=').expect("key=value");
            let rank = ORDER.iter().position(|known| *known == key).expect("a known lever");
            let format = value.parse::<estimate::Format>().ok();
            let within = format.and_then(|f| estimate::Format::LEVERS.iter().position(|known| *known == f));
            seen.push((rank, within));
            assert_ne!(suggestion.verdict, Verdict::DoesNotFit, "{}", suggestion.change);
            if let Some(total) = elsewhere(decoder, stored, &asked, &suggestion.change) {
                assert_eq!(suggestion.held_bytes(), total, "{} of {asked:?}", suggestion.change);
                continue;
            }
            let mut object = serde_json::to_value(&asked).expect("options are plain");
            object[key] = value.parse::<u64>().map_or_else(|_| value.into(), Into::into);
            let changed: Options = serde_json::from_value(object).expect("a change is an option");
            let changed = estimate::estimate(decoder, stored, &changed).expect("in range");
            assert_eq!(changed.total_bytes, suggestion.total_bytes, "{} of {asked:?}", suggestion.change);
            assert_eq!(changed.fit.verdict, Some(suggestion.verdict), "{} of {asked:?}", suggestion.change);
        }
        // Least change first, also among formats.
        assert!(seen.is_sorted(), "{:?}", report.fit.suggestions);
        let first = |key| report.fit.suggestions.iter().find(|s| s.change.starts_with(key));
        assert_eq!(first("dtype=").map(|s| s.change.as_str()), first_format, "{asked:?}");
        for key in ["context=", "offload_layers=", "devices="] {
            assert!(first(key).is_some(), "{key} of {asked:?}");
        }
    }
}

/// Beside a CPU there is no CPU that layers could lie on, nor a second one.
#[test]
fn a_cpu_is_told_of_no_other_device() {
    let mini = Decoder::parse(br#"{"model_type":"phi3","dtype":"bfloat16"}"#).expect("valid");
    let keys = |backend| {
        let asked = options(|o| {
            o.device_memory = Some(Size(6 << 30));
            o.backend = backend;
        });
        let fit = estimate::estimate(&mini, None, &asked).expect("in range").fit;
        assert_eq!(fit.verdict, Some(Verdict::DoesNotFit));
        let spreads = |change: &str| change.starts_with("offload_layers=") || change == "devices=2";
        fit.suggestions.iter().filter(|it| spreads(&it.change)).count()
    };
    assert_eq!(keys(Some(Backend::Cpu)), 0);
    // A size alone may be that of a GPU.
    assert_eq!((keys(Some(Backend::Cuda)), keys(Some(Backend::Wgpu)), keys(None)), (2, 2, 2));
}

/// Levers in the order of what they change.
const ORDER: [&str; 8] =
    ["batch", "attn", "context", "kv_dtype", "kv_policy", "dtype", "offload_layers", "devices"];

/// What stays on one device where others hold a part, module by module; `None` of any other change.
fn elsewhere(
    decoder: &Decoder,
    stored: Option<&StoredTensors>,
    options: &Options,
    change: &str,
) -> Option<u64> {
    let resolved = Resolved::new(decoder, stored, options).expect("in range");
    let total = estimate::estimate(decoder, stored, options).expect("in range").total_bytes;
    let modules = placement::workload(decoder, stored, &resolved).modules;
    let bytes: Vec<u64> = modules.iter().map(|module| module.weight_bytes + module.kv_bytes).collect();
    let layers: Vec<usize> = (0..modules.len()).filter(|index| modules[*index].is_layer).collect();
    match change.split_once('=').expect("key=value") {
        ("offload_layers", count) => {
            let count: usize = count.parse().expect("a number");
            let moved: u64 = layers[layers.len() - count..].iter().map(|index| bytes[*index]).sum();
            Some(total - moved)
        }
        ("devices", "2") => {
            let all: u64 = bytes.iter().sum();
            let before = |index: usize| bytes[..=index].iter().sum::<u64>();
            // The first of the two has no use for the buffers of the head.
            let [.., head] = Workspace::on(resolved.backend, decoder, &resolved).by_stage();
            let fuller =
                |index: &usize| (before(*index) - head.min(before(*index))).max(all - before(*index));
            Some(total - all + layers.iter().map(fuller).min().expect("layers"))
        }
        _ => None,
    }
}

/// Matrices in q4_0, the head in q6_k, norms in f32.
fn mixture(decoder: &Decoder) -> StoredTensors {
    let stored = tensors::list(decoder).map(|tensor| {
        let dtype = match tensor.role {
            tensors::Role::LmHead => DType::Q6K,
            _ if tensor.shape.len() == 1 => DType::F32,
            _ => DType::Q4_0,
        };
        let len = dtype.tensor_bytes(&tensor.shape);
        (tensor.name, StoredTensor { dtype, shape: tensor.shape, file: 0, offset: 0, len })
    });
    stored.collect()
}

/// One layer cannot be shared out, so that nothing but two changes together helps, or nothing at all.
#[test]
fn where_no_single_change_helps_two_are_named() {
    let one =
        Decoder::parse(br#"{"model_type":"phi3","dtype":"bfloat16","num_hidden_layers":1}"#).expect("valid");
    let at = |memory: u64, context, dtype: Option<estimate::Format>| {
        let options = options(|o| {
            o.device_memory = Some(Size(memory << 20));
            o.context = Some(context);
            o.dtype = dtype;
        });
        estimate::estimate(&one, None, &options).expect("in range").fit
    };
    let fit = at(290, 4096, None);
    assert!(fit.suggestions.is_empty(), "{:?}", fit.suggestions);
    let (context, format) = both(&fit);
    assert_eq!(at(290, context, Some(format)).verdict, Some(Verdict::Tight), "{fit:?}");
    assert_eq!(at(290, context + 1, Some(format)).verdict, Some(Verdict::DoesNotFit), "{fit:?}");
    let none = at(100, 4096, None).advice.expect("advice");
    assert!(none.starts_with("no change is enough: even weights in q4_0"), "{none}");
    assert_eq!(at(4096, 4096, None).advice, None);
}

/// The two changes that a verdict names, as the advice says them too.
fn both(fit: &phi3::fit::Fit) -> (u64, estimate::Format) {
    let together = fit.together.as_ref().expect("two changes");
    let (format, context) = together.change.split_once("&context=").expect("two");
    let format = format.strip_prefix("dtype=").expect("a format");
    assert!(fit.advice.as_ref().is_some_and(|advice| advice.contains(&together.label)), "{fit:?}");
    (context.parse().expect("a number"), format.parse().expect("a format"))
}

/// Phi-4 in 8 GiB: layers elsewhere are no help where this build does not put them there, and q4_0 alone is too much.
#[test]
fn changes_that_this_build_runs_are_named_beside_those_that_it_does_not() {
    let phi4 = phi3::config::Preset::find("phi-4").expect("a preset");
    let phi4 = Decoder::parse(phi4.config.as_bytes()).expect("valid");
    let at = |context, dtype: Option<estimate::Format>| {
        let options = options(|o| {
            o.device_memory = Some(Size(8 << 30));
            o.context = Some(context);
            o.dtype = dtype;
        });
        estimate::estimate(&phi4, None, &options).expect("in range").fit
    };
    let fit = at(4096, None);
    assert!(!fit.suggestions.is_empty() && fit.suggestions.iter().all(|one| !one.runs), "{fit:?}");
    assert!(fit.together.as_ref().is_some_and(|both| both.runs && both.verdict == Verdict::Tight), "{fit:?}");
    let (context, format) = both(&fit);
    assert_eq!(at(context, Some(format)).verdict, Some(Verdict::Tight), "{fit:?}");
    assert_eq!(at(context + 1, Some(format)).verdict, Some(Verdict::DoesNotFit), "{fit:?}");
    assert_eq!(at(4096, Some(format)).together, None, "a shorter context is enough");
}

/// Heads of 80 are no whole blocks of 32: llama.cpp refuses such a cache, so that its bytes are nobody's.
#[test]
fn a_cache_in_blocks_that_no_tool_keeps_is_told() {
    let of = |head_dim: usize| {
        let json = format!(
            r#"{{"model_type":"llama","dtype":"bfloat16","num_hidden_layers":2,"head_dim":{head_dim}}}"#
        );
        Decoder::parse(json.as_bytes()).expect("valid")
    };
    for (head_dim, kv_dtype, is_kept) in
        [(80, DType::Q8_0, false), (80, DType::Q4_0, false), (80, DType::Bf16, true), (96, DType::Q8_0, true)]
    {
        let options = options(|o| o.kv_dtype = Some(kv_dtype));
        let report = estimate::estimate(&of(head_dim), None, &options).expect("in range");
        let term = report.terms.iter().find(|term| term.name == "kv_cache").expect("a term");
        assert_eq!(term.badge == estimate::Badge::Exact, is_kept, "{head_dim} {kv_dtype}: {}", term.formula);
        let told = report.fit.warnings.iter().any(|warning| warning.contains("llama.cpp refuses it"));
        assert_eq!(told, !is_kept, "{head_dim} {kv_dtype}: {:?}", report.fit.warnings);
    }
    let offered = |decoder: &Decoder| {
        let whole = estimate::estimate(decoder, None, &Options::default()).expect("in range");
        let small = options(|o| o.device_memory = Some(Size(whole.total_bytes - 1)));
        let fit = estimate::estimate(decoder, None, &small).expect("in range").fit;
        assert_ne!(fit.verdict, Some(Verdict::Fits));
        fit.suggestions.iter().any(|suggestion| suggestion.change == "kv_dtype=q8_0")
    };
    assert_eq!([80, 96].map(|head_dim| offered(&of(head_dim))), [false, true]);
}

#[test]
fn options_out_of_range_are_named() {
    let mini = config("microsoft__Phi-3-mini-4k-instruct");
    for (option, set) in [
        ("context", options(|o| o.context = Some(0))),
        ("batch", options(|o| o.batch = Some(0))),
        ("batch", options(|o| o.batch = Some(u64::MAX))),
        ("context", options(|o| o.context = Some(u64::MAX))),
        ("dtype", options(|o| o.dtype = Some(DType::I64.into()))),
        ("kv-dtype", options(|o| o.kv_dtype = Some(DType::Q4K))),
    ] {
        assert_eq!(estimate::estimate(&mini, None, &set).expect_err(option).option, option);
    }
}
