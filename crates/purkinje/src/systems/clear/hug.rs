//! The HUG head on frozen lead vectors.

use burn::tensor::Tensor;
use purkinje_eval::fraction::BatchPlan;
use purkinje_eval::metrics::{SingleClass, macro_auroc};
use purkinje_eval::report::Selection;
use purkinje_models::hug::Head;
use purkinje_models::layers::{Context, Weights};
use purkinje_train::optimizer::OptimizerConfig;
use purkinje_train::{
    Observer, RunFolder, Schedule, Span, Targets, TrainConfig, TrainError, Validated,
    ValidationConfig, train,
};

use super::Clear;
use super::objective::HeadTraining;
use crate::Result;
use crate::network::values;
use crate::probe::{FittedHead, Fitting, FrozenHead, HeadStart, LinearHead, logits_of, tensor};
use crate::system::System as _;

/// Records of one step (a half, a quarter, ... where there are fewer).
const BATCH: usize = 256;

/// HUG, trained step by step; the best epoch on validation is kept. From random experts by the published recipe (AdamW
/// 5e-3), or from experts that pass their input on and a last layer fitted by logistic regression (AdamW 5e-4).
pub struct HugHead;

impl FrozenHead for HugHead {
    fn fit(&self, to: &Fitting<'_>) -> Result<FittedHead> {
        let (features, task, device) = (to.features, to.task, to.device);
        let (classes, width) = (task.classes.len(), features.width());
        let plan = BatchPlan::new(to.train.rows.len(), BATCH)?;
        let mut weights = Weights::default();
        Head::Hug.initialise(&mut weights, width, classes, to.seed, device);
        let lr = match to.options.start {
            HeadStart::Random => 5e-3,
            HeadStart::Linear => {
                start_at_linear(&mut weights, to)?;
                5e-4
            }
        };
        let targets = Targets {
            records: to.train.rows.clone(),
            labels: to
                .train
                .labels
                .iter()
                .map(|l| f32::from(u8::from(*l)))
                .collect(),
            classes,
        };
        let read = |records: &[usize]| {
            let vectors = features.rows(records);
            vectors.map_err(|error| TrainError::Data(error.to_string()))
        };
        let objective = HeadTraining::reading(
            Head::Hug,
            features.leads().to_vec(),
            Box::new(read),
            width,
            targets,
            plan.batch,
            to.seed,
        );
        let epochs = to.options.epochs;
        let config = TrainConfig {
            epochs,
            schedule: Schedule::cosine(lr, 1e-5, Span::Epochs(epochs / 10)),
            seed: to.seed,
            optimizer: OptimizerConfig::finetune(),
            checkpoint_every_s: u64::MAX,
            // The start takes part: for fitted experts it is the linear probe.
            validation: Some(ValidationConfig {
                start: true,
                ..ValidationConfig::default()
            }),
            ..TrainConfig::default()
        };
        let mut watch = Scored(|weights: &Weights| {
            let rows = &task.validation.rows;
            let logits = logits_of(&HugHead, weights, features, rows, device);
            let logits = logits.map_err(|error| TrainError::Data(error.to_string()))?;
            macro_auroc(&logits, &task.validation.labels, classes, SingleClass::Skip)
                .map(|mean| mean.value)
                .map_err(|e| TrainError::Data(e.to_string()))
        });
        let folder = RunFolder {
            path: None,
            resume: false,
        };
        let trained = train(&objective, weights, &config, &folder, device, &mut watch)?;
        let kept = trained.kept.as_ref();
        let selection = Selection {
            split: "validation".into(),
            criterion: "macro AUROC".into(),
            chosen: kept.map_or("last epoch".to_owned(), |kept| {
                format!("epoch {}", kept.step / plan.steps_per_epoch.max(1))
            }),
            value: kept.and_then(|kept| kept.metric),
        };
        Ok(FittedHead {
            weights: trained.chosen(),
            selection,
        })
    }

    fn logits(
        &self,
        vectors: Tensor<3>,
        leads: &[usize],
        weights: &Weights,
        ctx: &Context,
    ) -> Tensor<2> {
        Head::Hug.logits(vectors, leads, weights, ctx)
    }

    fn contributions(
        &self,
        vectors: Tensor<3>,
        leads: &[usize],
        weights: &Weights,
        ctx: &Context,
    ) -> Option<Tensor<3>> {
        Some(Head::Hug.contributions(vectors, leads, weights, ctx).1)
    }
}

/// Experts that pass their input on, under a last layer that is the linear probe on the mean of the lead groups. The
/// mean vectors of the training and validation records are held in memory.
fn start_at_linear(weights: &mut Weights, to: &Fitting<'_>) -> Result<()> {
    let features = to.features;
    Head::Hug.pass_on(weights, features.width(), to.device);
    let ctx = Context::inference(to.device);
    let experts = weights.clone();
    let pooled = |rows: &[usize]| {
        features.chunks(rows, |vectors, records| {
            let cls = tensor(vectors, records, features, to.device);
            let groups = Head::Hug.groups(cls, features.leads(), &experts, &ctx);
            values(groups.mean_dim(1))
        })
    };
    let (x, v) = (pooled(&to.train.rows)?, pooled(&to.task.validation.rows)?);
    LinearHead::new(Clear::LINEAR).fit_vectors(weights, &x, &v, to)?;
    Ok(())
}

/// Validates weights by a score, `None` where it is undefined.
struct Scored<F>(F);

impl<F: FnMut(&Weights) -> Result<Option<f64>, TrainError>> Observer for Scored<F> {
    fn validate(&mut self, _: usize, weights: &Weights) -> Result<Option<Validated>, TrainError> {
        let metric = (self.0)(weights)?;
        Ok(Some(Validated {
            loss: None,
            metric,
            ..Validated::default()
        }))
    }
}
