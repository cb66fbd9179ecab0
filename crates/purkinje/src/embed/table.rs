//! A table of vectors as Parquet, or as a NumPy array with the other columns in a JSON file beside it.

use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::builder::{
    BooleanBuilder, FixedSizeListBuilder, Float32Builder, Float64Builder, Int32Builder,
    ListBuilder, StringBuilder,
};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{ArrowError, DataType, Field, Schema, SchemaRef};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::errors::ParquetError;
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;
use purkinje_base::npy::NpyWriter;
use purkinje_signal::Preprocess;
use serde_json::{Map, Value, json};

use super::Embedded;
use crate::files::{NewFile, write_file};
use crate::made::PROGRAM;
use crate::model::Model;
use crate::system::{Level, Place};
use crate::{Error, Result};

/// Rows of a Parquet row group.
const GROUP_LINES: usize = 4096;

/// Metadata of a table.
struct About {
    of: Of,
    /// Whether every window has vectors of its own.
    each: bool,
    width: usize,
    preprocess: Preprocess,
    /// Names of the label sets of the stores that recordings come from; `None` where none does.
    stored: Option<Vec<String>>,
    /// The model, as the user named it.
    model: String,
    /// BLAKE3 of its weights.
    model_blake3: String,
    /// The command line; empty for a call of the library.
    command: String,
    /// Fingerprints of the stores that the records came from.
    stores: Vec<String>,
}

/// What the vectors of a table stand for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Of {
    /// Recordings or parts of them.
    Recordings(Level),
    Texts,
}

impl Of {
    /// What `per` says of it.
    fn name(self) -> Value {
        match self {
            Of::Recordings(level) => json!(level),
            Of::Texts => json!("text"),
        }
    }
}

impl Level {
    /// Columns that locate a vector within the recording: its number and its time.
    fn columns(self) -> Option<(&'static str, &'static str)> {
        match self {
            Level::Beat => Some(("beat", "r_peak_s")),
            Level::Token => Some(("token", "start_s")),
            _ => None,
        }
    }

    fn has_leads(self) -> bool {
        !matches!(self, Level::Recording | Level::Group)
    }
}

/// A table being written; it appears at its path when finished, whole or not at all.
pub struct Table {
    about: About,
    path: PathBuf,
    rows: usize,
    kind: Kind,
}

enum Kind {
    Parquet {
        file: NewFile,
        writer: Box<ArrowWriter<std::fs::File>>,
        columns: Box<Columns>,
    },
    Npy {
        file: NewFile,
        writer: NpyWriter<f32, BufWriter<std::fs::File>>,
        lines: Vec<Value>,
    },
}

fn parquet_error(path: &Path, error: &ParquetError) -> Error {
    Error::invalid(format!("cannot write `{}`: {error}", path.display()))
}

impl Table {
    /// Begins a table of vectors of `model` at `level`, of every window if `each`; `named` is the path by which the user named the model. The
    /// extension of `path` chooses the format: `.parquet`, or `.npy` with the other columns beside it in `.npy.json`.
    ///
    /// # Errors
    /// For another extension, or when the file cannot be written.
    pub fn begin(
        path: &Path,
        model: &Model,
        named: &Path,
        level: Level,
        each: bool,
    ) -> Result<Self> {
        Self::begin_of(path, model, named, (Of::Recordings(level), each, None))
    }

    /// As [`Table::begin`], for rows of stores with these label sets: the table has their patients, splits and labels.
    ///
    /// # Errors
    /// As [`Table::begin`].
    pub fn begin_stored(
        path: &Path,
        model: &Model,
        named: &Path,
        (level, each): (Level, bool),
        label_sets: &[String],
    ) -> Result<Self> {
        let stored = Some(label_sets.to_vec());
        Self::begin_of(path, model, named, (Of::Recordings(level), each, stored))
    }

    /// Begins a table of vectors of texts, to be filled by [`Table::add_text`].
    ///
    /// # Errors
    /// As [`Table::begin`].
    pub fn begin_texts(path: &Path, model: &Model, named: &Path) -> Result<Self> {
        Self::begin_of(path, model, named, (Of::Texts, false, None))
    }

