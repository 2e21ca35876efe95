//! What the page knows: the model, the choices, and what follows from them.
//! What can be derived is derived: only `Store`'s signals are ever written.

pub mod access;
pub mod answer;
pub mod attempts;
pub mod browser_run;
pub mod carry;
pub mod columns;
pub mod derived;
pub mod devices;
pub mod given;
pub mod hand_off;
pub mod in_browser;
pub mod inspection;
pub mod late;
pub mod ladders;
pub mod ledger;
pub mod link;
pub mod memory;
pub mod model;
pub mod models;
pub mod page;
pub mod plan;
pub mod playground;
pub mod run;
pub mod said;
pub mod sampling;
pub mod server;
pub mod steps;
pub mod store;
pub mod theme;
pub mod validation;
pub mod weights;

pub use access::Access;
pub use attempts::Attempts;
pub use in_browser::{InBrowser, Place};
pub use ladders::Ladders;
pub use late::{Ask, Late};
pub use model::{Model, Problem};
pub use models::Models;
pub use page::Page;
pub use plan::Plan;
pub use playground::Playground;
pub use server::{Presence, ServerWatch};
pub use store::Store;
pub use validation::{Server, Validation};
