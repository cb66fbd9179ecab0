//! The format of a store on disk: `store.json` and the columns of a shard.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use arrow_schema::{DataType, Field, Schema, SchemaRef};
use purkinje_record::LeadSet;
use purkinje_signal::Preprocess;
use serde::{Deserialize, Serialize};

use crate::error::StoreError;

/// The schema version this library writes. Versions from 1 on are read; what an earlier version lacks is unknown.
pub const SCHEMA_VERSION: u32 = 3;

/// Name of the description within a store.
pub const DESCRIPTION_FILE: &str = "store.json";

/// Name of the table of outcomes within a store.
pub const OUTCOMES_FILE: &str = "outcomes.csv";

/// Prefix of the columns that hold labels: `labels_<set>`.
pub const LABEL_PREFIX: &str = "labels_";

/// Prefix of the columns that hold further texts: `report_<name>`.
pub const TEXT_PREFIX: &str = "report_";

/// Prefix of the columns that hold numbers: `value_<name>`.
pub const VALUE_PREFIX: &str = "value_";

/// Hex digits of a signal hash.
pub const SIGNAL_HASH_DIGITS: usize = 32;

/// The contents of `store.json`: everything about a store except its records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StoreInfo {
    /// Always `purkinje-store`.
    pub format: String,
    /// [`SCHEMA_VERSION`] of the writer.
    pub schema_version: u32,
    /// Name of the source (`ptb-xl`, `folder`, ...).
    pub name: String,
    /// The preprocessing of the samples; a model compares it with its own.
    pub preprocess: Preprocess,
    /// Leads of every record, in the order of the rows.
    pub leads: LeadSet,
    /// Sampling rate of every record in hertz.
    pub rate_hz: f64,
    /// Unit of `signal / gain_per_mv`: `mV`, or `1` where the preprocessing scales samples to a range.
    pub unit: String,
    /// The classes of every label set, in the order of their indices.
    pub label_sets: Vec<LabelSet>,
    /// Names of further texts of the records: the columns `report_<name>`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub texts: Vec<String>,
    /// Names of numbers about the records: the columns `value_<name>`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub values: Vec<String>,
    /// Records in all shards.
    pub records: usize,
    /// Records per split.
    pub splits: BTreeMap<Split, usize>,
    /// The number of records of the source by outcome.
    pub outcomes: OutcomeCounts,
    /// The shards in order.
    pub shards: Vec<ShardInfo>,
    /// How the store was made.
    pub made_by: MadeBy,
    /// BLAKE3 of the list of records and the settings, in hex: the same list and settings give the same store.
    pub fingerprint: String,
}

impl StoreInfo {
    /// The text of `store.json`.
    pub(crate) fn to_json(&self) -> Result<String, StoreError> {
        let mut text =
            serde_json::to_string_pretty(self).map_err(|error| StoreError::Description {
                path: DESCRIPTION_FILE.into(),
                reason: error.to_string(),
            })?;
        text.push('\n');
        Ok(text)
    }
}

/// One shard file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ShardInfo {
    /// File name within the store.
    pub file: String,
    /// Records in it.
    pub rows: usize,
    /// Size in bytes.
    pub bytes: u64,
    /// BLAKE3 of the whole file, in hex.
    pub blake3: String,
}

/// How a store was made.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MadeBy {
    /// Program or library that wrote the store.
    pub program: String,
    /// Its version.
    pub version: String,
    /// The command line or call.
    pub command: String,
    /// The source as the user named it.
    pub source: String,
    /// Where R-peaks were found again later, if they were.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub redetected: Option<RedetectedBeats>,
}

impl MadeBy {
    /// Takes the source out, whose path may name patients.
    pub(crate) fn withhold_source(&mut self) {
        const WITHHELD: &str = "(withheld)";
        let source = std::mem::replace(&mut self.source, WITHHELD.to_owned());
        if !source.is_empty() {
            self.command = self.command.replace(&source, WITHHELD);
        }
    }
}

