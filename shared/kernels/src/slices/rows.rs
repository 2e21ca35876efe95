//! What happens to one row between the matrix products, with Hugging Face's casts.

use super::exp::exp;
use super::{Float, dot, round};
use crate::Precision;

/// RMSNorm of a row: computed in f32, cast, then times the weight.
#[inline(always)]
pub(crate) fn rms_norm<W: Float>(out: &mut [f32], x: &[f32], weight: &[W], eps: f32, precision: Precision) {
    let scale = 1.0 / (dot(x, x) / x.len() as f32 + eps).sqrt();
    for (out, x) in out.iter_mut().zip(x) {
        *out = x * scale;
    }
    round(precision, out);
    for (out, weight) in out.iter_mut().zip(weight) {
        *out *= weight.widen();
    }
    round(precision, out);
}

/// `out += x`.
#[inline(always)]
pub(crate) fn add(out: &mut [f32], x: &[f32], precision: Precision) {
    for (out, x) in out.iter_mut().zip(x) {
        *out += x;
    }
    round(precision, out);
}

/// `out = silu(gate) · up` for a row `[gate | up]`.
#[inline(always)]
pub(crate) fn silu_mul(out: &mut [f32], gate_up: &[f32], precision: Precision) {
    let (gate, up) = gate_up.split_at(gate_up.len() / 2);
    for (out, gate) in out.iter_mut().zip(gate) {
        *out = gate / (1.0 + exp(-gate));
    }
    round(precision, out);
    for (out, up) in out.iter_mut().zip(up) {
        *out *= up;
    }
    round(precision, out);
}

/// Rotates the first `2 · cos.len()` values of a head by halves; the tail passes through.
///
/// `cos` and `sin` are rounded to `precision` already.
#[inline(always)]
pub(crate) fn rotate(head: &mut [f32], cos: &[f32], sin: &[f32], precision: Precision) {
    let (first, rest) = head.split_at_mut(cos.len());
    let second = &mut rest[..cos.len()];
    for i in 0..cos.len() {
        let (a, b) = (first[i], second[i]);
        let [mut products, mut sums] = [[a * cos[i], b * sin[i], b * cos[i], a * sin[i]], [0.0; 4]];
        round(precision, &mut products);
        (sums[0], sums[1]) = (products[0] - products[1], products[2] + products[3]);
        round(precision, &mut sums);
        (first[i], second[i]) = (sums[0], sums[1]);
    }
}

/// Softmax of raw scores, scaled first: `scores = softmax(scale · scores)`, in f32.
#[inline(always)]
pub(crate) fn softmax(scores: &mut [f32], scale: f32, precision: Precision) {
    const LANES: usize = 16;
    round(precision, scores);
    for score in scores.iter_mut() {
        *score *= scale;
    }
    round(precision, scores);
    let (blocks, tail) = scores.as_chunks::<LANES>();
    let mut lanes = [f32::NEG_INFINITY; LANES];
    for block in blocks {
        for lane in 0..LANES {
            lanes[lane] = if block[lane] > lanes[lane] { block[lane] } else { lanes[lane] };
        }
    }
    // A NaN is not the maximum, but its own exponential and so the whole row will be NaN.
    let max = lanes.iter().chain(tail).copied().fold(f32::NEG_INFINITY, f32::max);
    let (blocks, tail) = scores.as_chunks_mut::<LANES>();
    let mut sums = [0.0f32; LANES];
    for block in blocks {
        for lane in 0..LANES {
            block[lane] = exp(block[lane] - max);
            sums[lane] += block[lane];
        }
    }
    let mut sum: f32 = sums.iter().sum();
    for score in tail {
        *score = exp(*score - max);
        sum += *score;
    }
    for score in scores.iter_mut() {
        *score /= sum;
    }
    round(precision, scores);
}

/// A softmax over scores that come a tile at a time: the largest so far, and the sum of the exponentials below it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct OnlineSoftmax {
    max: f32,
    pub(crate) sum: f32,
}

impl Default for OnlineSoftmax {
    fn default() -> Self {
        Self { max: f32::NEG_INFINITY, sum: 0.0 }
    }
}

impl OnlineSoftmax {
    /// Turns raw scores into weights below the new maximum, and tells by what everything before must be multiplied.
    #[inline(always)]
    pub(crate) fn add(&mut self, scores: &mut [f32], scale: f32) -> f32 {
        let mut max = self.max;
        for score in scores.iter_mut() {
            *score *= scale;
            max = if *score > max { *score } else { max };
        }
        // Nothing came before, or nothing that counts: an infinity less itself is no number.
        let kept = if self.max == f32::NEG_INFINITY { 0.0 } else { exp(self.max - max) };
        let mut sum = 0.0;
        for score in scores.iter_mut() {
            *score = exp(*score - max);
            sum += *score;
        }
        (self.max, self.sum) = (max, self.sum * kept + sum);
        kept
    }
}
