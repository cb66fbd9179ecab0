//! `purkinje embed`: vectors of recordings, leads, beats or lead groups as a table.

mod sink;

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use clap::ValueEnum;
use miette::{IntoDiagnostic, bail, miette};
use purkinje_models::batch::BatchError;
use purkinje_models::clear::{BEATS, Clear, ClearBatch, Encoded, Masking};
use purkinje_models::hubert::{Hubert, HubertBatch, HubertInput};
use purkinje_models::hug::{self, GROUP_NAMES};
use purkinje_models::layers::Context;
use purkinje_record::{LeadChoice, LeadSet};
use purkinje_signal::beats::RATE_HZ;
use purkinje_signal::{BeatTokens, Preprocess};
use purkinje_store::{FailureLimit, QualityFilter, Store};
use purkinje_train::TrainError;
use purkinje_train::hubert::{HubertCutter, StoreCrops};
use purkinje_train::source::{Look, Source as _, StoreTokens};
use rayon::prelude::*;

use super::ReadArgs;
use super::inputs::{self, Reader, Seen};
use crate::device::DeviceName;
use crate::model::{Head, LoadedModel, Network, hubert_crop, token_places};
use crate::output::{self, count};
use crate::progress::Progress;
use crate::tokens::{self, WantedLeads};
use sink::{About, Line, Sink};

/// Recordings of one pass through the network.
const BATCH: usize = 32;
/// Recordings read at a time.
const CHUNK: usize = 4 * BATCH;

/// Options of `embed`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// Recordings, folders of recordings, or stores
    #[arg(required = true, value_name = "INPUT")]
    inputs: Vec<PathBuf>,
    /// The model: its folder, or that of the run that made it
    #[arg(long, value_name = "RUN")]
    model: PathBuf,
    /// The table to write: .parquet, or .npy with its columns beside it in .npy.json
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// What gets a vector
    #[arg(long, default_value = "recording")]
    per: Per,
    /// Leads to use: I,II,V2 or limb; `present`: those each recording has [default: all of the model]
    #[arg(long, value_name = "LEADS")]
    leads: Option<WantedLeads>,
    /// Of stores, take just records whose figures keep these limits, such as `flat=0,missing=10%,limb=ok,noise_mv=0.05`
    #[arg(long, value_name = "FILTER")]
    quality: Option<QualityFilter>,
    /// Take a store that was prepared otherwise than the model expects
    #[arg(long)]
    any_preprocessing: bool,
    /// Recordings that may fail: a share or a number
    #[arg(long, value_name = "LIMIT", default_value = "5%", value_parser = super::failure_limit)]
    max_failed: FailureLimit,
    /// Where to compute: cpu; cuda, cuda:1, vulkan, metal, webgpu or rocm where built in
    #[arg(long, default_value = "cpu")]
    device: DeviceName,
    #[command(flatten)]
    read: ReadArgs,
}

/// What gets a vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Per {
    /// A recording: the mean of its lead vectors, or of its tokens
    Recording,
    /// A lead: its CLS vector, or the mean of its tokens
    Lead,
    /// A heartbeat in a lead
    Beat,
    /// A lead group of the HUG head (limb, augmented, chest, their pairs, all)
    Group,
    /// A token of HuBERT-ECG: 0.82 s of a lead, or of the border of two
    Token,
}

impl Per {
    /// Columns that say where in the recording a vector belongs: a number and a time.
    fn places(self) -> Option<(&'static str, &'static str)> {
        match self {
            Per::Beat => Some(("beat", "r_peak_s")),
            Per::Token => Some(("token", "start_s")),
            _ => None,
        }
    }
}

/// One recording to embed.
enum Item {
    File(PathBuf),
    Row { store: usize, row: usize },
}

/// One recording, cut.
struct Ready {
    id: String,
    source: String,
    blake3: String,
    leads: LeadSet,
    seen: Seen,
}

