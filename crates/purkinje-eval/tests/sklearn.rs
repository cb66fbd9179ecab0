//! Probes and metrics against scikit-learn (`tests/sklearn/make.py`, version in the file).

use purkinje_eval::{
    metrics::{Ranking, brier, column, log_loss},
    probe::{Labelled, Penalty, ProbeOptions, fit_probe},
};
use serde::Deserialize;

#[derive(Deserialize)]
struct Reference {
    width: usize,
    classes: usize,
    features: Vec<f32>,
    labels: Vec<u8>,
    fits: Vec<Fit>,
    scores_with_ties: Vec<f32>,
    auroc: Vec<f64>,
    average_precision: Vec<f64>,
    brier: Vec<f64>,
    log_loss: Vec<f64>,
}

#[derive(Deserialize)]
struct Fit {
    c: f64,
    standardize: bool,
    probabilities: Vec<f64>,
}

fn reference() -> (Reference, Vec<bool>) {
    let reference: Reference =
        serde_json::from_str(include_str!("sklearn/reference.json")).unwrap();
    let labels = reference.labels.iter().map(|&label| label == 1).collect();
    (reference, labels)
}

#[test]
fn probes_reach_the_optimum_of_scikit_learn() {
    let (reference, labels) = reference();
    let classes: Vec<String> = (0..reference.classes)
        .map(|c| format!("class {c}"))
        .collect();
    let train = Labelled {
        features: &reference.features,
        labels: &labels,
    };
    assert_eq!(
        reference.features.len() / reference.width * reference.classes,
        labels.len()
    );
    for fit in &reference.fits {
        let options = ProbeOptions {
            standardize: fit.standardize,
            penalty: Penalty::Fixed(fit.c),
            ..Default::default()
        };
        let found = fit_probe(&classes, train, None, &options).unwrap();
        assert!(
            found
                .classes
                .iter()
                .all(|class| class.converged && !class.constant)
        );
        let probabilities = found.probe.predict_proba(&reference.features).unwrap();
        assert_eq!(probabilities.len(), fit.probabilities.len());
        let worst = probabilities
            .iter()
            .zip(&fit.probabilities)
            .map(|(&found, expected)| (f64::from(found) - expected).abs())
            .fold(0.0, f64::max);
        assert!(
            worst < 1e-6,
            "C = {}: probabilities differ by {worst:e}",
            fit.c
        );
    }
}

#[test]
fn metrics_are_those_of_scikit_learn() {
    let (reference, labels) = reference();
    for class in 0..reference.classes {
        let scores = column(&reference.scores_with_ties, reference.classes, class);
        let labels = column(&labels, reference.classes, class);
        let ranking = Ranking::new(&scores, &labels).unwrap();
        for (name, found, expected, tolerance) in [
            (
                "auroc",
                ranking.auroc().unwrap(),
                reference.auroc[class],
                1e-12,
            ),
            (
                "average precision",
                ranking.average_precision().unwrap(),
                reference.average_precision[class],
                1e-12,
            ),
            // scikit-learn computes these two in the f32 of the scores.
            (
                "brier",
                brier(&scores, &labels),
                reference.brier[class],
                1e-6,
            ),
            (
                "log loss",
                log_loss(&scores, &labels),
                reference.log_loss[class],
                1e-6,
            ),
        ] {
            assert!(
                (found - expected).abs() < tolerance,
                "{name}: {found} against {expected}"
            );
        }
    }
}
