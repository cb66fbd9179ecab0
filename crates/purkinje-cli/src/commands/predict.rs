//! `purkinje predict`: labels of recordings with probabilities, and why.

use std::collections::HashSet;
use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor};
use miette::{IntoDiagnostic, bail, miette};
use purkinje_eval::crops::{Aggregation, aggregate};
use purkinje_figures::explain::{self, BeatAttention, Explanation};
use purkinje_figures::paper::PaperOptions;
use purkinje_figures::raster;
use purkinje_models::batch::BatchError;
use purkinje_models::checkpoint::{LabelClass, Labels};
use purkinje_models::clear::{BEATS, Clear, ClearBatch, Masking};
use purkinje_models::hubert::{self, Hubert, HubertBatch, HubertInput};
use purkinje_models::hug;
use purkinje_models::layers::Context;
use purkinje_record::LeadChoice;
use purkinje_signal::BeatTokens;
use rayon::prelude::*;
use serde_json::{Map, Value, json};

use super::ReadArgs;
use super::finetune::parse_aggregation;
use super::inputs::{self, Input, Reader};
use crate::device::DeviceName;
use crate::judge::probabilities;
use crate::model::{Head, LoadedModel, Network, token_places};
use crate::output::{self, Table, printable};
use crate::progress::Progress;
use crate::tokens::{self, WantedLeads};

/// Recordings of one pass through the network.
const BATCH: usize = 32;

/// Options of `predict`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Recordings, or folders of recordings
    #[arg(required = true, value_name = "RECORD")]
    records: Vec<PathBuf>,
    /// The model: its folder, or that of the run that made it
    #[arg(long, value_name = "RUN")]
    model: PathBuf,
    /// Write JSON to this file instead of standard output
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Print a table for people instead of JSON
    #[arg(long)]
    table: bool,
    /// Draw which leads and beats speak for and against a label, one picture each, into this folder
    #[arg(long, value_name = "DIR")]
    explain: Option<PathBuf>,
    /// Explain this label; may be repeated [default: the most probable]
    #[arg(long, value_name = "LABEL", requires = "explain")]
    class: Vec<String>,
    /// Explain so many of the most probable labels
    #[arg(
        long,
        value_name = "N",
        requires = "explain",
        conflicts_with = "class",
        default_value_t = 3
    )]
    top: usize,
    /// HuBERT-ECG: crops of five seconds of a recording, spread evenly [default: 1, the first]
    #[arg(
        long,
        value_name = "N",
        default_value_t = 1,
        conflicts_with = "explain",
        hide_default_value = true
    )]
    crops: usize,
    /// How the probabilities of crops become one: mean or max
    #[arg(long, default_value = "mean", value_parser = parse_aggregation)]
    aggregation: Aggregation,
    /// Leads to use: I,II,V2 or limb; `present`: those each recording has [default: all of the model]
    #[arg(long, value_name = "LEADS")]
    leads: Option<WantedLeads>,
    /// Where to compute: cpu; cuda, cuda:1, vulkan, metal, webgpu or rocm where built in
    #[arg(long, default_value = "cpu")]
    device: DeviceName,
    #[command(flatten)]
    read: ReadArgs,
}

/// What the model says about one recording.
struct Prediction {
    input: Input,
    /// One for each label.
    logits: Vec<f32>,
    /// How each logit comes about; only where pictures are drawn.
    reasons: Option<Reasons>,
    /// Pictures by label.
    pictures: Vec<(usize, PathBuf)>,
}

struct Reasons {
    /// One for each label.
    bias: Vec<f32>,
    /// `[leads, labels]`.
    contributions: Vec<f32>,
    /// What the model listened to: stretches of leads, in seconds, with their share of its attention.
    attention: Vec<Stretch>,
}

#[derive(Clone)]
struct Stretch {
    lead: usize,
    time_s: (f64, f64),
    weight: f32,
}