    fn begin_of(
        path: &Path,
        model: &Model,
        named: &Path,
        (of, each, stored): (Of, bool, Option<Vec<String>>),
    ) -> Result<Self> {
        let ends_in = |ending: &str| {
            let own = path.extension();
            own.is_some_and(|own| own.eq_ignore_ascii_case(ending))
        };
        if !ends_in("parquet") && !ends_in("npy") {
            return Err(Error::invalid(format!(
                "`{}`: expected a file name that ends in .parquet or .npy",
                path.display()
            )));
        }
        let about = About {
            of,
            each,
            stored,
            width: model.width(),
            preprocess: model.preprocess().clone(),
            model: named.display().to_string(),
            model_blake3: model.hash().unwrap_or_default().to_owned(),
            command: String::new(),
            stores: Vec::new(),
        };
        let cannot = |error| Error::file("write", path, error);
        let mut file = NewFile::begin(path)?;
        let own = file.file().try_clone().map_err(cannot)?;
        let kind = if ends_in("parquet") {
            let columns = Columns::new(&about);
            let writer = ArrowWriter::try_new(own, columns.schema.clone(), Some(properties()))
                .map_err(|error| parquet_error(path, &error))?;
            Kind::Parquet {
                file,
                writer: Box::new(writer),
                columns: Box::new(columns),
            }
        } else {
            let writer = NpyWriter::new(BufWriter::new(own), &[about.width]).map_err(cannot)?;
            Kind::Npy {
                file,
                writer,
                lines: Vec::new(),
            }
        };
        Ok(Table {
            about,
            path: path.to_owned(),
            rows: 0,
            kind,
        })
    }

    /// Says in the metadata which command made the table, and the fingerprints of the stores that its records came from.
    #[must_use]
    pub fn made_by(mut self, command: String, stores: Vec<String>) -> Self {
        (self.about.command, self.about.stores) = (command, stores);
        self
    }

