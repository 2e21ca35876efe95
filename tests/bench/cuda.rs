//! Speed of the CUDA engine: `cuda write DIR CONFIG` makes a checkpoint of random weights, `cuda run DIR [DTYPE…]`
//! loads it and prints one line for each figure. `scripts/bench-cuda.sh` runs both beside the peers. `SPLIT=cuda:0=16,cuda:1=16`
//! puts layers on several devices, the embedding on the first, norm and head on the last; `PAGED=1` lets caches share memory.
//! `cuda cold DIR` loads files that no cache holds, on a disk and not in memory.

use std::fs::File;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use phi3::candle_engine::CandleHost;
use phi3::config::ModelConfig;
use phi3::cuda_engine::Cuda;
use phi3::dtype::DType;
use phi3::engine::{
    Attention, Diagnostics, Engine, LoadPlan, Prompt, PromptPart, Sampling, SequenceId, Split,
};
use phi3::placement::DeviceId;
use phi3::tensors;
use phi3::weights::synthetic::synthetic_files;
use phi3::weights::{Checkpoint, ConcurrentRead, WeightSource};
use pollster::block_on;
use preflight_files::FileSource;
use serde_json::json;

const PIECE: u64 = 16 << 20;

fn main() {
    let start = Instant::now();
    let words: Vec<String> = std::env::args().skip(1).filter(|word| word != "--bench").collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["write", dir, config] => write(Path::new(dir), Path::new(config)),
        ["run", dir, rest @ ..] => run(Path::new(dir), rest, start),
        ["cold", dir] => cold(Path::new(dir)),
        _ => panic!(
            "usage: cuda write DIR CONFIG.json | cuda cold DIR \
             | cuda run DIR [load|short|prefill|depth|batch|mixed] [DTYPE…]"
        ),
    }
}

#[expect(clippy::print_stdout, reason = "the result of a bench")]
fn say(what: &str, value: String) {
    println!("preflight {what:<44} {value}");
}

/// A checkpoint that Hugging Face reads, written by all cores.
fn write(dir: &Path, config: &Path) {
    std::fs::create_dir_all(dir).expect("a folder");
    let mut json: serde_json::Value =
        serde_json::from_slice(&std::fs::read(config).expect("a config")).expect("JSON");
    json["torch_dtype"] = json!("bfloat16");
    json.as_object_mut().expect("an object").remove("auto_map");
    let bytes = json.to_string();
    let config = ModelConfig::parse(bytes.as_bytes()).expect("a phi3 config");
    std::fs::write(dir.join("config.json"), &bytes).expect("written");
    let files = synthetic_files(&config, 7, DType::Bf16).expect("bf16");
    let checkpoint = block_on(Checkpoint::from_safetensors(files.clone())).expect("good files");
    let map: serde_json::Map<_, _> = checkpoint
        .tensors()
        .iter()
        .map(|(name, stored)| (name.clone(), json!(files[stored.file].0)))
        .collect();
    let index = json!({"metadata": {"total_size": checkpoint.stored_bytes()}, "weight_map": map});
    std::fs::write(dir.join("model.safetensors.index.json"), index.to_string()).expect("written");
    for (name, source) in &files {
        let file = File::create(dir.join(name)).expect("created");
        let next = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
                scope.spawn(|| {
                    let mut piece = vec![0; PIECE as usize];
                    loop {
                        let offset = next.fetch_add(PIECE, Ordering::Relaxed);
                        if offset >= source.len() {
                            break;
                        }
                        let piece = &mut piece[..PIECE.min(source.len() - offset) as usize];
                        source.read_at(offset, piece).expect("computed");
                        file.write_all_at(piece, offset).expect("written");
                    }
                });
            }
        });
    }
}

/// A file that is read through the cache, whatever its disk.
struct Cached(File, u64);

impl ConcurrentRead for Cached {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.0.read_exact_at(buffer, offset)
    }
}

impl WeightSource for Cached {
    fn len(&self) -> u64 {
        self.1
    }

    async fn read_into(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        self.read_at(offset, buffer)
    }

    fn concurrent(&self) -> Option<&dyn ConcurrentRead> {
        Some(self)
    }
}

/// The files of weights in a folder.
fn parts(dir: &Path) -> Vec<PathBuf> {
    let mut paths: Vec<_> =
        std::fs::read_dir(dir).expect("a folder").map(|entry| entry.expect("an entry").path()).collect();
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "safetensors"));
    paths.sort();
    paths
}

