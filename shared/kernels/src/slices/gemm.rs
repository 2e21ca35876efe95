//! Matrix products of many rows, by the `gemm` crate (which candle uses too).

use std::marker::PhantomData;
use std::ops::Range;

/// A matrix to read: row `i` starts at `i · stride`.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    values: &'a [f32],
    rows: usize,
    columns: usize,
    stride: usize,
}

impl<'a> Matrix<'a> {
    /// # Panics
    /// Where `values` is too short.
    pub(crate) fn new(values: &'a [f32], rows: usize, columns: usize, stride: usize) -> Self {
        assert!(values.len() >= extent(rows, columns, stride), "rows of a matrix");
        Self { values, rows, columns, stride }
    }
}

/// A matrix to write, whose columns can be shared out among threads.
pub(crate) struct MatrixMut<'a> {
    start: *mut f32,
    rows: usize,
    columns: usize,
    stride: usize,
    values: PhantomData<&'a mut [f32]>,
}

#[expect(unsafe_code, reason = "a view of columns is as exclusive as the slice it was made from")]
// SAFETY: views of the same slice never share a column (see `split_columns`), so that no element has two owners.
unsafe impl Send for MatrixMut<'_> {}

impl<'a> MatrixMut<'a> {
    /// # Panics
    /// Where `values` is too short or rows would overlap.
    pub(crate) fn new(values: &'a mut [f32], rows: usize, columns: usize, stride: usize) -> Self {
        assert!(values.len() >= extent(rows, columns, stride), "rows of a matrix");
        assert!(rows <= 1 || stride >= columns, "rows of a matrix overlap");
        Self { start: values.as_mut_ptr(), rows, columns, stride, values: PhantomData }
    }

    /// The columns of `range`; the whole cannot be used meanwhile.
    ///
    /// # Panics
    /// Where `range` is outside.
    pub(crate) fn columns(&mut self, range: Range<usize>) -> MatrixMut<'_> {
        assert!(range.start <= range.end && range.end <= self.columns, "columns of a matrix");
        MatrixMut {
            start: self.start.wrapping_add(range.start),
            rows: self.rows,
            columns: range.len(),
            stride: self.stride,
            values: PhantomData,
        }
    }

    /// Cuts the columns into blocks of `width`, the last one narrower.
    pub(crate) fn split_columns(self, width: usize) -> Vec<(Range<usize>, Self)> {
        let width = width.max(1);
        (0..self.columns)
            .step_by(width)
            .map(|start| {
                let range = start..self.columns.min(start + width);
                let view = Self {
                    start: self.start.wrapping_add(start),
                    rows: self.rows,
                    columns: range.len(),
                    stride: self.stride,
                    values: PhantomData,
                };
                (range, view)
            })
            .collect()
    }

    /// One row of the view.
    ///
    /// # Panics
    /// Where there is no such row.
    pub(crate) fn row(&mut self, row: usize) -> &mut [f32] {
        assert!(row < self.rows, "row of a matrix");
        #[expect(unsafe_code, reason = "a row of a view with gaps between its rows")]
        // SAFETY: in bounds by the assertion here and those in `new`; exclusive while `self` is borrowed.
        unsafe {
            std::slice::from_raw_parts_mut(self.start.wrapping_add(row * self.stride), self.columns)
        }
    }
}

fn extent(rows: usize, columns: usize, stride: usize) -> usize {
    if rows == 0 || columns == 0 { 0 } else { (rows - 1) * stride + columns }
}

/// `out = left · right`, or `out += left · right`; with `transposed`, `right` is given as its transpose. One thread.
///
/// # Panics
/// Where the shapes do not fit each other.
pub(crate) fn gemm(
    out: &mut MatrixMut<'_>,
    accumulate: bool,
    left: Matrix<'_>,
    right: Matrix<'_>,
    transposed: bool,
) {
    let [inner, columns, right_row, right_column] = if transposed {
        [right.columns, right.rows, 1, right.stride]
    } else {
        [right.rows, right.columns, right.stride, 1]
    };
    assert_eq!((out.rows, out.columns, left.columns), (left.rows, columns, inner), "shapes of a product");
    #[expect(unsafe_code, reason = "the crate takes raw pointers")]
    // SAFETY: each pointer is used at `row · row_stride + column · column_stride` only, inside the extents that the
    // constructors asserted; `out` is exclusive, so nothing aliases it.
    unsafe {
        gemm::gemm(
            out.rows,
            out.columns,
            inner,
            out.start,
            1,
            out.stride as isize,
            accumulate,
            left.values.as_ptr(),
            1,
            left.stride as isize,
            right.values.as_ptr(),
            right_column as isize,
            right_row as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_with_strides_and_parts_are_exact_on_small_integers() {
        let (rows, inner, columns) = (7, 13, 11);
        let value = |i: usize| (i % 9) as f32 - 4.0;
        let left: Vec<f32> = (0..rows * (inner + 2)).map(value).collect();
        let right: Vec<f32> = (0..inner * columns).map(|i| value(i * 5 + 1)).collect();
        let turned: Vec<f32> = (0..inner * columns).map(|i| right[i % inner * columns + i / inner]).collect();
        let mut expected = vec![100.0f32; rows * (columns + 3)];
        for row in 0..rows {
            for column in 0..columns {
                expected[row * (columns + 3) + column] =
                    (0..inner).map(|i| left[row * (inner + 2) + i] * right[i * columns + column]).sum();
            }
        }
        let left = Matrix::new(&left, rows, inner, inner + 2);
        for transposed in [false, true] {
            let mut out = vec![100.0f32; rows * (columns + 3)];
            for (range, mut view) in MatrixMut::new(&mut out, rows, columns, columns + 3).split_columns(4) {
                let width = range.len();
                let right = if transposed {
                    Matrix::new(&turned[range.start * inner..range.end * inner], width, inner, inner)
                } else {
                    Matrix::new(&right[range.start..], inner, width, columns)
                };
                gemm(&mut view, false, left, right, transposed);
            }
            assert_eq!(out, expected);
        }
    }
}
