//! Attempts for other tools: JSON Lines (everything), CSV and Markdown (one line an attempt).

use phi3::api::{AttemptRecord, ErrorObject};
use phi3::units::format_bytes;
use serde::Deserialize;

/// How to write attempts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Format {
    /// One JSON object a line: all that is kept.
    Jsonl,
    /// A table for spreadsheets.
    Csv,
    /// A table for documents.
    Markdown,
}

impl Format {
    /// How a file's name ends.
    #[must_use]
    pub fn extension(self) -> &'static str {
        match self {
            Self::Jsonl => "jsonl",
            Self::Csv => "csv",
            Self::Markdown => "md",
        }
    }

    /// The media type.
    #[must_use]
    pub fn media_type(self) -> &'static str {
        match self {
            Self::Jsonl => "application/x-ndjson",
            Self::Csv => "text/csv; charset=utf-8",
            Self::Markdown => "text/markdown; charset=utf-8",
        }
    }
}

const COLUMNS: [&str; 19] = [
    "id",
    "model",
    "kind",
    "state",
    "outcome",
    "parent",
    "changes",
    "device",
    "dtype",
    "load_config",
    "predicted_bytes",
    "measured_bytes",
    "load_ms",
    "ttft_ms",
    "decode_tokens_per_s",
    "verdict",
    "error",
    "note",
    "created_ms",
];

/// Writes attempts, without what looks like a secret in their notes, prompts, texts and logs: a file goes elsewhere.
///
/// # Errors
/// None of them can be written as JSON.
pub fn export(records: &[AttemptRecord], format: Format) -> Result<String, ErrorObject> {
    let internal = |error: &dyn std::fmt::Display| ErrorObject::new("internal", error.to_string());
    let records = records.iter().map(redacted).collect::<Result<Vec<_>, _>>();
    let records = records.map_err(|error| internal(&error))?;
    match format {
        Format::Jsonl => {
            let mut text = String::new();
            for record in &records {
                text.push_str(&serde_json::to_string(record).map_err(|error| internal(&error))?);
                text.push('\n');
            }
            Ok(text)
        }
        Format::Csv => {
            let mut writer = csv::Writer::from_writer(Vec::new());
            writer.write_record(COLUMNS).map_err(|error| internal(&error))?;
            for record in &records {
                let row = cells(record).map(|cell| harmless(&cell));
                writer.write_record(row).map_err(|error| internal(&error))?;
            }
            let bytes = writer.into_inner().map_err(|error| internal(&error))?;
            String::from_utf8(bytes).map_err(|error| internal(&error))
        }
        Format::Markdown => Ok(markdown(&records)),
    }
}

fn redacted(record: &AttemptRecord) -> Result<AttemptRecord, serde_json::Error> {
    let mut json = serde_json::to_value(record)?;
    phi3::link::redact(&mut json);
    serde_json::from_value(json)
}

fn cells(record: &AttemptRecord) -> [String; COLUMNS.len()] {
    let (attempt, evidence) = (&record.attempt, &record.evidence);
    let report = attempt.report.as_ref();
    let memory = report.map(|report| report.memory).or(evidence.memory);
    let predicted = evidence.predicted.as_ref().and_then(|map| map.get("total_bytes")?.as_u64());
    let or_nothing = |value: Option<String>| value.unwrap_or_default();
    let ms = |value: Option<f64>| or_nothing(value.map(|ms| format!("{ms:.1}")));
    let changes: Vec<String> = attempt.changes.iter().map(ToString::to_string).collect();
    let engine = evidence.engine.as_ref();
    let dtype = report.map(|report| report.dtype).or(engine.map(|engine| engine.dtype));
    let device = report.map(|report| report.device.clone()).or(engine.map(|engine| engine.device.clone()));
    let verdict = report.and_then(|report| serde_json::to_value(report.verdict).ok());
    [
        attempt.id.to_string(),
        attempt.model.clone(),
        attempt.kind.name().to_owned(),
        attempt.state.name().to_owned(),
        or_nothing(attempt.outcome.map(|outcome| outcome.name().to_owned())),
        or_nothing(attempt.parent.map(|id| id.to_string())),
        changes.join("; "),
        device.unwrap_or_else(|| attempt.device.clone()),
        or_nothing(dtype.map(|dtype| dtype.to_string())),
        serde_json::Value::Object(attempt.load_config.clone()).to_string(),
        or_nothing(predicted.or(memory.map(|m| m.predicted.total_bytes)).map(|bytes| bytes.to_string())),
        or_nothing(memory.map(|memory| memory.measured.total_bytes.to_string())),
        ms(report.map(|report| report.load_ms).or(evidence.timings.loading_ms)),
        ms(report.and_then(|report| report.ttft_ms)),
        ms(report.and_then(|report| report.decode_tokens_per_s)),
        or_nothing(verdict.and_then(|verdict| verdict.as_str().map(str::to_owned))),
        or_nothing(attempt.error.as_ref().map(|error| error.to_string())),
        attempt.note.clone(),
        attempt.created_ms.to_string(),
    ]
}

