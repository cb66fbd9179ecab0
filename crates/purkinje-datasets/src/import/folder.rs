//! Any folder of records, with an optional table about them.

use std::collections::HashSet;
use std::path::PathBuf;

use purkinje_record::{LeadChoice, LeadSet, OpenOptions, Reader, RecordError};
use purkinje_store::source::portable;
use rayon::prelude::*;

use super::label_table::{LabelTable, join};
use super::registry::{DataSet, of_preset};
use super::{Catalogue, ImportError, Importer, Item, check_root, mark_repeated_ids};

/// Its entry in the table of data sets.
pub(super) const DATA_SET: DataSet = DataSet {
    name: "folder",
    about: "any folder of recordings in any supported format, with an optional table about them",
    preset: "clear",
    options: &["table", "patient_salt", "input"],
    label_sets: &[],
    splits: Vec::new,
    contract: of_preset,
    open: |_, root, options| {
        Ok(Box::new(Folder {
            table: options.table.clone(),
            patient_salt: options.patient_salt.clone(),
            input: options.input.clone().unwrap_or_default(),
            ..Folder::new(root)
        }))
    },
};

/// A folder of records at any depth, in every format that [`purkinje_record::open`] reads.
///
/// The id of a record is its path below the folder, without extension (`a/b/rec1`), unless the table gives it another.
/// Records without a row in the table are kept without labels; rows without a record are reported by name. Age, sex and
/// report in a file are stored where the table does not state them.
#[derive(Clone, Debug, PartialEq)]
pub struct Folder {
    /// The folder.
    pub root: PathBuf,
    /// Labels, patients, splits and reports.
    pub table: Option<LabelTable>,
    /// With a salt, salted hashes of the patient identifiers in DICOM, EDF, SCP-ECG and XML files tell patients apart where the
    /// table does not name them; every such file is opened once more to read the identifier. Without a salt they are
    /// dropped.
    pub patient_salt: Option<String>,
    /// What files leave open, and how they are read; leads and patient are not taken from it.
    pub input: OpenOptions,
}

impl Folder {
    /// A folder without a table.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Folder {
            root: root.into(),
            table: None,
            patient_salt: None,
            input: OpenOptions::default(),
        }
    }
}

impl Importer for Folder {
    fn catalogue(&self) -> Result<Catalogue, ImportError> {
        check_root(&self.root)?;
        let mut found = purkinje_record::find_records(&self.root)?;
        if let Some(table) = &self.table {
            let table = table.path.canonicalize().ok();
            let records = &mut found.records;
            records.retain(|file| table.is_none() || file.canonicalize().ok() != table);
        }
        let mut items: Vec<Item> = found
            .records
            .iter()
            .map(|file| {
                let path = file.strip_prefix(&self.root).unwrap_or(file).to_owned();
                Item {
                    id: portable(&path.with_extension("")),
                    path,
                    ..Item::default()
                }
            })
            .collect();
        let mut remarks = Vec::new();
        let label_sets = match &self.table {
            Some(table) => join(table, &self.root, &mut items, &mut remarks)?,
            None => Vec::new(),
        };
        let named: HashSet<PathBuf> = items[found.records.len()..]
            .iter()
            .map(|item| self.root.join(&item.path))
            .collect();
        found.passed_over.retain(|path| !named.contains(path));
        if let Some(kinds) = found.passed_over_in_words() {
            remarks.push(format!(
                "files below `{}` that are no recordings were passed over: {kinds}",
                self.root.display()
            ));
        }
        if items.is_empty() {
            return Err(ImportError::NoRecords {
                path: self.root.clone(),
            });
        }
        remarks.extend(self.name_patients(&mut items));
        mark_repeated_ids(&mut items);
        Ok(Catalogue {
            name: "folder".to_owned(),
            root: self.root.clone(),
            label_sets,
            values: self
                .table
                .as_ref()
                .map(|table| table.columns.values.clone())
                .unwrap_or_default(),
            items,
            remarks,
            reading: (self.input != OpenOptions::default()).then(|| format!("{:?}", self.input)),
            ..Catalogue::default()
        })
    }

    fn open(
        &self,
        catalogue: &Catalogue,
        item: &Item,
        leads: &LeadSet,
    ) -> Result<Reader, RecordError> {
        let options = OpenOptions {
            leads: LeadChoice::Named(leads.clone()),
            keep_digital: true,
            ..self.input.clone()
        };
        Reader::open(catalogue.root.join(&item.path), &options)
    }
}

impl Folder {
    /// Sets the patient of records without one from their files, if there is a salt; otherwise returns a note that
    /// files may name patients.
    fn name_patients(&self, items: &mut [Item]) -> Option<String> {
        let mut unnamed: Vec<&mut Item> = items
            .iter_mut()
            .filter(|item| item.patient.is_none() && item.fault.is_none())
            .filter(|item| purkinje_record::may_name_a_patient(&item.path))
            .collect();
        if unnamed.is_empty() {
            return None;
        }
        let Some(salt) = &self.patient_salt else {
            return Some(format!(
                "{} files in formats that name patients (DICOM, EDF, SCP-ECG, XML) have no patient in a table; each counts as a separate patient. Give `--patient-salt` to keep the records of a patient in one split",
                unnamed.len()
            ));
        };
        let options = OpenOptions {
            leads: LeadChoice::Voltages,
            verify: false,
            patient_salt: Some(salt.clone()),
            ..self.input.clone()
        };
        unnamed.par_iter_mut().for_each(|item| {
            // A file that cannot be read fails with its reason when it is stored.
            if let Ok(recording) = purkinje_record::open(self.root.join(&item.path), &options) {
                item.patient = recording.patient;
            }
        });
        let nameless = unnamed.iter().filter(|item| item.patient.is_none()).count();
        (nameless > 0).then(|| {
            format!(
                "{nameless} of {} DICOM, EDF, SCP-ECG and XML files name no patient; each counts as a separate patient",
                unnamed.len()
            )
        })
    }
}
