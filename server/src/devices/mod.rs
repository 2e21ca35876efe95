//! The devices of this machine: names, memory, drivers, and who holds what. No GPU driver is loaded for it but
//! NVIDIA's management library, which makes no context.

mod host;
mod memory;

pub use host::environment;
pub use memory::{MemoryNow, memory};
