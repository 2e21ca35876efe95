//! Files as llama.cpp's converter writes them, of each architecture whose family is known: sizes, counts, caches, and
//! what is said where something is missing.

use pollster::block_on;

use super::test_file::File;
use crate::config::Fields;
use crate::decoder::Decoder;
use crate::dtype::DType;
use crate::estimate::{self, Badge, Options, Resolved};
use crate::inspect::{self, Subject};
use crate::load_config::{self, LoadConfig};
use crate::placement;
use crate::units::format_bytes;
use crate::weights::{BytesSource, Checkpoint, WeightsError, WeightsFinding};

const F32: u32 = 0;
const F16: u32 = 1;
const Q8_0: u32 = 8;
const Q4_K: u32 = 12;
const IQ4_XS: u32 = 23;

/// Sizes of a small model.
#[derive(Clone, Copy)]
struct Sizes {
    hidden: u64,
    inner: u64,
    layers: u32,
    heads: u64,
    kv_heads: u64,
    head_dim: u64,
    vocab: u64,
}

const SIZES: Sizes =
    Sizes { hidden: 256, inner: 512, layers: 4, heads: 8, kv_heads: 2, head_dim: 32, vocab: 500 };

fn add(file: File, name: &str, dims: &[u64], kind: u32) -> File {
    let count: u64 = dims.iter().product();
    let bytes = match kind {
        F32 => count * 4,
        Q8_0 => count / 32 * 34,
        Q4_K => count / 256 * 144,
        IQ4_XS => count / 256 * 136,
        _ => count * 2,
    };
    file.tensor_of(name, dims, kind, vec![0; bytes as usize])
}

fn head(arch: &str, sizes: Sizes) -> File {
    let Sizes { hidden, inner, layers, heads, kv_heads, head_dim, vocab } = sizes;
    let mut file = File::default().text("general.architecture", arch);
    for (key, value) in [
        ("embedding_length", hidden),
        ("feed_forward_length", inner),
        ("block_count", u64::from(layers)),
        ("attention.head_count", heads),
        ("attention.head_count_kv", kv_heads),
        ("context_length", 4096),
        ("attention.key_length", head_dim),
        ("attention.value_length", head_dim),
        ("rope.dimension_count", head_dim),
    ] {
        file = file.number(&format!("{arch}.{key}"), value as u32);
    }
    file = add(file, "token_embd.weight", &[hidden, vocab], F16);
    add(file, "output_norm.weight", &[hidden], F32)
}

/// Attention and dense MLP of all layers; `more` adds to each layer.
fn plain(arch: &str, sizes: Sizes, kind: u32, more: &dyn Fn(File, &str) -> File) -> File {
    let Sizes { hidden, inner, .. } = sizes;
    attention(arch, sizes, kind, &|file, layer| {
        let mut file = more(file, layer);
        for (name, dims) in
            [("ffn_gate", [hidden, inner]), ("ffn_up", [hidden, inner]), ("ffn_down", [inner, hidden])]
        {
            file = add(file, &format!("{layer}.{name}.weight"), &dims, kind);
        }
        file
    })
}

fn attention(arch: &str, sizes: Sizes, kind: u32, more: &dyn Fn(File, &str) -> File) -> File {
    let Sizes { hidden, heads, kv_heads, head_dim, .. } = sizes;
    let mut file = head(arch, sizes);
    for layer in 0..sizes.layers {
        let layer = format!("blk.{layer}");
        for (name, dims) in [
            ("attn_q", [hidden, heads * head_dim]),
            ("attn_k", [hidden, kv_heads * head_dim]),
            ("attn_v", [hidden, kv_heads * head_dim]),
            ("attn_output", [heads * head_dim, hidden]),
        ] {
            file = add(file, &format!("{layer}.{name}.weight"), &dims, kind);
        }
        file = more(file, &layer);
    }
    file
}

fn vectors(file: File, layer: &str, names: &[(&str, u64)]) -> File {
    names.iter().fold(file, |file, (name, width)| add(file, &format!("{layer}.{name}"), &[*width], F32))
}

