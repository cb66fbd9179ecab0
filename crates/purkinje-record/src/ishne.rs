//! Recordings of Holter monitors in the ISHNE Standard Output Format 1.0 (Badilini, Annals of Noninvasive Electrocardiology 3, 1998,
//! <http://thew-project.org/papers/Badilini.ISHNE.Holter.Standard.pdf>).
//!
//! A header of 522 bytes and a block of free text, guarded by a checksum, then the 16-bit samples of all leads in turn, in steps of so many
//! nanovolts. The free text is not kept.

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::error::content;
use crate::open::OpenOptions;
use crate::privacy::Identifiers;
use crate::reader::{Lazy, Stretches};
use crate::stored::{self, Offer, Scale, StoredLead};
use crate::values::FilePart;
use crate::{Lead, RecordError, Recording, Unit, names};

/// Bytes of the largest file that is read.
pub const MAX_ISHNE_BYTES: u64 = 1 << 36;
/// Bytes of the block of free text.
pub const MAX_TEXT_BYTES: usize = 1 << 20;

const MARK: &[u8] = b"ISHNE1.0";
/// Bytes of mark, checksum and fields.
const HEADER_BYTES: usize = 522;
/// Where what the checksum guards begins.
const GUARDED: usize = 10;
const MAX_LEADS: usize = 12;
/// Stands for a lead that was not recorded at the time.
const MISSING: i16 = i16::MIN;

/// An open file.
#[derive(Debug)]
struct Holter {
    path: PathBuf,
    rate_hz: f64,
    /// All leads of the file, with their resolution in nanovolts.
    leads: Vec<(Lead, i16)>,
    /// Leads that were taken.
    rows: Vec<usize>,
    /// Samples of all leads in turn.
    data: FilePart,
    options: OpenOptions,
}

/// Whether `start` is the start of such a file.
pub(crate) fn is_ishne(start: &[u8]) -> bool {
    start.starts_with(MARK)
}

/// Whether `start` is the start of a file of annotations, which has a header of the same form.
pub(crate) fn is_annotations(start: &[u8]) -> bool {
    start.starts_with(b"ANN  1.0")
}

pub(crate) fn open(path: &Path, options: &OpenOptions) -> Result<Lazy, RecordError> {
    let file = FilePart::whole(path, MAX_ISHNE_BYTES)?;
    let header = Header::read(path, &file, options.verify)?;
    let mut leads = header.leads(path)?;
    options.settle(leads.iter_mut().map(|(lead, _)| lead));
    let offers: Vec<Offer> = leads
        .iter()
        .map(|(lead, _)| Offer {
            lead: lead.clone(),
            unit: Unit::Nanovolt.to_string(),
        })
        .collect();
    let rows = stored::choose(path, &offers, options)?;
    let (start, frames, remark) = header.extent(path, file.len, leads.len())?;
    let holter = Holter {
        path: path.to_owned(),
        rate_hz: f64::from(header.i16(272)),
        data: file.part(start..start + 2 * frames * leads.len()),
        leads,
        rows,
        options: options.clone(),
    };
    let mut head = holter.read(&(0..1))?;
    head.source.comments.extend(remark);
    header.describe(&mut head, options);
    Ok(Lazy::new(head, frames, holter))
}

impl Stretches for Holter {
    fn read(&self, stretch: &Range<usize>) -> Result<Recording, RecordError> {
        let frame = 2 * self.leads.len();
        let bytes = self.data.read(stretch.start * frame..stretch.end * frame)?;
        let leads = self.rows.iter().map(|&row| self.decode(&bytes, row));
        let rate_hz = Some(self.rate_hz);
        stored::recording(&self.path, "ishne", rate_hz, leads, &self.options)
    }
}

impl Holter {
    /// The samples of a lead in `bytes`.
    fn decode(&self, bytes: &[u8], row: usize) -> Result<StoredLead, RecordError> {
        let (lead, resolution_nv) = &self.leads[row];
        let step = f64::from(*resolution_nv);
        let scale = Scale::new(step, 0.0, Unit::Nanovolt).filter(|_| step > 0.0);
        let scale = scale.ok_or_else(|| {
            content(
                &self.path,
                &format!("the amplitude resolution of lead {lead}"),
                &resolution_nv.to_string(),
                "a whole number of nanovolts above 0; correct the header",
            )
        })?;
        let frames = bytes.chunks_exact(2 * self.leads.len());
        let values = frames.map(|frame| {
            let value = i16::from_le_bytes([frame[2 * row], frame[2 * row + 1]]);
            (value != MISSING).then_some(i32::from(value))
        });
        let keep = self.options.keep_digital;
        Ok(StoredLead::from_digital(lead.clone(), values, scale, keep))
    }
}

