//! Initial values of parameters.

use crate::random::Stream;

/// Normal with mean 0.
pub(crate) fn normal(count: usize, std: f64, stream: &mut Stream) -> Vec<f32> {
    (0..count).map(|_| (stream.normal() * std) as f32).collect()
}

/// Uniform in [-bound, bound].
pub(crate) fn uniform(count: usize, bound: f64, stream: &mut Stream) -> Vec<f32> {
    (0..count)
        .map(|_| ((2.0 * stream.uniform() - 1.0) * bound) as f32)
        .collect()
}

/// Fan-in of the layer of a parameter; that of a bias is that of its weight.
pub(crate) fn fan_in(name: &str, shape: &[usize], all: &[(String, Vec<usize>)]) -> usize {
    let weight = name
        .strip_suffix(".bias")
        .map(|stem| format!("{stem}.weight"));
    let shape = weight
        .and_then(|weight| all.iter().find(|(name, _)| *name == weight))
        .map_or(shape, |(_, shape)| shape);
    shape[1..].iter().product::<usize>().max(1)
}
