//! The runtime's overhead as measured loads have it.

use serde::{Deserialize, Serialize};

/// A measured load: what the other terms came to, and what was taken in all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sample {
    /// Bytes of weights, cache and activations as counted.
    pub counted_bytes: u64,
    /// Bytes that the process took on the device.
    pub measured_bytes: u64,
}

/// An overhead fitted to measured loads of one backend on one machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// The overhead: the mean of what was taken beyond the counted terms.
    pub overhead_bytes: u64,
    /// Loads it rests on.
    pub samples: u64,
    /// The largest distance of one of them from the mean.
    pub residual_bytes: u64,
}

impl Calibration {
    /// Fits an overhead to measured loads; `None` without any. One constant, no slope: what grows with the model is
    /// in the other terms.
    #[must_use]
    pub fn fit(samples: &[Sample]) -> Option<Self> {
        let beyond = |sample: &Sample| i128::from(sample.measured_bytes) - i128::from(sample.counted_bytes);
        let count = i128::try_from(samples.len()).ok().filter(|count| *count > 0)?;
        let mean = samples.iter().map(beyond).sum::<i128>() / count;
        let residual = samples.iter().map(|sample| (beyond(sample) - mean).unsigned_abs()).max()?;
        Some(Self {
            overhead_bytes: u64::try_from(mean.max(0)).unwrap_or(u64::MAX),
            samples: samples.len() as u64,
            residual_bytes: u64::try_from(residual).unwrap_or(u64::MAX),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mean_and_the_worst() {
        let sample = |counted_bytes, measured_bytes| Sample { counted_bytes, measured_bytes };
        assert_eq!(Calibration::fit(&[]), None);
        let fitted = Calibration::fit(&[sample(100, 110), sample(1000, 1030)]).expect("two samples");
        assert_eq!(fitted, Calibration { overhead_bytes: 20, samples: 2, residual_bytes: 10 });
        // Less measured than counted: no negative overhead, and the residual says so.
        let below = Calibration::fit(&[sample(100, 60)]).expect("one sample");
        assert_eq!((below.overhead_bytes, below.residual_bytes), (0, 0));
        assert!(Calibration::fit(&[sample(0, u64::MAX), sample(u64::MAX, 0)]).is_some());
    }
}