fn two_norms(file: File, layer: &str, hidden: u64) -> File {
    vectors(file, layer, &[("attn_norm.weight", hidden), ("ffn_norm.weight", hidden)])
}

fn untied(file: File, sizes: Sizes) -> File {
    add(file, "output.weight", &[sizes.hidden, sizes.vocab], F16)
}

fn llama() -> File {
    untied(plain("llama", SIZES, F16, &|file, layer| two_norms(file, layer, 256)), SIZES)
}

/// Experts in stacked tensors.
fn experts(mut file: File, layer: &str, count: u64, width: u64, hidden: u64) -> File {
    for (name, dims) in [
        ("ffn_gate_exps", [hidden, width, count]),
        ("ffn_up_exps", [hidden, width, count]),
        ("ffn_down_exps", [width, hidden, count]),
    ] {
        file = add(file, &format!("{layer}.{name}.weight"), &dims, F16);
    }
    add(file, &format!("{layer}.ffn_gate_inp.weight"), &[hidden, count], F32)
}

fn deepseek2() -> File {
    let (hidden, heads, q_rank, kv_rank, nope, rope, value, count, width) =
        (256, 4, 48, 64, 32, 16, 32, 4, 64);
    let sizes = Sizes { heads, kv_heads: 1, layers: 3, head_dim: kv_rank + rope, ..SIZES };
    let mut file = head("deepseek2", sizes);
    for (key, number) in [
        ("attention.q_lora_rank", q_rank),
        ("attention.kv_lora_rank", kv_rank),
        ("attention.value_length", kv_rank),
        ("attention.key_length_mla", nope + rope),
        ("attention.value_length_mla", value),
        ("rope.dimension_count", rope),
        ("expert_count", count),
        ("expert_used_count", 2),
        ("expert_feed_forward_length", width),
        ("expert_shared_count", 1),
        ("leading_dense_block_count", 1),
    ] {
        file = file.number(&format!("deepseek2.{key}"), number as u32);
    }
    for layer in 0..3 {
        let name = format!("blk.{layer}");
        file = two_norms(file, &name, hidden);
        file = vectors(file, &name, &[("attn_q_a_norm.weight", q_rank), ("attn_kv_a_norm.weight", kv_rank)]);
        for (tensor, dims) in [
            ("attn_q_a", vec![hidden, q_rank]),
            ("attn_q_b", vec![q_rank, heads * (nope + rope)]),
            ("attn_kv_a_mqa", vec![hidden, kv_rank + rope]),
            ("attn_k_b", vec![nope, kv_rank, heads]),
            ("attn_v_b", vec![kv_rank, value, heads]),
            ("attn_output", vec![heads * value, hidden]),
        ] {
            file = add(file, &format!("{name}.{tensor}.weight"), &dims, F16);
        }
        if layer == 0 {
            for (tensor, dims) in
                [("ffn_gate", [hidden, 512]), ("ffn_up", [hidden, 512]), ("ffn_down", [512, hidden])]
            {
                file = add(file, &format!("{name}.{tensor}.weight"), &dims, F16);
            }
            continue;
        }
        file = experts(file, &name, count, width, hidden);
        for (tensor, dims) in [
            ("ffn_gate_shexp", [hidden, width]),
            ("ffn_up_shexp", [hidden, width]),
            ("ffn_down_shexp", [width, hidden]),
        ] {
            file = add(file, &format!("{name}.{tensor}.weight"), &dims, F16);
        }
        // No parameter: a correction of scores.
        file = vectors(file, &name, &[("exp_probs_b.bias", count)]);
    }
    untied(file, sizes)
}

