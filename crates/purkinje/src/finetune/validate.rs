//! Outputs of a classifier on records of a store, and their loss and metrics.

use burn::Tensor;
use burn::tensor::{Device, TensorData};
use purkinje_eval::crops::{Aggregation, aggregate, probabilities_released};
use purkinje_eval::metrics::macro_auroc;
use purkinje_models::compat::Compat;
use purkinje_models::encoder::{Classify, Encoder};
use purkinje_models::layers::Context;
use purkinje_train::source::{Look, Source};
use purkinje_train::{Loss, TrainError, Validated, class_weights};

use super::{FinetuneConfig, ValidationRules};
use crate::predict::probabilities;
use crate::reporter::{Reporter, uninterrupted};
use crate::task::SplitRows;

/// The name in the log of what a released program prints of the test split at every validation.
pub(super) const TEST_AUROC: &str = "test_auroc";
/// Records per batch.
const BATCH: usize = 64;

/// The records of a store as inputs of a classifier's encoder.
pub(super) type SourceOf<'a, C> =
    dyn Source<Input = <<C as Classify>::Encoder as Encoder>::Input> + Send + 'a;

/// Logits `[records, outputs]` of a classifier on rows of a source, cropped as `look` says.
pub(super) fn outputs<C: Classify>(
    model: &C,
    source: &SourceOf<'_, C>,
    rows: &[usize],
    look: Look,
    (device, reporter): (&Device, &dyn Reporter),
) -> Result<Vec<f32>, TrainError> {
    let ctx = Context::inference(device);
    let mut out = Vec::new();
    for rows in rows.chunks(BATCH) {
        uninterrupted(reporter)?;
        let inputs = rows.iter().map(|&row| source.see(row, look));
        let batch = model
            .encoder()
            .batch(&inputs.collect::<Result<Vec<_>, _>>()?)?;
        let logits = model.logits(&batch, &ctx).into_data().try_to_vec::<f32>();
        out.extend(logits.map_err(|e| TrainError::Data(format!("logits: {e:?}")))?);
    }
    Ok(out)
}

/// Probabilities `[records, classes]` of a classifier, aggregated over crops of each record; `labels` converts outputs
/// to one logit per class.
pub(super) fn scores<C: Classify>(
    model: &C,
    source: &SourceOf<'_, C>,
    rows: &[usize],
    (crops, aggregation): (usize, Aggregation),
    on: (&Device, &dyn Reporter),
    labels: impl Fn(&[f32]) -> Vec<f32>,
) -> Result<Vec<f32>, TrainError> {
    let mut all = Vec::new();
    for k in 0..crops {
        let raw = outputs(model, source, rows, Look::Crop { k, n: crops }, on)?;
        all.extend(probabilities(&labels(&raw)));
    }
    aggregate(&all, crops, aggregation).map_err(|e| TrainError::Data(e.to_string()))
}

/// The loss function, with class weights from these records.
pub(super) fn loss(part: &SplitRows, classes: usize, config: &FinetuneConfig) -> Loss {
    let released = config.compat == Compat::Released;
    let single = |weights: &[f64]| weights.iter().map(|w| *w as f32).collect::<Vec<f32>>();
    let given = |class: usize| part.labels.iter().skip(class).step_by(classes);
    if config.two_classes {
        let indices: Vec<usize> = given(0).map(|label| usize::from(*label)).collect();
        let weights = match released {
            true => class_weights::of_classes_released(&indices),
            false => class_weights::of_classes(&indices),
        };
        // The released program fails where a class does not occur; here classes are then unweighted.
        let weights = (weights.len() == 2).then(|| single(&weights));
        return Loss::MultiClass(weights.filter(|_| config.class_weights));
    }
    let counts: Vec<usize> = (0..classes)
        .map(|class| given(class).filter(|label| **label).count())
        .collect();
    let weights = match released {
        true => class_weights::of_labels_released(&counts, part.rows.len()),
        false => class_weights::of_labels(&counts, part.rows.len()),
    };
    Loss::MultiLabel(config.class_weights.then(|| single(&weights)))
}