/// What R-peaks were found in that were found again after a store was made, in records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RedetectedBeats {
    /// In the recording as it came.
    pub in_recordings: usize,
    /// In the samples of the store.
    pub in_stored_signal: usize,
}

/// The number of records of the source by outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutcomeCounts {
    /// Stored.
    pub ok: usize,
    /// Readable, but not usable (flat, for instance).
    pub skipped: usize,
    /// Unreadable or not what the settings expect.
    pub failed: usize,
    /// Listed in a table, but without a file.
    pub missing: usize,
}

impl OutcomeCounts {
    /// All records of the source.
    pub fn total(&self) -> usize {
        self.ok + self.skipped + self.failed + self.missing
    }
}

/// A label set: the classes of one task.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelSet {
    /// Name of the task (`superdiagnostic`, `rhythm`, ...).
    pub name: String,
    /// The classes; a label is an index into this list.
    pub classes: Vec<LabelClass>,
}

impl LabelSet {
    /// A label set of classes that have only names.
    pub fn from_names<S: Into<String>>(
        name: impl Into<String>,
        classes: impl IntoIterator<Item = S>,
    ) -> Self {
        LabelSet {
            name: name.into(),
            classes: classes
                .into_iter()
                .map(|class| LabelClass {
                    name: class.into(),
                    ..LabelClass::default()
                })
                .collect(),
        }
    }

    /// Index of the class called `name`.
    pub fn class_index(&self, name: &str) -> Option<i16> {
        self.classes
            .iter()
            .position(|class| class.name == name)
            .and_then(|index| i16::try_from(index).ok())
    }

    /// The names of the classes in order.
    pub fn class_names(&self) -> Vec<String> {
        self.classes.iter().map(|c| c.name.clone()).collect()
    }
}

/// One class of a label set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct LabelClass {
    /// Short name, as columns and tables show it (`AMI`).
    pub name: String,
    /// What it means (`anterior myocardial infarction`), if the source states it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Codes in other systems, by system (`AHA`, `DICOM`, `SNOMED-CT`, ...).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub codes: BTreeMap<String, String>,
}

/// The split that a record belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Split {
    /// Training.
    Train,
    /// Validation.
    Val,
    /// Test.
    Test,
    /// None of them.
    None,
}

impl Split {
    /// All splits in order.
    pub const ALL: [Split; 4] = [Split::Train, Split::Val, Split::Test, Split::None];

    /// The name on disk: `train`, `val`, `test`, `none`.
    pub fn name(self) -> &'static str {
        match self {
            Split::Train => "train",
            Split::Val => "val",
            Split::Test => "test",
            Split::None => "none",
        }
    }
}

impl fmt::Display for Split {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A text that is not the name of a split.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("unknown split `{0}`: expected train, val, test or none")]
pub struct UnknownSplit(pub String);

impl FromStr for Split {
    type Err = UnknownSplit;

    /// Reads the names on disk and the usual synonyms (`training`, `validation`, `dev`, ...).
    fn from_str(text: &str) -> Result<Self, UnknownSplit> {
        match text.trim().to_ascii_lowercase().as_str() {
            "train" | "training" => Ok(Split::Train),
            "val" | "valid" | "validation" | "dev" => Ok(Split::Val),
            "test" | "testing" => Ok(Split::Test),
            "none" | "" => Ok(Split::None),
            _ => Err(UnknownSplit(text.to_owned())),
        }
    }
}

