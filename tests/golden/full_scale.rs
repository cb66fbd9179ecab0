//! Networks at their published sizes, whose weights are generated: DERI in evaluation and training, the larger encoders.

use burn::tensor::{Device, Tensor};
use purkinje_models::compat::Compat;
use purkinje_models::deri::{Deri, DeriConfig, DeriLosses, Pass, Views};
use purkinje_models::encoder::Encoder as _;
use purkinje_models::layers::{BatchNorm, Context, ResNetConfig, Trace, VitConfig, Weights};
use purkinje_models::paired::{PairConfig as _, Paired as _, Signal, Signals};

use crate::Check;
use crate::compare::{Findings, Tolerance, close};
use crate::entry::index;
use crate::paired::{texts, values};
use crate::walk::{Case, Tensors};

/// The kinds checked here.
pub const CHECKS: &[(&str, Check)] = &[("full_scale", full_scale)];

/// Deep stacks in single precision.
const DEEP: Tolerance = Tolerance::relative(1e-3);

/// The generator of the case: values of a tensor by its name.
pub struct Generator {
    pub salt: u64,
}

impl Generator {
    /// Numbers from 0 to 1.
    pub fn uniforms(&self, name: &str, count: usize) -> impl Iterator<Item = f64> + use<> {
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let start = hash.wrapping_add(self.salt);
        (1..=count as u64).map(move |i| {
            let z = start.wrapping_add(i.wrapping_mul(0x9E37_79B9_7F4A_7C15));
            let z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
            let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
            ((z ^ (z >> 31)) >> 40) as f64 / (1u64 << 24) as f64
        })
    }

    /// A tensor: its spread follows from the last part of its name and its shape. Linear maps of GPT-2 have their inputs first.
    pub fn tensor(&self, name: &str, shape: &[usize], inputs_first: bool) -> Vec<f32> {
        let count = shape.iter().product();
        let last = name.rsplit('.').next().unwrap_or(name);
        let is_position =
            ["pos_embedding", "positional_embedding", "sep_embedding"].contains(&last);
        let inputs: usize = match inputs_first {
            true => shape.first().copied().unwrap_or(1),
            false => shape.iter().skip(1).product(),
        };
        let (spread, middle) = match last {
            "num_batches_tracked" => return vec![0.0; count],
            "running_var" => (0.3, 1.0),
            "running_mean" => (0.1, 0.0),
            _ if is_position => (0.5, 0.0),
            _ if name.ends_with("bias") => (0.05, 0.0),
            _ if shape.len() == 1 => (0.1, 1.0),
            _ => ((3.0 / inputs as f64).sqrt(), 0.0),
        };
        let value = |u: f64| ((2.0 * u - 1.0) * spread + middle) as f32;
        self.uniforms(name, count).map(value).collect()
    }

    fn weights(&self, entries: &[(String, Vec<usize>)], prefix: &str) -> Weights {
        let mut weights = Weights::default();
        for (name, shape) in entries {
            let values = self.tensor(&format!("{prefix}{name}"), shape, false);
            weights.insert(name.as_str(), shape, values, &Device::flex());
        }
        weights
    }
}

