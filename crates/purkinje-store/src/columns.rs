//! Rows to Arrow columns and back.

use std::sync::Arc;

use arrow_array::builder::{
    BooleanBuilder, Float32Builder, Int16Builder, Int32Builder, ListBuilder, StringBuilder,
};
use arrow_array::{
    Array, ArrayRef, BooleanArray, Float32Array, Int16Array, Int32Array, ListArray, RecordBatch,
    StringArray,
};
use arrow_buffer::ScalarBuffer;
use arrow_schema::{ArrowError, DataType, Field, SchemaRef};

use crate::schema::{FIXED_COLUMNS, Split};

/// A record about to be stored.
#[derive(Clone, Debug, PartialEq)]
pub struct NewRow {
    /// Record, unique in the store.
    pub id: String,
    /// Patient, when known.
    pub patient: Option<String>,
    /// File, relative to the root of the source.
    pub source: String,
    /// Part of the data set.
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
    /// Age in years, as the source writes it.
    pub age: Option<f32>,
    /// `female`, `male`, or as the source writes it.
    pub sex: Option<String>,
    /// Leads without any variation.
    pub flat_leads: i16,
    /// Samples without a value in the file, replaced.
    pub missing_samples: i32,
    /// Class indices for every label set of the store; `None`: not part of that task.
    pub labels: Vec<Option<Vec<i16>>>,
}

/// Collects rows into one record batch.
pub(crate) struct BatchBuilder {
    schema: SchemaRef,
    rows: usize,
    leads: usize,
    id: StringBuilder,
    patient: StringBuilder,
    source: StringBuilder,
    split: StringBuilder,
    fold: Int16Builder,
    gain_per_mv: Float32Builder,
    samples: Int32Builder,
    signal: ListBuilder<Int16Builder>,
    r_peaks: ListBuilder<Int32Builder>,
    beats_detected: BooleanBuilder,
    report: StringBuilder,
    age: Float32Builder,
    sex: StringBuilder,
    flat_leads: Int16Builder,
    missing_samples: Int32Builder,
    labels: Vec<ListBuilder<Int16Builder>>,
}

impl BatchBuilder {
    pub(crate) fn new(schema: SchemaRef, leads: usize) -> Self {
        let item16 = || Arc::new(Field::new("item", DataType::Int16, false));
        let item32 = Arc::new(Field::new("item", DataType::Int32, false));
        let list16 = || ListBuilder::new(Int16Builder::new()).with_field(item16());
        let label_sets = schema.fields().len() - FIXED_COLUMNS;
        BatchBuilder {
            rows: 0,
            leads,
            id: StringBuilder::new(),
            patient: StringBuilder::new(),
            source: StringBuilder::new(),
            split: StringBuilder::new(),
            fold: Int16Builder::new(),
            gain_per_mv: Float32Builder::new(),
            samples: Int32Builder::new(),
            signal: list16(),
            r_peaks: ListBuilder::new(Int32Builder::new()).with_field(item32),
            beats_detected: BooleanBuilder::new(),
            report: StringBuilder::new(),
            age: Float32Builder::new(),
            sex: StringBuilder::new(),
            flat_leads: Int16Builder::new(),
            missing_samples: Int32Builder::new(),
            labels: (0..label_sets).map(|_| list16()).collect(),
            schema,
        }
    }

    pub(crate) fn rows(&self) -> usize {
        self.rows
    }

    /// Samples of all rows so far.
    pub(crate) fn values(&self) -> usize {
        self.signal.values_ref().values_slice().len()
    }

    /// Adds a row that has been checked against the schema.
    pub(crate) fn push(&mut self, row: &NewRow) {
        self.rows += 1;
        self.id.append_value(&row.id);
        self.patient.append_option(row.patient.as_deref());
        self.source.append_value(&row.source);
        self.split.append_value(row.split.name());
        self.fold.append_option(row.fold);
        self.gain_per_mv.append_value(row.gain_per_mv);
        self.samples
            .append_value((row.signal.len() / self.leads) as i32);
        self.signal.values().append_slice(&row.signal);
        self.signal.append(true);
        self.r_peaks.values().append_slice(&row.r_peaks);
        self.r_peaks.append(true);
        self.beats_detected.append_value(row.beats_detected);
        self.report.append_option(row.report.as_deref());
        self.age.append_option(row.age);
        self.sex.append_option(row.sex.as_deref());
        self.flat_leads.append_value(row.flat_leads);
        self.missing_samples.append_value(row.missing_samples);
        for (column, classes) in self.labels.iter_mut().zip(&row.labels) {
            if let Some(classes) = classes {
                column.values().append_slice(classes);
            }
            column.append(classes.is_some());
        }
    }

    /// The rows as one batch; the builder is empty afterwards.
    pub(crate) fn take(&mut self) -> Result<RecordBatch, ArrowError> {
        self.rows = 0;
        let mut columns: Vec<ArrayRef> = vec![
            Arc::new(self.id.finish()),
            Arc::new(self.patient.finish()),
            Arc::new(self.source.finish()),
            Arc::new(self.split.finish()),
            Arc::new(self.fold.finish()),
            Arc::new(self.gain_per_mv.finish()),
            Arc::new(self.samples.finish()),
            Arc::new(self.signal.finish()),
            Arc::new(self.r_peaks.finish()),
            Arc::new(self.beats_detected.finish()),
            Arc::new(self.report.finish()),
            Arc::new(self.age.finish()),
            Arc::new(self.sex.finish()),
            Arc::new(self.flat_leads.finish()),
            Arc::new(self.missing_samples.finish()),
        ];
        for column in &mut self.labels {
            columns.push(Arc::new(column.finish()));
        }
        RecordBatch::try_new(self.schema.clone(), columns)
    }
}