/// The Arrow schema of every shard of a store with these label sets, texts and values.
///
/// | column | type | meaning |
/// | --- | --- | --- |
/// | `id` | utf8 | record, unique in the store |
/// | `patient` | utf8? | patient |
/// | `source` | utf8 | file, relative to the root of the source |
/// | `split` | utf8 | `train`, `val`, `test`, `none` |
/// | `fold` | int16? | fold of a published cross-validation |
/// | `gain_per_mv` | float32 | units of `signal` per millivolt |
/// | `samples` | int32 | samples per lead |
/// | `signal` | list\<int16\> | all leads, one after the other: `[lead, time]` |
/// | `r_peaks` | list\<int32\> | R-peaks as samples, increasing |
/// | `beats_detected` | bool | false: no beat was found and `r_peaks` is an even grid |
/// | `report` | utf8? | report text |
/// | `age` | float32? | years, as stated by the source |
/// | `sex` | utf8? | `female`, `male`, or as stated by the source |
/// | `flat_leads` | int16 | stored leads without any variation |
/// | `missing_samples` | int32 | samples that were missing in the file and were replaced |
/// | `entry` | int64? | index of the record in a file that holds many |
/// | `source_rate_hz` | float32? | sampling rate of the source in hertz |
/// | `source_samples` | int32? | samples per lead in the source |
/// | `signal_hash` | utf8? | 32 hex digits, equal for the same samples in any container ([`crate::signal_hash`]) |
/// | `annotation_samples` | list\<int32\> | annotations of the source, as sample indices of `signal` |
/// | `annotation_symbols` | list\<utf8\> | their codes (`N`, `V`, `+`, ...) |
/// | `annotation_leads` | list\<int16\> | row of the lead each belongs to, -1 for all |
/// | `annotation_notes` | list\<utf8\> | their texts, mostly empty |
/// | `quality_missing_leads` | int16? | bit mask, bit i for row i: leads without any value in the source |
/// | `quality_flat_leads` | int16? | bit mask: leads of the source without any variation |
/// | `quality_clipped_leads` | int16? | bit mask: leads that stay at their extreme values |
/// | `quality_limb_leads` | utf8? | whether the limb leads are consistent with their names (`as_named`, ...) |
/// | `quality_einthoven_mv` | float32? | root mean square deviation of the limb leads from their relations |
/// | `quality_noise_mv` | float32? | noise from sample to sample |
/// | `quality_baseline_mv` | float32? | baseline wander |
/// | `quality_powerline_mv` | float32? | mains interference of 50 or 60 Hz |
/// | `quality_amplitude_mv` | float32? | how far the signal goes from its median |
/// | `labels_<set>` | list\<int16\>? | class indices; null: the record is not part of that task |
/// | `report_<name>` | utf8? | further texts ([`StoreInfo::texts`]) |
/// | `value_<name>` | float32? | numbers about the record ([`StoreInfo::values`]) |
///
/// The quality columns are [`purkinje_signal::quality::Measures`] of the source's samples, before any filter, for the
/// leads of the store. A store of schema version 1 ends with `missing_samples` and its labels, one of version 2 lacks
/// `quality_amplitude_mv`.
pub fn arrow_schema(label_sets: &[LabelSet], texts: &[String], values: &[String]) -> SchemaRef {
    fields_of(usize::MAX, label_sets, texts, values)
}

/// The schema with the first `fixed` of the columns that every store has.
fn fields_of(
    fixed: usize,
    label_sets: &[LabelSet],
    texts: &[String],
    values: &[String],
) -> SchemaRef {
    let mut fields = fixed_fields();
    fields.truncate(fixed);
    fields.extend(label_fields(label_sets));
    let named = |prefix: &str, name: &String, data_type| {
        Field::new(format!("{prefix}{name}"), data_type, true)
    };
    fields.extend(texts.iter().map(|n| named(TEXT_PREFIX, n, DataType::Utf8)));
    fields.extend(
        values
            .iter()
            .map(|n| named(VALUE_PREFIX, n, DataType::Float32)),
    );
    Arc::new(Schema::new(fields))
}

/// The schema of the shards that `info` describes, whatever its version.
pub(crate) fn schema_of(info: &StoreInfo) -> SchemaRef {
    let named = (&*info.label_sets, &*info.texts, &*info.values);
    schema_of_version(info.schema_version, named)
}

/// The schema of a version, for these label sets, texts and values.
pub(crate) fn schema_of_version(
    version: u32,
    (label_sets, texts, values): (&[LabelSet], &[String], &[String]),
) -> SchemaRef {
    match version {
        1 => fields_of(COLUMNS_OF_VERSION_1, label_sets, &[], &[]),
        2 => fields_of(COLUMNS_OF_VERSION_2, label_sets, texts, values),
        _ => arrow_schema(label_sets, texts, values),
    }
}

