//! Header comments of the PhysioNet Challenges, and their SNOMED-CT codes.
//!
//! Four data sets have this form: the Challenges of 2020 and 2021, CPSC 2018 as included in the Challenges, and
//! Chapman-Shaoxing-Ningbo. A header ends with `#Age: 74`, `#Sex: Male`, `#Dx: 59118001,426783006`; some releases write
//! `# Dx:`, the first one names instead of codes.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use purkinje_record::person;
use purkinje_store::{LabelClass, LabelSet};
use rayon::prelude::*;

use super::ImportError;
use super::read_sex;

/// Largest part of a header that is read for its comments, in bytes; headers of the Challenges have less than 2,000.
pub const MAX_HEADER_BYTES: u64 = 1 << 20;

/// Largest depth of folders that is searched for headers.
pub const MAX_HEADER_DEPTH: usize = 32;

/// Name of the code system in [`LabelClass::codes`].
pub const SNOMED_CT: &str = "SNOMED-CT";

/// Patient and diagnoses in the comments of a header.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct HeaderNotes {
    /// Age in years; `None` for `NaN`, `Unknown` or none.
    pub age: Option<f32>,
    /// `female`, `male`, or as written.
    pub sex: Option<String>,
    /// Diagnoses in their order: SNOMED-CT codes, or names in the first release of CPSC 2018. `None`
    /// without a `Dx` line, or if it is `Unknown`.
    pub diagnoses: Option<Vec<String>>,
}

impl HeaderNotes {
    /// Reads the comments of a header and ignores everything else.
    pub fn parse(header: &[u8]) -> HeaderNotes {
        let mut notes = HeaderNotes::default();
        for line in header.split(|byte| matches!(byte, b'\n' | b'\r')) {
            let Some(comment) = line.trim_ascii().strip_prefix(b"#") else {
                continue;
            };
            let comment = String::from_utf8_lossy(comment);
            let Some((key, value)) = comment.split_once(':') else {
                continue;
            };
            let value = value.trim();
            match key
                .trim_matches(['#', ' ', '\t'])
                .to_ascii_lowercase()
                .as_str()
            {
                "age" => {
                    notes.age = person::age(value).ok().flatten();
                }
                "sex" => notes.sex = read_sex(value),
                "dx" => {
                    let listed = value
                        .split(',')
                        .map(str::trim)
                        .filter(|code| !code.is_empty() && !code.eq_ignore_ascii_case("unknown"));
                    for code in listed {
                        let diagnoses = notes.diagnoses.get_or_insert_default();
                        if !diagnoses.iter().any(|own| own == code) {
                            diagnoses.push(code.to_owned());
                        }
                    }
                }
                _ => {}
            }
        }
        notes
    }

    /// Reads the comments of the header file `path`.
    ///
    /// # Errors
    /// The error of the operating system.
    pub fn read(path: &Path) -> std::io::Result<HeaderNotes> {
        let mut bytes = Vec::with_capacity(2048);
        fs::File::open(path)?
            .take(MAX_HEADER_BYTES)
            .read_to_end(&mut bytes)?;
        Ok(HeaderNotes::parse(&bytes))
    }
}

/// One record found by its header.
pub(super) struct FoundHeader {
    /// Path of the record below the root, without `.hea`.
    pub(super) path: PathBuf,
    /// Name of the record: the file name without `.hea`.
    pub(super) name: String,
    pub(super) notes: HeaderNotes,
}

/// The headers below `root` with their comments, sorted by path; only headers are opened, on all cores.
///
/// # Errors
/// [`ImportError::Io`] for a folder or header that cannot be read, [`ImportError::NoRecords`] for none.
pub(super) fn read_headers(root: &Path) -> Result<Vec<FoundHeader>, ImportError> {
    let paths = files_below(root, "hea")?;
    if paths.is_empty() {
        return Err(ImportError::NoRecords {
            path: root.to_owned(),
        });
    }
    paths
        .into_par_iter()
        .map(|path| {
            let file = root.join(&path);
            let notes = HeaderNotes::read(&file)
                .map_err(|source| ImportError::Io { path: file, source })?;
            let path = path.with_extension("");
            Ok(FoundHeader {
                name: stem(&path),
                path,
                notes,
            })
        })
        .collect()
}

