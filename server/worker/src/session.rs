//! A loaded model, whatever computes it.

use phi3::api::worker::{self, Message, Validate};
use phi3::api::{ErrorObject, Generate, StreamEvent};
use phi3::config::ModelConfig;
use phi3::engine::{Diagnostics, Engine, LoadProgress, Memory, Sampling, SequenceId};
use phi3::estimate;
use phi3::platform::Instant;
use phi3::units::format_counted;
use phi3::validate::{self, PredictedMeasured, Run};
use pollster::block_on;
use preflight_files::Model;

use crate::batch::Batch;
use crate::link::Link;
use crate::plan::Planned;
use crate::text::Text;
use crate::{logits, process, reference};

/// Least time between two words on the same stage of a load.
const PROGRESS_MS: f64 = 50.0;

/// A loaded model as requests see it.
pub(crate) trait Loaded {
    /// What is told of the load.
    fn told(&self) -> worker::Loaded;
    /// Runs a validation; its tokens are told as they come.
    fn validate(&mut self, link: &Link, spec: &Validate) -> Result<Message, ErrorObject>;
    /// Writes the logits of a sequence to a file.
    fn logits(&mut self, tokens: &[u32], out: &str) -> Result<(), ErrorObject>;
    /// Takes a stream in.
    fn generate(&mut self, link: &Link, asked: Generate);
    /// Ends a stream before its next token.
    fn stop(&mut self, link: &Link, id: u64);
    /// Whether streams run or wait.
    fn is_busy(&self) -> bool;
    /// Whether its device has failed for good.
    fn is_lost(&self) -> bool;
    /// One token of every stream.
    fn step(&mut self, link: &Link);
    /// Ends every stream with an error.
    fn end_streams(&mut self, link: &Link, error: &ErrorObject);
}

/// A model of which everything is decided and checked, its weights not yet read.
pub(crate) struct Prepared {
    pub(crate) model: Model,
    pub(crate) config: ModelConfig,
    pub(crate) text: Text,
    pub(crate) planned: Planned,
    /// When the request came.
    pub(crate) start: Instant,
    /// Resident in this process before the engine came: code, headers, tokenizer.
    pub(crate) base_bytes: u64,
}

struct Session<E> {
    engine: E,
    model: Model,
    config: ModelConfig,
    text: Text,
    told: worker::Loaded,
    base_bytes: u64,
    batch: Batch,
}

/// Reads the weights into an engine.
pub(crate) fn load<E: Engine + Diagnostics + 'static>(
    prepared: Prepared,
    link: &Link,
) -> Result<Box<dyn Loaded>, ErrorObject> {
    let Prepared { model, config, text, planned, start, base_bytes } = prepared;
    let checkpoint = model.checked_weights(&config.decoder())?;
    let mut last: Option<(Instant, LoadProgress)> = None;
    let mut on_progress = |progress: LoadProgress| {
        let is_news = last.is_none_or(|(when, last)| {
            last.stage != progress.stage
                || progress.done_bytes == progress.total_bytes
                || when.elapsed_ms() >= PROGRESS_MS
        });
        if is_news {
            last = Some((Instant::now(), progress));
            link.say(&Message::Progress(progress));
        }
        link.flow()
    };
    let engine = block_on(E::load(checkpoint, &planned.plan, &mut on_progress));
    let mut engine = engine.map_err(|error| ErrorObject::from(&error))?;

    let load_ms = start.elapsed_ms();
    let host_peak_bytes = process::resident().peak_bytes;
    // What only loading took is told by that peak, and is no overhead of running.
    process::forget_peak();
    let predicted = planned.predicted();
    let context = planned.plan.context;
    // Every cache of the whole context, to know now that there is room.
    let sequences = (0..planned.resolved.batch).map(SequenceId);
    for sequence in sequences.clone() {
        block_on(engine.open(sequence, context, &Sampling::GREEDY))
            .map_err(|error| ErrorObject::from(&error))?;
    }
    let memory = PredictedMeasured { predicted, measured: measured(engine.memory(), base_bytes) };
    let devices = engine.memory_by_device();
    sequences.for_each(|sequence| engine.release(sequence));
    let told = worker::Loaded {
        engine: engine.info(),
        load_ms,
        params_total: estimate::params(&config.decoder()).total,
        context,
        batch: planned.streams,
        memory,
        host_peak_bytes,
        devices: planned.by_device(&devices),
    };
    Ok(Box::new(Session { engine, model, config, text, told, base_bytes, batch: Batch::default() }))
}

