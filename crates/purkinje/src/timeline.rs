//! Probabilities over the time of a recording: a table of windows as JSON or Parquet, and a picture.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::builder::{
    BooleanBuilder, Float32Builder, Float64Builder, Int32Builder, StringBuilder,
};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::properties::WriterProperties;
use purkinje_figures::paper::PaperOptions;
use purkinje_figures::{Svg, timeline};
use serde_json::{Map, Value, json};

use crate::files::{NewFile, write_file};
use crate::predict::Prediction;
use crate::windows::Window;
use crate::{Error, Result};

/// Rows of a Parquet row group.
const GROUP_ROWS: usize = 1 << 16;

/// The windows of recordings with their probabilities, being written; the file appears at its path when finished, whole or
/// not at all.
///
/// Parquet has a row for each label of each window: `id`, `window` (from 0), `start_s`, `seconds`, `beats_used`, `beats`, `label`,
/// `probability`, and of the recording `usable` and `unusable_because`. JSON is a list of recordings, each with its windows.
pub struct TimelineFile {
    path: PathBuf,
    kind: Kind,
}

enum Kind {
    Json(Vec<Value>),
    Parquet {
        file: NewFile,
        writer: Box<ArrowWriter<std::fs::File>>,
        rows: Box<Rows>,
    },
}

impl TimelineFile {
    /// Begins a file; the extension of `path` chooses the format: `.json` or `.parquet`.
    ///
    /// # Errors
    /// For another extension, or when the file cannot be written.
    pub fn begin(path: &Path) -> Result<Self> {
        let ends_in = |ending: &str| {
            let own = path.extension();
            own.is_some_and(|own| own.eq_ignore_ascii_case(ending))
        };
        let kind = if ends_in("json") {
            Kind::Json(Vec::new())
        } else if ends_in("parquet") {
            let mut file = NewFile::begin(path)?;
            let own = file.file().try_clone();
            let own = own.map_err(|error| Error::file("write", path, error))?;
            let properties = WriterProperties::builder()
                .set_compression(Compression::ZSTD(ZstdLevel::default()))
                .build();
            let writer = ArrowWriter::try_new(own, schema(), Some(properties));
            Kind::Parquet {
                writer: Box::new(writer.map_err(|error| cannot(path, &error))?),
                rows: Box::default(),
                file,
            }
        } else {
            return Err(Error::invalid(format!(
                "`{}`: expected a file name that ends in .json or .parquet",
                path.display()
            )));
        };
        Ok(TimelineFile {
            path: path.to_owned(),
            kind,
        })
    }

    /// Adds the windows of a recording.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn add(&mut self, of: &Prediction) -> Result<()> {
        match &mut self.kind {
            Kind::Json(all) => all.push(of.timeline()),
            Kind::Parquet { writer, rows, .. } => {
                for (number, window) in of.windows.iter().enumerate() {
                    rows.push(of, number, window);
                }
                if rows.count >= GROUP_ROWS {
                    let written = rows.take().map_err(|error| cannot(&self.path, &error))?;
                    let written = writer.write(&written);
                    written.map_err(|error| cannot(&self.path, &error))?;
                }
            }
        }
        Ok(())
    }

    /// Completes the file and moves it to its path.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(self) -> Result<()> {
        match self.kind {
            Kind::Json(all) => {
                let text = serde_json::to_vec_pretty(&all);
                let text = text.map_err(|error| cannot(&self.path, &error))?;
                write_file(&self.path, &text)
            }
            Kind::Parquet {
                file,
                mut writer,
                mut rows,
            } => {
                let last = rows.take().map_err(|error| cannot(&self.path, &error))?;
                let written = writer.write(&last).and_then(|()| writer.close());
                written.map_err(|error| cannot(&self.path, &error))?;
                file.finish()
            }
        }
    }
}

fn cannot(path: &Path, error: &impl std::fmt::Display) -> Error {
    Error::invalid(format!("cannot write `{}`: {error}", path.display()))
}

fn schema() -> Arc<Schema> {
    let field = |name: &str, kind, nullable| Field::new(name, kind, nullable);
    Arc::new(Schema::new(vec![
        field("id", DataType::Utf8, false),
        field("window", DataType::Int32, false),
        field("start_s", DataType::Float64, false),
        field("seconds", DataType::Float64, false),
        field("beats_used", DataType::Int32, true),
        field("beats", DataType::Int32, true),
        field("label", DataType::Utf8, false),
        field("probability", DataType::Float32, false),
        field("usable", DataType::Boolean, false),
        field("unusable_because", DataType::Utf8, true),
    ]))
}

