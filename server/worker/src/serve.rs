//! Requests in, one at a time; at most one loaded model.

use phi3::api::ErrorObject;
use phi3::api::worker::{Load, Message, Request, Validate};
use phi3::config::ModelConfig;
use phi3::platform::Instant;
use phi3::validate;
use preflight_files::{Model, Source};

use crate::backend::{Backend, choose};
use crate::link::Link;
use crate::plan::{overrides, plan};
use crate::process;
use crate::session::{Loaded, Prepared};
use crate::text::Text;

/// Answers requests until there are no more.
pub(crate) fn run(backends: &[Backend], link: &Link) {
    let mut model = None;
    while let Some(request) = link.next() {
        let answer = answer(backends, link, &mut model, request);
        link.say(&answer.unwrap_or_else(Message::Error));
    }
}

fn answer(
    backends: &[Backend],
    link: &Link,
    model: &mut Option<Box<dyn Loaded>>,
    request: Request,
) -> Result<Message, ErrorObject> {
    let not_loaded = || ErrorObject::new("not_loaded", "no model is loaded");
    match request {
        Request::Load(load) => {
            // Two models never stand in memory together.
            *model = None;
            let loaded = model.insert(open(backends, link, &load)?);
            Ok(Message::Loaded(loaded.told()))
        }
        Request::Validate(spec) => model.as_mut().ok_or_else(not_loaded)?.validate(link, &spec),
        Request::Logits { tokens, out } => {
            model.as_mut().ok_or_else(not_loaded)?.logits(&tokens, &out)?;
            Ok(Message::Done)
        }
        // Heard by the listener; as answers to themselves they mean nothing.
        Request::Cancel | Request::Shutdown => Ok(Message::Done),
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
    let positions = config.max_position_embeddings;
    if let Some(tokens) = load.context.filter(|tokens| *tokens > positions) {
        let message = format!("{tokens} tokens exceed the model's {positions} positions: give fewer");
        return Err(ErrorObject::new("context_too_long", message));
    }
    let context = match (load.context, &load.validate) {
        (None, Some(spec)) => Some(context(&config, text.prompt(&spec.prompt)?.len(), spec)?),
        (context, _) => context,
    };
    let named = overrides.single_device().map_err(|error| ErrorObject::from(&error))?;
    let device = load.device.as_deref().or(named.as_deref()).unwrap_or("auto");
    let (backend, device) = choose(backends, device)?;
    let planned = plan(load, &overrides, &config, checkpoint, context, device.device)?;
    let base_bytes = process::resident().now_bytes;
    backend.load(Prepared { model, config, text, planned, start, base_bytes }, link)
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
