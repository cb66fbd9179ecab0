//! DICOM waveforms: 12-Lead, General (16 and 32 bits) and Ambulatory ECG Waveform Storage
//! (<https://dicom.nema.org/medical/dicom/current/output/chtml/part03/sect_C.10.9.html>).
//!
//! The multiplex groups of original samples are joined where they are of one recording (see [`join`]); groups of median beats are
//! derived. A sample is worth the channel's sensitivity times its correction factor, above its baseline. Skew between channels is
//! undone in whole samples.

use std::ops::Range;
use std::path::{Path, PathBuf};

use encoding_rs::{Encoding, WINDOWS_1252};

use crate::error::content;
use crate::join::{self, Joined, Piece};
use crate::map::Whole;
use crate::open::OpenOptions;
use crate::privacy::Identifiers;
use crate::reader::{Lazy, Stretches};
use crate::stored;
use crate::wfdb::files;
use crate::{Annotation, RecordError, Recording};

mod reader;
mod waveform;

use reader::{DataSet, Fault, Syntax, Tag};
use waveform::{Group, Groups};

/// Bytes of the largest DICOM file that is read.
pub const MAX_DICOM_BYTES: u64 = 1 << 36;
/// Bytes that a deflated data set may inflate to.
pub const MAX_INFLATED_BYTES: usize = 1 << 24;
/// Annotations that are taken.
pub const MAX_ANNOTATIONS: usize = 250_000;

/// Bytes before the mark of a DICOM file.
const PREAMBLE: usize = 128;
const MARK: &[u8] = b"DICM";
const EXPLICIT: Syntax = Syntax {
    explicit: true,
    big_endian: false,
};
const IMPLICIT: Syntax = Syntax {
    explicit: false,
    ..EXPLICIT
};

const TRANSFER_SYNTAX: Tag = Tag(0x0002, 0x0010);
const CHARACTER_SET: Tag = Tag(0x0008, 0x0005);
const SOP_CLASS: Tag = Tag(0x0008, 0x0016);
const STUDY_DATE: Tag = Tag(0x0008, 0x0020);
const ACQUISITION: Tag = Tag(0x0008, 0x002a);
const PATIENT_ID: Tag = Tag(0x0010, 0x0020);
const BIRTH_DATE: Tag = Tag(0x0010, 0x0030);
const NAMES: [Tag; 5] = [
    // The name itself, at birth, of the mother; other names; the responsible person.
    Tag(0x0010, 0x0010),
    Tag(0x0010, 0x1005),
    Tag(0x0010, 0x1060),
    Tag(0x0010, 0x1001),
    Tag(0x0010, 0x2297),
];
/// Other numbers of the patient, of the request, of the admission.
const NUMBERS: [Tag; 3] = [
    Tag(0x0010, 0x1000),
    Tag(0x0008, 0x0050),
    Tag(0x0038, 0x0010),
];
const SEX: Tag = Tag(0x0010, 0x0040);
const AGE: Tag = Tag(0x0010, 0x1010);
const ANNOTATIONS: Tag = Tag(0x0040, 0xb020);
const CHANNELS: Tag = Tag(0x0040, 0xa0b0);
const POSITIONS: Tag = Tag(0x0040, 0xa132);
const CONCEPT_NAME: Tag = Tag(0x0040, 0xa043);
const CONCEPT: Tag = Tag(0x0040, 0xa168);
const NUMERIC_VALUE: Tag = Tag(0x0040, 0xa30a);
const TEXT: Tag = Tag(0x0070, 0x0006);
const MEANING: Tag = Tag(0x0008, 0x0104);

/// The classes of objects that are ECGs.
const CLASSES: [(&str, &str); 4] = [
    ("1.2.840.10008.5.1.4.1.1.9.1.1", "12-Lead ECG"),
    ("1.2.840.10008.5.1.4.1.1.9.1.2", "General ECG"),
    ("1.2.840.10008.5.1.4.1.1.9.1.3", "Ambulatory ECG"),
    ("1.2.840.10008.5.1.4.1.1.9.1.4", "General 32-bit ECG"),
];

/// An open file.
#[derive(Debug)]
pub(crate) struct Waveform {
    path: PathBuf,
    groups: Vec<Group>,
    joined: Joined,
    options: OpenOptions,
}

