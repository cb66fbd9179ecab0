use burn::tensor::TensorData;

use super::*;

fn gpt2() -> Gpt2Config {
    Gpt2Config {
        vocab_size: 13,
        n_positions: 10,
        n_embd: 12,
        n_layer: 2,
        n_head: 2,
        add_cross_attention: true,
        ..Gpt2Config::default()
    }
}

fn small() -> WriterConfig {
    WriterConfig {
        width: 8,
        decoder: DecoderConfig::Gpt2(gpt2()),
    }
}

fn small_r2gen() -> WriterConfig {
    let decoder = R2GenConfig {
        vocabulary: 13,
        features: 6,
        width: 12,
        inner: 10,
        heads: 2,
        layers: 1,
        memory_heads: 2,
        positions: 9,
        ..R2GenConfig::default()
    };
    WriterConfig {
        width: 8,
        decoder: DecoderConfig::R2Gen(decoder),
    }
}

fn vectors(count: usize, device: &Device) -> Tensor<3> {
    let mut stream = Stream::new(6, "vectors");
    let values: Vec<f32> = (0..count * 16).map(|_| stream.normal() as f32).collect();
    Tensor::from_data(TensorData::new(values, [count, 2, 8]), device)
}

#[test]
fn a_language_model_is_taken_over_and_new_tokens_are_added() {
    let device = Device::flex();
    let plain = Gpt2Config {
        vocab_size: 11,
        add_cross_attention: false,
        ..gpt2()
    };
    let mut language_model = Weights::default();
    for (name, shape) in plain.parameters() {
        let count = shape.iter().product();
        language_model.insert(name, &shape, vec![0.5; count], &device);
    }
    let start = |model: &Weights| ReportWriter::random(small(), Some(model), 2, &device);
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
    let model = ReportWriter::random(small(), None, 4, &device).unwrap();
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

#[test]
fn every_decoder_writes_alone_what_it_writes_beside_others() {
    let device = Device::flex();
    let ctx = Context::inference(&device);
    for config in [small(), small_r2gen()] {
        let how = Decoding {
            beams: 2,
            max_tokens: 8,
            start: 11,
            end: 10,
            finish: config.decoder.finish(1.0),
        };
        let stored = serde_json::to_string(&config).unwrap();
        assert_eq!(
            serde_json::from_str::<WriterConfig>(&stored).unwrap(),
            config
        );
        let model = ReportWriter::random(config, None, 4, &device).unwrap();
        let all = vectors(3, &device);
        let together = model.write(all.clone(), &how, &ctx).unwrap();
        for (place, expected) in together.iter().enumerate() {
            let own = all.clone().narrow(0, place, 1);
            let alone = model.write(own, &how, &ctx).unwrap();
            assert_eq!(alone[0].tokens, expected.tokens);
        }
        // One sentence is learned from another only where a recording is read.
        let taught = Taught::new(&[vec![11, 1, 2, 10], vec![11, 3, 10]], 0, 8).unwrap();
        let two = all.clone().narrow(0, 0, 2);
        let loss = |vectors| model.loss(vectors, &taught, &ctx);
        let near_uniform = loss(Some(two)).unwrap().into_scalar::<f32>();
        assert!((near_uniform - 13f32.ln()).abs() < 1.0, "{near_uniform}");
        assert_eq!(loss(None).is_ok(), model.config().decoder.alone());
        let error = loss(Some(all.clone())).unwrap_err();
        assert!(error.contains("2 reports of 3 recordings"), "{error}");
    }
}
