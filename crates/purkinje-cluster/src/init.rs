//! Initial centres: k-means++ (Arthur and Vassilvitskii 2007) with several candidates per step.

use purkinje_base::legacy_random::Mt19937;
use rayon::prelude::*;

use crate::error::{check_finite, check_shape};
use crate::{ClusterError, MAX_CLUSTERS};

/// Indices of `clusters` rows, far from each other.
///
/// The first is drawn uniformly; for each further one `2 + floor(ln(clusters))` candidates are drawn with probability
/// proportional to their squared distance to the nearest chosen row, and the one with the smallest resulting sum of
/// distances is kept. Random numbers are those of scikit-learn's `kmeans_plusplus(random_state=seed)`, and so are the
/// rows chosen as long as no two candidates are equal but for rounding.
///
/// # Errors
/// Fewer rows than clusters, or a number that is not finite.
pub fn plus_plus(
    rows: &[f32],
    width: usize,
    clusters: usize,
    seed: u32,
) -> Result<Vec<usize>, ClusterError> {
    check_shape("rows for initial centres", rows, width)?;
    check_finite("rows for initial centres", rows, width)?;
    let n = rows.len() / width;
    if clusters == 0 || clusters > n.min(MAX_CLUSTERS) {
        return Err(ClusterError::Setting {
            setting: "clusters",
            found: clusters.to_string(),
            expected: format!(
                "1 to {}: initial centres are rows of the first batch, which has {n}",
                n.min(MAX_CLUSTERS)
            ),
        });
    }
    let mut random = Mt19937::from_seed(seed);
    let trials = 2 + (clusters as f64).ln() as usize;
    let first = ((random.numpy_uniform() * n as f64) as usize).min(n - 1);
    let mut chosen = vec![first];
    let mut nearest = squared_distances(rows, width, first);
    while chosen.len() < clusters {
        let mut running = 0.0;
        let sums: Vec<f64> = nearest
            .iter()
            .map(|d| {
                running += d;
                running
            })
            .collect();
        let draws: Vec<f64> = (0..trials)
            .map(|_| random.numpy_uniform() * running)
            .collect();
        let mut best: Option<(f64, usize, Vec<f64>)> = None;
        for draw in draws {
            let candidate = sums.partition_point(|sum| *sum < draw).min(n - 1);
            let mut distances = squared_distances(rows, width, candidate);
            let mut sum = 0.0;
            for (distance, nearest) in distances.iter_mut().zip(&nearest) {
                *distance = distance.min(*nearest);
                sum += *distance;
            }
            if best.as_ref().is_none_or(|(least, _, _)| sum < *least) {
                best = Some((sum, candidate, distances));
            }
        }
        // There are at least two draws, so there is a best one.
        let Some((_, candidate, distances)) = best else {
            break;
        };
        chosen.push(candidate);
        nearest = distances;
    }
    Ok(chosen)
}

fn squared_distances(rows: &[f32], width: usize, of: usize) -> Vec<f64> {
    let center = &rows[of * width..(of + 1) * width];
    rows.par_chunks_exact(width)
        .with_min_len(256)
        .map(|row| squared_distance(row, center))
        .collect()
}

/// In eight running sums, so that it vectorises.
pub(crate) fn squared_distance(a: &[f32], b: &[f32]) -> f64 {
    let mut sums = [0.0f64; 8];
    let (a_blocks, b_blocks) = (a.as_chunks::<8>(), b.as_chunks::<8>());
    for (a, b) in a_blocks.0.iter().zip(b_blocks.0) {
        for lane in 0..8 {
            let d = f64::from(a[lane]) - f64::from(b[lane]);
            sums[lane] += d * d;
        }
    }
    let rest: f64 = a_blocks
        .1
        .iter()
        .zip(b_blocks.1)
        .map(|(a, b)| (f64::from(*a) - f64::from(*b)).powi(2))
        .sum();
    sums.iter().sum::<f64>() + rest
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_rows_of_scikit_learn_are_chosen() {
        let rows: Vec<f32> = (0..600)
            .map(f64::from)
            .map(|k| (k * k * 0.37 + k * 0.01).sin() as f32)
            .collect();
        // sklearn.cluster.kmeans_plusplus(rows.reshape(200, 3), K, random_state=42), version 1.9.1.
        for (clusters, expected) in EXPECTED {
            assert_eq!(plus_plus(&rows, 3, *clusters, 42).unwrap(), *expected);
        }
    }

    const EXPECTED: &[(usize, &[usize])] = &[
        (2, &[74, 151]),
        (5, &[74, 151, 11, 142, 169]),
        (12, &[74, 151, 11, 142, 65, 86, 68, 162, 13, 186, 133, 178]),
    ];

    #[test]
    fn impossible_numbers_of_clusters_are_refused() {
        for clusters in [0, 3, usize::MAX] {
            assert!(plus_plus(&[0.0, 1.0], 1, clusters, 0).is_err());
        }
        assert!(plus_plus(&[0.0, 1.0, 2.0], 2, 1, 0).is_err());
        assert!(plus_plus(&[0.0, f32::NAN], 1, 1, 0).is_err());
        // Equal rows leave nothing to choose by distance.
        assert_eq!(plus_plus(&[1.0; 4], 1, 3, 0).unwrap().len(), 3);
    }
}
