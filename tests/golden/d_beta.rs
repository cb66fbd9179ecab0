//! D-BETA: states, losses, gradients and training trajectories of the original program.

use burn::tensor::{Device, Gradients, Tensor, TensorData};
use purkinje_base::challenge::ChallengeWeights;
use purkinje_eval::challenge::ChallengeScore;
use purkinje_eval::metrics::Ranking;
use purkinje_models::angles::Angles;
use purkinje_models::checkpoint::{self, DbetaLayout};
use purkinje_models::dbeta::{
    Dbeta, DbetaBatch, DbetaClassifier, DbetaConfig, Dropping, EtsReduction, Losses, Pairs, Part,
    Pool, ets, signal_targets,
};
use purkinje_models::layers::{Context, Trace, Weights};
use purkinje_models::paired::Signal;
use purkinje_models::text::{TextConfig, TextIds};
use purkinje_record::hdf5::Hdf5File;
use purkinje_signal::{Preparer, Preprocess};
use purkinje_text::Tokenizer;
use purkinje_text::neighbours::{most_similar, normalise};
use purkinje_train::Learning;
use purkinje_train::augment::{Draws, Perturbation};
use purkinje_train::losses::bce_with_logits;
use purkinje_train::optimizer::{Epsilon, Optimizer, OptimizerConfig, WeightDecay};
use purkinje_train::schedule::{Decay, Schedule, Span};
use serde_json::Value;

use crate::Check;
use crate::compare::{Findings, Tolerance, close};
use crate::entry::{index, number};
use crate::walk::{Case, Tensors};

/// The kinds checked here.
pub const CHECKS: &[(&str, Check)] = &[
    ("ecg_feats", ecg_feats),
    ("text_encoder", text_encoder),
    ("pretrain", pretrain),
    ("pretrain_steps", pretrain_steps),
    ("ets", pairs),
    ("zero_shot", zero_shot),
    ("augment", augment),
    ("zero_shot_code", zero_shot_code),
    ("finetune_steps", finetune_steps),
    ("cinc_score", cinc_score),
];

const STATES: Tolerance = Tolerance {
    absolute: 2e-6,
    relative: 2e-5,
};
const LOSS: Tolerance = Tolerance::relative(1e-5);
/// Relative to the largest entry of each gradient.
const GRADIENT: Tolerance = Tolerance {
    absolute: 1e-7,
    relative: 1e-4,
};
const STEPS: Tolerance = Tolerance::relative(1e-4);
const AFTER: Tolerance = Tolerance::absolute(1e-4);

fn ecg_feats(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let io = case.tensors("io.safetensors")?;
    same_file(case, findings, &network(case, Part::All)?)?;
    let model = network(case, Part::Ecg)?;
    for fused in [true, false] {
        let trace = Trace::default();
        let ctx = context(fused).traced(&trace);
        let batch = recordings(model.config(), &io, "ecg", None)?;
        let vectors = model.ecg_vectors(&batch, &ctx);
        traced(findings, &io, &trace, |name, _| name.to_owned())?;
        close(findings, &io, "ecg_features", &host(vectors)?, STATES)?;
        let ctx = context(fused);
        let half = recordings(model.config(), &io, "ecg_half", None)?;
        let vectors = host(model.ecg_vectors(&half, &ctx))?;
        close(findings, &io, "ecg_features_half", &vectors, STATES)?;
        let loud = DbetaBatch {
            values: batch.values.iter().map(|x| 10.0 * x).collect(),
            ..batch.clone()
        };
        let vectors = host(model.ecg_vectors(&loud, &ctx))?;
        close(findings, &io, "ecg_features_gain10", &vectors, STATES)?;
    }
    // Alone or together, fused kernels give the same bits.
    let ctx = Context::inference(&Device::flex());
    let all = recordings(model.config(), &io, "ecg", None)?;
    let together = host(model.ecg_vectors(&all, &ctx))?;
    for record in 0..all.size {
        let one = recordings(model.config(), &io, "ecg", Some(&[record]))?;
        let alone = host(model.ecg_vectors(&one, &ctx))?;
        let width = alone.len();
        let label = format!("record {record} alone");
        findings.exact_all(
            &label,
            &alone,
            &together[record * width..(record + 1) * width],
        );
    }
    Ok(())
}

fn text_encoder(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let io = case.tensors("io.safetensors")?;
    let config = TextConfig::from_published(&case.json("config.json")?["text_encoder"])?;
    let weights = weights(case)?;
    let texts = texts(&io, "input_ids", "attention_mask", None)?;
    if let TextConfig::T5(own) = &config {
        let buckets: Vec<i64> = own
            .buckets(texts.length)
            .iter()
            .map(|&b| b as i64)
            .collect();
        findings.exact_all("position_buckets", &buckets, &io.i64("position_buckets")?);
    }
    for (fused, tracks) in [(true, false), (true, true), (false, true)] {
        let device = Device::flex();
        let device = if tracks { device.autodiff() } else { device };
        let ctx = Context::inference(&device);
        let ctx = if fused { ctx } else { ctx.composed() };
        let trace = Trace::default();
        let traced_ctx = ctx.clone().traced(&trace);
        let weights = match tracks {
            true => weights.tracked(|_| true),
            false => weights.clone(),
        };
        let prefix = "language_encoder.";
        let found = config.states(&weights, prefix, &texts, false, &traced_ctx);
        traced(findings, &io, &trace, |name, _| match name {
            "position_bias" => name.to_owned(),
            name => format!("{name}_nomask"),
        })?;
        close(findings, &io, "out_no_mask", &host(found.clone())?, STATES)?;
        close(
            findings,
            &io,
            "mean_pool_no_mask",
            &host(found.mean_dim(1))?,
            STATES,
        )?;
        let found = config.states(&weights, prefix, &texts, true, &ctx);
        // Of padding the values are arbitrary, but the original's are these.
        close(
            findings,
            &io,
            "out_with_mask",
            &host(found.clone())?,
            STATES,
        )?;
        let mean = host(found.mean_dim(1))?;
        close(
            findings,
            &io,
            "mean_pool_with_mask_all_positions",
            &mean,
            STATES,
        )?;
    }
    Ok(())
}