pub(crate) fn open(path: &Path, options: &OpenOptions) -> Result<Lazy, RecordError> {
    let bytes = Whole::open(path, MAX_DICOM_BYTES)?;
    let (body, syntax, deflated) = body(path, &bytes)?;
    let inflated;
    let (bytes, body) = if deflated {
        inflated = Whole::Memory(inflate(path, body)?);
        (&inflated, &*inflated)
    } else {
        (&bytes, body)
    };
    let set = DataSet::new(body, syntax);
    let file = Source {
        path,
        bytes,
        found: body.len(),
        encoding: WINDOWS_1252,
    };
    let file = Source {
        encoding: encoding(&file.text(set, CHARACTER_SET)?),
        ..file
    };
    let class = file.text(set, SOP_CLASS)?;
    if !CLASSES.iter().any(|(uid, _)| *uid == class) {
        let known = CLASSES.map(|(uid, name)| format!("{name} ({uid})"));
        return Err(content(
            path,
            "the SOP class",
            &format!("`{class}`"),
            &format!("an ECG waveform: {}", known.join(", ")),
        ));
    }
    let Groups {
        parts,
        groups,
        places,
        also,
    } = Groups::read(&file, set)?;
    let waveform = Waveform {
        path: path.to_owned(),
        joined: join::join(path, &parts, also, options)?,
        groups,
        options: options.clone(),
    };
    let joined = &waveform.joined;
    let len = joined.len;
    let mut head = waveform.read(&(0..len.min(1)))?;
    head.source.also.clone_from(&joined.also);
    head.source.comments.clone_from(&joined.comments);
    file.describe(set, &mut head, options)?;
    let groups = places.iter().zip(&waveform.groups).zip(&joined.starts);
    let groups: Vec<(usize, &Group, usize)> = groups
        .filter_map(|((&place, group), start)| Some((place, group, (*start)?)))
        .collect();
    file.annotate(set, &groups, &mut head)?;
    file.identifiers(set)?.remove_from(&mut head);
    Ok(Lazy::new(head, len, waveform))
}

impl Stretches for Waveform {
    fn read(&self, stretch: &Range<usize>) -> Result<Recording, RecordError> {
        let mut read = Vec::with_capacity(self.groups.len());
        for part in 0..self.groups.len() {
            read.push(self.bytes(part, stretch)?);
        }
        let value = |piece: &Piece, sample: usize| {
            let (first, bytes) = &read[piece.part];
            self.groups[piece.part].value(bytes, sample - first, piece.row)
        };
        let leads = self.joined.tracks.iter().map(|track| {
            let pieces = track.pieces.iter();
            let channels = pieces.map(|piece| &self.groups[piece.part].channels[piece.row]);
            let scales = channels.map(|channel| channel.scale(&self.path, &self.options));
            let scales = scales.collect::<Result<Vec<_>, _>>()?;
            let narrow = |piece: &Piece| self.groups[piece.part].is_narrow();
            let narrow = track.pieces.iter().all(narrow);
            Ok(track.decode(stretch, &scales, value, narrow, self.options.keep_digital))
        });
        let rate_hz = Some(self.joined.rate_hz);
        stored::recording(&self.path, "dicom", rate_hz, leads, &self.options)
    }
}

impl Waveform {
    /// The samples of a group that leads need in a stretch, with the place of the first.
    fn bytes(&self, part: usize, stretch: &Range<usize>) -> Result<(usize, Vec<u8>), RecordError> {
        let pieces = self.joined.tracks.iter().flat_map(|track| &track.pieces);
        let needed = pieces
            .filter(|piece| piece.part == part)
            .filter_map(|piece| {
                let from = piece.samples.start.max(stretch.start);
                let end = piece.samples.end.min(stretch.end);
                let own = |t: usize| t - piece.samples.start + piece.first;
                (from < end).then(|| own(from)..own(end))
            });
        let needed = needed.reduce(|a, b| a.start.min(b.start)..a.end.max(b.end));
        match needed {
            Some(needed) => Ok((needed.start, self.groups[part].bytes(&needed)?)),
            None => Ok((0, Vec::new())),
        }
    }
}

