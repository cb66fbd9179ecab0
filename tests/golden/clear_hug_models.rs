//! CLEAR and HUG: forward passes, losses, gradients and training trajectories of the original program.

use std::collections::BTreeMap;

use burn::tensor::{Device, Tensor};
use purkinje::systems::clear::trainable::Trainable;
use purkinje_models::clear::{Clear, ClearBatch, ClearConfig, Compat, EncoderMask, Masking};
use purkinje_models::encoder::{Classify, Encoder};
use purkinje_models::hug::{Classifier, Head};
use purkinje_models::layers::{Context, Trace, Weights};
use purkinje_signal::beats::{BeatTokens, TOKEN_SAMPLES};
use purkinje_train::Learning;
use purkinje_train::losses::bce_with_logits;
use purkinje_train::optimizer::{Optimizer, OptimizerConfig};
use purkinje_train::schedule::CosineSchedule;
use serde_json::Value;

use crate::Check;
use crate::batches;
use crate::checkpoints;
use crate::compare::{Findings, Tolerance, close};
use crate::entry::{index, number, number_or};
use crate::walk::{Case, Data, Tensors};

/// The kinds checked here.
pub const CHECKS: &[(&str, Check)] = &[
    ("pretrain_forward", pretrain_forward),
    ("finetune_forward", finetune_forward),
    ("pretrain_trajectory", pretrain_trajectory),
    ("finetune_trajectory", finetune_trajectory),
];

const ACTIVATIONS: Tolerance = Tolerance::absolute(2e-5);
const GRADIENTS: Tolerance = Tolerance::absolute(1e-5);
const LOSS: Tolerance = Tolerance::relative(1e-5);

fn pretrain_forward(case: &Case, findings: &mut Findings) -> Result<(), String> {
    checkpoints::compare(case, findings)?;
    let (config, io) = (case.json("config.json")?, case.tensors("io.safetensors")?);
    let clear = released(&config)?;
    let weights = stored_weights(case)?;
    let model = Clear::new(clear.clone(), weights).map_err(|e| e.to_string())?;
    let batch = batch(&io, "")?;
    let tokens = batch.token_count();
    let masking = masking(&io, "noise", clear.kept(tokens))?;
    findings.exact("tokens kept", masking.kept(), index(&config, "len_keep")?);
    stated(&config, &batch, findings)?;
    orders(findings, &io, &masking, batch.size)?;

    // Everything in its place, as the embedding is stored.
    let device = Device::flex();
    let whole = Trace::default();
    let ctx = Context::inference(&device).traced(&whole);
    let embedded = model.embed(&batch, &Masking::all(tokens), &ctx);
    let embedded = embedded.into_data().try_to_vec::<f32>().map_err(debug)?;
    close(findings, &io, "embedded", &embedded, ACTIVATIONS)?;
    close(
        findings,
        &io,
        "token_embed",
        &whole.borrow()["token_embed"].1,
        ACTIVATIONS,
    )?;
    close(
        findings,
        &io,
        "input_normalized",
        &batch.tokens,
        ACTIVATIONS,
    )?;

    for fused in [true, false] {
        let trace = Trace::default();
        let ctx = context(fused, &trace);
        let tracked = model.weights().tracked(|_| true);
        let pass = model
            .with_weights(tracked.clone())
            .reconstruct(&batch, &masking, &ctx);
        let mut found = trace.take();
        // Stored for all tokens and compared above.
        found.remove("token_embed");
        traces(findings, &io, &found)?;
        let predicted = pass
            .predicted
            .clone()
            .inner()
            .into_data()
            .try_to_vec::<f32>()
            .map_err(debug)?;
        close(findings, &io, "pred", &predicted, ACTIVATIONS)?;
        let loss = f64::from(pass.loss.clone().inner().into_scalar::<f32>());
        for name in ["loss", "loss_f64"] {
            if io.has(name) {
                findings.close(name, loss, io.f64(name)?[0], LOSS);
            }
        }
        gradients(findings, &io, &tracked, pass.loss.backward())?;
    }
    if io.has("loss_encoder_unmasked") {
        let open = ClearConfig {
            encoder_mask: EncoderMask::None,
            ..clear
        };
        let model = Clear::new(open, model.weights().clone()).map_err(|e| e.to_string())?;
        let ctx = Context::inference(&device);
        let loss = model.reconstruct(&batch, &masking, &ctx).loss;
        let loss = f64::from(loss.into_scalar::<f32>());
        findings.close(
            "loss_encoder_unmasked",
            loss,
            io.f64("loss_encoder_unmasked")?[0],
            LOSS,
        );
    }
    batches_agree(findings, &io, "vectors", |batch| {
        host(model.vectors(batch, &Context::inference(&device)))
    })
}

