//! Result files of runs that make classifiers.

use std::path::Path;

use purkinje_eval::report::{ModelResult, ResultTable};

use crate::files::write_file;
use crate::{Error, Result};

/// Writes `results.json` and `tables.txt` into a folder, each whole or not at all.
///
/// # Errors
/// When the folder cannot be written.
pub fn write_results(out: &Path, tables: &[ResultTable]) -> Result<()> {
    let json = serde_json::to_vec_pretty(tables);
    let json = json.map_err(|error| Error::invalid(format!("JSON: {error}")))?;
    write_file(&out.join("results.json"), &json)?;
    let text: String = tables
        .iter()
        .map(|table| format!("{table}\n{}\n", table.per_class()))
        .collect();
    write_file(&out.join("tables.txt"), text.as_bytes())
}

/// How a head was made, in one sentence, for the model card.
pub(crate) fn made(command: &str, result: &ModelResult) -> String {
    let auroc = result.metrics.macro_mean.auroc.value;
    format!(
        "purkinje {} {command}: {} head on `{}`, {} training records, selected on validation ({}); test macro AUROC {}",
        env!("CARGO_PKG_VERSION"),
        result.head,
        result.task,
        result.training_records,
        result.selection.chosen,
        auroc.map_or("undefined".into(), |v| format!("{v:.4}")),
    )
}
