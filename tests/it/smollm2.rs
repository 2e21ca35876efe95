//! The converted SmolLM2-135M against Hugging Face reading the same GGUF (see `goldens/README.md`).

use std::path::PathBuf;

use phi3::candle_engine::CandleEngine;
use phi3::config::ModelConfig;
use phi3::dtype::DType;
use serde_json::Value;

use crate::support::model::{Tensors, checkpoint, full_logits, greedy, load, plan, tensors};
use crate::support::tests_dir;

/// Bound in f32, by the largest logit.
const F32_BOUND: f64 = 2e-4;

/// The converted model, or `None`, with the reason printed, where `./dev model` has not been run.
fn folder() -> Option<PathBuf> {
    let folder = tests_dir().join("../models/smollm2-135m-phi3");
    if folder.join("config.json").exists() {
        return Some(folder);
    }
    let reason = format!("{} is not there: run ./dev model", folder.display());
    assert!(std::env::var_os("PREFLIGHT_REQUIRE_MODEL").is_none(), "{reason}");
    #[expect(clippy::print_stdout, reason = "a skipped test says why")]
    {
        println!("skipped: {reason}");
    }
    None
}

fn engine(dtype: DType) -> Option<CandleEngine> {
    let folder = folder()?;
    let config =
        ModelConfig::parse(&std::fs::read(folder.join("config.json")).expect("a config")).expect("phi3");
    Some(load(&checkpoint(&folder), &plan(&config, dtype, 300)).expect("loads"))
}

struct Prompt {
    name: String,
    json: Value,
    ids: Vec<u32>,
}

impl Prompt {
    fn peak(&self) -> f64 {
        self.json["max_abs_logit"].as_f64().expect("a number")
    }
}

fn ids(list: &Value) -> Vec<u32> {
    list.as_array().expect("a list").iter().map(|id| id.as_u64().expect("an id") as u32).collect()
}

fn goldens() -> (Vec<Prompt>, Vec<usize>, Tensors) {
    let json = std::fs::read(tests_dir().join("goldens/smollm2.json")).expect("goldens");
    let json: Value = serde_json::from_slice(&json).expect("JSON");
    let prompts = json["prompts"].as_array().expect("prompts").iter().map(|prompt| Prompt {
        name: prompt["name"].as_str().expect("a name").to_owned(),
        ids: ids(&prompt["ids"]),
        json: prompt.clone(),
    });
    let columns = ids(&json["all_rows_columns"]).into_iter().map(|column| column as usize);
    (prompts.collect(), columns.collect(), tensors(&tests_dir().join("goldens/smollm2.safetensors")))
}

fn largest(row: &[f32]) -> f64 {
    f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max))
}

fn log_sum_exp(row: &[f32]) -> f64 {
    let max = largest(row);
    max + row.iter().map(|value| (f64::from(*value) - max).exp()).sum::<f64>().ln()
}

/// Every row at 32 columns, its maximum and its sum over the whole vocabulary, and two whole rows.
#[test]
fn logits_of_whole_prompts() {
    let Some(mut engine) = engine(DType::F32) else { return };
    let (prompts, columns, goldens) = goldens();
    let mut worst = 0.0f64;
    for prompt in &prompts {
        let found = full_logits(&mut engine, &prompt.ids);
        let golden = |tensor: &str| &goldens[&format!("{}.{tensor}", prompt.name)].1;
        let mut check = |what: &str, found: f64, expected: f32| {
            let relative = (found - f64::from(expected)).abs() / prompt.peak();
            assert!(relative <= F32_BOUND, "{}, {what}: {found} for {expected}", prompt.name);
            worst = worst.max(relative);
        };
        assert_eq!(golden("row_max").len(), found.len());
        for (position, row) in found.iter().enumerate() {
            for (column, expected) in columns.iter().zip(&golden("all_rows")[position * columns.len()..]) {
                check("a logit", f64::from(row[*column]), *expected);
            }
            check("a maximum", largest(row), golden("row_max")[position]);
            check("log sum exp", log_sum_exp(row), golden("row_logsumexp")[position]);
        }
        if let Some(row) = prompt.json["full_row"].as_u64() {
            for (found, expected) in found[row as usize].iter().zip(golden("full")) {
                check("a logit of a whole row", f64::from(*found), *expected);
            }
        }
    }
    println!("f32: largest difference {worst:.1e} of the largest logit");
}

/// The bound of the random models: twice what Hugging Face itself differs from f32 in the format.
#[test]
fn logits_of_whole_prompts_in_16_bits() {
    for (dtype, own) in [(DType::Bf16, "bf16_max_diff"), (DType::F16, "f16_max_diff")] {
        let Some(mut engine) = engine(dtype) else { return };
        let (prompts, columns, goldens) = goldens();
        // The last has seven tenths of all rows: it is held in f32 alone.
        for prompt in &prompts[..prompts.len() - 1] {
            let bound = 2.0 * prompt.json[own].as_f64().expect("a number");
            let found = full_logits(&mut engine, &prompt.ids);
            let golden = &goldens[&format!("{}.all_rows", prompt.name)].1;
            for (row, golden) in found.iter().zip(golden.chunks_exact(columns.len())) {
                for (column, expected) in columns.iter().zip(golden) {
                    let difference = f64::from((row[*column] - expected).abs());
                    assert!(difference <= bound, "{} in {dtype}: {difference} above {bound}", prompt.name);
                }
            }
        }
    }
}

#[test]
fn greedy_continuations_of_48_tokens() {
    let Some(mut engine) = engine(DType::F32) else { return };
    let (prompts, ..) = goldens();
    assert_eq!(prompts.len(), 5);
    for prompt in &prompts {
        let expected = ids(&prompt.json["greedy"]["ids"]);
        assert_eq!(expected.len(), 48);
        assert_eq!(greedy(&mut engine, &prompt.ids, 48, &[]).ids, expected, "{}", prompt.name);
    }
}
