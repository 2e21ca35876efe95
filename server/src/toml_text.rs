//! TOML that people write, into what this server takes. What is wrong with it is said with its line, in our words: those
//! of the library that reads it are meant for people who write programs with it.

use std::ops::Range;

use serde::de::DeserializeOwned;
use serde_json::{Map, Number, Value};
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::values::{self, Wrong};

/// Longest piece of a text that is repeated in a message.
const TOLD_CHARS: usize = 40;

/// What a text without any fault looks like.
const EXPECTED: &str = "expected `key = value`, `[table]` or `[[list]]`, where a value is \"text\", a number, true, false, \
                        [a list] or { a table }";

/// A text in TOML, and where each of its values stands.
#[derive(Debug)]
pub(crate) struct Document<'a> {
    text: &'a str,
    tree: Spanned<DeTable<'a>>,
    value: Value,
}

/// The text of a file.
///
/// # Errors
/// It is no text: a sentence.
pub(crate) fn utf8(bytes: Vec<u8>) -> Result<String, String> {
    String::from_utf8(bytes).map_err(|error| {
        let at = error.utf8_error().valid_up_to();
        format!("this is no text in UTF-8: look at byte {at}")
    })
}

impl<'a> Document<'a> {
    /// Reads a text.
    ///
    /// # Errors
    /// It is no TOML, or holds what nothing here takes: a sentence with its line.
    pub(crate) fn parse(text: &'a str) -> Result<Self, String> {
        let tree = DeTable::parse(text).map_err(|error| syntax(&error, text))?;
        let value = object(tree.get_ref(), text)?;
        Ok(Self { text, tree, value })
    }

    /// What the text says, as `T`.
    ///
    /// # Errors
    /// A key that is missing, not known, or not of its type: a sentence with its line and what is allowed there.
    pub(crate) fn read<T: DeserializeOwned>(&self) -> Result<T, String> {
        values::from_json(&self.value)
            .map_err(|Wrong { path, rest }| self.at(&path, &format!("`{path}`{rest}")))
    }

    /// A sentence about the value at `path`, with its line before it; the line of what holds it where it is not there.
    pub(crate) fn at(&self, path: &str, sentence: &str) -> String {
        match self.offset(path) {
            Some(offset) => format!("{}: {sentence}", place(self.text, offset)),
            None => sentence.to_owned(),
        }
    }

    /// Where the value at a path begins, or the innermost that holds it; `None` for the whole.
    fn offset(&self, path: &str) -> Option<usize> {
        let mut found = None;
        let mut value: Option<&DeValue<'_>> = None;
        let mut rest = path;
        loop {
            match value {
                None => {
                    let (at, next, after) = step(self.tree.get_ref(), rest)?;
                    (found, value, rest) = (Some(at), Some(next), after);
                }
                Some(DeValue::Table(table)) => match step(table, rest) {
                    Some((at, next, after)) => (found, value, rest) = (Some(at), Some(next), after),
                    None => return found,
                },
                Some(DeValue::Array(items)) => {
                    let index = rest.strip_prefix('[').and_then(|rest| rest.split_once(']'));
                    let item = index.and_then(|(index, _)| items.get(index.parse::<usize>().ok()?));
                    let (Some((_, after)), Some(item)) = (index, item) else { return found };
                    (found, value, rest) = (Some(item.span().start), Some(item.get_ref()), after);
                }
                Some(_) => return found,
            }
        }
    }
}

/// The entry of a table that a path begins with: where its key stands, its value, and the rest of the path.
fn step<'t, 'p>(table: &'t DeTable<'_>, path: &'p str) -> Option<(usize, &'t DeValue<'t>, &'p str)> {
    let path = path.strip_prefix('.').unwrap_or(path);
    // A key may hold a dot itself: the longest that fits is meant.
    let fits = table.iter().filter_map(|(key, value)| {
        let rest = path.strip_prefix(&**key.get_ref())?;
        (rest.is_empty() || rest.starts_with(['.', '['])).then_some((key, value, rest))
    });
    let (key, value, rest) = fits.max_by_key(|(key, ..)| key.get_ref().len())?;
    Some((key.span().start, value.get_ref(), rest))
}

/// `line 3, column 9`.
fn place(text: &str, offset: usize) -> String {
    let before = text.get(..offset).unwrap_or(text);
    let (above, line) = before.rsplit_once('\n').map_or(("", before), |(above, line)| (above, line));
    let lines = if before.contains('\n') { above.matches('\n').count() + 2 } else { 1 };
    format!("line {lines}, column {}", line.chars().count() + 1)
}

/// A piece of the text as it can stand in a message.
fn piece(text: &str, span: Range<usize>) -> String {
    values::short(text.get(span).unwrap_or_default().trim(), TOLD_CHARS)
}

/// What is wrong with a text that is no TOML.
fn syntax(error: &toml::de::Error, text: &str) -> String {
    let span = error.span().unwrap_or(text.len()..text.len());
    let place = place(text, span.start);
    let found = piece(text, span);
    let message = error.message();
    if message.starts_with("duplicate key") {
        return format!("{place}: `{found}` stands twice: give it once");
    }
    if message.starts_with("string values must be quoted") {
        return format!("{place}: `{found}` needs quotes: \"{found}\"");
    }
    if message.starts_with("unclosed") {
        return format!("{place}: a bracket is not closed");
    }
    let found = if found.is_empty() { String::new() } else { format!(" at `{found}`") };
    format!("{place}: this is no TOML{found}: {EXPECTED}")
}