fn finetune_forward(case: &Case, findings: &mut Findings) -> Result<(), String> {
    checkpoints::compare(case, findings)?;
    let (config, io) = (case.json("config.json")?, case.tensors("io.safetensors")?);
    let model = classifier(&config, stored_weights(case)?)?;
    let batch = batch(&io, "")?;
    let tokens = batch.token_count();
    let labels = io.f32("labels")?;
    stated(&config, &batch, findings)?;
    let main = masking(&io, "noise", tokens)?;
    orders(findings, &io, &main, batch.size)?;
    for fused in [true, false] {
        let trace = Trace::default();
        let ctx = context(fused, &trace);
        let tracked = model.encoder().weights().tracked(|_| true);
        let logits = model
            .with_weights(tracked.clone())
            .logits(&batch, &main, &ctx);
        let mut found = trace.take();
        found.remove("token_embed");
        traces(findings, &io, &found)?;
        let values = logits
            .clone()
            .inner()
            .into_data()
            .try_to_vec::<f32>()
            .map_err(debug)?;
        for name in ["logits", "logits_f64"] {
            close(findings, &io, name, &values, ACTIVATIONS)?;
        }
        let loss = bce_with_logits(logits, labels);
        let value = f64::from(loss.clone().inner().into_scalar::<f32>());
        findings.close("loss", value, io.f64("loss")?[0], LOSS);
        gradients(findings, &io, &tracked, loss.backward())?;
    }
    // Stored with every token in its place, whereas the encoder gets them in the order of the noise.
    let whole = Trace::default();
    let ctx = Context::inference(&Device::flex()).traced(&whole);
    model.encoder().embed(&batch, &Masking::all(tokens), &ctx);
    let embedded = whole.borrow()["token_embed"].1.clone();
    close(findings, &io, "token_embed", &embedded, ACTIVATIONS)?;
    let ctx = Context::inference(&Device::flex());
    let noises: Vec<String> = io
        .names()
        .filter(|name| name.starts_with("noise_"))
        .map(str::to_owned)
        .collect();
    for noise in noises {
        let masking = masking(&io, &noise, tokens)?;
        let logits = model.logits(&batch, &masking, &ctx);
        let logits = logits.into_data().try_to_vec::<f32>().map_err(debug)?;
        close(
            findings,
            &io,
            &format!("logits_{noise}"),
            &logits,
            ACTIVATIONS,
        )?;
    }
    if io.has("logits_encoder_unmasked") {
        let open = ClearConfig {
            encoder_mask: EncoderMask::None,
            ..model.encoder().config().clone()
        };
        let encoder =
            Clear::new(open, model.encoder().weights().clone()).map_err(|e| e.to_string())?;
        let classes = index(&config, "num_classes")?;
        let open = Classifier::new(encoder, model.head(), classes).map_err(|e| e.to_string())?;
        let logits = open.logits(&batch, &main, &ctx);
        let logits = logits.into_data().try_to_vec::<f32>().map_err(debug)?;
        close(
            findings,
            &io,
            "logits_encoder_unmasked",
            &logits,
            ACTIVATIONS,
        )?;
    }
    batches_agree(findings, &io, "logits", |batch| {
        let ctx = Context::inference(&Device::flex());
        host(Classify::logits(&model, batch, &ctx))
    })
}

fn pretrain_trajectory(case: &Case, findings: &mut Findings) -> Result<(), String> {
    checkpoints::compare(case, findings)?;
    let (config, io) = (case.json("config.json")?, case.tensors("io.safetensors")?);
    let clear = released(&config)?;
    let start = weights(&case.tensors("weights_init.safetensors")?)?;
    let model = Clear::new(clear.clone(), start).map_err(|e| e.to_string())?;
    let run = Trajectory::read(&config, &io)?;
    let step = |weights: &Weights, batch: &ClearBatch, step: usize, ctx: &Context| {
        let masking = run.masking(&io, step, clear.kept(batch.token_count()))?;
        let model = model.with_weights(weights.clone());
        Ok((model.reconstruct(batch, &masking, ctx).loss, None))
    };
    let end = run.replay(
        findings,
        &io,
        model.weights().clone(),
        |_| true,
        Tolerance::relative(1e-4),
        step,
    )?;
    final_weights(findings, case, &end, Tolerance::absolute(1e-4))
}

