//! What was tried on the server: the table, one attempt, several side by side.

pub mod compare;
pub mod detail;
pub mod table;
pub mod tree;

pub use compare::Compare;
pub use detail::Detail;
pub use table::Table;
pub use tree::Tree;
