//! Classification heads that a probe fits on frozen vectors.

use burn::tensor::{Device as Backend, Tensor, TensorData};
use purkinje_eval::probe::{Labelled, Penalty, ProbeOptions as LinearOptions, fit_probe};
use purkinje_eval::report::Selection;
use purkinje_models::layers::{Activation, Context, Weights, linear};
use serde::{Deserialize, Serialize};

use crate::Result;
use crate::features::Features;
use crate::network::values;
use crate::task::{SplitRows, Task};

/// Default grid of inverse penalties (C) for linear heads, selected on the validation split.
pub const PENALTIES: [f64; 5] = [0.001, 0.01, 0.05, 0.1, 1.0];

/// Initial weights of heads that are trained by gradient descent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum HeadStart {
    /// Those of a fitted linear head.
    #[default]
    Linear,
    /// Random weights, as in the released programs.
    Random,
}

/// How heads are fitted.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct HeadOptions {
    /// Inverse penalties (C) of linear heads, selected on the validation split; a single value is used as it is.
    pub c: Vec<f64>,
    /// Epochs of heads that are trained by gradient descent.
    pub epochs: usize,
    /// Initial weights of those heads.
    pub start: HeadStart,
}

impl Default for HeadOptions {
    fn default() -> Self {
        HeadOptions {
            c: PENALTIES.to_vec(),
            epochs: 50,
            start: HeadStart::default(),
        }
    }
}

/// The inputs of fitting a head.
pub struct Fitting<'a> {
    /// Vectors of the records of a store.
    pub features: &'a Features,
    /// Labels, and the validation split on which penalties and epochs are selected.
    pub task: &'a Task,
    /// The training records, which may be a fraction of those of the task.
    pub train: &'a SplitRows,
    /// Options of the fit.
    pub options: &'a HeadOptions,
    /// Seed of random starts and batches.
    pub seed: u64,
    /// The compute device.
    pub device: &'a Backend,
}

/// A fitted head.
pub struct FittedHead {
    /// Its parameters, under the system's names.
    pub weights: Weights,
    /// How they were selected.
    pub selection: Selection,
}

/// A head that a probe fits on frozen vectors `[records, vectors, width]`.
///
/// A system lists its heads in [`About::frozen_heads`](crate::system::About::frozen_heads) and creates them in
/// [`System::frozen_head`](crate::system::System::frozen_head). Every system has a linear head on the mean vector
/// ([`LinearHead`]).
pub trait FrozenHead: Send + Sync {
    /// Fits the head.
    ///
    /// # Errors
    /// When vectors cannot be read, or the labels do not allow a fit, for instance with one class only.
    fn fit(&self, to: &Fitting<'_>) -> Result<FittedHead>;

    /// Logits `[records, classes]` of vectors `[records, vectors, width]`; `leads` are the standard positions of the leads
    /// that the vectors stand for.
    fn logits(
        &self,
        vectors: Tensor<3>,
        leads: &[usize],
        weights: &Weights,
        ctx: &Context,
    ) -> Tensor<2>;

    /// The contribution of each vector to the logits, without the constant: `[records, vectors, classes]`; `None` for
    /// heads that are not affine in their vectors.
    fn contributions(
        &self,
        vectors: Tensor<3>,
        leads: &[usize],
        weights: &Weights,
        ctx: &Context,
    ) -> Option<Tensor<3>> {
        let _ = (vectors, leads, weights, ctx);
        None
    }
}

/// Logistic regression on the standardised mean vector.
#[derive(Clone, Copy, Debug)]
pub struct LinearHead {
    prefix: &'static str,
}

impl LinearHead {
    /// A linear head with the parameters `{prefix}weight` and `{prefix}bias`.
    pub fn new(prefix: &'static str) -> Self {
        LinearHead { prefix }
    }

