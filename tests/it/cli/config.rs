//! `preflight config` and `preflight export`: what they print is what other programs read.

use std::io::Write as _;
use std::process::{Command, Stdio};

use phi3::export::{Model, Subject, Target, export};
use phi3::load_config::LoadConfig;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::support::http::Server;
use crate::support::model_dir::ModelDir;
use crate::support::program::{preflight, program};

/// Names and texts that try to leave their place.
const HOSTILE: [&str; 10] = [
    "a b",
    "it's",
    "$(touch x)`id`",
    "a\"; rm -rf /; echo \"",
    "new\nline",
    "'\\''",
    "\"\"\"\nSYSTEM x",
    "{{ '%s' % \"x\" }}\\",
    "-rf",
    "ünïcode \u{2028} 😀",
];

fn written(name: &str, text: &str, target: Target) -> String {
    let map = json!({
        "chat_template": text, "cache_dir": text, "revision": text, "offload_folder": text,
        "device_map": {text: 0, "b": "cpu"}, "max_memory": {"0": "12GiB"}, "use_fast": false,
        "rope_scaling": {"type": "linear", "factor": 2.0}, "sliding_window": null, "load_in_4bit": true,
    });
    let load_config = LoadConfig::from_map(map.as_object().expect("an object")).expect("valid");
    let model = Model::Hub(name.to_owned());
    let subject = Subject {
        model: &model,
        config: None,
        load_config: &load_config,
        context: Some(4096),
        kv_dtype: None,
        device_memory: None,
    };
    export(&subject, target).text
}