fn gpt_oss() -> File {
    let (count, width, hidden) = (4, 64, 256);
    let file = attention("gpt-oss", SIZES, F16, &|file, layer| {
        let mut file = vectors(
            file,
            layer,
            &[
                ("attn_norm.weight", 256),
                ("post_attention_norm.weight", 256),
                ("attn_sinks.weight", 8),
                ("attn_q.bias", 256),
                ("attn_k.bias", 64),
                ("attn_v.bias", 64),
                ("attn_output.bias", 256),
                ("ffn_gate_inp.bias", count),
            ],
        );
        for (name, width) in
            [("ffn_gate_exps.bias", width), ("ffn_up_exps.bias", width), ("ffn_down_exps.bias", hidden)]
        {
            file = add(file, &format!("{layer}.{name}"), &[width, count], F32);
        }
        experts(file, layer, count, width, hidden)
    });
    let file = file
        .number("gpt-oss.expert_count", count as u32)
        .number("gpt-oss.expert_used_count", 2)
        .number("gpt-oss.expert_feed_forward_length", width as u32)
        .number("gpt-oss.attention.sliding_window", 128);
    untied(file, SIZES)
}

/// Matrices of the layers in a format.
fn phi3(kind: u32) -> File {
    (0..4).fold(head("phi3", SIZES), |file, layer| {
        let name = format!("blk.{layer}");
        let mut file = two_norms(file, &name, 256);
        for (tensor, dims) in [
            ("attn_qkv", [256, 384]),
            ("attn_output", [256, 256]),
            ("ffn_up", [256, 1024]),
            ("ffn_down", [512, 256]),
        ] {
            file = add(file, &format!("{name}.{tensor}.weight"), &dims, kind);
        }
        file
    })
}

/// Each architecture with its file and the numbers of the cache that a token takes in all layers.
fn architectures() -> Vec<(&'static str, File, u64)> {
    let wide = Sizes { hidden: 512, head_dim: 64, ..SIZES };
    let apart = Sizes { head_dim: 64, ..SIZES };
    let heads = |sizes: Sizes| 2 * u64::from(sizes.layers) * sizes.kv_heads * sizes.head_dim;
    let head_norms = |width: u64| [("attn_q_norm.weight", width), ("attn_k_norm.weight", width)];
    let four_norms = |file, layer: &str, hidden| {
        let file = two_norms(file, layer, hidden);
        vectors(file, layer, &[("post_attention_norm.weight", hidden), ("post_ffw_norm.weight", hidden)])
    };
    let of_experts = |arch: &str, file: File| {
        file.number(&format!("{arch}.expert_count"), 4).number(&format!("{arch}.expert_used_count"), 2)
    };
    let qwen2 = plain("qwen2", SIZES, F16, &|file, layer| {
        let biases = [("attn_q.bias", 256), ("attn_k.bias", 64), ("attn_v.bias", 64)];
        vectors(two_norms(file, layer, 256), layer, &biases)
    });
    let qwen3 = |sizes: Sizes| {
        plain("qwen3", sizes, Q8_0, &|file, layer| {
            vectors(two_norms(file, layer, sizes.hidden), layer, &head_norms(sizes.head_dim))
        })
    };
    let qwen3moe = attention("qwen3moe", apart, F16, &|file, layer| {
        let file = vectors(two_norms(file, layer, 256), layer, &head_norms(64));
        experts(file, layer, 4, 64, 256)
    })
    .number("qwen3moe.expert_feed_forward_length", 64);
    let mixtral = attention("llama", SIZES, F16, &|file, layer| {
        experts(two_norms(file, layer, 256), layer, 4, 512, 256)
    });
    // As llama.cpp wrote them before it stacked experts.
    let early_mixtral = attention("llama", SIZES, F16, &|file, layer| {
        let mut file = two_norms(file, layer, 256);
        for expert in 0..4 {
            for (name, dims) in [("ffn_gate", [256, 512]), ("ffn_up", [256, 512]), ("ffn_down", [512, 256])] {
                file = add(file, &format!("{layer}.{name}.{expert}.weight"), &dims, F16);
            }
        }
        add(file, &format!("{layer}.ffn_gate_inp.weight"), &[256, 4], F32)
    });
    let gemma = |arch: &str, normed: bool| {
        plain(arch, wide, F16, &|file, layer| {
            let file = four_norms(file, layer, 512);
            if normed { vectors(file, layer, &head_norms(64)) } else { file }
        })
        .number(&format!("{arch}.attention.sliding_window"), 100)
    };
    let olmo2 = plain("olmo2", SIZES, F16, &|file, layer| {
        vectors(
            file,
            layer,
            &[
                ("post_attention_norm.weight", 256),
                ("post_ffw_norm.weight", 256),
                ("attn_q_norm.weight", 256),
                ("attn_k_norm.weight", 64),
            ],
        )
    });
    let biased = plain("llama", SIZES, F16, &|file, layer| {
        let biases =
            [("attn_q.bias", 256), ("attn_k.bias", 64), ("attn_v.bias", 64), ("attn_output.bias", 256)];
        vectors(two_norms(file, layer, 256), layer, &biases)
    });
    vec![
        ("llama", llama(), heads(SIZES)),
        ("llama with biases", biased, heads(SIZES)),
        ("mixtral", of_experts("llama", mixtral), heads(SIZES)),
        ("mixtral, experts apart", of_experts("llama", early_mixtral), heads(SIZES)),
        ("qwen2", qwen2, heads(SIZES)),
        ("qwen3", qwen3(apart), heads(apart)),
        ("qwen3, heads as wide as the model", qwen3(wide), heads(wide)),
        ("qwen3moe", of_experts("qwen3moe", qwen3moe), heads(apart)),
        ("gemma2", gemma("gemma2", false), heads(wide)),
        ("gemma3", gemma("gemma3", true), heads(wide)),
        ("olmo2", olmo2, heads(SIZES)),
        ("smollm3", plain("smollm3", SIZES, F16, &|file, layer| two_norms(file, layer, 256)), heads(SIZES)),
        ("phi3", phi3(Q8_0), heads(SIZES)),
        ("gpt-oss", gpt_oss(), heads(SIZES)),
        ("deepseek2", deepseek2(), 3 * 80),
    ]
}

