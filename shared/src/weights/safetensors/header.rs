//! The header of one safetensors file, checked in full against the file's length.

use std::collections::HashSet;
use std::fmt;

use serde::Deserialize;
use serde::de::{Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::dtype_of;
use crate::dtype::DType;
use crate::units::format_counted;
use crate::weights::text::{check_name, one_line};
use crate::weights::{MAX_HEADER_BYTES, WeightSource, WeightsError, WeightsProblem, sniff};

const METADATA: &str = "__metadata__";
/// Tensors have at most four dimensions in every decoder known; the rest is room.
const MAX_RANK: usize = 16;
/// More than the largest mixture of experts has in all its files; a header of empty tensors takes no more than this.
const MAX_TENSORS: usize = 1 << 17;

/// One tensor of a file: everything but its file's index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorEntry {
    /// Name as stored.
    pub name: String,
    /// Format on disk.
    pub dtype: DType,
    /// Dimensions, row-major.
    pub shape: Vec<usize>,
    /// First byte in the file.
    pub offset: u64,
    /// Number of bytes.
    pub len: u64,
}

/// Reads and checks a header: every range inside the file, no overlap, no hole, nothing after the last tensor.
pub(in crate::weights) async fn read_header<S: WeightSource>(
    file: &str,
    source: &S,
) -> Result<Vec<TensorEntry>, WeightsError> {
    let head = sniff::read_head(file, source).await?;
    let refuse = |problem| WeightsError::new(file, problem);
    if head.starts_with(b"GGUF") {
        return Err(refuse(WeightsProblem::NotWeights("it is a GGUF file: name it *.gguf".to_owned())));
    }
    let Some((length, _)) = head.split_first_chunk::<8>() else {
        let found = format_counted(head.len() as u64, "byte");
        let what = format!("it has {found}, too few for a safetensors header");
        return Err(refuse(WeightsProblem::Corrupt(what)));
    };
    let length = u64::from_le_bytes(*length);
    let room = source.len() - 8;
    if length > MAX_HEADER_BYTES || length > room {
        let what = format!(
            "its header claims {length} bytes, but {room} follow and at most {MAX_HEADER_BYTES} are read; is it safetensors, and complete?"
        );
        return Err(refuse(WeightsProblem::Corrupt(what)));
    }
    let mut json = vec![0; length as usize];
    source.read_into(8, &mut json).await.map_err(|error| WeightsError::new(file, error))?;
    parse_header(&json, source.len()).map_err(refuse)
}

/// Checks the JSON of a header against the length of the whole file.
fn parse_header(json: &[u8], file_len: u64) -> Result<Vec<TensorEntry>, WeightsProblem> {
    let Header(raw) = serde_json::from_slice(json).map_err(|error| {
        WeightsProblem::Corrupt(one_line(format_args!("its header is no safetensors header: {error}")))
    })?;
    let data_start = 8 + json.len() as u64;
    let data_len = file_len - data_start;
    let mut entries =
        raw.into_iter().map(|(name, raw)| raw.check(name, data_start)).collect::<Result<Vec<_>, _>>()?;

    entries.sort_by(|a, b| (a.offset, a.len, &a.name).cmp(&(b.offset, b.len, &b.name)));
    let mut end = data_start;
    for entry in &entries {
        if entry.offset != end {
            let kind = match entry.offset {
                start if start < end => "overlaps the tensor before it",
                start if start >= file_len => "lies past the end of the file",
                _ => "leaves a hole before it",
            };
            return Err(WeightsProblem::Corrupt(format!(
                "tensor `{}` {kind}: it starts at byte {}, the tensor before it ends at {end}",
                entry.name, entry.offset
            )));
        }
        // Both below 2^63: `check` saw to it.
        end = entry.offset + entry.len;
    }
    if end != file_len {
        let what = if end > file_len {
            format!(
                "it is cut: its tensors take {} bytes, {data_len} are there; download it again",
                end - data_start
            )
        } else {
            format!("there is more after the last tensor: {}", format_counted(file_len - end, "byte"))
        };
        return Err(WeightsProblem::Corrupt(what));
    }
    Ok(entries)
}

/// An entry as written.
#[derive(Deserialize)]
struct RawEntry {
    dtype: String,
    shape: Shape,
    data_offsets: (u64, u64),
}

