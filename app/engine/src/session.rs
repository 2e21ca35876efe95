//! Validations from files to reports, one device after the other.

use std::cell::{Cell, RefCell};
use std::ops::ControlFlow;
use std::sync::Arc;

use phi3::api::{BrowserEvent, BrowserRun, BrowserSource, ErrorObject};
use phi3::candle_engine::CandleEngine;
use phi3::candle_engine::team::{MOST_THREADS, Team};
use phi3::dtype::DType;
use phi3::engine::{
    Attention, DeviceFacts, Diagnostics, Engine, EngineError, LimitFact, LoadPlan, LoadProgress, Memory,
    Sampling, SequenceId,
};
use phi3::estimate::{self, Options, Resolved};
use phi3::generate::{Request, generate};
use phi3::placement::DeviceId;
use phi3::platform::Instant;
use phi3::units::format_bytes;
use phi3::validate::{self, Difference, Report, Run, Verdict};
use phi3::wgpu_engine::WgpuEngine;
use web_sys::File;

use crate::model::Model;
use crate::scope::hands::SharedBoard;
use crate::{scope, tell};

/// What one tab can address.
const WASM_BYTES: u64 = 4 << 30;
/// Longest sequence that is compared.
const MOST_COMPARED: usize = 256;
/// Least time between two words on the same stage of a load.
const PROGRESS_MS: f64 = 50.0;

/// Logits of a sequence, row after row.
struct Logits {
    tokens: Vec<u32>,
    rows: Vec<f32>,
    dtype: DType,
}

/// A model and what is asked of it.
struct Session<'a> {
    run: &'a BrowserRun,
    model: Model,
    /// Of the first device, for the second to be held against; only where there are two.
    first: Option<Logits>,
    threads: Threads,
}

/// The threads of the CPU engine.
enum Threads {
    /// Nobody asked for more yet.
    One,
    /// This one and its hands.
    Team(Arc<Team>),
    /// Why there is one, though more were asked for.
    Refused(String),
}

/// An engine of this session.
trait Loads: Engine + Diagnostics {
    /// [`Engine::load`], by as many threads as the run asks for where the engine knows what to do with them.
    async fn load_by(
        session: &mut Session<'_>,
        plan: &LoadPlan,
        progress: &mut dyn FnMut(LoadProgress) -> ControlFlow<()>,
    ) -> Result<Self, EngineError>;
}

impl Loads for CandleEngine {
    async fn load_by(
        session: &mut Session<'_>,
        plan: &LoadPlan,
        progress: &mut dyn FnMut(LoadProgress) -> ControlFlow<()>,
    ) -> Result<Self, EngineError> {
        let team = session.team(plan).await;
        Self::load_with(&session.model.checkpoint, plan, team.as_ref(), progress).await
    }
}

impl Loads for WgpuEngine {
    async fn load_by(
        session: &mut Session<'_>,
        plan: &LoadPlan,
        progress: &mut dyn FnMut(LoadProgress) -> ControlFlow<()>,
    ) -> Result<Self, EngineError> {
        Self::load(&session.model.checkpoint, plan, progress).await
    }
}

thread_local! {
    /// The model of a rehearsal, and where it is from.
    static REHEARSED: RefCell<Option<(BrowserSource, Model)>> = const { RefCell::new(None) };
    /// Whether the run itself has begun: nothing may go on beside it.
    static HAS_BEGUN: Cell<bool> = const { Cell::new(false) };
}

/// Does while nobody waits what a run on the CPU would have to wait for: its files are opened and kept, and the browser,
/// which compiles what it runs when it first runs it, runs two tokens.
pub(super) async fn rehearse(run: &BrowserRun) -> Result<(), ErrorObject> {
    let model = Model::open(run, Vec::new()).await?;
    let session = Session { run, model, first: None, threads: Threads::One };
    // As the run holds its weights, and as the reference does.
    for dtype in [run.dtype, Some(DType::F32)] {
        if HAS_BEGUN.get() {
            return Ok(());
        }
        let prompt = &session.model.prompt[..];
        let request = Request { prompt, max_new_tokens: 2, stop_ids: &[], sampling: Sampling::GREEDY };
        let (plan, _) = session.plan(&DeviceId::Cpu, dtype, request.capacity())?;
        let mut quiet = |_: LoadProgress| ControlFlow::Continue(());
        let engine = CandleEngine::load(&session.model.checkpoint, &plan, &mut quiet).await;
        let mut engine = engine.map_err(|error| ErrorObject::from(&error))?;
        let mut unheard = |_: u32| ControlFlow::Continue(());
        let generated = generate(&mut engine, SequenceId(0), &request, &mut unheard).await;
        generated.map_err(|error| ErrorObject::from(&error))?;
    }
    REHEARSED.set(Some((run.source.clone(), session.model)));
    Ok(())
}