/// Where a DICOM file begins, by its first bytes: behind the preamble, or without one. `None` for another kind of file.
fn beginning(start: &[u8]) -> Option<(usize, Syntax)> {
    if start
        .get(PREAMBLE..)
        .is_some_and(|rest| rest.starts_with(MARK))
    {
        return Some((PREAMBLE + MARK.len(), EXPLICIT));
    }
    if start.starts_with(MARK) {
        return Some((MARK.len(), EXPLICIT));
    }
    // Files that were sent without a head begin with the head's elements or with those of the group 0008: a tag, and then the kind of
    // a value in two letters, or a short length.
    let &[a, b, c, d, kind @ ..] = start.first_chunk::<8>()?;
    let explicit = kind[..2].iter().all(u8::is_ascii_uppercase);
    let length = u32::from_le_bytes(kind);
    let low = u16::from_le_bytes([c, d]) <= 0x0070;
    let explicitly = |big_endian| Syntax {
        explicit: true,
        big_endian,
    };
    match [a, b] {
        [2, 0] if explicit && u16::from_le_bytes([c, d]) <= 0x0102 => Some((0, EXPLICIT)),
        [8, 0] if explicit && low => Some((0, explicitly(false))),
        [0, 8] if explicit && u16::from_be_bytes([c, d]) <= 0x0070 => Some((0, explicitly(true))),
        [8, 0] if low && length <= 1024 => Some((0, IMPLICIT)),
        _ => None,
    }
}

/// Whether the start of a file is that of a DICOM ECG.
pub(crate) fn is_recording(start: &[u8]) -> bool {
    /// What the classes of ECG objects have in common; the head of the file names the class.
    const CLASS: &[u8] = b"1.2.840.10008.5.1.4.1.1.9.1.";
    let head = beginning(start).and_then(|(at, _)| start.get(at..));
    head.is_some_and(|head| head.windows(CLASS.len()).any(|window| window == CLASS))
}

/// Whether the start of a file is that of DICOM files, with or without a preamble.
pub(crate) fn has_mark(start: &[u8]) -> bool {
    beginning(start).is_some()
}

/// Whether the file begins as DICOM files do.
pub(crate) fn is_dicom(path: &Path) -> bool {
    /// The class of an object is one of its first elements.
    const START: u64 = 1024;
    let mut start = Vec::new();
    if files::read_start(path, START, &mut start).is_err() {
        return false;
    }
    match beginning(&start) {
        Some((0, _)) => is_recording(&start),
        found => found.is_some(),
    }
}

/// The data set behind the file's head, how it is written, and whether it is deflated.
fn body<'a>(path: &Path, bytes: &'a Whole) -> Result<(&'a [u8], Syntax, bool), RecordError> {
    let Some((at, syntax)) = beginning(bytes) else {
        return Err(content(
            path,
            "the start of the file",
            "something else",
            "128 bytes and the mark `DICM` of a DICOM file, or its first elements",
        ));
    };
    let rest = bytes.get(at..).unwrap_or(&[]);
    // Without a head nothing but its look tells how the data set is written.
    if at == 0 && rest.first() != Some(&2) {
        return Ok((rest, syntax, false));
    }
    let explicit = EXPLICIT;
    let head = DataSet::new(rest, explicit);
    let (head, body) = rest.split_at(head.length_of_group(0x0002));
    let file = Source {
        path,
        bytes,
        found: bytes.len(),
        encoding: WINDOWS_1252,
    };
    let (syntax, deflated) = match &*file.text(DataSet::new(head, explicit), TRANSFER_SYNTAX)? {
        "1.2.840.10008.1.2" => (IMPLICIT, false),
        "1.2.840.10008.1.2.1" => (explicit, false),
        "1.2.840.10008.1.2.1.99" => (explicit, true),
        "1.2.840.10008.1.2.2" => (
            Syntax {
                big_endian: true,
                ..explicit
            },
            false,
        ),
        other => {
            return Err(content(
                path,
                "the transfer syntax",
                &format!("`{other}`"),
                "implicit or explicit VR (little or big endian), or deflated; convert the file to Explicit VR Little Endian",
            ));
        }
    };
    Ok((body, syntax, deflated))
}

fn inflate(path: &Path, body: &[u8]) -> Result<Vec<u8>, RecordError> {
    let limit = MAX_INFLATED_BYTES;
    miniz_oxide::inflate::decompress_to_vec_with_limit(body, limit).map_err(|error| {
        let expected = format!("a deflated data set of at most {limit} bytes; convert a larger one to Explicit VR Little Endian");
        content(path, "the deflated data set", &error.to_string(), &expected)
    })
}

