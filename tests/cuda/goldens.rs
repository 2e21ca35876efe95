//! Against Hugging Face's own logits (see `goldens/README.md`): the cases and bounds of the CPU engine.

use std::path::PathBuf;

use phi3::config::{Fields, ModelConfig};
use phi3::dtype::DType;
use phi3::engine::Attention;
use phi3::generate::{Request, generate};
use phi3::load_config::LoadConfig;
use serde_json::Value;

use crate::support::{Bytes, cuda, folder, full, has_gpu, largest_difference, plan, tensors_of, tests_dir};

/// Bound in f32, by the largest logit.
const F32_BOUND: f64 = 2e-4;
const BOTH: [Attention; 2] = [Attention::Eager, Attention::Fused];

struct Case {
    name: String,
    json: Value,
    config: ModelConfig,
    checkpoint: Bytes,
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().expect("a list").iter().map(|id| id.as_u64().expect("an id") as u32).collect()
}

fn cases() -> Vec<Case> {
    let cases = tests_dir().join("goldens/cases");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(cases).expect("goldens").map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    assert!(files.len() >= 40, "only {} cases", files.len());
    let case = |path: &PathBuf| {
        let json: Value = serde_json::from_slice(&std::fs::read(path).expect("a case")).expect("JSON");
        let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
        let fields = Fields::from_map(json["config"].as_object().expect("a config").clone());
        let overrides = match json["load_config"].as_object() {
            Some(map) => LoadConfig::from_map(map).expect("a load config"),
            None => LoadConfig::default(),
        };
        let config = overrides.apply(&fields).unwrap_or_else(|error| panic!("{name}: {error}"));
        let checkpoint = folder(
            &tests_dir().join("goldens/checkpoints").join(json["checkpoint"].as_str().expect("a name")),
        );
        Case { name, json, config, checkpoint }
    };
    files.iter().map(case).collect()
}

impl Case {
    fn number(&self, path: &str) -> f64 {
        self.json.pointer(path).and_then(Value::as_f64).expect("a number")
    }

    fn difference(&self, dtype: DType, attention: Attention) -> f64 {
        let tokens = ids(&self.json["tokens"]);
        let mut engine = cuda(&self.checkpoint, &plan(&self.config, dtype, attention, tokens.len()));
        let found = full(&mut engine, &tokens);
        let file = tests_dir().join(format!("goldens/cases/{}.safetensors", self.name));
        let (shape, golden) = tensors_of(&file).remove("logits").expect("logits");
        let rows = ids(&self.json["rows"]);
        let each = rows.iter().zip(golden.chunks_exact(shape[1]));
        each.map(|(row, golden)| largest_difference(&found[*row as usize], golden))
            .fold(0.0, |worst: f64, d| if d.is_nan() { d } else { worst.max(d) })
    }
}

