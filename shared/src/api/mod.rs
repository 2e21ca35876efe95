//! Words that travel between processes: errors, attempts, events, the worker's messages.

mod attempt;
mod error;
mod event;
pub mod worker;

pub use attempt::{Attempt, AttemptKind, AttemptState, ModelEntry, Started};
pub use error::{ErrorBody, ErrorObject};
pub use event::{Event, EventKind};
