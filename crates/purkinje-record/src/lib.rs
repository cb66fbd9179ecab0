#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

mod array;
mod csv;
mod dicom;
mod edf;
mod error;
mod find;
pub mod hdf5;
mod inflate;
mod leads;
mod map;
pub mod mat;
mod names;
mod npy;
mod npz;
mod open;
mod parquet;
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
pub use find::{MAX_FOLDER_DEPTH, find_records};
pub use leads::{Lead, LeadSet, NoLead};
pub use open::{FramePolicy, LeadChoice, OpenOptions, Repeated, open};
pub use reader::{Reader, WHOLE_SAMPLES};
pub use recording::{Annotation, Digital, Recording, ShapeError, Source};
pub use units::{Unit, UnknownUnit};
