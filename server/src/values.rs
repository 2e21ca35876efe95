//! JSON values, queries and TOML into what this server takes. What is wrong with one is said here, in our words: those of
//! the libraries that read are meant for people who write programs with them.

use std::fmt;

use phi3::units::format_counted;
use serde::Serialize;
use serde::de::value::{MapDeserializer, SeqDeserializer};
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, EnumAccess, Expected, IntoDeserializer, Unexpected,
    VariantAccess, Visitor,
};
use serde_json::{Map, Value};

/// Longest value that is repeated in a message, and longest path or sentence of it.
const TOLD_CHARS: usize = 60;
const LINE_CHARS: usize = 300;

/// A value that is refused: where it stands, and what is wrong with it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Wrong {
    /// JSON path from where the reading began; empty for the whole.
    pub(crate) path: String,
    /// What follows the name of the value in a sentence: ` is 5, expected a string`.
    pub(crate) rest: String,
}

/// Reads a JSON value.
///
/// # Errors
/// [`Wrong`]: a field that is missing, unknown, or not of its type.
pub(crate) fn from_json<T: DeserializeOwned>(value: &Value) -> Result<T, Wrong> {
    read(Reader { value, is_text: false })
}

/// Reads the pairs of a query: numbers and booleans are texts there.
///
/// # Errors
/// As [`from_json`], and a key that stands twice.
pub(crate) fn from_pairs<T: DeserializeOwned>(pairs: Vec<(String, String)>) -> Result<T, Wrong> {
    let mut map = Map::new();
    for (key, text) in pairs {
        if map.contains_key(&key) {
            return Err(Wrong { path: line(&key), rest: " stands twice: give it once".to_owned() });
        }
        map.insert(key, Value::String(text));
    }
    read(Reader { value: &Value::Object(map), is_text: true })
}

/// The first key of `value`, as a path, that is not among what was made of it: types that other programs write may carry
/// more than ours, but for what somebody relies on whole.
pub(crate) fn unread_key(value: &Value, read: &impl Serialize) -> Option<String> {
    fn first(value: &Value, kept: &Value, path: &str) -> Option<String> {
        match (value, kept) {
            (Value::Object(fields), Value::Object(kept)) => fields.iter().find_map(|(key, value)| {
                let path = if path.is_empty() { line(key) } else { format!("{path}.{}", line(key)) };
                match kept.get(key) {
                    Some(kept) => first(value, kept, &path),
                    // An absent part and one that is null are the same.
                    None => (!value.is_null()).then_some(path),
                }
            }),
            (Value::Array(items), Value::Array(kept)) => (items.iter().zip(kept).enumerate())
                .find_map(|(at, (value, kept))| first(value, kept, &format!("{path}[{at}]"))),
            _ => None,
        }
    }
    first(value, &serde_json::to_value(read).ok()?, "")
}

fn read<T: DeserializeOwned>(reader: Reader<'_>) -> Result<T, Wrong> {
    serde_path_to_error::deserialize(reader).map_err(|error| {
        let mut path = error.path().to_string();
        if path == "." {
            path.clear();
        }
        let Refused { rest, missing } = error.into_inner();
        if let Some(field) = missing {
            path = if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") };
        }
        Wrong { path: line(&path), rest }
    })
}

/// Why a visitor or a reader stopped.
#[derive(Debug)]
struct Refused {
    rest: String,
    /// A field that is not there: its name is no part yet of the path.
    missing: Option<&'static str>,
}

impl Refused {
    fn says(rest: impl fmt::Display) -> Self {
        Self { rest: format!(" {rest}"), missing: None }
    }

    fn wrong(found: &Value, expected: impl fmt::Display) -> Self {
        Self::says(format_args!("is {}, expected {expected}", told(found)))
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.rest)
    }
}

impl std::error::Error for Refused {}

impl serde::de::Error for Refused {
    /// What a type of ours says of a text that it does not take: a sentence already.
    fn custom<T: fmt::Display>(message: T) -> Self {
        Self { rest: format!(": {}", line(&message.to_string())), missing: None }
    }

    fn invalid_type(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        let found = match found {
            Unexpected::Bool(flag) => told(&flag.into()),
            Unexpected::Unsigned(number) => told(&number.into()),
            Unexpected::Signed(number) => told(&number.into()),
            Unexpected::Float(number) => told(&number.into()),
            Unexpected::Str(text) => told(&text.into()),
            Unexpected::Seq => told(&Value::Array(Vec::new())),
            Unexpected::Map => told(&Value::Object(Map::new())),
            Unexpected::Unit | Unexpected::Option => told(&Value::Null),
            _ => "something else".to_owned(),
        };
        Self::says(format_args!("is {found}, expected {expected}"))
    }