/// The model of a run: the rehearsed one, where it is the same.
async fn opened(run: &BrowserRun, chosen: Vec<File>) -> Result<Model, ErrorObject> {
    match REHEARSED.take() {
        Some((source, mut model)) if source == run.source => {
            model.continue_from(run.prompt.as_deref())?;
            Ok(model)
        }
        _ => Model::open(run, chosen).await,
    }
}

/// Runs on every device that was asked for; what comes of it is told.
pub(super) async fn run(run: &BrowserRun, chosen: Vec<File>) -> Result<(), ErrorObject> {
    HAS_BEGUN.set(true);
    let model = opened(run, chosen).await?;
    let mut session = Session { run, model, first: None, threads: Threads::One };
    for device in &run.devices {
        tell(&BrowserEvent::Started { device: device.clone() });
        let done = match device {
            DeviceId::Cpu => session.on::<CandleEngine>(device).await,
            DeviceId::Gpu { .. } => session.on::<WgpuEngine>(device).await,
        };
        done.map_err(|error| if session.is_lost() { lost(&error) } else { error })?;
    }
    Ok(())
}

impl Session<'_> {
    /// As many threads as the run asks for, with room for the products of a plan; none where this one is alone.
    async fn team(&mut self, plan: &LoadPlan) -> Option<Arc<Team>> {
        let threads = self.run.threads.min(MOST_THREADS);
        let needed = CandleEngine::board_bytes(plan);
        match &self.threads {
            Threads::Team(team) if team.board_size() >= needed => return Some(Arc::clone(team)),
            Threads::Refused(_) => return None,
            _ if threads < 2 => return None,
            // A board that is too small: its hands let go of what they hold before others start.
            _ => self.threads = Threads::One,
        }
        self.threads = match SharedBoard::start(needed, threads - 1).await {
            Ok(board) => Threads::Team(Arc::new(Team::new(Box::new(board), threads))),
            Err(why) => Threads::Refused(why),
        };
        self.current_team()
    }

    fn current_team(&self) -> Option<Arc<Team>> {
        if let Threads::Team(team) = &self.threads { Some(Arc::clone(team)) } else { None }
    }

    fn is_lost(&self) -> bool {
        self.current_team().is_some_and(|team| team.is_lost())
    }

    async fn on<E: Loads>(&mut self, device: &DeviceId) -> Result<(), ErrorObject> {
        let (run, model) = (self.run, &self.model);
        let context = validate::context(&model.config, model.prompt.len(), run.max_new_tokens, run.probe);
        let (plan, predicted) = self.plan(device, run.dtype, context)?;
        check_address_space(device, &plan, &predicted)?;
        let start = Instant::now();
        let mut last: Option<(Instant, LoadProgress)> = None;
        let mut progress = |step: LoadProgress| {
            let is_news = last.is_none_or(|(when, last)| {
                last.stage != step.stage
                    || step.done_bytes == step.total_bytes
                    || when.elapsed_ms() >= PROGRESS_MS
            });
            if is_news {
                last = Some((Instant::now(), step));
                tell(&BrowserEvent::Progress { progress: step });
            }
            ControlFlow::Continue(())
        };
        let engine = E::load_by(self, &plan, &mut progress).await;
        let (model, team) = (&self.model, self.current_team());
        let mut engine = engine.map_err(|error| ErrorObject::from(&error))?;
        let load_ms = start.elapsed_ms();
        tell(&BrowserEvent::Validating);

        let asked = Run {
            prompt: &model.prompt,
            max_new_tokens: run.max_new_tokens,
            stop_ids: &model.stop_ids,
            probes: run.probe,
            filler: &model.prompt,
            load_ms,
            predicted,
        };
        let hand_bytes = || team.as_ref().map_or(0, |team| team.hand_bytes());
        let mut measure = |memory: Memory| measured(memory, device, hand_bytes());
        let mut turn = 0;
        let (mut report, found) = loop {
            let mut text = model.text();
            let mut on_token = |token| {
                tell(&BrowserEvent::Token { token, text: text.push(token) });
                ControlFlow::Continue(())
            };
            let mut found = Vec::new();
            let mut on_logits = |position, row: &[f32]| {
                if position < MOST_COMPARED && !run.skip_reference {
                    found.extend_from_slice(row);
                }
            };
            let report = validate::run(
                &mut engine,
                &model.config,
                &asked,
                &mut on_token,
                &mut measure,
                &mut on_logits,
            );
            let mut report = report.await.map_err(|error| ErrorObject::from(&error))?;
            report.text = text.finish()?;
            if turn == run.repeats {
                break (report, found);
            }
            turn += 1;
            tell(&BrowserEvent::Report { report: Box::new(report) });
        };
        report.top_logits.iter_mut().for_each(|top| top.text = model.of_token(top.token));
        report.facts = Some(facts(report.facts.take(), &predicted, &self.threads).await);
        tell(&BrowserEvent::Comparing);
        self.compare(&mut engine, &plan, &mut report, found).await?;
        Ok(())
    }

    /// Holds the logits against the CPU in f32 and against the first device's, and tells the report. `found` are those of
    /// the run itself, as many rows as are compared.
    async fn compare<E: Loads>(
        &mut self,
        engine: &mut E,
        plan: &LoadPlan,
        report: &mut Report,
        found: Vec<f32>,
    ) -> Result<(), ErrorObject> {
        let is_reference = plan.device == DeviceId::Cpu && plan.dtype == DType::F32;
        let seen = report.computed_on();
        let tokens = match &self.first {
            // The first device's sequence, so that rows stand for the same tokens.
            Some(first) => first.tokens.clone(),
            None => seen[..seen.len().min(MOST_COMPARED)].to_vec(),
        };
        if self.run.skip_reference {
            unverified(report, "not held against f32 on the CPU: it was not asked for");
            tell(&BrowserEvent::Report { report: Box::new(report.clone()) });
            return Ok(());
        }
        let found = if tokens == seen {
            found
        } else {
            logits(engine, &tokens).await.map_err(|error| ErrorObject::from(&error))?
        };
        if self.model.is_made_up {
            // Weights that mean nothing are there for their speed: the CPU would take minutes over them.
            unverified(report, "made-up weights: only size and speed are the model's");
        } else if is_reference {
            report.reason = format!("{}; f32 on the CPU is the reference itself", report.reason);
        } else {
            match self.reference(&tokens).await {
                Ok(expected) => {
                    let vocab = self.model.config.vocab_size;
                    report.hold_against(Difference::of(&expected, &found, vocab, plan.dtype));
                }
                Err(why) => unverified(report, &format!("not held against f32 on the CPU: {why}")),
            }
        }
        tell(&BrowserEvent::Report { report: Box::new(report.clone()) });
        match &self.first {
            Some(first) => {
                let difference =
                    Difference::of(&first.rows, &found, self.model.config.vocab_size, first.dtype);
                tell(&BrowserEvent::Compared { difference });
            }
            None if self.run.devices.len() > 1 => {
                self.first = Some(Logits { tokens, rows: found, dtype: plan.dtype });
            }
            None => {}
        }
        Ok(())
    }

    /// The same logits from the CPU in f32, or why they cannot be had.
    async fn reference(&mut self, tokens: &[u32]) -> Result<Vec<f32>, String> {
        // Of two devices the first may have been the reference itself.
        if let Some(first) = self.first.as_ref().filter(|first| first.dtype == DType::F32)
            && self.run.devices.first() == Some(&DeviceId::Cpu)
        {
            return Ok(first.rows.clone());
        }
        let plan = self.plan(&DeviceId::Cpu, Some(DType::F32), tokens.len());
        let (plan, predicted) = plan.map_err(|error| error.message)?;
        let needed = predicted.total_bytes.saturating_add(scope::memory_bytes());
        if needed > WASM_BYTES {
            let (needed, most) = (format_bytes(needed), format_bytes(WASM_BYTES));
            return Err(format!("it would take {needed}, a tab has {most}"));
        }
        let mut quiet = |_: LoadProgress| ControlFlow::Continue(());
        let engine = CandleEngine::load_by(self, &plan, &mut quiet).await;
        let mut engine = engine.map_err(|error| error.to_string())?;
        logits(&mut engine, tokens).await.map_err(|error| error.to_string())
    }

    /// Decides everything that a run leaves open, and what the estimator says of it.
    fn plan(
        &self,
        device: &DeviceId,
        dtype: Option<DType>,
        context: usize,
    ) -> Result<(LoadPlan, Memory), ErrorObject> {
        let Model { config, checkpoint, .. } = &self.model;
        let attn = if *device == DeviceId::Cpu { Attention::Eager } else { Attention::Fused };
        let options = Options {
            dtype: dtype.map(Into::into),
            context: Some(context as u64),
            attn: Some(attn),
            backend: Some(device.backend()),
            ..Options::default()
        };
        let decoder = config.decoder();
        let resolved = Resolved::of_load(&decoder, Some(&checkpoint.language_model(&decoder)), &options)
            .map_err(|error| ErrorObject::new("invalid_option", error.to_string()).at(error.option))?;
        let report = estimate::memory(&decoder, None, &resolved);
        let overhead_bytes = match device {
            DeviceId::Cpu => estimate::tab_overhead_bytes(decoder.vocab_size as u64),
            _ => report.overhead_bytes,
        };
        let predicted = Memory {
            weights_bytes: report.weights_bytes,
            kv_cache_bytes: report.kv_cache_bytes,
            activation_bytes: report.activation_bytes,
            overhead_bytes,
            total_bytes: report.total_bytes - report.overhead_bytes + overhead_bytes,
        };
        let dtype = resolved.format.held_dtype();
        let plan = LoadPlan {
            device: device.clone(),
            kv_dtype: resolved.kv_dtype,
            attention: attn,
            ..LoadPlan::new(config.clone(), dtype, context)
        };
        Ok((plan, predicted))
    }
}

