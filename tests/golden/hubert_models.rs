//! HuBERT-ECG: hidden states, losses, gradients, heads and training trajectories of the original program.

use std::collections::BTreeMap;

use burn::tensor::{Device, Gradients, Tensor};
use purkinje::systems::hubert::trainable::Freezing;
use purkinje_models::checkpoint::{self, HubertLayout};
use purkinje_models::encoder::{Classify, Encoder};
use purkinje_models::hubert::{
    Head, HeadActivation, Hubert, HubertBatch, HubertClassifier, HubertConfig, HubertInput,
    TokenMasking,
};
use purkinje_models::layers::{Context, Trace, Weights};
use purkinje_train::Learning;
use purkinje_train::losses::{bce_with_logits_weighted, cross_entropy};
use purkinje_train::optimizer::{Optimizer, OptimizerConfig};
use purkinje_train::schedule::LinearSchedule;
use serde_json::Value;

use crate::Check;
use crate::batches;
use crate::compare::{Findings, Tolerance, close};
use crate::hubert_schedules::of_curve;
use crate::walk::{Case, Tensors};

/// The kinds checked here.
pub const CHECKS: &[(&str, Check)] = &[
    ("encoder", encoder),
    ("pretrain_forward", pretrain_forward),
    ("pretrain_steps", pretrain_steps),
    ("classification", classification),
    ("finetune_steps", finetune_steps),
];

const STATES: Tolerance = Tolerance::absolute(1e-5);
/// Of the loss and of gradients, relative to the largest entry of each tensor.
const RELATIVE: Tolerance = Tolerance::relative(1e-4);
/// Loss after some steps, and weights at the end.
const STEPS: Tolerance = Tolerance::absolute(2e-6);

fn encoder(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let io = case.tensors("io.safetensors")?;
    let model = Hubert::new(config(case)?, weights(case)?).map_err(|e| e.to_string())?;
    checkpoints(case, findings)?;
    let masking = masking(&io, "mask_time_indices")?;
    for fused in [true, false] {
        let trace = Trace::default();
        let ctx = context(fused).traced(&trace);
        let batch = batch(model.config(), &io, "input_values", None)?;
        let states = model.hidden_states(&batch, None, &ctx);
        for (name, (shape, values)) in trace.take() {
            let (stored, values) = match name.as_str() {
                "effective_pos_conv_weight" => (name.clone(), values),
                _ if name.starts_with("conv_layers") => {
                    (format!("act.{name}"), channels_first(&shape, &values))
                }
                _ => (format!("act.{name}"), values),
            };
            close(findings, &io, &stored, &values, STATES)?;
        }
        for (i, state) in states.iter().enumerate() {
            close_tensor(findings, &io, &format!("hidden_states.{i}"), state)?;
        }
        let last = states.last().ok_or("no states")?;
        close_tensor(findings, &io, "last_hidden_state", last)?;
        for (e, logits) in model.code_logits(last, &ctx).iter().enumerate() {
            let (name, found) = (format!("logits.{e}"), host(logits.clone())?);
            close(findings, &io, &name, &found, Tolerance::absolute(5e-5))?;
        }
        for layer in 0..model.config().num_hidden_layers {
            let name = format!("attentions.{layer}");
            if io.has(&name) {
                let found = model.attention_of_layer(&batch, layer, &ctx);
                close_tensor(findings, &io, &name, &found)?;
            }
            let below = model.states_of_layer(&batch, layer, &ctx);
            close_tensor(findings, &io, &format!("hidden_states.{layer}"), &below)?;
        }
        let masks: Vec<String> = io
            .names()
            .filter_map(|name| name.strip_prefix("attention_mask."))
            .map(str::to_owned)
            .collect();
        for name in masks {
            let real = format!("attention_mask.{name}");
            let batch = self::batch(model.config(), &io, "input_values", Some(&real))?;
            let valid = batch.valid_tokens(model.config()).ok_or("no token mask")?;
            let tokens = model.config().tokens(batch.samples);
            flags(findings, &io, &format!("token_mask.{name}"), &valid)?;
            let lengths: Vec<i64> = valid
                .chunks(tokens)
                .map(|v| v.iter().filter(|v| **v).count() as i64)
                .collect();
            let stored = format!("output_lengths.{name}");
            if io.has(&stored) && io.i64(&stored)?.iter().all(|l| *l > 0) {
                findings.exact_all(&stored, &lengths, &io.i64(&stored)?);
            }
            let states = model.hidden_states(&batch, None, &ctx);
            for (i, state) in states.iter().enumerate() {
                close_tensor(findings, &io, &format!("{name}.hidden_states.{i}"), state)?;
            }
        }
        let states = model.hidden_states(&batch, Some(&masking), &ctx);
        for (i, state) in states.iter().enumerate() {
            close_tensor(findings, &io, &format!("masked.hidden_states.{i}"), state)?;
        }
        let last = states.last().ok_or("no states")?;
        close_tensor(findings, &io, "masked.last_hidden_state", last)?;
    }
    batches_agree(findings, model.config(), &io, "vectors", |batch| {
        host(model.vectors(batch, &Context::inference(&Device::flex())))
    })
}

