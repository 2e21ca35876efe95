//! Keys and values of a GGUF header, held no larger than the file holds them.

use std::collections::BTreeMap;

use super::reader::Reader;
use crate::weights::text::one_line;
use crate::weights::{WeightSource, WeightsError, WeightsProblem};

/// Thirty to fifty keys are usual. What is read of one takes more than its shortest text.
const MAX_KEYS: u64 = 1 << 11;
/// A key, an empty one, with its type and one byte of value.
const MIN_KEY_BYTES: u64 = 8 + 4 + 1;
/// Far above any key in use; the format's own limit is 65,535.
const MAX_KEY_BYTES: usize = 1 << 10;

/// A value of the header.
#[derive(Debug, Clone, PartialEq)]
#[expect(missing_docs, reason = "the names say it")]
pub enum Value {
    Unsigned(u64),
    Signed(i64),
    Float32(f32),
    Float64(f64),
    Bool(bool),
    String(String),
    Array(Array),
}

/// A list of the header.
#[derive(Debug, Clone, PartialEq)]
pub enum Array {
    /// Numbers or truth values.
    Scalars(Scalars),
    /// Strings.
    Strings(Strings),
}

/// Numbers as the file holds them.
#[derive(Debug, Clone, PartialEq)]
pub struct Scalars {
    kind: Kind,
    bytes: Vec<u8>,
}

impl Scalars {
    /// Number of numbers.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len() / self.kind.size()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// Each number.
    pub fn iter(&self) -> impl Iterator<Item = Value> + '_ {
        self.bytes.chunks_exact(self.kind.size()).map(|bytes| self.kind.value(bytes))
    }
}

/// Many strings in few: a list of 100,000 tokens takes no more memory than its text in the file.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Strings {
    /// Texts of up to [`PIECE_BYTES`], or a long string alone: none is ever copied to grow.
    pieces: Vec<String>,
    /// Of each string its piece and its end in it; it starts where the one before it ends, or its piece does.
    ends: Vec<(u32, u32)>,
}

/// Most bytes of a piece that holds several strings; the first ones are shorter.
const PIECE_BYTES: usize = 1 << 16;

impl Strings {
    fn with_room_for(count: usize) -> Self {
        Self { pieces: Vec::new(), ends: Vec::with_capacity(count) }
    }

    fn push(&mut self, text: String) {
        let has_room = |piece: &&mut String| piece.capacity() - piece.len() >= text.len();
        let wanted = self.pieces.last().map_or(0, |last| 2 * last.capacity()).min(PIECE_BYTES);
        match self.pieces.last_mut().filter(has_room) {
            Some(piece) => piece.push_str(&text),
            None if text.len() >= wanted => self.pieces.push(text),
            None => {
                let mut piece = String::with_capacity(wanted);
                piece.push_str(&text);
                self.pieces.push(piece);
            }
        }
        // A header has less than 2^32 bytes.
        let end = self.pieces.last().map_or(0, String::len) as u32;
        self.ends.push((self.pieces.len() as u32, end));
    }

    /// Number of strings.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ends.len()
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ends.is_empty()
    }

    /// The string at an index.
    #[must_use]
    pub fn get(&self, index: usize) -> Option<&str> {
        let (piece, end) = *self.ends.get(index)?;
        let before = index.checked_sub(1).map(|before| self.ends[before]);
        let start = before.filter(|before| before.0 == piece).map_or(0, |before| before.1);
        Some(&self.pieces[piece as usize - 1][start as usize..end as usize])
    }

    /// Each string in order.
    pub fn iter(&self) -> impl Iterator<Item = &str> {
        (0..self.len()).filter_map(|index| self.get(index))
    }
}

/// Scalar types by their numbers in the format.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    U8,
    I8,
    U16,
    I16,
    U32,
    I32,
    F32,
    Bool,
    U64,
    I64,
    F64,
}

