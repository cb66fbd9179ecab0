use burn::tensor::Device;

use super::*;
use crate::layers::ResNetConfig;
use crate::paired::Signal;
use crate::random::Stream;
use crate::text::{BertConfig, TextConfig};

fn small(compat: Compat) -> Gpt2ReportConfig {
    let text = BertConfig {
        vocab_size: 10,
        hidden_size: 12,
        num_hidden_layers: 1,
        num_attention_heads: 2,
        intermediate_size: 8,
        max_position_embeddings: 6,
        ..BertConfig::default()
    };
    Gpt2ReportConfig {
        encoder: DeriConfig {
            ecg: ResNetConfig {
                leads: 2,
                widths: vec![4, 4],
                blocks: vec![1, 1],
                bottleneck: false,
            },
            samples: 80,
            text: TextConfig::Bert(text),
            text_tokens: 6,
            width: 8,
            text_inner: 8,
            compat,
            ..DeriConfig::default()
        },
        decoder: Gpt2Config {
            vocab_size: 13,
            n_positions: 10,
            n_embd: 12,
            n_layer: 2,
            n_head: 2,
            add_cross_attention: true,
            ..Gpt2Config::default()
        },
    }
}

fn batch(size: usize) -> Signals {
    let mut stream = Stream::new(6, "recordings");
    let inputs: Vec<Signal> = (0..size)
        .map(|_| Signal {
            samples: (0..2 * 80).map(|_| stream.normal() as f32).collect(),
        })
        .collect();
    Signals::new(2, 80, &inputs).unwrap()
}

/// Random weights of all entries.
fn random(config: &Gpt2ReportConfig, device: &Device) -> Weights {
    let encoder = DeriConfig {
        part: Part::Ecg,
        ..config.encoder.clone()
    };
    let encoder = Deri::random(encoder, 1, device);
    let mut weights = Weights::default();
    for own in encoder.weights().iter() {
        let mut own = own.clone();
        own.name = format!("{ENCODER}{}", own.name);
        weights.put(own);
    }
    for (name, shape) in config.entries() {
        let mut stream = Stream::new(4, &name);
        let own = name.strip_prefix(DECODER);
        if own.is_some() || name.starts_with(HEAD) {
            let values = config
                .decoder
                .initial(own.unwrap_or("head"), &shape, &mut stream);
            weights.insert(name, &shape, values, device);
        }
    }
    weights
}

#[test]
fn only_head_and_decoder_learn_and_the_released_encoder_goes_on_counting() {
    let device = Device::flex();
    for (compat, counts) in [(Compat::Paper, false), (Compat::Released, true)] {
        let config = small(compat);
        config.validate().unwrap();
        let weights = random(&config, &device);
        let model = Gpt2Report::new(config, weights).unwrap();
        let tracked = model.weights().tracked(Gpt2Report::learns);
        let own = model.with_weights(tracked.clone());
        let ctx = Context::training(&device.clone().autodiff(), 0.0, 3);
        let taught = Taught::new(&[vec![11, 2, 3, 10], vec![11, 5, 10]], 12, 8).unwrap();
        let loss = own.loss(&batch(2), &taught, &ctx).unwrap();
        let gradients = loss.backward();
        for p in tracked.iter() {
            let learns = p.value.grad(&gradients).is_some();
            assert_eq!(learns, Gpt2Report::learns(&p.name), "{}", p.name);
        }
        let handed_back = ctx.take_handed_back();
        assert_eq!(!handed_back.is_empty(), counts);
        let mut weights = model.weights().clone();
        weights.store(handed_back).unwrap();
        assert!(own.loss(&batch(1), &taught, &ctx).is_err());
    }
}