/// The encoding of texts, by the first value of the character set that is known.
fn encoding(set: &str) -> &'static Encoding {
    let label = |value: &str| match value
        .trim()
        .trim_start_matches("ISO 2022 IR ")
        .trim_start_matches("ISO_IR ")
    {
        "100" | "6" => Some("windows-1252"),
        "101" => Some("iso-8859-2"),
        "109" => Some("iso-8859-3"),
        "110" => Some("iso-8859-4"),
        "144" => Some("iso-8859-5"),
        "127" => Some("iso-8859-6"),
        "126" => Some("iso-8859-7"),
        "138" => Some("iso-8859-8"),
        "148" => Some("windows-1254"),
        "166" => Some("windows-874"),
        "13" => Some("shift_jis"),
        "87" | "159" => Some("iso-2022-jp"),
        "149" => Some("euc-kr"),
        "58" => Some("gbk"),
        "192" => Some("utf-8"),
        "GB18030" => Some("gb18030"),
        "GBK" => Some("gbk"),
        _ => None,
    };
    // With code extensions the first value is often empty or plain ASCII.
    let mut labels: Vec<&str> = set.split('\\').filter_map(label).collect();
    labels.sort_by_key(|label| *label == "windows-1252");
    labels
        .first()
        .and_then(|label| Encoding::for_label(label.as_bytes()))
        .unwrap_or(WINDOWS_1252)
}

/// The file that is read: what errors name, and how its texts are encoded.
struct Source<'p> {
    path: &'p Path,
    bytes: &'p Whole,
    found: usize,
    encoding: &'static Encoding,
}

