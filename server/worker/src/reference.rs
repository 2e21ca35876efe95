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
pub(crate) const MOST_TOKENS: usize = 128;

/// Compares over the sequence of a report, and judges the report by it. `found` are the logits of the run itself, as many
/// rows as are compared.
pub(crate) fn judge<E: Engine + Diagnostics>(
    engine: &mut E,
    model: &Model,
    config: &ModelConfig,
    link: &Link,
    report: &mut Report,
    found: Vec<f32>,
) {
    let seen = report.computed_on();
    let info = engine.info();
    if info.engine == "candle" && info.device == "cpu" && info.dtype == DType::F32 {
        report.reason = format!("{}; f32 on the CPU is the reference itself", report.reason);
        return;
    }
    match hold(engine, model, config, link, &seen, found) {
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
    seen: &[u32],
    found: Vec<f32>,
) -> Result<Difference, String> {
    let tokens = &seen[..seen.len().min(MOST_TOKENS)];
    let decoder = config.decoder();
    let checkpoint = model.checked_weights(&decoder).map_err(|error| error.to_string())?;
    let options =
        Options { dtype: Some(DType::F32.into()), context: Some(tokens.len() as u64), ..Options::default() };
    let resolved = Resolved::of_load(&decoder, None, &options).map_err(|error| error.to_string())?;
    let needed = estimate::memory(&decoder, None, &resolved).total_bytes;
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
    // Of a longer sequence the rotary factors may be others.
    let found = if tokens.len() == seen.len() { found } else { rows(engine, tokens, vocab)? };
    Ok(Difference::of(&expected, &found, vocab, engine.info().dtype))
}

/// Logits of a whole sequence, row after row.
fn rows<E: Diagnostics>(engine: &mut E, tokens: &[u32], vocab: usize) -> Result<Vec<f32>, String> {
    let mut rows = Vec::with_capacity(tokens.len() * vocab);
    let computed = block_on(engine.logits(tokens, &mut |_, row| rows.extend_from_slice(row)));
    computed.map(|()| rows).map_err(|error| error.to_string())
}
