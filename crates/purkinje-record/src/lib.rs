//! What an ECG recording is, and how files become one.
//!
//! [`Recording`] is the only type for an ECG in memory: samples `[lead, time]` in millivolts,
//! a sampling rate in hertz, named leads, and what is known besides (patient, labels, report,
//! annotations, source). Lead order is a property of data, so nothing outside [`LeadSet`]
//! indexes a lead by number.

#![deny(missing_docs)]

mod leads;
mod recording;

pub use leads::{Lead, LeadSet, UnknownLead};
pub use recording::{Annotation, Recording, ShapeError, Source};
