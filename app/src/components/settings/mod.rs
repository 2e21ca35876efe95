//! Settings of these pages and of the server, and the token that it asks for.

pub mod look;
pub mod server;
pub mod token;

pub use look::Look;
pub use server::OfServer;
pub use token::{Locked, Token};
