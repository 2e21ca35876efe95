//! The f32 reference on the CPU, loaded beside a model that is validated, where the host has room for it.

use phi3::candle_engine::CandleEngine;
use phi3::config::ModelConfig;
use phi3::dtype::DType;
use phi3::engine::{Diagnostics, Engine, LoadPlan};
use phi3::estimate::{self, Options, Resolved};
use phi3::units::format_bytes;
use phi3::validate::{Difference, Report, Verdict};
use pollster::block_on;
use preflight_files::Model;

use crate::link::Link;
use crate::process;

/// Longest sequence that is compared.
const MOST_TOKENS: usize = 128;

/// Compares over the sequence of a report, and judges the report by it.
pub(crate) fn judge<E: Engine + Diagnostics>(
    engine: &mut E,
    model: &Model,
    config: &ModelConfig,
    link: &Link,
    report: &mut Report,
) {
    let generated = report.generated_tokens.len().saturating_sub(1);
    let mut tokens = [&report.prompt_tokens[..], &report.generated_tokens[..generated]].concat();
    tokens.truncate(MOST_TOKENS);
    let info = engine.info();
    if info.engine == "candle" && info.device == "cpu" && info.dtype == DType::F32 {
        report.reason = format!("{}; f32 on the CPU is the reference itself", report.reason);
        return;
    }
    match hold(engine, model, config, link, &tokens) {
        Ok(difference) => report.hold_against(difference),
        Err(reason) => {
            report.reason = format!("{}; not held against f32 on the CPU: {reason}", report.reason);
            if report.verdict == Verdict::Pass {
                report.verdict = Verdict::Unverified;
            }
        }
    }
}

/// The comparison, or why there is none.
fn hold<E: Engine + Diagnostics>(
    engine: &mut E,
    model: &Model,
    config: &ModelConfig,
    link: &Link,
    tokens: &[u32],
) -> Result<Difference, String> {
    let decoder = config.decoder();
    let checkpoint = model.checked_weights(&decoder).map_err(|error| error.to_string())?;
    let options =
        Options { dtype: Some(DType::F32.into()), context: Some(tokens.len() as u64), ..Options::default() };
    let resolved = Resolved::new(&decoder, Some(checkpoint.tensors()), &options);
    let resolved = resolved.map_err(|error| error.to_string())?;
    let needed = estimate::memory(&decoder, Some(checkpoint.tensors()), &resolved).total_bytes;
    match process::host().free_bytes {
        Some(free) if needed <= free => {}
        Some(free) => {
            let (needed, free) = (format_bytes(needed), format_bytes(free));
            return Err(format!("it needs {needed} more on this host, {free} are free"));
        }
        None => return Err("this system does not tell how much memory is free".to_owned()),
    }
    let plan = LoadPlan::new(config.clone(), DType::F32, tokens.len());
    let reference = block_on(CandleEngine::load(checkpoint, &plan, &mut |_| link.flow()));
    let mut reference = reference.map_err(|error| error.to_string())?;
    let vocab = config.vocab_size;
    let expected = rows(&mut reference, tokens, vocab)?;
    let found = rows(engine, tokens, vocab)?;
    Ok(Difference::of(&expected, &found, vocab, engine.info().dtype))
}

/// Logits of a whole sequence, row after row.
fn rows<E: Diagnostics>(engine: &mut E, tokens: &[u32], vocab: usize) -> Result<Vec<f32>, String> {
    let mut rows = Vec::with_capacity(tokens.len() * vocab);
    let computed = block_on(engine.logits(tokens, &mut |_, row| rows.extend_from_slice(row)));
    computed.map(|()| rows).map_err(|error| error.to_string())
}
