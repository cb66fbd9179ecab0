//! Files that hold leads in several parts, such as the multiplex groups of DICOM: which parts are one recording, and what else
//! there is.
//!
//! Parts of one rate belong together when they begin at the same time and are of one length, or, within a series, when they
//! overlap or follow each other (a print-out of 3 x 4 leads above a rhythm strip). A lead is missing outside the time of its
//! part. Of several recordings the one with the most leads is read, and the others are named.

use std::ops::Range;
use std::path::Path;

use crate::error::content;
use crate::open::{LeadChoice, OpenOptions};
use crate::stored::{self, Offer, Scale, StoredLead};
use crate::{Lead, RecordError};

/// Parts of a file.
pub(crate) const MAX_PARTS: usize = 512;

/// Parts, and leads of a part, that are named one by one.
const NAMED: usize = 16;

/// Channels that were sampled together.
pub(crate) struct Part {
    /// What messages call it, such as `group 2`.
    pub name: String,
    /// Only parts of one series can follow each other.
    pub series: usize,
    pub rate_hz: f64,
    /// Time of the first sample in seconds, by a clock that all parts share, where it is stated.
    pub start_s: Option<f64>,
    /// Samples of a channel.
    pub samples: usize,
    pub channels: Vec<Channel>,
}

pub(crate) struct Channel {
    pub lead: Lead,
    /// The unit as the file writes it.
    pub unit: String,
    /// Samples by which its first sample comes later than its part begins.
    pub skew: f64,
}

/// The parts of a file that are read as one recording.
#[derive(Debug)]
pub(crate) struct Joined {
    pub rate_hz: f64,
    /// Samples of a lead.
    pub len: usize,
    /// The leads that were chosen, in their order.
    pub tracks: Vec<Track>,
    /// Where each part begins, in samples; `None` for a part that is not read.
    pub starts: Vec<Option<usize>>,
    /// What the file holds besides.
    pub also: Vec<String>,
    /// What is to be known about the leads.
    pub comments: Vec<String>,
}

/// A lead of the recording.
#[derive(Debug)]
pub(crate) struct Track {
    pub lead: Lead,
    pub unit: String,
    /// One after the other, with or without missing samples between.
    pub pieces: Vec<Piece>,
}

/// Samples of one channel.
#[derive(Clone, Debug)]
pub(crate) struct Piece {
    pub part: usize,
    /// The channel of the part.
    pub row: usize,
    /// Samples of the recording that it fills.
    pub samples: Range<usize>,
    /// The sample of the part that is the first of them.
    pub first: usize,
}

impl Part {
    /// The first sample and the one behind the last, counted from `base_s`.
    fn span(&self, base_s: f64) -> (f64, f64) {
        let start = ((self.start_s.unwrap_or(base_s) - base_s) * self.rate_hz).round();
        (start, start + self.samples as f64)
    }

    fn is_one_with(&self, other: &Part) -> bool {
        if self.rate_hz != other.rate_hz || self.samples.min(other.samples) == 0 {
            return false;
        }
        let (own, its) = match (self.start_s, other.start_s) {
            (None, None) => return self.samples == other.samples,
            (Some(start_s), Some(_)) => (self.span(start_s), other.span(start_s)),
            _ => return false,
        };
        let gap = own.0.max(its.0) - own.1.min(its.1);
        // A longer gap would mostly be filled with missing samples.
        own == its || (self.series == other.series && gap <= self.samples.min(other.samples) as f64)
    }

    /// `group 2: V1 V2 at 500 Hz, 10.000 s`.
    fn in_words(&self) -> String {
        let leads = self.channels.iter().take(NAMED);
        let mut leads: Vec<&str> = leads.map(|channel| channel.lead.name()).collect();
        if self.channels.len() > NAMED {
            leads.push("...");
        }
        // Of a time of day only differences mean something.
        let start = match self
            .start_s
            .filter(|start_s| (f64::MIN_POSITIVE..1e6).contains(start_s))
        {
            Some(start_s) => format!(", starting at {start_s:.3} s"),
            None => String::new(),
        };
        format!(
            "{}: {} at {} Hz, {:.3} s{start}",
            self.name,
            leads.join(" "),
            self.rate_hz,
            self.samples as f64 / self.rate_hz,
        )
    }
}

