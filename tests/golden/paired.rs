//! DERI and MERL: MERL's pass with its gradients, trajectories of both, the released linear probe, zero-shot diagnosis,
//! labels of texts.

use burn::tensor::{Device, Tensor, activation};
use purkinje_eval::metrics::{Confusion, Ranking};
use purkinje_eval::text::label_scores;
use purkinje_models::checkpoint::{self, PairFile, PairLayout, Published};
use purkinje_models::compat::Compat;
use purkinje_models::deri::{Deri, DeriConfig, Views};
use purkinje_models::encoder::Classify as _;
use purkinje_models::encoder::Encoder as _;
use purkinje_models::layers::{Context, DropoutMask, ResNetConfig, Trace, VitConfig, Weights};
use purkinje_models::merl::{Merl, MerlConfig};
use purkinje_models::paired::{
    EcgEncoder, PairClassifier, Paired, Part, Pool, Signal, Signals, Terms, top,
};
use purkinje_models::text::{TextConfig, TextIds};
use purkinje_train::optimizer::{Epsilon, Optimizer, OptimizerConfig, WeightDecay};
use purkinje_train::{Decay, Learning, Schedule, Span};
use serde_json::Value;

use crate::compare::{Findings, Tolerance, close};
use crate::entry::{index, number, texts as strings};
use crate::walk::{Case, Tensors};
use crate::{Check, optimisation};

/// The kinds checked here.
pub const CHECKS: &[(&str, Check)] = &[
    ("merl", merl),
    ("merl_steps", merl_steps),
    ("pretrain_steps", pretrain_steps),
    ("linear_probe", linear_probe),
    ("zeroshot", zeroshot),
    ("clinical_efficacy", clinical_efficacy),
];

const ACTIVATIONS: Tolerance = Tolerance::relative(1e-4);
/// Behind a deep stack whose input is large: tokens that are not divided by their length.
const DEEP: Tolerance = Tolerance::relative(1e-3);
const GRADIENTS: Tolerance = Tolerance::relative(2e-4);
/// What rounding leaves of a gradient that is zero, as a share of one that is not.
const ROUNDING: f64 = 1e-5;
/// Of trajectories, as the cases say.
const FIRST_STEPS: Tolerance = Tolerance::relative(1e-4);
const LAST_STEPS: Tolerance = Tolerance::relative(1e-3);
const AFTER: Tolerance = Tolerance::relative(1e-3);
/// Percent in double precision of scores in single precision.
const SCORES: Tolerance = Tolerance::absolute(1e-9);

/// The stored weights; numbers of batches are whole numbers.
pub fn stored_weights(case: &Case, file: &str) -> Result<Weights, String> {
    let stored = case.tensors(file)?;
    let names: Vec<String> = stored.names().map(str::to_owned).collect();
    let mut weights = Weights::default();
    for name in &names {
        let values = match stored.f32(name) {
            Ok(values) => values.to_vec(),
            Err(_) => stored.i64(name)?.iter().map(|v| *v as f32).collect(),
        };
        weights.insert(name.as_str(), stored.shape(name)?, values, &Device::flex());
    }
    Ok(weights)
}

/// Weights with those of an encoder of texts in a folder beside the case, which the case leaves out.
pub fn with_text(case: &Case, mut weights: Weights, folder: &str) -> Result<Weights, String> {
    if weights.iter().any(|own| own.name.starts_with("lm_model.")) {
        return Ok(weights);
    }
    let text = stored_weights(case, &format!("{folder}/model.safetensors"))?;
    for own in text.iter() {
        let values = own.value.to_data().convert::<f32>();
        let values = values.try_to_vec::<f32>().map_err(|e| format!("{e:?}"))?;
        let name = format!("lm_model.{}", own.name);
        weights.insert(name, &own.shape, values, &Device::flex());
    }
    Ok(weights)
}

/// These rows of stored texts; all if none are named.
pub fn texts(io: &Tensors, rows: Option<&[usize]>, prefix: &str) -> Result<TextIds, String> {
    let (ids, mask) = (
        format!("{prefix}input_ids"),
        format!("{prefix}attention_mask"),
    );
    let length = io.shape(&ids)?[1];
    let rows = of_rows(io.shape(&ids)?[0], rows);
    let pick = |name: &str| -> Result<Vec<i64>, String> {
        let all = io.i64(name)?;
        let own = rows.iter().flat_map(|&row| &all[row * length..][..length]);
        Ok(own.copied().collect())
    };
    Ok(TextIds {
        length,
        ids: pick(&ids)?.iter().map(|&id| id as u32).collect(),
        real: pick(&mask)?.iter().map(|&real| real == 1).collect(),
    })
}

