//! The Hefei ECG data (Hefei High-tech Cup, Tianchi 2019) as distributed by the competition.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

use purkinje_record::{Lead, LeadSet, Reader, RecordError, Recording, Source};
use purkinje_store::LabelSet;

use super::hubert;
use super::published::{Whole, class, indices};
use super::registry::{DataSet, of_preset, owned};
use super::{
    Catalogue, Fault, ImportError, Importer, Item, check_root, mark_repeated_ids, read_sex,
};

/// Largest table of samples that is read, in bytes; a record of 10 s has about 130 kB.
pub const MAX_TABLE_BYTES: u64 = 64 << 20;

/// Sampling rate in hertz, as the competition states it.
pub const RATE_HZ: f64 = 500.0;

/// Millivolts of one unit, as the competition states it.
pub const MV_PER_UNIT: f64 = 4.88e-3;

/// Records of the second round.
const PUBLISHED_ROWS: usize = 20_036;

/// Files and folders of the two rounds: labels, names of labels, records. HuBERT-ECG is evaluated on the second.
const ROUNDS: [(&str, &str, &str); 2] = [
    (
        "hf_round2_label.txt",
        "hf_round2_arrythmia.txt",
        "hf_round2_train",
    ),
    (
        "hf_round1_label.txt",
        "hf_round1_arrythmia.txt",
        "hf_round1_train",
    ),
];

/// The 34 statements of the second round in the order of `hf_round2_arrythmia.txt`, in English, and the class of
/// HuBERT-ECG each belongs to. HuBERT-ECG publishes the 27 names only; the mapping is inferred from the names and
/// compared with the published numbers of positives when the whole data set is read.
const STATEMENTS: [(&str, &str, &str); 34] = [
    ("QRS低电压", "low QRS voltage", "LQRSV"),
    ("电轴右偏", "right axis deviation", "RAD"),
    ("起搏心律", "paced rhythm", "PR"),
    ("T波改变", "T-wave change", "TAb"),
    ("电轴左偏", "left axis deviation", "LAD"),
    ("心房颤动", "atrial fibrillation", "AF"),
    (
        "非特异性ST段异常",
        "non-specific ST-segment abnormality",
        "",
    ),
    ("下壁异常Q波", "abnormal Q wave of the inferior wall", "QAb"),
    (
        "前间壁R波递增不良",
        "poor R-wave progression, anteroseptal",
        "RAb",
    ),
    ("ST段改变", "ST-segment change", "STIAb"),
    ("一度房室传导阻滞", "first-degree AV block", "IAVB"),
    ("左束支传导阻滞", "left bundle branch block", "CLBBB|LBBB"),
    ("右束支传导阻滞", "right bundle branch block", "CRBBB|RBBB"),
    (
        "完全性左束支传导阻滞",
        "complete left bundle branch block",
        "CLBBB|LBBB",
    ),
    ("左前分支传导阻滞", "left anterior fascicular block", ""),
    ("右心房扩大", "right atrial enlargement", "RAH"),
    ("短PR间期", "short PR interval", "SPRI"),
    ("左心室高电压", "high left ventricular voltage", "LVH"),
    ("窦性心动过缓", "sinus bradycardia", "SB"),
    ("早期复极化", "early repolarization", "ERe"),
    ("窦性心律", "sinus rhythm", "NSR"),
    ("融合波", "fusion beats", "FB"),
    ("ST-T改变", "ST-T change", "NSSTTA"),
    (
        "非特异性ST段与T波异常",
        "non-specific ST-segment and T-wave abnormality",
        "",
    ),
    ("快心室率", "rapid ventricular rate", "VTach"),
    ("非特异性T波异常", "non-specific T-wave abnormality", ""),
    ("室性早搏", "ventricular premature beats", "PVC"),
    ("房性早搏", "atrial premature beats", "PAC"),
    ("窦性心律不齐", "sinus arrhythmia", "SA"),
    (
        "完全性右束支传导阻滞",
        "complete right bundle branch block",
        "CRBBB|RBBB",
    ),
    ("窦性心动过速", "sinus tachycardia", "STach"),
    (
        "不完全性右束支传导阻滞",
        "incomplete right bundle branch block",
        "",
    ),
    ("顺钟向转位", "clockwise rotation", "+ROT"),
    ("逆钟向转位", "counter-clockwise rotation", "-ROT"),
];

