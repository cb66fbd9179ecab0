//! Reports that DERI writes: passes, gradients, training and decoding of the GPT-2 model, and R2Gen.

use burn::tensor::{Device, Tensor, TensorData, activation};
use purkinje_models::checkpoint;
use purkinje_models::decoding::{Decoding, Finish, Written};
use purkinje_models::deri::Feature;
use purkinje_models::deri::report::Gpt2Report;
use purkinje_models::layers::{Context, Trace, Weights};
use purkinje_models::paired::Signals;
use purkinje_models::text::{R2Gen, R2GenConfig};
use purkinje_models::writing::{ReportWriter, Taught, TaughtBert};
use purkinje_train::optimizer::{Epsilon, Optimizer, OptimizerConfig, WeightDecay};
use purkinje_train::{Decay, Learning, Schedule, Span};
use serde_json::Value;

use crate::Check;
use crate::compare::{Findings, Tolerance, close};
use crate::deri_writing::{
    Places, chosen, ids, network, padded, sequences, stored_memory, tokenizer,
};
use crate::entry::{index, index_or, number, text, texts};
use crate::paired::{recordings, stored_weights, values};
use crate::walk::{Case, Tensors};

/// The kinds checked here.
pub const CHECKS: &[(&str, Check)] = &[
    ("report_gpt2", report_gpt2),
    ("report_gpt2_steps", report_gpt2_steps),
    ("report_r2gen", report_r2gen),
];

const ACTIVATIONS: Tolerance = Tolerance::relative(1e-4);
/// Logits and gradients of language models.
const LOGITS: Tolerance = Tolerance::relative(1e-3);
/// Logits from stored tokens of recordings.
const FROM_STORED: Tolerance = Tolerance::relative(2e-5);
/// Parameters after several updates.
const PARAMETERS: Tolerance = Tolerance::relative(1e-3);
/// Rates are computed in double precision.
const RATES: Tolerance = Tolerance::relative(1e-12);

fn report_gpt2(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let stated = case.json("config.json")?;
    let io = case.tensors("io.safetensors")?;
    let folder = text(&stated, "decoder")?.trim_end_matches('/');
    let places = Places {
        weights: "weights.safetensors",
        decoder: folder,
        sizes: stated.clone(),
    };
    let tokenizer = tokenizer(case, folder, &stated, findings)?;
    let reports = ids(&tokenizer, &texts(&stated, "reports")?)?;
    if let Some(pieces) = stated["token_pieces"].as_array() {
        for (number, (found, expected)) in reports.iter().zip(pieces).enumerate() {
            let found: Vec<Value> = found
                .iter()
                .map(|&id| tokenizer.piece(id).unwrap_or_default().into())
                .collect();
            findings.exact(
                &format!("pieces of {number}"),
                &Value::from(found),
                expected,
            );
        }
    }
    let length = io.shape("decoder_input_ids")?[1] + 1;
    let taught = Taught::new(&reports, tokenizer.pad(), length)?;
    forcing(findings, &io, &taught, tokenizer.pad())?;
    same_checkpoint(case, findings, "tiny_ckpt.pth")?;
    let align = network(case, &places, &io, Feature::Align)?;
    let mix = network(case, &places, &io, Feature::Mix)?;
    let batch = recordings(&io, None)?;
    for fused in [true, false] {
        let with = |ctx: Context| if fused { ctx } else { ctx.composed() };
        let ctx = with(Context::inference(&Device::flex()));
        let close = |findings: &mut Findings, name: &str, found: &[f32], t| {
            close(findings, &io, name, found, t)
        };
        for (mode, model) in [("eval", &align), ("eval_mix", &mix)] {
            let name = |of: &str| format!("{mode}.{of}");
            let feature = values(&model.feature(&batch, &ctx))?;
            close(findings, &name("ecg_feature"), &feature, ACTIVATIONS)?;
            let memory = values(&model.memory(&batch, &ctx))?;
            close(findings, &name("encoder_hidden"), &memory, ACTIVATIONS)?;
            let logits = model.logits(&batch, &taught.inputs, &ctx)?;
            first_logits(findings, &io, mode, &logits, LOGITS)?;
            let loss = values(&model.loss(&batch, &taught, &ctx)?)?;
            close(findings, &name("loss"), &loss, LOGITS)?;
            let all = values(&over_all(logits, &io, &ctx)?)?;
            close(findings, &name("loss_without_ignore"), &all, LOGITS)?;
        }
        // From the stored tokens of recordings the decoder is much closer.
        if let Some(memory) = stored_memory(&io)? {
            let logits = align.logits_from(&memory, &taught.inputs, &ctx)?;
            first_logits(findings, &io, "eval", &logits, FROM_STORED)?;
        }
        trained(findings, &io, &align, (&batch, &taught), &stated, &with)?;
        sequences(findings, &io, &align, &batch, (&tokenizer, &stated), &ctx)?;
        let file = "tiny_ckpt.pth";
        if case.has(file) {
            let read = checkpoint::read_pth(&case.path(file)).map_err(|e| e.to_string())?;
            let config = case.json(&format!("{folder}/config.json"))?;
            let found = checkpoint::published_writer(&read.model, Some(&config))?;
            let found = found.ok_or("the checkpoint has no part that writes")?;
            let mut weights = Weights::default();
            for (name, tensor) in found.state {
                weights.insert(name, &tensor.shape, tensor.data, &Device::flex());
            }
            let writer = ReportWriter::new(found.config, weights).map_err(|e| e.to_string())?;
            // Alone, from vectors, it writes what it does behind its encoder.
            let vectors = align.feature(&batch, &ctx).unsqueeze_dim::<3>(1);
            for beams in [1, 3] {
                let how = Decoding {
                    beams,
                    max_tokens: index(&stated["generation"], "max_length")?,
                    start: tokenizer.start().ok_or("no start token")?,
                    end: tokenizer.end(),
                    finish: Finish::Penalised {
                        length_penalty: 1.0,
                    },
                };
                let tokens = |found: Vec<Written>| -> Vec<Vec<u32>> {
                    found.into_iter().map(|own| own.tokens).collect()
                };
                let whole = align.write(&batch, &how, &ctx);
                let expected = tokens(whole.map_err(|e| e.to_string())?);
                let alone = writer.write(vectors.clone(), &how, &ctx);
                let found = tokens(alone.map_err(|e| e.to_string())?);
                findings.exact(&format!("{file}: {beams} beams"), &found, &expected);
            }
        }
    }
    Ok(())
}

