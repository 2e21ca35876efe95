//! The run behind a report: a short generation, a look for NaN and infinities, and probes over the boundaries
//! that ten tokens cannot reach.

use std::ops::{ControlFlow, Range};

use thiserror::Error;

use super::{LayerCheck, PredictedMeasured, Probe, ProbeKind, ProbeSet, Report, TopLogit, Verdict};
use crate::config::{ModelConfig, RopeScaling};
use crate::dtype::DType;
use crate::engine::{Diagnostics, Engine, EngineError, Memory, Sampling, SequenceId};
use crate::generate::{Generation, Request, StopReason, Timings, generate};
use crate::rope::Rope;
use crate::units::{format_count, format_counted};

/// Tokens of a probe before its boundary, and tokens generated across it.
const BEFORE: usize = 2;
const ACROSS: usize = 8;

/// Likeliest tokens that are told.
const TOP_LOGITS: usize = 5;

const SEQUENCE: SequenceId = SequenceId(0);

/// What to run.
#[derive(Debug, Clone, Copy)]
pub struct Run<'a> {
    /// At least one id.
    pub prompt: &'a [u32],
    /// Most ids to generate, at least one.
    pub max_new_tokens: usize,
    /// Ids that end the generation.
    pub stop_ids: &'a [u32],
    /// Probes asked for.
    pub probes: ProbeSet,
    /// Ids that probes repeat to reach their length; at least one.
    pub filler: &'a [u32],
    /// How long the load took.
    pub load_ms: f64,
    /// What the estimator says of this load.
    pub predicted: Memory,
}

/// A context beyond what a model is made for.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{} exceed the model's {} positions: give fewer", format_counted(*tokens, "token"), format_count(*positions))]
pub struct ContextTooLong {
    /// What was asked for.
    pub tokens: u64,
    /// What there is.
    pub positions: u64,
}

/// Holds a context against the positions of a model.
///
/// # Errors
/// It is longer.
pub fn check_context(config: &ModelConfig, tokens: u64) -> Result<(), ContextTooLong> {
    let positions = config.max_position_embeddings as u64;
    if tokens > positions { Err(ContextTooLong { tokens, positions }) } else { Ok(()) }
}

/// Longest sequence that a run opens or looks into: what the model must be loaded for.
#[must_use]
pub fn context(config: &ModelConfig, prompt: usize, max_new_tokens: usize, probes: ProbeSet) -> usize {
    // The last id of each is never computed on.
    let of_probes = probes.kinds().iter().filter_map(|kind| Some(span(config, *kind).ok()?.end - 1));
    of_probes.fold((prompt + max_new_tokens).saturating_sub(1), usize::max)
}