/// These rows of stored recordings; all if none are named.
pub fn recordings(io: &Tensors, rows: Option<&[usize]>) -> Result<Signals, String> {
    let [size, leads, samples] = io.shape("ecg_int16")?[..] else {
        return Err("`ecg_int16` has other than three dimensions".to_owned());
    };
    let values = io.i64("ecg_int16")?;
    let value = |v: &i64| (*v as f64 / 1000.0) as f32;
    let input = |row: usize| Signal {
        samples: values[row * leads * samples..][..leads * samples]
            .iter()
            .map(value)
            .collect(),
    };
    let inputs: Vec<Signal> = of_rows(size, rows).into_iter().map(input).collect();
    Signals::new(leads, samples, &inputs).map_err(|e| e.to_string())
}

fn of_rows(all: usize, rows: Option<&[usize]>) -> Vec<usize> {
    rows.map_or_else(|| (0..all).collect(), <[usize]>::to_vec)
}

/// Values on the host.
pub fn values<const D: usize>(x: &Tensor<D>) -> Result<Vec<f32>, String> {
    let data = x.to_data().convert::<f32>();
    data.try_to_vec::<f32>().map_err(|e| format!("{e:?}"))
}

/// The sum of the terms that the released program minimises.
pub fn total<N: Paired>(terms: &Terms) -> Tensor<1> {
    let named = N::TERMS.iter().zip(&terms.losses);
    let own = named.filter(|(name, _)| !N::RELEASED_WITHOUT.contains(name));
    let mut own = own.map(|(_, loss)| loss.clone());
    let first = own.next().expect("every network has a loss");
    own.fold(first, |sum, loss| sum + loss)
}

/// Losses and accuracies by the names of the cases.
fn figures<N: Paired>(terms: &Terms, ctx: &Context) -> Result<Vec<(&'static str, f32)>, String> {
    let name = |term: &str| match term {
        "alignment" => "loss_cma",
        "mixed" => "loss_cma_mix",
        "views" => "loss_uma",
        "decoded-ecg" => "loss_dec_ecg",
        _ => "loss_dec_text",
    };
    let mut all = vec![("loss_total", values(&total::<N>(terms))?[0])];
    for (term, loss) in N::TERMS.iter().zip(&terms.losses) {
        all.push((name(term), values(loss)?[0]));
    }
    for (name, k) in [("acc1", 1), ("acc5", 5)] {
        let [there, back] = top(&terms.ecg, &terms.text, k, ctx);
        all.push((name, (50.0 * (there + back)) as f32));
    }
    Ok(all)
}

/// The sizes of a MERL case.
fn merl_config(case: &Case, file: &str) -> Result<MerlConfig, String> {
    let stated = case.json(file)?;
    let ecg = match stated["kind"].as_str() {
        Some("resnet") => EcgEncoder::ResNet(ResNetConfig {
            widths: crate::entry::indices(&stated["resnet"], "widths")?,
            blocks: crate::entry::indices(&stated["resnet"], "blocks")?,
            ..ResNetConfig::default()
        }),
        Some("vit") => EcgEncoder::Vit(vit_config(&stated["vit"])?),
        other => return Err(format!("{file}: `kind` is {other:?}")),
    };
    Ok(MerlConfig {
        ecg,
        samples: index(&stated, "ecg_length")?,
        text_tokens: index(&stated, "text_tokens")?,
        width: index(&stated, "projection")?,
        inner: index(&stated, "hidden")?,
        dropout: number(&stated, "dropout")? as f32,
        temperature: number(&stated, "temperature")?,
        compat: Compat::Released,
        ..MerlConfig::default()
    })
}

/// The sizes of a transformer over patches.
pub fn vit_config(stated: &Value) -> Result<VitConfig, String> {
    let patch = index(stated, "patch_size")?;
    Ok(VitConfig {
        leads: crate::entry::index_or(stated, "num_leads", 12)?,
        patches: index(stated, "seq_len")? / patch,
        patch,
        width: index(stated, "width")?,
        depth: index(stated, "depth")?,
        heads: index(stated, "heads")?,
        head_width: index(stated, "dim_head")?,
        inner: index(stated, "mlp_dim")?,
        drop_path: 0.0,
    })
}

/// The encoder of texts that MERL's cases use.
const TEXT_FOLDER: &str = "../bert_text/text_model";

fn merl_network(case: &Case, sizes: &str, weights: &str, text: &str) -> Result<Merl, String> {
    let mut config = merl_config(case, sizes)?;
    config.text = TextConfig::from_published(&case.json(&format!("{text}/config.json"))?)?;
    let weights = with_text(case, stored_weights(case, weights)?, text)?;
    Merl::with(config, weights).map_err(|e| e.to_string())
}

