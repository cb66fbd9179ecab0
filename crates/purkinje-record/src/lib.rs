//! What an ECG recording is, and how files become one.
//!
//! [`Recording`] is the only type for an ECG in memory: samples `[lead, time]` in millivolts,
//! a sampling rate in hertz, named leads, and what is known besides (patient, labels, report,
//! annotations, source). Lead order is a property of data, so nothing outside [`LeadSet`]
//! indexes a lead by number.

#![deny(missing_docs)]

mod csv;
mod error;
mod find;
mod leads;
mod npy;
mod open;
mod recording;
mod units;
pub mod wfdb;

pub use error::RecordError;
pub use find::{MAX_DEPTH, find_records};
pub use leads::{Lead, LeadSet, UnknownLead};
pub use open::{FramePolicy, LeadChoice, OpenOptions, open};
pub use recording::{Annotation, Digital, Recording, ShapeError, Source};
pub use units::{Unit, UnknownUnit};
