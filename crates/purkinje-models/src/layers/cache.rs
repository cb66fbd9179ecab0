//! Keys and values that are kept while sequences are written one position at a time.

use burn::tensor::{Int, Tensor, TensorData, activation};

use super::context::Context;
use super::cpu::{self, Gathered};

/// Keys and values of one attention layer for several rows, each a sequence.
///
/// Rows that go on in another order, or more than once, share what was kept: on the CPU only the places of keys are noted anew.
#[derive(Clone, Debug)]
pub struct KeyValues {
    kept: Kept,
}

// One exists for each layer.
#[allow(clippy::large_enum_variant)]
#[derive(Clone, Debug)]
enum Kept {
    Host(Host),
    /// `[rows, positions, width]` each.
    Tensors(Tensor<3>, Tensor<3>),
}

#[derive(Clone, Debug)]
struct Host {
    /// `[places, width]` each.
    keys: Vec<f32>,
    values: Vec<f32>,
    width: usize,
    /// The places of each row in the order of positions.
    places: Vec<Vec<u32>>,
}

impl KeyValues {
    /// Of `rows` sequences without positions.
    pub fn empty(rows: usize, width: usize, ctx: &Context) -> Self {
        let none = || Tensor::<3>::zeros([rows, 0, width], ctx.device());
        let kept = match on_host(ctx) {
            true => Kept::Host(Host {
                keys: Vec::new(),
                values: Vec::new(),
                width,
                places: vec![Vec::new(); rows],
            }),
            false => Kept::Tensors(none(), none()),
        };
        KeyValues { kept }
    }

    /// Of sequences that are there already: keys and values `[rows, positions, width]`.
    pub fn of(keys: Tensor<3>, values: Tensor<3>, ctx: &Context) -> Self {
        let [rows, positions, width] = keys.dims();
        let place = |row: usize| row * positions..(row + 1) * positions;
        let kept = match on_host(ctx) {
            true => Kept::Host(Host {
                keys: host(keys),
                values: host(values),
                width,
                places: (0..rows)
                    .map(|row| place(row).map(|at| at as u32).collect())
                    .collect(),
            }),
            false => Kept::Tensors(keys, values),
        };
        KeyValues { kept }
    }

    /// Adds one position to every row: keys and values `[rows, width]`.
    pub fn push(&mut self, keys: Tensor<2>, values: Tensor<2>) {
        match &mut self.kept {
            Kept::Host(own) => {
                let first = own.keys.len() / own.width.max(1);
                own.keys.extend(host(keys));
                own.values.extend(host(values));
                for (place, row) in (first..).zip(&mut own.places) {
                    row.push(place as u32);
                }
            }
            Kept::Tensors(own_keys, own_values) => {
                let added = |own: &Tensor<3>, new: Tensor<2>| {
                    Tensor::cat(vec![own.clone(), new.unsqueeze_dim(1)], 1)
                };
                *own_keys = added(own_keys, keys);
                *own_values = added(own_values, values);
            }
        }
    }

    /// Goes on with these rows, in this order.
    pub fn reorder(&mut self, rows: &[usize]) {
        match &mut self.kept {
            Kept::Host(own) => {
                own.places = rows.iter().map(|&row| own.places[row].clone()).collect();
            }
            Kept::Tensors(keys, values) => {
                let rows = indices(rows, &keys.device());
                *keys = keys.clone().select(0, rows.clone());
                *values = values.clone().select(0, rows);
            }
        }
    }

    /// Multi-head attention of one query for each row `[rows, width]` to all positions of it: `[rows, width]`. Scores are divided by
    /// the root of the width of a head.
    pub fn attend(&self, q: Tensor<2>, heads: usize, ctx: &Context) -> Tensor<2> {
        let [rows, width] = q.dims();
        match &self.kept {
            Kept::Host(own) => {
                let to = Gathered {
                    keys: &own.keys,
                    values: &own.values,
                    places: &own.places,
                };
                let out = cpu::gathered_attention(&host(q), to, width, heads);
                Tensor::from_data(TensorData::new(out, [rows, width]), ctx.device())
            }
            Kept::Tensors(keys, values) => {
                let head = width / heads;
                let split = |x: Tensor<3>| {
                    let [rows, positions, _] = x.dims();
                    x.reshape([rows, positions, heads, head]).swap_dims(1, 2)
                };
                let q = split(q.unsqueeze_dim(1));
                let [k, v] = [keys, values].map(|x| split(x.clone()));
                let scores = ctx.matmul(q, k.swap_dims(2, 3)) / (head as f64).sqrt();
                ctx.matmul(activation::softmax(scores, 3), v)
                    .swap_dims(1, 2)
                    .reshape([rows, width])
            }
        }
    }
}

