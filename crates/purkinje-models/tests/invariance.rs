//! What a representation must not depend on, and which leads it can be made from.

use burn::tensor::Device;
use purkinje_models::clear::{Clear, ClearBatch, ClearConfig, Compat, Masking};
use purkinje_models::layers::Context;
use purkinje_models::random::Stream;
use purkinje_signal::beats::{BEATS_PER_LEAD, BeatTokens, TOKEN_SAMPLES};

fn record(leads: &[u8], seed: u64) -> BeatTokens {
    let mut noise = Stream::new(seed, "record");
    let n = leads.len() * BEATS_PER_LEAD;
    let padding: Vec<bool> = (0..n).map(|t| t % BEATS_PER_LEAD >= 12).collect();
    BeatTokens {
        samples: (0..n * TOKEN_SAMPLES)
            .map(|i| {
                if padding[i / TOKEN_SAMPLES] {
                    0.0
                } else {
                    noise.normal() as f32
                }
            })
            .collect(),
        lead_index: leads.iter().flat_map(|l| [*l; BEATS_PER_LEAD]).collect(),
        time_index: (0..n)
            .map(|t| {
                if padding[t] {
                    0
                } else {
                    (t % BEATS_PER_LEAD) as u8 * 3 / 4 + 1
                }
            })
            .collect(),
        padding,
        r_peaks: Vec::new(),
        detected: true,
    }
}

fn small() -> ClearConfig {
    ClearConfig {
        embed_dim: 48,
        depth: 2,
        heads: 4,
        mlp_dim: 64,
        decoder_embed_dim: 32,
        decoder_depth: 1,
        decoder_heads: 4,
        ..ClearConfig::tiny()
    }
}

fn encode(model: &Clear, records: &[BeatTokens]) -> Vec<f32> {
    let batch = ClearBatch::new(records).unwrap();
    let ctx = Context::inference(&Device::flex());
    let cls = model
        .encode(&batch, &Masking::all(batch.token_count()), &ctx)
        .cls;
    cls.into_data().try_to_vec().unwrap()
}

#[test]
fn vectors_do_not_depend_on_batch_size_or_threads() {
    let leads: Vec<u8> = (1..=12).collect();
    let records: Vec<_> = (0..32).map(|i| record(&leads, i)).collect();
    // Sums of more terms than one stretch of a product holds.
    let wide = ClearConfig {
        mlp_dim: 1_100,
        ..small()
    };
    for config in [ClearConfig::tiny(), wide] {
        let model = Clear::random(config, 0, &Device::flex());
        let alone: Vec<f32> = records
            .iter()
            .flat_map(|r| encode(&model, std::slice::from_ref(r)))
            .collect();
        for threads in [1, 2, 3, 8] {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            for size in [1, 2, 7, 32] {
                let found = pool.install(|| encode(&model, &records[..size]));
                let equal = found.iter().zip(&alone);
                let equal = equal.filter(|(a, b)| a.to_bits() == b.to_bits()).count();
                assert_eq!(equal, found.len(), "batch of {size}, {threads} threads");
            }
        }
    }
}

#[test]
fn any_leads_can_be_encoded_and_reconstructed() {
    let device = Device::flex();
    let sets: [&[u8]; 5] = [&[1], &[1, 2], &[1, 2, 8], &[1, 2, 3, 4, 5, 6], &[12, 7]];
    for compat in [Compat::Paper, Compat::Released] {
        let model = Clear::random(small().with_compat(compat), 0, &device);
        for leads in sets {
            let records = [record(leads, 0), record(leads, 1)];
            let vectors = encode(&model, &records);
            assert_eq!(vectors.len(), 2 * leads.len() * 48);
            let batch = ClearBatch::new(&records).unwrap();
            let masking = Masking::random(model.config(), &batch, &mut Stream::new(0, "mask"));
            let loss = model
                .reconstruct(&batch, &masking, &Context::inference(&device))
                .loss;
            let loss: f32 = loss.into_scalar();
            assert!(
                loss.is_finite() && loss > 0.1,
                "{compat:?} {leads:?}: {loss}"
            );
        }
    }
}

#[test]
fn dropout_of_a_step_depends_on_its_seed_alone() {
    let leads: Vec<u8> = (1..=12).collect();
    let batch = ClearBatch::new(&[record(&leads, 0)]).unwrap();
    let model = Clear::random(small(), 0, &Device::flex());
    let masking = Masking::all(batch.token_count());
    let draw = |seed| {
        let ctx = Context::training(&Device::flex(), 0.1, seed);
        let cls = model.encode(&batch, &masking, &ctx).cls;
        cls.into_data().try_to_vec::<f32>().unwrap()
    };
    assert_eq!(draw(1), draw(1));
    assert_ne!(draw(1), draw(2));
}
