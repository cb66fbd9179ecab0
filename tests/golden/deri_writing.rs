//! What the report cases of DERI have in common: sizes, tokens, written sequences.

use burn::tensor::{Device, Tensor, TensorData};
use purkinje_models::compat::Compat;
use purkinje_models::decoding::{Decoding, Finish, Written};
use purkinje_models::deri::report::{Gpt2Report, Gpt2ReportConfig};
use purkinje_models::deri::{DecoderConfig, DeriConfig, Feature};
use purkinje_models::layers::{Context, ResNetConfig};
use purkinje_models::paired::Signals;
use purkinje_models::text::{BertConfig, Gpt2Config, TextConfig, TextIds};
use purkinje_models::writing::Taught;
use purkinje_text::Tokenizer;
use serde_json::Value;

use crate::compare::{Findings, Tolerance};
use crate::entry::{index, index_or, indices, text};
use crate::paired::{recordings, stored_weights, values};
use crate::walk::{Case, Tensors};

/// Scores of written sequences from stored tokens of recordings.
const SCORES: Tolerance = Tolerance::relative(1e-4);
/// The same from recordings. Single precision leaves 2e-5 of their tokens open, in the cases as here, which these decoders make 20 times
/// as much of.
const SCORES_OF_RECORDINGS: Tolerance = Tolerance::relative(2e-3);
/// Differences of logits, of the largest logit.
const MARGINS: f64 = 1e-4;

/// Where the parts of a case are.
pub struct Places<'a> {
    pub weights: &'a str,
    pub decoder: &'a str,
    pub sizes: Value,
}

/// The sizes of the encoder.
fn encoder(stated: &Value, io: &Tensors) -> Result<DeriConfig, String> {
    let own = &stated["encoder"];
    let decoder = &own["decoder"];
    let text = BertConfig {
        hidden_size: index(own, "text_width")?,
        ..BertConfig::default()
    };
    let plain = DeriConfig::default();
    Ok(DeriConfig {
        ecg: ResNetConfig {
            leads: io.shape("ecg_int16")?[1],
            widths: indices(own, "resnet_widths")?,
            blocks: indices(own, "resnet_blocks")?,
            bottleneck: own["bottleneck"].as_bool().unwrap_or(false),
        },
        samples: index(own, "ecg_length")?,
        text: TextConfig::Bert(text),
        width: index(own, "projection")?,
        text_inner: index(own, "hidden")?,
        heads: index_or(own, "heads", plain.heads)?,
        decoder: DecoderConfig {
            inner: index(decoder, "mlp_dim")?,
            depth: index(decoder, "depth")?,
            heads: index(decoder, "heads")?,
            head_width: index(decoder, "dim_head")?,
            ..plain.decoder
        },
        compat: Compat::Released,
        ..plain
    })
}

/// The network of a case.
pub fn network(
    case: &Case,
    places: &Places<'_>,
    io: &Tensors,
    feature: Feature,
) -> Result<Gpt2Report, String> {
    let published = case.json(&format!("{}/config.json", places.decoder))?;
    let weights = stored_weights(case, places.weights)?;
    let table = "decoder.encoder_decoder.decoder.transformer.wte.weight";
    let table = weights.parameter(table).ok_or("no table of word pieces")?;
    let decoder = Gpt2Config {
        vocab_size: table.shape[0],
        add_cross_attention: true,
        ..Gpt2Config::from_published(&published)?
    };
    let config = Gpt2ReportConfig {
        encoder: DeriConfig {
            feature,
            ..encoder(&places.sizes, io)?
        },
        decoder,
    };
    config.validate()?;
    Gpt2Report::new(config, weights).map_err(|e| e.to_string())
}

/// The tokenizer of a case; its special tokens have the numbers that the case says, and a text ends as the files beside it say.
pub fn tokenizer(
    case: &Case,
    folder: &str,
    stated: &Value,
    findings: &mut Findings,
) -> Result<Tokenizer, String> {
    for file in ["vocab.json", "merges.txt"] {
        case.path(&format!("{folder}/{file}"));
    }
    let found = Tokenizer::read(&case.path(folder)).map_err(|e| e.to_string())?;
    for (name, id) in [
        ("bos_id", found.start()),
        ("eos_id", Some(found.end())),
        ("pad_id", Some(found.pad())),
    ] {
        findings.exact(name, id.map(|id| id as usize), Some(index(stated, name)?));
    }
    let settings = case.json(&format!("{folder}/tokenizer_config.json"))?;
    let end = found.piece(found.end()).unwrap_or_default();
    findings.exact("eos_token", end.as_str(), text(&settings, "eos_token")?);
    let generation = case.json(&format!("{folder}/generation_config.json"))?;
    let id = index(&generation, "eos_token_id")?;
    findings.exact("eos_token_id", found.end() as usize, id);
    Ok(found)
}

