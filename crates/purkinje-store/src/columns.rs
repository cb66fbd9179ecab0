//! Conversion of rows to Arrow columns and back.

use std::sync::Arc;

use arrow_array::builder::{
    BooleanBuilder, Float32Builder, Int16Builder, Int32Builder, Int64Builder, ListBuilder,
    StringBuilder,
};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Float32Array, Int16Array, Int32Array, Int64Array, ListArray,
    RecordBatch, StringArray, new_null_array,
};
use arrow_buffer::ScalarBuffer;
use arrow_schema::{ArrowError, DataType, Field, SchemaRef};
use purkinje_signal::quality::Measures;

use crate::schema::{LABEL_PREFIX, LabelSet, SIGNAL_HASH_DIGITS, Split, TEXT_PREFIX, VALUE_PREFIX};

/// A record about to be stored.
#[derive(Clone, Debug, PartialEq)]
pub struct NewRow {
    /// Record, unique in the store.
    pub id: String,
    /// Patient, when known.
    pub patient: Option<String>,
    /// File, relative to the root of the source.
    pub source: String,
    /// Split of the data set.
    pub split: Split,
    /// Fold of a published cross-validation.
    pub fold: Option<i16>,
    /// Units of `signal` per millivolt, positive.
    pub gain_per_mv: f32,
    /// Samples, row-major `[lead, time]`.
    pub signal: Vec<i16>,
    /// R-peaks as samples, increasing.
    pub r_peaks: Vec<i32>,
    /// False: no beat was found and `r_peaks` is an even grid.
    pub beats_detected: bool,
    /// Report text.
    pub report: Option<String>,
    /// Age in years, as stated by the source.
    pub age: Option<f32>,
    /// `female`, `male`, or as stated by the source.
    pub sex: Option<String>,
    /// Leads without any variation.
    pub flat_leads: i16,
    /// Samples that were missing in the file and were replaced.
    pub missing_samples: i32,
    /// Index of the record in a file that holds many.
    pub entry: Option<i64>,
    /// Sampling rate of the source in hertz.
    pub source_rate_hz: Option<f32>,
    /// Samples per lead in the source.
    pub source_samples: Option<i32>,
    /// Hash of the samples, 32 hex digits, see [`crate::signal_hash`].
    pub signal_hash: Option<String>,
    /// Annotations, at the sampling rate and within the window of the store.
    pub annotations: Vec<Mark>,
    /// Signal quality, measured on the source's samples.
    pub quality: Option<Measures>,
    /// Class indices for every label set of the store; `None`: not part of that task.
    pub labels: Vec<Option<Vec<i16>>>,
    /// The further texts of the store; empty if there are none.
    pub texts: Vec<Option<String>>,
    /// The numbers of the store; empty if there are none.
    pub values: Vec<Option<f32>>,
}

impl Default for NewRow {
    /// An empty record without metadata; one unit per millivolt.
    fn default() -> Self {
        NewRow {
            id: String::new(),
            patient: None,
            source: String::new(),
            split: Split::None,
            fold: None,
            gain_per_mv: 1.0,
            signal: Vec::new(),
            r_peaks: Vec::new(),
            beats_detected: false,
            report: None,
            age: None,
            sex: None,
            flat_leads: 0,
            missing_samples: 0,
            entry: None,
            source_rate_hz: None,
            source_samples: None,
            signal_hash: None,
            annotations: Vec::new(),
            quality: None,
            labels: Vec::new(),
            texts: Vec::new(),
            values: Vec::new(),
        }
    }
}

/// An annotation of a stored record.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Mark {
    /// Sample within the record.
    pub sample: i32,
    /// Row of the lead it belongs to; `None` for all leads.
    pub lead: Option<i16>,
    /// Symbol in the usual one- or two-letter code (`N`, `V`, `+`, ...).
    pub symbol: String,
    /// Free text attached to the mark (the name of a rhythm), or empty.
    pub note: String,
}

/// The value for "all leads" in `annotation_leads`.
const ALL_LEADS: i16 = -1;

