//! Requests in, one at a time; at most one loaded model.

use phi3::api::ErrorObject;
use phi3::api::worker::{Load, Loaded, Message, Request, Validate};
use phi3::candle_engine::CandleEngine;
use phi3::config::ModelConfig;
use phi3::engine::{Diagnostics as _, Engine as _, EngineError, LoadProgress, Memory, Sampling, SequenceId};
use phi3::platform::Instant;
use phi3::validate::{self, PredictedMeasured, Run};
use preflight_files::{Model, Source};

use crate::link::Link;
use crate::plan::{overrides, plan};
use crate::text::Text;
use crate::{logits, process};

/// Least time between two words on the same stage of a load.
const PROGRESS_MS: f64 = 50.0;

const SEQUENCE: SequenceId = SequenceId(0);

/// A loaded model and what is needed to run it.
struct Session {
    engine: CandleEngine,
    config: ModelConfig,
    text: Text,
    context: usize,
    predicted: Memory,
    load_ms: f64,
    /// Resident in this process before the engine came: code, headers, tokenizer.
    base_bytes: u64,
}

/// Answers requests until there are no more.
pub(super) fn run(link: &Link) {
    let mut session = None;
    while let Some(request) = link.next() {
        let answer = pollster::block_on(answer(link, &mut session, request));
        link.say(&answer.unwrap_or_else(Message::Error));
    }
}

async fn answer(
    link: &Link,
    session: &mut Option<Session>,
    request: Request,
) -> Result<Message, ErrorObject> {
    let not_loaded = || ErrorObject::new("not_loaded", "no model is loaded");
    match request {
        Request::Load(load) => {
            // Two models never stand in memory together.
            *session = None;
            let (loaded, message) = open(link, &load).await?;
            *session = Some(loaded);
            Ok(message)
        }
        Request::Validate(spec) => session.as_mut().ok_or_else(not_loaded)?.validate(link, &spec).await,
        Request::Logits { tokens, out } => {
            let session = session.as_mut().ok_or_else(not_loaded)?;
            logits::write(&mut session.engine, session.config.vocab_size, &tokens, &out).await?;
            Ok(Message::Done)
        }
        // Heard by the listener; as answers to themselves they mean nothing.
        Request::Cancel | Request::Shutdown => Ok(Message::Done),
    }
}

async fn open(link: &Link, load: &Load) -> Result<(Session, Message), ErrorObject> {
    process::forget_peak();
    let start = Instant::now();
    let source = Source::resolve(&load.path)?;
    if let Source::Hub(hub) = &source {
        let message = format!("{hub}: a worker reads this machine alone; give the directory of its snapshot");
        return Err(ErrorObject::new("not_downloaded", message).at(hub.to_string()));
    }
    let model = Model::open(&source)?;
    let (overrides, config) = overrides(&model, load)?;
    let checkpoint = model.checked_weights(&config.decoder())?;
    let text = Text::open(&model, &config, &overrides)?;
    let context = match (load.context, &load.validate) {
        (None, Some(spec)) => Some(context(&config, text.prompt(&spec.prompt)?.len(), spec)?),
        (context, _) => context,
    };
    let planned = plan(load, &overrides, &config, checkpoint, context)?;
    let base_bytes = process::resident().now_bytes;
    let mut told: Option<(Instant, LoadProgress)> = None;
    let mut on_progress = |progress: LoadProgress| {
        let is_news = told.is_none_or(|(when, last)| {
            last.stage != progress.stage
                || progress.done_bytes == progress.total_bytes
                || when.elapsed_ms() >= PROGRESS_MS
        });
        if is_news {
            told = Some((Instant::now(), progress));
            link.say(&Message::Progress(progress));
        }
        link.flow()
    };
    let engine = CandleEngine::load(checkpoint, &planned.plan, &mut on_progress).await;
    let mut engine = engine.map_err(|error| refused(&error))?;

    let load_ms = start.elapsed_ms();
    let predicted = planned.predicted(checkpoint);
    // A cache of the whole context, to know now that there is room.
    engine.open(SEQUENCE, planned.plan.context, &Sampling::GREEDY).await.map_err(|error| refused(&error))?;
    let memory = PredictedMeasured { predicted, measured: measured(engine.memory(), base_bytes) };
    engine.release(SEQUENCE);
    let message = Message::Loaded(Loaded {
        engine: engine.info(),
        load_ms,
        params_total: checkpoint.parameter_count(),
        context: planned.plan.context,
        memory,
    });
    let context = planned.plan.context;
    Ok((Session { engine, config, text, context, predicted, load_ms, base_bytes }, message))
}

/// Longest sequence that a validation needs.
fn context(config: &ModelConfig, prompt: usize, spec: &Validate) -> Result<usize, ErrorObject> {
    let positions = config.max_position_embeddings;
    if prompt + spec.max_new_tokens > positions {
        let message = format!(
            "{prompt} prompt tokens and {} new ones exceed the model's {positions} positions",
            spec.max_new_tokens
        );
        return Err(ErrorObject::new("context_too_long", message));
    }
    Ok(validate::context(config, prompt, spec.max_new_tokens, spec.probe))
}

impl Session {
    async fn validate(&mut self, link: &Link, spec: &Validate) -> Result<Message, ErrorObject> {
        let prompt = self.text.prompt(&spec.prompt)?;
        let needed = context(&self.config, prompt.len(), spec)?;
        if needed > self.context {
            let message =
                format!("needs a context of {needed} tokens, the model was loaded for {}", self.context);
            return Err(ErrorObject::new("sequence_full", message));
        }
        let filler = self.text.filler()?;
        let stop_ids = self.text.stop_ids().to_vec();
        let run = Run {
            prompt: &prompt,
            max_new_tokens: spec.max_new_tokens,
            stop_ids: &stop_ids,
            probes: spec.probe,
            filler: &filler,
            load_ms: self.load_ms,
            predicted: self.predicted,
        };
        let mut stream = self.text.stream();
        let mut whole = String::new();
        let mut on_token = |id| {
            let text = if stop_ids.contains(&id) { stream.finish() } else { stream.push(id) };
            whole.push_str(&text);
            link.say(&Message::Token { id, text });
            link.flow()
        };
        let mut measure = |engine| measured(engine, self.base_bytes);
        let report = validate::run(&mut self.engine, &self.config, &run, &mut on_token, &mut measure).await;
        let mut report = report.map_err(|error| refused(&error))?;
        whole.push_str(&stream.finish());
        stream.failed()?;
        report.text = whole;
        if let Some(note) = self.text.note() {
            report.reason = format!("{}; {note}", report.reason);
        }
        Ok(Message::Report(Box::new(report)))
    }
}

/// The engine's counters, and what the process takes beside them.
///
/// Buffers whose pages were never written are allocated but not resident, so the peak of what is resident may lack
/// some of them; what stood here before the engine came is overhead in any case.
fn measured(engine: Memory, base_bytes: u64) -> Memory {
    let explained = engine.weights_bytes + engine.kv_cache_bytes + engine.activation_bytes;
    let overhead_bytes = process::resident().peak_bytes.saturating_sub(explained).max(base_bytes);
    Memory { overhead_bytes, total_bytes: explained + overhead_bytes, ..engine }
}

fn refused(error: &EngineError) -> ErrorObject {
    let object = ErrorObject::new(error.code(), error.to_string());
    match error {
        EngineError::Weights(weights) => object.at(&weights.file),
        _ => object,
    }
}