/// Both losses in evaluation and training, with recorded dropout and gradients.
fn merl(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let io = case.tensors("io.safetensors")?;
    let model = merl_network(case, "config.json", "weights.safetensors", TEXT_FOLDER)?;
    imported::<Merl>(case, findings, model.weights(), None)?;
    let (batch, texts) = (recordings(&io, None)?, texts(&io, None, "")?);
    let device = Device::flex();
    for fused in [true, false] {
        let with = |ctx: Context| if fused { ctx } else { ctx.composed() };
        let found = model.vectors(&batch, &with(Context::inference(&device)));
        close(
            findings,
            &io,
            "zs.ext_ecg_emb",
            &values(&found)?,
            ACTIVATIONS,
        )?;
        for mode in ["eval", "train"] {
            merl_pass(findings, &io, &model, (&batch, &texts), mode, &with)?;
        }
    }
    Ok(())
}

fn merl_pass(
    findings: &mut Findings,
    io: &Tensors,
    model: &Merl,
    (batch, texts): (&Signals, &TextIds),
    mode: &str,
    with: &impl Fn(Context) -> Context,
) -> Result<(), String> {
    let graph = Device::flex().autodiff();
    let tracked = model
        .weights()
        .tracked(|name| !name.starts_with("lm_model."));
    let model = model.with_weights(tracked.clone());
    let trace = Trace::default();
    let ctx = match mode {
        "eval" => Context::inference(&graph),
        _ => {
            let masks = ["dropout1", "dropout2"].map(|site| {
                let name = format!("train.mask.{site}#0");
                let keep = io.i64(&name)?.iter().map(|k| *k != 0).collect();
                let shape = io.shape(&name)?.to_vec();
                Ok(DropoutMask { shape, keep })
            });
            let masks = masks.into_iter().collect::<Result<Vec<_>, String>>()?;
            Context::training(&graph, 0.0, 0).with_dropout_masks(masks)
        }
    };
    let ctx = with(ctx).traced(&trace);
    // The encoder of texts is in evaluation mode in these cases.
    let read = model.read(texts, &Context::inference(&graph));
    let terms = model.terms(batch, &read, &texts.real, &(), &ctx);
    findings.exact("masks left", ctx.masks_left(), 0);
    let label = |name: &str| format!("{mode}.{name}");
    for (name, found) in [("proj_ecg_emb", &terms.ecg), ("proj_text_emb", &terms.text)] {
        close(findings, io, &label(name), &values(found)?, ACTIVATIONS)?;
    }
    for (name, (shape, found)) in std::mem::take(&mut *trace.borrow_mut()) {
        let found = match name.as_str() {
            "pool_attention" => pooled_attention(&shape, &found),
            _ => found,
        };
        close(findings, io, &label(&name), &found, ACTIVATIONS)?;
    }
    for (name, found) in figures::<Merl>(&terms, &ctx)? {
        close(findings, io, &label(name), &[found], ACTIVATIONS)?;
    }
    if mode == "eval" {
        return Ok(());
    }
    let gradients = total::<Merl>(&terms).backward();
    compare_gradients(findings, io, &tracked, &gradients, mode)?;
    let mut after = model.weights().clone();
    after
        .store(ctx.take_handed_back())
        .map_err(|e| e.to_string())?;
    for p in after.iter().filter(|p| p.state) {
        let name = format!("{mode}.after.{}", p.name);
        close(findings, io, &name, &values(&p.value)?, ACTIVATIONS)?;
    }
    Ok(())
}

/// Gradients that a case stores.
pub fn compare_gradients(
    findings: &mut Findings,
    io: &Tensors,
    tracked: &Weights,
    gradients: &burn::tensor::Gradients,
    mode: &str,
) -> Result<(), String> {
    for p in tracked.iter().filter(|p| !p.state) {
        let (name, found) = (format!("{mode}.grad.{}", p.name), p.value.grad(gradients));
        match (io.has(&name), found) {
            (true, Some(found)) => {
                let tolerance = tolerance_of(io, &name)?;
                close(findings, io, &name, &values(&found)?, tolerance)?;
            }
            (true, None) => findings.fail(format!("{name} was not found")),
            (false, _) => {}
        }
    }
    Ok(())
}

