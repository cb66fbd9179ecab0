//! MIMIC-IV-ECG 1.0 in its published layout.

use std::collections::HashMap;
use std::fs::File;
use std::io::BufReader;
use std::path::{Path, PathBuf};

use csv::ByteRecord;
use purkinje_base::legacy_random::train_test_split;
use purkinje_record::{Lead, LeadSet};
use purkinje_store::Split;
use rayon::prelude::*;

use super::mimic_reports::{
    DERI_MIN_WORDS, clean_report, d_beta_released_report, d_beta_report, deri_report, is_missing,
};
use super::published::Whole;
use super::published_splits::unknown_split;
use super::registry::{DataSet, of_preset, owned};
use super::{Catalogue, Fault, ImportError, Importer, Item, check_root, mark_repeated_ids};

/// Rows of the complete list of records.
const PUBLISHED_RECORDS: usize = 800_035;

/// Patients in the complete list (as D-BETA's publication counts them).
const PUBLISHED_PATIENTS: usize = 161_352;

/// Studies of the complete tables with a report of at least [`DERI_MIN_WORDS`] words.
const PUBLISHED_DERI_STUDIES: usize = 771_693;

/// Their numbers in train, val and test.
const PUBLISHED_DERI_PARTS: [usize; 3] = [756_259, 15_434, 0];

/// Training records of CLEAR-HUG when no file is missing, and how many of them are in batch 1, which its pre-training leaves out.
const PUBLISHED_CLEAR_HUG: (usize, usize) = (629_941, 90_090);

/// Records that CLEAR-HUG's program prepares and splits together.
const CLEAR_HUG_BATCH: usize = 100_100;

/// The value for a measurement that the machine could not make.
const MISSING_MEASUREMENT: f32 = 29_999.0;

/// Report columns of `machine_measurements.csv`.
const REPORT_COLUMNS: usize = 18;

/// Largest number of studies, and of distinct reports, that is read: eight times those of version 1.0.
pub const MAX_STUDIES: usize = 6_400_000;

/// Measurements and the columns they are stored as.
const MEASUREMENTS: [(&str, &str); 9] = [
    ("rr_interval", "rr_interval_ms"),
    ("p_onset", "p_onset_ms"),
    ("p_end", "p_end_ms"),
    ("qrs_onset", "qrs_onset_ms"),
    ("qrs_end", "qrs_end_ms"),
    ("t_end", "t_end_ms"),
    ("p_axis", "p_axis_deg"),
    ("qrs_axis", "qrs_axis_deg"),
    ("t_axis", "t_axis_deg"),
];

/// Its entry in the table of data sets.
pub(super) const DATA_SET: DataSet = DataSet {
    name: "mimic-iv-ecg",
    about: "MIMIC-IV-ECG 1.0: 800,035 records of 10 s with machine reports",
    preset: "clear-mimic",
    options: &["split", "min_report_words"],
    label_sets: &[],
    splits: || owned(&MimicIvEcg::SPLITS),
    contract: of_preset,
    open: |_, root, options| {
        Ok(Box::new(MimicIvEcg {
            split: options.split.clone(),
            min_report_words: options.min_report_words.unwrap_or(0),
            ..MimicIvEcg::new(root)
        }))
    },
};

/// MIMIC-IV-ECG 1.0: `record_list.csv`, `machine_measurements.csv`, `files/` and, if present,
/// `waveform_note_links.csv`.
///
/// 800,035 records of 10 s at 500 Hz. Ids are study ids, patients subject ids. The report is the machine's, cleaned
/// ([`clean_report`](super::clean_report)); the texts `d-beta`, `d-beta-released` and `deri` are the same lines
/// processed by each system's rules, `note_id` links to the cardiologist's report, `ecg_time` is the shifted time.
/// Numbers: the machine's measurements with their units (29999, "not measured", is stored as missing), and
/// `report_words`, the number of words of the report as DERI counts them. There are no labels.
///
/// The headers name the leads in the order I, II, III, aVR, **aVF, aVL**, V1 .. V6 ([`MimicIvEcg::file_leads`]). Leads
/// are always identified by name.
#[derive(Clone, Debug, PartialEq)]
pub struct MimicIvEcg {
    /// The folder of `record_list.csv`.
    pub root: PathBuf,
    /// A published split, by record instead of by patient: `deri` or `clear-hug` (see
    /// [`MimicIvEcg::SPLITS`]). `None`: the source states no splits, so that records are split by patient.
    pub split: Option<String>,
    /// Fewest words of a report, as DERI counts them, for a study to be listed at all.
    pub min_report_words: usize,
}