/// Rows that are not written yet.
#[derive(Default)]
struct Rows {
    count: usize,
    id: StringBuilder,
    window: Int32Builder,
    start_s: Float64Builder,
    seconds: Float64Builder,
    beats_used: Int32Builder,
    beats: Int32Builder,
    label: StringBuilder,
    probability: Float32Builder,
    usable: BooleanBuilder,
    unusable_because: StringBuilder,
}

impl Rows {
    fn push(&mut self, of: &Prediction, number: usize, window: &Window<Vec<f32>>) {
        let small = |number: usize| i32::try_from(number).ok();
        for (label, &probability) in of.labels.iter().zip(&window.value) {
            self.count += 1;
            self.id.append_value(&of.id);
            self.window.append_value(small(number).unwrap_or(i32::MAX));
            self.start_s.append_value(window.start_s);
            self.seconds.append_value(window.seconds);
            let beats = window.beats;
            self.beats_used
                .append_option(beats.and_then(|beats| small(beats.used)));
            self.beats
                .append_option(beats.and_then(|beats| small(beats.found)));
            self.label.append_value(&label.name);
            self.probability.append_value(probability);
            self.usable.append_value(of.used.usable != Some(false));
            self.unusable_because
                .append_option(of.used.unusable_because.as_deref());
        }
    }

    fn take(&mut self) -> std::result::Result<RecordBatch, arrow_schema::ArrowError> {
        self.count = 0;
        let columns: Vec<ArrayRef> = vec![
            Arc::new(self.id.finish()),
            Arc::new(self.window.finish()),
            Arc::new(self.start_s.finish()),
            Arc::new(self.seconds.finish()),
            Arc::new(self.beats_used.finish()),
            Arc::new(self.beats.finish()),
            Arc::new(self.label.finish()),
            Arc::new(self.probability.finish()),
            Arc::new(self.usable.finish()),
            Arc::new(self.unusable_because.finish()),
        ];
        RecordBatch::try_new(schema(), columns)
    }
}

impl Prediction {
    /// The windows with their probabilities, as JSON.
    pub fn timeline(&self) -> Value {
        let windows = self.windows.iter().map(|window| {
            let probabilities = self.labels.iter().zip(&window.value);
            let probabilities: Map<String, Value> = probabilities
                .map(|(label, probability)| (label.name.clone(), json!(probability)))
                .collect();
            json!({
                "start_s": window.start_s,
                "seconds": window.seconds,
                "beats_used": window.beats.map(|beats| beats.used),
                "beats": window.beats.map(|beats| beats.found),
                "probabilities": probabilities,
            })
        });
        json!({
            "id": self.id,
            "path": self.path,
            "used": self.used,
            "windows": windows.collect::<Vec<_>>(),
        })
    }

    /// Draws the window that shows the label at a position most on ECG paper, and below it the probability of that label and of the
    /// `others` over time.
    ///
    /// # Errors
    /// When the samples of the recording are not available (it came from a store), or cannot be read.
    pub fn timeline_svg(&self, label: usize, others: &[usize]) -> Result<Svg> {
        let reader = self.reader.as_ref().ok_or_else(|| {
            Error::invalid(format!(
                "`{}` came from a store, which does not keep the original recording; predict the recording's own file to get a drawing",
                self.id
            ))
        })?;
        let worst = self.windows.iter().reduce(|worst, window| {
            match window.value[label] > worst.value[label] {
                true => window,
                false => worst,
            }
        });
        let worst = worst.ok_or_else(|| Error::invalid(format!("`{}` has no window", self.id)))?;
        let end_s = worst.start_s + worst.seconds;
        let rate_hz = reader.about().rate_hz;
        let sample = |second: f64| ((second * rate_hz).round() as usize).min(reader.len());
        let stretch = reader.read(&(sample(worst.start_s)..sample(end_s)))?;
        let leads = stretch.select(&self.leads);
        let stretch =
            leads.map_err(|lead| Error::invalid(format!("`{}` has no lead {lead}", self.id)))?;
        let drawn = std::iter::once(&label).chain(others.iter().filter(|other| **other != label));
        let over_time = |label: usize| {
            let windows = self.windows.iter().map(|window| {
                let end_s = window.start_s + window.seconds;
                (window.start_s, end_s, f64::from(window.value[label]))
            });
            (self.labels[label].name.clone(), windows.collect())
        };
        let options = PaperOptions {
            part_of: Some((worst.start_s, reader.duration_s())),
            ..PaperOptions::default()
        };
        let timeline = timeline::Timeline {
            label: self.labels[label].name.clone(),
            stretch_s: (worst.start_s, end_s),
            labels: drawn.map(|&label| over_time(label)).collect(),
        };
        Ok(timeline::draw(&stretch, &options, &timeline))
    }
}
