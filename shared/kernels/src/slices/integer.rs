//! Products of quantized weights in integers, where they are faster than in f32 ([`most_rows`](super::lanes::most_rows)).
//!
//! Activations are quantized once for a matrix, to 16 bits a value with an f32 scale for each block: 8 bits would lose
//! accuracy, and what they would win is little, for 16 bits keep up with memory. With one row of activations four rows of
//! weights share what is read of it; with many, four of them share what is read of a weight.

use super::Blocks;
use super::blocks::BLOCK;
use super::lanes::Lanes;

/// Rows of weights, or of activations, that are taken together.
pub(crate) const ROWS: usize = 4;

/// Blocks of each row that are asked for before they are read. Several rows side by side, each shorter than a page, are no
/// pattern that a processor would follow by itself: it waited for memory two thirds of the time.
const AHEAD: usize = 48;

/// Largest size of a quantized activation: `32 · 127 · 32767` and eight times a block's sum stay within 32 bits.
const LARGEST: f32 = 32_767.0;

/// Below it a block counts as zeros, since the inverse of its scale would be infinite.
const SMALLEST: f32 = 1e-30;

/// A format whose blocks of `BYTES` bytes can be multiplied in integers.
pub(crate) trait IntegerBlocks<const BYTES: usize>: Blocks {
    /// What is taken from each weight as it is stored.
    const OFFSET: i32;
    /// The values of a block as they are stored, in the order of its elements.
    fn stored<L: Lanes>(lanes: L, block: &[u8; BYTES]) -> L::Block;
}

impl IntegerBlocks<34> for super::Q8_0 {
    const OFFSET: i32 = 0;

    #[inline(always)]
    fn stored<L: Lanes>(lanes: L, block: &[u8; 34]) -> L::Block {
        let [_, _, quants @ ..] = block;
        lanes.signed_bytes(quants)
    }
}

impl IntegerBlocks<18> for super::Q4_0 {
    const OFFSET: i32 = 8;

    #[inline(always)]
    fn stored<L: Lanes>(lanes: L, block: &[u8; 18]) -> L::Block {
        let [_, _, quants @ ..] = block;
        lanes.nibbles(quants)
    }
}

/// Quantized rows of activations, in memory that is lent.
pub(crate) struct Activations<'a> {
    /// `[rows, inner]`.
    values: &'a [i16],
    /// `[rows, inner / BLOCK]`.
    scales: &'a [f32],
    /// Sum of each block's values.
    sums: &'a [i32],
    inner: usize,
}

impl<'a> Activations<'a> {
    /// Values of f32 that a row of `inner` values takes.
    pub(crate) const fn room(inner: usize) -> usize {
        inner / 2 + 2 * (inner / BLOCK)
    }

    /// Quantizes the rows of `x` into `memory`.
    ///
    /// # Panics
    /// Where `inner` is no whole number of blocks, or `memory` is too small.
    pub(crate) fn quantize(x: &[f32], inner: usize, memory: &'a mut [f32]) -> Self {
        assert!(inner.is_multiple_of(BLOCK) && x.len().is_multiple_of(inner), "whole blocks");
        let blocks = x.len() / BLOCK;
        let (values, rest) = memory.split_at_mut(x.len() / 2);
        let (scales, rest) = rest.split_at_mut(blocks);
        let values: &mut [i16] = bytemuck::cast_slice_mut(values);
        let sums: &mut [i32] = bytemuck::cast_slice_mut(&mut rest[..blocks]);
        let blocks = x.as_chunks::<BLOCK>().0.iter().zip(values.as_chunks_mut::<BLOCK>().0);
        for (((x, values), scale), sum) in blocks.zip(scales.iter_mut()).zip(sums.iter_mut()) {
            (*scale, *sum) = quantize_block(x, values);
        }
        Self { values, scales, sums, inner }
    }

    /// Rows.
    pub(crate) fn rows(&self) -> usize {
        self.values.len() / self.inner
    }