#[expect(clippy::too_many_lines, reason = "one case, tensor by tensor")]
fn pretrain(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let io = case.tensors("io.safetensors")?;
    let model = network(case, Part::All)?;
    same_file(case, findings, &model)?;
    let config = model.config().clone();
    let ecg = recordings(&config, &io, "ecg", None)?;
    let texts = texts(&io, "text_ids", "text_attention_mask", None)?;
    let words = words(&io.i64("mlm_labels")?);
    let aligned: Vec<bool> = io.f64("is_aligned")?.iter().map(|&y| y > 0.5).collect();
    let tokens = config.ecg.tokens(ecg.samples);
    let dropping = Dropping::from_noise(io.f32("noise")?, tokens, config.kept_tokens(tokens));
    let as_i64 = |list: Vec<usize>| list.into_iter().map(|i| i as i64).collect::<Vec<i64>>();
    let order = as_i64(dropping.order.clone());
    findings.exact_all("ids_shuffle", &order, &io.i64("ids_shuffle")?);
    let restore = as_i64(dropping.restore.clone());
    findings.exact_all("ids_restore", &restore, &io.i64("ids_restore")?);
    let rows = dropping.order.chunks_exact(tokens);
    let kept: Vec<usize> = rows.flat_map(|row| row[..dropping.kept].to_vec()).collect();
    findings.exact_all("ids_keep", &as_i64(kept), &io.i64("ids_keep")?);
    let hidden: Vec<f32> = dropping.hidden().map(|h| f32::from(u8::from(h))).collect();
    close(
        findings,
        &io,
        "mem_masks",
        &hidden,
        Tolerance::absolute(0.0),
    )?;
    for (name, standardised) in [("mem_target_norm", true), ("mem_target_raw", false)] {
        let found = signal_targets(&ecg, tokens, config.stretch(), standardised);
        close(findings, &io, name, &found, STATES)?;
    }
    let pairs = Pairs {
        ecg: &ecg,
        target: &ecg,
        texts: &texts,
        words: &words,
        aligned: &aligned,
        dropping: &dropping,
    };
    let norms = case.json("grad_norms.json")?;
    let logged = case.json("logging_output.json")?;
    for fused in [true, false] {
        let ctx = context(fused);
        let tracked = model.weights().tracked(|_| true);
        let graph = model.with_weights(tracked.clone());
        let trace = Trace::default();
        let found = graph.losses(&pairs, EtsReduction::Mean, &ctx.clone().traced(&trace));
        traced(findings, &io, &trace, |name, _| match name {
            "conv_pos" => "ecg_conv_pos".into(),
            "encoder_out" => "ecg_encoder_out".into(),
            "multi_modal_ecg_proj" => "ecg_proj".into(),
            // Of masked word pieces only.
            "mlm_transform" => String::new(),
            name => name.into(),
        })?;
        let pass = &found.pass;
        let [batch, length, width] = pass.fused.text.dims();
        let all = pass.fused.text.clone().reshape([batch * length, width]);
        let trace = Trace::default();
        let logits = graph.word_logits(all, &ctx.clone().traced(&trace));
        traced(findings, &io, &trace, |name, _| name.to_owned())?;
        close(findings, &io, "mlm_logits", &host(logits)?, STATES)?;
        for (name, vectors) in [
            ("uni_modal_text_feats", &pass.text_vectors),
            ("uni_modal_ecg_feats", &pass.ecg_vectors),
        ] {
            close(findings, &io, name, &host(vectors.clone())?, STATES)?;
        }
        let logits = graph.alignment(pass.ecg_vectors.clone(), pass.text_vectors.clone(), &ctx);
        let summed = ets(logits, &aligned, EtsReduction::Sum, &ctx);
        let total = found.total();
        for (name, loss) in [
            ("loss_mlm", &found.words),
            ("loss_mem", &found.signal),
            ("loss_etm", &found.matching),
            ("loss_ets", &found.alignment),
            ("loss_total", &total),
            ("loss_ets_paper_sum_over_b", &summed),
        ] {
            close(findings, &io, name, &host(loss.clone())?, LOSS)?;
        }
        let other = total.clone() - found.alignment.clone() + summed;
        close(
            findings,
            &io,
            "loss_total_with_paper_ets",
            &host(other)?,
            LOSS,
        )?;
        let raw = raw_signal_loss(&graph, &found, &pairs, &ctx)?;
        close(findings, &io, "loss_mem_no_norm", &[raw], LOSS)?;
        for (i, loss) in [
            &found.words,
            &found.signal,
            &found.matching,
            &found.alignment,
        ]
        .into_iter()
        .enumerate()
        {
            let expected = number(&logged, &format!("loss_{i}"))?;
            let loss = f64::from(host(loss.clone())?[0]);
            findings.close(&format!("logged loss_{i}"), loss, expected, LOSS);
        }
        for (name, found) in [
            ("mlm_correct", found.words_right.0),
            ("mlm_count", found.words_right.1),
            ("etm_correct", found.matches_right.0),
            ("etm_count", found.matches_right.1),
        ] {
            findings.close(
                name,
                found as f64,
                number(&logged, name)?,
                Tolerance::absolute(0.0),
            );
        }
        type Part = fn(&Losses) -> Tensor<1>;
        let parts: [(&str, Part); 5] = [
            ("grad_mlm/", |found| found.words.clone()),
            ("grad_mem/", |found| found.signal.clone()),
            ("grad_etm/", |found| found.matching.clone()),
            ("grad_ets/", |found| found.alignment.clone()),
            ("grad/", Losses::total),
        ];
        for (prefix, part) in parts {
            // A pass for each: a graph is used up by its gradients.
            let tracked = model.weights().tracked(|_| true);
            let graph = model.with_weights(tracked.clone());
            let loss = part(&graph.losses(&pairs, EtsReduction::Mean, &ctx));
            let gradients = loss.backward();
            for p in tracked.iter() {
                let stored = format!("{prefix}{}", p.name);
                let found = p.value.grad(&gradients).map(host).transpose()?;
                if io.has(&stored) {
                    let zeros = vec![0.0; p.shape.iter().product()];
                    let found = found.clone().unwrap_or(zeros);
                    close(findings, &io, &stored, &found, GRADIENT)?;
                }
                if prefix == "grad/" && !p.state {
                    norm(findings, &norms, &p.name, &found.unwrap_or_default())?;
                }
            }
        }
    }
    let ctx = context(true);
    let all = model.both(&ecg, &texts, None, &ctx);
    let logits = host(model.matching_logits(&all.fused, &ctx))?;
    close(findings, &io, "unmasked_etm_logits", &logits, STATES)?;
    let states = host(all.fused.ecg)?;
    close(
        findings,
        &io,
        "unmasked_multi_modal_ecg_feats",
        &states,
        STATES,
    )?;
    let vectors = host(all.ecg_vectors)?;
    close(
        findings,
        &io,
        "unmasked_uni_modal_ecg_feats",
        &vectors,
        STATES,
    )
}

