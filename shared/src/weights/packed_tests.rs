//! Directories that somebody packed, in small: their own bytes as they are, the list's where another format is asked for.

use pollster::block_on;

use crate::decoder::Decoder;
use crate::estimate::{self, Badge, Format, Options, Report, Resolved};
use crate::placement;
use crate::weights::{BytesSource, Checkpoint, as_stored};

type Tensors = Vec<(String, &'static str, Vec<usize>)>;

const LAYER: &str = "model.layers.0.";
const HIDDEN: usize = 256;
const INNER: usize = 512;
const VOCAB: usize = 1000;
/// Embedding and head, norms, attention with half as many key and value heads, MLP.
const PARAMS: u64 = (2 * VOCAB * HIDDEN + 3 * HIDDEN + 3 * HIDDEN * HIDDEN + 3 * HIDDEN * INNER) as u64;

fn llama(quantization: &str, layers: usize) -> Decoder {
    let json = format!(
        r#"{{"model_type":"llama","hidden_size":{HIDDEN},"intermediate_size":{INNER},"num_hidden_layers":{layers},
        "num_attention_heads":4,"num_key_value_heads":2,"vocab_size":{VOCAB},"max_position_embeddings":64,
        "torch_dtype":"bfloat16","quantization_config":{quantization}}}"#
    );
    Decoder::parse(json.as_bytes()).expect("a config")
}

/// The projections of a layer: rows, columns.
const PROJECTIONS: [(&str, usize, usize); 7] = [
    ("self_attn.q_proj", HIDDEN, HIDDEN),
    ("self_attn.k_proj", HIDDEN / 2, HIDDEN),
    ("self_attn.v_proj", HIDDEN / 2, HIDDEN),
    ("self_attn.o_proj", HIDDEN, HIDDEN),
    ("mlp.gate_proj", INNER, HIDDEN),
    ("mlp.up_proj", INNER, HIDDEN),
    ("mlp.down_proj", HIDDEN, INNER),
];

/// A directory with what `packed` makes of each projection.
fn with(packed: impl Fn(&str, usize, usize) -> Tensors) -> Tensors {
    let mut tensors: Tensors = [
        ("model.embed_tokens.weight", vec![VOCAB, HIDDEN]),
        ("lm_head.weight", vec![VOCAB, HIDDEN]),
        ("model.norm.weight", vec![HIDDEN]),
        ("model.layers.0.input_layernorm.weight", vec![HIDDEN]),
        ("model.layers.0.post_attention_layernorm.weight", vec![HIDDEN]),
    ]
    .map(|(name, shape)| (name.to_owned(), "F16", shape))
    .into();
    for (name, rows, columns) in PROJECTIONS {
        tensors.extend(packed(&format!("{LAYER}{name}"), rows, columns));
    }
    tensors
}

fn awq() -> Tensors {
    with(|name, rows, columns| {
        vec![
            (format!("{name}.qweight"), "I32", vec![columns, rows / 8]),
            (format!("{name}.scales"), "F16", vec![columns / 128, rows]),
            (format!("{name}.qzeros"), "I32", vec![columns / 128, rows / 8]),
        ]
    })
}

fn gptq() -> Tensors {
    with(|name, rows, columns| {
        vec![
            (format!("{name}.qweight"), "I32", vec![columns / 8, rows]),
            (format!("{name}.scales"), "F16", vec![columns / 128, rows]),
            (format!("{name}.qzeros"), "I32", vec![columns / 128, rows / 8]),
            (format!("{name}.g_idx"), "I32", vec![columns]),
        ]
    })
}

fn fp8() -> Tensors {
    with(|name, rows, columns| {
        vec![
            (format!("{name}.weight"), "F8_E4M3", vec![rows, columns]),
            (format!("{name}.weight_scale_inv"), "F32", vec![rows.div_ceil(128), columns.div_ceil(128)]),
        ]
    })
}

/// bitsandbytes' four bits, whose layout is not known here.
fn bitsandbytes() -> Tensors {
    with(|name, rows, columns| {
        vec![
            (format!("{name}.weight"), "U8", vec![rows * columns / 2, 1]),
            (format!("{name}.weight.absmax"), "U8", vec![rows * columns / 64]),
        ]
    })
}