type Opened = (Decoder, Checkpoint<BytesSource<Vec<u8>>>);

fn open(file: &File) -> Result<Opened, WeightsError> {
    open_parts(vec![("m.gguf".to_owned(), file.bytes())])
}

fn open_parts(files: Vec<(String, Vec<u8>)>) -> Result<Opened, WeightsError> {
    let files = files.into_iter().map(|(name, bytes)| (name, BytesSource(bytes))).collect();
    let (config, checkpoint) = block_on(Checkpoint::from_gguf_parts("m.gguf", files))?;
    let json = serde_json::to_vec(&config).expect("plain");
    Ok((Decoder::parse(&json).unwrap_or_else(|error| panic!("{error}")), checkpoint))
}

/// The class that a file does not name is none to be contradicted.
#[test]
fn a_healthy_file_is_warned_of_nothing() {
    for (name, file, _) in architectures() {
        let files = vec![("m.gguf".to_owned(), BytesSource(file.bytes()))];
        let (config, checkpoint) = block_on(Checkpoint::from_gguf_parts("m.gguf", files)).expect(name);
        let fields = Fields::from_map(config);
        let decoder = Decoder::from_fields(&fields).expect(name);
        let stored = checkpoint.language_model(&decoder);
        let subject = Subject { stored: Some(&stored), ..Subject::config_only(&fields) };
        let (_, found) = inspect::find(subject).expect(name);
        for code in ["architectures_contradict", "dtype_absent"] {
            assert!(found.iter().all(|finding| finding.code != code), "{name}: {found:?}");
        }
    }
}

#[test]
fn every_architecture_is_counted_cached_and_placed_as_its_tensors_say() {
    for (name, file, cached) in architectures() {
        let (decoder, checkpoint) = open(&file).expect(name);
        assert_eq!(checkpoint.named_differences(&decoder), Vec::<String>::new(), "{name}");
        assert_eq!(checkpoint.contradiction(&decoder), None, "{name}");
        let stored = checkpoint.language_model(&decoder);
        assert_eq!(estimate::stored_count(&stored), estimate::params(&decoder).total, "{name}");
        assert_eq!(estimate::bytes_per_token(&decoder, DType::Bf16), 2 * cached, "{name}");

        for dtype in [None, Some(DType::Bf16.into()), Some(DType::Q4_0.into())] {
            let options = Options { dtype, ..Options::default() };
            let resolved = Resolved::new(&decoder, Some(&stored), &options).expect("options");
            let workload = placement::workload(&decoder, Some(&stored), &resolved);
            let placed: u64 = workload.modules.iter().map(|module| module.weight_bytes).sum();
            let weights = estimate::resolved_weights_bytes(&decoder, Some(&stored), &resolved);
            assert_eq!(placed, weights, "{name} {dtype:?}");
            let layers = workload.modules.iter().filter(|module| module.is_layer);
            assert!(layers.clone().all(|layer| layer.weight_bytes > 0), "{name} {dtype:?}");
        }
    }
}