/// Predicts.
pub fn run(args: Args) -> miette::Result<()> {
    let device = args.device.open()?;
    let model = LoadedModel::load(&args.model, &device)?;
    model.network.check_crops(args.crops)?;
    let (head, labels) = model.labelled()?;
    if args.explain.is_some() && !is_affine(head) {
        bail!(
            "`--explain` splits logits into what each lead adds, which only linear and HUG heads allow; this model has a {head} head"
        );
    }
    let chosen = chosen(labels, &args.class)?;
    let reader = Reader {
        model: &model,
        leads: args.leads.as_ref(),
        options: args.read.options(LeadChoice::Voltages),
        crops: args.crops,
    };
    let paths: Vec<PathBuf> = args
        .records
        .iter()
        .map(|path| inputs::list(path))
        .collect::<miette::Result<Vec<_>>>()?
        .concat();
    let progress = Progress::new("predict", paths.len(), "recordings");
    let mut pictures = Pictures::default();
    let (mut results, mut rows, mut failures) = (Vec::new(), Vec::new(), Vec::new());
    for paths in paths.chunks(BATCH) {
        tokens::stop_if_asked()?;
        let mut inputs = Vec::new();
        for read in paths
            .par_iter()
            .map(|path| reader.read(path))
            .collect::<Vec<_>>()
        {
            match read {
                Ok(input) => inputs.push(input),
                Err(reason) => failures.push(reason),
            }
        }
        while !inputs.is_empty() {
            let first = &inputs[0].seen;
            let alike = inputs
                .iter()
                .take_while(|input| input.seen.is_like(first))
                .count();
            let rest = inputs.split_off(alike);
            let batch = std::mem::replace(&mut inputs, rest);
            for mut one in predict(&model, head, batch, &args, &device)? {
                if let Some(dir) = &args.explain {
                    let classes = match &chosen[..] {
                        [] => most_probable(&one.logits, args.top),
                        chosen => chosen.to_vec(),
                    };
                    for class in classes {
                        let path = pictures.draw(&one, class, &labels.classes[class], dir)?;
                        one.pictures.push((class, path));
                    }
                }
                rows.push(lines(&one, labels));
                results.push(describe(&one, labels));
            }
        }
        progress.add(paths.len());
    }
    progress.finish();
    if let Some(path) = &args.json {
        output::write_file(path, (output::json(&results)? + "\n").as_bytes())?;
    }
    if args.table {
        output::print(&table(labels, &rows))?;
    } else if args.json.is_none() {
        output::print_json(&results)?;
    }
    inputs::report(&failures, paths.len(), 0)
}

/// Whether logits are sums over leads.
fn is_affine(head: Head) -> bool {
    match head {
        Head::Clear(_) => true,
        Head::Hubert(head) => head == hubert::Head::Linear,
    }
}

fn predict(
    model: &LoadedModel,
    head: Head,
    inputs: Vec<Input>,
    args: &Args,
    device: &Device,
) -> miette::Result<Vec<Prediction>> {
    let explained = args.explain.is_some();
    let misfit = |error: BatchError| {
        miette!(
            "a batch that begins with `{}`: {error}",
            inputs[0].path.display()
        )
    };
    let ctx = Context::inference(device);
    let (logits, reasons) = match (&model.network, head) {
        (Network::Clear(clear), Head::Clear(head)) => {
            let tokens: Vec<BeatTokens> = inputs
                .iter()
                .filter_map(|input| input.seen.tokens())
                .cloned()
                .collect();
            let batch = ClearBatch::new(&tokens).map_err(misfit)?;
            clear_logits(clear, head, &batch, &inputs, explained, &ctx)?
        }
        (Network::Hubert(hubert), Head::Hubert(head)) => {
            let (mut all, mut reasons) = (Vec::new(), Vec::new());
            for crop in 0..args.crops {
                let crops = inputs
                    .iter()
                    .filter_map(|input| input.seen.crops().get(crop));
                let crops: Vec<HubertInput> = crops.cloned().collect();
                let batch = HubertBatch::new(hubert.config(), &crops).map_err(misfit)?;
                let found = hubert_logits(hubert, head, &batch, &inputs, explained, &ctx)?;
                all.extend(found.0);
                reasons = found.1;
            }
            (joined(all, args)?, reasons)
        }
        // Checked when the model was loaded.
        _ => bail!("the head belongs to another system"),
    };
    let classes = logits.len() / inputs.len();
    let logits = logits.chunks_exact(classes).map(<[f32]>::to_vec);
    let reasons = reasons
        .into_iter()
        .map(Some)
        .chain(std::iter::repeat_with(|| None));
    Ok(inputs
        .into_iter()
        .zip(logits.zip(reasons))
        .map(|(input, (logits, reasons))| Prediction {
            input,
            logits,
            reasons,
            pictures: Vec::new(),
        })
        .collect())
}

