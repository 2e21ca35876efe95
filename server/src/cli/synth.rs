//! `preflight synth`: a checkpoint of seeded random weights for a config.

use std::path::PathBuf;
use std::process::ExitCode;

use phi3::dtype::DType;
use phi3::estimate::{Format, weights_bytes};
use phi3::weights::synthetic::{self, SynthError};
use preflight_files::{FilesError, Model, Source};

use super::convert::summary;
use super::out_dir::OutDir;
use super::output;
use crate::error::CliError;

/// Write a checkpoint of seeded random weights for a config; Hugging Face reads it.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// config.json, or preset:NAME.
    config: String,
    /// Folder to make; it must be absent or empty.
    out_dir: PathBuf,
    /// Seed: the same gives the same bytes.
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// Format of the weights: f32, bf16 or f16 [default: the config's, else bf16].
    #[arg(long, value_name = "DTYPE")]
    dtype: Option<DType>,
}

pub(super) fn run(args: Args) -> Result<ExitCode, CliError> {
    let model = Model::open(&Source::resolve(&args.config)?)?;
    let fields = model.fields()?;
    let config = phi3::config::ModelConfig::from_fields(&fields).map_err(|error| model.refuse(error))?;
    let dtype = args.dtype.or(config.dtype).unwrap_or(DType::Bf16);
    let json = serde_json::Value::Object(fields.map().clone()).to_string();

    let out = OutDir::create(&args.out_dir)?;
    out.has_room(weights_bytes(&config.decoder(), Format::Plain(dtype)))?;
    let write = synthetic::synth(json.as_bytes(), args.seed, dtype, |name| out.file(name));
    let written = pollster::block_on(write).map_err(|error| match error {
        SynthError::Config(error) => model.refuse(error),
        SynthError::Weights(error) => FilesError::from(error),
    })?;
    out.finish()?;
    output::print(&summary(&args.out_dir.display().to_string(), &written))?;
    Ok(ExitCode::SUCCESS)
}
