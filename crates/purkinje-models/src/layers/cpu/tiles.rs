//! Linear layers and convolutions in tiles that stay in registers, if AVX-512 is supported by this CPU.
//!
//! A vector holds one column of sixteen rows, so weights are read in their own layout, without packing or transposing.
//! Rows are transposed on the way into a tile, sums on the way out, where bias, activation and dropout are applied
//! while they are in the L1 cache. The order of summation depends only on the length of the sum: results depend neither
//! on the number of threads nor on how the work is divided. Linear layers sum in the order of
//! [`product_by_rows`](purkinje_compute::by_rows::product_by_rows), which computes the same layers for more rows.

use purkinje_compute::by_rows::stretch;
use purkinje_compute::matmul::{unwritten, written, zeroed};
use rayon::prelude::*;

use super::Activation;
use super::conv::ConvShape;
use super::register_tile::{Columns, Onto, TILE_COLUMNS, TILE_VECTORS, tile};
use super::simd::{self, Drop, LANES};

/// Rows of a tile.
const TILE_ROWS: usize = TILE_VECTORS * LANES;
/// Outputs that are finished together.
const BLOCK: usize = 64;
/// Number of products summed before the next outputs: this many columns of a tile stay in the L1 cache.
const DEPTH: usize = 128;
/// Bytes of the transposed rows of one task: they stay in the L2 cache while the weight is read.
const PANEL_BYTES: usize = 600_000;

/// The operations after the products.
#[derive(Clone, Copy)]
pub(super) struct Finish<'a> {
    /// One number for each output, or none.
    pub bias: &'a [f32],
    pub activation: Activation,
    pub drop: Option<Drop>,
    /// Whether the input of the activation is kept.
    pub keeps: bool,
}

/// `dropout(activation(x w^T + b))`: `x` `[rows, k]`, `w` `[m, k]` -> `[rows, m]`, and the values kept for the backward
/// pass.
pub(super) fn linear(
    x: &[f32],
    w: &[f32],
    m: usize,
    finish: Finish<'_>,
) -> (Vec<f32>, Option<Vec<f32>>) {
    let k = w.len() / m;
    let rows = x.len() / k;
    assert!(w.len() == m * k && x.len() == rows * k);
    let output = Output::new(rows, m, finish);
    let columns_of = |wide: usize| Columns::new((0..k).map(|c| c * wide).collect());
    let full = columns_of(TILE_ROWS);
    let rest = columns_of((rows % TILE_ROWS).next_multiple_of(LANES));
    let most = most_tiles(k);
    tasks(1, rows, m, most)
        .into_par_iter()
        .for_each_init(Memory::default, |memory, share| {
            let panels = turn(&mut memory.panels, &x[share.first_row * k..], share.rows, k);
            for (first, columns) in share.blocks() {
                let starts = (0..share.rows).step_by(TILE_ROWS);
                for (at, panel) in starts.zip(panels.chunks(TILE_ROWS * k)) {
                    let n = TILE_ROWS.min(share.rows - at);
                    let wide = panel.len() / k;
                    let places = if wide == TILE_ROWS { &full } else { &rest };
                    let rows = |j: usize| &w[(first + j) * k..][..k];
                    sum_in_stretches(&mut memory.tiles, wide, panel, places, columns, rows);
                    output.put(
                        &mut memory.tiles,
                        wide,
                        [n, columns],
                        [share.first_row + at, first],
                    );
                }
            }
        });
    output.done()
}

/// `activation(conv(x, w) + b)`: `x` `[batch, length, inputs]`, `w` `[outputs, inputs / groups, kernel]` -> `[batch, output
/// length, outputs]`, and the values kept for the backward pass.
pub(super) fn convolve(
    x: &[f32],
    w: &[f32],
    shape: ConvShape,
    finish: Finish<'_>,
) -> (Vec<f32>, Option<Vec<f32>>) {
    let (t, m, k) = (shape.output_length(), shape.outputs, shape.reach());
    let (ci, co) = (shape.group_inputs(), shape.group_outputs());
    let stride = shape.stride;
    assert!(w.len() == m * k && x.len() == shape.batch * shape.length * shape.inputs);
    let (memory, slots) = turn_sequences(x, shape);
    let (item, turned) = (shape.inputs * stride * slots, memory.get());
    let places = (0..ci).flat_map(|c| {
        (0..shape.kernel).map(move |tap| (c * stride + tap % stride) * slots + tap / stride)
    });
    let places = Columns::new(places.collect());
    let output = Output::new(shape.batch * t, m, finish);
    tasks(shape.batch * shape.groups, t, co, most_tiles(ci * stride))
        .into_par_iter()
        .for_each_init(Memory::default, |memory, share| {
            let (sequence, group) = (share.sequence / shape.groups, share.sequence % shape.groups);
            let begin = sequence * item + group * ci * stride * slots;
            let own = &turned[begin..begin + ci * stride * slots];
            for (first, columns) in share.blocks() {
                let first = group * co + first;
                let end = share.first_row + share.rows;
                for at in (share.first_row..end).step_by(TILE_ROWS) {
                    let n = TILE_ROWS.min(end - at);
                    let wide = n.next_multiple_of(LANES);
                    let rows = |j: usize| &w[(first + j) * k..][..k];
                    sum(
                        &mut memory.tiles.sums,
                        wide,
                        &own[at..],
                        &places,
                        columns,
                        rows,
                    );
                    output.put(
                        &mut memory.tiles,
                        wide,
                        [n, columns],
                        [sequence * t + at, first],
                    );
                }
            }
        });
    output.done()
}