/// Runs it. `on_token` sees every id of the prompt's continuation as soon as it is readable; breaking cancels.
/// `measure` completes the engine's own counters with what only the process can tell; it is called once, when all
/// that is generated has been, with a sequence of the longest run open and before diagnostics take room of their own.
/// `on_logits` sees `(position, &[f32; vocab_size])` of one pass over [`Report::computed_on`], in order.
/// `text` of the report is left empty: ids are all that is known here.
///
/// # Errors
/// Those of the engine, but for NaN logits, which are a failed report.
pub async fn run<E: Engine + Diagnostics>(
    engine: &mut E,
    config: &ModelConfig,
    run: &Run<'_>,
    on_token: &mut dyn FnMut(u32) -> ControlFlow<()>,
    measure: &mut dyn FnMut(Memory) -> Memory,
    on_logits: &mut dyn FnMut(usize, &[f32]),
) -> Result<Report, EngineError> {
    let request = Request {
        prompt: run.prompt,
        max_new_tokens: run.max_new_tokens,
        stop_ids: run.stop_ids,
        sampling: Sampling::GREEDY,
    };
    let mut told = Vec::new();
    let mut tell = |id| {
        told.push(id);
        on_token(id)
    };
    let (generation, broke_off) = match generate(engine, SEQUENCE, &request, &mut tell).await {
        Err(EngineError::NanLogits) => {
            let (stop_reason, timings) = (StopReason::Length, Timings::default());
            (Generation { ids: told, stop_reason, timings }, true)
        }
        generation => (generation?, false),
    };
    if generation.stop_reason == StopReason::Cancelled {
        return Err(EngineError::Cancelled);
    }
    let mut crossings = Vec::new();
    for kind in run.probes.kinds() {
        crossings.push(cross(engine, config, *kind, run.filler).await?);
    }
    let longest = context(config, run.prompt.len(), run.max_new_tokens, run.probes);
    engine.open(SEQUENCE, longest, &Sampling::GREEDY).await?;
    let measured = measure(engine.memory());
    engine.release(SEQUENCE);

    let stop_reason = match generation.stop_reason {
        StopReason::Stop => "stop",
        _ if broke_off => Report::BROKE_OFF,
        _ => "length",
    };
    let seen = computed_on(run.prompt, &generation.ids, stop_reason);
    let last = run.prompt.len() - 1;
    let mut top_logits = Vec::new();
    let mut after_prompt = |position, row: &[f32]| {
        if position == last {
            top_logits = likeliest(row);
        }
    };
    let mut whole = |position, row: &[f32]| {
        after_prompt(position, row);
        on_logits(position, row);
    };
    let layers = engine.non_finite(&seen, &mut whole).await?;
    let rope = Rope::new(config);
    if rope.is_long(run.prompt.len()) != rope.is_long(seen.len()) {
        // The first id was chosen with the other rotary factors.
        engine.logits(run.prompt, &mut after_prompt).await?;
    }
    let (nan_count, inf_count) = layers.iter().fold((0, 0), |sum, layer| (sum.0 + layer.0, sum.1 + layer.1));
    let mut probes = Vec::new();
    for crossing in crossings {
        probes.push(match crossing {
            Crossing::Ids { kind, prompt, ids } => check(engine, config, kind, &prompt, &ids).await?,
            Crossing::Ended(probe) => probe,
        });
    }

    let first_bad = layers.iter().position(|layer| *layer != (0, 0));
    let failed_probe = probes.iter().find(|probe| probe.verdict == Verdict::Fail);
    let (verdict, reason) = if let Some(layer) = first_bad {
        let place =
            if layer + 1 == layers.len() { "the logits".to_owned() } else { format!("layer {layer}") };
        (Verdict::Fail, {
            let (nan, inf) = (format_count(nan_count), format_count(inf_count));
            format!("{nan} NaN and {inf} infinite values, the first in {place}")
        })
    } else if let [first, .., last] = top_logits.as_slice()
        && first.logit == last.logit
    {
        let reason =
            format!("the likeliest tokens all have the logit {}: these are no trained weights", first.logit);
        (Verdict::Fail, reason)
    } else if broke_off {
        let after = format_counted(seen.len() as u64, "token");
        (Verdict::Fail, format!("NaN logits after {after}, though one pass over them gives none"))
    } else if generation.ids.is_empty() {
        (Verdict::Fail, "no token was generated".to_owned())
    } else if let Some(probe) = failed_probe {
        (Verdict::Fail, probe.detail.clone())
    } else {
        (
            Verdict::Pass,
            format!("{} generated, every value finite", format_counted(generation.ids.len() as u64, "token")),
        )
    };
    let info = engine.info();
    let Timings { ttft_ms, prefill_tokens_per_s, decode_tokens_per_s } = generation.timings;
    Ok(Report {
        device: info.device,
        dtype: info.dtype,
        prompt_tokens: run.prompt.to_vec(),
        generated_tokens: generation.ids,
        text: String::new(),
        stop_reason: stop_reason.to_owned(),
        load_ms: run.load_ms,
        ttft_ms,
        prefill_tokens_per_s,
        decode_tokens_per_s,
        nan_count,
        inf_count,
        layers: layers.iter().map(|(nan, inf)| LayerCheck { nan: *nan, inf: *inf }).collect(),
        top_logits,
        memory: PredictedMeasured { predicted: run.predicted, measured },
        difference: None,
        facts: engine.facts(),
        probes,
        verdict,
        reason,
    })
}

/// The likeliest tokens by a row of logits.
fn likeliest(row: &[f32]) -> Vec<TopLogit> {
    // What is no number has no rank; the counts tell of it.
    let finite = |(_, logit): &(u32, f32)| logit.is_finite();
    let mut ranked: Vec<(u32, f32)> = (0..).zip(row.iter().copied()).filter(finite).collect();
    ranked.sort_unstable_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    ranked.truncate(TOP_LOGITS);
    ranked.into_iter().map(|(token, logit)| TopLogit { token, logit, text: String::new() }).collect()
}

/// Tokens before the boundary and in all, or why the probe does not apply.
fn span(config: &ModelConfig, kind: ProbeKind) -> Result<Range<usize>, String> {
    let boundary = match kind {
        ProbeKind::Window => config.sliding_window.ok_or("the model has no sliding window")?,
        ProbeKind::Long if !matches!(config.rope_scaling, RopeScaling::LongRope { .. }) => {
            return Err("the model has no longrope: its positions are the same at every length".to_owned());
        }
        ProbeKind::Long => config.original_max_position_embeddings,
    };
    let start = boundary.saturating_sub(BEFORE).max(1);
    let end = start + BEFORE + ACROSS;
    if end > config.max_position_embeddings {
        return Err(format!(
            "the boundary of {} tokens needs {}, the model has {} positions",
            format_count(boundary as u64),
            format_count(end as u64),
            format_count(config.max_position_embeddings as u64)
        ));
    }
    Ok(start..end)
}

