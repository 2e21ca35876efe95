//! What must hold in a browser as on the host; run by `./dev test wasm-tests`.
#![cfg(target_arch = "wasm32")]

use phi3::decoder::Decoder;
use phi3::estimate::{self, Options};
use phi3::platform::Instant;
use wasm_bindgen_test::wasm_bindgen_test;

/// usize is 32 bits here: counts past 4 Gi must not wrap.
#[wasm_bindgen_test]
fn counts_and_bytes_are_those_of_the_host() {
    let config =
        Decoder::parse(br#"{"model_type":"phi3","dtype":"float32"}"#).expect("defaults are Phi-3-mini's");
    assert_eq!(estimate::params(&config).total, 3_821_079_552);
    let options = Options { context: Some(131_072), ..Options::default() };
    let report = estimate::estimate(&config, None, &options);
    let report = report.expect("a valid option");
    assert_eq!(report.weights_bytes, 15_284_318_208);
    assert_eq!(report.kv_cache_bytes, 131_072 * 2 * 32 * 3072 * 4);
}

/// `std::time::Instant` would panic.
#[wasm_bindgen_test]
fn the_clock_runs() {
    let start = Instant::now();
    assert!(start.elapsed_seconds() >= 0.0);
}

/// Hugging Face's greedy ids for a model with a window, longrope and tied embeddings (see `tests/goldens`):
/// the run crosses the window, and then the length from which the long factors hold.
#[cfg(feature = "candle")]
#[wasm_bindgen_test]
async fn the_engine_generates_what_it_does_on_the_host() {
    use std::ops::ControlFlow;

    use phi3::candle_engine::CandleEngine;
    use phi3::config::Fields;
    use phi3::dtype::DType;
    use phi3::engine::{Attention, Engine as _, LoadPlan, Sampling, SequenceId};
    use phi3::generate::{Request, generate};
    use phi3::weights::{BytesSource, Checkpoint};
    use serde_json::Value;

    const WEIGHTS: &[u8] = include_bytes!("../../tests/goldens/checkpoints/tied/model.safetensors");
    let case: Value =
        serde_json::from_str(include_str!("../../tests/goldens/cases/all_above.json")).expect("JSON");
    let ids = |path: &str| -> Vec<u32> {
        let list = case.pointer(path).and_then(Value::as_array).expect("a list of ids");
        list.iter().map(|id| id.as_u64().expect("an id") as u32).collect()
    };
    let (prompt, expected) = (ids("/greedy/prompt"), ids("/greedy/ids"));
    let fields = Fields::from_map(case["config"].as_object().expect("a config").clone());
    let plan = LoadPlan {
        config: Decoder::from_fields(&fields).expect("a phi3 config"),
        dtype: DType::F32,
        kv_dtype: DType::F32,
        attention: Attention::Eager,
        context: prompt.len() + expected.len(),
        batch: 1,
        low_cpu_mem_usage: true,
    };
    let file = ("model.safetensors".to_owned(), BytesSource(WEIGHTS));
    let checkpoint = Checkpoint::from_safetensors(vec![file]).await.expect("a checkpoint");
    let load = CandleEngine::load(&checkpoint, &plan, &mut |_| ControlFlow::Continue(())).await;
    let mut engine = load.expect("loads");
    let request = Request {
        prompt: &prompt,
        max_new_tokens: expected.len(),
        stop_ids: &[],
        sampling: Sampling::GREEDY,
    };
    let run = generate(&mut engine, SequenceId(0), &request, &mut |_| ControlFlow::Continue(())).await;
    assert_eq!(run.expect("generates").ids, expected);
}