/// What the decoder reads, sees and should say.
fn forcing(findings: &mut Findings, io: &Tensors, taught: &Taught, pad: u32) -> Result<(), String> {
    let wide = |ids: &[u32]| ids.iter().map(|&id| i64::from(id)).collect::<Vec<_>>();
    let name = "decoder_input_ids";
    findings.exact_all(name, &wide(&taught.inputs.ids), &io.i64(name)?);
    let name = "decoder_attention_mask";
    let real: Vec<i64> = taught
        .inputs
        .real
        .iter()
        .map(|&real| i64::from(real))
        .collect();
    findings.exact_all(name, &real, &io.i64(name)?);
    let labels: Vec<u32> = taught.labels.iter().map(|l| l.unwrap_or(pad)).collect();
    findings.exact_all("labels", &wide(&labels), &io.i64("labels")?);
    Ok(())
}

/// A checkpoint in the original layout has the stored weights.
fn same_checkpoint(case: &Case, findings: &mut Findings, file: &str) -> Result<(), String> {
    if !case.has(file) {
        return Ok(());
    }
    let read = checkpoint::read_pth(&case.path(file)).map_err(|e| e.to_string())?;
    let stored = case.tensors("weights.safetensors")?;
    let mut missing: Vec<&str> = stored.names().collect();
    for (name, tensor) in read.model.iter() {
        let tied = name.replace("lm_head", "transformer.wte");
        let Some(of) = [name, &tied].into_iter().find(|name| stored.has(name)) else {
            continue;
        };
        missing.retain(|other| *other != name);
        if let Ok(expected) = stored.f32(of) {
            findings.exact_all(&format!("{file}: {name}"), &tensor.data, expected);
        }
    }
    findings.exact_all(&format!("missing in {file}"), &missing, &[]);
    Ok(())
}

fn first_logits(
    findings: &mut Findings,
    io: &Tensors,
    mode: &str,
    logits: &Tensor<3>,
    tolerance: Tolerance,
) -> Result<(), String> {
    let [batch, length, _] = logits.dims();
    let sums = format!("{mode}.logits_sum");
    if io.has(&sums) {
        let found = logits.clone().sum_dim(2).reshape([batch * length]);
        close(findings, io, &sums, &values(&found)?, tolerance)?;
    }
    let beginning = format!("{mode}.logits_first");
    let names: Vec<String> = io
        .names()
        .filter(|name| name.starts_with(&beginning))
        .map(str::to_owned)
        .collect();
    for name in names {
        let first = logits.clone().narrow(1, 0, io.shape(&name)?[1]);
        close(findings, io, &name, &values(&first)?, tolerance)?;
    }
    Ok(())
}