fn pretrain_forward(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let io = case.tensors("io.safetensors")?;
    let model = Hubert::new(config(case)?, weights(case)?).map_err(|e| e.to_string())?;
    checkpoints(case, findings)?;
    let masking = masking(&io, "mask_time_indices")?;
    let codes = codes(&io, "labels")?;
    let masks: Vec<String> = io
        .names()
        .filter_map(|name| name.strip_prefix("attention_mask."))
        .map(str::to_owned)
        .collect();
    for fused in [true, false] {
        let ctx = context(fused);
        for mask in &masks {
            let real = format!("attention_mask.{mask}");
            let batch = batch(model.config(), &io, "input_values", Some(&real))?;
            let alphas: Vec<String> = io
                .names()
                .filter_map(|name| name.strip_prefix(&format!("{mask}.loss.alpha_")))
                .map(str::to_owned)
                .collect();
            for text in alphas {
                let alpha: f64 = text.parse().map_err(|_| format!("alpha `{text}`"))?;
                let tracked = model.weights().tracked(|_| true);
                let found = model
                    .with_weights(tracked.clone())
                    .predict_codes(&batch, &codes, &masking, alpha, &ctx);
                let last = format!("{mask}.last_hidden_state");
                close_tensor(findings, &io, &last, &found.last)?;
                for (e, logits) in found.logits.iter().enumerate() {
                    let (name, found) = (format!("{mask}.logits.{e}"), host(logits.clone())?);
                    close(findings, &io, &name, &found, Tolerance::absolute(5e-5))?;
                }
                for (e, book) in found.books.iter().enumerate() {
                    for (part, value) in [("masked", &book.masked), ("unmasked", &book.unmasked)] {
                        let name = format!("{mask}.{part}_loss.{e}");
                        close(findings, &io, &name, &host(value.clone())?, RELATIVE)?;
                    }
                }
                let name = format!("{mask}.loss.alpha_{text}");
                close(findings, &io, &name, &host(found.loss.clone())?, RELATIVE)?;
                let prefix = format!("{mask}.grad.alpha_{text}.");
                gradients(findings, &io, &prefix, &tracked, found.loss.backward())?;
            }
        }
        if io.has("validation.loss") {
            let batch = batch(model.config(), &io, "input_values", None)?;
            let (loss, accuracy) = model.validate_codes(&batch, &codes, &ctx);
            close(findings, &io, "validation.loss", &[loss as f32], RELATIVE)?;
            let exact = Tolerance::absolute(1e-6);
            close(
                findings,
                &io,
                "validation.accuracy",
                &[accuracy as f32],
                exact,
            )?;
        }
    }
    Ok(())
}

fn classification(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let io = case.tensors("io.safetensors")?;
    checkpoints(case, findings)?;
    let model = classifier(case)?;
    let own = model.encoder().config().clone();
    let layers = own.num_hidden_layers;
    for fused in [true, false] {
        let ctx = context(fused);
        for (prefix, mask) in [("nomask", None), ("mask", Some("attention_mask"))] {
            let batch = batch(&own, &io, "input_values", mask)?;
            if let (Some(valid), true) = (batch.valid_tokens(&own), io.has("token_mask")) {
                flags(findings, &io, "token_mask", &valid)?;
            }
            let found = model.classify(&batch, &ctx);
            close_tensor(
                findings,
                &io,
                &format!("{prefix}.last_hidden_state"),
                &found.last,
            )?;
            close_tensor(findings, &io, &format!("{prefix}.pooled"), &found.pooled)?;
            close_tensor(findings, &io, &format!("{prefix}.logits"), &found.logits)?;
        }
        let batch = batch(&own, &io, "input_values", Some("attention_mask"))?;
        let trainable = match case.has("trainable.json") {
            true => case.json("trainable.json")?,
            false => Value::Null,
        };
        let freezing = freezing(&trainable);
        for (prefix, freezing) in [
            ("all_trainable", Freezing::all(layers)),
            ("partly_frozen", freezing),
        ] {
            if !io.has(&format!("{prefix}.loss")) {
                continue;
            }
            let tracked = model
                .encoder()
                .weights()
                .tracked(|name| freezing.trains(name, &own));
            let logits = model
                .with_weights(tracked.clone())
                .classify(&batch, &ctx)
                .logits;
            let loss = loss(&io, "labels", logits)?;
            let name = format!("{prefix}.loss");
            close(findings, &io, &name, &host(loss.clone())?, RELATIVE)?;
            gradients(
                findings,
                &io,
                &format!("{prefix}.grad."),
                &tracked,
                loss.backward(),
            )?;
        }
        trained(findings, &trainable, &model, freezing);
    }
    batches_agree(findings, &own, &io, "logits", |batch| {
        let ctx = Context::inference(&Device::flex());
        host(Classify::logits(&model, batch, &ctx))
    })
}

