//! One engine's logits held against another's.

use serde::{Deserialize, Serialize};

use super::{Report, Verdict};
use crate::dtype::DType;
use crate::units::format_small;

/// How far logits are from those of the reference, the CPU in f32 on the same files.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Difference {
    /// Rows that were compared: one for each token.
    pub rows: usize,
    /// Largest difference of two logits.
    pub max: f64,
    /// Mean of all differences.
    pub mean: f64,
    /// Largest logit of the reference, in size: what the bound is relative to.
    pub scale: f64,
    /// Share of rows whose best id is the same, 0 to 1.
    pub top1_agreement: f64,
    /// Mean share of the reference's five best ids that are among the five best, 0 to 1.
    pub top5_overlap: f64,
    /// Largest `max / scale` that passes for the format.
    pub bound: f64,
    /// Whether it does.
    pub verdict: Verdict,
}

impl Difference {
    /// Compares rows of `vocab` logits, as many in each. `dtype` is what the weights were held in.
    #[must_use]
    pub fn of(reference: &[f32], found: &[f32], vocab: usize, dtype: DType) -> Self {
        let rows = reference.len() / vocab.max(1);
        let (mut max, mut sum, mut scale) = (0.0_f64, 0.0, 0.0_f64);
        let mut is_finite = found.len() == reference.len() && rows > 0;
        for (a, b) in reference.iter().zip(found) {
            let difference = (f64::from(*a) - f64::from(*b)).abs();
            // What is no number fails by itself and would hide how far the others are off.
            is_finite &= difference.is_finite();
            if difference.is_finite() {
                max = max.max(difference);
                sum += difference;
                scale = scale.max(f64::from(a.abs()));
            }
        }
        let (mut top1, mut top5) = (0, 0);
        for (a, b) in reference.chunks_exact(vocab.max(1)).zip(found.chunks_exact(vocab.max(1))) {
            let (a, b) = (best(a), best(b));
            top1 += usize::from(!a.is_empty() && a.first() == b.first());
            top5 += a.iter().filter(|id| b.contains(id)).count();
        }
        let bound = Self::bound(dtype);
        let passes = is_finite && max <= bound * scale;
        let count = rows.max(1) as f64;
        Self {
            rows,
            max,
            mean: sum / reference.len().max(1) as f64,
            scale,
            top1_agreement: top1 as f64 / count,
            top5_overlap: top5 as f64 / (count * vocab.clamp(1, 5) as f64),
            bound,
            verdict: if passes { Verdict::Pass } else { Verdict::Fail },
        }
    }

    /// The largest difference, relative to the largest logit.
    #[must_use]
    pub fn share(&self) -> f64 {
        self.max / self.scale.max(f64::MIN_POSITIVE)
    }

    /// The largest difference that passes, relative to the largest logit. In f32 engines differ in the order of sums
    /// alone; 16 bits round every activation; quantised weights are other weights, and a layer that is computed wrong is
    /// further off than they are.
    #[must_use]
    pub fn bound(dtype: DType) -> f64 {
        match dtype {
            DType::F32 => 1e-3,
            DType::Bf16 | DType::F16 => 5e-2,
            DType::Q8_0 => 1e-1,
            _ => 5e-1,
        }
    }
}

/// The five best ids of those whose logits are numbers, the best first.
fn best(row: &[f32]) -> Vec<usize> {
    let mut best: Vec<usize> = Vec::with_capacity(6);
    for (id, value) in row.iter().enumerate().filter(|(_, value)| !value.is_nan()) {
        let at = best.iter().position(|other| *value > row[*other]).unwrap_or(best.len());
        if at < 5 {
            best.insert(at, id);
            best.truncate(5);
        }
    }
    best
}

impl Report {
    /// Takes the difference into the report; one that fails is its verdict. Where there are values that are no numbers,
    /// nothing is said of how far the others are off.
    pub fn hold_against(&mut self, difference: Difference) {
        if self.nan_count + self.inf_count > 0 {
            return;
        }
        let words = if difference.scale == 0.0 && difference.verdict == Verdict::Fail {
            "no logit is a number that could be held against the CPU in f32".to_owned()
        } else {
            format!(
                "logits differ from the CPU in f32 by {} of the largest at most (bound {:.0e}), same best id in {:.0} % of {} rows",
                format_small(difference.share()),
                difference.bound,
                difference.top1_agreement * 100.0,
                difference.rows
            )
        };
        if difference.verdict == Verdict::Fail && self.verdict == Verdict::Pass {
            self.verdict = Verdict::Fail;
            self.reason = words;
        } else {
            self.reason = format!("{}; {words}", self.reason);
        }
        self.difference = Some(difference);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_logits_pass_and_far_ones_fail() {
        let reference = [1.0, 5.0, -10.0, 2.0, 0.0, 3.0, 9.0, 8.0, 7.0, 6.0, 5.0, 4.0];
        let same = Difference::of(&reference, &reference, 6, DType::F32);
        assert_eq!((same.rows, same.max, same.scale), (2, 0.0, 10.0));
        assert_eq!((same.top1_agreement, same.top5_overlap, same.verdict), (1.0, 1.0, Verdict::Pass));

        let mut near = reference;
        near[0] += 0.009;
        assert_eq!(Difference::of(&reference, &near, 6, DType::F32).verdict, Verdict::Pass);
        near[0] += 0.002;
        assert_eq!(Difference::of(&reference, &near, 6, DType::F32).verdict, Verdict::Fail);
        assert_eq!(Difference::of(&reference, &near, 6, DType::Bf16).verdict, Verdict::Pass);

        // The first row's worst becomes its best.
        let mut other = reference;
        other[2] = 6.0;
        let other = Difference::of(&reference, &other, 6, DType::Q4_0);
        assert_eq!((other.top1_agreement, other.top5_overlap), (0.5, 0.9));
        assert_eq!((other.max, other.verdict), (16.0, Verdict::Fail));
    }

    #[test]
    fn what_is_not_finite_or_not_there_fails() {
        for found in [&[f32::NAN, 0.0][..], &[f32::INFINITY, 0.0], &[1.0]] {
            assert_eq!(Difference::of(&[1.0, 0.0], found, 2, DType::F32).verdict, Verdict::Fail);
        }
        assert_eq!(Difference::of(&[], &[], 2, DType::F32).verdict, Verdict::Fail);
        // Two rows without a number agree on nothing.
        let none = Difference::of(&[f32::NAN; 4], &[f32::NAN; 4], 2, DType::F32);
        assert_eq!((none.top1_agreement, none.top5_overlap, none.verdict), (0.0, 0.0, Verdict::Fail));
    }
}
