use std::sync::Arc;

use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use super::{
    LinearProbe, Standardizer, check_features,
    lbfgs::{Search, Stop, minimize},
    objective::Data,
    precondition::Preconditioner,
};
use crate::{
    EvalError,
    error::check_length,
    evaluate::best_thresholds,
    metrics::{SingleClass, macro_auroc},
};

/// Features with their labels.
#[derive(Clone, Copy, Debug)]
pub struct Labelled<'a> {
    /// `[records, width]`, row-major.
    pub features: &'a [f32],
    /// `[records, classes]`, row-major.
    pub labels: &'a [bool],
}

/// The strength of the penalty on weights.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Penalty {
    /// This C for all classes.
    Fixed(f64),
    /// The C of this list with the best macro AUROC on validation data, one for all classes; the smallest of equally
    /// good ones.
    Grid(Vec<f64>),
}

/// How a probe is fitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbeOptions {
    /// Whether features are standardized with mean and standard deviation of the training records.
    pub standardize: bool,
    /// Penalty on the weights.
    pub penalty: Penalty,
    /// Evaluations of the objective after which a class is given up as not converged.
    pub max_iterations: usize,
    /// Error of the logits at which a class has converged (root mean square over records,
    /// weighted by p (1 - p)).
    pub logit_error: f64,
}

impl Default for ProbeOptions {
    /// Standardized features, C = 1 (scikit-learn's), logits to 1e-6.
    fn default() -> Self {
        Self {
            standardize: true,
            penalty: Penalty::Fixed(1.0),
            max_iterations: 2000,
            logit_error: 1e-6,
        }
    }
}

/// The outcome of the fit of one class.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ClassFit {
    /// Evaluations of the objective at the chosen C.
    pub iterations: usize,
    /// Whether the optimum was reached.
    pub converged: bool,
    /// Whether all training labels were equal. Such a class has weight 0 and predicts
    /// (positives + 0.5) / (records + 1) for every record.
    pub constant: bool,
}

/// A probe and the details of its fit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProbeFit {
    /// The probe.
    pub probe: LinearProbe,
    /// The C used.
    pub c: f64,
    /// Every C tried with its macro AUROC on validation data (`None` where no class has both positives and negatives);
    /// empty for a fixed C.
    pub grid: Vec<(f64, Option<f64>)>,
    /// Per class.
    pub classes: Vec<ClassFit>,
}

/// Fits one logistic regression per class.
///
/// With validation data, decision thresholds are those with the largest F1 there; otherwise all
/// are 0.5. Results do not depend on the number of threads.
///
/// # Errors
/// Shapes that do not fit, features that are not finite, a C that is not positive, or a grid
/// without validation data.
pub fn fit_probe(
    classes: &[String],
    train: Labelled<'_>,
    validation: Option<Labelled<'_>>,
    options: &ProbeOptions,
) -> Result<ProbeFit, EvalError> {
    let width = check_labelled(train, classes.len(), None)?;
    if let Some(validation) = validation {
        check_labelled(validation, classes.len(), Some(width))?;
    }
    let grid = check_options(options, validation.is_some())?;
    let standardizer = if options.standardize {
        Standardizer::fit(train.features, width)?
    } else {
        Standardizer::identity(width)
    };
    let data = Data {
        features: train.features,
        labels: train.labels,
        classes: classes.len(),
        standardizer: &standardizer,
    };
    let mut path = Path::new(&data);
    let mut tried = Vec::new();
    let mut best: Option<(Option<f64>, f64, LinearProbe, Vec<ClassFit>)> = None;
    for &c in &grid {
        let fits = path.advance(c, options);
        let probe = path.probe(classes);
        let auroc = match validation.filter(|_| grid.len() > 1) {
            None => None,
            Some(validation) => {
                let logits = probe.logits(validation.features)?;
                let policy = SingleClass::Skip;
                macro_auroc(&logits, validation.labels, classes.len(), policy)?.value
            }
        };
        tried.push((c, auroc));
        if best.as_ref().is_none_or(|(best, ..)| auroc > *best) {
            best = Some((auroc, c, probe, fits));
        }
    }
    // `check_options` returns at least one C.
    let Some((_, c, mut probe, fits)) = best else {
        return Err(EvalError::Empty {
            what: "The list of penalties",
        });
    };
    if let Some(validation) = validation {
        let probabilities = probe.predict_proba(validation.features)?;
        probe.thresholds = best_thresholds(&probabilities, validation.labels, classes.len(), 0.5)?;
    }
    Ok(ProbeFit {
        probe,
        c,
        grid: if matches!(options.penalty, Penalty::Grid(_)) {
            tried
        } else {
            Vec::new()
        },
        classes: fits,
    })
}