/// A tab that runs out of memory ends without a word: what cannot fit is refused before it is tried.
fn check_address_space(device: &DeviceId, plan: &LoadPlan, predicted: &Memory) -> Result<(), ErrorObject> {
    if *device != DeviceId::Cpu || predicted.total_bytes <= WASM_BYTES {
        return Ok(());
    }
    let (needed, most) = (format_bytes(predicted.total_bytes), format_bytes(WASM_BYTES));
    let message = format!(
        "on the CPU of a tab the model takes {needed} in {}, and a tab addresses {most}: \
         choose q8_0 or q4_0, or run it on a server",
        plan.dtype
    );
    Err(ErrorObject::new("oom", message).at("weights"))
}

fn lost(error: &ErrorObject) -> ErrorObject {
    ErrorObject::new("engine_stopped", format!("{}; start the validation again", error.message))
}

async fn logits<E: Diagnostics>(engine: &mut E, tokens: &[u32]) -> Result<Vec<f32>, EngineError> {
    let mut rows = Vec::new();
    engine.logits(tokens, &mut |_, row| rows.extend_from_slice(row)).await?;
    Ok(rows)
}

fn unverified(report: &mut Report, why: &str) {
    report.reason = format!("{}; {why}", report.reason);
    if report.verdict == Verdict::Pass {
        report.verdict = Verdict::Unverified;
    }
}