/// Numbers of the two types that are no scalars.
const STRING: u32 = 8;
const ARRAY: u32 = 9;

impl Kind {
    fn of(number: u32) -> Option<Self> {
        Some(match number {
            0 => Self::U8,
            1 => Self::I8,
            2 => Self::U16,
            3 => Self::I16,
            4 => Self::U32,
            5 => Self::I32,
            6 => Self::F32,
            7 => Self::Bool,
            10 => Self::U64,
            11 => Self::I64,
            12 => Self::F64,
            _ => return None,
        })
    }

    fn size(self) -> usize {
        match self {
            Self::U8 | Self::I8 | Self::Bool => 1,
            Self::U16 | Self::I16 => 2,
            Self::U32 | Self::I32 | Self::F32 => 4,
            Self::U64 | Self::I64 | Self::F64 => 8,
        }
    }

    /// Reads a value from `size` bytes.
    fn value(self, bytes: &[u8]) -> Value {
        let mut wide = [0; 8];
        wide[..bytes.len()].copy_from_slice(bytes);
        let bits = u64::from_le_bytes(wide);
        match self {
            Self::U8 | Self::U16 | Self::U32 | Self::U64 => Value::Unsigned(bits),
            Self::I8 => Value::Signed(i64::from(bits as i8)),
            Self::I16 => Value::Signed(i64::from(bits as i16)),
            Self::I32 => Value::Signed(i64::from(bits as i32)),
            Self::I64 => Value::Signed(bits as i64),
            Self::F32 => Value::Float32(f32::from_bits(bits as u32)),
            Self::F64 => Value::Float64(f64::from_bits(bits)),
            Self::Bool => Value::Bool(bits != 0),
        }
    }
}

/// The keys of a header.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metadata(BTreeMap<String, Value>);

impl Metadata {
    pub(super) async fn read<S: WeightSource>(
        reader: &mut Reader<'_, S>,
        count: u64,
    ) -> Result<Self, WeightsError> {
        if count > MAX_KEYS || count.saturating_mul(MIN_KEY_BYTES) > reader.remaining() {
            return Err(reader.corrupt(format!(
                "its header claims {count} keys, at most {MAX_KEYS} are read and {} bytes follow",
                reader.remaining()
            )));
        }
        let mut map = BTreeMap::new();
        for _ in 0..count {
            let key = reader.string().await?;
            if key.len() > MAX_KEY_BYTES || key.contains(char::is_control) {
                let shown = one_line(key.escape_debug());
                return Err(reader.corrupt(format!("a key is too long or unprintable: `{shown}`")));
            }
            let value = read_value(reader, &key).await?;
            if map.contains_key(&key) {
                return Err(reader.corrupt(format!("key `{key}` stands twice")));
            }
            map.insert(key, value);
        }
        Ok(Self(map))
    }

    /// The value of a key.
    #[must_use]
    pub fn get(&self, key: &str) -> Option<&Value> {
        self.0.get(key)
    }