const AWQ: &str = r#"{"quant_method":"awq","bits":4,"group_size":128}"#;
const GPTQ: &str = r#"{"quant_method":"gptq","bits":4,"group_size":128}"#;
const FP8: &str = r#"{"quant_method":"fp8","weight_block_size":[128,128]}"#;
const UNKNOWN: &str = r#"{"quant_method":"bitsandbytes","load_in_4bit":true}"#;

fn open(tensors: &Tensors) -> Checkpoint<BytesSource<Vec<u8>>> {
    let (mut header, mut end) = (serde_json::Map::new(), 0);
    for (name, dtype, shape) in tensors {
        let width = match *dtype {
            "I64" => 8,
            "F32" | "I32" => 4,
            "F16" | "BF16" => 2,
            _ => 1,
        };
        let bytes = shape.iter().product::<usize>() * width;
        let entry = serde_json::json!({"dtype": dtype, "shape": shape, "data_offsets": [end, end + bytes]});
        header.insert(name.clone(), entry);
        end += bytes;
    }
    let header = serde_json::Value::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend_from_slice(header.as_bytes());
    file.resize(file.len() + end, 0);
    let files = vec![("model.safetensors".to_owned(), BytesSource(file))];
    block_on(Checkpoint::from_safetensors(files)).expect("a checkpoint")
}

fn sized(decoder: &Decoder, tensors: &Tensors, dtype: Option<&str>) -> Report {
    let stored = open(tensors).language_model(decoder);
    let dtype = dtype.map(|dtype| dtype.parse().expect("a format"));
    let options = Options { dtype, ..Options::default() };
    let mut report = estimate::estimate(decoder, Some(&stored), &options).expect("options");
    // Module by module it is the same.
    let resolved = Resolved::new(decoder, Some(&stored), &options).expect("options");
    report.load_peaks = estimate::load_peaks(decoder, Some(&stored), report.weights_bytes, &resolved);
    let modules = placement::workload(decoder, Some(&stored), &resolved).modules;
    assert_eq!(modules.iter().map(|module| module.weight_bytes).sum::<u64>(), report.weights_bytes);
    report
}

fn assumed<'a>(report: &'a Report, name: &str) -> &'a str {
    report.assumptions.iter().find(|assumption| assumption.name == name).map_or("", |it| &it.value)
}

#[test]
fn packed_words_are_never_converted_as_weights() {
    for (quantization, tensors, name) in [
        (AWQ, awq(), "awq"),
        (GPTQ, gptq(), "gptq"),
        (FP8, fp8(), "fp8_block"),
        (UNKNOWN, bitsandbytes(), "bitsandbytes"),
    ] {
        let decoder = llama(quantization, 1);
        let stored: u64 = open(&tensors).stored_bytes();
        let report = sized(&decoder, &tensors, None);
        assert_eq!((report.weights_bytes, report.params_total), (stored, PARAMS), "{name}");
        assert_eq!(report.terms[0].badge, Badge::Exact, "{name}");
        // The config alone says the same of the format, and the cache is in what is computed in.
        assert_eq!(assumed(&report, "dtype"), format!("{name} (as stored)"));
        assert_eq!(assumed(&report, "kv_dtype"), "bf16", "{name}");
        assert!(report.load_peaks[0].formula.contains("conversion 0;"), "{:?}", report.load_peaks);
        if quantization != UNKNOWN {
            assert_eq!(
                estimate::weights_bytes(&decoder, estimate::stored_format(&decoder)),
                stored,
                "{name}"
            );
            assert_eq!(sized(&decoder, &tensors, Some(name)).weights_bytes, stored, "{name}");
        }
        for (dtype, bytes) in [("bf16", 2 * PARAMS), ("f16", 2 * PARAMS), ("f32", 4 * PARAMS)] {
            let report = sized(&decoder, &tensors, Some(dtype));
            assert_eq!((report.weights_bytes, report.params_total), (bytes, PARAMS), "{name} {dtype}");
            assert!(!report.load_peaks[0].formula.contains("conversion 0;"), "{:?}", report.load_peaks);
        }
        let q4_0 = sized(&decoder, &tensors, Some("q4_0")).weights_bytes;
        assert_eq!(
            q4_0,
            estimate::weights_bytes(&decoder, Format::Plain(crate::dtype::DType::Q4_0)),
            "{name}"
        );
    }
}

