//! `out = x · weightᵀ`, where nearly all the time goes.
//!
//! A few rows: each weight is read once and multiplied into every row, which is as fast as memory delivers it.
//! Many rows: a blocked product, on weights widened to f32 a panel at a time. Quantized weights and as many rows as integers
//! are faster for than floats: in integers.

use std::marker::PhantomData;
use std::ops::Range;

use candle_core::{Result, Tensor};

use super::{each_format, update1, with_values};
use crate::parallel::{blocks, for_each, threads};
use crate::slices::{
    Activations, BLOCK, Blocks, Float, INTEGER_ROWS, IntegerBlocks, IntegerWork, Lanes, Matrix, MatrixMut,
    Q4_0, Q8_0, dot, gemm, integers, most_integer_rows, round, simd, widened,
};
use crate::weight::Weight;
use crate::{BlockFormat, Precision};

/// Most rows for which reading the weights dominates.
const FEW_ROWS: usize = 8;

/// Columns of a blocked product that are taken at once. What it copies of them for itself is counted nowhere: megabytes for each
/// thread, where a processor has large caches and a product is left as wide as it is.
const BLOCK_COLUMNS: usize = 128;

/// Bytes of weights that are multiplied with every row of activations before the next are taken.
const INTEGER_BYTES: usize = 8 << 10;

/// Products that are not worth a second thread.
const SMALL: usize = 1 << 14;

/// `out[row] = weight · x[row]` for the first `rows` rows, rounded to `precision`. `weight` is `[out, in]`.
pub fn linear(
    out: &Tensor,
    x: &Tensor,
    weight: &Weight,
    rows: usize,
    precision: Precision,
    panel: &mut [f32],
) -> Result<()> {
    let (columns, inner) = weight.dims()?;
    update1("linear", out, x, |out, [x]| {
        let out = MatrixMut::new(out.f32()?, rows, columns, columns);
        multiply(out, &x.f32()?[..rows * inner], weight, precision, panel)
    })
}

/// The same on slices.
pub(crate) fn multiply(
    out: MatrixMut<'_>,
    x: &[f32],
    weight: &Weight,
    precision: Precision,
    panel: &mut [f32],
) -> Result<()> {
    let (columns, inner) = weight.dims()?;
    let product = Product { out, x, precision };
    match weight {
        Weight::Plain(weight) => with_values(weight, |values| {
            each_format!(Values, values, |values| product.by(&Dense { values, inner }, inner, panel));
            Ok(())
        }),
        Weight::Blocks(blocks) => {
            let bytes = blocks.row_bytes(0..columns);
            let in_integers = most_integer_rows().is_some_and(|most| product.x.len() / inner <= most);
            match (blocks.format, in_integers) {
                (BlockFormat::Q8_0, true) => product.by_integers::<Q8_0, 34>(bytes, inner, panel),
                (BlockFormat::Q4_0, true) => product.by_integers::<Q4_0, 18>(bytes, inner, panel),
                (BlockFormat::Q8_0, false) => product.by(&Blocked::<Q8_0>::new(bytes, inner), inner, panel),
                (BlockFormat::Q4_0, false) => product.by(&Blocked::<Q4_0>::new(bytes, inner), inner, panel),
            }
            Ok(())
        }
        Weight::Shared(shared) => shared.multiply(product.out, x, precision, panel),
    }
}

/// What a product needs of a matrix of weights: a seam for faster kernels of one format.
trait Rows: Sync {
    /// How many there are.
    fn count(&self) -> usize;
    /// `Σ row[i] · x[i]` in f32.
    fn dot(&self, row: usize, x: &[f32]) -> f32;
    /// Rows in f32: as they are, or widened into `panel`, which then holds them all.
    fn wide<'a>(&'a self, rows: Range<usize>, panel: &'a mut [f32]) -> &'a [f32];
    /// Whether [`Rows::wide`] leaves the panel alone.
    fn is_wide(&self) -> bool;
}

/// Rows of floats.
struct Dense<'a, W> {
    values: &'a [W],
    inner: usize,
}

impl<W: Float> Rows for Dense<'_, W> {
    fn count(&self) -> usize {
        self.values.len() / self.inner
    }

    #[inline(always)]
    fn dot(&self, row: usize, x: &[f32]) -> f32 {
        dot(&self.values[row * self.inner..(row + 1) * self.inner], x)
    }

    fn wide<'a>(&'a self, rows: Range<usize>, panel: &'a mut [f32]) -> &'a [f32] {
        widened(&self.values[rows.start * self.inner..rows.end * self.inner], panel)
    }

    fn is_wide(&self) -> bool {
        W::as_f32(self.values).is_some()
    }
}

