//! Speed of the WGSL engine on made-up weights of a model's shape:
//! `gpu_speed CONFIG.json [DTYPE] [PROMPT] [NEW] [RUNS] [DEVICE]` prints one JSON object a run of prompt and new tokens.
//!
//! The weights have the size and the spread of real ones and no meaning: the ids say only that something was computed.

use std::ops::ControlFlow;

use phi3::config::ModelConfig;
use phi3::dtype::DType;
use phi3::engine::{Attention, Diagnostics as _, Engine as _, LoadPlan, Sampling, SequenceId};
use phi3::generate::{Generation, Request, generate};
use phi3::platform::Instant;
use phi3::weights::synthetic::synthetic_checkpoint;
use phi3::wgpu_engine::WgpuEngine;
use pollster::block_on;
use serde_json::json;

#[expect(clippy::print_stdout, reason = "it is what the program is for")]
fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let word = |index: usize, default: &str| words.get(index).cloned().unwrap_or_else(|| default.to_owned());
    let count = |index, default| word(index, default).parse::<usize>().expect("a number");
    let file = word(0, "public/presets/phi-3-mini-4k-instruct.json");
    let config = ModelConfig::parse(&std::fs::read(&file).expect("a config")).expect("a phi3 config");
    let dtype: DType = word(1, "q4_0").parse().expect("a dtype");
    let (prompt, new, runs) = (count(2, "10"), count(3, "128"), count(4, "5"));
    let plan = LoadPlan {
        device: word(5, "wgpu:0").parse().expect("a device"),
        kv_dtype: DType::F16,
        attention: Attention::Fused,
        ..LoadPlan::new(config, dtype, prompt + new)
    };
    let devices = block_on(WgpuEngine::devices()).expect("a GPU");
    let name = devices.iter().find(|device| device.device == plan.device).map(|device| device.name.clone());
    let checkpoint = block_on(synthetic_checkpoint(&plan.config, 1, DType::Bf16)).expect("a checkpoint");
    let start = Instant::now();
    let loaded = block_on(WgpuEngine::load(&checkpoint, &plan, &mut |_| ControlFlow::Continue(())));
    let mut engine = loaded.unwrap_or_else(|error| panic!("{error}"));
    let load_ms = start.elapsed_ms();

    let vocab = plan.config.vocab_size as u32;
    let ids: Vec<u32> = (0..prompt as u32).map(|i| (100 + i * 37) % vocab).collect();
    let request = Request { prompt: &ids, max_new_tokens: new, stop_ids: &[], sampling: Sampling::GREEDY };
    let mut run = || -> Generation {
        let mut go_on = |_| ControlFlow::Continue(());
        block_on(generate(&mut engine, SequenceId(0), &request, &mut go_on)).expect("generates")
    };
    let first = run();
    let all: Vec<Generation> = (0..runs).map(|_| run()).collect();
    let median = |of: fn(&Generation) -> Option<f64>| {
        let mut values: Vec<f64> = all.iter().filter_map(of).collect();
        values.sort_by(f64::total_cmp);
        values.get(values.len() / 2).copied()
    };
    let memory = engine.memory();
    println!(
        "{}",
        json!({
            "device": name, "dtype": dtype, "prompt": prompt, "new": new, "runs": runs, "load_ms": load_ms,
            "first_ttft_ms": first.timings.ttft_ms,
            "ttft_ms": median(|g| g.timings.ttft_ms),
            "prefill_tokens_per_s": median(|g| g.timings.prefill_tokens_per_s),
            "decode_tokens_per_s": median(|g| g.timings.decode_tokens_per_s),
            "same_ids_each_run": all.iter().all(|g| g.ids == first.ids),
            "last_ids": first.ids[first.ids.len().saturating_sub(4)..],
            "weights_bytes": memory.weights_bytes,
        })
    );
}
