//! Metrics of the quality of a clustering.
//!
//! Davies-Bouldin (Davies and Bouldin 1979), Calinski-Harabasz (Calinski and Harabasz 1974) and silhouette (Rousseeuw
//! 1987) as scikit-learn defines them: over the clusters that have rows, around the means of those rows.

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::code_book::normalise;
use crate::error::{check_finite, check_shape};
use crate::features::Features;
use crate::init::squared_distance;
use crate::{ClusterError, CodeBook, Rows};

/// Rows read at once.
const BLOCK_ROWS: usize = 1 << 14;

/// The rows over which metrics are computed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// All rows.
    #[default]
    All,
    /// Batches of this many recordings in the order of the fit, without an incomplete last one; metrics are means over
    /// batches, and the SSE is that of the last one (released).
    Batches(usize),
}

/// How a clustering is evaluated.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct QualityConfig {
    /// The rows over which metrics are computed.
    pub scope: Scope,
    /// Size of the sample for the silhouette, whose cost is quadratic in it; 0 leaves it out.
    pub silhouette_rows: usize,
    /// Seed of that sample and of the order of batches.
    pub seed: u32,
}

impl Default for QualityConfig {
    /// All rows, a silhouette on 5000 rows, seed 42.
    fn default() -> Self {
        QualityConfig {
            scope: Scope::All,
            silhouette_rows: 5000,
            seed: 42,
        }
    }
}

/// Metrics of a clustering; `None` where they are undefined (fewer than two clusters with rows, or as many clusters as
/// rows).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Quality {
    /// Number of rows they were computed on.
    pub rows: usize,
    /// Number of clusters that have rows.
    pub used_clusters: usize,
    /// Sum of squared distances to the nearest centre.
    pub sse: f64,
    /// Smaller is better.
    pub davies_bouldin: Option<f64>,
    /// Larger is better.
    pub calinski_harabasz: Option<f64>,
    /// From -1 to 1; larger is better.
    pub silhouette: Option<f64>,
}

impl Quality {
    /// Evaluates a code book on features, with rows normalised and assigned as in the fit.
    ///
    /// # Errors
    /// Features that cannot be read or have another width.
    pub fn of(
        features: &Features,
        book: &CodeBook,
        config: &QualityConfig,
    ) -> Result<Quality, ClusterError> {
        if features.width() != book.width() {
            return Err(ClusterError::Setting {
                setting: "width of the features",
                found: features.width().to_string(),
                expected: format!("{}, that of the code book", book.width()),
            });
        }
        let mut quality = match config.scope {
            Scope::All => over_all(features, book)?,
            Scope::Batches(records) => over_batches(features, book, records, config.seed)?,
        };
        if config.silhouette_rows > 0 {
            let each = features.rows_per_record();
            let records = config.silhouette_rows.div_ceil(each);
            let mut order = features.order(config.seed);
            order.truncate(records);
            let mut rows = Vec::new();
            features.read(&order, &mut rows)?;
            rows.truncate(config.silhouette_rows * book.width());
            let labels = prepared(book, &mut rows)?;
            quality.silhouette = silhouette(&rows, book.width(), &labels)?;
        }
        Ok(quality)
    }
}

/// Normalises rows as in the fit of the code book and assigns them.
fn prepared(book: &CodeBook, rows: &mut [f32]) -> Result<Vec<u32>, ClusterError> {
    check_finite("features", rows, book.width())?;
    if book.fitted_on == Rows::UnitNorm {
        normalise(rows, book.width());
    }
    book.assign_on(rows, Rows::Raw)
}

fn over_all(features: &Features, book: &CodeBook) -> Result<Quality, ClusterError> {
    let width = book.width();
    let mut moments = Moments::new(book.clusters(), width);
    let mut sse = 0.0;
    let mut block = Vec::new();
    features.blocks(BLOCK_ROWS, |rows| {
        block.clear();
        block.extend_from_slice(rows);
        let labels = prepared(book, &mut block)?;
        sse += crate::fit::sse(&block, width, book.centers(), &labels);
        moments.add(&block, &labels);
        Ok(())
    })?;
    let means = moments.means();
    let mut scatter = Scatter::new(book.clusters());
    features.blocks(BLOCK_ROWS, |rows| {
        block.clear();
        block.extend_from_slice(rows);
        let labels = prepared(book, &mut block)?;
        scatter.add(&block, &labels, &means);
        Ok(())
    })?;
    Ok(Quality {
        rows: features.rows(),
        used_clusters: moments.used(),
        sse,
        davies_bouldin: scatter.davies_bouldin(&means),
        calinski_harabasz: scatter.calinski_harabasz(&means),
        silhouette: None,
    })
}

