//! A transformer over patches, and BERT with its vector of a text.

use burn::tensor::{Device, Tensor};
use purkinje_models::checkpoint;
use purkinje_models::encoder::Encoder as _;
use purkinje_models::layers::{Context, DropoutMask, Trace, VitConfig};
use purkinje_models::paired::{Paired as _, Part};
use purkinje_models::text::{TextConfig, TextIds};
use purkinje_text::Tokenizer;

use crate::Check;
use crate::compare::{Findings, Tolerance, close};
use crate::entry::{index, number, texts as strings};
use crate::paired::{self, stored_weights, values, vit_config};
use crate::walk::{Case, Tensors};

/// The kinds checked here.
pub const CHECKS: &[(&str, Check)] = &[("vit1d", vit1d), ("bert_text", bert_text)];

const ACTIVATIONS: Tolerance = Tolerance::relative(3e-5);
const GRADIENTS: Tolerance = Tolerance::relative(1e-4);

fn vit1d(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let (stated, io) = (case.json("config.json")?, case.tensors("io.safetensors")?);
    let config = vit_config(&stated)?;
    let weights = stored_weights(case, "weights.safetensors")?;
    weights
        .require(&config.entries(""))
        .map_err(|e| e.to_string())?;
    if case.has("encoder.pth") {
        paired::same_as(case, findings, "encoder.pth", &weights)?;
    }
    let device = Device::flex();
    let graph = device.clone().autodiff();
    let [batch, leads, time] = io.shape("x")?[..] else {
        return Err("`x` has other than three dimensions".to_owned());
    };
    let x = Tensor::<1>::from_floats(io.f32("x")?, &graph);
    let x = x.reshape([batch, leads, time]).swap_dims(1, 2);
    for fused in [true, false] {
        let with = |ctx: Context| if fused { ctx } else { ctx.composed() };
        let (trace, tracked) = (Trace::default(), weights.tracked(|_| true));
        let ctx = with(Context::inference(&graph)).traced(&trace);
        let input = x.clone().require_grad();
        let out = config.run(input.clone(), &tracked, "", &ctx);
        close(findings, &io, "out", &values(&out)?, ACTIVATIONS)?;
        for (name, (_, found)) in std::mem::take(&mut *trace.borrow_mut()) {
            close(findings, &io, &name, &found, ACTIVATIONS)?;
        }
        if io.has("head.out") {
            let w = Tensor::<1>::from_floats(io.f32("head.weight")?, &graph);
            let [classes, width] = io.shape("head.weight")?[..] else {
                return Err("`head.weight` has other than two dimensions".to_owned());
            };
            let b = Tensor::<1>::from_floats(io.f32("head.bias")?, &graph);
            let head = out.clone().matmul(w.reshape([classes, width]).transpose()) + b.unsqueeze();
            close(findings, &io, "head.out", &values(&head)?, ACTIVATIONS)?;
        }
        let along = Tensor::<1>::from_floats(io.f32("grad_out")?, &graph);
        let gradients = (out.clone() * along.reshape(out.dims())).sum().backward();
        for p in tracked.iter() {
            let (name, found) = (format!("grad.{}", p.name), p.value.grad(&gradients));
            match (io.has(&name), found) {
                (true, Some(found)) => close(findings, &io, &name, &values(&found)?, GRADIENTS)?,
                (true, None) => findings.fail(format!("{name} was not found")),
                (false, _) => {}
            }
        }
        if io.has("grad.x") {
            let found = input.grad(&gradients).ok_or("no gradient of the input")?;
            close(
                findings,
                &io,
                "grad.x",
                &values(&found.swap_dims(1, 2))?,
                GRADIENTS,
            )?;
        }
        let variant = &stated["droppath_variant"];
        if !variant.is_null() {
            let config = VitConfig {
                drop_path: number(variant, "drop_path_rate")? as f32,
                ..config.clone()
            };
            let masks = drop_masks(&io, config.depth)?;
            let ctx = with(Context::training(&graph, 0.0, 0)).with_dropout_masks(masks);
            let out = config.run(x.clone(), &weights, "", &ctx);
            close(findings, &io, "droppath.out", &values(&out)?, ACTIVATIONS)?;
            findings.exact("masks left", ctx.masks_left(), 0);
        }
    }
    Ok(())
}

fn drop_masks(io: &Tensors, depth: usize) -> Result<Vec<DropoutMask>, String> {
    let mut masks = Vec::new();
    for block in 0..depth {
        for branch in [1, 2] {
            let name = format!("droppath.mask.block{block}.droppath{branch}#0");
            if io.has(&name) {
                masks.push(DropoutMask {
                    shape: io.shape(&name)?.to_vec(),
                    keep: io.i64(&name)?.iter().map(|keep| *keep != 0).collect(),
                });
            }
        }
    }
    Ok(masks)
}

