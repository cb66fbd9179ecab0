//! Optimizer updates: fused on the CPU, plain tensor operations elsewhere.

use burn::backend::{DispatchDevice, Flex};
use burn::tensor::Tensor;

use super::cpu;
pub use super::cpu::AdamStep;

/// One update of a flat parameter `p` with moments `m` and `v` by Adam, in place where the tensors are not shared.
/// Weight decay is decoupled (AdamW), L2, or absent, depending on `step`.
pub fn adam(
    p: &mut Tensor<1>,
    m: &mut Tensor<1>,
    v: &mut Tensor<1>,
    grad: Tensor<1>,
    step: AdamStep,
) {
    if !is_cpu(&grad) {
        return composed(p, m, v, grad, step);
    }
    let [cp, cm, cv] = [&mut *p, &mut *m, &mut *v].map(Tensor::extract);
    // Handles are moved, not cloned, so that the kernel finds them unshared and writes in place.
    let all = [cp, cm, cv, grad].map(|x| x.try_into_primitive::<Flex>());
    if let [Ok(mut cp), Ok(mut cm), Ok(mut cv), Ok(grad)] = all {
        cpu::adam(
            cp.storage_mut(),
            cm.storage_mut(),
            cv.storage_mut(),
            grad.to_contiguous().storage(),
            step,
        );
        [*p, *m, *v] = [cp, cm, cv].map(Tensor::from_primitive::<Flex>);
    }
}

/// The same as plain tensor operations.
fn composed(
    p: &mut Tensor<1>,
    m: &mut Tensor<1>,
    v: &mut Tensor<1>,
    grad: Tensor<1>,
    step: AdamStep,
) {
    let [cp, cm, cv] = [&mut *p, &mut *m, &mut *v].map(Tensor::extract);
    let mut grad = grad.mul_scalar(step.clip);
    if step.l2 != 0.0 {
        grad = grad + cp.clone().mul_scalar(step.l2);
    }
    *m = cm.clone() + (grad.clone() - cm).mul_scalar(1.0 - step.beta1);
    *v = cv.mul_scalar(step.beta2) + grad.square().mul_scalar(1.0 - step.beta2);
    let root = v
        .clone()
        .sqrt()
        .mul_scalar(step.second_scale)
        .add_scalar(step.eps);
    *p = cp.mul_scalar(step.decay) - m.clone().div(root).mul_scalar(step.step);
}

/// Sum of squares of a flat tensor.
pub fn sum_squares(x: &Tensor<1>) -> f64 {
    match x.clone().try_into_primitive::<Flex>() {
        Ok(x) => cpu::sum_squares(x.to_contiguous().storage()),
        Err(_) => x.clone().square().sum().into_scalar::<f32>().into(),
    }
}

fn is_cpu(x: &Tensor<1>) -> bool {
    matches!(x.device().as_dispatch(), DispatchDevice::Flex(_))
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;
    use crate::random::Stream;

    #[test]
    fn fused_and_composed_updates_agree() {
        let device = Device::flex();
        let mut noise = Stream::new(1, "update");
        let mut draw = |scale: f64| -> Vec<f32> {
            let values = (0..5000).map(|_| (scale * noise.normal()) as f32);
            values.collect()
        };
        let tensor = |values: &[f32]| Tensor::<1>::from_floats(values, &device);
        let start = [
            draw(1.0),
            draw(0.1),
            draw(0.1).iter().map(|x| x * x).collect(),
        ];
        let grad = tensor(&draw(1.0));
        for (decay, l2, second_scale) in [(0.99, 0.0, 3.0), (1.0, 0.05, 3.0), (1.0, 0.0, 1.0)] {
            let step = AdamStep {
                decay,
                l2,
                beta1: 0.9,
                beta2: 0.98,
                step: 1e-2,
                second_scale,
                eps: 1e-2,
                clip: 0.5,
            };
            let mut fused = [0, 1, 2].map(|i: usize| tensor(&start[i]));
            let mut plain = [0, 1, 2].map(|i: usize| tensor(&start[i]));
            let [p, m, v] = &mut fused;
            adam(p, m, v, grad.clone(), step);
            let [p, m, v] = &mut plain;
            composed(p, m, v, grad.clone(), step);
            for ((fused, plain), start) in fused.iter().zip(&plain).zip(&start) {
                let [fused, plain] =
                    [fused, plain].map(|x| x.to_data().try_to_vec::<f32>().unwrap());
                assert_ne!(&fused, start);
                let worst = fused.iter().zip(&plain).map(|(a, b)| (a - b).abs());
                let worst = worst.fold(0.0, f32::max);
                assert!(worst < 2e-6, "decay {decay}, l2 {l2}: {worst}");
            }
        }
    }
}
