//! Where weights come from: checked headers and positioned reads, never a memory map.
//!
//! A [`WeightSource`] is anything that can fill a buffer from a position: a file read with `pread`, a browser
//! `File` slice, an HTTP range. Headers are parsed and checked in full before one byte of data is read;
//! nothing is allocated beyond a header by what a file claims.

mod checkpoint;
mod error;
pub mod gguf;
pub mod safetensors;
mod source;
mod sink;
pub mod synthetic;
pub mod convert;

pub use checkpoint::{Checkpoint, StoredTensor};
pub use error::{WeightsError, WeightsProblem};
pub use sink::WeightSink;
pub use source::{BytesSource, WeightSource};
