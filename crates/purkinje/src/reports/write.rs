//! Reports of recordings, whatever these come from.

use purkinje_figures::Svg;
use purkinje_figures::paper::{self, Marks, PaperOptions};
use purkinje_record::{LeadChoice, OpenOptions, Reader};
use serde::{Deserialize, Serialize};

use super::{Report, SENTENCE, WriteOptions};
use crate::inputs::{Input, ReadOptions};
use crate::model::Model;
use crate::report::drawing;
use crate::reporter::{Reporter, go_on};
use crate::system::Level;
use crate::windows::Used;
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
    /// Whether the quality of the recording allows a report.
    #[serde(default = "yes")]
    pub usable: bool,
    /// Why it does not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub unusable_because: Option<String>,
}

fn yes() -> bool {
    true
}

/// The vectors of recordings at a level, those of a recording one after another; errors stand in the place of recordings that cannot be
/// used.
pub(super) fn vectors<'a>(
    model: &Model,
    level: Level,
    inputs: impl Iterator<Item = Input<'a>>,
    read: impl Into<ReadOptions>,
) -> Result<impl Iterator<Item = Result<Vec<f32>>>> {
    let found = model.embed_all(inputs, level, read.into())?;
    Ok(found.map(|found| Ok(found?.values)))
}

/// Writes the reports of named inputs. A recording that cannot be used is an error in its place.
///
/// # Errors
/// When the model writes none, the options do not fit it, or a stop was requested.
pub fn write_reports<'a>(
    model: &Model,
    inputs: Vec<(String, Input<'a>)>,
    read: impl Into<ReadOptions>,
    options: &WriteOptions,
    reporter: &dyn Reporter,
) -> Result<Vec<Result<WrittenReport>>> {
    let writer = model.writer()?;
    let (names, inputs): (Vec<String>, Vec<Input<'a>>) = inputs.into_iter().unzip();
    let progress = reporter.begin("write reports", names.len(), "recordings");
    let mut results: Vec<Option<Result<WrittenReport>>> = Vec::with_capacity(names.len());
    let mut waiting: Vec<((usize, Used), Vec<f32>)> = Vec::new();
    let flush = |waiting: &mut Vec<((usize, Used), Vec<f32>)>,
                 results: &mut Vec<Option<Result<WrittenReport>>>|
     -> Result<()> {
        let (places, vectors): (Vec<(usize, Used)>, Vec<Vec<f32>>) = waiting.drain(..).unzip();
        let reports = writer.write(&vectors, options, model.device())?;
        for ((place, used), report) in places.into_iter().zip(reports) {
            results[place] = Some(Ok(WrittenReport {
                recording: names[place].clone(),
                report,
                note: SENTENCE.to_owned(),
                usable: used.usable != Some(false),
                unusable_because: used.unusable_because,
            }));
        }
        Ok(())
    };
    let found = model.embed_all(inputs, writer.about().level, read.into())?;
    for (place, found) in found.enumerate() {
        go_on(reporter)?;
        results.push(None);
        match found {
            Ok(found) => waiting.push(((place, found.used), found.values)),
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

/// A recording on ECG paper, its first ten seconds, with the report below it.
///
/// # Errors
/// When the recording cannot be read.
pub fn picture(input: &Input<'_>, report: &Report) -> Result<Svg> {
    let note = format!(
        "Generated report: \u{201c}{}\u{201d}. {SENTENCE}",
        report.report
    );
    let reader = match input {
        Input::Row(rows, row) => {
            let store = rows.store();
            return drawing(store, &store.row(*row)?, Some(note));
        }
        Input::Recording(recording) => Reader::from(recording.clone()),
        Input::File(path) => {
            let options = OpenOptions {
                leads: LeadChoice::Voltages,
                ..OpenOptions::default()
            };
            Reader::open(path, &options)?
        }
    };
    let options = PaperOptions {
        note: Some(note),
        ..PaperOptions::default()
    };
    let end = (options.window_s * reader.about().rate_hz).round() as usize;
    let recording = reader.read(&(0..end.min(reader.len())))?;
    Ok(paper::draw(&recording, &options, &Marks::default()))
}
