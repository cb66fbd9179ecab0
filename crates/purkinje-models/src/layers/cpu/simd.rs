//! Row kernels: the element-wise operations between matrix products, compiled for AVX-512, for AVX2 and for any CPU,
//! and chosen at run time.
//!
//! Reductions keep sixteen partial sums in a fixed order, so a row gives the same bits on every path that has
//! fused multiply-add, whatever the number of threads or rows.

use std::sync::LazyLock;

#[cfg(target_arch = "x86_64")]
use purkinje_compute::transpose::transposed;

#[derive(Clone, Copy, PartialEq, Eq)]
enum Level {
    Avx512,
    Avx2,
    Portable,
}

static LEVEL: LazyLock<Level> = LazyLock::new(|| {
    #[cfg(target_arch = "x86_64")]
    {
        if is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512dq")
            && is_x86_feature_detected!("avx512vl")
        {
            return Level::Avx512;
        }
        if is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma") {
            return Level::Avx2;
        }
    }
    Level::Portable
});

/// Defines `$name` as a run-time choice between three compilations of `$body`, an
/// `#[inline(always)]` function whose const parameter says whether fused multiply-add is available.
macro_rules! by_machine {
    ($(#[$doc:meta])* pub(super) fn $name:ident / $body:ident ( $($arg:ident : $ty:ty),* $(,)? ) $(-> $ret:ty)?) => {
        $(#[$doc])*
        #[allow(clippy::too_many_arguments)]
        pub(super) fn $name($($arg: $ty),*) $(-> $ret)? {
            #[cfg(target_arch = "x86_64")]
            {
                #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn avx512($($arg: $ty),*) $(-> $ret)? { $body::<true>($($arg),*) }
                #[target_feature(enable = "avx2,fma")]
                #[allow(clippy::too_many_arguments)]
                fn avx2($($arg: $ty),*) $(-> $ret)? { $body::<true>($($arg),*) }
                match *LEVEL {
                    // SAFETY: LEVEL is set from the features supported by this CPU.
                    Level::Avx512 => return unsafe { avx512($($arg),*) },
                    // SAFETY: as above.
                    Level::Avx2 => return unsafe { avx2($($arg),*) },
                    Level::Portable => {}
                }
            }
            $body::<false>($($arg),*)
        }
    };
}

/// Numbers of the widest vector.
pub(super) const LANES: usize = 16;

#[inline(always)]
fn fma<const FMA: bool>(a: f32, b: f32, c: f32) -> f32 {
    if FMA { a.mul_add(b, c) } else { a * b + c }
}

#[inline(always)]
fn fold(lanes: [f32; LANES]) -> f32 {
    let mut sum = lanes;
    let mut width = LANES / 2;
    while width > 0 {
        for i in 0..width {
            sum[i] += sum[i + width];
        }
        width /= 2;
    }
    sum[0]
}

#[inline(always)]
fn sum(row: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    let chunks = row.chunks_exact(LANES);
    let tail = chunks.remainder();
    for chunk in chunks {
        for i in 0..LANES {
            lanes[i] += chunk[i];
        }
    }
    for (lane, x) in lanes.iter_mut().zip(tail) {
        *lane += x;
    }
    fold(lanes)
}

#[inline(always)]
fn dot<const FMA: bool>(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0; LANES];
    let (ca, cb) = (a.chunks_exact(LANES), b.chunks_exact(LANES));
    let (ta, tb) = (ca.remainder(), cb.remainder());
    for (x, y) in ca.zip(cb) {
        for i in 0..LANES {
            lanes[i] = fma::<FMA>(x[i], y[i], lanes[i]);
        }
    }
    for (i, (x, y)) in ta.iter().zip(tb).enumerate() {
        lanes[i] = fma::<FMA>(*x, *y, lanes[i]);
    }
    fold(lanes)
}

/// e^x to 2 ulp for -87 <= x <= 88, 0 below (subnormals, which are slow, never occur). Written so that a loop over it
/// vectorises.
#[inline(always)]
fn exp<const FMA: bool>(x: f32) -> f32 {
    const LOG2_E: f32 = std::f32::consts::LOG2_E;
    const LN2_HIGH: f32 = 0.693_145_75;
    const LN2_LOW: f32 = 1.428_606_8e-6;
    // Adding and subtracting 1.5 * 2^23 rounds to the nearest integer.
    const ROUND: f32 = 12_582_912.0;
    const LOWEST: f32 = -87.0;
    let inside = x.max(LOWEST);
    let n = fma::<FMA>(inside, LOG2_E, ROUND) - ROUND;
    let r = fma::<FMA>(n, -LN2_LOW, fma::<FMA>(n, -LN2_HIGH, inside));
    let mut p = 1.987_569_1e-4;
    for c in [
        1.398_199_9e-3,
        8.333_452e-3,
        4.166_579_6e-2,
        1.666_666_5e-1,
        0.5,
    ] {
        p = fma::<FMA>(p, r, c);
    }
    let y = fma::<FMA>(p * r, r, r) + 1.0;
    let power = f32::from_bits(((n as i32 + 127) as u32) << 23);
    if x < LOWEST { 0.0 } else { y * power }
}

/// Which elements of a tensor a dropout site keeps: a pure function of the site's key and the
/// element's position, so forward and backward passes, any thread and a resumed run agree.
#[derive(Clone, Copy, Debug)]
pub(super) struct Drop {
    key: u64,
    threshold: u32,
    /// 1 / (1 - p).
    pub(super) scale: f32,
}

impl Drop {
    /// `None` when `p` is 0.
    pub(super) fn new(p: f32, key: u64) -> Option<Drop> {
        (p > 0.0).then(|| Drop {
            key,
            threshold: (f64::from(p) * 4_294_967_296.0) as u32,
            scale: 1.0 / (1.0 - p),
        })
    }

    #[inline(always)]
    fn row_key(self, row: usize) -> u32 {
        let mut z = self.key ^ (row as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z >> 32) as u32
    }

    /// `scale` where column `column` of a row is kept, 0 where it is dropped.
    #[inline(always)]
    fn factor(self, row_key: u32, column: usize) -> f32 {
        let mut h = row_key ^ (column as u32).wrapping_mul(0x9e37_79b1);
        h = (h ^ (h >> 16)).wrapping_mul(0x85eb_ca6b);
        h = (h ^ (h >> 13)).wrapping_mul(0xc2b2_ae35);
        h ^= h >> 16;
        if h >= self.threshold { self.scale } else { 0.0 }
    }
}

/// The activation after a linear layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// Nothing.
    Identity,
    /// max(x, 0).
    Relu,
    /// x Phi(x) with the normal distribution function Phi (the form with the error function).
    Gelu,
    /// Its approximation by a hyperbolic tangent, `x / 2 (1 + tanh(sqrt(2 / pi) (x + 0.044715 x^3)))`.
    GeluTanh,
}