fn finetune_trajectory(case: &Case, findings: &mut Findings) -> Result<(), String> {
    checkpoints::compare(case, findings)?;
    let (config, io) = (case.json("config.json")?, case.tensors("io.safetensors")?);
    let checkpoint = config["init_checkpoint"]
        .as_str()
        .ok_or("config.json: no `init_checkpoint`")?;
    let mut start = Weights::default();
    let backbone = checkpoints::model_tensors(&case.path(checkpoint))?;
    for (name, shape, data) in backbone {
        start.insert(name, &shape, data, &Device::flex());
    }
    add_weights(&mut start, &case.tensors("weights_init_head.safetensors")?)?;
    let model = classifier(&config, start)?;
    let trainable = match config["trainable"].as_str() {
        Some("moe") => Trainable::Moe,
        Some("linear") => Trainable::Linear,
        Some("all") => Trainable::All,
        other => return Err(format!("config.json: `trainable` is {other:?}")),
    };
    if let Some(expected) = config["trainable_parameters"].as_array() {
        let expected: Vec<&str> = expected
            .iter()
            .filter_map(Value::as_str)
            .map(|n| n.strip_prefix("backbone.").unwrap_or(n))
            .collect();
        let weights = model.encoder().weights();
        let mut found: Vec<&str> = weights
            .iter()
            .map(|p| p.name.as_str())
            .filter(|n| trainable.accepts(n))
            .collect();
        let mut sorted = expected;
        sorted.sort_unstable();
        found.sort_unstable();
        findings.exact_all("trainable parameters", &found, &sorted);
    }
    let run = Trajectory::read(&config, &io)?;
    let step = |weights: &Weights, batch: &ClearBatch, step: usize, ctx: &Context| {
        let masking = run.masking(&io, step, batch.token_count())?;
        let logits = model
            .with_weights(weights.clone())
            .logits(batch, &masking, ctx);
        let labels = io.get(&format!("batch_{}.labels", run.order[step]))?;
        let labels: Vec<f32> = match &labels.data {
            Data::F32(values) => values.clone(),
            _ => io
                .i64(&format!("batch_{}.labels", run.order[step]))?
                .iter()
                .map(|v| *v as f32)
                .collect(),
        };
        let found = logits
            .clone()
            .inner()
            .into_data()
            .try_to_vec::<f32>()
            .map_err(debug)?;
        Ok((bce_with_logits(logits, &labels), Some(found)))
    };
    let before = model.encoder().weights().to_host();
    let end = run.replay(
        findings,
        &io,
        model.encoder().weights().clone(),
        |name| trainable.accepts(name),
        LOSS,
        step,
    )?;
    for ((name, _, before), (_, _, after)) in before.iter().zip(end.to_host()) {
        if !trainable.accepts(name) {
            findings.exact(&format!("frozen {name}"), before == &after, true);
        }
    }
    final_weights(findings, case, &end, Tolerance::absolute(1e-5))
}

/// A recorded run: its recipe and its random choices.
struct Trajectory {
    optimizer: OptimizerConfig,
    schedule: CosineSchedule,
    order: Vec<usize>,
    steps: usize,
}

impl Trajectory {
    fn read(config: &Value, io: &Tensors) -> Result<Self, String> {
        let beta = |i: usize| config["betas"][i].as_f64().ok_or("config.json: no `betas`");
        let optimizer = OptimizerConfig {
            beta1: beta(0)?,
            beta2: beta(1)?,
            eps: number(config, "eps")?,
            weight_decay: number(config, "weight_decay")?,
            clip_norm: config["clip_grad"].as_f64(),
            decay_all: false,
            ..OptimizerConfig::pretrain()
        };
        let schedule = CosineSchedule::from_epochs(
            number(config, "lr")?,
            number(config, "min_lr")?,
            index(config, "epochs")?,
            index(config, "steps_per_epoch")?,
            index(config, "warmup_epochs")?,
            None,
        )
        .map_err(|e| e.to_string())?;
        let order = io.i64("batch_order")?.iter().map(|i| *i as usize).collect();
        Ok(Trajectory {
            optimizer,
            schedule,
            order,
            steps: index(config, "steps")?,
        })
    }