/// Optima along growing C, each started from the one before.
struct Path<'a> {
    data: &'a Data<'a>,
    positives: Vec<usize>,
    /// Per class `[width + 1]`, the intercept last.
    parameters: Vec<Vec<f64>>,
    /// Sum of x x', or its diagonal for wide features.
    squares: Vec<f64>,
}

impl<'a> Path<'a> {
    fn new(data: &'a Data<'a>) -> Self {
        let records = data.records();
        let mut positives = vec![0usize; data.classes];
        for row in data.labels.chunks_exact(data.classes) {
            for (count, &label) in positives.iter_mut().zip(row) {
                *count += usize::from(label);
            }
        }
        let parameters = positives
            .iter()
            .map(|&count| {
                // The optimum without features; half a record keeps it finite.
                let mut start = vec![0.0; data.width() + 1];
                start[data.width()] =
                    ((count as f64 + 0.5) / ((records - count) as f64 + 0.5)).ln();
                start
            })
            .collect();
        let full = data.width() < Preconditioner::WIDEST_FACTOR;
        Self {
            data,
            positives,
            parameters,
            squares: if full {
                data.gram(None)
            } else {
                data.squares()
            },
        }
    }

    fn advance(&mut self, c: f64, options: &ProbeOptions) -> Vec<ClassFit> {
        let records = self.data.records();
        let stop = Stop {
            iterations: options.max_iterations,
            logit_error: options.logit_error,
        };
        let mut fits = vec![
            ClassFit {
                iterations: 0,
                converged: true,
                constant: true,
            };
            self.data.classes
        ];
        // Classes whose spread p (1 - p) rounds to the same power of two share a factor.
        let mut groups: Vec<(i32, Vec<usize>)> = Vec::new();
        for (class, &count) in self.positives.iter().enumerate() {
            if count == 0 || count == records {
                continue;
            }
            let prevalence = count as f64 / records as f64;
            let spread = (prevalence * (1.0 - prevalence)).log2().round() as i32;
            match groups.iter_mut().find(|(other, _)| *other == spread) {
                Some((_, classes)) => classes.push(class),
                None => groups.push((spread, vec![class])),
            }
        }
        let columns = self.data.width() + 1;
        let factors: Vec<(Arc<Preconditioner>, Vec<usize>)> = groups
            .into_par_iter()
            .map(|(spread, classes)| {
                let scale = c * f64::from(spread).exp2();
                let factor = if self.squares.len() == columns {
                    Preconditioner::from_squares(&self.squares, scale)
                } else {
                    Preconditioner::from_gram(&self.squares, columns, scale)
                };
                (Arc::new(factor), classes)
            })
            .collect();
        let mut searches: Vec<Search> = factors
            .iter()
            .flat_map(|(factor, classes)| classes.iter().map(move |&class| (factor, class)))
            .map(|(factor, class)| {
                Search::new(class, self.parameters[class].clone(), Arc::clone(factor))
            })
            .collect();
        minimize(self.data, c, &mut searches, stop);
        for search in searches {
            fits[search.class] = ClassFit {
                iterations: search.iterations,
                converged: search.converged,
                constant: false,
            };
            self.parameters[search.class] = search.parameters;
        }
        fits
    }

    fn probe(&self, classes: &[String]) -> LinearProbe {
        let width = self.data.width();
        LinearProbe {
            classes: classes.to_vec(),
            standardizer: self.data.standardizer.clone(),
            weight: self
                .parameters
                .iter()
                .flat_map(|p| &p[..width])
                .copied()
                .collect(),
            bias: self.parameters.iter().map(|p| p[width]).collect(),
            thresholds: vec![0.5; classes.len()],
        }
    }
}

/// Returns the width.
fn check_labelled(
    data: Labelled<'_>,
    classes: usize,
    width: Option<usize>,
) -> Result<usize, EvalError> {
    if classes == 0 {
        return Err(EvalError::Empty {
            what: "The list of classes",
        });
    }
    let records = data.labels.len() / classes;
    if records == 0 {
        return Err(EvalError::Empty {
            what: "The label matrix",
        });
    }
    check_length(
        "The label matrix",
        data.labels.len(),
        records * classes,
        || format!("whole rows of {classes} classes"),
    )?;
    let width = width.unwrap_or(data.features.len() / records);
    check_length(
        "The feature matrix",
        data.features.len(),
        records * width,
        || format!("{records} labelled records of {width} features"),
    )?;
    check_features(data.features, width)?;
    Ok(width)
}