    fn invalid_value(found: Unexpected<'_>, expected: &dyn Expected) -> Self {
        Self::invalid_type(found, expected)
    }

    fn invalid_length(length: usize, expected: &dyn Expected) -> Self {
        let found = format_counted(length as u64, "value");
        Self::says(format_args!("has {found}, expected {expected}"))
    }

    fn unknown_variant(variant: &str, known: &'static [&'static str]) -> Self {
        Self::wrong(&variant.into(), one_of(known))
    }

    fn unknown_field(_field: &str, known: &'static [&'static str]) -> Self {
        // Its name stands in the path already.
        match known {
            [] => Self::says("is not known: nothing is expected there"),
            known => Self::says(format_args!("is not known, expected {}", one_of(known))),
        }
    }

    fn missing_field(field: &'static str) -> Self {
        Self { missing: Some(field), ..Self::says("is missing, and must be given") }
    }

    fn duplicate_field(field: &'static str) -> Self {
        // By two of its names: the same name twice is found before.
        Self::says(format_args!("gives `{field}` twice: give it once"))
    }
}

/// A text on one line, cut where it is too long to be read.
fn line(text: &str) -> String {
    short(text, LINE_CHARS)
}

/// A text on one line, cut after so many characters.
pub(crate) fn short(text: &str, most: usize) -> String {
    let mut chars = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut line: String = chars.by_ref().take(most).collect();
    if chars.next().is_some() {
        line.push('…');
    }
    line
}

/// A value as it stands in a message.
fn told(value: &Value) -> String {
    match value {
        Value::Array(_) => "a list".to_owned(),
        Value::Object(_) => "an object".to_owned(),
        Value::String(text) if text.is_empty() => "empty".to_owned(),
        Value::String(text) => format!("`{}`", short(text, TOLD_CHARS)),
        plain => plain.to_string(),
    }
}

fn one_of(known: &[&str]) -> String {
    let known: Vec<String> = known.iter().map(|name| format!("`{name}`")).collect();
    match known.as_slice() {
        [only] => only.clone(),
        known => format!("one of {}", known.join(", ")),
    }
}

/// A value that is to be read.
#[derive(Clone, Copy)]
struct Reader<'a> {
    value: &'a Value,
    /// Whether all that is no text is written as one.
    is_text: bool,
}

impl<'a> Reader<'a> {
    fn wrong(self, expected: impl fmt::Display) -> Refused {
        Refused::wrong(self.value, expected)
    }

    fn whole(self) -> Option<i128> {
        match self.value {
            Value::Number(number) => {
                number.as_u64().map(i128::from).or_else(|| number.as_i64().map(i128::from))
            }
            Value::String(text) if self.is_text => text.parse().ok(),
            _ => None,
        }
    }

    fn number(self) -> Option<f64> {
        match self.value {
            Value::Number(number) => number.as_f64(),
            Value::String(text) if self.is_text => {
                text.parse().ok().filter(|number: &f64| number.is_finite())
            }
            _ => None,
        }
    }

    fn flag(self) -> Option<bool> {
        match self.value {
            Value::Bool(flag) => Some(*flag),
            Value::String(text) if self.is_text => text.parse().ok(),
            _ => None,
        }
    }

    fn within(self, value: &'a Value) -> Self {
        Self { value, ..self }
    }
}

impl<'a> IntoDeserializer<'a, Refused> for Reader<'a> {
    type Deserializer = Self;

    fn into_deserializer(self) -> Self {
        self
    }
}

macro_rules! whole_numbers {
    ($($method:ident $visit:ident $kind:ty;)*) => {
        $(fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
            match self.whole().and_then(|number| <$kind>::try_from(number).ok()) {
                Some(number) => visitor.$visit(number),
                None => Err(self.wrong(format_args!("a whole number from {} to {}", <$kind>::MIN, <$kind>::MAX))),
            }
        })*
    };
}

