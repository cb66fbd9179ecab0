//! Mini-batch k-means (Sculley 2010, doi:10.1145/1772690.1772862) over features on disk.

use std::fs;
use std::ops::ControlFlow;
use std::path::Path;

use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::error::{check_finite, write_whole};
use crate::features::Features;
use crate::init::{plus_plus, squared_distance};
use crate::quality::{Quality, QualityConfig};
use crate::{ClusterError, CodeBook, Rows, normalise};

/// How centres are fitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FitConfig {
    /// Clusters.
    pub clusters: usize,
    /// Recordings of a batch; an incomplete last batch is left out.
    pub batch_records: usize,
    /// Epochs over the features, each in another order.
    pub passes: usize,
    /// Seed of the order and of the initial centres.
    pub seed: u32,
    /// Normalisation of rows in the fit.
    pub fitted_on: Rows,
    /// Normalisation of rows in assignment with the fitted code book.
    pub assigned_on: Rows,
}

impl FitConfig {
    /// As published (batches of 100 recordings, one pass, seed 42, unit rows), and with the same normalisation in
    /// assignment.
    pub fn new(clusters: usize) -> Self {
        FitConfig {
            clusters,
            batch_records: 100,
            passes: 1,
            seed: 42,
            fitted_on: Rows::UnitNorm,
            assigned_on: Rows::UnitNorm,
        }
    }

    /// As the released program: fitted on unit rows, raw rows assigned.
    pub fn released(clusters: usize) -> Self {
        FitConfig {
            assigned_on: Rows::Raw,
            ..FitConfig::new(clusters)
        }
    }
}

/// The result of one batch.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchReport {
    /// Nearest centre of each row, after the update.
    pub labels: Vec<u32>,
    /// Sum of squared distances of the batch's rows to their centres, after the update.
    pub sse: f64,
}

/// Centres of mini-batch k-means: each is the mean of all rows that were assigned to it so far.
#[derive(Clone, Debug)]
pub struct MiniBatch {
    book: CodeBook,
}

impl MiniBatch {
    /// From initial centres `[clusters, width]` with counts of 0: the first batch replaces those that get rows.
    ///
    /// # Errors
    /// See [`CodeBook::new`].
    pub fn new(centers: Vec<f32>, width: usize) -> Result<Self, ClusterError> {
        Ok(MiniBatch {
            book: CodeBook::new(centers, width, Rows::Raw)?,
        })
    }

    /// Continues with the centres and counts of a code book.
    pub fn resume(book: &CodeBook) -> Self {
        MiniBatch { book: book.clone() }
    }

    /// Updates the centres with a batch of rows `[rows, width]`, without normalising them.
    ///
    /// # Errors
    /// No whole rows, or a number that is not finite.
    pub fn update(&mut self, rows: &[f32]) -> Result<BatchReport, ClusterError> {
        let width = self.book.width;
        let labels = self.book.assign_on(rows, Rows::Raw)?;
        let mut sums = vec![0.0; self.book.centers.len()];
        let mut new = vec![0.0; self.book.clusters()];
        for (row, &label) in rows.chunks_exact(width).zip(&labels) {
            let label = label as usize;
            new[label] += 1.0;
            for (sum, value) in sums[label * width..][..width].iter_mut().zip(row) {
                *sum += f64::from(*value);
            }
        }
        let clusters = self.book.centers.chunks_exact_mut(width);
        for (((center, sums), count), new) in clusters
            .zip(sums.chunks_exact(width))
            .zip(&mut self.book.counts)
            .zip(new)
        {
            if new > 0.0 {
                let before = *count;
                *count += new;
                for (value, sum) in center.iter_mut().zip(sums) {
                    *value = ((f64::from(*value) * before + sum) / *count) as f32;
                }
            }
        }
        let labels = self.book.assign_on(rows, Rows::Raw)?;
        let sse = sse(rows, width, &self.book.centers, &labels);
        Ok(BatchReport { labels, sse })
    }