/// A probe's generation.
enum Crossing {
    /// What was generated after a prompt that ends before the boundary.
    Ids { kind: ProbeKind, prompt: Vec<u32>, ids: Vec<u32> },
    /// Nothing to be checked: it does not apply, or it failed already.
    Ended(Probe),
}

/// Generates across a boundary with the cache.
async fn cross<E: Engine>(
    engine: &mut E,
    config: &ModelConfig,
    kind: ProbeKind,
    filler: &[u32],
) -> Result<Crossing, EngineError> {
    let span = match span(config, kind) {
        Ok(span) => span,
        Err(detail) => {
            return Ok(Crossing::Ended(Probe {
                kind,
                tokens: 0,
                non_finite: 0,
                verdict: Verdict::Unverified,
                detail,
            }));
        }
    };
    let prompt: Vec<u32> = filler.iter().copied().cycle().take(span.start).collect();
    let request =
        Request { prompt: &prompt, max_new_tokens: span.len(), stop_ids: &[], sampling: Sampling::GREEDY };
    let tokens = request.capacity();
    match generate(engine, SEQUENCE, &request, &mut |_| ControlFlow::Continue(())).await {
        Err(EngineError::NanLogits) => {
            let detail = format!("NaN logits at {} tokens", format_count(tokens as u64));
            Ok(Crossing::Ended(Probe { kind, tokens, non_finite: 1, verdict: Verdict::Fail, detail }))
        }
        generation => {
            let ids = generation?.ids;
            Ok(Crossing::Ids { kind, prompt, ids })
        }
    }
}

/// Holds every id beyond the prompt against one pass without a cache.
async fn check<E: Engine + Diagnostics>(
    engine: &mut E,
    config: &ModelConfig,
    kind: ProbeKind,
    prompt: &[u32],
    ids: &[u32],
) -> Result<Probe, EngineError> {
    let seen = computed_on(prompt, ids, "length");
    let tokens = seen.len();
    let rope = Rope::new(config);
    let tolerance = tolerance(engine.info().dtype);
    let mut wrong = None;
    let mut non_finite = 0;
    engine
        .logits(&seen, &mut |position, row| {
            non_finite += row.iter().filter(|value| !value.is_finite()).count();
            let len = position + 1;
            // Before a switch of rotary factors the cache rightly held other keys than the whole pass does.
            if len < prompt.len() || rope.is_long(len) != rope.is_long(seen.len()) || wrong.is_some() {
                return;
            }
            let id = ids[len - prompt.len()];
            let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let scale = row.iter().fold(0.0_f32, |most, value| most.max(value.abs()));
            let behind = row.get(id as usize).map_or(f32::INFINITY, |value| largest - value);
            if behind > tolerance * scale {
                wrong = Some((len, id, behind / scale));
            }
        })
        .await?;
    let fail = |detail| Ok(Probe { kind, tokens, non_finite, verdict: Verdict::Fail, detail });
    if non_finite > 0 {
        return fail(format!(
            "{} logits over {} tokens are not finite",
            format_count(non_finite as u64),
            format_count(tokens as u64)
        ));
    }
    if let Some((len, id, behind)) = wrong {
        return fail(format!(
            "after {} tokens the cache gave id {id}, which one pass puts {:.2} % below its best",
            format_count(len as u64),
            behind * 100.0
        ));
    }
    let detail =
        format!("{} tokens: cache and one pass agree, every logit finite", format_count(tokens as u64));
    Ok(Probe { kind, tokens, non_finite, verdict: Verdict::Pass, detail })
}

impl Report {
    /// The `stop_reason` of a run whose logits after its last id are no numbers.
    pub const BROKE_OFF: &str = "nan";

    /// The prompt and what was generated but for the last id, unless the run broke off on that: nothing else was computed
    /// on it.
    #[must_use]
    pub fn computed_on(&self) -> Vec<u32> {
        computed_on(&self.prompt_tokens, &self.generated_tokens, &self.stop_reason)
    }
}

fn computed_on(prompt: &[u32], generated: &[u32], stop_reason: &str) -> Vec<u32> {
    let computed =
        if stop_reason == Report::BROKE_OFF { generated.len() } else { generated.len().saturating_sub(1) };
    [prompt, &generated[..computed]].concat()
}

/// How far below the best logit of one pass the id chosen with the cache may lie, relative to the largest logit.
/// The two differ in the order of sums alone: some units in the last place of f32 a layer; keys and values that
/// are rounded to 8 or 11 bits on the way differ by that.
fn tolerance(dtype: DType) -> f32 {
    if dtype == DType::F32 { 1e-3 } else { 5e-2 }
}

#[cfg(test)]
#[path = "run_tests.rs"]
mod tests;
