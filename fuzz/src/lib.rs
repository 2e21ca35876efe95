//! What strangers' bytes are fed to. `shared/tests/hostile.rs` replays the corpus through the same functions.

mod allocations;
pub mod targets;
pub mod text_targets;