impl MimicIvEcg {
    /// The published splits.
    ///
    /// - `deri`: the studies with at least four words of report, in the order of the list; 2 % of them are validation, drawn by
    ///   NumPy's legacy generator with seed 42. The other studies are in no split.
    /// - `clear-hug`: batches of 100,100 present records, in the order of the list; 10 % of each are validation, seed 0.
    ///   The batch is stored as `fold`, from 0: the published pre-training leaves out batch 1.
    pub const SPLITS: [&'static str; 2] = ["deri", "clear-hug"];

    /// All records, split by patient.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        MimicIvEcg {
            root: root.into(),
            split: None,
            min_report_words: 0,
        }
    }

    /// The leads of every file, in their order: aVF comes before aVL. D-BETA's and DERI's networks expect this order.
    pub fn file_leads() -> LeadSet {
        let mut leads = Lead::STANDARD_12.to_vec();
        leads.swap(4, 5);
        LeadSet::new(leads)
    }
}

impl Importer for MimicIvEcg {
    fn catalogue(&self) -> Result<Catalogue, ImportError> {
        check_root(&self.root)?;
        if let Some(split) = &self.split
            && !Self::SPLITS.contains(&split.as_str())
        {
            return Err(unknown_split("mimic-iv-ecg", split, Self::SPLITS.to_vec()));
        }
        let machine = Machine::read(&self.root.join("machine_measurements.csv"))?;
        let notes = Notes::read(&self.root.join("waveform_note_links.csv"))?;
        let mut list = Rows::open(&self.root.join("record_list.csv"))?;
        let subject = list.column("subject_id")?;
        let study = list.column("study_id")?;
        let time = list.column("ecg_time")?;
        let path = list.column("path")?;
        let mut items = Vec::new();
        let mut unmeasured = 0usize;
        let mut remarks = Vec::new();
        while let Some(row) = list.next()? {
            let study_id = row.whole(study)?;
            let path = row.text(path).trim().to_owned();
            if path.is_empty() {
                return Err(row.error("the path is blank, expected the path of the record"));
            }
            let time = row.text(time).trim().to_owned();
            let measured = machine.study(study_id);
            unmeasured += usize::from(measured.is_none());
            let mut item = Item {
                id: study_id.to_string(),
                path: PathBuf::from(path),
                patient: Some(row.whole(subject)?.to_string()),
                texts: vec![
                    None,
                    None,
                    None,
                    notes.of(study_id),
                    Some(time).filter(|time| !time.is_empty()),
                ],
                ..Item::default()
            };
            if let Some(measured) = measured {
                machine.fill(measured, &mut item);
            }
            if items.len() == MAX_STUDIES {
                return Err(row.error(format!(
                    "more than {MAX_STUDIES} records, expected the list of MIMIC-IV-ECG"
                )));
            }
            items.push(item);
        }
        let rows = items.len();
        if rows == 0 {
            return Err(ImportError::NoRecords {
                path: self.root.clone(),
            });
        }
        if unmeasured > 0 {
            remarks.push(format!(
                "{unmeasured} of {rows} records have no row in machine_measurements.csv; they are kept without report"
            ));
        }
        mark_missing(&self.root, &mut items);
        mark_repeated_ids(&mut items);
        match self.split.as_deref() {
            Some("deri") => split_like_deri(&mut items, rows, &mut remarks),
            Some(_) => split_like_clear_hug(&mut items),
            None => {}
        }
        remarks.extend(unlike_published(&items, self.split.as_deref()));
        if self.min_report_words > 0 {
            items.retain(|item| words_of(item) >= self.min_report_words);
        }
        Ok(Catalogue {
            name: "mimic-iv-ecg".to_owned(),
            root: self.root.clone(),
            texts: ["d-beta", "d-beta-released", "deri", "note_id", "ecg_time"]
                .map(str::to_owned)
                .to_vec(),
            values: MEASUREMENTS
                .iter()
                .map(|(_, name)| (*name).to_owned())
                .chain(["report_words".to_owned()])
                .collect(),
            items,
            remarks,
            ..Catalogue::default()
        })
    }
}

