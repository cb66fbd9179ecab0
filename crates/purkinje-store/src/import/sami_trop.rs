//! SaMi-Trop as Zenodo publishes it.

use std::path::PathBuf;

use purkinje_record::{LeadSet, RecordError, Recording};

use super::code::unusual_order;
use super::error::ImportError;
use super::exams::{ExamColumns, VALUES};
use super::hubert;
use super::published::positives;
use super::table::Table;
use super::tracings::TracingFiles;
use super::{Catalogue, Importer, Item, check_root, mark_repeated_ids};
use crate::schema::{LabelSet, Split};

/// Exams of the complete set.
const PUBLISHED_EXAMS: usize = 1631;

/// SaMi-Trop: `exams.csv` and `exams.hdf5`, ECGs of patients with chronic Chagas disease.
///
/// Ids are `exam_id`s. The label set `death` is whether the patient died within the follow-up, `normal_ecg` whether the ECG is
/// called normal; values are `death`, `follow_up_years` and `predicted_age`. Rows of the table and tracings belong together by
/// their order, or by `exam_id` where the HDF5 file has it. Unit, rate, padding and leads as in CODE-15%.
pub struct SamiTrop {
    /// The folder of `exams.csv`.
    pub root: PathBuf,
    /// Keep the zeros around tracings.
    pub keep_padding: bool,
    /// Fold of HuBERT-ECG whose parts are taken, 0 to 3 (train and test only); without, exams are divided at random.
    pub hubert_fold: Option<usize>,
    files: TracingFiles,
}

impl SamiTrop {
    /// SaMi-Trop in this folder, without parts and without the zeros around tracings.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        SamiTrop {
            root: root.into(),
            keep_padding: false,
            hubert_fold: None,
            files: TracingFiles::default(),
        }
    }
}

impl Importer for SamiTrop {
    fn catalogue(&self) -> Result<Catalogue, ImportError> {
        const ADVICE: &str = "Use the exams.csv that Zenodo publishes with SaMi-Trop.";
        check_root(&self.root)?;
        let table = Table::read(&self.root.join("exams.csv"))?;
        let columns = ExamColumns::find(&table, ADVICE)?;
        let path = PathBuf::from("exams.hdf5");
        let file = self.root.join(&path);
        if !file.is_file() {
            return Err(ImportError::Layout {
                path: self.root.clone(),
                expected: "exams.csv and exams.hdf5 of SaMi-Trop (unpack exams.zip)",
            });
        }
        let tracings = self.files.open(&file)?;
        let ids = tracings.ids()?;
        if ids.is_none() && table.rows.len() as u64 != tracings.exams {
            return Err(ImportError::Source {
                path: file,
                reason: format!(
                    "it has {} tracings for the {} rows of exams.csv; they belong together by their order",
                    tracings.exams,
                    table.rows.len()
                ),
            });
        }
        let mut items = Vec::with_capacity(table.rows.len());
        for (position, row) in (0u64..).zip(&table.rows) {
            let exam = columns.exam(&table, row)?;
            let entry = match &ids {
                None => Some(position),
                Some(ids) => (0..)
                    .zip(ids)
                    .find(|(_, id)| **id == exam)
                    .map(|(at, _)| at),
            };
            items.push(Item {
                path: path.clone(),
                entry,
                labels: vec![columns.death(&table, row)?, columns.normal(&table, row)?],
                fault: entry.is_none().then(|| {
                    super::Fault::Missing(format!(
                        "exams.csv names exam {exam}, but exams.hdf5 does not hold it"
                    ))
                }),
                ..columns.item(&table, row)?
            });
        }
        mark_repeated_ids(&mut items);
        let mut remarks: Vec<String> = unusual_order(&path, &tracings).into_iter().collect();
        let name = |item: &Item| format!("samitrop_{}", item.id);
        if items.len() == PUBLISHED_EXAMS {
            let mut test = items.clone();
            hubert::divide("sami-trop", 0, &mut test, name)?;
            let deaths = positives(&test, 0, 1, Some(Split::Test))[0];
            if deaths != hubert::SAMI_TROP_DEATHS {
                remarks.push(format!(
                    "the set is complete, but {deaths} patients of the test part of hubert-0 died instead of the published {}",
                    hubert::SAMI_TROP_DEATHS
                ));
            }
        }
        if let Some(fold) = self.hubert_fold {
            remarks.extend(hubert::divide("sami-trop", fold, &mut items, name)?);
        }
        Ok(Catalogue {
            name: "sami-trop".to_owned(),
            root: self.root.clone(),
            label_sets: vec![
                LabelSet::from_names("death", ["death"]),
                LabelSet::from_names("normal_ecg", ["normal_ecg"]),
            ],
            values: VALUES.map(str::to_owned).to_vec(),
            items,
            remarks,
            ..Catalogue::default()
        })
    }

    fn read(
        &self,
        catalogue: &Catalogue,
        item: &Item,
        leads: &LeadSet,
    ) -> Result<Recording, RecordError> {
        let file = self.files.open(&catalogue.root.join(&item.path))?;
        file.read(item.entry.unwrap_or(0), &item.id, leads, self.keep_padding)
    }
}