/// Its entry in the table of data sets.
pub(super) const DATA_SET: DataSet = DataSet {
    name: "hefei",
    about: "Hefei ECG competition (Tianchi 2019), second round: 20,036 records of 10 s, 34 statements",
    preset: "clear",
    options: &["split"],
    label_sets: &["statements", "hubert"],
    splits: || owned(&hubert::SPLITS),
    contract: of_preset,
    open: |_, root, options| {
        Ok(Box::new(Hefei {
            hubert_fold: options.split.as_deref().and_then(hubert::fold_of),
            ..Hefei::new(root)
        }))
    },
};

/// The Hefei data: a table of labels, a list of their names, and a folder of records as tables of eight leads.
///
/// Reads the second round (`hf_round2_label.txt`), or else the first. Ids are file names without extension. The label set
/// `statements` holds the Chinese statements with English descriptions; for the second round, `hubert` holds HuBERT-ECG's 27
/// classes by an inferred mapping. III, aVR, aVL and aVF are computed from I and II. Patients are not named.
#[derive(Clone, Debug, PartialEq)]
pub struct Hefei {
    /// The folder of the tables.
    pub root: PathBuf,
    /// Fold of HuBERT-ECG whose splits are used, 0 to 3; if absent, records are split at random.
    pub hubert_fold: Option<usize>,
}

impl Hefei {
    /// The data in this folder, without splits.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Hefei {
            root: root.into(),
            hubert_fold: None,
        }
    }
}