/// Runs a program with a text on stdin; its stdout where it succeeds.
fn piped(program: &str, args: &[&str], text: &str) -> String {
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    child.stdin.take().expect("piped").write_all(text.as_bytes()).expect("written");
    let output = child.wait_with_output().expect("ended");
    assert!(output.status.success(), "{program}: {}\n{text}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The words that a shell makes of a command line, by Python's shlex and by sh itself.
fn words(line: &str) -> Vec<String> {
    let split = "import json, shlex, sys; print(json.dumps(shlex.split(sys.stdin.read())))";
    let words: Vec<String> = serde_json::from_str(&piped("python3", &["-c", split], line)).expect("a list");
    // `printf` in the place of the program shows what sh hands over.
    let program = words.iter().position(|word| !word.contains('=')).expect("a program");
    let printed = line.replacen(words[program].as_str(), "printf '%s\\0'", 1);
    let by_shell = piped("sh", &["-s"], &printed);
    let by_shell: Vec<&str> = by_shell.strip_suffix('\0').expect("words").split('\0').collect();
    // shlex runs nothing, so characters that `printf` makes stay commands to it.
    if !line.contains("\"$(printf '") {
        assert_eq!(by_shell, words[program + 1..].iter().map(String::as_str).collect::<Vec<_>>(), "{line}");
    }
    assert!(!line.contains(|c: char| c.is_control() && c != '\n'), "{line:?}");
    words[..=program].iter().cloned().chain(by_shell.into_iter().map(str::to_owned)).collect()
}

#[test]
fn a_template_that_no_load_could_use_is_told_when_it_is_checked() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let file = folder.path().join("load_config.json");
    let file = file.to_str().expect("UTF-8");
    let check = |template: &str| {
        std::fs::write(file, json!({ "chat_template": template }).to_string()).expect("written");
        preflight(&["config", "check", file, "--json"])
    };
    let broken = check("{% for %}");
    let report: Value = serde_json::from_str(&broken.stdout).expect("JSON");
    assert_eq!((broken.code, &report["valid"]), (2, &json!(false)), "{broken:?}");
    assert_eq!(report["errors"][0]["path"], "chat_template", "{report}");
    let estimate = preflight(&["estimate", "preset:phi-3-mini-4k-instruct", "--load-config", file, "--json"]);
    assert_eq!((estimate.code, estimate.error_code().as_str()), (2, "load_config_invalid"), "{estimate:?}");
    let server = Server::start(&[]);
    let body = |template: &str| {
        json!({
            "source": { "preset": "phi-3-mini-4k-instruct" }, "options": { "load_config": { "chat_template": template } },
        })
    };
    let answer = server.post("/api/estimate", &body("{% for %}"));
    assert_eq!(answer.status, 422, "{answer:?}");
    assert_eq!(answer.json()["error"]["path"], "options.load_config.chat_template", "{answer:?}");
    let good = "{% for m in messages %}{{ m.content }}{% endfor %}";
    assert_eq!(server.post("/api/estimate", &body(good)).status, 200);
    assert_eq!(check(good).code, 0);
}

#[test]
fn a_snippet_is_python_and_holds_hostile_text_as_data() {
    let literals = "import ast, json, sys\n\
        tree = ast.parse(sys.stdin.read())\n\
        calls = [n.func.attr for n in ast.walk(tree) if isinstance(n, ast.Call) and isinstance(n.func, ast.Attribute)]\n\
        texts = [n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str)]\n\
        print(json.dumps([calls, texts]))";
    for target in [Target::FromPretrained, Target::FromPretrained4] {
        for hostile in HOSTILE {
            let snippet = written(hostile, hostile, target);
            let found: (Vec<String>, Vec<String>) =
                serde_json::from_str(&piped("python3", &["-c", literals], &snippet)).expect("two lists");
            assert!(
                found.0.iter().all(|call| ["from_pretrained", "items"].contains(&call.as_str())),
                "{snippet}"
            );
            // The model, the template, a module's name, and three arguments of a call or more.
            assert!(found.1.iter().filter(|text| *text == hostile).count() >= 6, "{snippet}");
        }
    }
}

#[test]
fn a_command_line_is_split_into_the_words_that_were_meant() {
    for target in [Target::Vllm, Target::LlamaCpp] {
        for hostile in HOSTILE {
            let line = written(hostile, hostile, target);
            let words = words(&line);
            let option = |name: &str| {
                let at =
                    words.iter().position(|word| word == name || word.starts_with(&format!("{name}=")))?;
                let joined = words[at].strip_prefix(&format!("{name}=")).map(str::to_owned);
                joined.or_else(|| words.get(at + 1).cloned())
            };
            assert_eq!(option("--chat-template").as_deref(), Some(hostile), "{line}");
            let expected = if hostile.starts_with('-') { format!("./{hostile}") } else { hostile.to_owned() };
            assert!(words.contains(&expected), "{line}");
            if target == Target::Vllm {
                let overrides = option("--hf-overrides").expect("overrides");
                let overrides: Value = serde_json::from_str(&overrides).expect("JSON");
                assert_eq!(overrides["rope_parameters"]["factor"], 2.0);
            }
        }
    }
}

#[test]
fn toml_is_read_back_as_it_was() {
    for hostile in HOSTILE {
        let table: toml::Table = written("m", hostile, Target::Toml).parse().expect("TOML");
        assert_eq!(table["chat_template"].as_str(), Some(hostile));
        assert_eq!(table["device_map"][hostile].as_str(), Some("cuda:0"));
        let json: Value = serde_json::from_str(&written("m", hostile, Target::Json)).expect("JSON");
        let mut from_toml = serde_json::to_value(&table).expect("JSON");
        // The one thing that TOML cannot say.
        from_toml["sliding_window"] = Value::Null;
        assert_eq!(from_toml, json);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    #[test]
    fn no_text_leaves_a_shell_word(text in "[^\0]{1,20}") {
        for target in [Target::Vllm, Target::LlamaCpp] {
            let words = words(&written("m", &text, target));
            let joined = format!("={text}");
            prop_assert!(words.iter().any(|word| *word == text || word.ends_with(&joined)));
        }
    }

    #[test]
    fn no_text_leaves_its_toml_string(text in any::<String>().prop_filter("empty", |text| !text.is_empty())) {
        let table: toml::Table = written("m", &text, Target::Toml).parse().expect("TOML");
        prop_assert_eq!(table["chat_template"].as_str(), Some(text.as_str()));
    }
}

#[test]
fn check_names_everything_at_once() {
    let model = ModelDir::of_case("mha_plain");
    let check = |json: &str| {
        model.write("row.json", json);
        preflight(&["config", "check", model.file("row.json").to_str().expect("UTF-8"), "--json"])
    };
    let good = check(r#"{"torch_dtype": "float16", "max_memory": {"0": "12GiB"}}"#);
    assert_eq!(good.code, 0, "{good:?}");
    let report = good.json();
    assert_eq!(report["load_config"], json!({"dtype": "float16", "max_memory": {"0": 12_884_901_888_u64}}));
    assert_eq!((&report["valid"], &report["values"][0]["effect"]), (&json!(true), &json!("honoured")));
    let bad = check(r#"{"torch_dtpye": "float16", "max_memory": {"0": "12G"}}"#);
    assert_eq!((bad.code, bad.error_code().as_str()), (2, "load_config_invalid"));
    let paths: Vec<_> =
        bad.json()["errors"].as_array().expect("errors").iter().map(|e| e["path"].clone()).collect();
    assert_eq!(paths, ["torch_dtpye", "max_memory.0"]);
    let refused = check(r#"{"use_fast": false}"#);
    assert_eq!((refused.code, &refused.json()["refused"][0]["path"]), (1, &json!("use_fast")));
    let scaled = check(r#"{"rope_scaling": {"type": "dynamic", "factor": 2}}"#);
    assert_eq!((scaled.code, &scaled.json()["values"][0]["effect"]), (1, &json!("refused")), "{scaled:?}");
    assert_eq!(check("[]").error_code(), "load_config_invalid");
}

/// What no model has is refused without one, in the words of an estimate; what this model does not have is refused by the
/// estimate, at the override.
#[test]
fn overrides_are_checked_alike_with_a_model_and_without() {
    let model = ModelDir::of_case("mha_plain");
    model.write("row.json", "{}");
    let row = model.file("row.json");
    let row = row.to_str().expect("UTF-8");
    let check = || preflight(&["config", "check", row, "--json"]);
    let estimate = |of: &str| preflight(&["estimate", of, "--load-config", row, "--json"]);
    let load = || preflight(&["load", model.arg(), "--load-config", row, "--json"]);
    for (json, path) in [
        (r#"{"sliding_window": 1e9}"#, "sliding_window"),
        (r#"{"sliding_window": 9223372036854775808}"#, "sliding_window"),
        (r#"{"rope_scaling": {"type": "linear", "factor": 1e9}}"#, "rope_scaling.factor"),
        (r#"{"rope_parameters": {"rope_theta": -4}}"#, "rope_parameters.rope_theta"),
        (
            r#"{"rope_scaling": {"type": "longrope", "short_factor": [-1.0], "long_factor": [1.0]}}"#,
            "rope_scaling.short_factor",
        ),
    ] {
        model.write("row.json", json);
        let (checked, estimated) = (check(), estimate("preset:phi-3-mini-4k-instruct"));
        assert_eq!((checked.code, estimated.code), (2, 2), "{json}: {checked:?} {estimated:?}");
        let [checked, estimated] = [checked, estimated].map(|ran| ran.json()["error"].clone());
        assert_eq!((&checked["path"], &estimated["path"]), (&json!(path), &json!(path)), "{json}");
        let words = checked["message"].as_str().expect("words");
        assert!(estimated["message"].as_str().is_some_and(|told| told.ends_with(words)), "{estimated}");
    }
    let lists =
        r#"{"rope_scaling": {"type": "longrope", "short_factor": [1, 1, 1], "long_factor": [1, 1, 1]}}"#;
    for (json, code, path) in [
        (lists, "load_config_invalid", "load_config.rope_scaling.short_factor"),
        (
            r#"{"rope_scaling": {"type": "dynamic", "factor": 2}}"#,
            "unsupported_load_config",
            "load_config.rope_scaling.rope_type",
        ),
        (
            r#"{"rope_scaling": {"type": "yarn", "factor": 2}}"#,
            "load_config_invalid",
            "load_config.rope_scaling.short_factor",
        ),
    ] {
        model.write("row.json", json);
        assert_ne!(check().code, 2, "{json}");
        let ran = estimate("preset:phi-3-mini-4k-instruct");
        assert_eq!((ran.code, ran.error_code().as_str()), (2, code), "{json}: {ran:?}");
        let error = &ran.json()["error"];
        assert_eq!(error["path"], json!(path), "{error}");
        // A load says the same; what no load of ours takes, it refuses before it looks at the model.
        let loaded = load();
        assert_eq!((loaded.code, loaded.error_code().as_str()), (2, code), "{json}: {loaded:?}");
        let is_of_model = code == "load_config_invalid";
        assert!(!is_of_model || loaded.json()["error"]["path"] == error["path"], "{json}: {loaded:?}");
        assert!(
            error["message"].as_str().is_some_and(|told| told.starts_with(&format!("{row}: load config: "))),
            "{error}"
        );
    }
    // What the file itself does wrong is the file's, whatever is overridden beside it.
    model.write("row.json", r#"{"sliding_window": 100}"#);
    model.write("bad.json", r#"{"model_type": "phi3", "hidden_size": -1}"#);
    let file = model.file("bad.json");
    let ran = estimate(file.to_str().expect("UTF-8"));
    assert_eq!(
        (ran.error_code().as_str(), &ran.json()["error"]["path"]),
        ("config_invalid", &json!("hidden_size"))
    );
}

#[test]
fn a_load_config_comes_from_a_pipe_too() {
    for file in ["-", "/dev/stdin"] {
        let mut command = Command::new(program("preflight"));
        command.args(["config", "check", file, "--json"]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("starts");
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all(br#"{"torch_dtype": "float16"}"#).expect("written");
        drop(stdin);
        let output = child.wait_with_output().expect("ends");
        assert_eq!(output.status.code(), Some(0), "{file}: {output:?}");
        let report: Value = serde_json::from_slice(&output.stdout).expect("JSON");
        assert_eq!(report["load_config"], json!({"dtype": "float16"}), "{file}");
    }
}

/// Of the value, not of the knob's others; and no `valid` where a load on this machine is refused.
#[test]
fn check_says_what_becomes_of_each_value() {
    let model = ModelDir::of_case("mha_plain");
    let file = model.file("row.json");
    let file = file.to_str().expect("UTF-8");
    model.write(
        "row.json",
        r#"{"device_map": "cuda:0", "attn_implementation": "sdpa", "use_fast": true, "use_cache": true}"#,
    );
    let report = preflight(&["config", "check", file, "--json"]).json();
    let effects: Vec<_> =
        report["values"].as_array().expect("values").iter().map(|v| v["effect"].clone()).collect();
    assert_eq!(effects, ["refused_on_cpu", "honoured", "honoured", "nothing"]);
    assert_eq!((&report["valid"], &report["refused"]), (&json!(true), &json!([])));
    let text = preflight(&["config", "check", file]).stdout;
    assert!(
        text.contains("valid; a load on the CPU is refused with it")
            && text.contains("cuda:0 takes a worker"),
        "{text}"
    );
    model.write("row.json", r#"{"use_fast": false, "device_map": "cpu"}"#);
    let report = preflight(&["config", "check", file, "--json"]).json();
    assert_eq!(
        (&report["values"][0]["effect"], &report["values"][1]["effect"]),
        (&json!("honoured"), &json!("refused"))
    );
    for (knob, says) in [("device_map", "balanced_low_0 ("), ("rope_scaling", "\"short_factor\"")] {
        let text = preflight(&["config", "explain", knob]).stdout;
        assert!(text.contains(says), "{text}");
    }
}

#[test]
fn eight_bits_are_sized_and_loaded() {
    let model = ModelDir::of_case("mha_plain");
    model.write("row.json", r#"{"load_in_8bit": true}"#);
    let file = model.file("row.json");
    let args = [model.arg(), "--load-config", file.to_str().expect("UTF-8"), "--json"];
    let estimate = preflight(&[&["estimate"], &args[..]].concat());
    assert_eq!(estimate.code, 0, "{estimate:?}");
    let whole = preflight(&["estimate", model.arg(), "--json"]).json();
    assert!(estimate.json()["weights_bytes"].as_u64() < whole["weights_bytes"].as_u64());
    let load = preflight(&[&["load"], &args[..]].concat());
    assert_eq!((load.code, &load.json()["engine"]["dtype"]), (0, &json!("q8_0")), "{load:?}");
    assert_eq!(load.json()["memory"]["measured"]["weights_bytes"], estimate.json()["weights_bytes"]);
}

#[test]
fn diff_explain_and_import_answer() {
    let model = ModelDir::of_case("mha_plain");
    let file = |name: &str, text: &str| {
        model.write(name, text);
        model.file(name).to_str().expect("UTF-8").to_owned()
    };
    let a = file("a.json", r#"{"torch_dtype": "float16", "device_map": {"": "cuda:0"}}"#);
    let b = file("b.json", r#"{"dtype": "fp16", "device_map": 0, "low_cpu_mem_usage": false}"#);
    let diff = preflight(&["config", "diff", &a, &b, "--json"]).json();
    let change = json!({"path": "low_cpu_mem_usage", "from": true, "to": false});
    assert_eq!(diff, json!({"changes": [change], "one_change": true}));

    let narrow = file("narrow.json", r#"{"dtype": "fp16", "device_map": 0, "quantization": "q8_0"}"#);
    let effect = preflight(&["config", "diff", &a, &narrow, "--model", "preset:phi-4", "--json"]).json();
    let bytes = |load_config: &str| {
        preflight(&["estimate", "preset:phi-4", "--load-config", load_config, "--json"]).json()["weights_bytes"].clone()
    };
    let expected = json!({"name": "weights", "now_bytes": bytes(&a), "then_bytes": bytes(&narrow)});
    assert_eq!(effect["effect"][0], expected, "{effect}");
    let told = preflight(&["config", "diff", &a, &narrow, "--model", "preset:phi-4"]).stdout;
    assert!(told.contains("with the parent") && told.contains("host load peak"), "{told}");

    let knob = preflight(&["config", "explain", "torch_dtype", "--json"]).json();
    assert_eq!((&knob["key"], &knob["default"]), (&json!("dtype"), &json!("auto")));
    let unknown = preflight(&["config", "explain", "slidingwindow", "--json"]);
    assert_eq!((unknown.code, unknown.error_code().as_str()), (2, "load_config_invalid"));
    assert!(preflight(&["config", "explain"]).stdout.lines().count() > 20);

    let csv = file("rows.csv", "name,load_config_json\nx,\"{\"\"use_cache\"\": true}\"\ny,{'a': None}\n");
    let imported = preflight(&["config", "import", &csv, "--json"]);
    assert_eq!(imported.code, 2, "{imported:?}");
    let report = imported.json();
    assert_eq!(report["rows"][0]["load_config"], json!({"use_cache": true}));
    assert_eq!(
        (&report["errors"][0]["row"], &report["errors"][0]["text"]),
        (&json!(2), &json!("{'a': None}"))
    );
}

#[test]
fn exports_go_to_stdout_and_losses_to_stderr() {
    let model = ModelDir::of_case("mha_plain");
    let ran = preflight(&["export", model.arg(), "--to", "ollama", "--context", "2048"]);
    assert_eq!(ran.code, 0, "{ran:?}");
    assert!(ran.stdout.ends_with("PARAMETER num_ctx 2048\n") && ran.stderr.is_empty(), "{ran:?}");
    // What an estimate is refused for makes no command either.
    let rope = r#"{"rope_scaling": {"rope_type": "longrope", "short_factor": [1.0], "long_factor": [2.0]}}"#;
    for (load_config, says) in [(rope, "factors"), (r#"{"device_map": {"nonsense": "cpu"}}"#, "nonsense")] {
        let file = model.file("odd.json");
        std::fs::write(&file, load_config).expect("written");
        let file = file.to_str().expect("UTF-8");
        let refused = preflight(&["export", model.arg(), "--to", "from_pretrained", "--load-config", file]);
        assert!(refused.code == 2 && refused.stderr.contains(says), "{refused:?}");
    }
    let hub = preflight(&["export", "hf:microsoft/phi-4@main", "--to", "vllm", "--json"]).json();
    assert_eq!(hub["text"], "vllm serve microsoft/phi-4 --revision main --tokenizer-revision main\n");
    let preset = preflight(&["export", "preset:phi-4", "--to", "from_pretrained"]);
    assert_eq!(preset.stderr.lines().count(), 1, "{preset:?}");
    // A config without weights is no folder that could be served.
    let path = model.file("config.json");
    let config = path.to_str().expect("UTF-8");
    let folder = preflight(&["export", config, "--to", "vllm"]);
    assert!(folder.stdout.contains(model.arg()) && folder.stderr.is_empty(), "{folder:?}");
    std::fs::copy(config, model.file("phi-4.json")).expect("copied");
    let alone = preflight(&["export", model.file("phi-4.json").to_str().expect("UTF-8"), "--to", "vllm"]);
    assert!(alone.stdout.contains("vllm serve phi-4") && alone.stderr.contains("no weights"), "{alone:?}");
    for hub in ["hf:a/b/c", "hf:-x/y", "hf:a/$(b)", "hf:a/b@"] {
        assert_eq!(preflight(&["export", hub, "--to", "json"]).code, 2, "{hub}");
    }
    let file = "https://huggingface.co/a/b/blob/main/c.gguf";
    assert_eq!(preflight(&["export", file, "--to", "llama.cpp", "--json"]).error_code(), "usage");
    assert_eq!(preflight(&["export", "preset:phi-4", "--to", "gguf"]).code, 2);
}
