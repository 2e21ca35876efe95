//! The header of one safetensors file, checked in full against the file's length.

use std::borrow::Cow;

use super::dtype_of;
use super::json::Json;
use crate::dtype::DType;
use crate::units::format_counted;
use crate::weights::room::Room;
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
    let data_start = 8 + json.len() as u64;
    let data_len = file_len - data_start;
    let mut entries = read_entries(json, file_len)?;
    // JSON readers disagree on which of two counts.
    entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    if let Some([twice, ..]) = entries.windows(2).find(|pair| pair[0].name == pair[1].name) {
        return Err(WeightsProblem::Corrupt(format!("tensor `{}` stands twice", twice.name)));
    }
    entries.sort_unstable_by(|a, b| (a.offset, a.len, &a.name).cmp(&(b.offset, b.len, &b.name)));
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

/// The entries of a header in its order.
fn read_entries(json: &[u8], file_len: u64) -> Result<Vec<TensorEntry>, WeightsProblem> {
    let data_start = 8 + json.len() as u64;
    let mut entries: Vec<TensorEntry> = Vec::new();
    let mut room = Room::of_file(file_len);
    let mut metadata = false;
    let mut json = Json::new(json, "its header is no safetensors header");
    json.object("an object of tensors", |json, name| {
        if name == METADATA {
            if std::mem::replace(&mut metadata, true) {
                return Err(json.error("`__metadata__` stands twice"));
            }
            return json.object("an object of strings", |json, _| json.skip_string());
        }
        if entries.len() == MAX_TENSORS {
            return Err(json.error(&format!("more than {MAX_TENSORS} tensors")));
        }
        check_name(&name)?;
        room.take(&name)?;
        entries.push(RawEntry::read(json)?.check(name.into_owned(), data_start)?);
        Ok(())
    })?;
    json.end()?;
    Ok(entries)
}

/// An entry as written.
struct RawEntry<'a> {
    dtype: Cow<'a, str>,
    shape: Shape,
    data_offsets: (u64, u64),
}

/// Dimensions, few.
#[derive(Clone, Copy)]
struct Shape {
    rank: usize,
    dims: [u64; MAX_RANK],
}

impl<'a> RawEntry<'a> {
    fn read(json: &mut Json<'a>) -> Result<Self, WeightsProblem> {
        let (mut dtype, mut shape, mut offsets) = (None, None, None);
        let mut twice = false;
        json.object("an object", |json, key| {
            match &*key {
                "dtype" => twice |= dtype.replace(json.string("a dtype")?).is_some(),
                "shape" => twice |= shape.replace(Shape::read(json)?).is_some(),
                "data_offsets" => {
                    let range = Shape::read(json)?;
                    if range.rank != 2 {
                        return Err(json.error("expected two offsets"));
                    }
                    twice |= offsets.replace((range.dims[0], range.dims[1])).is_some();
                }
                _ => json.skip(0)?,
            }
            if twice { Err(json.error("a field that stands twice")) } else { Ok(()) }
        })?;
        match (dtype, shape, offsets) {
            (Some(dtype), Some(shape), Some(data_offsets)) => Ok(Self { dtype, shape, data_offsets }),
            _ => Err(json.error("missing field: dtype, shape or data_offsets")),
        }
    }

    fn check(self, name: String, data_start: u64) -> Result<TensorEntry, WeightsProblem> {
        let Self { dtype, shape, data_offsets: (begin, end) } = self;
        let shape = &shape.dims[..shape.rank];
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
        let bytes = if shape.contains(&0) { 0 } else { extent / dtype.block_len() };
        if !extent.is_multiple_of(dtype.block_len()) {
            return Err(corrupt(format!(
                "has shape {shape:?} in {dtype}, which is no whole number of bytes"
            )));
        }
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

impl Shape {
    fn read(json: &mut Json<'_>) -> Result<Self, WeightsProblem> {
        let mut shape = Self { rank: 0, dims: [0; MAX_RANK] };
        json.list("a list of numbers", |json| {
            let dim = json.whole_number()?;
            let place = shape.dims.get_mut(shape.rank);
            *place.ok_or_else(|| json.error(&format!("expected at most {MAX_RANK} dimensions")))? = dim;
            shape.rank += 1;
            Ok(())
        })?;
        Ok(shape)
    }
}

#[cfg(test)]
#[path = "header_tests.rs"]
mod tests;
