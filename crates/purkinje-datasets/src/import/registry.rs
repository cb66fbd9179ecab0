//! The registry of data sets by name.

use std::path::PathBuf;

use purkinje_record::OpenOptions;
use purkinje_signal::Preprocess;

use super::mortality::{DEFAULT_HORIZON_YEARS, MAX_HORIZON_YEARS};
use super::{
    ImportError, Importer, LabelTable, code, cpsc2018, csn, folder, hefei, ludb, mimic_iv_ecg,
    mitdb, physionet2021, ptb_xl, ptbdb, sami_trop, sph,
};

/// A data set that can be opened by name.
#[derive(Clone, Copy, Debug)]
pub struct DataSet {
    /// Name, as in [`importer`].
    pub name: &'static str,
    /// What it is, in one line.
    pub about: &'static str,
    /// Name of the usual [`Preprocess`] preset; [`usual_preprocess`] gives the contract itself, which differs from the
    /// preset in leads or rate for some data sets.
    pub preset: &'static str,
    /// Names of the fields of [`ImportOptions`] that it supports.
    pub options: &'static [&'static str],
    /// Names of its label sets; those of a folder come from its table.
    pub label_sets: &'static [&'static str],
    /// Names of its published splits.
    pub(super) splits: fn() -> Vec<String>,
    /// Its default preprocessing.
    pub(super) contract: fn(&DataSet, &ImportOptions) -> Preprocess,
    /// Opens the folder as downloaded, with options that were checked.
    pub(super) open: Opener,
}

/// How a data set is opened.
type Opener = fn(&DataSet, PathBuf, &ImportOptions) -> Result<Box<dyn Importer>, ImportError>;

/// Options of importing a data set. Every field that is set must be among [`DataSet::options`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ImportOptions {
    /// The published sampling rate to read, in hertz (PTB-XL: 100 or 500).
    pub rate_hz: Option<u32>,
    /// A published split by name, one of [`DataSet::splits`]; if absent, the data set's own, or else a split by
    /// patient.
    pub split: Option<String>,
    /// Smallest likelihood, in percent, of statements to use (PTB-XL).
    pub min_likelihood: Option<f32>,
    /// Fewest words of a report for a record to be listed (MIMIC-IV-ECG).
    pub min_report_words: Option<usize>,
    /// Keep the zero padding of tracings that are stored in arrays of one length.
    pub keep_padding: bool,
    /// Horizon in years of the label set `death-2y`, which is named by it (CODE-15 %, SaMi-Trop).
    pub horizon_years: Option<f32>,
    /// Labels, patients, splits and reports of a folder.
    pub table: Option<LabelTable>,
    /// What files leave open, and how they are read (folder).
    pub input: Option<OpenOptions>,
    /// Salt to tell patients apart by salted hashes of the identifiers in their files (folder).
    pub patient_salt: Option<String>,
}

/// All data sets, in the order in which they are shown.
const DATA_SETS: &[DataSet] = &[
    folder::DATA_SET,
    ptb_xl::DATA_SET,
    mimic_iv_ecg::DATA_SET,
    cpsc2018::DATA_SET,
    csn::DATA_SET,
    physionet2021::DATA_SET,
    code::CODE_15,
    code::CODE_TEST,
    sami_trop::DATA_SET,
    sph::DATA_SET,
    hefei::DATA_SET,
    ludb::DATA_SET,
    ptbdb::DATA_SET,
    mitdb::DATA_SET,
];

/// The data sets that [`importer`] opens.
pub fn data_sets() -> &'static [DataSet] {
    DATA_SETS
}

/// The data set of this name; `_` counts as `-`, and case does not matter.
///
/// # Errors
/// [`ImportError::UnknownDataSet`] lists the names.
pub fn data_set(name: &str) -> Result<&'static DataSet, ImportError> {
    let wanted = name.trim().to_ascii_lowercase().replace('_', "-");
    DATA_SETS
        .iter()
        .find(|set| set.name == wanted)
        .ok_or_else(|| ImportError::UnknownDataSet {
            name: name.to_owned(),
            known: DATA_SETS
                .iter()
                .map(|set| set.name)
                .collect::<Vec<_>>()
                .join(", "),
        })
}

