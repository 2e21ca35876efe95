//! Minijinja made to behave as Hugging Face's Jinja2 environment (`utils/chat_template_utils.py`, 5.23.0).

use std::io;

use minijinja::syntax::SyntaxConfig;
use minijinja::value::{Kwargs, Value, ValueKind};
use minijinja::{Environment, Error, ErrorKind, State};
use serde::Serialize;
use serde_json::ser::{Formatter, Serializer};

use super::template::Limited;
use super::time::strftime;

/// Lists within lists that are written as JSON.
const MAX_DEPTH: usize = 64;

/// Bytes that one unit of fuel pays for.
const BYTES_PER_FUEL: usize = 64;

/// Functions, filters and settings that templates rely on. Nothing here reads a file or a clock.
pub(super) fn set_up(environment: &mut Environment<'_>, unix_seconds: i64) {
    let syntax = SyntaxConfig::builder().trim_blocks(true).lstrip_blocks(true).build();
    environment.set_syntax(syntax.expect("the default delimiters are valid"));
    environment.set_unknown_method_callback(method);
    environment.set_formatter(|output, state, value| match value.kind() {
        ValueKind::None => output.write_str("None").map_err(Error::from),
        ValueKind::Bool => {
            output.write_str(if value.is_true() { "True" } else { "False" }).map_err(Error::from)
        }
        _ => minijinja::escape_formatter(output, state, value),
    });
    environment.add_filter("tojson", tojson);
    // Python's words: nothing can be iterated over in None, and texts and maps have a length and places.
    environment.add_test("iterable", |value: &Value| {
        value.kind() != ValueKind::None && (value.as_str().is_some() || value.try_iter().is_ok())
    });
    environment.add_test("sequence", |value: &Value| {
        [ValueKind::Seq, ValueKind::Map, ValueKind::String].contains(&value.kind())
    });
    environment.add_function("raise_exception", |message: String| -> Result<Value, Error> {
        Err(Error::new(ErrorKind::InvalidOperation, message))
    });
    environment.add_function("strftime_now", move |format: String| strftime(unix_seconds, &format));
}

/// Python's methods of strings, lists and maps. Those that can make much of little are paid for before they run, as
/// minijinja does for its own filters; it charges a method's result afterwards.
fn method(state: &mut State<'_, '_>, value: &Value, name: &str, args: &[Value]) -> Result<Value, Error> {
    if let Some(text) = value.as_str() {
        let bytes = match (name, args) {
            ("replace", [old, new, ..]) => {
                let (old, new) = (old.as_str().unwrap_or_default(), new.as_str().unwrap_or_default());
                text.matches(old).count().saturating_mul(new.len()).saturating_add(text.len())
            }
            ("join", [list]) => list.len().unwrap_or(0).saturating_mul(text.len()),
            // Of a piece, its value and its share of a list.
            ("split" | "splitlines", _) => text.len().saturating_mul(32),
            ("format", _) => largest_number(text).saturating_add(text.len()),
            _ => text.len().saturating_mul(2),
        };
        state.consume_fuel((bytes / BYTES_PER_FUEL) as u64)?;
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args)
}

/// The sum of the numbers in a format string: no width or precision is larger.
fn largest_number(format: &str) -> usize {
    format
        .split(|c: char| !c.is_ascii_digit())
        .filter(|digits| !digits.is_empty())
        .map(|digits| digits.parse().unwrap_or(usize::MAX))
        .fold(0, usize::saturating_add)
}

/// `{% generation %}` marks what training looks at; the text is the same without.
pub(super) fn without_generation_tags(source: &str) -> String {
    let mut out = String::with_capacity(source.len());
    let mut rest = source;
    while let Some(start) = rest.find("{%") {
        // Behind the opening: `{%}` is no tag with two percent signs.
        let Some(end) = rest[start + 2..].find("%}").map(|end| start + 2 + end) else { break };
        let tag = &rest[start + 2..end];
        let replaced = match tag.trim_matches(|c: char| c == '-' || c == '+' || c.is_whitespace()) {
            "generation" => tag.replace("generation", "if true"),
            "endgeneration" => tag.replace("endgeneration", "endif"),
            _ => tag.to_owned(),
        };
        out.push_str(&rest[..start + 2]);
        out.push_str(&replaced);
        rest = &rest[end..];
    }
    out + rest
}