fn over_batches(
    features: &Features,
    book: &CodeBook,
    records: usize,
    seed: u32,
) -> Result<Quality, ClusterError> {
    if records == 0 || records > features.records() {
        return Err(ClusterError::Setting {
            setting: "batch_records",
            found: records.to_string(),
            expected: format!("1 to {}", features.records()),
        });
    }
    let width = book.width();
    let (mut rows, mut metrics) = (Vec::new(), Vec::new());
    let (mut sse, mut all, mut used) = (0.0, 0, Moments::new(book.clusters(), width));
    for batch in features.order(seed).chunks_exact(records) {
        rows.clear();
        features.read(batch, &mut rows)?;
        let labels = prepared(book, &mut rows)?;
        sse = crate::fit::sse(&rows, width, book.centers(), &labels);
        all += labels.len();
        used.add(&rows, &labels);
        metrics.push((
            davies_bouldin(&rows, width, &labels)?,
            calinski_harabasz(&rows, width, &labels)?,
        ));
    }
    let mean = |values: Vec<f64>| {
        (!values.is_empty()).then(|| values.iter().sum::<f64>() / values.len() as f64)
    };
    Ok(Quality {
        rows: all,
        used_clusters: used.used(),
        sse,
        davies_bouldin: mean(metrics.iter().filter_map(|f| f.0).collect()),
        calinski_harabasz: mean(metrics.iter().filter_map(|f| f.1).collect()),
        silhouette: None,
    })
}

/// Mean over clusters of the largest (s_i + s_j) / d_ij, where s is the mean distance of a cluster's rows to their mean
/// and d the distance of two means; smaller is better. `None` unless 2 to rows - 1 clusters have rows.
///
/// # Errors
/// Rows and labels that do not fit, or numbers that are not finite.
pub fn davies_bouldin(
    rows: &[f32],
    width: usize,
    labels: &[u32],
) -> Result<Option<f64>, ClusterError> {
    let (means, scatter) = in_memory(rows, width, labels)?;
    Ok(scatter.davies_bouldin(&means))
}

/// Dispersion between clusters over that within, each by its degrees of freedom; larger is better. `None` unless 2 to
/// rows - 1 clusters have rows.
///
/// # Errors
/// As [`davies_bouldin`].
pub fn calinski_harabasz(
    rows: &[f32],
    width: usize,
    labels: &[u32],
) -> Result<Option<f64>, ClusterError> {
    let (means, scatter) = in_memory(rows, width, labels)?;
    Ok(scatter.calinski_harabasz(&means))
}

/// Mean over rows of (b - a) / max(a, b): a is the mean distance to the other rows of the same cluster, b the smallest
/// mean distance to the rows of another; a row alone in its cluster counts 0. `None` unless 2 to rows - 1 clusters have
/// rows. Quadratic in rows.
///
/// # Errors
/// As [`davies_bouldin`].
pub fn silhouette(rows: &[f32], width: usize, labels: &[u32]) -> Result<Option<f64>, ClusterError> {
    let (means, _) = in_memory(rows, width, labels)?;
    let n = labels.len();
    let clusters = means.counts.len();
    let used = means.counts.iter().filter(|c| **c > 0.0).count();
    if used < 2 || used >= n {
        return Ok(None);
    }
    let sum: f64 = rows
        .par_chunks_exact(width)
        .zip(labels)
        .with_min_len(16)
        .map(|(row, &own)| {
            let mut sums = vec![0.0; clusters];
            for (other, &label) in rows.chunks_exact(width).zip(labels) {
                sums[label as usize] += squared_distance(row, other).sqrt();
            }
            let own = own as usize;
            if means.counts[own] <= 1.0 {
                return 0.0;
            }
            let a = sums[own] / (means.counts[own] - 1.0);
            let b = (0..clusters)
                .filter(|k| *k != own && means.counts[*k] > 0.0)
                .map(|k| sums[k] / means.counts[k])
                .fold(f64::INFINITY, f64::min);
            let larger = a.max(b);
            if larger > 0.0 { (b - a) / larger } else { 0.0 }
        })
        .collect::<Vec<f64>>()
        .iter()
        .sum();
    Ok(Some(sum / n as f64))
}

