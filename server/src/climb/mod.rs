//! What a step of a ladder comes to on this machine, whoever runs it: the command line with workers of its own
//! ([`Climber`]), the server with attempts. What is done next is decided in `phi3::ladder`.

mod alone;
mod proof;

pub use alone::Climber;

use phi3::api::ErrorObject;
use phi3::api::worker::{PromptSource, Validate};
use phi3::config::Fields;
use phi3::decoder::Decoder;
use phi3::engine::{DeviceInfo, Memory};
use phi3::estimate::{Options, StoredTensors};
use phi3::ladder::{Action, Facts, Outcome, Past, Prompt, Run, Rung, judge};
use phi3::load_config::{OutcomeClass, Subject};
use phi3::placement::DeviceId;
use phi3::validate::{ProbeSet, Report};
use preflight_files::{Model, Source};

use crate::{launcher, reports};

/// What is known before the first step: the model and the devices.
pub struct Ground {
    fields: Fields,
    stored: Option<StoredTensors>,
    options: Options,
    devices: Vec<DeviceInfo>,
}

impl Ground {
    /// Looks at the model at `path` and asks the workers for their devices. Blocks while drivers start.
    ///
    /// # Errors
    /// There is no worker, or the model cannot be opened.
    pub fn survey(path: &str) -> Result<Self, ErrorObject> {
        let devices =
            launcher::devices().map_err(|error| ErrorObject::new("worker_not_started", error.to_string()))?;
        let model = Model::open(&Source::resolve(path)?)?;
        let fields = model.fields()?;
        let stored = match (&model.checkpoint, Decoder::from_fields(&fields)) {
            (Some(checkpoint), Ok(decoder)) => Some(checkpoint.language_model(&decoder)),
            // A config that is not understood is refused at the first step.
            _ => None,
        };
        Ok(Self { fields, stored, options: Options::default(), devices })
    }

    /// For [`phi3::ladder::next`]; `past` are attempts that were made before.
    #[must_use]
    pub fn facts<'a>(&'a self, past: &'a [Past]) -> Facts<'a> {
        let subject = Subject { fields: &self.fields, stored: self.stored.as_ref(), options: &self.options };
        Facts { subject, devices: &self.devices, past }
    }
}

/// Why a step did not do what it was to do.
#[derive(Debug, Clone, PartialEq)]
pub struct Failure {
    /// As a class.
    pub class: OutcomeClass,
    /// The original message.
    pub message: String,
}

impl Failure {
    /// What an error means for a step.
    #[must_use]
    pub fn of(error: &ErrorObject, rung: &Rung) -> Self {
        let on_host = rung.device.as_ref().is_none_or(|device| *device == DeviceId::Cpu);
        Self {
            // What no code tells is the machine's fault until it is known better.
            class: OutcomeClass::of_error(&error.code, error.path.as_deref(), on_host)
                .unwrap_or(OutcomeClass::WorkerLost),
            message: error.message.clone(),
        }
    }
}

/// The outcome of a step that ran: `done` has the bytes that it measured.
#[must_use]
pub fn judged(rung: &Rung, done: Result<Option<Memory>, Failure>, reports: &[Report]) -> Outcome {
    let measured = done.as_ref().ok().copied().flatten();
    let run = match &done {
        Ok(_) => Run::Done { measured, reports },
        Err(Failure { class, message }) => Run::Failed { class: *class, message },
    };
    let (status, class, reason) = judge(&rung.expectations, &run);
    Outcome { measured, ..rung.outcome(status, Some(class), reason) }
}

/// What is asked of the loaded model: nothing of a step that only loads.
#[must_use]
pub fn requests(rung: &Rung) -> Vec<Validate> {
    if !matches!(rung.action, Action::Validate | Action::Infer) {
        return Vec::new();
    }
    let one = |prompt: PromptSource, max_new_tokens: Option<usize>, probe| Validate {
        prompt,
        max_new_tokens: max_new_tokens.unwrap_or(rung.max_new_tokens),
        probe,
        reference: rung.action == Action::Validate,
    };
    let source = |Prompt { text, chat, .. }: &Prompt| match (text, chat) {
        (Some(text), _) => PromptSource::Text(text.clone()),
        (None, Some(chat)) => PromptSource::Chat(chat.clone()),
        (None, None) => PromptSource::Default,
    };
    if rung.prompts.is_empty() {
        return vec![one(PromptSource::Default, None, rung.probe)];
    }
    // Probes do not depend on the prompt: once is enough.
    let probes = std::iter::once(rung.probe).chain(std::iter::repeat(ProbeSet::None));
    rung.prompts
        .iter()
        .zip(probes)
        .map(|(prompt, probe)| one(source(prompt), prompt.max_new_tokens, probe))
        .collect()
}

/// The step that only looks.
///
/// # Errors
/// What is wrong with the model's files.
pub fn inspect(path: &str) -> Result<(), ErrorObject> {
    let model = Model::open(&Source::resolve(path)?)?;
    match reports::inspect(&model)?.error {
        Some(error) => Err(error),
        None => Ok(()),
    }
}
