//! Directories that hold less than a model, or more: what is said of them rests on what was read.

use phi3::decoder::Decoder;
use phi3::dtype::DType;
use phi3::tensors;
use phi3::weights::safetensors::{NewTensor, lay_out};
use serde_json::{Value, json};

use crate::support::model_dir::ModelDir;
use crate::support::program::preflight;

fn told(args: &[&str]) -> Value {
    let ran = preflight(&[args, &["--json"]].concat());
    assert_eq!(ran.code, 0, "{args:?}: {ran:?}");
    ran.json()
}

fn finding(report: &Value, code: &str) -> Option<String> {
    let findings = report["findings"].as_array().expect("a list");
    let found = findings.iter().find(|finding| finding["code"] == code)?;
    Some(found["message"].as_str().expect("words").to_owned())
}

#[test]
fn a_directory_without_weights_is_no_exact_answer() {
    let model = ModelDir::of_case("mha_plain");
    let whole = told(&["estimate", model.arg()]);
    assert_eq!(whole["terms"][0]["badge"], "exact");
    std::fs::remove_file(model.file("model.safetensors")).expect("removed");
    for (file, code, says) in [
        (None, "no_weights", "there are no weights here; sized from config.json alone"),
        (Some("pytorch_model.bin"), "pickle_not_read", "pytorch_model.bin is pickled, which is never read"),
    ] {
        if let Some(name) = file {
            model.write(name, "x");
        }
        let message = finding(&told(&["inspect", model.arg()]), code).expect(code);
        assert!(message.contains(says), "{message}");
        let report = told(&["estimate", model.arg()]);
        assert_eq!(
            (&report["terms"][0]["name"], &report["terms"][0]["badge"]),
            (&"weights".into(), &"formula".into())
        );
        let assumptions = report["assumptions"].as_array().expect("a list");
        let about = assumptions.iter().find(|assumption| assumption["name"] == "checkpoint").expect("said");
        assert!(about["value"].as_str().is_some_and(|value| value.contains(says)), "{about}");
    }
    // A config that is named is what was asked for.
    let config = model.file("config.json");
    let config = config.to_str().expect("UTF-8");
    assert_eq!(told(&["estimate", config])["terms"][0]["badge"], "exact");
    assert_eq!(finding(&told(&["inspect", config]), "no_weights"), None);
}

#[test]
fn weights_that_nothing_names_are_an_error() {
    let model = ModelDir::of_case("mha_plain");
    let name = "model-00001-of-00001.safetensors";
    std::fs::rename(model.file("model.safetensors"), model.file(name)).expect("renamed");
    for command in ["inspect", "estimate", "load"] {
        let ran = preflight(&[command, model.arg()]);
        assert_eq!((ran.code, ran.stderr.lines().count()), (2, 1), "{command}: {ran:?}");
        assert!(ran.stderr.contains(name) && ran.stderr.contains("name one file"), "{ran:?}");
    }
}