    /// The current centres and counts.
    pub fn book(&self) -> &CodeBook {
        &self.book
    }
}

/// Sum of squared distances of rows to the centres of their labels.
pub(crate) fn sse(rows: &[f32], width: usize, centers: &[f32], labels: &[u32]) -> f64 {
    rows.chunks_exact(width)
        .zip(labels)
        .map(|(row, label)| squared_distance(row, &centers[*label as usize * width..][..width]))
        .sum()
}

/// Observes a fit: batches done, total number of batches, SSE of the batch. [`ControlFlow::Break`] saves and ends the
/// call with [`ClusterError::Stopped`].
pub type Observer<'a> = &'a mut dyn FnMut(usize, usize, f64) -> ControlFlow<()>;

/// A finished fit.
#[derive(Clone, Debug, PartialEq)]
pub struct Fitted {
    /// The centres.
    pub book: CodeBook,
    /// SSE of the last batch, which the released program reports as the SSE of the clustering.
    pub last_batch_sse: f64,
}

/// Metadata of a saved fit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Progress {
    fit: FitConfig,
    features: serde_json::Value,
    records: usize,
    batches_done: usize,
    batches: usize,
    last_batch_sse: f64,
}

/// Batches between two saves.
pub const SAVE_EVERY: usize = 100;

/// Fits a code book to features on disk; memory holds only one batch and the centres.
///
/// Initial centres are chosen from the first batch ([`plus_plus`]). With `save` the code book is written every
/// `SAVE_EVERY` batches and at the end, and a later call continues from it, with bit-identical results. A finished code
/// book is only read.
///
/// # Errors
/// Fewer recordings than a batch, fewer rows in a batch than clusters, features that cannot be read, or a file of
/// another configuration.
pub fn fit(
    features: &Features,
    config: &FitConfig,
    save: Option<&Path>,
    observer: Observer<'_>,
) -> Result<Fitted, ClusterError> {
    let mut progress = begin(features, config)?;
    let mut state = None;
    if let Some(path) = save.filter(|path| path.exists()) {
        let book = CodeBook::load(path)?;
        progress = resumed(path, &book, &progress)?;
        state = Some(MiniBatch::resume(&book));
    }

    let mut batches = Batches::new(features, config);
    while progress.batches_done < progress.batches {
        let rows = batches.read(progress.batches_done)?;
        let mut now = match state.take() {
            Some(state) => state,
            None => first_centers(rows, features.width(), config)?,
        };
        progress.last_batch_sse = now.update(rows)?.sse;
        progress.batches_done += 1;
        let done = progress.batches_done;
        let stop = observer(done, progress.batches, progress.last_batch_sse).is_break();
        if let Some(path) = save
            && (stop || done == progress.batches || done.is_multiple_of(SAVE_EVERY))
        {
            progress.book(&now).save(path)?;
        }
        if stop && done < progress.batches {
            return Err(ClusterError::Stopped { batch: done });
        }
        state = Some(now);
    }
    let Some(state) = state else {
        // At least one batch was processed or read, by the checks above.
        return Err(ClusterError::Setting {
            setting: "batches",
            found: "0".to_owned(),
            expected: "at least 1".to_owned(),
        });
    };
    Ok(Fitted {
        last_batch_sse: progress.last_batch_sse,
        book: progress.book(&state),
    })
}

/// A fit of which nothing is done yet.
fn begin(features: &Features, config: &FitConfig) -> Result<Progress, ClusterError> {
    let records = features.records();
    for (setting, found, most) in [
        ("batch_records", config.batch_records, records),
        ("passes", config.passes, 10_000),
    ] {
        if found == 0 || found > most {
            return Err(ClusterError::Setting {
                setting,
                found: found.to_string(),
                expected: format!("1 to {most}; the features have {records} recordings"),
            });
        }
    }
    Ok(Progress {
        fit: config.clone(),
        features: features.made_of().clone(),
        records,
        batches_done: 0,
        batches: records / config.batch_records * config.passes,
        last_batch_sse: 0.0,
    })
}

