//! CODE-15% and the CODE test set as Zenodo publishes them.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::fs;
use std::path::{Path, PathBuf};

use purkinje_record::{LeadSet, Reader, RecordError};
use purkinje_store::{LabelSet, Split};

use super::exams::{ExamColumns, VALUES};
use super::mortality::{DEFAULT_HORIZON_YEARS, add_mortality};
use super::published::Whole;
use super::registry::{DataSet, of_preset};
use super::table::{Table, identifier};
use super::tracings::{TracingFiles, read_mat};
use super::{
    Catalogue, Fault, ImportError, Importer, Item, check_root, mark_repeated_ids, read_sex,
};

/// The six abnormalities in the order of `exams.csv`.
pub(super) const ABNORMALITIES: [&str; 6] = ["1dAVb", "RBBB", "LBBB", "SB", "ST", "AF"];

/// Exams and patients of CODE-15%.
const PUBLISHED_EXAMS: usize = 345_779;
const PUBLISHED_PATIENTS: usize = 233_770;

/// Exams of the test set.
const PUBLISHED_TEST_EXAMS: u64 = 827;

/// The tables of the test set and their label sets; the first is the gold standard.
const ANNOTATORS: [(&str, &str); 7] = [
    ("gold_standard", "abnormalities"),
    ("cardiologist1", "cardiologist1"),
    ("cardiologist2", "cardiologist2"),
    ("cardiology_residents", "cardiology_residents"),
    ("emergency_residents", "emergency_residents"),
    ("medical_students", "medical_students"),
    ("dnn", "dnn"),
];

/// Macro AUROC of the annotators against the gold standard over the abnormalities, by label set.
const PUBLISHED_AUC: [(&str, f64); 4] = [
    ("dnn", 0.966_00),
    ("cardiology_residents", 0.920_77),
    ("emergency_residents", 0.905_14),
    ("medical_students", 0.936_11),
];

/// Its entry in the table of data sets.
pub(super) const CODE_15: DataSet = DataSet {
    name: "code-15",
    about: "CODE-15%: 345,779 exams of 7 or 10 s, six abnormalities, mortality",
    preset: "clear",
    options: &["keep_padding", "horizon_years"],
    label_sets: &["abnormalities", "normal_ecg", "death", "death-2y"],
    splits: Vec::new,
    contract: of_preset,
    open: |set, root, options| {
        Ok(Box::new(Code15 {
            keep_padding: options.keep_padding,
            horizon_years: set.horizon_years(options)?,
            ..Code15::new(root)
        }))
    },
};

/// CODE-15%: `exams.csv` and the parts `exams_partN.hdf5`, in the same folder or one below.
///
/// Ids are `exam_id`s, in the order of the files. Label sets are `abnormalities` (1dAVb, RBBB, LBBB, SB, ST, AF),
/// `normal_ecg`, `death` (within the follow-up, however long it was) and `death-2y` (within two years; unlabelled if
/// right-censored before); values are `death` (0 or 1), `follow_up_years` and `predicted_age`, blank where the table is
/// blank. Samples are stored in units of 1e-4 V at 400 Hz, and zero padding around a tracing is removed. The order of
/// aVR, aVL and aVF is determined from the samples, by their relations to I and II. There are no published splits. An
/// exam that is in no HDF5 file is read from `tracings/code_15_ID.mat` if that exists.
pub struct Code15 {
    /// The folder of `exams.csv`.
    pub root: PathBuf,
    /// Keep the zero padding of tracings.
    pub keep_padding: bool,
    /// Horizon of `death-2y` in years, which is part of its name.
    pub horizon_years: f32,
    files: TracingFiles,
}

impl Code15 {
    /// CODE-15% in this folder, without padding.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Code15 {
            root: root.into(),
            keep_padding: false,
            horizon_years: DEFAULT_HORIZON_YEARS,
            files: TracingFiles::default(),
        }
    }
}

/// Where a tracing is: the number of its file, and its row there.
type Place = (usize, u64);

