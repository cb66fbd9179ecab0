//! DERI: a pass of pre-training with its losses and gradients, in evaluation and training, and the vectors for zero-shot diagnosis.

use burn::tensor::{Device, Tensor};
use purkinje_models::compat::Compat;
use purkinje_models::deri::{
    DecoderConfig, Deri, DeriBatch, DeriConfig, DeriInput, DeriLosses, Pass, Views, Weighted, top,
};
use purkinje_models::layers::{Context, DropoutMask, ResNetConfig, Trace, Weights};
use purkinje_models::text::{TextConfig, TextIds};
use serde_json::Value;

use crate::Check;
use crate::compare::{Findings, Tolerance, close};
use crate::walk::{Case, Tensors};

/// The kinds checked here.
pub const CHECKS: &[(&str, Check)] = &[("pretrain_step", pretrain_step)];

const ACTIVATIONS: Tolerance = Tolerance::relative(1e-4);
const GRADIENTS: Tolerance = Tolerance::relative(2e-4);

/// The sizes of a case.
pub fn config(case: &Case) -> Result<DeriConfig, String> {
    let stated = case.json("config.json")?;
    let number = |value: &Value, name: &str| {
        let found = value[name].as_u64().map(|n| n as usize);
        found.ok_or_else(|| format!("config.json: no number `{name}`"))
    };
    let (own, heads) = (
        &stated["tiny_overrides"],
        &stated["network"]["projection_head"],
    );
    let list = |name: &str| -> Result<Vec<usize>, String> {
        let found = own[name]
            .as_array()
            .ok_or_else(|| format!("no list `{name}`"))?;
        found
            .iter()
            .map(|n| {
                n.as_u64()
                    .map(|n| n as usize)
                    .ok_or_else(|| name.to_owned())
            })
            .collect()
    };
    let decoder = &own["decoder"];
    let rates = decoder["drop_path"].as_array().ok_or("no drop_path")?;
    let rate =
        |value: &Value, name: &str| value.as_f64().ok_or_else(|| format!("no number `{name}`"));
    let text = stated["network"]["text_model"]
        .as_str()
        .ok_or("no text_model")?;
    let text = case.json(&format!("{text}/config.json"))?;
    Ok(DeriConfig {
        ecg: ResNetConfig {
            leads: number(&stated["network"], "num_leads")?,
            widths: list("resnet_widths")?,
            blocks: list("resnet_blocks")?,
            bottleneck: false,
        },
        samples: number(own, "ecg_length")?,
        text: TextConfig::from_published(&text)?,
        text_tokens: number(own, "text_tokens")?,
        width: number(heads, "projection_size")?,
        text_inner: number(heads, "mlp_hidden_size")?,
        mask_ratio: rate(&stated["mask_ratio"], "mask_ratio")?,
        decoder: DecoderConfig {
            inner: number(decoder, "mlp_dim")?,
            depth: number(decoder, "depth")?,
            heads: number(decoder, "heads")?,
            head_width: number(decoder, "dim_head")?,
            dropout: rate(&decoder["to_patch_and_head_dropout"], "dropout")? as f32,
            drop_path: rates
                .last()
                .map_or(Ok(0.0), |last| rate(last, "drop_path"))? as f32,
        },
        temperature: rate(&stated["temperature"], "temperature")?,
        compat: Compat::Released,
        ..DeriConfig::default()
    })
}