fn pretrain_steps(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let io = case.tensors("io.safetensors")?;
    checkpoints(case, findings)?;
    let model = Hubert::new(config(case)?, weights(case)?).map_err(|e| e.to_string())?;
    let (steps, updates) = (io.shape("losses")?[0], io.shape("lr_used")?[0]);
    given_to_the_optimizer(case, findings, |_| true)?;
    let run = Run::of(case, &io, steps / updates)?;
    let step = |weights: &Weights, step: usize, ctx: &Context| {
        let batch = batch(
            model.config(),
            &io,
            &format!("step{step}.input_values"),
            None,
        )?;
        let masking = masking(&io, &format!("step{step}.mask_time_indices"))?;
        let codes = codes(&io, &format!("step{step}.labels"))?;
        let model = model.with_weights(weights.clone());
        Ok(model.predict_codes(&batch, &codes, &masking, 1.0, ctx).loss)
    };
    run.replay(findings, model.weights().clone(), |_| true, step)
}

fn finetune_steps(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let io = case.tensors("io.safetensors")?;
    checkpoints(case, findings)?;
    let model = classifier(case)?;
    let own = model.encoder().config().clone();
    let trainable = case.json("trainable.json")?;
    let freezing = freezing(&trainable);
    backbone(case, findings, &model)?;
    unchanged(findings, &io, &trainable, &model);
    given_to_the_optimizer(case, findings, |name| freezing.trains(name, &own))?;
    let run = Run::of(case, &io, 1)?;
    let step = |weights: &Weights, step: usize, ctx: &Context| {
        let mask = format!("step{step}.attention_mask");
        let batch = batch(
            &own,
            &io,
            &format!("step{step}.input_values"),
            io.has(&mask).then_some(mask.as_str()),
        )?;
        let logits = model
            .with_weights(weights.clone())
            .classify(&batch, ctx)
            .logits;
        loss(&io, &format!("step{step}.labels"), logits)
    };
    let start = model.encoder().weights().clone();
    run.replay(findings, start, |name| freezing.trains(name, &own), step)
}

/// Where the case has the pre-trained model that fine-tuning began with: the encoder is its, bit for bit.
fn backbone(case: &Case, findings: &mut Findings, model: &HubertClassifier) -> Result<(), String> {
    let file = "backbone.safetensors";
    if !case.has(file) {
        return Ok(());
    }
    let options = checkpoint::ImportOptions {
        heads: Some(model.encoder().config().num_attention_heads),
        ..checkpoint::ImportOptions::default()
    };
    let found = checkpoint::import_as::<HubertLayout>(&case.path(file), &options);
    let found = found.map_err(|e| e.to_string())?;
    findings.exact(&format!("{file}: unused"), found.report.unused.len(), 0);
    for (name, _, data) in model.encoder().weights().to_host() {
        let head = name.starts_with("classifier.") || name.starts_with("label_embedding.");
        match found.state.get(&name) {
            Some(tensor) if !head => {
                findings.exact_all(&format!("{file}: {name}"), &tensor.data, &data);
            }
            // Hides nothing in fine-tuning, so that it may be absent.
            None if head || name == "masked_spec_embed" => {}
            _ => findings.exact(&format!("{file}: holds {name}"), !head, head),
        }
    }
    Ok(())
}

