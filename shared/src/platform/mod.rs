//! What differs between the host and the browser, behind one signature each.

#[cfg(target_arch = "wasm32")]
mod web;
#[cfg(target_arch = "wasm32")]
pub use web::{Instant, unix_seconds};

#[cfg(not(target_arch = "wasm32"))]
mod native;
#[cfg(feature = "cuda")]
pub use native::process_id;
#[cfg(not(target_arch = "wasm32"))]
pub use native::{Instant, unix_seconds};

impl Instant {
    /// Milliseconds from this moment until now; never negative.
    #[must_use]
    pub fn elapsed_ms(&self) -> f64 {
        self.elapsed_seconds() * 1e3
    }
}