/// The cross-entropy over all positions, padding among them.
fn over_all(logits: Tensor<3>, io: &Tensors, ctx: &Context) -> Result<Tensor<1>, String> {
    let [batch, length, classes] = logits.dims();
    let labels: Vec<i32> = io.i64("labels")?.iter().map(|&l| l as i32).collect();
    let labels = Tensor::<2, burn::tensor::Int>::from_data(
        TensorData::new(labels, [batch * length, 1]),
        ctx.device(),
    );
    let logits = logits.reshape([batch * length, classes]);
    Ok(activation::log_softmax(logits, 1)
        .gather(1, labels)
        .neg()
        .mean())
}

/// A pass that trains, without dropout: loss, gradients, running statistics.
fn trained(
    findings: &mut Findings,
    io: &Tensors,
    model: &Gpt2Report,
    (batch, taught): (&Signals, &Taught),
    stated: &Value,
    with: &impl Fn(Context) -> Context,
) -> Result<(), String> {
    let graph = Device::flex().autodiff();
    let tracked = model.weights().tracked(Gpt2Report::learns);
    let model = model.without_dropout().with_weights(tracked.clone());
    let ctx = with(Context::training(&graph, 0.0, 0));
    let logits = model.logits(batch, &taught.inputs, &ctx)?;
    first_logits(findings, io, "train", &logits.inner(), LOGITS)?;
    let ctx = with(Context::training(&graph, 0.0, 0));
    let loss = model.loss(batch, taught, &ctx)?;
    close(findings, io, "train.loss", &values(&loss)?, ACTIVATIONS)?;
    let gradients = loss.backward();
    let mut without = 0;
    for p in tracked.iter().filter(|p| !p.state) {
        let (name, found) = (format!("train.grad.{}", p.name), p.value.grad(&gradients));
        without += usize::from(found.is_none());
        match (io.has(&name), found) {
            (true, Some(found)) => close(findings, io, &name, &values(&found)?, LOGITS)?,
            (true, None) => findings.fail(format!("{name} was not found")),
            (false, _) => {}
        }
    }
    if stated.get("params_without_grad_count").is_some() {
        let expected = index(stated, "params_without_grad_count")?;
        findings.exact("parameters without gradient", without, expected);
    }
    let mut after = model.weights().clone();
    after
        .store(ctx.take_handed_back())
        .map_err(|e| e.to_string())?;
    for p in after.iter().filter(|p| p.state) {
        let name = format!("train.after.{}", p.name);
        close(findings, io, &name, &values(&p.value)?, ACTIVATIONS)?;
    }
    Ok(())
}

/// The optimizer and the rates that a case states.
fn recipe(stated: &Value, steps: usize) -> Result<(OptimizerConfig, Vec<f64>), String> {
    let (optimizer, scheduler) = (&stated["optimizer"], &stated["scheduler"]);
    let betas = optimizer["betas"].as_array().ok_or("no betas")?;
    let beta = |at: usize| betas.get(at).and_then(Value::as_f64).ok_or("no beta");
    let decay = match text(optimizer, "name")? {
        "AdamW" => WeightDecay::Decoupled,
        "Adam" => WeightDecay::L2,
        other => return Err(format!("optimizer {other}")),
    };
    let config = OptimizerConfig {
        beta1: beta(0)?,
        beta2: beta(1)?,
        eps: number(optimizer, "eps")?,
        epsilon: Epsilon::AfterCorrection,
        weight_decay: number(optimizer, "weight_decay")?,
        decay,
        clip_norm: None,
        decay_all: true,
    };
    let (name, growth) = (text(scheduler, "name")?, index_or(scheduler, "T_mult", 1)?);
    if name != "CosineAnnealingWarmRestarts" || growth != 1 {
        return Err(format!("scheduler {name} with T_mult {growth}"));
    }
    let schedule = Schedule {
        decay: Decay::Restarts {
            end: number(scheduler, "eta_min")?,
            period: Span::Updates(index(scheduler, "T_0")?),
        },
        ..Schedule::constant(number(optimizer, "lr")?)
    };
    let rates = schedule.rates(steps, 1).map_err(|e| e.to_string())?;
    Ok((config, (0..steps).map(|step| rates.at(step)).collect()))
}