/// The parameters that are said to be unchanged are those of which no final values are stored.
fn unchanged(findings: &mut Findings, io: &Tensors, trainable: &Value, model: &HubertClassifier) {
    let Some(listed) = trainable["unchanged"].as_array() else {
        return;
    };
    let listed = listed.iter().filter_map(Value::as_str);
    let mut listed: Vec<&str> = listed
        .map(|n| n.strip_prefix("hubert_ecg.").unwrap_or(n))
        .collect();
    let weights = model.encoder().weights();
    let stored = |name: &str| {
        ["", "hubert_ecg."]
            .iter()
            .any(|p| io.has(&format!("final.{p}{name}")))
    };
    let mut found: Vec<&str> = weights
        .iter()
        .map(|p| p.name.as_str())
        .filter(|name| !stored(name))
        .collect();
    listed.sort_unstable();
    found.sort_unstable();
    findings.exact_all("unchanged parameters", &found, &listed);
}

/// The training script gave its optimizer as many parameters as train here.
fn given_to_the_optimizer(
    case: &Case,
    findings: &mut Findings,
    trains: impl Fn(&str) -> bool,
) -> Result<(), String> {
    if !case.has("checkpoint.pt") {
        return Ok(());
    }
    let file = script_file(case, "checkpoint.pt")?;
    let state = file
        .optimizer
        .as_ref()
        .ok_or("checkpoint.pt: no optimizer")?;
    let given: usize = state.groups.iter().map(|group| group.params.len()).sum();
    let ours = file.state.names().filter(|name| trains(name)).count();
    findings.exact("checkpoint.pt: parameters of the optimizer", given, ours);
    Ok(())
}

/// A file of the training script, with its optimizer.
fn script_file(case: &Case, file: &str) -> Result<checkpoint::Imported<HubertLayout>, String> {
    let options = checkpoint::ImportOptions {
        pth: checkpoint::PthOptions {
            optimizer: true,
            ..checkpoint::PthOptions::default()
        },
        ..checkpoint::ImportOptions::default()
    };
    checkpoint::import_as(&case.path(file), &options).map_err(|e| e.to_string())
}

/// The optimizer of a run: as the training script's file after it says, otherwise the published one.
fn optimizer(case: &Case) -> Result<OptimizerConfig, String> {
    let (file, usual) = ("checkpoint_after.pt", OptimizerConfig::hubert());
    if !case.has(file) {
        return Ok(usual);
    }
    let state = script_file(case, file)?.optimizer;
    let group = state.and_then(|state| state.groups.into_iter().next());
    let group = group.ok_or_else(|| format!("{file}: no optimizer"))?;
    Ok(OptimizerConfig {
        beta1: group.betas[0],
        beta2: group.betas[1],
        eps: group.eps,
        weight_decay: group.weight_decay,
        ..usual
    })
}

/// A recorded run: its optimizer, its learning rates, and how many batches make an update.
struct Run<'a> {
    case: &'a Case,
    io: &'a Tensors,
    optimizer: OptimizerConfig,
    rates: Vec<f64>,
    together: usize,
    losses: usize,
}

impl<'a> Run<'a> {
    fn of(case: &'a Case, io: &'a Tensors, together: usize) -> Result<Self, String> {
        Ok(Run {
            case,
            io,
            optimizer: optimizer(case)?,
            rates: io.f64("lr_used")?,
            together,
            losses: io.shape("losses")?[0],
        })
    }

    /// Repeats the run and compares losses, learning rates and final weights.
    fn replay(
        &self,
        findings: &mut Findings,
        mut weights: Weights,
        trains: impl Fn(&str) -> bool,
        step: impl Fn(&Weights, usize, &Context) -> Result<Tensor<1>, String>,
    ) -> Result<(), String> {
        let (io, ctx) = (self.io, context(true));
        let schedule = self.schedule(findings)?;
        let before = weights.to_host();
        let mut optimizer = Optimizer::new(
            &weights,
            |n| trains(n).then(Learning::default),
            self.optimizer,
        );
        let mut losses = Vec::new();
        for i in 0..self.losses {
            let tracked = weights.tracked(&trains);
            let loss = step(&tracked, i + 1, &ctx)? / self.together as f64;
            losses.extend(host(loss.clone())?);
            optimizer.gather(&tracked, loss.backward());
            if (i + 1) % self.together == 0 {
                optimizer.update(&mut weights, self.rates[i / self.together]);
            }
        }
        close(findings, io, "losses", &losses, Tolerance::absolute(1e-5))?;
        self.after(findings, &weights, &optimizer, schedule.as_ref(), &trains)?;
        for ((name, _, before), (_, _, after)) in before.into_iter().zip(weights.to_host()) {
            let stored = [format!("final.{name}"), format!("final.hubert_ecg.{name}")];
            match stored.iter().find(|name| io.has(name)) {
                // Its exact gradient is zero: its updates are amplified rounding.
                Some(stored) if name.ends_with("k_proj.bias") => {
                    findings.exact(stored, after.len(), io.f32(stored)?.len());
                }
                Some(stored) => close(findings, io, stored, &after, STEPS)?,
                None => findings.exact(&format!("frozen {name}"), before == after, true),
            }
        }
        Ok(())
    }