fn full_scale(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let (stated, io) = (case.json("config.json")?, case.tensors("io.safetensors")?);
    let generator = Generator {
        salt: index(&stated, "salt")? as u64,
    };
    let (size, samples) = (index(&stated, "batch")?, index(&stated, "ecg_length")?);
    let config = DeriConfig {
        samples,
        text_tokens: index(&stated, "text_length")?,
        compat: Compat::Released,
        ..DeriConfig::default()
    };
    let leads = config.ecg.leads;
    let each = leads * samples;
    let signal: Vec<f32> = generator
        .uniforms("input.ecg", size * each)
        .map(|u| ((u * 1000.0).floor() / 1000.0) as f32)
        .collect();
    let first = signal
        .chunks_exact(samples)
        .flat_map(|lead| lead[..4].iter().copied());
    close(
        findings,
        &io,
        "ecg_first",
        &first.collect::<Vec<_>>(),
        Tolerance::relative(0.0),
    )?;
    let inputs = signal.chunks_exact(each).map(|own| Signal {
        samples: own.to_vec(),
    });
    let inputs: Vec<Signal> = inputs.collect();
    let batch = Signals::new(leads, samples, &inputs).map_err(|e| e.to_string())?;
    network(findings, &io, &generator, &config, &batch)?;
    crate::full_scale_decoder::decoder(findings, &io, &generator)?;
    let x = |count: usize| {
        let own = Tensor::<1>::from_floats(&signal[..count * each], &Device::flex());
        own.reshape([count, leads, samples]).swap_dims(1, 2)
    };
    for name in ["resnet34", "resnet50", "resnet101"] {
        let config = ResNetConfig::named(name).ok_or_else(|| format!("no {name}"))?;
        let weights = generator.weights(&config.entries(""), &format!("{name}."));
        let ctx = Context::inference(&Device::flex());
        let found = config.run(x(1), &weights, "", BatchNorm::default(), &ctx);
        time_last(findings, &io, name, found)?;
    }
    for name in ["vit_tiny", "vit_small", "vit_middle", "vit_base"] {
        let config =
            VitConfig::named(&name.replace('_', "-")).ok_or_else(|| format!("no {name}"))?;
        let weights = generator.weights(&config.entries(""), &format!("{name}."));
        let label = format!("{name}.out");
        let count = io.shape(&label)?[0];
        let found = config.run(x(count), &weights, "", &Context::inference(&Device::flex()));
        close(findings, &io, &label, &values(&found)?, DEEP)?;
    }
    Ok(())
}

/// Mean and slice of `[batch, time, channels]`, which are stored with channels first.
fn time_last(
    findings: &mut Findings,
    io: &Tensors,
    name: &str,
    found: Tensor<3>,
) -> Result<(), String> {
    let mean = found.clone().mean_dim(1);
    close(findings, io, &format!("{name}.mean"), &values(&mean)?, DEEP)?;
    let turned = found.swap_dims(1, 2);
    let shape = turned.dims().to_vec();
    sliced(
        findings,
        io,
        &format!("{name}.slice"),
        (&shape, &values(&turned)?),
        [64, 39],
    )
}

/// Every so many values of the last two dimensions, as many as are stored.
fn sliced(
    findings: &mut Findings,
    io: &Tensors,
    name: &str,
    (shape, found): (&[usize], &[f32]),
    [rows, columns]: [usize; 2],
) -> Result<(), String> {
    if !io.has(name) {
        return Ok(());
    }
    let [batch, height, width] = shape[..] else {
        return Err(format!("{name}: the shape is {shape:?}"));
    };
    let stored = io.shape(name)?;
    let mut own = Vec::new();
    for b in 0..batch {
        for row in (0..height).step_by(rows).take(stored[1]) {
            for column in (0..width).step_by(columns).take(stored[2]) {
                own.push(found[(b * height + row) * width + column]);
            }
        }
    }
    close(findings, io, name, &own, DEEP)
}

