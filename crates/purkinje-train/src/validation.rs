//! What a run does with its validations: which weights it keeps, when it stops, how strongly it regularises.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use purkinje_models::layers::Weights;
use serde::{Deserialize, Serialize};

use crate::TrainError;
use crate::checkpoint;
use crate::early_stopping::{EarlyStopping, Regularisation, StoppingConfig, Verdict};

/// When a run is validated, and what follows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ValidationConfig {
    /// Updates between validations; after every epoch if absent. The end of the run is one in any case.
    pub every: Option<usize>,
    /// Whether the weights at the start take part.
    #[serde(default)]
    pub start: bool,
    /// Which weights are kept.
    #[serde(default)]
    pub keep: Keep,
    /// Early stopping and dynamic regularisation; none if absent.
    pub stopping: Option<StoppingConfig>,
}

/// Which weights are kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keep {
    /// Those of the largest metric, the first among equals.
    #[default]
    Best,
    /// Those of the last improvement of loss or metric, as the published program of HuBERT-ECG saves them; as [`Keep::Best`]
    /// without early stopping, which says what an improvement is.
    LastImprovement,
}

/// What a validation found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Validated {
    /// Less is better; `None` where none is computed.
    pub loss: Option<f64>,
    /// More is better; `None` where it is undefined.
    pub metric: Option<f64>,
    /// What is logged beside, by name.
    pub others: Vec<(&'static str, f64)>,
}

/// The weights a run kept.
#[derive(Clone, Debug)]
pub struct Kept {
    /// Updates they had.
    pub step: usize,
    /// Their metric, if it is defined.
    pub metric: Option<f64>,
    /// The weights.
    pub weights: Weights,
}

/// File of the kept weights in a run folder.
const KEPT: &str = "best.safetensors";

/// What is stored with a checkpoint, so that a resumed run decides as one that was not interrupted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct State {
    stopping: Option<EarlyStopping>,
    kept: Option<(usize, Option<f64>)>,
    stopped: bool,
}

/// The validations of one run.
pub(crate) struct Validations {
    config: ValidationConfig,
    state: State,
    kept: Option<Weights>,
    file: Option<PathBuf>,
}

impl Validations {
    pub(crate) fn new(
        config: ValidationConfig,
        start: Regularisation,
        folder: Option<&Path>,
    ) -> Self {
        Validations {
            state: State {
                stopping: config.stopping.map(|c| EarlyStopping::new(c, start)),
                ..State::default()
            },
            kept: None,
            file: folder.map(|folder| folder.join(KEPT)),
            config,
        }
    }

    /// Whether weights are to be validated after `step` updates.
    pub(crate) fn due(&self, step: usize, ends_epoch: bool, ends_run: bool) -> bool {
        match self.config.every {
            _ if step == 0 => self.config.start,
            _ if ends_run => true,
            Some(every) => step.is_multiple_of(every.max(1)),
            None => ends_epoch,
        }
    }

    /// What a checkpoint has to hold.
    pub(crate) fn stored(&self) -> Result<String, TrainError> {
        serde_json::to_string(&self.state).map_err(|e| TrainError::Data(e.to_string()))
    }

    /// Goes on where a checkpoint was written.
    pub(crate) fn restore(
        &mut self,
        stored: &str,
        like: &Weights,
        device: &Device,
    ) -> Result<(), TrainError> {
        self.state = serde_json::from_str(stored)
            .map_err(|e| TrainError::Data(format!("what validations had decided: {e}")))?;
        if let (Some((step, _)), Some(file)) = (self.state.kept, &self.file) {
            let mut weights = like.clone();
            let found = checkpoint::load_weights(file, &mut weights, device)?;
            if found < step {
                return Err(TrainError::checkpoint(
                    file,
                    format!(
                        "it holds the weights after {found} updates, expected those after {step}"
                    ),
                ));
            }
            // Weights of a later validation than the checkpoint knows of will be found once more.
            self.kept = (found == step).then_some(weights);
        }
        Ok(())
    }

    /// Whether the patience of the run is over.
    pub(crate) fn stopped(&self) -> bool {
        self.state.stopped
    }

    /// What to train with, if it changes.
    pub(crate) fn regularisation(&self) -> Option<&Regularisation> {
        self.state
            .stopping
            .as_ref()
            .map(EarlyStopping::regularisation)
    }

    /// Takes a validation of `weights` after `step` updates.
    pub(crate) fn take(
        &mut self,
        step: usize,
        found: &Validated,
        weights: &Weights,
    ) -> Result<(), TrainError> {
        let metric = found.metric.filter(|m| m.is_finite());
        // The start is a candidate, not an improvement.
        let verdict = match &mut self.state.stopping {
            Some(stopping) if step > 0 => {
                Some(stopping.validated(found.loss.unwrap_or(f64::NAN), metric.unwrap_or(f64::NAN)))
            }
            _ => None,
        };
        let before = self.state.kept.and_then(|(_, metric)| metric);
        let better = match (self.config.keep, verdict) {
            (Keep::LastImprovement, Some(verdict)) => verdict.saves(),
            _ => metric.is_some_and(|metric| before.is_none_or(|before| metric > before)),
        };
        if better {
            if let Some(file) = &self.file {
                checkpoint::save_weights(file, weights, step)?;
            }
            self.state.kept = Some((step, metric));
            self.kept = Some(weights.clone());
        }
        self.state.stopped = verdict == Some(Verdict::Stop);
        Ok(())
    }

    pub(crate) fn into_kept(self) -> Option<Kept> {
        let (step, metric) = self.state.kept?;
        let weights = self.kept?;
        Some(Kept {
            step,
            metric,
            weights,
        })
    }
}
