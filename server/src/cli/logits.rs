//! `preflight logits`: one pass over a sequence, into a file.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use phi3::api::ErrorObject;
use phi3::api::worker::{Load, Message, Request};
use phi3::dtype::DType;
use phi3::units::format_counted;
use preflight_files::read_small;

use super::page::plain;
use super::{output, run};
use crate::error::CliError;

/// Largest file of ids that is read: a million of them.
const MAX_TOKENS_BYTES: u64 = 16 << 20;

/// Write the logits of a whole sequence, one forward pass, as safetensors: `logits`, f32 [tokens, vocab_size].
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    #[command(flatten)]
    target: run::Target,
    /// Token ids, with commas between.
    #[arg(
        long,
        value_name = "1,2,3",
        value_delimiter = ',',
        value_parser = token_id,
        required_unless_present = "tokens_file",
        conflicts_with = "tokens_file"
    )]
    tokens: Vec<u32>,
    /// JSON file with an array of token ids.
    #[arg(long, value_name = "FILE")]
    tokens_file: Option<PathBuf>,
    /// Format to hold and multiply the weights in [default: as stored].
    #[arg(long, value_name = "DTYPE")]
    dtype: Option<DType>,
    /// File to write.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

fn token_id(text: &str) -> Result<u32, String> {
    text.trim().parse().map_err(|_none| "expected ids with commas between: 1,2,3".to_owned())
}

pub(super) fn run(args: Args) -> Result<ExitCode, CliError> {
    let tokens = match &args.tokens_file {
        Some(file) => read_tokens(file)?,
        None => args.tokens,
    };
    if tokens.is_empty() {
        return Err(ErrorObject::new("empty_prompt", "no tokens: at least one id is needed").into());
    }
    // What is written goes beside it and then in its place: only a file may be replaced.
    if args.out.metadata().is_ok_and(|found| !found.is_file()) {
        let path = args.out.display().to_string();
        let message = format!("--out {path}: is no regular file, and would be replaced; name another");
        return Err(ErrorObject::new("output_not_writable", message).at(path).into());
    }
    let load = Load { dtype: args.dtype, context: Some(tokens.len()), ..args.target.load()? };
    let count = tokens.len();
    // The worker may stand in another directory one day; a path is told in full.
    let out = std::path::absolute(&args.out).unwrap_or_else(|_| args.out.clone());
    let request = Request::Logits { tokens, out: out.display().to_string() };
    run::with_model(load, async |worker, _loaded| {
        worker
            .call("computing logits", &request, |message| matches!(message, Message::Done).then_some(()))
            .await
    })?;
    let out = plain(&args.out.display().to_string());
    output::print(&format!("{out}: logits of {}\n", format_counted(count as u64, "token")))?;
    Ok(ExitCode::SUCCESS)
}

fn read_tokens(file: &Path) -> Result<Vec<u32>, CliError> {
    serde_json::from_slice(&read_small(file, MAX_TOKENS_BYTES)?).map_err(|error| {
        let path = file.display().to_string();
        ErrorObject::new("tokens_invalid", format!("{path}: not a JSON array of token ids: {error}"))
            .at(path)
            .into()
    })
}
