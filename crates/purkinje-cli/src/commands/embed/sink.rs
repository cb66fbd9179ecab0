//! The table of vectors as Parquet, or as an array with its other columns in a JSON file beside it.

use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use arrow_array::builder::{
    FixedSizeListBuilder, Float32Builder, Float64Builder, Int32Builder, StringBuilder,
};
use arrow_array::{ArrayRef, RecordBatch};
use arrow_schema::{DataType, Field, Schema, SchemaRef};
use miette::{IntoDiagnostic, bail, miette};
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use parquet::schema::types::ColumnPath;
use purkinje_base::npy::NpyWriter;
use purkinje_signal::Preprocess;
use serde_json::{Map, Value, json};

use super::{Per, is_npy};
use crate::output::{NewFile, cannot_write, json, write_file};

/// Lines of a row group.
const GROUP_LINES: usize = 4096;

/// What a table says about itself.
pub struct About {
    /// What has a vector.
    pub per: Per,
    /// Numbers of a vector.
    pub width: usize,
    /// What was done to the recordings.
    pub preprocess: Preprocess,
    /// The model as it was named.
    pub model: String,
    /// BLAKE3 of its weights.
    pub model_blake3: String,
}

/// One vector with where it comes from.
pub struct Line<'a> {
    /// The recording.
    pub id: &'a str,
    /// Its file.
    pub source: &'a str,
    /// BLAKE3 of its files, or of the shard it is stored in.
    pub blake3: &'a str,
    /// The lead, for leads, beats and tokens.
    pub lead: Option<&'a str>,
    /// Number of the beat in its lead, or of the token in the recording.
    pub number: Option<i32>,
    /// The R-peak of the beat, or the start of the token in its lead, in seconds from the start of what the model sees.
    pub time_s: Option<f64>,
    /// The lead group.
    pub group: Option<&'a str>,
    /// The vector.
    pub vector: &'a [f32],
}

impl<'a> Line<'a> {
    /// The vector of a recording.
    pub fn new(id: &'a str, source: &'a str, blake3: &'a str, vector: &'a [f32]) -> Self {
        Line {
            id,
            source,
            blake3,
            lead: None,
            number: None,
            time_s: None,
            group: None,
            vector,
        }
    }
}

/// A table under construction: whole when finished, nothing otherwise.
pub struct Sink {
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
        writer: Box<NpyWriter<f32, BufWriter<std::fs::File>>>,
        lines: Vec<Value>,
    },
}

impl Sink {
    /// Begins the table; the name says which kind.
    ///
    /// # Errors
    /// For another name than `.parquet` or `.npy`, or where nothing can be written.
    pub fn begin(path: &Path, about: About) -> miette::Result<Self> {
        let parquet = path
            .extension()
            .is_some_and(|e| e.eq_ignore_ascii_case("parquet"));
        if !parquet && !is_npy(path) {
            bail!(
                "`{}`: expected a name that ends in .parquet or .npy",
                path.display()
            );
        }
        let mut file = NewFile::begin(path)?;
        let own = file.file().try_clone().map_err(|e| cannot_write(path, e))?;
        let kind = if parquet {
            let columns = Columns::new(&about);
            let writer =
                ArrowWriter::try_new(own, columns.schema.clone(), Some(properties(&about)?))
                    .into_diagnostic()?;
            Kind::Parquet {
                file,
                writer: Box::new(writer),
                columns: Box::new(columns),
            }
        } else {
            let writer = NpyWriter::new(BufWriter::new(own), &[about.width])
                .map_err(|e| cannot_write(path, e))?;
            Kind::Npy {
                file,
                writer: Box::new(writer),
                lines: Vec::new(),
            }
        };
        Ok(Sink {
            about,
            path: path.to_owned(),
            rows: 0,
            kind,
        })
    }

    /// Vectors so far.
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Adds a vector.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn line(&mut self, line: &Line<'_>) -> miette::Result<()> {
        self.rows += 1;
        match &mut self.kind {
            Kind::Parquet {
                writer, columns, ..
            } => {
                columns.push(line);
                if columns.lines == GROUP_LINES {
                    writer.write(&columns.take()?).into_diagnostic()?;
                }
            }
            Kind::Npy { writer, lines, .. } => {
                writer
                    .push(line.vector)
                    .map_err(|e| cannot_write(&self.path, e))?;
                lines.push(columns_of(self.about.per, line));
            }
        }
        Ok(())
    }

    /// Puts the table into its place.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn finish(self) -> miette::Result<()> {
        let Sink {
            about, path, kind, ..
        } = self;
        match kind {
            Kind::Parquet {
                file,
                mut writer,
                mut columns,
            } => {
                if columns.lines > 0 {
                    writer.write(&columns.take()?).into_diagnostic()?;
                }
                writer.close().into_diagnostic()?;
                file.finish()
            }
            Kind::Npy {
                file,
                writer,
                lines,
            } => {
                writer.finish().map_err(|e| cannot_write(&path, e))?;
                let mut beside = facts(&about)?;
                beside.insert("width".to_owned(), json!(about.width));
                beside.insert("rows".to_owned(), Value::Array(lines));
                let name = path.with_extension("npy.json");
                write_file(&name, json(&beside)?.as_bytes())?;
                file.finish()
            }
        }
    }
}

