//! Contrastive losses between two views of the same records.

use burn::tensor::{Int, Tensor, TensorData, activation};

use super::unit;
use crate::layers::Context;

/// Cross-entropy of the cosines of `a` with those of `b` `[records, width]`, divided by the temperature, with their diagonal: both
/// directions, added (InfoNCE; van den Oord et al., 2018).
pub fn contrastive(a: Tensor<2>, b: Tensor<2>, temperature: f64, ctx: &Context) -> Tensor<1> {
    let scores = cosines(a, b, ctx) / temperature;
    one_way(scores.clone(), ctx) + one_way(scores.transpose(), ctx)
}

/// Cosines of the rows of `a` with those of `b`.
pub fn cosines(a: Tensor<2>, b: Tensor<2>, ctx: &Context) -> Tensor<2> {
    ctx.matmul(unit(a), unit(b).transpose())
}

fn one_way(scores: Tensor<2>, ctx: &Context) -> Tensor<1> {
    let count = scores.dims()[0];
    let own: Vec<i32> = (0..count as i32).collect();
    let own = Tensor::<2, Int>::from_data(TensorData::new(own, [count, 1]), ctx.device());
    activation::log_softmax(scores, 1)
        .gather(1, own)
        .neg()
        .mean()
}

/// The share of rows of `a` whose own row of `b` is among the `k` with the highest cosines, and the same from `b` to `a`. Outside of
/// the graph.
pub fn top(a: &Tensor<2>, b: &Tensor<2>, k: usize, ctx: &Context) -> [f64; 2] {
    let scores = cosines(a.clone(), b.clone(), ctx);
    let count = scores.dims()[0];
    let values = scores.inner().into_data().convert::<f32>();
    let values = values.try_to_vec::<f32>().unwrap_or_default();
    let share = |at: &dyn Fn(usize, usize) -> f32| {
        let within = (0..count).filter(|&own| {
            let least = at(own, own);
            (0..count).filter(|&other| at(own, other) > least).count() < k
        });
        within.count() as f64 / count.max(1) as f64
    };
    [
        share(&|own, other| values[own * count + other]),
        share(&|own, other| values[other * count + own]),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    #[test]
    fn a_loss_of_equal_rows_is_small_and_of_exchanged_ones_large() {
        let device = Device::flex();
        let ctx = Context::inference(&device);
        let a = Tensor::<2>::eye(4, &device);
        let turned = Tensor::cat(
            vec![a.clone().narrow(0, 1, 3), a.clone().narrow(0, 0, 1)],
            0,
        );
        let value =
            |b: &Tensor<2>| contrastive(a.clone(), b.clone(), 0.07, &ctx).into_scalar::<f32>();
        assert!(value(&a) < 1e-4, "{}", value(&a));
        assert!(value(&turned) > 20.0, "{}", value(&turned));
        assert_eq!(top(&a, &a, 1, &ctx), [1.0, 1.0]);
        assert_eq!(top(&a, &turned, 1, &ctx), [0.0, 0.0]);
        // Three of the four cosines are equal: none is better than the own one but that of the other row.
        assert_eq!(top(&a, &turned, 2, &ctx), [1.0, 1.0]);
    }
}
