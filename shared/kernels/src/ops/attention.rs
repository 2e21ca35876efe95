//! The KV cache and attention over it.
//!
//! A cache is one tensor for each layer of each sequence, `[2, kv heads, capacity, head_dim]`, keys before values;
//! query heads read the head they share, nothing is repeated.

use std::ops::Range;

use candle_core::{Result, Tensor};

use super::{each_format, update1, update2};
use crate::Precision;
use crate::parallel::{blocks, for_each, threads};
use crate::slices::{
    Float, Matrix, MatrixMut, OnlineSoftmax, add_scaled, dot, gemm, round, simd, softmax, widened,
};

/// Fewest rows of a sequence for which a blocked product pays.
const BLOCK_ROWS: usize = 4;

/// Rows of a block: few enough that little is computed above the diagonal.
const MOST_BLOCK_ROWS: usize = 64;

/// Keys whose scores fused attention holds at once.
const TILE: usize = 32;

/// Multiplications that are not worth a second thread.
const SMALL: usize = 1 << 16;

/// The heads of a model.
#[derive(Debug, Clone)]
pub struct Heads {
    /// Heads that ask.
    pub query: usize,
    /// Heads that are asked: each by `query / key_value` of the others.
    pub key_value: usize,
    /// Width of a head.
    pub dim: usize,
    /// Rotated part of it.
    pub rotary_dim: usize,
    /// The keys that a position sees, within a window.
    pub visible: fn(usize, Option<usize>) -> Range<usize>,
    /// The window.
    pub window: Option<usize>,
    /// Whether a tile of scores at a time is kept (fused attention), or whole rows are written out (eager).
    pub in_tiles: bool,
}

impl Heads {
    /// Width of a row `[q | k | v]`.
    pub fn qkv_width(&self) -> usize {
        (self.query + 2 * self.key_value) * self.dim
    }

    fn query_width(&self) -> usize {
        self.query * self.dim
    }
}

/// Consecutive rows of a chunk that continue one sequence.
#[derive(Debug, Clone)]
pub struct Segment {
    /// Rows in the chunk.
    pub rows: Range<usize>,
    /// Position of the first of them in the sequence.
    pub start: usize,
    /// The sequence's cache in the layer at hand.
    pub cache: Tensor,
}

/// Writes the keys and values of a segment's rows into its cache.
pub fn append(qkv: &Tensor, segment: &Segment, heads: &Heads) -> Result<()> {
    let (capacity, width) = (segment.cache.dim(2)?, heads.qkv_width());
    update1("append", &segment.cache, qkv, |cache, [qkv]| {
        let qkv = &qkv.f32()?[segment.rows.start * width..segment.rows.end * width];
        each_format!(ValuesMut, cache, |cache| for (row, qkv) in qkv.chunks_exact(width).enumerate() {
            let position = segment.start + row;
            for (head, values) in qkv[heads.query_width()..].chunks_exact(heads.dim).enumerate() {
                let start = (head * capacity + position) * heads.dim;
                let out = &mut cache[start..start + heads.dim];
                Float::narrow_all(values, out);
            }
        });
        Ok(())
    })
}

