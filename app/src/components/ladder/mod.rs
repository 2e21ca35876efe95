//! Ladders: their rungs as they run, what they predicted and measured, and how one is started.

pub mod list;
pub mod rungs;
pub mod start;
pub mod steps;
pub mod telling;

pub use list::List;
pub use rungs::Rungs;
pub use start::Start;
pub use steps::Steps;
pub use telling::Telling;
