use super::*;
use crate::config::ModelConfig;
use crate::weights::BytesSource;
use pollster::block_on;

const CONFIG: &str = r#"{"model_type":"phi3","hidden_size":4,"intermediate_size":6,"num_hidden_layers":1,
    "num_attention_heads":2,"num_key_value_heads":1,"vocab_size":5,"max_position_embeddings":16,"tie_word_embeddings":TIED}"#;

fn config(tied: bool) -> ModelConfig {
    ModelConfig::parse(CONFIG.replace("TIED", &tied.to_string()).as_bytes()).expect("good")
}

/// A file of f32 tensors, each filled with the number of its position.
fn file(tensors: &[(&str, &[usize])]) -> BytesSource<Vec<u8>> {
    let data: Vec<Vec<u8>> = tensors
        .iter()
        .enumerate()
        .map(|(i, (_, shape))| (i as f32).to_le_bytes().repeat(shape.iter().product()))
        .collect();
    let views = tensors.iter().zip(&data).map(|((name, shape), data)| {
        let dtype = safetensors::tensor::Dtype::F32;
        (*name, safetensors::tensor::TensorView::new(dtype, shape.to_vec(), data).expect("sizes agree"))
    });
    BytesSource(safetensors::serialize(views, None).expect("writes"))
}

fn whole(tied: bool) -> Vec<(String, Vec<usize>)> {
    crate::tensors::list(&config(tied).decoder()).map(|spec| (spec.name, spec.shape)).collect()
}

fn open(tensors: &[(String, Vec<usize>)]) -> Checkpoint<BytesSource<Vec<u8>>> {
    let borrowed: Vec<(&str, &[usize])> = tensors.iter().map(|(n, s)| (n.as_str(), s.as_slice())).collect();
    block_on(Checkpoint::from_safetensors(vec![("m.safetensors".to_owned(), file(&borrowed))])).expect("good")
}

#[test]
fn every_difference_from_the_config_is_named() {
    let mut tensors = whole(false);
    assert!(open(&tensors).check(&config(false).decoder()).is_ok());
    assert_eq!(
        open(&tensors).parameter_count(),
        crate::tensors::list(&config(false).decoder()).map(|s| s.count()).sum::<u64>()
    );

    tensors.retain(|(name, _)| !name.contains("o_proj") && !name.contains("down_proj"));
    tensors[0].1 = vec![6, 4];
    tensors.push(("model.layers.7.bias".to_owned(), vec![3]));
    let error = open(&tensors).check(&config(false).decoder()).expect_err("refused");
    let WeightsProblem::Mismatch(lines) = &error.problem else { panic!("{error}") };
    assert_eq!(
        lines,
        &[
            "`model.embed_tokens.weight` is [6, 4], expected [5, 4]",
            "`model.layers.0.self_attn.o_proj.weight` is missing, expected [4, 4]",
            "`model.layers.0.mlp.down_proj.weight` is missing, expected [4, 6]",
            "`model.layers.7.bias` [3] is not in the config",
        ]
    );
}

#[test]
fn a_tied_checkpoint_may_store_its_head_again_but_not_another_one() {
    let mut tensors = whole(false);
    // Unlike an untied one, it may do without.
    assert!(open(&whole(true)).check(&config(true).decoder()).is_ok());
    assert!(open(&whole(true)).check(&config(false).decoder()).is_err());

    let checkpoint = open(&tensors);
    assert!(checkpoint.check(&config(true).decoder()).is_ok());
    assert!(block_on(checkpoint.check_tied_head(&config(false).decoder())).is_ok());
    assert_eq!(
        block_on(checkpoint.check_tied_head(&config(true).decoder())).expect_err("differs").code(),
        "weights_mismatch"
    );

    let head = tensors.iter_mut().find(|(name, _)| name == "lm_head.weight").expect("untied");
    head.1 = vec![4, 4];
    assert!(open(&tensors).check(&config(true).decoder()).is_err());
}

