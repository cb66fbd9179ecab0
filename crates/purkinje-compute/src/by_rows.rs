//! Matrix products whose order of summation depends only on the length of the sum: a row gives the same bits with any
//! other rows.

use std::mem::MaybeUninit;

use crate::matmul::{View, product, product_add, unwritten};

/// Largest number of terms summed in one block: up to this number the `gemm` crate sums them in order, whatever the
/// other sizes and the caches of the CPU.
const STRETCH: usize = 512;
/// Up to this number of results, rows along the sum are computed by scalar products, in another order.
const SCALAR_PRODUCTS: usize = 16 * 16;

/// The length of the blocks in which sums of `k` terms are computed; the sums of blocks are then added in order.
pub fn stretch(k: usize) -> usize {
    k.div_ceil(k.div_ceil(STRETCH).max(1)).max(1)
}

/// `c = a b` as [`product`], with sums whose order depends only on `k`: a row of `a` gives the same bits with any other
/// rows.
///
/// # Panics
/// As [`product`].
pub fn product_by_rows<'c>(
    c: &'c mut [MaybeUninit<f32>],
    [m, n, k]: [usize; 3],
    a: View<'_, f32>,
    b: View<'_, f32>,
) -> &'c mut [f32] {
    assert!(c.len() == m * n && k > 0);
    assert!(a.covers(m, k) && b.covers(k, n));
    // Vectors and small results use separate code paths in the `gemm` crate. Padding with rows and columns of zeros,
    // and a column-major layout, keep them on the common one.
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
    a: View<'_, f32>,
    b: View<'_, f32>,
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

/// Copies a view to rows, padded with zero rows and columns.
fn copied(x: View<'_, f32>, [m, n]: [usize; 2], [rows, columns]: [usize; 2]) -> Vec<f32> {
    let mut out = vec![0.0; rows * columns];
    for (i, out) in out.chunks_exact_mut(columns).take(m).enumerate() {
        for (j, out) in out.iter_mut().take(n).enumerate() {
            *out = x.data[i * x.row + j * x.column];
        }
    }
    out
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
}