    /// The training script's file after the run holds the weights, the moments of every parameter, the counters and the next
    /// learning rate that we have now.
    #[expect(clippy::too_many_lines, reason = "one file, entry by entry")]
    fn after(
        &self,
        findings: &mut Findings,
        weights: &Weights,
        optimizer: &Optimizer,
        schedule: Option<&LinearSchedule>,
        trains: impl Fn(&str) -> bool,
    ) -> Result<(), String> {
        let file = "checkpoint_after.pt";
        if !self.case.has(file) {
            return Ok(());
        }
        let found = script_file(self.case, file)?;
        let state = found.optimizer.ok_or(format!("{file}: no optimizer"))?;
        findings.exact(
            &format!("{file}: complete"),
            found.report.is_complete(),
            true,
        );
        let double = |values: &[f32]| values.iter().map(|v| f64::from(*v)).collect::<Vec<_>>();
        let moments: BTreeMap<&str, _> = weights
            .iter()
            .zip(optimizer.moments())
            .map(|(parameter, moments)| (parameter.name.as_str(), moments))
            .collect();
        let ours: BTreeMap<String, Vec<f32>> = weights
            .to_host()
            .into_iter()
            .map(|(name, _, values)| (name, values))
            .collect();
        findings.exact(&format!("{file}: tensors"), found.state.len(), ours.len());
        // Parameters that train, in their order.
        let mut index = 0;
        for (name, tensor) in found.state.iter() {
            let own = ours
                .get(name)
                .ok_or(format!("{file}: no parameter `{name}`"))?;
            let rounding = name.ends_with("k_proj.bias");
            for stored in [format!("final.{name}"), format!("final.hubert_ecg.{name}")] {
                if self.io.has(&stored) {
                    let label = format!("{file} and {stored}");
                    findings.exact_all(&label, &tensor.data, self.io.f32(&stored)?);
                }
            }
            if !rounding {
                let (own, theirs) = (double(own), double(&tensor.data));
                findings.close_all(&format!("{file}: {name}"), &own, &theirs, STEPS);
            }
            if !trains(name) {
                continue;
            }
            let gathered = state.parameters.get(&index);
            index += 1;
            let Some(Some([first, second])) = moments.get(name) else {
                findings.fail(format!("{file}: our optimizer has nothing for `{name}`"));
                continue;
            };
            let (first, second) = (host(first.clone())?, host(second.clone())?);
            let Some(gathered) = gathered else {
                // No gradient ever reached it.
                let idle = first.iter().chain(&second).all(|v| *v == 0.0);
                findings.exact(&format!("{file}: {name} has no moments"), idle, true);
                continue;
            };
            findings.exact(
                &format!("{file}: steps of {name}"),
                gathered.step,
                optimizer.steps(),
            );
            if rounding {
                continue;
            }
            for (what, own, theirs) in [
                ("exp_avg", &first, &gathered.exp_avg),
                ("exp_avg_sq", &second, &gathered.exp_avg_sq),
            ] {
                let (own, theirs) = (double(own), double(&theirs.data));
                findings.close_all(
                    &format!("{file}: {what} of {name}"),
                    &own,
                    &theirs,
                    RELATIVE,
                );
            }
        }
        let last = state.parameters.keys().last().map_or(0, |last| last + 1);
        findings.exact(
            &format!("{file}: parameters of the optimizer"),
            last <= index,
            true,
        );
        let ours = self.optimizer;
        for group in &state.groups {
            findings.exact(
                &format!("{file}: betas"),
                group.betas,
                [ours.beta1, ours.beta2],
            );
            findings.exact(&format!("{file}: eps"), group.eps, ours.eps);
            findings.exact(
                &format!("{file}: decay"),
                group.weight_decay,
                ours.weight_decay,
            );
        }
        let entries = Value::Object(found.entries);
        let done = (self.losses as u64, self.rates.len() as u64);
        let steps = &entries["global_step"];
        findings.exact(
            &format!("{file}: global_step"),
            steps.as_u64(),
            Some(done.0),
        );
        let scheduler = &entries["lr_scheduler_state_dict"];
        let updates = scheduler["last_epoch"].as_u64();
        findings.exact(&format!("{file}: last_epoch"), updates, Some(done.1));
        if let Some(schedule) = schedule {
            let next = schedule.at(self.rates.len());
            let stored = scheduler["_last_lr"][0].as_f64().unwrap_or(f64::NAN);
            let close = Tolerance::relative(1e-9);
            findings.close(&format!("{file}: _last_lr"), next, stored, close);
            for group in &state.groups {
                findings.close(&format!("{file}: lr"), next, group.lr, close);
            }
        }
        for number in ["best_val_loss", "patience_count"] {
            let is_number = entries[number].as_f64().is_some();
            findings.exact(&format!("{file}: {number} is a number"), is_number, true);
        }
        Ok(())
    }