/// The exact gradient of a bias in front of a batch normalisation is zero: what is stored is rounding, far below the gradient of the
/// matrix beside it.
fn tolerance_of(io: &Tensors, name: &str) -> Result<Tolerance, String> {
    let largest = |name: &str| -> Result<f64, String> {
        Ok(io.f64(name)?.iter().fold(0.0, |most, x| x.abs().max(most)))
    };
    let matrix = name
        .strip_suffix(".bias")
        .map(|root| format!("{root}.weight"));
    Ok(match matrix.filter(|matrix| io.has(matrix)) {
        Some(matrix) if largest(name)? < ROUNDING * largest(&matrix)? => {
            Tolerance::absolute(ROUNDING * largest(&matrix)?)
        }
        _ => GRADIENTS,
    })
}

/// Mean over heads, without the class token.
fn pooled_attention(shape: &[usize], found: &[f32]) -> Vec<f32> {
    let [batch, heads, _, keys] = shape[..] else {
        return Vec::new();
    };
    let at = |b: usize, h: usize, k: usize| found[(b * heads + h) * keys + k];
    let mean = |b, k| (0..heads).map(|h| at(b, h, k)).sum::<f32>() / heads as f32;
    (0..batch)
        .flat_map(|b| (1..keys).map(move |k| mean(b, k)))
        .collect()
}

/// Checkpoints in the original layouts are imported, with or without prefix, as a whole or the encoder alone; every tensor finds its
/// place.
pub fn imported<N: PairFile>(
    case: &Case,
    findings: &mut Findings,
    weights: &Weights,
    decoder_heads: Option<usize>,
) -> Result<(), String>
where
    PairLayout<N::Config>: Published,
{
    let options = checkpoint::ImportOptions {
        decoder_heads,
        ..checkpoint::ImportOptions::default()
    };
    for file in case.files(".pth")? {
        let read = checkpoint::import_as::<PairLayout<N::Config>>(&case.path(&file), &options);
        let read = read.map_err(|e| format!("{file}: {e}"))?;
        findings.exact(
            &format!("{file}: complete"),
            read.report.is_complete(),
            true,
        );
        findings.exact(&format!("{file}: unused"), read.report.unused.len(), 0);
        // A file of an epoch holds weights after updates.
        let kept = |name: &str| weights.parameter(name).filter(|_| read.epoch.is_none());
        for (name, tensor) in read.state.iter() {
            let Some(own) = kept(name) else {
                continue;
            };
            findings.exact_all(
                &format!("{file}: {name}"),
                &tensor.data,
                &values(&own.value)?,
            );
        }
    }
    Ok(())
}

/// A checkpoint in the original layout has the same tensors.
pub fn same_as(
    case: &Case,
    findings: &mut Findings,
    file: &str,
    weights: &Weights,
) -> Result<(), String> {
    let read = checkpoint::read_pth(&case.path(file)).map_err(|e| e.to_string())?;
    for (name, shape, own) in weights.to_host() {
        let name = name.as_str();
        match read.model.get(name) {
            Some(tensor) => {
                findings.exact_all(&format!("{file}: shape of {name}"), &tensor.shape, &shape);
                findings.exact_all(&format!("{file}: {name}"), &tensor.data, &own);
            }
            None => findings.fail(format!("{file} has no {name}")),
        }
    }
    Ok(())
}

fn merl_steps(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let settings = case.json("config.json")?;
    let path = |key: &str| crate::entry::text(&settings, key);
    let model = merl_network(case, path("sizes")?, path("weights")?, path("text_model")?)?;
    trajectory(case, findings, &settings, &model, |_, _| Ok(()))
}

fn pretrain_steps(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let settings = case.json("config.json")?;
    let path = |key: &str| crate::entry::text(&settings, key);
    let (sizes, weights) = (
        path("sizes").unwrap_or("../pretrain_step/config.json"),
        path("weights")?,
    );
    let config = crate::deri::config_of(case, sizes)?;
    let model = Deri::with(config, stored_weights(case, weights)?).map_err(|e| e.to_string())?;
    let (tokens, kept) = (model.config().tokens(), model.config().kept());
    trajectory(case, findings, &settings, &model, |io, step| {
        let size = io.shape("noise")?[2] * tokens;
        let noise = &io.f32("noise")?[2 * step * size..][..2 * size];
        let (one, two) = noise.split_at(size);
        Ok(Views::from_noise([one, two], tokens, kept, false))
    })
}