/// The logits of joined probabilities, from those of each crop `[crop, record, label]`.
fn joined(logits: Vec<f32>, args: &Args) -> miette::Result<Vec<f32>> {
    if args.crops <= 1 {
        return Ok(logits);
    }
    // The largest probability has the largest logit.
    if args.aggregation == Aggregation::Max {
        return aggregate(&logits, args.crops, Aggregation::Max).into_diagnostic();
    }
    let mean = aggregate(&probabilities(&logits), args.crops, Aggregation::Mean);
    let logit = |p: f32| {
        (p / (1.0 - p).max(f32::MIN_POSITIVE))
            .max(f32::MIN_POSITIVE)
            .ln()
    };
    Ok(mean.into_diagnostic()?.into_iter().map(logit).collect())
}

/// Logits `[records, labels]`, and the reasons of each record where they are asked for.
type Explained = (Vec<f32>, Vec<Reasons>);

fn clear_logits(
    clear: &Clear,
    head: hug::Head,
    batch: &ClearBatch,
    inputs: &[Input],
    explained: bool,
    ctx: &Context,
) -> miette::Result<Explained> {
    let weights = clear.weights();
    let cls = clear
        .encode(batch, &Masking::all(batch.token_count()), ctx)
        .cls;
    let logits = tokens::values(head.logits(cls.clone(), &batch.leads, weights, ctx))?;
    if !explained {
        return Ok((logits, Vec::new()));
    }
    let (bias, parts) = head.contributions(cls, &batch.leads, weights, ctx);
    let (bias, parts) = (tokens::values(bias)?, tokens::values(parts)?);
    let attention = tokens::values(clear.lead_attention(batch, ctx))?;
    let leads = batch.leads.len();
    let places = leads * BEATS;
    let parts = parts.chunks_exact(leads * bias.len());
    let attention = attention.chunks_exact(leads * places);
    let reasons = inputs.iter().zip(parts.zip(attention));
    let reasons = reasons.map(|(input, (parts, attention))| {
        let beats = input.seen.view().map_or(&[][..], |view| &view.beats);
        let stretches = (0..leads).flat_map(|lead| {
            let beats = beats.iter().take(BEATS).enumerate();
            beats.filter_map(move |(b, beat)| {
                // What the vectors of all leads attend to, on average.
                let rows = (0..leads).map(|row| attention[row * places + lead * BEATS + b]);
                Some(Stretch {
                    lead,
                    time_s: beat.token_s?,
                    weight: rows.sum::<f32>() / leads as f32,
                })
            })
        });
        Reasons {
            bias: bias.clone(),
            contributions: parts.to_vec(),
            attention: stretches.collect(),
        }
    });
    let reasons = reasons.collect();
    Ok((logits, reasons))
}

/// The mean of the tokens under a linear layer is a sum over tokens, so it is one over leads: each token counts for the lead
/// its middle lies in.
fn hubert_logits(
    hubert: &Hubert,
    head: hubert::Head,
    batch: &HubertBatch,
    inputs: &[Input],
    explained: bool,
    ctx: &Context,
) -> miette::Result<Explained> {
    let states = hubert.encode(batch, None, ctx).last;
    let [records, count, width] = states.dims();
    let pooled = states.clone().mean_dim(1).squeeze_dim::<2>(1);
    let logits = tokens::values(head.logits(pooled, hubert.weights(), ctx))?;
    if !explained {
        return Ok((logits, Vec::new()));
    }
    let bias = head.logits(
        Tensor::zeros([1, width], ctx.device()),
        hubert.weights(),
        ctx,
    );
    let bias = tokens::values(bias)?;
    let classes = bias.len();
    let each = states.reshape([records * count, width]) / count as f32;
    let each = tokens::values(head.logits(each, hubert.weights(), ctx))?;
    let last = hubert.config().num_hidden_layers - 1;
    let attention = hubert.attention_of_layer(batch, last, ctx);
    // Mean over heads and over the tokens that listen: [records, 1, 1, count].
    let attention = tokens::values(attention.mean_dim(1).mean_dim(2))?;
    let each = each.chunks_exact(count * classes);
    let parts = each.zip(attention.chunks_exact(count)).zip(inputs);
    let reasons = parts.map(|((each, attention), input)| {
        let leads = input.leads.len();
        let places = token_places(hubert.config(), leads);
        let mut contributions = vec![0.0; leads * classes];
        for (token, place) in each.chunks_exact(classes).zip(&places) {
            let own = &mut contributions[place.lead * classes..(place.lead + 1) * classes];
            for ((own, part), bias) in own.iter_mut().zip(token).zip(&bias) {
                *own += part - bias;
            }
        }
        let stretches = places
            .iter()
            .zip(attention)
            .map(|(place, &weight)| Stretch {
                lead: place.lead,
                time_s: place.time_s,
                weight,
            });
        Reasons {
            bias: bias.clone(),
            contributions,
            attention: stretches.collect(),
        }
    });
    let reasons = reasons.collect();
    Ok((logits, reasons))
}

