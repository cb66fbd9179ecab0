use burn::tensor::TensorData;

use super::*;
use crate::decoding::Finish;

fn small() -> WriterConfig {
    WriterConfig {
        width: 8,
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

fn vectors(count: usize, device: &Device) -> Tensor<2> {
    let mut stream = Stream::new(6, "vectors");
    let values: Vec<f32> = (0..count * 8).map(|_| stream.normal() as f32).collect();
    Tensor::from_data(TensorData::new(values, [count, 8]), device)
}

#[test]
fn a_language_model_is_taken_over_and_new_tokens_are_added() {
    let device = Device::flex();
    let plain = Gpt2Config {
        vocab_size: 11,
        add_cross_attention: false,
        ..small().decoder
    };
    let mut language_model = Weights::default();
    for (name, shape) in plain.parameters() {
        let count = shape.iter().product();
        language_model.insert(name, &shape, vec![0.5; count], &device);
    }
    let start = |model: &Weights| Gpt2Writer::random(small(), Some(model), 2, &device);
    let model = start(&language_model).unwrap();
    let host = |name: &str| {
        let value = model
            .weights()
            .flat(&format!("{DECODER}transformer.{name}"));
        value.into_data().try_to_vec::<f32>().unwrap()
    };
    let table = host("wte.weight");
    assert!(table[..11 * 12].iter().all(|v| *v == 0.5));
    assert!(table[11 * 12..].iter().all(|v| v.abs() < 0.1));
    assert!(host("h.1.mlp.c_fc.weight").iter().all(|v| *v == 0.5));
    let attention = host("h.1.crossattention.q_attn.weight");
    assert!(attention.iter().all(|v| v.abs() < 0.1));
    language_model.insert("transformer.wpe.weight", &[3, 12], vec![0.0; 36], &device);
    let error = start(&language_model).unwrap_err().to_string();
    assert!(
        error.contains("wpe") && error.contains("[10, 12]"),
        "{error}"
    );
}

#[test]
fn limits_of_the_decoder_are_said() {
    let device = Device::flex();
    let model = Gpt2Writer::random(small(), None, 4, &device).unwrap();
    let how = Decoding {
        beams: 2,
        max_tokens: 10,
        start: 11,
        end: 10,
        finish: Finish::Penalised {
            length_penalty: 1.0,
        },
    };
    let ctx = Context::inference(&device);
    let found = model.write(vectors(3, &device), &how, &ctx).unwrap();
    assert_eq!(found.len(), 3);
    let long = Decoding {
        max_tokens: 11,
        ..how
    };
    let error = model.write(vectors(3, &device), &long, &ctx).unwrap_err();
    assert!(
        error.to_string().contains("to 10, the positions"),
        "{error}"
    );
}
