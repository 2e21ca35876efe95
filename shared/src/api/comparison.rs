//! What differs between attempts, and how people are shown it: in the order in which they ask, each fact once.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::units::{format_bytes, format_duration, format_rate};

/// Attempts side by side: only what differs.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Comparison {
    /// The attempts, in the order asked for.
    pub ids: Vec<u64>,
    /// One row for each value that differs.
    pub differences: Vec<Difference>,
}

/// A value that differs between attempts.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Difference {
    /// JSON path in the record.
    pub path: String,
    /// The value in each attempt, in their order; null where it is not there.
    #[cfg_attr(feature = "openapi", schema(value_type = Vec<Object>))]
    pub values: Vec<Value>,
}

/// What a value of an attempt's record is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// What was asked for.
    Wanted,
    /// What came of it.
    Outcome,
    /// Bytes.
    Memory,
    /// How long it took.
    Time,
    /// Files and machine.
    Around,
}

impl Topic {
    /// In the order in which they are shown.
    pub const ALL: [Self; 5] = [Self::Wanted, Self::Outcome, Self::Memory, Self::Time, Self::Around];

    /// Its heading.
    #[must_use]
    pub fn heading(self) -> &'static str {
        match self {
            Self::Wanted => "What was asked for",
            Self::Outcome => "What came of it",
            Self::Memory => "Memory",
            Self::Time => "Time",
            Self::Around => "Files and machine",
        }
    }

    /// Of a JSON path in the record.
    fn of(path: &str) -> Self {
        match path.split(['.', '[']).next().unwrap_or_default() {
            "load_config" | "resolved" | "changes" | "parent" | "branch" | "device" | "model" | "run"
            | "seed" | "source" | "context" | "asked_context" | "note" => Self::Wanted,
            "memory" | "predicted" | "unload" => Self::Memory,
            "timings" => Self::Time,
            "report" if path.starts_with("report.memory") => Self::Memory,
            "report" if path.ends_with("_ms") || path.ends_with("_per_s") => Self::Time,
            "state" | "outcome" | "error" | "report" | "text" | "engine" | "next" | "advice" => Self::Outcome,
            _ => Self::Around,
        }
    }
}

impl Comparison {
    /// The differences by topic, each fact once; topics without any are left out.
    #[must_use]
    pub fn by_topic(&self) -> Vec<(Topic, Vec<Difference>)> {
        let all = &self.differences;
        let of = |topic| {
            let mut rows: Vec<Difference> = Vec::new();
            for difference in all.iter().filter(|difference| Topic::of(&difference.path) == topic) {
                // The record says what was predicted and what was measured at every place that needs it.
                let is_measured = |row: &Difference| row.path.contains("measured");
                let is_same = |row: &Difference| {
                    row.values == difference.values && is_measured(row) == is_measured(difference)
                };
                let told = topic == Topic::Memory && rows.iter().any(is_same);
                if !told && !follows(difference, all) && !is_aside(&difference.path) {
                    rows.push(difference.clone());
                }
            }
            (topic, rows)
        };
        Topic::ALL.map(of).into_iter().filter(|(_, rows)| !rows.is_empty()).collect()
    }
}

/// Whether it differs between any two runs, or says in words what the row beside it says in bytes.
fn is_aside(path: &str) -> bool {
    path.starts_with("unload.host_available") || path.ends_with(".formula")
}

/// Whether it says again, with less, what a resolved knob says.
fn follows(difference: &Difference, all: &[Difference]) -> bool {
    let Some(rest) = ["load_config", "changes"].iter().find_map(|head| difference.path.strip_prefix(head))
    else {
        return false;
    };
    let nothing = |value: &Value| value.is_null() || value.as_array().is_some_and(Vec::is_empty);
    let knob = rest.trim_start_matches(['.', '[']).split(']').next().unwrap_or_default();
    let is_of_knob = |other: &Difference| {
        other.path.strip_prefix("resolved[").and_then(|path| path.split(']').next()) == Some(knob)
    };
    difference.values.iter().all(nothing) || all.iter().any(is_of_knob)
}

