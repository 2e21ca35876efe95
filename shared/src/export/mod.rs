//! A load config in the words of what people deploy with.
//!
//! Each export is a text and a list of what the text could not say: nothing is dropped in silence. Names and
//! templates are hostile input: each format quotes them so that they stay data.

mod quote;
mod stated;
mod from_pretrained;
mod vllm;
mod llama_cpp;
mod ollama;
mod toml;
mod markdown;
mod validations;

use serde::Serialize;
use serde_json::Value;
use thiserror::Error;

use crate::config::ModelConfig;
use crate::dtype::DType;
use crate::load_config::LoadConfig;
use crate::units::format_count;
use stated::Stated;

pub use validations::validations;

/// What to write for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
pub enum Target {
    /// Python with transformers 5.
    #[serde(rename = "from_pretrained")]
    FromPretrained,
    /// Python with transformers 4.
    #[serde(rename = "from_pretrained4")]
    FromPretrained4,
    /// A command line of vLLM (0.12 and later).
    #[serde(rename = "vllm")]
    Vllm,
    /// A command line of llama.cpp's server.
    #[serde(rename = "llama.cpp")]
    LlamaCpp,
    /// A Modelfile of Ollama.
    #[serde(rename = "ollama")]
    Ollama,
    /// The load config itself.
    #[serde(rename = "json")]
    Json,
    /// The load config as TOML.
    #[serde(rename = "toml")]
    Toml,
    /// A page for people.
    #[serde(rename = "markdown")]
    Markdown,
}

/// A name that is no target.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error(
    "no export `{0}`: use from_pretrained, from_pretrained4, vllm, llama.cpp, ollama, json, toml or markdown"
)]
pub struct UnknownTarget(pub String);

impl Target {
    /// Every target.
    pub const ALL: [Self; 8] = [
        Self::FromPretrained,
        Self::FromPretrained4,
        Self::Vllm,
        Self::LlamaCpp,
        Self::Ollama,
        Self::Json,
        Self::Toml,
        Self::Markdown,
    ];

    /// The name on the command line.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::FromPretrained => "from_pretrained",
            Self::FromPretrained4 => "from_pretrained4",
            Self::Vllm => "vllm",
            Self::LlamaCpp => "llama.cpp",
            Self::Ollama => "ollama",
            Self::Json => "json",
            Self::Toml => "toml",
            Self::Markdown => "markdown",
        }
    }
}

impl std::str::FromStr for Target {
    type Err = UnknownTarget;

    /// By name; `transformers` is the library that `from_pretrained` is of.
    fn from_str(text: &str) -> Result<Self, UnknownTarget> {
        let text = if text == "transformers" { "from_pretrained" } else { text };
        Self::ALL
            .into_iter()
            .find(|target| target.name() == text)
            .ok_or_else(|| UnknownTarget(text.to_owned()))
    }
}

/// Where the model is that the text shall load.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Model {
    /// A repository on the Hub: `ORG/NAME`.
    Hub(String),
    /// A directory in Hugging Face's layout.
    Directory(String),
    /// A GGUF file.
    Gguf(String),
    /// A config without weights, by a name of ours: the text names it, and somebody has to put a path there.
    Unplaced(String),
}

impl Model {
    /// The name or path as it was given.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Hub(name) | Self::Directory(name) | Self::Gguf(name) | Self::Unplaced(name) => name,
        }
    }

    /// The name as an argument that no program takes for an option.
    fn argument(&self) -> String {
        let name = self.name();
        if name.starts_with('-') { format!("./{name}") } else { name.to_owned() }
    }
}

/// What is exported.
#[derive(Debug, Clone, Copy)]
pub struct Subject<'a> {
    /// Where the model is.
    pub model: &'a Model,
    /// Its config, where it is known: what an override replaces as a whole is filled in from it.
    pub config: Option<&'a ModelConfig>,
    /// The overrides.
    pub load_config: &'a LoadConfig,
    /// Longest sequence to serve.
    pub context: Option<u64>,
    /// Format of the KV cache.
    pub kv_dtype: Option<DType>,
    /// Memory of one GPU as its vendor counts it: programs that take a share need it to express a budget.
    pub device_memory: Option<u64>,
}

/// How a value fares in an export.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Loss {
    /// It is not in the text.
    Dropped,
    /// The text comes close to it.
    Approximated,
}

/// A value that a text could not express.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Unexpressed {
    /// JSON path in the load config, or `model`, `context`, `kv_dtype`.
    pub path: String,
    /// The value.
    pub value: Value,
    /// Whether it is gone or only close.
    pub loss: Loss,
    /// Why, and what to do.
    pub reason: String,
}

/// A text and what it does not say.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Export {
    /// What it was written for.
    pub target: Target,
    /// The text; ends with a newline.
    pub text: String,
    /// What it could not express.
    pub unexpressed: Vec<Unexpressed>,
}

/// Writes a load config for `target`.
#[must_use]
pub fn export(subject: &Subject<'_>, target: Target) -> Export {
    let mut stated = Stated::new(subject);
    let positions = subject.config.map(|config| subject.load_config.positions(config));
    if let (Some(context), Some(positions)) = (subject.context, positions)
        && context > positions
    {
        let reason = format!(
            "the model has {} positions: a target refuses more, or answers get worse",
            format_count(positions)
        );
        stated.approximated("context", context.into(), reason);
    }
    if subject.load_config.trust_remote_code == Some(true) && subject.config.is_some() {
        let reason = "it runs the repository's code, which phi3 does not need; leave it out";
        stated.approximated("trust_remote_code", true.into(), reason);
    }
    let text = match target {
        Target::FromPretrained => {
            from_pretrained::write(subject, &mut stated, from_pretrained::Version::Five)
        }
        Target::FromPretrained4 => {
            from_pretrained::write(subject, &mut stated, from_pretrained::Version::Four)
        }
        Target::Vllm => vllm::write(subject, &mut stated),
        Target::LlamaCpp => llama_cpp::write(subject, &mut stated),
        Target::Ollama => ollama::write(subject, &mut stated),
        Target::Json => {
            let value = Value::Object(stated.take_all());
            format!("{value:#}\n")
        }
        Target::Toml => toml::write(&mut stated),
        Target::Markdown => markdown::write(subject, &mut stated),
    };
    Export { target, text, unexpressed: stated.finish() }
}

#[cfg(test)]
mod tests;
