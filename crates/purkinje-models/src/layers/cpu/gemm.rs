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

/// Most terms that are summed in one go: up to so many, the `gemm` crate sums them one after the other, whatever the
/// other sizes and the caches of the machine.
const STRETCH: usize = 512;
/// Up to so many results of rows that lie along the sum are computed by scalar products, in another order.
const SCALAR_PRODUCTS: usize = 16 * 16;

/// In how long stretches sums of `k` terms are made, which are then added up in their order.
pub(super) fn stretch(k: usize) -> usize {
    k.div_ceil(k.div_ceil(STRETCH).max(1)).max(1)
}

/// `c = a b` as [`product`], with sums whose order depends on `k` alone: a row of `a` gives the same bits among any
/// others.
///
/// # Panics
/// As [`product`].
pub(super) fn product_by_rows<'c>(
    c: &'c mut [MaybeUninit<f32>],
    [m, n, k]: [usize; 3],
    a: View<'_>,
    b: View<'_>,
) -> &'c mut [f32] {
    assert!(c.len() == m * n && k > 0);
    assert!(a.covers(m, k) && b.covers(k, n));
    // Vectors, and small results, go their own ways in the `gemm` crate. Rows and columns of zeros, and columns that lie
    // across the sum, keep them on the common one.
    let (rows, columns) = (m.max(2), n.max(2));
    let turned = b.row == 1 && rows * columns <= SCALAR_PRODUCTS;
    if rows > m || columns > n || turned {
        let (own_a, own_b);
        let mut a = a;
        let mut b = b;
        if rows > m {
            own_a = copied(a, [m, k], [rows, k]);
            a = View::rows(&own_a, k);
        }
        if columns > n || turned {
            own_b = copied(b, [k, n], [k, columns]);
            b = View::rows(&own_b, columns);
        }
        let mut whole = unwritten(rows * columns);
        let whole = in_stretches(&mut whole, [rows, columns, k], a, b);
        for (c, whole) in c.chunks_exact_mut(n).zip(whole.chunks_exact(columns)) {
            c.write_copy_of_slice(&whole[..n]);
        }
        // SAFETY: m rows of n results were just written.
        return unsafe { c.assume_init_mut() };
    }
    in_stretches(c, [m, n, k], a, b)
}

fn in_stretches<'c>(
    c: &'c mut [MaybeUninit<f32>],
    [m, n, k]: [usize; 3],
    a: View<'_>,
    b: View<'_>,
) -> &'c mut [f32] {
    let stretch = stretch(k);
    let c = product(c, [m, n, stretch], a, b, 1.0);
    for from in (stretch..k).step_by(stretch) {
        let a = View {
            data: &a.data[from * a.column..],
            ..a
        };
        let b = View {
            data: &b.data[from * b.row..],
            ..b
        };
        product_add(c, n, [m, n, stretch.min(k - from)], a, b);
    }
    c
}

/// A view in rows, with zeros behind its rows and columns.
fn copied(x: View<'_>, [m, n]: [usize; 2], [rows, columns]: [usize; 2]) -> Vec<f32> {
    let mut out = vec![0.0; rows * columns];
    for (i, out) in out.chunks_exact_mut(columns).take(m).enumerate() {
        for (j, out) in out.iter_mut().take(n).enumerate() {
            *out = x.data[i * x.row + j * x.column];
        }
    }
    out
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

    /// Each row alone, and among any number of others, in shapes for which the `gemm` crate has ways of its own.
    #[test]
    fn a_row_gives_the_same_bits_among_any_others() {
        let value = |i: usize| ((i * 2_654_435_761) % 1_000) as f32 / 500.0 - 1.0;
        for (n, k) in [
            (1, 40),
            (5, 200),
            (71, 768),
            (192, 1100),
            (300, 513),
            (2, 2),
            (7, 1),
        ] {
            let rows = 200;
            let a: Vec<f32> = (0..rows * k).map(value).collect();
            let w: Vec<f32> = (0..n * k).map(|i| value(i + 17)).collect();
            let of = |rows: usize, m: usize| {
                let mut c = unwritten(m * n);
                let a = View::rows(&a[rows * k..], k);
                let c = product_by_rows(&mut c, [m, n, k], a, View::rows(&w, k).t());
                c.iter().map(|c| c.to_bits()).collect::<Vec<_>>()
            };
            let whole = of(0, rows);
            for m in [1, 2, 3, 7, 32, 64, 65, 97] {
                for first in [0, rows - m] {
                    let own = &whole[first * n..(first + m) * n];
                    assert!(of(first, m) == own, "{m} rows from {first}, {n} by {k}");
                }
            }
            // The same product with the roles of rows and columns exchanged.
            let mut turned = unwritten(n * rows);
            let a = View::rows(&a, k);
            let turned = product_by_rows(&mut turned, [n, rows, k], View::rows(&w, k), a.t());
            let same = (0..rows * n).all(|i| whole[i] == turned[i % n * rows + i / n].to_bits());
            assert!(same, "{n} by {k}");
        }
    }

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