/// The default preprocessing of a data set.
///
/// The twelve leads at 100 Hz for most; for `mitdb` the whole of lead MLII at 360 Hz in mV, so that every beat is kept (records
/// 102 and 104 have no such lead and fail).
///
/// # Errors
/// As [`data_set`].
pub fn usual_preprocess(name: &str, options: &ImportOptions) -> Result<Preprocess, ImportError> {
    let set = data_set(name)?;
    Ok((set.contract)(set, options))
}

/// The importer of a data set, for the folder `root` as downloaded.
///
/// # Errors
/// [`ImportError::UnknownDataSet`]; [`ImportError::Option`] for an option or value that the data set does not have.
/// Errors of the folder are returned by [`Importer::catalogue`].
pub fn importer(
    name: &str,
    root: PathBuf,
    options: &ImportOptions,
) -> Result<Box<dyn Importer>, ImportError> {
    let set = data_set(name)?;
    options.check(set)?;
    (set.open)(set, root, options)
}

/// The preprocessing of the data set's preset.
pub(super) fn of_preset(set: &DataSet, _: &ImportOptions) -> Preprocess {
    Preprocess::preset(set.preset).unwrap_or_else(|_| Preprocess::clear())
}

/// Names as owned strings.
pub(super) fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

impl DataSet {
    /// Names of the published splits that [`ImportOptions::split`] takes.
    pub fn splits(&self) -> Vec<String> {
        (self.splits)()
    }

    /// The option, or the default number of years.
    pub(super) fn horizon_years(&self, options: &ImportOptions) -> Result<f32, ImportError> {
        let years = options.horizon_years.unwrap_or(DEFAULT_HORIZON_YEARS);
        if years > 0.0 && years <= MAX_HORIZON_YEARS {
            return Ok(years);
        }
        let expected = format!("more than 0 and at most {MAX_HORIZON_YEARS} years");
        Err(self.refuse("horizon_years", &years.to_string(), &expected))
    }

    /// The error for an option.
    pub(super) fn refuse(&self, option: &'static str, found: &str, expected: &str) -> ImportError {
        ImportError::Option {
            data_set: self.name.to_owned(),
            option,
            found: found.to_owned(),
            expected: expected.to_owned(),
        }
    }
}