/// The ids of reports, with what begins and ends them.
pub fn ids(tokenizer: &Tokenizer, reports: &[&str]) -> Result<Vec<Vec<u32>>, String> {
    let each = reports.iter().map(|report| tokenizer.ids(report));
    each.collect::<Result<_, _>>().map_err(|e| e.to_string())
}

/// Some of the recordings with their reports.
pub fn chosen(
    io: &Tensors,
    taught: &[Vec<u32>],
    rows: &[usize],
    pad: u32,
    length: usize,
) -> Result<(Signals, Taught), String> {
    let batch = recordings(io, Some(rows))?;
    let reports: Vec<Vec<u32>> = rows.iter().map(|&row| taught[row].clone()).collect();
    Ok((batch, Taught::new(&reports, pad, length)?))
}

/// The sequences of the case: names `generate.beamsK.sequences` or `generate.beamsK.lpP.sequences`.
pub fn sequences(
    findings: &mut Findings,
    io: &Tensors,
    model: &Gpt2Report,
    batch: &Signals,
    (tokenizer, stated): (&Tokenizer, &Value),
    ctx: &Context,
) -> Result<(), String> {
    let ending = ".sequences";
    let names: Vec<String> = io
        .names()
        .filter_map(|name| name.strip_suffix(ending))
        .filter(|name| name.starts_with("generate."))
        .map(str::to_owned)
        .collect();
    for name in names {
        let number = |word: &str| {
            let part = name.split('.').find_map(|part| part.strip_prefix(word))?;
            part.parse::<f64>().ok()
        };
        // What stands behind `lp` may hold a point.
        let penalty = name.split_once(".lp").map(|(_, rest)| rest.parse::<f64>());
        let length_penalty = penalty
            .transpose()
            .map_err(|e| format!("{name}: {e}"))?
            .unwrap_or(1.0);
        let shape = io.shape(&format!("{name}{ending}"))?;
        let limit = match stated.get("max_length") {
            Some(_) => index(stated, "max_length")?,
            None => index(&stated["generation"], "max_length")?,
        };
        let how = Decoding {
            beams: number("beams").ok_or_else(|| format!("{name}: no number of beams"))? as usize,
            max_tokens: limit,
            start: tokenizer.start().ok_or("no start token")?,
            end: tokenizer.end(),
            finish: Finish::Penalised { length_penalty },
        };
        let found = model.write(batch, &how, ctx).map_err(|e| e.to_string())?;
        let how_close = SCORES_OF_RECORDINGS;
        compare(
            findings,
            io,
            &name,
            (&found, shape[1]),
            tokenizer.pad(),
            how_close,
        )?;
        if let Some(memory) = stored_memory(io)?.filter(|_| !learnt_from_noise(stated)) {
            let found = model.write_from(memory, &how, ctx);
            let found = found.map_err(|e| e.to_string())?;
            compare(
                findings,
                io,
                &name,
                (&found, shape[1]),
                tokenizer.pad(),
                SCORES,
            )?;
        }
        texts(findings, &name, &found, tokenizer, stated)?;
        let margin = format!("{name}.smallest_margin");
        if io.has(&margin) {
            let (found, largest) = smallest_margin(model, batch, &found, ctx)?;
            let tolerance = Tolerance::absolute(MARGINS * largest);
            findings.close_all(&margin, &[found], &io.f64(&margin)?, tolerance);
        }
        // Alone a recording is given what it is among others.
        for (row, expected) in found.iter().enumerate() {
            let one = recordings(io, Some(&[row]))?;
            let alone = model.write(&one, &how, ctx).map_err(|e| e.to_string())?;
            let label = format!("{name}: {row} alone");
            findings.exact_all(&label, &alone[0].tokens, &expected.tokens);
        }
    }
    Ok(())
}

