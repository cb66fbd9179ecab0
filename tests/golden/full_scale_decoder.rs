//! A text decoder of full size, whose weights are generated.

use burn::tensor::{Device, Tensor, TensorData};
use purkinje_models::layers::{Context, Weights};
use purkinje_models::text::{Gpt2, Gpt2Config, TextIds};

use crate::compare::{Findings, Tolerance, close};
use crate::entry::wide;
use crate::full_scale::Generator;
use crate::paired::values;
use crate::walk::Tensors;

const ACTIVATIONS: Tolerance = Tolerance::relative(1e-4);
const LOGITS: Tolerance = Tolerance::relative(1e-3);
/// Every so many-th logit is stored.
const STRIDE: usize = 997;

/// The decoder of a case, if it has one.
pub fn decoder(findings: &mut Findings, io: &Tensors, generator: &Generator) -> Result<(), String> {
    if !io.has("gpt2.input_ids") {
        return Ok(());
    }
    let config = Gpt2Config {
        // The published vocabulary with a start token and padding.
        vocab_size: 50_259,
        add_cross_attention: true,
        ..Gpt2Config::default()
    };
    let device = Device::flex();
    let mut weights = Weights::default();
    for (name, shape) in config.parameters() {
        // Linear maps have their inputs first, tables have not.
        let table = name.contains("wte") || name.contains("wpe");
        let values = generator.tensor(&format!("gpt2.{name}"), &shape, !table);
        weights.insert(name, &shape, values, &device);
    }
    let memory: Vec<f32> = generator
        .uniforms("input.gpt2.enc", config.n_embd)
        .map(|u| (2.0 * u - 1.0) as f32)
        .collect();
    let memory = Tensor::<3>::from_data(TensorData::new(memory, [1, 1, config.n_embd]), &device);
    let ids: Vec<u32> = io
        .i64("gpt2.input_ids")?
        .iter()
        .map(|&id| id as u32)
        .collect();
    let texts = TextIds {
        length: ids.len(),
        real: vec![true; ids.len()],
        ids,
    };
    let gpt2 = Gpt2 {
        config: &config,
        weights: &weights,
        prefix: "",
    };
    let ctx = Context::inference(&device);
    let states = gpt2.states(&texts, true, Some(&memory), &ctx)?;
    let whole = values(&gpt2.logits(states, &ctx))?;
    // The same step by step.
    let mut state = gpt2.start(1, Some(&memory), &ctx);
    let mut steps = Vec::new();
    for &id in &texts.ids {
        steps.extend(values(&gpt2.step(&[id], &mut state, &ctx)?)?);
    }
    for logits in [whole, steps] {
        let rows = || logits.chunks_exact(config.vocab_size);
        let slice: Vec<f32> = rows()
            .flat_map(|row| row.iter().copied().step_by(STRIDE))
            .collect();
        close(findings, io, "gpt2.logits.slice", &slice, LOGITS)?;
        let sums: Vec<f64> = rows()
            .map(|row| row.iter().map(|x| f64::from(*x).exp()).sum::<f64>().ln())
            .collect();
        findings.close_all(
            "gpt2.logsumexp",
            &sums,
            &io.f64("gpt2.logsumexp")?,
            ACTIVATIONS,
        );
        let best: Vec<usize> = rows()
            .map(|row| {
                (0..row.len())
                    .rev()
                    .max_by(|&a, &b| row[a].total_cmp(&row[b]))
            })
            .map(Option::unwrap_or_default)
            .collect();
        findings.exact_all("gpt2.argmax", &wide(&best), &io.i64("gpt2.argmax")?);
    }
    Ok(())
}