impl ImportOptions {
    /// Refuses options that the data set does not support.
    fn check(&self, set: &DataSet) -> Result<(), ImportError> {
        // Destructured so that a new field cannot be forgotten here.
        let ImportOptions {
            rate_hz,
            split,
            min_likelihood,
            min_report_words,
            keep_padding,
            horizon_years,
            table,
            input,
            patient_salt,
        } = self;
        let given: [(&'static str, Option<String>); 9] = [
            ("input", input.as_ref().map(|_| "...".to_owned())),
            ("rate_hz", rate_hz.map(|rate| rate.to_string())),
            ("split", split.clone()),
            ("min_likelihood", min_likelihood.map(|min| min.to_string())),
            (
                "min_report_words",
                min_report_words.map(|words| words.to_string()),
            ),
            ("keep_padding", keep_padding.then(|| "true".to_owned())),
            (
                "horizon_years",
                horizon_years.map(|years| years.to_string()),
            ),
            (
                "table",
                table.as_ref().map(|table| table.path.display().to_string()),
            ),
            // Not shown: a salt is a secret.
            (
                "patient_salt",
                patient_salt.as_ref().map(|_| "...".to_owned()),
            ),
        ];
        for (option, value) in given {
            let Some(value) = value else { continue };
            if !set.options.contains(&option) {
                return Err(set.refuse(
                    option,
                    &value,
                    "no value: this data set has no such option",
                ));
            }
            if option == "split" && !set.splits().contains(&value) {
                let expected = format!("one of {}", set.splits().join(", "));
                return Err(set.refuse(option, &value, &expected));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_data_set_opens_with_every_option_it_names() {
        for set in data_sets() {
            assert!(Preprocess::preset(set.preset).is_ok(), "{}", set.name);
            assert!(importer(set.name, PathBuf::new(), &ImportOptions::default()).is_ok());
            assert_eq!(
                set.splits().is_empty(),
                !set.options.contains(&"split"),
                "{}",
                set.name
            );
            for split in set.splits() {
                let options = ImportOptions {
                    split: Some(split.clone()),
                    ..ImportOptions::default()
                };
                assert!(
                    importer(set.name, PathBuf::new(), &options).is_ok(),
                    "{split}"
                );
            }
            assert!(usual_preprocess(set.name, &ImportOptions::default()).is_ok());
        }
    }

    fn project() -> PathBuf {
        PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..")
    }

    #[test]
    fn label_sets_are_those_that_importers_make() {
        let hefei = tempfile::tempdir().unwrap();
        std::fs::write(
            hefei.path().join("hf_round2_label.txt"),
            "100001.txt\t35\tMALE\t窦性心律\n",
        )
        .unwrap();
        let data = project().join("tests/data");
        for set in data_sets() {
            let root = match set.name {
                "folder" => continue,
                "hefei" => hefei.path().to_owned(),
                "mitdb" => data.join("wfdb"),
                "code-test" | "sami-trop" | "sph" => data.join("layouts").join(set.name),
                name => data.join(name),
            };
            let source = importer(set.name, root, &ImportOptions::default()).unwrap();
            let catalogue = source.catalogue().unwrap();
            let made: Vec<&str> = catalogue
                .label_sets
                .iter()
                .map(|own| own.name.as_str())
                .collect();
            assert_eq!(made, set.label_sets, "{}", set.name);
        }
    }

    #[test]
    fn every_data_set_has_a_page_that_names_what_it_offers() {
        let pages = project().join("docs/data");
        let read = |name: &str| {
            let path = pages.join(name).with_extension("md");
            std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        };
        let index = read("README");
        for set in data_sets() {
            let link = format!("[`{0}`]({0}.md)", set.name);
            assert!(index.contains(&link), "the index lacks {link}");
            let page = read(set.name);
            let names = |text: &str| page.contains(&format!("`{text}`"));
            assert!(page.contains(&format!("purkinje prepare {} ", set.name)));
            for label_set in set.label_sets {
                assert!(names(label_set), "{}: label set {label_set}", set.name);
            }
            for split in set.splits() {
                // `hubert-0` .. `hubert-3` names the folds between.
                let folds = split
                    .rsplit_once('-')
                    .is_some_and(|(stem, _)| page.contains(&format!("`{stem}-0` .. `{stem}-3`")));
                assert!(folds || names(&split), "{}: split {split}", set.name);
            }
            for option in set.options {
                let flag = match *option {
                    "rate_hz" => "--rate".to_owned(),
                    option => format!("--{}", option.replace('_', "-")),
                };
                assert!(page.contains(&flag), "{}: {flag}", set.name);
            }
            assert!(
                set.name == "folder"
                    || page.contains("Licence of the data")
                    || page.contains("No licence"),
                "{}: no licence",
                set.name
            );
        }
    }

    #[test]
    fn what_a_data_set_does_not_have_is_refused() {
        let error = |name: &str, options: ImportOptions| {
            importer(name, PathBuf::new(), &options)
                .err()
                .unwrap()
                .to_string()
        };
        let usual = ImportOptions::default;
        assert!(error("ptbxl", usual()).contains("ptb-xl"));
        let found = error(
            "ludb",
            ImportOptions {
                split: Some("x".into()),
                ..usual()
            },
        );
        assert!(found.contains("no such option"), "{found}");
        let found = error(
            "mitdb",
            ImportOptions {
                split: Some("x".into()),
                ..usual()
            },
        );
        assert!(found.contains("de-chazal"), "{found}");
        let found = error(
            "ptb_xl",
            ImportOptions {
                rate_hz: Some(250),
                ..usual()
            },
        );
        assert!(found.contains("100 or 500"), "{found}");
        for years in [0.0, -2.0, f32::NAN, 101.0] {
            let found = error(
                "sami-trop",
                ImportOptions {
                    horizon_years: Some(years),
                    ..usual()
                },
            );
            assert!(found.contains("at most 100 years"), "{found}");
        }
        let found = error(
            "ptb-xl",
            ImportOptions {
                patient_salt: Some("secret".into()),
                ..usual()
            },
        );
        assert!(!found.contains("secret"), "{found}");
    }

    /// Records for training, validation and test in each fold, as published with HuBERT-ECG. Chapman and Hefei (folds 0 to 2)
    /// have one record in train and test; it is a test record here, so that one part has one fewer.
    fn hubert_ecgs_sizes(set: &str) -> [[usize; 3]; 4] {
        match set {
            "chapman" => [[8281, 929, 1034]; 4],
            "cpsc2018" => [
                [5583, 607, 687],
                [5576, 614, 687],
                [5560, 630, 687],
                [5565, 625, 687],
            ],
            "cpsc-extra" => [
                [2735, 0, 702],
                [2753, 0, 684],
                [2742, 0, 695],
                [2753, 0, 684],
            ],
            "georgia" => [
                [8350, 944, 1047],
                [8377, 917, 1047],
                [8353, 941, 1047],
                [8351, 943, 1047],
            ],
            "hefei" => [
                [16414, 1814, 1807],
                [16407, 1821, 1807],
                [16407, 1821, 1807],
                [16227, 2002, 1807],
            ],
            "ningbo" => [
                [0, 3142, 3492],
                [0, 3139, 3492],
                [0, 3142, 3492],
                [0, 3138, 3492],
            ],
            "ptb" => [[406, 0, 107], [408, 0, 105], [405, 0, 108], [405, 0, 108]],
            "sami-trop" => [[1467, 0, 164]; 4],
            "sph" => [[18565, 2051, 5154]; 4],
            other => panic!("{other}"),
        }
    }

    /// Every division of HuBERT-ECG's that a data set offers, given to records that are called as its importer calls them, has the
    /// published numbers of records for training, validation and test.
    #[test]
    fn hubert_ecgs_divisions_have_their_published_sizes() {
        use super::super::{
            Item, csn::hubert_parts, hubert, physionet2021::HUBERT_SETS, published_splits,
        };
        use purkinje_store::Split;

        let sum = |sets: &[&str], fold: usize| {
            sets.iter().fold([0; 3], |all, set| {
                let one = hubert_ecgs_sizes(set)[fold];
                [all[0] + one[0], all[1] + one[1], all[2] + one[2]]
            })
        };
        let mut walked = 0;
        for (data_set, sets) in [
            ("cpsc2018", &["cpsc2018"][..]),
            ("csn", &["chapman", "ningbo"]),
            ("physionet2021", &HUBERT_SETS),
            ("hefei", &["hefei"]),
            ("sami-trop", &["sami-trop"]),
            ("sph", &["sph"]),
        ] {
            let offered = super::data_set(data_set).unwrap().splits();
            for fold in 0..4 {
                let joined = (format!("hubert-{fold}"), sum(sets, fold));
                let alone =
                    |set: &&str| (format!("hubert-{set}-{fold}"), hubert_ecgs_sizes(set)[fold]);
                let mut expected = vec![joined];
                if sets.len() > 1 {
                    expected.extend(sets.iter().map(alone));
                }
                for (split, counts) in expected {
                    assert!(offered.contains(&split), "{data_set} {split}: {offered:?}");
                    // All records of the data set, and one that the division does not know.
                    let mut items: Vec<Item> = sets
                        .iter()
                        .flat_map(|set| {
                            published_splits::published_split(set, &format!("hubert-{fold}"))
                                .unwrap()
                        })
                        .map(|(record, _)| record)
                        .chain(["nobody"])
                        .map(|id| Item {
                            id: id.to_owned(),
                            ..Item::default()
                        })
                        .collect();
                    if sets.len() > 1 {
                        let parts = hubert_parts(&split, sets).unwrap();
                        let absent =
                            published_splits::assign_parts(&mut items, &parts, |i| i.id.clone());
                        assert_eq!(absent, 0, "{data_set} {split}");
                    } else {
                        hubert::divide(sets[0], fold, &mut items, |item| item.id.clone()).unwrap();
                    }
                    let found = [Split::Train, Split::Val, Split::Test]
                        .map(|part| items.iter().filter(|i| i.split == Some(part)).count());
                    assert_eq!(found, counts, "{data_set} {split}");
                    assert_eq!(items.last().unwrap().split, Some(Split::None));
                    walked += 1;
                }
            }
        }
        // 4 of three sets, 12 of csn, 28 of the Challenge, 4 of CPSC.
        assert_eq!(walked, 4 * (1 + 3 + 7 + 1 + 1 + 1));
    }
}