impl Difference {
    /// One of its values as people read it, by the unit that its path ends in.
    #[must_use]
    pub fn shown(&self, value: &Value) -> String {
        let path = self.path.as_str();
        let bytes = path.ends_with("_bytes") || path.ends_with(".bytes");
        match value {
            Value::Null => "–".to_owned(),
            Value::String(text) => text.clone(),
            Value::Number(number) => match (number.as_u64(), number.as_f64()) {
                (Some(count), _) if bytes => format_bytes(count),
                (_, Some(ms)) if path.ends_with("_ms") => format_duration(ms),
                (_, Some(per_s)) if path.ends_with("_per_s") => format_rate(per_s),
                (None, Some(value)) if number.is_f64() => format!("{value:.4}"),
                _ => number.to_string(),
            },
            Value::Array(tops) if path.ends_with("top_logits") => {
                let told = |top: &Value| {
                    let logit = top["logit"].as_f64().unwrap_or_default();
                    match top["text"].as_str().filter(|text| !text.is_empty()) {
                        Some(text) => format!("{text:?} {logit:.2}"),
                        None => format!("{} {logit:.2}", top["token"]),
                    }
                };
                tops.iter().map(told).collect::<Vec<_>>().join(", ")
            }
            other => other.to_string(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn comparison(rows: &[(&str, Value)]) -> Comparison {
        let row = |(path, values): &(&str, Value)| Difference {
            path: (*path).to_owned(),
            values: values.as_array().expect("values").clone(),
        };
        Comparison { ids: vec![3, 2], differences: rows.iter().map(row).collect() }
    }

    #[test]
    fn each_fact_stands_once_under_its_topic() {
        let found = comparison(&[
            ("changes[dtype].to", json!(["f16", null])),
            ("load_config.dtype", json!(["f16", null])),
            ("report.memory.measured.total_bytes", json!([7, 8])),
            ("report.ttft_ms", json!([1.5, 2.5])),
            ("resolved[dtype].value", json!(["f16", "auto"])),
            ("memory.measured.total_bytes", json!([7, 8])),
            ("memory.measured.overhead_bytes", json!([1, 2])),
            ("memory.predicted.weights_bytes", json!([3, 4])),
            ("predicted.terms[weights].bytes", json!([3, 4])),
            ("memory.measured.weights_bytes", json!([3, 4])),
            ("changes", json!([null, []])),
            ("load_config.max_memory.cpu", json!([1, null])),
            ("outcome", json!(["passed", "oom_load"])),
            ("text", json!(["a", "b"])),
            ("environment.kernel", json!(["a", "b"])),
            ("predicted.terms[weights].formula", json!(["2 x 3", "2 x 4"])),
            ("unload.host_available_after_bytes", json!([1, 2])),
        ])
        .by_topic();
        let paths: Vec<(Topic, Vec<&str>)> = found
            .iter()
            .map(|(topic, rows)| (*topic, rows.iter().map(|row| row.path.as_str()).collect()))
            .collect();
        let expected = [
            (Topic::Wanted, vec!["resolved[dtype].value", "load_config.max_memory.cpu"]),
            (Topic::Outcome, vec!["outcome", "text"]),
            (
                Topic::Memory,
                vec![
                    "report.memory.measured.total_bytes",
                    "memory.measured.overhead_bytes",
                    "memory.predicted.weights_bytes",
                    "memory.measured.weights_bytes",
                ],
            ),
            (Topic::Time, vec!["report.ttft_ms"]),
            (Topic::Around, vec!["environment.kernel"]),
        ];
        assert_eq!(paths, expected);
    }

    #[test]
    fn values_have_the_unit_of_their_path() {
        for (path, value, words) in [
            ("memory.measured.total_bytes", json!(1_118_208_000_u64), "1.04 GiB"),
            ("predicted.terms[overhead].bytes", json!(50_851_840), "48.50 MiB"),
            ("report.load_ms", json!(1_187.25), "1.2 s"),
            ("timings.queued_ms", json!(0.6828), "0.7 ms"),
            ("report.decode_tokens_per_s", json!(12.4822), "12.48 tok/s"),
            ("report.compared.max", json!(0.330_11), "0.3301"),
            ("context", json!(4096), "4096"),
            ("branch", json!(true), "true"),
            ("note", json!("seen"), "seen"),
            (
                "report.top_logits",
                json!([{ "token": 7, "logit": 9.25, "text": " a" }, { "token": 8, "logit": -1.0 }]),
                "\" a\" 9.25, 8 -1.00",
            ),
            ("seed", Value::Null, "–"),
        ] {
            let difference = Difference { path: path.to_owned(), values: Vec::new() };
            assert_eq!(difference.shown(&value), words, "{path}");
        }
    }
}