/// Numbers of columns before the labels in earlier schema versions.
const COLUMNS_OF_VERSION_1: usize = 15;
const COLUMNS_OF_VERSION_2: usize = 31;

fn list_of(item: DataType) -> DataType {
    DataType::List(Arc::new(Field::new("item", item, false)))
}

fn fixed_fields() -> Vec<Field> {
    vec![
        Field::new("id", DataType::Utf8, false),
        Field::new("patient", DataType::Utf8, true),
        Field::new("source", DataType::Utf8, false),
        Field::new("split", DataType::Utf8, false),
        Field::new("fold", DataType::Int16, true),
        Field::new("gain_per_mv", DataType::Float32, false),
        Field::new("samples", DataType::Int32, false),
        Field::new("signal", list_of(DataType::Int16), false),
        Field::new("r_peaks", list_of(DataType::Int32), false),
        Field::new("beats_detected", DataType::Boolean, false),
        Field::new("report", DataType::Utf8, true),
        Field::new("age", DataType::Float32, true),
        Field::new("sex", DataType::Utf8, true),
        Field::new("flat_leads", DataType::Int16, false),
        Field::new("missing_samples", DataType::Int32, false),
        Field::new("entry", DataType::Int64, true),
        Field::new("source_rate_hz", DataType::Float32, true),
        Field::new("source_samples", DataType::Int32, true),
        Field::new("signal_hash", DataType::Utf8, true),
        Field::new("annotation_samples", list_of(DataType::Int32), false),
        Field::new("annotation_symbols", list_of(DataType::Utf8), false),
        Field::new("annotation_leads", list_of(DataType::Int16), false),
        Field::new("annotation_notes", list_of(DataType::Utf8), false),
        Field::new("quality_missing_leads", DataType::Int16, true),
        Field::new("quality_flat_leads", DataType::Int16, true),
        Field::new("quality_clipped_leads", DataType::Int16, true),
        Field::new("quality_limb_leads", DataType::Utf8, true),
        Field::new("quality_einthoven_mv", DataType::Float32, true),
        Field::new("quality_noise_mv", DataType::Float32, true),
        Field::new("quality_baseline_mv", DataType::Float32, true),
        Field::new("quality_powerline_mv", DataType::Float32, true),
        Field::new("quality_amplitude_mv", DataType::Float32, true),
    ]
}

fn label_fields(label_sets: &[LabelSet]) -> impl Iterator<Item = Field> {
    label_sets.iter().map(|set| {
        Field::new(
            format!("{LABEL_PREFIX}{}", set.name),
            list_of(DataType::Int16),
            true,
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn label_columns_follow_the_fixed_ones() {
        let sets = [LabelSet::from_names("rhythm", ["AFIB", "SR"])];
        let schema = arrow_schema(&sets, &["merged".to_owned()], &["death".to_owned()]);
        let names: Vec<&str> = schema.fields().iter().map(|f| f.name().as_str()).collect();
        assert_eq!(
            names[fixed_fields().len()..],
            ["labels_rhythm", "report_merged", "value_death"]
        );
        assert_eq!(
            fixed_fields()[COLUMNS_OF_VERSION_2].name(),
            "quality_amplitude_mv"
        );
        assert_eq!(sets[0].class_index("SR"), Some(1));
        assert_eq!(sets[0].class_index("XX"), None);
    }

    #[test]
    fn parts_are_read_in_every_spelling() {
        for (text, split) in [
            ("Train", Split::Train),
            ("validation ", Split::Val),
            ("dev", Split::Val),
            ("TEST", Split::Test),
            ("", Split::None),
        ] {
            assert_eq!(text.parse(), Ok(split));
        }
        assert!("fold1".parse::<Split>().is_err());
        for split in Split::ALL {
            assert_eq!(split.name().parse(), Ok(split));
        }
    }
}
