//! DERI: a pass of pre-training with its losses and gradients, in evaluation and training, and the vectors for zero-shot diagnosis.

use burn::tensor::{Device, Tensor};
use purkinje_models::compat::Compat;
use purkinje_models::deri::{DecoderConfig, Deri, DeriConfig, DeriLosses, Pass, Views};
use purkinje_models::encoder::Encoder as _;
use purkinje_models::layers::{Context, DropoutMask, ResNetConfig, Trace};
use purkinje_models::paired::{PairConfig as _, Paired as _, Signals, top};
use purkinje_models::text::{TextConfig, TextIds};
use purkinje_train::Learning;
use purkinje_train::optimizer::Optimizer;
use serde_json::Value;

use crate::Check;
use crate::compare::{Findings, Tolerance, close};
use crate::paired::{self, recordings, stored_weights, texts, values};
use crate::walk::{Case, Tensors};

/// The kinds checked here.
pub const CHECKS: &[(&str, Check)] = &[("pretrain_step", pretrain_step)];

const ACTIVATIONS: Tolerance = Tolerance::relative(1e-4);
/// After an update, which divides gradients by their size.
const AFTER_STEP: Tolerance = Tolerance::relative(1e-3);

/// The sizes of a case, from a file beside it.
pub fn config_of(case: &Case, file: &str) -> Result<DeriConfig, String> {
    let stated = case.json(file)?;
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

fn pretrain_step(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let (config, io) = (
        config_of(case, "config.json")?,
        case.tensors("io.safetensors")?,
    );
    config.validate()?;
    let settings = case.json("config.json")?;
    let device = Device::flex();
    let weights = stored_weights(case, "weights.safetensors")?;
    let model = Deri::with(config.clone(), weights).map_err(|e| e.to_string())?;
    let heads = Some(config.decoder.heads);
    paired::imported::<Deri>(case, findings, model.weights(), heads)?;
    let (batch, texts) = (recordings(&io, None)?, texts(&io, None, "")?);
    findings.exact("tokens", config.tokens(), io.shape("eval.noise1")?[1]);
    findings.exact("kept", config.kept(), io.shape("eval.keep1")?[1]);
    for fused in [true, false] {
        let with = |ctx: Context| if fused { ctx } else { ctx.composed() };
        let ctx = with(Context::inference(&device));
        let found = model.feature(&batch, false, &ctx);
        close(
            findings,
            &io,
            "zs.ext_ecg_emb",
            &values(&found)?,
            ACTIVATIONS,
        )?;
        for mode in ["eval", "train", "stoch"] {
            step(
                findings,
                &io,
                &model,
                (&batch, &texts),
                (mode, &settings),
                &with,
            )?;
        }
    }
    Ok(())
}

/// One pass in a mode.
#[expect(clippy::too_many_lines, reason = "one case, tensor by tensor")]
fn step(
    findings: &mut Findings,
    io: &Tensors,
    model: &Deri,
    (batch, texts): (&Signals, &TextIds),
    (mode, settings): (&str, &Value),
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
    let states = format!("{mode}.act.lm_model@0");
    close(findings, io, &states, &values(&read.states)?, ACTIVATIONS)?;
    activations(findings, io, mode, &trace)?;
    vectors(findings, io, mode, &pass)?;
    let losses = DeriLosses::of(&pass, config.temperature, &ctx);
    let terms = model.terms(
        batch,
        &read,
        &texts.real,
        &views,
        &with(Context::inference(&graph)),
    );
    let own = [
        &losses.alignment,
        &losses.mixed,
        &losses.views,
        &losses.decoded_ecg,
    ];
    let total = own
        .map(Clone::clone)
        .into_iter()
        .reduce(|sum, own| sum + own);
    let total = total.ok_or("no loss")?;
    if mode == "eval" {
        let same = values(&paired::total::<Deri>(&terms))?;
        close(findings, io, "eval.loss_total", &same, ACTIVATIONS)?;
    }
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
        let [there, back] = top(&pass.ecg, &pass.text, k, &ctx);
        let found = 50.0 * (there + back);
        let name = format!("{mode}.{name}");
        if io.has(&name) {
            close(findings, io, &name, &[found as f32], ACTIVATIONS)?;
        }
    }
    if mode == "eval" {
        return Ok(());
    }
    let gradients = total.backward();
    paired::compare_gradients(findings, io, &tracked, &gradients, mode)?;
    if io.has(&format!("{mode}.lr_after_step_f64")) {
        let (schedule, optimizer) = paired::recipe(settings)?;
        let rates = schedule.rates(2, 1).map_err(|e| e.to_string())?;
        let name = format!("{mode}.lr_after_step_f64");
        let exact = Tolerance::relative(1e-12);
        findings.close_all(&name, &[rates.at(1)], &io.f64(&name)?, exact);
        let learns = |name: &str| (!name.starts_with("lm_model.")).then(Learning::default);
        let mut weights = model.weights().clone().untracked();
        let mut optimizer = Optimizer::new(&weights, learns, optimizer);
        optimizer.step(&mut weights, &tracked, gradients, rates.at(0));
        for (name, _, found) in weights.to_host() {
            let name = format!("{mode}.after_step.{name}");
            close(findings, io, &name, &found, AFTER_STEP)?;
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
        // The projection of texts is called three times in a pass.
        let at = match name.as_str() {
            "proj_t.text" => "proj_t@0".to_owned(),
            "proj_t.pieces" => "proj_t@1".to_owned(),
            "proj_t.decoded" => "proj_t@2".to_owned(),
            name if name.ends_with(".in") => name.to_owned(),
            name => format!("{name}@0"),
        };
        let at = format!("{mode}.act.{at}");
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
    for (name, found) in named(pass) {
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

/// What a pass gives, by the names of the cases.
pub fn named(pass: &Pass) -> [(&'static str, &Tensor<2>); 10] {
    [
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
    ]
}