impl RawEntry {
    fn check(self, name: String, data_start: u64) -> Result<TensorEntry, WeightsProblem> {
        check_name(&name)?;
        let Self { dtype, shape: Shape(shape), data_offsets: (begin, end) } = self;
        let Some(dtype) = dtype_of(&dtype) else {
            return Err(WeightsProblem::Unsupported(format!(
                "tensor `{name}` has dtype `{}`",
                one_line(dtype)
            )));
        };
        let corrupt = |what: String| WeightsProblem::Corrupt(format!("tensor `{name}` {what}"));
        // A dimension of 0 must not hide one that overflows.
        let extent = shape
            .iter()
            .filter(|d| **d != 0)
            .try_fold(dtype.block_bytes(), |bytes, d| bytes.checked_mul(*d))
            .filter(|bytes| *bytes <= i64::MAX as u64);
        let sizes: Option<Vec<usize>> = shape.iter().map(|d| usize::try_from(*d).ok()).collect();
        let (Some(extent), Some(sizes)) = (extent, sizes) else {
            return Err(corrupt(format!("has the impossible shape {shape:?}")));
        };
        let bytes = if shape.contains(&0) { 0 } else { extent };
        if end.checked_sub(begin) != Some(bytes) {
            return Err(corrupt(format!(
                "has shape {shape:?} in {dtype}, {bytes} bytes, but the range {begin}..{end}"
            )));
        }
        if end > i64::MAX as u64 {
            return Err(corrupt(format!("has the impossible range {begin}..{end}")));
        }
        Ok(TensorEntry { dtype, shape: sizes, offset: data_start + begin, len: bytes, name })
    }
}

/// The whole header in its order. A name that stands twice is an error: JSON readers disagree on which one counts.
struct Header(Vec<(String, RawEntry)>);

impl<'de> Deserialize<'de> for Header {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(HeaderVisitor)
    }
}

struct HeaderVisitor;

impl<'de> Visitor<'de> for HeaderVisitor {
    type Value = Header;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Header, A::Error> {
        let mut entries: Vec<(String, RawEntry)> = Vec::new();
        let mut metadata = false;
        while let Some(name) = map.next_key::<String>()? {
            if name == METADATA {
                if std::mem::replace(&mut metadata, true) {
                    return Err(A::Error::custom("`__metadata__` stands twice"));
                }
                map.next_value::<TextMap>()?;
            } else if entries.len() == MAX_TENSORS {
                return Err(A::Error::custom(format_args!("more than {MAX_TENSORS} tensors")));
            } else {
                let entry = map.next_value()?;
                entries.push((name, entry));
            }
        }
        let mut seen = HashSet::with_capacity(entries.len());
        if let Some((twice, _)) = entries.iter().find(|(name, _)| !seen.insert(name.as_str())) {
            return Err(A::Error::custom(format_args!("tensor `{twice}` stands twice")));
        }
        Ok(Header(entries))
    }
}

/// `__metadata__`: an object of strings; read, not kept.
struct TextMap;

impl<'de> Deserialize<'de> for TextMap {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct TextMapVisitor;
        impl<'de> Visitor<'de> for TextMapVisitor {
            type Value = TextMap;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of strings")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TextMap, A::Error> {
                while map.next_entry::<IgnoredAny, String>()?.is_some() {}
                Ok(TextMap)
            }
        }
        deserializer.deserialize_map(TextMapVisitor)
    }
}

/// Dimensions, few.
struct Shape(Vec<u64>);

impl<'de> Deserialize<'de> for Shape {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct ShapeVisitor;
        impl<'de> Visitor<'de> for ShapeVisitor {
            type Value = Shape;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "at most {MAX_RANK} dimensions")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Shape, A::Error> {
                let mut shape = Vec::new();
                while let Some(d) = seq.next_element()? {
                    if shape.len() == MAX_RANK {
                        return Err(A::Error::invalid_length(MAX_RANK + 1, &self));
                    }
                    shape.push(d);
                }
                Ok(Shape(shape))
            }
        }
        deserializer.deserialize_seq(ShapeVisitor)
    }
}

#[cfg(test)]
#[path = "header_tests.rs"]
mod tests;