fn in_memory(rows: &[f32], width: usize, labels: &[u32]) -> Result<(Means, Scatter), ClusterError> {
    check_shape("rows to evaluate", rows, width)?;
    check_finite("rows to evaluate", rows, width)?;
    let clusters = labels.iter().max().map_or(0, |max| *max as usize + 1);
    if rows.len() / width != labels.len() || clusters > crate::MAX_CLUSTERS {
        return Err(ClusterError::Setting {
            setting: "labels",
            found: format!("{} labels up to {clusters}", labels.len()),
            expected: format!(
                "one for each of the {} rows, below {}",
                rows.len() / width,
                crate::MAX_CLUSTERS
            ),
        });
    }
    let mut moments = Moments::new(clusters, width);
    moments.add(rows, labels);
    let means = moments.means();
    let mut scatter = Scatter::new(clusters);
    scatter.add(rows, labels, &means);
    Ok((means, scatter))
}

/// Sums of rows by cluster.
struct Moments {
    width: usize,
    counts: Vec<f64>,
    sums: Vec<f64>,
}

/// Means of clusters, `[clusters, width]`.
struct Means {
    width: usize,
    counts: Vec<f64>,
    means: Vec<f64>,
}

impl Moments {
    fn new(clusters: usize, width: usize) -> Self {
        Moments {
            width,
            counts: vec![0.0; clusters],
            sums: vec![0.0; clusters * width],
        }
    }

    fn add(&mut self, rows: &[f32], labels: &[u32]) {
        for (row, &label) in rows.chunks_exact(self.width).zip(labels) {
            let label = label as usize;
            self.counts[label] += 1.0;
            let sums = &mut self.sums[label * self.width..][..self.width];
            for (sum, value) in sums.iter_mut().zip(row) {
                *sum += f64::from(*value);
            }
        }
    }

    fn used(&self) -> usize {
        self.counts.iter().filter(|count| **count > 0.0).count()
    }

    fn means(&self) -> Means {
        let means = self
            .sums
            .chunks_exact(self.width)
            .zip(&self.counts)
            .flat_map(|(sums, count)| sums.iter().map(move |sum| sum / count.max(1.0)))
            .collect();
        Means {
            width: self.width,
            counts: self.counts.clone(),
            means,
        }
    }
}

/// Distances of rows to the means of their clusters.
struct Scatter {
    distances: Vec<f64>,
    squares: f64,
}

impl Scatter {
    fn new(clusters: usize) -> Self {
        Scatter {
            distances: vec![0.0; clusters],
            squares: 0.0,
        }
    }

    fn add(&mut self, rows: &[f32], labels: &[u32], means: &Means) {
        for (row, &label) in rows.chunks_exact(means.width).zip(labels) {
            let mean = &means.means[label as usize * means.width..][..means.width];
            let square: f64 = row
                .iter()
                .zip(mean)
                .map(|(x, m)| (f64::from(*x) - m).powi(2))
                .sum();
            self.distances[label as usize] += square.sqrt();
            self.squares += square;
        }
    }

    fn davies_bouldin(&self, means: &Means) -> Option<f64> {
        let used: Vec<usize> = defined(means)?;
        let mean = |k: usize| &means.means[k * means.width..][..means.width];
        let spread = |k: usize| self.distances[k] / means.counts[k];
        let between = |i: usize, j: usize| -> f64 {
            let square: f64 = mean(i)
                .iter()
                .zip(mean(j))
                .map(|(a, b)| (a - b).powi(2))
                .sum();
            square.sqrt()
        };
        let worst: Vec<f64> = used
            .par_iter()
            .map(|&i| {
                used.iter()
                    .filter(|j| **j != i)
                    .map(|&j| (spread(i) + spread(j), between(i, j)))
                    // Two clusters with one mean are left out, as in scikit-learn.
                    .filter(|(_, distance)| *distance > 0.0)
                    .map(|(spread, distance)| spread / distance)
                    .fold(0.0, f64::max)
            })
            .collect();
        Some(worst.iter().sum::<f64>() / used.len() as f64)
    }

    fn calinski_harabasz(&self, means: &Means) -> Option<f64> {
        let used = defined(means)?;
        let n: f64 = means.counts.iter().sum();
        let k = used.len() as f64;
        let mut center = vec![0.0; means.width];
        for (mean, count) in means.means.chunks_exact(means.width).zip(&means.counts) {
            for (sum, value) in center.iter_mut().zip(mean) {
                *sum += value * count / n;
            }
        }
        let between: f64 = means
            .means
            .chunks_exact(means.width)
            .zip(&means.counts)
            .map(|(mean, count)| {
                let square: f64 = mean.iter().zip(&center).map(|(a, b)| (a - b).powi(2)).sum();
                count * square
            })
            .sum();
        if self.squares == 0.0 {
            return Some(1.0);
        }
        Some(between * (n - k) / (self.squares * (k - 1.0)))
    }
}