    fn row(&self, row: usize) -> X<'_> {
        let blocks = self.inner / BLOCK;
        let of_row = row * blocks..(row + 1) * blocks;
        X {
            values: self.values[row * self.inner..(row + 1) * self.inner].as_chunks::<BLOCK>().0,
            scales: &self.scales[of_row.clone()],
            sums: &self.sums[of_row],
        }
    }

    /// `Σ weights[column] · x[row]` for [`ROWS`] rows from `first` on: `write(row, column, sum)`.
    ///
    /// # Panics
    /// Where there are fewer rows, or `weights` are not as wide as these.
    #[inline(always)]
    pub(crate) fn multiply_rows<L: Lanes, B: IntegerBlocks<BYTES>, const BYTES: usize>(
        &self,
        lanes: L,
        first: usize,
        weights: &[u8],
        mut write: impl FnMut(usize, usize, f32),
    ) {
        let (weights, rest) = weights.as_chunks::<BYTES>();
        assert!(rest.is_empty(), "whole blocks");
        let x = std::array::from_fn(|row| self.row(first + row));
        for (column, weights) in weights.chunks_exact(self.inner / BLOCK).enumerate() {
            for (row, sum) in products_of_row::<L, B, BYTES>(lanes, weights, x).into_iter().enumerate() {
                write(first + row, column, sum);
            }
        }
    }

    /// Writes `Σ weights[i] · x[row]` to `out[i]`, for rows of weights in blocks of `BYTES` bytes.
    ///
    /// # Panics
    /// Where the rows of `weights` are not as many as `out` is long, or not as wide as these.
    #[inline(always)]
    pub(crate) fn multiply<L: Lanes, B: IntegerBlocks<BYTES>, const BYTES: usize>(
        &self,
        lanes: L,
        row: usize,
        weights: &[u8],
        out: &mut [f32],
    ) {
        let blocks = self.inner / BLOCK;
        let (weights, rest) = weights.as_chunks::<BYTES>();
        assert!(rest.is_empty() && weights.len() == out.len() * blocks, "rows of a product");
        let x = self.row(row);
        let (fours, last) = out.as_chunks_mut::<ROWS>();
        for (rows, out) in weights.chunks_exact(ROWS * blocks).zip(fours) {
            *out = products::<L, B, BYTES, ROWS>(lanes, rows, &x);
        }
        let done = weights.len() - last.len() * blocks;
        for (row, out) in weights[done..].chunks_exact(blocks.max(1)).zip(last) {
            [*out] = products::<L, B, BYTES, 1>(lanes, row, &x);
        }
    }
}

/// One row of activations, block by block.
#[derive(Clone, Copy)]
struct X<'a> {
    values: &'a [[i16; BLOCK]],
    scales: &'a [f32],
    sums: &'a [i32],
}

/// Products of `N` rows of weights, one after the other in `rows`, with a row of activations.
#[inline(always)]
fn products<L: Lanes, B: IntegerBlocks<BYTES>, const BYTES: usize, const N: usize>(
    lanes: L,
    rows: &[[u8; BYTES]],
    x: &X<'_>,
) -> [f32; N] {
    let blocks = x.values.len();
    // Where a block lies that is `AHEAD` further on, in these rows or those after them.
    let further = |block: usize| {
        let groups = AHEAD / blocks + usize::from(block + AHEAD % blocks >= blocks);
        groups * (N - 1) * blocks + AHEAD
    };
    // Equal lengths, seen by the compiler: no bound is checked within the loop.
    let mut rest = rows;
    let rows: [&[[u8; BYTES]]; N] = std::array::from_fn(|_| {
        let (row, after) = rest.split_at(blocks);
        rest = after;
        row
    });
    let (scales, sums) = (&x.scales[..blocks], &x.sums[..blocks]);
    let mut totals = [lanes.zeros(); N];
    for block in 0..blocks {
        if block % 2 == 0 {
            let further = further(block);
            for row in rows {
                lanes.ask_for(&row[block], further);
            }
        }
        let of_x = lanes.load(&x.values[block]);
        let bias = lanes.first(-B::OFFSET * sums[block]);
        let bits = std::array::from_fn(|row| u16::from_le_bytes([rows[row][block][0], rows[row][block][1]]));
        let scales = lanes.widen_scales::<N>(bits, scales[block]);
        for row in 0..N {
            let sum = lanes.dot(B::stored(lanes, &rows[row][block]), of_x, bias);
            totals[row] = lanes.add_scaled(totals[row], sum, scales[row]);
        }
    }
    totals.map(
        #[inline(always)]
        |total| lanes.sum(total),
    )
}

