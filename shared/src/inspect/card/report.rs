//! The card's place in the report, and what it gives reason to say.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{CardFacts, HardwareKind, HardwareNote};
use crate::config::GenerationConfig;
use crate::inspect::{Finding, Severity};

/// What is known about where a model's files come from and what lies beside its config.
#[derive(Debug, Clone, Copy, Default)]
pub struct CardSubject<'a> {
    /// `ORG/NAME` on the Hub.
    pub repo: Option<&'a str>,
    /// The repository's page.
    pub url: Option<&'a str>,
    /// Branch, tag or commit that was asked for.
    pub revision: Option<&'a str>,
    /// The commit that the files are of.
    pub commit: Option<&'a str>,
    /// How access is gated, if it is.
    pub gated: Option<&'a str>,
    /// `README.md`.
    pub readme: Option<&'a str>,
    /// `generation_config.json`.
    pub generation: Option<&'a GenerationConfig>,
    /// Names and lengths of the files beside the config.
    pub files: &'a [(String, Option<u64>)],
    /// Names of the files that hold the weights, where there are any.
    pub weight_files: &'a [String],
    /// What the Hub takes it to be for, where its card does not tell.
    pub pipeline_tag: Option<&'a str>,
}

/// What the card and the files beside the config tell.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Card {
    /// `ORG/NAME` on the Hub.
    pub repo: Option<String>,
    /// The repository's page, at its commit.
    pub url: Option<String>,
    /// Branch, tag or commit that was asked for.
    pub revision: Option<String>,
    /// The commit that the files are of.
    pub commit: Option<String>,
    /// How access is gated: `auto` or `manual`; null if it is not.
    pub gated: Option<String>,
    /// License.
    pub license: Option<String>,
    /// Name of a license that is `other`.
    pub license_name: Option<String>,
    /// Models that it was made from.
    pub base_model: Vec<String>,
    /// What it is for.
    pub pipeline_tag: Option<String>,
    /// The library that its authors mean it for.
    pub library_name: Option<String>,
    /// Files that a load needs, there or not.
    pub files: Vec<RequiredFile>,
    /// How its authors run it.
    pub recommended: Vec<Recommended>,
    /// What it says about hardware, word for word.
    pub hardware: Vec<HardwareNote>,
}

/// A file that a load needs or uses.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RequiredFile {
    /// Its name.
    pub name: String,
    /// What it is needed for.
    pub purpose: FilePurpose,
    /// Whether it is there.
    pub present: bool,
    /// Its length, where that is known.
    pub bytes: Option<u64>,
}

/// What a file is needed for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FilePurpose {
    /// The model's sizes.
    Config,
    /// The tensors.
    Weights,
    /// Text to ids and back.
    Tokenizer,
    /// Chat template and special tokens.
    TokenizerConfig,
    /// Stop ids and sampling.
    Generation,
}

/// A value that the authors run the model with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Recommended {
    /// Hugging Face's name for it.
    pub key: String,
    /// The value.
    pub value: Value,
    /// Where it stands.
    pub origin: Origin,
}

/// Where a recommended value stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// `generation_config.json`: what `generate` takes by default.
    GenerationConfig,
    /// An example in the card's text: what its authors pass, not what is taken by default.
    CardExample,
    /// `inference.parameters` of the card's front matter: what the Hub's own page runs it with.
    CardInference,
}

impl Card {
    /// Joins what is known.
    #[must_use]
    pub fn new(subject: CardSubject<'_>) -> Self {
        let owned = |text: Option<&str>| text.map(str::to_owned);
        let facts = subject.readme.map(CardFacts::parse).unwrap_or_default();
        let from_config = subject.generation.map(of_generation).unwrap_or_default();
        let from_card =
            facts.generation_args.into_iter().map(|(key, value)| (key, value, Origin::CardExample));
        let from_page = facts.inference.into_iter().map(|(key, value)| (key, value, Origin::CardInference));
        let recommended = from_config
            .into_iter()
            .map(|(key, value)| (key.to_owned(), value, Origin::GenerationConfig))
            .chain(from_card)
            .chain(from_page)
            .map(|(key, value, origin)| Recommended { key, value, origin });
        Self {
            repo: owned(subject.repo),
            url: owned(subject.url),
            revision: owned(subject.revision),
            commit: owned(subject.commit),
            gated: owned(subject.gated),
            license: facts.license,
            license_name: facts.license_name,
            base_model: facts.base_model,
            pipeline_tag: facts.pipeline_tag.or(owned(subject.pipeline_tag)),
            library_name: facts.library_name,
            files: required(subject),
            recommended: recommended.collect(),
            hardware: facts.hardware,
        }
    }