/// What llama.cpp writes is sized as it is stored, also of the family that runs; a load widens it, or cannot read it.
#[test]
fn formats_that_no_engine_holds_are_sized_and_said() {
    for (kind, name, bytes, is_read) in [(Q4_K, "q4_k", 144, true), (IQ4_XS, "iq4_xs", 136, false)] {
        let (decoder, checkpoint) = open(&phi3(kind)).expect(name);
        assert_eq!(checkpoint.check_described(&decoder).map_err(|error| error.to_string()), Ok(()));
        assert_eq!(checkpoint.check(&decoder).is_ok(), is_read, "{name}");
        let told: Vec<_> = checkpoint.findings_of(&decoder).iter().map(ToString::to_string).collect();
        let unread = format!("weights in {name}: sized here, not read by this build's engines");
        assert_eq!(told.contains(&unread), !is_read, "{told:?}");

        let stored = checkpoint.language_model(&decoder);
        let report = estimate::estimate(&decoder, Some(&stored), &Options::default()).expect("sized");
        let matrices = 4 * 256 * (384 + 256 + 1024 + 512);
        assert_eq!(report.weights_bytes, matrices / 256 * bytes + 500 * 256 * 2 + 9 * 256 * 4, "{name}");
        let warned = report.fit.warnings.concat();
        assert!(warned.contains(&format!("weights in {name}: not run by every engine here")), "{warned}");
        assert_eq!(warned.contains("a load widens them to bf16"), is_read, "{warned}");

        let load = Resolved::of_load(&decoder, Some(&stored), &Options::default()).expect("sized");
        assert_eq!(load.format, DType::Bf16.into(), "{name}");
    }
}

#[test]
fn tensors_of_no_module_are_placed_all_the_same() {
    let file = add(llama(), "blk.0.attn_extra.weight", &[256], F32);
    let file = add(file, "blk.9.attn_norm.weight", &[256], F32);
    let file = add(file, "something.else", &[100], F32);
    let (decoder, checkpoint) = open(&file).expect("opens");
    let stored = checkpoint.language_model(&decoder);
    let resolved = Resolved::new(&decoder, Some(&stored), &Options::default()).expect("options");
    let modules = placement::workload(&decoder, Some(&stored), &resolved).modules;
    let placed: u64 = modules.iter().map(|module| module.weight_bytes).sum();
    assert_eq!(placed, estimate::stored_bytes(&stored, None));
    // And counted under what their names speak of.
    let (counted, plain) = (estimate::params_stored(&decoder, &stored), estimate::params(&decoder));
    assert_eq!(counted.total, estimate::stored_count(&stored));
    assert_eq!(counted.groups.iter().map(|group| group.count).sum::<u64>(), counted.total);
    let pairs = counted.groups.iter().zip(&plain.groups);
    let more: Vec<i64> = pairs.map(|(a, b)| a.count as i64 - b.count as i64).collect();
    assert_eq!(more, [0, 256, 100, 0, 0, 256, 0]);
}

