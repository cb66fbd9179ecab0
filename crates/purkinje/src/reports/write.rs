//! Reports of recordings, whatever these come from.

use serde::{Deserialize, Serialize};

use super::{Report, SENTENCE, WriteOptions};
use crate::inputs::Input;
use crate::model::Model;
use crate::reporter::{Reporter, go_on};
use crate::windows::{Used, WindowOptions};
use crate::{Error, Result};

/// The report of a recording.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WrittenReport {
    /// What it is called: a file, or a record of a store.
    pub recording: String,
    /// The report.
    #[serde(flatten)]
    pub report: Report,
    /// That it is generated.
    pub note: String,
}

/// One vector for each recording, the mean where there is one for each lead; errors stand in the place of recordings that cannot be used.
pub(super) fn vectors<'a>(
    model: &Model,
    inputs: impl Iterator<Item = Input<'a>>,
    windows: WindowOptions,
) -> Result<impl Iterator<Item = Result<(Vec<f32>, Used)>>> {
    let width = model.width();
    let found = model.vectors_all(inputs, windows)?;
    Ok(found.map(move |found| {
        let (own, used) = found?;
        let count = (own.values.len() / width.max(1)).max(1) as f32;
        let mut mean = vec![0.0; width];
        for vector in own.values.chunks_exact(width) {
            for (sum, value) in mean.iter_mut().zip(vector) {
                *sum += value / count;
            }
        }
        Ok((mean, used))
    }))
}

/// Writes the reports of named inputs. A recording that cannot be used is an error in its place.
///
/// # Errors
/// When the model writes none, the options do not fit it, or a stop was requested.
pub fn write_reports<'a>(
    model: &Model,
    inputs: Vec<(String, Input<'a>)>,
    windows: WindowOptions,
    options: &WriteOptions,
    reporter: &dyn Reporter,
) -> Result<Vec<Result<WrittenReport>>> {
    let writer = model.writer()?;
    let (names, inputs): (Vec<String>, Vec<Input<'a>>) = inputs.into_iter().unzip();
    let progress = reporter.begin("write reports", names.len(), "recordings");
    let mut results: Vec<Option<Result<WrittenReport>>> = Vec::with_capacity(names.len());
    let mut waiting: Vec<(usize, Vec<f32>)> = Vec::new();
    let flush = |waiting: &mut Vec<(usize, Vec<f32>)>,
                 results: &mut Vec<Option<Result<WrittenReport>>>|
     -> Result<()> {
        let (places, vectors): (Vec<usize>, Vec<Vec<f32>>) = waiting.drain(..).unzip();
        let reports = writer.write(&vectors, options, model.device())?;
        for (place, report) in places.into_iter().zip(reports) {
            results[place] = Some(Ok(WrittenReport {
                recording: names[place].clone(),
                report,
                note: SENTENCE.to_owned(),
            }));
        }
        Ok(())
    };
    for (place, found) in vectors(model, inputs.into_iter(), windows)?.enumerate() {
        go_on(reporter)?;
        results.push(None);
        match found {
            Ok((vector, _)) => waiting.push((place, vector)),
            Err(error) => results[place] = Some(Err(error)),
        }
        if waiting.len() >= options.batch.max(1) {
            flush(&mut waiting, &mut results)?;
        }
        progress.add(1);
    }
    flush(&mut waiting, &mut results)?;
    progress.finish();
    let missing = || Error::invalid("a recording got no report");
    Ok(results
        .into_iter()
        .map(|found| found.unwrap_or_else(|| Err(missing())))
        .collect())
}