    /// Number of vectors added so far.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Adds the vector of a text.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn add_text(&mut self, id: &str, text: &str, vector: &[f32]) -> Result<()> {
        self.rows += 1;
        match &mut self.kind {
            Kind::Parquet {
                writer, columns, ..
            } => {
                columns.push_text(id, text, vector);
                columns.write_full(writer, &self.path)
            }
            Kind::Npy { writer, lines, .. } => {
                let written = writer.push(vector);
                written.map_err(|error| Error::file("write", &self.path, error))?;
                lines.push(json!({"id": id, "text": text}));
                Ok(())
            }
        }
    }

    /// Adds the vectors of a recording.
    ///
    /// # Errors
    /// When they cannot be written.
    pub fn add(&mut self, record: &Embedded) -> Result<()> {
        for (place, vector) in record.vectors() {
            self.line(record, place, vector)?;
        }
        Ok(())
    }

    fn line(&mut self, record: &Embedded, place: &Place, vector: &[f32]) -> Result<()> {
        self.rows += 1;
        match &mut self.kind {
            Kind::Parquet {
                writer, columns, ..
            } => {
                columns.push(record, place, vector);
                columns.write_full(writer, &self.path)?;
            }
            Kind::Npy { writer, lines, .. } => {
                let written = writer.push(vector);
                written.map_err(|error| Error::file("write", &self.path, error))?;
                if let Of::Recordings(level) = self.about.of {
                    lines.push(columns_of(level, record, place));
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
        let Table {
            about, path, kind, ..
        } = self;
        match kind {
            Kind::Parquet {
                file,
                mut writer,
                mut columns,
            } => {
                let cannot = |error: ParquetError| parquet_error(&path, &error);
                if columns.lines > 0 {
                    writer.write(&columns.take(&path)?).map_err(cannot)?;
                }
                for (key, value) in in_metadata(facts(&about)?) {
                    writer.append_key_value_metadata(KeyValue::new(key, value));
                }
                writer.close().map_err(cannot)?;
                file.finish()
            }
            Kind::Npy {
                file,
                writer,
                lines,
            } => {
                let cannot = |error| Error::file("write", &path, error);
                writer.finish().map_err(cannot)?;
                let mut beside = facts(&about)?;
                beside.insert("width".to_owned(), json!(about.width));
                beside.insert("rows".to_owned(), Value::Array(lines));
                let name = path.with_extension("npy.json");
                let text = serde_json::to_vec_pretty(&beside);
                let text = text.map_err(|error| Error::invalid(error.to_string()))?;
                write_file(&name, &text)?;
                file.finish()
            }
        }
    }
}

/// The columns between id and vector of a table of recordings or parts of them.
fn fields_of(level: Level, each: bool) -> Vec<Field> {
    let mut fields = Vec::new();
    if level.has_leads() {
        // A token may be one of all leads.
        let any = level == Level::Token;
        fields.push(Field::new("lead", DataType::Utf8, any));
    }
    if let Some((number, time_s)) = level.columns() {
        fields.push(Field::new(number, DataType::Int32, false));
        fields.push(Field::new(time_s, DataType::Float64, false));
    }
    if level == Level::Group {
        fields.push(Field::new("group", DataType::Utf8, false));
    }
    if each {
        fields.push(Field::new("window_start_s", DataType::Float64, false));
    }
    fields.extend([
        Field::new("windows", DataType::Int32, false),
        Field::new("seconds_used", DataType::Float64, false),
        Field::new("beats_used", DataType::Int32, true),
        Field::new("beats", DataType::Int32, true),
        Field::new("source", DataType::Utf8, false),
        Field::new("source_blake3", DataType::Utf8, false),
        Field::new("usable", DataType::Boolean, false),
        Field::new("unusable_because", DataType::Utf8, true),
    ]);
    fields
}

/// The columns of what stores know of their rows.
fn fields_of_stores(label_sets: &[String]) -> Vec<Field> {
    let mut fields = vec![
        Field::new("patient", DataType::Utf8, true),
        Field::new("split", DataType::Utf8, true),
    ];
    fields.extend(label_sets.iter().map(|set| {
        let item = Arc::new(Field::new("item", DataType::Utf8, true));
        Field::new(format!("labels_{set}"), DataType::List(item), true)
    }));
    fields
}

/// The columns of a row group.
struct Columns {
    schema: SchemaRef,
    of: Of,
    each: bool,
    lines: usize,
    id: StringBuilder,
    lead: StringBuilder,
    number: Int32Builder,
    time_s: Float64Builder,
    group: StringBuilder,
    window_s: Float64Builder,
    windows: Int32Builder,
    seconds_used: Float64Builder,
    beats_used: Int32Builder,
    beats: Int32Builder,
    source: StringBuilder,
    blake3: StringBuilder,
    usable: BooleanBuilder,
    unusable_because: StringBuilder,
    patient: StringBuilder,
    split: StringBuilder,
    /// Of each label set, by name.
    labels: Vec<(String, ListBuilder<StringBuilder>)>,
    stored: bool,
    vector: FixedSizeListBuilder<Float32Builder>,
}

impl Columns {
    fn new(about: &About) -> Self {
        let width = i32::try_from(about.width).unwrap_or(i32::MAX);
        let item = Arc::new(Field::new("item", DataType::Float32, false));
        let mut fields = vec![Field::new("id", DataType::Utf8, false)];
        match about.of {
            Of::Recordings(level) => {
                fields.extend(fields_of(level, about.each));
                fields.extend(about.stored.iter().flat_map(|sets| fields_of_stores(sets)));
            }
            Of::Texts => fields.push(Field::new("text", DataType::Utf8, false)),
        }
        let vector = DataType::FixedSizeList(item.clone(), width);
        fields.push(Field::new("vector", vector, false));
        Columns {
            schema: Arc::new(Schema::new(fields)),
            of: about.of,
            each: about.each,
            lines: 0,
            id: StringBuilder::new(),
            lead: StringBuilder::new(),
            number: Int32Builder::new(),
            time_s: Float64Builder::new(),
            group: StringBuilder::new(),
            window_s: Float64Builder::new(),
            windows: Int32Builder::new(),
            seconds_used: Float64Builder::new(),
            beats_used: Int32Builder::new(),
            beats: Int32Builder::new(),
            source: StringBuilder::new(),
            blake3: StringBuilder::new(),
            usable: BooleanBuilder::new(),
            unusable_because: StringBuilder::new(),
            patient: StringBuilder::new(),
            split: StringBuilder::new(),
            labels: about
                .stored
                .iter()
                .flatten()
                .map(|set| (set.clone(), ListBuilder::new(StringBuilder::new())))
                .collect(),
            stored: about.stored.is_some(),
            vector: FixedSizeListBuilder::new(Float32Builder::new(), width).with_field(item),
        }
    }

    fn push(&mut self, record: &Embedded, place: &Place, vector: &[f32]) {
        self.lines += 1;
        self.id.append_value(&record.id);
        self.lead
            .append_option(place.lead.as_ref().map(|lead| lead.name()));
        // A recording has no more beats, tokens or windows than fit into 31 bits.
        let small = |number: usize| i32::try_from(number).ok();
        self.number
            .append_value(place.number.and_then(small).unwrap_or_default());
        self.time_s.append_value(place.time_s.unwrap_or_default());
        self.group
            .append_value(place.group.as_deref().unwrap_or_default());
        self.window_s
            .append_value(place.window_s.unwrap_or_default());
        let used = &record.used;
        self.windows
            .append_value(small(used.windows).unwrap_or(i32::MAX));
        self.seconds_used.append_value(used.seconds_used);
        self.beats_used
            .append_option(used.beats_used.and_then(small));
        self.beats.append_option(used.beats.and_then(small));
        self.source.append_value(&record.source);
        self.blake3.append_value(&record.source_blake3);
        self.usable.append_value(used.usable != Some(false));
        self.unusable_because
            .append_option(used.unusable_because.as_deref());
        let row = record.row.as_ref();
        self.patient
            .append_option(row.and_then(|row| row.patient.as_deref()));
        self.split.append_option(row.map(|row| row.split.name()));
        for (set, column) in &mut self.labels {
            let own = row.and_then(|row| row.labels.get(set));
            for class in own.into_iter().flatten() {
                column.values().append_value(class);
            }
            column.append(own.is_some());
        }
        self.vector.values().append_slice(vector);
        self.vector.append(true);
    }

    fn push_text(&mut self, id: &str, text: &str, vector: &[f32]) {
        self.lines += 1;
        self.id.append_value(id);
        self.source.append_value(text);
        self.vector.values().append_slice(vector);
        self.vector.append(true);
    }

    /// Writes a row group, if it is full.
    fn write_full(&mut self, writer: &mut ArrowWriter<std::fs::File>, path: &Path) -> Result<()> {
        if self.lines < GROUP_LINES {
            return Ok(());
        }
        let written = writer.write(&self.take(path)?);
        written.map_err(|error| parquet_error(path, &error))
    }

    /// The columns between id and vector.
    fn take_recordings(&mut self, level: Level, arrays: &mut Vec<ArrayRef>) {
        let (lead, number) = (self.lead.finish(), self.number.finish());
        let (time_s, group) = (self.time_s.finish(), self.group.finish());
        if level.has_leads() {
            arrays.push(Arc::new(lead));
        }
        if level.columns().is_some() {
            arrays.push(Arc::new(number));
            arrays.push(Arc::new(time_s));
        }
        if level == Level::Group {
            arrays.push(Arc::new(group));
        }
        let window_s = self.window_s.finish();
        if self.each {
            arrays.push(Arc::new(window_s));
        }
        arrays.push(Arc::new(self.windows.finish()));
        arrays.push(Arc::new(self.seconds_used.finish()));
        arrays.push(Arc::new(self.beats_used.finish()));
        arrays.push(Arc::new(self.beats.finish()));
        arrays.push(Arc::new(self.source.finish()));
        arrays.push(Arc::new(self.blake3.finish()));
        arrays.push(Arc::new(self.usable.finish()));
        arrays.push(Arc::new(self.unusable_because.finish()));
        let (patient, split) = (self.patient.finish(), self.split.finish());
        if self.stored {
            arrays.push(Arc::new(patient));
            arrays.push(Arc::new(split));
        }
        for (_, column) in &mut self.labels {
            arrays.push(Arc::new(column.finish()));
        }
    }

    fn take(&mut self, path: &Path) -> Result<RecordBatch> {
        self.lines = 0;
        let mut arrays: Vec<ArrayRef> = vec![Arc::new(self.id.finish())];
        match self.of {
            Of::Recordings(level) => self.take_recordings(level, &mut arrays),
            Of::Texts => arrays.push(Arc::new(self.source.finish())),
        }
        arrays.push(Arc::new(self.vector.finish()));
        let batch = RecordBatch::try_new(self.schema.clone(), arrays);
        batch.map_err(|error: ArrowError| {
            Error::invalid(format!("cannot write `{}`: {error}", path.display()))
        })
    }
}

fn facts(about: &About) -> Result<Map<String, Value>> {
    let mut facts = Map::new();
    for (name, value) in [
        ("program", json!(PROGRAM)),
        ("per", about.of.name()),
        ("model", json!(about.model)),
        ("model_blake3", json!(about.model_blake3)),
        ("preprocess", crate::network::json(&about.preprocess)?),
    ] {
        facts.insert(name.to_owned(), value);
    }
    if !about.command.is_empty() {
        facts.insert("command".to_owned(), json!(about.command));
    }
    if !about.stores.is_empty() {
        facts.insert("store_fingerprints".to_owned(), json!(about.stores));
    }
    Ok(facts)
}

/// Facts as Parquet has them: texts, under names of their own.
fn in_metadata(facts: Map<String, Value>) -> impl Iterator<Item = (String, String)> {
    facts.into_iter().map(|(key, value)| {
        let text = match value {
            Value::String(text) => text,
            other => other.to_string(),
        };
        (format!("purkinje.{key}"), text)
    })
}

fn properties() -> WriterProperties {
    // Values of vectors hardly repeat: a dictionary would cost time and save nothing.
    let vector = ColumnPath::from(vec![
        "vector".to_owned(),
        "list".to_owned(),
        "item".to_owned(),
    ]);
    WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_column_dictionary_enabled(vector, false)
        .build()
}

fn columns_of(level: Level, record: &Embedded, place: &Place) -> Value {
    let (number, time_s) = level.columns().unwrap_or(("number", "time_s"));
    let lead = place.lead.as_ref().map(|lead| lead.name());
    let mut columns = Map::new();
    columns.insert("id".to_owned(), json!(record.id));
    for (name, value) in [
        ("lead", json!(lead)),
        (number, json!(place.number)),
        (time_s, json!(place.time_s)),
        ("group", json!(place.group)),
        ("window_start_s", json!(place.window_s)),
        ("windows", json!(record.used.windows)),
        ("seconds_used", json!(record.used.seconds_used)),
        ("beats_used", json!(record.used.beats_used)),
        ("beats", json!(record.used.beats)),
        ("unusable_because", json!(record.used.unusable_because)),
        (
            "patient",
            json!(record.row.as_ref().map(|row| &row.patient)),
        ),
        ("split", json!(record.row.as_ref().map(|row| row.split))),
        ("labels", json!(record.row.as_ref().map(|row| &row.labels))),
    ] {
        if !value.is_null() {
            columns.insert(name.to_owned(), value);
        }
    }
    let usable = record.used.usable != Some(false);
    columns.insert("usable".to_owned(), json!(usable));
    columns.insert("source".to_owned(), json!(record.source));
    columns.insert("source_blake3".to_owned(), json!(record.source_blake3));
    Value::Object(columns)
}