/// `json.dumps(value, ensure_ascii=False)`: a space after commas and colons, nothing escaped for HTML.
fn tojson(value: &Value, options: Kwargs) -> Result<Value, Error> {
    let indent: Option<usize> = options.get("indent")?;
    // Accepted and without effect: this is what Hugging Face's filter does by default.
    let _: Option<bool> = options.get("ensure_ascii")?;
    options.assert_all_used()?;
    let mut bytes = Limited::default();
    let formatter = PythonFormatter { indent: indent.map(|spaces| spaces.min(16)), depth: 0, is_empty: true };
    let written = value.serialize(&mut Serializer::with_formatter(&mut bytes, formatter));
    let failed = |error: String| Error::new(ErrorKind::BadSerialization, error);
    written.map_err(|error| failed(error.to_string()))?;
    let text = String::from_utf8(bytes.0).map_err(|error| failed(error.to_string()))?;
    Ok(Value::from_safe_string(text))
}

/// Writes as Python's `json.dumps`, on lines of their own where `indent` is given.
struct PythonFormatter {
    indent: Option<usize>,
    depth: usize,
    /// Whether the list or map that is open has no entry yet.
    is_empty: bool,
}

impl PythonFormatter {
    fn open<W: ?Sized + io::Write>(&mut self, out: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth += 1;
        self.is_empty = true;
        if self.depth > MAX_DEPTH {
            return Err(io::Error::other(format!("lists and maps nest deeper than {MAX_DEPTH}")));
        }
        out.write_all(bracket)
    }

    fn close<W: ?Sized + io::Write>(&mut self, out: &mut W, bracket: &[u8]) -> io::Result<()> {
        self.depth -= 1;
        if !self.is_empty {
            self.new_line(out)?;
        }
        self.is_empty = false;
        out.write_all(bracket)
    }

    fn entry<W: ?Sized + io::Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        match (first, self.indent) {
            (true, _) => {}
            (false, Some(_)) => out.write_all(b",")?,
            (false, None) => out.write_all(b", ")?,
        }
        self.is_empty = false;
        self.new_line(out)
    }

    fn new_line<W: ?Sized + io::Write>(&self, out: &mut W) -> io::Result<()> {
        let Some(spaces) = self.indent else { return Ok(()) };
        write!(out, "\n{:1$}", "", spaces * self.depth)
    }
}

impl Formatter for PythonFormatter {
    fn begin_array<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.open(out, b"[")
    }

    fn end_array<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.close(out, b"]")
    }

    fn begin_array_value<W: ?Sized + io::Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.entry(out, first)
    }

    fn begin_object<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.open(out, b"{")
    }

    fn end_object<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        self.close(out, b"}")
    }

    fn begin_object_key<W: ?Sized + io::Write>(&mut self, out: &mut W, first: bool) -> io::Result<()> {
        self.entry(out, first)
    }

    fn begin_object_value<W: ?Sized + io::Write>(&mut self, out: &mut W) -> io::Result<()> {
        out.write_all(b": ")
    }
}

#[cfg(test)]
mod tests {
    use super::super::{ChatMessage, Rendering};

    /// What Jinja2 3.1.6 says of the same values.
    #[test]
    fn values_are_iterable_and_sequences_as_in_python() {
        for (value, iterable, sequence) in [
            ("none", "False", "False"),
            ("1", "False", "False"),
            ("'text'", "True", "True"),
            ("[1]", "True", "True"),
            ("{'a': 1}", "True", "True"),
            ("messages", "True", "True"),
        ] {
            let template = format!("{{{{ {value} is iterable }}}} {{{{ {value} is sequence }}}}");
            let rendering = Rendering {
                template,
                messages: vec![ChatMessage::user("x")],
                add_generation_prompt: false,
                special: serde_json::Map::new(),
                unix_seconds: 0,
            };
            assert_eq!(rendering.run().expect(value), format!("{iterable} {sequence}"), "{value}");
        }
    }
}