/// Rows of blocks that share a scale.
struct Blocked<'a, B> {
    bytes: &'a [u8],
    /// Bytes of a row.
    width: usize,
    inner: usize,
    format: PhantomData<B>,
}

impl<'a, B: Blocks> Blocked<'a, B> {
    fn new(bytes: &'a [u8], inner: usize) -> Self {
        Self { bytes, width: inner / BLOCK * B::BYTES, inner, format: PhantomData }
    }
}

impl<B: Blocks> Rows for Blocked<'_, B> {
    fn count(&self) -> usize {
        self.bytes.len() / self.width
    }

    #[inline(always)]
    fn dot(&self, row: usize, x: &[f32]) -> f32 {
        B::dot(&self.bytes[row * self.width..(row + 1) * self.width], x)
    }

    fn wide<'a>(&'a self, rows: Range<usize>, panel: &'a mut [f32]) -> &'a [f32] {
        let panel = &mut panel[..rows.len() * self.inner];
        simd(
            #[inline(always)]
            || B::widen(&self.bytes[rows.start * self.width..rows.end * self.width], panel),
        );
        panel
    }

    fn is_wide(&self) -> bool {
        false
    }
}

/// A share of the columns of a product in integers.
struct IntegerPart<'a, B, const N: usize> {
    x: &'a Activations<'a>,
    /// Whole rows of the matrix, as many as `out` has columns.
    weights: &'a [u8],
    out: MatrixMut<'a>,
    /// The row of `out` that is the first of `x`.
    first: usize,
    precision: Precision,
    format: PhantomData<B>,
}

impl<B: IntegerBlocks<N>, const N: usize> IntegerWork for IntegerPart<'_, B, N> {
    #[inline(always)]
    fn run<L: Lanes>(self, lanes: L) {
        let Self { x, weights, mut out, first, precision, .. } = self;
        let columns = out.row(first).len();
        let width = weights.len() / columns.max(1);
        // Weights that stay in the fastest cache while rows of activations pass by.
        let step = (INTEGER_BYTES / width.max(1)).next_multiple_of(INTEGER_ROWS);
        for range in blocks(columns, step) {
            let weights = &weights[range.start * width..range.end * width];
            let mut out = out.columns(range);
            let whole = x.rows() - x.rows() % INTEGER_ROWS;
            for row in (0..whole).step_by(INTEGER_ROWS) {
                x.multiply_rows::<L, B, N>(lanes, row, weights, |row, column, sum| {
                    out.row(first + row)[column] = sum;
                });
            }
            for row in whole..x.rows() {
                x.multiply::<L, B, N>(lanes, row, weights, out.row(first + row));
            }
        }
        for row in 0..x.rows() {
            round(precision, out.row(first + row));
        }
    }
}

/// One product to be taken.
struct Product<'a> {
    out: MatrixMut<'a>,
    x: &'a [f32],
    precision: Precision,
}