impl Source<'_> {
    fn fault(&self, fault: Fault) -> RecordError {
        match fault {
            Fault::Ends(tag) => RecordError::Truncated {
                path: self.path.to_owned(),
                found: self.found as u64,
                expected: self.found as u64 + 1,
                what: format!("the DICOM element {tag} goes on"),
            },
            Fault::Deep => content(
                self.path,
                "the data set",
                "nested too deeply",
                &format!("sequences no deeper than {}", reader::MAX_DEPTH),
            ),
            Fault::Many(tag) => content(
                self.path,
                &format!("the sequence {tag}"),
                "too long",
                &format!("{} items at most", reader::MAX_ITEMS),
            ),
            Fault::NoItem(tag) => content(
                self.path,
                "a sequence",
                &format!("holding the element {tag}"),
                "items; the file may be damaged, copy it again",
            ),
        }
    }

    fn value<'a>(&self, set: DataSet<'a>, tag: Tag) -> Result<Option<&'a [u8]>, RecordError> {
        set.value(tag).map_err(|fault| self.fault(fault))
    }

    fn items<'a>(&self, set: DataSet<'a>, tag: Tag) -> Result<Vec<DataSet<'a>>, RecordError> {
        set.items(tag).map_err(|fault| self.fault(fault))
    }

    fn item<'a>(&self, set: DataSet<'a>, tag: Tag) -> Result<Option<DataSet<'a>>, RecordError> {
        set.item(tag).map_err(|fault| self.fault(fault))
    }

    /// A text, without padding; empty when it is absent.
    fn text(&self, set: DataSet<'_>, tag: Tag) -> Result<String, RecordError> {
        let bytes = self.value(set, tag)?.unwrap_or(&[]);
        let (text, _) = self.encoding.decode_without_bom_handling(bytes);
        let padding = |c: char| c.is_whitespace() || c == '\0';
        Ok(text.trim_matches(padding).to_owned())
    }

    /// The first of several numbers written as text.
    fn decimal(&self, set: DataSet<'_>, tag: Tag) -> Result<Option<f64>, RecordError> {
        let text = self.text(set, tag)?;
        let first = text.split('\\').next().unwrap_or("").trim();
        if first.is_empty() {
            return Ok(None);
        }
        match first.parse::<f64>() {
            Ok(value) if value.is_finite() => Ok(Some(value)),
            _ => Err(content(
                self.path,
                &format!("the element {tag}"),
                &format!("`{first}`"),
                "a number",
            )),
        }
    }

    /// Whole numbers of 2 or 4 bytes.
    fn integers(&self, set: DataSet<'_>, tag: Tag, size: usize) -> Result<Vec<u32>, RecordError> {
        let bytes = self.value(set, tag)?.unwrap_or(&[]);
        let values = bytes.chunks_exact(size).map(|bytes| {
            let fold = |value: u32, byte: &u8| value << 8 | u32::from(*byte);
            if set.big_endian() {
                bytes.iter().fold(0, fold)
            } else {
                bytes.iter().rev().fold(0, fold)
            }
        });
        Ok(values.collect())
    }

    /// Patient, age and sex.
    fn describe(
        &self,
        set: DataSet<'_>,
        recording: &mut Recording,
        options: &OpenOptions,
    ) -> Result<(), RecordError> {
        recording.patient = options.patient_of(Some(&self.text(set, PATIENT_ID)?));
        recording.sex = stored::sex(&self.text(set, SEX)?);
        // `045Y`; the letter is one of D, W, M, Y.
        let age = self.text(set, AGE)?;
        let unit = age.trim_start_matches(|c: char| c.is_ascii_digit());
        let number = age.strip_suffix(unit).unwrap_or("");
        recording.age = match stored::age_years(number, unit) {
            Some(age) => Some(age),
            None => {
                let birth = self.text(set, BIRTH_DATE)?;
                let days = [self.text(set, ACQUISITION)?, self.text(set, STUDY_DATE)?];
                days.iter().find_map(|day| stored::age_between(&birth, day))
            }
        };
        Ok(())
    }

    /// Who the patient is.
    fn identifiers(&self, set: DataSet<'_>) -> Result<Identifiers, RecordError> {
        let mut found = Identifiers::default();
        found.number(&self.text(set, PATIENT_ID)?);
        found.born(&self.text(set, BIRTH_DATE)?);
        for tag in NAMES {
            found.name(&self.text(set, tag)?);
        }
        for tag in NUMBERS {
            found.number(&self.text(set, tag)?);
        }
        Ok(found)
    }

    /// Texts become the report; codes with sample positions become annotations. `groups`: those that were read, with their place
    /// in the file and their first sample in the recording.
    fn annotate(
        &self,
        set: DataSet<'_>,
        groups: &[(usize, &Group, usize)],
        recording: &mut Recording,
    ) -> Result<(), RecordError> {
        let mut lines: Vec<String> = Vec::new();
        for item in self.items(set, ANNOTATIONS)? {
            let text = self.text(item, TEXT)?;
            if !text.is_empty() {
                let trimmed = text.lines().map(|line| line.trim_end().to_owned());
                lines.extend(trimmed.filter(|line| !line.is_empty()));
                continue;
            }
            let meaning = |code: Option<DataSet<'_>>| match code {
                Some(code) => self.text(code, MEANING),
                None => Ok(String::new()),
            };
            let name = meaning(self.item(item, CONCEPT_NAME)?)?;
            let value = meaning(self.item(item, CONCEPT)?)?;
            // Pairs of group and channel, both from 1; channel 0 stands for all.
            let channels = self.integers(item, CHANNELS, 2)?;
            let own = channels.chunks_exact(2).find_map(|pair| {
                let mut groups = groups.iter();
                let own = groups.find(|(place, ..)| pair[0] as usize == place + 1)?;
                Some((own, pair[1] as usize))
            });
            let Some((&(_, group, start), channel)) = own else {
                continue;
            };
            let positions = self.integers(item, POSITIONS, 4)?;
            let measured = self.value(item, NUMERIC_VALUE)?.is_some();
            let note = [name, value]
                .iter()
                .filter(|part| !part.is_empty())
                .cloned()
                .collect::<Vec<_>>();
            if positions.is_empty() && !measured && note.len() == 2 {
                lines.push(note[1].clone());
            }
            let lead = channel.checked_sub(1).and_then(|at| group.channels.get(at));
            if recording.annotations.len() + positions.len() > MAX_ANNOTATIONS {
                return Err(RecordError::TooLarge {
                    path: self.path.to_owned(),
                    what: "number of annotations",
                    found: (recording.annotations.len() + positions.len()) as u64,
                    limit: MAX_ANNOTATIONS as u64,
                });
            }
            for position in positions {
                recording.annotations.push(Annotation {
                    // Positions count from 1.
                    sample: (i64::from(position) - 1).saturating_add_unsigned(start as u64),
                    lead: lead.map(|channel| channel.lead.clone()),
                    symbol: "\"".into(),
                    note: (!note.is_empty()).then(|| note.join(": ")),
                });
            }
        }
        recording
            .annotations
            .sort_by_key(|annotation| annotation.sample);
        recording.report = (!lines.is_empty()).then(|| lines.join("\n"));
        Ok(())
    }
}
