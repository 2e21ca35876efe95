//! Where weights come from: checked headers and positioned reads, never a memory map.
//!
//! A [`WeightSource`] is anything that can fill a buffer from a position: a file read with `pread`, a browser
//! `File` slice, an HTTP range. Headers are parsed and checked in full before one byte of data is read;
//! nothing is allocated beyond a header by what a file claims.

mod check;
mod differences;
mod checkpoint;
mod error;
mod finding;
mod floats;
mod packed;
mod room;
pub mod gguf;
pub mod safetensors;
mod sniff;
mod source;
mod sink;
mod text;
pub mod synthetic;
pub mod convert;

pub use self::safetensors::ShardIndex;
pub use checkpoint::{Checkpoint, OtherParts, StoredTensor};
pub(crate) use checkpoint::{PIECE_BYTES, is_buffer, is_correction};
pub use error::{WeightsError, WeightsProblem};
pub use finding::WeightsFinding;
pub(crate) use floats::is_convertible;
pub use packed::as_stored;
pub use sink::{WeightSink, Written, WrittenFile};
pub use sniff::no_json;
pub use source::{BytesSource, ConcurrentRead, WeightSource};

/// Largest header that is read, of either format: the limit of the safetensors reference implementation.
pub const MAX_HEADER_BYTES: u64 = 100_000_000;
