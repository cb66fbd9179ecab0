//! Importers: each source gives a [`Catalogue`] of [`Item`]s.
//!
//! | importer | source |
//! | --- | --- |
//! | [`Folder`] | any folder of records in any format, with an optional table about them |
//! | [`PtbXl`] | PTB-XL 1.0.3 as published, at 100 or 500 Hz |
//! | [`Cpsc2018`] | CPSC 2018 in both published forms |
//! | [`Csn`] | Chapman-Shaoxing-Ningbo |
//! | [`MimicIvEcg`] | MIMIC-IV-ECG 1.0 |
//! | [`Physionet2021`] | the folders of the PhysioNet/CinC Challenge 2021 |
//! | [`Code15`], [`CodeTest`] | CODE-15% and the CODE test set |
//! | [`SamiTrop`] | SaMi-Trop |
//! | [`Sph`] | Shandong Provincial Hospital |
//! | [`Hefei`] | the data of the Hefei competition, second round |
//! | [`Ludb`] | LUDB 1.0.1 with onsets and ends of waves |
//! | [`PtbDb`] | PTB Diagnostic ECG Database 1.0.0 |
//! | [`MitBih`] | MIT-BIH Arrhythmia Database 1.0.0 with beats and rhythms |
//!
//! [`data_sets`] lists them by name, [`importer`] opens one by name.
//!
//! A new source is a type that implements [`Importer`].

mod cells;
mod code;
mod cpsc2018;
mod csn;
mod exams;
mod folder;
mod hefei;
mod hubert;
mod label_table;
mod language;
mod ludb;
mod mimic_iv_ecg;
mod mimic_reports;
mod mitdb;
mod mortality;
mod physionet2021;
mod ptb_xl;
mod ptbdb;
mod published;
mod published_splits;
mod registry;
mod sami_trop;
mod snomed;
mod sph;
mod statements;
pub use statements::superclass;
mod table;
mod table_parquet;
mod tracings;

use std::path::Path;

use purkinje_store::source::mark_repeated_ids;
pub use purkinje_store::source::{Catalogue, Fault, ImportError, Importer, Item, ReadWhole};

pub use code::{Code15, CodeTest};
pub use cpsc2018::Cpsc2018;
pub use csn::Csn;
pub use folder::Folder;
pub use hefei::Hefei;
pub use label_table::{LabelTable, TableColumns};
pub use language::report_language;
pub use ludb::Ludb;
pub use mimic_iv_ecg::{MAX_STUDIES, MimicIvEcg};
pub use mimic_reports::{
    DERI_MIN_WORDS, clean_report, d_beta_released_report, d_beta_report, deri_report,
};
pub use mitdb::MitBih;
pub use mortality::{DEFAULT_HORIZON_YEARS, MAX_HORIZON_YEARS};
pub use physionet2021::{CHALLENGE_RECORDS, Physionet2021};
pub use ptb_xl::{PtbXl, PtbXlRate};
pub use ptbdb::PtbDb;
pub use published_splits::{published_split, published_split_names, published_split_sets};
pub use registry::{DataSet, ImportOptions, data_set, data_sets, importer, usual_preprocess};
pub use sami_trop::SamiTrop;
pub use snomed::{
    CHALLENGE_SOURCES, ChallengeCode, HeaderNotes, MAX_HEADER_BYTES, MAX_HEADER_DEPTH, SNOMED_CT,
    challenge_code, challenge_codes,
};
pub use sph::Sph;

/// `male` or `female` for the usual spellings; anything else unchanged, `None` for a blank.
pub(crate) fn read_sex(text: &str) -> Option<String> {
    let text = text.trim();
    match text.to_ascii_lowercase().as_str() {
        "" | "nan" | "unknown" => None,
        "m" | "male" => Some("male".to_owned()),
        "f" | "female" => Some("female".to_owned()),
        _ => Some(text.to_owned()),
    }
}

/// Checks that the folder of a source exists.
pub(crate) fn check_root(root: &Path) -> Result<(), ImportError> {
    if root.is_dir() {
        Ok(())
    } else {
        Err(ImportError::NoFolder {
            path: root.to_owned(),
        })
    }
}