/// The columns of a row group.
struct Columns {
    schema: SchemaRef,
    per: Per,
    lines: usize,
    id: StringBuilder,
    lead: StringBuilder,
    number: Int32Builder,
    time_s: Float64Builder,
    group: StringBuilder,
    source: StringBuilder,
    blake3: StringBuilder,
    vector: FixedSizeListBuilder<Float32Builder>,
}

impl Columns {
    fn new(about: &About) -> Self {
        let width = i32::try_from(about.width).unwrap_or(i32::MAX);
        let item = Arc::new(Field::new("item", DataType::Float32, false));
        let mut fields = vec![Field::new("id", DataType::Utf8, false)];
        if about.per != Per::Recording && about.per != Per::Group {
            fields.push(Field::new("lead", DataType::Utf8, false));
        }
        if let Some((number, time_s)) = about.per.places() {
            fields.push(Field::new(number, DataType::Int32, false));
            fields.push(Field::new(time_s, DataType::Float64, false));
        }
        if about.per == Per::Group {
            fields.push(Field::new("group", DataType::Utf8, false));
        }
        fields.extend([
            Field::new("source", DataType::Utf8, false),
            Field::new("source_blake3", DataType::Utf8, false),
            Field::new(
                "vector",
                DataType::FixedSizeList(item.clone(), width),
                false,
            ),
        ]);
        Columns {
            schema: Arc::new(Schema::new(fields)),
            per: about.per,
            lines: 0,
            id: StringBuilder::new(),
            lead: StringBuilder::new(),
            number: Int32Builder::new(),
            time_s: Float64Builder::new(),
            group: StringBuilder::new(),
            source: StringBuilder::new(),
            blake3: StringBuilder::new(),
            vector: FixedSizeListBuilder::new(Float32Builder::new(), width).with_field(item),
        }
    }

    fn push(&mut self, line: &Line<'_>) {
        self.lines += 1;
        self.id.append_value(line.id);
        self.lead.append_value(line.lead.unwrap_or_default());
        self.number.append_value(line.number.unwrap_or_default());
        self.time_s.append_value(line.time_s.unwrap_or_default());
        self.group.append_value(line.group.unwrap_or_default());
        self.source.append_value(line.source);
        self.blake3.append_value(line.blake3);
        self.vector.values().append_slice(line.vector);
        self.vector.append(true);
    }

    fn take(&mut self) -> miette::Result<RecordBatch> {
        self.lines = 0;
        let mut arrays: Vec<ArrayRef> = vec![Arc::new(self.id.finish())];
        let (lead, number) = (self.lead.finish(), self.number.finish());
        let (time_s, group) = (self.time_s.finish(), self.group.finish());
        if self.per != Per::Recording && self.per != Per::Group {
            arrays.push(Arc::new(lead));
        }
        if self.per.places().is_some() {
            arrays.push(Arc::new(number));
            arrays.push(Arc::new(time_s));
        }
        if self.per == Per::Group {
            arrays.push(Arc::new(group));
        }
        arrays.push(Arc::new(self.source.finish()));
        arrays.push(Arc::new(self.blake3.finish()));
        arrays.push(Arc::new(self.vector.finish()));
        RecordBatch::try_new(self.schema.clone(), arrays).into_diagnostic()
    }
}

fn facts(about: &About) -> miette::Result<Map<String, Value>> {
    let per = match about.per {
        Per::Recording => "recording",
        Per::Lead => "lead",
        Per::Beat => "beat",
        Per::Group => "group",
        Per::Token => "token",
    };
    let facts = json!({
        "program": format!("purkinje {}", env!("CARGO_PKG_VERSION")),
        "per": per,
        "model": about.model,
        "model_blake3": about.model_blake3,
        "preprocess": serde_json::to_value(&about.preprocess).into_diagnostic()?,
    });
    match facts {
        Value::Object(facts) => Ok(facts),
        _ => Err(miette!("the facts about the table are no object")),
    }
}

fn properties(about: &About) -> miette::Result<WriterProperties> {
    let facts = facts(about)?
        .into_iter()
        .map(|(key, value)| {
            let text = match value {
                Value::String(text) => text,
                other => other.to_string(),
            };
            KeyValue::new(format!("purkinje.{key}"), text)
        })
        .collect();
    // Vectors hold no value twice: a dictionary of them would be built for nothing.
    let vector = ColumnPath::from(vec![
        "vector".to_owned(),
        "list".to_owned(),
        "item".to_owned(),
    ]);
    Ok(WriterProperties::builder()
        .set_compression(Compression::ZSTD(ZstdLevel::default()))
        .set_column_dictionary_enabled(vector, false)
        .set_key_value_metadata(Some(facts))
        .build())
}

fn columns_of(per: Per, line: &Line<'_>) -> Value {
    let (number, time_s) = per.places().unwrap_or(("number", "time_s"));
    let mut columns = Map::new();
    columns.insert("id".to_owned(), json!(line.id));
    for (name, value) in [
        ("lead", json!(line.lead)),
        (number, json!(line.number)),
        (time_s, json!(line.time_s)),
        ("group", json!(line.group)),
    ] {
        if !value.is_null() {
            columns.insert(name.to_owned(), value);
        }
    }
    columns.insert("source".to_owned(), json!(line.source));
    columns.insert("source_blake3".to_owned(), json!(line.blake3));
    Value::Object(columns)
}
