//! Matrix products on slices. The one place that calls the `gemm` crate.

/// A read-only matrix view: element (i, j) is `data[i * row + j * column]`.
#[derive(Clone, Copy)]
pub(super) struct View<'a> {
    pub data: &'a [f32],
    pub row: usize,
    pub column: usize,
}

impl<'a> View<'a> {
    /// Row-major rows of `stride` elements.
    pub(super) fn rows(data: &'a [f32], stride: usize) -> Self {
        View {
            data,
            row: stride,
            column: 1,
        }
    }

    /// The transpose.
    pub(super) fn t(self) -> Self {
        View {
            row: self.column,
            column: self.row,
            ..self
        }
    }

    fn covers(&self, rows: usize, columns: usize) -> bool {
        rows == 0
            || columns == 0
            || (rows - 1) * self.row + (columns - 1) * self.column < self.data.len()
    }
}

/// `c = scale * a b` for `c` `[m, n]` with rows of `stride` elements, on the calling thread.
///
/// # Panics
/// When a view is shorter than its shape says; callers pass shapes they have just checked.
pub(super) fn product(
    c: &mut [f32],
    stride: usize,
    [m, n, k]: [usize; 3],
    a: View<'_>,
    b: View<'_>,
    scale: f32,
) {
    if m == 0 || n == 0 {
        return;
    }
    assert!(stride >= n && (m - 1) * stride + n <= c.len());
    assert!(a.covers(m, k) && b.covers(k, n));
    // SAFETY: the asserts above keep every element of the three views inside its slice, `c` is borrowed
    // mutably and so overlaps neither input, and rows of `c` do not overlap because stride >= n.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            stride as isize,
            false,
            a.data.as_ptr(),
            a.column as isize,
            a.row as isize,
            b.data.as_ptr(),
            b.column as isize,
            b.row as isize,
            0.0,
            scale,
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
    fn products_follow_strides() {
        let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]; // [2, 3]
        let b = [1.0, 0.0, 2.0, 0.0, 1.0, 3.0]; // [2, 3], used transposed
        let mut c = [9.0; 6];
        product(&mut c, 3, [2, 2, 3], View::rows(&a, 3), View::rows(&b, 3).t(), 2.0);
        assert_eq!(c, [14.0, 22.0, 9.0, 32.0, 46.0, 9.0]);
    }
}