/// A load holds all weights in one format: where a file has several, the estimate says which, and what that takes.
#[test]
fn what_a_load_makes_of_a_mixture_is_said() {
    let of = |file: &File, dtype: Option<DType>| {
        let (decoder, checkpoint) = open(file).expect("opens");
        let stored = checkpoint.language_model(&decoder);
        let options = Options { dtype: dtype.map(Into::into), ..Options::default() };
        let sized = load_config::estimate(&decoder, Some(&stored), &options, &LoadConfig::default());
        let load = Resolved::of_load(&decoder, Some(&stored), &options).expect("sized");
        (sized.expect("sized").report.fit.warnings.concat(), estimate::weights_bytes(&decoder, load.format))
    };
    let mixture = phi3(Q8_0);
    let (warned, bytes) = of(&mixture, None);
    let says = format!("a load holds all of them in q8_0, {}, ", format_bytes(bytes));
    assert!(warned.contains(&says), "{warned}");
    for asked in [DType::Q8_0, DType::Bf16] {
        assert_eq!(of(&mixture, Some(asked)).0, "", "that is asked of all of them");
    }
}

#[test]
fn frequencies_are_no_parameters() {
    let (_, plain) = open(&llama()).expect("opens");
    assert_eq!(plain.parameter_count(), 2_486_528);
    let (decoder, checkpoint) = open(&add(llama(), "rope_freqs.weight", &[16], F32)).expect("opens");
    assert_eq!(checkpoint.parameter_count(), 2_486_528);
    assert_eq!(estimate::params_total(&decoder, Some(&checkpoint.language_model(&decoder))), 2_486_528);
    assert_eq!(checkpoint.findings()[0].code(), "ignored_buffers");
}

/// What metadata leave out is said, or what llama.cpp takes; never the default of Hugging Face's class.
#[test]
fn sizes_that_are_left_out_are_not_guessed() {
    for key in
        ["block_count", "attention.head_count", "embedding_length", "feed_forward_length", "context_length"]
    {
        let key = format!("llama.{key}");
        let error = open(&llama().without(&key)).map(|_| ()).expect_err(&key).to_string();
        assert!(error.contains(&format!("its metadata give no `{key}` above 0")), "{error}");
    }
    let of = |name: &str| architectures().into_iter().find(|row| row.0 == name).expect("there").1;
    let error = open(&of("qwen3moe").without("qwen3moe.expert_count")).map(|_| ()).expect_err("open");
    assert!(error.to_string().contains("`qwen3moe.expert_count`"), "{error}");

    // As many as heads; as wide as the model by them.
    let all_heads = Sizes { kv_heads: 8, ..SIZES };
    let file = plain("qwen2", all_heads, F16, &|file, layer| {
        let biases = [("attn_q.bias", 256), ("attn_k.bias", 256), ("attn_v.bias", 256)];
        vectors(two_norms(file, layer, 256), layer, &biases)
    });
    let (decoder, checkpoint) = open(&file.without("qwen2.attention.head_count_kv")).expect("opens");
    assert_eq!(estimate::bytes_per_token(&decoder, DType::Bf16), 2 * 2 * 4 * 8 * 32);
    assert_eq!(checkpoint.contradiction(&decoder), None);
    let file = of("qwen3, heads as wide as the model").without("qwen3.attention.key_length");
    let (decoder, checkpoint) = open(&file).expect("opens");
    assert_eq!(estimate::bytes_per_token(&decoder, DType::Bf16), 2048);
    assert_eq!(checkpoint.contradiction(&decoder), None);

    let zero = open(&llama().number("llama.attention.head_count_kv", 0)).map(|_| ()).expect_err("none");
    assert!(zero.to_string().contains("head_count_kv` is 0"), "{zero}");
    let uneven = open(&llama().number("llama.attention.value_length", 16)).map(|_| ()).expect_err("uneven");
    assert!(uneven.to_string().contains("keys of 32 and values of 16"), "{uneven}");
    // Of an architecture that is not known nothing is derived, so that nothing is missing.
    let unknown = File::default().text("general.architecture", "falcon-h9").tensor("a", &[4], 0.0);
    let files = vec![("m.gguf".to_owned(), BytesSource(unknown.bytes()))];
    assert!(block_on(Checkpoint::from_gguf_parts("m.gguf", files)).is_ok());
}

