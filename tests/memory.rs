//! Memory predicted against memory counted: this binary's allocator counts every byte.
//!
//! One test, so that nothing else allocates meanwhile.

use std::alloc::{GlobalAlloc, Layout, System};
use std::ops::ControlFlow;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use phi3::candle_engine::CandleEngine;
use phi3::config::ModelConfig;
use phi3::dtype::DType;
use phi3::engine::{Attention, Diagnostics, Engine, LoadPlan, Sampling, SequenceId};
use phi3::estimate::activations::{Workspace, diagnostics};
use phi3::estimate::{Backend, Options, Resolved, load_peaks, weights_bytes};
use phi3::generate::{Request, generate};
use phi3::tensors;
use phi3::weights::synthetic::synthetic_checkpoint;
use phi3::weights::{Checkpoint, WeightSource};
use pollster::block_on;
use serde_json::{Value, json};

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

struct Counting;

#[expect(unsafe_code, reason = "an allocator that passes everything on and counts")]
// SAFETY: every call goes to the system's allocator with the caller's own arguments.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        PEAK.fetch_max(LIVE.fetch_add(layout.size(), Relaxed) + layout.size(), Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        PEAK.fetch_max(LIVE.fetch_add(layout.size(), Relaxed) + layout.size(), Relaxed);
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn live() -> i64 {
    LIVE.load(Relaxed) as i64
}

/// Bytes at the peak of `work` above those live before it, and what it returns.
fn peak_of<R>(work: impl FnOnce() -> R) -> (i64, R) {
    let before = LIVE.load(Relaxed);
    PEAK.store(before, Relaxed);
    let result = work();
    (PEAK.load(Relaxed) as i64 - before as i64, result)
}

fn config(values: &Value) -> ModelConfig {
    let mut config = json!({"model_type": "phi3", "max_position_embeddings": 4096});
    for (key, value) in values.as_object().expect("an object") {
        config[key] = value.clone();
    }
    ModelConfig::parse(config.to_string().as_bytes()).expect("a good config")
}

/// The highest memory that is predicted while weights are read, workspace and caches apart.
fn host_peak<S: WeightSource>(
    checkpoint: &Checkpoint<S>,
    config: &ModelConfig,
    dtype: DType,
    low_cpu_mem_usage: bool,
) -> i64 {
    let (decoder, stored) = (config.decoder(), Some(checkpoint.tensors()));
    let options = Options { dtype: Some(dtype.into()), ..Options::default() };
    let resolved = Resolved::new(&decoder, stored, &options).expect("a format");
    let peaks = load_peaks(&decoder, stored, weights_bytes(&decoder, dtype), &resolved);
    let peak = peaks.iter().find(|peak| peak.low_cpu_mem_usage == low_cpu_mem_usage).expect("both ways");
    // The counter sees what is allocated, not the program that does it.
    (peak.host_bytes - resolved.overhead_of(Backend::Cpu)) as i64
}

/// Checkpoints that are held in another format than they are stored in: what a tensor takes meanwhile is counted for the
/// tensors that are converted alone, at the moment when they are.
fn conversions(wide: &ModelConfig, tied: &ModelConfig) {
    for (name, config, stored, held) in [
        ("wide", wide, DType::Bf16, DType::F32),
        ("wide", wide, DType::F32, DType::Q8_0),
        ("wide", wide, DType::F32, DType::Bf16),
        ("tied", tied, DType::F32, DType::Q4_0),
        ("tied", tied, DType::F16, DType::F32),
    ] {
        let checkpoint = block_on(synthetic_checkpoint(config, 1, stored)).expect("a checkpoint");
        for low_cpu_mem_usage in [true, false] {
            let plan = LoadPlan { low_cpu_mem_usage, ..LoadPlan::new(config.clone(), held, 64) };
            let activation =
                Workspace::new(Backend::Cpu, &config.decoder(), held, Attention::Eager, 64, 1).bytes() as i64;
            let predicted = host_peak(&checkpoint, config, held, low_cpu_mem_usage) + activation;
            let (peak, engine) = peak_of(|| {
                block_on(CandleEngine::load(&checkpoint, &plan, &mut |_| ControlFlow::Continue(())))
                    .expect("loads")
            });
            #[expect(clippy::print_stdout, reason = "the figure is what the test is about")]
            {
                println!(
                    "{name}, {stored} to {held}, {low_cpu_mem_usage}: predicted {predicted}, counted {peak}"
                );
            }
            assert!(
                (peak - predicted).abs() <= LOADING,
                "{name} from {stored} to {held}: {peak}, not {predicted}"
            );
            let weights = weights_bytes(&config.decoder(), held);
            assert_eq!(engine.memory().weights_bytes, weights, "{name} from {stored} to {held}");
        }
    }
}

/// Beside what is predicted while loading: names, lists, a piece of a file.
const LOADING: i64 = 1 << 20;

