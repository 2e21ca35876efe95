//! A load as it is watched.

use super::LoadProgress;

/// How far a load is, and how fast.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Loading {
    /// The last step told.
    pub progress: LoadProgress,
    /// Bytes a second since the stage began; `None` until it can be told.
    pub bytes_per_s: Option<f64>,
    began_ms: f64,
    began_bytes: u64,
}

impl Loading {
    /// A step that came at `now_ms`, after those before it.
    #[must_use]
    pub fn next(before: Option<Self>, progress: LoadProgress, now_ms: f64) -> Self {
        let (began_ms, began_bytes) = match before {
            Some(loading) if loading.progress.stage == progress.stage => {
                (loading.began_ms, loading.began_bytes)
            }
            _ => (now_ms, progress.done_bytes),
        };
        let seconds = (now_ms - began_ms) / 1e3;
        let bytes = progress.done_bytes.saturating_sub(began_bytes);
        // A rate over a few milliseconds says nothing.
        let bytes_per_s = (seconds > 0.05).then(|| bytes as f64 / seconds);
        Self { progress, bytes_per_s, began_ms, began_bytes }
    }

    /// Share of the stage that is done, 0 to 1.
    #[must_use]
    pub fn share(self) -> f64 {
        (self.progress.done_bytes as f64 / self.progress.total_bytes.max(1) as f64).min(1.0)
    }
}