/// Words of the report as DERI counts them; 0 without a report.
fn words_of(item: &Item) -> usize {
    let words = item.values.get(MEASUREMENTS.len()).copied().flatten();
    words.map_or(0, |words| words as usize)
}

/// Checks in parallel whether all headers exist: on network storage each check takes time.
fn mark_missing(root: &Path, items: &mut [Item]) {
    items.par_iter_mut().for_each(|item| {
        let mut header = root.join(&item.path).into_os_string();
        header.push(".hea");
        if !Path::new(&header).is_file() {
            item.fault = Some(Fault::Missing(
                "record_list.csv lists this record, but its header does not exist".to_owned(),
            ));
        }
    });
}

/// Differences from the published numbers of patients, reports and splits, if the list is complete.
fn unlike_published(items: &[Item], split: Option<&str>) -> Vec<String> {
    let Some(mut whole) = Whole::of(items, PUBLISHED_RECORDS) else {
        return Vec::new();
    };
    whole = whole.patients(PUBLISHED_PATIENTS).records(
        &format!("reports of {DERI_MIN_WORDS} words or more"),
        PUBLISHED_DERI_STUDIES,
        |item| words_of(item) >= DERI_MIN_WORDS,
    );
    if split == Some("deri") {
        whole = whole.parts("deri", PUBLISHED_DERI_PARTS);
    }
    // Missing files shift the batches.
    if split == Some("clear-hug") && items.iter().all(|item| item.fault.is_none()) {
        let train = |item: &Item| item.split == Some(Split::Train);
        let (used, left_out) = PUBLISHED_CLEAR_HUG;
        whole = whole
            .records("train records of clear-hug outside batch 1", used, |item| {
                train(item) && item.fold != Some(1)
            })
            .records("train records of clear-hug in batch 1", left_out, |item| {
                train(item) && item.fold == Some(1)
            });
    }
    whole.remarks()
}

/// The split of DERI and MERL. It does not depend on which files exist, so an incomplete download has the same splits.
fn split_like_deri(items: &mut [Item], rows: usize, remarks: &mut Vec<String>) {
    let mut listed: Vec<&mut Item> = Vec::new();
    for item in items {
        item.split = Some(Split::None);
        if words_of(item) >= DERI_MIN_WORDS {
            listed.push(item);
        }
    }
    // Too few studies to split: all are for training.
    let val = train_test_split(listed.len(), 0.02, 42).map_or(Vec::new(), |(_, val)| val);
    for item in &mut listed {
        item.split = Some(Split::Train);
    }
    for index in val {
        listed[index].split = Some(Split::Val);
    }
    if rows != PUBLISHED_RECORDS {
        remarks.push(format!(
            "the list has {rows} rows instead of {PUBLISHED_RECORDS}, so the splits follow DERI's rule, but are not DERI's"
        ));
    }
}

fn split_like_clear_hug(items: &mut [Item]) {
    let mut present: Vec<&mut Item> = Vec::new();
    for item in items {
        item.split = Some(Split::None);
        if item.fault.is_none() {
            present.push(item);
        }
    }
    for (batch, records) in present.chunks_mut(CLEAR_HUG_BATCH).enumerate() {
        let val = train_test_split(records.len(), 0.1, 0).map_or(Vec::new(), |(_, val)| val);
        for record in records.iter_mut() {
            record.split = Some(Split::Train);
            record.fold = i16::try_from(batch).ok();
        }
        for index in val {
            records[index].split = Some(Split::Val);
        }
    }
}

/// The contents of `machine_measurements.csv`, with every distinct report stored once.
struct Machine {
    by_study: HashMap<u64, u32>,
    studies: Vec<Study>,
    reports: Vec<Reports>,
}

struct Study {
    report: u32,
    values: [f32; MEASUREMENTS.len()],
}

/// A report, processed by each rule.
struct Reports {
    clean: String,
    d_beta: String,
    d_beta_released: String,
    deri: String,
    deri_words: usize,
}

