//! SCP-ECG (EN 1064, ISO 11073-91064, AAMI EC71), versions 1.3 to 3.0.
//!
//! A record is a table of pointers to sections of bytes, the low byte first, each with a checksum. Samples (section 6) are 16-bit numbers
//! as they are, or their first or second differences in a Huffman code; a reference beat may have been subtracted from them, and
//! samples outside of its QRS complexes may have been averaged in groups (bimodal compression).

use std::path::Path;

use crate::array::budget;
use crate::open::OpenOptions;
use crate::stored::{self, Offer};
use crate::wfdb::files;
use crate::{Lead, RecordError, Recording};

mod healforce;
mod huffman;
mod patient;
mod sections;
mod signal;

use sections::Record;
use signal::Signal;

/// Bytes of the largest file that is read: more than the leads of section 6 can have.
pub const MAX_SCP_BYTES: u64 = 1 << 26;

pub(crate) fn open(path: &Path, options: &OpenOptions) -> Result<Recording, RecordError> {
    let bytes = files::read_small(path, MAX_SCP_BYTES, "size in bytes")?;
    let record = Record::read(path, &bytes, options.verify)?;
    let mut recording = match record.healforce {
        true => healforce::read(&record, options)?,
        false => rhythm(&record, options)?,
    };
    if record.behind > 0 && !record.healforce {
        let note = format!("not read: {} bytes behind the record", record.behind);
        recording.source.comments.push(note);
    }
    patient::describe(&record, &mut recording, options)?;
    Ok(recording)
}

/// The leads of section 6.
fn rhythm(record: &Record<'_>, options: &OpenOptions) -> Result<Recording, RecordError> {
    let mut signal = Signal::read(record, options)?;
    let leads = &mut signal.leads;
    options.settle(leads.iter_mut().map(|span| &mut span.lead));
    let offer = |lead: &Lead| Offer {
        lead: lead.clone(),
        unit: "nV".into(),
    };
    let offers: Vec<Offer> = leads.iter().map(|span| offer(&span.lead)).collect();
    let rows = stored::choose(record.path, &offers, options)?;
    let bytes = signal
        .len()
        .saturating_mul(rows.len())
        .saturating_mul(size_of::<f32>());
    let limit = budget(files::size_of(record.path)?);
    if bytes > limit {
        return Err(RecordError::TooLarge {
            path: record.path.to_owned(),
            what: "size of the samples in bytes",
            found: bytes as u64,
            limit: limit as u64,
        });
    }
    let decoded = rows
        .iter()
        .map(|&row| signal.decode(row, options.keep_digital));
    let mut recording =
        stored::recording(record.path, "scp", Some(signal.rate_hz), decoded, options)?;
    let comments = &mut recording.source.comments;
    comments.append(&mut signal.notes);
    let others = record.others(&[0, 1, 2, 3, 4, 5, 6, 8, 11]);
    if !others.is_empty() {
        let others: Vec<String> = others.iter().map(u16::to_string).collect();
        comments.push(format!("not read: sections {}", others.join(", ")));
    }
    Ok(recording)
}

/// Whether the start of a file is that of an SCP-ECG record.
pub(crate) fn is_recording(start: &[u8]) -> bool {
    sections::begins(start)
}

/// Whether a file of any name has the mark of SCP-ECG.
pub(crate) fn is_scp(path: &Path) -> bool {
    let mut start = Vec::new();
    files::read_start(path, 32, &mut start).is_ok() && sections::is_marked(&start)
}

/// What is said of a recording in a coding that has not been compared.
fn unverified(coding: &str) -> String {
    format!("unverified: {coding}, which has not been compared with another reader")
}