impl<E: Engine + Diagnostics> Loaded for Session<E> {
    fn told(&self) -> worker::Loaded {
        self.told.clone()
    }

    fn validate(&mut self, link: &Link, spec: &Validate) -> Result<Message, ErrorObject> {
        let prompt = self.text.prompt(&spec.prompt)?;
        let needed = validate::context(&self.config, prompt.len(), spec.max_new_tokens, spec.probe);
        if needed > self.told.context {
            let needed = format_counted(needed as u64, "token");
            let message =
                format!("needs a context of {needed}, the model was loaded for {}", self.told.context);
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
            load_ms: self.told.load_ms,
            predicted: self.told.memory.predicted,
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
        let mut found = Vec::new();
        let mut on_logits = |position, row: &[f32]| {
            if position < reference::MOST_TOKENS && spec.reference {
                found.extend_from_slice(row);
            }
        };
        let config = &self.config;
        let report =
            validate::run(&mut self.engine, config, &run, &mut on_token, &mut measure, &mut on_logits);
        let mut report = block_on(report).map_err(|error| ErrorObject::from(&error))?;
        whole.push_str(&stream.finish());
        stream.failed()?;
        report.text = whole;
        report.top_logits.iter_mut().for_each(|top| top.text = self.text.of_token(top.token));
        if spec.reference {
            reference::judge(&mut self.engine, &self.model, &self.config, link, &mut report, found);
        }
        if let Some(note) = self.text.note() {
            report.reason = format!("{}; {note}", report.reason);
        }
        Ok(Message::Report(Box::new(report)))
    }

    fn logits(&mut self, tokens: &[u32], out: &str) -> Result<(), ErrorObject> {
        block_on(logits::write(&mut self.engine, self.config.vocab_size, tokens, out))
    }

    fn generate(&mut self, link: &Link, asked: Generate) {
        let id = asked.id;
        let added = self.batch.add(&self.text, self.told.context, asked);
        let event = added.map_or_else(|error| StreamEvent::Failed { error }, |()| StreamEvent::Taken);
        link.say(&Message::Stream { id, event });
    }

    fn stop(&mut self, link: &Link, id: u64) {
        self.batch.stop(&mut self.engine, id, &mut tell(link));
    }

    fn is_busy(&self) -> bool {
        !self.batch.is_idle()
    }

    fn is_lost(&self) -> bool {
        self.engine.is_lost()
    }

    fn step(&mut self, link: &Link) {
        self.batch.step(&mut self.engine, &self.text, self.told.batch, &mut tell(link));
    }

    fn end_streams(&mut self, link: &Link, error: &ErrorObject) {
        self.batch.fail_all(&mut self.engine, error, &mut tell(link));
    }
}

fn tell(link: &Link) -> impl FnMut(u64, StreamEvent) {
    move |id, event| link.say(&Message::Stream { id, event })
}

/// The engine's counters, and what the process takes beside them.
///
/// Buffers whose pages were never written are allocated but not resident, so the peak of what is resident may lack
/// some of them; what stood here before the engine came is overhead in any case. An engine that asks its device knows
/// better: what this process takes of the host is no overhead there.
fn measured(engine: Memory, base_bytes: u64) -> Memory {
    if engine.overhead_bytes > 0 {
        return engine;
    }
    let explained = engine.weights_bytes + engine.kv_cache_bytes + engine.activation_bytes;
    let overhead_bytes = process::resident().peak_bytes.saturating_sub(explained).max(base_bytes);
    Memory { overhead_bytes, total_bytes: explained + overhead_bytes, ..engine }
}
