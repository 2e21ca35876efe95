//! Phi-3 on NVIDIA GPUs: own kernels for what reads weights once, cuBLASLt for products over many rows.
//!
//! A model may lie on several devices, and on the host beside them: each does its layers, one after the other, and hands
//! the residual stream on.
//!
//! A step of decoding is one CUDA graph. Ids stay on the device: the next step is queued before the host has read the
//! last id, which it reads one step late. Residual stream, norms, softmax and every sum are in f32; activations are in
//! the format of the weights, beside quantised ones in bf16. Weights of bf16 are held in f16 as long as they fit, see `held`.

mod across;
mod appended;
mod blocks;
mod caches;
mod driver;
mod module;
mod format;
mod gemm;
mod held;
mod kernels;
mod load;
mod model;
mod part;
mod sequence;
mod steps;
mod weights;
mod workspace;
mod diagnostics;

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;

use self::appended::Appended;
use self::blocks::Pool;
use self::driver::{Event, Gpu, Pinned};
use self::kernels::{Format, LONGEST_ROW, WIDEST_HEAD};
use self::part::{Begun, Part};
use self::sequence::Sequence;
use self::steps::{RING, Step};
use crate::dtype::DType;
use crate::engine::route::{Route, ordinal};
use crate::engine::{
    Attention, DeviceInfo, Engine, EngineError, EngineInfo, HostPart, LoadPlan, LoadProgress, LoadStage,
    NoHost, Prompt, PromptPart, Sampled, Sampling, SequenceId,
};
use crate::placement::DeviceId;
use crate::rope::Rope;
use crate::weights::{Checkpoint, WeightSource};

/// A Phi-3 model on CUDA devices alone.
pub type CudaEngine = Cuda<NoHost>;

/// A Phi-3 model on CUDA devices, of which `H` may compute a part on the host.
pub struct Cuda<H> {
    // Fields are dropped in order: what uses a context before the context.
    sequences: BTreeMap<SequenceId, Sequence>,
    /// What their caches share, where they do.
    pool: Option<Pool>,
    ids: Pinned,
    sampled: [Event; RING],
    /// Steps whose ids have not been read.
    steps: VecDeque<Step>,
    /// Ids that have been read and not been returned.
    readable: Vec<Sampled>,
    /// What the rows of a batch on the device stand for; empty where they must be written anew.
    resident: Vec<SequenceId>,
    /// Steps sampled since those rows were written.
    tick: usize,
    /// What the rows of logits were computed for last.
    logits_of: Vec<SequenceId>,
    /// Those rows, where the host chooses ids.
    host_logits: Vec<f32>,
    /// The residual stream on its way over the host.
    rows: Vec<f32>,
    rope: Rope,
    plan: LoadPlan,
    kv: Format,
    /// The formats of weights and cache that were asked for, while they are held in finer ones.
    wide: Option<[Format; 2]>,
    route: Route,
    host: Option<H>,
    parts: Vec<Part>,
}

/// Rows of a step with parts of prompts: 64 of Phi-3-mini take 4.2 ms on an H100, 512 take 7.
const MIXED_ROWS: usize = 512;

/// Formats that weights can be held in.
const DTYPES: [DType; 6] = [DType::F32, DType::Bf16, DType::F16, DType::Fp8, DType::Q8_0, DType::Q4_0];

impl<H: HostPart> Engine for Cuda<H> {
    async fn devices() -> Result<Vec<DeviceInfo>, EngineError> {
        let info = |ordinal: usize| -> Result<DeviceInfo, EngineError> {
            let gpu = Gpu::open(ordinal)?;
            let (free, total) = gpu.memory();
            Ok(DeviceInfo {
                device: cuda(ordinal),
                name: gpu.name.clone(),
                driver: None,
                total_bytes: Some(total).filter(|bytes| *bytes > 0),
                free_bytes: Some(free).filter(|_| total > 0),
                dtypes: DTYPES.to_vec(),
                attention: vec![Attention::Eager, Attention::Fused],
                is_software: false,
            })
        };
        let (devices, mut refused): (Vec<_>, Vec<_>) =
            (0..driver::count()?).map(info).partition(Result::is_ok);
        match refused.pop() {
            // Where there are others, one that is too old is no reason to do without them.
            Some(reason) if devices.is_empty() => reason.map(|info| vec![info]),
            _ => devices.into_iter().collect(),
        }
    }