/// Products of one row of weights with [`ROWS`] rows of activations.
#[inline(always)]
fn products_of_row<L: Lanes, B: IntegerBlocks<BYTES>, const BYTES: usize>(
    lanes: L,
    weights: &[[u8; BYTES]],
    x: [X<'_>; ROWS],
) -> [f32; ROWS] {
    let blocks = weights.len();
    let x = x.map(|x| (&x.values[..blocks], &x.scales[..blocks]));
    let mut totals = [lanes.zeros(); ROWS];
    for block in 0..blocks {
        lanes.ask_for(&weights[block], AHEAD);
        let stored = lanes.less(B::stored(lanes, &weights[block]), B::OFFSET as i16);
        let scales = lanes.splat_each(x.map(|(_, scales)| scales[block]), B::scale(&weights[block]));
        for (row, (values, _)) in x.iter().enumerate() {
            let sum = lanes.dot(stored, lanes.load(&values[block]), lanes.first(0));
            totals[row] = lanes.add_scaled(totals[row], sum, scales[row]);
        }
    }
    totals.map(
        #[inline(always)]
        |total| lanes.sum(total),
    )
}

/// Quantizes a block: its scale and the sum of its values. What is not finite makes the scale NaN: it must not be lost.
#[inline(always)]
fn quantize_block(x: &[f32; BLOCK], values: &mut [i16; BLOCK]) -> (f32, i32) {
    let mut largest = 0.0f32;
    let mut not_finite = 0.0f32;
    for x in x {
        largest = if x.abs() > largest { x.abs() } else { largest };
        not_finite += x * 0.0;
    }
    if not_finite.is_nan() || largest < SMALLEST {
        values.fill(0);
        return (not_finite, 0);
    }
    let inverse = LARGEST / largest;
    let mut sum = 0;
    for (value, x) in values.iter_mut().zip(x) {
        // Adding and taking away 1.5 · 2^23 rounds to the nearest, in two instructions on any processor.
        const ROUND: f32 = 12_582_912.0;
        let rounded = ((x * inverse + ROUND) - ROUND) as i32;
        *value = rounded as i16;
        sum += rounded;
    }
    (largest / LARGEST, sum)
}

#[cfg(test)]
mod tests {
    use std::marker::PhantomData;

    use super::super::lanes::{IntegerWork, integers, plain::Plain};
    use super::super::{Q4_0, Q8_0, quantize};
    use super::*;
    use crate::BlockFormat;

    /// Rows of weights in blocks and what they stand for, and a row of activations.
    fn case(format: BlockFormat, rows: usize, inner: usize, seed: usize) -> (Vec<u8>, Vec<f32>, Vec<f32>) {
        let value = |i: usize, by: usize| ((i * by + seed * 7) % 211) as f32 / 105.0 - 1.0;
        let weights: Vec<f32> =
            (0..rows * inner).map(|i| value(i, 37) * (1 + i / BLOCK % 5) as f32).collect();
        let x: Vec<f32> = (0..inner).map(|i| value(i, 53) * (1 + i / BLOCK % 3) as f32).collect();
        let mut bytes = vec![0; weights.len() / BLOCK * format.bytes()];
        quantize(format, &weights, &mut bytes);
        let mut back = vec![0.0; weights.len()];
        match format {
            BlockFormat::Q8_0 => Q8_0::widen(&bytes, &mut back),
            BlockFormat::Q4_0 => Q4_0::widen(&bytes, &mut back),
        }
        (bytes, back, x)
    }

    struct Found<'a, B, const BYTES: usize> {
        bytes: &'a [u8],
        x: &'a [f32],
        out: &'a mut Vec<f32>,
        format: PhantomData<B>,
    }

    impl<B: IntegerBlocks<BYTES>, const BYTES: usize> IntegerWork for Found<'_, B, BYTES> {
        fn run<L: Lanes>(self, lanes: L) {
            let rows = self.out.len();
            *self.out = found_in::<L, B, BYTES>(lanes, self.bytes, self.x, rows);
        }
    }

    /// By the instructions of this processor, held against what they mean.
    fn found<B: IntegerBlocks<BYTES>, const BYTES: usize>(bytes: &[u8], x: &[f32], rows: usize) -> Vec<f32> {
        let mut out = vec![0.0; rows];
        integers(Found::<B, BYTES> { bytes, x, out: &mut out, format: PhantomData });
        let plain = found_in::<_, B, BYTES>(Plain, bytes, x, rows);
        // The same integers, whose sums are added up in another order.
        let largest = plain.iter().fold(0.0f32, |most, value| most.max(value.abs()));
        for (found, plain) in out.iter().zip(&plain) {
            let near = (found - plain).abs() <= largest * 1e-5 + 1e-3;
            assert!(near || !found.is_finite() && !plain.is_finite(), "{found} {plain}");
        }
        out
    }

    fn found_in<L: Lanes, B: IntegerBlocks<BYTES>, const BYTES: usize>(
        lanes: L,
        bytes: &[u8],
        x: &[f32],
        rows: usize,
    ) -> Vec<f32> {
        let mut memory = vec![0.0; Activations::room(x.len())];
        let quantized = Activations::quantize(x, x.len(), &mut memory);
        assert_eq!(quantized.rows(), 1);
        let mut out = vec![0.0; rows];
        quantized.multiply::<L, B, BYTES>(lanes, 0, bytes, &mut out);
        // The same among other rows of activations.
        let many: Vec<f32> =
            (0..5).flat_map(|row| x.iter().map(move |x| x * [2.0, -1.0, 1.0, 0.5, 3.0][row])).collect();
        let mut memory = vec![0.0; 5 * Activations::room(x.len())];
        let quantized = Activations::quantize(&many, x.len(), &mut memory);
        let mut count = 0;
        quantized.multiply_rows::<L, B, BYTES>(lanes, 1, bytes, |row, column, sum| {
            let wanted = out[column] * [-1.0, 1.0, 0.5, 3.0][row - 1];
            let near = (sum - wanted).abs() <= wanted.abs() * 1e-4 + 1e-4 * x.len() as f32;
            assert!(
                near || wanted.is_nan() && sum.is_nan() || wanted.is_infinite(),
                "{row} {column}: {sum} {wanted}"
            );
            count += 1;
        });
        assert_eq!(count, 4 * rows);
        out
    }

    #[test]
    fn products_are_those_of_f64_within_what_16_bits_lose() {
        for (rows, inner) in [(1, 32), (3, 64), (4, 32), (9, 96), (16, 576)] {
            for seed in 0..8 {
                for format in [BlockFormat::Q8_0, BlockFormat::Q4_0] {
                    let (bytes, weights, x) = case(format, rows, inner, seed);
                    let found = match format {
                        BlockFormat::Q8_0 => found::<Q8_0, 34>(&bytes, &x, rows),
                        BlockFormat::Q4_0 => found::<Q4_0, 18>(&bytes, &x, rows),
                    };
                    for (row, found) in weights.chunks(inner).zip(found) {
                        let exact: f64 = row.iter().zip(&x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum();
                        // Half a step of each activation, and the rounding of sums in f32.
                        let sizes: f64 = row.iter().map(|w| f64::from(w.abs())).sum();
                        let bound = sizes * 3.0 * (0.5 / 32_767.0 + 4e-7);
                        assert!(
                            (f64::from(found) - exact).abs() <= bound,
                            "{format:?} {rows}x{inner}: {found} {exact}"
                        );
                        // Another order of the elements would be far off.
                        let turned: f64 =
                            row.iter().rev().zip(&x).map(|(w, x)| f64::from(*w) * f64::from(*x)).sum();
                        assert!((turned - exact).abs() > bound, "the case cannot tell an order of elements");
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_not_finite_is_not_lost_and_what_is_tiny_is_nothing() {
        let (bytes, _, mut x) = case(BlockFormat::Q8_0, 4, 64, 1);
        for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY] {
            x[40] = bad;
            assert!(found::<Q8_0, 34>(&bytes, &x, 4).iter().all(|value| value.is_nan()), "{bad}");
        }
        assert_eq!(found::<Q8_0, 34>(&bytes, &[1e-38; 64], 4), [0.0; 4]);
        let mut bad = bytes;
        bad[..2].copy_from_slice(&half::f16::INFINITY.to_le_bytes());
        let found = found::<Q8_0, 34>(&bad, &[0.5; 64], 4);
        assert!(!found[0].is_finite() && found[1].is_finite(), "{found:?}");
    }
}