/// The tracings in the HDF5 files of a folder.
#[derive(Default)]
struct Tracings {
    files: Vec<PathBuf>,
    /// By the numbers of their exams.
    places: HashMap<i64, Place>,
    /// Why a file cannot be read, by its name.
    broken: HashMap<String, String>,
    rows: usize,
    /// Tracings of zeros that belong to no exam.
    fillers: usize,
    /// Tracings with the number of an earlier one.
    twice: usize,
}

impl Tracings {
    /// Every part ends with a tracing of zeros that belongs to no exam, number 0.
    fn add(&mut self, file: usize, exams: Vec<i64>) {
        self.rows += exams.len();
        for (row, exam) in (0..).zip(exams) {
            if exam == 0 {
                self.fillers += 1;
                continue;
            }
            match self.places.entry(exam) {
                Entry::Occupied(_) => self.twice += 1,
                Entry::Vacant(place) => {
                    place.insert((file, row));
                }
            }
        }
    }

    /// What is said of tracings that are left out, where the table names `named`.
    fn remarks(&self, named: usize) -> Vec<String> {
        let mut remarks = Vec::new();
        let rows = self.rows;
        let unnamed = rows.saturating_sub(self.fillers + self.twice + named);
        if unnamed > 0 {
            remarks.push(format!(
                "{unnamed} of {rows} tracings have no row in exams.csv and were left out"
            ));
        }
        if self.twice > 0 {
            remarks.push(format!(
                "{} tracings bear the number of an earlier one and were left out",
                self.twice
            ));
        }
        remarks
    }
}

impl Code15 {
    /// What the HDF5 files hold; what is unusual about them goes to `remarks`.
    fn tracings(&self, remarks: &mut Vec<String>) -> Result<Tracings, ImportError> {
        let mut found = Tracings {
            files: hdf5_files(&self.root)?,
            ..Tracings::default()
        };
        for file in 0..found.files.len() {
            let path = found.files[file].clone();
            match self.exams_of(&path, remarks) {
                Ok(exams) => found.add(file, exams),
                Err(error) => {
                    remarks.push(format!("{error}; its exams fail"));
                    found.broken.insert(file_name(&path), error.to_string());
                }
            }
        }
        Ok(found)
    }

    fn exams_of(&self, path: &Path, remarks: &mut Vec<String>) -> Result<Vec<i64>, RecordError> {
        let tracings = self.files.open(&self.root.join(path))?;
        remarks.extend(unusual_order(path, &tracings));
        tracings.ids()?.ok_or_else(|| RecordError::Content {
            path: path.to_owned(),
            field: "exam_id".to_owned(),
            found: "missing".to_owned(),
            expected: "the numbers of the exams; use the files that Zenodo publishes".to_owned(),
        })
    }

    /// Says where the tracing of an exam is, which should be in `file`; its place, if that is in an HDF5 file.
    fn locate(
        &self,
        item: &mut Item,
        exam: i64,
        file: Option<&str>,
        tracings: &Tracings,
    ) -> Option<Place> {
        if let Some(&place) = tracings.places.get(&exam) {
            item.path.clone_from(&tracings.files[place.0]);
            item.entry = Some(place.1);
            return Some(place);
        }
        let mat = ["tracings", ""]
            .map(|folder| PathBuf::from(folder).join(format!("code_15_{exam}.mat")));
        if let Some(path) = mat.into_iter().find(|path| self.root.join(path).is_file()) {
            item.path = path;
            return None;
        }
        let file = file.unwrap_or("exams_partN.hdf5");
        item.path = PathBuf::from(file);
        item.fault = Some(match tracings.broken.get(file) {
            Some(reason) => Fault::Invalid(reason.clone()),
            None => Fault::Missing(format!(
                "exams.csv names this exam, but none of the {} HDF5 files here holds it (it belongs into {file})",
                tracings.files.len()
            )),
        });
        None
    }
}