fn report_gpt2_steps(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let stated = case.json("config.json")?;
    let io = case.tensors("io.safetensors")?;
    let places = Places {
        weights: text(&stated, "weights")?,
        decoder: text(&stated, "decoder")?,
        sizes: case.json(text(&stated, "sizes")?)?,
    };
    let feature = match text(&stated, "feature")? {
        "align" => Feature::Align,
        "mix" => Feature::Mix,
        other => return Err(format!("feature {other}")),
    };
    if number(&stated, "dropout")? != 0.0 {
        return Err("dropout without masks".to_owned());
    }
    let tokenizer = tokenizer(case, places.decoder, &stated, findings)?;
    let reports = ids(&tokenizer, &texts(&stated, "reports")?)?;
    let model = network(case, &places, &io, feature)?.without_dropout();
    let batch = recordings(&io, None)?;
    let length = index(&stated, "padded_to")?;
    let shape = io.shape("rows")?;
    let (steps, each) = (shape[0], shape[1]);
    let rows: Vec<usize> = io.i64("rows")?.iter().map(|&row| row as usize).collect();
    let (optimizer, rates) = recipe(&stated, steps)?;
    findings.close_all("lr_f64", &rates, &io.f64("lr_f64")?, RATES);
    let learns = |name: &str| Gpt2Report::learns(name).then(Learning::default);
    for fused in [true, false] {
        let with = |ctx: Context| if fused { ctx } else { ctx.composed() };
        let mut weights = model.weights().clone();
        let mut optimizer = Optimizer::new(&weights, learns, optimizer);
        let mut losses = Vec::new();
        for (rows, rate) in rows.chunks_exact(each).zip(&rates) {
            let (batch, taught) = chosen(&io, &reports, rows, tokenizer.pad(), length)?;
            let tracked = weights.tracked(Gpt2Report::learns);
            let own = model.with_weights(tracked.clone());
            let ctx = with(Context::training(&Device::flex().autodiff(), 0.0, 0));
            let loss = own.loss(&batch, &taught, &ctx)?;
            losses.extend(values(&loss)?);
            optimizer.step(&mut weights, &tracked, loss.backward(), *rate);
            weights
                .store(ctx.take_handed_back())
                .map_err(|e| e.to_string())?;
        }
        close(findings, &io, "step.loss", &losses, ACTIVATIONS)?;
        for p in weights.iter() {
            let name = format!("after.{}", p.name);
            close(findings, &io, &name, &values(&p.value)?, PARAMETERS)?;
        }
        let own = model.with_weights(weights);
        let ctx = with(Context::inference(&Device::flex()));
        let memory = values(&own.memory(&batch, &ctx))?;
        close(findings, &io, "after.eval.memory", &memory, LOGITS)?;
        let all: Vec<usize> = (0..batch.size).collect();
        let (_, taught) = chosen(&io, &reports, &all, tokenizer.pad(), length)?;
        let loss = values(&own.loss(&batch, &taught, &ctx)?)?;
        close(findings, &io, "after.eval.loss", &loss, ACTIVATIONS)?;
        sequences(findings, &io, &own, &batch, (&tokenizer, &stated), &ctx)?;
    }
    Ok(())
}

/// The sizes of an R2Gen case.
fn r2gen_config(stated: &Value) -> Result<R2GenConfig, String> {
    let rate = |name: &str| number(stated, name).map(|rate| rate as f32);
    let config = R2GenConfig {
        vocabulary: index(stated, "output_size")?,
        features: index(stated, "d_vf")?,
        width: index(stated, "d_model")?,
        inner: index(stated, "d_ff")?,
        heads: index(stated, "num_heads")?,
        layers: index(stated, "num_layers")?,
        slots: index(stated, "rm_num_slots")?,
        memory_heads: index(stated, "rm_num_heads")?,
        dropout: rate("dropout")?,
        feature_dropout: rate("drop_prob_lm")?,
        ..R2GenConfig::default()
    };
    config.validate()?;
    Ok(config)
}

