//! Inner products and scaled sums: what decoding one token is made of.

use super::Float;
use super::multiply_add;

const LANES: usize = 16;
/// Sums that do not wait for each other.
const SUMS: usize = 4;

/// `Σ weight[i] · x[i]`, summed in f32.
#[inline(always)]
pub(crate) fn dot<W: Float>(weight: &[W], x: &[f32]) -> f32 {
    let mut sums = [[0.0f32; LANES]; SUMS];
    let (blocks, weight_tail) = weight.as_chunks::<{ LANES * SUMS }>();
    let (x_blocks, x_tail) = x.as_chunks::<{ LANES * SUMS }>();
    for (weight, x) in blocks.iter().zip(x_blocks) {
        for (sum, (weight, x)) in
            sums.iter_mut().zip(weight.as_chunks::<LANES>().0.iter().zip(x.as_chunks::<LANES>().0))
        {
            lanes(sum, weight, x);
        }
    }
    let (blocks, weight_tail) = weight_tail.as_chunks::<LANES>();
    let (x_blocks, x_tail) = x_tail.as_chunks::<LANES>();
    for (sum, (weight, x)) in sums.iter_mut().zip(blocks.iter().zip(x_blocks)) {
        lanes(sum, weight, x);
    }
    let mut total = [0.0f32; LANES];
    for lane in 0..LANES {
        total[lane] = (sums[0][lane] + sums[1][lane]) + (sums[2][lane] + sums[3][lane]);
    }
    let tail: f32 = weight_tail.iter().zip(x_tail).map(|(weight, x)| weight.widen() * x).sum();
    let mut width = LANES;
    while width > 1 {
        width /= 2;
        for lane in 0..width {
            total[lane] += total[lane + width];
        }
    }
    total[0] + tail
}

#[inline(always)]
fn lanes<W: Float>(sum: &mut [f32; LANES], weight: &[W; LANES], x: &[f32; LANES]) {
    for lane in 0..LANES {
        sum[lane] = multiply_add(weight[lane].widen(), x[lane], sum[lane]);
    }
}

/// `out[i] += scale · values[i]`.
#[inline(always)]
pub(crate) fn add_scaled<W: Float>(out: &mut [f32], scale: f32, values: &[W]) {
    for (out, value) in out.iter_mut().zip(values) {
        *out = multiply_add(scale, value.widen(), *out);
    }
}

#[cfg(test)]
mod tests {
    use super::super::simd;
    use super::*;

    #[test]
    fn every_length_sums_every_element_once() {
        for len in 0..300usize {
            // Small integers: every sum is exact, so equality is exact too.
            let weight: Vec<f32> = (0..len).map(|i| (i % 7) as f32 - 3.0).collect();
            let x: Vec<f32> = (0..len).map(|i| (i % 5) as f32 - 1.0).collect();
            let narrow: Vec<half::bf16> = weight.iter().map(|w| half::bf16::from_f32(*w)).collect();
            let expected: f32 = weight.iter().zip(&x).map(|(w, x)| w * x).sum();
            assert_eq!(simd(|| dot(&weight, &x)), expected, "{len}");
            assert_eq!(simd(|| dot(&narrow, &x)), expected, "{len}");
            assert_eq!(dot(&weight, &x), expected, "{len}");
        }
    }
}
