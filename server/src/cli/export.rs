//! `preflight export`: a load config in the words of what people deploy with.

use std::io::{self, Write as _};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use phi3::config::ModelConfig;
use phi3::dtype::DType;
use phi3::estimate::Size;
use phi3::export::{Loss, Model as Place, Subject, Target, export};
use phi3::load_config::LoadConfig;
use preflight_files::{Model, Source};

use super::{load_config, output};
use crate::error::CliError;
use crate::reports;

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
    let (place, config) = open(&Source::resolve(&args.path)?, &mut load_config)?;
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

/// Where a model is, and its config where it lies on this machine and this build knows it. The revision of a
/// repository on the Hub becomes the load config's, unless that names one.
fn open(source: &Source, load_config: &mut LoadConfig) -> Result<(Place, Option<ModelConfig>), CliError> {
    // The config of a folder stands for the folder.
    let source = &match source {
        Source::Config(path) if path.ends_with("config.json") => Source::Directory(folder_of(path)),
        other => other.clone(),
    };
    let place = match source {
        Source::Directory(path) => Place::Directory(path.display().to_string()),
        Source::Safetensors(path) | Source::Index(path) => {
            Place::Directory(folder_of(path).display().to_string())
        }
        Source::Config(path) => {
            Place::Unplaced(path.file_stem().unwrap_or_default().to_string_lossy().into_owned())
        }
        Source::Gguf(path) => Place::Gguf(path.display().to_string()),
        Source::Pasted(_) => Place::Unplaced("config".to_owned()),
        Source::Preset(preset) => Place::Unplaced(preset.name.to_owned()),
        // Nothing is asked of the Hub for an export.
        Source::Hub(hub) => {
            if let Some(path) = hub.path() {
                let message =
                    format!("{path}: an export loads a whole repository; name it as hf:{}", hub.repo());
                return Err(CliError::usage(message));
            }
            let named = hub.named_revision().map(str::to_owned);
            load_config.revision = load_config.revision.take().or(named);
            return Ok((Place::Hub(hub.repo().to_owned()), None));
        }
    };
    let model = Model::open(source)?;
    // A config alone is no model that can be loaded, whatever folder it lies in.
    let place = match place {
        Place::Directory(name) if model.checkpoint.is_none() => Place::Unplaced(name),
        place => place,
    };
    // What does not go with the model is refused, as an estimate refuses it: a command that fails helps nobody.
    reports::goes_with(&model, load_config)?;
    let fields = model.fields().ok();
    Ok((place, fields.and_then(|fields| ModelConfig::from_fields(&fields).ok())))
}

fn folder_of(file: &Path) -> PathBuf {
    let folder = file.parent().filter(|folder| !folder.as_os_str().is_empty());
    folder.unwrap_or(Path::new(".")).to_path_buf()
}