/// Returns the values of C to try, growing.
fn check_options(options: &ProbeOptions, validation: bool) -> Result<Vec<f64>, EvalError> {
    let wrong = |setting, found: String, expected| {
        Err(EvalError::Setting {
            setting,
            found,
            expected,
        })
    };
    let mut grid = match &options.penalty {
        Penalty::Fixed(c) => vec![*c],
        Penalty::Grid(_) if !validation => {
            return wrong(
                "penalty",
                "a grid without validation data".into(),
                "a fixed C, or validation data must be given",
            );
        }
        Penalty::Grid(grid) => grid.clone(),
    };
    if grid.is_empty() {
        return Err(EvalError::Empty {
            what: "The list of penalties",
        });
    }
    if let Some(c) = grid.iter().find(|c| !(c.is_finite() && **c > 0.0)) {
        return wrong("C", c.to_string(), "a finite number greater than 0");
    }
    if options.logit_error.is_nan() || options.logit_error <= 0.0 {
        return wrong(
            "logit_error",
            options.logit_error.to_string(),
            "greater than 0",
        );
    }
    grid.sort_unstable_by(f64::total_cmp);
    grid.dedup();
    Ok(grid)
}

#[cfg(test)]
mod tests {
    use purkinje_base::random::Counter;

    use super::*;
    use crate::fraction::{FractionMethod, LabelFraction};

    /// Features of falling scale, strongly correlated, with labels that follow them in part.
    fn example(records: usize, width: usize, classes: usize, seed: u64) -> (Vec<f32>, Vec<bool>) {
        let uniform = |stream: Counter, at: usize| {
            (stream.at(at as u64) >> 11) as f64 / (1u64 << 53) as f64 - 0.5
        };
        let noise = Counter::new(seed, "features");
        let mut features = Vec::with_capacity(records * width);
        for record in 0..records {
            let shared = uniform(noise.row(record as u64), width);
            for j in 0..width {
                let own = uniform(noise.row(record as u64), j) / (1.0 + j as f64 / 4.0);
                features.push((3.0 * shared + own) as f32);
            }
        }
        let truth = Counter::new(1, "truth");
        let coin = Counter::new(seed, "labels");
        let mut labels = Vec::with_capacity(records * classes);
        for (record, row) in features.chunks_exact(width).enumerate() {
            for class in 0..classes {
                let logit: f64 = row
                    .iter()
                    .enumerate()
                    .map(|(j, &x)| 6.0 * f64::from(x) * uniform(truth.row(class as u64), j))
                    .sum();
                let chance = uniform(coin.row(record as u64), class) + 0.5;
                labels.push(chance < 1.0 / (1.0 + (1.0 + class as f64 - logit).exp()));
            }
        }
        (features, labels)
    }

    fn names(classes: usize) -> Vec<String> {
        (0..classes).map(|class| format!("class {class}")).collect()
    }

    /// Largest entry of the gradient, from the formula.
    fn gradient(probe: &LinearProbe, train: Labelled<'_>, c: f64, class: usize) -> f64 {
        let width = probe.width();
        let logits = probe.logits(train.features).unwrap();
        let mut gradient = probe.weight[class * width..(class + 1) * width].to_vec();
        gradient.push(0.0);
        for (record, row) in train.features.chunks_exact(width).enumerate() {
            let at = record * probe.classes.len() + class;
            let p = 1.0 / (1.0 + (-f64::from(logits[at])).exp());
            let residual = c * (p - f64::from(u8::from(train.labels[at])));
            let scaled = probe
                .standardizer
                .mean
                .iter()
                .zip(&probe.standardizer.scale);
            for ((sum, &x), (mean, scale)) in gradient.iter_mut().zip(row).zip(scaled) {
                *sum += residual * (f64::from(x) - mean) / scale;
            }
            gradient[width] += residual;
        }
        gradient
            .iter()
            .fold(0.0, |most, value| most.max(value.abs()))
    }

    #[test]
    fn the_gradient_vanishes_at_the_optimum() {
        let (features, labels) = example(3000, 20, 5, 3);
        let train = Labelled {
            features: &features,
            labels: &labels,
        };
        for c in [1e-3, 1.0, 100.0] {
            let options = ProbeOptions {
                penalty: Penalty::Fixed(c),
                ..Default::default()
            };
            let fit = fit_probe(&names(5), train, None, &options).unwrap();
            for class in 0..5 {
                assert!(fit.classes[class].converged);
                let most = gradient(&fit.probe, train, c, class);
                // Logits pass through f32 here: 3000 records times 6e-8 times a few units.
                assert!(most < 2e-3 * c.max(1.0), "C = {c}, class {class}: {most:e}");
            }
        }
    }