/// Header and free text.
struct Header(Vec<u8>);

impl Header {
    fn read(path: &Path, file: &FilePart, verify: bool) -> Result<Header, RecordError> {
        let start = file.read(0..file.len.min(HEADER_BYTES))?;
        if !is_ishne(&start) {
            return Err(content(
                path,
                "the start of the file",
                "something else",
                "the mark `ISHNE1.0`; copy the file again",
            ));
        }
        let truncated = |expected: usize, what: &str| RecordError::Truncated {
            path: path.to_owned(),
            found: file.len as u64,
            expected: expected as u64,
            what: what.into(),
        };
        if start.len() < HEADER_BYTES {
            return Err(truncated(HEADER_BYTES, "the header"));
        }
        let header = Header(start);
        let text_bytes = header.i32(10);
        let size = usize::try_from(text_bytes).ok();
        let Some(size) = size.filter(|&size| size <= MAX_TEXT_BYTES) else {
            return Err(content(
                path,
                "the size of the variable-length block",
                &text_bytes.to_string(),
                &format!("0 to {MAX_TEXT_BYTES} bytes; copy the file again"),
            ));
        };
        let end = HEADER_BYTES + size;
        if end > file.len {
            return Err(truncated(end, "the variable-length block"));
        }
        let header = Header(file.read(0..end)?);
        let (found, stated) = (crc_ccitt(&header.0[GUARDED..]), header.i16(8) as u16);
        if verify && found != stated {
            return Err(content(
                path,
                "the checksum of the header",
                &format!("{found:#06x}"),
                &format!(
                    "{stated:#06x} as the file says; the header was changed. Copy the file again, or skip the check with `--no-verify`"
                ),
            ));
        }
        Ok(header)
    }

    fn i16(&self, at: usize) -> i16 {
        i16::from_le_bytes([self.0[at], self.0[at + 1]])
    }

    fn i32(&self, at: usize) -> i32 {
        i32::from_le_bytes([self.0[at], self.0[at + 1], self.0[at + 2], self.0[at + 3]])
    }

    /// A text without what follows its end.
    fn text(&self, at: usize, bytes: usize) -> String {
        let field = &self.0[at..at + bytes];
        let end = field.iter().position(|&b| b == 0).unwrap_or(bytes);
        names::text(&field[..end]).trim().to_owned()
    }

    /// Day, month and year, where all are known.
    fn date(&self, at: usize) -> Option<String> {
        let [day, month, year] = [0, 2, 4].map(|offset| self.i16(at + offset));
        let known = (1..=31).contains(&day) && (1..=12).contains(&month) && year > 1800;
        known.then(|| format!("{year:04}-{month:02}-{day:02}"))
    }

    fn leads(&self, path: &Path) -> Result<Vec<(Lead, i16)>, RecordError> {
        let rate_hz = self.i16(272);
        if rate_hz <= 0 {
            let found = rate_hz.to_string();
            let expected = "a number of hertz above 0; correct the header";
            return Err(content(path, "the sampling rate", &found, expected));
        }
        let stated = self.i16(156);
        let count = usize::try_from(stated).unwrap_or(0);
        if !(1..=MAX_LEADS).contains(&count) {
            return Err(content(
                path,
                "the number of leads",
                &stated.to_string(),
                &format!("1 to {MAX_LEADS}"),
            ));
        }
        let each = (0..count).map(|n| {
            let lead = lead(self.i16(158 + 2 * n), n + 1);
            (lead, self.i16(206 + 2 * n))
        });
        Ok(each.collect())
    }

