//! Phi-3 on NVIDIA GPUs: own kernels for what reads weights once, cuBLASLt for products over many rows.
//!
//! A step of decoding is one CUDA graph. Ids stay on the device: the next step is queued before the host has read the
//! last id, which it reads one step late. Residual stream, norms, softmax and every sum are in f32; activations are in
//! the format of the weights, beside quantised ones in bf16.

mod across;
mod driver;
mod format;
mod gemm;
mod kernels;
mod load;
mod model;
mod sequence;
mod weights;
mod workspace;
mod diagnostics;

use std::collections::{BTreeMap, VecDeque};
use std::ops::ControlFlow;
use std::sync::Arc;

use self::driver::{Event, Gpu, Graph, Pinned, Stream};
use self::gemm::{Gemm, Handle};
use self::kernels::{Format, Heads, Kernels, LONGEST_ROW, Row, Rows, WIDEST_HEAD};
use self::model::{Model, Segment};
use self::sequence::Sequence;
use self::weights::Weights;
use self::workspace::Workspace;
use crate::config::ModelConfig;
use crate::dtype::DType;
use crate::engine::{
    Attention, DeviceInfo, Engine, EngineError, EngineInfo, LoadPlan, LoadProgress, LoadStage, Prompt,
    Sampled, Sampling, SequenceId, check_room,
};
use crate::placement::DeviceId;
use crate::rope::Rope;
use crate::weights::{Checkpoint, WeightSource};

/// Steps whose ids the host has room for; two are on their way at most.
const RING: usize = 4;
/// Rows of a chunk from which on the last layer is worth skipping for all but the last of each sequence.
const SKIP_ROWS: usize = 64;
/// What the device writes where a row's logits hold NaN.
const NO_ID: u32 = u32::MAX;

/// A Phi-3 model on a CUDA device.
pub struct CudaEngine {
    // Fields are dropped in order: what uses the context before the context.
    graphs: BTreeMap<usize, Graph>,
    sequences: BTreeMap<SequenceId, Sequence>,
    model: Model,
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
    /// What the rows of logits on the device were computed for last.
    logits_of: Vec<SequenceId>,
    /// Positions whose rotary table is on the device: with the short factors, with the long ones.
    rotary: [usize; 2],
    rope: Rope,
    plan: LoadPlan,
    kv: Format,
    /// Most bytes that diagnostics held beside the workspace.
    diagnostics_bytes: u64,
    /// Device memory that was free before the engine came.
    free_before: u64,
    gpu: Arc<Gpu>,
}

struct Step {
    ids: Vec<SequenceId>,
    slot: usize,
}

/// Formats that weights can be held in.
const DTYPES: [DType; 6] = [DType::F32, DType::Bf16, DType::F16, DType::Fp8, DType::Q8_0, DType::Q4_0];

