//! What a representation of HuBERT-ECG must not depend on, and that it learns.

use burn::tensor::Device;
use purkinje_models::hubert::{
    FrontEnd, Head, Hubert, HubertBatch, HubertClassifier, HubertConfig, HubertInput, TokenMasking,
};
use purkinje_models::layers::Context;
use purkinje_models::random::Stream;

fn input(seed: u64, samples: usize) -> HubertInput {
    let mut noise = Stream::new(seed, "record");
    HubertInput {
        samples: (0..samples).map(|_| noise.normal() as f32).collect(),
        real: None,
    }
}

fn embed(model: &Hubert, inputs: &[HubertInput]) -> Vec<f32> {
    let batch = HubertBatch::new(model.config(), inputs).unwrap();
    let ctx = Context::inference(&Device::flex());
    model.embed(&batch, &ctx).into_data().try_to_vec().unwrap()
}

#[test]
fn vectors_do_not_depend_on_batch_size_or_threads() {
    // Sums of more terms than one stretch of a product holds.
    let wide = HubertConfig {
        hidden_size: 768,
        intermediate_size: 1_100,
        num_hidden_layers: 1,
        ..HubertConfig::tiny()
    };
    for config in [HubertConfig::tiny(), wide] {
        let model = Hubert::random(config, 0, &Device::flex());
        let inputs: Vec<_> = (0..32).map(|i| input(i, 6000)).collect();
        let alone: Vec<f32> = inputs
            .iter()
            .flat_map(|i| embed(&model, std::slice::from_ref(i)))
            .collect();
        for threads in [1, 2, 3, 8] {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            for size in [1, 2, 7, 32] {
                let found = pool.install(|| embed(&model, &inputs[..size]));
                let equal = found.iter().zip(&alone);
                let equal = equal.filter(|(a, b)| a.to_bits() == b.to_bits()).count();
                assert_eq!(equal, found.len(), "batch of {size}, {threads} threads");
            }
        }
    }
}

#[test]
fn every_front_end_and_a_padded_batch_can_be_encoded() {
    for front in [FrontEnd::Hz500, FrontEnd::Hz100, FrontEnd::Hz50] {
        let config = HubertConfig::tiny().with_front_end(front);
        let model = Hubert::random(config.clone(), 1, &Device::flex());
        let mut padded = input(1, front.samples());
        let per_lead = front.samples() / 12;
        let real = (0..front.samples()).map(|i| i % per_lead < per_lead / 2);
        padded.real = Some(real.collect());
        let batch = HubertBatch::new(&config, &[input(0, front.samples()), padded]).unwrap();
        let ctx = Context::inference(&Device::flex());
        let states = model.hidden_states(&batch, None, &ctx);
        assert_eq!(states.len(), config.num_hidden_layers + 1);
        for state in states {
            assert_eq!(state.dims(), [2, 93, config.hidden_size]);
            let values = state.into_data().try_to_vec::<f32>().unwrap();
            assert!(values.iter().all(|v| v.is_finite()));
        }
    }
}

#[test]
fn dropout_and_skipped_layers_depend_on_the_seed_alone() {
    let config = HubertConfig {
        layerdrop: 0.5,
        feat_proj_dropout: 0.2,
        ..HubertConfig::tiny()
    };
    let mut weights = Hubert::random(config.clone(), 0, &Device::flex());
    Head::Linear.initialise(weights.weights_mut(), 128, 3, 0, &Device::flex());
    let model = HubertClassifier::new(weights, Head::Linear, 3).unwrap();
    let batch = HubertBatch::new(&config, &[input(0, 6000)]).unwrap();
    let draw = |ctx: Context| {
        let logits = model.classify(&batch, &ctx).logits;
        logits.into_data().try_to_vec::<f32>().unwrap()
    };
    let device = Device::flex();
    let trained = |seed| draw(Context::training(&device, 0.0, seed));
    assert_eq!(trained(1), trained(1));
    assert_ne!(trained(1), trained(2));
    let still = draw(Context::inference(&device));
    assert_eq!(still, draw(Context::inference(&device)));
    assert_ne!(still, trained(1));
}

#[test]
fn gradients_of_every_parameter_flow() {
    let config = HubertConfig {
        vocab_sizes: vec![6, 4],
        ..HubertConfig::tiny().without_dropout()
    };
    let model = Hubert::random(config.clone(), 0, &Device::flex());
    let batch = HubertBatch::new(&config, &[input(0, 1440), input(1, 1440)]).unwrap();
    let tokens = config.tokens(1440);
    let masking = TokenMasking::random(&config, 2, tokens, &mut Stream::new(1, "mask"));
    let codes: Vec<u32> = (0..4 * tokens as u32).map(|i| i % 4).collect();
    let ctx = Context::training(&Device::flex().autodiff(), 0.0, 1);
    let tracked = model.weights().tracked(|_| true);
    let found = model
        .with_weights(tracked.clone())
        .predict_codes(&batch, &codes, &masking, 1.0, &ctx);
    let grads = found.loss.backward();
    for p in tracked.iter() {
        let grad = p.value.grad(&grads).unwrap_or_else(|| panic!("{}", p.name));
        let grad = grad.into_data().try_to_vec::<f32>().unwrap();
        assert!(grad.iter().any(|g| *g != 0.0), "{}", p.name);
    }
}
