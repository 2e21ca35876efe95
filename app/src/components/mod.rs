//! Views: they take data and callbacks, or read the store; they fetch nothing and know no address.

pub mod assumptions;
pub mod bits;
pub mod controls;
pub mod dtypes;
pub mod fields;
pub mod findings;
pub mod header;
pub mod params;
pub mod plot;
pub mod problem;
pub mod rail;
pub mod report;
pub mod terms;
pub mod validate;
pub mod verdict;

pub use assumptions::Assumptions;
pub use bits::{Dropping, Toast};
pub use controls::Controls;
pub use dtypes::DTypes;
pub use fields::FieldTable;
pub use findings::Findings;
pub use header::Header;
pub use params::Params;
pub use plot::Plot;
pub use problem::Notice;
pub use rail::{Rail, open_files};
pub use terms::Terms;
pub use validate::Validate;
pub use verdict::{Unknown, Verdict};