/// A checkpoint of the family that runs, which somebody packed: sized, and refused only where it would be loaded.
#[test]
fn a_packed_checkpoint_is_sized_and_not_loaded() {
    let model = ModelDir::of_case("mha_plain");
    model.set_config(&json!({
        "hidden_size": 128, "intermediate_size": 128, "num_hidden_layers": 1, "num_attention_heads": 2,
        "num_key_value_heads": 2, "vocab_size": 10, "torch_dtype": "bfloat16", "sliding_window": null,
        "tie_word_embeddings": false, "pad_token_id": 0, "eos_token_id": 1, "bos_token_id": 1,
        "quantization_config": { "quant_method": "awq", "bits": 4, "group_size": 128 },
    }));
    let (mut header, mut end) = (serde_json::Map::new(), 0_u64);
    let mut add = |name: &str, dtype: &str, width: u64, shape: &[u64]| {
        let bytes = width * shape.iter().product::<u64>();
        let entry = json!({ "dtype": dtype, "shape": shape, "data_offsets": [end, end + bytes] });
        header.insert(name.to_owned(), entry);
        end += bytes;
    };
    add("model.embed_tokens.weight", "F16", 2, &[10, 128]);
    add("lm_head.weight", "F16", 2, &[10, 128]);
    add("model.norm.weight", "F16", 2, &[128]);
    for norm in ["input_layernorm", "post_attention_layernorm"] {
        add(&format!("model.layers.0.{norm}.weight"), "F16", 2, &[128]);
    }
    let projections = [
        ("self_attn.qkv_proj", 384),
        ("self_attn.o_proj", 128),
        ("mlp.gate_up_proj", 256),
        ("mlp.down_proj", 128),
    ];
    for (name, rows) in projections {
        let name = format!("model.layers.0.{name}");
        add(&format!("{name}.qweight"), "I32", 4, &[128, rows / 8]);
        add(&format!("{name}.scales"), "F16", 2, &[1, rows]);
        add(&format!("{name}.qzeros"), "I32", 4, &[1, rows / 8]);
    }
    let header = Value::Object(header).to_string();
    let mut file = (header.len() as u64).to_le_bytes().to_vec();
    file.extend(header.as_bytes());
    file.resize(file.len() + end as usize, 0);
    std::fs::write(model.file("model.safetensors"), file).expect("written");

    let params: u64 = 2 * 10 * 128 + 3 * 128 + 128 * projections.iter().map(|(_, rows)| rows).sum::<u64>();
    let report = told(&["estimate", model.arg()]);
    assert_eq!((&report["weights_bytes"], &report["params_total"]), (&end.into(), &params.into()));
    assert_eq!(told(&["estimate", model.arg(), "--dtype", "bf16"])["weights_bytes"], 2 * params);
    let inspected = told(&["inspect", model.arg()]);
    assert_eq!((&inspected["params"]["total"], &inspected["support"]), (&params.into(), &"estimate".into()));
    assert_eq!(finding(&inspected, "tensors_differ"), None);
    let loaded = preflight(&["load", model.arg()]);
    assert_eq!((loaded.code, loaded.stderr.lines().count()), (2, 1), "{loaded:?}");
}

/// A file of weights without a config: what its headers hold, of an architecture that nothing names.
#[test]
fn weights_alone_are_counted() {
    let model = ModelDir::of_case("mha_plain");
    let whole = told(&["inspect", model.arg()]);
    std::fs::remove_file(model.file("config.json")).expect("removed");
    let lone = model.file("model.safetensors");
    let lone = lone.to_str().expect("UTF-8");
    for path in [lone, model.arg()] {
        let ran = preflight(&["inspect", path, "--json"]);
        assert_eq!(ran.code, 3, "{path}: {ran:?}");
        let report = ran.json();
        assert_eq!((&report["support"], &report["architecture"]), (&json!("unknown"), &Value::Null));
        assert_eq!(report["params"]["total"], whole["params"]["total"]);
        let held = finding(&report, "stored_tensors").expect("said");
        assert!(held.contains(" tensors, ") && held.contains(" in bf16"), "{held}");
        assert!(finding(&report, "no_config").is_some());
        let page = preflight(&["inspect", path]);
        assert!(page.stdout.contains("no architecture named: this build does not know it"), "{page:?}");
        // Nothing can be sized of it.
        let estimate = preflight(&["estimate", path]);
        assert_eq!(estimate.code, 2, "{estimate:?}");
        assert!(estimate.stderr.contains("holds no config.json"), "{estimate:?}");
    }
    // Names tell what the config would.
    let groups = whole["params"]["groups"].as_array().expect("a list").iter();
    let groups: Vec<&Value> = groups.filter(|group| group["count"] != 0).collect();
    assert!(groups.len() >= 5, "{groups:?}");
    // Without an index all of them.
    std::fs::rename(lone, model.file("a.safetensors")).expect("renamed");
    assert_eq!(
        preflight(&["inspect", model.arg(), "--json"]).json()["params"],
        json!({ "total": whole["params"]["total"], "groups": groups })
    );
    std::fs::remove_file(model.file("a.safetensors")).expect("removed");
    let empty = preflight(&["inspect", model.arg()]);
    assert!(empty.code == 2 && empty.stderr.contains("holds no config.json"), "{empty:?}");
}