    /// What the reader should know.
    #[must_use]
    pub fn findings(&self) -> Vec<Finding> {
        let mut found = Vec::new();
        self.hardware_finding(&mut found);
        if let (Some(gated), Some(repo)) = (&self.gated, &self.repo) {
            let message = format!(
                "access to {repo} is gated ({gated}): its terms must be accepted on its page, and a token of that account set, wherever it is downloaded"
            );
            found.push(Finding::new("gated", Severity::Info, message));
        }
        for file in self.files.iter().filter(|file| !file.present) {
            let (severity, consequence) = match file.purpose {
                FilePurpose::Config => (Severity::Error, "nothing can be said without it"),
                FilePurpose::Weights => (
                    Severity::Warning,
                    "sizes come from the config alone; pickled weights (*.bin, *.pt) are never loaded, convert them",
                ),
                FilePurpose::Tokenizer => (Severity::Warning, "a run takes and gives token ids, no text"),
                FilePurpose::TokenizerConfig => (Severity::Info, "there may be no chat template"),
                FilePurpose::Generation => (Severity::Info, "the stop ids of config.json are all there are"),
            };
            let message = format!("{} is missing: {consequence}", file.name);
            found.push(Finding::new("missing_required_file", severity, message));
        }
        if let (Some(revision), Some(commit)) = (&self.revision, &self.commit)
            && revision != commit
        {
            let message =
                format!("`{revision}` is commit {commit} now and may move: give @{commit} to stay with it");
            found.push(Finding::new("revision_not_pinned", Severity::Info, message));
        }
        found
    }

    fn hardware_finding(&self, found: &mut Vec<Finding>) {
        let of = |kind| self.hardware.iter().filter(move |note| note.kind == kind);
        let Some(assumed) = of(HardwareKind::FlashAttentionAssumed).next() else { return };
        let tested: Vec<&str> =
            of(HardwareKind::TestedOn).flat_map(|note| note.gpus.iter().map(String::as_str)).collect();
        let tested = match tested.is_empty() {
            true => String::new(),
            false => format!(" It was tested on {}.", tested.join(", ")),
        };
        let message = format!(
            "the card says: \"{}\"{tested} Elsewhere transformers needs attn_implementation=\"eager\", which is the default here",
            assumed.quote
        );
        found.push(Finding::new("flash_attention_assumed", Severity::Warning, message));
    }
}

fn of_generation(generation: &GenerationConfig) -> Vec<(&'static str, Value)> {
    let stops = &generation.eos_token_ids;
    let number = |value: Option<f64>| value.map(Value::from);
    [
        ("eos_token_id", (!stops.is_empty()).then(|| Value::from(stops.clone()))),
        ("do_sample", generation.do_sample.map(Value::from)),
        ("temperature", number(generation.temperature)),
        ("top_p", number(generation.top_p)),
    ]
    .into_iter()
    .filter_map(|(key, value)| Some((key, value?)))
    .collect()
}

/// What a load needs, in the order in which it is read. A GGUF file brings everything along.
fn required(subject: CardSubject<'_>) -> Vec<RequiredFile> {
    let file = |name: &str, purpose| {
        let listed = subject.files.iter().find(|(listed, _)| listed == name);
        RequiredFile {
            name: name.to_owned(),
            purpose,
            present: listed.is_some(),
            bytes: listed.and_then(|(_, bytes)| *bytes),
        }
    };
    let has = |name: &str| subject.files.iter().any(|(listed, _)| listed == name);
    let weights = subject.weight_files.iter().map(|name| file(name, FilePurpose::Weights));
    if subject.weight_files.iter().any(|name| name.to_ascii_lowercase().ends_with(".gguf")) {
        return weights.collect();
    }
    let mut files = vec![file("config.json", FilePurpose::Config)];
    match subject.weight_files.is_empty() {
        true => files.push(file("model.safetensors", FilePurpose::Weights)),
        false => files.extend(weights),
    }
    // Without the fast tokenizer's file, SentencePiece's may be there.
    let slow = !has("tokenizer.json") && has("tokenizer.model");
    files.push(file(if slow { "tokenizer.model" } else { "tokenizer.json" }, FilePurpose::Tokenizer));
    files.push(file("tokenizer_config.json", FilePurpose::TokenizerConfig));
    files.push(file("generation_config.json", FilePurpose::Generation));
    files
}