    async fn load<S: WeightSource>(
        checkpoint: &Checkpoint<S>,
        plan: &LoadPlan,
        progress: &mut dyn FnMut(LoadProgress) -> ControlFlow<()>,
    ) -> Result<Self, EngineError> {
        let asked = check_plan(plan)?;
        let route = Route::of(plan)?;
        if route.uses_host() {
            H::check(plan)?;
        }
        let total_bytes = crate::estimate::weights_bytes(&plan.config.decoder(), plan.dtype);
        type Progress<'a> = &'a mut dyn FnMut(LoadProgress) -> ControlFlow<()>;
        let report = |progress: Progress<'_>, stage, done_bytes| {
            let report = LoadProgress { stage, done_bytes, total_bytes };
            if progress(report).is_break() { Err(EngineError::Cancelled) } else { Ok(()) }
        };
        report(progress, LoadStage::Checking, 0)?;
        checkpoint.check(&plan.config.decoder())?;
        let ordinals = route.gpus.iter().map(ordinal).collect::<Result<Vec<_>, _>>()?;
        let gpus = ordinals.iter().map(|ordinal| Gpu::open(*ordinal)).collect::<Result<Vec<_>, _>>()?;
        driver::close_all_but(&ordinals);
        for (one, other) in gpus.iter().flat_map(|one| gpus.iter().map(move |other| (one, other))) {
            if one.ordinal != other.ordinal {
                one.reach(other)?;
            }
        }
        let rope = Rope::new(&plan.config);
        let buffered = match plan.low_cpu_mem_usage {
            true => None,
            false => Some(checkpoint.buffered().await?),
        };
        let mut formats = held::finer(asked);
        let (begun, pool, host) = loop {
            let begun = route.gpus.iter().map(|device| Begun::new(device, plan, formats));
            let begun = begun.collect::<Result<Vec<_>, _>>()?;
            let gpus = || begun.iter().map(Begun::layers_on);
            let pool =
                plan.kv_blocks.map(|blocks| Pool::new(gpus(), plan, formats[1], blocks)).transpose()?;
            report(progress, LoadStage::Weights, 0)?;
            let (host, fits) = match &buffered {
                None => read(checkpoint, &begun, route.uses_host(), plan, total_bytes, progress).await?,
                Some(buffered) => {
                    read(buffered, &begun, route.uses_host(), plan, total_bytes, progress).await?
                }
            };
            if fits {
                break (begun, pool, host);
            }
            formats = asked;
        };
        let kv = formats[1];
        let finished = begun.into_iter().map(|part| part.finish(plan, kv, &rope));
        let parts = finished.collect::<Result<Vec<_>, _>>()?;
        // Events belong to the device that chooses ids.
        parts[route.tail().unwrap_or(0)].enter()?;
        let mut engine = Self {
            sequences: BTreeMap::new(),
            pool,
            ids: Pinned::new(RING * plan.batch * size_of::<u32>())?,
            sampled: [Event::new()?, Event::new()?, Event::new()?, Event::new()?],
            steps: VecDeque::new(),
            readable: Vec::new(),
            resident: Vec::new(),
            tick: 0,
            logits_of: Vec::new(),
            host_logits: Vec::new(),
            rows: Vec::new(),
            rope,
            plan: plan.clone(),
            kv,
            wide: (formats != asked).then_some(asked),
            route,
            host,
            parts,
        };
        report(progress, LoadStage::Preparing, total_bytes)?;
        engine.warm_up().await?;
        Ok(engine)
    }

    fn info(&self) -> EngineInfo {
        EngineInfo {
            engine: "cuda".to_owned(),
            device: self.plan.device.to_string(),
            dtype: self.plan.dtype,
            threads: 1,
        }
    }

    async fn open(
        &mut self,
        id: SequenceId,
        capacity: usize,
        sampling: &Sampling,
    ) -> Result<(), EngineError> {
        self.plan.check_open(&self.sequences, id, capacity)?;
        let sequence = self.empty(capacity, sampling)?;
        self.parts.iter_mut().try_for_each(|part| part.write_rotary(&self.rope, capacity))?;
        if let Some(host) = &mut self.host {
            host.open(id, capacity)?;
        }
        self.sequences.insert(id, sequence);
        Ok(())
    }

    async fn prefill(&mut self, prompts: &[Prompt<'_>]) -> Result<Vec<Sampled>, EngineError> {
        prompts.iter().try_for_each(|prompt| self.plan.check_tokens(prompt.tokens))?;
        let appended: Vec<_> =
            prompts.iter().map(|prompt| Appended::prompt(prompt.sequence, prompt.tokens)).collect();
        self.settle(0)?;
        self.extend(&appended, appended.len())?;
        Ok(std::mem::take(&mut self.readable))
    }

    async fn decode(&mut self, sequences: &[SequenceId]) -> Result<Vec<Sampled>, EngineError> {
        let anew = self.check_step(sequences)?;
        if sequences.is_empty() {
            return self.drain().await;
        }
        if anew {
            self.settle(0)?;
            let appended = self.pending(sequences)?;
            self.extend(&appended, appended.len())?;
        } else {
            self.step(sequences)?;
        }
        Ok(std::mem::take(&mut self.readable))
    }

    fn part_rows(&self, running: usize) -> usize {
        let rows = self.parts[0].model.space.rows();
        match running {
            // There each row costs as much as the next.
            _ if self.route.uses_host() => 0,
            0 => rows,
            _ => rows.min(MIXED_ROWS).saturating_sub(running).max(1),
        }
    }

    async fn mixed(
        &mut self,
        parts: &[PromptPart<'_>],
        sequences: &[SequenceId],
    ) -> Result<Vec<Sampled>, EngineError> {
        parts.iter().try_for_each(|part| self.plan.check_tokens(part.tokens))?;
        self.check_step(sequences)?;
        self.settle(0)?;
        // Those that sample come first.
        let mut appended = self.pending(sequences)?;
        let (last, open): (Vec<&PromptPart<'_>>, Vec<_>) = parts.iter().partition(|part| part.is_last);
        let samples = appended.len() + last.len();
        let parts = last.into_iter().chain(open);
        appended.extend(parts.map(|part| Appended::prompt(part.sequence, part.tokens)));
        self.extend(&appended, samples)?;
        Ok(std::mem::take(&mut self.readable))
    }

    fn reserve(&mut self, sequence: SequenceId, tokens: usize) -> Result<(), EngineError> {
        self.grow([(sequence, tokens)].into_iter())
    }

    fn park(&mut self, sequence: SequenceId) {
        self.reclaim(sequence);
    }

    async fn drain(&mut self) -> Result<Vec<Sampled>, EngineError> {
        self.settle(0)?;
        Ok(std::mem::take(&mut self.readable))
    }

    fn is_lost(&self) -> bool {
        driver::is_lost()
    }

    fn release(&mut self, sequence: SequenceId) {
        self.reclaim(sequence);
        if self.sequences.remove(&sequence).is_some()
            && let Some(host) = &mut self.host
        {
            host.release(sequence);
        }
        self.readable.retain(|sampled| sampled.sequence != sequence);
    }
}

/// Reads all weights to where they go; whether they fit how they are held there.
async fn read<S: WeightSource, H: HostPart>(
    checkpoint: &Checkpoint<S>,
    begun: &[Begun],
    uses_host: bool,
    plan: &LoadPlan,
    total_bytes: u64,
    progress: &mut dyn FnMut(LoadProgress) -> ControlFlow<()>,
) -> Result<(Option<H>, bool), EngineError> {
    let mut before = 0;
    for part in begun {
        if !part.fill(checkpoint, [before, total_bytes], progress).await? {
            return Ok((None, false));
        }
        before += part.weights_bytes();
    }
    let host = match uses_host {
        true => Some(H::load(checkpoint, plan, before, progress).await?),
        false => None,
    };
    Ok((host, true))
}

fn cuda(ordinal: usize) -> DeviceId {
    DeviceId::Gpu { backend: "cuda".to_owned(), index: ordinal as u32 }
}

/// The formats of weights and of the cache.
fn check_plan(plan: &LoadPlan) -> Result<[Format; 2], EngineError> {
    let unavailable = |what: String, reason: String| EngineError::Unavailable { what, reason };
    if !plan.use_cache {
        let reason = "this engine keeps keys and values".to_owned();
        return Err(unavailable("use_cache: false".to_owned(), reason));
    }
    let format = Format::of(plan.dtype).ok_or_else(|| {
        let reason = "this engine holds weights in f32, bf16, f16, fp8, q8_0 and q4_0".to_owned();
        unavailable(format!("dtype {}", plan.dtype), reason)
    })?;
    let kv =
        Format::of(plan.kv_dtype).filter(|kv| kv.block() == 1 || *kv == Format::Fp8).ok_or_else(|| {
            let reason = "this engine holds the KV cache in f32, bf16, f16 and fp8".to_owned();
            unavailable(format!("kv dtype {}", plan.kv_dtype), reason)
        })?;
    let config = &plan.config;
    if config.head_dim > WIDEST_HEAD {
        let reason = format!("the kernels take heads up to {WIDEST_HEAD} wide");
        return Err(unavailable(format!("head_dim {}", config.head_dim), reason));
    }
    let longest =
        config.hidden_size.max(config.intermediate_size).max(config.num_attention_heads * config.head_dim);
    if longest > LONGEST_ROW {
        let reason = format!("the kernels take rows up to {LONGEST_ROW} long");
        return Err(unavailable(format!("a weight with rows of {longest}"), reason));
    }
    Ok([format, kv])
}