/// Rows of `x` `[rows, width]` in another order, or more than once.
pub(crate) fn reordered(x: Tensor<2>, rows: &[usize]) -> Tensor<2> {
    let rows = indices(rows, &x.device());
    x.select(0, rows)
}

fn indices(rows: &[usize], device: &burn::tensor::Device) -> Tensor<1, Int> {
    let rows: Vec<i32> = rows.iter().map(|&row| row as i32).collect();
    let count = rows.len();
    Tensor::from_data(TensorData::new(rows, [count]), device)
}

fn on_host(ctx: &Context) -> bool {
    ctx.fused() && !ctx.tracks()
}

/// The values of a tensor that is on the host already.
fn host<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    // Fused passes are in float32.
    x.into_data().try_to_vec::<f32>().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::super::attention::{Attending, Projected, causal_mask, mix};
    use super::*;
    use crate::random::Stream;

    fn random<const D: usize>(stream: &mut Stream, shape: [usize; D]) -> Tensor<D> {
        let values = (0..shape.iter().product()).map(|_| stream.normal() as f32);
        let data = TensorData::new(values.collect::<Vec<f32>>(), shape);
        Tensor::from_data(data, &Device::flex())
    }

    fn close<const D: usize>(a: Tensor<D>, b: Tensor<D>) {
        let [a, b] = [a, b].map(host);
        assert_eq!(a.len(), b.len());
        for (x, y) in a.iter().zip(&b) {
            assert!((x - y).abs() < 2e-6, "{x} against {y}");
        }
    }

    #[test]
    fn one_position_at_a_time_gives_what_the_whole_sequence_does() {
        let (rows, length, width, heads) = (3, 9, 20, 2);
        let mut stream = Stream::new(2, "cache");
        let [q, k, v] = [0; 3].map(|_| random(&mut stream, [rows, length, width]));
        for composed in [false, true] {
            let ctx = Context::inference(&Device::flex());
            let ctx = if composed { ctx.composed() } else { ctx };
            let mask = causal_mask(length, None, &ctx);
            let how = Attending {
                mask: Some(&mask),
                ..Attending::default()
            };
            let parts = Projected::Separate([q.clone(), k.clone(), v.clone()]);
            let whole = mix(parts, how, heads, &ctx);
            let mut kept = KeyValues::empty(rows, width, &ctx);
            for position in 0..length {
                let at = |x: &Tensor<3>| x.clone().narrow(1, position, 1).reshape([rows, width]);
                kept.push(at(&k), at(&v));
                close(kept.attend(at(&q), heads, &ctx), at(&whole));
            }
        }
    }

    #[test]
    fn rows_go_on_from_others() {
        let (width, heads) = (6, 3);
        let mut stream = Stream::new(5, "cache");
        let [k, v] = [0; 2].map(|_| random(&mut stream, [2, 4, width]));
        let [next_k, next_v, q] = [0; 3].map(|_| random(&mut stream, [3, width]));
        let found = [false, true].map(|composed| {
            let ctx = Context::inference(&Device::flex());
            let ctx = if composed { ctx.composed() } else { ctx };
            let mut kept = KeyValues::of(k.clone(), v.clone(), &ctx);
            kept.reorder(&[1, 0, 1]);
            kept.push(next_k.clone(), next_v.clone());
            kept.reorder(&[2, 2, 0]);
            kept.attend(q.clone(), heads, &ctx)
        });
        let [fused, composed] = found;
        close(fused, composed);
    }
}