/// Writes the table.
pub fn run(args: Args) -> miette::Result<()> {
    let device = args.device.open()?;
    let model = LoadedModel::load(&args.model, &device)?;
    check(args.per, &model)?;
    let about = About {
        per: args.per,
        width: model.network.width(),
        preprocess: model.preprocess.clone(),
        model: args.model.display().to_string(),
        model_blake3: model.hash()?,
    };
    let mut sink = Sink::begin(&args.out, about)?;

    let (stores, items) = open_inputs(&args.inputs, args.quality.as_ref())?;
    let sources = stores
        .iter()
        .map(|store| {
            let contract = tokens::agree(
                store,
                &model.preprocess,
                args.leads.as_ref(),
                args.any_preprocessing,
            )?;
            Rows::of(store, &contract, &model.network).into_diagnostic()
        })
        .collect::<miette::Result<Vec<_>>>()?;
    let job = Job {
        reader: Reader {
            model: &model,
            leads: args.leads.as_ref(),
            options: args.read.options(LeadChoice::Voltages),
            crops: 1,
        },
        model: &model,
        stores: &stores,
        sources: &sources,
        per: args.per,
        device,
    };
    let allowed = super::allowed(args.max_failed, items.len());
    let progress = Progress::new("embed", items.len(), "recordings");
    let mut failures = Vec::new();
    for chunk in items.chunks(CHUNK) {
        tokens::stop_if_asked()?;
        let mut ready = Vec::new();
        for read in chunk
            .par_iter()
            .map(|item| job.read(item))
            .collect::<Vec<_>>()
        {
            match read {
                Ok(one) => ready.push(one),
                Err(reason) => failures.push(reason),
            }
        }
        progress.add(chunk.len() - ready.len());
        if failures.len() > allowed {
            break;
        }
        // A batch has one set of leads; neighbours share theirs nearly always.
        for alike in ready.chunk_by(|a, b| a.seen.is_like(&b.seen)) {
            for batch in alike.chunks(BATCH) {
                job.embed(batch, &mut sink)?;
                progress.add(batch.len());
            }
        }
    }
    progress.finish();
    inputs::report(&failures, items.len(), allowed)?;
    let (rows, width) = (sink.rows(), model.network.width());
    sink.finish()?;
    output::print(&format!(
        "{}: {} of {width} numbers from {}{}\n",
        args.out.display(),
        count(rows, "vector"),
        count(items.len() - failures.len(), "recording"),
        match failures.len() {
            0 => String::new(),
            n => format!(", {n} left out"),
        }
    ))
}

fn open_inputs(
    paths: &[PathBuf],
    quality: Option<&QualityFilter>,
) -> miette::Result<(Vec<Store>, Vec<Item>)> {
    let mut stores = Vec::new();
    let mut items = Vec::new();
    for path in paths {
        let marks = ["store.json", "prepare.journal"];
        if path.is_dir() && marks.iter().any(|mark| path.join(mark).is_file()) {
            let store = Store::open(path).into_diagnostic()?;
            let of_store = |row| Item::Row {
                store: stores.len(),
                row,
            };
            match quality {
                None => items.extend((0..store.len()).map(of_store)),
                Some(quality) => {
                    items.extend(store.indices_of_quality(quality).into_iter().map(of_store));
                }
            }
            stores.push(store);
        } else {
            items.extend(inputs::list(path)?.into_iter().map(Item::File));
        }
    }
    Ok((stores, items))
}

/// Whether a model has such vectors.
fn check(per: Per, model: &LoadedModel) -> miette::Result<()> {
    let has = match (per, &model.network) {
        (Per::Recording | Per::Lead, _) => return Ok(()),
        (Per::Group, _) => model.head == Some(Head::Clear(hug::Head::Hug)),
        (Per::Beat, network) => matches!(network, Network::Clear(_)),
        (Per::Token, network) => matches!(network, Network::Hubert(_)),
    };
    if has {
        return Ok(());
    }
    let wanted = match per {
        Per::Group => "`--per group` needs a CLEAR model with a HUG head",
        Per::Beat => "`--per beat` needs a CLEAR model",
        _ => "`--per token` needs a HuBERT-ECG model",
    };
    bail!(
        "{wanted}; this {} model has {}",
        model.network.system(),
        model
            .head
            .map_or("none".to_owned(), |head| format!("a {head} head"))
    )
}

/// The rows of a store as a network sees them, and of which leads.
struct Rows<'a> {
    leads: LeadSet,
    source: Kind<'a>,
}