/// The schedule and the optimizer of a case.
pub fn recipe(settings: &Value) -> Result<(Schedule, OptimizerConfig), String> {
    let (own, scheduler) = (&settings["optimizer"], &settings["scheduler"]);
    let schedule = Schedule {
        decay: Decay::Restarts {
            end: number(scheduler, "eta_min")?,
            period: Span::Updates(index(scheduler, "T_0")?),
        },
        ..Schedule::constant(number(own, "lr")?)
    };
    let betas: Vec<f64> = own["betas"]
        .as_array()
        .map(|all| all.iter().filter_map(Value::as_f64).collect())
        .unwrap_or_default();
    let optimizer = OptimizerConfig {
        beta1: *betas.first().ok_or("no betas")?,
        beta2: *betas.last().ok_or("no betas")?,
        eps: number(own, "eps")?,
        epsilon: Epsilon::AfterCorrection,
        weight_decay: number(own, "weight_decay")?,
        decay: WeightDecay::Decoupled,
        clip_norm: None,
        decay_all: true,
    };
    Ok((schedule, optimizer))
}

/// Steps of training without dropout, from recorded draws.
fn trajectory<N: Paired>(
    case: &Case,
    findings: &mut Findings,
    settings: &Value,
    model: &N,
    draws: impl Fn(&Tensors, usize) -> Result<N::Draws, String>,
) -> Result<(), String> {
    let io = case.tensors("io.safetensors")?;
    let (schedule, optimizer) = recipe(settings)?;
    let [steps, size] = io.shape("rows")?[..] else {
        return Err("`rows` has other than two dimensions".to_owned());
    };
    let rates = schedule.rates(steps, 1).map_err(|e| e.to_string())?;
    let found: Vec<f64> = (0..steps).map(|step| rates.at(step)).collect();
    let expected = io.f64("lr_f64")?;
    findings.close_all("lr_f64", &found, &expected, Tolerance::relative(1e-12));
    let model = model.without_dropout();
    let mut weights = model.weights().clone();
    let learns = |name: &str| (!name.starts_with("lm_model.")).then(Learning::default);
    let mut optimizer = Optimizer::new(&weights, learns, optimizer);
    let rows: Vec<usize> = io
        .i64("rows")?
        .into_iter()
        .map(|row| row as usize)
        .collect();
    let mut all: Vec<(&str, Vec<f64>)> = Vec::new();
    for step in 0..steps {
        let own = &rows[step * size..][..size];
        let (batch, texts) = (recordings(&io, Some(own))?, texts(&io, Some(own), "")?);
        let tracked = weights.tracked(|name| learns(name).is_some());
        let ctx = Context::training(&Device::flex().autodiff(), 0.0, 0);
        let model = model.with_weights(tracked.clone());
        let read = model.read(&texts, &ctx);
        let terms = model.terms(&batch, &read, &texts.real, &draws(&io, step)?, &ctx);
        for (at, (name, found)) in figures::<N>(&terms, &ctx)?.into_iter().enumerate() {
            match all.get_mut(at) {
                Some((_, before)) => before.push(f64::from(found)),
                None => all.push((name, vec![f64::from(found)])),
            }
        }
        let gradients = total::<N>(&terms).backward();
        optimizer.step(&mut weights, &tracked, gradients, rates.at(step));
        weights
            .store(ctx.take_handed_back())
            .map_err(|e| e.to_string())?;
    }
    for (name, found) in &all {
        let name = format!("step.{name}");
        if io.has(&name) {
            let (expected, half) = (io.f64(&name)?, steps / 2);
            findings.close_all(&name, &found[..half], &expected[..half], FIRST_STEPS);
            findings.close_all(&name, &found[half..], &expected[half..], LAST_STEPS);
        }
    }
    let left_out = "left_out_because_their_gradient_is_rounding_noise";
    let left_out = strings(settings, left_out).unwrap_or_default();
    for (name, _, found) in weights.to_host() {
        let name = format!("after.{name}");
        if !left_out.contains(&name.as_str()) {
            close(findings, &io, &name, &found, AFTER)?;
        }
    }
    let model = model.with_weights(weights);
    let found = model.vectors(
        &recordings(&io, None)?,
        &Context::inference(&Device::flex()),
    );
    close(findings, &io, "after.ext_ecg_emb", &values(&found)?, AFTER)
}

