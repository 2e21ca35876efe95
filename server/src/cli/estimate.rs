//! `preflight estimate`: what a load needs, before a byte is loaded.

use std::process::ExitCode;

use phi3::dtype::DType;
use phi3::engine::Attention;
use phi3::estimate::{KvPolicy, Options, Size};
use phi3::fit::Verdict;
use preflight_files::{Model, Source};

use super::output;
use crate::error::{CliError, Exit};
use crate::reports;

/// Tell how much memory a model needs, term by term, and whether it fits.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Model directory, config.json, *.safetensors, index JSON, *.gguf or preset:NAME.
    path: String,
    /// Format of the weights [default: as stored, else the config's, else bf16].
    #[arg(long, value_name = "DTYPE")]
    dtype: Option<DType>,
    /// Format of the KV cache [default: the dtype if it is a float, else bf16].
    #[arg(long, value_name = "DTYPE")]
    kv_dtype: Option<DType>,
    /// Tokens of each sequence [default: 4096, or the model's positions if fewer].
    #[arg(long, value_name = "TOKENS")]
    context: Option<u64>,
    /// Sequences at once [default: 1].
    #[arg(long, value_name = "N")]
    batch: Option<u64>,
    /// How attention is computed [default: eager].
    #[arg(long, value_name = "eager|fused", value_parser = parse_attention)]
    attn: Option<Attention>,
    /// How the KV cache is sized [default: full].
    #[arg(long, value_name = "full|window|paged", value_parser = parse_policy)]
    kv_policy: Option<KvPolicy>,
    /// Free memory of the device: bytes, or with KB MB GB (powers of 10), KiB MiB GiB (powers of 2).
    #[arg(long, value_name = "SIZE")]
    device_memory: Option<Size>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args) -> Result<ExitCode, CliError> {
    let options = Options {
        dtype: args.dtype,
        kv_dtype: args.kv_dtype,
        context: args.context,
        batch: args.batch,
        attn: args.attn,
        kv_policy: args.kv_policy,
        device_memory: args.device_memory,
    };
    let model = Model::open(&Source::resolve(&args.path)?)?;
    let report = reports::estimate(&model, &options)?;
    output::print_json(&report)?;
    let fits = report.fit.verdict != Some(Verdict::DoesNotFit);
    Ok(if fits { ExitCode::SUCCESS } else { ExitCode::from(Exit::Failed as u8) })
}

fn parse_attention(text: &str) -> Result<Attention, String> {
    match text {
        "eager" => Ok(Attention::Eager),
        "fused" => Ok(Attention::Fused),
        _ => Err("use eager or fused".to_owned()),
    }
}

fn parse_policy(text: &str) -> Result<KvPolicy, String> {
    match text {
        "full" => Ok(KvPolicy::Full),
        "window" => Ok(KvPolicy::Window),
        "paged" => Ok(KvPolicy::Paged),
        _ => Err("use full, window or paged".to_owned()),
    }
}
