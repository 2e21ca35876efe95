//! Which step comes next, and which cannot succeed.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::check::with_all;
use super::judge::{Outcome, Status};
use super::profile::{Action, DeviceChoice, Expectations, Profile, Prompt, Step};
use crate::config::ModelConfig;
use crate::decoder::{Decoder, Family};
use crate::engine::{DeviceInfo, Memory};
use crate::estimate::{self, Backend, Options, Resolved};
use crate::load_config::{self, Change, LoadConfig, OutcomeClass, Subject, diff, next_changes};
use crate::placement::{self, Device, DeviceId, Devices, Rules, Strategy};
use crate::units::format_bytes;
use crate::validate::{self, ProbeSet};

/// Ids of the default prompt, at most.
const DEFAULT_PROMPT: usize = 10;

/// Tokens that a run generates where nothing is said.
const MAX_NEW_TOKENS: usize = 16;

/// What is known of the model and the machine.
#[derive(Debug, Clone, Copy)]
pub struct Facts<'a> {
    /// The model.
    pub subject: Subject<'a>,
    /// The devices that there are, as a probe found them.
    pub devices: &'a [DeviceInfo],
    /// Attempts of the same model before this ladder.
    pub past: &'a [Past],
}

/// An attempt that is over.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Past {
    /// Its id in the ledger.
    pub attempt: u64,
    /// Its load config.
    pub load_config: Map<String, Value>,
    /// Its device.
    pub device: String,
    /// How it ended.
    pub class: OutcomeClass,
}

/// What to do next.
#[derive(Debug, Clone, PartialEq)]
pub enum Next {
    /// Run this step.
    Run(Box<Rung>),
    /// The step is not worth its time, or shows what it should without being run: keep this outcome and ask again.
    Skip(Box<Outcome>),
    /// Every step has its outcome.
    Done,
}

/// A step, resolved.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Rung {
    /// Id of the step.
    pub step: String,
    /// What it tries, for people.
    pub title: String,
    /// What to do.
    pub action: Action,
    /// The load config as a whole.
    pub load_config: Map<String, Value>,
    /// Where it goes; none where nothing is loaded.
    pub device: Option<DeviceId>,
    /// Id of the step that it goes on from; none for one that starts anew.
    pub parent: Option<String>,
    /// Its changes against the parent: one at most unless it branches.
    pub changes: Vec<Change>,
    /// Whether it stands beside the trunk.
    pub branch: bool,
    /// Longest sequence to load for.
    pub context: Option<u64>,
    /// Bytes by term, before it runs.
    pub predicted: Option<Memory>,
    /// What is free on the device, where it tells.
    pub free_bytes: Option<u64>,
    /// Prompts to run; none stands for the default prompt.
    pub prompts: Vec<Prompt>,
    /// Most tokens to generate for the default prompt.
    pub max_new_tokens: usize,
    /// Probes of a validation.
    pub probe: ProbeSet,
    /// What is expected.
    pub expectations: Expectations,
}

impl Rung {
    /// The outcome of it, once it is judged.
    #[must_use]
    pub fn outcome(&self, status: Status, class: Option<OutcomeClass>, reason: String) -> Outcome {
        Outcome {
            step: self.step.clone(),
            status,
            reason,
            class,
            load_config: self.device.is_some().then(|| self.load_config.clone()),
            device: self.device.as_ref().map(ToString::to_string),
            changes: self.changes.clone(),
            branch: self.branch,
            predicted: self.predicted,
            measured: None,
            attempt: None,
        }
    }
}

/// Why a step is not run, and the class in which it would have ended, where that is certain.
struct Why {
    status: Status,
    class: Option<OutcomeClass>,
    reason: String,
}

impl Why {
    fn new(class: Option<OutcomeClass>, reason: impl Into<String>) -> Self {
        Self { status: Status::Skipped, class, reason: reason.into() }
    }

    fn plain(reason: impl Into<String>) -> Self {
        Self::new(None, reason)
    }

    fn certain(class: OutcomeClass, reason: impl Into<String>) -> Self {
        Self::new(Some(class), reason)
    }

    /// By its bytes it does not fit: what is expected not to needs no run to show it.
    fn misfit(expected: &Expectations, class: OutcomeClass, reason: &str) -> Self {
        match expected.fits {
            Some(false) => Self {
                status: Status::Passed,
                ..Self::certain(class, format!("does not fit, as expected: {reason}"))
            },
            _ => Self::certain(class, format!("it does not fit: {reason}")),
        }
    }
}