/// Attention of a segment's rows over its cache: `out[row] = [head 0 | head 1 | …]`.
///
/// Eager: `scores` holds a row of scores of the whole sequence at least, and is shared out among the threads;
/// so is `panel`, for keys and values being widened. Fused attention needs neither.
pub fn attend(
    out: &Tensor,
    qkv: &Tensor,
    segment: &Segment,
    heads: &Heads,
    precision: Precision,
    scores: &mut [f32],
    panel: &mut [f32],
) -> Result<()> {
    let capacity = segment.cache.dim(2)?;
    let keys = segment.start + segment.rows.len();
    let (rows, width) = (segment.rows.clone(), heads.qkv_width());
    let threads = if rows.len() * keys * heads.query_width() < SMALL { 1 } else { threads() };
    if heads.in_tiles {
        return update2("attend", out, qkv, &segment.cache, |out, [qkv, cache]| {
            let out = &mut out.f32()?[rows.start * heads.query_width()..rows.end * heads.query_width()];
            let qkv = &qkv.f32()?[rows.start * width..rows.end * width];
            each_format!(Values, cache, |cache| {
                let job = Job { qkv, start: segment.start, cache, capacity, heads, precision };
                // More parts than threads: later rows see more keys.
                let parts = if threads == 1 { 1 } else { 4 * threads };
                let share = (rows.len() * heads.query).div_ceil(parts);
                let parts = out.chunks_mut(share * heads.dim).enumerate().collect();
                for_each(parts, |(index, out): (usize, &mut [f32])| {
                    simd(
                        #[inline(always)]
                        || job.heads_in_tiles(index * share, out),
                    );
                });
            });
            Ok(())
        });
    }
    let threads = threads.min(scores.len() / keys).max(1);
    let share_of_scores = scores.len() / threads;
    let scores = scores.chunks_mut(share_of_scores).take(threads);
    let step = panel.len() / threads;
    let panels = panel.chunks_mut(step.max(1)).map(Some).chain(std::iter::repeat_with(|| None));
    let scratch =
        scores.zip(panels).map(|(scores, panel)| Scratch { scores, panel: panel.unwrap_or_default() });
    update2("attend", out, qkv, &segment.cache, |out, [qkv, cache]| {
        let out = &mut out.f32()?[rows.start * heads.query_width()..rows.end * heads.query_width()];
        let qkv = &qkv.f32()?[rows.start * width..rows.end * width];
        each_format!(Values, cache, |cache| {
            let job = Job { qkv, start: segment.start, cache, capacity, heads, precision };
            let can_widen = Float::as_f32(cache).is_some() || step >= BLOCK_ROWS * heads.dim;
            if rows.len() < BLOCK_ROWS || !can_widen {
                // One query head at a time: the thread's share of all heads of all rows.
                let share = (rows.len() * heads.query).div_ceil(threads);
                let parts = out.chunks_mut(share * heads.dim).enumerate().zip(scratch).collect();
                for_each(parts, |((index, out), scratch)| {
                    simd(
                        #[inline(always)]
                        || job.heads_one_by_one(index * share, out, scratch),
                    );
                });
            } else {
                // Blocks of rows, dealt round: later rows see more keys.
                let block = rows.len().div_ceil(threads).min(MOST_BLOCK_ROWS).min(share_of_scores / keys);
                let mut parts: Vec<(Vec<_>, Scratch<'_>)> =
                    scratch.map(|scratch| (Vec::new(), scratch)).collect();
                for (index, out) in out.chunks_mut(block * heads.query_width()).enumerate() {
                    parts[index % threads].0.push((index * block, out));
                }
                for_each(parts, |(blocks, mut scratch)| {
                    for (row, out) in blocks {
                        job.block(row, out, &mut scratch);
                    }
                });
            }
        });
        Ok(())
    })
}

/// A thread's own memory.
struct Scratch<'a> {
    scores: &'a mut [f32],
    panel: &'a mut [f32],
}

/// What all threads read.
struct Job<'a, W> {
    qkv: &'a [f32],
    start: usize,
    cache: &'a [W],
    capacity: usize,
    heads: &'a Heads,
    precision: Precision,
}

