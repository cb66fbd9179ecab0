//! Multiplex groups, channels and samples of DICOM waveforms.

use std::ops::Range;
use std::path::Path;

use super::Source;
use super::reader::{DataSet, Tag};
use crate::error::content;
use crate::join::{self, Part};
use crate::open::OpenOptions;
use crate::stored::Scale;
use crate::values::Bytes;
use crate::{Lead, RecordError, Unit, leads};

/// Channels of a group.
pub const MAX_CHANNELS: usize = 512;
/// Derived groups that are named one by one.
const MAX_NAMED: usize = 8;
/// Samples of 8 bits, which take four times their size in memory, of all channels.
pub const MAX_BYTE_SAMPLES: usize = 1 << 24;

const WAVEFORMS: Tag = Tag(0x5400, 0x0100);
const ORIGINALITY: Tag = Tag(0x003a, 0x0004);
const CHANNEL_COUNT: Tag = Tag(0x003a, 0x0005);
const SAMPLE_COUNT: Tag = Tag(0x003a, 0x0010);
const TIME_OFFSET: Tag = Tag(0x0018, 0x1068);
const FREQUENCY: Tag = Tag(0x003a, 0x001a);
const GROUP_LABEL: Tag = Tag(0x003a, 0x0020);
const DEFINITIONS: Tag = Tag(0x003a, 0x0200);
const CHANNEL_LABEL: Tag = Tag(0x003a, 0x0203);
const CHANNEL_SOURCE: Tag = Tag(0x003a, 0x0208);
const SENSITIVITY: Tag = Tag(0x003a, 0x0210);
const SENSITIVITY_UNITS: Tag = Tag(0x003a, 0x0211);
const CORRECTION: Tag = Tag(0x003a, 0x0212);
const BASELINE: Tag = Tag(0x003a, 0x0213);
/// In seconds; the next in samples; the third, in seconds, comes in addition.
const TIME_SKEW: Tag = Tag(0x003a, 0x0214);
const SAMPLE_SKEW: Tag = Tag(0x003a, 0x0215);
const CHANNEL_OFFSET: Tag = Tag(0x003a, 0x0218);
const BITS_ALLOCATED: Tag = Tag(0x5400, 0x1004);
const INTERPRETATION: Tag = Tag(0x5400, 0x1006);
const PADDING: Tag = Tag(0x5400, 0x100a);
const DATA: Tag = Tag(0x5400, 0x1010);
const CODE: Tag = Tag(0x0008, 0x0100);
const SCHEME: Tag = Tag(0x0008, 0x0102);
const MEANING: Tag = Tag(0x0008, 0x0104);

/// A group of channels that were sampled together.
#[derive(Debug)]
pub(super) struct Group {
    pub channels: Vec<Channel>,
    pub rate_hz: f64,
    /// Of a channel.
    pub samples: usize,
    /// When it begins, in seconds of the clock of all groups.
    pub start_s: Option<f64>,
    kind: Kind,
    big_endian: bool,
    padding: Option<i64>,
    /// Samples of all channels, then the next of all.
    data: Bytes,
}

/// One channel of a group.
#[derive(Debug)]
pub(super) struct Channel {
    pub lead: Lead,
    unit: String,
    /// What a digital unit is worth, in `unit`.
    step: f64,
    offset: f64,
    /// Samples by which its first sample is later than those of the group.
    skew: f64,
}

/// The groups of a file.
pub(super) struct Groups {
    /// Groups of original samples, as [`join`] sees them.
    pub parts: Vec<Part>,
    pub groups: Vec<Group>,
    /// The place of each among all groups of the file.
    pub places: Vec<usize>,
    /// Those of derived samples and those that cannot be read, in words.
    pub also: Vec<String>,
}

/// How a sample is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Kind {
    bytes: usize,
    signed: bool,
}

impl Channel {
    /// What a digital unit is worth in millivolts.
    ///
    /// # Errors
    /// When the unit is no voltage, or the sensitivity 0.
    pub fn scale(&self, path: &Path, options: &OpenOptions) -> Result<Scale, RecordError> {
        let unit = options.unit_of(path, self.lead.name(), &self.lead, &self.unit)?;
        Scale::new(self.step, self.offset, unit).ok_or_else(|| {
            content(
                path,
                &format!("the sensitivity of lead {}", self.lead),
                &self.step.to_string(),
                "a voltage, not 0",
            )
        })
    }

