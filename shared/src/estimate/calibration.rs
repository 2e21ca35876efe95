//! The runtime's overhead as measured loads have it.

use serde::{Deserialize, Serialize};

use super::Backend;
use crate::units::format_bytes;

/// The overhead of one measured load.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sample {
    /// What computed.
    pub backend: Backend,
    /// What is assumed where nothing was measured: [`Backend::assumed_overhead`] of this model.
    pub assumed_bytes: u64,
    /// What was taken beyond weights, cache and activations.
    pub measured_bytes: u64,
}

/// How far off the assumed overhead of a backend was, on one machine. What is assumed grows with the vocabulary, so the
/// correction of one model holds for another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Calibration {
    /// Of which backend.
    pub backend: Backend,
    /// Added to what is assumed: the median of measured less assumed.
    pub correction_bytes: i64,
    /// Loads it rests on.
    pub samples: u64,
    /// The largest distance of one of them from the median.
    pub residual_bytes: u64,
}

impl Calibration {
    /// A correction for each backend that has been measured; the median, because one load beside a busy neighbour
    /// must not move it.
    #[must_use]
    pub fn fit(samples: &[Sample]) -> Vec<Self> {
        Backend::ALL.into_iter().filter_map(|backend| Self::of(backend, samples)).collect()
    }

    fn of(backend: Backend, samples: &[Sample]) -> Option<Self> {
        let off = |sample: &Sample| i128::from(sample.measured_bytes) - i128::from(sample.assumed_bytes);
        let mut off: Vec<i128> = samples.iter().filter(|sample| sample.backend == backend).map(off).collect();
        off.sort_unstable();
        let upper = *off.get(off.len() / 2)?;
        let lower = off[(off.len() - 1) / 2];
        let median = (lower + upper) / 2;
        let residual = off.iter().map(|off| (off - median).unsigned_abs()).max()?;
        Some(Self {
            backend,
            correction_bytes: i64::try_from(median).ok()?,
            samples: off.len() as u64,
            residual_bytes: u64::try_from(residual).unwrap_or(u64::MAX),
        })
    }

    /// The overhead where so much would be assumed.
    #[must_use]
    pub fn corrected(&self, assumed_bytes: u64) -> u64 {
        assumed_bytes.saturating_add_signed(self.correction_bytes)
    }

    /// What it rests on, in words: how many loads, and how far they are apart.
    #[must_use]
    pub fn words(&self) -> String {
        match self.samples {
            1 => "assumed, corrected by one measured load".to_owned(),
            n => format!(
                "assumed, corrected by the median of {n} measured loads, none further off than {}",
                format_bytes(self.residual_bytes)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_median_and_the_worst_of_each_backend() {
        let of = |backend| {
            move |(assumed_bytes, measured_bytes)| Sample { backend, assumed_bytes, measured_bytes }
        };
        assert_eq!(Calibration::fit(&[]), []);
        let cpu = [(100, 110), (1000, 1030), (500, 9000)].map(of(Backend::Cpu));
        let cuda = [(640, 600), (640, 500)].map(of(Backend::Cuda));
        let fitted = Calibration::fit(&[&cpu[..], &cuda[..]].concat());
        let [cpu, cuda] = fitted[..] else { panic!("{fitted:?}") };
        assert_eq!(
            (cpu.backend, cpu.correction_bytes, cpu.samples, cpu.residual_bytes),
            (Backend::Cpu, 30, 3, 8470)
        );
        assert_eq!((cuda.correction_bytes, cuda.residual_bytes), (-90, 50));
        assert_eq!((cpu.corrected(200), cuda.corrected(640), cuda.corrected(10)), (230, 550, 0));
        let extremes = [(0, u64::MAX), (u64::MAX, 0)].map(of(Backend::Cpu));
        assert_eq!(Calibration::fit(&extremes)[0].residual_bytes, u64::MAX);
    }
}