impl<W: Float> Job<'_, W> {
    fn scale(&self) -> f32 {
        1.0 / (self.heads.dim as f32).sqrt()
    }

    /// Keys that a row of the segment sees.
    fn visible(&self, row: usize) -> Range<usize> {
        (self.heads.visible)(self.start + row, self.heads.window)
    }

    /// Keys (`part` 0) or values (1) that query head `head` reads, at `positions`.
    fn cached(&self, part: usize, head: usize, positions: Range<usize>) -> &[W] {
        let Heads { query, key_value, dim, .. } = *self.heads;
        let first = (part * key_value + head / (query / key_value)) * self.capacity;
        &self.cache[(first + positions.start) * dim..(first + positions.end) * dim]
    }

    /// Heads from `first` on, counted over all rows.
    #[inline(always)]
    fn heads_one_by_one(&self, first: usize, out: &mut [f32], scratch: Scratch<'_>) {
        let Heads { query, dim, .. } = *self.heads;
        for (index, out) in out.chunks_exact_mut(dim).enumerate() {
            let (row, head) = ((first + index) / query, (first + index) % query);
            let visible = self.visible(row);
            let q = &self.qkv[row * self.heads.qkv_width() + head * dim..][..dim];
            let scores = &mut scratch.scores[..visible.len()];
            for (score, key) in scores.iter_mut().zip(self.cached(0, head, visible.clone()).chunks_exact(dim))
            {
                *score = dot(key, q);
            }
            softmax(scores, self.scale(), self.precision);
            out.fill(0.0);
            for (score, value) in scores.iter().zip(self.cached(1, head, visible).chunks_exact(dim)) {
                add_scaled(out, *score, value);
            }
            round(self.precision, out);
        }
    }

    /// Heads from `first` on, a tile of keys at a time: no row of scores is ever whole (Milakov and Gimelshein 2018).
    #[inline(always)]
    fn heads_in_tiles(&self, first: usize, out: &mut [f32]) {
        let Heads { query, dim, .. } = *self.heads;
        for (index, out) in out.chunks_exact_mut(dim).enumerate() {
            let (row, head) = ((first + index) / query, (first + index) % query);
            let visible = self.visible(row);
            let q = &self.qkv[row * self.heads.qkv_width() + head * dim..][..dim];
            let mut softmax = OnlineSoftmax::default();
            out.fill(0.0);
            for tile in blocks(visible.len(), TILE) {
                let positions = visible.start + tile.start..visible.start + tile.end;
                let mut scores = [0.0; TILE];
                let scores = &mut scores[..tile.len()];
                let keys = self.cached(0, head, positions.clone()).chunks_exact(dim);
                scores.iter_mut().zip(keys).for_each(|(score, key)| *score = dot(key, q));
                let kept = softmax.add(scores, self.scale());
                out.iter_mut().for_each(|out| *out *= kept);
                for (score, value) in scores.iter().zip(self.cached(1, head, positions).chunks_exact(dim)) {
                    add_scaled(out, *score, value);
                }
            }
            let norm = 1.0 / softmax.sum;
            out.iter_mut().for_each(|out| *out *= norm);
            round(self.precision, out);
        }
    }

    /// All heads of the rows of `out`, `row` being the first.
    fn block(&self, row: usize, out: &mut [f32], scratch: &mut Scratch<'_>) {
        let Heads { query, dim, .. } = *self.heads;
        let rows = out.len() / self.heads.query_width();
        let keys = self.visible(row).start..self.visible(row + rows - 1).end;
        let scores = &mut scratch.scores[..rows * keys.len()];
        let step = if W::as_f32(self.cache).is_some() { keys.len() } else { scratch.panel.len() / dim };
        let pieces = || blocks(keys.len(), step);
        for head in 0..query {
            let q = &self.qkv[row * self.heads.qkv_width() + head * dim..];
            let q = Matrix::new(q, rows, dim, self.heads.qkv_width());
            let mut products = MatrixMut::new(scores, rows, keys.len(), keys.len());
            for piece in pieces() {
                let cached = self.cached(0, head, keys.start + piece.start..keys.start + piece.end);
                let k = Matrix::new(widened(cached, scratch.panel), piece.len(), dim, dim);
                gemm(&mut products.columns(piece), false, q, k, true);
            }
            simd(
                #[inline(always)]
                || {
                    for (index, scores) in scores.chunks_exact_mut(keys.len()).enumerate() {
                        let Range { start, end } = self.visible(row + index);
                        let (start, end) = (start - keys.start, end - keys.start);
                        scores[..start].fill(0.0);
                        softmax(&mut scores[start..end], self.scale(), self.precision);
                        scores[end..].fill(0.0);
                    }
                },
            );
            let mut mixed = MatrixMut::new(&mut out[head * dim..], rows, dim, self.heads.query_width());
            for piece in pieces() {
                let cached = self.cached(1, head, keys.start + piece.start..keys.start + piece.end);
                let p = Matrix::new(&scores[piece.start..], rows, piece.len(), keys.len());
                let v = Matrix::new(widened(cached, scratch.panel), piece.len(), dim, dim);
                gemm(&mut mixed, piece.start > 0, p, v, false);
            }
        }
        simd(
            #[inline(always)]
            || round(self.precision, out),
        );
    }
}