/// The released probe: the head alone learns, on the tokens without a separator, while running statistics follow the batches.
#[expect(clippy::too_many_lines, reason = "one case, tensor by tensor")]
fn linear_probe(case: &Case, findings: &mut Findings) -> Result<(), String> {
    optimisation::linear_probe(case, findings)?;
    let (stated, io) = (case.json("config.json")?, case.tensors("io.safetensors")?);
    let own = &stated["decoder"];
    let config = DeriConfig {
        ecg: ResNetConfig {
            widths: crate::entry::indices(&stated, "resnet_widths")?,
            blocks: crate::entry::indices(&stated, "resnet_blocks")?,
            ..ResNetConfig::default()
        },
        samples: index(&stated, "ecg_length")?,
        text: TextConfig::small_bert(1, index(&stated, "text_width")?),
        width: index(&stated, "projection")?,
        text_inner: index(&stated, "hidden")?,
        decoder: purkinje_models::deri::DecoderConfig {
            inner: index(own, "mlp_dim")?,
            depth: index(own, "depth")?,
            heads: index(own, "heads")?,
            head_width: index(own, "dim_head")?,
            ..purkinje_models::deri::DecoderConfig::default()
        },
        separator: false,
        part: Part::Ecg,
        compat: Compat::Released,
        ..DeriConfig::default()
    };
    findings.exact("tokens", config.tokens(), index(&stated, "ecg_tokens")?);
    let start = stored_weights(case, "weights.safetensors")?;
    let encoder = Deri::with(config, start).map_err(|e| e.to_string())?;
    if case.has("linear_probe_state.pth") {
        same_as(case, findings, "linear_probe_state.pth", encoder.weights())?;
    }
    let classes = index(&stated, "num_classes")?;
    let model = PairClassifier::new(encoder.without_dropout(), Pool::Vector, classes);
    let mut model = model.map_err(|e| e.to_string())?;
    let (batch, target) = (recordings(&io, None)?, io.f32("target")?);
    let trace = Trace::default();
    let ctx = Context::inference(&Device::flex()).traced(&trace);
    let feature = values(&model.encoder().vectors(&batch, &ctx))?;
    close(findings, &io, "eval.feature", &feature, ACTIVATIONS)?;
    for (name, tolerance) in [
        ("downconv", ACTIVATIONS),
        ("att_pool_head", ACTIVATIONS),
        ("decode_t", DEEP),
    ] {
        let found = trace.borrow().get(name).cloned();
        let (shape, found) = found.ok_or_else(|| format!("no {name}"))?;
        // Convolutions are stored with channels first.
        let found = match name {
            "downconv" => {
                let x = Tensor::<1>::from_floats(found.as_slice(), &Device::flex());
                values(&x.reshape([shape[0], shape[1], shape[2]]).swap_dims(1, 2))?
            }
            _ => found,
        };
        close(findings, &io, &format!("eval.{name}"), &found, tolerance)?;
    }
    let logits = model.logits(&batch, &ctx);
    close(findings, &io, "eval.logits", &values(&logits)?, ACTIVATIONS)?;
    let loss = binary_cross_entropy(logits, target);
    close(findings, &io, "eval.loss", &values(&loss)?, ACTIVATIONS)?;
    let size = index(&stated, "batch")?;
    let records = batch.size;
    let steps = io.f64("lr_used_f64")?.len();
    let mut weights = model.encoder().weights().clone();
    for step in 0..steps {
        let first = step * size % records;
        let rows: Vec<usize> = (first..first + size).collect();
        // The head of each step is that of the case, which is compared with our own updates elsewhere.
        for name in ["head.weight", "head.bias"].iter().filter(|_| step > 0) {
            let stored = format!("step{}.{name}", step - 1);
            let values = io.f32(&stored)?.to_vec();
            weights.insert(*name, io.shape(&stored)?, values, &Device::flex());
        }
        let tracked = weights.tracked(|name| name.starts_with("head."));
        model = model.with_weights(tracked.clone());
        let ctx = Context::training(&Device::flex().autodiff(), 0.0, 0);
        let logits = model.logits(&recordings(&io, Some(&rows))?, &ctx);
        let label = |name: &str| format!("step{step}.{name}");
        close(
            findings,
            &io,
            &label("logits"),
            &values(&logits)?,
            ACTIVATIONS,
        )?;
        let loss = binary_cross_entropy(logits, &target[first * classes..][..size * classes]);
        close(findings, &io, &label("loss"), &values(&loss)?, ACTIVATIONS)?;
        let gradients = loss.backward();
        compare_gradients(findings, &io, &tracked, &gradients, &format!("step{step}"))?;
        weights
            .store(ctx.take_handed_back())
            .map_err(|e| e.to_string())?;
    }
    for p in weights.iter().filter(|p| p.state) {
        let name = format!("after.{}", p.name);
        close(findings, &io, &name, &values(&p.value)?, ACTIVATIONS)?;
    }
    for name in ["head.weight", "head.bias"] {
        let stored = format!("step{}.{name}", steps - 1);
        let values = io.f32(&stored)?.to_vec();
        weights.insert(name, io.shape(&stored)?, values, &Device::flex());
    }
    let logits = model
        .with_weights(weights)
        .logits(&batch, &Context::inference(&Device::flex()));
    close(
        findings,
        &io,
        "after.eval.logits",
        &values(&logits)?,
        ACTIVATIONS,
    )
}