/// Whether training has changed parameters by rounding errors that change what is written: those of keys do not.
fn learnt_from_noise(stated: &Value) -> bool {
    let names = stated["left_out_because_their_gradient_is_rounding_noise"].as_array();
    let mut names = names.into_iter().flatten().filter_map(Value::as_str);
    names.any(|name| !name.ends_with(".attn.c_attn.bias"))
}

/// The tokens of recordings that a case has.
pub fn stored_memory(io: &Tensors) -> Result<Option<Tensor<3>>, String> {
    let names = ["eval.encoder_hidden", "after.eval.memory"];
    let Some(name) = names.into_iter().find(|name| io.has(name)) else {
        return Ok(None);
    };
    let shape: [usize; 3] = io
        .shape(name)?
        .try_into()
        .map_err(|_| format!("{name}: expected three dimensions"))?;
    let data = TensorData::new(io.f32(name)?.to_vec(), shape);
    Ok(Some(Tensor::from_data(data, &Device::flex())))
}

fn compare(
    findings: &mut Findings,
    io: &Tensors,
    name: &str,
    (found, length): (&[Written], usize),
    pad: u32,
    tolerance: Tolerance,
) -> Result<(), String> {
    let padded = padded(found, length, pad);
    let label = format!("{name}.sequences");
    findings.exact_all(&label, &padded, &io.i64(&label)?);
    let label = format!("{name}.sequences_scores");
    if io.has(&label) {
        let scores: Vec<f64> = found.iter().map(|own| own.score).collect();
        findings.close_all(&label, &scores, &io.f64(&label)?, tolerance);
    }
    Ok(())
}

/// Tokens filled up to one length.
pub fn padded(found: &[Written], length: usize, pad: u32) -> Vec<i64> {
    let mut all = Vec::new();
    for own in found {
        all.extend(own.tokens.iter().map(|&token| i64::from(token)));
        all.resize(
            all.len() + length.saturating_sub(own.tokens.len()),
            i64::from(pad),
        );
    }
    all
}

fn texts(
    findings: &mut Findings,
    name: &str,
    found: &[Written],
    tokenizer: &Tokenizer,
    stated: &Value,
) -> Result<(), String> {
    let short = name.trim_start_matches("generate.");
    let lists = [
        &stated["decoded"][name],
        &stated["generation"]["decoded"][short],
    ];
    for list in lists.into_iter().filter_map(Value::as_array) {
        let expected: Vec<&str> = list.iter().filter_map(Value::as_str).collect();
        let texts = found.iter().map(|own| tokenizer.text(&own.tokens));
        let texts: Vec<String> = texts.collect::<Result<_, _>>().map_err(|e| e.to_string())?;
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        findings.exact_all(&format!("{name}: texts"), &texts, &expected);
    }
    Ok(())
}

/// By how much the most likely token was ahead of the second where that was closest, and the largest logit.
fn smallest_margin(
    model: &Gpt2Report,
    batch: &Signals,
    found: &[Written],
    ctx: &Context,
) -> Result<(f64, f64), String> {
    let length = found.iter().map(|own| own.tokens.len()).max().unwrap_or(0);
    let mut texts = TextIds {
        ids: Vec::new(),
        real: Vec::new(),
        length,
    };
    for own in found {
        texts.ids.extend(&own.tokens);
        texts
            .ids
            .resize(texts.ids.len() + length - own.tokens.len(), 0);
        texts.real.resize(texts.ids.len(), true);
    }
    let logits: Tensor<3> = model.logits(batch, &texts, ctx)?;
    let classes = logits.dims()[2];
    let logits = values(&logits)?;
    let mut least = f64::INFINITY;
    for (own, rows) in found.iter().zip(logits.chunks_exact(length * classes)) {
        let steps = rows.chunks_exact(classes).take(own.tokens.len() - 1);
        for row in steps {
            let mut sorted = row.to_vec();
            sorted.sort_by(|a, b| b.total_cmp(a));
            least = least.min(f64::from(sorted[0] - sorted[1]));
        }
    }
    let largest = logits.iter().fold(0f32, |most, x| most.max(x.abs()));
    Ok((least, f64::from(largest)))
}