/// What the engine tells of its device, with what only the browser knows.
async fn facts(told: Option<DeviceFacts>, predicted: &Memory, threads: &Threads) -> DeviceFacts {
    if let Some(mut facts) = told {
        let words = scope::gpu_words().await;
        facts.is_software |= words.iter().any(|word| word.to_lowercase().contains("swiftshader"));
        if !words.is_empty() {
            facts.name = words.join(", ");
        }
        return facts;
    }
    let threads = match threads {
        Threads::Team(team) => format!("{} threads", team.threads()),
        Threads::Refused(why) => format!("one thread: {why}"),
        Threads::One if scope::is_isolated() => "one thread: no more were asked for".to_owned(),
        Threads::One => "one thread: the page is not cross-origin isolated".to_owned(),
    };
    DeviceFacts {
        name: "WebAssembly on this computer's processor".to_owned(),
        features: vec!["vectors of 128 bits".to_owned(), threads],
        limits: vec![LimitFact::new("memory of a tab", WASM_BYTES, Some(predicted.total_bytes))],
        ..DeviceFacts::default()
    }
}

/// The engine's own counters, and what the memory of this module and of its hands holds beside them: on a CPU they lie
/// within it.
fn measured(memory: Memory, device: &DeviceId, hand_bytes: u64) -> Memory {
    let explained = memory.weights_bytes + memory.kv_cache_bytes + memory.activation_bytes;
    let within = if *device == DeviceId::Cpu { explained } else { 0 };
    let overhead_bytes = (scope::memory_bytes() + hand_bytes).saturating_sub(within);
    Memory { overhead_bytes, total_bytes: explained + overhead_bytes, ..memory }
}
