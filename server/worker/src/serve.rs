//! Requests in, one at a time; at most one loaded model.

use std::process::ExitCode;

use phi3::api::worker::{self, Load, Message, Request, Validate};
use phi3::api::{ErrorObject, StreamEvent};
use phi3::config::ModelConfig;
use phi3::engine::EngineInfo;
use phi3::platform::Instant;
use phi3::units::{format_bytes, format_counted, format_duration};
use phi3::validate;
use preflight_files::{Model, Source};

use crate::backend::Backend;
use crate::link::Link;
use crate::placed::place;
use crate::plan::{overrides, plan};
use crate::process;
use crate::session::{Loaded, Prepared};
use crate::text::Text;

/// Answers requests until there are no more; while streams run, whatever has come is heard between two tokens. A model
/// whose device has failed for good is the end of this process: whoever started it can start another.
pub(crate) fn run(backends: &[Backend], link: &Link) -> ExitCode {
    let mut model: Option<Box<dyn Loaded>> = None;
    loop {
        if model.as_ref().is_some_and(|model| model.is_lost()) {
            return process::fail("has lost its device: no call of this process reaches it any more");
        }
        let busy = model.as_mut().filter(|model| model.is_busy());
        let request = match busy {
            Some(model) => match link.poll() {
                Some(request) => request,
                None => {
                    model.step(link);
                    continue;
                }
            },
            None => match link.next() {
                Some(request) => request,
                None => return ExitCode::SUCCESS,
            },
        };
        let answer = answer(backends, link, &mut model, request);
        if let Some(answer) = answer.unwrap_or_else(|error| Some(Message::Error(error))) {
            link.say(&answer);
        }
    }
}

/// The answer to a request; `None` where it comes bit by bit.
fn answer(
    backends: &[Backend],
    link: &Link,
    model: &mut Option<Box<dyn Loaded>>,
    request: Request,
) -> Result<Option<Message>, ErrorObject> {
    let not_loaded = || ErrorObject::new("not_loaded", "no model is loaded");
    match request {
        Request::Load(load) => {
            if let Some(mut loaded) = model.take() {
                // Two models never stand in memory together.
                loaded.end_streams(link, &ErrorObject::new("unloaded", "the model was unloaded"));
            }
            let loaded = model.insert(open(backends, link, &load)?).told();
            let worker::Loaded { engine: EngineInfo { device, dtype, .. }, load_ms, context, .. } = &loaded;
            let bytes = format_bytes(loaded.memory.measured.total_bytes);
            process::note(&format!(
                "loaded on {device} in {dtype}, {bytes}, {}, {}",
                format_counted(*context as u64, "position"),
                format_duration(*load_ms)
            ));
            Ok(Some(Message::Loaded(loaded)))
        }
        Request::Validate(spec) => {
            let answer = model.as_mut().ok_or_else(not_loaded)?.validate(link, &spec)?;
            if let Message::Report(report) = &answer {
                process::note(&format!("validated: {}", report.reason));
            }
            Ok(Some(answer))
        }
        Request::Logits { tokens, out } => {
            model.as_mut().ok_or_else(not_loaded)?.logits(&tokens, &out)?;
            Ok(Some(Message::Done))
        }
        Request::Generate(asked) => {
            match model {
                Some(model) => model.generate(link, asked),
                None => link.say(&Message::Stream {
                    id: asked.id,
                    event: StreamEvent::Failed { error: not_loaded() },
                }),
            }
            Ok(None)
        }
        Request::Stop { id } => {
            if let Some(model) = model {
                model.stop(link, id);
            }
            Ok(None)
        }
        // Heard by the listener; as answers to themselves they mean nothing.
        Request::Cancel | Request::Shutdown => Ok(None),
    }
}

/// In the order of a load: what it is, what is asked of it, where it goes, its text side, its size; then the weights.
fn open(backends: &[Backend], link: &Link, load: &Load) -> Result<Box<dyn Loaded>, ErrorObject> {
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
    load.check_context(&config)?;
    let context = match (load.context, &load.validate) {
        (None, Some(spec)) => Some(context(&config, text.prompt(&spec.prompt)?.len(), spec)?),
        (context, _) => context,
    };
    let mut planned = plan(load, &overrides, &config, checkpoint, context)?;
    let backend = place(backends, load, &overrides, &mut planned)?;
    let base_bytes = process::resident().now_bytes;
    backend.load(Prepared { model, config, text, planned, start, base_bytes }, link)
}

/// Longest sequence that a validation needs.
fn context(config: &ModelConfig, prompt: usize, spec: &Validate) -> Result<usize, ErrorObject> {
    let positions = config.max_position_embeddings;
    if prompt + spec.max_new_tokens > positions {
        let message = format!(
            "{} and {} new ones exceed the model's {positions} positions",
            format_counted(prompt as u64, "prompt token"),
            spec.max_new_tokens
        );
        return Err(ErrorObject::new("context_too_long", message));
    }
    Ok(validate::context(config, prompt, spec.max_new_tokens, spec.probe))
}