/// The norm of a gradient is that of the case; those of the biases of keys are rounding.
fn norm(findings: &mut Findings, norms: &Value, name: &str, found: &[f32]) -> Result<(), String> {
    let found = found
        .iter()
        .map(|x| f64::from(*x).powi(2))
        .sum::<f64>()
        .sqrt();
    let expected = number(norms, name)?;
    let tolerance = match is_key_bias(name) {
        true => Tolerance::absolute(1e-5),
        false => Tolerance {
            absolute: 1e-7,
            relative: 2e-5,
        },
    };
    findings.close(
        &format!("grad_norms.json: {name}"),
        found,
        expected,
        tolerance,
    );
    Ok(())
}

fn is_key_bias(name: &str) -> bool {
    name.ends_with("k_proj.bias") || name.ends_with(".key.bias")
}

/// The loss of the decoder of signals against samples as they are.
fn raw_signal_loss(
    model: &Dbeta,
    found: &Losses,
    pairs: &Pairs<'_>,
    ctx: &Context,
) -> Result<f32, String> {
    let signals = model.signals(&found.pass.fused, pairs.dropping, ctx);
    let [_, tokens, values] = signals.dims();
    let target = signal_targets(pairs.target, tokens, model.config().stretch(), false);
    let signals = host(signals)?;
    let errors = signals
        .chunks_exact(values)
        .zip(target.chunks_exact(values));
    let errors = errors.map(|(a, b)| {
        let squares = a
            .iter()
            .zip(b)
            .map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2));
        squares.sum::<f64>() / values as f64
    });
    let hidden = errors
        .zip(pairs.dropping.hidden())
        .filter(|(_, hidden)| *hidden);
    let (sum, count) = hidden.fold((0.0, 0), |(sum, n), (error, _)| (sum + error, n + 1));
    Ok((sum / f64::from(count)) as f32)
}

fn pretrain_steps(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let io = case.tensors("io.safetensors")?;
    let settings = case.json("config.json")?;
    let after = case.tensors("weights_after.safetensors")?;
    for (run, how) in [
        ("released", EtsReduction::Mean),
        ("paper", EtsReduction::Sum),
    ] {
        replay(case, findings, &io, &settings, &after, (run, how))
            .map_err(|problem| format!("{run}: {problem}"))?;
    }
    Ok(())
}

#[expect(clippy::too_many_lines, reason = "one case, tensor by tensor")]
fn replay(
    case: &Case,
    findings: &mut Findings,
    io: &Tensors,
    settings: &Value,
    after: &Tensors,
    (run, how): (&str, EtsReduction),
) -> Result<(), String> {
    let model = network(case, Part::All)?;
    let config = model.config().clone();
    let own = &settings["optimizer"];
    let list = |key: &str| -> Result<Vec<f64>, String> {
        let list = own[key]
            .as_array()
            .ok_or_else(|| format!("no list `{key}`"))?;
        Ok(list.iter().filter_map(Value::as_f64).collect())
    };
    let (phases, betas) = (list("phase_ratio")?, list("betas")?);
    let schedule = Schedule {
        lr: number(own, "lr")?,
        warmup: Span::Fraction(phases[0]),
        decay: Decay::ThreeStage {
            hold: Span::Fraction(phases[1]),
            fall: Span::Fraction(phases[2]),
            start_scale: number(own, "init_lr_scale")?,
            end_scale: number(own, "final_lr_scale")?,
        },
    };
    let updates = number(own, "max_update")? as usize;
    let rates = schedule.rates(updates, 1).map_err(|e| e.to_string())?;
    let optimizer = OptimizerConfig {
        beta1: betas[0],
        beta2: betas[1],
        eps: number(own, "eps")?,
        epsilon: Epsilon::BeforeCorrection,
        weight_decay: number(own, "weight_decay")?,
        decay: WeightDecay::Decoupled,
        clip_norm: None,
        decay_all: true,
    };
    let mut weights = model.weights().clone();
    let mut optimizer = Optimizer::new(&weights, |_| Some(Learning::default()), optimizer);
    let expected = io.f64("lrs")?;
    let found: Vec<f64> = (0..expected.len()).map(|step| rates.at(step)).collect();
    findings.close_all("lrs", &found, &expected, Tolerance::relative(1e-12));
    let (ctx, steps) = (context(true), expected.len());
    let size = io.shape("rows")?[1];
    let rows: Vec<usize> = io
        .i64("rows")?
        .into_iter()
        .map(|row| row as usize)
        .collect();
    let uniforms = io.f64("lead_uniforms")?;
    let (noise, lengths) = (io.f32("noise")?, io.i64("text_lengths")?);
    let (mut losses, mut norms, mut counts) = (Vec::new(), Vec::new(), Vec::new());
    for (step, length) in lengths.into_iter().take(steps).enumerate() {
        let own = step * size..(step + 1) * size;
        let mut ecg = recordings(&config, io, "ecg", Some(&rows[own.clone()]))?;
        let leads = ecg.values.chunks_exact_mut(ecg.samples);
        for (lead, u) in leads.zip(&uniforms[12 * own.start..]) {
            if *u < 0.5 {
                lead.fill(0.0);
            }
        }
        let cut = Some((own.clone(), length as usize));
        let texts = texts(
            io,
            &format!("{run}/text_ids"),
            "text_attention_mask",
            cut.clone(),
        )?;
        let words = words(&part(io, &format!("{run}/mlm_labels"), cut)?);
        let stated = io.i64("is_aligned")?;
        let aligned: Vec<bool> = stated[own.clone()].iter().map(|&y| y > 0).collect();
        let tokens = config.ecg.tokens(ecg.samples);
        let noise = &noise[own.start * tokens..own.end * tokens];
        let dropping = Dropping::from_noise(noise, tokens, config.kept_tokens(tokens));
        let pairs = Pairs {
            ecg: &ecg,
            target: &ecg,
            texts: &texts,
            words: &words,
            aligned: &aligned,
            dropping: &dropping,
        };
        let tracked = weights.tracked(|_| true);
        let found = model
            .with_weights(tracked.clone())
            .losses(&pairs, how, &ctx);
        let total = found.total();
        for loss in [
            &found.words,
            &found.signal,
            &found.matching,
            &found.alignment,
            &total,
        ] {
            losses.push(f64::from(host(loss.clone())?[0]));
        }
        let (words, matches) = (found.words_right, found.matches_right);
        counts.extend([words.0, words.1, matches.0, matches.1].map(|n| n as i64));
        let gradients = total.backward();
        norms.push(norm_of(&tracked, &gradients)?);
        optimizer.step(&mut weights, &tracked, gradients, rates.at(step));
    }
    let label = |name: &str| format!("{run}/{name}");
    findings.close_all(&label("losses"), &losses, &io.f64(&label("losses"))?, STEPS);
    let exact = io.f64(&label("losses_f64"))?;
    findings.close_all(&label("losses_f64"), &losses, &exact, STEPS);
    findings.close_all(
        &label("grad_norms"),
        &norms,
        &io.f64(&label("grad_norms"))?,
        STEPS,
    );
    findings.exact_all(&label("counts"), &counts, &io.i64(&label("counts"))?);
    for (name, _, found) in weights.to_host() {
        let found = match name.as_str() {
            // Its exact gradient is zero: its updates are amplified rounding.
            name if is_key_bias(name) => {
                for (file, stored) in [(&after, label(name)), (&io, format!("{run}/after/{name}"))]
                {
                    if file.has(&stored) {
                        findings.exact(&stored, found.len(), file.f64(&stored)?.len());
                    }
                }
                continue;
            }
            // Queries and values; the exact gradient of the bias of keys is zero.
            name if name.ends_with("in_proj_bias") => {
                let third = found.len() / 3;
                [&found[..third], &found[2 * third..]].concat()
            }
            _ => found,
        };
        let found: Vec<f64> = found.iter().map(|x| f64::from(*x)).collect();
        let stored = label(&name);
        if run == "paper" && after.has(&stored) {
            let mut expected = after.f64(&stored)?;
            if name.ends_with("in_proj_bias") {
                let third = expected.len() / 3;
                expected.drain(third..2 * third);
            }
            findings.close_all(&stored, &found, &expected, AFTER);
        }
        let stored = format!("{run}/after/{name}");
        if io.has(&stored) {
            findings.close_all(&stored, &found, &io.f64(&stored)?, AFTER);
        }
    }
    Ok(())
}

