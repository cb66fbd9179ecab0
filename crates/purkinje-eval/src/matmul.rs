//! Products of small f64 matrices: the one module of this crate with `unsafe` code.

use gemm::{Parallelism, gemm};

/// A matrix view into a slice.
#[derive(Clone, Copy)]
pub(crate) struct Matrix<'a> {
    data: &'a [f64],
    rows: usize,
    columns: usize,
    row_stride: usize,
    column_stride: usize,
}

impl<'a> Matrix<'a> {
    /// The row-major matrix at the start of `data`.
    pub fn new(data: &'a [f64], rows: usize, columns: usize) -> Self {
        assert!(
            rows.checked_mul(columns)
                .is_some_and(|values| values <= data.len()),
            "a matrix must lie inside its slice"
        );
        Self {
            data,
            rows,
            columns,
            row_stride: columns,
            column_stride: 1,
        }
    }

    /// The transposed view.
    pub fn t(self) -> Self {
        Self {
            rows: self.columns,
            columns: self.rows,
            row_stride: self.column_stride,
            column_stride: self.row_stride,
            ..self
        }
    }
}

/// `out = a b`, or `out += a b` if `add`; `out` is row-major. Runs on the calling thread.
pub(crate) fn multiply(out: &mut [f64], add: bool, a: Matrix<'_>, b: Matrix<'_>) {
    let (m, k, n) = (a.rows, a.columns, b.columns);
    assert_eq!(k, b.rows, "inner sizes of a matrix product must agree");
    assert_eq!(out.len(), m * n, "a matrix product must fit its output");
    if out.is_empty() {
        return;
    }
    // SAFETY: `Matrix` can only be made by `new`, which checks that every (row, column) lies
    // inside the slice, and `t`, which exchanges sizes and strides together. `out` holds exactly
    // m * n values with strides (n, 1) and, being borrowed mutably, does not overlap a or b. No
    // stride exceeds isize, because a slice is at most isize::MAX bytes long.
    unsafe {
        gemm(
            m,
            n,
            k,
            out.as_mut_ptr(),
            1,
            n as isize,
            add,
            a.data.as_ptr(),
            a.column_stride as isize,
            a.row_stride as isize,
            b.data.as_ptr(),
            b.column_stride as isize,
            b.row_stride as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            Parallelism::None,
        );
    }
}

/// Inner product, in eight running sums so that it vectorises.
pub(crate) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (a_blocks, b_blocks) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f64 = a_blocks
        .remainder()
        .iter()
        .zip(b_blocks.remainder())
        .map(|(x, y)| x * y)
        .sum();
    for (x, y) in a_blocks.zip(b_blocks) {
        for lane in 0..8 {
            sums[lane] += x[lane] * y[lane];
        }
    }
    sums.iter().sum::<f64>() + rest
}

/// `y += factor x`.
pub(crate) fn axpy(factor: f64, x: &[f64], y: &mut [f64]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += factor * x;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_of_transposes_are_right() {
        let a: Vec<f64> = (0..6).map(f64::from).collect(); // [2, 3]
        let b: Vec<f64> = (0..12).map(|i| f64::from(i * i)).collect(); // [4, 3]
        let mut out = vec![1.0; 8]; // [2, 4]
        multiply(
            &mut out,
            true,
            Matrix::new(&a, 2, 3),
            Matrix::new(&b, 4, 3).t(),
        );
        for i in 0..2 {
            for j in 0..4 {
                let expected = 1.0 + dot(&a[3 * i..3 * i + 3], &b[3 * j..3 * j + 3]);
                assert_eq!(out[4 * i + j], expected);
            }
        }
        let mut gram = vec![f64::NAN; 9]; // [3, 3]; old content must not matter
        multiply(
            &mut gram,
            false,
            Matrix::new(&a, 2, 3).t(),
            Matrix::new(&a, 2, 3),
        );
        assert_eq!(gram, [9.0, 12.0, 15.0, 12.0, 17.0, 22.0, 15.0, 22.0, 29.0]);
    }

    #[test]
    fn dots_of_every_length_are_right() {
        for n in 0..20 {
            let x: Vec<f64> = (0..n).map(f64::from).collect();
            let squares = (n - 1) * n * (2 * n - 1) / 6;
            assert_eq!(dot(&x, &x), f64::from(squares));
        }
    }
}
