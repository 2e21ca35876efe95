//! Settings of these pages, and the token that a server asks for.

pub mod look;
pub mod token;

pub use look::Look;
pub use token::{Locked, Token};