fn report_r2gen(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let stated = case.json("config.json")?;
    let io = case.tensors("io.safetensors")?;
    let config = r2gen_config(&stated)?;
    let weights = stored_weights(case, "weights.safetensors")?;
    weights
        .require(&config.parameters())
        .map_err(|e| e.to_string())?;
    same_checkpoint(case, findings, "r2gen_state.pth")?;
    let shape: Vec<usize> = io.shape("ids")?.to_vec();
    let taught = TaughtBert {
        ids: io.i64("ids")?.iter().map(|&id| id as u32).collect(),
        counted: io
            .i64("mask")?
            .iter()
            .map(|&counted| counted == 1)
            .collect(),
        length: shape[1],
        cut: 0,
    };
    let (texts, labels) = taught.split();
    let plain = config.clone().without_dropout();
    for fused in [true, false] {
        let with = |ctx: Context| if fused { ctx } else { ctx.composed() };
        for (mode, config) in [("", &config), ("trainmode.", &plain)] {
            let graph = Device::flex().autodiff();
            let tracked = weights.tracked(|_| true);
            let model = R2Gen {
                config,
                weights: &tracked,
                prefix: "",
            };
            let trace = Trace::default();
            let ctx = match mode {
                "" => Context::inference(&graph).traced(&trace),
                _ => Context::training(&graph, 0.0, 0),
            };
            let ctx = with(ctx);
            let encoded = model.encode(features(&io, &graph)?, &ctx);
            let states = model.states(&texts, &encoded, &ctx)?;
            let loss = model.cross_entropy(states.clone(), &labels, &ctx)?;
            let loss = loss.ok_or("no labels")?;
            let name = format!("{mode}loss");
            close(findings, &io, &name, &values(&loss)?, ACTIVATIONS)?;
            if !mode.is_empty() {
                continue;
            }
            let logits = model.logits(states, &ctx);
            let found = values(&activation::log_softmax(logits, 2))?;
            close(findings, &io, "logprobs", &found, LOGITS)?;
            let seen: Vec<i64> = values(&model.mask(&texts, &ctx))?
                .iter()
                .map(|&score| i64::from(score == 0.0))
                .collect();
            findings.exact_all("seq_mask", &seen, &io.i64("seq_mask")?);
            for (name, (_, found)) in std::mem::take(&mut *trace.borrow_mut()) {
                close(findings, &io, &name, &found, ACTIVATIONS)?;
            }
            let gradients = loss.backward();
            for p in tracked.iter() {
                let (name, found) = (format!("grad.{}", p.name), p.value.grad(&gradients));
                match (io.has(&name), found) {
                    (true, Some(found)) => close(findings, &io, &name, &values(&found)?, LOGITS)?,
                    (true, None) => findings.fail(format!("{name} was not found")),
                    (false, _) => {}
                }
            }
        }
        let ctx = with(Context::inference(&Device::flex()));
        let model = R2Gen {
            config: &config,
            weights: &weights,
            prefix: "",
        };
        sampled(findings, &io, &stated, model, &ctx)?;
    }
    Ok(())
}

fn features(io: &Tensors, device: &Device) -> Result<Tensor<3>, String> {
    let shape: [usize; 3] = io
        .shape("att_feats")?
        .try_into()
        .map_err(|_| "att_feats: expected three dimensions")?;
    let data = TensorData::new(io.f32("att_feats")?.to_vec(), shape);
    Ok(Tensor::from_data(data, device))
}

/// What a search with beams writes, together and alone.
fn sampled(
    findings: &mut Findings,
    io: &Tensors,
    stated: &Value,
    model: R2Gen<'_>,
    ctx: &Context,
) -> Result<(), String> {
    let name = "sample.seq";
    let method = stated["sample_method"].as_str().unwrap_or("beam_search");
    if !io.has(name) || !["beam_search", "greedy"].contains(&method) {
        return Ok(());
    }
    let length = io.shape(name)?[1];
    let beams = match method {
        "greedy" => 1,
        _ => index(stated, "beam_size")?,
    };
    let how = Decoding {
        beams,
        // The start token is not among those that count.
        max_tokens: index(stated, "max_seq_length")? + 1,
        start: index(stated, "bos")? as u32,
        end: index(stated, "eos")? as u32,
        finish: Finish::Summed,
    };
    let features = features(io, &Device::flex())?;
    let write = |features: Tensor<3>| {
        let mut found = model
            .write(features, &how, ctx)
            .map_err(|e| e.to_string())?;
        for own in &mut found {
            own.tokens.remove(0);
        }
        Ok::<_, String>(found)
    };
    let together = write(features.clone())?;
    let pad = index(stated, "pad")? as u32;
    findings.exact_all(name, &padded(&together, length, pad), &io.i64(name)?);
    for (row, expected) in together.iter().enumerate() {
        let alone = write(features.clone().narrow(0, row, 1))?;
        let label = format!("{name}: {row} alone");
        findings.exact_all(&label, &alone[0].tokens, &expected.tokens);
    }
    Ok(())
}
