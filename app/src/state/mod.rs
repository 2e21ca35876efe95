//! What the page knows: the model, the choices, and what follows from them.
//! What can be derived is derived: only `Store`'s signals are ever written.

pub mod derived;
pub mod devices;
pub mod link;
pub mod model;
pub mod presets;
pub mod steps;
pub mod store;

pub use model::{Model, Origin, Problem};
pub use store::Store;