    #[test]
    fn nearly_separable_classes_converge() {
        let (features, mut labels) = example(2000, 150, 2, 11);
        let weak = LabelFraction {
            share: 0.01,
            method: FractionMethod::Random,
            seed: 1,
        };
        let kept = weak.draw(&labels, 2).unwrap();
        for (record, row) in labels.chunks_exact_mut(2).enumerate() {
            row[1] = kept.contains(&record); // 20 positives, 150 features
        }
        let train = Labelled {
            features: &features,
            labels: &labels,
        };
        let options = ProbeOptions {
            penalty: Penalty::Fixed(1e5),
            ..Default::default()
        };
        let fit = fit_probe(&names(2), train, None, &options).unwrap();
        // Without a new Hessian on the way it takes 194 iterations.
        assert!(
            fit.classes[1].converged && fit.classes[1].iterations < 80,
            "{:?}",
            fit.classes
        );
    }

    #[test]
    fn threads_do_not_change_a_bit() {
        let (features, labels) = example(2500, 12, 3, 4);
        let train = Labelled {
            features: &features,
            labels: &labels,
        };
        let fit = |threads| {
            let pool = rayon::ThreadPoolBuilder::new()
                .num_threads(threads)
                .build()
                .unwrap();
            pool.install(|| fit_probe(&names(3), train, None, &ProbeOptions::default()).unwrap())
        };
        assert_eq!(fit(1), fit(3));
    }

    #[test]
    fn wide_features_and_few_records_converge() {
        let (features, labels) = example(40, 2100, 2, 5); // beyond the widest factor
        let train = Labelled {
            features: &features,
            labels: &labels,
        };
        let fit = fit_probe(&names(2), train, None, &ProbeOptions::default()).unwrap();
        assert!(
            fit.classes.iter().all(|class| class.converged),
            "{:?}",
            fit.classes
        );
    }

    #[test]
    fn constant_classes_get_a_constant_answer() {
        let (features, mut labels) = example(200, 3, 3, 6);
        for row in labels.chunks_exact_mut(3) {
            (row[1], row[2]) = (false, true);
        }
        let train = Labelled {
            features: &features,
            labels: &labels,
        };
        let fit = fit_probe(&names(3), train, None, &ProbeOptions::default()).unwrap();
        let constant: Vec<bool> = fit.classes.iter().map(|class| class.constant).collect();
        assert_eq!(constant, [false, true, true]);
        let found = fit.probe.predict_proba(&features[..3]).unwrap();
        assert!((found[1] - 0.5 / 201.0).abs() < 1e-6 && (found[2] - 200.5 / 201.0).abs() < 1e-6);
    }

    #[test]
    fn a_grid_is_decided_on_validation_data() {
        let (features, labels) = example(60, 30, 2, 7);
        let (other, other_labels) = example(500, 30, 2, 8);
        let train = Labelled {
            features: &features,
            labels: &labels,
        };
        let validation = Labelled {
            features: &other,
            labels: &other_labels,
        };
        let options = ProbeOptions {
            penalty: Penalty::Grid(vec![10.0, 0.001, 0.1, 0.1]),
            ..Default::default()
        };
        let fit = fit_probe(&names(2), train, Some(validation), &options).unwrap();
        assert_eq!(
            fit.grid.iter().map(|tried| tried.0).collect::<Vec<_>>(),
            [0.001, 0.1, 10.0]
        );
        let best = fit
            .grid
            .iter()
            .map(|tried| tried.1.unwrap())
            .fold(0.0, f64::max);
        let chosen = fit.grid.iter().find(|tried| tried.1 == Some(best)).unwrap();
        assert_eq!(fit.c, chosen.0);
        assert_ne!(fit.probe.thresholds, [0.5, 0.5]);
        // Reached along a path, the optimum is the same as from a cold start.
        let fixed = ProbeOptions {
            penalty: Penalty::Fixed(fit.c),
            ..options.clone()
        };
        let cold = fit_probe(&names(2), train, Some(validation), &fixed).unwrap();
        let pair = [&fit, &cold].map(|fit| fit.probe.predict_proba(&other).unwrap());
        assert!(
            pair[0]
                .iter()
                .zip(&pair[1])
                .all(|(a, b)| (a - b).abs() < 1e-5)
        );
        assert!(fit_probe(&names(2), train, None, &options).is_err());
    }

    #[test]
    fn impossible_settings_are_refused() {
        let (features, labels) = example(20, 3, 2, 9);
        let run = |features: &[f32], labels: &[bool], c: f64| {
            let train = Labelled { features, labels };
            let options = ProbeOptions {
                penalty: Penalty::Fixed(c),
                ..Default::default()
            };
            fit_probe(&names(2), train, None, &options)
        };
        assert!(run(&features, &labels, 1.0).is_ok());
        assert!(run(&features, &labels, 0.0).is_err());
        assert!(run(&features, &labels, f64::INFINITY).is_err());
        assert!(run(&features[1..], &labels, 1.0).is_err());
        assert!(run(&features, &labels[1..], 1.0).is_err());
        assert!(run(&[], &[], 1.0).is_err());
    }
}
