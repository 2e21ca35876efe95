//! `preflight convert`: a Llama-architecture GGUF to a phi3 checkpoint.

use std::path::PathBuf;
use std::process::ExitCode;

use phi3::units::{format_bytes, format_count, format_counted};
use phi3::weights::{self, Written};
use preflight_files::{FileSource, FilesError};

use super::out_dir::OutDir;
use super::output;
use super::page::plain;
use crate::error::CliError;

/// Convert a Llama-architecture GGUF to a phi3 checkpoint in f32, with its tokenizer.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// The GGUF file.
    #[arg(value_name = "SRC.gguf")]
    source: PathBuf,
    /// Folder to make; it must be absent or empty.
    out_dir: PathBuf,
}

pub(super) fn run(args: Args) -> Result<ExitCode, CliError> {
    let source = FileSource::open(&args.source)?;
    let out = OutDir::create(&args.out_dir)?;
    let name = args.source.display().to_string();
    let written = pollster::block_on(weights::convert::convert(&name, &source, |name| out.file(name)));
    let written = written.map_err(FilesError::from)?;
    out.finish()?;
    output::print(&summary(&args.out_dir.display().to_string(), &written))?;
    Ok(ExitCode::SUCCESS)
}

/// What was written, in one line.
pub(super) fn summary(out_dir: &str, written: &Written) -> String {
    let out_dir = plain(out_dir);
    let bytes: u64 = written.files.iter().map(|file| file.bytes).sum();
    format!(
        "{out_dir}: {} parameters, {}, {}\n",
        format_count(written.params_total),
        format_counted(written.files.len() as u64, "file"),
        format_bytes(bytes)
    )
}
