//! Sources of records: a source gives a [`Catalogue`] of [`Item`]s.
//!
//! The sources (folders and published data sets) are in the crate `purkinje-datasets`; a new one is a type that
//! implements [`Importer`].

mod error;

use std::ops::Range;
use std::path::{Path, PathBuf};

use purkinje_record::{LeadChoice, LeadSet, OpenOptions, Reader, RecordError, Recording};
use serde::Serialize;

pub use crate::outcome::portable;
use crate::schema::{LabelSet, Split};
pub use error::ImportError;

/// A source of records.
pub trait Importer: Sync {
    /// Lists the records. The same files give the same list in the same order.
    ///
    /// # Errors
    /// [`ImportError`] if the source as a whole cannot be used. Errors of a single record are in its [`Item::fault`].
    fn catalogue(&self) -> Result<Catalogue, ImportError>;

    /// Opens the record of `item`, with the leads `leads` only, in that order.
    ///
    /// # Errors
    /// [`RecordError`] with a message about the file.
    fn open(
        &self,
        catalogue: &Catalogue,
        item: &Item,
        leads: &LeadSet,
    ) -> Result<Reader, RecordError> {
        let options = OpenOptions {
            leads: LeadChoice::Named(leads.clone()),
            keep_digital: true,
            ..OpenOptions::default()
        };
        Reader::open(catalogue.root.join(&item.path), &options)
    }
}

/// Whole records of any source.
pub trait ReadWhole: Importer {
    /// Reads all of the record of `item`, with the leads `leads` only, in that order.
    ///
    /// # Errors
    /// As [`open`](Importer::open).
    fn read(
        &self,
        catalogue: &Catalogue,
        item: &Item,
        leads: &LeadSet,
    ) -> Result<Recording, RecordError> {
        let reader = self.open(catalogue, item, leads)?;
        reader
            .read(&(0..reader.len()))
            .map(std::borrow::Cow::into_owned)
    }
}

impl<T: Importer + ?Sized> ReadWhole for T {}

/// All records of a source.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Catalogue {
    /// Name of the source (`ptb-xl`, `folder`).
    pub name: String,
    /// The folder that paths are relative to.
    pub root: PathBuf,
    /// The label sets the items refer to.
    pub label_sets: Vec<LabelSet>,
    /// Names of further texts of the records beside [`Item::report`] (such as reports processed in other ways).
    pub texts: Vec<String>,
    /// Names of numbers about the records, with their units (`death`, `follow_up_years`, `rr_interval_ms`).
    pub values: Vec<String>,
    /// How the records are read, where that differs from what is usual and so changes the rows.
    pub reading: Option<String>,
    /// The records in the order in which they are stored.
    pub items: Vec<Item>,
    /// Notes to the user about the source as a whole.
    pub remarks: Vec<String>,
}

/// One record of a source, before it is read.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Item {
    /// Name, unique in the source.
    pub id: String,
    /// File, relative to [`Catalogue::root`], as [`purkinje_record::open`] takes it.
    #[serde(serialize_with = "as_portable")]
    pub path: PathBuf,
    /// Number of the recording in the source, from 1, as [`crate::prepare()`] sets it.
    #[serde(skip)]
    pub number: usize,
    /// Index of the record in a file that holds many (row of an HDF5 data set).
    pub entry: Option<u64>,
    /// The window of the recording that it is, in samples; `None` for what the contract takes of the recording.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<Range<usize>>,
    /// Patient, if the source states it.
    pub patient: Option<String>,
    /// Split, if the source states it.
    pub split: Option<Split>,
    /// Fold of a published cross-validation.
    pub fold: Option<i16>,
    /// For every label set, the classes of the record; `None`: it is not part of that task.
    /// Empty for a record without any label.
    pub labels: Vec<Option<Vec<i16>>>,
    /// Report text.
    pub report: Option<String>,
    /// The texts of [`Catalogue::texts`]; empty if there are none.
    pub texts: Vec<Option<String>>,
    /// The numbers of [`Catalogue::values`]; empty if there are none.
    pub values: Vec<Option<f32>>,
    /// Age in years, as stated by the source.
    pub age: Option<f32>,
    /// `female`, `male`, or as stated by the source.
    pub sex: Option<String>,
    /// Why the record cannot be stored, if this is known before reading.
    pub fault: Option<Fault>,
}

/// A fault known before a record is read.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub enum Fault {
    /// A table lists the record, but there is no file. A message.
    Missing(String),
    /// The record contradicts another record or its table. A message.
    Invalid(String),
}

fn as_portable<S: serde::Serializer>(path: &Path, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&portable(path))
}

/// Sets a fault for every item whose id was used before.
pub fn mark_repeated_ids(items: &mut [Item]) {
    let mut first = std::collections::HashMap::<&str, usize>::with_capacity(items.len());
    let mut repeated = Vec::new();
    for (index, item) in items.iter().enumerate() {
        match first.get(item.id.as_str()) {
            None => {
                first.insert(&item.id, index);
            }
            // A missing file is the more useful message.
            Some(_) if item.fault.is_some() => {}
            Some(&earlier) => repeated.push((index, earlier)),
        }
    }
    for (index, earlier) in repeated {
        let reason = format!(
            "the id `{}` is already used by `{}`; give every record a unique id",
            items[index].id,
            items[earlier].path.display()
        );
        items[index].fault = Some(Fault::Invalid(reason));
    }
}