impl Engine for CudaEngine {
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
        let (format, kv) = check_plan(plan)?;
        let total_bytes = crate::estimate::weights_bytes(&plan.config.decoder(), plan.dtype);
        let mut report = |stage, done_bytes| {
            let report = LoadProgress { stage, done_bytes, total_bytes };
            if progress(report).is_break() { Err(EngineError::Cancelled) } else { Ok(()) }
        };
        report(LoadStage::Checking, 0)?;
        checkpoint.check(&plan.config.decoder())?;
        let gpu = Gpu::open(ordinal(&plan.device)?)?;
        driver::close_all_but(gpu.ordinal);
        let free_before = gpu.memory().0;
        // The library is large: it is opened while weights arrive.
        let handle = {
            let gpu = Arc::clone(&gpu);
            std::thread::spawn(move || gpu.make_current().and_then(|()| Handle::new()))
        };
        let kernels = Kernels::load(&gpu, format, kv, plan.config.head_dim)?;
        // Before the weights: a workspace that does not fit should not cost a load.
        let space = Workspace::new(&gpu, plan)?;
        let weights = Weights::new(&gpu, plan, format)?;
        report(LoadStage::Weights, 0)?;
        if plan.low_cpu_mem_usage {
            load::fill(&gpu, &kernels, &weights, checkpoint, progress).await?;
        } else {
            load::fill(&gpu, &kernels, &weights, &checkpoint.buffered().await?, progress).await?;
        }
        let handle =
            handle.join().map_err(|_panic| EngineError::Backend("cuBLASLt did not start".to_owned()))??;
        let gemm = Gemm::new(handle, &gpu)?;
        let rope = Rope::new(&plan.config);
        let heads = heads(&plan.config, plan.context, &space, &rope, kv);
        let model = Model {
            stream: Stream::new()?,
            kernels,
            gemm,
            weights,
            space,
            heads,
            attention: plan.attention,
            context: plan.context,
            hidden: plan.config.hidden_size,
            intermediate: plan.config.intermediate_size,
            vocab: plan.config.vocab_size,
        };
        let mut engine = Self {
            graphs: BTreeMap::new(),
            sequences: BTreeMap::new(),
            model,
            ids: Pinned::new(RING * plan.batch * size_of::<u32>())?,
            sampled: [Event::new()?, Event::new()?, Event::new()?, Event::new()?],
            steps: VecDeque::new(),
            readable: Vec::new(),
            resident: Vec::new(),
            logits_of: Vec::new(),
            tick: 0,
            rotary: [0, 0],
            rope,
            plan: plan.clone(),
            kv,
            diagnostics_bytes: 0,
            free_before,
            gpu,
        };
        let last = LoadProgress { stage: LoadStage::Preparing, done_bytes: total_bytes, total_bytes };
        if progress(last).is_break() {
            return Err(EngineError::Cancelled);
        }
        engine.warm_up().await?;
        Ok(engine)
    }

    fn info(&self) -> EngineInfo {
        EngineInfo {
            engine: "cuda".to_owned(),
            device: format!("cuda:{}", self.gpu.ordinal),
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
        let sequence = Sequence::new(&self.gpu, &self.plan, self.kv, capacity, sampling)?;
        self.write_rotary(capacity)?;
        self.sequences.insert(id, sequence);
        Ok(())
    }

    async fn prefill(&mut self, prompts: &[Prompt<'_>]) -> Result<Vec<Sampled>, EngineError> {
        prompts.iter().try_for_each(|prompt| self.plan.check_tokens(prompt.tokens))?;
        let appended: Vec<_> =
            prompts.iter().map(|prompt| (prompt.sequence, prompt.tokens.to_vec())).collect();
        self.collect(0)?;
        self.extend(&appended, true)?;
        Ok(std::mem::take(&mut self.readable))
    }

    async fn decode(&mut self, sequences: &[SequenceId]) -> Result<Vec<Sampled>, EngineError> {
        let mut crosses = false;
        for (index, id) in sequences.iter().enumerate() {
            let sequence = self.sequences.get(id).filter(|sequence| sequence.is_sampled);
            let sequence = sequence.ok_or(EngineError::UnknownSequence(*id))?;
            let (tokens, capacity) = (sequence.len + 1, sequence.capacity);
            if tokens > capacity {
                return Err(EngineError::SequenceFull { tokens, capacity });
            }
            if sequences[..index].contains(id) {
                return Err(EngineError::SequenceInUse(*id));
            }
            crosses |= self.rope.is_long(tokens) != sequence.long;
        }
        if sequences.is_empty() {
            return self.drain().await;
        }
        if crosses {
            self.collect(0)?;
            let pending = |id: &SequenceId| {
                let sequence = self.sequences.get(id);
                let token = sequence.and_then(|sequence| sequence.known.get(sequence.len).copied());
                token.map(|token| (*id, vec![token])).ok_or(EngineError::UnknownSequence(*id))
            };
            let appended: Vec<_> = sequences.iter().map(pending).collect::<Result<_, _>>()?;
            self.extend(&appended, false)?;
        } else {
            self.step(sequences)?;
        }
        Ok(std::mem::take(&mut self.readable))
    }

    async fn drain(&mut self) -> Result<Vec<Sampled>, EngineError> {
        self.collect(0)?;
        Ok(std::mem::take(&mut self.readable))
    }

    fn is_lost(&self) -> bool {
        driver::is_lost()
    }

    fn release(&mut self, sequence: SequenceId) {
        // A step on its way writes to the cache; freeing it waits for the device. What the step sampled is read first.
        let _ = self.collect(0);
        self.sequences.remove(&sequence);
        self.readable.retain(|sampled| sampled.sequence != sequence);
        self.resident.clear();
    }
}

impl CudaEngine {
    fn ring(&self) -> [usize; 2] {
        [RING, self.plan.batch]
    }

    /// Rows of a batch on the device.
    fn batch_rows(&self, count: usize) -> Rows {
        let chunk = self.model.space.rows() * size_of::<Row>();
        Rows { ptr: self.model.space.descriptions.ptr().at(chunk), count }
    }

    /// Queues the next step of a batch and reads what an earlier one sampled.
    fn step(&mut self, ids: &[SequenceId]) -> Result<(), EngineError> {
        let runs_ahead = ids
            .iter()
            .all(|id| self.sequences.get(id).is_some_and(|sequence| sequence.host_sampler.is_none()));
        if self.resident != ids || !runs_ahead {
            self.collect(0)?;
            self.place(ids, 0)?;
        }
        let rows = self.batch_rows(ids.len());
        if !self.graphs.contains_key(&ids.len()) {
            let (host, ring) = (self.ids.ptr(), self.ring());
            let graph = self.model.capture_decode(rows, host, ring)?;
            self.graphs.insert(ids.len(), graph);
        }
        self.model.stream.run(&self.graphs[&ids.len()])?;
        for id in ids {
            if let Some(sequence) = self.sequences.get_mut(id) {
                sequence.len += 1;
                sequence.cached = sequence.len;
            }
        }
        self.sampling(ids)?;
        self.collect(usize::from(runs_ahead))
    }

    /// Writes the rows of a batch: `ahead` 0 where each sequence's sampled id is to be computed on next, 1 where its
    /// last id has been computed on and the next is about to be sampled.
    fn place(&mut self, ids: &[SequenceId], ahead: usize) -> Result<(), EngineError> {
        let rows: Vec<Row> =
            ids.iter().filter_map(|id| self.sequences.get(id)).map(|s| s.row(s.len - ahead)).collect();
        self.model.stream.upload(self.batch_rows(ids.len()).ptr, bytemuck::cast_slice(&rows))?;
        self.resident = ids.to_vec();
        self.tick = 0;
        Ok(())
    }

    /// Notes that ids of these sequences are on their way to the host.
    fn sampling(&mut self, ids: &[SequenceId]) -> Result<(), EngineError> {
        let slot = self.tick % RING;
        self.tick += 1;
        self.model.stream.record(&self.sampled[slot])?;
        self.logits_of = ids.to_vec();
        self.steps.push_back(Step { ids: ids.to_vec(), slot });
        Ok(())
    }

    /// Reads ids until no more than `left` steps are on their way.
    fn collect(&mut self, left: usize) -> Result<(), EngineError> {
        while self.steps.len() > left {
            let Some(Step { ids, slot }) = self.steps.pop_front() else { break };
            self.sampled[slot].synchronize()?;
            let best: Vec<u32> =
                (0..ids.len()).map(|row| self.ids.word(slot * self.plan.batch + row)).collect();
            if best.contains(&NO_ID) {
                self.resident.clear();
                return Err(EngineError::NanLogits);
            }
            let chosen = self.choose(&ids, best)?;
            for (id, token) in ids.iter().zip(chosen) {
                if let Some(sequence) = self.sequences.get_mut(id) {
                    sequence.known.push(token);
                    sequence.is_sampled = true;
                    self.readable.push(Sampled { sequence: *id, id: token });
                }
            }
        }
        Ok(())
    }

    /// The ids of a step: those that the device chose, and where the host chooses, what it takes from the logits.
    fn choose(&mut self, ids: &[SequenceId], mut chosen: Vec<u32>) -> Result<Vec<u32>, EngineError> {
        for (row, id) in ids.iter().enumerate() {
            let Some(sampler) =
                self.sequences.get_mut(id).and_then(|sequence| sequence.host_sampler.as_mut())
            else {
                continue;
            };
            let logits = self.model.logits_row(row)?;
            chosen[row] = sampler.next(&logits).ok_or(EngineError::NanLogits)?;
            // The device believes in its own.
            self.resident.clear();
        }
        Ok(chosen)
    }

    /// Appends ids to sequences, of a prompt or the ones sampled last, and samples the next of each; on an error all of
    /// them stay as they were.
    fn extend(&mut self, appended: &[(SequenceId, Vec<u32>)], is_prompt: bool) -> Result<(), EngineError> {
        check_room(appended.iter().map(|(id, tokens)| (*id, tokens.len())), |id| {
            self.sequences.get(&id).map(|sequence| (sequence.len, sequence.capacity))
        })?;
        let mut before = Vec::with_capacity(appended.len());
        for (id, tokens) in appended {
            if let Some(sequence) = self.sequences.get_mut(id) {
                let (sampled, host_sampler) =
                    (sequence.known.split_off(sequence.len), sequence.host_sampler.clone());
                before.push((*id, sequence.len, sampled, host_sampler));
                sequence.known.extend_from_slice(tokens);
                sequence.len = sequence.known.len();
                if let Some(sampler) = sequence.host_sampler.as_mut().filter(|_| is_prompt) {
                    sampler.prompt(tokens);
                }
            }
        }
        let ids: Vec<_> = appended.iter().map(|(id, _)| *id).collect();
        let result = ids.chunks(self.model.space.logit_rows()).try_for_each(|ids| self.advance(ids));
        if result.is_err() {
            self.resident.clear();
            for (id, len, sampled, host_sampler) in before {
                if let Some(sequence) = self.sequences.get_mut(&id) {
                    sequence.truncate(len);
                    sequence.known.extend(sampled);
                    sequence.host_sampler = host_sampler;
                }
            }
        }
        result
    }

    /// Computes what sequences lack and samples the next id of each.
    fn advance(&mut self, ids: &[SequenceId]) -> Result<(), EngineError> {
        let row_bytes = self.model.hidden * size_of::<f32>();
        let mut work = Vec::with_capacity(ids.len());
        for (index, id) in ids.iter().enumerate() {
            if let Some(sequence) = self.sequences.get_mut(id) {
                let long = self.rope.is_long(sequence.len);
                work.push((index, *id, sequence.uncached(long)));
            }
        }
        while !work.is_empty() {
            // As many rows as fit a chunk, of as many sequences as that takes.
            let (mut rows, mut segments, mut ends) = (Vec::new(), Vec::new(), Vec::new());
            for (index, id, positions) in &mut work {
                let take = positions.len().min(self.model.space.rows() - rows.len());
                let Some(sequence) = self.sequences.get_mut(id).filter(|_| take > 0) else { continue };
                segments.push(Segment { first: rows.len(), rows: take });
                rows.extend((positions.start..positions.start + take).map(|position| sequence.row(position)));
                positions.start += take;
                sequence.cached = positions.start;
                if positions.start == positions.end {
                    ends.push((*index, rows.len() - 1));
                }
            }
            work.retain(|(_, _, positions)| positions.start < positions.end);
            let place = self.model.space.descriptions.ptr();
            self.model.stream.upload(place, bytemuck::cast_slice(&rows))?;
            let (rows, residual) = (Rows { ptr: place, count: rows.len() }, self.model.space.residual.ptr());
            self.model.embed(rows, residual)?;
            // Of the last layer only keys and values of most rows are ever read.
            let last_layer = self.plan.config.num_hidden_layers - 1;
            let skips = rows.count > SKIP_ROWS;
            for index in 0..self.plan.config.num_hidden_layers {
                if skips && index == last_layer {
                    self.model.append(index, residual, rows)?;
                } else {
                    self.model.layer(index, residual, rows, &segments)?;
                }
            }
            for (index, row) in ends {
                let last = self.model.space.last.ptr().at(index * row_bytes);
                self.model.stream.copy(last, residual.at(row * row_bytes), row_bytes)?;
                if skips {
                    let sequence =
                        self.sequences.get(&ids[index]).ok_or(EngineError::UnknownSequence(ids[index]))?;
                    let described = [sequence.row(sequence.len - 1)];
                    self.model.stream.upload(place, bytemuck::cast_slice(&described))?;
                    self.model.layer(last_layer, last, Rows { ptr: place, count: 1 }, &[])?;
                }
            }
        }
        self.place(ids, 1)?;
        let rows = self.batch_rows(ids.len());
        self.model.logits(self.model.space.last.ptr(), rows)?;
        self.model.choose(rows, self.ids.ptr(), self.ring())?;
        self.sampling(ids)?;
        self.collect(0)
    }

    /// Sees to it that the rotary tables of a sequence of `tokens` are on the device.
    fn write_rotary(&mut self, tokens: usize) -> Result<(), EngineError> {
        let width = self.rope.rotary_dim();
        for (long, start) in [(false, self.model.heads.rope_short), (true, self.model.heads.rope_long)] {
            let from = self.rotary[usize::from(long)];
            if from >= tokens || (long && !self.rope.is_long(tokens)) {
                continue;
            }
            let mut table = vec![0f32; (tokens - from) * width];
            for (row, position) in table.chunks_exact_mut(width).zip(from..tokens) {
                self.rope.write_row(long, position, row);
            }
            let place = start.at(from * width * size_of::<f32>());
            self.model.stream.upload(place, bytemuck::cast_slice(&table))?;
            // The copy reads `table`, which is about to go.
            self.model.stream.synchronize()?;
            self.rotary[usize::from(long)] = tokens;
        }
        Ok(())
    }

    /// One prompt and one step on a sequence of its own: what is loaded or chosen at its first use is so now.
    async fn warm_up(&mut self) -> Result<(), EngineError> {
        let id = SequenceId(u64::MAX);
        let capacity = self.plan.context.min(18);
        self.open(id, capacity, &Sampling::GREEDY).await?;
        let tokens = vec![0; capacity.saturating_sub(2).max(1)];
        let run = async {
            self.prefill(&[Prompt { sequence: id, tokens: &tokens }]).await?;
            if tokens.len() < capacity {
                self.decode(&[id]).await?;
            }
            self.drain().await
        };
        let result = run.await;
        self.release(id);
        match result {
            // Weights may well be NaN: that is for a validation to say.
            Ok(_) | Err(EngineError::NanLogits) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

fn heads(config: &ModelConfig, context: usize, space: &Workspace, rope: &Rope, kv: Format) -> Heads {
    let table = space.rotary.ptr();
    Heads {
        rope_short: table,
        rope_long: table.at(context * rope.rotary_dim() * size_of::<f32>()),
        query: config.num_attention_heads as i32,
        key_value: config.num_key_value_heads as i32,
        dim: config.head_dim as i32,
        half: (rope.rotary_dim() / 2) as i32,
        window: config.sliding_window.map_or(0, |window| i32::try_from(window).unwrap_or(i32::MAX)),
        kv_format: kv,
    }
}

fn cuda(ordinal: usize) -> DeviceId {
    DeviceId::Gpu { backend: "cuda".to_owned(), index: ordinal as u32 }
}

/// The driver's number of a device.
fn ordinal(device: &DeviceId) -> Result<usize, EngineError> {
    match device {
        DeviceId::Gpu { backend, index } if backend == "cuda" => Ok(*index as usize),
        other => Err(EngineError::Unavailable {
            what: other.to_string(),
            reason: "this engine computes on CUDA devices".to_owned(),
        }),
    }
}

fn check_plan(plan: &LoadPlan) -> Result<(Format, Format), EngineError> {
    let unavailable = |what: String, reason: String| EngineError::Unavailable { what, reason };
    ordinal(&plan.device)?;
    for (what, is_asked, reason) in [
        ("a split", plan.split.is_some(), "this engine has one device"),
        ("use_cache: false", !plan.use_cache, "this engine keeps keys and values"),
    ] {
        if is_asked {
            return Err(unavailable(what.to_owned(), reason.to_owned()));
        }
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
    Ok((format, kv))
}