/// How far a saved fit came, which must be the one that `begun` begins.
fn resumed(path: &Path, book: &CodeBook, begun: &Progress) -> Result<Progress, ClusterError> {
    let saved: Progress = serde_json::from_value(book.made_of.clone()).map_err(|e| {
        ClusterError::damaged(path, format!("its metadata of the fit is invalid: {e}"))
    })?;
    let differing = [
        ("fit", json!(saved.fit), json!(begun.fit)),
        (
            "table of features",
            saved.features.clone(),
            begun.features.clone(),
        ),
        (
            "number of recordings",
            json!(saved.records),
            json!(begun.records),
        ),
    ]
    .into_iter()
    .find(|(_, found, expected)| found != expected);
    match differing {
        None => Ok(saved),
        Some((what, found, expected)) => Err(ClusterError::Other {
            path: path.to_owned(),
            what,
            found: found.to_string(),
            expected: expected.to_string(),
        }),
    }
}

impl Progress {
    /// The code book as it is now.
    fn book(&self, state: &MiniBatch) -> CodeBook {
        CodeBook {
            fitted_on: self.fit.fitted_on,
            assigned_on: self.fit.assigned_on,
            made_of: json!(self),
            ..state.book.clone()
        }
    }
}

/// Centres drawn from the first batch.
fn first_centers(
    rows: &[f32],
    width: usize,
    config: &FitConfig,
) -> Result<MiniBatch, ClusterError> {
    let chosen = plus_plus(rows, width, config.clusters, config.seed)?;
    let centers = chosen.iter().flat_map(|k| &rows[k * width..][..width]);
    MiniBatch::new(centers.copied().collect(), width)
}

/// The batches of a fit, read one at a time; every pass has an order of its own.
struct Batches<'a> {
    features: &'a Features,
    config: &'a FitConfig,
    order: Vec<u32>,
    of_pass: Option<usize>,
    rows: Vec<f32>,
}

impl<'a> Batches<'a> {
    fn new(features: &'a Features, config: &'a FitConfig) -> Self {
        Batches {
            features,
            config,
            order: Vec::new(),
            of_pass: None,
            rows: Vec::new(),
        }
    }

    /// The rows of a batch by its number over all passes.
    fn read(&mut self, batch: usize) -> Result<&[f32], ClusterError> {
        let (size, width) = (self.config.batch_records, self.features.width());
        let a_pass = self.features.records() / size;
        let pass = batch / a_pass;
        if self.of_pass != Some(pass) {
            let seed = self.config.seed.wrapping_add(pass as u32);
            self.order = self.features.order(seed);
            self.of_pass = Some(pass);
        }
        self.rows.clear();
        let records = &self.order[batch % a_pass * size..][..size];
        self.features.read(records, &mut self.rows)?;
        check_finite("a batch of features", &self.rows, width)?;
        if self.config.fitted_on == Rows::UnitNorm {
            normalise(&mut self.rows, width);
        }
        Ok(&self.rows)
    }
}

/// A point of a curve: the results for one number of clusters.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CurvePoint {
    /// Clusters.
    pub clusters: usize,
    /// File of the code book, in the folder of the curve.
    pub file: String,
    /// SSE of the last batch.
    pub last_batch_sse: f64,
    /// Metrics of quality.
    pub quality: Quality,
}

/// Name of the file of a curve.
const CURVE: &str = "curve.json";

/// Contents of that file.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Curve {
    fit: FitConfig,
    quality: QualityConfig,
    features: serde_json::Value,
    records: usize,
    points: Vec<CurvePoint>,
}

/// The file of a code book in the folder of a [`curve`].
pub fn book_file(clusters: usize) -> String {
    format!("code_book_{clusters}.safetensors")
}