/// gpt-oss as it is published: four-bit experts in two tensors each, the rest in bf16.
#[test]
fn experts_in_four_bit_floats_are_widened_by_their_number() {
    let json = r#"{"model_type":"gpt_oss","hidden_size":64,"intermediate_size":64,"num_hidden_layers":1,
        "num_attention_heads":2,"num_key_value_heads":1,"head_dim":32,"vocab_size":10,"num_local_experts":2,
        "num_experts_per_tok":1,"torch_dtype":"bfloat16","quantization_config":{"quant_method":"mxfp4",
        "modules_to_not_convert":["model.layers.*.self_attn","model.layers.*.mlp.router","model.embed_tokens","lm_head"]}}"#;
    let decoder = Decoder::parse(json.as_bytes()).expect("a config");
    let mut tensors: Tensors = Vec::new();
    for (name, shape) in [
        ("model.embed_tokens.weight", vec![10, 64]),
        ("lm_head.weight", vec![10, 64]),
        ("model.norm.weight", vec![64]),
    ] {
        tensors.push((name.to_owned(), "BF16", shape));
    }
    for (name, dtype, shape) in [
        ("input_layernorm.weight", "BF16", vec![64]),
        ("post_attention_layernorm.weight", "BF16", vec![64]),
        ("self_attn.q_proj.weight", "BF16", vec![64, 64]),
        ("self_attn.q_proj.bias", "BF16", vec![64]),
        ("self_attn.k_proj.weight", "BF16", vec![32, 64]),
        ("self_attn.k_proj.bias", "BF16", vec![32]),
        ("self_attn.v_proj.weight", "BF16", vec![32, 64]),
        ("self_attn.v_proj.bias", "BF16", vec![32]),
        ("self_attn.o_proj.weight", "BF16", vec![64, 64]),
        ("self_attn.o_proj.bias", "BF16", vec![64]),
        ("self_attn.sinks", "BF16", vec![2]),
        ("mlp.router.weight", "BF16", vec![2, 64]),
        ("mlp.router.bias", "BF16", vec![2]),
        ("mlp.experts.gate_up_proj_blocks", "U8", vec![2, 128, 2, 16]),
        ("mlp.experts.gate_up_proj_scales", "U8", vec![2, 128, 2]),
        ("mlp.experts.gate_up_proj_bias", "BF16", vec![2, 128]),
        ("mlp.experts.down_proj_blocks", "U8", vec![2, 64, 2, 16]),
        ("mlp.experts.down_proj_scales", "U8", vec![2, 64, 2]),
        ("mlp.experts.down_proj_bias", "BF16", vec![2, 64]),
    ] {
        tensors.push((format!("{LAYER}{name}"), dtype, shape));
    }
    assert_eq!(open(&tensors).contradiction(&decoder), None);
    assert_eq!(sized(&decoder, &tensors, None).weights_bytes, 41_992);
    let alone = estimate::estimate(&decoder, None, &Options::default()).expect("defaults");
    assert_eq!((alone.weights_bytes, alone.terms[0].badge), (41_992, Badge::Exact));
    let report = sized(&decoder, &tensors, Some("bf16"));
    assert_eq!((report.weights_bytes, report.params_total), (78_088, 39_044));
    tensors.retain(|(name, ..)| !name.ends_with("down_proj_scales"));
    let words = open(&tensors).contradiction(&decoder).expect("no scales");
    assert_eq!(words, "`model.layers.0.mlp.experts.down_proj` has no scales");
}