    fn masking(&self, io: &Tensors, step: usize, kept: usize) -> Result<Masking, String> {
        let tokens = io.shape("noise")?[1];
        let noise = &io.f32("noise")?[step * tokens..(step + 1) * tokens];
        Ok(Masking::from_noise(&[noise.to_vec()], kept))
    }

    /// Repeats the run; `step` gives loss and, if the case stores them, logits.
    #[allow(clippy::type_complexity)]
    fn replay(
        &self,
        findings: &mut Findings,
        io: &Tensors,
        mut weights: Weights,
        trains: impl Fn(&str) -> bool,
        tolerance: Tolerance,
        step: impl Fn(
            &Weights,
            &ClearBatch,
            usize,
            &Context,
        ) -> Result<(burn::Tensor<1>, Option<Vec<f32>>), String>,
    ) -> Result<Weights, String> {
        let device = Device::flex();
        let ctx = Context::inference(&device.clone().autodiff());
        let mut optimizer = Optimizer::new(
            &weights,
            |n| trains(n).then(Learning::default),
            self.optimizer,
        );
        let (mut losses, mut norms, mut lrs, mut logits) = (vec![], vec![], vec![], vec![]);
        for i in 0..self.steps {
            let batch = batch(io, &format!("batch_{}.", self.order[i]))?;
            let tracked = weights.tracked(&trains);
            let (loss, found) = step(&tracked, &batch, i, &ctx)?;
            let gradients = loss.backward();
            losses.push(f64::from(loss.inner().into_scalar::<f32>()));
            logits.extend(found.into_iter().flatten());
            let lr = self.schedule.at(i);
            lrs.push(lr);
            norms.push(optimizer.step(&mut weights, &tracked, gradients, lr));
        }
        findings.close_all("losses", &losses, &io.f64("losses")?, tolerance);
        if io.has("losses_f64") {
            findings.close_all("losses_f64", &losses, &io.f64("losses_f64")?, tolerance);
        }
        // As set for a step, and as the optimizer had it.
        for name in ["lrs", "lrs_used"] {
            if io.has(name) {
                findings.close_all(name, &lrs, &io.f64(name)?, Tolerance::relative(1e-12));
            }
        }
        if io.has("weight_decays") {
            let decays = vec![self.optimizer.weight_decay; self.steps];
            let expected = io.f64("weight_decays")?;
            findings.close_all(
                "weight_decays",
                &decays,
                &expected,
                Tolerance::relative(1e-12),
            );
        }
        findings.close_all(
            "grad_norms",
            &norms,
            &io.f64("grad_norms")?,
            Tolerance::relative(1e-3),
        );
        if io.has("logits") {
            close(findings, io, "logits", &logits, Tolerance::absolute(1e-4))?;
        }
        Ok(weights)
    }
}

fn final_weights(
    findings: &mut Findings,
    case: &Case,
    end: &Weights,
    tolerance: Tolerance,
) -> Result<(), String> {
    let expected = stored_weights(case)?.to_host();
    let expected: BTreeMap<String, Vec<f32>> = expected
        .into_iter()
        .map(|(name, _, data)| (name, data))
        .collect();
    for (name, shape, mut values) in end.to_host() {
        let Some(wanted) = expected.get(&name) else {
            findings.fail(format!("stored weights: no `{name}`"));
            continue;
        };
        let mut wanted: Vec<f64> = wanted.iter().map(|v| f64::from(*v)).collect();
        if name.ends_with("self_attn.in_proj_bias") {
            // The exact gradient of the key biases is zero: their updates are amplified rounding.
            let keys = shape[0] / 3..2 * shape[0] / 3;
            values[keys.clone()].fill(0.0);
            wanted[keys].fill(0.0);
        }
        let values: Vec<f64> = values.iter().map(|v| f64::from(*v)).collect();
        findings.close_all(&format!("final {name}"), &values, &wanted, tolerance);
    }
    Ok(())
}