impl<'de> Deserializer<'de> for Reader<'de> {
    type Error = Refused;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        match self.value {
            Value::Null => visitor.visit_unit(),
            Value::Bool(flag) => visitor.visit_bool(*flag),
            Value::Number(number) => match (number.as_u64(), number.as_i64(), number.as_f64()) {
                (Some(number), ..) => visitor.visit_u64(number),
                (_, Some(number), _) => visitor.visit_i64(number),
                (.., Some(number)) => visitor.visit_f64(number),
                (.., None) => Err(self.wrong("a number of 64 bits")),
            },
            Value::String(text) => visitor.visit_borrowed_str(text),
            Value::Array(items) => {
                let mut items =
                    SeqDeserializer::<_, Refused>::new(items.iter().map(|item| self.within(item)));
                let read = visitor.visit_seq(&mut items)?;
                items.end().map(|()| read)
            }
            Value::Object(fields) => {
                let mut fields = MapDeserializer::<_, Refused>::new(
                    fields.iter().map(|(key, value)| (key.as_str(), self.within(value))),
                );
                let read = visitor.visit_map(&mut fields)?;
                fields.end().map(|()| read)
            }
        }
    }

    whole_numbers! {
        deserialize_u8 visit_u8 u8;
        deserialize_u16 visit_u16 u16;
        deserialize_u32 visit_u32 u32;
        deserialize_u64 visit_u64 u64;
        deserialize_i8 visit_i8 i8;
        deserialize_i16 visit_i16 i16;
        deserialize_i32 visit_i32 i32;
        deserialize_i64 visit_i64 i64;
    }

    fn deserialize_f32<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.deserialize_f64(visitor)
    }

    fn deserialize_f64<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_f64(self.number().ok_or_else(|| self.wrong("a number"))?)
    }

    fn deserialize_bool<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_bool(self.flag().ok_or_else(|| self.wrong("true or false"))?)
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_borrowed_str(self.value.as_str().ok_or_else(|| self.wrong("a string"))?)
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.deserialize_str(visitor)
    }

    fn deserialize_char<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.deserialize_str(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        if self.value.is_null() { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        visitor.visit_newtype_struct(self)
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        if self.value.is_array() { self.deserialize_any(visitor) } else { Err(self.wrong("a list")) }
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Refused> {
        let is_good = self.value.as_array().is_some_and(|items| items.len() == length);
        if is_good {
            self.deserialize_any(visitor)
        } else {
            Err(self.wrong(format_args!("a list of {}", format_counted(length as u64, "value"))))
        }
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        self.deserialize_tuple(length, visitor)
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        if self.value.is_object() { self.deserialize_any(visitor) } else { Err(self.wrong("an object")) }
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        _name: &'static str,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        // Never by position: a list says nothing of what is meant.
        self.deserialize_map(visitor)
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        _name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        match self.value {
            Value::String(name) => visitor.visit_enum(Variant { name, value: None }),
            Value::Object(fields) => match fields.iter().next() {
                Some((name, value)) if fields.len() == 1 => {
                    visitor.visit_enum(Variant { name, value: Some(self.within(value)) })
                }
                _ => {
                    let found = format_counted(fields.len() as u64, "field");
                    Err(Refused::says(format_args!("has {found}, expected exactly {}", one_of(variants))))
                }
            },
            _ => Err(self.wrong(one_of(variants))),
        }
    }

    serde::forward_to_deserialize_any! { bytes byte_buf unit unit_struct identifier ignored_any }
}

/// A choice: by its name alone, or with the value that belongs to it.
struct Variant<'a> {
    name: &'a str,
    value: Option<Reader<'a>>,
}

impl Variant<'_> {
    fn is_bare(&self) -> Refused {
        Refused::says(format_args!("is `{0}` alone, expected an object: {{\"{0}\": …}}", self.name))
    }
}

impl<'a> EnumAccess<'a> for Variant<'a> {
    type Error = Refused;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'a>>(self, seed: S) -> Result<(S::Value, Self), Refused> {
        let name = serde::de::value::BorrowedStrDeserializer::new(self.name);
        Ok((seed.deserialize(name)?, self))
    }
}

