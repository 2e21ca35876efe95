//! safetensors: the header of one file, the index of several, and the layout of files to be written.
//!
//! Format: `u64` little-endian header length, a JSON header, the data without holes.
//! Offsets are `u64` here, unlike in the `safetensors` crate, so that a browser (32-bit `usize`) can read the
//! header of a 5 GB shard. Whatever is accepted here that crate accepts too; the tests hold the two side by side.

mod header;
mod index;
mod json;
mod layout;

pub use header::TensorEntry;
pub(super) use header::read_header;
pub use index::{MAX_INDEX_BYTES, ShardIndex, shard_names};
pub use layout::{INDEX_FILE, Layout, MAX_SHARD_BYTES, NewTensor, SINGLE_FILE, index_json, lay_out};

use crate::dtype::DType;

/// The formats of safetensors. All 8-bit floats are one format here, and both of 6 bits.
const DTYPES: [(&str, DType); 22] = [
    ("F64", DType::F64),
    ("F32", DType::F32),
    ("BF16", DType::Bf16),
    ("F16", DType::F16),
    ("F8_E4M3", DType::Fp8),
    ("F8_E5M2", DType::Fp8),
    ("I64", DType::I64),
    ("I32", DType::I32),
    ("I16", DType::I16),
    ("I8", DType::I8),
    ("U64", DType::U64),
    ("U32", DType::U32),
    ("U16", DType::U16),
    ("U8", DType::U8),
    ("BOOL", DType::Bool),
    ("F8_E4M3FNUZ", DType::Fp8),
    ("F8_E5M2FNUZ", DType::Fp8),
    ("F8_E8M0", DType::F8E8M0),
    ("F6_E2M3", DType::F6),
    ("F6_E3M2", DType::F6),
    ("F4", DType::F4),
    ("C64", DType::C64),
];

fn dtype_of(name: &str) -> Option<DType> {
    DTYPES.iter().find(|(known, _)| *known == name).map(|(_, dtype)| *dtype)
}

/// The name in a header.
///
/// # Panics
/// On a block format: those are never written to safetensors here.
fn dtype_name(dtype: DType) -> &'static str {
    DTYPES.iter().find(|(_, known)| *known == dtype).map(|(name, _)| *name).expect("a plain format")
}

/// JSON as Hugging Face lays it out: two spaces, a line feed at the end.
pub(super) fn pretty(value: &serde_json::Value) -> Vec<u8> {
    let mut bytes = serde_json::to_vec_pretty(value).expect("a JSON value is serialisable");
    bytes.push(b'\n');
    bytes
}
