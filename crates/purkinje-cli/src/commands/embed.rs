//! `purkinje embed`: vectors of recordings, leads, beats or lead groups as a table.

mod sink;

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use clap::ValueEnum;
use miette::{IntoDiagnostic, bail, miette};
use purkinje_models::clear::{BEATS, ClearBatch, Encoded, Masking};
use purkinje_models::hug::{GROUP_NAMES, Head};
use purkinje_models::layers::Context;
use purkinje_record::{LeadChoice, LeadSet};
use purkinje_signal::BeatTokens;
use purkinje_signal::beats::RATE_HZ;
use purkinje_store::{FailureLimit, Store};
use purkinje_train::source::{StoreTokens, TokenSource};
use rayon::prelude::*;

use super::ReadArgs;
use super::inputs::{self, Reader};
use crate::device::DeviceName;
use crate::model::LoadedModel;
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
    /// A recording: the mean of its lead vectors
    Recording,
    /// A lead: its CLS vector
    Lead,
    /// A heartbeat in a lead
    Beat,
    /// A lead group of the HUG head (limb, augmented, chest, their pairs, all)
    Group,
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
    tokens: BeatTokens,
}

/// Writes the table.
pub fn run(args: Args) -> miette::Result<()> {
    let device = args.device.open()?;
    let model = LoadedModel::load(&args.model, &device)?;
    if args.per == Per::Group && model.head != Some(Head::Hug) {
        bail!(
            "`--per group` needs a model with a HUG head; `{}` has {}",
            args.model.display(),
            model
                .head
                .map_or("none".to_owned(), |head| format!("a {head} head"))
        );
    }
    let about = About {
        per: args.per,
        width: model.clear.config().embed_dim,
        preprocess: model.preprocess.clone(),
        model: args.model.display().to_string(),
        model_blake3: model.hash()?,
    };
    let mut sink = Sink::begin(&args.out, about)?;

    let (stores, items) = open_inputs(&args.inputs)?;
    let sources = stores
        .iter()
        .map(|store| {
            let contract = tokens::agree(
                store,
                &model.preprocess,
                args.leads.as_ref(),
                args.any_preprocessing,
            )?;
            StoreTokens::new(store, (0..store.len()).collect(), &contract).into_diagnostic()
        })
        .collect::<miette::Result<Vec<_>>>()?;
    let job = Job {
        reader: Reader {
            contract: &model.preprocess,
            leads: args.leads.as_ref(),
            options: args.read.options(LeadChoice::Voltages),
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
        for alike in ready.chunk_by(|a, b| a.tokens.lead_index == b.tokens.lead_index) {
            for batch in alike.chunks(BATCH) {
                job.embed(batch, &mut sink)?;
                progress.add(batch.len());
            }
        }
    }
    progress.finish();
    inputs::report(&failures, items.len(), allowed)?;
    let (rows, width) = (sink.rows(), model.clear.config().embed_dim);
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

fn open_inputs(paths: &[PathBuf]) -> miette::Result<(Vec<Store>, Vec<Item>)> {
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
            items.extend((0..store.len()).map(of_store));
            stores.push(store);
        } else {
            items.extend(inputs::list(path)?.into_iter().map(Item::File));
        }
    }
    Ok((stores, items))
}

struct Job<'a> {
    reader: Reader<'a>,
    model: &'a LoadedModel,
    stores: &'a [Store],
    sources: &'a [StoreTokens<'a>],
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
                    tokens: input.tokens,
                })
            }
            Item::Row { store, row } => {
                let tokens = self.sources[*store]
                    .tokens(*row)
                    .map_err(|e| e.to_string())?;
                let store = &self.stores[*store];
                let record = store.row(*row).map_err(|error| error.to_string())?;
                Ok(Ready {
                    id: record.id().to_owned(),
                    source: record.source().to_owned(),
                    blake3: shard_hash(store, *row).unwrap_or_default().to_owned(),
                    tokens,
                })
            }
        }
    }

    fn embed(&self, records: &[Ready], sink: &mut Sink) -> miette::Result<()> {
        let inputs: Vec<BeatTokens> = records.iter().map(|r| r.tokens.clone()).collect();
        let batch = ClearBatch::new(&inputs).map_err(|error| {
            miette!("a batch that begins with `{}`: {error}", records[0].source)
        })?;
        let leads = lead_names(&batch);
        let ctx = Context::inference(&self.device);
        let masking = Masking::all(batch.token_count());
        let Encoded { cls, beats } = self.model.clear.encode(&batch, &masking, &ctx);
        let (per_record, values) = match self.per {
            Per::Recording => (1, tokens::values(cls.mean_dim(1))?),
            Per::Lead => (batch.leads.len(), tokens::values(cls)?),
            Per::Beat => (batch.token_count(), tokens::values(beats)?),
            Per::Group => {
                let weights = self.model.clear.weights();
                let groups = Head::Hug.groups(cls, &batch.leads, weights, &ctx);
                (groups.dims()[1], tokens::values(groups)?)
            }
        };
        let groups = group_names(&batch.leads);
        let width = self.model.clear.config().embed_dim;
        let vectors = values.chunks_exact(per_record * width).zip(records);
        for (vectors, record) in vectors {
            for (place, vector) in vectors.chunks_exact(width).enumerate() {
                let mut line = Line::new(&record.id, &record.source, &record.blake3, vector);
                match self.per {
                    Per::Recording => {}
                    Per::Lead => line.lead = Some(leads.leads()[place].name()),
                    Per::Group => line.group = groups.get(place).copied(),
                    Per::Beat => {
                        if record.tokens.padding[place] {
                            continue;
                        }
                        let beat = place % BEATS;
                        line.lead = Some(leads.leads()[place / BEATS].name());
                        line.beat = i32::try_from(beat).ok();
                        let r_peak = record.tokens.r_peaks.get(beat);
                        line.r_peak_s = r_peak.map(|&sample| sample as f64 / RATE_HZ);
                    }
                }
                sink.line(&line)?;
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

/// The groups that remain with these leads, in the order of [`Head::groups`]: a group without a lead is left out, and so
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