/// The labels that were asked for by name.
fn chosen(labels: &Labels, names: &[String]) -> miette::Result<Vec<usize>> {
    names
        .iter()
        .map(|name| {
            let found = labels.classes.iter().position(|class| class.name == *name);
            found.ok_or_else(|| {
                let known: Vec<&str> = labels.classes.iter().map(|c| c.name.as_str()).collect();
                miette!("`--class {name}`: the model knows {}", known.join(", "))
            })
        })
        .collect()
}

fn most_probable(logits: &[f32], n: usize) -> Vec<usize> {
    let mut order: Vec<usize> = (0..logits.len()).collect();
    order.sort_by(|&a, &b| logits[b].total_cmp(&logits[a]));
    order.truncate(n);
    order
}

fn probability(logit: f32) -> f64 {
    1.0 / (1.0 + (-f64::from(logit)).exp())
}

/// Whether a label counts as present; unknown where no threshold was chosen for it.
fn is_present(class: &LabelClass, logit: f32) -> Option<bool> {
    Some(probability(logit) >= class.threshold?)
}

fn describe(one: &Prediction, labels: &Labels) -> Value {
    let leads = one.input.leads.leads();
    let classes = labels.classes.len();
    let picture = |class: usize| one.pictures.iter().find(|(of, _)| *of == class);
    let list: Vec<Value> = labels
        .classes
        .iter()
        .zip(&one.logits)
        .enumerate()
        .map(|(i, (class, &logit))| {
            let mut label = Map::new();
            label.insert("name".to_owned(), json!(class.name));
            if let Some(code) = &class.code {
                label.insert("code".to_owned(), json!(code));
            }
            label.insert("probability".to_owned(), json!(probability(logit)));
            label.insert("logit".to_owned(), json!(logit));
            label.insert("threshold".to_owned(), json!(class.threshold));
            label.insert("present".to_owned(), json!(is_present(class, logit)));
            if let Some(reasons) = &one.reasons {
                let parts: Map<String, Value> = leads
                    .iter()
                    .enumerate()
                    .map(|(l, lead)| {
                        let part = reasons.contributions[l * classes + i];
                        (lead.name().to_owned(), json!(part))
                    })
                    .collect();
                label.insert("bias".to_owned(), json!(reasons.bias[i]));
                label.insert("contributions".to_owned(), Value::Object(parts));
            }
            if let Some((_, path)) = picture(i) {
                label.insert("picture".to_owned(), json!(path.display().to_string()));
            }
            Value::Object(label)
        })
        .collect();
    let mut facts = json!({
        "id": one.input.id,
        "path": one.input.path.display().to_string(),
        "blake3": one.input.blake3,
        "leads": one.input.leads,
        "task": labels.task,
        "labels": list,
    });
    if let Some(view) = one.input.seen.view() {
        facts["r_peaks_detected"] = json!(view.found_in.is_some());
    }
    facts
}

/// A line of the table: the recording and its probabilities, those above their threshold with a star.
fn lines(one: &Prediction, labels: &Labels) -> Vec<String> {
    let probabilities = labels
        .classes
        .iter()
        .zip(&one.logits)
        .map(|(class, &logit)| {
            let star = if is_present(class, logit) == Some(true) {
                "*"
            } else {
                " "
            };
            format!("{:.3}{star}", probability(logit))
        });
    [printable(&one.input.id)]
        .into_iter()
        .chain(probabilities)
        .collect()
}