    /// Where the samples start, how many each lead has, and what has to be said about that.
    ///
    /// The standard gives "the size in samples of the ECG", which programs take for the samples of a lead or of all leads.
    fn extent(
        &self,
        path: &Path,
        file_bytes: usize,
        leads: usize,
    ) -> Result<(usize, usize, Option<String>), RecordError> {
        let stated_start = self.i32(22);
        let start = usize::try_from(stated_start).ok();
        let start = start.filter(|start| (self.0.len()..=file_bytes).contains(start));
        let Some(start) = start else {
            return Err(content(
                path,
                "the offset of the samples",
                &stated_start.to_string(),
                &format!("{} to {file_bytes}, where the file ends", self.0.len()),
            ));
        };
        let (frames, rest) = (
            (file_bytes - start) / (2 * leads),
            (file_bytes - start) % (2 * leads),
        );
        if frames == 0 {
            return Err(RecordError::NoSamples {
                path: path.to_owned(),
                why: "it ends after its header; copy the file again".into(),
            });
        }
        let stated_samples = self.i32(14);
        let stated = usize::try_from(stated_samples).unwrap_or(0);
        let says = format!("its header says {stated_samples} samples");
        let (frames, remark) = match stated {
            0 => (
                frames,
                Some(format!("{says}: all {frames} of each lead were read")),
            ),
            _ if stated == frames || stated == frames * leads => {
                let left = format!("{rest} bytes after the last sample were left out");
                (frames, (rest > 0).then_some(left))
            }
            _ if stated < frames => (
                stated,
                Some(format!(
                    "the file has {frames} samples of each lead and {says}: what follows these was left out"
                )),
            ),
            _ => (
                frames,
                Some(format!(
                    "the file ends early: {says}, and the {frames} of each lead that are there were read"
                )),
            ),
        };
        Ok((start, frames, remark))
    }

    /// What the header says of the patient; names, number and birth date are only taken out of texts.
    fn describe(&self, recording: &mut Recording, options: &OpenOptions) {
        let [first, last, number] =
            [(28, 40), (68, 40), (108, 20)].map(|(at, bytes)| self.text(at, bytes));
        let (born, day) = (self.date(132), self.date(138));
        recording.sex = match self.i16(128) {
            1 => Some("male".to_owned()),
            2 => Some("female".to_owned()),
            _ => None,
        };
        let dates = born.as_ref().zip(day.as_ref());
        recording.age = dates.and_then(|(born, day)| stored::age_between(born, day));
        // Without a number, name and date of birth tell patients apart.
        let named = format!("{first} {last} {}", born.as_deref().unwrap_or(""));
        let known = !(first.is_empty() && last.is_empty());
        recording.patient = options.patient_of(match number.is_empty() {
            false => Some(&number),
            true => known.then_some(named.as_str()),
        });
        let mut identifiers = Identifiers::default();
        identifiers.number(&number);
        identifiers.name(&format!("{first} {last}"));
        identifiers.born(born.as_deref().unwrap_or(""));
        identifiers.remove_from(recording);
    }
}

/// The lead of a code (table 1 of the standard); `number` counts from 1 for those without a name.
fn lead(code: i16, number: usize) -> Lead {
    const NAMES: [&str; 20] = [
        "", "", "X", "Y", "Z", "I", "II", "III", "aVR", "aVL", "aVF", "V1", "V2", "V3", "V4", "V5",
        "V6", "ES", "AS", "AI",
    ];
    let name = usize::try_from(code).ok().and_then(|code| NAMES.get(code));
    match name {
        Some(&"") | None => Lead::Other(format!("channel {number}")),
        Some(name) => Lead::parse(name),
    }
}

/// CRC-CCITT: polynomial 0x1021, from 0xffff on.
fn crc_ccitt(bytes: &[u8]) -> u16 {
    bytes.iter().fold(0xffff, |crc: u16, &byte| {
        (0..8).fold(crc ^ (u16::from(byte) << 8), |crc, _| {
            let carry = crc & 0x8000 != 0;
            (crc << 1) ^ if carry { 0x1021 } else { 0 }
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_checksum_is_that_of_the_standard() {
        assert_eq!(crc_ccitt(b"123456789"), 0x29b1);
        assert_eq!(crate::Digital::MISSING, MISSING);
    }

    #[test]
    fn codes_name_leads() {
        assert_eq!(lead(8, 1), Lead::AVR);
        assert_eq!(lead(16, 1), Lead::V6);
        assert_eq!(lead(-9, 3), Lead::Other("channel 3".into()));
        assert_eq!(lead(1, 2), Lead::Other("channel 2".into()));
        assert_eq!(lead(2, 1).name(), "X");
    }
}