/// A cell that no spreadsheet takes for a formula.
///
/// Source: OWASP, "CSV Injection": cells that begin with these characters get a quote in front.
fn harmless(cell: &str) -> String {
    // A terminal obeys controls; a line break may stay within its quotes.
    let text = cell.replace(|c: char| c != '\n' && (c.is_control() || is_bidi(c)), " ");
    let begin = ['=', '+', '-', '@', '\u{ff1d}', '\u{ff0b}', '\u{ff0d}', '\u{ff20}'];
    let is_formula = text.trim_start().starts_with(begin);
    if is_formula { format!("'{text}") } else { text }
}

/// Characters that turn the order of what stands beside them, or break a line where no line break is seen.
fn is_bidi(c: char) -> bool {
    matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

const MARKDOWN_COLUMNS: [&str; 9] =
    ["attempt", "model", "ended", "changed", "load config", "measured", "tokens/s", "error", "note"];

fn markdown(records: &[AttemptRecord]) -> String {
    let mut text =
        format!("| {} |\n|{}\n", MARKDOWN_COLUMNS.join(" | "), " --- |".repeat(MARKDOWN_COLUMNS.len()));
    for record in records {
        let [
            id,
            model,
            kind,
            state,
            outcome,
            _,
            changes,
            _,
            _,
            load_config,
            _,
            measured,
            _,
            _,
            speed,
            _,
            error,
            note,
            _,
        ] = cells(record);
        let ended = if outcome.is_empty() { state } else { format!("{state}: {outcome}") };
        let measured = measured.parse().map_or(measured, format_bytes);
        let row = [format!("{id} {kind}"), model, ended, changes, load_config, measured, speed, error, note];
        text.push_str(&format!("| {} |\n", row.map(|cell| plain(&cell)).join(" | ")));
    }
    text
}

/// Text in a cell of a table: on one line, with nothing that ends the cell or begins HTML, a link or code.
fn plain(cell: &str) -> String {
    let mut text = String::with_capacity(cell.len());
    for c in cell.chars() {
        match c {
            '|' | '\\' | '`' | '*' | '_' | '[' | ']' | '#' | '!' | '~' => text.extend(['\\', c]),
            '<' => text.push_str("&lt;"),
            '>' => text.push_str("&gt;"),
            '&' => text.push_str("&amp;"),
            c if c.is_control() || is_bidi(c) => text.push(' '),
            c => text.push(c),
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_cell_is_a_formula_or_markup() {
        for cell in ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "\u{200e}=1", "＝1"] {
            assert!(harmless(cell).starts_with('\''), "{cell:?}");
        }
        assert_eq!(harmless("a\u{061c}b\u{2028}c"), "a b c");
        assert_eq!(harmless("dtype: float16"), "dtype: float16");
        assert_eq!(plain("a|b\n<script>[x](y)"), "a\\|b &lt;script&gt;\\[x\\](y)");
    }
}