/// The columns every store has, in order, each with its builder and its array. The names are those
/// of [`crate::arrow_schema`].
macro_rules! fixed_columns {
    ($($name:ident: $builder:ty => $array:ty;)*) => {
        struct Builders {
            $($name: $builder,)*
        }

        impl Builders {
            fn new() -> Self {
                Builders { $($name: <$builder as Build>::build(),)* }
            }

            fn finish(&mut self) -> Vec<ArrayRef> {
                vec![$(Arc::new(self.$name.finish()),)*]
            }
        }

        /// The columns of one record batch, each with its type; samples are borrowed from the map.
        pub(crate) struct Batch {
            $(pub(crate) $name: $array,)*
            pub(crate) labels: Vec<Lists<i16>>,
            pub(crate) texts: Vec<StringArray>,
            pub(crate) values: Vec<Float32Array>,
        }

        impl Batch {
            /// Extracts the columns of a decoded batch and checks what Arrow does not check. Columns that earlier
            /// schema versions lack are null.
            ///
            /// # Errors
            /// A phrase saying what is wrong.
            pub(crate) fn new(batch: &RecordBatch, about: &Described<'_>) -> Result<Self, String> {
                let batch = Batch {
                    $($name: Column::of(batch, stringify!($name))?,)*
                    labels: about
                        .label_sets
                        .iter()
                        .map(|set| labels(batch, set))
                        .collect::<Result<_, _>>()?,
                    texts: named(batch, TEXT_PREFIX, about.texts)?,
                    values: named(batch, VALUE_PREFIX, about.values)?,
                };
                batch.check(about.leads)?;
                Ok(batch)
            }
        }
    };
}

fixed_columns! {
    id: StringBuilder => StringArray;
    patient: StringBuilder => StringArray;
    source: StringBuilder => StringArray;
    split: StringBuilder => Vec<Split>;
    fold: Int16Builder => Int16Array;
    gain_per_mv: Float32Builder => Float32Array;
    samples: Int32Builder => Int32Array;
    signal: ListBuilder<Int16Builder> => Lists<i16>;
    r_peaks: ListBuilder<Int32Builder> => Lists<i32>;
    beats_detected: BooleanBuilder => BooleanArray;
    report: StringBuilder => StringArray;
    age: Float32Builder => Float32Array;
    sex: StringBuilder => StringArray;
    flat_leads: Int16Builder => Int16Array;
    missing_samples: Int32Builder => Int32Array;
    entry: Int64Builder => Int64Array;
    source_rate_hz: Float32Builder => Float32Array;
    source_samples: Int32Builder => Int32Array;
    signal_hash: StringBuilder => StringArray;
    annotation_samples: ListBuilder<Int32Builder> => Lists<i32>;
    annotation_symbols: ListBuilder<StringBuilder> => TextLists;
    annotation_leads: ListBuilder<Int16Builder> => Lists<i16>;
    annotation_notes: ListBuilder<StringBuilder> => TextLists;
    quality_missing_leads: Int16Builder => Int16Array;
    quality_flat_leads: Int16Builder => Int16Array;
    quality_clipped_leads: Int16Builder => Int16Array;
    quality_limb_leads: StringBuilder => StringArray;
    quality_einthoven_mv: Float32Builder => Float32Array;
    quality_noise_mv: Float32Builder => Float32Array;
    quality_baseline_mv: Float32Builder => Float32Array;
    quality_powerline_mv: Float32Builder => Float32Array;
    quality_amplitude_mv: Float32Builder => Float32Array;
}

/// The parts of `store.json` that a batch must agree with.
#[derive(Clone, Copy)]
pub(crate) struct Described<'a> {
    pub(crate) leads: usize,
    pub(crate) label_sets: &'a [LabelSet],
    pub(crate) texts: &'a [String],
    pub(crate) values: &'a [String],
}

/// Collects rows into one record batch.
pub(crate) struct BatchBuilder {
    schema: SchemaRef,
    rows: usize,
    leads: usize,
    fixed: Builders,
    labels: Vec<ListBuilder<Int16Builder>>,
    texts: Vec<StringBuilder>,
    values: Vec<Float32Builder>,
}

