//! Approximate inverse Hessians, factored once.
//!
//! The Hessian of one class is R + C X' D X with R = diag(1, ..., 1, 0) and D = p (1 - p). With
//! the same D for every record it is R + C s X'X, which needs one Gram matrix for all classes and
//! one Cholesky factor for all classes of about the same s. Without labels learnt, p is the
//! prevalence, so s = prevalence (1 - prevalence).

use crate::sums::{axpy, dot};

/// Approximate inverse Hessian.
pub(super) enum Preconditioner {
    /// Lower Cholesky factor `[n, n]`, row-major.
    Factor(Vec<f64>, usize),
    /// Diagonal of the approximate Hessian.
    Diagonal(Vec<f64>),
}

impl Preconditioner {
    /// Width of features from which on only the diagonal is used: the cost of a factor
    /// (width^3 / 3) then exceeds what it saves.
    pub const WIDEST_FACTOR: usize = 2048;

    /// Factors R + `scale` * gram; the diagonal alone if rounding left it without a factor.
    pub fn from_gram(gram: &[f64], n: usize, scale: f64) -> Self {
        let mut factor: Vec<f64> = gram.iter().map(|value| scale * value).collect();
        for i in 0..n - 1 {
            factor[i * n + i] += 1.0;
        }
        if cholesky(&mut factor, n) {
            return Self::Factor(factor, n);
        }
        let squares: Vec<f64> = (0..n).map(|i| gram[i * n + i]).collect();
        Self::from_squares(&squares, scale)
    }

    /// The diagonal of R + `scale` * gram.
    pub fn from_squares(squares: &[f64], scale: f64) -> Self {
        let mut diagonal: Vec<f64> = squares.iter().map(|value| 1.0 + scale * value).collect();
        if let Some(intercept) = diagonal.last_mut() {
            *intercept -= 1.0;
        }
        Self::Diagonal(diagonal)
    }

    /// Multiplies `vector` by the approximate inverse.
    pub fn solve(&self, vector: &mut [f64]) {
        match self {
            Self::Diagonal(diagonal) => {
                for (value, entry) in vector.iter_mut().zip(diagonal) {
                    *value /= entry;
                }
            }
            Self::Factor(factor, n) => {
                for i in 0..*n {
                    let row = &factor[i * n..i * n + i + 1];
                    vector[i] = (vector[i] - dot(&row[..i], &vector[..i])) / row[i];
                }
                for i in (0..*n).rev() {
                    let row = &factor[i * n..i * n + i + 1];
                    vector[i] /= row[i];
                    let value = vector[i];
                    axpy(-value, &row[..i], &mut vector[..i]);
                }
            }
        }
    }
}

/// Cholesky-Banachiewicz, row by row, in the lower triangle; false if a pivot is not positive.
fn cholesky(matrix: &mut [f64], n: usize) -> bool {
    for i in 0..n {
        let (above, rest) = matrix.split_at_mut(i * n);
        let row = &mut rest[..n];
        for j in 0..i {
            let other = &above[j * n..j * n + j + 1];
            row[j] = (row[j] - dot(&row[..j], &other[..j])) / other[j];
        }
        let pivot = row[i] - dot(&row[..i], &row[..i]);
        if pivot.is_nan() || pivot <= 0.0 {
            return false;
        }
        row[i] = pivot.sqrt();
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn solving_undoes_the_product() {
        let gram = [4.0, 1.0, 2.0, 1.0, 3.0, 0.5, 2.0, 0.5, 5.0];
        let solution = [1.0, -2.0, 0.25];
        // R + 2 gram, with R = diag(1, 1, 0)
        let rows = [[9.0, 2.0, 4.0], [2.0, 7.0, 1.0], [4.0, 1.0, 10.0]];
        let mut vector = rows.map(|row| dot(&row, &solution));
        Preconditioner::from_gram(&gram, 3, 2.0).solve(&mut vector);
        for (found, expected) in vector.iter().zip(solution) {
            assert!((found - expected).abs() < 1e-14);
        }
    }

    #[test]
    fn a_matrix_without_factor_leaves_its_diagonal() {
        let gram = [1.0, 9.0, 9.0, 1.0];
        let mut vector = [4.0, 4.0];
        let preconditioner = Preconditioner::from_gram(&gram, 2, 1.0);
        assert!(matches!(preconditioner, Preconditioner::Diagonal(_)));
        preconditioner.solve(&mut vector);
        assert_eq!(vector, [2.0, 4.0]);
    }
}