#[test]
fn modules_that_are_not_there_or_not_whole_are_named() {
    for (quantization, tensors) in [(AWQ, awq()), (GPTQ, gptq()), (FP8, fp8()), (UNKNOWN, bitsandbytes())] {
        let differences =
            |layers, tensors: &Tensors| open(tensors).named_differences(&llama(quantization, layers));
        assert_eq!(differences(1, &tensors), Vec::<String>::new(), "{quantization}");

        // One of eight layers.
        let lines = differences(8, &tensors);
        let missing = "`model.layers.{1..7}.mlp.up_proj.weight` is missing, expected [512, 256]";
        assert!(lines.len() == 9 && lines.contains(&missing.to_owned()), "{lines:?}");
        let without: Tensors =
            tensors.iter().filter(|(name, ..)| !name.contains("o_proj")).cloned().collect();
        let missing = "`model.layers.0.self_attn.o_proj.weight` is missing, expected [256, 256]";
        assert_eq!(differences(1, &without), [missing]);

        // Of a layout that is not known no more can be said.
        let extra =
            [tensors.clone(), vec![("model.layers.0.more.weight".to_owned(), "F16", vec![3])]].concat();
        let expected: &[&str] = match quantization {
            UNKNOWN => &[],
            _ => &["`model.layers.0.more.weight` [3] is not in the config"],
        };
        assert_eq!(differences(1, &extra), expected, "{quantization}");
    }
    let mut short = awq();
    let q = short.iter_mut().find(|(name, ..)| name.ends_with("q_proj.qweight")).expect("there");
    q.2 = vec![256, 16];
    short.retain(|(name, ..)| !name.ends_with("k_proj.scales"));
    let lines = open(&short).named_differences(&llama(AWQ, 1));
    let expected = [
        "`model.layers.0.self_attn.q_proj.weight` holds 32768 weights, expected [256, 256]",
        "`model.layers.0.self_attn.k_proj.weight` has no scales",
    ];
    assert_eq!(lines, expected);
    // A module that the packing left out is as good.
    let mut mixed = awq();
    mixed.retain(|(name, ..)| !name.contains("q_proj"));
    mixed.push(("model.layers.0.self_attn.q_proj.weight".to_owned(), "F16", vec![256, 256]));
    assert_eq!(open(&mixed).contradiction(&llama(AWQ, 1)), None);
}

/// A billion experts beside a file of nothing: told in a few words.
#[test]
fn a_packed_config_of_countless_modules_is_told_briefly() {
    let json = format!(
        r#"{{"model_type":"qwen3_moe","num_hidden_layers":512,"num_experts":65536,"quantization_config":{AWQ}}}"#
    );
    let decoder = Decoder::parse(json.as_bytes()).expect("a config");
    let text = open(&awq()).named_differences(&decoder).join("\n");
    assert!(text.len() < 10_000 && text.contains("and more"), "{text}");
}

/// What somebody stored as plain floats is that, whatever the config says of it; one packed matrix is enough to believe it.
#[test]
fn plain_floats_are_packed_by_no_config() {
    let plain = with(|name, rows, columns| vec![(format!("{name}.weight"), "BF16", vec![rows, columns])]);
    for config in [AWQ, r#"{"quant_method":"fp8"}"#, r#"{"quant_method":"hqq"}"#, "{}"] {
        let decoder = llama(config, 1);
        assert!(decoder.is_packed(), "{config}");
        let stored = open(&plain).language_model(&decoder);
        let seen = as_stored(decoder.clone(), &stored);
        assert!(!seen.is_packed(), "{config}");
        let report = estimate::estimate(&seen, Some(&stored), &Options::default()).expect("defaults");
        assert_eq!((report.weights_bytes, report.terms[0].badge), (2 * PARAMS, Badge::Exact), "{config}");
        for packed in [awq(), plain[1..].to_vec()] {
            let stored = open(&packed).language_model(&decoder);
            assert!(as_stored(decoder.clone(), &stored).is_packed(), "{config}");
        }
    }
}