    fn read(
        file: &Source<'_>,
        definition: DataSet<'_>,
        place: &str,
        rate_hz: f64,
    ) -> Result<Channel, RecordError> {
        let source = file.item(definition, CHANNEL_SOURCE)?;
        let of = |set: Option<DataSet<'_>>, tag| match set {
            Some(set) => file.text(set, tag),
            None => Ok(String::new()),
        };
        let (code, scheme) = (of(source, CODE)?, of(source, SCHEME)?);
        let meaning = of(source, MEANING)?;
        let label = file.text(definition, CHANNEL_LABEL)?;
        let lead = by_code(&scheme, &code)
            .or_else(|| by_text(&meaning))
            .or_else(|| by_text(&label))
            .or_else(|| by_text(&code))
            .unwrap_or_else(|| {
                let names = [meaning, label, code];
                let name = names.into_iter().find(|name| !name.is_empty());
                Lead::Other(name.unwrap_or_else(|| place.to_owned()))
            });
        let sensitivity = file.decimal(definition, SENSITIVITY)?;
        let units = file.item(definition, SENSITIVITY_UNITS)?;
        let (code, meaning) = (of(units, CODE)?, of(units, MEANING)?);
        let known = code.parse::<Unit>().is_ok() || meaning.parse::<Unit>().is_err();
        let skew = match file.decimal(definition, TIME_SKEW)? {
            Some(skew_s) => skew_s * rate_hz,
            None => file.decimal(definition, SAMPLE_SKEW)?.unwrap_or(0.0),
        };
        let aligned_s = file.decimal(definition, CHANNEL_OFFSET)?.unwrap_or(0.0);
        // Without a sensitivity samples have no unit, which the choice of leads refuses.
        let unit = if known { code } else { meaning };
        Ok(Channel {
            lead,
            unit: if sensitivity.is_some() {
                unit
            } else {
                String::new()
            },
            step: sensitivity.unwrap_or(1.0) * file.decimal(definition, CORRECTION)?.unwrap_or(1.0),
            offset: file.decimal(definition, BASELINE)?.unwrap_or(0.0),
            skew: if aligned_s == 0.0 {
                skew
            } else {
                skew + aligned_s * rate_hz
            },
        })
    }
}

impl Groups {
    pub fn read(file: &Source<'_>, set: DataSet<'_>) -> Result<Groups, RecordError> {
        let all = file.items(set, WAVEFORMS)?;
        let mut read = Groups {
            parts: Vec::new(),
            groups: Vec::new(),
            places: Vec::new(),
            also: Vec::new(),
        };
        let mut unread = Vec::new();
        let mut channels = 0;
        let (count, mut unnamed) = (all.len(), 0);
        let derived = all.iter().map(|&group| is_derived(file, group));
        let derived = derived.collect::<Result<Vec<bool>, _>>()?;
        let several = derived.iter().filter(|derived| !*derived).count() > 1;
        for (place, (group, derived)) in all.into_iter().zip(derived).enumerate() {
            let name = format!("group {}", place + 1);
            if derived {
                match read.also.len() < MAX_NAMED {
                    true => read.also.push(in_words(file, group, &name)?),
                    false => unnamed += 1,
                }
                continue;
            }
            let own = match Group::read(file, group, place, several) {
                Ok(own) => own,
                Err(error) if unread.len() >= MAX_NAMED => return Err(error),
                Err(error) => {
                    unread.push((error, file.decimal(group, FREQUENCY)?, name));
                    continue;
                }
            };
            channels += own.channels.len().max(1);
            if channels > MAX_CHANNELS {
                return Err(too_many(file.path, channels));
            }
            read.parts.push(own.part(name));
            read.groups.push(own);
            read.places.push(place);
        }
        if unnamed > 0 {
            read.also.push(format!("{unnamed} more derived groups"));
        }
        for (error, rate_hz, name) in unread {
            let other = |part: &Part| Some(part.rate_hz) != rate_hz;
            // Of the same rate it may be a part of the recording.
            if read.parts.is_empty() || !read.parts.iter().all(other) {
                return Err(error);
            }
            read.also.push(format!("{name}, which cannot be read"));
        }
        if read.parts.is_empty() {
            return Err(RecordError::NoSamples {
                path: file.path.to_owned(),
                why: match count {
                    0 => "it has no waveform sequence".into(),
                    n => format!(
                        "none of its {n} waveforms is original; median beats are no recording"
                    ),
                },
            });
        }
        read.settle_starts();
        Ok(read)
    }

    /// Where some groups of a rate state when they begin, those that do not begin with the clock.
    fn settle_starts(&mut self) {
        for at in 0..self.parts.len() {
            let rate_hz = self.parts[at].rate_hz;
            let states = |part: &Part| part.rate_hz == rate_hz && part.start_s.is_some();
            if self.parts[at].start_s.is_none() && self.parts.iter().any(states) {
                self.parts[at].start_s = Some(0.0);
            }
        }
    }
}