impl Activation {
    /// Whether the backward pass needs the input of the activation.
    pub(crate) fn keeps_input(self) -> bool {
        matches!(self, Activation::Gelu | Activation::GeluTanh)
    }
}

/// What [`Activation::GeluTanh`] multiplies `x` with, and its slope at `x`: half of one plus a hyperbolic tangent is a logistic function.
#[inline(always)]
fn by_tanh<const FMA: bool>(x: f32) -> (f32, f32) {
    const TWICE: f32 = 2.0 * 0.797_884_6;
    const CUBE: f32 = 0.044_715;
    let square = x * x;
    let inner = TWICE * x * fma::<FMA>(CUBE, square, 1.0);
    let factor = 1.0 / (1.0 + exp::<FMA>((-inner).min(80.0)));
    let along = TWICE * fma::<FMA>(3.0 * CUBE, square, 1.0);
    (factor, fma::<FMA>(x * along * factor, 1.0 - factor, factor))
}

/// The normal distribution function Phi and its density at `x`. Error of Phi below 1.5e-7, relative in the lower tail
/// (Abramowitz and Stegun, Handbook of Mathematical Functions, 7.1.26).
#[inline(always)]
fn normal<const FMA: bool>(x: f32) -> (f32, f32) {
    const P: f32 = 0.327_591_1 * std::f32::consts::FRAC_1_SQRT_2;
    const DENSITY: f32 = 0.398_942_3;
    let t = 1.0 / fma::<FMA>(P, x.abs(), 1.0);
    let mut poly = 1.061_405_4;
    for c in [-1.453_152, 1.421_413_7, -0.284_496_74, 0.254_829_6] {
        poly = fma::<FMA>(poly, t, c);
    }
    let e = exp::<FMA>(-0.5 * x * x);
    let tail = 0.5 * poly * t * e;
    (if x >= 0.0 { 1.0 - tail } else { tail }, DENSITY * e)
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn finish_tile_body<const FMA: bool>(
    rows: &mut [f32],
    before: Option<&mut [f32]>,
    width: usize,
    bias: &[f32],
    activation: Activation,
    first: [usize; 2],
    drop: Option<Drop>,
) {
    if !bias.is_empty() {
        for row in rows.chunks_exact_mut(width) {
            for (x, b) in row.iter_mut().zip(bias) {
                *x += b;
            }
        }
    }
    if let Some(before) = before {
        before.copy_from_slice(rows);
    }
    for (i, row) in rows.chunks_exact_mut(width).enumerate() {
        match activation {
            Activation::Identity => {}
            Activation::Relu => {
                for x in row.iter_mut() {
                    *x = x.max(0.0);
                }
            }
            Activation::Gelu => {
                for x in row.iter_mut() {
                    *x *= normal::<FMA>(*x).0;
                }
            }
            Activation::GeluTanh => {
                for x in row.iter_mut() {
                    *x *= by_tanh::<FMA>(*x).0;
                }
            }
        }
        if let Some(drop) = drop {
            let key = drop.row_key(first[0] + i);
            for (j, x) in row.iter_mut().enumerate() {
                *x *= drop.factor(key, first[1] + j);
            }
        }
    }
}
by_machine! {
    /// Adds the bias (if any), applies activation and dropout in place to `rows` `[rows, width]`, a part that begins at
    /// row and column `first` of the whole; `before` gets the input of the activation.
    pub(super) fn finish_tile / finish_tile_body(
        rows: &mut [f32], before: Option<&mut [f32]>, width: usize, bias: &[f32], activation: Activation,
        first: [usize; 2], drop: Option<Drop>)
}

/// [`finish_tile`] for whole rows, `[rows, bias.len()]`.
pub(super) fn finish_linear(
    rows: &mut [f32],
    before: Option<&mut [f32]>,
    bias: &[f32],
    activation: Activation,
    first_row: usize,
    drop: Option<Drop>,
) {
    let width = bias.len();
    finish_tile(rows, before, width, bias, activation, [first_row, 0], drop);
}

/// Whether the tiles of [`super::register_tile`] are supported by this CPU.
pub(super) fn has_tiles() -> bool {
    cfg!(target_arch = "x86_64") && *LEVEL == Level::Avx512
}

#[inline(always)]
fn activation_backward_body<const FMA: bool>(
    grad: &mut [f32],
    grad_out: &[f32],
    before: &[f32],
    width: usize,
    activation: Activation,
    first_row: usize,
    drop: Option<Drop>,
) {
    for (i, (g, d)) in grad
        .chunks_exact_mut(width)
        .zip(grad_out.chunks_exact(width))
        .enumerate()
    {
        match drop {
            None => g.copy_from_slice(d),
            Some(drop) => {
                let key = drop.row_key(first_row + i);
                for (j, (g, d)) in g.iter_mut().zip(d).enumerate() {
                    *g = d * drop.factor(key, j);
                }
            }
        }
    }
    match activation {
        Activation::Identity => {}
        Activation::Relu => {
            for (g, x) in grad.iter_mut().zip(before) {
                *g = if *x > 0.0 { *g } else { 0.0 };
            }
        }
        Activation::Gelu => {
            for (g, x) in grad.iter_mut().zip(before) {
                let (phi, density) = normal::<FMA>(*x);
                *g *= fma::<FMA>(*x, density, phi);
            }
        }
        Activation::GeluTanh => {
            for (g, x) in grad.iter_mut().zip(before) {
                *g *= by_tanh::<FMA>(*x).1;
            }
        }
    }
}
by_machine! {
    /// Gradient before activation and dropout. `before` is the input of the activation; for ReLU its output also works,
    /// and without an activation it is not used.
    pub(super) fn activation_backward / activation_backward_body(
        grad: &mut [f32], grad_out: &[f32], before: &[f32], width: usize, activation: Activation, first_row: usize,
        drop: Option<Drop>)
}

/// `x` `[rows, columns]`, its rows `x_stride` apart, as `[columns, rows]`, rows `out_stride` apart.
pub(super) fn transpose(
    out: &mut [f32],
    out_stride: usize,
    x: &[f32],
    x_stride: usize,
    [rows, columns]: [usize; 2],
) {
    for first in (0..columns).step_by(LANES) {
        let width = LANES.min(columns - first);
        for top in (0..rows).step_by(LANES) {
            let height = LANES.min(rows - top);
            let x = &x[top * x_stride + first..];
            let out = &mut out[first * out_stride + top..];
            #[cfg(target_arch = "x86_64")]
            if [height, width] == [LANES; 2] && *LEVEL == Level::Avx512 {
                // SAFETY: LEVEL is set from the features supported by this CPU.
                unsafe { transpose_tile_avx512(out, out_stride, x, x_stride) };
                continue;
            }
            for j in 0..width {
                for i in 0..height {
                    out[j * out_stride + i] = x[i * x_stride + j];
                }
            }
        }
    }
}

/// Sixteen rows of sixteen.
#[cfg(target_arch = "x86_64")]
#[target_feature(enable = "avx512f")]
fn transpose_tile_avx512(out: &mut [f32], out_stride: usize, x: &[f32], x_stride: usize) {
    use std::arch::x86_64::{_mm512_loadu_ps, _mm512_storeu_ps};
    let rows = std::array::from_fn(|i| {
        let row = &x[i * x_stride..][..LANES];
        // SAFETY: the slice holds sixteen numbers; no alignment is asked for.
        unsafe { _mm512_loadu_ps(row.as_ptr()) }
    });
    for (i, column) in transposed(rows).into_iter().enumerate() {
        let out = &mut out[i * out_stride..][..LANES];
        // SAFETY: as for the rows.
        unsafe { _mm512_storeu_ps(out.as_mut_ptr(), column) };
    }
}

#[inline(always)]
fn add_squares_body<const FMA: bool>(total: &mut [f32], rows: &[f32], centre: &[f32]) {
    for row in rows.chunks_exact(total.len()) {
        for ((t, x), c) in total.iter_mut().zip(row).zip(centre) {
            let d = x - c;
            *t = fma::<FMA>(d, d, *t);
        }
    }
}
by_machine! {
    /// Adds the squared distance of every row of `rows` from `centre` to `total`.
    pub(super) fn add_squares / add_squares_body(total: &mut [f32], rows: &[f32], centre: &[f32])
}

#[inline(always)]
fn add_products_body<const FMA: bool>(total: &mut [f32], a: &[f32], b: &[f32]) {
    let width = total.len();
    for (a, b) in a.chunks_exact(width).zip(b.chunks_exact(width)) {
        for ((t, a), b) in total.iter_mut().zip(a).zip(b) {
            *t = fma::<FMA>(*a, *b, *t);
        }
    }
}
by_machine! {
    /// Adds the products of the rows of `a` and `b`, column by column, to `total`.
    pub(super) fn add_products / add_products_body(total: &mut [f32], a: &[f32], b: &[f32])
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn norm_columns_body<const FMA: bool>(
    out: &mut [f32],
    normed: Option<&mut [f32]>,
    x: &[f32],
    mean: &[f32],
    inverse_std: &[f32],
    gamma: &[f32],
    beta: &[f32],
    activation: Activation,
) {
    let width = gamma.len();
    for (y, x) in out.chunks_exact_mut(width).zip(x.chunks_exact(width)) {
        for (((y, x), m), s) in y.iter_mut().zip(x).zip(mean).zip(inverse_std) {
            *y = (x - m) * s;
        }
    }
    if let Some(normed) = normed {
        normed.copy_from_slice(out);
    }
    for y in out.chunks_exact_mut(width) {
        for ((y, g), b) in y.iter_mut().zip(gamma).zip(beta) {
            *y = fma::<FMA>(*y, *g, *b);
        }
        match activation {
            Activation::Identity => {}
            Activation::Relu => {
                for y in y.iter_mut() {
                    *y = y.max(0.0);
                }
            }
            Activation::Gelu => {
                for y in y.iter_mut() {
                    *y *= normal::<FMA>(*y).0;
                }
            }
            Activation::GeluTanh => {
                for y in y.iter_mut() {
                    *y *= by_tanh::<FMA>(*y).0;
                }
            }
        }
    }
}
by_machine! {
    /// `out = activation((x - mean) * inverse_std * gamma + beta)` column by column; `normed` gets the values before
    /// gamma.
    pub(super) fn norm_columns / norm_columns_body(
        out: &mut [f32], normed: Option<&mut [f32]>, x: &[f32], mean: &[f32], inverse_std: &[f32], gamma: &[f32],
        beta: &[f32], activation: Activation)
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn norm_columns_sums_body<const FMA: bool>(
    grad: &mut [f32],
    grad_gamma: &mut [f32],
    grad_beta: &mut [f32],
    grad_out: &[f32],
    normed: &[f32],
    gamma: &[f32],
    beta: &[f32],
    activation: Activation,
) {
    let width = gamma.len();
    for (i, g) in grad.chunks_exact_mut(width).enumerate() {
        let d = &grad_out[i * width..(i + 1) * width];
        let n = &normed[i * width..(i + 1) * width];
        for j in 0..width {
            let z = fma::<FMA>(n[j], gamma[j], beta[j]);
            let slope = match activation {
                Activation::Identity => 1.0,
                Activation::Relu => {
                    if z > 0.0 {
                        1.0
                    } else {
                        0.0
                    }
                }
                Activation::Gelu => {
                    let (phi, density) = normal::<FMA>(z);
                    fma::<FMA>(z, density, phi)
                }
                Activation::GeluTanh => by_tanh::<FMA>(z).1,
            };
            g[j] = d[j] * slope;
            grad_beta[j] += g[j];
            grad_gamma[j] = fma::<FMA>(g[j], n[j], grad_gamma[j]);
        }
    }
}
by_machine! {
    /// First pass of the backward pass of [`norm_columns`]: the gradient before the activation, and what these rows
    /// add to the gradients of gamma and beta.
    pub(super) fn norm_columns_sums / norm_columns_sums_body(
        grad: &mut [f32], grad_gamma: &mut [f32], grad_beta: &mut [f32], grad_out: &[f32], normed: &[f32],
        gamma: &[f32], beta: &[f32], activation: Activation)
}

#[inline(always)]
fn norm_columns_backward_body<const FMA: bool>(
    grad: &mut [f32],
    normed: &[f32],
    scale: &[f32],
    along: &[f32],
    mean: &[f32],
) {
    let width = scale.len();
    for (g, n) in grad.chunks_exact_mut(width).zip(normed.chunks_exact(width)) {
        for j in 0..width {
            g[j] = (fma::<FMA>(-along[j], n[j], g[j]) - mean[j]) * scale[j];
        }
    }
}
by_machine! {
    /// Second pass: `grad = (grad - mean - along * normed) * scale` column by column.
    pub(super) fn norm_columns_backward / norm_columns_backward_body(
        grad: &mut [f32], normed: &[f32], scale: &[f32], along: &[f32], mean: &[f32])
}

#[inline(always)]
fn add_rows_body<const FMA: bool>(total: &mut [f32], rows: &[f32]) {
    for row in rows.chunks_exact(total.len()) {
        for (t, x) in total.iter_mut().zip(row) {
            *t += x;
        }
    }
}
by_machine! {
    /// Adds every row of `rows` to `total`.
    pub(super) fn add_rows / add_rows_body(total: &mut [f32], rows: &[f32])
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn norm_rows_body<const FMA: bool>(
    out: &mut [f32],
    normed: &mut [f32],
    inverse_std: &mut [f32],
    x: &[f32],
    residual: Option<&[f32]>,
    gamma: &[f32],
    beta: &[f32],
    eps: f32,
    first_row: usize,
    drop: Option<Drop>,
) {
    let width = gamma.len();
    for (i, (y, n)) in out
        .chunks_exact_mut(width)
        .zip(normed.chunks_exact_mut(width))
        .enumerate()
    {
        let row = &x[i * width..(i + 1) * width];
        match residual.map(|r| &r[i * width..(i + 1) * width]) {
            None => n.copy_from_slice(row),
            Some(r) => match drop {
                None => {
                    for ((n, x), r) in n.iter_mut().zip(row).zip(r) {
                        *n = x + r;
                    }
                }
                Some(drop) => {
                    let key = drop.row_key(first_row + i);
                    for (j, ((n, x), r)) in n.iter_mut().zip(row).zip(r).enumerate() {
                        *n = fma::<FMA>(*r, drop.factor(key, j), *x);
                    }
                }
            },
        }
        let mean = sum(n) / width as f32;
        for n in n.iter_mut() {
            *n -= mean;
        }
        let variance = dot::<FMA>(n, n) / width as f32;
        let inverse = 1.0 / (variance + eps).sqrt();
        inverse_std[i] = inverse;
        for (((y, n), g), b) in y.iter_mut().zip(n.iter_mut()).zip(gamma).zip(beta) {
            *n *= inverse;
            *y = fma::<FMA>(*n, *g, *b);
        }
    }
}
by_machine! {
    /// `out = LayerNorm(x + dropout(residual)) * gamma + beta`; keeps the normalised rows and 1/std for the backward
    /// pass.
    pub(super) fn norm_rows / norm_rows_body(
        out: &mut [f32], normed: &mut [f32], inverse_std: &mut [f32], x: &[f32], residual: Option<&[f32]>,
        gamma: &[f32], beta: &[f32], eps: f32, first_row: usize, drop: Option<Drop>)
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn norm_rows_backward_body<const FMA: bool>(
    grad_x: &mut [f32],
    grad_residual: Option<&mut [f32]>,
    grad_gamma: &mut [f32],
    grad_beta: &mut [f32],
    grad_out: &[f32],
    normed: &[f32],
    inverse_std: &[f32],
    gamma: &[f32],
    first_row: usize,
    drop: Option<Drop>,
) {
    let width = gamma.len();
    for (i, g) in grad_x.chunks_exact_mut(width).enumerate() {
        let d = &grad_out[i * width..(i + 1) * width];
        let n = &normed[i * width..(i + 1) * width];
        for j in 0..width {
            grad_beta[j] += d[j];
            grad_gamma[j] = fma::<FMA>(d[j], n[j], grad_gamma[j]);
            g[j] = d[j] * gamma[j];
        }
        let mean = sum(g) / width as f32;
        let along = dot::<FMA>(g, n) / width as f32;
        for (g, n) in g.iter_mut().zip(n) {
            *g = (fma::<FMA>(-along, *n, *g) - mean) * inverse_std[i];
        }
    }
    if let (Some(grad_residual), Some(drop)) = (grad_residual, drop) {
        for (i, (r, g)) in grad_residual
            .chunks_exact_mut(width)
            .zip(grad_x.chunks_exact(width))
            .enumerate()
        {
            let key = drop.row_key(first_row + i);
            for (j, (r, g)) in r.iter_mut().zip(g).enumerate() {
                *r = g * drop.factor(key, j);
            }
        }
    }
}
by_machine! {
    /// Gradients of [`norm_rows`]; those of gamma and beta are added to, and without dropout the residual's
    /// gradient is that of `x`.
    pub(super) fn norm_rows_backward / norm_rows_backward_body(
        grad_x: &mut [f32], grad_residual: Option<&mut [f32]>, grad_gamma: &mut [f32], grad_beta: &mut [f32],
        grad_out: &[f32], normed: &[f32], inverse_std: &[f32], gamma: &[f32], first_row: usize, drop: Option<Drop>)
}

/// Terms of a sum that are added one after the other in a register.
const TERMS: usize = 8;

#[inline(always)]
fn add_terms_body<const FMA: bool>(
    sums: &mut [f32],
    columns: usize,
    x: &[f32],
    x_stride: usize,
    w: &[f32],
    w_stride: usize,
    depth: usize,
) {
    let whole = columns / LANES * LANES;
    let mut from = 0;
    while from + TERMS <= depth {
        let w: [&[f32]; TERMS] = std::array::from_fn(|t| &w[(from + t) * w_stride..][..columns]);
        for at in (0..whole).step_by(LANES) {
            let w: [[f32; LANES]; TERMS] =
                std::array::from_fn(|t| std::array::from_fn(|i| w[t][at + i]));
            for (r, sums) in sums.chunks_exact_mut(columns).enumerate() {
                let x = &x[r * x_stride + from..][..TERMS];
                let sums = &mut sums[at..at + LANES];
                let mut own: [f32; LANES] = std::array::from_fn(|i| sums[i]);
                for t in 0..TERMS {
                    for i in 0..LANES {
                        own[i] = fma::<FMA>(w[t][i], x[t], own[i]);
                    }
                }
                sums.copy_from_slice(&own);
            }
        }
        for (r, sums) in sums.chunks_exact_mut(columns).enumerate() {
            let x = &x[r * x_stride + from..][..TERMS];
            for (j, sum) in sums.iter_mut().enumerate().skip(whole) {
                for t in 0..TERMS {
                    *sum = fma::<FMA>(w[t][j], x[t], *sum);
                }
            }
        }
        from += TERMS;
    }
    for term in from..depth {
        let w = &w[term * w_stride..][..columns];
        for (r, sums) in sums.chunks_exact_mut(columns).enumerate() {
            let x = x[r * x_stride + term];
            for (sum, w) in sums.iter_mut().zip(w) {
                *sum = fma::<FMA>(*w, x, *sum);
            }
        }
    }
}
by_machine! {
    /// Continues the sums `[rows, columns]` by `depth` terms, one after the other: those of row r and column j are the products of
    /// `x[r x_stride + term]` and `w[term w_stride + j]`.
    pub(super) fn add_terms / add_terms_body(
        sums: &mut [f32], columns: usize, x: &[f32], x_stride: usize, w: &[f32], w_stride: usize, depth: usize)
}

#[inline(always)]
fn log_sum_exp_body<const FMA: bool>(row: &[f32]) -> (f32, f32) {
    let (chunks, tail) = row.as_chunks::<LANES>();
    let mut top = [f32::NEG_INFINITY; LANES];
    for chunk in chunks {
        for i in 0..LANES {
            top[i] = top[i].max(chunk[i]);
        }
    }
    for (top, x) in top.iter_mut().zip(tail) {
        *top = top.max(*x);
    }
    let top = top.into_iter().fold(f32::NEG_INFINITY, f32::max);
    let mut sums = [0.0; LANES];
    for chunk in chunks {
        for i in 0..LANES {
            sums[i] += exp::<FMA>(chunk[i] - top);
        }
    }
    for (sum, x) in sums.iter_mut().zip(tail) {
        *sum += exp::<FMA>(*x - top);
    }
    (top, fold(sums))
}
by_machine! {
    /// The largest number of a row, and the sum of e to all differences from it.
    pub(super) fn log_sum_exp / log_sum_exp_body(row: &[f32]) -> (f32, f32)
}

#[inline(always)]
fn shares_body<const FMA: bool>(row: &mut [f32], log_sum: f32, scale: f32) {
    for x in row.iter_mut() {
        *x = exp::<FMA>(*x - log_sum) * scale;
    }
}
by_machine! {
    /// `scale e^(x - log_sum)` in place.
    pub(super) fn shares / shares_body(row: &mut [f32], log_sum: f32, scale: f32)
}

#[inline(always)]
#[allow(clippy::too_many_arguments)]
fn attend_body<const FMA: bool>(
    out: &mut [f32],
    scores: &mut [f32],
    q: &[f32],
    keys: &[f32],
    values: &[f32],
    places: &[u32],
    stride: usize,
    scale: f32,
) {
    let wide = q.len();
    for (score, &place) in scores.iter_mut().zip(places) {
        *score = scale * dot::<FMA>(q, &keys[place as usize * stride..][..wide]);
    }
    softmax_rows_body::<FMA>(scores, places.len(), None);
    out.fill(0.0);
    for (score, &place) in scores.iter().zip(places) {
        let value = &values[place as usize * stride..][..wide];
        for (out, value) in out.iter_mut().zip(value) {
            *out = fma::<FMA>(*score, *value, *out);
        }
    }
}
by_machine! {
    /// Attention of one query to the rows `places` of keys and values, which begin `stride` apart; `scores` is as long as `places`.
    pub(super) fn attend / attend_body(
        out: &mut [f32], scores: &mut [f32], q: &[f32], keys: &[f32], values: &[f32], places: &[u32], stride: usize,
        scale: f32)
}

#[inline(always)]
fn softmax_rows_body<const FMA: bool>(scores: &mut [f32], width: usize, mask: Option<&[f32]>) {
    for (i, row) in scores.chunks_exact_mut(width).enumerate() {
        let mut top = [f32::NEG_INFINITY; LANES];
        match mask {
            None => {
                let (chunks, tail) = row.as_chunks::<LANES>();
                for chunk in chunks {
                    for i in 0..LANES {
                        top[i] = top[i].max(chunk[i]);
                    }
                }
                for (top, s) in top.iter_mut().zip(tail) {
                    *top = top.max(*s);
                }
            }
            Some(mask) => {
                let mask = &mask[i * width..(i + 1) * width];
                let (chunks, tail) = row.as_chunks_mut::<LANES>();
                let (masks, mask_tail) = mask.as_chunks::<LANES>();
                for (chunk, mask) in chunks.iter_mut().zip(masks) {
                    for i in 0..LANES {
                        chunk[i] += mask[i];
                        top[i] = top[i].max(chunk[i]);
                    }
                }
                for ((top, s), m) in top.iter_mut().zip(tail).zip(mask_tail) {
                    *s += m;
                    *top = top.max(*s);
                }
            }
        }
        let top = top.into_iter().fold(f32::NEG_INFINITY, f32::max);
        let mut sums = [0.0; LANES];
        let (chunks, tail) = row.as_chunks_mut::<LANES>();
        for chunk in chunks {
            for i in 0..LANES {
                chunk[i] = exp::<FMA>(chunk[i] - top);
                sums[i] += chunk[i];
            }
        }
        for (sum, s) in sums.iter_mut().zip(tail) {
            *s = exp::<FMA>(*s - top);
            *sum += *s;
        }
        let inverse = 1.0 / fold(sums);
        for s in row.iter_mut() {
            *s *= inverse;
        }
    }
}
by_machine! {
    /// Softmax over every row of `scores + mask` in place, `[rows, width]`.
    pub(super) fn softmax_rows / softmax_rows_body(scores: &mut [f32], width: usize, mask: Option<&[f32]>)
}

#[inline(always)]
fn drop_rows_body<const FMA: bool>(
    out: &mut [f32],
    x: &[f32],
    width: usize,
    first_row: usize,
    drop: Drop,
) {
    for (i, (y, x)) in out
        .chunks_exact_mut(width)
        .zip(x.chunks_exact(width))
        .enumerate()
    {
        let key = drop.row_key(first_row + i);
        for (j, (y, x)) in y.iter_mut().zip(x).enumerate() {
            *y = x * drop.factor(key, j);
        }
    }
}
by_machine! {
    /// `out = dropout(x)`, `[rows, width]`; applied to a gradient it is its own backward pass.
    pub(super) fn drop_rows / drop_rows_body(out: &mut [f32], x: &[f32], width: usize, first_row: usize, drop: Drop)
}

#[inline(always)]
fn softmax_rows_backward_body<const FMA: bool>(
    grad: &mut [f32],
    probabilities: &[f32],
    width: usize,
    first_row: usize,
    drop: Option<Drop>,
) {
    for (i, (g, p)) in grad
        .chunks_exact_mut(width)
        .zip(probabilities.chunks_exact(width))
        .enumerate()
    {
        if let Some(drop) = drop {
            let key = drop.row_key(first_row + i);
            for (j, g) in g.iter_mut().enumerate() {
                *g *= drop.factor(key, j);
            }
        }
        let along = dot::<FMA>(g, p);
        for (g, p) in g.iter_mut().zip(p) {
            *g = (*g - along) * p;
        }
    }
}
by_machine! {
    /// Turns the gradient of the (dropped) probabilities into that of the scores, in place.
    pub(super) fn softmax_rows_backward / softmax_rows_backward_body(
        grad: &mut [f32], probabilities: &[f32], width: usize, first_row: usize, drop: Option<Drop>)
}

/// The constants of one step of Adam for one tensor.
#[derive(Clone, Copy, Debug)]
pub struct AdamStep {
    /// Decoupled weight decay: factor on the parameter, 1 - lr * weight decay.
    pub decay: f32,
    /// L2 weight decay: fraction of the parameter that is added to its gradient.
    pub l2: f32,
    /// First-moment rate.
    pub beta1: f32,
    /// Second-moment rate.
    pub beta2: f32,
    /// lr / (1 - beta1^t); times sqrt(1 - beta2^t) where `eps` enters before the correction of the second moment.
    pub step: f32,
    /// 1 / sqrt(1 - beta2^t); 1 where `eps` enters before that correction.
    pub second_scale: f32,
    /// Added to the root.
    pub eps: f32,
    /// Factor on the gradient (global-norm clipping).
    pub clip: f32,
}

#[inline(always)]
fn adam_body<const FMA: bool>(
    p: &mut [f32],
    m: &mut [f32],
    v: &mut [f32],
    grad: &[f32],
    s: AdamStep,
) {
    // Two loops: the one without L2 does not read the parameter until the end.
    match s.l2 == 0.0 {
        true => adam_loop::<FMA, false>(p, m, v, grad, s),
        false => adam_loop::<FMA, true>(p, m, v, grad, s),
    }
}

#[inline(always)]
fn adam_loop<const FMA: bool, const L2: bool>(
    p: &mut [f32],
    m: &mut [f32],
    v: &mut [f32],
    grad: &[f32],
    s: AdamStep,
) {
    for (((p, m), v), g) in p.iter_mut().zip(m).zip(v).zip(grad) {
        let mut g = g * s.clip;
        if L2 {
            g = fma::<FMA>(s.l2, *p, g);
        }
        *m = fma::<FMA>(1.0 - s.beta1, g - *m, *m);
        *v = fma::<FMA>(g * g, 1.0 - s.beta2, *v * s.beta2);
        let root = fma::<FMA>(v.sqrt(), s.second_scale, s.eps);
        *p = *p * s.decay - s.step * (*m / root);
    }
}
by_machine! {
    /// One bias-corrected update in place.
    pub(super) fn adam / adam_body(p: &mut [f32], m: &mut [f32], v: &mut [f32], grad: &[f32], s: AdamStep)
}

#[inline(always)]
fn sum_squares_body<const FMA: bool>(x: &[f32]) -> f64 {
    x.chunks(4096)
        .map(|block| f64::from(dot::<FMA>(block, block)))
        .sum()
}
by_machine! {
    /// Sum of squares, blocks of 4096 in f32, their sum in f64.
    pub(super) fn sum_squares / sum_squares_body(x: &[f32]) -> f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_agrees_with_the_library_over_its_range() {
        let mut worst = 0.0f64;
        for i in -87_000..=0 {
            let x = i as f32 / 1000.0;
            let exact = f64::from(x).exp();
            worst = worst.max((f64::from(exp::<true>(x)) - exact).abs() / exact);
            worst = worst.max((f64::from(exp::<false>(x)) - exact).abs() / exact);
        }
        assert!(worst < 3e-7, "relative error {worst}");
        assert_eq!(exp::<true>(f32::NEG_INFINITY), 0.0);
        assert_eq!(exp::<true>(0.0), 1.0);
    }

    #[test]
    fn the_normal_distribution_is_that_of_the_series() {
        // Phi(x) = 1/2 + density(x) (x + x^3/3 + x^5/15 + ...)
        let exact = |x: f64| {
            let (mut term, mut sum, mut odd) = (x, x, 3.0);
            while term.abs() > 1e-18 {
                term *= x * x / odd;
                sum += term;
                odd += 2.0;
            }
            let density = (-x * x / 2.0).exp() / std::f64::consts::TAU.sqrt();
            (0.5 + density * sum, density)
        };
        for i in -6000..=6000 {
            let x = i as f32 / 1000.0;
            let (phi, density) = exact(f64::from(x));
            for (p, d) in [normal::<true>(x), normal::<false>(x)] {
                assert!((f64::from(p) - phi).abs() < 2.5e-7, "{x}: {p} {phi}");
                assert!((f64::from(d) - density).abs() < 1e-7, "{x}");
            }
        }
        assert_eq!(normal::<true>(-40.0), (0.0, 0.0));
        assert_eq!(normal::<true>(40.0), (1.0, 0.0));
    }

    #[test]
    fn transposition_moves_every_number_and_no_other() {
        for (rows, columns) in [(1, 1), (16, 16), (33, 50), (48, 32), (5, 70)] {
            let (x_stride, out_stride) = (columns + 3, rows + 2);
            let x: Vec<f32> = (0..rows * x_stride).map(|i| i as f32).collect();
            let mut out = vec![-1.0; columns * out_stride];
            transpose(&mut out, out_stride, &x, x_stride, [rows, columns]);
            for (at, found) in out.iter().enumerate() {
                let (j, i) = (at / out_stride, at % out_stride);
                let expected = if i < rows { x[i * x_stride + j] } else { -1.0 };
                assert_eq!(*found, expected, "{rows} x {columns}: ({i}, {j})");
            }
        }
    }

    #[test]
    fn dropout_keeps_the_asked_share_and_repeats() {
        let drop = Drop::new(0.1, 7).unwrap();
        let x = vec![1.0f32; 100_000];
        let (mut a, mut b) = (x.clone(), x.clone());
        drop_rows(&mut a, &x, 100, 0, drop);
        drop_rows(&mut b[50_000..], &x[50_000..], 100, 500, drop);
        assert_eq!(a[50_000..], b[50_000..]);
        let kept = a.iter().filter(|v| **v > 0.0).count() as f64 / 1e5;
        assert!((kept - 0.9).abs() < 0.005, "{kept}");
        assert!(Drop::new(0.0, 7).is_none());
    }

    #[test]
    fn a_fully_masked_neighbour_gets_no_weight() {
        let mut scores = vec![3.0, 1.0, 2.0];
        softmax_rows(&mut scores, 3, Some(&[0.0, f32::NEG_INFINITY, 0.0]));
        assert_eq!(scores[1], 0.0);
        assert!((scores[0] + scores[2] - 1.0).abs() < 1e-6);
    }
}