/// Memory of one thread, aligned to cache lines.
#[derive(Default)]
struct Memory {
    panels: Vec<f32>,
    tiles: Tiles,
}

/// Sums of a block of outputs, and the buffers in which they are transposed and finished.
#[derive(Default)]
struct Tiles {
    sums: Tile,
    tile: Tile,
}

#[repr(align(64))]
struct Tile([f32; BLOCK * TILE_ROWS]);

impl Default for Tile {
    fn default() -> Self {
        Tile([0.0; BLOCK * TILE_ROWS])
    }
}

/// A task: some rows of one sequence and some of the outputs.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Task {
    sequence: usize,
    first_row: usize,
    rows: usize,
    first_column: usize,
    columns: usize,
}

impl Task {
    /// First output and number of outputs of each block.
    fn blocks(self) -> impl Iterator<Item = (usize, usize)> {
        let end = self.first_column + self.columns;
        let firsts = (self.first_column..end).step_by(BLOCK);
        firsts.map(move |first| (first, BLOCK.min(end - first)))
    }
}

/// Number of tiles of `k` columns that fit in the L2 cache.
fn most_tiles(k: usize) -> usize {
    (PANEL_BYTES / (TILE_ROWS * k * size_of::<f32>())).max(1)
}

/// Divides the work into tasks of at most `most` tiles, evenly among the threads where there is enough.
fn tasks(sequences: usize, rows: usize, m: usize, most: usize) -> Vec<Task> {
    let threads = rayon::current_num_threads();
    let tiles = rows.div_ceil(TILE_ROWS);
    let mut groups = tiles.div_ceil(most);
    // Rows are divided first: each part of the outputs transposes the same rows again.
    if sequences * groups < threads {
        groups = tiles.min(threads.div_ceil(sequences.max(1)));
    }
    let blocks = m.div_ceil(BLOCK);
    let mut splits = 1;
    while splits < blocks.div_ceil(3) && !(sequences * groups * splits).is_multiple_of(threads) {
        splits += 1;
    }
    let tall = tiles.div_ceil(groups.max(1)).max(1) * TILE_ROWS;
    let wide = blocks.div_ceil(splits).max(1) * BLOCK;
    let mut all = Vec::new();
    for sequence in 0..sequences {
        for first_row in (0..rows).step_by(tall) {
            for first_column in (0..m).step_by(wide) {
                all.push(Task {
                    sequence,
                    first_row,
                    rows: tall.min(rows - first_row),
                    first_column,
                    columns: wide.min(m - first_column),
                });
            }
        }
    }
    all
}

/// [`sum`] in the blocks of a matrix product.
fn sum_in_stretches<'w>(
    tiles: &mut Tiles,
    wide: usize,
    x: &[f32],
    places: &Columns,
    columns: usize,
    weights: impl Fn(usize) -> &'w [f32],
) {
    let k = weights(0).len();
    let stretch = stretch(k);
    let size = columns.next_multiple_of(TILE_COLUMNS) * wide;
    for begin in (0..k).step_by(stretch) {
        let end = k.min(begin + stretch);
        // The first block gives the sums, the others are summed separately and added.
        let sums = match begin {
            0 => &mut tiles.sums.0,
            _ => &mut tiles.tile.0,
        };
        for from in (begin..end).step_by(DEPTH) {
            let to = end.min(from + DEPTH);
            let onto = if from == begin {
                Onto::Nothing
            } else {
                Onto::Terms
            };
            for j in (0..columns).step_by(TILE_COLUMNS) {
                // Beyond the last output the last one is computed again.
                let w = std::array::from_fn(|i| &weights((j + i).min(columns - 1))[from..to]);
                let sums = &mut sums[j * wide..];
                tile(sums, wide / LANES, x, places, from, w, onto);
            }
        }
        if begin > 0 {
            let (sums, stretch) = (&mut tiles.sums.0[..size], &tiles.tile.0[..size]);
            sums.iter_mut().zip(stretch).for_each(|(sum, s)| *sum += s);
        }
    }
}

