//! What the page knows: the model, the choices, and what follows from them.
//! What can be derived is derived: only `Store`'s signals are ever written.

pub mod derived;
pub mod devices;
pub mod link;
pub mod model;
pub mod run;
pub mod steps;
pub mod store;
pub mod validation;

pub use model::{Model, Problem};
pub use store::Store;
pub use validation::{Server, Validation};
