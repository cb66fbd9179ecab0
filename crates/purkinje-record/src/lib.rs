#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

mod array;
mod clock;
mod container;
mod csv;
mod derive;
mod dicom;
mod edf;
mod error;
mod find;
pub mod hdf5;
mod inflate;
mod ishne;
mod join;
mod leads;
mod map;
pub mod mat;
mod mistaken;
mod names;
mod npy;
mod npz;
mod open;
mod packed;
mod parquet;
pub mod person;
mod privacy;
mod reader;
mod recording;
mod scp;
mod stored;
mod table;
mod units;
mod values;
pub mod wfdb;
mod xml;

pub use error::RecordError;
pub use find::{Found, MAX_FOLDER_DEPTH, find_records};
pub use leads::{Lead, LeadSet, NoLead};
pub use open::{FramePolicy, LeadChoice, OpenOptions, Repeated, open};
pub use privacy::{may_name_a_patient, naming, without_naming};
pub use reader::{Reader, WHOLE_SAMPLES};
pub use recording::{Annotation, Digital, Recording, ShapeError, Source};
pub use units::{Unit, UnknownUnit};