/// Fits and evaluates a code book for each of several numbers of clusters; `config.clusters` is ignored.
///
/// Books (`code_book_K.safetensors`) and metrics (`curve.json`) are written to `dir` as they are ready; existing points
/// are kept, so that an interrupted call continues.
///
/// # Errors
/// As [`fit`], and a folder that holds a curve of another configuration.
pub fn curve(
    features: &Features,
    counts: &[usize],
    config: &FitConfig,
    quality: &QualityConfig,
    dir: &Path,
    observer: Observer<'_>,
) -> Result<Vec<CurvePoint>, ClusterError> {
    fs::create_dir_all(dir).map_err(ClusterError::io(dir))?;
    let path = dir.join(CURVE);
    let mut curve = Curve {
        fit: FitConfig {
            clusters: 0,
            ..config.clone()
        },
        quality: quality.clone(),
        features: features.made_of().clone(),
        records: features.records(),
        points: Vec::new(),
    };
    if path.exists() {
        let text = fs::read(&path).map_err(ClusterError::io(&path))?;
        let saved: Curve = serde_json::from_slice(&text)
            .map_err(|e| ClusterError::damaged(&path, format!("it is not a curve: {e}")))?;
        let points = saved.points;
        let saved = Curve {
            points: Vec::new(),
            ..saved
        };
        if saved != curve {
            return Err(ClusterError::Other {
                path,
                what: "curve",
                found: json!(saved).to_string(),
                expected: json!(curve).to_string(),
            });
        }
        curve.points = points;
    }
    for &clusters in counts {
        if curve.points.iter().any(|point| point.clusters == clusters) {
            continue;
        }
        let config = FitConfig {
            clusters,
            ..config.clone()
        };
        let file = book_file(clusters);
        let fitted = fit(features, &config, Some(&dir.join(&file)), observer)?;
        let quality = Quality::of(features, &fitted.book, quality)?;
        curve.points.push(CurvePoint {
            clusters,
            file,
            last_batch_sse: fitted.last_batch_sse,
            quality,
        });
        curve.points.sort_by_key(|point| point.clusters);
        let text = serde_json::to_vec_pretty(&curve)
            .map_err(|e| ClusterError::damaged(&path, e.to_string()))?;
        write_whole(&path, &text)?;
    }
    curve
        .points
        .retain(|point| counts.contains(&point.clusters));
    Ok(curve.points)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::features::Writer;

    /// Recordings of four rows around five directions, and of different lengths.
    pub(crate) fn features(dir: &Path, records: usize) -> Features {
        let mut writer = Writer::open(dir, 3, 4, json!("directions"))
            .unwrap()
            .shard_bytes(1000);
        for record in 0..records {
            let rows: Vec<f32> = (0..4)
                .flat_map(|row| {
                    let k = (record * 4 + row) as f64;
                    let angle = (k % 5.0) * 1.2 + 0.05 * (k * 1.7).sin();
                    let length = 1.0 + (k * 0.31).sin().abs() * 3.0;
                    [
                        angle.cos() * length,
                        angle.sin() * length,
                        0.1 * (k * 2.3).cos(),
                    ]
                })
                .map(|v| v as f32)
                .collect();
            writer.add(&format!("{record}"), &rows).unwrap();
        }
        writer.finish().unwrap()
    }

    fn go(_: usize, _: usize, _: f64) -> ControlFlow<()> {
        ControlFlow::Continue(())
    }

    fn config() -> FitConfig {
        FitConfig {
            batch_records: 10,
            passes: 2,
            ..FitConfig::new(5)
        }
    }

    #[test]
    fn clusters_are_found_and_a_stopped_fit_goes_on_bit_by_bit() {
        let dir = tempfile::tempdir().unwrap();
        let features = features(&dir.path().join("features"), 64);
        let whole = fit(&features, &config(), None, &mut go).unwrap();
        assert!(whole.last_batch_sse / 40.0 < 0.01);
        assert_eq!(whole.book.counts().iter().sum::<f64>(), 2.0 * 60.0 * 4.0);

        let path = dir.path().join("book.safetensors");
        for stop_after in [3, 8] {
            let mut stop = |done: usize, _: usize, _: f64| match done == stop_after {
                true => ControlFlow::Break(()),
                false => ControlFlow::Continue(()),
            };
            let stopped = fit(&features, &config(), Some(&path), &mut stop);
            assert!(matches!(stopped, Err(ClusterError::Stopped { batch }) if batch == stop_after));
        }
        assert_eq!(
            fit(&features, &config(), Some(&path), &mut go).unwrap(),
            whole
        );
        let mut none = |_: usize, _: usize, _: f64| -> ControlFlow<()> { panic!("fitted again") };
        assert_eq!(
            fit(&features, &config(), Some(&path), &mut none).unwrap(),
            whole
        );
        let other = FitConfig {
            seed: 1,
            ..config()
        };
        let refused = fit(&features, &other, Some(&path), &mut go);
        assert!(matches!(
            refused,
            Err(ClusterError::Other { what: "fit", .. })
        ));
        for wrong in [
            FitConfig {
                batch_records: 65,
                ..config()
            },
            FitConfig {
                batch_records: 0,
                ..config()
            },
            FitConfig {
                passes: 0,
                ..config()
            },
            FitConfig {
                clusters: 41,
                ..config()
            },
        ] {
            assert!(fit(&features, &wrong, None, &mut go).is_err());
        }
    }

    #[test]
    fn rows_are_assigned_as_fitted_and_raw_as_released() {
        let dir = tempfile::tempdir().unwrap();
        let features = features(&dir.path().join("features"), 30);
        let paper = fit(&features, &config(), None, &mut go).unwrap().book;
        let released = FitConfig {
            assigned_on: Rows::Raw,
            ..config()
        };
        let released = fit(&features, &released, None, &mut go).unwrap().book;
        assert_eq!(paper.centers(), released.centers());
        let row = &[0.2f32, 0.05, -3.0];
        let unit = paper.assign(row).unwrap();
        assert_eq!(unit, released.assign_on(row, Rows::UnitNorm).unwrap());
        assert_eq!(
            released.assign(row).unwrap(),
            released.assign_on(row, Rows::Raw).unwrap()
        );
    }

    #[test]
    fn a_curve_falls_and_goes_on_where_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let features = features(&dir.path().join("features"), 40);
        let quality = QualityConfig::default();
        let folder = dir.path().join("curve");
        let first = curve(&features, &[2, 5], &config(), &quality, &folder, &mut go).unwrap();
        assert!(first[0].quality.sse > 10.0 * first[1].quality.sse);
        let mut only_3 = 0;
        let mut count = |_: usize, _: usize, _: f64| {
            only_3 += 1;
            ControlFlow::Continue(())
        };
        let all = curve(
            &features,
            &[2, 3, 5],
            &config(),
            &quality,
            &folder,
            &mut count,
        )
        .unwrap();
        assert_eq!(only_3, 8);
        assert_eq!((&all[0], &all[2]), (&first[0], &first[1]));
        assert!(folder.join(&all[1].file).exists());
        let other = FitConfig {
            passes: 1,
            ..config()
        };
        assert!(curve(&features, &[2], &other, &quality, &folder, &mut go).is_err());
    }

    #[test]
    fn bad_batches_change_nothing() {
        let mut state = MiniBatch::new(vec![0.0, 1.0], 1).unwrap();
        assert!(state.update(&[f32::NAN]).is_err());
        assert_eq!(state.book().counts(), [0.0, 0.0]);
        let report = state.update(&[0.2, 0.4, 0.9]).unwrap();
        assert_eq!(
            (report.labels, state.book().counts()),
            (vec![0, 0, 1], &[2.0, 1.0][..])
        );
    }
}
