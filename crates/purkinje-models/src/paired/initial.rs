//! Random weights.

use burn::tensor::Device;

use super::{ECG, PairConfig, TEXT};
use crate::layers::{BatchNormWeights, Weights, init};
use crate::random::Stream;

/// Random weights of every entry of a network: uniform within one over the root of the inputs of a layer, attention within that of
/// Xavier, positions of attention normal with one over the width, other positions and separators normal.
pub(crate) fn random_weights(config: &impl PairConfig, seed: u64, device: &Device) -> Weights {
    let all = config.entries();
    let state = config.state();
    let mut weights = Weights::default();
    config.encoder().insert(&mut weights, ECG, seed, device);
    for (name, shape) in all.iter().filter(|(name, _)| !name.starts_with(ECG)) {
        if state.contains(name) {
            if let Some(norm) = name.strip_suffix(".running_mean") {
                BatchNormWeights::insert(&mut weights, norm, shape[0], device);
            }
            continue;
        }
        if weights.parameter(name).is_some() {
            continue;
        }
        let mut stream = Stream::new(seed, name);
        let count: usize = shape.iter().product();
        let uniform = |bound: f64, stream: &mut Stream| init::uniform(count, bound, stream);
        let is_norm = name.contains("norm.");
        let own = name.strip_prefix(TEXT);
        let data = if let Some(own) = own.filter(|own| !own.starts_with("pooler")) {
            config.text().initial(own, shape, &mut stream)
        } else if is_norm {
            vec![f32::from(name.ends_with("weight")); count]
        } else if name.ends_with("positional_embedding") {
            init::normal(count, 1.0 / shape[2] as f64, &mut stream)
        } else if name.ends_with("embedding") || name.ends_with("token") {
            init::normal(count, 1.0, &mut stream)
        } else if name.ends_with("in_proj_weight") {
            uniform((6.0 / (shape[0] + shape[1]) as f64).sqrt(), &mut stream)
        } else if name.ends_with("in_proj_bias") || name.ends_with("out_proj.bias") {
            vec![0.0; count]
        } else {
            let inputs = init::fan_in(name, shape, &all);
            uniform(1.0 / (inputs as f64).sqrt(), &mut stream)
        };
        weights.insert(name.clone(), shape, data, device);
    }
    weights
}