/// The recording that the parts of a file are. `also` is what the file holds besides all of them.
///
/// # Errors
/// When there are too many parts, a lead is not there or ambiguous, or is skewed beyond its part.
pub(crate) fn join(
    path: &Path,
    parts: &[Part],
    mut also: Vec<String>,
    options: &OpenOptions,
) -> Result<Joined, RecordError> {
    if parts.len() > MAX_PARTS {
        return Err(RecordError::TooLarge {
            path: path.to_owned(),
            what: "number of groups of leads",
            found: parts.len() as u64,
            limit: MAX_PARTS as u64,
        });
    }
    let (members, leads) = recording(parts, options);
    let Some(rate_hz) = members.first().map(|&part| parts[part].rate_hz) else {
        return Err(RecordError::NoSamples {
            path: path.to_owned(),
            why: "it has no group of leads".into(),
        });
    };
    let others = (0..parts.len()).filter(|part| !members.contains(part));
    let mut others: Vec<String> = others.map(|part| parts[part].in_words()).collect();
    if others.len() > NAMED {
        let more = others.len() - NAMED;
        others.truncate(NAMED);
        others.push(format!("{more} more groups"));
    }
    others.append(&mut also);
    let mut also = others;
    let base_s = members.iter().filter_map(|&part| parts[part].start_s);
    let base_s = base_s.fold(f64::INFINITY, f64::min);
    let mut starts = vec![None; parts.len()];
    for &part in &members {
        starts[part] = Some(parts[part].span(base_s).0 as usize);
    }
    let ends = members.iter().map(|&part| {
        starts[part]
            .unwrap_or(0)
            .saturating_add(parts[part].samples)
    });
    let len = ends.max().unwrap_or(0);
    let mut channels = Vec::new();
    for (&(part, row), lead) in rows_of(parts, &members).iter().zip(leads) {
        let piece = piece(
            path,
            &parts[part],
            (part, row),
            starts[part].unwrap_or(0),
            len,
        )?;
        channels.push((lead, piece));
    }
    let mut tracks: Vec<Track> = Vec::new();
    for (at, (lead, _)) in channels.iter().enumerate() {
        if channels[..at].iter().any(|(other, _)| other == lead) {
            continue;
        }
        let own = channels.iter().filter(|(other, _)| other == lead);
        let own = own.map(|(_, piece)| piece.clone()).collect();
        for pieces in of_one_lead(parts, own, len, lead, &mut also) {
            let first = &parts[pieces[0].part].channels[pieces[0].row];
            tracks.push(Track {
                lead: lead.clone(),
                unit: first.unit.clone(),
                pieces,
            });
        }
    }
    let comments = partly(parts, &tracks, len, rate_hz);
    let tracks = choose(path, tracks, &mut also, options)?;
    Ok(Joined {
        rate_hz,
        len,
        tracks,
        starts,
        also,
        comments: comments.into_iter().collect(),
    })
}

/// Parts and rows of all channels.
fn rows_of(parts: &[Part], members: &[usize]) -> Vec<(usize, usize)> {
    let rows = |&part: &usize| (0..parts[part].channels.len()).map(move |row| (part, row));
    members.iter().flat_map(rows).collect()
}

