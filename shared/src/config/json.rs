//! JSON that says one thing only: repeated keys are refused, nesting, size and length are limited while it is read.

use std::cell::{Cell, RefCell};
use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};
use thiserror::Error;

use crate::units::one_line;

/// What a text may hold. Its length is the caller's to limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct JsonLimits {
    /// Objects and lists within each other; at most 126, where serde_json gives up.
    pub depth: usize,
    /// Values, those within others included: each takes some 100 bytes, however short it is written.
    pub values: usize,
    /// Bytes of a string or a key.
    pub string_bytes: usize,
}

/// Why a text is not read.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum JsonError {
    /// Not JSON; serde_json's own message with line and column.
    #[error("not valid JSON: {0}")]
    Syntax(String),
    /// A key that stands twice in one object.
    #[error("`{path}` stands twice, and readers disagree on which one counts: remove one")]
    DuplicateKey {
        /// JSON path of the key.
        path: String,
    },
    /// Objects and lists within each other, too many.
    #[error("nested deeper than {limit} levels")]
    TooDeep {
        /// Levels that are read.
        limit: usize,
    },
    /// Too many values.
    #[error("more than {limit} values")]
    TooManyValues {
        /// Values that are read.
        limit: usize,
    },
    /// A string or a key that is too long.
    #[error("a string of more than {limit} bytes")]
    StringTooLong {
        /// Bytes that are read.
        limit: usize,
    },
}

/// Reads a JSON text within limits.
///
/// # Errors
/// [`JsonError`]: not JSON, a repeated key, or past a limit.
pub fn parse_json(bytes: &[u8], limits: JsonLimits) -> Result<Value, JsonError> {
    let reading = Reading { limits, left: Cell::new(limits.values), refused: RefCell::new(None) };
    let mut deserializer = serde_json::Deserializer::from_slice(bytes);
    let seed = Seed { reading: &reading, place: &Place::Root, depth: 0 };
    let read = seed.deserialize(&mut deserializer).and_then(|value| deserializer.end().map(|()| value));
    // serde's errors are text; ours are kept beside it.
    match (reading.refused.into_inner(), read) {
        (Some(refused), _) => Err(refused),
        (None, Ok(value)) => Ok(value),
        (None, Err(error)) => Err(JsonError::Syntax(error.to_string())),
    }
}

/// What all seeds of one text share.
struct Reading {
    limits: JsonLimits,
    /// Values that may still come.
    left: Cell<usize>,
    refused: RefCell<Option<JsonError>>,
}

impl Reading {
    /// Ends the reading for this reason.
    fn refuse<E: serde::de::Error>(&self, error: JsonError) -> E {
        *self.refused.borrow_mut() = Some(error);
        E::custom("refused")
    }

    fn text<E: serde::de::Error>(&self, text: &str) -> Result<(), E> {
        let limit = self.limits.string_bytes;
        if text.len() > limit { Err(self.refuse(JsonError::StringTooLong { limit })) } else { Ok(()) }
    }
}

/// Where a value stands; a list of places on the stack.
enum Place<'a> {
    Root,
    Key(&'a Place<'a>, &'a str),
    Item(&'a Place<'a>, usize),
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Root => Ok(()),
            Self::Key(Self::Root, key) => f.write_str(&one_line(key)),
            Self::Key(parent, key) => write!(f, "{parent}.{}", one_line(key)),
            Self::Item(parent, index) => write!(f, "{parent}[{index}]"),
        }
    }
}

#[derive(Clone, Copy)]
struct Seed<'a> {
    reading: &'a Reading,
    place: &'a Place<'a>,
    depth: usize,
}

impl<'a> Seed<'a> {
    fn within<'b>(&self, place: &'b Place<'b>) -> Seed<'b>
    where
        'a: 'b,
    {
        Seed { reading: self.reading, place, depth: self.depth + 1 }
    }