fn released(config: &Value) -> Result<ClearConfig, String> {
    let size = |key: &str| index(config, key);
    Ok(ClearConfig {
        embed_dim: size("embed_dim")?,
        depth: size("depth")?,
        heads: size("heads")?,
        mlp_dim: size("mlp_dim")?,
        decoder_embed_dim: size("decoder_embed_dim")?,
        decoder_depth: size("decoder_depth")?,
        decoder_heads: size("decoder_heads")?,
        dropout: number_or(config, "dropout", 0.0)? as f32,
        mask_ratio: number(config, "mask_ratio")?,
        ..ClearConfig::base()
    }
    .with_compat(Compat::Released))
}

/// What the case states about its batch, and what cannot be otherwise here.
fn stated(config: &Value, batch: &ClearBatch, findings: &mut Findings) -> Result<(), String> {
    for (key, found) in [
        ("batch", batch.size),
        ("seq_len", batch.token_count()),
        ("time_window", TOKEN_SAMPLES),
        ("cls_token_num", batch.leads.len()),
    ] {
        if config.get(key).is_some() {
            findings.exact(key, found, index(config, key)?);
        }
    }
    if let Some(normalised) = config.get("norm_pix_loss").and_then(Value::as_bool) {
        findings.exact("norm_pix_loss", true, normalised);
    }
    Ok(())
}

/// The orders of tokens that follow from the noise.
fn orders(
    findings: &mut Findings,
    io: &Tensors,
    masking: &Masking,
    records: usize,
) -> Result<(), String> {
    integers(findings, io, "len_keep", &[masking.kept()])?;
    integers(findings, io, "ids_keep", masking.visible(0))?;
    let tokens = io.shape("noise")?[1];
    let whole = self::masking(io, "noise", tokens)?;
    integers(findings, io, "ids_shuffle", whole.visible(0))?;
    let places: Vec<usize> = whole.places(0).into_iter().flatten().collect();
    integers(findings, io, "ids_restore", &places.repeat(records))
}

fn classifier(config: &Value, weights: Weights) -> Result<Classifier, String> {
    let head = match config["stage"].as_u64() {
        Some(2) => Head::Hug,
        _ => Head::Linear,
    };
    let encoder = Clear::new(released(config)?, weights).map_err(|e| e.to_string())?;
    Classifier::new(encoder, head, index(config, "num_classes")?).map_err(|e| e.to_string())
}

/// The weights of a case, from whichever file it has.
fn stored_weights(case: &Case) -> Result<Weights, String> {
    if case.has("weights.safetensors") {
        return weights(&case.tensors("weights.safetensors")?);
    }
    let mut weights = Weights::default();
    for (name, shape, data) in checkpoints::model_tensors(&case.path("checkpoint.pth"))? {
        weights.insert(name, &shape, data, &Device::flex());
    }
    Ok(weights)
}

fn weights(stored: &Tensors) -> Result<Weights, String> {
    let mut weights = Weights::default();
    add_weights(&mut weights, stored)?;
    Ok(weights)
}

fn add_weights(weights: &mut Weights, stored: &Tensors) -> Result<(), String> {
    let names: Vec<String> = stored.names().map(str::to_owned).collect();
    for name in names {
        let own = name.strip_prefix("backbone.").unwrap_or(&name);
        let (shape, data) = (stored.shape(&name)?, stored.f32(&name)?.to_vec());
        weights.insert(own, shape, data, &Device::flex());
    }
    Ok(())
}

/// The batch whose tensors begin with `prefix`.
fn batch(io: &Tensors, prefix: &str) -> Result<ClearBatch, String> {
    ClearBatch::new(&inputs(io, prefix)?).map_err(|e| e.to_string())
}

/// The recordings whose tensors begin with `prefix`.
fn inputs(io: &Tensors, prefix: &str) -> Result<Vec<BeatTokens>, String> {
    let get = |name: &str| io.i64(&format!("{prefix}{name}"));
    let (leads, times) = (get("in_chans")?, get("in_times")?);
    let padding = if io.has(&format!("{prefix}mask_pad")) {
        get("mask_pad")?
    } else {
        vec![0; leads.len()]
    };
    let samples = io.f32(&format!("{prefix}signals"))?;
    let shape = io.shape(&format!("{prefix}signals"))?;
    let (records, tokens) = (shape[0], shape[1]);
    Ok((0..records)
        .map(|r| {
            let rows = r * tokens..(r + 1) * tokens;
            BeatTokens {
                samples: samples[rows.start * TOKEN_SAMPLES..rows.end * TOKEN_SAMPLES].to_vec(),
                lead_index: leads[rows.clone()].iter().map(|v| *v as u8).collect(),
                time_index: times[rows.clone()].iter().map(|v| *v as u8).collect(),
                padding: padding[rows].iter().map(|v| *v == 1).collect(),
                r_peaks: Vec::new(),
                detected: true,
            }
        })
        .collect())
}