/// The files with this extension below `root`, relative to it, sorted by path.
///
/// # Errors
/// [`ImportError::Io`] for a folder that cannot be listed.
pub(super) fn files_below(root: &Path, extension: &str) -> Result<Vec<PathBuf>, ImportError> {
    let mut found = Vec::new();
    search(root, Path::new(""), 0, extension, &mut found)?;
    found.sort_unstable();
    Ok(found)
}

fn search(
    root: &Path,
    folder: &Path,
    depth: usize,
    extension: &str,
    found: &mut Vec<PathBuf>,
) -> Result<(), ImportError> {
    let here = root.join(folder);
    let io = |source| ImportError::Io {
        path: here.clone(),
        source,
    };
    for entry in fs::read_dir(&here).map_err(io)? {
        let entry = entry.map_err(io)?;
        let mut kind = entry.file_type().map_err(io)?;
        if kind.is_symlink() {
            // A broken link is not a record.
            let Ok(metadata) = fs::metadata(entry.path()) else {
                continue;
            };
            kind = metadata.file_type();
        }
        let path = folder.join(entry.file_name());
        if kind.is_dir() {
            // Also ends cycles of links.
            if depth < MAX_HEADER_DEPTH {
                search(root, &path, depth + 1, extension, found)?;
            }
        } else if path
            .extension()
            .is_some_and(|own| own.eq_ignore_ascii_case(extension))
        {
            found.push(path);
        }
    }
    Ok(())
}

/// The last part of a path without its extension.
pub(super) fn stem(path: &Path) -> String {
    path.file_stem()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned()
}

/// A code of the Challenge of 2021.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChallengeCode {
    /// SNOMED-CT code.
    pub code: &'static str,
    /// Abbreviation of the Challenge (`RBBB`); unique.
    pub abbreviation: &'static str,
    /// Name (`right bundle branch block`).
    pub name: &'static str,
    /// Number of records with the code in each of [`CHALLENGE_SOURCES`].
    pub records: [usize; 8],
}

/// The sources of the Challenge's public training data, as [`ChallengeCode::records`] counts them.
pub const CHALLENGE_SOURCES: [&str; 8] = [
    "cpsc_2018",
    "cpsc_2018_extra",
    "st_petersburg_incart",
    "ptb",
    "ptb-xl",
    "georgia",
    "chapman_shaoxing",
    "ningbo",
];

/// The 133 codes of the Challenge of 2021 (`dx_mapping_scored.csv`, `dx_mapping_unscored.csv`), by abbreviation.
pub fn challenge_codes() -> &'static [ChallengeCode] {
    static CODES: OnceLock<Vec<ChallengeCode>> = OnceLock::new();
    CODES.get_or_init(|| {
        include_str!("../../data/challenge_2021_codes.tsv")
            .lines()
            .filter(|line| !line.starts_with('#'))
            .skip(1)
            .filter_map(|line| {
                let mut cells = line.split('\t');
                let code = ChallengeCode {
                    code: cells.next()?,
                    abbreviation: cells.next()?,
                    name: cells.next()?,
                    records: [0; 8],
                };
                let mut records = [0; 8];
                for count in &mut records {
                    *count = cells.next()?.parse().ok()?;
                }
                Some(ChallengeCode { records, ..code })
            })
            .collect()
    })
}

/// The Challenge's entry for a SNOMED-CT code.
pub fn challenge_code(code: &str) -> Option<&'static ChallengeCode> {
    static BY_CODE: OnceLock<HashMap<&'static str, &'static ChallengeCode>> = OnceLock::new();
    BY_CODE
        .get_or_init(|| challenge_codes().iter().map(|c| (c.code, c)).collect())
        .get(code)
        .copied()
}