/// The next step of a profile, `done` being the outcomes of those before it. The same facts give the same answer.
#[must_use]
pub fn next(profile: &Profile, facts: &Facts<'_>, done: &[Outcome]) -> Next {
    let Some(step) = profile.steps.get(done.len()) else { return Next::Done };
    let decision = Decision { profile, facts, done, step };
    let mut rung = decision.rung();
    match decision.fill(&mut rung) {
        Ok(()) => Next::Run(Box::new(rung)),
        Err(Why { status, class, reason }) => {
            let is_meant = step.action.loads() && decision.is_worth_it().is_ok();
            if is_meant && class == Some(OutcomeClass::DeviceAbsent) {
                // What it would take is told all the same: it says what device to look for.
                decision.size_elsewhere(&mut rung);
            }
            let mut outcome = rung.outcome(status, class, reason);
            if is_meant {
                // A later step may go on from what this one would have been. One that nothing called for is passed
                // over: what it was to mend is what later ones mend.
                outcome.load_config = Some(rung.load_config);
                outcome.device = outcome.device.or_else(|| decision.choice().map(String::from));
            }
            Next::Skip(Box::new(outcome))
        }
    }
}

struct Decision<'a> {
    profile: &'a Profile,
    facts: &'a Facts<'a>,
    done: &'a [Outcome],
    step: &'a Step,
}

