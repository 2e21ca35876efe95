//! `preflight export`: a load config in the words of what people deploy with.

use std::io::{self, Write as _};
use std::path::PathBuf;
use std::process::ExitCode;

use phi3::config::ModelConfig;
use phi3::dtype::DType;
use phi3::estimate::Size;
use phi3::export::{Loss, Model as Place, Subject, Target, export};
use preflight_files::{Model, Source};

use super::{load_config, output};
use crate::error::CliError;

/// Write a load config for transformers, vLLM, llama.cpp, Ollama, or as JSON, TOML, Markdown.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Model directory, config.json, *.safetensors, index JSON, *.gguf, preset:NAME or hf:ORG/NAME[@REV].
    path: String,
    /// What to write: from_pretrained, from_pretrained4, vllm, llama.cpp, ollama, json, toml or markdown.
    #[arg(long, value_name = "TARGET")]
    to: Target,
    /// JSON file of overrides, in Hugging Face's field names.
    #[arg(long, value_name = "FILE")]
    load_config: Option<PathBuf>,
    /// Longest sequence to serve [default: the target's own].
    #[arg(long, value_name = "TOKENS", value_parser = clap::value_parser!(u64).range(1..))]
    context: Option<u64>,
    /// Format of the KV cache [default: the target's own].
    #[arg(long, value_name = "DTYPE")]
    kv_dtype: Option<DType>,
    /// Whole memory of one GPU: a target that takes a share of it needs it to express max_memory.
    #[arg(long, value_name = "SIZE")]
    device_memory: Option<Size>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args) -> Result<ExitCode, CliError> {
    let (_, mut load_config) = load_config::parse(args.load_config.as_deref())?;
    let (place, config) = match args.path.strip_prefix("hf:") {
        Some(repository) => {
            let (id, revision) = hub(repository)?;
            load_config.revision = load_config.revision.or(revision);
            (Place::Hub(id), None)
        }
        None => local(&args.path)?,
    };
    let subject = Subject {
        model: &place,
        config: config.as_ref(),
        load_config: &load_config,
        context: args.context,
        kv_dtype: args.kv_dtype,
        device_memory: args.device_memory.map(|size| size.0),
    };
    let export = export(&subject, args.to);
    if args.json {
        output::print_json(&export)?;
        return Ok(ExitCode::SUCCESS);
    }
    output::print(&export.text)?;
    for lost in &export.unexpressed {
        let word = match lost.loss {
            Loss::Dropped => "not expressed",
            Loss::Approximated => "approximated",
        };
        let line = format!("{}: {} = {}: {}", word, lost.path, lost.value, lost.reason);
        // What stdout holds stays a file that can be used as it is.
        writeln!(io::stderr(), "preflight: {}", line.replace(char::is_control, " ")).ok();
    }
    Ok(ExitCode::SUCCESS)
}

/// `ORG/NAME[@REV]`.
fn hub(repository: &str) -> Result<(String, Option<String>), CliError> {
    let (id, revision) = match repository.split_once('@') {
        Some((id, revision)) => (id, Some(revision.to_owned())),
        None => (repository, None),
    };
    let part = |part: &str| {
        let plain = part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        plain && !part.is_empty() && !part.starts_with(['-', '.'])
    };
    let is_id = id.split_once('/').is_some_and(|(organisation, name)| part(organisation) && part(name));
    if is_id && revision.as_ref().is_none_or(|revision| !revision.is_empty()) {
        return Ok((id.to_owned(), revision));
    }
    Err(CliError::usage(format!("hf:{repository}: write hf:ORG/NAME or hf:ORG/NAME@REVISION")))
}

/// A model on this machine, and its config where this build knows it.
fn local(path: &str) -> Result<(Place, Option<ModelConfig>), CliError> {
    let source = Source::resolve(path)?;
    let config =
        Model::open(&source)?.fields().ok().and_then(|fields| ModelConfig::from_fields(&fields).ok());
    let folder = |file: &std::path::Path| {
        let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
        Place::Directory(folder.map_or(".".to_owned(), |folder| folder.display().to_string()))
    };
    let place = match &source {
        Source::Directory(path) => Place::Directory(path.display().to_string()),
        Source::Safetensors(path) | Source::Index(path) | Source::Config(path) => folder(path),
        Source::Gguf(path) => Place::Gguf(path.display().to_string()),
        Source::Preset(preset) => Place::Unplaced(preset.name.to_owned()),
    };
    Ok((place, config))
}