    /// The recorded rates are those of a linear warm-up and decay: the first two rates give warm-up and height, the
    /// last one the length.
    fn schedule(&self, findings: &mut Findings) -> Result<Option<LinearSchedule>, String> {
        let top = self.rates.iter().copied().fold(0.0, f64::max);
        if self.rates.first() != Some(&0.0) || self.rates.last() == Some(&top) {
            return Ok(None);
        }
        let schedule = of_curve(&self.rates)?;
        let found: Vec<f64> = (0..self.rates.len()).map(|i| schedule.at(i)).collect();
        findings.close_all("lr_used", &found, &self.rates, Tolerance::relative(1e-9));
        Ok(Some(schedule))
    }
}

/// Every file of weights of the case gives the tensors of `weights.safetensors` and the configuration of `config.json`.
fn checkpoints(case: &Case, findings: &mut Findings) -> Result<(), String> {
    if !case.has("weights.safetensors") {
        return Ok(());
    }
    let (own, outputs) = (config(case)?, outputs(case)?);
    let expected = weights(case)?.to_host();
    let files = [
        "checkpoint.pt",
        "hf",
        "hf/model.safetensors",
        "hf/pytorch_model.bin",
    ];
    for file in files {
        if !case.dir.join(file).exists() {
            continue;
        }
        if file.starts_with("hf") && case.has("hf/config.json") {
            case.path("hf/config.json");
        }
        let found = script_file(case, file)?;
        script_entries(file, &found.entries, &own, outputs, findings);
        let names: Vec<&str> = found
            .report
            .mapped
            .iter()
            .map(|m| m.ours.as_str())
            .collect();
        findings.exact(
            &format!("{file}: complete"),
            found.report.is_complete(),
            true,
        );
        findings.exact(&format!("{file}: unused"), found.report.unused.len(), 0);
        findings.exact(&format!("{file}: tensors"), names.len(), expected.len());
        for (name, shape, data) in &expected {
            let Some(tensor) = found.state.get(name) else {
                findings.fail(format!("{file}: no `{name}`"));
                continue;
            };
            findings.exact_all(&format!("{file}: shape of {name}"), &tensor.shape, shape);
            let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            findings.exact_all(&format!("{file}: {name}"), &bits(&tensor.data), &bits(data));
        }
        let layout = &found.layout;
        let expected = match layout.classifier {
            // Tokens are never hidden for classification, and its code books are gone.
            Some(_) => HubertConfig {
                mask_time_prob: 0.0,
                vocab_sizes: layout.config.vocab_sizes.clone(),
                classifier_proj_size: layout.config.classifier_proj_size,
                ..own.clone()
            },
            None => own.clone(),
        };
        findings.exact(&format!("{file}: configuration"), &layout.config, &expected);
        findings.exact(
            &format!("{file}: outputs"),
            layout.classifier.map(|(_, outputs)| outputs),
            outputs,
        );
        let state = found.state.clone();
        let back = checkpoint::export_as(state, layout).map_err(|e| e.to_string())?;
        let theirs = case.tensors("weights.safetensors")?;
        let mut names: Vec<&str> = back.names().collect();
        names.sort_unstable();
        findings.exact_all(
            &format!("{file}: published names"),
            &names,
            &theirs.names().collect::<Vec<_>>(),
        );
    }
    Ok(())
}