#[test]
fn logits_of_every_case() {
    if !has_gpu() {
        return;
    }
    let mut failures = Vec::new();
    for attention in BOTH {
        let mut worst = [0.0f64; 3];
        for case in cases() {
            let peak = case.number("/max_abs_logit");
            let f32 = F32_BOUND * peak;
            let bf16 = 2.0 * case.number("/bf16_max_diff").max(peak / 128.0);
            let f16 = 2.0 * case.number("/f16_max_diff").max(peak / 1024.0);
            for (index, (dtype, bound)) in
                [(DType::F32, f32), (DType::Bf16, bf16), (DType::F16, f16)].into_iter().enumerate()
            {
                let share = case.difference(dtype, attention) / bound;
                if share.is_nan() || share > 1.0 {
                    failures
                        .push(format!("{} in {dtype}, {attention:?}: {share:.2} of its bound", case.name));
                }
                worst[index] = worst[index].max(share);
            }
        }
        println!("{attention:?}: largest difference in f32, bf16, f16 by its bound: {worst:.2?}");
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

#[test]
fn greedy_ids_of_every_case() {
    if !has_gpu() {
        return;
    }
    for attention in BOTH {
        for case in cases() {
            let (prompt, expected) = (ids(&case.json["greedy"]["prompt"]), ids(&case.json["greedy"]["ids"]));
            let new = case.number("/greedy/max_new") as usize;
            let stop = if case.json["greedy"]["stop"] == "eos" {
                case.config.eos_token_ids.clone()
            } else {
                Vec::new()
            };
            let plan = plan(&case.config, DType::F32, attention, prompt.len() + new);
            let mut engine = cuda(&case.checkpoint, &plan);
            let request = Request {
                prompt: &prompt,
                max_new_tokens: new,
                stop_ids: &stop,
                sampling: phi3::engine::Sampling::GREEDY,
            };
            let go = &mut |_| std::ops::ControlFlow::Continue(());
            let found = pollster::block_on(generate(&mut engine, phi3::engine::SequenceId(3), &request, go));
            assert_eq!(found.expect("generates").ids, expected, "{} {attention:?}", case.name);
        }
    }
}

/// The tiny model: grouped queries, window, longrope, tied head, past every edge.
#[test]
fn tiny_model() {
    if !has_gpu() {
        return;
    }
    let goldens = tests_dir().join("goldens");
    let json: Value =
        serde_json::from_slice(&std::fs::read(goldens.join("tiny.json")).expect("goldens")).expect("JSON");
    let golden = tensors_of(&goldens.join("tiny.safetensors"));
    let model = tests_dir().join("../public/tiny");
    let config =
        ModelConfig::parse(&std::fs::read(model.join("config.json")).expect("a config")).expect("phi3");
    let checkpoint = folder(&model);
    let (prompt, greedy) = (ids(&json["prompt"]["ids"]), ids(&json["greedy"]["ids"]));
    for attention in BOTH {
        for (dtype, own) in [(DType::F32, ""), (DType::Bf16, "bf16_max_diff"), (DType::F16, "f16_max_diff")] {
            let mut engine = cuda(&checkpoint, &plan(&config, dtype, attention, 300));
            for run in ["short", "long"] {
                let number = |key: &str| json["runs"][run][key].as_f64().expect("a number");
                let mut tokens = prompt.clone();
                tokens.extend(&greedy);
                tokens.truncate(number("tokens") as usize);
                let found = full(&mut engine, &tokens);
                let rows = ids(&json["runs"][run]["full_rows"]);
                let whole = golden[&format!("{run}.full")].1.chunks_exact(config.vocab_size);
                let worst = rows
                    .iter()
                    .zip(whole)
                    .map(|(row, golden)| largest_difference(&found[*row as usize], golden))
                    .fold(0.0, |worst: f64, d| if d.is_nan() { d } else { worst.max(d) });
                let bound =
                    if own.is_empty() { F32_BOUND * number("max_abs_logit") } else { 2.0 * number(own) };
                println!("tiny {run} {dtype} {attention:?}: {worst:.2e}, bound {bound:.2e}");
                assert!(worst <= bound, "{run} in {dtype}, {attention:?}: {worst:e}, bound {bound:e}");
            }
        }
        // Until the reference itself is in two minds.
        let peak = json["runs"]["short"]["max_abs_logit"].as_f64().expect("a number");
        let certain = golden["gaps"].1.iter().take_while(|gap| f64::from(**gap) >= F32_BOUND * peak).count();
        let mut engine = cuda(&checkpoint, &plan(&config, DType::F32, attention, 300));
        let request = Request {
            prompt: &prompt,
            max_new_tokens: 200,
            stop_ids: &[],
            sampling: phi3::engine::Sampling::GREEDY,
        };
        let go = &mut |_| std::ops::ControlFlow::Continue(());
        let found = pollster::block_on(generate(&mut engine, phi3::engine::SequenceId(3), &request, go));
        assert_eq!(found.expect("generates").ids[..certain], greedy[..certain], "{attention:?}");
    }
}