fn binary_cross_entropy(logits: Tensor<2>, target: &[f32]) -> Tensor<1> {
    let target = Tensor::<1>::from_floats(target, &logits.device()).reshape(logits.dims());
    // log(1 + exp(-|x|)) + max(x, 0) - x y
    let soft = activation::softplus(logits.clone().abs().neg(), 1.0);
    (soft + logits.clone().clamp_min(0.0) - logits * target).mean()
}

/// Prompts to vectors, similarities and scores.
fn zeroshot(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let (stated, io) = (case.json("config.json")?, case.tensors("io.safetensors")?);
    let weights = crate::entry::text(&stated, "weights")?;
    let folder = weights.rsplit_once('/').map_or("", |(folder, _)| folder);
    let config = crate::deri::config_of(case, &format!("{folder}/config.json"))?;
    let model = Deri::with(config, stored_weights(case, weights)?).map_err(|e| e.to_string())?;
    prompt_ids(case, findings, &stated, &io)?;
    let ctx = Context::inference(&Device::flex());
    let texts = texts(&io, None, "prompt_")?;
    let read = model.read(&texts, &ctx);
    close(
        findings,
        &io,
        "prompt_pooled",
        &values(&read.pooled)?,
        ACTIVATIONS,
    )?;
    let classes = model.text_vectors(&texts, &ctx);
    let turned = values(&classes.clone().transpose())?;
    close(findings, &io, "class_embedding", &turned, ACTIVATIONS)?;
    if io.has("prompt_proj") {
        // Before their length was divided by.
        let [count, width] = classes.dims();
        let stored = Tensor::<1>::from_floats(io.f32("prompt_proj")?, &Device::flex());
        let stored = stored.reshape([count, width]);
        let length = stored.clone().square().sum_dim(1).sqrt();
        let unit: Vec<f64> = values(&(stored / length))?
            .iter()
            .map(|x| f64::from(*x))
            .collect();
        let found: Vec<f64> = values(&classes)?.iter().map(|x| f64::from(*x)).collect();
        findings.close_all("prompt_proj, of length 1", &found, &unit, ACTIVATIONS);
    }
    let batch = recordings(&io, None)?;
    let vectors = model.vectors(&batch, &ctx);
    let [records, _, width] = vectors.dims();
    let vectors = vectors.reshape([records, width]);
    let length = vectors.clone().square().sum_dim(1).sqrt();
    let unit = vectors.clone() / length;
    // Vectors are stored as compared, or as found.
    let stored = io.f32("ecg_emb")?;
    let is_unit = (stored[..width].iter().map(|x| x * x).sum::<f32>() - 1.0).abs() < 1e-3;
    let shown = if is_unit { &unit } else { &vectors };
    close(findings, &io, "ecg_emb", &values(shown)?, ACTIVATIONS)?;
    let scores = unit.matmul(classes.transpose());
    close(findings, &io, "similarity", &values(&scores)?, ACTIVATIONS)?;
    // The rules of the scores, on the scores of the case.
    let (scores, truth) = (io.f32("similarity")?, io.i64("labels")?);
    let count = stated["class_names"].as_array().map_or(0, Vec::len);
    let (mut areas, mut f1, mut accuracies) = (Vec::new(), Vec::new(), Vec::new());
    for class in 0..count {
        let of = |at: usize| (scores[at * count + class], truth[at * count + class] > 0);
        let (scores, truth): (Vec<f32>, Vec<bool>) = (0..records).map(of).unzip();
        let ranking = Ranking::new(&scores, &truth).map_err(|e| e.to_string())?;
        areas.push(
            100.0
                * ranking
                    .auroc()
                    .ok_or("a class without positives or negatives")?,
        );
        let best = ranking.own_f1_threshold().ok_or("no positives")?;
        f1.push(100.0 * best.f1);
        // A score at the threshold counts as negative for the accuracy.
        let at = Confusion::count(scores, truth, best.threshold);
        accuracies.push(100.0 * at.accuracy());
    }
    for (name, found) in [("auroc", &areas), ("f1", &f1), ("acc", &accuracies)] {
        let label = format!("class.{name}_f64");
        findings.close_all(&label, found, &io.f64(&label)?, SCORES);
        let mean = found.iter().sum::<f64>() / count as f64;
        let label = format!("{name}_avg_f64");
        findings.close_all(&label, &[mean], &io.f64(&label)?, SCORES);
    }
    Ok(())
}