fn norm_of(tracked: &Weights, gradients: &Gradients) -> Result<f64, String> {
    let mut squares = 0.0;
    for p in tracked.iter() {
        if let Some(gradient) = p.value.grad(gradients) {
            squares += host(gradient)?
                .iter()
                .map(|x| f64::from(*x).powi(2))
                .sum::<f64>();
        }
    }
    Ok(squares.sqrt())
}

fn pairs(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let io = case.tensors("io.safetensors")?;
    let settings = case.json("config.json")?;
    let variants = settings["variants"].as_object().ok_or("no variants")?;
    let aligned: Vec<bool> = match io.i64("labels") {
        Ok(labels) => labels.iter().map(|&y| y > 0).collect(),
        Err(_) => io.f64("labels")?.iter().map(|&y| y > 0.5).collect(),
    };
    let ctx = context(true);
    for (name, variant) in variants {
        let features = |name: &str| -> Result<Tensor<2>, String> {
            let shape = io.shape(name)?;
            let data = TensorData::new(io.f32(name)?.to_vec(), [shape[0], shape[1]]);
            Ok(Tensor::from_data(data, ctx.device()).require_grad())
        };
        let (ecg, text) = (features("ecg_feats")?, features("text_feats")?);
        let scale = number(variant, "logit_scale")?;
        let bias = variant["bias"].as_f64().unwrap_or(0.0);
        let logits = ecg.clone().matmul(text.clone().transpose()) * scale + bias;
        let label = |part: &str| format!("{name}/{part}");
        close(
            findings,
            &io,
            &label("logits"),
            &host(logits.clone())?,
            STATES,
        )?;
        let signs = (0..aligned.len() * aligned.len()).map(|at| {
            let (i, j) = (at / aligned.len(), at % aligned.len());
            if i == j && aligned[i] { 1 } else { -1 }
        });
        let signs: Vec<i64> = signs.collect();
        findings.exact_all(
            &label("ground_truth"),
            &signs,
            &io.i64(&label("ground_truth"))?,
        );
        let summed = ets(logits.clone(), &aligned, EtsReduction::Sum, &ctx);
        close(
            findings,
            &io,
            &label("loss_sum_over_b"),
            &host(summed)?,
            LOSS,
        )?;
        let mean = ets(logits, &aligned, EtsReduction::Mean, &ctx);
        close(
            findings,
            &io,
            &label("loss_mean"),
            &host(mean.clone())?,
            LOSS,
        )?;
        let gradients = mean.backward();
        for (part, features) in [("grad_ecg", ecg), ("grad_text", text)] {
            let found = features.grad(&gradients).ok_or("no gradient")?;
            close(findings, &io, &label(part), &host(found)?, GRADIENT)?;
        }
    }
    Ok(())
}

fn zero_shot(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let io = case.tensors("io.safetensors")?;
    same_file(case, findings, &network(case, Part::All)?)?;
    let model = network(case, Part::Vectors)?;
    let prompts = case.json("prompts.json")?;
    let tokenizer = crate::text::tiny_tokenizer(case)?;
    let ctx = Context::inference(&Device::flex());
    let listed = prompts["prompts_lowercased"].as_array();
    let listed = listed.ok_or("prompts.json: no `prompts_lowercased`")?;
    let labels = prompts["labels"].as_array().map(Vec::len);
    findings.exact("prompts.json: labels", labels, Some(listed.len()));
    let mut vectors = Vec::new();
    for (i, prompt) in listed.iter().enumerate() {
        let prompt = prompt.as_str().ok_or("a prompt is no text")?;
        let ids = tokenizer.ids(prompt).map_err(|e| e.to_string())?;
        let found: Vec<i64> = ids.iter().map(|&id| i64::from(id)).collect();
        let name = format!("prompt_ids_{i}");
        findings.exact_all(&name, &found, &io.i64(&name)?);
        let texts = TextIds {
            length: ids.len(),
            real: vec![true; ids.len()],
            ids,
        };
        vectors.extend(host(model.text_vectors(&texts, &ctx))?);
    }
    close(findings, &io, "text_features", &vectors, STATES)?;
    let batch = recordings(model.config(), &io, "ecg", None)?;
    let ecg = model.ecg_vectors(&batch, &ctx);
    close(findings, &io, "ecg_features", &host(ecg.clone())?, STATES)?;
    let shape = [listed.len(), model.config().hidden];
    let text = Tensor::<2>::from_data(TensorData::new(vectors, shape), ctx.device());
    let scores = host(model.similarity(ecg, text, &ctx))?;
    close(findings, &io, "similarity", &scores, STATES)?;
    let truth = io.i64("y_true")?;
    let classes = listed.len();
    let mut areas = Vec::new();
    for class in 0..classes {
        let of = |at: usize| {
            (
                scores[at * classes + class],
                truth[at * classes + class] > 0,
            )
        };
        let (scores, truth): (Vec<f32>, Vec<bool>) = (0..batch.size).map(of).unzip();
        let ranking = Ranking::new(&scores, &truth).map_err(|e| e.to_string())?;
        areas.push(
            ranking
                .auroc()
                .ok_or("a class without positives or negatives")?,
        );
    }
    findings.close_all("auc", &areas, &io.f64("auc")?, Tolerance::absolute(1e-12));
    let mean = areas.iter().sum::<f64>() / classes as f64;
    findings.close_all(
        "mean_auc",
        &[mean],
        &io.f64("mean_auc")?,
        Tolerance::absolute(1e-12),
    );
    Ok(())
}