/// Whether a group holds no original samples, such as a median beat.
fn is_derived(file: &Source<'_>, group: DataSet<'_>) -> Result<bool, RecordError> {
    let label = file.text(group, GROUP_LABEL)?.to_uppercase();
    let beat = label.contains("MEDIAN") || label.contains("REPRESENTATIVE");
    Ok(beat || file.text(group, ORIGINALITY)? == "DERIVED")
}

/// A derived group in words.
fn in_words(file: &Source<'_>, group: DataSet<'_>, name: &str) -> Result<String, RecordError> {
    let first = |tag, size| -> Result<u32, RecordError> {
        Ok(file
            .integers(group, tag, size)?
            .first()
            .copied()
            .unwrap_or(0))
    };
    let rate_hz = file.decimal(group, FREQUENCY)?.unwrap_or(f64::NAN);
    let label: String = file.text(group, GROUP_LABEL)?.chars().take(40).collect();
    let label = match &*label {
        "" => String::new(),
        label => format!(", {label}"),
    };
    Ok(format!(
        "{name} (derived{label}): {} channels at {rate_hz} Hz, {} samples",
        first(CHANNEL_COUNT, 2)?,
        first(SAMPLE_COUNT, 4)?
    ))
}

fn too_many(path: &Path, channels: usize) -> RecordError {
    RecordError::TooLarge {
        path: path.to_owned(),
        what: "number of channels",
        found: channels as u64,
        limit: MAX_CHANNELS as u64,
    }
}

impl Group {
    /// `place`: of `several` groups.
    fn read(
        file: &Source<'_>,
        group: DataSet<'_>,
        place: usize,
        several: bool,
    ) -> Result<Group, RecordError> {
        let first = |tag, size| {
            Ok(file
                .integers(group, tag, size)?
                .first()
                .copied()
                .unwrap_or(0) as usize)
        };
        let channels = first(CHANNEL_COUNT, 2)?;
        if channels > MAX_CHANNELS {
            return Err(too_many(file.path, channels));
        }
        let samples = first(SAMPLE_COUNT, 4)?;
        let definitions = file.items(group, DEFINITIONS)?;
        if definitions.len() != channels {
            return Err(content(
                file.path,
                "the channel definitions",
                &format!("{} of them", definitions.len()),
                &format!("{channels}, as the number of channels says"),
            ));
        }
        let bits = first(BITS_ALLOCATED, 2)?;
        let interpretation = file.text(group, INTERPRETATION)?;
        let kind = match (bits, &*interpretation) {
            (8, "SB") => Some((1, true)),
            (8, "UB") => Some((1, false)),
            (16, "SS") => Some((2, true)),
            (16, "US") => Some((2, false)),
            (32, "SL") => Some((4, true)),
            (32, "UL") => Some((4, false)),
            _ => None,
        };
        let Some((bytes, signed)) = kind else {
            return Err(content(
                file.path,
                "the samples",
                &format!("{bits} bits of the kind `{interpretation}`"),
                "8, 16 or 32 bits, signed or unsigned (SB, UB, SS, US, SL, UL)",
            ));
        };
        let kind = Kind { bytes, signed };
        let data = file.value(group, DATA)?.unwrap_or(&[]);
        let needed = (channels * bytes).checked_mul(samples);
        let Some(data) = needed.and_then(|needed| data.get(..needed)) else {
            return Err(RecordError::Truncated {
                path: file.path.to_owned(),
                found: data.len() as u64,
                expected: needed.map_or(u64::MAX, |needed| needed as u64),
                what: format!("{samples} samples of {channels} channels"),
            });
        };
        if bytes == 1 && data.len() > MAX_BYTE_SAMPLES {
            return Err(RecordError::TooLarge {
                path: file.path.to_owned(),
                what: "number of 8-bit samples",
                found: data.len() as u64,
                limit: MAX_BYTE_SAMPLES as u64,
            });
        }
        let mut group_read = Group {
            channels: Vec::new(),
            rate_hz: file.decimal(group, FREQUENCY)?.unwrap_or(f64::NAN),
            samples,
            start_s: file.decimal(group, TIME_OFFSET)?.map(|ms| ms / 1e3),
            kind,
            big_endian: group.big_endian(),
            padding: None,
            data: file.bytes.later(data),
        };
        let padding = file.value(group, PADDING)?;
        group_read.padding = padding
            .and_then(|bytes| bytes.get(..kind.bytes))
            .map(|bytes| group_read.sample(bytes));
        for (index, definition) in definitions.into_iter().enumerate() {
            let number = format!("channel {}", index + 1);
            let number = match several {
                true => format!("group {} {number}", place + 1),
                false => number,
            };
            let channel = Channel::read(file, definition, &number, group_read.rate_hz)?;
            group_read.channels.push(channel);
        }
        Ok(group_read)
    }

