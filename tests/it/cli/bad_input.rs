//! Files that are wrong: one clear line, the right code, nothing allocated by a claim, no panic.

use std::fs::File;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::model_dir::ModelDir;
use crate::support::program::{Ran, preflight, program, run};

/// Commands that look at a config, and those that look at weights too.
const ON_CONFIG: [&[&str]; 2] = [&["inspect"], &["estimate"]];
const ON_WEIGHTS: [&[&str]; 4] = [&["inspect"], &["estimate"], &["load"], &["validate"]];

/// Runs commands on a path in both forms: the same code, one line, no panic.
fn refused(commands: &[&[&str]], path: &str, code: &str, says: &[&str]) {
    for command in commands {
        let args = [*command, &[path]].concat();
        let json = preflight(&[&args[..], &["--json"]].concat());
        assert_eq!((json.code, json.error_code().as_str()), (2, code), "{args:?}: {json:?}");
        let plain = preflight(&args);
        assert_eq!((plain.code, plain.stdout.as_str()), (2, ""), "{args:?}: {plain:?}");
        assert_eq!(plain.stderr.lines().count(), 1, "{args:?}: {}", plain.stderr);
        assert!(!plain.stderr.contains("panicked"), "{}", plain.stderr);
        for word in says {
            assert!(plain.stderr.contains(word), "{args:?}: no `{word}` in {}", plain.stderr);
        }
    }
}

