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

/// Seconds since 1970-01-01 UTC by the host's clock.
#[must_use]
pub fn unix_seconds() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs() as i64)
}

/// The system's number of this process, as a driver lists those that use a device.
#[cfg(feature = "cuda")]
#[must_use]
pub fn process_id() -> u32 {
    std::process::id()
}
