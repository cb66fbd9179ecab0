//! Log and events of a run.

use std::path::Path;

use super::StepReport;
use crate::TrainError;
use crate::early_stopping::Regularisation;
use crate::run_log::RunLog;
use crate::tensorboard::EventWriter;
use crate::validation::Validated;

const LOG: &str = "log.jsonl";
const EVENTS: &str = "tensorboard";

/// Log and events of a run with a folder.
pub(super) struct Outputs(Option<(RunLog, EventWriter)>);

impl Outputs {
    pub(super) fn open(folder: Option<&Path>, resumed_at: usize) -> Result<Self, TrainError> {
        let Some(folder) = folder else {
            return Ok(Outputs(None));
        };
        std::fs::create_dir_all(folder).map_err(|e| TrainError::io(folder, e))?;
        let log = folder.join(LOG);
        let log = if resumed_at > 0 {
            RunLog::resume(&log, resumed_at as u64)?
        } else {
            RunLog::create(&log)?
        };
        let events = EventWriter::create(&folder.join(EVENTS), resumed_at as u64 + 1)?;
        Ok(Outputs(Some((log, events))))
    }

    pub(super) fn write(&mut self, report: &StepReport) -> Result<(), TrainError> {
        if let Some((log, events)) = &mut self.0 {
            let step = report.step as u64;
            events.scalars(step, report.scalars())?;
            let epoch = ("epoch", report.epoch as f64);
            log.write("train", step, report.scalars().chain([epoch]))?;
        }
        Ok(())
    }

    pub(super) fn validation(
        &mut self,
        step: usize,
        found: &Validated,
        regularisation: Option<&Regularisation>,
    ) -> Result<(), TrainError> {
        if let Some((log, events)) = &mut self.0 {
            let step = step as u64;
            let values: Vec<(&str, f64)> = [
                ("validation_loss", found.loss),
                ("validation_metric", found.metric),
                ("weight_decay", regularisation.map(|r| r.weight_decay)),
                (
                    "dropout",
                    regularisation.and_then(|r| r.dropouts.last().copied()),
                ),
            ]
            .into_iter()
            .filter_map(|(name, value)| Some((name, value?)))
            .chain(found.others.iter().copied())
            .collect();
            events.scalars(step, values.iter().copied())?;
            log.write("validation", step, values)?;
        }
        Ok(())
    }

    pub(super) fn flush(&mut self) -> Result<(), TrainError> {
        if let Some((_, events)) = &mut self.0 {
            events.flush()?;
        }
        Ok(())
    }
}
