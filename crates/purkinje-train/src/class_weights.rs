//! Weights of classes in a loss, from how often they occur.
//!
//! Source: the published program of HuBERT-ECG.

/// Keeps the weight of a label without positives finite.
const EPSILON: f64 = 1e-9;

/// For labels that may occur together: for each one `(rows - positives) / (positives + 1e-9)`. A label without positives
/// gets 1, since no weight could be right for it.
pub fn of_labels(positives: &[usize], rows: usize) -> Vec<f64> {
    let mut weights = of_labels_released(positives, rows);
    for (weight, _) in weights.iter_mut().zip(positives).filter(|(_, n)| **n == 0) {
        *weight = 1.0;
    }
    weights
}

/// The same as the published program has them: a label without positives gets about `rows * 1e9`.
pub fn of_labels_released(positives: &[usize], rows: usize) -> Vec<f64> {
    positives
        .iter()
        .map(|positives| {
            let positives = *positives as f64;
            (rows as f64 - positives) / (positives + EPSILON)
        })
        .collect()
}

/// For classes that exclude each other: `classes / count` of each class that occurs, by class index.
/// `classes` is the largest index and one; a class that never occurs gets 0.
pub fn of_classes(classes: &[usize]) -> Vec<f64> {
    let counts = counts(classes);
    counts
        .iter()
        .map(|count| match count {
            0 => 0.0,
            count => counts.len() as f64 / *count as f64,
        })
        .collect()
}

/// The same as the published program lists them: in the order of decreasing frequency (classes that are equally frequent
/// in the order in which they first occur), not by class index, and without classes that never occur.
pub fn of_classes_released(classes: &[usize]) -> Vec<f64> {
    let counts = counts(classes);
    let mut order: Vec<usize> = Vec::new();
    for class in classes {
        if !order.contains(class) {
            order.push(*class);
        }
    }
    order.sort_by_key(|class| std::cmp::Reverse(counts[*class]));
    order
        .into_iter()
        .map(|class| counts.len() as f64 / counts[class] as f64)
        .collect()
}

fn counts(classes: &[usize]) -> Vec<usize> {
    let mut counts = vec![0; classes.iter().max().map_or(0, |max| max + 1)];
    classes.iter().for_each(|class| counts[*class] += 1);
    counts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rare_classes_weigh_more() {
        assert_eq!(of_classes(&[1, 1, 1, 3, 0, 0]), [2.0, 4.0 / 3.0, 0.0, 4.0]);
        assert_eq!(
            of_classes_released(&[1, 1, 1, 3, 0, 0]),
            [4.0 / 3.0, 2.0, 4.0]
        );
        assert_eq!(of_classes_released(&[2, 0, 1, 1]), [1.5, 3.0, 3.0]);
        assert!(of_classes(&[]).is_empty() && of_classes_released(&[]).is_empty());
        assert_eq!(of_labels(&[1, 4, 0], 4)[1..], [0.0, 1.0]);
        let weights = of_labels_released(&[1, 4, 0], 4);
        assert_eq!(of_labels(&[1, 4, 0], 4)[0], weights[0]);
        assert!(
            (weights[0] - 3.0).abs() < 1e-8 && weights[1] == 0.0 && (weights[2] - 4e9).abs() < 1.0
        );
    }
}
