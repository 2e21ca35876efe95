//! `rope_scaling`, or `rope_parameters` since transformers 5, in one spelling.

use serde_json::{Map, Value};

use super::LoadConfigError;
use crate::config::limits;

/// Kinds that Hugging Face computes; which of them a model's architecture allows is judged with its config.
const KINDS: [&str; 6] = ["default", "linear", "dynamic", "yarn", "longrope", "llama3"];

/// Parameters that are a number, with the least and the most that a config may have.
const NUMBERS: [(&str, f64, f64); 13] = [
    ("factor", 1e-6, 1e6),
    ("attention_factor", 1e-6, 1e6),
    ("original_max_position_embeddings", 1.0, limits::POSITIONS as f64),
    ("rope_theta", 1.0, 1e12),
    ("partial_rotary_factor", 1e-3, 1.0),
    ("beta_fast", f64::MIN, f64::MAX),
    ("beta_slow", f64::MIN, f64::MAX),
    ("low_freq_factor", f64::MIN, f64::MAX),
    ("high_freq_factor", f64::MIN, f64::MAX),
    ("mscale", f64::MIN, f64::MAX),
    ("mscale_all_dim", f64::MIN, f64::MAX),
    ("short_mscale", f64::MIN, f64::MAX),
    ("long_mscale", f64::MIN, f64::MAX),
];

/// Parameters that are one number a frequency.
const LISTS: [&str; 2] = ["short_factor", "long_factor"];

/// Reads a scaling. `Some(None)` takes scaling away; `None` follows an error.
pub(super) fn parse(
    key: &str,
    value: &Value,
    errors: &mut Vec<LoadConfigError>,
) -> Option<Option<Map<String, Value>>> {
    let map = match value {
        Value::Null => return Some(None),
        Value::Object(map) => map,
        _ => {
            let expected = r#"null or an object: {"rope_type": "linear", "factor": 2.0}"#;
            errors.push(LoadConfigError::invalid(key, value, expected));
            return None;
        }
    };
    let before = errors.len();
    let mut kind: Option<&str> = None;
    let mut parameters = Map::new();
    for (name, value) in map {
        let path = format!("{key}.{name}");
        match name.as_str() {
            // `type` is the spelling before transformers 4.43, `su` that of the first Phi-3 files.
            "type" | "rope_type" => {
                let named = match value.as_str() {
                    Some("su") => Some("longrope"),
                    named => KINDS.into_iter().find(|kind| Some(*kind) == named),
                };
                match (named, kind) {
                    (None, _) => errors.push(LoadConfigError::invalid(&path, value, KINDS.join(", "))),
                    (Some(named), Some(other)) if named != other => {
                        let rule = format!("is {named}, but the other spelling says {other}");
                        errors.push(LoadConfigError::contradiction(&path, rule));
                    }
                    (named, _) => kind = named,
                }
            }
            name if LISTS.contains(&name) => {
                let positive = |number: &Value| number.as_f64().filter(|n| *n > 0.0).map(Value::from);
                let list =
                    value.as_array().and_then(|list| list.iter().map(positive).collect::<Option<Vec<_>>>());
                match list.filter(|list| !list.is_empty()) {
                    Some(list) => {
                        parameters.insert(name.to_owned(), Value::Array(list));
                    }
                    None => errors.push(LoadConfigError::invalid(&path, value, "a list of numbers above 0")),
                }
            }
            name => match NUMBERS.iter().find(|(known, ..)| *known == name) {
                Some(_) if value.is_null() => {}
                Some((_, least, most)) => match value.as_f64().filter(|n| (least..=most).contains(&n)) {
                    // One spelling for 2 and 2.0.
                    Some(number) => {
                        parameters.insert(name.to_owned(), number.into());
                    }
                    None if *least == f64::MIN => {
                        errors.push(LoadConfigError::invalid(&path, value, "a number"));
                    }
                    None => {
                        let expected = format!("a number from {least} to {most}");
                        errors.push(LoadConfigError::invalid(&path, value, expected));
                    }
                },
                None => {
                    let known = NUMBERS.map(|(known, ..)| known).into_iter().chain(LISTS);
                    let known = known.chain(["rope_type", "type"]);
                    errors.push(LoadConfigError::unknown_among(&path, name, known));
                }
            },
        }
    }
    let kind = kind.unwrap_or("default");
    let scaled =
        ["factor", "short_factor", "long_factor"].into_iter().find(|name| parameters.contains_key(*name));
    if let (Some(name), "default", true) = (scaled, kind, errors.len() == before) {
        let rule = format!("has {name}, which needs a rope_type: one of {}", KINDS[1..].join(", "));
        errors.push(LoadConfigError::contradiction(key, rule));
    }
    if errors.len() == before {
        incomplete(key, kind, &parameters, errors);
    }
    if errors.len() > before {
        return None;
    }
    if kind != "default" {
        parameters.shift_insert(0, "rope_type".to_owned(), kind.into());
    }
    Some((!parameters.is_empty()).then_some(parameters))
}

/// What a kind cannot do without, as Hugging Face's checks have it.
fn incomplete(key: &str, kind: &str, parameters: &Map<String, Value>, errors: &mut Vec<LoadConfigError>) {
    let list = |name: &str| parameters.get(name).and_then(Value::as_array).map(Vec::len);
    let factor = parameters.get("factor").and_then(Value::as_f64);
    let rule = match (kind, factor, list("short_factor"), list("long_factor")) {
        ("default", ..) => return,
        ("longrope", _, Some(short), Some(long)) if short == long => return,
        ("longrope", _, Some(short), Some(long)) => {
            format!("has {short} short and {long} long factors: one of each for every frequency")
        }
        ("longrope", ..) => "is longrope, which needs short_factor and long_factor".to_owned(),
        (_, Some(factor), ..) if factor >= 1.0 => return,
        (_, Some(factor), ..) => format!("has factor {factor}: positions are spread by at least 1"),
        (_, None, ..) => {
            format!("is {kind}, which needs a factor: {{\"rope_type\": \"{kind}\", \"factor\": 2.0}}")
        }
    };
    errors.push(LoadConfigError::contradiction(key, rule));
}
