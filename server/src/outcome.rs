//! How an attempt ended, as a class, and what to try next.

use phi3::api::{AttemptKind, AttemptRecord, ErrorObject};
use phi3::load_config::{Facts, LoadConfig, OutcomeClass, advice, next_changes};
use phi3::placement::DeviceId;
use phi3::validate::Report;

/// The class of an error of an attempt that waited in the queue of a device.
pub(crate) fn of_error(error: &ErrorObject, record: &AttemptRecord, lane: &str) -> Option<OutcomeClass> {
    let on_host = device(record, lane).is_none_or(|device| device == DeviceId::Cpu);
    OutcomeClass::of_error(&error.code, error.path.as_deref(), on_host)
}

/// The class of a report that failed.
pub(crate) fn of_report(report: &Report) -> OutcomeClass {
    let in_probes = report.probes.iter().map(|probe| probe.non_finite as u64).sum::<u64>();
    let is_nan =
        report.nan_count + report.inf_count + in_probes > 0 || report.stop_reason == Report::BROKE_OFF;
    if is_nan { OutcomeClass::NanInf } else { OutcomeClass::WrongTokens }
}

/// Says what to try next, where an attempt failed; `free_bytes` are free on its device now, `model` is what is known of
/// its model.
pub(crate) fn advise(record: &mut AttemptRecord, lane: &str, free_bytes: Option<u64>, model: &Facts) {
    if record.attempt.kind == AttemptKind::Stage {
        // No load config brings files.
        return;
    }
    let Some(outcome) = record.attempt.outcome else { return };
    let current = LoadConfig::from_map(&record.attempt.load_config).unwrap_or_default();
    let run = record.evidence.run.as_ref();
    // A run that needs more than there is says by its class alone how much that is.
    let is_too_long = outcome == OutcomeClass::ContextTooLong && run.is_some();
    let beyond = model.max_position_embeddings.filter(|_| is_too_long).map(|positions| positions + 1);
    let facts = Facts {
        device: device(record, lane),
        free_bytes,
        dtype: record.evidence.engine.as_ref().map(|engine| engine.dtype).or(current.dtype),
        context: record.evidence.context.map(|tokens| tokens as u64).or(beyond),
        prompt_tokens: record.attempt.report.as_ref().map(|report| report.prompt_tokens.len() as u64),
        ..model.clone()
    };
    record.evidence.next = next_changes(outcome, &current, &facts);
    record.evidence.advice = advice(outcome).map(str::to_owned);
    if is_too_long {
        // A validation takes the context that it needs.
        record.evidence.next.retain(|proposal| proposal.key != "context");
        record.evidence.advice = Some("give a shorter prompt, or ask for fewer new tokens".to_owned());
    }
    // A run that was never begun has no prompt to shorten.
    if run.is_none() {
        record.evidence.next.retain(|proposal| proposal.key != "prompt_tokens");
    }
}

/// Where it computed: what the engine says, else what was asked for, else what `auto` came to.
fn device(record: &AttemptRecord, lane: &str) -> Option<DeviceId> {
    let engine = record.evidence.engine.as_ref().map(|engine| engine.device.as_str());
    let names = engine.into_iter().chain([record.attempt.device.as_str(), lane]);
    names.filter_map(|name| name.parse().ok()).next()
}