#[expect(clippy::too_many_lines, reason = "one case, tensor by tensor")]
fn network(
    findings: &mut Findings,
    io: &Tensors,
    generator: &Generator,
    config: &DeriConfig,
    batch: &Signals,
) -> Result<(), String> {
    let weights = generator.weights(&config.entries(), "");
    for own in weights.iter() {
        let name = format!("weight_check.{}", own.name);
        if io.has(&name) {
            close(
                findings,
                io,
                &name,
                &values(&own.value)?[..5],
                Tolerance::relative(0.0),
            )?;
        }
    }
    let model = Deri::with(config.clone(), weights).map_err(|e| e.to_string())?;
    let model = model.without_dropout();
    let texts = texts(io, None, "")?;
    let tokens = config.tokens();
    let noise = ["input.noise1", "input.noise2"].map(|name| {
        let own = generator.uniforms(name, batch.size * tokens);
        own.map(|u| u as f32).collect::<Vec<f32>>()
    });
    let views = Views::from_noise([&noise[0], &noise[1]], tokens, config.kept(), false);
    for mode in ["eval", "train"] {
        let trace = Trace::default();
        let ctx = match mode {
            "eval" => Context::inference(&Device::flex()),
            _ => Context::training(&Device::flex(), 0.0, 0),
        };
        let ctx = ctx.traced(&trace);
        let read = model.read(&texts, &ctx);
        let pass = model.pass(batch, &read, None, &views, &ctx);
        vectors(findings, io, mode, &pass)?;
        let losses = DeriLosses::of(&pass, config.temperature, &ctx);
        let four = [
            &losses.alignment,
            &losses.mixed,
            &losses.views,
            &losses.decoded_ecg,
        ];
        let total = four
            .map(Clone::clone)
            .into_iter()
            .reduce(|sum, own| sum + own);
        for (name, loss) in [
            ("cma", &losses.alignment),
            ("cma_mix", &losses.mixed),
            ("uma", &losses.views),
            ("dec_ecg", &losses.decoded_ecg),
            ("dec_text", &losses.decoded_text),
            ("total", &total.ok_or("no loss")?),
        ] {
            let name = format!("{mode}.loss_{name}");
            close(findings, io, &name, &values(loss)?, DEEP)?;
        }
        let shape = read.states.dims().to_vec();
        let states = values(&read.states)?;
        let name = format!("{mode}.lm_hidden.slice");
        sliced(findings, io, &name, (&shape, &states), [1, 96])?;
        for (part, (shape, found)) in std::mem::take(&mut *trace.borrow_mut()) {
            let name = format!("{mode}.{part}");
            match part.as_str() {
                "ecg_encoder" | "downconv" => {
                    let x = Tensor::<1>::from_floats(found.as_slice(), &Device::flex());
                    let x = x.reshape([shape[0], shape[1], shape[2]]);
                    match part.as_str() {
                        "downconv" => {
                            let turned = values(&x.swap_dims(1, 2))?;
                            let shape = [shape[0], shape[2], shape[1]];
                            let name = format!("{name}.slice");
                            sliced(findings, io, &name, (&shape, &turned), [32, 13])?;
                        }
                        _ => time_last(findings, io, &name, x)?,
                    }
                }
                "att_pool_head" => {
                    sliced(
                        findings,
                        io,
                        &format!("{name}.slice"),
                        (&shape, &found),
                        [13, 32],
                    )?;
                }
                "decode_e" => {
                    sliced(
                        findings,
                        io,
                        &format!("{name}.slice"),
                        (&shape, &found),
                        [37, 32],
                    )?;
                }
                "decode_t" => {
                    sliced(
                        findings,
                        io,
                        &format!("{name}.slice"),
                        (&shape, &found),
                        [13, 96],
                    )?;
                }
                _ => {}
            }
        }
        if mode == "eval" {
            let found = model.feature(batch, false, &ctx);
            close(findings, io, "eval.ext_ecg_emb", &values(&found)?, DEEP)?;
            continue;
        }
        let mut after = model.weights().clone();
        after
            .store(ctx.take_handed_back())
            .map_err(|e| e.to_string())?;
        for own in after.iter().filter(|own| own.state) {
            let name = own.name.strip_prefix("ecg_encoder.").unwrap_or(&own.name);
            close(
                findings,
                io,
                &format!("train.after.{name}"),
                &values(&own.value)?,
                DEEP,
            )?;
            // The last normalisation of a stage stands for it.
            if let Some(stage) = name.strip_suffix(".1.bn2.running_var") {
                let name = format!("train.after.{stage}.running_var");
                close(findings, io, &name, &values(&own.value)?, DEEP)?;
            }
        }
    }
    Ok(())
}

fn vectors(findings: &mut Findings, io: &Tensors, mode: &str, pass: &Pass) -> Result<(), String> {
    for (name, found) in crate::deri::named(pass) {
        close(
            findings,
            io,
            &format!("{mode}.{name}"),
            &values(found)?,
            DEEP,
        )?;
    }
    Ok(())
}
