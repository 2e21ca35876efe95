//! The model in `public/tiny` against Hugging Face (see `goldens/README.md`): what needs no download is tested wherever
//! the tests run.

use std::path::PathBuf;

use phi3::candle_engine::CandleEngine;
use phi3::config::{GenerationConfig, ModelConfig, RopeScaling};
use phi3::dtype::DType;
use phi3::tokenize::{ChatMessage, Tokenizer, TokenizerFiles, stop_ids};
use serde_json::Value;

use crate::support::model::{
    Tensors, checkpoint, full_logits, greedy, largest_difference, load, plan, tensors,
};
use crate::support::tests_dir;

/// Bound in f32, by the largest logit.
pub(crate) const F32_BOUND: f64 = 2e-4;
const MAX_BYTES: u64 = 4_000_000;

pub(crate) fn folder() -> PathBuf {
    tests_dir().join("../public/tiny")
}

fn read(name: &str) -> Vec<u8> {
    let path = folder().join(name);
    std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

pub(crate) fn config() -> ModelConfig {
    ModelConfig::parse(&read("config.json")).expect("phi3")
}

fn engine(dtype: DType, context: usize) -> CandleEngine {
    load(&checkpoint(&folder()), &plan(&config(), dtype, context)).expect("loads")
}

fn tokenizer() -> Tokenizer {
    let (tokenizer, config) = (read("tokenizer.json"), read("tokenizer_config.json"));
    let files = TokenizerFiles {
        tokenizer: &tokenizer,
        tokenizer_config: Some(&config),
        ..TokenizerFiles::default()
    };
    Tokenizer::load(&files).expect("a tokenizer")
}

pub(crate) fn golden() -> (Value, Tensors) {
    let goldens = tests_dir().join("goldens");
    let json = std::fs::read(goldens.join("tiny.json")).expect("goldens");
    (serde_json::from_slice(&json).expect("JSON"), tensors(&goldens.join("tiny.safetensors")))
}

pub(crate) fn ids(list: &Value) -> Vec<u32> {
    list.as_array().expect("a list").iter().map(|id| id.as_u64().expect("an id") as u32).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().expect("a text")
}

/// The ids of one forward: prompt and greedy ids, as many as the run has.
pub(crate) fn fed(json: &Value, run: &str) -> Vec<u32> {
    let mut tokens = ids(&json["prompt"]["ids"]);
    tokens.extend(ids(&json["greedy"]["ids"]));
    tokens.truncate(json["runs"][run]["tokens"].as_u64().expect("a count") as usize);
    tokens
}

fn log_sum_exp(row: &[f32]) -> f64 {
    let max = f64::from(row.iter().copied().fold(f32::NEG_INFINITY, f32::max));
    max + row.iter().map(|value| (f64::from(*value) - max).exp()).sum::<f64>().ln()
}

/// Largest difference from the golden run or its first rows, by its largest logit: every row at 32 columns, its maximum and
/// its sum over the whole vocabulary, and some whole rows.
pub(crate) fn difference(json: &Value, goldens: &Tensors, run: &str, found: &[Vec<f32>]) -> f64 {
    let golden = |name: &str| &goldens[&format!("{run}.{name}")].1;
    let columns = ids(&json["columns"]);
    assert!((1..=golden("row_max").len()).contains(&found.len()), "{} rows", found.len());
    let mut worst = 0.0f64;
    for (position, row) in found.iter().enumerate() {
        let at = |column: &u32| row[*column as usize];
        let sample: Vec<f32> = columns.iter().map(at).collect();
        let max = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
        let differences = [
            largest_difference(&sample, &golden("columns")[position * columns.len()..][..columns.len()]),
            f64::from((max - golden("row_max")[position]).abs()),
            (log_sum_exp(row) - f64::from(golden("row_logsumexp")[position])).abs(),
        ];
        assert!(differences.iter().all(|difference| difference.is_finite()), "{run}, row {position}");
        worst = differences.into_iter().fold(worst, f64::max);
    }
    let rows = ids(&json["runs"][run]["full_rows"]);
    let whole = golden("full").chunks_exact(config().vocab_size);
    assert_eq!(rows.len(), whole.len());
    for (row, golden) in rows.iter().zip(whole) {
        let Some(found) = found.get(*row as usize) else { continue };
        worst = worst.max(largest_difference(found, golden));
    }
    worst / json["runs"][run]["max_abs_logit"].as_f64().expect("a number")
}

#[test]
fn it_is_small_and_shows_the_whole_architecture() {
    let entries = std::fs::read_dir(folder()).expect("a folder");
    let bytes: u64 = entries.map(|entry| entry.expect("an entry").metadata().expect("its size").len()).sum();
    assert!(bytes < MAX_BYTES, "{bytes} bytes");

    let config = config();
    assert!(config.heads_per_key() > 1, "grouped queries");
    assert!(matches!(config.rope_scaling, RopeScaling::LongRope { .. }));
    assert!(config.sliding_window.is_some_and(|window| window < config.original_max_position_embeddings));
    assert!(config.original_max_position_embeddings < config.max_position_embeddings);
    assert!(config.tie_word_embeddings && config.defaulted.is_empty(), "{:?}", config.defaulted);
    assert_eq!(tokenizer().vocab_size(), config.vocab_size);
}

#[test]
fn texts_and_chats_become_the_same_ids_and_return() {
    let (json, _) = golden();
    let tokenizer = tokenizer();
    for case in json["texts"].as_array().expect("a list") {
        let expected = ids(&case["ids"]);
        assert_eq!(tokenizer.encode(text(&case["text"])).expect("encodes"), expected, "{case}");
        assert_eq!(tokenizer.decode(&expected, false).expect("decodes"), text(&case["text"]));
    }
    for case in json["chats"].as_array().expect("a list") {
        let messages: Vec<ChatMessage> = serde_json::from_value(case["messages"].clone()).expect("messages");
        assert_eq!(tokenizer.chat_text(&messages, true).expect("renders"), text(&case["text"]));
        assert_eq!(tokenizer.encode_chat(&messages, true).expect("encodes"), ids(&case["ids"]));
    }
}

#[test]
fn an_answer_ends_where_the_model_ends_it() {
    let generation = GenerationConfig::parse(&read("generation_config.json")).expect("a generation config");
    let stops = stop_ids(&config(), Some(&generation));
    let tokenizer = tokenizer();
    let prompt = tokenizer.encode_chat(&[ChatMessage::user("Who are you?")], true).expect("encodes");
    let answer = greedy(&mut engine(DType::F32, 256), &prompt, 64, &stops).ids;
    let (last, words) = answer.split_last().expect("an answer");
    assert!(stops.contains(last), "still going on after {} ids", answer.len());
    let said = tokenizer.decode(words, false).expect("decodes");
    assert!(said.contains("language model") && said.ends_with('.'), "{said}");
}

/// One forward with the short rope factors, one with the long ones: together every logit that chose a greedy id.
#[test]
fn logits_of_every_position() {
    let (json, goldens) = golden();
    let mut engine = engine(DType::F32, 300);
    for run in ["short", "long"] {
        let relative = difference(&json, &goldens, run, &full_logits(&mut engine, &fed(&json, run)));
        assert!(relative <= F32_BOUND, "{run}: {relative:e} of the largest logit");
        println!("{run}: largest difference {relative:.1e} of the largest logit");
    }
}

/// The bound of the other goldens: twice what Hugging Face itself differs from f32 in the format.
#[test]
fn logits_of_every_position_in_16_bits() {
    let (json, goldens) = golden();
    for (dtype, own) in [(DType::Bf16, "bf16_max_diff"), (DType::F16, "f16_max_diff")] {
        let mut engine = engine(dtype, 300);
        for run in ["short", "long"] {
            let number = |key: &str| json["runs"][run][key].as_f64().expect("a number");
            let relative = difference(&json, &goldens, run, &full_logits(&mut engine, &fed(&json, run)));
            let bound = 2.0 * number(own) / number("max_abs_logit");
            assert!(relative <= bound, "{run} in {dtype}: {relative:e}, bound {bound:e}");
        }
    }
}

/// Past the window and past the original length; the same ids until the reference itself is in two minds.
#[test]
fn two_hundred_greedy_ids() {
    let (json, goldens) = golden();
    let (prompt, expected) = (ids(&json["prompt"]["ids"]), ids(&json["greedy"]["ids"]));
    assert_eq!(expected.len(), 200);
    assert_eq!(tokenizer().encode(text(&json["prompt"]["text"])).expect("encodes"), prompt);
    assert_eq!(tokenizer().decode(&expected, false).expect("decodes"), text(&json["greedy"]["text"]));

    let peak = json["runs"]["short"]["max_abs_logit"].as_f64().expect("a number");
    let sure = |gap: &f32| f64::from(*gap) >= F32_BOUND * peak;
    let certain = goldens["gaps"].1.iter().take_while(|gap| sure(gap)).count();
    let end = prompt.len() + certain;
    assert!(
        end > config().original_max_position_embeddings,
        "the golden ends before the long factors: {end}"
    );
    let found = greedy(&mut engine(DType::F32, 300), &prompt, 200, &[]).ids;
    assert_eq!(found[..certain], expected[..certain]);
}
