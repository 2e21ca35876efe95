//! Profiles: saved ladders. They are written in TOML, which the server reads.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::load_config::OutcomeClass;
use crate::placement::DeviceId;
use crate::validate::ProbeSet;

/// A ladder as it is written down. Unknown keys are errors.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// What it is called.
    pub name: String,
    /// What it is for.
    #[serde(default)]
    pub description: String,
    /// Tokens of the longest sequence; else what each step needs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub context: Option<u64>,
    /// Overrides under every step.
    #[serde(default)]
    pub overrides: Map<String, Value>,
    /// Prompts that steps name.
    #[serde(default)]
    pub prompts: Vec<Prompt>,
    /// What is expected of every step that says nothing else.
    #[serde(default)]
    pub expectations: Expectations,
    /// What is done, in this order.
    pub steps: Vec<Step>,
}

/// A prompt with a name.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Prompt {
    /// What steps call it.
    pub name: String,
    /// A text, encoded as it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// One user message through the chat template.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub chat: Option<String>,
    /// Most tokens to generate; else the step's.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_new_tokens: Option<usize>,
}

/// What must hold for a step to pass; what is not said is not asked, but for `no_nan`, which holds unless it is `false`.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Expectations {
    /// Whether the load must fit its device, as predicted and in fact. `false` expects it not to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fits: Option<bool>,
    /// Least speed of generation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub min_decode_tokens_per_s: Option<f64>,
    /// Whether every value of every layer must be finite.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_nan: Option<bool>,
}

impl Expectations {
    /// These, and of `under` what they leave open.
    #[must_use]
    pub fn over(self, under: Self) -> Self {
        Self {
            fits: self.fits.or(under.fits),
            min_decode_tokens_per_s: self.min_decode_tokens_per_s.or(under.min_decode_tokens_per_s),
            no_nan: self.no_nan.or(under.no_nan),
        }
    }
}

/// What a step does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Action {
    /// Reads config and headers, and judges them.
    Inspect,
    /// Loads the model.
    Load,
    /// Ends the worker of the last load.
    Unload,
    /// Validates: tokens, NaN, probes.
    Validate,
    /// Runs prompts.
    Infer,
    /// Commits the load config that was validated as known-good.
    Document,
}

impl Action {
    /// The name in TOML and JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Inspect => "inspect",
            Self::Load => "load",
            Self::Unload => "unload",
            Self::Validate => "validate",
            Self::Infer => "infer",
            Self::Document => "document",
        }
    }

    /// Whether it is about a loaded model.
    #[must_use]
    pub fn loads(self) -> bool {
        matches!(self, Self::Load | Self::Validate | Self::Infer)
    }
}

/// Which device a step is for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum DeviceChoice {
    /// The first GPU that is there; no software adapter.
    Gpu,
    /// The first CUDA device, else the CPU.
    Auto,
    /// This one.
    Named(DeviceId),
}

impl TryFrom<String> for DeviceChoice {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "gpu" => Ok(Self::Gpu),
            "auto" => Ok(Self::Auto),
            name => name.parse().map(Self::Named).map_err(|_unknown| {
                format!("`{name}` is no device: write gpu, auto, cpu, or a name such as cuda:0")
            }),
        }
    }
}

impl From<DeviceChoice> for String {
    fn from(device: DeviceChoice) -> Self {
        match device {
            DeviceChoice::Gpu => "gpu".to_owned(),
            DeviceChoice::Auto => "auto".to_owned(),
            DeviceChoice::Named(id) => id.to_string(),
        }
    }
}

/// One rung.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Step {
    /// A short name: `5a`. Unique.
    pub id: String,
    /// What it tries, for people.
    #[serde(default)]
    pub title: String,
    /// What it does.
    pub action: Action,
    /// Starts from the profile's overrides, and what comes after goes on from where it was before.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub branch: bool,
    /// Where it is loaded; else where the step before it was.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub device: Option<DeviceChoice>,
    /// What it changes: of a step that goes on from another one thing at most.
    #[serde(default, skip_serializing_if = "Map::is_empty")]
    pub overrides: Map<String, Value>,
    /// A knob whose value the table of next changes proposes from how the last attempt ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub propose: Option<String>,
    /// It runs only where the last attempt ended so; empty runs it always.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub after: Vec<OutcomeClass>,
    /// Names of prompts to run; none stands for the default prompt.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub prompts: Vec<String>,
    /// Most tokens to generate for a prompt that says nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_new_tokens: Option<usize>,
    /// Probes of a validation.
    #[serde(default)]
    pub probe: ProbeSet,
    /// What is expected, over the profile's.
    #[serde(default)]
    pub expectations: Expectations,
}

impl Step {
    /// What it is called: its title, else what it does.
    #[must_use]
    pub fn heading(&self) -> &str {
        if self.title.is_empty() { self.action.name() } else { &self.title }
    }

    /// Its id and title, for people.
    #[must_use]
    pub fn label(&self) -> String {
        if self.title.is_empty() { self.id.clone() } else { format!("{} ({})", self.id, self.title) }
    }
}

impl Profile {
    /// The prompts that a step runs, none for the default prompt, each with its number of tokens.
    #[must_use]
    pub fn prompts_of(&self, step: &Step) -> Vec<Prompt> {
        let find = |name: &String| self.prompts.iter().find(|prompt| prompt.name == *name);
        let set = |prompt: &Prompt| Prompt {
            max_new_tokens: prompt.max_new_tokens.or(step.max_new_tokens),
            ..prompt.clone()
        };
        step.prompts.iter().filter_map(find).map(set).collect()
    }
}