fn object(table: &DeTable<'_>, text: &str) -> Result<Value, String> {
    let mut entries = Map::new();
    for (key, value) in table {
        entries.insert(key.get_ref().clone().into_owned(), json(value, text)?);
    }
    Ok(Value::Object(entries))
}

fn json(value: &Spanned<DeValue<'_>>, text: &str) -> Result<Value, String> {
    let refuse = |why: &str| {
        let found = piece(text, value.span());
        format!("{}: `{found}` {why}", place(text, value.span().start))
    };
    Ok(match value.get_ref() {
        DeValue::String(text) => Value::String(text.clone().into_owned()),
        DeValue::Boolean(flag) => Value::from(*flag),
        DeValue::Integer(number) => {
            let (digits, radix) = (number.as_str(), number.radix());
            let signed = i64::from_str_radix(digits, radix).map(Number::from);
            let number = signed.or_else(|_large| u64::from_str_radix(digits, radix).map(Number::from));
            Value::Number(number.map_err(|_larger| refuse("is larger than 64 bits"))?)
        }
        DeValue::Float(number) => {
            let number = number.as_str().parse().ok().and_then(Number::from_f64);
            Value::Number(number.ok_or_else(|| refuse("is no finite number"))?)
        }
        DeValue::Datetime(_) => return Err(refuse("is a date, and none is taken here: put it in quotes")),
        DeValue::Array(items) => items.iter().map(|item| json(item, text)).collect::<Result<_, String>>()?,
        DeValue::Table(table) => object(table, text)?,
    })
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;

    use super::*;

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields, default)]
    struct Shop {
        name: String,
        open: bool,
        ratio: f64,
        large: u64,
        shelves: Vec<Shelf>,
        rules: Map<String, Value>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Shelf {
        id: String,
        #[serde(default)]
        kind: Kind,
        #[serde(default)]
        goods: Vec<i8>,
    }

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(rename_all = "snake_case")]
    enum Kind {
        #[default]
        Wood,
        Glass,
    }

    fn read(text: &str) -> Result<Shop, String> {
        Document::parse(text)?.read()
    }

    #[test]
    fn what_is_right_is_read_as_the_library_reads_it() {
        let text = "name = '''a\nb'''\nopen = true\nratio = 2\nlarge = 0x7fff_ffff_ffff_ffff\n\
                    rules = { \"model.layers.0\" = { deep = [1.5, \"x\"] } }\n\
                    [[shelves]]\nid = \"ä\"\nkind = \"glass\"\ngoods = [-128, 1_2]\n[[shelves]]\nid = \"b\"\n";
        let shop = read(text).expect("good");
        assert_eq!(shop, toml::from_str(text).expect("good"));
        assert_eq!(shop.shelves[0].goods, [-128, 12]);
        assert_eq!(read("large = 18446744073709551615").expect("64 bits").large, u64::MAX);
    }

    #[test]
    fn what_is_wrong_has_its_line_and_what_is_allowed() {
        for (text, says) in [
            ("name = 3", "line 1, column 1: `name` is 3, expected a string"),
            (
                "open = true\n\nnaem = \"x\"",
                "line 3, column 1: `naem` is not known, expected one of `name`, `open`",
            ),
            (
                "[[shelves]]\nid = \"a\"\n[[shelves]]\nkind = \"wood\"",
                "line 3, column 1: `shelves[1].id` is missing, and must be given",
            ),
            (
                "[[shelves]]\nid = \"a\"\nkind = \"wool\"",
                "line 3, column 1: `shelves[0].kind` is `wool`, expected one of `wood`, `glass`",
            ),
            (
                "shelves = [{ id = \"a\", goods = [1,\n  300] }]",
                "line 2, column 3: `shelves[0].goods[1]` is 300, expected a whole number",
            ),
            ("[rules]\n[[name]]\n", "line 2, column 3: `name` is a list, expected a string"),
            ("ratio = nan", "line 1, column 9: `nan` is no finite number"),
            ("name = 2026-11-26", "line 1, column 8: `2026-11-26` is a date, and none is taken here"),
            (
                "large = 18446744073709551616",
                "line 1, column 9: `18446744073709551616` is larger than 64 bits",
            ),
            ("name = \"a\"\nname = \"b\"", "line 2, column 1: `name` stands twice: give it once"),
            ("[rules]\n[rules]", "line 2, column 2: `rules` stands twice: give it once"),
            ("name = shop", "line 1, column 8: `shop` needs quotes: \"shop\""),
            ("shelves = [", "line 1, column 12: a bracket is not closed"),
            ("name", "line 1, column 5: this is no TOML: expected `key = value`, `[table]`"),
            ("a b = 1", "this is no TOML"),
            ("name = \"a", "this is no TOML"),
        ] {
            let error = read(text).expect_err(text);
            assert!(error.contains(says) && !error.contains('\n'), "{text}\n{error}");
        }
        assert_eq!(
            utf8(b"ab\xff".to_vec()).expect_err("no text"),
            "this is no text in UTF-8: look at byte 2"
        );
        // A key that holds a dot is found by its whole name.
        let text = "[rules]\n\"a\" = 1\n\"a.b\" = 2\n";
        assert_eq!(Document::parse(text).expect("TOML").at("rules.a.b", "x"), "line 3, column 1: x");
    }
}
