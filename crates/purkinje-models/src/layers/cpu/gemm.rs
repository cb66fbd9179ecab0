//! Matrix products on slices. The one place that calls the `gemm` crate.

use std::mem::MaybeUninit;

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

/// Memory for `count` results that a product will write: zeroing it first would cost a pass over memory.
pub(super) fn unwritten(count: usize) -> Vec<MaybeUninit<f32>> {
    let mut out = Vec::with_capacity(count);
    // SAFETY: `MaybeUninit` needs no initialisation, and the capacity was just reserved.
    unsafe { out.set_len(count) };
    out
}

/// The same memory, filled with zeros.
pub(super) fn zeroed(out: &mut [MaybeUninit<f32>]) -> &mut [f32] {
    out.fill(MaybeUninit::new(0.0));
    // SAFETY: every element was just written.
    unsafe { out.assume_init_mut() }
}

/// The results, once every element was written.
///
/// # Safety
/// Every element must have been written.
pub(super) unsafe fn written(out: Vec<MaybeUninit<f32>>) -> Vec<f32> {
    let mut out = std::mem::ManuallyDrop::new(out);
    // SAFETY: same allocation, same layout of `MaybeUninit<f32>` and `f32`, all elements initialised (the caller's promise).
    unsafe { Vec::from_raw_parts(out.as_mut_ptr().cast(), out.len(), out.capacity()) }
}

/// `c = scale * a b` for `c` `[m, n]`, on the calling thread; gives `c` back written.
///
/// # Panics
/// When a view is shorter than its shape says; callers pass shapes they have just checked.
pub(super) fn product<'c>(
    c: &'c mut [MaybeUninit<f32>],
    [m, n, k]: [usize; 3],
    a: View<'_>,
    b: View<'_>,
    scale: f32,
) -> &'c mut [f32] {
    assert!(c.len() == m * n && k > 0);
    assert!(a.covers(m, k) && b.covers(k, n));
    // SAFETY: the asserts above keep every element of the three views inside its slice, and `c` is borrowed
    // mutably and so overlaps neither input. The product reads nothing of `c` (`read_dst` is false) and writes all of
    // it, so it may be handed back as initialised.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr().cast::<f32>(),
            1,
            n as isize,
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
        c.assume_init_mut()
    }
}

/// `c += a b` for the `[m, n]` part of `c` whose rows begin `stride` elements apart, on the calling thread.
///
/// # Panics
/// As [`product`].
pub(super) fn product_add(
    c: &mut [f32],
    stride: usize,
    [m, n, k]: [usize; 3],
    a: View<'_>,
    b: View<'_>,
) {
    if m == 0 || n == 0 {
        return;
    }
    assert!(k > 0 && n <= stride && (m - 1) * stride + n <= c.len());
    assert!(a.covers(m, k) && b.covers(k, n));
    // SAFETY: the asserts above keep every element of the three views inside its slice, `c` is initialised and borrowed
    // mutably and so overlaps neither input, and its rows do not overlap each other.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr(),
            1,
            stride as isize,
            true,
            a.data.as_ptr(),
            a.column as isize,
            a.row as isize,
            b.data.as_ptr(),
            b.column as isize,
            b.row as isize,
            1.0,
            1.0,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// [`product`] into memory that is already in use.
pub(super) fn product_over(c: &mut [f32], shape: [usize; 3], a: View<'_>, b: View<'_>, scale: f32) {
    // SAFETY: the same layout, and `product` leaves every element initialised.
    let c = unsafe { &mut *(std::ptr::from_mut(c) as *mut [MaybeUninit<f32>]) };
    product(c, shape, a, b, scale);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_follow_strides() {
        let a = [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]; // [2, 3]
        let b = [1.0, 0.0, 2.0, 0.0, 1.0, 3.0]; // [2, 3], used transposed
        let mut c = unwritten(4);
        let c = product(
            &mut c,
            [2, 2, 3],
            View::rows(&a, 3),
            View::rows(&b, 3).t(),
            2.0,
        );
        assert_eq!(c, [14.0, 22.0, 32.0, 46.0]);
    }
}
