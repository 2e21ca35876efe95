//! The browser's clock. `std::time::Instant` panics on wasm32-unknown-unknown.

use wasm_bindgen::prelude::wasm_bindgen;

#[wasm_bindgen]
extern "C" {
    // `performance` stands in windows and in workers alike.
    #[wasm_bindgen(js_namespace = performance, js_name = now)]
    fn performance_now() -> f64;

    #[wasm_bindgen(js_namespace = Date, js_name = now)]
    fn date_now() -> f64;
}

/// A moment on the browser's monotonic clock.
#[derive(Debug, Clone, Copy)]
pub struct Instant(f64);

impl Instant {
    /// This moment.
    #[must_use]
    pub fn now() -> Self {
        Self(performance_now())
    }

    /// Seconds from this moment until now.
    #[must_use]
    pub fn elapsed_seconds(&self) -> f64 {
        (performance_now() - self.0) / 1e3
    }
}

/// Seconds since 1970-01-01 UTC by the browser's clock.
#[must_use]
pub fn unix_seconds() -> i64 {
    (date_now() / 1e3) as i64
}