impl Decision<'_> {
    fn rung(&self) -> Rung {
        let step = self.step;
        Rung {
            step: step.id.clone(),
            // What it does, where nobody gave it a name.
            title: step.heading().to_owned(),
            action: step.action,
            load_config: self.profile.overrides.clone(),
            device: None,
            parent: None,
            changes: Vec::new(),
            branch: step.branch,
            context: None,
            predicted: None,
            free_bytes: None,
            prompts: self.profile.prompts_of(step),
            max_new_tokens: step.max_new_tokens.unwrap_or(MAX_NEW_TOKENS),
            probe: step.probe,
            expectations: step.expectations.over(self.profile.expectations),
        }
    }

    /// The step's action of an outcome.
    fn action(&self, outcome: &Outcome) -> Option<Action> {
        self.profile.steps.iter().find(|step| step.id == outcome.step).map(|step| step.action)
    }

    /// The last outcome of the trunk that stands for a load.
    fn trunk(&self) -> Option<&Outcome> {
        self.done.iter().rev().find(|outcome| !outcome.branch && outcome.load_config.is_some())
    }

    /// The last load that passed, wherever it stands; one that was expected to fail is none.
    fn loaded(&self) -> Option<&Outcome> {
        let is_it = |outcome: &&Outcome| {
            outcome.status == Status::Passed
                && outcome.class == Some(OutcomeClass::Passed)
                && outcome.load_config.is_some()
        };
        self.done.iter().rev().find(is_it)
    }

    fn changes_anything(&self) -> bool {
        let step = self.step;
        step.branch || step.device.is_some() || !step.overrides.is_empty() || step.propose.is_some()
    }

    /// The device that is asked for, here or by the step that this one goes on from.
    fn choice(&self) -> Option<DeviceChoice> {
        let inherited = || self.trunk()?.device.clone();
        self.step
            .device
            .clone()
            .or_else(|| inherited().filter(|_| !self.step.branch).and_then(|name| name.try_into().ok()))
    }

    /// Completes a rung, or says why it is not worth its time.
    fn fill(&self, rung: &mut Rung) -> Result<(), Why> {
        let step = self.step;
        match step.action {
            Action::Inspect => Ok(()),
            Action::Unload => {
                match self.done.iter().rev().find(|outcome| {
                    outcome.load_config.is_some() || self.action(outcome) == Some(Action::Unload)
                }) {
                    // What disappointed is loaded all the same.
                    Some(last)
                        if last.load_config.is_some()
                            && last.status != Status::Skipped
                            && last.class == Some(OutcomeClass::Passed) =>
                    {
                        Ok(())
                    }
                    _ => Err(Why::plain("nothing is loaded")),
                }
            }
            Action::Document => {
                let validated = self.done.iter().rev().find(|outcome| {
                    self.action(outcome) == Some(Action::Validate) && outcome.status == Status::Passed
                });
                let validated = validated.ok_or_else(|| Why::plain("no validation passed"))?;
                self.same_as(rung, validated);
                Ok(())
            }
            Action::Load | Action::Validate | Action::Infer => {
                self.is_worth_it()?;
                self.resolve(rung)?;
                self.not_again(rung)?;
                self.size(rung)
            }
        }
    }

    /// The load of an earlier outcome, once more.
    fn same_as(&self, rung: &mut Rung, outcome: &Outcome) {
        rung.load_config = outcome.load_config.clone().unwrap_or_default();
        rung.device = outcome.device.as_deref().and_then(|name| name.parse().ok());
        rung.parent = Some(outcome.step.clone());
        rung.branch = outcome.branch;
        rung.predicted = outcome.predicted;
    }

    /// Whether what came before calls for this step.
    fn is_worth_it(&self) -> Result<(), Why> {
        let unreadable = self.done.iter().find(|outcome| {
            self.action(outcome) == Some(Action::Inspect) && outcome.status == Status::Failed
        });
        if let Some(inspected) = unreadable {
            return Err(Why::new(
                inspected.class,
                format!("step {} failed: {}", inspected.step, inspected.reason),
            ));
        }
        if self.step.after.is_empty() {
            return Ok(());
        }
        let Some(last) = self.trunk() else {
            return Err(Why::plain("no step before it failed"));
        };
        match last.class {
            Some(class) if self.step.after.contains(&class) => Ok(()),
            Some(OutcomeClass::Passed) => {
                Err(Why::new(last.class, format!("step {} loaded: there is nothing to mend", last.step)))
            }
            Some(class) => {
                let how = if last.status == Status::Skipped { "was skipped for" } else { "ended in" };
                let reason = format!("step {} {how} {}, which this does not mend", last.step, class.name());
                Err(Why::new(last.class, reason))
            }
            None => Err(Why::plain(format!("step {} was skipped: {}", last.step, last.reason))),
        }
    }

    /// The load config, its change and its device.
    fn resolve(&self, rung: &mut Rung) -> Result<(), Why> {
        let step = self.step;
        if step.action != Action::Load && !self.changes_anything() {
            if let Some(loaded) = self.loaded() {
                self.same_as(rung, loaded);
                return Ok(());
            }
            if self.done.iter().any(|outcome| outcome.load_config.is_some()) {
                return Err(Why::plain("nothing that was tried before it loads"));
            }
        }
        let refuse = |error: load_config::LoadConfigError| {
            Why::certain(OutcomeClass::ConfigInvalid, error.to_string())
        };
        let parent = self.trunk().filter(|_| !step.branch);
        let under = parent.and_then(|parent| parent.load_config.as_ref()).unwrap_or(&self.profile.overrides);
        let before = LoadConfig::from_map(under).map_err(refuse)?;
        let mut config = with_all(&before, step).map_err(refuse)?;
        rung.load_config = config.to_map();
        let device = self.device(&config)?;
        if let Some(knob) = &step.propose {
            config = self.proposed(knob, &config, device)?;
            rung.load_config = config.to_map();
        }
        rung.device = Some(device.device.clone());
        rung.free_bytes = device.free_bytes;
        rung.parent = parent.map(|parent| parent.step.clone());
        rung.changes = match parent {
            Some(_) => diff(&before, &config),
            None => Vec::new(),
        };
        if let Some(parent) = parent
            && rung.changes.is_empty()
            && parent.device == rung.device.as_ref().map(ToString::to_string)
            && self.changes_anything()
        {
            return Err(Why::new(
                parent.class,
                format!("it changes nothing: step {} had it so already", parent.step),
            ));
        }
        if let Some(error) = config.refusals().first() {
            return Err(Why::certain(OutcomeClass::ConfigInvalid, error.to_string()));
        }
        Ok(())
    }

    /// The device that is asked for, which must be there.
    fn device(&self, config: &LoadConfig) -> Result<&DeviceInfo, Why> {
        let devices = self.facts.devices;
        let is_gpu = |info: &&DeviceInfo| info.device != DeviceId::Cpu && !info.is_software;
        let is_cuda = |info: &&DeviceInfo| {
            is_gpu(info) && matches!(&info.device, DeviceId::Gpu { backend, .. } if backend == "cuda")
        };
        let named = |id: &DeviceId| devices.iter().find(|info| info.device == *id);
        let in_config = match &config.device_map {
            Some(Strategy::Single(id)) => Some(DeviceChoice::Named(id.clone())),
            _ => None,
        };
        let choice = in_config.or_else(|| self.choice()).unwrap_or(DeviceChoice::Auto);
        let found = match &choice {
            DeviceChoice::Gpu => devices.iter().find(is_gpu),
            DeviceChoice::Auto => devices.iter().find(is_cuda).or_else(|| named(&DeviceId::Cpu)),
            DeviceChoice::Named(id) => named(id),
        };
        found.ok_or_else(|| {
            let told = |info: &DeviceInfo| {
                let kind = if info.is_software { ", played by the processor" } else { "" };
                format!("{} ({}{kind})", info.device, info.name)
            };
            let here: Vec<_> = devices.iter().map(told).collect();
            let what = match choice {
                DeviceChoice::Gpu => "no GPU here".to_owned(),
                other => format!("no device {} here", String::from(other)),
            };
            let reason = format!("{what}: this machine computes on {}", here.join(", "));
            Why::certain(OutcomeClass::DeviceAbsent, reason)
        })
    }

    /// A load config with what the table of next changes proposes for a knob.
    fn proposed(&self, knob: &str, config: &LoadConfig, device: &DeviceInfo) -> Result<LoadConfig, Why> {
        let class = self.trunk().and_then(|last| last.class);
        let class = class.ok_or_else(|| Why::plain("no step before it failed"))?;
        let facts = load_config::Facts {
            device: Some(device.device.clone()),
            free_bytes: device.free_bytes,
            dtype: config.dtype,
            ..load_config::Facts::default()
        };
        let proposals = next_changes(class, config, &facts);
        let is_it = |key: &str| key == knob || key.split_once('.').is_some_and(|(name, _)| name == knob);
        let Some(proposal) = proposals.into_iter().find(|proposal| is_it(&proposal.key)) else {
            return Err(Why::new(
                Some(class),
                format!("no {knob} is known to mend {} on {}", class.name(), device.device),
            ));
        };
        if let Some(reason) = proposal.refused {
            return Err(Why::new(Some(class), reason));
        }
        config
            .with(&proposal.key, &proposal.value)
            .map_err(|mut errors| Why::new(Some(class), errors.swap_remove(0).to_string()))
    }

    /// A try that ended for certain is not made again.
    fn not_again(&self, rung: &Rung) -> Result<(), Why> {
        let same = |config: &Map<String, Value>, device: &str| {
            let one = LoadConfig::from_map(config).map(|config| config.to_map());
            one.is_ok_and(|one| one == rung.load_config)
                && rung.device.as_ref().is_some_and(|id| id.to_string() == device)
        };
        for outcome in self.done.iter().filter(|outcome| outcome.status != Status::Skipped) {
            let (Some(config), Some(device)) = (&outcome.load_config, &outcome.device) else { continue };
            if !same(config, device) {
                continue;
            }
            if outcome.status == Status::Failed && outcome.class.is_some_and(OutcomeClass::is_deterministic) {
                let reason =
                    format!("step {} failed with the same load config: {}", outcome.step, outcome.reason);
                return Err(Why::new(outcome.class, reason));
            }
        }
        let past = self.facts.past.iter().rev();
        let mut failed = past.filter(|past| past.class.is_deterministic());
        match failed.find(|past| same(&past.load_config, &past.device)) {
            Some(past) => Err(Why::certain(
                past.class,
                format!("attempt {} ended in {} with the same load config", past.attempt, past.class.name()),
            )),
            None => Ok(()),
        }
    }

    /// Predicts its bytes and holds them, and its format, against the device.
    fn size(&self, rung: &mut Rung) -> Result<(), Why> {
        let Some(info) = self.facts.devices.iter().find(|info| Some(&info.device) == rung.device.as_ref())
        else {
            return Err(Why::certain(OutcomeClass::DeviceAbsent, "the device is gone"));
        };
        rung.free_bytes = info.free_bytes;
        let (load_config, decoder, resolved) = self.predict(rung, info.device.backend())?;
        let total = rung.predicted.map_or(0, |memory| memory.total_bytes);
        if let Some(dtype) = resolved.format.plain().filter(|dtype| !info.dtypes.contains(dtype)) {
            let reason = format!("{} does not compute in {dtype}", info.device);
            return Err(Why::certain(OutcomeClass::DtypeUnsupported, reason));
        }
        if !info.attention.contains(&resolved.attn) {
            let reason = format!("{} has no fused attention; use eager", info.device);
            return Err(Why::certain(OutcomeClass::KernelError, reason));
        }
        let budgets = &load_config.max_memory;
        if !budgets.is_empty() {
            let budgets =
                budgets.iter().map(|(id, bytes)| Device::of(id.clone(), *bytes, &resolved)).collect();
            let workload = placement::workload(&decoder, None, &resolved);
            let strategy = load_config.device_map.clone().unwrap_or(Strategy::Auto);
            let placed = Devices::stated(budgets)
                .and_then(|devices| placement::plan(&workload, &devices, &strategy, Rules::Preflight));
            let on_host = info.device == DeviceId::Cpu;
            return placed.map(|_placement| ()).map_err(|error| {
                // What does not fit is of the class that its load would end in.
                match OutcomeClass::of_error(error.code(), None, on_host) {
                    Some(class) => Why::misfit(&rung.expectations, class, &error.to_string()),
                    None => Why::certain(OutcomeClass::PlacementFailed, error.to_string()),
                }
            });
        }
        match info.free_bytes {
            Some(free) if total > free => {
                let class = OutcomeClass::of_oom(info.device == DeviceId::Cpu, "weights");
                let (needs, free) = (format_bytes(total), format_bytes(free));
                let reason = format!("needs {needs}, {free} free on {}", info.device);
                Err(Why::misfit(&rung.expectations, class, &reason))
            }
            _ => Ok(()),
        }
    }

    /// Predicts the bytes of a rung whose device is not here.
    fn size_elsewhere(&self, rung: &mut Rung) {
        let backend = match self.choice() {
            Some(DeviceChoice::Named(id)) => id.backend(),
            _ => Backend::Cuda,
        };
        // Its reason is said already, and weighs more than that it cannot be sized either.
        self.predict(rung, backend).ok();
    }

    /// Predicts the bytes of a rung on a backend; gives what they rest on.
    fn predict(&self, rung: &mut Rung, backend: Backend) -> Result<(LoadConfig, Decoder, Resolved), Why> {
        let invalid = |error: String| Why::certain(OutcomeClass::ConfigInvalid, error);
        let load_config =
            LoadConfig::from_map(&rung.load_config).map_err(|error| invalid(error.to_string()))?;
        let fields = load_config.overridden(self.facts.subject.fields);
        let config = ModelConfig::from_fields(&fields).map_err(|error| {
            let reason = match Decoder::from_fields(&fields) {
                Ok(_) => format!("it {}", Family::NOT_RUN),
                Err(_) => error.to_string(),
            };
            Why::certain(OutcomeClass::UnknownArchitecture, reason)
        })?;
        let context = self.context(&config, rung);
        validate::check_context(&config, context)
            .map_err(|error| Why::certain(OutcomeClass::ContextTooLong, error.to_string()))?;
        rung.context = Some(context);
        let decoder: Decoder = config.decoder();
        let stored = self.facts.subject.stored;
        let options = load_config.options(self.facts.subject.options);
        let options = Options { context: rung.context, backend: Some(backend), ..options };
        let resolved =
            Resolved::of_load(&decoder, stored, &options).map_err(|error| invalid(error.to_string()))?;
        let report = estimate::memory(&decoder, None, &resolved);
        rung.predicted = Some(Memory {
            weights_bytes: report.weights_bytes,
            kv_cache_bytes: report.kv_cache_bytes,
            activation_bytes: report.activation_bytes,
            overhead_bytes: report.overhead_bytes,
            total_bytes: report.total_bytes,
        });
        Ok((load_config, decoder, resolved))
    }

    /// Longest sequence to load for: what is asked for, else what the step needs, else the default of the estimate.
    fn context(&self, config: &ModelConfig, rung: &Rung) -> u64 {
        let needs = |probe: ProbeSet, new: usize| validate::context(config, DEFAULT_PROMPT, new, probe);
        let positions = config.max_position_embeddings;
        let default = positions.min(4096);
        let context = match rung.action {
            // What is loaded once serves the steps that follow.
            Action::Load => (self.profile.steps.iter())
                .filter(|step| matches!(step.action, Action::Validate | Action::Infer))
                .map(|step| needs(step.probe, step.max_new_tokens.unwrap_or(MAX_NEW_TOKENS)))
                .fold(default, usize::max),
            _ if rung.prompts.is_empty() => needs(rung.probe, rung.max_new_tokens),
            _ => needs(rung.probe, rung.max_new_tokens).max(default),
        };
        self.profile.context.unwrap_or(context.min(positions) as u64)
    }
}
