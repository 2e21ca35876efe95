//! The monotonic clock of the host.

/// A moment on the monotonic clock.
#[derive(Debug, Clone, Copy)]
pub struct Instant(std::time::Instant);

impl Instant {
    /// This moment.
    #[must_use]
    pub fn now() -> Self {
        Self(std::time::Instant::now())
    }

    /// Seconds from this moment until now.
    #[must_use]
    pub fn elapsed_seconds(&self) -> f64 {
        self.0.elapsed().as_secs_f64()
    }
}