impl Reports {
    fn of(lines: &[&str]) -> Reports {
        let (deri, deri_words) = deri_report(lines);
        Reports {
            clean: clean_report(lines),
            d_beta: d_beta_report(lines),
            d_beta_released: d_beta_released_report(lines),
            deri,
            deri_words,
        }
    }
}

impl Machine {
    fn read(path: &Path) -> Result<Machine, ImportError> {
        let mut rows = Rows::open(path)?;
        let study = rows.column("study_id")?;
        let mut lines = [0; REPORT_COLUMNS];
        for (index, column) in lines.iter_mut().enumerate() {
            *column = rows.column(&format!("report_{index}"))?;
        }
        let mut measurements = [0; MEASUREMENTS.len()];
        for (column, (name, _)) in measurements.iter_mut().zip(MEASUREMENTS) {
            *column = rows.column(name)?;
        }
        let mut machine = Machine {
            by_study: HashMap::new(),
            studies: Vec::new(),
            reports: Vec::new(),
        };
        // Four of five reports repeat; the separator occurs in none.
        let mut known = HashMap::<Vec<u8>, u32>::new();
        let mut key = Vec::new();
        while let Some(row) = rows.next()? {
            let id = row.whole(study)?;
            let texts = lines.map(|column| row.text(column));
            key.clear();
            for line in texts.iter().filter(|line| !is_missing(line)) {
                key.extend_from_slice(line.as_bytes());
                key.push(0x1f);
            }
            let report = match known.get(&key) {
                Some(&report) => report,
                None => {
                    let listed: Vec<&str> = texts
                        .iter()
                        .map(|line| &**line)
                        .filter(|line| !is_missing(line))
                        .collect();
                    let report = machine.reports.len() as u32;
                    machine.reports.push(Reports::of(&listed));
                    known.insert(key.clone(), report);
                    report
                }
            };
            let mut values = [f32::NAN; MEASUREMENTS.len()];
            for (value, &column) in values.iter_mut().zip(&measurements) {
                *value = row.measurement(column)?;
            }
            // Both fit 32 bits: there are at most this many.
            if machine.studies.len() == MAX_STUDIES {
                return Err(row.error(format!(
                    "more than {MAX_STUDIES} studies, expected the table of MIMIC-IV-ECG"
                )));
            }
            let place = machine.studies.len() as u32;
            if machine.by_study.insert(id, place).is_some() {
                return Err(row.error(format!(
                    "study {id} has a second row, expected one row per study"
                )));
            }
            machine.studies.push(Study { report, values });
        }
        Ok(machine)
    }

    fn study(&self, id: u64) -> Option<&Study> {
        self.studies.get(*self.by_study.get(&id)? as usize)
    }

    fn fill(&self, study: &Study, item: &mut Item) {
        item.values = study
            .values
            .iter()
            .map(|value| (!value.is_nan()).then_some(*value))
            .chain([None])
            .collect();
        let Some(reports) = self.reports.get(study.report as usize) else {
            return;
        };
        item.values[MEASUREMENTS.len()] = Some(reports.deri_words as f32);
        item.report = Some(reports.clean.clone()).filter(|report| !report.is_empty());
        item.texts[0] = Some(reports.d_beta.clone());
        item.texts[1] = Some(reports.d_beta_released.clone());
        item.texts[2] = Some(reports.deri.clone());
    }
}

/// Links to the cardiologists' reports, by study.
struct Notes(HashMap<u64, String>);

impl Notes {
    /// Without the table there are no links.
    fn read(path: &Path) -> Result<Notes, ImportError> {
        let mut links = HashMap::new();
        if !path.is_file() {
            return Ok(Notes(links));
        }
        let mut rows = Rows::open(path)?;
        let study = rows.column("study_id")?;
        let note = rows.column("note_id")?;
        while let Some(row) = rows.next()? {
            let note = row.text(note).trim().to_owned();
            if !note.is_empty() {
                links.insert(row.whole(study)?, note);
            }
        }
        Ok(Notes(links))
    }

    fn of(&self, study: u64) -> Option<String> {
        self.0.get(&study).cloned()
    }
}