#[test]
fn configs_that_are_no_config() {
    let model = ModelDir::of_case("mha_plain");
    for (bytes, says) in [
        ("", "0 bytes"),
        (" \n", "empty"),
        (r#"{"model_type":"phi3","#, "not valid JSON"),
        ("config = 1", "not valid JSON"),
        ("[1]", "not a JSON object"),
        (&"[".repeat(10_000), "nested deeper than 64"),
        (
            &format!(r#"{{"model_type":"phi3","x":{}{}}}"#, "[".repeat(10_000), "]".repeat(10_000)),
            "nested deeper than 64",
        ),
        (&format!(r#"{{"x":[{}0]}}"#, "0,".repeat(20_000)), "more than 16384 values"),
        (r#"{"model_type":"phi3","rope_theta":NaN}"#, "not valid JSON"),
        (r#"{"model_type":"phi3","rope_theta":1e999}"#, "not valid JSON"),
        ("{}", "model_type"),
    ] {
        model.write("config.json", bytes);
        refused(&ON_WEIGHTS, model.arg(), "config_invalid", &[says, "config.json"]);
    }
    std::fs::remove_file(model.file("config.json")).expect("removed");
    refused(&ON_WEIGHTS[1..], model.arg(), "incomplete_model", &["config.json"]);
    refused(&ON_CONFIG, model.file("config.json").to_str().expect("UTF-8"), "not_found", &["no such file"]);
}

/// A config is named where weights are needed, with weights beside it or without: what to name is said.
#[test]
fn a_config_alone_is_no_model_to_load() {
    let model = ModelDir::of_case("mha_plain");
    let config = model.file("config.json");
    let needs: [&[&str]; 3] = [&["load"], &["validate"], &["bench"]];
    let says = ["config.json: holds no weights", "give the directory that it lies in"];
    refused(&needs, config.to_str().expect("UTF-8"), "incomplete_model", &says);
    std::fs::remove_file(model.file("model.safetensors")).expect("removed");
    refused(&needs, config.to_str().expect("UTF-8"), "incomplete_model", &says);
    refused(&needs, model.arg(), "incomplete_model", &["holds no weights (model.safetensors"]);
}

/// What no disk has room for is told before a byte is written.
#[test]
fn a_checkpoint_larger_than_the_disk_is_not_begun() {
    let model = ModelDir::of_case("mha_plain");
    model.set_config(&json!({
        "hidden_size": 65_536, "intermediate_size": 262_144, "num_hidden_layers": 1000, "num_attention_heads": 512,
        "num_key_value_heads": 512, "head_dim": 128,
    }));
    let out = model.file("out");
    let config = model.file("config.json");
    let args = ["synth", config.to_str().expect("UTF-8"), out.to_str().expect("UTF-8"), "--dtype", "f32"];
    let ran = preflight(&args);
    assert_eq!((ran.code, ran.stderr.lines().count()), (2, 1), "{ran:?}");
    assert!(ran.stderr.contains("TiB are to be written") && ran.stderr.contains("free there"), "{ran:?}");
    let left = model.path().read_dir().expect("a folder").flatten();
    let names: Vec<_> = left.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    assert!(names.iter().all(|name| !name.starts_with("out")), "{names:?}");
}

/// With 160 MB of address space in all, a config of 200 MB can only be refused by its length.
#[test]
fn a_config_of_200_mb_is_not_read() {
    let dir = tempfile::tempdir().expect("a temporary directory");
    let path = dir.path().join("config.json");
    File::create(&path).and_then(|file| file.set_len(200_000_000)).expect("a sparse file");
    let within = |limit_kb: u32| -> Ran {
        let mut command = Command::new("sh");
        command.arg("-c").arg(format!(r#"ulimit -v {limit_kb} && exec "$0" inspect "$1" --json"#));
        run({
            command.arg(program("preflight")).arg(&path);
            command
        })
    };
    let ran = within(160_000);
    assert_eq!((ran.code, ran.error_code().as_str()), (2, "config_invalid"), "{ran:?}");
    assert!(ran.stdout.contains("200000000"), "{ran:?}");
}

#[test]
fn numbers_that_no_model_has() {
    let model = ModelDir::of_case("mha_plain");
    let huge = json!(9_007_199_254_740_993_u64);
    for (key, value) in [
        ("num_attention_heads", json!(0)),
        ("num_attention_heads", json!(-4)),
        ("num_attention_heads", huge.clone()),
        ("num_attention_heads", json!("3")),
        ("num_attention_heads", json!(2.5)),
        ("num_attention_heads", json!(5)),
        ("hidden_size", json!("3072")),
        ("num_hidden_layers", json!(1_u64 << 63)),
        ("num_hidden_layers", json!(i64::MIN)),
        ("vocab_size", json!(u64::MAX)),
        ("vocab_size", json!(1e300)),
        ("num_key_value_heads", json!(0)),
        ("num_key_value_heads", json!(-1)),
        ("num_key_value_heads", json!(2)),
        ("num_hidden_layers", json!(0)),
        ("num_hidden_layers", huge.clone()),
        ("hidden_size", json!(0)),
        ("hidden_size", huge.clone()),
        ("vocab_size", json!(-1)),
        ("vocab_size", huge),
        ("max_position_embeddings", json!(0)),
        ("max_position_embeddings", json!(1_u64 << 31)),
        ("rms_norm_eps", json!("small")),
    ] {
        model.set_config(&json!({ key: value, "head_dim": Value::Null }));
        refused(&ON_CONFIG, model.arg(), "config_invalid", &[key]);
        refused(&[&["load"]], model.arg(), "config_invalid", &[key]);
    }
}

/// JSON readers disagree on which of two values counts, so neither does.
#[test]
fn keys_that_stand_twice_are_named() {
    let model = ModelDir::of_case("mha_plain");
    let config = model.case["config"].to_string();
    let with = |more: &str| config.replacen('{', &format!("{{{more},"), 1);
    model.write("config.json", with(r#""hidden_size":64"#));
    refused(&ON_WEIGHTS, model.arg(), "config_invalid", &["`hidden_size` stands twice", "config.json"]);
    model.write("config.json", with(r#""x":[{"a":{"b":1,"\u0062":2}}]"#));
    refused(&ON_WEIGHTS, model.arg(), "config_invalid", &["`x[0].a.b` stands twice"]);

    model.write("config.json", &config);
    model.write("overrides.json", r#"{"torch_dtype":"float16","torch_dtype":"float32"}"#);
    let overrides = model.file("overrides.json");
    let args = ["estimate", model.arg(), "--load-config", overrides.to_str().expect("UTF-8"), "--json"];
    let ran = preflight(&args);
    assert_eq!((ran.code, ran.error_code().as_str()), (2, "load_config_invalid"), "{ran:?}");
    assert!(ran.stdout.contains("`torch_dtype` stands twice"), "{ran:?}");

    let sharded = ModelDir::of_case("sharded_plain");
    let index = std::fs::read_to_string(sharded.file("model.safetensors.index.json")).expect("an index");
    let entry = index.split_once("\"weight_map\"").and_then(|(_, map)| map.split_once('{')).expect("a map").1;
    let first = entry.split_once(',').expect("several").0.trim();
    let twice = index.replacen(first, &format!("{first},{first}"), 1);
    sharded.write("model.safetensors.index.json", twice);
    refused(&ON_WEIGHTS, sharded.arg(), "weights_corrupt", &["stands twice"]);
}

/// A header of 100 MB, all of it there: read, refused, and nothing more taken for it.
#[test]
fn a_header_of_100_mb_is_refused() {
    let model = ModelDir::of_case("mha_plain");
    for (claim, says) in [(100_000_000_u64, "no safetensors header"), (100_000_001, "at most 100000000")] {
        model.write("model.safetensors", [&claim.to_le_bytes()[..], b"{"].concat());
        let file = File::options().write(true).open(model.file("model.safetensors")).expect("there");
        file.set_len(100_000_016).expect("a sparse file");
        refused(&[&["inspect"]], model.arg(), "weights_corrupt", &[says, "model.safetensors"]);
    }
}

/// A GGUF file of one tensor, with a key or without.
fn gguf(key: &[u8], dims: &[u64], tensors: u64, data: usize) -> Vec<u8> {
    let name = [&1u64.to_le_bytes()[..], b"t"].concat();
    let dims = [
        &(dims.len() as u32).to_le_bytes()[..],
        &dims.iter().flat_map(|d| d.to_le_bytes()).collect::<Vec<_>>(),
    ]
    .concat();
    let tensor =
        [&name[..], &dims, &0u32.to_le_bytes(), &0u64.to_le_bytes()].concat().repeat(tensors as usize);
    let keys = u64::from(!key.is_empty());
    let head =
        [b"GGUF".as_slice(), &3u32.to_le_bytes(), &tensors.to_le_bytes(), &keys.to_le_bytes()].concat();
    let mut file = [&head[..], key, &tensor].concat();
    file.resize(file.len().next_multiple_of(32) + data, 0);
    file
}

#[test]
fn gguf_headers_that_lie() {
    let model = ModelDir::of_case("mha_plain");
    let alignment =
        [&17u64.to_le_bytes()[..], b"general.alignment", &4u32.to_le_bytes(), &0u32.to_le_bytes()].concat();
    for (file, says) in [
        (gguf(&alignment, &[4], 1, 64), "`general.alignment` is 0"),
        (gguf(b"", &[1 << 32, 1 << 32], 1, 64), "impossible shape"),
        // 2^62 + 1 values of four bytes are 4 bytes in 64 bits.
        (gguf(b"", &[(1 << 62) + 1], 1, 64), "impossible shape"),
        (gguf(b"", &[0], 2, 64), "impossible shape"),
        (gguf(b"", &[1 << 40], 1, 64), "it is cut"),
    ] {
        model.write("m.gguf", file);
        let path = model.file("m.gguf");
        refused(&ON_CONFIG, path.to_str().expect("UTF-8"), "weights_corrupt", &[says, "m.gguf"]);
    }
}

#[test]
fn factor_lists_of_the_wrong_length() {
    let model = ModelDir::of_case("mha_longrope_above");
    let scaling = &model.case["config"]["rope_scaling"];
    for (list, factors) in
        [("short_factor", json!([1.0])), ("long_factor", json!([])), ("long_factor", json!([-1.0]))]
    {
        let mut scaling = scaling.clone();
        scaling[list] = factors;
        model.set_config(&json!({ "rope_scaling": scaling }));
        refused(&ON_WEIGHTS, model.arg(), "config_invalid", &[list]);
    }
}

/// Kinds that another family has, that nobody has, and that are no kind: refused with those that there are.
#[test]
fn rope_scaling_of_a_kind_that_phi3_has_not() {
    let model = ModelDir::of_case("mha_plain");
    for (scaling, code, says) in [
        // In phi3 files this means longrope, which has lists.
        (json!({"type": "yarn", "factor": 4.0}), "config_invalid", "rope_scaling.short_factor"),
        (json!({"rope_type": "llama3", "factor": 8.0}), "unsupported_config", "phi3 knows default, longrope"),
        (json!({"type": "stretchy"}), "unsupported_config", "stretchy is not supported"),
        (json!("linear"), "config_invalid", "expected an object or null"),
        (json!({"type": "linear", "factor": 0.0}), "config_invalid", "rope_scaling.factor"),
    ] {
        model.set_config(&json!({ "rope_scaling": scaling }));
        refused(&[&["load"], &["validate"]], model.arg(), code, &[says]);
    }
}

#[test]
fn an_unknown_architecture() {
    let model = ModelDir::of_case("mha_plain");
    model.set_config(&json!({ "model_type": "mamba9" }));
    let inspected = preflight(&["inspect", model.arg(), "--json"]);
    assert_eq!((inspected.code, &inspected.json()["support"]), (3, &json!("unknown")));
    let estimated = preflight(&["estimate", model.arg(), "--json"]);
    assert_eq!((estimated.code, estimated.error_code().as_str()), (3, "unknown_architecture"));
    refused(&[&["load"], &["validate"]], model.arg(), "unknown_architecture", &["mamba9", "phi3"]);
}

#[test]
fn indexes_that_lead_elsewhere() {
    let model = ModelDir::of_case("mha_plain");
    let sharded = ModelDir::of_case("sharded_plain");
    let index: Value = serde_json::from_slice(
        &std::fs::read(sharded.file("model.safetensors.index.json")).expect("an index"),
    )
    .expect("JSON");
    let tensor = index["weight_map"].as_object().expect("a map").keys().next().expect("a tensor").clone();
    std::fs::remove_file(model.file("model.safetensors")).expect("removed");
    for path in ["../x", "/etc/x", "a/../../x", "sub/x.safetensors", "", "..", "C:\\x"] {
        let mut index = index.clone();
        index["weight_map"][&tensor] = json!(path);
        model.write("model.safetensors.index.json", index.to_string());
        refused(&ON_WEIGHTS, model.arg(), "unsafe_path", &["no plain file name"]);
    }
}

#[test]
fn shards_that_are_missing_are_all_named() {
    let model = ModelDir::of_case("sharded_plain");
    for shard in ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"] {
        std::fs::remove_file(model.file(shard)).expect("removed");
    }
    let both = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"];
    refused(&ON_WEIGHTS, model.arg(), "missing_shards", &both);
}

/// `inspect` reports all the same and names them; whatever needs the weights refuses.
#[test]
fn tensors_that_differ_are_all_named() {
    let needs_weights: [&[&str]; 4] =
        [&["estimate"], &["load"], &["validate"], &["logits", "--tokens", "1", "--out", "/no/such/dir/x"]];
    let model = ModelDir::of_case("mha_plain");
    let whole = preflight(&["inspect", model.arg(), "--json"]).json();
    let layers = model.case["config"]["num_hidden_layers"].as_u64().expect("a number");
    for (change, says) in [
        (
            json!({ "num_hidden_layers": layers + 1 }),
            [
                format!("model.layers.{layers}.self_attn.qkv_proj.weight` is missing"),
                format!("model.layers.{layers}.mlp.down_proj.weight` is missing"),
            ],
        ),
        (
            json!({ "num_hidden_layers": layers - 1 }),
            [
                format!("model.layers.{}.self_attn.qkv_proj.weight`", layers - 1),
                "is not in the config".to_owned(),
            ],
        ),
        (
            json!({ "intermediate_size": 8 }),
            [
                "layers.0.mlp.gate_up_proj.weight` is ".to_owned(),
                "layers.1.mlp.gate_up_proj.weight` is ".to_owned(),
            ],
        ),
    ] {
        model.set_config(&change);
        let says: Vec<&str> = says.iter().map(String::as_str).collect();
        for command in needs_weights {
            let args = [command, &[model.arg()]].concat();
            let plain = preflight(&args);
            assert_eq!((plain.code, plain.stdout.as_str()), (2, ""), "{args:?}: {plain:?}");
            assert!(says.iter().all(|word| plain.stderr.contains(word)), "{args:?}: {plain:?}");
        }

        let json = preflight(&["inspect", model.arg(), "--json"]);
        assert_eq!((json.code, json.error_code().as_str()), (2, "weights_mismatch"), "{json:?}");
        let report = json.json();
        assert!(report["error"]["path"].as_str().is_some_and(|path| path.ends_with("model.safetensors")));
        assert_eq!(report["params"]["total"], whole["params"]["total"], "the headers count, not the config");
        assert_eq!(report["params"]["groups"], whole["params"]["groups"], "they add up to the total");
        let findings = report["findings"].as_array().expect("a list");
        let of = |code: &str| {
            let of_code = findings.iter().filter(|finding| finding["code"] == code);
            assert!(of_code.clone().all(|finding| finding["severity"] == "error"), "{findings:?}");
            of_code.map(|finding| finding["message"].as_str().expect("words")).collect::<Vec<_>>()
        };
        assert_eq!(of("params_mismatch").len(), 1, "{findings:?}");
        let differences = of("tensors_differ");
        for word in says {
            assert!(differences.iter().any(|line| line.contains(word)), "no `{word}` in {differences:?}");
        }

        let plain = preflight(&["inspect", model.arg()]);
        assert_eq!((plain.code, plain.stderr.lines().count()), (2, 1), "{plain:?}");
        assert!(plain.stderr.contains("does not match the config"), "{plain:?}");
        assert!(
            plain.stdout.contains("parameters") && plain.stdout.contains("num_hidden_layers"),
            "{plain:?}"
        );
    }
}

#[test]
fn what_is_no_weight_file() {
    let model = ModelDir::of_case("mha_plain");
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 4972489328\n";
    for (bytes, says) in [
        (pointer.as_bytes(), "Git-LFS"),
        (b"<!DOCTYPE html><html><body>404</body></html>", "HTML"),
        (b"", "empty"),
        (b"PK\x03\x04rest", "zip"),
    ] {
        model.write("model.safetensors", bytes);
        refused(&ON_WEIGHTS, model.arg(), "not_a_weight_file", &[says, "model.safetensors"]);
    }
    model.write("model.safetensors", [&u64::MAX.to_le_bytes()[..], b"{}"].concat());
    refused(&ON_WEIGHTS, model.arg(), "weights_corrupt", &["model.safetensors"]);
    // Pickles alone: nothing is read of them, and that is why there are no weights.
    std::fs::rename(model.file("model.safetensors"), model.file("pytorch_model.bin")).expect("renamed");
    refused(&[&["load"], &["validate"]], model.arg(), "incomplete_model", &["pickled", "take safetensors"]);
}

#[test]
fn truncated_weights() {
    let model = ModelDir::of_case("mha_plain");
    let whole = std::fs::read(model.file("model.safetensors")).expect("weights");
    for len in [5, 100, whole.len() / 2, whole.len() - 1] {
        model.write("model.safetensors", &whole[..len]);
        refused(&[&["inspect"], &["load"]], model.arg(), "weights_corrupt", &["model.safetensors"]);
    }
}

#[test]
fn special_files_are_not_opened() {
    let model = ModelDir::of_case("mha_plain");
    std::fs::remove_file(model.file("model.safetensors")).expect("removed");
    std::os::unix::fs::symlink("/dev/zero", model.file("model.safetensors")).expect("linked");
    refused(&ON_WEIGHTS, model.arg(), "not_a_file", &["device"]);
    std::fs::remove_file(model.file("model.safetensors")).expect("removed");
    std::fs::create_dir(model.file("model.safetensors")).expect("made");
    refused(&ON_WEIGHTS, model.arg(), "not_a_file", &["directory"]);
    refused(&[&["inspect"]], "/dev/null", "unknown_file_kind", &[]);
}

#[test]
fn a_config_alone_cannot_be_run() {
    refused(&[&["load"], &["validate"]], "preset:phi-4", "incomplete_model", &["weights"]);
}

#[test]
fn convert_refuses_what_is_no_gguf() {
    let model = ModelDir::of_case("mha_plain");
    let (source, out) = (model.file("bad.gguf"), model.file("out"));
    let convert = || preflight(&["convert", source.to_str().expect("UTF-8"), out.to_str().expect("UTF-8")]);
    for bytes in [
        &b""[..],
        b"GGUF",
        b"<html>",
        b"GGUF\x03\x00\x00\x00\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x0f",
    ] {
        std::fs::write(&source, bytes).expect("written");
        let ran = convert();
        assert_eq!((ran.code, ran.stderr.lines().count()), (2, 1), "{ran:?}");
        assert!(!out.exists(), "nothing is left behind");
    }
    std::fs::create_dir(&out).expect("made");
    std::fs::write(out.join("x"), "").expect("written");
    assert!(convert().stderr.contains("not empty"));
}