/// Sums of a tile's rows for `columns` outputs, `[output, row]`, `wide` rows, some of which may be padding.
fn sum<'w>(
    sums: &mut Tile,
    wide: usize,
    x: &[f32],
    places: &Columns,
    columns: usize,
    weights: impl Fn(usize) -> &'w [f32],
) {
    let k = weights(0).len();
    for from in (0..k).step_by(DEPTH) {
        let to = k.min(from + DEPTH);
        for j in (0..columns).step_by(TILE_COLUMNS) {
            // Beyond the last output the last one is computed again.
            let w = std::array::from_fn(|i| &weights((j + i).min(columns - 1))[from..to]);
            let onto = if from == 0 { Onto::Nothing } else { Onto::Sum };
            tile(
                &mut sums.0[j * wide..],
                wide / LANES,
                x,
                places,
                from,
                w,
                onto,
            );
        }
    }
}

/// The destination of results, `[rows, m]`.
struct Output<'a> {
    out: Vec<std::mem::MaybeUninit<f32>>,
    before: Vec<std::mem::MaybeUninit<f32>>,
    targets: [Target; 2],
    rows: usize,
    m: usize,
    finish: Finish<'a>,
}

/// The destination that tasks write to, each its own rows and columns.
#[derive(Clone, Copy)]
struct Target(*mut f32);

// SAFETY: tasks write disjoint elements (see `Output::put`), and nothing is read before all are done.
unsafe impl Send for Target {}
// SAFETY: as above.
unsafe impl Sync for Target {}

impl<'a> Output<'a> {
    fn new(rows: usize, m: usize, finish: Finish<'a>) -> Self {
        assert!(finish.bias.is_empty() || finish.bias.len() == m);
        let mut out = unwritten(rows * m);
        let mut before = unwritten(if finish.keeps { rows * m } else { 0 });
        Output {
            targets: [&mut out, &mut before].map(|v| Target(v.as_mut_ptr().cast())),
            out,
            before,
            rows,
            m,
            finish,
        }
    }

    /// Transposes the sums of `n` rows and `columns` outputs, finishes them and writes them from row and column `first`
    /// on. Every element must be written by exactly one task.
    fn put(&self, tiles: &mut Tiles, wide: usize, [n, columns]: [usize; 2], first: [usize; 2]) {
        assert!(first[0] + n <= self.rows && first[1] + columns <= self.m);
        let (sums, tile) = (&mut tiles.sums.0, &mut tiles.tile.0);
        simd::transpose(tile, columns, sums, wide, [columns, n]);
        let tile = &mut tile[..n * columns];
        let kept = &mut sums[..n * columns];
        let Finish {
            bias,
            activation,
            drop,
            keeps,
        } = self.finish;
        let bias = bias.get(first[1]..first[1] + columns).unwrap_or_default();
        let before = keeps.then_some(&mut *kept);
        simd::finish_tile(tile, before, columns, bias, activation, first, drop);
        let written: [&[f32]; 2] = [tile, kept];
        for (target, from) in self
            .targets
            .iter()
            .zip(written)
            .take(1 + usize::from(keeps))
        {
            for (i, from) in from.chunks_exact(columns).enumerate() {
                // SAFETY: by the assertion above the stretch lies in the target, which has rows x m elements and
                // outlives `self`. Tasks differ in rows or columns, so no other task writes it.
                unsafe {
                    let to = target.0.add((first[0] + i) * self.m + first[1]);
                    std::ptr::copy_nonoverlapping(from.as_ptr(), to, columns);
                }
            }
        }
    }

    fn done(self) -> (Vec<f32>, Option<Vec<f32>>) {
        // SAFETY: the tasks cover all rows and columns, and each was written.
        unsafe {
            let before = self.finish.keeps.then(|| written(self.before));
            (written(self.out), before)
        }
    }
}