impl Product<'_> {
    fn by<R: Rows>(self, weight: &R, inner: usize, panel: &mut [f32]) {
        let rows = self.x.len() / inner;
        let small = rows * weight.count() * inner < SMALL;
        if rows <= FEW_ROWS {
            self.few_rows(weight, inner, small);
        } else {
            self.many_rows(weight, inner, small, panel);
        }
    }

    fn by_integers<B: IntegerBlocks<N>, const N: usize>(self, bytes: &[u8], inner: usize, panel: &mut [f32]) {
        let Self { mut out, x, precision } = self;
        let columns = bytes.len() / N / (inner / BLOCK);
        let width = bytes.len() / columns;
        let is_small = x.len() * columns < SMALL || threads() == 1;
        // More parts than threads, as in `few_rows`.
        let share =
            if is_small { columns } else { columns.div_ceil(4 * threads()).next_multiple_of(INTEGER_ROWS) };
        let most = (panel.len() / Activations::room(inner)).max(1);
        for rows in blocks(x.len() / inner, most) {
            let x = simd(
                #[inline(always)]
                || Activations::quantize(&x[rows.start * inner..rows.end * inner], inner, panel),
            );
            for_each(out.columns(0..columns).split_columns(share), |(range, out)| {
                let weights = &bytes[range.start * width..range.end * width];
                integers(IntegerPart::<B, N> {
                    x: &x,
                    weights,
                    out,
                    first: rows.start,
                    precision,
                    format: PhantomData,
                });
            });
        }
    }

    fn few_rows<R: Rows>(self, weight: &R, inner: usize, small: bool) {
        let Self { out, x, precision } = self;
        let columns = weight.count();
        // More parts than threads: one that is held up leaves its share to the others.
        let width = if small { columns } else { columns.div_ceil(4 * threads()) };
        for_each(out.split_columns(width), |(range, mut out)| {
            simd(
                #[inline(always)]
                || {
                    for (column, index) in range.enumerate() {
                        for (row, x) in x.chunks_exact(inner).enumerate() {
                            out.row(row)[column] = weight.dot(index, x);
                        }
                    }
                    for row in 0..x.len() / inner {
                        round(precision, out.row(row));
                    }
                },
            );
        });
    }

    fn many_rows<R: Rows>(self, weight: &R, inner: usize, small: bool, panel: &mut [f32]) {
        let Self { out, x, precision } = self;
        let (rows, columns) = (x.len() / inner, weight.count());
        let threads = if small { 1 } else { threads() };
        let x = Matrix::new(x, rows, inner, inner);
        let parts = out.split_columns(columns.div_ceil(threads));
        let mut panels = panel.chunks_mut((panel.len() / threads).max(1));
        let parts = parts.into_iter().map(|part| (part, panels.next().unwrap_or_default())).collect();
        for_each(parts, |((range, mut out), panel): ((_, MatrixMut<'_>), &mut [f32])| {
            // A panel holds a row at least: its size counts the widest one for each thread.
            let most =
                if weight.is_wide() { BLOCK_COLUMNS } else { (panel.len() / inner).clamp(1, BLOCK_COLUMNS) };
            // Equally wide: what is left over would be summed in another order where it is narrow.
            let step = range.len().div_ceil(range.len().div_ceil(most).max(1));
            for block in blocks(range.len(), step) {
                let width = block.len();
                let wide = weight.wide(range.start + block.start..range.start + block.end, panel);
                let mut out = out.columns(block);
                gemm(&mut out, false, x, Matrix::new(wide, width, inner, inner), true);
            }
            if precision != Precision::F32 {
                simd(
                    #[inline(always)]
                    || (0..rows).for_each(|row| round(precision, out.row(row))),
                );
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use candle_core::Device;
    use half::{bf16, f16};

    use super::*;

    /// Every path (one row, few, many; each format; panels that do not divide) against sums in f64.
    #[test]
    fn every_path_agrees_with_sums_in_f64() {
        for (inner, columns) in [(1, 1), (5, 3), (64, 48), (100, 257), (130, 1030)] {
            let weight: Vec<f32> = (0..inner * columns)
                .map(|i| bf16::from_f32(((i * 37 % 101) as f32 - 50.0) / 64.0).to_f32())
                .collect();
            let f32 = Tensor::from_slice(&weight, (columns, inner), &Device::Cpu).expect("shape");
            let narrow: Vec<_> = weight.iter().map(|w| bf16::from_f32(*w)).collect();
            let bf16 = Tensor::from_slice(&narrow, (columns, inner), &Device::Cpu).expect("shape");
            let narrow: Vec<_> = weight.iter().map(|w| f16::from_f32(*w)).collect();
            let f16 = Tensor::from_slice(&narrow, (columns, inner), &Device::Cpu).expect("shape");
            for rows in [1, 2, FEW_ROWS, FEW_ROWS + 1, 40] {
                let x: Vec<f32> = (0..rows * inner).map(|i| ((i * 53 % 97) as f32 - 48.0) / 32.0).collect();
                let exact = |row: usize, column: usize| -> f64 {
                    (0..inner)
                        .map(|i| f64::from(weight[column * inner + i]) * f64::from(x[row * inner + i]))
                        .sum()
                };
                let x_tensor = Tensor::from_slice(&x, x.len(), &Device::Cpu).expect("shape");
                for weights in [&f32, &bf16, &f16] {
                    let out =
                        Tensor::zeros(rows * columns, candle_core::DType::F32, &Device::Cpu).expect("zeros");
                    let mut panel = vec![0.0; threads() * inner * 7];
                    linear(
                        &out,
                        &x_tensor,
                        &Weight::Plain(weights.clone()),
                        rows,
                        Precision::F32,
                        &mut panel,
                    )
                    .expect("shapes fit");
                    let out = out.to_vec1::<f32>().expect("one dimension");
                    for row in 0..rows {
                        for column in 0..columns {
                            let difference =
                                (f64::from(out[row * columns + column]) - exact(row, column)).abs();
                            // Products are below 1.2; a sum of n of them in f32 errs by n · 2^-24 of it at most.
                            assert!(
                                difference < 1e-7 * inner as f64,
                                "{rows}x{inner}x{columns}: {difference:e}"
                            );
                        }
                    }
                }
            }
        }
    }
}