/// The score of the Challenge, and the sums that it is made of.
fn cinc_score(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let io = case.tensors("io.safetensors")?;
    let settings = case.json("config.json")?;
    let (classes, normal) = (
        index(&settings, "classes")?,
        index(&settings, "sinus_rhythm_index")?,
    );
    let name = |class: usize| match class == normal {
        true => "NSR".to_owned(),
        false => format!("class {class}"),
    };
    let names: Vec<String> = (0..classes).map(name).collect();
    let table = ChallengeWeights {
        codes: names.iter().map(|name| vec![name.clone()]).collect(),
        weights: io.f64("weights")?,
    };
    let score = ChallengeScore::new(&names, &table);
    let threshold = number(&settings, "threshold")?;
    let calls: Vec<bool> = io
        .f64("probabilities")?
        .iter()
        .map(|&p| p > threshold)
        .collect();
    let flags = |name: &str| -> Result<Vec<bool>, String> {
        Ok(io.i64(name)?.iter().map(|&y| y > 0).collect())
    };
    findings.exact_all("outputs", &calls, &flags("outputs")?);
    let labels = flags("labels")?;
    let sums = score.sums(&labels, &calls).map_err(|e| e.to_string())?;
    let exact = Tolerance::relative(1e-12);
    for (name, found) in ["observed", "correct", "inactive"].into_iter().zip(sums) {
        findings.close_all(name, &[found], &io.f64(name)?, exact);
    }
    let found = score.of(&labels, &calls).map_err(|e| e.to_string())?;
    findings.close_all("cinc_score", &[found], &io.f64("cinc_score")?, exact);
    Ok(())
}

/// The whole way of the example: files, prompts, areas.
#[expect(clippy::too_many_lines, reason = "one case, tensor by tensor")]
fn zero_shot_code(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let io = case.tensors("io.safetensors")?;
    let (stated, prompts) = (case.json("expected.json")?, case.json("context_llm.json")?);
    let texts = |key: &str| -> Result<Vec<String>, String> {
        let list = stated[key]
            .as_array()
            .ok_or_else(|| format!("no list `{key}`"))?;
        Ok(list
            .iter()
            .filter_map(|t| Some(t.as_str()?.to_owned()))
            .collect())
    };
    let (labels, columns) = (texts("labels")?, texts("columns")?);
    let lowered: Vec<String> = labels
        .iter()
        .map(|label| prompts[label].as_str().unwrap_or_default().to_lowercase())
        .collect();
    findings.exact_all(
        "prompts_lowercased",
        &lowered,
        &texts("prompts_lowercased")?,
    );
    let model = imported(case, findings)?;
    let tokenizer = Tokenizer::read(&case.path("tokenizer.json")).map_err(|e| e.to_string())?;
    let ctx = Context::inference(&Device::flex());
    let mut vectors = Vec::new();
    for prompt in &lowered {
        let ids = tokenizer.ids(prompt).map_err(|e| e.to_string())?;
        let texts = TextIds {
            length: ids.len(),
            real: vec![true; ids.len()],
            ids,
        };
        vectors.extend(host(model.text_vectors(&texts, &ctx))?);
    }
    close(findings, &io, "text_features", &vectors, STATES)?;

    let file = Hdf5File::open(case.path("data/ecg_tracings.hdf5")).map_err(|e| e.to_string())?;
    let tracings = file.dataset("tracings").ok_or("no `tracings`")?;
    let shape: Vec<usize> = tracings.shape().iter().map(|&size| size as usize).collect();
    let values = tracings.read::<f64>().map_err(|e| e.to_string())?;
    let contract = Preprocess::d_beta_code();
    let preparer = Preparer::new(&contract).map_err(|e| e.to_string())?;
    let mut inputs = Vec::new();
    for record in values.chunks_exact(shape[1] * shape[2]) {
        let leads = 0..shape[2];
        let rows = leads.flat_map(|lead| record.iter().skip(lead).step_by(shape[2]).copied());
        let rows: Vec<f64> = rows.collect();
        let prepared = preparer
            .apply_samples("tracing", &contract.leads, CODE_HZ, &rows)
            .map_err(|e| e.to_string())?;
        inputs.push(Signal {
            samples: prepared.rows.iter().map(|&x| x as f32).collect(),
        });
    }
    let first = inputs[0].samples.clone();
    close(
        findings,
        &io,
        "processed_first",
        &first,
        // One rounding of f32 more or less.
        Tolerance::relative(5e-7),
    )?;
    let vectors_of = |inputs: &[Signal]| -> Result<Tensor<2>, String> {
        let batch = DbetaBatch::new(model.config(), inputs).map_err(|e| e.to_string())?;
        Ok(model.ecg_vectors(&batch, &ctx))
    };
    let ecg = vectors_of(&inputs)?;
    close(findings, &io, "ecg_features", &host(ecg.clone())?, STATES)?;
    let exchanged: Vec<Signal> = inputs
        .iter()
        .map(|input| {
            let mut rows: Vec<&[f32]> = input
                .samples
                .chunks_exact(input.samples.len() / 12)
                .collect();
            rows.swap(4, 5);
            Signal {
                samples: rows.concat(),
            }
        })
        .collect();
    let other = host(vectors_of(&exchanged)?)?;
    close(
        findings,
        &io,
        "ecg_features_leads_4_5_exchanged",
        &other,
        STATES,
    )?;
    let shape = [labels.len(), model.config().hidden];
    let text = Tensor::<2>::from_data(TensorData::new(vectors, shape), ctx.device());
    let scores = host(model.similarity(ecg, text, &ctx))?;
    close(findings, &io, "similarity", &scores, STATES)?;
    let table = |name: &str| annotations(case, name, &columns);
    let truth: Vec<bool> = table("gold_standard")?.iter().map(|&y| y > 0.5).collect();
    let areas = |scores: &[f32]| -> Result<Vec<f64>, String> {
        let rankings = Ranking::of_matrix(scores, &truth, columns.len());
        let areas = rankings.map_err(|e| e.to_string())?.into_iter();
        Ok(areas
            .map(|ranking| ranking.auroc().unwrap_or(f64::NAN))
            .collect())
    };
    let exact = Tolerance::absolute(1e-12);
    let found = areas(&scores)?;
    findings.close_all("auc", &found, &io.f64("auc")?, exact);
    let mean = found.iter().sum::<f64>() / found.len() as f64;
    findings.close_all("mean_auc", &[mean], &io.f64("mean_auc")?, exact);
    let listed = stated["annotator_auc"]
        .as_object()
        .ok_or("no `annotator_auc`")?;
    for (name, expected) in listed {
        let expected = expected.as_array().map(Vec::as_slice).unwrap_or_default();
        let expected: Vec<f64> = expected.iter().filter_map(Value::as_f64).collect();
        findings.close_all(name, &areas(&table(name)?)?, &expected, exact);
    }
    // Read by others, and of no area here.
    for file in case.files_below("data/annotations")? {
        let name = file.trim_end_matches(".csv");
        findings.exact(&format!("{file}: rows"), table(name)?.len(), truth.len());
    }
    Ok(())
}

