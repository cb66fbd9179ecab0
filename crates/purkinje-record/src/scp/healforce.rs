//! Files of Healforce Prince devices, which borrow the sections of SCP-ECG for a coding of their own.
//!
//! Pointers count from 0, checksums begin at 0 and the one of the record has its bytes exchanged. All leads share one stream of 12-bit
//! values, two marks of beats above a sample of 10 bits: three 16-bit words hold four values, the last one in the upper bits of the
//! words. The sample interval is the rate in hertz.

use super::sections::{HEADER_BYTES, Record, START_BYTES, u16_at, u32_at};
use crate::stored::{self, Offer, Scale, StoredLead};
use crate::{Lead, OpenOptions, RecordError, Recording, Unit};

/// What precedes the stream in section 6: multiplier, rate, marks and the length of one stream.
const STREAM_AT: usize = 8;
/// Bytes of four samples.
const GROUP_BYTES: usize = 6;
/// The value of a sample of 0.
const ZERO: i32 = 512;
/// The largest number of leads.
const MAX_LEADS: usize = 12;

/// Whether the file begins as these do: a length of 16 bits, and pointers that count from 0.
pub fn is_one(start: &[u8]) -> bool {
    let own = START_BYTES + HEADER_BYTES;
    u16_at(start, 2) == Some(0)
        && u16_at(start, 4).is_some_and(|size| size > 0)
        && u32_at(start, own + 6) == Some(START_BYTES as u32)
        && !super::sections::is_marked(start)
}

pub fn read(record: &Record<'_>, options: &OpenOptions) -> Result<Recording, RecordError> {
    if !options.unverified {
        return Err(record.fault(
            6,
            "the coding",
            "that of Healforce devices, whose unit and leads the file does not tell",
            "a coding of SCP-ECG; `--unverified` (`OpenOptions::unverified`) reads it all the same",
        ));
    }
    let count = record.section(3).and_then(|body| body.first().copied());
    let count = usize::from(count.unwrap_or(0));
    let range = record.section(3).and_then(|body| {
        let (first, last) = (u32_at(body, 2)?, u32_at(body, 6)?);
        Some(last.checked_sub(first)? as usize + 1)
    });
    let body = record.section(6).unwrap_or_default();
    let (Some(samples), 1..=MAX_LEADS, Some(step_nv), Some(rate), Some(length)) = (
        range,
        count,
        u16_at(body, 0),
        u16_at(body, 2),
        u16_at(body, 6),
    ) else {
        return Err(record.ends(6, &format!("the stream of {count} leads")));
    };
    let stream = body.get(STREAM_AT..STREAM_AT + usize::from(length));
    let values: Vec<i32> = stream
        .unwrap_or_default()
        .chunks_exact(GROUP_BYTES)
        .flat_map(group)
        .collect();
    if values.len() != samples.saturating_mul(count) {
        let found = format!("{} samples", values.len());
        let expected = format!("{samples} of each of {count} leads, as section 3 says");
        return Err(record.fault(6, "its stream", &found, &expected));
    }
    let scale = Scale::new(step_nv.into(), 0.0, Unit::Nanovolt);
    let scale =
        scale.ok_or_else(|| record.fault(6, "the amplitude multiplier", "0", "more than 0"))?;
    let mut leads = leads(&values, count);
    options.settle(&mut leads);
    let offer = |lead: &Lead| Offer {
        lead: lead.clone(),
        unit: "nV".into(),
    };
    let offers: Vec<Offer> = leads.iter().map(offer).collect();
    let rows = stored::choose(record.path, &offers, options)?;
    let decoded = rows.into_iter().map(|row| {
        let values = values
            .iter()
            .skip(row)
            .step_by(count)
            .map(|&value| Some(value));
        let lead = leads[row].clone();
        Ok(StoredLead::from_digital(
            lead,
            values,
            scale,
            options.keep_digital,
        ))
    });
    let mut recording = stored::recording(record.path, "scp", Some(rate.into()), decoded, options)?;
    recording.source.comments.extend([
        super::unverified("the coding of Healforce devices"),
        format!("unit: {step_nv} nV, as the file states; other programs take 10 uV"),
        "leads: not named in the file".to_owned(),
    ]);
    Ok(recording)
}

/// The four samples of three words.
fn group(bytes: &[u8]) -> [i32; 4] {
    let words = [0, 2, 4].map(|at| i32::from(u16_at(bytes, at).unwrap_or(0)));
    let upper = |word: i32| word >> 10 & 0xf;
    let last = upper(words[0]) << 8 | upper(words[1]) << 4 | upper(words[2]);
    [words[0], words[1], words[2], last].map(|value| (value & 0x3ff) - ZERO)
}

/// The leads of interleaved samples: I, II and III where they are three and the last is the difference of the others, as near as filters in
/// the device leave it; else channels without names.
fn leads(values: &[i32], count: usize) -> Vec<Lead> {
    let (mut differs, mut all) = (0_i64, 0_i64);
    if count == 3 {
        for sample in values.chunks_exact(3) {
            differs += i64::from((sample[1] - sample[0] - sample[2]).pow(2));
            all += i64::from(sample[2].pow(2));
        }
    }
    match 16 * differs < all {
        true => vec![Lead::I, Lead::II, Lead::III],
        false => (1..=count)
            .map(|number| Lead::Other(format!("channel {number}")))
            .collect(),
    }
}