impl BatchBuilder {
    pub(crate) fn new(schema: SchemaRef, about: &Described<'_>) -> Self {
        BatchBuilder {
            schema,
            rows: 0,
            leads: about.leads,
            fixed: Builders::new(),
            labels: about.label_sets.iter().map(|_| Build::build()).collect(),
            texts: about.texts.iter().map(|_| Build::build()).collect(),
            values: about.values.iter().map(|_| Build::build()).collect(),
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Samples of all rows so far.
    pub(crate) fn values(&self) -> usize {
        self.fixed.signal.values_ref().values_slice().len()
    }

    /// Adds a row that has been checked against the schema.
    pub(crate) fn push(&mut self, row: &NewRow) {
        self.rows += 1;
        let to = &mut self.fixed;
        to.id.append_value(&row.id);
        to.patient.append_option(row.patient.as_deref());
        to.source.append_value(&row.source);
        to.split.append_value(row.split.name());
        to.fold.append_option(row.fold);
        to.gain_per_mv.append_value(row.gain_per_mv);
        to.samples
            .append_value((row.signal.len() / self.leads) as i32);
        to.signal.values().append_slice(&row.signal);
        to.signal.append(true);
        to.r_peaks.values().append_slice(&row.r_peaks);
        to.r_peaks.append(true);
        to.beats_detected.append_value(row.beats_detected);
        to.report.append_option(row.report.as_deref());
        to.age.append_option(row.age);
        to.sex.append_option(row.sex.as_deref());
        to.flat_leads.append_value(row.flat_leads);
        to.missing_samples.append_value(row.missing_samples);
        to.entry.append_option(row.entry);
        to.source_rate_hz.append_option(row.source_rate_hz);
        to.source_samples.append_option(row.source_samples);
        to.signal_hash.append_option(row.signal_hash.as_deref());
        to.push_annotations(&row.annotations);
        to.push_quality(row.quality.as_ref());
        for (column, classes) in self.labels.iter_mut().zip(&row.labels) {
            if let Some(classes) = classes {
                column.values().append_slice(classes);
            }
            column.append(classes.is_some());
        }
        for (index, column) in self.texts.iter_mut().enumerate() {
            column.append_option(row.texts.get(index).and_then(Option::as_deref));
        }
        for (index, column) in self.values.iter_mut().enumerate() {
            column.append_option(row.values.get(index).copied().flatten());
        }
    }

    /// The rows as one batch; the builder is empty afterwards.
    pub(crate) fn take(&mut self) -> Result<RecordBatch, ArrowError> {
        self.rows = 0;
        let mut columns = self.fixed.finish();
        // Earlier schema versions end sooner.
        let named = self.labels.len() + self.texts.len() + self.values.len();
        columns.truncate(self.schema.fields().len().saturating_sub(named));
        for column in &mut self.labels {
            columns.push(Arc::new(column.finish()));
        }
        for column in &mut self.texts {
            columns.push(Arc::new(column.finish()));
        }
        for column in &mut self.values {
            columns.push(Arc::new(column.finish()));
        }
        RecordBatch::try_new(self.schema.clone(), columns)
    }
}

impl Builders {
    fn push_annotations(&mut self, marks: &[Mark]) {
        for mark in marks {
            self.annotation_samples.values().append_value(mark.sample);
            self.annotation_symbols.values().append_value(&mark.symbol);
            self.annotation_leads
                .values()
                .append_value(mark.lead.unwrap_or(ALL_LEADS));
            self.annotation_notes.values().append_value(&mark.note);
        }
        self.annotation_samples.append(true);
        self.annotation_symbols.append(true);
        self.annotation_leads.append(true);
        self.annotation_notes.append(true);
    }

    fn push_quality(&mut self, measures: Option<&Measures>) {
        // The sixteen bits as they are; Arrow's unsigned columns are less widely read.
        let mask = |of: fn(&Measures) -> u16| measures.map(|m| of(m) as i16);
        let figure = |of: fn(&Measures) -> Option<f32>| measures.and_then(of);
        self.quality_missing_leads
            .append_option(mask(|m| m.missing_leads));
        self.quality_flat_leads
            .append_option(mask(|m| m.flat_leads));
        self.quality_clipped_leads
            .append_option(mask(|m| m.clipped_leads));
        self.quality_limb_leads
            .append_option(measures.map(|m| m.limb_leads.name()));
        self.quality_einthoven_mv
            .append_option(figure(|m| m.einthoven_mv));
        self.quality_noise_mv.append_option(figure(|m| m.noise_mv));
        self.quality_baseline_mv
            .append_option(figure(|m| m.baseline_mv));
        self.quality_powerline_mv
            .append_option(figure(|m| m.powerline_mv));
        self.quality_amplitude_mv
            .append_option(figure(|m| m.amplitude_mv));
    }
}

impl Batch {
    pub(crate) fn rows(&self) -> usize {
        self.split.len()
    }

    /// The marks of a row: how many, and each by its position.
    pub(crate) fn marks(&self, row: usize) -> usize {
        self.annotation_samples.row(row).len()
    }

    pub(crate) fn mark(&self, row: usize, index: usize) -> Mark {
        let lead = self.annotation_leads.row(row)[index];
        Mark {
            sample: self.annotation_samples.row(row)[index],
            lead: (lead != ALL_LEADS).then_some(lead),
            symbol: self.annotation_symbols.get(row, index).to_owned(),
            note: self.annotation_notes.get(row, index).to_owned(),
        }
    }

    fn check(&self, leads: usize) -> Result<(), String> {
        for row in 0..self.rows() {
            let id = self.id.value(row);
            let samples = usize::try_from(self.samples.value(row)).unwrap_or(usize::MAX);
            let values = self.signal.row(row).len();
            if samples.checked_mul(leads) != Some(values) {
                return Err(format!(
                    "record `{id}` has {values} values, expected {leads} leads of {samples} samples"
                ));
            }
            let gain = self.gain_per_mv.value(row);
            if !(gain.is_finite() && gain > 0.0) {
                return Err(format!(
                    "record `{id}` has a gain of {gain} units per mV, expected a positive number"
                ));
            }
            let peaks = self.r_peaks.row(row);
            let inside = peaks.iter().all(|&p| p >= 0 && (p as usize) < samples);
            if !inside || !peaks.is_sorted() {
                return Err(format!(
                    "record `{id}` has R-peaks outside its {samples} samples or out of order"
                ));
            }
            let marks = self.marks(row);
            if self.annotation_leads.row(row).len() != marks
                || self.annotation_symbols.len(row) != marks
                || self.annotation_notes.len(row) != marks
            {
                return Err(format!(
                    "record `{id}` has different numbers of annotation samples, symbols, leads and notes"
                ));
            }
            if self.signal_hash.is_valid(row)
                && self.signal_hash.value(row).len() != SIGNAL_HASH_DIGITS
            {
                return Err(format!(
                    "record `{id}` has a signal hash that is not {SIGNAL_HASH_DIGITS} hex digits"
                ));
            }
        }
        Ok(())
    }
}

/// A builder whose lists have items without nulls, as the schema says.
trait Build {
    fn build() -> Self;
}

macro_rules! build {
    ($($builder:ty),*) => {
        $(impl Build for $builder {
            fn build() -> Self {
                <$builder>::new()
            }
        })*
    };
    ($($items:ty => $data_type:expr),*) => {
        $(impl Build for ListBuilder<$items> {
            fn build() -> Self {
                let field = Field::new("item", $data_type, false);
                ListBuilder::new(<$items>::new()).with_field(Arc::new(field))
            }
        })*
    };
}
build!(
    StringBuilder,
    Int16Builder,
    Int32Builder,
    Int64Builder,
    Float32Builder,
    BooleanBuilder
);
build!(Int16Builder => DataType::Int16, Int32Builder => DataType::Int32, StringBuilder => DataType::Utf8);

/// A column of a decoded batch.
trait Column: Sized {
    /// The column called `name`; all null if there is none.
    fn of(batch: &RecordBatch, name: &str) -> Result<Self, String>;
}

macro_rules! column {
    ($($array:ty => $data_type:expr),*) => {
        $(impl Column for $array {
            fn of(batch: &RecordBatch, name: &str) -> Result<Self, String> {
                take::<$array>(batch, name, &$data_type)
            }
        })*
    };
}
column!(
    StringArray => DataType::Utf8,
    BooleanArray => DataType::Boolean,
    Int16Array => DataType::Int16,
    Int32Array => DataType::Int32,
    Int64Array => DataType::Int64,
    Float32Array => DataType::Float32
);

/// A list column: offsets and values.
pub(crate) struct Lists<T: arrow_buffer::ArrowNativeType> {
    array: ListArray,
    values: ScalarBuffer<T>,
}

impl<T: arrow_buffer::ArrowNativeType> Lists<T> {
    pub(crate) fn row(&self, row: usize) -> &[T] {
        let offsets = self.array.value_offsets();
        // Arrow checked while decoding that offsets are increasing and end within the values.
        &self.values[offsets[row] as usize..offsets[row + 1] as usize]
    }

    pub(crate) fn is_null(&self, row: usize) -> bool {
        self.array.is_null(row)
    }
}

/// A list column of texts.
pub(crate) struct TextLists {
    array: ListArray,
    values: StringArray,
}

impl TextLists {
    fn len(&self, row: usize) -> usize {
        self.array.value_length(row) as usize
    }

    fn get(&self, row: usize, index: usize) -> &str {
        self.values
            .value(self.array.value_offsets()[row] as usize + index)
    }
}

/// A list column and its values.
fn lists<A: Array + Clone + 'static>(
    batch: &RecordBatch,
    name: &str,
    item: DataType,
) -> Result<(ListArray, A), String> {
    let item = Arc::new(Field::new("item", item, false));
    let array: ListArray = take(batch, name, &DataType::List(item))?;
    let values = array
        .values()
        .as_any()
        .downcast_ref::<A>()
        .cloned()
        .ok_or_else(|| wrong_type(name, array.data_type()))?;
    Ok((array, values))
}

macro_rules! list_column {
    ($($native:ty, $values:ty, $data_type:expr;)*) => {
        $(impl Column for Lists<$native> {
            fn of(batch: &RecordBatch, name: &str) -> Result<Self, String> {
                let (array, values) = lists::<$values>(batch, name, $data_type)?;
                Ok(Lists { array, values: values.values().clone() })
            }
        })*
    };
}
list_column! {
    i16, Int16Array, DataType::Int16;
    i32, Int32Array, DataType::Int32;
}

impl Column for TextLists {
    fn of(batch: &RecordBatch, name: &str) -> Result<Self, String> {
        let (array, values) = lists(batch, name, DataType::Utf8)?;
        Ok(TextLists { array, values })
    }
}

fn take<A: Array + Clone + 'static>(
    batch: &RecordBatch,
    name: &str,
    data_type: &DataType,
) -> Result<A, String> {
    let absent;
    let array = match batch.column_by_name(name) {
        Some(array) => array,
        None => {
            absent = new_null_array(data_type, batch.num_rows());
            &absent
        }
    };
    array
        .as_any()
        .downcast_ref::<A>()
        .cloned()
        .ok_or_else(|| wrong_type(name, array.data_type()))
}