enum Kind<'a> {
    Tokens(Box<StoreTokens<'a>>),
    Crops(StoreCrops<'a>),
}

impl<'a> Rows<'a> {
    fn of(store: &'a Store, contract: &Preprocess, network: &Network) -> Result<Self, TrainError> {
        let rows = (0..store.len()).collect();
        let source = match network {
            Network::Clear(_) => Kind::Tokens(Box::new(StoreTokens::new(store, rows, contract)?)),
            Network::Hubert(hubert) => {
                let (samples, decimation) = hubert_crop(hubert.config());
                let cutter = HubertCutter::new(samples, decimation)?;
                Kind::Crops(StoreCrops::new(store, rows, contract, cutter)?)
            }
        };
        Ok(Rows {
            leads: contract.leads.clone(),
            source,
        })
    }

    fn seen(&self, row: usize) -> Result<Seen, TrainError> {
        Ok(match &self.source {
            Kind::Tokens(source) => Seen::Tokens(source.see(row, Look::Whole)?),
            Kind::Crops(source) => Seen::Crops(vec![source.see(row, Look::Whole)?]),
        })
    }
}

struct Job<'a> {
    reader: Reader<'a>,
    model: &'a LoadedModel,
    stores: &'a [Store],
    sources: &'a [Rows<'a>],
    per: Per,
    device: Device,
}

impl Job<'_> {
    fn read(&self, item: &Item) -> Result<Ready, String> {
        match item {
            Item::File(path) => {
                let input = self.reader.read(path)?;
                Ok(Ready {
                    id: input.id,
                    source: input.path.display().to_string(),
                    blake3: input.blake3,
                    leads: input.leads,
                    seen: input.seen,
                })
            }
            Item::Row { store, row } => {
                let rows = &self.sources[*store];
                let seen = rows.seen(*row).map_err(|e| e.to_string())?;
                let store = &self.stores[*store];
                let record = store.row(*row).map_err(|error| error.to_string())?;
                Ok(Ready {
                    id: record.id().to_owned(),
                    source: record.source().to_owned(),
                    blake3: shard_hash(store, *row).unwrap_or_default().to_owned(),
                    leads: rows.leads.clone(),
                    seen,
                })
            }
        }
    }

    fn embed(&self, records: &[Ready], sink: &mut Sink) -> miette::Result<()> {
        let misfit = |error: BatchError| {
            miette!("a batch that begins with `{}`: {error}", records[0].source)
        };
        let ctx = Context::inference(&self.device);
        match &self.model.network {
            Network::Clear(clear) => {
                let inputs: Vec<BeatTokens> = records
                    .iter()
                    .filter_map(|r| r.seen.tokens())
                    .cloned()
                    .collect();
                let batch = ClearBatch::new(&inputs).map_err(misfit)?;
                self.lead_vectors(clear, &batch, records, &ctx, sink)
            }
            Network::Hubert(hubert) => {
                let inputs: Vec<HubertInput> = records
                    .iter()
                    .filter_map(|r| r.seen.crops().first())
                    .cloned()
                    .collect();
                let batch = HubertBatch::new(hubert.config(), &inputs).map_err(misfit)?;
                self.token_vectors(hubert, &batch, records, &ctx, sink)
            }
        }
    }

    fn lead_vectors(
        &self,
        clear: &Clear,
        batch: &ClearBatch,
        records: &[Ready],
        ctx: &Context,
        sink: &mut Sink,
    ) -> miette::Result<()> {
        let masking = Masking::all(batch.token_count());
        let Encoded { cls, beats } = clear.encode(batch, &masking, ctx);
        let (per_record, values) = match self.per {
            Per::Lead => (batch.leads.len(), tokens::values(cls)?),
            Per::Beat => (batch.token_count(), tokens::values(beats)?),
            Per::Group => {
                let groups = hug::Head::Hug.groups(cls, &batch.leads, clear.weights(), ctx);
                (groups.dims()[1], tokens::values(groups)?)
            }
            Per::Recording | Per::Token => (1, tokens::values(cls.mean_dim(1))?),
        };
        let (leads, groups) = (lead_names(batch), group_names(&batch.leads));
        let width = self.model.network.width();
        let vectors = values.chunks_exact(per_record * width).zip(records);
        for (vectors, record) in vectors {
            let Some(tokens) = record.seen.tokens() else {
                continue;
            };
            for (place, vector) in vectors.chunks_exact(width).enumerate() {
                let mut line = Line::new(&record.id, &record.source, &record.blake3, vector);
                match self.per {
                    Per::Recording | Per::Token => {}
                    Per::Lead => line.lead = Some(leads.leads()[place].name()),
                    Per::Group => line.group = groups.get(place).copied(),
                    Per::Beat => {
                        if tokens.padding[place] {
                            continue;
                        }
                        let beat = place % BEATS;
                        line.lead = Some(leads.leads()[place / BEATS].name());
                        line.number = i32::try_from(beat).ok();
                        let r_peak = tokens.r_peaks.get(beat);
                        line.time_s = r_peak.map(|&sample| sample as f64 / RATE_HZ);
                    }
                }
                sink.line(&line)?;
            }
        }
        Ok(())
    }

    fn token_vectors(
        &self,
        hubert: &Hubert,
        batch: &HubertBatch,
        records: &[Ready],
        ctx: &Context,
        sink: &mut Sink,
    ) -> miette::Result<()> {
        let states = hubert.encode(batch, None, ctx).last;
        let [_, count, width] = states.dims();
        let means = tokens::values(states.clone().mean_dim(1))?;
        let values = tokens::values(states)?;
        let all = values
            .chunks_exact(count * width)
            .zip(means.chunks_exact(width));
        for ((vectors, mean), record) in all.zip(records) {
            let line = |vector| Line::new(&record.id, &record.source, &record.blake3, vector);
            let leads = record.leads.leads();
            let places = token_places(hubert.config(), leads.len());
            match self.per {
                Per::Token => {
                    let each = vectors.chunks_exact(width).zip(&places).enumerate();
                    for (number, (vector, place)) in each {
                        sink.line(&Line {
                            lead: Some(leads[place.lead].name()),
                            number: i32::try_from(number).ok(),
                            time_s: Some(place.time_s.0),
                            ..line(vector)
                        })?;
                    }
                }
                Per::Lead => {
                    for (l, lead) in leads.iter().enumerate() {
                        let own = vectors.chunks_exact(width).zip(&places);
                        let own = own.filter(|(_, place)| place.lead == l);
                        let (mut sum, mut tokens) = (vec![0.0; width], 0.0f32);
                        for (vector, _) in own {
                            sum.iter_mut().zip(vector).for_each(|(s, v)| *s += v);
                            tokens += 1.0;
                        }
                        sum.iter_mut().for_each(|s| *s /= tokens.max(1.0));
                        sink.line(&Line {
                            lead: Some(lead.name()),
                            ..Line::new(&record.id, &record.source, &record.blake3, &sum)
                        })?;
                    }
                }
                Per::Recording | Per::Beat | Per::Group => sink.line(&line(mean))?,
            }
        }
        Ok(())
    }
}

