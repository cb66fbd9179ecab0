//! Result files of runs that make classifiers.

use std::path::Path;

use purkinje_eval::report::{EncoderRows, ResultTable};
use purkinje_models::checkpoint::Labels;
use purkinje_store::Store;

use crate::files::write_file;
use crate::made::{Made, PROGRAM, evaluations, labelled_data, lines};
use crate::model::Model;
use crate::task::Task;
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
        .map(|table| {
            let made_by = table.rows().first().map(|row| &row.made_by);
            let made_by = made_by.map_or(String::new(), |own| format!("{own}\n\n"));
            format!("{table}\n{}\n{made_by}", table.per_class())
        })
        .collect();
    write_file(&out.join("tables.txt"), text.as_bytes())
}

/// How a head on `encoder` was made, its data and its results, for the model card.
pub(crate) fn made(
    command: &str,
    encoder: &Model,
    labels: &Labels,
    (store, task): (&Store, &Task),
    rows: &EncoderRows,
) -> Made {
    let result = &rows.trained;
    let sentence = format!(
        "{PROGRAM} {command}: {} head on `{}`, {} training records, selected on {} ({})",
        result.head,
        result.task,
        result.training_records,
        result.selection.split,
        result.selection.chosen,
    );
    let made = Made {
        how: [vec![sentence], lines(&rows.made_by)].concat(),
        training_data: labelled_data(store, task, result),
        evaluation: evaluations(store, labels, result, &rows.random_weights),
    };
    made.from_model(encoder)
}
