//! `out = x · weightᵀ`, where nearly all the time goes.
//!
//! A few rows: each weight is read once and multiplied into every row, which is as fast as memory delivers it.
//! Many rows: a blocked product, on weights widened to f32 a panel at a time.

use candle_core::{Result, Tensor};

use super::super::kernels::{Float, Matrix, MatrixMut, dot, gemm, round, simd};
use super::super::parallel::{for_each, threads};
use super::{each_format, update2};
use crate::dtype::DType;

/// Most rows for which reading the weights dominates.
const FEW_ROWS: usize = 8;

/// Products that are not worth a second thread.
const SMALL: usize = 1 << 14;

/// `out[row] = weight · x[row]` for the first `rows` rows, rounded to `dtype`. `weight` is `[out, in]`.
pub(in super::super) fn linear(
    out: &Tensor,
    x: &Tensor,
    weight: &Tensor,
    rows: usize,
    dtype: DType,
    panel: &mut [f32],
) -> Result<()> {
    let (columns, inner) = weight.dims2()?;
    update2("linear", out, x, weight, |out, [x, weight]| {
        let x = &x.f32()?[..rows * inner];
        let out = MatrixMut::new(out.f32()?, rows, columns, columns);
        let small = rows * columns * inner < SMALL;
        each_format!(Values, weight, |weight| if rows <= FEW_ROWS {
            few_rows(out, x, weight, inner, small, dtype);
        } else {
            many_rows(out, x, weight, inner, small, dtype, panel);
        });
        Ok(())
    })
}

fn few_rows<W: Float>(out: MatrixMut<'_>, x: &[f32], weight: &[W], inner: usize, small: bool, dtype: DType) {
    let columns = weight.len() / inner;
    // More parts than threads: one that is held up leaves its share to the others.
    let width = if small { columns } else { columns.div_ceil(4 * threads()) };
    for_each(out.split_columns(width), |(range, mut out)| {
        simd(
            #[inline(always)]
            || {
                let weight = &weight[range.start * inner..range.end * inner];
                for (column, weight) in weight.chunks_exact(inner).enumerate() {
                    for (row, x) in x.chunks_exact(inner).enumerate() {
                        out.row(row)[column] = dot(weight, x);
                    }
                }
                for row in 0..x.len() / inner {
                    round(dtype, out.row(row));
                }
            },
        );
    });
}

fn many_rows<W: Float>(
    out: MatrixMut<'_>,
    x: &[f32],
    weight: &[W],
    inner: usize,
    small: bool,
    dtype: DType,
    panel: &mut [f32],
) {
    let (rows, columns) = (x.len() / inner, weight.len() / inner);
    let threads = if small { 1 } else { threads() };
    let x = Matrix::new(x, rows, inner, inner);
    let parts = out.split_columns(columns.div_ceil(threads));
    let mut panels = panel.chunks_mut((panel.len() / threads).max(1));
    let parts = parts.into_iter().map(|part| (part, panels.next().unwrap_or_default())).collect();
    for_each(parts, |((range, mut out), panel): ((_, MatrixMut<'_>), &mut [f32])| {
        let weight = &weight[range.start * inner..range.end * inner];
        match W::as_f32(weight) {
            Some(weight) => gemm(&mut out, false, x, Matrix::new(weight, range.len(), inner, inner), true),
            None => {
                // A panel holds a row at least: its size counts the widest one for each thread.
                let block = (panel.len() / inner).max(1);
                for (index, weight) in weight.chunks(block * inner).enumerate() {
                    let panel = &mut panel[..weight.len()];
                    simd(
                        #[inline(always)]
                        || panel.iter_mut().zip(weight).for_each(|(out, weight)| *out = weight.widen()),
                    );
                    let width = weight.len() / inner;
                    let mut out = out.columns(index * block..index * block + width);
                    gemm(&mut out, false, x, Matrix::new(panel, width, inner, inner), true);
                }
            }
        }
        if dtype != DType::F32 {
            simd(
                #[inline(always)]
                || (0..rows).for_each(|row| round(dtype, out.row(row))),
            );
        }
    });
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
                    linear(&out, &x_tensor, weights, rows, DType::F32, &mut panel).expect("shapes fit");
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