fn checkpoint<S: WeightSource>(dir: &Path, open: impl Fn(&Path) -> S) -> Checkpoint<S> {
    let files = parts(dir).into_iter().map(|path| (path.display().to_string(), open(&path))).collect();
    block_on(Checkpoint::from_safetensors(files)).expect("a checkpoint")
}

fn open(path: &Path) -> FileSource {
    FileSource::open(path).expect("a file")
}

fn open_cached(path: &Path) -> Cached {
    let file = File::open(path).expect("a file");
    let len = file.metadata().expect("its length").len();
    Cached(file, len)
}

/// Loads of files that were dropped from the cache before, either way in turn.
fn cold(dir: &Path) {
    let parts = parts(dir);
    for _ in 0..4 {
        for directly in [false, true] {
            for path in &parts {
                let file = File::open(path).expect("a file");
                file.sync_all().expect("on its disk");
                rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).expect("advice");
            }
            let way = if directly { "either way" } else { "through the cache" };
            say(&format!("cold, {way}"), String::new());
            if directly {
                load(dir, open, DType::Bf16, false, None);
            } else {
                load(dir, open_cached, DType::Bf16, false, None);
            }
            say("then in the cache", format!("{:.0} %", 100.0 * share_cached(&parts)));
        }
    }
}

/// How much of some files the page cache holds, by one byte of every 16 MiB.
fn share_cached(paths: &[PathBuf]) -> f64 {
    let [mut looked, mut found] = [0.0; 2];
    for path in paths {
        let file = File::open(path).expect("a file");
        for offset in (0..file.metadata().expect("its length").len()).step_by(PIECE as usize) {
            let mut byte = [0];
            let flags = rustix::io::ReadWriteFlags::NOWAIT;
            let read = rustix::io::preadv2(&file, &mut [io::IoSliceMut::new(&mut byte)], offset, flags);
            looked += 1.0;
            found += f64::from(u8::from(read.is_ok()));
        }
    }
    found / looked
}

/// Devices with how many layers each has.
fn split(text: &str) -> Split {
    let part = |part: &str| -> (DeviceId, usize) {
        let (device, layers) = part.split_once('=').expect("DEVICE=LAYERS");
        (device.parse().expect("a device"), layers.parse().expect("a number"))
    };
    let parts: Vec<_> = text.split(',').map(part).collect();
    let layers = parts.iter().flat_map(|(device, layers)| vec![device.clone(); *layers]).collect();
    let [first, last] = [0, parts.len() - 1].map(|part| parts[part].0.clone());
    Split { embedding: first, layers, norm: last.clone(), head: last }
}

struct Bench {
    engine: Cuda<CandleHost>,
    config: ModelConfig,
    label: String,
    /// Bytes of weights that every token reads.
    streamed: u64,
    kv: DType,
}