/// The word pieces of the prompts, if their tokenizer lies beside.
fn prompt_ids(
    case: &Case,
    findings: &mut Findings,
    stated: &Value,
    io: &Tensors,
) -> Result<(), String> {
    let prompts = case.json(crate::entry::text(stated, "prompts")?)?;
    let length = index(stated, "max_length")?;
    let tokenizer = crate::vit1d::tokenizer(case, TEXT_FOLDER, length)?;
    let lower = stated["prompts_are_lower_cased"].as_bool().unwrap_or(false);
    let mut ids = Vec::new();
    for name in strings(stated, "class_names")? {
        let prompt = prompts[name]
            .as_str()
            .ok_or_else(|| format!("no prompt of {name}"))?;
        let prompt = if lower {
            prompt.to_lowercase()
        } else {
            prompt.to_owned()
        };
        let own = tokenizer.ids(&prompt).map_err(|e| e.to_string())?;
        let mut own: Vec<i64> = own.into_iter().map(i64::from).collect();
        own.resize(length, i64::from(tokenizer.pad()));
        ids.extend(own);
    }
    findings.exact_all("prompt_input_ids", &ids, &io.i64("prompt_input_ids")?);
    Ok(())
}

/// Texts labelled by the nearest prompt, and how well the labels of generated reports are those of the references.
fn clinical_efficacy(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let (stated, io) = (case.json("config.json")?, case.tensors("io.safetensors")?);
    let path = |key: &str| crate::entry::text(&stated, key);
    let config = crate::deri::config_of(case, path("sizes")?)?;
    let weights = stored_weights(case, path("weights")?)?;
    let weights = with_text(case, weights, path("text_model")?)?;
    let model = Deri::with(config, weights).map_err(|e| e.to_string())?;
    let tokenizer =
        crate::vit1d::tokenizer(case, path("text_model")?, index(&stated, "max_length")?)?;
    let ctx = Context::inference(&Device::flex());
    let vectors = |texts: &[&str]| -> Result<Tensor<2>, String> {
        let each = texts.iter().map(|text| {
            let ids = tokenizer.ids(text).map_err(|e| e.to_string())?;
            let texts = TextIds {
                length: ids.len(),
                real: vec![true; ids.len()],
                ids,
            };
            Ok(model.text_vectors(&texts, &ctx))
        });
        Ok(Tensor::cat(each.collect::<Result<Vec<_>, String>>()?, 0))
    };
    let prompts: Vec<String> = in_order(case, &stated["prompts"])?
        .iter()
        .map(|label| stated["prompts"][label].as_str().map(str::to_lowercase))
        .collect::<Option<_>>()
        .ok_or("a prompt is no text")?;
    let prompts: Vec<&str> = prompts.iter().map(String::as_str).collect();
    let classes = vectors(&prompts)?;
    let turned = values(&classes.clone().transpose())?;
    close(findings, &io, "class_embedding", &turned, ACTIVATIONS)?;
    // The published loop drops the last incomplete batch.
    let all = strings(&stated, "references")?;
    let scored = all.len() / index(&stated, "batch")? * index(&stated, "batch")?;
    let mut labels = Vec::new();
    for (name, key) in [("reference", "references"), ("generated", "generated")] {
        let texts = strings(&stated, key)?;
        let scores = vectors(&texts[..scored])?.matmul(classes.clone().transpose());
        let scores = values(&scores)?;
        close(
            findings,
            &io,
            &format!("{name}.similarity"),
            &scores,
            ACTIVATIONS,
        )?;
        let nearest: Vec<i64> = scores
            .chunks_exact(prompts.len())
            .map(|row| {
                let best = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
                row.iter().position(|score| *score == best).unwrap_or(0) as i64
            })
            .collect();
        let label = format!("{name}.labels");
        findings.exact_all(&label, &nearest, &io.i64(&label)?);
        labels.push(nearest);
    }
    let found = label_scores(&labels[0], &labels[1]).map_err(|e| e.to_string())?;
    for (name, found) in [
        ("macro_precision_f64", found.precision),
        ("macro_recall_f64", found.recall),
        ("macro_f1_f64", found.f1),
    ] {
        let expected = io.f64(name)?;
        // A fraction, or percent.
        let scale = if expected[0] > 1.0 { 100.0 } else { 1.0 };
        findings.close_all(name, &[scale * found], &expected, SCORES);
    }
    Ok(())
}

/// The keys of an object of `config.json` in the order of the file.
fn in_order(case: &Case, object: &Value) -> Result<Vec<String>, String> {
    let text = std::fs::read_to_string(case.path("config.json")).map_err(|e| e.to_string())?;
    let keys = object.as_object().ok_or("no object of prompts")?.keys();
    let mut keys: Vec<(Option<usize>, String)> = keys
        .map(|key| (text.find(&format!("\"{key}\":")), key.clone()))
        .collect();
    keys.sort();
    Ok(keys.into_iter().map(|(_, key)| key).collect())
}
