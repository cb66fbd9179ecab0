//! Random weights.

use burn::tensor::Device;

use super::config::DeriConfig;
use crate::layers::{Weights, init};
use crate::random::Stream;

/// Weights as the original draws them: uniform within one over the root of the inputs of a layer, attention within that of Xavier.
pub(super) fn weights(config: &DeriConfig, seed: u64, device: &Device) -> Weights {
    let mut all = config.ecg_entries();
    all.extend(config.pretraining_entries());
    all.extend(config.text_entries());
    let mut weights = Weights::default();
    config
        .ecg
        .insert(&mut weights, "ecg_encoder.", seed, device);
    for (name, shape) in all
        .iter()
        .filter(|(name, _)| !name.starts_with("ecg_encoder."))
    {
        let mut stream = Stream::new(seed, name);
        let count: usize = shape.iter().product();
        let uniform = |bound: f64, stream: &mut Stream| init::uniform(count, bound, stream);
        let is_norm = name.contains("norm.");
        let data = if let Some(own) = name
            .strip_prefix("lm_model.")
            .filter(|own| !own.starts_with("pooler"))
        {
            config.text.initial(own, shape, &mut stream)
        } else if is_norm {
            vec![f32::from(name.ends_with("weight")); count]
        } else if name.ends_with("positional_embedding") {
            init::normal(count, 1.0 / config.width as f64, &mut stream)
        } else if name.ends_with("embedding") {
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
