//! Stock candle on the files of the CUDA bench: `candle-peer DIR` prints load, first token, prefill and decode of the phi3
//! in `candle-transformers`, in the lines of `cuda run`. Used as candle's own examples use it: files are mapped, ids go to
//! the device and the choice comes back at each step. Random ids each time. Without the feature `cuda`, f32 on the CPU.

use std::path::{Path, PathBuf};
use std::time::Instant;

use candle_core::{Device, IndexOp as _, Result, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::generation::{LogitsProcessor, Sampling};
use candle_transformers::models::phi3::{Config, Model};

const LOCK: &str = include_str!("../Cargo.lock");

fn main() -> Result<()> {
    let dir = PathBuf::from(std::env::args().nth(1).expect("usage: candle-peer DIR"));
    let device = Device::cuda_if_available(0)?;
    let version =
        LOCK.split("name = \"candle-core\"\nversion = \"").nth(1).and_then(|rest| rest.split('"').next());
    println!("candle {}, {:?}", version.unwrap_or_default(), device.location());
    let mut peer = Peer::load(&dir, device)?;
    peer.first_token()?;
    for count in [512, 2048] {
        peer.prefill(count)?;
    }
    for (depth, steps) in [(10, 128), (2048, 64)] {
        peer.decode(depth, steps)?;
    }
    Ok(())
}

struct Peer {
    model: Model,
    choice: LogitsProcessor,
    vocab: usize,
    device: Device,
    dtype: &'static str,
}

impl Peer {
    /// Twice, as the other peers do: the second is what counts, without the start of the driver.
    fn load(dir: &Path, device: Device) -> Result<Self> {
        let config: Config =
            serde_json::from_slice(&std::fs::read(dir.join("config.json"))?).expect("a phi3 config");
        let mut files: Vec<PathBuf> = std::fs::read_dir(dir)?
            .map(|entry| entry.map(|entry| entry.path()))
            .collect::<std::io::Result<_>>()?;
        files.retain(|file| file.extension().is_some_and(|extension| extension == "safetensors"));
        files.sort();
        let dtype = device.bf16_default_to_f32();
        let load = || {
            #[expect(unsafe_code, reason = "how candle loads; nothing else writes these files")]
            let weights = unsafe { VarBuilder::from_mmaped_safetensors(&files, dtype, &device)? };
            Model::new(&config, weights)
        };
        let (first, model) = seconds(&device, load)?;
        drop(model);
        let (took, model) = seconds(&device, load)?;
        let choice = LogitsProcessor::from_sampling(0, Sampling::ArgMax);
        let peer =
            Self { model, choice, vocab: config.vocab_size, device: device.clone(), dtype: dtype.as_str() };
        peer.say("load, s", format!("{took:.3} ({first:.3} at first)"));
        Ok(peer)
    }

    fn say(&self, what: &str, value: String) {
        println!("candle     {:<44} {value}", format!("{} {what}", self.dtype));
    }

    fn prompt(&self, count: usize) -> Result<Vec<u32>> {
        let ids = Tensor::rand(0f32, 1f32, count, &Device::Cpu)?.to_vec1::<f32>()?;
        Ok(ids.into_iter().map(|id| ((id * self.vocab as f32) as u32).min(self.vocab as u32 - 1)).collect())
    }

    /// The id that follows `ids`, which follow `offset` others.
    fn step(&mut self, ids: &[u32], offset: usize) -> Result<u32> {
        let input = Tensor::new(ids, &self.device)?.unsqueeze(0)?;
        let logits = self.model.forward(&input, offset)?.i((0, 0))?;
        self.choice.sample(&logits)
    }

    /// A prompt of `count` new ids: seconds until the id that follows is known, and that id.
    fn first(&mut self, count: usize) -> Result<(f64, u32)> {
        self.model.clear_kv_cache();
        let ids = self.prompt(count)?;
        let device = self.device.clone();
        seconds(&device, || self.step(&ids, 0))
    }

    fn first_token(&mut self) -> Result<()> {
        let (at_first, _) = self.first(10)?;
        let times = (0..5).map(|_| Ok(self.first(10)?.0)).collect::<Result<_>>()?;
        self.say(
            "first token of 10, ms",
            format!("{:.2} at first, median {:.2}", at_first * 1e3, median(times) * 1e3),
        );
        Ok(())
    }

    fn prefill(&mut self, count: usize) -> Result<()> {
        let times = (0..7).map(|_| Ok(self.first(count)?.0)).collect::<Result<_>>()?;
        let took = median(times);
        self.say(
            &format!("prefill {count}, tokens/s"),
            format!("{:.0} ({:.2} ms)", count as f64 / took, took * 1e3),
        );
        Ok(())
    }

    fn decode(&mut self, depth: usize, steps: usize) -> Result<()> {
        let device = self.device.clone();
        let mut times = Vec::new();
        for _ in 0..3 {
            let (_, mut id) = self.first(depth)?;
            let (took, ()) = seconds(&device, || {
                for step in 0..steps {
                    id = self.step(&[id], depth + step)?;
                }
                Ok(())
            })?;
            times.push(took / steps as f64);
        }
        let took = median(times);
        self.say(
            &format!("decode at depth {depth}, tokens/s"),
            format!("{:.1} ({:.3} ms)", 1.0 / took, took * 1e3),
        );
        Ok(())
    }
}

fn seconds<T>(device: &Device, work: impl FnOnce() -> Result<T>) -> Result<(f64, T)> {
    device.synchronize()?;
    let start = Instant::now();
    let result = work()?;
    device.synchronize()?;
    Ok((start.elapsed().as_secs_f64(), result))
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
