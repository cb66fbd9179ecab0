//! The clusters of tokens: features, code books fitted on them, and the cluster of every token.

use std::fs;
use std::io::BufWriter;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use purkinje_base::npy::NpyWriter;
use purkinje_cluster::features::{Features, Writer};
use purkinje_cluster::quality::{QualityConfig, Scope};
use purkinje_cluster::{ClusterError, CodeBook, CurvePoint, Ensemble, FitConfig, curve};
use purkinje_figures::chart::{AxisScale, LineChart, Series};
use purkinje_models::compat::Compat;
use purkinje_models::hubert::{self, HubertBatch};
use purkinje_models::layers::Context;
use purkinje_signal::descriptors::{AnalysisRate, Choices, Descriptors};
use purkinje_train::source::{Look, Source as _};
use rayon::prelude::*;
use serde_json::json;

use super::codes::Codes;
use super::cutter::{HubertCutter, StoreCrops};
use super::{Hubert, crop};
use crate::files::{NewFile, write_file};
use crate::network::values;
use crate::pretrain::Stage;
use crate::reporter::{Table, go_on};
use crate::{Error, Result};

/// Recordings whose features are computed at a time.
const CHUNK: usize = 64;
/// Recordings of one pass through the network.
pub(super) const BATCH: usize = 16;
const FEATURES: &str = "features";
pub(super) const BOOKS: &str = "code-books";
const CODES: &str = "codes.npy";

/// Records of an iteration whose tokens get clusters: those to learn from, or those to validate on.
pub(super) struct Part<'a, 's> {
    pub(super) stage: &'a Stage<'s, Hubert>,
    pub(super) rows: &'a [usize],
    /// Where features and clusters go.
    pub(super) dir: PathBuf,
    /// The network of the iteration before.
    pub(super) before: Option<&'a hubert::Hubert>,
}

impl<'a> Part<'a, '_> {
    /// The sizes of the iteration's code books.
    pub(super) fn clusters(&self) -> &'a [usize] {
        &self.stage.config.settings.clusters[self.stage.number - 1]
    }

    pub(super) fn crops(&self) -> Result<StoreCrops<'a>> {
        let (samples, decimation) = crop(&self.stage.config.network);
        let cutter = HubertCutter::new(samples, decimation)?;
        let stage = self.stage;
        let rows = self.rows.to_vec();
        Ok(StoreCrops::new(stage.store, rows, stage.contract, cutter)?)
    }

    /// The clusters of all tokens: those there are, or made from features, with the code books that `books` finds for them.
    pub(super) fn codes(&self, books: &dyn Fn(&Features) -> Result<Ensemble>) -> Result<Codes> {
        let network = &self.stage.config.network;
        let (samples, decimation) = crop(network);
        let flat = (samples * self.stage.contract.leads.len()).div_ceil(decimation.unwrap_or(1));
        let tokens = network.tokens(flat);
        let path = self.dir.join(CODES);
        if !path.is_file() {
            let features = self.features(tokens)?;
            self.write_codes(&path, &features, &books(&features)?)?;
        }
        if !self.stage.config.settings.keep_features {
            let features = self.dir.join(FEATURES);
            if features.is_dir() {
                fs::remove_dir_all(&features)
                    .map_err(|error| Error::file("remove", &features, error))?;
            }
        }
        let words = tokens * self.clusters().len();
        Ok(Codes::open(&path, self.rows.len(), words)?)
    }

    /// Descriptors for the first iteration, states of a layer of the network before for the others.
    fn features(&self, tokens: usize) -> Result<Features> {
        let stage = self.stage;
        let (network, settings) = (&stage.config.network, &stage.config.settings);
        let compat = network.compat;
        let (width, what) = match self.before {
            None => (
                settings.descriptors.width(),
                json!({"descriptors": settings.descriptors, "compat": compat}),
            ),
            Some(_) => (
                network.hidden_size,
                json!({"layer": settings.layer, "compat": compat}),
            ),
        };
        let made_of = json!({
            "store": stage.store.info().fingerprint,
            "records": self.rows.len(),
            "features": what,
        });
        let dir = self.dir.join(FEATURES);
        let mut writer = Writer::open(&dir, width, tokens, made_of)?;
        if writer.is_complete() {
            return Ok(Features::open(&dir)?);
        }
        let crops = self.crops()?;
        let bar = stage.reporter.begin("features", self.rows.len(), "records");
        bar.resume(writer.records());
        let all: Vec<usize> = (writer.records()..self.rows.len()).collect();
        for chunk in all.chunks(CHUNK) {
            go_on(stage.reporter)?;
            let features = match self.before {
                None => self.descriptors(&crops, chunk)?,
                Some(model) => self.states(model, &crops, chunk)?,
            };
            for (&index, rows) in chunk.iter().zip(&features) {
                let row = stage.store.row(self.rows[index])?;
                writer.add(row.id(), rows)?;
            }
            bar.add(chunk.len());
        }
        bar.finish();
        Ok(writer.finish()?)
    }

    fn descriptors(&self, crops: &StoreCrops<'_>, chunk: &[usize]) -> Result<Vec<Vec<f32>>> {
        let config = self.stage.config;
        let choices = match config.network.compat {
            Compat::Paper => Choices::paper(),
            Compat::Released => Choices::released(),
        };
        let kind = config.settings.descriptors;
        let maker = Descriptors::new(kind, AnalysisRate::default(), choices)
            .map_err(|error| Error::invalid(error.to_string()))?;
        chunk
            .par_iter()
            .map_with(maker, |maker, &index| {
                let (id, signal) = crops.signal(index)?;
                let named = |error| Error::invalid(format!("record `{id}`: {error}"));
                maker.of(&signal).map_err(named)
            })
            .collect()
    }

    fn states(
        &self,
        model: &hubert::Hubert,
        crops: &StoreCrops<'_>,
        chunk: &[usize],
    ) -> Result<Vec<Vec<f32>>> {
        let layer = self.stage.config.settings.layer;
        let ctx = Context::inference(self.stage.device.inner());
        let mut all = Vec::with_capacity(chunk.len());
        for part in chunk.chunks(BATCH) {
            let inputs = part.par_iter().map(|&index| crops.see(index, Look::Whole));
            let inputs = inputs.collect::<Result<Vec<_>, _>>()?;
            let batch = HubertBatch::new(model.config(), &inputs)?;
            let values = values(model.states_of_layer(&batch, layer, &ctx))?;
            let each = values.len() / part.len();
            all.extend(values.chunks_exact(each).map(<[f32]>::to_vec));
        }
        Ok(all)
    }

    fn write_codes(&self, path: &Path, features: &Features, books: &Ensemble) -> Result<()> {
        let cannot = |error| Error::file("write", path, error);
        let rows = features.rows_per_record();
        let mut new = NewFile::begin(path)?;
        let file = new.file().try_clone().map_err(cannot)?;
        let words = [books.books().len(), rows];
        let mut writer = NpyWriter::<u16, _>::new(BufWriter::new(file), &words).map_err(cannot)?;
        let reporter = self.stage.reporter;
        let bar = reporter.begin("clusters", features.records(), "records");
        let all: Vec<u32> = (0..features.records() as u32).collect();
        let mut values = Vec::new();
        for chunk in all.chunks(CHUNK) {
            go_on(reporter)?;
            values.clear();
            features.read(chunk, &mut values)?;
            let codes = books.assign(&values)?;
            for record in 0..chunk.len() {
                let own = codes.iter().flat_map(|book| &book[record * rows..][..rows]);
                // No book has more than 65,536 clusters.
                let own: Vec<u16> = own.map(|&code| code as u16).collect();
                writer.push(&own).map_err(cannot)?;
            }
            bar.add(chunk.len());
        }
        bar.finish();
        writer.finish().map_err(cannot)?;
        new.finish()
    }
}

