//! Device memory: what comes back, and when; what stays the same over many loads; what others take.

use std::io::{BufRead as _, BufReader};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use phi3::cuda_engine::CudaEngine;
use phi3::dtype::DType;
use phi3::engine::{Attention, Diagnostics as _, Engine, EngineError, LoadPlan, Sampling, SequenceId};
use phi3::estimate::cuda_workspace::CudaWorkspace;
use phi3::estimate::{bytes_per_token, weights_bytes};
use pollster::block_on;
use serde_json::json;

use crate::support::{Random, checkpoint, config, cuda, decode, has_gpu, open, plan, prefill, try_load};

/// Most that an unloaded model may leave behind.
const LEFT_BEHIND: u64 = 64 << 20;
/// What a child process is told to hold; see [`holds_memory_for_another_test`].
const HOLD: &str = "PREFLIGHT_TEST_HOLD_BYTES";

fn free_bytes() -> u64 {
    block_on(CudaEngine::devices()).expect("a device")[0].free_bytes.expect("free bytes")
}

/// Few weights and much cache: 196,608 bytes a token in f32.
fn hungry() -> phi3::config::ModelConfig {
    config(&json!({"hidden_size": 768, "intermediate_size": 64, "num_attention_heads": 3,
        "num_key_value_heads": 3, "num_hidden_layers": 32, "max_position_embeddings": 1_000_000}))
}

#[test]
fn every_term_is_what_the_estimator_says() {
    if !has_gpu() {
        return;
    }
    let config = config(&json!({"hidden_size": 384, "intermediate_size": 512, "num_attention_heads": 4,
        "num_key_value_heads": 4, "vocab_size": 5000}));
    let stored = checkpoint(&config, &mut Random::new(), 0.05, |_, _, _| {});
    let decoder = config.decoder();
    for dtype in [DType::F32, DType::Bf16, DType::Q8_0, DType::Q4_0] {
        for attention in [Attention::Eager, Attention::Fused] {
            let plan = LoadPlan { kv_dtype: DType::Bf16, ..plan(&config, dtype, attention, 3000) };
            let mut engine = cuda(&stored, &plan);
            (0..3).for_each(|id| open(&mut engine, id, 1000 + id as usize));
            let memory = engine.memory();
            let space = CudaWorkspace::new(&decoder, dtype, attention, 3000, plan.batch as u64);
            let expected = [
                weights_bytes(&decoder, dtype),
                3003 * bytes_per_token(&decoder, DType::Bf16),
                space.bytes(),
            ];
            let found = [memory.weights_bytes, memory.kv_cache_bytes, memory.activation_bytes];
            assert_eq!(found, expected, "{dtype}, {attention:?}");
            println!("{dtype}, {attention:?}: runtime {} bytes", memory.overhead_bytes);
        }
    }
}

/// `PREFLIGHT_CYCLES` says how many loads; else a short form.
#[test]
fn loads_leave_nothing_behind() {
    if !has_gpu() {
        return;
    }
    let cycles: usize =
        std::env::var("PREFLIGHT_CYCLES").map_or(40, |count| count.parse().expect("a number of cycles"));
    let config = config(&json!({}));
    let mut random = Random::new();
    let stored = checkpoint(&config, &mut random, 0.1, |_, _, _| {});
    let prompt = random.tokens(20, config.vocab_size);
    let dtypes = [DType::Bf16, DType::F32, DType::Q8_0];
    let mut cycle = |index: usize| {
        let mut engine = cuda(&stored, &plan(&config, dtypes[index % 3], Attention::Fused, 100));
        open(&mut engine, 1, 40);
        open(&mut engine, 2, 40);
        prefill(&mut engine, &[(1, &prompt), (2, &prompt[..3])]).expect("prefills");
        decode(&mut engine, &[1, 2], 5).expect("decodes");
    };
    let before = free_bytes();
    // Kernels of every format stay in the context once they are there.
    (0..6).for_each(&mut cycle);
    let counts = || {
        let descriptors = std::fs::read_dir("/proc/self/fd").expect("descriptors").count();
        let threads = std::fs::read_dir("/proc/self/task").expect("threads").count();
        let status = std::fs::read_to_string("/proc/self/status").expect("a status");
        let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("resident");
        let kib: u64 = resident.trim().trim_end_matches(" kB").parse().expect("a number");
        (free_bytes(), descriptors, threads, kib << 10)
    };
    let (free, descriptors, threads, resident) = counts();
    let begun = Instant::now();
    (0..cycles).for_each(cycle);
    let after = counts();
    println!(
        "{cycles} loads in {:.1} s: free {free} then {}, descriptors {descriptors} then {}, threads {threads} then {}, \
         resident {resident} then {}; before the first {before}",
        begun.elapsed().as_secs_f64(),
        after.0,
        after.1,
        after.2,
        after.3
    );
    assert!(free.abs_diff(after.0) <= 4 << 20, "free bytes: {free}, then {}", after.0);
    assert!(before.saturating_sub(after.0) <= LEFT_BEHIND, "free bytes: {before}, then {}", after.0);
    assert_eq!((descriptors, threads), (after.1, after.2), "descriptors and threads");
    assert!(after.3 <= resident + (32 << 20), "resident bytes: {resident}, then {}", after.3);
}

