//! The load config: form and JSON of one object, what it changes, what that costs, and how to say it elsewhere.

pub mod diff;
pub mod effect;
pub mod exports;
pub mod form;
pub mod json;

pub use diff::Changes;
pub use effect::{Candidates, Effect};
pub use exports::Exports;
pub use form::Form;
pub use json::Json;