    /// Fits the layer to vectors `[rows, width]` by logistic regression on their standardised values and folds the
    /// standardisation into it. `x` are those of the training records, `validation` those of the validation split.
    ///
    /// # Errors
    /// When a vector is not finite or the labels do not allow a fit, for instance with one class only.
    pub fn fit_vectors(
        &self,
        weights: &mut Weights,
        x: &[f32],
        validation: &[f32],
        to: &Fitting<'_>,
    ) -> Result<Selection> {
        let options = LinearOptions {
            penalty: match to.options.c[..] {
                [c] => Penalty::Fixed(c),
                _ => Penalty::Grid(to.options.c.clone()),
            },
            ..LinearOptions::default()
        };
        let part = |features, labels| Labelled { features, labels };
        let fit = fit_probe(
            &to.task.classes,
            part(x, &to.train.labels),
            Some(part(validation, &to.task.validation.labels)),
            &options,
        )?;
        let (probe, classes) = (&fit.probe, to.task.classes.len());
        let d = probe.width();
        let mut weight = Vec::with_capacity(classes * d);
        let mut bias = Vec::with_capacity(classes);
        for (row, b) in probe.weight.chunks_exact(d).zip(&probe.bias) {
            let scaled = || {
                row.iter()
                    .zip(&probe.standardizer.scale)
                    .map(|(w, s)| w / s)
            };
            let shift: f64 = scaled()
                .zip(&probe.standardizer.mean)
                .map(|(w, m)| w * m)
                .sum();
            weight.extend(scaled().map(|w| w as f32));
            bias.push((b - shift) as f32);
        }
        weights.insert(self.name("weight"), &[classes, d], weight, to.device);
        weights.insert(self.name("bias"), &[classes], bias, to.device);
        let value = fit.grid.iter().find(|(c, _)| *c == fit.c).and_then(|g| g.1);
        Ok(Selection {
            split: "validation".into(),
            criterion: "macro AUROC".into(),
            chosen: format!("C = {}", fit.c),
            value,
        })
    }

    fn name(&self, parameter: &str) -> String {
        format!("{}{parameter}", self.prefix)
    }
}

impl FrozenHead for LinearHead {
    /// Only the mean vectors of the training and validation records are held in memory.
    fn fit(&self, to: &Fitting<'_>) -> Result<FittedHead> {
        let x = to.features.means(&to.train.rows)?;
        let v = to.features.means(&to.task.validation.rows)?;
        let mut weights = Weights::default();
        let selection = self.fit_vectors(&mut weights, &x, &v, to)?;
        Ok(FittedHead { weights, selection })
    }

    fn logits(
        &self,
        vectors: Tensor<3>,
        _: &[usize],
        weights: &Weights,
        ctx: &Context,
    ) -> Tensor<2> {
        let w = weights.get(&self.name("weight"));
        let b = weights.get(&self.name("bias"));
        linear(vectors.mean_dim(1), w, b, Activation::Identity, false, ctx).squeeze_dim(1)
    }

    fn contributions(
        &self,
        vectors: Tensor<3>,
        leads: &[usize],
        weights: &Weights,
        ctx: &Context,
    ) -> Option<Tensor<3>> {
        let [records, count, width] = vectors.dims();
        let each = (vectors / count as f32).reshape([records * count, 1, width]);
        let constant = self.logits(
            Tensor::zeros([1, 1, width], ctx.device()),
            leads,
            weights,
            ctx,
        );
        let parts = self.logits(each, leads, weights, ctx) - constant;
        let classes = parts.dims()[1];
        Some(parts.reshape([records, count, classes]))
    }
}

/// Logits `[rows, classes]` of a head on some records, which are read in chunks.
///
/// # Errors
/// When vectors cannot be read.
pub fn logits_of(
    head: &dyn FrozenHead,
    weights: &Weights,
    features: &Features,
    rows: &[usize],
    device: &Backend,
) -> Result<Vec<f32>> {
    let ctx = Context::inference(device);
    features.chunks(rows, |vectors, records| {
        let vectors = tensor(vectors, records, features, device);
        values(head.logits(vectors, features.leads(), weights, &ctx))
    })
}

/// The vectors of `records` records as a tensor `[records, vectors, width]`.
pub fn tensor(vectors: Vec<f32>, records: usize, of: &Features, device: &Backend) -> Tensor<3> {
    let shape = [records, of.leads().len(), of.width()];
    Tensor::from_data(TensorData::new(vectors, shape), device)
}