fn table(labels: &Labels, rows: &[Vec<String>]) -> String {
    // Many labels do not fit side by side: one line each then.
    const MOST_COLUMNS: usize = 12;
    let names: Vec<String> = labels.classes.iter().map(|c| printable(&c.name)).collect();
    let stars = match labels.classes.iter().all(|class| class.threshold.is_none()) {
        true => "No thresholds were chosen for this model.",
        false => "* at or above the threshold of the label.",
    };
    let note = format!("{stars} Research use only, not a medical device.\n");
    if names.len() <= MOST_COLUMNS {
        let header = ["recording".to_owned()].into_iter();
        let mut table = Table::new(1, header.chain(names.iter().map(|name| format!("{name} "))));
        rows.iter().for_each(|row| table.row(row.clone()));
        return format!("{table}\n{note}");
    }
    let mut text = String::new();
    for row in rows {
        let mut table = Table::new(1, [row[0].clone(), String::new()]);
        for (name, value) in names.iter().zip(&row[1..]) {
            table.row([format!("  {name}"), value.clone()]);
        }
        text += &format!("{table}\n");
    }
    text + &note
}

/// Pictures of explanations, each with a name of its own.
#[derive(Default)]
struct Pictures {
    names: HashSet<String>,
}

impl Pictures {
    /// Draws as SVG and PNG; the path is that of the PNG.
    fn draw(
        &mut self,
        one: &Prediction,
        class: usize,
        label: &LabelClass,
        dir: &Path,
    ) -> miette::Result<PathBuf> {
        let Some(reasons) = &one.reasons else {
            bail!("`{}` was not explained", one.input.id);
        };
        let explanation = explanation(&one.input, reasons, class, &label.name, one.logits[class]);
        let recording = match one.input.recording.select(&one.input.leads) {
            Ok(recording) => recording,
            Err(lead) => bail!("`{}` has no lead {lead}", one.input.id),
        };
        let svg = explain::draw(&recording, &PaperOptions::default(), &explanation);
        let stem = self.name(&format!("{}-{}", one.input.id, label.name));
        output::write_file(&dir.join(format!("{stem}.svg")), svg.to_string().as_bytes())?;
        let path = dir.join(format!("{stem}.png"));
        let png = raster::png(&svg, raster::CRISP_DPI / 2.0).into_diagnostic()?;
        output::write_file(&path, &png)?;
        Ok(path)
    }

    /// A file name that no other picture of this run has.
    fn name(&mut self, wanted: &str) -> String {
        let plain: String = wanted
            .chars()
            .map(|c| {
                if c.is_alphanumeric() || "-_.+".contains(c) {
                    c
                } else {
                    '_'
                }
            })
            .collect();
        let plain = plain.trim_start_matches('.').to_owned();
        let mut name = plain.clone();
        let mut n = 2;
        while !self.names.insert(name.clone()) {
            name = format!("{plain}-{n}");
            n += 1;
        }
        name
    }
}

fn explanation(
    input: &Input,
    reasons: &Reasons,
    class: usize,
    name: &str,
    logit: f32,
) -> Explanation {
    let leads = input.leads.leads();
    let classes = reasons.bias.len();
    let sample = |time_s: f64| (time_s * input.recording.rate_hz).round() as usize;
    let attention = reasons.attention.iter().map(|stretch| BeatAttention {
        lead: leads[stretch.lead].clone(),
        start: sample(stretch.time_s.0),
        end: sample(stretch.time_s.1),
        weight: f64::from(stretch.weight),
    });
    let attention = attention.collect();
    Explanation {
        class: name.to_owned(),
        probability: probability(logit),
        bias: f64::from(reasons.bias[class]),
        contributions: leads
            .iter()
            .enumerate()
            .map(|(l, lead)| {
                let part = reasons.contributions[l * classes + class];
                (lead.clone(), f64::from(part))
            })
            .collect(),
        attention,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_have_names_of_their_own() {
        let mut pictures = Pictures::default();
        assert_eq!(pictures.name("a/b-AF?"), "a_b-AF_");
        assert_eq!(pictures.name("a/b-AF?"), "a_b-AF_-2");
        assert_eq!(pictures.name("../x"), "_x");
    }

    #[test]
    fn the_most_probable_come_first() {
        assert_eq!(most_probable(&[0.1, 2.0, -1.0, 0.5], 2), [1, 3]);
        assert!((probability(0.0) - 0.5).abs() < 1e-12);
    }
}
