//! What an optimizer does to parameters and gradients: fused on the CPU, composed elsewhere.

use burn::backend::{DispatchDevice, Flex};
use burn::tensor::Tensor;

use super::cpu;
pub use super::cpu::AdamwStep;

/// One AdamW update of a flat parameter `p` with moments `m` and `v` (specification 6.3), in place where the tensors
/// are not shared.
pub fn adamw(
    p: &mut Tensor<1>,
    m: &mut Tensor<1>,
    v: &mut Tensor<1>,
    grad: Tensor<1>,
    step: AdamwStep,
) {
    let [cp, cm, cv] = [&mut *p, &mut *m, &mut *v].map(Tensor::extract);
    // Handles are moved, not cloned, so that the kernel finds them unshared and writes in place.
    if is_cpu(&grad) {
        let all = [cp, cm, cv, grad].map(|x| x.try_into_primitive::<Flex>());
        if let [Ok(mut cp), Ok(mut cm), Ok(mut cv), Ok(grad)] = all {
            cpu::adamw(
                cp.storage_mut(),
                cm.storage_mut(),
                cv.storage_mut(),
                grad.to_contiguous().storage(),
                step,
            );
            [*p, *m, *v] = [cp, cm, cv].map(Tensor::from_primitive::<Flex>);
        }
        return;
    }
    let grad = grad.mul_scalar(step.clip);
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
