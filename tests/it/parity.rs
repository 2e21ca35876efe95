//! The CPU engine against Hugging Face's own logits (see `goldens/README.md`).

use std::path::PathBuf;

use phi3::config::Fields;
use phi3::dtype::DType;
use phi3::engine::Diagnostics;
use phi3::load_config::LoadConfig;
use serde_json::Value;

use crate::support::model::{
    Bytes, checkpoint, full_logits, greedy, largest_difference, load, plan, tensors,
};
use crate::support::tests_dir;

/// Bound in f32, by the largest logit: forty times what separates Hugging Face from the same model in f64.
pub(crate) const F32_BOUND: f64 = 2e-4;

/// A golden case: a config with its checkpoint, and what Hugging Face made of it.
pub(crate) struct Case {
    pub(crate) name: String,
    pub(crate) json: Value,
    pub(crate) config: phi3::config::ModelConfig,
    pub(crate) checkpoint: Bytes,
}

impl Case {
    pub(crate) fn ids(&self, path: &str) -> Vec<u32> {
        let list = self.json.pointer(path).and_then(Value::as_array).expect("a list of ids");
        list.iter().map(|id| id.as_u64().expect("an id") as u32).collect()
    }

    pub(crate) fn number(&self, path: &str) -> f64 {
        self.json.pointer(path).and_then(Value::as_f64).expect("a number")
    }

    fn golden(&self, tensor: &str) -> Vec<Vec<f32>> {
        let file = tests_dir().join(format!("goldens/cases/{}.safetensors", self.name));
        let (shape, values) = tensors(&file).remove(tensor).expect("a golden tensor");
        values.chunks_exact(shape[1]).map(<[f32]>::to_vec).collect()
    }

    /// Largest difference of a full forward from the golden rows.
    fn difference(&self, dtype: DType) -> f64 {
        let context = self.ids("/tokens").len();
        self.difference_of(&mut load(&self.checkpoint, &plan(&self.config, dtype, context)).expect("loads"))
    }

    /// The same of any engine that has the case's checkpoint loaded.
    pub(crate) fn difference_of<E: Diagnostics>(&self, engine: &mut E) -> f64 {
        let found = full_logits(engine, &self.ids("/tokens"));
        let rows = self.ids("/rows");
        let golden = self.golden("logits");
        rows.iter()
            .zip(&golden)
            .map(|(row, golden)| largest_difference(&found[*row as usize], golden))
            .fold(0.0, |a, b| if b.is_nan() { b } else { a.max(b) })
    }
}

/// Every golden case.
pub(crate) fn cases() -> Vec<Case> {
    let folder = tests_dir().join("goldens/cases");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).expect("goldens").map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "json"));
    files.sort();
    assert!(files.len() >= 40, "only {} cases", files.len());
    files.iter().map(|path| case(path)).collect()
}

fn case(path: &std::path::Path) -> Case {
    let json: Value = serde_json::from_slice(&std::fs::read(path).expect("a case")).expect("JSON");
    let name = path.file_stem().expect("a name").to_string_lossy().into_owned();
    let fields = Fields::from_map(json["config"].as_object().expect("a config").clone());
    let overrides = match json["load_config"].as_object() {
        Some(map) => LoadConfig::from_map(map).expect("a load config"),
        None => LoadConfig::default(),
    };
    let config = overrides.apply(&fields).unwrap_or_else(|error| panic!("{name}: {error}"));
    let folder = tests_dir().join("goldens/checkpoints").join(json["checkpoint"].as_str().expect("a name"));
    Case { name, json, config, checkpoint: checkpoint(&folder) }
}

#[test]
fn logits_of_every_case_in_f32() {
    let mut worst = 0.0f64;
    for case in cases() {
        let relative = case.difference(DType::F32) / case.number("/max_abs_logit");
        assert!(relative <= F32_BOUND, "{}: {relative:e} of the largest logit", case.name);
        worst = worst.max(relative);
    }
    println!("f32: largest difference {worst:.1e} of the largest logit");
}

/// Rounding differs step by step, so two right engines differ by about what each differs from f32: Hugging Face's
/// own deviation, doubled, and the smallest step of the format for cases where that happens to be tiny.
#[test]
fn logits_of_every_case_in_16_bits() {
    let mut worst = 0.0f64;
    for case in cases() {
        let peak = case.number("/max_abs_logit");
        for (dtype, own, step) in
            [(DType::Bf16, "/bf16_max_diff", 1.0 / 128.0), (DType::F16, "/f16_max_diff", 1.0 / 1024.0)]
        {
            let bound = 2.0 * case.number(own).max(step * peak);
            let found = case.difference(dtype);
            assert!(found <= bound, "{} in {dtype}: {found:e}, bound {bound:e}", case.name);
            worst = worst.max(found / bound);
        }
    }
    println!("bf16, f16: largest difference {worst:.2} of its bound");
}

#[test]
fn greedy_ids_of_every_case() {
    for case in cases() {
        let (prompt, expected) = (case.ids("/greedy/prompt"), case.ids("/greedy/ids"));
        let new = case.number("/greedy/max_new") as usize;
        let stop =
            if case.json["greedy"]["stop"] == "eos" { case.config.eos_token_ids.clone() } else { Vec::new() };
        let mut engine =
            load(&case.checkpoint, &plan(&case.config, DType::F32, prompt.len() + new)).expect("loads");
        let found = greedy(&mut engine, &prompt, new, &stop);
        assert_eq!(found.ids, expected, "{}", case.name);
    }
}