#[test]
fn rotary_buffers_are_reported_and_not_counted() {
    let mut tensors = whole(false);
    let parameters = open(&tensors).parameter_count();
    tensors.push(("model.layers.0.self_attn.rotary_emb.inv_freq".to_owned(), vec![1]));
    let checkpoint = open(&tensors);
    assert!(checkpoint.check(&config(false).decoder()).is_ok());
    assert_eq!(checkpoint.parameter_count(), parameters);
    assert_eq!(checkpoint.findings()[0].code(), "ignored_buffers");
}

#[test]
fn integers_are_no_weights() {
    let mut bytes = file(&[("model.norm.weight", &[4])]).0;
    let at = bytes.windows(3).position(|w| w == b"F32").expect("there");
    bytes[at] = b'I';
    let checkpoint =
        block_on(Checkpoint::from_safetensors(vec![("m".to_owned(), BytesSource(bytes))])).expect("good");
    let error = checkpoint.check(&config(true).decoder()).expect_err("refused").to_string();
    assert!(error.contains("`model.norm.weight` is i32, expected a float format"), "{error}");
    assert_eq!(
        block_on(checkpoint.read_as_f32("model.norm.weight")).expect_err("refused").code(),
        "weights_unsupported"
    );
}

fn index(map: &str, total: u64) -> ShardIndex {
    let json = format!(r#"{{"metadata":{{"total_size":{total}}},"weight_map":{map}}}"#);
    ShardIndex::parse("model.safetensors.index.json", json.as_bytes()).expect("good")
}

const TWO: &str = r#"{"a":"1.safetensors","b":"2.safetensors"}"#;

fn shard(name: &str, tensors: &[(&str, &[usize])]) -> (String, BytesSource<Vec<u8>>) {
    (name.to_owned(), file(tensors))
}

#[test]
fn shards_are_joined_and_the_claimed_size_is_only_a_finding() {
    let files = || vec![shard("1.safetensors", &[("a", &[2])]), shard("2.safetensors", &[("b", &[3])])];
    let checkpoint = block_on(Checkpoint::from_shards(&index(TWO, 20), files())).expect("good");
    assert_eq!((checkpoint.stored_bytes(), checkpoint.findings().len()), (20, 0));
    assert_eq!(checkpoint.stored_dtype(), Some(DType::F32));
    assert_eq!(block_on(checkpoint.read_as_f32("b")).expect("there"), [0.0; 3]);
    let checkpoint = block_on(Checkpoint::from_shards(&index(TWO, 21), files())).expect("good");
    assert_eq!(checkpoint.findings(), [WeightsFinding::TotalSize { claimed: 21, stored: 20 }]);
}

#[test]
fn shards_that_differ_from_their_index_are_refused_with_names() {
    let refused = |map: &str, files| {
        let error = block_on(Checkpoint::from_shards(&index(map, 0), files)).expect_err("refused");
        format!("{} {error}", error.code())
    };
    let three = r#"{"a":"1.safetensors","b":"2.safetensors","c":"3.safetensors"}"#;
    let text = refused(three, vec![shard("1.safetensors", &[("a", &[1])])]);
    assert!(text.starts_with("missing_shards") && text.contains("2.safetensors, 3.safetensors"), "{text}");

    let both =
        vec![shard("1.safetensors", &[("a", &[1]), ("b", &[1])]), shard("2.safetensors", &[("b", &[1])])];
    let text = refused(TWO, both);
    assert!(text.contains("`b` is in 1.safetensors and in 2.safetensors"), "{text}");

    let swapped = vec![shard("1.safetensors", &[("b", &[1])]), shard("2.safetensors", &[("x", &[1])])];
    let text = refused(TWO, swapped);
    for part in [
        "`a` is not in 1.safetensors",
        "`b` is in 1.safetensors, not in 2.safetensors",
        "`x` of 2.safetensors is not in the index",
    ] {
        assert!(text.contains(part), "{text}");
    }
}

#[test]
fn conversion_to_f32_takes_every_float_format_across_pieces() {
    let count = PIECE_BYTES as usize / 4 + 3;
    let values: Vec<f32> = (0..count).map(|i| (i % 251) as f32 - 125.0).collect();
    let encode = |dtype| -> Vec<u8> {
        match dtype {
            "F64" => values.iter().flat_map(|v| f64::from(*v).to_le_bytes()).collect(),
            "F32" => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
            "BF16" => values.iter().flat_map(|v| half::bf16::from_f32(*v).to_le_bytes()).collect(),
            _ => values.iter().flat_map(|v| half::f16::from_f32(*v).to_le_bytes()).collect(),
        }
    };
    for dtype in ["F64", "F32", "BF16", "F16"] {
        let data = encode(dtype);
        let header =
            format!(r#"{{"a":{{"dtype":"{dtype}","shape":[{count}],"data_offsets":[0,{}]}}}}"#, data.len());
        let mut bytes = (header.len() as u64).to_le_bytes().to_vec();
        bytes.extend_from_slice(header.as_bytes());
        bytes.extend_from_slice(&data);
        let files = vec![("m".to_owned(), BytesSource(bytes))];
        let checkpoint = block_on(Checkpoint::from_safetensors(files)).expect("good");
        // Whole numbers below 256 are exact in each of them.
        assert_eq!(block_on(checkpoint.read_as_f32("a")).expect("there"), values, "{dtype}");
    }
}

/// A few hundred bytes of config describe hundreds of millions of tensors: no list of them is made.
#[test]
fn a_config_of_countless_tensors_is_told_briefly() {
    let json = br#"{"model_type":"qwen3_moe","num_hidden_layers":4096,"num_experts":65536}"#;
    let decoder = Decoder::parse(json).expect("within the limits of a config");
    let lines = open(&whole(true)).named_differences(&decoder);
    let text = lines.join("\n");
    assert!(text.len() < 10_000, "{} bytes", text.len());
    assert!(text.contains("experts.{0..") && text.contains("and more"), "{text}");
}

/// Both families, since one is checked by name and the other is not: no parameter twice, no byte held twice.
#[test]
fn a_tied_head_that_is_stored_is_counted_once() {
    use crate::decoder::Decoder;
    use crate::estimate::{self, Options};
    for model_type in ["llama", "phi3"] {
        let json = CONFIG.replace("TIED", "true").replace("phi3", model_type);
        let decoder = Decoder::parse(json.as_bytes()).expect("good");
        let mut tensors: Vec<_> =
            crate::tensors::list(&decoder).map(|spec| (spec.name, spec.shape)).collect();
        let without = estimate::stored_count(&open(&tensors).language_model(&decoder));
        assert_eq!(open(&tensors).tied_head(&decoder), None);
        tensors.push(("lm_head.weight".to_owned(), vec![5, 4]));
        let checkpoint = open(&tensors);
        let stored = checkpoint.language_model(&decoder);
        let report = estimate::estimate(&decoder, Some(&stored), &Options::default()).expect("defaults");
        assert_eq!((report.params_total, report.weights_bytes), (without, 4 * without), "{model_type}");
        assert_eq!(report.params_total, estimate::params(&decoder).total);
        assert_eq!(checkpoint.tied_head(&decoder).map(|note| note.code()), Some("tied_head_stored"));
        assert_eq!(checkpoint.named_differences(&decoder), Vec::<String>::new());
    }
}

/// Published files of Gemma 3n still hold keys and values of layers that read another one's, those of Qwen3-Next layers
/// that predict further ahead: the classes leave both, and so do count and check, saying so.
#[test]
fn what_the_class_does_not_load_is_named_and_not_counted() {
    use crate::decoder::Decoder;
    use crate::estimate;
    const SIZES: &str = r#""hidden_size":8,"intermediate_size":6,"num_attention_heads":2,"num_key_value_heads":1,"head_dim":4,"vocab_size":5"#;
    for (keys, left, named) in [
        (
            r#""model_type":"gemma3n_text","num_hidden_layers":3,"layer_types":["full_attention","full_attention","full_attention"],
            "num_kv_shared_layers":1,"hidden_size_per_layer_input":2,"vocab_size_per_layer_input":5"#,
            "model.layers.2.self_attn.k_proj.weight",
            "model.layers.1.self_attn.k_proj.weight",
        ),
        (
            r#""model_type":"qwen3_next","num_hidden_layers":2,"num_experts":2,"num_experts_per_tok":1,
            "moe_intermediate_size":4,"shared_expert_intermediate_size":4,"linear_num_key_heads":1,
            "linear_num_value_heads":2,"linear_key_head_dim":4,"linear_value_head_dim":4"#,
            "mtp.layers.0.mlp.gate.weight",
            "model.layers.0.linear_attn.conv1d.bias",
        ),
    ] {
        let decoder = Decoder::parse(format!("{{{keys},{SIZES}}}").as_bytes()).expect("good");
        let mut tensors: Vec<_> =
            crate::tensors::list(&decoder).map(|spec| (spec.name, spec.shape)).collect();
        let whole = open(&tensors);
        assert_eq!((whole.not_loaded(&decoder), whole.named_differences(&decoder)), (None, Vec::new()));
        let count = estimate::params(&decoder).total;
        assert_eq!(estimate::stored_count(&whole.language_model(&decoder)), count);
        tensors.push((left.to_owned(), vec![4, 8]));
        let more = open(&tensors);
        assert_eq!(
            more.not_loaded(&decoder),
            Some(WeightsFinding::NotLoaded(OtherParts { tensors: 1, bytes: 128 }))
        );
        assert_eq!(estimate::stored_count(&more.language_model(&decoder)), count);
        assert_eq!(more.named_differences(&decoder), Vec::<String>::new());
        // Another name is a difference as everywhere: too few where it should be, too many where it should not.
        let held = tensors.len();
        tensors.retain(|(name, _)| name != named);
        if tensors.len() == held {
            tensors.push((named.to_owned(), vec![3]));
        }
        let lines = open(&tensors).named_differences(&decoder);
        assert!(lines.len() == 1 && lines[0].contains(named), "{lines:?}");
    }
}

/// A model with an encoder needs memory for both: the encoder's tensors are a term of their own, in whatever format the
/// language model is planned, on whatever device its embedding lies.
#[test]
fn parts_beside_the_language_model_are_a_term_of_the_need() {
    use crate::decoder::Decoder;
    use crate::estimate::fit::Verdict;
    use crate::estimate::{self, Badge, Options, Size};
    let json = CONFIG.replace("TIED", "false").replace("phi3", "phi3_v");
    let config = json.replace("{", r#"{"img_processor":{"name":"clip"},"#);
    let decoder = Decoder::parse(config.as_bytes()).expect("good");
    let listed: Vec<_> = crate::tensors::list(&decoder).map(|spec| (spec.name, spec.shape)).collect();
    let mut tensors = listed.clone();
    assert_eq!(open(&tensors).other_parts(&decoder), None);
    tensors.push(("model.vision_embed_tokens.img_processor.a.weight".to_owned(), vec![100, 1000]));
    tensors.push(("model.vision_embed_tokens.glb_GN".to_owned(), vec![1, 4]));
    let checkpoint = open(&tensors);
    let (stored, parts) = (checkpoint.language_model(&decoder), checkpoint.other_parts(&decoder));
    assert_eq!(parts, Some(OtherParts { tensors: 2, bytes: 400_016 }));
    assert_eq!(checkpoint.named_differences(&decoder), Vec::<String>::new());
    let told = checkpoint.findings_of(&decoder).iter().map(ToString::to_string).collect::<Vec<_>>();
    let beside = "2 tensors (390.64 KiB) beside the language model, of picture encoder: a term of the need, `other_parts`, not among its parameters";
    assert_eq!(told, [beside]);

    let alone = Options::default();
    let alone = estimate::estimate(&decoder, Some(&stored), &alone).expect("defaults");
    let room = Some(Size(alone.total_bytes * 6 / 5 + 1));
    for dtype in [None, Some(DType::Q4_0.into())] {
        let options = Options { other_parts: parts, device_memory: room, dtype, ..Options::default() };
        let report = estimate::estimate(&decoder, Some(&stored), &options).expect("defaults");
        let term = report.terms.iter().find(|term| term.name == "other_parts").expect("a term");
        assert_eq!((term.bytes, term.badge), (400_016, Badge::Exact));
        assert_eq!(report.terms.iter().map(|term| term.bytes).sum::<u64>(), report.total_bytes);
        assert_eq!(report.params_total, estimate::params(&decoder).total);
        // The language model alone would fit.
        assert_ne!(report.fit.verdict, Some(Verdict::Fits), "{dtype:?}");
        assert!(report.fit.warnings[0].starts_with("picture encoder: counted"), "{:?}", report.fit.warnings);
    }
    assert!(alone.terms[0].formula.contains("the language model's tensors"), "{}", alone.terms[0].formula);
    assert!(
        alone.fit.warnings[0].starts_with("the language model alone, without picture encoder:"),
        "{:?}",
        alone.fit.warnings
    );
}

/// Hugging Face has it as a buffer, files hold it, loads hold it.
#[test]
fn corrections_of_scores_count_in_bytes_and_not_as_parameters() {
    use crate::decoder::Decoder;
    use crate::estimate::{self, Options};
    let json = r#"{"model_type":"deepseek_v3","hidden_size":8,"intermediate_size":6,"num_hidden_layers":3,
        "num_attention_heads":2,"num_key_value_heads":2,"vocab_size":5,"n_routed_experts":4,"num_experts_per_tok":1,
        "moe_intermediate_size":4,"first_k_dense_replace":1,"q_lora_rank":4,"kv_lora_rank":4,"qk_nope_head_dim":4,
        "qk_rope_head_dim":2,"v_head_dim":4,"num_nextn_predict_layers":1,"dtype":"float32"}"#;
    let decoder = Decoder::parse(json.as_bytes()).expect("good");
    let mut tensors: Vec<_> = crate::tensors::list(&decoder).map(|spec| (spec.name, spec.shape)).collect();
    for layer in [1, 2] {
        tensors.push((format!("model.layers.{layer}.mlp.gate.e_score_correction_bias"), vec![4]));
    }
    tensors.push(("model.layers.3.eh_proj.weight".to_owned(), vec![8, 16]));
    let checkpoint = open(&tensors);
    let params = estimate::params(&decoder).total;
    let stored = checkpoint.language_model(&decoder);
    let bytes = 4 * params + 2 * 4 * 4;
    for (stored, dtype) in [(Some(&stored), None), (None, None), (Some(&stored), Some(DType::F32.into()))] {
        let options = Options { dtype, ..Options::default() };
        let report = estimate::estimate(&decoder, stored, &options).expect("defaults");
        assert_eq!((report.params_total, report.weights_bytes), (params, bytes), "{dtype:?}");
    }
    let half = Options { dtype: Some(DType::Bf16.into()), ..Options::default() };
    let half = estimate::estimate(&decoder, Some(&stored), &half).expect("defaults");
    assert_eq!(half.weights_bytes, 2 * params + 2 * 4 * 4);
    let left = WeightsFinding::NotLoaded(OtherParts { tensors: 1, bytes: 4 * 8 * 16 });
    let held = WeightsFinding::HeldBuffers(OtherParts { tensors: 2, bytes: 2 * 4 * 4 });
    assert_eq!(checkpoint.findings_of(&decoder), [left, held]);
}