/// Fits the code books of an iteration, and those of the curve, measures and draws them.
pub(super) fn fit(stage: &Stage<'_, Hubert>, features: &Features) -> Result<Ensemble> {
    let settings = &stage.config.settings;
    let clusters = &settings.clusters[stage.number - 1];
    let released = stage.config.network.compat == Compat::Released;
    let fit = match released {
        true => FitConfig::released(0),
        false => FitConfig::new(0),
    };
    let fit = FitConfig {
        batch_records: fit.batch_records.min(features.records()),
        seed: stage.config.train.seed as u32,
        ..fit
    };
    let quality = QualityConfig {
        scope: match released {
            true => Scope::Batches(fit.batch_records),
            false => Scope::All,
        },
        seed: fit.seed,
        ..QualityConfig::default()
    };
    let mut counts: Vec<usize> = clusters.iter().chain(&settings.curve).copied().collect();
    counts.sort_unstable();
    counts.dedup();
    let folder = stage.dir.join(BOOKS);
    let batches = features.records() / fit.batch_records;
    let reporter = stage.reporter;
    let bar = reporter.begin("code books", batches * counts.len(), "batches");
    let mut observer = |_: usize, _: usize, _: f64| {
        bar.add(1);
        match reporter.stop_requested() {
            true => ControlFlow::Break(()),
            false => ControlFlow::Continue(()),
        }
    };
    reporter.keeps(true);
    let points = curve(features, &counts, &fit, &quality, &folder, &mut observer);
    reporter.keeps(false);
    let points = points.map_err(|error| match error {
        ClusterError::Stopped { batch } => Error::Stopped.during(format!(
            "interrupted after batch {batch} of a code book, which is kept: go on with --resume"
        )),
        error => error.into(),
    })?;
    bar.finish();
    reporter.table(&table(&points));
    write_file(
        &folder.join("curve.svg"),
        draw(&points).to_string().as_bytes(),
    )?;
    let books = clusters.iter().map(|count| {
        let point = points.iter().find(|point| point.clusters == *count);
        let point =
            point.ok_or_else(|| Error::invalid(format!("no code book of {count} was fitted")))?;
        Ok(CodeBook::load(&folder.join(&point.file))?)
    });
    Ok(Ensemble::new(books.collect::<Result<_>>()?)?)
}

/// How good code books are.
fn table(points: &[CurvePoint]) -> Table {
    let header = [
        "clusters",
        "SSE",
        "Davies-Bouldin",
        "Calinski-Harabasz",
        "silhouette",
        "used",
    ];
    let rows = points.iter().map(|point| {
        let quality = &point.quality;
        let number = |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{v:.3}"));
        vec![
            point.clusters.to_string(),
            format!("{:.1}", quality.sse),
            number(quality.davies_bouldin),
            number(quality.calinski_harabasz),
            number(quality.silhouette),
            quality.used_clusters.to_string(),
        ]
    });
    Table {
        header: header.map(str::to_owned).to_vec(),
        rows: rows.collect(),
    }
}

/// SSE over the numbers of clusters.
fn draw(points: &[CurvePoint]) -> purkinje_figures::Svg {
    let points = points
        .iter()
        .map(|point| (point.clusters as f64, point.quality.sse));
    LineChart {
        title: "Code books".into(),
        x_label: "clusters".into(),
        y_label: "sum of squared distances".into(),
        y_scale: AxisScale::Linear,
        series: vec![Series {
            name: "SSE".into(),
            points: points.collect(),
        }],
        marked: None,
    }
    .draw()
}