#[test]
fn tensors_that_are_missing_or_unknown_are_named() {
    let (decoder, checkpoint) = open(&llama().without("blk.2.ffn_down.weight")).expect("opens");
    let lines = ["`blk.2.ffn_down.weight` is missing, expected [256, 512]"];
    assert_eq!(checkpoint.named_differences(&decoder), lines);
    assert_eq!(checkpoint.contradiction(&decoder).as_deref(), Some(lines[0]));

    let more = add(llama().number("llama.block_count", 9), "blk.0.attn_extra.weight", &[256], F32);
    let (decoder, checkpoint) = open(&more).expect("opens");
    let lines = checkpoint.named_differences(&decoder);
    assert!(
        lines.contains(&"`blk.{4..8}.attn_q.weight` is missing, expected [256, 256]".to_owned()),
        "{lines:?}"
    );
    assert!(lines.contains(&"`blk.0.attn_extra.weight` [256] is not in the config".to_owned()), "{lines:?}");
    assert_eq!(lines.len(), 10, "{lines:?}");
}

/// A number that no model has is told under the key that the file has it by.
#[test]
fn numbers_out_of_range_are_told_by_their_keys() {
    for (key, number) in [("block_count", u32::MAX), ("context_length", u32::MAX), ("vocab_size", 1 << 30)] {
        let file = llama().without("token_embd.weight").number(&format!("llama.{key}"), number);
        let error = open(&file).map(|_| ()).expect_err(key).to_string();
        let field = if key == "vocab_size" { "vocab_size".to_owned() } else { format!("llama.{key}") };
        assert!(
            error.contains(&format!("`{field}` is {number}, expected a whole number from 1 to")),
            "{error}"
        );
    }
}

#[test]
fn parts_of_a_split_model_are_one_model_or_said_to_be_a_part() {
    let layers_of = |from: u32, to: u32, file: File| {
        (0..4).filter(|layer| !(from..to).contains(layer)).fold(file, |file, layer| {
            let names =
                ["attn_norm", "ffn_norm", "attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up"];
            let file =
                names.iter().fold(file, |file, name| file.without(&format!("blk.{layer}.{name}.weight")));
            file.without(&format!("blk.{layer}.ffn_down.weight"))
        })
    };
    let part = |number: u32, file: File| file.number("split.no", number).number("split.count", 2);
    let first = part(0, layers_of(0, 2, llama())).without("output.weight").without("output_norm.weight");
    let second = part(1, layers_of(2, 4, llama())).without("token_embd.weight");
    let keys =
        ["general.architecture", "llama.embedding_length", "llama.block_count", "llama.attention.head_count"];
    let second = keys.iter().fold(second, |file, key| file.without(key));
    let named = |name: &str, file: &File| (name.to_owned(), file.bytes());

    // In any order: the one with the metadata is found.
    for files in
        [vec![named("a", &first), named("b", &second)], vec![named("b", &second), named("a", &first)]]
    {
        let (decoder, checkpoint) = open_parts(files).expect("opens");
        assert_eq!((checkpoint.contradiction(&decoder), checkpoint.parameter_count()), (None, 2_486_528));
        assert!(!decoder.tie_word_embeddings && checkpoint.findings().is_empty());
    }

    let (decoder, checkpoint) = open_parts(vec![named("a", &first)]).expect("opens");
    assert_eq!(checkpoint.findings(), [WeightsFinding::MissingParts("1 of 2".to_owned())]);
    let words = checkpoint.contradiction(&decoder).expect("not all of it");
    assert!(words.starts_with("a split model, of which only part 1 of 2 is here"), "{words}");
    let stored = checkpoint.language_model(&decoder);
    let mut report = estimate::estimate(&decoder, Some(&stored), &Options::default()).expect("defaults");
    report.doubt(&words);
    assert!(report.terms.iter().all(|term| term.badge != Badge::Exact), "{:?}", report.terms);

    let alone = open_parts(vec![named("b", &second)]).map(|_| ()).expect_err("no sizes").to_string();
    assert!(alone.contains("part 2 of 2 of a split model, and the first part"), "{alone}");
    let twice = open_parts(vec![named("a", &first), named("a", &first)]).map(|_| ()).expect_err("twice");
    assert!(twice.to_string().contains("not those of one model"), "{twice}");
}

#[path = "layer_tests.rs"]
mod layers;