/// The parts that are one recording: of several recordings the one with the most leads, or else samples, or the first that has all
/// leads that are asked for; with the leads of its channels.
fn recording(parts: &[Part], options: &OpenOptions) -> (Vec<usize>, Vec<Lead>) {
    let mut of_recording: Vec<usize> = (0..parts.len()).collect();
    for at in 0..parts.len() {
        for other in 0..at {
            if parts[at].is_one_with(&parts[other]) && of_recording[at] != of_recording[other] {
                let (from, to) = (of_recording[at], of_recording[other]);
                of_recording
                    .iter_mut()
                    .filter(|own| **own == from)
                    .for_each(|own| *own = to);
            }
        }
    }
    let mut recordings: Vec<(usize, usize, Vec<usize>, Vec<Lead>)> = Vec::new();
    for first in 0..parts.len() {
        let members: Vec<usize> = (0..parts.len())
            .filter(|&part| of_recording[part] == first)
            .collect();
        if members.is_empty() {
            continue;
        }
        let rows = rows_of(parts, &members);
        let mut leads: Vec<Lead> = rows
            .iter()
            .map(|&(part, row)| parts[part].channels[row].lead.clone())
            .collect();
        options.settle(&mut leads);
        let standard = Lead::STANDARD_12
            .iter()
            .filter(|lead| leads.contains(lead))
            .count();
        let samples = rows
            .iter()
            .map(|&(part, _)| parts[part].samples)
            .fold(0, usize::saturating_add);
        recordings.push((standard, samples, members, leads));
    }
    recordings.sort_by_key(|(standard, samples, ..)| std::cmp::Reverse((*standard, *samples)));
    let complete = match &options.leads {
        LeadChoice::Named(wanted) => recordings
            .iter()
            .position(|(.., leads)| wanted.leads().iter().all(|lead| leads.contains(lead))),
        _ => None,
    };
    if recordings.is_empty() {
        return Default::default();
    }
    let (.., members, leads) = recordings.swap_remove(complete.unwrap_or(0));
    (members, leads)
}

/// Where the samples of a channel lie in the recording.
fn piece(
    path: &Path,
    part: &Part,
    (index, row): (usize, usize),
    start: usize,
    len: usize,
) -> Result<Piece, RecordError> {
    let channel = &part.channels[row];
    // Half a sample is nearer to neither.
    let skew = (channel.skew.abs() - 0.5)
        .ceil()
        .max(0.0)
        .copysign(channel.skew);
    if skew != 0.0 && skew.abs() >= part.samples as f64 {
        return Err(content(
            path,
            &format!("the skew of lead {} in {}", channel.lead, part.name),
            &format!("{} samples", channel.skew),
            &format!("less than its {} samples", part.samples),
        ));
    }
    let later = start.saturating_add_signed(skew.max(0.0) as isize);
    let before = (-skew).max(0.0) as usize;
    // A sample from before the recording is left out.
    let first = before.saturating_sub(start);
    let from = later.saturating_sub(before);
    let end = (from + part.samples - first).min(len);
    Ok(Piece {
        part: index,
        row,
        samples: from.min(end)..end,
        first,
    })
}

/// The channels of one name as leads: the whole one where others are pieces of it, of several whole ones that of the part with the
/// most channels; pieces that follow each other as one. What remains is several leads of one name.
fn of_one_lead(
    parts: &[Part],
    mut own: Vec<Piece>,
    len: usize,
    lead: &Lead,
    also: &mut Vec<String>,
) -> Vec<Vec<Piece>> {
    let is_whole = |piece: &Piece| parts[piece.part].samples == len;
    let most = own.iter().filter(|piece| is_whole(piece));
    let most = most.map(|piece| parts[piece.part].channels.len()).max();
    if let Some(most) = most {
        let wins = |piece: &Piece| is_whole(piece) && parts[piece.part].channels.len() == most;
        let winner = own.iter().find(|piece| wins(piece)).map(|piece| piece.part);
        let (kept, left): (Vec<Piece>, Vec<Piece>) = own.into_iter().partition(wins);
        own = kept;
        if !left.is_empty() {
            let names: Vec<&str> = left.iter().map(|piece| &*parts[piece.part].name).collect();
            let winner = winner.map_or("", |part| &*parts[part].name);
            also.push(format!(
                "lead {lead} in {}, beside that of {winner}, which was read",
                names.join(", ")
            ));
        }
    }
    let unit = |piece: &Piece| &parts[piece.part].channels[piece.row].unit;
    let mut sorted = own.clone();
    sorted.sort_by_key(|piece| piece.samples.start);
    let follow = sorted.windows(2).all(|pair| {
        pair[0].samples.end <= pair[1].samples.start && unit(&pair[0]) == unit(&pair[1])
    });
    if follow {
        vec![sorted]
    } else {
        own.into_iter().map(|piece| vec![piece]).collect()
    }
}