/// What `run` makes of batches of the case's recordings depends on nothing but the recording.
fn batches_agree(
    findings: &mut Findings,
    io: &Tensors,
    label: &str,
    run: impl Fn(&ClearBatch) -> Vec<f32> + Sync,
) -> Result<(), String> {
    let inputs = inputs(io, "")?;
    batches::agree(findings, label, inputs.len(), |places| {
        let own: Vec<BeatTokens> = places.iter().map(|r| inputs[*r].clone()).collect();
        let batch = ClearBatch::new(&own).map_err(|e| e.to_string())?;
        Ok(run(&batch))
    })
}

fn masking(io: &Tensors, noise: &str, kept: usize) -> Result<Masking, String> {
    let tokens = io.shape(noise)?[1];
    let noise: Vec<Vec<f32>> = io.f32(noise)?.chunks(tokens).map(<[f32]>::to_vec).collect();
    Ok(Masking::from_noise(&noise, kept))
}

fn context(fused: bool, trace: &Trace) -> Context {
    let ctx = Context::inference(&Device::flex().autodiff()).traced(trace);
    if fused { ctx } else { ctx.composed() }
}

/// Every traced value that the case stores.
fn traces(
    findings: &mut Findings,
    io: &Tensors,
    found: &BTreeMap<String, (Vec<usize>, Vec<f32>)>,
) -> Result<(), String> {
    for (name, (shape, values)) in found {
        if name.ends_with("attn_mask") {
            // One for the batch, and where it is boolean 1 for what may not be attended to.
            let forbidden = |v: &f32| if v.is_infinite() { 1.0 } else { *v };
            let values: Vec<f32> = values.iter().map(forbidden).collect();
            bits(findings, io, name, &values)?;
        } else if name == "loss_mask" {
            bits(findings, io, name, values)?;
        } else if io.has(name) {
            findings.exact_all(&format!("shape of {name}"), shape, io.shape(name)?);
            close(findings, io, name, values, ACTIVATIONS)?;
        }
    }
    Ok(())
}

fn gradients(
    findings: &mut Findings,
    io: &Tensors,
    tracked: &Weights,
    gradients: burn::tensor::Gradients,
) -> Result<(), String> {
    for p in tracked.iter() {
        let stored = [
            format!("grad.{}", p.name),
            format!("grad.backbone.{}", p.name),
        ];
        let Some(stored) = stored.into_iter().find(|name| io.has(name)) else {
            continue;
        };
        match p.value.grad(&gradients) {
            None => findings.fail(format!("{stored}: no gradient")),
            Some(found) => {
                let found = found.into_data().try_to_vec::<f32>().map_err(debug)?;
                close(findings, io, &stored, &found, GRADIENTS)?;
            }
        }
    }
    Ok(())
}

/// Compares with a tensor of 0 and 1, which may be of any type, if the case has it.
fn bits(findings: &mut Findings, io: &Tensors, name: &str, found: &[f32]) -> Result<(), String> {
    if io.has(name) {
        let expected = match &io.get(name)?.data {
            Data::F32(_) | Data::F64(_) => io.f64(name)?,
            _ => io.i64(name)?.into_iter().map(|v| v as f64).collect(),
        };
        let found: Vec<f64> = found.iter().map(|v| f64::from(*v)).collect();
        findings.exact_all(name, &found, &expected);
    }
    Ok(())
}

fn integers(
    findings: &mut Findings,
    io: &Tensors,
    name: &str,
    found: &[usize],
) -> Result<(), String> {
    if io.has(name) {
        let found: Vec<i64> = found.iter().map(|v| *v as i64).collect();
        findings.exact_all(name, &found, &io.i64(name)?);
    }
    Ok(())
}

fn host<const D: usize>(x: Tensor<D>) -> Vec<f32> {
    // Float32, as all the networks are.
    x.into_data().try_to_vec::<f32>().unwrap_or_default()
}

fn debug(problem: impl std::fmt::Debug) -> String {
    format!("{problem:?}")
}