/// Rate of the CODE test set in hertz.
const CODE_HZ: f64 = 400.0;

/// The columns of these titles of a table of annotations, row by row.
fn annotations(case: &Case, name: &str, columns: &[String]) -> Result<Vec<f32>, String> {
    let path = case.path(&format!("data/annotations/{name}.csv"));
    let text = std::fs::read_to_string(&path).map_err(|e| format!("{}: {e}", path.display()))?;
    let mut lines = text
        .lines()
        .map(|line| line.split(',').map(str::trim).collect::<Vec<_>>());
    let titles = lines.next().ok_or("an empty table")?;
    let places: Vec<usize> = columns
        .iter()
        .map(|column| titles.iter().position(|title| title == column))
        .collect::<Option<_>>()
        .ok_or_else(|| format!("{name}.csv: a column is missing"))?;
    let rows = lines.filter(|cells| cells.len() == titles.len());
    rows.flat_map(|cells| {
        places
            .iter()
            .map(|&at| cells[at].parse::<f32>())
            .collect::<Vec<_>>()
    })
    .collect::<Result<_, _>>()
    .map_err(|e| format!("{name}.csv: {e}"))
}

/// The original's own file holds the same network.
fn same_file(case: &Case, findings: &mut Findings, model: &Dbeta) -> Result<(), String> {
    if !case.has("checkpoint.pt") {
        return Ok(());
    }
    let found = imported(case, findings)?;
    findings.exact(
        "checkpoint.pt: configuration",
        found.config(),
        model.config(),
    );
    for (name, _, values) in found.weights().to_host() {
        let own = model
            .weights()
            .parameter(&name)
            .ok_or_else(|| format!("no `{name}`"))?;
        let own = host(own.value.clone())?;
        findings.exact_all(&format!("checkpoint.pt: {name}"), &values, &own);
    }
    Ok(())
}

/// The network of the original's own file, which holds more than the network.
fn imported(case: &Case, findings: &mut Findings) -> Result<Dbeta, String> {
    let stated = case.json("config.json")?;
    let options = checkpoint::ImportOptions::default();
    let mut file = checkpoint::read_published(&case.path("checkpoint.pt"), &options)
        .map_err(|e| e.to_string())?;
    file.args = stated.as_object().ok_or("config.json: no object")?.clone();
    let found =
        checkpoint::import_read::<DbetaLayout>(file, &options).map_err(|e| e.to_string())?;
    findings.exact("checkpoint.pt: complete", found.report.is_complete(), true);
    let config = DbetaConfig {
        text_mask: false,
        ..found.layout.config
    };
    let mut weights = Weights::default();
    for (name, tensor) in found.state {
        weights.insert(name, &tensor.shape, tensor.data, &Device::flex());
    }
    Dbeta::new(config, weights).map_err(|e| e.to_string())
}

fn finetune_steps(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let io = case.tensors("io.safetensors")?;
    let settings = case.json("config.json")?;
    for task in ["diagnosis", "identification"] {
        finetune(case, findings, &io, &settings, task)
            .map_err(|problem| format!("{task}: {problem}"))?;
    }
    // How patients are matched: by their cosines to the patients of training, and by the vectors themselves.
    let (gallery, probes) = (
        io.i64("identification/gallery_rows")?,
        io.i64("identification/probe_rows")?,
    );
    let after = io.f32("identification/pooled_after")?.to_vec();
    let width = io.shape("identification/pooled_after")?[1];
    let cosines = io.f32("identification/outputs_after")?.to_vec();
    let patients = io.shape("identification/outputs_after")?[1];
    let of = |values: &[f32], width: usize, rows: &[i64]| -> Vec<f32> {
        let row = |row: &i64| values[*row as usize * width..][..width].to_vec();
        rows.iter().flat_map(row).collect()
    };
    let best = |values: &[f32], width: usize| -> Vec<i64> {
        let (rows, queries) = (of(values, width, &gallery), of(values, width, &probes));
        let found = most_similar(&rows, &queries, width, 1);
        found.iter().map(|found| found[0].row as i64).collect()
    };
    let found = best(&cosines, patients);
    findings.exact_all(
        "match_released",
        &found,
        &io.i64("identification/match_released")?,
    );
    let mut units = after;
    normalise(&mut units, width);
    let found = best(&units, width);
    findings.exact_all(
        "match_embedding",
        &found,
        &io.i64("identification/match_embedding")?,
    );
    let (rows, queries) = (
        of(&cosines, patients, &gallery),
        of(&cosines, patients, &probes),
    );
    let products: Vec<f32> = queries
        .chunks_exact(patients)
        .flat_map(|query| {
            let dot = |row: &[f32]| row.iter().zip(query).map(|(a, b)| a * b).sum::<f32>();
            rows.chunks_exact(patients).map(dot).collect::<Vec<f32>>()
        })
        .collect();
    let name = "identification/similarity_released";
    close(findings, &io, name, &products, STEPS)
}

