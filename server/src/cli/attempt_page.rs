//! One attempt, for people.

use anstyle::Style;
use phi3::api::{AttemptRecord, AttemptState, Timings};
use phi3::units::format_duration;
use serde_json::{Map, Value};

use super::page::{BAD, BOLD, Cell, DIM, GOOD, Page, WARN};
use super::{load, validate};

/// Most lines of the log.
const LOG_LINES: usize = 20;

/// How an attempt stands, in one word.
pub(super) fn standing(record: &AttemptRecord) -> (Style, &'static str) {
    let attempt = &record.attempt;
    let word = attempt.standing();
    match attempt.state {
        AttemptState::Stopped if word == "unverified" => (WARN, word),
        AttemptState::Stopped => (GOOD, word),
        AttemptState::Failed => (BAD, attempt.outcome.map_or(word, |outcome| outcome.name())),
        AttemptState::Lost => (BAD, word),
        AttemptState::Cancelled => (DIM, word),
        _ => (WARN, word),
    }
}

/// Everything of it that people read; `--json` has the rest.
pub(super) fn page(record: &AttemptRecord) -> Page {
    let (attempt, evidence) = (&record.attempt, &record.evidence);
    let mut page = Page::default();
    page.line(BOLD, &format!("attempt {}: {} {}", attempt.id, attempt.kind.name(), attempt.model));
    let (style, word) = standing(record);
    let why = attempt.error.as_ref().map(|error| error.message.as_str());
    let why = why.or(attempt.report.as_ref().map(|report| report.reason.as_str()));
    page.sentences(0, style, &why.map_or_else(|| word.to_owned(), |why| format!("{word}: {why}")));

    page.heading("Tried");
    let row = |name: &str, value: String| vec![Cell::left(name), Cell::left(value)];
    let mut rows = vec![row("files", evidence.source.to_string()), row("device", attempt.device.clone())];
    if let Some(parent) = attempt.parent {
        let changes: Vec<String> = attempt.changes.iter().map(ToString::to_string).collect();
        let changes = if changes.is_empty() { "nothing".to_owned() } else { changes.join(", ") };
        rows.push(row("changed", format!("{changes}, of attempt {parent}")));
    }
    rows.extend(attempt.load_config.iter().map(|(key, value)| row(key, value.to_string())));
    rows.extend(evidence.context.map(|context| row("context", context.to_string())));
    rows.extend(took(&evidence.timings).map(|took| row("took", took)));
    let machine = &evidence.environment;
    let gpus = machine.gpus.join(", ");
    rows.push(row("machine", if gpus.is_empty() { machine.cpu.clone() } else { gpus }));
    if !attempt.note.is_empty() {
        rows.push(row("note", attempt.note.clone()));
    }
    page.table(&rows);

    match (&attempt.report, &evidence.memory, &evidence.predicted) {
        (Some(report), ..) => validate::sections(&mut page, report),
        (None, Some(memory), _) => load::memory(&mut page, memory),
        (None, None, Some(predicted)) => foreseen(&mut page, predicted),
        (None, None, None) => {}
    }
    if !evidence.next.is_empty() || evidence.advice.is_some() {
        page.heading("To try next");
        for proposal in &evidence.next {
            let refused = proposal.refused.as_ref().map(|why| format!(" (refused here: {why})"));
            let refused = refused.unwrap_or_default();
            let line = format!("{} = {}: {}{refused}", proposal.key, proposal.value, proposal.reason);
            page.sentences(2, Style::new(), &line);
        }
        if let Some(advice) = &evidence.advice {
            page.sentences(2, Style::new(), advice);
        }
    }
    match attempt.log.len() {
        0 => {}
        1..=LOG_LINES => page.heading("Log"),
        lines => page.heading(&format!("Log, the last {LOG_LINES} of {lines}")),
    }
    for line in &attempt.log[attempt.log.len().saturating_sub(LOG_LINES)..] {
        page.line(DIM, &format!("  {line}"));
    }
    page
}

/// What was predicted of an attempt that measured nothing.
fn foreseen(page: &mut Page, predicted: &Map<String, Value>) {
    let names = [
        ("weights", "weights_bytes"),
        ("kv cache", "kv_cache_bytes"),
        ("activations", "activation_bytes"),
        ("overhead", "overhead_bytes"),
        ("total", "total_bytes"),
    ];
    let row = |(name, key): (&str, &str)| {
        let bytes = predicted.get(key).and_then(Value::as_u64)?;
        Some(vec![Cell::left(name), Cell::right(phi3::units::format_bytes(bytes))])
    };
    page.heading("Memory, predicted");
    page.table(&names.into_iter().filter_map(row).collect::<Vec<_>>());
}

/// The stages that took time, in their order.
fn took(timings: &Timings) -> Option<String> {
    let stages = [
        ("queued", timings.queued_ms),
        ("downloading", timings.downloading_ms),
        ("checking", timings.checking_ms),
        ("starting", timings.starting_ms),
        ("loading", timings.loading_ms),
        ("validating", timings.validating_ms),
        ("ready", timings.ready_ms),
        ("stopping", timings.stopping_ms),
    ];
    let words = stages.into_iter().filter_map(|(name, ms)| Some(format!("{name} {}", format_duration(ms?))));
    let words = words.collect::<Vec<_>>().join(", ");
    (!words.is_empty()).then_some(words)
}
