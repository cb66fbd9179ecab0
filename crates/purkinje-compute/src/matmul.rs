//! Matrix products on slices, on the calling thread. The only module that calls the `gemm` crate.

use std::mem::MaybeUninit;

/// An element type of matrix products.
pub trait Number: Copy + sealed::Sealed + 'static {
    /// 0.
    const ZERO: Self;
    /// 1.
    const ONE: Self;
}

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for f64 {}
}

impl Number for f32 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
}

impl Number for f64 {
    const ZERO: Self = 0.0;
    const ONE: Self = 1.0;
}

/// A read-only matrix view: element (i, j) is `data[i * row + j * column]`.
#[derive(Clone, Copy, Debug)]
pub struct View<'a, T> {
    /// The elements, including those between rows and columns.
    pub data: &'a [T],
    /// Distance from a row to the next.
    pub row: usize,
    /// Distance from a column to the next.
    pub column: usize,
}

impl<'a, T> View<'a, T> {
    /// Row-major rows of `stride` elements.
    pub fn rows(data: &'a [T], stride: usize) -> Self {
        View {
            data,
            row: stride,
            column: 1,
        }
    }

    /// The transpose.
    pub fn t(self) -> Self {
        View {
            row: self.column,
            column: self.row,
            ..self
        }
    }

    pub(crate) fn covers(&self, rows: usize, columns: usize) -> bool {
        if rows == 0 || columns == 0 {
            return true;
        }
        let down = (rows - 1).checked_mul(self.row);
        let right = (columns - 1).checked_mul(self.column);
        let last = down
            .zip(right)
            .and_then(|(down, right)| down.checked_add(right));
        last.is_some_and(|last| last < self.data.len())
            && self.row.max(self.column) <= isize::MAX as usize
    }
}

/// Memory for `count` results that a product will write: zeroing it first would cost a pass over memory.
pub fn unwritten<T: Number>(count: usize) -> Vec<MaybeUninit<T>> {
    let mut out = Vec::with_capacity(count);
    // SAFETY: `MaybeUninit` needs no initialisation, and the capacity was just reserved.
    unsafe { out.set_len(count) };
    out
}

/// The same memory, filled with zeros.
pub fn zeroed<T: Number>(out: &mut [MaybeUninit<T>]) -> &mut [T] {
    out.fill(MaybeUninit::new(T::ZERO));
    // SAFETY: every element was just written.
    unsafe { out.assume_init_mut() }
}

/// The results, once every element was written.
///
/// # Safety
/// Every element must have been written.
pub unsafe fn written<T: Number>(out: Vec<MaybeUninit<T>>) -> Vec<T> {
    let mut out = std::mem::ManuallyDrop::new(out);
    // SAFETY: same allocation, same layout of `MaybeUninit<T>` and `T`, all elements initialised (the caller's promise).
    unsafe { Vec::from_raw_parts(out.as_mut_ptr().cast(), out.len(), out.capacity()) }
}

/// `c = scale * a b` for `c` `[m, n]`, on the calling thread; returns `c` initialised.
///
/// # Panics
/// When a view is shorter than its shape says; callers pass shapes they have just checked.
pub fn product<'c, T: Number>(
    c: &'c mut [MaybeUninit<T>],
    [m, n, k]: [usize; 3],
    a: View<'_, T>,
    b: View<'_, T>,
    scale: T,
) -> &'c mut [T] {
    assert!(m.checked_mul(n) == Some(c.len()) && k > 0);
    assert!(a.covers(m, k) && b.covers(k, n));
    // SAFETY: the asserts above keep every element of the three views inside its slice, and `c` is borrowed
    // mutably and so overlaps neither input. The product reads nothing of `c` (`read_dst` is false) and writes all of
    // it, so it may be handed back as initialised.
    unsafe {
        gemm::gemm(
            m,
            n,
            k,
            c.as_mut_ptr().cast::<T>(),
            1,
            n as isize,
            false,
            a.data.as_ptr(),
            a.column as isize,
            a.row as isize,
            b.data.as_ptr(),
            b.column as isize,
            b.row as isize,
            T::ZERO,
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
pub fn product_add<T: Number>(
    c: &mut [T],
    stride: usize,
    [m, n, k]: [usize; 3],
    a: View<'_, T>,
    b: View<'_, T>,
) {
    if m == 0 || n == 0 {
        return;
    }
    let last = (m - 1)
        .checked_mul(stride)
        .and_then(|row| row.checked_add(n));
    assert!(k > 0 && n <= stride && stride <= isize::MAX as usize);
    assert!(last.is_some_and(|last| last <= c.len()));
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
            T::ONE,
            T::ONE,
            false,
            false,
            false,
            gemm::Parallelism::None,
        );
    }
}

/// [`product`] into memory that is already in use.
///
/// # Panics
/// As [`product`].
pub fn product_over<T: Number>(
    c: &mut [T],
    shape: [usize; 3],
    a: View<'_, T>,
    b: View<'_, T>,
    scale: T,
) {
    // SAFETY: the same layout, and `product` leaves every element initialised.
    let c = unsafe { &mut *(std::ptr::from_mut(c) as *mut [MaybeUninit<T>]) };
    product(c, shape, a, b, scale);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_follow_strides() {
        let a = [1.0f32, 2.0, 3.0, 4.0, 5.0, 6.0]; // [2, 3]
        let b = [1.0, 0.0, 2.0, 0.0, 1.0, 3.0]; // [2, 3], used transposed
        let mut c = unwritten(4);
        let shape = [2, 2, 3];
        let c = product(&mut c, shape, View::rows(&a, 3), View::rows(&b, 3).t(), 2.0);
        assert_eq!(c, [14.0, 22.0, 32.0, 46.0]);
    }

    #[test]
    fn products_of_transposes_are_right() {
        let a: Vec<f64> = (0..6).map(f64::from).collect(); // [2, 3]
        let b: Vec<f64> = (0..12).map(|i| f64::from(i * i)).collect(); // [4, 3]
        // [2, 4] in rows of 5
        let mut out = vec![1.0; 10];
        let (left, right) = (View::rows(&a, 3), View::rows(&b, 3).t());
        product_add(&mut out, 5, [2, 4, 3], left, right);
        for (at, found) in out.iter().enumerate() {
            let (i, j) = (at / 5, at % 5);
            let product = |k: usize| a[3 * i + k] * b[3 * j + k];
            let expected = match j {
                4 => 1.0,
                _ => 1.0 + (0..3).map(product).sum::<f64>(),
            };
            assert_eq!(*found, expected);
        }
        let mut gram = vec![f64::NAN; 9]; // [3, 3]; old content must not matter
        let a = View::rows(&a, 3);
        product_over(&mut gram, [3, 3, 2], a.t(), a, 1.0);
        assert_eq!(gram, [9.0, 12.0, 15.0, 12.0, 17.0, 22.0, 15.0, 22.0, 29.0]);
    }

    #[test]
    #[should_panic(expected = "covers")]
    fn a_view_that_is_too_short_is_refused() {
        let data = [0.0f32; 5];
        let mut out = [0.0; 4];
        let views = [View::rows(&data, 3), View::rows(&data, usize::MAX / 2)];
        product_over(&mut out, [2, 2, 3], views[0], views[1], 1.0);
    }
}