fn named<C: Column>(batch: &RecordBatch, prefix: &str, names: &[String]) -> Result<Vec<C>, String> {
    names
        .iter()
        .map(|name| C::of(batch, &format!("{prefix}{name}")))
        .collect()
}

impl Column for Vec<Split> {
    fn of(batch: &RecordBatch, column: &str) -> Result<Self, String> {
        StringArray::of(batch, column)?
            .iter()
            .map(|name| {
                let name = name.unwrap_or("");
                Split::ALL
                    .into_iter()
                    .find(|split| split.name() == name)
                    .ok_or_else(|| format!("column `{column}` holds `{name}`"))
            })
            .collect()
    }
}

fn labels(batch: &RecordBatch, set: &LabelSet) -> Result<Lists<i16>, String> {
    let name = format!("{LABEL_PREFIX}{}", set.name);
    let classes = set.classes.len();
    let lists = Lists::<i16>::of(batch, &name)?;
    match lists
        .values
        .iter()
        .find(|&&c| c < 0 || c as usize >= classes)
    {
        Some(class) => Err(format!(
            "column {name} holds class {class}, but its label set has {classes} classes"
        )),
        None => Ok(lists),
    }
}

fn wrong_type(name: &str, found: &DataType) -> String {
    format!("column `{name}` has type {found}")
}