/// The clusters that have rows, if the metrics are defined.
fn defined(means: &Means) -> Option<Vec<usize>> {
    let used: Vec<usize> = (0..means.counts.len())
        .filter(|k| means.counts[*k] > 0.0)
        .collect();
    let rows: f64 = means.counts.iter().sum();
    (used.len() >= 2 && (used.len() as f64) < rows).then_some(used)
}

#[cfg(test)]
mod tests {
    use std::ops::ControlFlow;

    use super::*;
    use crate::features::Writer;
    use crate::{FitConfig, fit};

    fn example() -> (Vec<f32>, Vec<u32>) {
        let labels: Vec<u32> = (0..200).map(|k| k * 7 % 5).collect();
        let rows = (0..600)
            .map(|k| (f64::from(k), labels[k as usize / 3]))
            .map(|(k, label)| {
                ((k * k * 0.37 + k * 0.01).sin() as f32) as f64 + f64::from(label) * 0.5
            })
            .map(|v| v as f32)
            .collect();
        (rows, labels)
    }

    #[test]
    fn figures_are_those_of_scikit_learn() {
        let (rows, labels) = example();
        // davies_bouldin_score, calinski_harabasz_score, silhouette_score of scikit-learn 1.9.1.
        let close = |found: Option<f64>, expected: f64| {
            let error = (found.unwrap() - expected).abs() / expected;
            assert!(error < 1e-5, "{found:?} {expected}");
        };
        close(
            davies_bouldin(&rows, 3, &labels).unwrap(),
            2.913484195706315,
        );
        close(
            calinski_harabasz(&rows, 3, &labels).unwrap(),
            49.62178248927589,
        );
        close(silhouette(&rows, 3, &labels).unwrap(), 0.00105056429308594);
    }

    #[test]
    fn figures_of_one_cluster_are_not_defined() {
        for labels in [vec![0; 4], vec![3; 4], (0..4).collect()] {
            let rows = [1.0, 2.0, 3.0, 5.0];
            assert_eq!(davies_bouldin(&rows, 1, &labels).unwrap(), None);
            assert_eq!(calinski_harabasz(&rows, 1, &labels).unwrap(), None);
            assert_eq!(silhouette(&rows, 1, &labels).unwrap(), None);
        }
        assert!(davies_bouldin(&[1.0; 4], 1, &[0; 3]).is_err());
        assert!(silhouette(&[f32::NAN; 4], 1, &[0; 4]).is_err());
        assert!(silhouette(&[1.0; 2], 1, &[0, u32::MAX]).is_err());
    }

    #[test]
    fn streamed_metrics_are_those_in_memory_and_batches_as_released() {
        let dir = tempfile::tempdir().unwrap();
        let (rows, _) = example();
        let mut writer = Writer::open(dir.path(), 3, 5, serde_json::Value::Null).unwrap();
        for (record, rows) in rows.chunks(15).enumerate() {
            writer.add(&record.to_string(), rows).unwrap();
        }
        let features = writer.finish().unwrap();
        let config = FitConfig {
            batch_records: 15,
            fitted_on: Rows::Raw,
            ..FitConfig::new(4)
        };
        let mut go = |_: usize, _: usize, _: f64| ControlFlow::Continue(());
        let fitted = fit(&features, &config, None, &mut go).unwrap();
        let book = &fitted.book;
        let mut config = QualityConfig::default();
        let all = Quality::of(&features, book, &config).unwrap();
        let labels = book.assign_on(&rows, Rows::Raw).unwrap();
        assert_eq!((all.rows, all.used_clusters), (200, 4));
        let same = |a: Option<f64>, b: Option<f64>| (a.unwrap() - b.unwrap()).abs() < 1e-9;
        assert!(same(
            all.davies_bouldin,
            davies_bouldin(&rows, 3, &labels).unwrap()
        ));
        assert!(same(
            all.calinski_harabasz,
            calinski_harabasz(&rows, 3, &labels).unwrap()
        ));
        assert!(same(all.silhouette, silhouette(&rows, 3, &labels).unwrap()));

        config.scope = Scope::Batches(15);
        let released = Quality::of(&features, book, &config).unwrap();
        // Two whole batches; the SSE is that of the second.
        assert_eq!(released.rows, 150);
        assert!((released.sse - fitted.last_batch_sse).abs() < 1e-9);
        assert!(released.sse < all.sse);
        assert_ne!(released.davies_bouldin, all.davies_bouldin);
        config.scope = Scope::Batches(41);
        assert!(Quality::of(&features, book, &config).is_err());
    }
}