    /// The bytes of the samples `stretch` of all channels, which lie within the group.
    pub fn bytes(&self, stretch: &Range<usize>) -> Result<Vec<u8>, RecordError> {
        let frame = self.kind.bytes * self.channels.len();
        let bytes = stretch.start * frame..stretch.end * frame;
        self.data.with(bytes, <[u8]>::to_vec)
    }

    /// A sample of a channel in `bytes`, the `frame`th there; nothing where it is missing.
    pub fn value(&self, bytes: &[u8], frame: usize, row: usize) -> Option<f64> {
        let at = (frame * self.channels.len() + row) * self.kind.bytes;
        let value = self.sample(bytes.get(at..at + self.kind.bytes)?);
        // The lowest code stands for a missing sample as in other formats, but where eight bits leave no code to spare.
        let lowest = self.kind.signed
            && match self.kind.bytes {
                2 => value == i64::from(i16::MIN),
                4 => value == i64::from(i32::MIN),
                _ => false,
            };
        (!lowest && Some(value) != self.padding).then_some(value as f64)
    }

    /// Whether its samples fit 32 bits with a sign.
    pub fn is_narrow(&self) -> bool {
        self.kind.signed || self.kind.bytes < 4
    }

    fn part(&self, name: String) -> Part {
        let channels = self.channels.iter().map(|channel| join::Channel {
            lead: channel.lead.clone(),
            unit: channel.unit.clone(),
            skew: channel.skew,
        });
        Part {
            name,
            series: 0,
            rate_hz: self.rate_hz,
            start_s: self.start_s,
            samples: self.samples,
            channels: channels.collect(),
        }
    }

    /// A sample of the group's kind.
    fn sample(&self, bytes: &[u8]) -> i64 {
        let fold = |value: u64, byte: &u8| value << 8 | u64::from(*byte);
        let value = if self.big_endian {
            bytes.iter().fold(0, fold)
        } else {
            bytes.iter().rev().fold(0, fold)
        };
        let unused = 64 - 8 * self.kind.bytes as u32;
        if self.kind.signed {
            ((value << unused) as i64) >> unused
        } else {
            value as i64
        }
    }
}

/// A lead by its code: ISO/IEEE 11073-10101 (`2:1`, or the whole number 131329) or SCP-ECG (`5.6.3-9-1`), which number leads alike.
fn by_code(scheme: &str, code: &str) -> Option<Lead> {
    /// What the codes of the ECG partition begin at.
    const PARTITION: u32 = 2 << 16;
    /// Where codes of potentials begin within it.
    const POTENTIALS: u32 = 256;
    let number = match scheme {
        "SCPECG" => code.strip_prefix("5.6.3-9-")?.parse().ok()?,
        "MDC" => match code.split_once(':') {
            Some(("2", number)) => number.parse().ok()?,
            Some(_) => return None,
            None => code.parse::<u32>().ok()?.checked_sub(PARTITION)?,
        },
        _ => return None,
    };
    let number = match number {
        n @ POTENTIALS.. => n - POTENTIALS,
        n => n,
    };
    leads::numbered(number)
}

/// A standard lead by a text such as `Lead I (Einthoven)` or `MDC_ECG_LEAD_V1`.
fn by_text(text: &str) -> Option<Lead> {
    let lead = Lead::parse(text);
    lead.standard_index().map(|_| lead)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn leads_are_known_by_code_and_by_text() {
        for (scheme, code, lead) in [
            ("MDC", "2:1", Lead::I),
            ("MDC", "2:2", Lead::II),
            ("MDC", "2:61", Lead::III),
            ("MDC", "131329", Lead::I),
            ("MDC", "131392", Lead::AVF),
            ("SCPECG", "5.6.3-9-3", Lead::V1),
            ("SCPECG", "5.6.3-9-8", Lead::V6),
            ("SCPECG", "5.6.3-9-62", Lead::AVR),
            ("SCPECG", "5.6.3-9-63", Lead::AVL),
            ("SCPECG", "5.6.3-9-11", Lead::Other("V3R".into())),
        ] {
            assert_eq!(by_code(scheme, code), Some(lead), "{code}");
        }
        for (scheme, code) in [
            ("MDC", "3:1"),
            ("MDC", "2:x"),
            ("SCT", "1"),
            ("SCPECG", "5.6.3-9-"),
            ("MDC", ""),
        ] {
            assert_eq!(by_code(scheme, code), None, "{code}");
        }
        assert_eq!(by_text("Lead I (Einthoven)"), Some(Lead::I));
        assert_eq!(by_text("MDC_ECG_LEAD_AVR"), Some(Lead::AVR));
        assert_eq!(by_text("Lead V3R"), None);
        for (scheme, code) in [("MDC", "2:65"), ("SCPECG", "5.6.3-9-65")] {
            assert_eq!(by_code(scheme, code), Some(Lead::Other("-aVR".into())));
        }
    }
}
