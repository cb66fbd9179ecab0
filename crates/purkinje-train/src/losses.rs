//! What classifiers minimise.

use burn::tensor::{Int, Shape, Tensor, TensorData, activation};

/// Mean binary cross-entropy of logits `[n, classes]` against labels in the same order.
pub fn bce_with_logits(logits: Tensor<2>, labels: &[f32]) -> Tensor<1> {
    let target = host(labels, logits.dims(), &logits);
    // max(x, 0) - x y + log(1 + exp(-|x|)): no overflow for any logit.
    let log = logits.clone().abs().neg().exp().add_scalar(1.0).log();
    (activation::relu(logits.clone()) - logits * target + log).mean()
}

/// [`bce_with_logits`] with the loss of positive labels multiplied by the weight of their class, `[classes]`.
pub fn bce_with_logits_weighted(
    logits: Tensor<2>,
    labels: &[f32],
    positive_weights: &[f32],
) -> Tensor<1> {
    let classes = logits.dims()[1];
    let target = host(labels, logits.dims(), &logits);
    let weights = host(positive_weights, [1, classes], &logits);
    let log = logits.clone().abs().neg().exp().add_scalar(1.0).log();
    // log(1 + exp(x)) and log(1 + exp(-x))
    let absent = activation::relu(logits.clone()) + log.clone();
    let present = activation::relu(logits.neg()) + log;
    let kept = target.clone().neg().add_scalar(1.0);
    (present * target * weights + absent * kept).mean()
}

/// Cross-entropy of logits `[n, classes]` against class indices; with class weights the weighted mean.
///
/// # Panics
/// When an index is no class.
pub fn cross_entropy(
    logits: Tensor<2>,
    targets: &[usize],
    class_weights: Option<&[f32]>,
) -> Tensor<1> {
    let [rows, classes] = logits.dims();
    let weights: Vec<f32> = targets
        .iter()
        .map(|&class| {
            assert!(class < classes, "class {class} of {classes}");
            class_weights.map_or(1.0, |weights| weights[class])
        })
        .collect();
    let total: f32 = weights.iter().sum();
    let weights = host(&weights, [rows, 1], &logits);
    let index: Vec<i32> = targets.iter().map(|&class| class as i32).collect();
    let index = Tensor::<2, Int>::from_data(TensorData::new(index, [rows, 1]), &logits.device());
    let losses = activation::log_softmax(logits, 1).gather(1, index).neg();
    (losses * weights).sum() / total
}

fn host(values: &[f32], shape: [usize; 2], like: &Tensor<2>) -> Tensor<2> {
    let data = TensorData::new(values.to_vec(), Shape::new(shape));
    Tensor::from_data(data, &like.device())
}

#[cfg(test)]
mod tests {
    use super::*;
    use burn::tensor::Device;

    fn close(found: Tensor<1>, expected: f64) {
        let found: f32 = found.into_scalar();
        assert!((f64::from(found) - expected).abs() < 1e-6, "{found}");
    }

    #[test]
    fn cross_entropy_is_exact_and_does_not_overflow() {
        let device = Device::flex();
        let logits = Tensor::<2>::from_floats([[0.0, 2.0], [-200.0, 200.0]], &device);
        let labels = [1.0, 0.0, 0.0, 1.0];
        let (a, b) = (2f64.ln(), (1.0 + 2f64.exp()).ln());
        close(bce_with_logits(logits.clone(), &labels), (a + b) / 4.0);
        let weighted = bce_with_logits_weighted(logits.clone(), &labels, &[3.0, 0.5]);
        close(weighted, (3.0 * a + b) / 4.0);
        let same = bce_with_logits_weighted(logits, &labels, &[1.0, 1.0]);
        close(same, (a + b) / 4.0);
    }

    #[test]
    fn classes_count_by_their_weights() {
        let device = Device::flex();
        let logits = Tensor::<2>::from_floats([[0.0, 1.0], [2.0, 0.0]], &device);
        let (a, b) = ((1.0 + 1f64.exp()).ln(), (1.0 + (-2f64).exp()).ln());
        close(cross_entropy(logits.clone(), &[0, 0], None), (a + b) / 2.0);
        let weights = [3.0, 1.0];
        let other = (1.0 + (-1f64).exp()).ln();
        let found = cross_entropy(logits, &[1, 0], Some(&weights));
        close(found, (other + 3.0 * b) / 4.0);
    }
}
