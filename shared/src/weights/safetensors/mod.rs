//! safetensors: the header of one file, the index of several, and writing.
//!
//! Format: `u64` little-endian header length, a JSON header, the data without holes.
//! Offsets are `u64` here, unlike in the `safetensors` crate, so that a browser (32-bit `usize`) can read the
//! header of a 5 GB shard. Whatever is accepted here that crate accepts too; the tests hold the two side by side.

mod header;
mod index;

pub use header::TensorEntry;
pub(super) use header::read_header;
pub use index::{MAX_INDEX_BYTES, ShardIndex, shard_names};
