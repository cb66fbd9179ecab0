//! Times HuBERT-ECG on random weights: `cargo run --release --example time_hubert -- base`.
//!
//! Prints milliseconds of a forward pass of 1 and 8 recordings (12 leads of 5 s at 100 Hz) and of loss and gradients of
//! a pre-training step of 8.

use std::time::Instant;

use burn::tensor::Device;
use purkinje_models::hubert::{Hubert, HubertBatch, HubertConfig, HubertInput, TokenMasking};
use purkinje_models::layers::Context;
use purkinje_models::random::Stream;

fn main() {
    let name = std::env::args().nth(1).unwrap_or_else(|| "base".to_owned());
    let Some(config) = HubertConfig::size(&name) else {
        eprintln!("no size `{name}`; expected tiny, small, base or large");
        return;
    };
    let device = Device::flex();
    let model = Hubert::random(config.clone(), 1, &device);
    let mut stream = Stream::new(1, "signal");
    let input = HubertInput {
        samples: (0..6000).map(|_| stream.normal() as f32).collect(),
        real: None,
    };
    for size in [1, 8] {
        let Ok(batch) = HubertBatch::new(&config, &vec![input.clone(); size]) else {
            return;
        };
        let ctx = Context::inference(&device);
        report(&format!("{name}, forward of {size}"), || {
            let last = model.encode(&batch, None, &ctx).last;
            last.into_data().num_elements()
        });
        if size == 1 {
            continue;
        }
        let masking = TokenMasking::random(&config, size, 93, &mut stream);
        let codes = vec![3; size * 93];
        report(&format!("{name}, step of {size}"), || {
            let ctx = Context::training(&device.clone().autodiff(), 0.1, 5);
            let tracked = model.weights().tracked(|_| true);
            let model = model.with_weights(tracked);
            let found = model.predict_codes(&batch, &codes, &masking, 1.0, &ctx);
            let grads = found.loss.backward();
            let first = model.weights().iter().next();
            usize::from(first.and_then(|p| p.value.grad(&grads)).is_some())
        });
    }
}

/// The median of a few runs after a first one.
fn report(what: &str, mut run: impl FnMut() -> usize) {
    let mut times: Vec<f64> = (0..6)
        .map(|_| {
            let start = Instant::now();
            assert!(run() > 0);
            start.elapsed().as_secs_f64() * 1e3
        })
        .collect();
    times.remove(0);
    times.sort_by(f64::total_cmp);
    println!("{what}: {:.1} ms", times[times.len() / 2]);
}