/// Which leads have missing samples because their parts are shorter than the recording.
fn partly(parts: &[Part], tracks: &[Track], len: usize, rate_hz: f64) -> Option<String> {
    let mut named: Vec<String> = Vec::new();
    for (index, part) in parts.iter().enumerate() {
        let pieces = tracks
            .iter()
            .flat_map(|track| track.pieces.iter().map(move |piece| (track, piece)));
        let own: Vec<(&Track, &Piece)> = pieces.filter(|(_, piece)| piece.part == index).collect();
        let Some((_, first)) = own.first().filter(|_| part.samples < len) else {
            continue;
        };
        let leads: Vec<&str> = own.iter().map(|(track, _)| track.lead.name()).collect();
        let second = |sample: usize| sample as f64 / rate_hz;
        named.push(format!(
            "{} ({}) from {:.3} to {:.3} s",
            part.name,
            leads.join(" "),
            second(first.samples.start),
            second(first.samples.end)
        ));
    }
    (!named.is_empty()).then(|| {
        format!(
            "leads are missing outside the time of their groups: {}",
            named.join(", ")
        )
    })
}

/// The leads that are asked for.
fn choose(
    path: &Path,
    tracks: Vec<Track>,
    also: &mut Vec<String>,
    options: &OpenOptions,
) -> Result<Vec<Track>, RecordError> {
    let offers: Vec<Offer> = tracks
        .iter()
        .map(|track| Offer {
            lead: track.lead.clone(),
            unit: track.unit.clone(),
        })
        .collect();
    let rows = stored::choose(path, &offers, options).map_err(|error| error.beside(also))?;
    also.extend(stored::left_out(&offers, &rows, options));
    let mut tracks: Vec<Option<Track>> = tracks.into_iter().map(Some).collect();
    Ok(rows
        .into_iter()
        .filter_map(|row| tracks[row].take())
        .collect())
}

impl Track {
    /// The samples `stretch` of the recording: `value` gives those of the pieces, nothing for a missing one; `scales` what they are
    /// worth, one a piece. `whole`: values are 32-bit whole numbers.
    pub fn decode(
        &self,
        stretch: &Range<usize>,
        scales: &[Scale],
        value: impl Fn(&Piece, usize) -> Option<f64> + Copy,
        whole: bool,
        keep_digital: bool,
    ) -> StoredLead {
        let found = stretch.clone().map(move |t| {
            let at = self.pieces.partition_point(|piece| piece.samples.end <= t);
            let piece = self
                .pieces
                .get(at)
                .filter(|piece| piece.samples.start <= t)?;
            Some((at, value(piece, t - piece.samples.start + piece.first)?))
        });
        let lead = self.lead.clone();
        match scales
            .first()
            .filter(|first| whole && scales.iter().all(|scale| scale == *first))
        {
            Some(scale) => {
                let values = found.map(|found| found.map(|(_, value)| value as i32));
                StoredLead::from_digital(lead, values, *scale, keep_digital)
            }
            None => {
                let mv = found
                    .map(|found| found.map_or(f32::NAN, |(at, value)| scales[at].to_mv(value)));
                StoredLead::from_mv(lead, mv.collect())
            }
        }
    }
}