/// The targets of each record: its labels, or the one-hot code of two mutually exclusive classes.
pub(super) fn targets(part: &SplitRows, two_classes: bool) -> Vec<f32> {
    let number = |label: bool| f32::from(u8::from(label));
    match two_classes {
        false => part.labels.iter().map(|l| number(*l)).collect(),
        true => part
            .labels
            .iter()
            .flat_map(|l| [number(!l), number(*l)])
            .collect(),
    }
}

/// Logits of the labels: for two mutually exclusive classes, the difference of second and first.
pub(super) fn one_column(raw: &[f32], two_classes: bool) -> Vec<f32> {
    match two_classes {
        false => raw.to_vec(),
        true => raw
            .as_chunks::<2>()
            .0
            .iter()
            .map(|[no, yes]| yes - no)
            .collect(),
    }
}

/// How a run is validated.
pub(super) struct Validation<'a> {
    pub config: &'a FinetuneConfig,
    pub rules: ValidationRules,
    pub classes: usize,
    /// Records to validate on.
    pub part: &'a SplitRows,
    /// Records of the test split.
    pub test: &'a SplitRows,
    /// Records that are trained on.
    pub training: &'a SplitRows,
    pub device: &'a Device,
    /// May request a stop.
    pub reporter: &'a dyn Reporter,
}

impl Validation<'_> {
    /// Loss and macro AUROC after `step` updates.
    pub fn of<C: Classify>(
        &self,
        model: &C,
        source: &SourceOf<'_, C>,
        step: usize,
    ) -> Result<Validated, TrainError> {
        let (config, rules, classes) = (self.config, self.rules, self.classes);
        let mut part = self.part.clone();
        if rules.whole_batches && part.rows.len() > config.batch {
            let whole = part.rows.len() / config.batch * config.batch;
            part.rows.truncate(whole);
            part.labels.truncate(whole * classes);
        }
        let look = match rules.drawn_crops {
            true => Look::Step(step),
            false => Look::Whole,
        };
        let on = (self.device, self.reporter);
        let raw = outputs(model, source, &part.rows, look, on)?;
        if raw.iter().any(|logit| !logit.is_finite()) {
            return Ok(Validated {
                loss: Some(f64::NAN),
                ..Validated::default()
            });
        }
        let loss = match rules.own_class_weights {
            true => loss(&part, classes, config),
            false => loss(self.training, classes, config),
        };
        let width = raw.len() / part.rows.len().max(1);
        let labels = targets(&part, config.two_classes);
        let mut sum = 0.0;
        let host = Device::flex();
        let size = (config.batch * width).max(1);
        for (raw, labels) in raw.chunks(size).zip(labels.chunks(size)) {
            let shape = [raw.len() / width, width];
            let logits = Tensor::<2>::from_data(TensorData::new(raw.to_vec(), shape), &host);
            let mean: f32 = loss.of(logits, labels).into_scalar();
            sum += f64::from(mean) * shape[0] as f64;
        }
        let logits = one_column(&raw, config.two_classes);
        let scores = match rules.small_logits_are_probabilities {
            true => probabilities_released(&logits, classes, config.batch),
            false => logits,
        };
        let metric = macro_auroc(&scores, &part.labels, classes, rules.single_class)
            .map_err(|e| TrainError::Data(e.to_string()))?;
        let mut others = Vec::new();
        if rules.claims_test_maximum {
            let raw = outputs(model, source, &self.test.rows, Look::Whole, on)?;
            let logits = one_column(&raw, config.two_classes);
            let found = macro_auroc(&logits, &self.test.labels, classes, rules.single_class)
                .map_err(|e| TrainError::Data(e.to_string()))?;
            others.extend(found.value.map(|value| (TEST_AUROC, value)));
        }
        Ok(Validated {
            loss: Some(sum / part.rows.len().max(1) as f64),
            metric: metric.value,
            others,
        })
    }
}