/// A class that stands for one code.
pub(super) fn class_of(name: &str, description: Option<&str>, code: &str) -> LabelClass {
    LabelClass {
        name: name.to_owned(),
        description: description.map(str::to_owned),
        codes: [(SNOMED_CT.to_owned(), code.to_owned())].into(),
    }
}

/// A label set whose classes are found by code and which grows by unlisted codes.
pub(super) struct CodeSet {
    set: LabelSet,
    by_code: HashMap<String, i16>,
}

impl CodeSet {
    /// `classes` in their order, each with the codes that mean it; then every other code of `headers`, in ascending
    /// order, as a class named by the code.
    pub(super) fn new(
        name: &str,
        classes: Vec<(LabelClass, Vec<String>)>,
        headers: &[FoundHeader],
    ) -> CodeSet {
        let mut set = CodeSet {
            set: LabelSet {
                name: name.to_owned(),
                classes: Vec::new(),
            },
            by_code: HashMap::new(),
        };
        for (class, codes) in classes {
            set.add(class, codes);
        }
        let further: BTreeSet<&String> = headers
            .iter()
            .flat_map(|header| header.notes.diagnoses.iter().flatten())
            .filter(|code| !set.by_code.contains_key(*code))
            .collect();
        for code in further {
            set.add(class_of(code, None, code), vec![code.clone()]);
        }
        set
    }

    fn add(&mut self, class: LabelClass, codes: Vec<String>) {
        // Beyond 32,767 classes (damaged headers) codes get no class.
        let Ok(index) = i16::try_from(self.set.classes.len()) else {
            return;
        };
        self.set.classes.push(class);
        for code in codes {
            self.by_code.entry(code).or_insert(index);
        }
    }

    /// The classes of a record, ascending; `None` without diagnoses.
    pub(super) fn labels(&self, notes: &HeaderNotes) -> Option<Vec<i16>> {
        notes.diagnoses.as_ref().map(|diagnoses| {
            let classes: BTreeSet<i16> = diagnoses
                .iter()
                .filter_map(|code| self.by_code.get(code).copied())
                .collect();
            classes.into_iter().collect()
        })
    }

    /// The names of the classes added for unlisted codes; `known` is the number of listed classes.
    pub(super) fn further(&self, known: usize) -> Vec<String> {
        self.set
            .classes
            .iter()
            .skip(known)
            .map(|class| class.name.clone())
            .collect()
    }

    pub(super) fn into_set(self) -> LabelSet {
        self.set
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn comments_are_read_in_every_spelling() {
        let notes = HeaderNotes::parse(
            b"E1 12 500 5000\nE1.mat 16+24 1000/mV 16 0 1 2 0 I\n#Age: 74\r\n#Sex: Male\n# Dx: 59118001, 426783006,59118001\n#Rx: Unknown\n",
        );
        assert_eq!(notes.age, Some(74.0));
        assert_eq!(notes.sex.as_deref(), Some("male"));
        assert_eq!(
            notes.diagnoses,
            Some(vec!["59118001".to_owned(), "426783006".to_owned()])
        );
        let notes = HeaderNotes::parse(b"#Age: NaN\n#Sex: Unknown\n#Dx: Unknown\n");
        assert_eq!(notes, HeaderNotes::default());
        assert_eq!(HeaderNotes::parse(b"\xff#\xfe:\n#"), HeaderNotes::default());
    }

    #[test]
    fn the_codes_of_the_challenge_are_distinct() {
        let codes = challenge_codes();
        assert_eq!(codes.len(), 133);
        let names: BTreeSet<_> = codes.iter().map(|c| c.abbreviation).collect();
        assert_eq!(names.len(), 133);
        let af = challenge_code("164889003").unwrap();
        assert_eq!((af.abbreviation, af.records[0]), ("AF", 1221));
        assert_eq!(challenge_code("0"), None);
    }
}
