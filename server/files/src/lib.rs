//! A model's files, on this machine or on the Hub: what a PATH means, checked opening, positioned reads.
//!
//! The CLI, the server and the worker read files through here and nowhere else. It starts no process and never
//! maps a file: one that shrinks while it is read is an error, not a signal. Only [`hub`] speaks to a socket.

#[cfg(target_os = "linux")]
mod cold;
mod disk;
mod error;
mod file_source;
mod memory;
mod small_file;
pub mod hub;
mod source;
mod weight_file;
mod companions;
mod model;
mod hub_model;
mod overrides;

pub use companions::{Companions, ListedFile};
pub use disk::free_bytes;
pub use error::FilesError;
pub use file_source::FileSource;
pub use memory::{HostMemory, host_memory};
pub use model::{Model, NoWeights, READ_BESIDE, other_parts};
pub use overrides::of_override;
pub use small_file::read_small;
pub use source::Source;
pub use weight_file::WeightFile;