    /// Every key with its value, by name.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(key, value)| (key.as_str(), value))
    }

    /// A whole number that is not negative.
    ///
    /// # Errors
    /// Another type.
    pub fn unsigned(&self, key: &str) -> Result<Option<u64>, WeightsProblem> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Unsigned(number)) => Ok(Some(*number)),
            Some(Value::Signed(number)) if *number >= 0 => Ok(Some(*number as u64)),
            Some(_) => Err(wrong_type(key, "a whole number")),
        }
    }

    /// A float; whole numbers count. An f32 keeps its shortest decimal: 1e-5, not 9.99999974e-6.
    ///
    /// # Errors
    /// Another type, or not finite.
    pub fn float(&self, key: &str) -> Result<Option<f64>, WeightsProblem> {
        let number = match self.get(key) {
            None => return Ok(None),
            Some(Value::Float32(number)) => shortest(*number),
            Some(Value::Float64(number)) => *number,
            Some(Value::Unsigned(number)) => *number as f64,
            Some(Value::Signed(number)) => *number as f64,
            Some(_) => return Err(wrong_type(key, "a number")),
        };
        if number.is_finite() { Ok(Some(number)) } else { Err(wrong_type(key, "a finite number")) }
    }

    /// A truth value.
    ///
    /// # Errors
    /// Another type.
    pub fn flag(&self, key: &str) -> Result<Option<bool>, WeightsProblem> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Bool(flag)) => Ok(Some(*flag)),
            Some(_) => Err(wrong_type(key, "true or false")),
        }
    }

    /// A string.
    ///
    /// # Errors
    /// Another type.
    pub fn text(&self, key: &str) -> Result<Option<&str>, WeightsProblem> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::String(text)) => Ok(Some(text)),
            Some(_) => Err(wrong_type(key, "a string")),
        }
    }

    /// A list of strings.
    ///
    /// # Errors
    /// Another type.
    pub fn strings(&self, key: &str) -> Result<Option<&Strings>, WeightsProblem> {
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(Array::Strings(strings))) => Ok(Some(strings)),
            Some(_) => Err(wrong_type(key, "a list of strings")),
        }
    }

    /// A list of whole numbers.
    ///
    /// # Errors
    /// Another type.
    pub fn integers(&self, key: &str) -> Result<Option<Vec<i64>>, WeightsProblem> {
        let wrong = || wrong_type(key, "a list of whole numbers");
        match self.get(key) {
            None => Ok(None),
            Some(Value::Array(Array::Scalars(scalars))) => scalars
                .iter()
                .map(|value| match value {
                    Value::Unsigned(number) => i64::try_from(number).ok(),
                    Value::Signed(number) => Some(number),
                    _ => None,
                })
                .collect::<Option<_>>()
                .map(Some)
                .ok_or_else(wrong),
            Some(_) => Err(wrong()),
        }
    }
}

/// The shortest decimal of an f32, as an f64.
pub(super) fn shortest(number: f32) -> f64 {
    number.to_string().parse().unwrap_or_else(|_| f64::from(number))
}

fn wrong_type(key: &str, expected: &str) -> WeightsProblem {
    WeightsProblem::Corrupt(format!("`{key}` is not {expected}"))
}

async fn read_value<S: WeightSource>(reader: &mut Reader<'_, S>, key: &str) -> Result<Value, WeightsError> {
    let number = reader.u32().await?;
    match (number, Kind::of(number)) {
        (STRING, _) => Ok(Value::String(reader.string().await?)),
        (ARRAY, _) => Ok(Value::Array(read_array(reader, key).await?)),
        (_, Some(kind)) => {
            let bytes = reader.bytes(kind.size() as u64).await?;
            Ok(kind.value(&bytes))
        }
        (_, None) => Err(reader.corrupt(format!("`{key}` has the unknown type {number}"))),
    }
}

async fn read_array<S: WeightSource>(reader: &mut Reader<'_, S>, key: &str) -> Result<Array, WeightsError> {
    let number = reader.u32().await?;
    let count = reader.u64().await?;
    match (number, Kind::of(number)) {
        (STRING, _) => {
            reader.expect(count.saturating_mul(8))?;
            let mut strings = Strings::with_room_for(count as usize);
            for _ in 0..count {
                strings.push(reader.string().await?);
            }
            Ok(Array::Strings(strings))
        }
        (ARRAY, _) => {
            Err(reader.corrupt(format!("`{key}` is a list of lists, which no reader of GGUF takes")))
        }
        (_, Some(kind)) => {
            let bytes = reader.bytes(count.saturating_mul(kind.size() as u64)).await?;
            Ok(Array::Scalars(Scalars { kind, bytes }))
        }
        (_, None) => Err(reader.corrupt(format!("`{key}` is a list of the unknown type {number}"))),
    }
}