/// A table that is read row by row: the tables of MIMIC-IV-ECG are too large for memory.
struct Rows {
    path: PathBuf,
    reader: csv::Reader<BufReader<File>>,
    columns: Vec<String>,
    row: ByteRecord,
}

/// The row that was read last.
struct Row<'a>(&'a Rows);

impl Rows {
    fn open(path: &Path) -> Result<Rows, ImportError> {
        let file = File::open(path).map_err(|source| ImportError::Io {
            path: path.to_owned(),
            source,
        })?;
        let mut rows = Rows {
            path: path.to_owned(),
            reader: csv::Reader::from_reader(BufReader::with_capacity(1 << 18, file)),
            columns: Vec::new(),
            row: ByteRecord::new(),
        };
        let columns = rows.reader.byte_headers().map(|header| {
            header
                .iter()
                .map(|cell| {
                    String::from_utf8_lossy(cell)
                        .trim_matches(['\u{feff}', ' '])
                        .to_owned()
                })
                .collect()
        });
        rows.columns = columns.map_err(|error| broken(path, &error))?;
        Ok(rows)
    }

    fn column(&self, name: &str) -> Result<usize, ImportError> {
        self.columns
            .iter()
            .position(|column| column == name)
            .ok_or_else(|| ImportError::NoColumn {
                path: self.path.clone(),
                wanted: format!("`{name}`"),
                present: self.columns.clone(),
                advice: "Use the tables of MIMIC-IV-ECG 1.0 as PhysioNet publishes them.",
            })
    }

    fn next(&mut self) -> Result<Option<Row<'_>>, ImportError> {
        match self.reader.read_byte_record(&mut self.row) {
            Ok(true) => Ok(Some(Row(self))),
            Ok(false) => Ok(None),
            Err(error) => Err(broken(&self.path, &error)),
        }
    }
}

impl Row<'_> {
    fn text(&self, column: usize) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(self.0.row.get(column).unwrap_or(b""))
    }

    fn whole(&self, column: usize) -> Result<u64, ImportError> {
        let text = self.text(column);
        text.trim().parse().map_err(|_| {
            self.error(format!(
                "{} is `{text}`, expected a whole number",
                self.0.columns[column]
            ))
        })
    }

    /// NaN where the machine states none.
    fn measurement(&self, column: usize) -> Result<f32, ImportError> {
        let text = self.text(column);
        if is_missing(text.trim()) {
            return Ok(f32::NAN);
        }
        match text.trim().parse::<f32>() {
            Ok(MISSING_MEASUREMENT) => Ok(f32::NAN),
            Ok(value) => Ok(value),
            Err(_) => Err(self.error(format!(
                "{} is `{text}`, expected a number",
                self.0.columns[column]
            ))),
        }
    }

    fn error(&self, reason: impl Into<String>) -> ImportError {
        ImportError::Table {
            path: self.0.path.clone(),
            line: self.0.row.position().map_or(0, csv::Position::line),
            reason: reason.into(),
        }
    }
}

