//! SaMi-Trop as Zenodo publishes it.

use std::collections::HashMap;
use std::path::PathBuf;

use purkinje_record::{LeadSet, Reader, RecordError};
use purkinje_store::LabelSet;

use super::code::unusual_order;
use super::exams::{ExamColumns, VALUES};
use super::hubert;
use super::mortality::{DEFAULT_HORIZON_YEARS, add_mortality};
use super::published::Whole;
use super::registry::{DataSet, of_preset, owned};
use super::table::Table;
use super::tracings::TracingFiles;
use super::{Catalogue, ImportError, Importer, Item, check_root, mark_repeated_ids};

/// Exams of the complete set.
const PUBLISHED_EXAMS: usize = 1631;

/// Its entry in the table of data sets.
pub(super) const DATA_SET: DataSet = DataSet {
    name: "sami-trop",
    about: "SaMi-Trop: 1,631 exams of patients with Chagas disease, mortality",
    preset: "clear",
    options: &["split", "keep_padding", "horizon_years"],
    label_sets: &["death", "normal_ecg", "death-2y"],
    splits: || owned(&hubert::SPLITS),
    contract: of_preset,
    open: |set, root, options| {
        Ok(Box::new(SamiTrop {
            keep_padding: options.keep_padding,
            horizon_years: set.horizon_years(options)?,
            hubert_fold: options.split.as_deref().and_then(hubert::fold_of),
            ..SamiTrop::new(root)
        }))
    },
};

/// SaMi-Trop: `exams.csv` and `exams.hdf5`, ECGs of patients with chronic Chagas disease.
///
/// Ids are `exam_id`s. The label set `death` is whether the patient died within the follow-up, however long it was,
/// `death-2y` whether within two years (unlabelled if right-censored before), `normal_ecg` whether the ECG was
/// classified as normal; values are `death`, `follow_up_years` and `predicted_age`. Rows of the table and tracings are
/// matched by order, or by `exam_id` where the HDF5 file has it. Unit, rate, padding and leads as in CODE-15%.
pub struct SamiTrop {
    /// The folder of `exams.csv`.
    pub root: PathBuf,
    /// Keep the zero padding of tracings.
    pub keep_padding: bool,
    /// Fold of HuBERT-ECG whose splits are used, 0 to 3 (train and test only); if absent, exams are split at random.
    pub hubert_fold: Option<usize>,
    /// Horizon of `death-2y` in years, which is part of its name.
    pub horizon_years: f32,
    files: TracingFiles,
}

impl SamiTrop {
    /// SaMi-Trop in this folder, without splits and padding.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        SamiTrop {
            root: root.into(),
            keep_padding: false,
            hubert_fold: None,
            horizon_years: DEFAULT_HORIZON_YEARS,
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
                    "it has {} tracings, expected one for each of the {} rows of exams.csv, in the same order",
                    tracings.exams,
                    table.rows.len()
                ),
            });
        }
        let places = ids.as_ref().map(|ids| {
            let mut places = HashMap::with_capacity(ids.len());
            for (place, id) in (0u64..).zip(ids) {
                places.entry(*id).or_insert(place);
            }
            places
        });
        let mut items = Vec::with_capacity(table.rows.len());
        for (position, row) in (0u64..).zip(&table.rows) {
            let exam = columns.exam(&table, row)?;
            let entry = match &places {
                None => Some(position),
                Some(places) => places.get(&exam).copied(),
            };
            items.push(Item {
                path: path.clone(),
                entry,
                labels: vec![columns.death(&table, row)?, columns.normal(&table, row)?],
                fault: entry.is_none().then(|| {
                    super::Fault::Missing(format!(
                        "exams.csv lists exam {exam}, but it is not in exams.hdf5"
                    ))
                }),
                ..columns.item(&table, row)?
            });
        }
        mark_repeated_ids(&mut items);
        let mut remarks: Vec<String> = unusual_order(&path, &tracings).into_iter().collect();
        let name = |item: &Item| split_name(item);
        remarks.extend(unlike_published(&items));
        let mut label_sets = vec![
            LabelSet::from_names("death", ["death"]),
            LabelSet::from_names("normal_ecg", ["normal_ecg"]),
        ];
        add_mortality(
            self.horizon_years,
            &mut items,
            &mut label_sets,
            &mut remarks,
        );
        if let Some(fold) = self.hubert_fold {
            remarks.extend(hubert::divide("sami-trop", fold, &mut items, name)?);
        }
        Ok(Catalogue {
            name: "sami-trop".to_owned(),
            root: self.root.clone(),
            label_sets,
            values: VALUES.map(str::to_owned).to_vec(),
            items,
            remarks,
            ..Catalogue::default()
        })
    }

    fn open(
        &self,
        catalogue: &Catalogue,
        item: &Item,
        leads: &LeadSet,
    ) -> Result<Reader, RecordError> {
        let file = self.files.open(&catalogue.root.join(&item.path))?;
        file.read(item.entry.unwrap_or(0), &item.id, leads, self.keep_padding)
            .map(Reader::from)
    }
}

/// The name of an exam in HuBERT-ECG's tables.
fn split_name(item: &Item) -> String {
    format!("samitrop_{}", item.id)
}

/// Differences from the numbers of HuBERT-ECG's test split; the test splits of its folds have equal size and are
/// stratified by death.
fn unlike_published(items: &[Item]) -> Vec<String> {
    let Some(whole) = Whole::of(items, PUBLISHED_EXAMS) else {
        return Vec::new();
    };
    let test = hubert::test_part("sami-trop", 0);
    let here = |item: &Item| test.contains(split_name(item).as_str());
    let classes = LabelSet::from_names("death", ["death"]).classes;
    whole
        .records("exams of HuBERT-ECG's test split", test.len(), here)
        .positives(
            "HuBERT-ECG's test split",
            0,
            &classes,
            &[hubert::SAMI_TROP_DEATHS],
            here,
        )
        .remarks()
}

#[cfg(test)]
mod tests {
    use super::super::published_splits::published_split;
    use super::*;

    #[test]
    fn the_whole_set_is_compared_with_the_published_deaths() {
        let exams = published_split("sami-trop", "hubert-0").unwrap();
        let test = hubert::test_part("sami-trop", 0);
        let mut died = 0;
        let mut items: Vec<Item> = exams
            .keys()
            .map(|name| {
                let dead = test.contains(name) && died < hubert::SAMI_TROP_DEATHS;
                died += usize::from(dead);
                Item {
                    id: name.trim_start_matches("samitrop_").to_owned(),
                    labels: vec![Some(if dead { vec![0] } else { vec![] })],
                    ..Item::default()
                }
            })
            .collect();
        assert_eq!(unlike_published(&items), Vec::<String>::new());
        for item in &mut items {
            item.labels = vec![Some(vec![])];
        }
        let remarks = unlike_published(&items);
        assert!(remarks[0].ends_with("death 0 instead of 10"), "{remarks:?}");
        items[0].id = "other".to_owned();
        items.pop();
        assert_eq!(unlike_published(&items), Vec::<String>::new());
    }
}