/// What a training script's file says about its model beside the configuration.
fn script_entries(
    file: &str,
    entries: &serde_json::Map<String, Value>,
    config: &HubertConfig,
    outputs: Option<usize>,
    findings: &mut Findings,
) {
    if let Some(sizes) = entries.get("pretraining_vocab_sizes") {
        let sizes: Vec<u64> = sizes
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(Value::as_u64)
            .collect();
        let own: Vec<u64> = config.vocab_sizes.iter().map(|size| *size as u64).collect();
        findings.exact_all(&format!("{file}: pretraining_vocab_sizes"), &sizes, &own);
    }
    if let Some(stored) = entries.get("finetuning_vocab_size") {
        let label = format!("{file}: finetuning_vocab_size");
        findings.exact(
            &label,
            stored.as_u64(),
            outputs.map(|outputs| outputs as u64),
        );
    }
}

fn config(case: &Case) -> Result<HubertConfig, String> {
    let fields = case.json("config.json")?;
    let fields = fields.as_object().ok_or("config.json: no object")?;
    HubertConfig::from_published(fields)
}

fn outputs(case: &Case) -> Result<Option<usize>, String> {
    let stored = case.tensors("weights.safetensors")?;
    for name in [
        "classifier.weight",
        "classifier.2.weight",
        "label_embedding.weight",
    ] {
        if stored.has(name) {
            return Ok(Some(stored.shape(name)?[0]));
        }
    }
    Ok(None)
}

fn classifier(case: &Case) -> Result<HubertClassifier, String> {
    let fields = case.json("config.json")?;
    let head = match fields["classifier_hidden_size"].as_u64() {
        _ if fields["use_label_embedding"] == true => Head::LabelEmbedding,
        None => Head::Linear,
        Some(hidden) => Head::Mlp {
            hidden: hidden as usize,
            activation: match fields.get("activation") {
                None => HeadActivation::Tanh,
                Some(name) => serde_json::from_value(name.clone()).map_err(|e| e.to_string())?,
            },
        },
    };
    let outputs = outputs(case)?.ok_or("weights.safetensors: no head")?;
    let encoder = Hubert::new(config(case)?, weights(case)?).map_err(|e| e.to_string())?;
    HubertClassifier::new(encoder, head, outputs).map_err(|e| e.to_string())
}

/// The stored weights without the prefix of classification models.
fn weights(case: &Case) -> Result<Weights, String> {
    let stored = case.tensors("weights.safetensors")?;
    let names: Vec<String> = stored.names().map(str::to_owned).collect();
    let mut weights = Weights::default();
    for name in names {
        let own = name.strip_prefix("hubert_ecg.").unwrap_or(&name);
        let (shape, data) = (stored.shape(&name)?, stored.f32(&name)?.to_vec());
        weights.insert(own, shape, data, &Device::flex());
    }
    Ok(weights)
}

fn batch(
    config: &HubertConfig,
    io: &Tensors,
    name: &str,
    real: Option<&str>,
) -> Result<HubertBatch, String> {
    HubertBatch::new(config, &inputs(io, name, real)?).map_err(|e| e.to_string())
}

fn inputs(io: &Tensors, name: &str, real: Option<&str>) -> Result<Vec<HubertInput>, String> {
    let samples = io.shape(name)?[1];
    let real = real.map(|real| io.i64(real)).transpose()?;
    Ok(io
        .f32(name)?
        .chunks(samples)
        .enumerate()
        .map(|(i, values)| HubertInput {
            samples: values.to_vec(),
            real: real.as_ref().map(|real| {
                let own = &real[i * samples..(i + 1) * samples];
                own.iter().map(|r| *r != 0).collect()
            }),
        })
        .collect())
}

/// What `run` makes of batches of the case's recordings depends on nothing but the recording.
fn batches_agree(
    findings: &mut Findings,
    config: &HubertConfig,
    io: &Tensors,
    label: &str,
    run: impl Fn(&HubertBatch) -> Result<Vec<f32>, String> + Sync,
) -> Result<(), String> {
    let inputs = inputs(io, "input_values", None)?;
    batches::agree(findings, label, inputs.len(), |places| {
        let own: Vec<HubertInput> = places.iter().map(|r| inputs[*r].clone()).collect();
        run(&HubertBatch::new(config, &own).map_err(|e| e.to_string())?)
    })
}

fn masking(io: &Tensors, name: &str) -> Result<TokenMasking, String> {
    let hidden = io.i64(name)?.iter().map(|h| *h != 0).collect();
    Ok(TokenMasking::new(io.shape(name)?[1], hidden))
}

fn codes(io: &Tensors, name: &str) -> Result<Vec<u32>, String> {
    let codes = io.i64(name)?.into_iter();
    codes
        .map(|code| u32::try_from(code).map_err(|_| format!("{name}: {code} is no code")))
        .collect()
}

