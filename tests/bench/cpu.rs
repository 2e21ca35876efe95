//! Speed of the CPU engine: `cargo bench -p tests --bench cpu -- MODEL_DIR [DTYPE] [PROMPT] [NEW]` prints one JSON object.
//!
//! `./dev bench cpu` runs it in turn with Hugging Face transformers on the same weights and prompt (`cpu.py`).

use std::ops::ControlFlow;
use std::path::Path;
use std::time::Instant;

use phi3::candle_engine::CandleEngine;
use phi3::config::ModelConfig;
use phi3::dtype::DType;
use phi3::engine::{Diagnostics, Engine, LoadPlan, Sampling, SequenceId};
use phi3::generate::{Request, generate};
use phi3::weights::{BytesSource, Checkpoint};
use pollster::block_on;

fn main() {
    // `cargo bench` adds `--bench`.
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    let word = |index: usize, default: &str| words.get(index).cloned().unwrap_or_else(|| default.to_owned());
    let folder = word(0, "models/smollm2-135m-phi3");
    let dtype: DType = word(1, "f32").parse().expect("a dtype");
    let count = |index, default| word(index, default).parse::<usize>().expect("a number of tokens");
    let (prompt, new) = (count(2, "128"), count(3, "64"));

    let folder = Path::new(&folder);
    let read = |name: &str| {
        let path = folder.join(name);
        std::fs::read(&path).unwrap_or_else(|error| panic!("{}: {error}: run ./dev model", path.display()))
    };
    let config = ModelConfig::parse(&read("config.json")).expect("a phi3 config");
    let file = ("model.safetensors".to_owned(), BytesSource(read("model.safetensors")));
    let checkpoint = block_on(Checkpoint::from_safetensors(vec![file])).expect("a checkpoint");
    let plan = LoadPlan::new(config, dtype, prompt + new);
    let start = Instant::now();
    let mut engine =
        block_on(CandleEngine::load(&checkpoint, &plan, &mut |_| ControlFlow::Continue(()))).expect("loads");
    drop(checkpoint);
    let load_ms = start.elapsed().as_secs_f64() * 1e3;

    let ids: Vec<u32> = (0..prompt as u32).map(|i| 100 + i * 37 % 900).collect();
    let request = Request { prompt: &ids, max_new_tokens: new, stop_ids: &[], sampling: Sampling::GREEDY };
    let mut run = || {
        let sequence = SequenceId(0);
        block_on(generate(&mut engine, sequence, &request, &mut |_| ControlFlow::Continue(())))
            .expect("generates")
    };
    run();
    let (first, second) = (run(), run());
    let best = |rate: fn(&phi3::generate::Timings) -> Option<f64>| {
        rate(&first.timings).unwrap_or(0.0).max(rate(&second.timings).unwrap_or(0.0))
    };
    let decode = best(|timings| timings.decode_tokens_per_s);
    let bytes = engine.memory().weights_bytes;
    let report = serde_json::json!({
        "engine": engine.info().engine,
        "threads": engine.info().threads,
        "dtype": dtype.name(),
        "load_ms": load_ms,
        "prefill_tokens_per_s": best(|timings| timings.prefill_tokens_per_s),
        "decode_tokens_per_s": decode,
        "weight_gb_per_s": decode * bytes as f64 / 1e9,
        "read_peak_gb_per_s": read_peak(),
        "ids": first.ids,
    });
    #[expect(clippy::print_stdout, reason = "the result of a bench")]
    {
        println!("{report}");
    }
}

/// What memory delivers when all threads only read: the sum of a buffer far larger than any cache, best of five.
fn read_peak() -> f64 {
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let buffer = vec![1u64; 64 << 20];
    let pass = || {
        let start = Instant::now();
        std::thread::scope(|scope| {
            for part in buffer.chunks(buffer.len().div_ceil(threads)) {
                scope.spawn(move || {
                    let mut sums = [0u64; 32];
                    for block in part.as_chunks::<32>().0 {
                        for (sum, value) in sums.iter_mut().zip(block) {
                            *sum = sum.wrapping_add(*value);
                        }
                    }
                    std::hint::black_box(sums)
                });
            }
        });
        (buffer.len() * 8) as f64 / start.elapsed().as_secs_f64() / 1e9
    };
    (0..5).map(|_| pass()).fold(0.0, f64::max)
}