impl Importer for Hefei {
    fn catalogue(&self) -> Result<Catalogue, ImportError> {
        check_root(&self.root)?;
        let Some((labels, names, folder)) = ROUNDS
            .into_iter()
            .find(|(labels, ..)| self.root.join(labels).is_file())
        else {
            return Err(ImportError::Layout {
                path: self.root.clone(),
                expected: "hf_round2_label.txt (or hf_round1_label.txt) with the folder hf_round2_train of the Hefei competition",
            });
        };
        let second_round = labels == ROUNDS[0].0;
        let rows = read_labels(&self.root.join(labels))?;
        let statements = statements(&self.root.join(names), &rows)?;
        let mut label_sets = vec![statements];
        if second_round {
            label_sets.push(LabelSet::from_names(
                "hubert",
                hubert::HEFEI.iter().map(|(name, _)| *name),
            ));
        }
        let folder = records_folder(&self.root, folder, &rows);
        let mut remarks = Vec::new();
        let mut unknown = BTreeSet::new();
        let mut items = Vec::with_capacity(rows.len());
        for row in rows {
            let (classes, strange) =
                indices(&label_sets[0], row.statements.iter().map(String::as_str));
            unknown.extend(strange.into_iter().map(str::to_owned));
            let mut labels = vec![Some(classes)];
            if let Some(hubert) = label_sets.get(1) {
                let names = row.statements.iter().filter_map(|own| {
                    STATEMENTS
                        .iter()
                        .find(|(statement, _, class)| statement == own && !class.is_empty())
                        .map(|(.., class)| *class)
                });
                labels.push(Some(indices(hubert, names).0));
            }
            let path = folder.join(&row.file);
            items.push(Item {
                id: stem(&row.file).to_owned(),
                fault: (!self.root.join(&path).is_file()).then(|| {
                    Fault::Missing(format!(
                        "{labels_file} lists this record, but `{path}` does not exist",
                        labels_file = if second_round {
                            ROUNDS[0].0
                        } else {
                            ROUNDS[1].0
                        },
                        path = self.root.join(&path).display()
                    ))
                }),
                path,
                labels,
                age: row.age,
                sex: row.sex,
                ..Item::default()
            });
        }
        mark_repeated_ids(&mut items);
        if !unknown.is_empty() {
            remarks.push(format!(
                "statements that are not in `{names}` were left out: {}",
                unknown.into_iter().collect::<Vec<_>>().join(", ")
            ));
        }
        if let Some(hubert) = label_sets.get(1) {
            remarks.extend(unlike_published(&items, hubert));
        }
        if let Some(fold) = self.hubert_fold {
            remarks.extend(hubert::divide("hefei", fold, &mut items, |item| {
                item.id.clone()
            })?);
        }
        Ok(Catalogue {
            name: "hefei".to_owned(),
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
        let path = catalogue.root.join(&item.path);
        let recording = read_table(&path, &item.id)?;
        recording
            .select(leads)
            .map(Reader::from)
            .map_err(|lead| RecordError::MissingLead {
                present: recording.leads.to_string(),
                path,
                lead: lead.to_string(),
            })
    }
}

/// A line of the table of labels: file, age, sex and statements, with tabs between.
struct Row {
    file: String,
    age: Option<f32>,
    sex: Option<String>,
    statements: Vec<String>,
}

fn read_labels(path: &Path) -> Result<Vec<Row>, ImportError> {
    let text = read_text(path)?;
    let mut rows = Vec::new();
    for (line, text) in (1..).zip(text.lines()) {
        if text.trim().is_empty() {
            continue;
        }
        let mut cells = text.split('\t').map(str::trim);
        let file = cells.next().unwrap_or_default();
        let plain = Path::new(file).file_name().is_some_and(|name| name == file);
        if !plain || !file.ends_with(".txt") {
            return Err(ImportError::Table {
                path: path.to_owned(),
                line,
                reason: format!(
                    "the first cell is `{file}`, expected a file name like 100001.txt, then a tab"
                ),
            });
        }
        rows.push(Row {
            file: file.to_owned(),
            age: cells.next().and_then(|cell| cell.parse().ok()),
            sex: cells.next().and_then(read_sex),
            statements: cells
                .filter(|cell| !cell.is_empty())
                .map(str::to_owned)
                .collect(),
        });
    }
    Ok(rows)
}

/// The statements in the order of their list, or of code points where there is no list.
fn statements(list: &Path, rows: &[Row]) -> Result<LabelSet, ImportError> {
    let names: Vec<String> = if list.is_file() {
        read_text(list)?
            .lines()
            .map(str::trim)
            .filter(|name| !name.is_empty())
            .map(str::to_owned)
            .collect()
    } else {
        let all: BTreeSet<&String> = rows.iter().flat_map(|row| &row.statements).collect();
        all.into_iter().cloned().collect()
    };
    let mut set = LabelSet::from_names("statements", names);
    for own in &mut set.classes {
        if let Some((name, english, _)) = STATEMENTS.iter().find(|(name, ..)| *name == own.name) {
            *own = class(*name, *english);
        }
    }
    Ok(set)
}

/// Where the records are: in the folder of the round, in `train`, or beside the tables.
fn records_folder(root: &Path, usual: &str, rows: &[Row]) -> PathBuf {
    let first = rows.first().map_or("", |row| row.file.as_str());
    [usual, "train", ""]
        .into_iter()
        .map(PathBuf::from)
        .find(|folder| root.join(folder).join(first).is_file())
        .unwrap_or_else(|| PathBuf::from(usual))
}

fn read_text(path: &Path) -> Result<String, ImportError> {
    let bytes = fs::read(path).map_err(|source| ImportError::Io {
        path: path.to_owned(),
        source,
    })?;
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(&bytes);
    Ok(String::from_utf8_lossy(bytes).into_owned())
}

fn stem(file: &str) -> &str {
    file.strip_suffix(".txt").unwrap_or(file)
}

/// Differences from HuBERT-ECG's numbers of positives in its test split. `set` is label set number 1.
fn unlike_published(items: &[Item], set: &LabelSet) -> Vec<String> {
    let Some(whole) = Whole::of(items, PUBLISHED_ROWS) else {
        return Vec::new();
    };
    let test = hubert::test_part("hefei", 0);
    let here = |item: &Item| test.contains(item.id.as_str());
    let published: Vec<usize> = hubert::HEFEI.iter().map(|(_, n)| *n).collect();
    whole
        .records("records of HuBERT-ECG's test split", test.len(), here)
        .positives("HuBERT-ECG's test split", 1, &set.classes, &published, here)
        .remarks()
}

/// The leads that are stored, in the order of [`LeadSet::standard_12`].
const STORED: [Lead; 8] = [
    Lead::I,
    Lead::II,
    Lead::V1,
    Lead::V2,
    Lead::V3,
    Lead::V4,
    Lead::V5,
    Lead::V6,
];

/// Reads a table of eight leads, whole numbers separated by blanks, and computes the other four leads.
fn read_table(path: &Path, id: &str) -> Result<Recording, RecordError> {
    let text = table_text(path)?;
    let [i, ii, chest @ ..] = columns(path, &text)?;
    if i.is_empty() {
        return Err(RecordError::NoSamples {
            path: path.to_owned(),
            why: "no line follows the names of the leads".to_owned(),
        });
    }
    let derived =
        |combine: fn(f64, f64) -> f64| i.iter().zip(&ii).map(move |(i, ii)| combine(*i, *ii));
    let samples: Vec<f32> = i
        .iter()
        .copied()
        .chain(ii.iter().copied())
        .chain(derived(|i, ii| ii - i))
        .chain(derived(|i, ii| -(i + ii) / 2.0))
        .chain(derived(|i, ii| i - ii / 2.0))
        .chain(derived(|i, ii| ii - i / 2.0))
        .chain(chest.into_iter().flatten())
        .map(|value| value as f32)
        .collect();
    let mut recording =
        Recording::new(id, LeadSet::standard_12(), RATE_HZ, samples).map_err(|source| {
            RecordError::Shape {
                path: path.to_owned(),
                source,
            }
        })?;
    recording.source = Source {
        path: path.to_owned(),
        format: "hefei",
        comments: Vec::new(),
        also: Vec::new(),
    };
    Ok(recording)
}

fn content(path: &Path, field: String, found: String, expected: &str) -> RecordError {
    RecordError::Content {
        path: path.to_owned(),
        field,
        found,
        expected: expected.to_owned(),
    }
}

/// The text of a table that is not too large.
fn table_text(path: &Path) -> Result<String, RecordError> {
    let io = |source| RecordError::Io {
        path: path.to_owned(),
        source,
    };
    let size = fs::metadata(path).map_err(io)?.len();
    if size > MAX_TABLE_BYTES {
        return Err(content(
            path,
            "its size".to_owned(),
            format!("{size} bytes"),
            "at most 64 MiB; a record of 10 s has about 130 kB",
        ));
    }
    let bytes = fs::read(path).map_err(io)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// The leads of a table in the order of [`STORED`], in millivolts.
fn columns(path: &Path, text: &str) -> Result<[Vec<f64>; 8], RecordError> {
    let quoted = |line: &str| format!("`{}`", line.chars().take(80).collect::<String>());
    let mut lines = (1usize..).zip(text.lines());
    let title = lines.next().map_or("", |(_, line)| line);
    let found: Vec<Lead> = title.split_ascii_whitespace().map(Lead::parse).collect();
    let positions: Vec<usize> = STORED
        .iter()
        .filter_map(|lead| found.iter().position(|own| own == lead))
        .collect();
    if positions.len() != 8 || found.len() != 8 {
        return Err(content(
            path,
            "the first line".to_owned(),
            quoted(title),
            "the names I II V1 V2 V3 V4 V5 V6, each once",
        ));
    }
    let mut columns: [Vec<f64>; 8] = Default::default();
    for (number, line) in lines.filter(|(_, line)| !line.trim().is_empty()) {
        let values = eight_numbers(line).ok_or_else(|| {
            let field = format!("line {number}");
            let expected = "eight numbers; copy the file again";
            content(path, field, quoted(line), expected)
        })?;
        for (column, &position) in columns.iter_mut().zip(&positions) {
            column.push(values[position] * MV_PER_UNIT);
        }
    }
    Ok(columns)
}

/// The numbers of a line, if it has eight and nothing else.
fn eight_numbers(line: &str) -> Option<[f64; 8]> {
    let mut values = [0f64; 8];
    let mut cells = 0;
    for cell in line.split_ascii_whitespace() {
        let value = cell.parse().ok().filter(|value: &f64| value.is_finite())?;
        *values.get_mut(cells)? = value;
        cells += 1;
    }
    (cells == 8).then_some(values)
}

#[cfg(test)]
mod tests {
    use super::super::published::label_as_published;
    use super::super::published_splits::published_split;
    use super::*;

    #[test]
    fn the_whole_set_is_compared_with_the_published_counts() {
        let set = LabelSet::from_names("hubert", hubert::HEFEI.map(|(name, _)| name));
        let names = published_split("hefei", "hubert-3").unwrap();
        let mut items: Vec<Item> = names
            .keys()
            .map(|name| Item {
                id: (*name).to_owned(),
                labels: vec![Some(vec![]); 2],
                ..Item::default()
            })
            .collect();
        let test = hubert::test_part("hefei", 0);
        let counts = hubert::HEFEI.map(|(_, count)| count);
        label_as_published(&mut items, 1, &counts, |i| test.contains(i.id.as_str()));
        assert_eq!(unlike_published(&items, &set), Vec::<String>::new());
        assert_eq!(unlike_published(&items[1..], &set), Vec::<String>::new());
        for item in &mut items {
            item.labels[1] = Some(vec![]);
        }
        let remarks = unlike_published(&items, &set);
        assert!(
            remarks.len() == 1 && remarks[0].contains("NSR 0 instead of 856"),
            "{remarks:?}"
        );
    }

    #[test]
    fn every_statement_has_a_class_of_hubert_or_none() {
        let classes: BTreeSet<&str> = hubert::HEFEI.iter().map(|(name, _)| *name).collect();
        let used: BTreeSet<&str> = STATEMENTS
            .iter()
            .map(|(.., class)| *class)
            .filter(|class| !class.is_empty())
            .collect();
        assert_eq!(used, classes);
    }

    #[test]
    fn four_leads_are_computed() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("1.txt");
        fs::write(
            &path,
            "I II V1 V2 V3 V4 V5 V6 \n12 27 14 54 11 6 20 4\n13 27 14 54 11 6 20 4\n",
        )
        .unwrap();
        let r = read_table(&path, "1").unwrap();
        assert_eq!((r.len(), r.rate_hz), (2, 500.0));
        let first: Vec<f64> = r
            .rows()
            .map(|row| f64::from(row[0]) / MV_PER_UNIT)
            .collect();
        let expected = [
            12.0, 27.0, 15.0, -19.5, -1.5, 21.0, 14.0, 54.0, 11.0, 6.0, 20.0, 4.0,
        ];
        for (found, expected) in first.iter().zip(expected) {
            assert!((found - expected).abs() < 1e-4, "{first:?}");
        }
    }

    #[test]
    fn broken_tables_are_refused_with_their_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("1.txt");
        for (text, expected) in [
            ("", "first line"),
            ("I II V1 V2 V3 V4 V5 V5\n", "first line"),
            ("I II V1 V2 V3 V4 V5 V6\n", "no line follows"),
            ("I II V1 V2 V3 V4 V5 V6\n1 2 3 4 5 6 7\n", "line 2"),
            ("I II V1 V2 V3 V4 V5 V6\n1 2 3 4 5 6 7 8 9\n", "line 2"),
            ("I II V1 V2 V3 V4 V5 V6\n1 2 3 4 5 6 7 inf\n", "line 2"),
        ] {
            fs::write(&path, text).unwrap();
            let error = read_table(&path, "1").unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        }
    }
}
