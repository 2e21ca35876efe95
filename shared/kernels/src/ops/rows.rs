//! Steps that treat every row alike.

use candle_core::{Result, Tensor};

use super::{Heads, each_format, update0, update1, update2};
use crate::Precision;
use crate::parallel::{for_each, split, threads};
use crate::slices::{self, round, simd};
use crate::weight::Weight;

/// Values that are not worth a second thread.
const SMALL: usize = 1 << 14;

/// Ranges of rows for the threads.
fn shares(rows: usize, width: usize) -> impl Iterator<Item = std::ops::Range<usize>> {
    split(rows, if rows * width < SMALL { 1 } else { threads() })
}

/// `out[row] = weight[ids[row]]`.
pub fn embed(out: &Tensor, weight: &Weight, ids: &[u32]) -> Result<()> {
    let (_, width) = weight.dims()?;
    update0("embed", out, |out, []| {
        let mut rows = out.f32()?.chunks_exact_mut(width).zip(ids);
        rows.try_for_each(|(out, id)| weight.widen_row(*id as usize, out))
    })
}

/// The first values of an f32 tensor, from elsewhere.
pub fn write(out: &Tensor, values: &[f32]) -> Result<()> {
    update0("write", out, |out, []| {
        out.f32()?[..values.len()].copy_from_slice(values);
        Ok(())
    })
}

/// RMSNorm of the first `rows` rows.
pub fn rms_norm(
    out: &Tensor,
    x: &Tensor,
    weight: &Tensor,
    rows: usize,
    eps: f64,
    precision: Precision,
) -> Result<()> {
    let width = weight.dims1()?;
    update2("rms-norm", out, x, weight, |out, [x, weight]| {
        let (out, x) = (&mut out.f32()?[..rows * width], x.f32()?);
        each_format!(Values, weight, |weight| by_rows(out, width, x, width, |out, x| {
            slices::rms_norm(out, x, weight, eps as f32, precision);
        }));
        Ok(())
    })
}

/// `out += x`, the first `rows` rows of `width` values.
pub fn add(out: &Tensor, x: &Tensor, rows: usize, width: usize, precision: Precision) -> Result<()> {
    update1("add", out, x, |out, [x]| {
        by_rows(&mut out.f32()?[..rows * width], width, x.f32()?, width, |out, x| {
            slices::add(out, x, precision)
        });
        Ok(())
    })
}

/// `out = silu(gate) · up` of rows `[gate | up]` of `2 · width` values.
pub fn silu_mul(
    out: &Tensor,
    gate_up: &Tensor,
    rows: usize,
    width: usize,
    precision: Precision,
) -> Result<()> {
    update1("silu-mul", out, gate_up, |out, [gate_up]| {
        by_rows(&mut out.f32()?[..rows * width], width, gate_up.f32()?, 2 * width, |out, gate_up| {
            slices::silu_mul(out, gate_up, precision);
        });
        Ok(())
    })
}

/// Rotates the query and key heads of rows `[q | k | v]` in place; `rotary` holds `[cosines | sines]` of each row.
pub fn rotate(qkv: &Tensor, rotary: &Tensor, rows: usize, heads: &Heads, precision: Precision) -> Result<()> {
    let (width, rotated) = (heads.qkv_width(), heads.rotary_dim);
    update1("rotate", qkv, rotary, |qkv, [rotary]| {
        by_rows(&mut qkv.f32()?[..rows * width], width, rotary.f32()?, rotated, |qkv, rotary| {
            let (cos, sin) = rotary.split_at(rotated / 2);
            for head in qkv.chunks_exact_mut(heads.dim).take(heads.query + heads.key_value) {
                slices::rotate(head, cos, sin, precision);
            }
        });
        Ok(())
    })
}

/// `work(out[row], x[row])` for every row of `out`.
fn by_rows(
    out: &mut [f32],
    out_width: usize,
    x: &[f32],
    x_width: usize,
    work: impl Fn(&mut [f32], &[f32]) + Sync,
) {
    let rows = out.len() / out_width;
    let mut rest = out;
    let parts: Vec<_> = shares(rows, out_width)
        .map(|range| {
            let (out, others) = std::mem::take(&mut rest).split_at_mut(range.len() * out_width);
            rest = others;
            (out, &x[range.start * x_width..range.end * x_width])
        })
        .collect();
    for_each(parts, |(out, x)| {
        simd(
            #[inline(always)]
            || out.chunks_exact_mut(out_width).zip(x.chunks_exact(x_width)).for_each(|(out, x)| work(out, x)),
        );
    });
}

/// Rows of `width` values of an f32 tensor, each written by `row` and rounded.
pub fn write_rows<T>(
    out: &Tensor,
    width: usize,
    rows: impl Iterator<Item = T>,
    precision: Precision,
    write: impl Fn(T, &mut [f32]),
) -> Result<()> {
    update0("write-rows", out, |out, []| {
        for (row, item) in out.f32()?.chunks_exact_mut(width).zip(rows) {
            write(item, row);
            round(precision, row);
        }
        Ok(())
    })
}
