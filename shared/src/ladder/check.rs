//! What makes a profile a good one, told before anything is run.

use thiserror::Error;

use super::profile::{Action, Profile, Step};
use crate::load_config::{LoadConfig, LoadConfigError, diff};

/// A profile that cannot be run: something in it does not go together.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{path}{}: {reason}", if name.is_empty() { String::new() } else { format!(" ({name})") })]
pub struct ProfileError {
    /// Where: `steps[2]`.
    pub path: String,
    /// What that is called: `5a`.
    pub name: String,
    /// What is wrong and what to do.
    pub reason: String,
}

/// Most steps of a profile.
const MOST_STEPS: usize = 100;

/// Most prompts of a step, and most tokens of each answer.
const MOST_PROMPTS: usize = 64;
const MOST_TOKENS: usize = 4096;

impl Profile {
    /// The profile of the product, in TOML: inspect, CPU, GPU, what mends it, validate, document.
    pub const STANDARD: &str = include_str!("default.toml");

    /// Whether its steps go together.
    ///
    /// # Errors
    /// The first thing that does not.
    pub fn check(&self) -> Result<(), ProfileError> {
        let named =
            |path: String, name: &str, reason: String| ProfileError { path, name: name.to_owned(), reason };
        let invalid = |path: &str, reason: String| named(path.to_owned(), "", reason);
        if self.steps.is_empty() || self.steps.len() > MOST_STEPS {
            return Err(invalid("steps", format!("has {}, expected 1 to {MOST_STEPS}", self.steps.len())));
        }
        let base =
            LoadConfig::from_map(&self.overrides).map_err(|error| invalid("overrides", error.to_string()))?;
        for (index, prompt) in self.prompts.iter().enumerate() {
            let error = |reason: &str| named(format!("prompts[{index}]"), &prompt.name, reason.to_owned());
            if self.prompts[..index].iter().any(|other| other.name == prompt.name) {
                return Err(error("the name stands twice"));
            }
            if prompt.text.is_some() == prompt.chat.is_some() {
                return Err(error("give it either a text or a chat"));
            }
            if let Some(tokens) = prompt.max_new_tokens.filter(|tokens| !(1..=MOST_TOKENS).contains(tokens)) {
                return Err(error(&format!("max_new_tokens is {tokens}, expected 1 to {MOST_TOKENS}")));
            }
        }
        let mut trunk: Option<(LoadConfig, &Step)> = None;
        for (index, step) in self.steps.iter().enumerate() {
            let error = |reason: String| named(format!("steps[{index}]"), &step.id, reason);
            if self.steps[..index].iter().any(|other| other.id == step.id) {
                return Err(error("the id stands twice".to_owned()));
            }
            self.check_step(step).map_err(error)?;
            if !step.action.loads() {
                continue;
            }
            let parent = trunk.as_ref().filter(|_| !step.branch);
            let under = parent.map_or(&base, |(config, _)| config);
            let config = with_all(under, step).map_err(|wrong| error(wrong.to_string()))?;
            if let Some((before, other)) = parent {
                let changes = diff(before, &config);
                let moves = usize::from(step.device.is_some() && step.device != other.device);
                if changes.len() + moves + usize::from(step.propose.is_some()) > 1 {
                    let list: Vec<_> = changes.iter().map(ToString::to_string).collect();
                    return Err(error(format!(
                        "changes more than one thing against step {} ({}{}); change one, or write branch = true",
                        other.id,
                        list.join(", "),
                        if moves > 0 { ", its device" } else { "" }
                    )));
                }
            }
            if !step.branch {
                trunk = Some((config, step));
            }
        }
        Ok(())
    }

    fn check_step(&self, step: &Step) -> Result<(), String> {
        if step.id.is_empty() {
            return Err("its id is empty".to_owned());
        }
        if let Some(name) =
            step.prompts.iter().find(|name| self.prompts.iter().all(|prompt| prompt.name != **name))
        {
            let known: Vec<_> = self.prompts.iter().map(|prompt| format!("`{}`", prompt.name)).collect();
            let known = if known.is_empty() { "none at all".to_owned() } else { known.join(", ") };
            return Err(format!("no prompt is called `{name}`; there is {known}"));
        }
        if step.prompts.len() > MOST_PROMPTS {
            return Err(format!("has {} prompts, expected at most {MOST_PROMPTS}", step.prompts.len()));
        }
        if let Some(tokens) = step.max_new_tokens.filter(|tokens| !(1..=MOST_TOKENS).contains(tokens)) {
            return Err(format!("max_new_tokens is {tokens}, expected 1 to {MOST_TOKENS}"));
        }
        let speed = [step.expectations, self.expectations].map(|expected| expected.min_decode_tokens_per_s);
        if speed.iter().flatten().any(|speed| !speed.is_finite() || *speed < 0.0) {
            return Err("min_decode_tokens_per_s must be a number from 0 up".to_owned());
        }
        let only = |is_set: bool, key: &str, actions: &[Action]| {
            if !is_set || actions.contains(&step.action) {
                return Ok(());
            }
            let names: Vec<_> = actions.iter().map(|action| action.name()).collect();
            Err(format!("`{key}` belongs to {}, not to {}", names.join(", "), step.action.name()))
        };
        let loads = [Action::Load, Action::Validate, Action::Infer];
        only(!step.overrides.is_empty(), "overrides", &loads)?;
        only(step.device.is_some(), "device", &loads)?;
        only(step.propose.is_some(), "propose", &loads)?;
        only(step.branch, "branch", &loads)?;
        only(!step.prompts.is_empty(), "prompts", &loads[1..])?;
        only(step.max_new_tokens.is_some(), "max_new_tokens", &loads[1..])?;
        only(!step.probe.kinds().is_empty(), "probe", &[Action::Validate])?;
        if step.propose.is_some() && (!step.overrides.is_empty() || step.branch) {
            return Err(
                "`propose` is a change of its own: it goes with no overrides and no branch".to_owned()
            );
        }
        if let Some(knob) = &step.propose
            && crate::load_config::Knob::find(knob).is_none()
        {
            return Err(format!("`propose`: `{knob}` is no knob of a load config"));
        }
        if step.overrides.contains_key("device_map") && step.device.is_some() {
            return Err("`device` and `overrides.device_map` say the same; keep one".to_owned());
        }
        Ok(())
    }
}

/// A load config with everything that a step overrides.
pub(super) fn with_all(under: &LoadConfig, step: &Step) -> Result<LoadConfig, LoadConfigError> {
    step.overrides.iter().try_fold(under.clone(), |config, (key, value)| {
        config.with(key, value).map_err(|mut errors| errors.swap_remove(0))
    })
}