impl Importer for Code15 {
    fn catalogue(&self) -> Result<Catalogue, ImportError> {
        const ADVICE: &str = "Use the exams.csv that Zenodo publishes with CODE-15%.";
        check_root(&self.root)?;
        let table = Table::read(&self.root.join("exams.csv"))?;
        let columns = ExamColumns::find(&table, ADVICE)?;
        let patient = table.column("patient_id", ADVICE)?;
        let trace_file = table.find(&["trace_file"]);
        let mut remarks = Vec::new();
        let tracings = self.tracings(&mut remarks)?;
        let mut items: Vec<(Place, Item)> = Vec::with_capacity(table.rows.len());
        let mut named = 0;
        for row in &table.rows {
            let exam = columns.exam(&table, row)?;
            let mut item = Item {
                patient: row
                    .value(Some(patient))
                    .map(|cell| identifier(cell).to_owned()),
                labels: vec![
                    columns.abnormalities(&table, row, &ABNORMALITIES)?,
                    columns.normal(&table, row)?,
                    columns.death(&table, row)?,
                ],
                ..columns.item(&table, row)?
            };
            let place = self.locate(&mut item, exam, row.value(trace_file), &tracings);
            named += usize::from(place.is_some());
            items.push((place.unwrap_or((usize::MAX, 0)), item));
        }
        // In the order of the files, so that they are read sequentially; the rest in the order of the table.
        items.sort_by_key(|(place, _)| *place);
        let mut items: Vec<Item> = items.into_iter().map(|(_, item)| item).collect();
        mark_repeated_ids(&mut items);
        remarks.extend(tracings.remarks(named));
        let mut label_sets = vec![
            LabelSet::from_names("abnormalities", ABNORMALITIES),
            LabelSet::from_names("normal_ecg", ["normal_ecg"]),
            LabelSet::from_names("death", ["death"]),
        ];
        add_mortality(
            self.horizon_years,
            &mut items,
            &mut label_sets,
            &mut remarks,
        );
        if let Some(whole) = Whole::of(&items, PUBLISHED_EXAMS) {
            remarks.extend(whole.patients(PUBLISHED_PATIENTS).remarks());
        }
        Ok(Catalogue {
            name: "code-15".to_owned(),
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
        let path = catalogue.root.join(&item.path);
        let recording = match item.entry {
            Some(row) => self
                .files
                .open(&path)?
                .read(row, &item.id, leads, self.keep_padding),
            None => read_mat(&path, &item.id, leads),
        };
        recording.map(Reader::from)
    }
}

/// Its entry in the table of data sets.
pub(super) const CODE_TEST: DataSet = DataSet {
    name: "code-test",
    about: "CODE test set: 827 exams of 7 or 10 s, six abnormalities by several annotators",
    preset: "clear",
    options: &["keep_padding"],
    label_sets: &[
        "abnormalities",
        "cardiologist1",
        "cardiologist2",
        "cardiology_residents",
        "emergency_residents",
        "medical_students",
        "dnn",
    ],
    splits: Vec::new,
    contract: of_preset,
    open: |_, root, options| {
        Ok(Box::new(CodeTest {
            keep_padding: options.keep_padding,
            ..CodeTest::new(root)
        }))
    },
};

/// The CODE test set: `ecg_tracings.hdf5`, `attributes.csv` and the folder `annotations`, in `data` or the folder itself.
///
/// Ids are the positions of the tracings, from 0; all are test records, each of a different patient. The label set
/// `abnormalities` is the gold standard; those of the annotators (`cardiologist1`, `cardiologist2`,
/// `cardiology_residents`, `emergency_residents`, `medical_students`) and of the published network (`dnn`) have their
/// names. Columns are matched by name, since the tables have AF before ST and `exams.csv` of CODE-15% has it after.
pub struct CodeTest {
    /// The folder as unpacked.
    pub root: PathBuf,
    /// Keep the zero padding of tracings.
    pub keep_padding: bool,
    files: TracingFiles,
}

impl CodeTest {
    /// The test set in this folder, without padding.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        CodeTest {
            root: root.into(),
            keep_padding: false,
            files: TracingFiles::default(),
        }
    }
}