fn tokens(count: usize, vocab: usize) -> Vec<u32> {
    // Another text each time, so that nothing can be remembered.
    let seed = Instant::now().elapsed().as_nanos() as usize + count;
    (0..count).map(|i| ((i * 7919 + seed * 31) % vocab) as u32).collect()
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn run(dir: &Path, words: &[&str], start: Instant) {
    let (dtypes, parts): (Vec<&str>, Vec<&str>) =
        words.iter().partition(|word| word.parse::<DType>().is_ok());
    let wants = |part: &str| parts.is_empty() || parts.contains(&part);
    let dtypes = if dtypes.is_empty() { vec!["bf16"] } else { dtypes };
    for (index, name) in dtypes.iter().enumerate() {
        let dtype: DType = name.parse().expect("a dtype");
        let batched = wants("batch") || wants("mixed");
        let mut bench = load(dir, open, dtype, batched, (index == 0).then_some(start));
        if wants("load") {
            // Again, without the start of the process and of the driver.
            drop(bench);
            bench = load(dir, open, dtype, batched, None);
        }
        if wants("short") {
            bench.first_token();
            bench.decode(10, 256);
        }
        if wants("prefill") {
            for count in [64, 512, 2048] {
                bench.prefill(count);
            }
        }
        if wants("depth") {
            bench.decode(2048, 128);
            bench.decode(3900, 128);
        }
        if wants("batch") {
            bench.batch(4, 128, 128);
            bench.batch(32, 128, 128);
        }
        if wants("mixed") {
            bench.mixed(16, 2048);
        }
        let memory = bench.engine.memory();
        say(&format!("{name} memory"), format!("{memory:?}"));
        for (device, memory) in bench.engine.memory_by_device() {
            say(&format!("{name} memory of {device}"), format!("{memory:?}"));
        }
    }
}

fn load<S: WeightSource>(
    dir: &Path,
    open: impl Fn(&Path) -> S,
    dtype: DType,
    batched: bool,
    start: Option<Instant>,
) -> Bench {
    let began = Instant::now();
    let config =
        ModelConfig::parse(&std::fs::read(dir.join("config.json")).expect("a config")).expect("phi3");
    let checkpoint = checkpoint(dir, open);
    let kv = if dtype.is_float() { dtype } else { DType::Bf16 };
    let plan = LoadPlan {
        device: "cuda:0".parse().expect("a device"),
        split: std::env::var("SPLIT").ok().map(|text| split(&text)),
        kv_dtype: kv,
        attention: match std::env::var("ATTENTION").as_deref() {
            Ok("eager") => Attention::Eager,
            _ => Attention::Fused,
        },
        batch: if batched { 32 } else { 1 },
        // Two contexts of 4,096.
        kv_blocks: std::env::var_os("PAGED").map(|_| 512),
        ..LoadPlan::new(config.clone(), dtype, config.max_position_embeddings.min(4096))
    };
    let mut marks: Vec<(&str, f64)> = Vec::new();
    let engine = block_on(Cuda::<CandleHost>::load(&checkpoint, &plan, &mut |report| {
        let name = match (report.stage, report.done_bytes) {
            (phi3::engine::LoadStage::Downloading, _) => "downloading",
            (phi3::engine::LoadStage::Checking, _) => "checking",
            (phi3::engine::LoadStage::Weights, 0) => "weights begin",
            (phi3::engine::LoadStage::Weights, _) => "weights end",
            (phi3::engine::LoadStage::Preparing, _) => "preparing",
        };
        let now = began.elapsed().as_secs_f64();
        match marks.last_mut() {
            Some(last) if last.0 == name => last.1 = now,
            _ => marks.push((name, now)),
        }
        ControlFlow::Continue(())
    }))
    .expect("loads");
    let whole = began.elapsed().as_secs_f64();
    let marks: Vec<String> = marks.iter().map(|(name, at)| format!("{name} {at:.3}")).collect();
    say(&format!("{dtype} load, s"), format!("{whole:.3} ({})", marks.join(", ")));
    if let Some(start) = start {
        say(&format!("{dtype} process start to ready, s"), format!("{:.3}", start.elapsed().as_secs_f64()));
    }
    let decoder = config.decoder();
    let embedding: u64 = if config.tie_word_embeddings {
        0
    } else {
        tensors::list(&decoder).take(1).map(|spec| dtype.tensor_bytes(&spec.shape)).sum()
    };
    let streamed = engine.memory().weights_bytes - embedding;
    Bench { engine, config, label: dtype.to_string(), streamed, kv }
}

impl Bench {
    fn open(&mut self, id: u64, capacity: usize) {
        block_on(self.engine.open(SequenceId(id), capacity, &Sampling::GREEDY)).expect("opens");
    }

    fn prompt(&mut self, ids: &[u64], tokens: &[Vec<u32>]) -> f64 {
        let prompts: Vec<_> =
            ids.iter().zip(tokens).map(|(id, tokens)| Prompt { sequence: SequenceId(*id), tokens }).collect();
        let start = Instant::now();
        let sampled = block_on(self.engine.prefill(&prompts)).expect("prefills");
        assert_eq!(sampled.len(), ids.len());
        start.elapsed().as_secs_f64()
    }

    /// Seconds of `steps` steps.
    fn steps(&mut self, ids: &[u64], steps: usize) -> f64 {
        let ids: Vec<_> = ids.iter().map(|id| SequenceId(*id)).collect();
        let start = Instant::now();
        let mut found = 0;
        for _ in 0..steps {
            found += block_on(self.engine.decode(&ids)).expect("decodes").len();
        }
        found += block_on(self.engine.drain()).expect("drains").len();
        assert_eq!(found, steps * ids.len());
        start.elapsed().as_secs_f64()
    }

    fn first_token(&mut self) {
        let mut times = Vec::new();
        for _ in 0..9 {
            let tokens = tokens(10, self.config.vocab_size);
            self.open(1, 10);
            times.push(self.prompt(&[1], &[tokens]) * 1e3);
            self.engine.release(SequenceId(1));
        }
        let first = times[0];
        say(
            &format!("{} first token of 10, ms", self.label),
            format!("{first:.2} at first, median {:.2}", median(times)),
        );
    }

    fn prefill(&mut self, count: usize) {
        let mut times = Vec::new();
        for _ in 0..7 {
            let tokens = tokens(count, self.config.vocab_size);
            self.open(1, count);
            times.push(self.prompt(&[1], &[tokens]));
            self.engine.release(SequenceId(1));
        }
        let time = median(times);
        say(
            &format!("{} prefill {count}, tokens/s", self.label),
            format!("{:.0} ({:.2} ms)", count as f64 / time, time * 1e3),
        );
    }

    fn decode(&mut self, depth: usize, steps: usize) {
        let mut times = Vec::new();
        for _ in 0..3 {
            let tokens = tokens(depth, self.config.vocab_size);
            self.open(1, depth + steps);
            self.prompt(&[1], &[tokens]);
            times.push(self.steps(&[1], steps) / steps as f64);
            self.engine.release(SequenceId(1));
        }
        let time = median(times);
        let visible = (depth + steps / 2).min(self.config.sliding_window.unwrap_or(usize::MAX)) as u64;
        let bytes =
            self.streamed + visible * phi3::estimate::bytes_per_token(&self.config.decoder(), self.kv);
        say(
            &format!("{} decode at depth {depth}, tokens/s", self.label),
            format!("{:.1} ({:.3} ms, {:.0} GB/s)", 1.0 / time, time * 1e3, bytes as f64 / time / 1e9),
        );
    }

    fn batch(&mut self, count: usize, prompt: usize, steps: usize) {
        let ids: Vec<u64> = (0..count as u64).collect();
        let texts: Vec<_> =
            ids.iter().map(|id| tokens(prompt + *id as usize % 2, self.config.vocab_size)).collect();
        for round in 0..2 {
            ids.iter().for_each(|id| self.open(*id, prompt + 1 + steps));
            let first = self.prompt(&ids, &texts);
            let rest = self.steps(&ids, steps - 1);
            ids.iter().for_each(|id| self.engine.release(SequenceId(*id)));
            if round > 0 {
                let rate = |tokens: usize, time: f64| tokens as f64 / time;
                say(
                    &format!("{} batch {count}, tokens/s", self.label),
                    format!(
                        "{:.0} decoding ({:.2} ms a step), {:.0} with prompts of {prompt}",
                        rate(count * (steps - 1), rest),
                        rest / (steps - 1) as f64 * 1e3,
                        rate(count * steps, first + rest)
                    ),
                );
            }
        }
    }

    /// How long a step of `count` sequences takes, alone and while a prompt comes: in one piece before the step, then in
    /// parts beside steps.
    fn mixed(&mut self, count: usize, prompt: usize) {
        let ids: Vec<u64> = (0..count as u64).collect();
        let sequences: Vec<SequenceId> = ids.iter().map(|id| SequenceId(*id)).collect();
        let texts: Vec<_> = ids.iter().map(|_| tokens(128, self.config.vocab_size)).collect();
        let long = tokens(prompt, self.config.vocab_size);
        let late = SequenceId(count as u64);
        let clock = |work: &mut dyn FnMut()| {
            let start = Instant::now();
            work();
            start.elapsed().as_secs_f64() * 1e3
        };
        for round in 0..2 {
            ids.iter().for_each(|id| self.open(*id, 400));
            self.prompt(&ids, &texts);
            let alone = self.steps(&ids, 50) / 50.0 * 1e3;
            self.open(late.0, prompt + 1);
            let whole = clock(&mut || {
                block_on(self.engine.prefill(&[Prompt { sequence: late, tokens: &long }])).expect("prefills");
                block_on(self.engine.decode(&sequences)).expect("decodes");
                block_on(self.engine.drain()).expect("drains");
            });
            self.engine.release(late);
            self.open(late.0, prompt + 1);
            let mut parts = Vec::new();
            let mut fed = 0;
            while fed < prompt {
                let until = prompt.min(fed + self.engine.part_rows(count).max(1));
                let part = PromptPart { sequence: late, tokens: &long[fed..until], is_last: until == prompt };
                parts.push(clock(&mut || {
                    block_on(self.engine.mixed(&[part], &sequences)).expect("mixes");
                }));
                fed = until;
            }
            ids.iter().for_each(|id| self.engine.release(SequenceId(*id)));
            self.engine.release(late);
            if round > 0 {
                let slowest = parts.iter().copied().fold(0.0, f64::max);
                let (all, number) = (parts.iter().sum::<f64>(), parts.len());
                say(
                    &format!("{} a step of {count} beside a prompt of {prompt}, ms", self.label),
                    format!(
                        "{alone:.2} alone, {whole:.2} after the prompt, {slowest:.2} at most of {number} with parts of it, \
                         {all:.2} all of them"
                    ),
                );
            }
        }
    }
}