impl<'a> VariantAccess<'a> for Variant<'a> {
    type Error = Refused;

    fn unit_variant(self) -> Result<(), Refused> {
        match self.value {
            None => Ok(()),
            Some(_) => Err(Refused::says(format_args!("is an object, expected `{}` alone", self.name))),
        }
    }

    fn newtype_variant_seed<S: DeserializeSeed<'a>>(self, seed: S) -> Result<S::Value, Refused> {
        seed.deserialize(self.value.ok_or_else(|| self.is_bare())?)
    }

    fn tuple_variant<V: Visitor<'a>>(self, length: usize, visitor: V) -> Result<V::Value, Refused> {
        self.value.ok_or_else(|| self.is_bare())?.deserialize_tuple(length, visitor)
    }

    fn struct_variant<V: Visitor<'a>>(
        self,
        _fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        self.value.ok_or_else(|| self.is_bare())?.deserialize_map(visitor)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde_json::json;

    use super::*;

    #[derive(Debug, Default, Deserialize, PartialEq)]
    #[serde(deny_unknown_fields)]
    struct Body {
        count: u32,
        #[serde(default)]
        flag: bool,
        ratio: Option<f32>,
        choice: Option<Choice>,
        #[serde(default)]
        list: Vec<i8>,
        #[serde(default)]
        map: Map<String, Value>,
        pair: Option<(u8, u8)>,
        inner: Option<Inner>,
    }

    #[derive(Debug, Deserialize, PartialEq)]
    #[serde(rename_all = "snake_case")]
    enum Choice {
        Plain,
        With(String),
    }

    #[derive(Debug, Deserialize, PartialEq)]
    struct Inner {
        name: String,
    }

    fn refused(value: &Value) -> (String, String) {
        let Wrong { path, rest } = from_json::<Body>(value).expect_err("refused");
        (path, rest.trim_start().to_owned())
    }

    #[test]
    fn what_is_right_is_read() {
        let value = json!({
            "count": 5, "flag": true, "ratio": 1, "choice": { "with": "x" }, "list": [-128], "map": { "a": [1.5] },
            "pair": [1, 2], "inner": { "name": "n", "more": 1 },
        });
        let read = from_json::<Body>(&value).expect("read");
        assert_eq!(read, serde_json::from_value::<Body>(value).expect("as serde_json reads it"));
        assert_eq!(from_json::<Choice>(&json!("plain")), Ok(Choice::Plain));
        let pairs = [("count", "7"), ("flag", "true"), ("ratio", "0.5"), ("choice", "plain")];
        let pairs = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).to_vec();
        let read = from_pairs::<Body>(pairs).expect("read");
        assert_eq!(
            read,
            Body { count: 7, flag: true, ratio: Some(0.5), choice: Some(Choice::Plain), ..Body::default() }
        );
    }

    #[test]
    fn what_is_wrong_is_said_in_a_sentence_about_its_field() {
        let u32_range = "a whole number from 0 to 4294967295";
        for (value, path, message) in [
            (json!([]), "", "is a list, expected an object"),
            (json!({}), "count", "is missing, and must be given"),
            (json!({ "count": "5" }), "count", &format!("is `5`, expected {u32_range}") as &str),
            (json!({ "count": -1 }), "count", &format!("is -1, expected {u32_range}")),
            (json!({ "count": 1.5 }), "count", &format!("is 1.5, expected {u32_range}")),
            (json!({ "count": 4294967296_u64 }), "count", &format!("is 4294967296, expected {u32_range}")),
            (json!({ "count": null }), "count", &format!("is null, expected {u32_range}")),
            (json!({ "count": 1, "flag": "" }), "flag", "is empty, expected true or false"),
            (json!({ "count": 1, "ratio": {} }), "ratio", "is an object, expected a number"),
            (
                json!({ "count": 1, "list": [1, 200] }),
                "list[1]",
                "is 200, expected a whole number from -128 to 127",
            ),
            (json!({ "count": 1, "map": [] }), "map", "is a list, expected an object"),
            (json!({ "count": 1, "pair": [1] }), "pair", "is a list, expected a list of 2 values"),
            (json!({ "count": 1, "inner": {} }), "inner.name", "is missing, and must be given"),
            (json!({ "count": 1, "inner": { "name": 1 } }), "inner.name", "is 1, expected a string"),
            (json!({ "count": 1, "choice": 1 }), "choice", "is 1, expected one of `plain`, `with`"),
            (
                json!({ "count": 1, "choice": "other" }),
                "choice",
                "is `other`, expected one of `plain`, `with`",
            ),
            (
                json!({ "count": 1, "choice": {} }),
                "choice",
                "has 0 fields, expected exactly one of `plain`, `with`",
            ),
            (json!({ "count": 1, "choice": { "with": 1 } }), "choice.with", "is 1, expected a string"),
        ] {
            assert_eq!(refused(&value), (path.to_owned(), message.to_owned()), "{value}");
        }
        let (path, message) = refused(&json!({ "count": 1, "coutn": 1 }));
        assert_eq!(path, "coutn");
        assert!(message.starts_with("is not known, expected one of `count`, `flag`"), "{message}");
        let (path, message) = refused(&json!({ "count": 1, "choice": "with" }));
        assert!(path.starts_with("choice") && message.starts_with("is `with` alone"), "{path} {message}");
        let long = "x".repeat(1000);
        let (_, message) = refused(&json!({ "count": long }));
        assert!(message.len() < 200, "{message}");
    }

    #[test]
    fn a_query_gives_a_key_once() {
        let pairs = vec![("count".to_owned(), "1".to_owned()), ("count".to_owned(), "2".to_owned())];
        let wrong = from_pairs::<Body>(pairs).expect_err("refused");
        assert_eq!((wrong.path.as_str(), wrong.rest.as_str()), ("count", " stands twice: give it once"));
    }
}