impl Importer for CodeTest {
    fn catalogue(&self) -> Result<Catalogue, ImportError> {
        const ADVICE: &str = "Use the tables of the CODE test set as Zenodo publishes them.";
        check_root(&self.root)?;
        let Some(folder) = ["data", ""]
            .into_iter()
            .map(PathBuf::from)
            .find(|folder| self.root.join(folder).join("ecg_tracings.hdf5").is_file())
        else {
            return Err(ImportError::Layout {
                path: self.root.clone(),
                expected: "data/ecg_tracings.hdf5 and data/annotations of the CODE test set (Zenodo 3765780)",
            });
        };
        let path = folder.join("ecg_tracings.hdf5");
        let tracings = self.files.open(&self.root.join(&path))?;
        let mut remarks: Vec<String> = unusual_order(&path, &tracings).into_iter().collect();
        let exams = tracings.exams;
        if exams != PUBLISHED_TEST_EXAMS {
            remarks.push(format!(
                "found {exams} tracings, published are {PUBLISHED_TEST_EXAMS}"
            ));
        }
        let mut items: Vec<Item> = (0..exams)
            .map(|row| Item {
                id: row.to_string(),
                path: path.clone(),
                entry: Some(row),
                split: Some(Split::Test),
                ..Item::default()
            })
            .collect();
        let rows_of = |name: &Path| -> Result<Option<Table>, ImportError> {
            let file = self.root.join(&folder).join(name);
            if !file.is_file() {
                return Ok(None);
            }
            let table = Table::read(&file)?;
            if table.rows.len() as u64 != exams {
                return Err(ImportError::Source {
                    path: file,
                    reason: format!(
                        "it has {} rows, expected one for each of the {exams} tracings, in the same order",
                        table.rows.len()
                    ),
                });
            }
            Ok(Some(table))
        };
        let mut label_sets = Vec::new();
        for (file, set) in ANNOTATORS {
            let file = Path::new("annotations").join(file).with_extension("csv");
            let Some(table) = rows_of(&file)? else {
                remarks.push(format!(
                    "`{}` does not exist, so there is no label set {set}",
                    file.display()
                ));
                continue;
            };
            let columns = ABNORMALITIES
                .iter()
                .map(|name| table.column(name, ADVICE))
                .collect::<Result<Vec<_>, _>>()?;
            label_sets.push(LabelSet::from_names(set, ABNORMALITIES));
            for (item, row) in items.iter_mut().zip(&table.rows) {
                item.labels
                    .push(super::exams::flagged(&table, row, &columns)?);
            }
        }
        if let Some(table) = rows_of(Path::new("attributes.csv"))? {
            let (age, sex) = (table.find(&["age"]), table.find(&["sex"]));
            for (item, row) in items.iter_mut().zip(&table.rows) {
                item.age = row.value(age).and_then(|cell| cell.parse().ok());
                item.sex = row.value(sex).and_then(read_sex);
            }
        }
        if exams == PUBLISHED_TEST_EXAMS {
            remarks.extend(unlike_published(&items, &label_sets));
        }
        Ok(Catalogue {
            name: "code-test".to_owned(),
            root: self.root.clone(),
            label_sets,
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

/// The annotators whose agreement with the gold standard differs from the published one, to five digits; exchanged
/// columns would show here.
fn unlike_published(items: &[Item], label_sets: &[LabelSet]) -> Vec<String> {
    let place = |name: &str| label_sets.iter().position(|set| set.name == name);
    let Some(gold) = place(ANNOTATORS[0].1) else {
        return Vec::new();
    };
    PUBLISHED_AUC
        .into_iter()
        .filter_map(|(name, published)| {
            let found = mean_auc(items, gold, place(name)?)?;
            ((found - published).abs() > 6e-6).then(|| {
                format!(
                    "the data set is complete, but the macro AUROC of {name} against the gold standard is {found:.5} instead of the published {published:.5}"
                )
            })
        })
        .collect()
}

/// Mean over the abnormalities of (sensitivity + specificity) / 2, which is the AUROC of binary labels. `None` where an
/// abnormality is in no record or in all.
fn mean_auc(items: &[Item], gold: usize, own: usize) -> Option<f64> {
    let mut sum = 0.0;
    for class in (0i16..).take(ABNORMALITIES.len()) {
        let carries = |item: &Item, set: usize| matches!(item.labels.get(set), Some(Some(labels)) if labels.contains(&class));
        let mut counts = [[0usize; 2]; 2];
        for item in items {
            counts[usize::from(carries(item, gold))][usize::from(carries(item, own))] += 1;
        }
        let share = |right: usize, wrong: usize| {
            (right + wrong > 0).then(|| right as f64 / (right + wrong) as f64)
        };
        let [[rejected, false_alarm], [overlooked, found]] = counts;
        sum += (share(found, overlooked)? + share(rejected, false_alarm)?) / 2.0;
    }
    Some(sum / ABNORMALITIES.len() as f64)
}

/// A warning about the order of leads, where the samples show another one than aVR, aVL, aVF or do not determine it.
pub(super) fn unusual_order(path: &Path, tracings: &super::tracings::Tracings) -> Option<String> {
    if !tracings.told {
        return Some(format!(
            "`{}`: the order of aVR, aVL and aVF cannot be determined from the samples; this order is assumed",
            path.display()
        ));
    }
    (tracings.leads != LeadSet::standard_12()).then(|| {
        format!(
            "`{}`: by their relation to I and II, the leads are in the order {}; they are stored under these names",
            path.display(),
            tracings.leads
        )
    })
}

/// The HDF5 files of a folder and of its direct subfolders, relative to it, sorted by the numbers in their names.
fn hdf5_files(root: &Path) -> Result<Vec<PathBuf>, ImportError> {
    let mut files = Vec::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        let io = |source| ImportError::Io {
            path: root.join(&folder),
            source,
        };
        for entry in fs::read_dir(root.join(&folder)).map_err(io)? {
            let entry = entry.map_err(io)?;
            let path = folder.join(entry.file_name());
            let kind = entry.path();
            if kind.is_dir() && folder.as_os_str().is_empty() {
                folders.push(path);
            } else if kind.is_file()
                && path
                    .extension()
                    .is_some_and(|e| e.eq_ignore_ascii_case("hdf5") || e.eq_ignore_ascii_case("h5"))
            {
                files.push(path);
            }
        }
    }
    files.sort_by_cached_key(|path| {
        let name = file_name(path);
        let digits: String = name.chars().filter(char::is_ascii_digit).collect();
        (digits.parse::<u64>().unwrap_or(0), path.clone())
    });
    Ok(files)
}

fn file_name(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_agreement_of_annotators_is_compared() {
        let sets: Vec<LabelSet> = ["abnormalities", "dnn"]
            .into_iter()
            .map(|name| LabelSet::from_names(name, ABNORMALITIES))
            .collect();
        // 500 records with every abnormality and 500 without; the network overlooks 34.
        let all: Vec<i16> = (0..6).collect();
        let mut items: Vec<Item> = (0..1000)
            .map(|row| Item {
                labels: vec![
                    Some(if row < 500 { all.clone() } else { vec![] }),
                    Some(if (34..500).contains(&row) {
                        all.clone()
                    } else {
                        vec![]
                    }),
                ],
                ..Item::default()
            })
            .collect();
        assert!((mean_auc(&items, 0, 1).unwrap() - 0.966).abs() < 1e-12);
        assert_eq!(unlike_published(&items, &sets), Vec::<String>::new());
        // One false alarm for one of the six.
        items[700].labels[1] = Some(vec![5]);
        let remarks = unlike_published(&items, &sets);
        assert!(
            remarks.len() == 1 && remarks[0].contains("0.96583 instead of the published 0.96600"),
            "{remarks:?}"
        );
        for item in &mut items {
            item.labels[0] = Some(vec![]);
        }
        assert_eq!(mean_auc(&items, 0, 1), None);
        assert_eq!(unlike_published(&items, &sets), Vec::<String>::new());
    }
}