    fn go_deeper<E: serde::de::Error>(&self) -> Result<(), E> {
        let limit = self.reading.limits.depth;
        if self.depth >= limit { Err(self.reading.refuse(JsonError::TooDeep { limit })) } else { Ok(()) }
    }
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        let Some(left) = self.reading.left.get().checked_sub(1) else {
            let limit = self.reading.limits.values;
            return Err(self.reading.refuse(JsonError::TooManyValues { limit }));
        };
        self.reading.left.set(left);
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("a number is not finite"))
    }

    fn visit_str<E: serde::de::Error>(self, value: &str) -> Result<Value, E> {
        self.reading.text(value)?;
        Ok(Value::String(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Value, A::Error> {
        self.go_deeper()?;
        let mut values = Vec::new();
        while let Some(value) = list.next_element_seed(self.within(&Place::Item(self.place, values.len())))? {
            values.push(value);
        }
        Ok(Value::Array(values))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut object: A) -> Result<Value, A::Error> {
        self.go_deeper()?;
        let mut map = Map::new();
        while let Some(key) = object.next_key::<String>()? {
            self.reading.text(&key)?;
            let place = Place::Key(self.place, &key);
            if map.contains_key(&key) {
                return Err(self.reading.refuse(JsonError::DuplicateKey { path: place.to_string() }));
            }
            let value = object.next_value_seed(self.within(&place))?;
            map.insert(key, value);
        }
        Ok(Value::Object(map))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: JsonLimits = JsonLimits { depth: 3, values: 8, string_bytes: 5 };

    fn parse(text: &str) -> Result<Value, JsonError> {
        parse_json(text.as_bytes(), LIMITS)
    }

    #[test]
    fn what_is_read_is_what_serde_json_reads() {
        for text in [
            r#"{"b":[1,-2,0.1],"a":{"c":null},"d":true}"#,
            "[]",
            "1e3",
            r#""é\u0041""#,
            "18446744073709551615",
            "1e-400",
        ] {
            assert_eq!(parse(text), Ok(serde_json::from_str(text).expect("JSON")), "{text}");
        }
        for text in ["", "{", "[1] 2", "NaN", "[1,]", "1e999", r#"{"a":Infinity}"#, "{a:1}", "\u{feff}1"] {
            let expected = serde_json::from_str::<Value>(text).expect_err(text).to_string();
            assert_eq!(parse(text), Err(JsonError::Syntax(expected)));
        }
    }

    #[test]
    fn keys_that_stand_twice_are_named() {
        for (text, path) in [
            (r#"{"a":1,"a":1}"#, "a"),
            (r#"{"a":1,"\u0061":2}"#, "a"),
            (r#"{"x":[0,{"b":0,"b":1}]}"#, "x[1].b"),
            (r#"{"x":{"y":1,"y":2}}"#, "x.y"),
        ] {
            assert_eq!(parse(text), Err(JsonError::DuplicateKey { path: path.to_owned() }), "{text}");
        }
    }

    #[test]
    fn limits_hold() {
        assert!(parse("[[[1]]]").is_ok());
        assert_eq!(parse("[[[[1]]]]"), Err(JsonError::TooDeep { limit: 3 }));
        assert_eq!(parse(&"[".repeat(10_000)), Err(JsonError::TooDeep { limit: 3 }));
        assert_eq!(parse(&r#"{"a":"#.repeat(10_000)), Err(JsonError::TooDeep { limit: 3 }));
        assert!(parse("[1,2,3,4,5,6,7]").is_ok());
        assert_eq!(parse("[1,2,3,4,5,6,7,8]"), Err(JsonError::TooManyValues { limit: 8 }));
        assert!(parse(r#"{"12345":"12345"}"#).is_ok());
        for text in [r#""123456""#, r#"{"123456":1}"#] {
            assert_eq!(parse(text), Err(JsonError::StringTooLong { limit: 5 }), "{text}");
        }
    }
}