fn lead_names(batch: &ClearBatch) -> LeadSet {
    let twelve = LeadSet::standard_12();
    LeadSet::new(
        batch
            .leads
            .iter()
            .map(|&lead| twelve.leads()[lead].clone())
            .collect(),
    )
}

/// The groups that remain with these leads, in the order of [`hug::Head::groups`]: a group without a lead is left out, and so
/// is a pair without a group.
fn group_names(leads: &[usize]) -> Vec<&'static str> {
    let present = purkinje_models::hug::GROUPS.map(|g| leads.iter().any(|lead| g.contains(lead)));
    let singles = GROUP_NAMES[..3].iter().zip(present);
    let pairs = GROUP_NAMES[3..6].iter().map(|&name| {
        let any = name.split('+').any(|part| {
            let at = GROUP_NAMES[..3].iter().position(|&single| single == part);
            at.is_some_and(|at| present[at])
        });
        (name, any)
    });
    singles
        .map(|(&name, present)| (name, present))
        .chain(pairs)
        .filter_map(|(name, present)| present.then_some(name))
        .chain([GROUP_NAMES[6]])
        .collect()
}

fn shard_hash(store: &Store, row: usize) -> Option<&str> {
    let mut first = 0;
    store.info().shards.iter().find_map(|shard| {
        first += shard.rows;
        (row < first).then_some(shard.blake3.as_str())
    })
}

/// Whether a path asks for an array.
fn is_npy(path: &Path) -> bool {
    path.extension()
        .is_some_and(|extension| extension.eq_ignore_ascii_case("npy"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_without_leads_are_left_out() {
        assert_eq!(group_names(&(0..12).collect::<Vec<_>>()), GROUP_NAMES);
        assert_eq!(
            group_names(&[0, 1]),
            ["limb", "limb+augmented", "limb+chest", "all"]
        );
    }
}