/// Transposes `count` rows of length `k` into tiles `[k, rows of the tile]`, the last one as narrow as whole vectors
/// allow.
fn turn<'m>(memory: &'m mut Vec<f32>, rows: &[f32], count: usize, k: usize) -> &'m [f32] {
    let size = count.next_multiple_of(LANES) * k;
    memory.resize(memory.len().max(size + LANES), 0.0);
    let begin = aligned(memory.as_ptr());
    let panels = &mut memory[begin..begin + size];
    for (panel, at) in panels
        .chunks_mut(TILE_ROWS * k)
        .zip((0..count).step_by(TILE_ROWS))
    {
        let wide = panel.len() / k;
        let n = wide.min(count - at);
        simd::transpose(panel, wide, &rows[at * k..], k, [n, k]);
        if n < wide {
            panel.chunks_exact_mut(wide).for_each(|c| c[n..].fill(0.0));
        }
    }
    panels
}

/// Number of values until the next cache line, at most [`LANES`].
fn aligned(begin: *const f32) -> usize {
    begin.align_offset(64).min(LANES)
}

/// Transposed sequences.
struct Turned {
    memory: Vec<std::mem::MaybeUninit<f32>>,
    begin: usize,
    size: usize,
}

impl Turned {
    fn get(&self) -> &[f32] {
        let whole = &self.memory[self.begin..self.begin + self.size];
        // SAFETY: `turn_sequences` has written every element.
        unsafe { whole.assume_init_ref() }
    }
}

/// `[batch, channel, phase, slot]` and the number of slots: the sample under tap k of output i of a channel is in phase
/// k mod stride and slot i + k / stride. Each sequence is padded with zeros before and after, to its padding and to
/// whole tiles of outputs.
fn turn_sequences(x: &[f32], shape: ConvShape) -> (Turned, usize) {
    let (inputs, stride, before) = (shape.inputs, shape.stride, shape.padding[0]);
    let slots = shape.output_length().next_multiple_of(TILE_ROWS) + shape.kernel / stride + 1;
    // An odd number of vectors, so that channels do not all map to the same cache sets.
    let slots = (slots.div_ceil(LANES) | 1) * LANES;
    let size = shape.batch * inputs * stride * slots;
    let mut memory = unwritten(size + LANES);
    let begin = aligned(memory.as_ptr().cast());
    let channels = if inputs.is_multiple_of(LANES) {
        LANES
    } else {
        inputs
    };
    let parts = inputs / channels;
    memory[begin..begin + size]
        .par_chunks_mut(channels * stride * slots)
        .enumerate()
        .for_each(|(part, out)| {
            let out = zeroed(out);
            let x = &x[part / parts * shape.length * inputs..][..shape.length * inputs];
            for phase in 0..stride {
                let empty = before.saturating_sub(phase).div_ceil(stride);
                let first = empty * stride + phase - before;
                let count = shape.length.saturating_sub(first).div_ceil(stride);
                let count = count.min(slots.saturating_sub(empty));
                if count > 0 {
                    let x = &x[first * inputs + part % parts * channels..];
                    let out = &mut out[phase * slots + empty..];
                    let strides = (stride * slots, stride * inputs);
                    simd::transpose(out, strides.0, x, strides.1, [count, channels]);
                }
            }
        });
    let turned = Turned {
        memory,
        begin,
        size,
    };
    (turned, slots)
}

#[cfg(test)]
mod tests {
    use super::*;
    use purkinje_compute::by_rows::product_by_rows;
    use purkinje_compute::matmul::View;

    /// On machines without AVX-512 this holds the order of the sums, computed slowly, against the `gemm` crate.
    #[test]
    fn tiles_give_the_bits_of_products_of_matrices() {
        let value = |i: usize| ((i * 2_654_435_761) % 1_000) as f32 / 500.0 - 1.0;
        for (rows, m, k) in [
            (1, 5, 3),
            (7, 71, 192),
            (93, 70, 768),
            (50, 9, 1_300),
            (192, 17, 513),
        ] {
            let x: Vec<f32> = (0..rows * k).map(value).collect();
            let w: Vec<f32> = (0..m * k).map(|i| value(i + 17)).collect();
            let finish = Finish {
                bias: &[],
                activation: Activation::Identity,
                drop: None,
                keeps: false,
            };
            let found = linear(&x, &w, m, finish).0;
            let mut expected = unwritten(rows * m);
            let (x, w) = (View::rows(&x, k), View::rows(&w, k).t());
            let expected = product_by_rows(&mut expected, [rows, m, k], x, w);
            let same = found
                .iter()
                .zip(&*expected)
                .all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(same, "{rows} rows, {m} by {k}");
        }
    }
}