fn broken(path: &Path, error: &csv::Error) -> ImportError {
    ImportError::Table {
        path: path.to_owned(),
        line: error.position().map_or(1, csv::Position::line),
        reason: match error.kind() {
            csv::ErrorKind::UnequalLengths {
                expected_len, len, ..
            } => {
                format!("it has {len} cells, the header line has {expected_len}")
            }
            _ => error.to_string(),
        },
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Write;
    use std::fs;

    use super::super::ReadWhole as _;
    use super::*;

    fn data() -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/mimic-iv-ecg")
    }

    /// The real tables of one study, with a record written here: the set's waveforms are not carried. Its header has
    /// the form and the leads of the real ones; lead k holds the value k.
    fn with_record() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for file in [
            "record_list.csv",
            "machine_measurements.csv",
            "waveform_note_links.csv",
        ] {
            fs::copy(data().join(file), root.path().join(file)).unwrap();
        }
        let folder = root.path().join("files/p1000/p10000032/s40689238");
        fs::create_dir_all(&folder).unwrap();
        let mut header = "40689238 12 500 5000 08:44:00 23/07/2180\n".to_owned();
        for lead in MimicIvEcg::file_leads().leads() {
            let value = header.lines().count() - 1;
            let checksum = (value * 5000) as u16 as i16;
            writeln!(
                header,
                "40689238.dat 16 200.0(0)/mV 16 0 {value} {checksum} 0 {lead}"
            )
            .unwrap();
        }
        fs::write(folder.join("40689238.hea"), header).unwrap();
        let frame: Vec<u8> = (0..12i16).flat_map(i16::to_le_bytes).collect();
        fs::write(folder.join("40689238.dat"), frame.repeat(5000)).unwrap();
        root
    }

    #[test]
    fn a_study_is_listed_with_everything_the_tables_say() {
        let root = with_record();
        let catalogue = MimicIvEcg::new(root.path()).catalogue().unwrap();
        let item = &catalogue.items[0];
        assert_eq!(catalogue.items.len(), 1);
        assert_eq!(
            (item.id.as_str(), item.patient.as_deref()),
            ("40689238", Some("10000032"))
        );
        assert_eq!(
            item.report.as_deref(),
            Some("Sinus rhythm. Possible right atrial abnormality. Borderline ECG.")
        );
        let text = |name: &str| {
            let index = catalogue.texts.iter().position(|own| own == name).unwrap();
            item.texts[index].as_deref().unwrap()
        };
        let joined = "sinus rhythm possible right atrial abnormality borderline ecg";
        assert_eq!((text("d-beta"), text("d-beta-released")), (joined, joined));
        assert_eq!(
            text("deri"),
            "sinus rhythm. possible right atrial abnormality. borderline ecg."
        );
        assert_eq!(text("note_id"), "10000032-EK-4");
        assert_eq!(text("ecg_time"), "2180-07-23 08:44:00");
        let value = |name: &str| {
            let index = catalogue.values.iter().position(|own| own == name).unwrap();
            item.values[index]
        };
        assert_eq!(value("rr_interval_ms"), Some(659.0));
        assert_eq!(value("t_axis_deg"), Some(79.0));
        assert_eq!(value("report_words"), Some(8.0));
        assert_eq!((item.split, &item.fault), (None, &None));
    }

    #[test]
    fn leads_are_read_by_name_whatever_their_order_in_the_file() {
        let root = with_record();
        let source = MimicIvEcg::new(root.path());
        let catalogue = source.catalogue().unwrap();
        let read = |leads: &LeadSet| {
            let record = source.read(&catalogue, &catalogue.items[0], leads).unwrap();
            record
                .rows()
                .map(|row| (row[0] * 200.0).round() as i32)
                .collect::<Vec<_>>()
        };
        assert_eq!(read(&MimicIvEcg::file_leads()), (0..12).collect::<Vec<_>>());
        assert_eq!(read(&LeadSet::standard_12())[3..6], [3, 5, 4]);
    }

    /// A table of `n` studies, two a patient; every fifth report has two words.
    fn many(n: usize) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        let mut list = "subject_id,study_id,file_name,ecg_time,path\n".to_owned();
        let header = fs::read_to_string(data().join("machine_measurements.csv")).unwrap();
        let mut machine = header.lines().next().unwrap().to_owned() + "\n";
        for i in 0..n {
            writeln!(list, "{},{i},{i},2180-01-01 00:00:00,files/s{i}/{i}", i / 2).unwrap();
            let report = if i % 5 == 0 {
                "Normal ECG"
            } else {
                "Sinus rhythm,Normal ECG"
            };
            let blanks = ",".repeat(if i % 5 == 0 { 17 } else { 16 });
            writeln!(
                machine,
                "{},{i},1,t,{report}{blanks},b,f,29999,,1.5,170,258,518,81,-77,79",
                i / 2
            )
            .unwrap();
        }
        fs::write(root.path().join("record_list.csv"), list).unwrap();
        fs::write(root.path().join("machine_measurements.csv"), machine).unwrap();
        root
    }

    #[test]
    fn published_divisions_are_drawn_as_published() {
        let root = many(1000);
        let with = |split: &str| MimicIvEcg {
            split: Some(split.to_owned()),
            ..MimicIvEcg::new(root.path())
        };
        let deri = with("deri").catalogue().unwrap();
        let listed: Vec<_> = deri
            .items
            .iter()
            .filter(|i| i.split != Some(Split::None))
            .collect();
        assert_eq!(listed.len(), 800);
        // scikit-learn's own division of 800 records with the same share and seed.
        let (_, val) = train_test_split(800, 0.02, 42).unwrap();
        assert_eq!(val.len(), 16);
        for (index, item) in listed.iter().enumerate() {
            let expected = if val.contains(&index) {
                Split::Val
            } else {
                Split::Train
            };
            assert_eq!(item.split, Some(expected));
        }
        // No file is there, and only what is there takes part.
        let clear = with("clear-hug").catalogue().unwrap();
        assert!(clear.items.iter().all(|i| i.split == Some(Split::None)));
        assert!(
            clear
                .items
                .iter()
                .all(|i| matches!(i.fault, Some(Fault::Missing(_))))
        );
        let error = with("merl").catalogue().unwrap_err().to_string();
        assert!(error.contains("deri, clear-hug"), "{error}");
    }

    #[test]
    fn clear_hug_divides_the_records_that_are_there() {
        let mut items: Vec<Item> = (0..CLEAR_HUG_BATCH + 40).map(|_| Item::default()).collect();
        items[3].fault = Some(Fault::Missing(String::new()));
        split_like_clear_hug(&mut items);
        assert_eq!((items[3].split, items[3].fold), (Some(Split::None), None));
        let val = |fold| {
            let here = items.iter().filter(|i| i.fold == Some(fold));
            here.filter(|i| i.split == Some(Split::Val)).count()
        };
        assert_eq!((val(0), val(1)), (10_010, 4));
    }

    #[test]
    fn the_whole_list_is_compared_with_the_published_counts() {
        let values = |words: f32| {
            let mut values = vec![None; MEASUREMENTS.len()];
            values.push(Some(words));
            values
        };
        let mut items: Vec<Item> = (0..PUBLISHED_RECORDS)
            .map(|row| Item {
                patient: Some((row % PUBLISHED_PATIENTS).to_string()),
                values: values(if row < PUBLISHED_DERI_STUDIES {
                    4.0
                } else {
                    3.0
                }),
                ..Item::default()
            })
            .collect();
        let none = Vec::<String>::new();
        assert_eq!(unlike_published(&items, None), none);
        split_like_deri(&mut items, PUBLISHED_RECORDS, &mut Vec::new());
        assert_eq!(unlike_published(&items, Some("deri")), none);
        split_like_clear_hug(&mut items);
        assert_eq!(unlike_published(&items, Some("clear-hug")), none);
        items[5].values = values(2.0);
        for item in &mut items {
            item.split = Some(Split::Train);
        }
        let remarks = unlike_published(&items, Some("clear-hug"));
        assert_eq!(remarks.len(), 3, "{remarks:?}");
        assert!(remarks[0].contains("771692 reports"), "{remarks:?}");
        assert_eq!(unlike_published(&items[1..], Some("deri")), none);
    }

    #[test]
    fn measurements_that_were_not_made_are_no_values() {
        let root = many(10);
        let catalogue = MimicIvEcg::new(root.path()).catalogue().unwrap();
        let values = &catalogue.items[1].values;
        assert_eq!(values[..3], [None, None, Some(1.5)]);
        assert_eq!(values[7], Some(-77.0));
        let source = MimicIvEcg {
            min_report_words: DERI_MIN_WORDS,
            ..MimicIvEcg::new(root.path())
        };
        assert_eq!(source.catalogue().unwrap().items.len(), 8);
    }

    #[test]
    fn broken_tables_are_refused_with_their_line() {
        let root = many(10);
        let list = root.path().join("record_list.csv");
        let text = fs::read_to_string(&list).unwrap();
        fs::write(&list, text.replace("\n2,5,", "\n2,x,")).unwrap();
        let error = MimicIvEcg::new(root.path())
            .catalogue()
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("line 7") && error.contains("study_id"),
            "{error}"
        );
        fs::write(&list, text.replace("study_id", "study")).unwrap();
        let error = MimicIvEcg::new(root.path())
            .catalogue()
            .unwrap_err()
            .to_string();
        assert!(error.contains("`study_id`"), "{error}");
        fs::write(&list, &text[..text.len() - 30]).unwrap();
        assert!(MimicIvEcg::new(root.path()).catalogue().is_err());
    }
}
