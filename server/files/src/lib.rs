//! A model's files on this machine: what a PATH means, checked opening, positioned reads.
//!
//! The CLI, the server and the worker read files through here and nowhere else. It starts no process,
//! speaks to no socket and never maps a file: one that shrinks while it is read is an error, not a signal.

mod error;
mod file_source;
mod small_file;
mod presets;
mod source;
mod model;

pub use error::FilesError;
pub use file_source::FileSource;
pub use model::Model;
pub use presets::{PRESETS, Preset};
pub use small_file::read_small;
pub use source::Source;