/// The tokenizer of a folder of BERT, cut to a length.
pub fn tokenizer(case: &Case, folder: &str, length: usize) -> Result<Tokenizer, String> {
    for file in ["vocab.txt", "tokenizer_config.json"] {
        case.path(&format!("{folder}/{file}"));
    }
    let read = Tokenizer::read(&case.path(folder)).map_err(|e| e.to_string())?;
    read.cut_to(length).map_err(|e| e.to_string())
}

#[expect(clippy::too_many_lines, reason = "one case, tensor by tensor")]
fn bert_text(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let (stated, io) = (case.json("config.json")?, case.tensors("io.safetensors")?);
    let folder = crate::entry::text(&stated, "text_model")?.trim_end_matches('/');
    let length = index(&stated, "max_length")?;
    let tokenizer = tokenizer(case, folder, length)?;
    let (mut ids, mut mask) = (Vec::new(), Vec::new());
    for (text, expected) in strings(&stated, "texts")?
        .iter()
        .zip(stated["tokens"].as_array().ok_or("no tokens")?)
    {
        let own = tokenizer.ids(text).map_err(|e| e.to_string())?;
        let pieces: Vec<String> = own.iter().filter_map(|&id| tokenizer.piece(id)).collect();
        let expected = expected.as_array().ok_or("tokens: no list")?.iter();
        let expected: Vec<&str> = expected.filter_map(|piece| piece.as_str()).collect();
        let expected = &expected[..own.len().min(expected.len())];
        findings.exact_all(
            &format!("pieces of `{text}`"),
            &pieces,
            &expected.iter().map(|p| (*p).to_owned()).collect::<Vec<_>>(),
        );
        let real = own.len();
        let mut own: Vec<i64> = own.into_iter().map(i64::from).collect();
        own.resize(length, i64::from(tokenizer.pad()));
        ids.extend(own);
        mask.extend((0..length).map(|at| i64::from(at < real)));
    }
    findings.exact_all("input_ids", &ids, &io.i64("input_ids")?);
    findings.exact_all("attention_mask", &mask, &io.i64("attention_mask")?);
    let config = TextConfig::from_published(&case.json(&format!("{folder}/config.json"))?)?;
    let weights = paired::with_text(case, purkinje_models::layers::Weights::default(), folder)?;
    for file in [
        format!("{folder}/pytorch_model.bin"),
        "weights.safetensors".to_owned(),
    ] {
        if !case.has(&file) {
            continue;
        }
        let own = match file.ends_with(".bin") {
            true => {
                checkpoint::read_pth(&case.path(&file))
                    .map_err(|e| e.to_string())?
                    .model
            }
            false => {
                checkpoint::read_safetensors(&case.path(&file))
                    .map_err(|e| e.to_string())?
                    .0
            }
        };
        for (name, tensor) in own.iter() {
            let name = name.strip_prefix("lm_model.").unwrap_or(name);
            let known = weights.parameter(&format!("lm_model.{name}"));
            if let Some(known) = known {
                findings.exact_all(
                    &format!("{file}: {name}"),
                    &tensor.data,
                    &values(&known.value)?,
                );
            }
        }
    }
    let sizes = purkinje_models::merl::MerlConfig {
        text: config,
        text_tokens: length,
        part: Part::All,
        ..purkinje_models::merl::MerlConfig::size("tiny").ok_or("no size")?
    };
    // What is not of the encoder of texts is not looked at.
    let mut all = purkinje_models::merl::Merl::random(sizes.clone(), 0, &Device::flex());
    let mut own = all.weights().clone();
    for p in weights.iter() {
        own.put(p.clone());
    }
    all = all.with_weights(own);
    for fused in [true, false] {
        let with = |ctx: Context| if fused { ctx } else { ctx.composed() };
        let trace = Trace::default();
        let ctx = with(Context::inference(&Device::flex())).traced(&trace);
        let texts = paired::texts(&io, None, "")?;
        let read = all.read(&texts, &ctx);
        close(
            findings,
            &io,
            "last_hidden_state",
            &values(&read.states)?,
            ACTIVATIONS,
        )?;
        close(
            findings,
            &io,
            "pooler_output",
            &values(&read.pooled)?,
            ACTIVATIONS,
        )?;
        for (name, (_, found)) in std::mem::take(&mut *trace.borrow_mut()) {
            let name = match name.strip_prefix("layer_") {
                Some(number) => format!("hidden_{number}"),
                None if name == "embeddings" => "hidden_0".to_owned(),
                None => continue,
            };
            close(findings, &io, &name, &found, ACTIVATIONS)?;
        }
        if io.has("nomask.pooler_output") {
            let rows: Vec<usize> = (0..io.shape("nomask.pooler_output")?[0]).collect();
            let some = paired::texts(&io, Some(&rows), "")?;
            let texts = TextIds {
                real: vec![true; some.ids.len()],
                ..some
            };
            let found = all.read(&texts, &with(Context::inference(&Device::flex())));
            close(
                findings,
                &io,
                "nomask.pooler_output",
                &values(&found.pooled)?,
                ACTIVATIONS,
            )?;
        }
    }
    Ok(())
}