/// What the config leaves in 16 bit is counted so; where readers differ on what it says, no number is exact.
#[test]
fn modules_that_are_not_converted_count_in_16_bit() {
    let weights = |quantization: &str| {
        let report =
            estimate::estimate(&llama(quantization, 1), None, &Options::default()).expect("defaults");
        (report.weights_bytes, report.terms[0].badge)
    };
    let (all, badge) = weights(r#"{"quant_method":"fbgemm_fp8"}"#);
    assert_eq!(badge, Badge::Exact);
    // A byte a weight more, and no scale a row.
    let attention = (3 * HIDDEN * HIDDEN) as u64 - 4 * 3 * HIDDEN as u64;
    let excluded = r#"{"quant_method":"fbgemm_fp8","modules_to_not_convert":["q_proj","k_proj","v_proj","o_proj","lm_head"]}"#;
    assert_eq!(weights(excluded), (all + attention, Badge::Exact));

    let (tensor, _) = weights(r#"{"quant_method":"fp8"}"#);
    let down = (HIDDEN * INNER) as u64;
    let ignored = r#"{"quant_method":"fp8","activation_scheme":"static","ignored_layers":["lm_head","model.layers.0.mlp.down_proj"]}"#;
    // Six scales of what comes in; the seventh matrix has none, and none of its own.
    assert_eq!(weights(ignored), (tensor + down - 4 + 6 * 4, Badge::Exact));

    let parts = r#"{"quant_method":"awq","bits":4,"group_size":128,"modules_to_not_convert":["mlp"]}"#;
    assert_eq!(weights(parts).1, Badge::Formula);
    // A pattern, a list of the only ones, and a head: 16 bits a weight, or a half with a group's scales and zeros.
    let gptq = |more: &str| weights(&format!(r#"{{"quant_method":"gptq","bits":4,"group_size":128{more}}}"#));
    let (all, _) = gptq("");
    let (more, badge) = gptq(r#","dynamic":{"-:.*down.*":{}}"#);
    assert_eq!(badge, Badge::Exact);
    let others = r#","modules_in_block_to_quantize":[["self_attn.q_proj","self_attn.k_proj","self_attn.v_proj"],
        ["self_attn.o_proj"],["mlp.gate_proj","mlp.up_proj"]]"#;
    assert_eq!(gptq(others), (more, Badge::Exact));
    assert!(more > all + down && more < all + 2 * down, "{more} beside {all}");
    let (head, badge) = gptq(r#","lm_head":true"#);
    assert!(badge == Badge::Exact && head < all, "{head}");
    assert_eq!(gptq(r#","dynamic":{"+:.*down.*":{"bits":8}}"#), (all, Badge::Formula));
    // A scale and a zero a row.
    let rows = (PROJECTIONS.iter().map(|(_, rows, _)| rows).sum::<usize>() * 2) as u64;
    let numbers: u64 = PROJECTIONS.iter().map(|(_, rows, columns)| (rows * columns) as u64).sum();
    let plain = 2 * (PARAMS - numbers);
    let whole_rows = plain + numbers / 2 + rows + rows / 4;
    assert_eq!(weights(r#"{"quant_method":"awq","bits":4,"group_size":-1}"#), (whole_rows, Badge::Exact));
}

/// One group of compressed-tensors as llm-compressor writes it.
fn compressed(format: &str, weights: &str, inputs: &str, more: &str) -> String {
    format!(
        r#"{{"quant_method":"compressed-tensors","format":"{format}","config_groups":{{"group_0":{{"targets":["Linear"],
        "weights":{{"dynamic":false,"symmetric":true,{weights}}},"input_activations":{inputs},
        "output_activations":null}}}},"ignore":["lm_head"],"kv_cache_scheme":null,"quantization_status":"compressed",
        "sparsity_config":{{}}{more}}}"#
    )
}

/// The config alone says what llm-compressor's files hold, to the byte.
#[test]
fn compressed_tensors_are_sized_by_their_groups() {
    let int4 = |group: usize| {
        with(|name, rows, columns| {
            vec![
                (format!("{name}.weight_packed"), "I32", vec![rows, columns / 8]),
                (format!("{name}.weight_scale"), "BF16", vec![rows, columns / group]),
                (format!("{name}.weight_shape"), "I64", vec![2]),
            ]
        })
    };
    let bytes = |dtype: &'static str, scales: fn(usize, usize) -> Vec<usize>, has_inputs: bool| {
        with(|name, rows, columns| {
            let weight = (format!("{name}.weight"), dtype, vec![rows, columns]);
            let scale = (format!("{name}.weight_scale"), "BF16", scales(rows, columns));
            let inputs = has_inputs.then(|| (format!("{name}.input_scale"), "BF16", vec![1]));
            [weight, scale].into_iter().chain(inputs).collect()
        })
    };
    let dynamic = r#"{"num_bits":8,"type":"float","strategy":"token","dynamic":true}"#;
    let fixed = r#"{"num_bits":8,"type":"float","strategy":"tensor","dynamic":false}"#;
    let of = |bits: usize, kind: &str, strategy: &str| {
        format!(r#""num_bits":{bits},"type":"{kind}","strategy":"{strategy}","group_size":null"#)
    };
    let group = r#""num_bits":4,"type":"int","strategy":"group","group_size":64,"actorder":"weight""#;
    let block = r#""num_bits":8,"type":"float","strategy":"block","block_structure":[128,128]"#;
    for (config, tensors) in [
        (
            compressed("float-quantized", &of(8, "float", "channel"), dynamic, ""),
            bytes("F8_E4M3", |rows, _| vec![rows, 1], false),
        ),
        (
            compressed("float-quantized", &of(8, "float", "tensor"), fixed, ""),
            bytes("F8_E4M3", |_, _| vec![1], true),
        ),
        (
            compressed("float-quantized", block, dynamic, ""),
            bytes("F8_E4M3", |rows, columns| vec![rows / 128, columns / 128], false),
        ),
        (
            compressed("int-quantized", &of(8, "int", "channel"), dynamic, ""),
            bytes("I8", |rows, _| vec![rows, 1], false),
        ),
        (compressed("pack-quantized", group, "null", ""), int4(64)),
    ] {
        let decoder = llama(&config, 1);
        let stored = open(&tensors).stored_bytes();
        let alone = estimate::estimate(&decoder, None, &Options::default()).expect("defaults");
        assert_eq!((alone.weights_bytes, alone.terms[0].badge), (stored, Badge::Exact), "{config}");
        assert_eq!(assumed(&alone, "dtype"), "compressed-tensors (the config's)");
        let report = sized(&decoder, &tensors, None);
        assert_eq!((report.weights_bytes, report.params_total), (stored, PARAMS), "{config}");
        assert_eq!(open(&tensors).named_differences(&decoder), Vec::<String>::new(), "{config}");
        let without: Tensors =
            tensors.iter().filter(|(name, ..)| !name.ends_with("q_proj.weight_scale")).cloned().collect();
        let lines = open(&without).named_differences(&decoder);
        assert_eq!(lines, ["`model.layers.0.self_attn.q_proj.weight` has no weight_scale"], "{config}");
    }
    let channel = compressed("float-quantized", &of(8, "float", "channel"), dynamic, "");
    let weights = |config: &str| {
        let sized = estimate::estimate(&llama(config, 1), None, &Options::default()).expect("defaults");
        (sized.weights_bytes, sized.terms[0].badge)
    };
    let (plain, badge) = weights(&channel);
    assert_eq!(badge, Badge::Exact);
    // By another name, and not left out: a byte a weight less, a scale a row.
    let named = channel.replace(r#"["lm_head"]"#, r#"["re:.*lm_head"]"#);
    assert_eq!(weights(&named), (plain, Badge::Exact));
    let head = channel.replace(r#"["lm_head"]"#, "[]");
    assert_eq!(weights(&head), (plain - (VOCAB * HIDDEN) as u64 + 2 * VOCAB as u64, Badge::Exact));
    // Where it is not certain what is left out, or a cache has scales, no number is exact.
    let unsure = [
        channel.replace(r#"["lm_head"]"#, r#"["lm_head","re:(?!.*mlp).*"]"#),
        channel.replace(r#""kv_cache_scheme":null"#, r#""kv_cache_scheme":{"num_bits":8}"#),
    ];
    // Others are not known here, which is told.
    let unknown = [
        compressed("nvfp4-pack-quantized", &of(4, "float", "tensor_group"), "null", ""),
        compressed("pack-quantized", &of(3, "int", "channel"), "null", ""),
        compressed("pack-quantized", &of(4, "int", "group"), "null", ""),
        compressed("marlin-24", group, "null", ""),
        compressed("pack-quantized", group, "null", "")
            .replace(r#""symmetric":true"#, r#""symmetric":false"#),
        channel.replace(r#"["Linear"]"#, r#"["re:.*mlp.*"]"#),
        channel.replace(r#""sparsity_config":{}"#, r#""sparsity_config":{"format":"sparse-24-bitmask"}"#),
        r#"{"quant_method":"compressed-tensors"}"#.to_owned(),
    ];
    for (config, is_known) in unsure.iter().map(|it| (it, true)).chain(unknown.iter().map(|it| (it, false))) {
        let decoder = llama(config, 1);
        assert_eq!(decoder.quantization.is_some(), is_known, "{config}");
        assert_eq!(decoder.unknown_quantization.is_none(), is_known, "{config}");
        let report = estimate::estimate(&decoder, None, &Options::default()).expect("defaults");
        assert_eq!(report.terms[0].badge, Badge::Formula, "{config}");
    }
}