#[test]
fn weights_that_are_not_used_are_told() {
    let single = ModelDir::of_case("mha_plain");
    assert_eq!(finding(&told(&["inspect", single.arg()]), "weights_not_used"), None);
    single
        .write("model.safetensors.index.json", r#"{"weight_map":{"a":"model-00001-of-00001.safetensors"}}"#);
    let sharded = ModelDir::of_case("sharded_plain");
    assert_eq!(finding(&told(&["inspect", sharded.arg()]), "weights_not_used"), None);
    std::fs::copy(single.file("model.safetensors"), sharded.file("stray.safetensors")).expect("copied");
    for (model, used, unused) in [
        (&single, "model.safetensors is used", "model.safetensors.index.json"),
        (&sharded, "what model.safetensors.index.json names is used", "stray.safetensors"),
    ] {
        let message = finding(&told(&["inspect", model.arg()]), "weights_not_used").expect("said");
        assert!(message.starts_with(used) && message.ends_with(&format!(": {unused}")), "{message}");
        let estimate = told(&["estimate", model.arg()]);
        let assumptions = estimate["assumptions"].as_array().expect("a list");
        assert!(assumptions.iter().any(|assumption| assumption["value"] == message), "{assumptions:?}");
    }
}

/// Formats that no engine here computes in: the file is read, and every tensor in one of them is named.
#[test]
fn tensors_in_formats_that_are_not_computed_in_are_named() {
    let model = ModelDir::of_case("mha_plain");
    let bytes = std::fs::read(model.file("model.safetensors")).expect("readable");
    let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight"));
    let mut header: Value = serde_json::from_slice(&bytes[8..][..length as usize]).expect("JSON");
    let mut data = bytes[8 + length as usize..].to_vec();
    for (name, dtype, shape, len) in [
        ("model.norm.scale", "F8_E8M0", json!([4]), 4),
        ("x", "F4", json!([4, 3]), 6),
        ("y", "C64", json!([2]), 16),
    ] {
        let range = json!([data.len(), data.len() + len]);
        header[name] = json!({ "dtype": dtype, "shape": shape, "data_offsets": range });
        data.resize(data.len() + len, 0);
    }
    let header = header.to_string();
    let file = [&(header.len() as u64).to_le_bytes()[..], header.as_bytes(), &data].concat();
    std::fs::write(model.file("model.safetensors"), file).expect("written");
    let ran = preflight(&["inspect", model.arg(), "--json"]);
    let differ = finding(&ran.json(), "tensors_differ").expect("said");
    for name in ["`model.norm.scale` [4]", "`x` [4, 3]", "`y` [2]"] {
        assert!(differ.contains(name), "{differ}");
    }
    std::fs::remove_file(model.file("config.json")).expect("removed");
    let alone = preflight(&["inspect", model.arg(), "--json"]).json();
    let held = finding(&alone, "stored_tensors").expect("said");
    assert!(
        held.contains("12 in f4") && held.contains("4 in f8_e8m0") && held.contains("2 in c64"),
        "{held}"
    );
}

/// Without a layer, or a matrix, a checkpoint is not that of its config, of whichever family: no sum is told that lacks it.
#[test]
fn a_checkpoint_that_lacks_a_matrix_is_refused_of_every_family() {
    let config = json!({
        "model_type": "llama", "hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 3,
        "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 100, "max_position_embeddings": 64,
        "torch_dtype": "bfloat16", "tie_word_embeddings": false,
    });
    let decoder = Decoder::parse(config.to_string().as_bytes()).expect("a known family");
    let folder = tempfile::tempdir().expect("a temporary directory");
    let path = folder.path().to_str().expect("UTF-8");
    std::fs::write(folder.path().join("config.json"), config.to_string()).expect("written");
    let estimate = |left_out: &str| {
        let held =
            tensors::list(&decoder).filter(|spec| left_out.is_empty() || !spec.name.contains(left_out));
        let held = held.map(|spec| NewTensor { name: spec.name, dtype: DType::Bf16, shape: spec.shape });
        let layout = lay_out(held.collect(), u64::MAX).remove(0);
        let mut bytes = layout.header.clone();
        bytes.resize(layout.file_bytes() as usize, 0);
        std::fs::write(folder.path().join("model.safetensors"), bytes).expect("written");
        preflight(&["estimate", path, "--json"])
    };
    assert_eq!(estimate("").code, 0);
    for left_out in ["lm_head", "layers.1.", "mlp", "self_attn", "layers.2.mlp.down_proj"] {
        let ran = estimate(left_out);
        assert_eq!((ran.code, ran.error_code().as_str()), (2, "weights_mismatch"), "{left_out}: {ran:?}");
        assert!(ran.json()["error"]["message"].to_string().contains("is missing"), "{ran:?}");
    }
}