/// The stored weights; numbers of batches are whole numbers.
fn weights(case: &Case) -> Result<Weights, String> {
    let stored = case.tensors("weights.safetensors")?;
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

fn texts(io: &Tensors) -> Result<TextIds, String> {
    let ids = io.i64("input_ids")?;
    Ok(TextIds {
        length: io.shape("input_ids")?[1],
        ids: ids.iter().map(|&id| id as u32).collect(),
        real: io
            .i64("attention_mask")?
            .iter()
            .map(|&real| real == 1)
            .collect(),
    })
}

fn recordings(config: &DeriConfig, io: &Tensors) -> Result<DeriBatch, String> {
    let samples: Vec<f32> = io
        .i64("ecg_int16")?
        .iter()
        .map(|&v| (v as f64 / 1000.0) as f32)
        .collect();
    let each = samples.chunks_exact(config.ecg.leads * config.samples);
    let inputs: Vec<DeriInput> = each
        .map(|own| DeriInput {
            samples: own.to_vec(),
        })
        .collect();
    DeriBatch::new(config, &inputs).map_err(|e| e.to_string())
}

fn values<const D: usize>(x: &Tensor<D>) -> Result<Vec<f32>, String> {
    x.to_data()
        .convert::<f32>()
        .try_to_vec::<f32>()
        .map_err(|e| format!("{e:?}"))
}

fn pretrain_step(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let (config, io) = (config(case)?, case.tensors("io.safetensors")?);
    config.validate()?;
    let device = Device::flex();
    let model = Deri::new(config.clone(), weights(case)?).map_err(|e| e.to_string())?;
    for entries in [config.text_entries(), config.pretraining_entries()] {
        model
            .weights()
            .require(&entries)
            .map_err(|e| e.to_string())?;
    }
    let (batch, texts) = (recordings(&config, &io)?, texts(&io)?);
    findings.exact("tokens", config.tokens(), io.shape("eval.noise1")?[1]);
    findings.exact("kept", config.kept(), io.shape("eval.keep1")?[1]);
    for fused in [true, false] {
        let with = |ctx: Context| if fused { ctx } else { ctx.composed() };
        let ctx = with(Context::inference(&device));
        let found = model.vectors(&batch, false, &ctx);
        close(
            findings,
            &io,
            "zs.ext_ecg_emb",
            &values(&found)?,
            ACTIVATIONS,
        )?;
        for mode in ["eval", "train", "stoch"] {
            step(findings, &io, &model, (&batch, &texts), mode, &with)?;
        }
    }
    Ok(())
}

/// One pass in a mode.
fn step(
    findings: &mut Findings,
    io: &Tensors,
    model: &Deri,
    (batch, texts): (&DeriBatch, &TextIds),
    mode: &str,
    with: &impl Fn(Context) -> Context,
) -> Result<(), String> {
    let config = model.config();
    let graph = Device::flex().autodiff();
    let noise = [1, 2].map(|view| io.f32(&format!("{mode}.noise{view}")).map(<[f32]>::to_vec));
    let [one, two] = noise;
    let (one, two) = (one?, two?);
    let views = Views::from_noise([&one, &two], config.tokens(), config.kept(), false);
    for (view, kept) in (1..).zip(&views.0) {
        let kept: Vec<i64> = kept.iter().map(|&place| place as i64).collect();
        let name = format!("{mode}.keep{view}");
        findings.exact_all(&name, &kept, &io.i64(&name)?);
    }
    // Without dropout the sizes are those of a network that has none.
    let model = match mode {
        "train" => model.without_dropout(),
        _ => model.clone(),
    };
    let tracked = model
        .weights()
        .tracked(|name| !name.starts_with("lm_model."));
    let model = model.with_weights(tracked.clone());
    let trace = Trace::default();
    let ctx = match mode {
        "eval" => Context::inference(&graph),
        "train" => Context::training(&graph, 0.0, 0),
        _ => Context::training(&graph, 0.0, 0).with_dropout_masks(masks(io)?),
    };
    let ctx = with(ctx).traced(&trace);
    let read = model.read(texts, &ctx);
    let pass = model.pass(batch, &read, None, &views, &ctx);
    findings.exact("masks left", ctx.masks_left(), 0);
    activations(findings, io, mode, &trace)?;
    vectors(findings, io, mode, &pass)?;
    let losses = DeriLosses::of(&pass, config.temperature, &ctx);
    let total = losses.total(Weighted::released());
    for (name, loss) in [
        ("cma", &losses.alignment),
        ("cma_mix", &losses.mixed),
        ("uma", &losses.views),
        ("dec_ecg", &losses.decoded_ecg),
        ("dec_text", &losses.decoded_text),
        ("total", &total),
    ] {
        close(
            findings,
            io,
            &format!("{mode}.loss_{name}"),
            &values(loss)?,
            ACTIVATIONS,
        )?;
    }
    for (name, k) in [("acc1", 1), ("acc5", 5)] {
        let found = 100.0 * top(pass.ecg.clone(), pass.text.clone(), k, &ctx);
        let name = format!("{mode}.{name}");
        if io.has(&name) {
            close(findings, io, &name, &[found as f32], ACTIVATIONS)?;
        }
    }
    if mode == "eval" {
        return Ok(());
    }
    let gradients = total.backward();
    for p in tracked.iter().filter(|p| !p.state) {
        let (name, found) = (format!("{mode}.grad.{}", p.name), p.value.grad(&gradients));
        match (io.has(&name), found) {
            (true, Some(found)) => close(findings, io, &name, &values(&found)?, GRADIENTS)?,
            (true, None) => findings.fail(format!("{name} was not found")),
            (false, _) => {}
        }
    }
    let mut after = model.weights().clone();
    after
        .store(ctx.take_handed_back())
        .map_err(|e| e.to_string())?;
    for p in after.iter().filter(|p| p.state) {
        let name = format!("{mode}.after.{}", p.name);
        if io.has(&name) && !p.name.ends_with("num_batches_tracked") {
            close(findings, io, &name, &values(&p.value)?, ACTIVATIONS)?;
        }
    }
    Ok(())
}

/// The recorded masks in the order in which a pass applies them.
fn masks(io: &Tensors) -> Result<Vec<DropoutMask>, String> {
    let mut names: Vec<String> = io
        .names()
        .filter(|name| name.starts_with("stoch.mask."))
        .map(str::to_owned)
        .collect();
    let place = |name: &String| {
        let parts = [
            "lm_model.embeddings",
            "lm_model.encoder",
            "decode_e",
            "decode_t",
        ];
        let part = parts.iter().position(|part| name.contains(part));
        let within = [
            "to_patch",
            "attention.self",
            "attention.output",
            "droppath1",
            "droppath2",
            ".output.dropout",
            "head",
        ];
        let layer = name
            .split(".layer.")
            .nth(1)
            .map(|rest| rest.split('.').next().map(str::to_owned));
        (
            part,
            layer,
            within.iter().position(|part| name.contains(part)),
            name.clone(),
        )
    };
    names.sort_by_key(place);
    let mask = |name: &String| {
        Ok(DropoutMask {
            shape: io.shape(name)?.to_vec(),
            keep: io.i64(name)?.iter().map(|&keep| keep != 0).collect(),
        })
    };
    names.iter().map(mask).collect()
}

/// What modules gave, by their names; those of convolutions are stored with channels first.
fn activations(
    findings: &mut Findings,
    io: &Tensors,
    mode: &str,
    trace: &Trace,
) -> Result<(), String> {
    for (name, (shape, values)) in std::mem::take(&mut *trace.borrow_mut()) {
        let at = match name.ends_with(".in") {
            true => format!("{mode}.act.{name}"),
            false => format!("{mode}.act.{name}@0"),
        };
        if !io.has(&at) {
            continue;
        }
        let turned = ["ecg_encoder", "downconv"].contains(&name.as_str()) || name.ends_with(".in");
        let values = match (turned, &shape[..]) {
            (true, &[batch, time, channels]) => {
                let x = Tensor::<1>::from_floats(values.as_slice(), &Device::flex());
                self::values(
                    &x.reshape([batch, time, channels])
                        .swap_dims(1, 2)
                        .flatten::<1>(0, 2),
                )?
            }
            _ => values,
        };
        close(findings, io, &at, &values, ACTIVATIONS)?;
    }
    Ok(())
}

fn vectors(findings: &mut Findings, io: &Tensors, mode: &str, pass: &Pass) -> Result<(), String> {
    for (name, found) in [
        ("ecg_emb1", &pass.views[0]),
        ("ecg_emb2", &pass.views[1]),
        ("proj_ecg_emb", &pass.ecg),
        ("mix_ecg_emb", &pass.mixed_ecg),
        ("proj_text_emb", &pass.text),
        ("mix_text_emb", &pass.mixed_text),
        ("dec_ecg_emb", &pass.decoded_ecg),
        ("dec_text_emb", &pass.decoded_text),
        ("ori_ecg_emb", &pass.own_ecg),
        ("ori_text_emb", &pass.own_text),
    ] {
        close(
            findings,
            io,
            &format!("{mode}.{name}"),
            &values(found)?,
            ACTIVATIONS,
        )?;
    }
    Ok(())
}