/// The columns of one record batch, each with its type; samples are borrowed from the map.
pub(crate) struct Batch {
    pub(crate) id: StringArray,
    pub(crate) patient: StringArray,
    pub(crate) source: StringArray,
    pub(crate) split: Vec<Split>,
    pub(crate) fold: Int16Array,
    pub(crate) gain_per_mv: Float32Array,
    pub(crate) samples: Int32Array,
    pub(crate) signal: Lists<i16>,
    pub(crate) r_peaks: Lists<i32>,
    pub(crate) beats_detected: BooleanArray,
    pub(crate) report: StringArray,
    pub(crate) age: Float32Array,
    pub(crate) sex: StringArray,
    pub(crate) flat_leads: Int16Array,
    pub(crate) missing_samples: Int32Array,
    pub(crate) labels: Vec<Lists<i16>>,
}

impl Batch {
    /// Takes a decoded batch apart and checks what Arrow itself does not.
    ///
    /// # Errors
    /// A phrase saying what is wrong.
    pub(crate) fn new(
        batch: &RecordBatch,
        leads: usize,
        classes: &[usize],
    ) -> Result<Self, String> {
        if batch.num_columns() != FIXED_COLUMNS + classes.len() {
            return Err(format!(
                "it has {} columns instead of {}",
                batch.num_columns(),
                FIXED_COLUMNS + classes.len()
            ));
        }
        let split = column::<StringArray>(batch, 3)?
            .iter()
            .map(|name| {
                let name = name.unwrap_or("");
                Split::ALL
                    .into_iter()
                    .find(|split| split.name() == name)
                    .ok_or_else(|| format!("column `split` holds `{name}`"))
            })
            .collect::<Result<_, _>>()?;
        let labels = classes
            .iter()
            .enumerate()
            .map(|(set, &classes)| {
                let lists = Lists::<i16>::new(batch, FIXED_COLUMNS + set)?;
                match lists
                    .values
                    .iter()
                    .find(|&&c| c < 0 || c as usize >= classes)
                {
                    Some(class) => Err(format!(
                        "column {} holds class {class}, but its label set has {classes} classes",
                        batch.schema_ref().field(FIXED_COLUMNS + set).name()
                    )),
                    None => Ok(lists),
                }
            })
            .collect::<Result<_, _>>()?;
        let batch = Batch {
            id: column(batch, 0)?,
            patient: column(batch, 1)?,
            source: column(batch, 2)?,
            split,
            fold: column(batch, 4)?,
            gain_per_mv: column(batch, 5)?,
            samples: column(batch, 6)?,
            signal: Lists::<i16>::new(batch, 7)?,
            r_peaks: Lists::<i32>::new(batch, 8)?,
            beats_detected: column(batch, 9)?,
            report: column(batch, 10)?,
            age: column(batch, 11)?,
            sex: column(batch, 12)?,
            flat_leads: column(batch, 13)?,
            missing_samples: column(batch, 14)?,
            labels,
        };
        batch.check(leads)?;
        Ok(batch)
    }

    pub(crate) fn rows(&self) -> usize {
        self.split.len()
    }

    fn check(&self, leads: usize) -> Result<(), String> {
        for row in 0..self.rows() {
            let id = self.id.value(row);
            let samples = usize::try_from(self.samples.value(row)).unwrap_or(usize::MAX);
            let values = self.signal.row(row).len();
            if samples.checked_mul(leads) != Some(values) {
                return Err(format!(
                    "record `{id}` has {values} values for {leads} leads of {samples} samples"
                ));
            }
            let gain = self.gain_per_mv.value(row);
            if !(gain.is_finite() && gain > 0.0) {
                return Err(format!("record `{id}` has a gain of {gain} units per mV"));
            }
            let peaks = self.r_peaks.row(row);
            let inside = peaks.iter().all(|&p| p >= 0 && (p as usize) < samples);
            if !inside || !peaks.is_sorted() {
                return Err(format!(
                    "record `{id}` has R-peaks outside its {samples} samples or out of order"
                ));
            }
        }
        Ok(())
    }
}

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

macro_rules! lists_of {
    ($native:ty, $array:ty) => {
        impl Lists<$native> {
            fn new(batch: &RecordBatch, index: usize) -> Result<Self, String> {
                let array: ListArray = column(batch, index)?;
                let values = array
                    .values()
                    .as_any()
                    .downcast_ref::<$array>()
                    .ok_or_else(|| wrong_type(batch, index))?
                    .values()
                    .clone();
                Ok(Lists { array, values })
            }
        }
    };
}
lists_of!(i16, Int16Array);
lists_of!(i32, Int32Array);

fn column<A: Array + Clone + 'static>(batch: &RecordBatch, index: usize) -> Result<A, String> {
    batch
        .column(index)
        .as_any()
        .downcast_ref::<A>()
        .cloned()
        .ok_or_else(|| wrong_type(batch, index))
}

fn wrong_type(batch: &RecordBatch, index: usize) -> String {
    format!(
        "column `{}` has type {}",
        batch.schema_ref().field(index).name(),
        batch.column(index).data_type()
    )
}