#[expect(clippy::too_many_lines, reason = "one case, tensor by tensor")]
fn finetune(
    case: &Case,
    findings: &mut Findings,
    io: &Tensors,
    settings: &Value,
    task: &str,
) -> Result<(), String> {
    let stated = settings.as_object().ok_or("config.json: no object")?;
    let config = DbetaConfig {
        part: Part::Ecg,
        ..DbetaConfig::from_published(stated)?
    };
    // The parts that this recipe leaves out have no weights, and are not used.
    let mut weights = Dbeta::random(config.clone(), 0, &Device::flex())
        .weights()
        .clone();
    let stored = case.tensors("weights.safetensors")?;
    let names: Vec<String> = stored.names().map(str::to_owned).collect();
    let mut given = Vec::new();
    for name in names {
        let Some(own) = name.strip_prefix(&format!("{task}/")) else {
            continue;
        };
        let own = match own.strip_prefix("encoder.") {
            Some(own) => format!("ecg_encoder.{own}"),
            None => own.to_owned(),
        };
        let (shape, data) = (stored.shape(&name)?.to_vec(), stored.f32(&name)?.to_vec());
        weights.insert(own.clone(), &shape, data, &Device::flex());
        given.push(own);
    }
    let own = &settings[task];
    let label = |name: &str| format!("{task}/{name}");
    let expected = io.f64(&label("lrs"))?;
    let lr = number(own, "lr")?;
    let schedule = match own["phase_ratio"].as_array() {
        None => Schedule::constant(lr),
        Some(phases) => {
            let phase = |at: usize| phases.get(at).and_then(Value::as_f64).unwrap_or(f64::NAN);
            Schedule {
                lr,
                warmup: Span::Fraction(phase(0)),
                decay: Decay::ThreeStage {
                    hold: Span::Fraction(phase(1)),
                    fall: Span::Fraction(phase(2)),
                    start_scale: number(own, "init_lr_scale")?,
                    end_scale: number(own, "final_lr_scale")?,
                },
            }
        }
    };
    let updates = own["max_update"].as_u64().unwrap_or(expected.len() as u64) as usize;
    let rates = schedule.rates(updates, 1).map_err(|e| e.to_string())?;
    let found: Vec<f64> = (0..expected.len()).map(|step| rates.at(step)).collect();
    findings.close_all(&label("lrs"), &found, &expected, Tolerance::relative(1e-12));
    let betas = settings["betas"].as_array().ok_or("no betas")?;
    let beta = |at: usize| betas.get(at).and_then(Value::as_f64).unwrap_or(f64::NAN);
    let optimizer = OptimizerConfig {
        beta1: beta(0),
        beta2: beta(1),
        eps: number(settings, "eps")?,
        epsilon: Epsilon::BeforeCorrection,
        weight_decay: number(settings, "weight_decay")?,
        decay: WeightDecay::Decoupled,
        clip_norm: None,
        decay_all: true,
    };
    // The convolutions get no gradient.
    let trains =
        |name: &str| given.iter().any(|own| own == name) && !name.contains("feature_extractor.");
    let mut optimizer = Optimizer::new(&weights, |n| trains(n).then(Learning::default), optimizer);
    let ctx = context(true);
    let all: Vec<usize> = (0..io.shape("ecg")?[0]).collect();
    let labels: Vec<f32> = io.i64("labels")?.iter().map(|&y| y as f32).collect();
    let classes = io.shape("labels")?[1];
    let patients: Vec<usize> = io.i64("patients")?.iter().map(|&p| p as usize).collect();
    let outputs = |weights: &Weights, rows: &[usize]| -> Result<(Tensor<2>, Tensor<2>), String> {
        let encoder = Dbeta::new(config.clone(), weights.clone()).map_err(|e| e.to_string())?;
        let batch = recordings(&config, io, "ecg", Some(rows))?;
        let pooled = encoder.pooled(&batch, Pool::Mean, &ctx);
        let found = match task {
            "diagnosis" => DbetaClassifier::new(encoder, Pool::Mean, classes)
                .map_err(|e| e.to_string())?
                .logits(&batch, &ctx),
            _ => Angles::cosines(pooled.clone(), weights.get("kernel"), &ctx),
        };
        Ok((pooled, found))
    };
    let encoder = Dbeta::new(config.clone(), weights.clone()).map_err(|e| e.to_string())?;
    let first = recordings(&config, io, "ecg", Some(&[0, 1]))?;
    let states = host(encoder.token_states(&first, &ctx))?;
    close(findings, io, &label("encoder_out_first"), &states, STATES)?;
    let (pooled, found) = outputs(&weights, &all)?;
    close(
        findings,
        io,
        &label("logits_before"),
        &host(found.clone())?,
        STATES,
    )?;
    close(
        findings,
        io,
        &label("cosines_before"),
        &host(found)?,
        STATES,
    )?;
    close(findings, io, &label("pooled"), &units(pooled)?, STATES)?;
    let rows: Vec<usize> = io.i64("rows")?.iter().map(|&row| row as usize).collect();
    let size = io.shape("rows")?[1];
    let (mut losses, mut norms) = (Vec::new(), Vec::new());
    for (step, rows) in rows.chunks_exact(size).enumerate() {
        let tracked = weights.tracked(trains);
        let (_, found) = outputs(&tracked, rows)?;
        let loss = match task {
            "diagnosis" => {
                let own = rows
                    .iter()
                    .flat_map(|row| &labels[row * classes..(row + 1) * classes]);
                bce_with_logits(found, &own.copied().collect::<Vec<f32>>())
            }
            _ => {
                let angles = Angles {
                    scale: number(own, "scale")?,
                    margin: number(own, "margin")?,
                };
                let patients: Vec<usize> = rows.iter().map(|&row| patients[row]).collect();
                angles.loss(found, &patients, &ctx)
            }
        };
        losses.push(f64::from(host(loss.clone())?[0]));
        let gradients = loss.backward();
        norms.push(norm_of(&tracked, &gradients)?);
        optimizer.step(&mut weights, &tracked, gradients, rates.at(step));
    }
    findings.close_all(&label("losses"), &losses, &io.f64(&label("losses"))?, STEPS);
    findings.close_all(
        &label("grad_norms"),
        &norms,
        &io.f64(&label("grad_norms"))?,
        STEPS,
    );
    let (pooled, found) = outputs(&weights, &all)?;
    close(findings, io, &label("outputs_after"), &host(found)?, AFTER)?;
    close(findings, io, &label("pooled_after"), &units(pooled)?, AFTER)?;
    let frozen = given.iter().filter(|name| !trains(name)).count() as i64;
    let stated: i64 = io.i64(&label("no_gradient"))?.iter().sum();
    findings.exact(&label("no_gradient"), frozen, stated);
    for (name, _, found) in weights.to_host() {
        let own = name
            .strip_prefix("ecg_encoder.")
            .map(|own| format!("encoder.{own}"));
        let stored = format!("{task}/after/{}", own.unwrap_or(name.clone()));
        if io.has(&stored) && !is_key_bias(&name) {
            close(findings, io, &stored, &found, AFTER)?;
        }
    }
    Ok(())
}

/// Rows divided by their length.
fn units(pooled: Tensor<2>) -> Result<Vec<f32>, String> {
    let width = pooled.dims()[1];
    let mut rows = host(pooled)?;
    normalise(&mut rows, width);
    Ok(rows)
}

/// Recorded numbers in place of drawn ones.
struct Recorded(std::collections::VecDeque<f64>);

impl Recorded {
    fn next(&mut self) -> f64 {
        self.0.pop_front().unwrap_or(f64::NAN)
    }
}

impl Draws for Recorded {
    fn uniform(&mut self, _: f64, _: f64) -> f64 {
        self.next()
    }