/// Another process, killed when it is dropped.
struct Holder(Child);

impl Holder {
    /// Waits until it holds about as many bytes.
    fn of(bytes: u64) -> Self {
        let mut child = Command::new(std::env::current_exe().expect("this program"))
            .args(["memory::holds_memory_for_another_test", "--exact", "--nocapture"])
            .env(HOLD, bytes.to_string())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("starts");
        let stdout = BufReader::new(child.stdout.take().expect("a pipe"));
        let holds = stdout.lines().any(|line| line.expect("a line").contains("holding"));
        let holder = Self(child);
        assert!(holds, "it ended");
        holder
    }

    /// By SIGKILL.
    fn kill(&mut self) {
        self.0.kill().expect("killed");
        self.0.wait().expect("ended");
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// The other process. It computes, too: what it was doing when it is killed should not matter.
#[test]
fn holds_memory_for_another_test() {
    let Ok(bytes) = std::env::var(HOLD) else { return };
    let bytes: u64 = bytes.parse().expect("a number of bytes");
    let config = hungry();
    let capacity = (bytes / bytes_per_token(&config.decoder(), DType::F32)) as usize;
    let stored = checkpoint(&config, &mut Random::new(), 0.05, |_, _, _| {});
    let mut engine = cuda(&stored, &plan(&config, DType::F32, Attention::Fused, capacity));
    open(&mut engine, 1, capacity);
    prefill(&mut engine, &[(1, &[1, 2, 3])]).expect("prefills");
    println!("holding");
    let begun = Instant::now();
    while begun.elapsed() < Duration::from_secs(60) {
        decode(&mut engine, &[1], 1).expect("decodes");
    }
}

#[test]
fn what_another_process_takes_is_missed_and_comes_back_when_it_is_killed() {
    if !has_gpu() {
        return;
    }
    let config = hungry();
    let stored = checkpoint(&config, &mut Random::new(), 0.05, |_, _, _| {});
    let plan = LoadPlan {
        device: "cuda:0".parse().expect("a device"),
        ..plan(&config, DType::F32, Attention::Fused, 60_000)
    };
    let per_token = bytes_per_token(&config.decoder(), DType::F32);
    let before = free_bytes();
    let weights = weights_bytes(&config.decoder(), DType::F32);

    // A model that is loaded, and a cache for which the other leaves no room.
    let mut engine: CudaEngine = try_load(&stored, &plan).unwrap_or_else(|error| panic!("{error}"));
    open(&mut engine, 1, 2_000);
    prefill(&mut engine, &[(1, &[5, 6, 7])]).expect("prefills");
    let beside = free_bytes();
    let mut other = Holder::of(beside - (4 << 30));
    let left = free_bytes();
    assert!(left < 8 << 30, "{left} bytes are free beside the other process");
    let capacity = (left / per_token) as usize + 1000;
    match block_on(engine.open(SequenceId(2), capacity, &Sampling::GREEDY)) {
        Err(EngineError::OutOfMemory { phase: "kv_cache", requested_bytes, free_bytes }) => {
            assert_eq!(requested_bytes, capacity as u64 * per_token);
            assert!(free_bytes < requested_bytes, "{requested_bytes} of {free_bytes}");
        }
        other => panic!("{other:?}"),
    }
    // A sequence has all its memory when it is opened: it goes on to its last token.
    decode(&mut engine, &[1], 1990).expect("decodes");
    other.kill();
    let begun = Instant::now();
    while free_bytes() + LEFT_BEHIND < beside && begun.elapsed() < Duration::from_secs(5) {
        std::thread::sleep(Duration::from_millis(10));
    }
    println!(
        "killed: free {left}, {} after {:.2} s, {beside} before it",
        free_bytes(),
        begun.elapsed().as_secs_f64()
    );
    assert!(free_bytes() + LEFT_BEHIND >= beside, "{} of {beside} came back", free_bytes());
    open(&mut engine, 2, capacity);
    drop(engine);
    assert!(free_bytes() + LEFT_BEHIND >= before, "{} of {before} came back", free_bytes());

    // Room for what the model computes in, and for half of its weights. What the other takes beside its cache is known
    // by now.
    let beside_cache = beside - left - (beside - (4 << 30));
    let space =
        CudaWorkspace::new(&config.decoder(), DType::F32, Attention::Fused, 60_000, plan.batch as u64);
    let other = Holder::of(free_bytes() - beside_cache - space.bytes() - weights / 2);
    match try_load::<CudaEngine>(&stored, &plan).map(|_| ()) {
        Err(EngineError::OutOfMemory { phase: "weights", requested_bytes, free_bytes }) => {
            println!("load beside another: {requested_bytes} asked for, {free_bytes} free");
            assert!(requested_bytes >= weights && requested_bytes > free_bytes);
        }
        other => panic!("{other:?}"),
    }
    drop(other);
    try_load::<CudaEngine>(&stored, &plan).map(|_| ()).expect("there is room again");
}