/// The loss of a classifier, of the kind that the stored labels and weights belong to.
fn loss(io: &Tensors, labels: &str, logits: Tensor<2>) -> Result<Tensor<1>, String> {
    if let Ok(labels) = io.f32(labels) {
        let classes = logits.dims()[1];
        let weights = match io.has("pos_weight") {
            true => io.f32("pos_weight")?.to_vec(),
            false => vec![1.0; classes],
        };
        return Ok(bce_with_logits_weighted(logits, labels, &weights));
    }
    let labels: Vec<usize> = io
        .i64(labels)?
        .iter()
        .map(|label| *label as usize)
        .collect();
    let weights = match io.has("class_weight") {
        true => Some(io.f32("class_weight")?),
        false => None,
    };
    Ok(cross_entropy(logits, &labels, weights))
}

fn freezing(trainable: &Value) -> Freezing {
    Freezing {
        blocks: trainable["blocks_unfrozen"].as_u64().unwrap_or(0) as usize,
        convolutions: trainable["unfreeze_conv"].as_bool().unwrap_or(false),
        positions: false,
    }
}

/// The parameters that train are those listed.
fn trained(
    findings: &mut Findings,
    trainable: &Value,
    model: &HubertClassifier,
    freezing: Freezing,
) {
    let Some(listed) = trainable["requires_grad"].as_array() else {
        return;
    };
    let mut listed: Vec<&str> = listed
        .iter()
        .filter_map(Value::as_str)
        .map(|name| name.strip_prefix("hubert_ecg.").unwrap_or(name))
        .collect();
    let own = model.encoder().config();
    let weights = model.encoder().weights();
    let mut found: Vec<&str> = weights
        .iter()
        .map(|p| p.name.as_str())
        .filter(|name| freezing.trains(name, own))
        .collect();
    listed.sort_unstable();
    found.sort_unstable();
    findings.exact_all("trainable parameters", &found, &listed);
}

/// Stored gradients with this prefix; a stored gradient of zeros may stand for none.
fn gradients(
    findings: &mut Findings,
    io: &Tensors,
    prefix: &str,
    tracked: &Weights,
    gradients: Gradients,
) -> Result<(), String> {
    for p in tracked.iter() {
        let stored = [
            format!("{prefix}{}", p.name),
            format!("{prefix}hubert_ecg.{}", p.name),
        ];
        let Some(stored) = stored.into_iter().find(|name| io.has(name)) else {
            continue;
        };
        // The exact gradient of a key bias is zero, what is stored is rounding.
        let tolerance = match p.name.ends_with("k_proj.bias") {
            true => Tolerance::absolute(1e-6),
            false => Tolerance {
                absolute: 1e-9,
                ..RELATIVE
            },
        };
        match p.value.grad(&gradients) {
            Some(found) => close(findings, io, &stored, &host(found)?, tolerance)?,
            None => {
                let zeros = vec![0.0; p.shape.iter().product()];
                close(findings, io, &stored, &zeros, Tolerance::absolute(0.0))?;
            }
        }
    }
    Ok(())
}

fn context(fused: bool) -> Context {
    let ctx = Context::inference(&Device::flex().autodiff());
    if fused { ctx } else { ctx.composed() }
}

fn host<const D: usize>(x: Tensor<D>) -> Result<Vec<f32>, String> {
    x.into_data()
        .try_to_vec::<f32>()
        .map_err(|problem| format!("{problem:?}"))
}

/// `[batch, time, channels]` as `[batch, channels, time]`.
fn channels_first(shape: &[usize], values: &[f32]) -> Vec<f32> {
    let [batch, time, channels] = *shape else {
        return values.to_vec();
    };
    let mut out = Vec::with_capacity(values.len());
    for item in 0..batch {
        for channel in 0..channels {
            out.extend((0..time).map(|t| values[(item * time + t) * channels + channel]));
        }
    }
    out
}

fn close_tensor<const D: usize>(
    findings: &mut Findings,
    io: &Tensors,
    name: &str,
    found: &Tensor<D>,
) -> Result<(), String> {
    match io.has(name) {
        true => close(findings, io, name, &host(found.clone())?, STATES),
        false => Ok(()),
    }
}

fn flags(findings: &mut Findings, io: &Tensors, name: &str, found: &[bool]) -> Result<(), String> {
    let found: Vec<i64> = found.iter().map(|f| i64::from(*f)).collect();
    findings.exact_all(name, &found, &io.i64(name)?);
    Ok(())
}