    fn normal(&mut self, _: f64, _: f64) -> f64 {
        self.next()
    }

    fn sign(&mut self) -> f64 {
        self.next()
    }
}

/// The perturbation of a name; what it says beside is in its ending.
fn perturbation(name: &str) -> Option<Perturbation> {
    let shift = |stretches, dependent| Perturbation::Shift {
        share: 0.2,
        stretches,
        dependent,
    };
    Some(match name {
        "powerline" => Perturbation::Mains,
        "emg" => Perturbation::Muscle,
        "baseline_wander" => Perturbation::Wander,
        "baseline_shift" => shift(1, false),
        "baseline_shift_dep" => shift(2, true),
        _ => {
            let share = name.strip_prefix("random_leads_mask")?;
            let digits = share
                .strip_prefix("_p")
                .map(|digits| digits.replacen('0', "0.", 1));
            Perturbation::HideLeads(digits.map_or(Ok(0.5), |digits| digits.parse()).ok()?)
        }
    })
}

fn augment(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let io = case.tensors("io.safetensors")?;
    let settings = case.json("config.json")?;
    let samples = *io.shape("ecg")?.last().ok_or("no dimension")?;
    for name in settings.as_object().ok_or("config.json: no object")?.keys() {
        let how = perturbation(name).ok_or_else(|| format!("`{name}` is not known"))?;
        let mut recorded = Recorded(Default::default());
        let draws = (0..).map(|i| format!("{name}/draw_{i}"));
        for draw in draws.take_while(|draw| io.has(draw)) {
            match io.f64(&draw) {
                Ok(values) => recorded.0.extend(values),
                Err(_) => recorded.0.extend(io.i64(&draw)?.iter().map(|&x| x as f64)),
            }
        }
        let mut rows = io.f32("ecg")?.to_vec();
        how.apply(&mut rows, samples, 1.0, &mut recorded);
        findings.exact(&format!("{name}: draws left"), recorded.0.len(), 0);
        close(
            findings,
            &io,
            &format!("{name}/out"),
            &rows,
            Tolerance::absolute(2e-6),
        )?;
    }
    Ok(())
}

/// The network of a case, without parts that its weights lack.
pub fn network(case: &Case, part: Part) -> Result<Dbeta, String> {
    let stated = case.json("config.json")?;
    let stated = stated.as_object().ok_or("config.json: no object")?;
    let config = DbetaConfig {
        text_mask: false,
        part,
        ..DbetaConfig::from_published(stated)?
    };
    config.validate()?;
    Dbeta::new(config, weights(case)?).map_err(|e| e.to_string())
}

/// The weights of a case.
pub fn weights(case: &Case) -> Result<Weights, String> {
    let stored = case.tensors("weights.safetensors")?;
    let names: Vec<String> = stored.names().map(str::to_owned).collect();
    let mut weights = Weights::default();
    for name in names {
        let (shape, data) = (stored.shape(&name)?.to_vec(), stored.f32(&name)?.to_vec());
        // The table of word pieces stands there twice.
        match name.strip_suffix("encoder.embed_tokens.weight") {
            Some(prefix) if stored.f32(&format!("{prefix}shared.weight"))? == data => {}
            Some(_) => return Err(format!("`{name}` is not the table of word pieces")),
            None => weights.insert(name, &shape, data, &Device::flex()),
        }
    }
    Ok(weights)
}

fn recordings(
    config: &DbetaConfig,
    io: &Tensors,
    name: &str,
    rows: Option<&[usize]>,
) -> Result<DbetaBatch, String> {
    let shape = io.shape(name)?.to_vec();
    let of_one: usize = shape[1..].iter().product();
    let values = io.f32(name)?;
    let all: Vec<usize> = (0..shape[0]).collect();
    let inputs: Vec<Signal> = rows
        .unwrap_or(&all)
        .iter()
        .map(|row| Signal {
            samples: values[row * of_one..(row + 1) * of_one].to_vec(),
        })
        .collect();
    DbetaBatch::new(config, &inputs).map_err(|e| e.to_string())
}

type Cut = Option<(std::ops::Range<usize>, usize)>;

/// Rows of `[.., texts, length]`, cut to a length.
fn part(io: &Tensors, name: &str, cut: Cut) -> Result<Vec<i64>, String> {
    let all = io.i64(name)?;
    let width = *io.shape(name)?.last().ok_or("no dimension")?;
    let (rows, length) = cut.unwrap_or((0..all.len() / width, width));
    let rows = all.chunks_exact(width).skip(rows.start).take(rows.len());
    Ok(rows.flat_map(|row| row[..length].to_vec()).collect())
}

fn texts(io: &Tensors, ids: &str, mask: &str, cut: Cut) -> Result<TextIds, String> {
    let length = match &cut {
        Some((_, length)) => *length,
        None => *io.shape(ids)?.last().ok_or("no dimension")?,
    };
    Ok(TextIds {
        ids: part(io, ids, cut.clone())?
            .into_iter()
            .map(|id| id as u32)
            .collect(),
        real: part(io, mask, cut)?.into_iter().map(|m| m != 0).collect(),
        length,
    })
}

/// What is to be predicted; -100 stands for nothing.
fn words(labels: &[i64]) -> Vec<Option<u32>> {
    labels
        .iter()
        .map(|&word| u32::try_from(word).ok())
        .collect()
}

fn context(fused: bool) -> Context {
    let ctx = Context::inference(&Device::flex().autodiff());
    if fused { ctx } else { ctx.composed() }
}

pub fn host<const D: usize>(x: Tensor<D>) -> Result<Vec<f32>, String> {
    x.into_data()
        .try_to_vec::<f32>()
        .map_err(|problem| format!("{problem:?}"))
}

/// Compares recorded values with those of the case, under the names that it has.
fn traced(
    findings: &mut Findings,
    io: &Tensors,
    trace: &Trace,
    stored: impl Fn(&str, &[usize]) -> String,
) -> Result<(), String> {
    for (name, (shape, values)) in trace.take() {
        let values = match name.starts_with("conv_block_") {
            true => channels_first(&shape, &values),
            false => values,
        };
        close(findings, io, &stored(&name, &shape), &values, STATES)?;
    }
    Ok(())
}

/// `[batch, time, channels]` as `[batch, channels, time]`.
fn channels_first(shape: &[usize], values: &[f32]) -> Vec<f32> {
    let [batch, time, channels] = *shape else {
        return values.to_vec();
    };
    let at = |item: usize, channel: usize, t: usize| values[(item * time + t) * channels + channel];
    let mut out = Vec::with_capacity(values.len());
    for item in 0..batch {
        for channel in 0..channels {
            out.extend((0..time).map(|t| at(item, channel, t)));
        }
    }
    out
}