/// And while running: where the `gemm` crate packs its factors, as large as its thread's share of the caches, which
/// the estimate counts as overhead of the runtime.
fn running() -> i64 {
    std::thread::available_parallelism().map_or(1, |threads| threads.get() as i64) * (4 << 20)
}

#[test]
fn counted_bytes_are_those_predicted() {
    let wide = config(&json!({
        "hidden_size": 512, "intermediate_size": 1536, "num_hidden_layers": 3, "num_attention_heads": 8,
        "vocab_size": 8064,
    }));
    let grouped = config(&json!({
        "hidden_size": 320, "intermediate_size": 768, "num_hidden_layers": 4, "num_attention_heads": 10,
        "num_key_value_heads": 2, "vocab_size": 20000, "tie_word_embeddings": true, "partial_rotary_factor": 0.75,
    }));
    // The pool and the features of the processor are made once.
    block_on(synthetic_checkpoint(&grouped, 1, DType::F32)).expect("a checkpoint");

    conversions(&wide, &grouped);
    for (name, config, dtype, context) in [
        ("wide", &wide, DType::F32, 800),
        ("wide", &wide, DType::Bf16, 1500),
        ("grouped", &grouped, DType::F32, 700),
        ("grouped", &grouped, DType::F16, 2000),
    ] {
        let checkpoint = block_on(synthetic_checkpoint(config, 1, dtype)).expect("a checkpoint");
        let plan = LoadPlan::new(config.clone(), dtype, context);
        let load = |plan: &LoadPlan| {
            block_on(CandleEngine::load(&checkpoint, plan, &mut |_| ControlFlow::Continue(())))
                .expect("loads")
        };
        let decoder = &config.decoder();
        let largest =
            tensors::list(decoder).map(|spec| dtype.tensor_bytes(&spec.shape)).max().expect("tensors") as i64;
        let weights: i64 = tensors::list(decoder).map(|spec| dtype.tensor_bytes(&spec.shape) as i64).sum();
        let activation =
            Workspace::new(Backend::Cpu, decoder, dtype, Attention::Eager, context as u64, 1).bytes() as i64;

        // Streamed, the host holds nothing beside the model; read first, the whole checkpoint.
        let predicted = |low| host_peak(&checkpoint, config, dtype, low) + activation;
        let (peak, engine) = peak_of(|| load(&LoadPlan { low_cpu_mem_usage: false, ..plan.clone() }));
        assert!(
            (peak - predicted(false)).abs() <= LOADING,
            "{name}: reading first took {peak}, not {}",
            predicted(false)
        );
        drop(engine);
        let before = live();
        let (peak, mut engine) = peak_of(|| load(&plan));
        assert!(
            (peak - predicted(true)).abs() <= LOADING,
            "{name}: streaming took {peak}, not {}",
            predicted(true)
        );
        let held = live() - before;
        assert!(peak - held <= largest + LOADING, "{name}: {} beside the model while loading", peak - held);
        let load_residual = held - weights - activation;
        assert!(load_residual.abs() <= LOADING, "{name} in {dtype}: loaded {load_residual} off");

        let prompt: Vec<u32> = (0..context as u32 - 20).map(|i| i % 1000).collect();
        let request =
            Request { prompt: &prompt, max_new_tokens: 20, stop_ids: &[], sampling: Sampling::GREEDY };
        let mut measured = engine.memory();
        let (peak, _) = peak_of(|| {
            block_on(generate(&mut engine, SequenceId(1), &request, &mut |_| ControlFlow::Continue(())))
                .expect("runs")
        });
        let shape = [2, config.num_hidden_layers, config.key_value_width(), request.capacity()];
        let cache = dtype.tensor_bytes(&shape) as i64;
        let residual = peak - cache;
        println!(
            "{name} in {dtype}: predicted weights {weights}, activations {activation}, KV {cache}; \
             counted {load_residual:+} after loading, {residual:+} while generating ({:+.2} % in all)",
            100.0 * (load_residual + residual) as f64 / (weights + activation + cache) as f64
        );
        assert!((0..=running()).contains(&residual), "{name} in {dtype}: generating is {residual} off");
        assert_eq!((measured.weights_bytes as i64, measured.activation_bytes as i64), (weights, activation));

        let tokens = &prompt[..600];
        let (peak, counts) = peak_of(|| block_on(engine.non_finite(tokens, &mut |_, _| {})).expect("counts"));
        assert!(counts.iter().all(|count| *count == (0, 0)));
        let extra = diagnostics(decoder, dtype, 600);
        let residual = peak - extra as i64;
        assert!((0..=running()).contains(&residual), "{name} in {dtype}: diagnostics are {residual} off");
        measured.activation_bytes += extra;
        assert_eq!(engine.memory().activation_bytes, measured.activation_bytes);
    }
}
