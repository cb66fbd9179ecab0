//! Leads (section 3), QRS complexes (section 4), the reference beat (section 5) and the rhythm (section 6).

use super::huffman::Tables;
use super::sections::{Record, u16_at, u32_at};
use crate::stored::{Scale, StoredLead};
use crate::{Lead, OpenOptions, RecordError, Unit, leads};

/// Bytes of a lead in section 3.
const LEAD_BYTES: usize = 9;
/// Bytes of a subtraction zone in section 4.
const ZONE_BYTES: usize = 14;
/// Bytes of a protected zone in section 4.
const PROTECTED_BYTES: usize = 8;
/// What precedes the lengths of the leads in sections 5 and 6.
const WAVE_BYTES: usize = 6;
/// The largest number of samples that one sample of decimated data stands for.
const MAX_DECIMATION: usize = 4;

/// A lead, and which samples of the recording it has, counted from 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    pub lead: Lead,
    first: usize,
    last: usize,
}

impl Span {
    fn len(&self) -> usize {
        self.last - self.first + 1
    }
}

/// The rhythm of a record, before any lead is decoded.
pub struct Signal<'a> {
    record: &'a Record<'a>,
    pub leads: Vec<Span>,
    /// The first and the last sample of any lead.
    first: usize,
    last: usize,
    tables: Option<Tables>,
    rhythm: Waves<'a>,
    /// Where the rhythm is what remains after the reference beat was subtracted.
    beat: Option<Beat<'a>>,
    decimated: Option<Decimation>,
    pub rate_hz: f64,
    /// What is to be said about it.
    pub notes: Vec<String>,
}

/// How many samples one of section 6 stands for outside of the protected zones, and these: first and last sample.
type Decimation = (usize, Vec<(usize, usize)>);

/// Section 5 or 6: a wave for each lead.
struct Waves<'a> {
    section: u16,
    /// Nanovolts of a digital unit.
    step_nv: u16,
    /// Microseconds from sample to sample.
    interval_us: u16,
    /// 0: samples; 1: their first differences; 2: the second ones.
    differences: u8,
    /// What section 6 says of bimodal compression.
    bimodal: u8,
    leads: Vec<&'a [u8]>,
}

/// The reference beat and where it was subtracted.
struct Beat<'a> {
    waves: Waves<'a>,
    samples: usize,
    /// The sample of the beat, counted from 1, that the fiducial points of the complexes fall on.
    fiducial: usize,
    zones: Vec<Zone>,
}

/// Samples, counted from 1, that the reference beat was subtracted from.
struct Zone {
    number: usize,
    first: usize,
    fiducial: usize,
    last: usize,
}

impl<'a> Signal<'a> {
    /// # Errors
    /// When a section is absent, cut or contradicts another, and for codings that `options` do not allow.
    pub fn read(record: &'a Record<'a>, options: &OpenOptions) -> Result<Self, RecordError> {
        if record.section(6).is_none() && record.section(12).is_some() {
            let expected = "section 6 (rhythm data); long-term recordings of version 3 are not read: convert them to DICOM or EDF";
            return Err(record.fault(12, "long-term rhythm data", "the only signal", expected));
        }
        let tables = record.section(2).map(|body| {
            Tables::read(body).map_err(|(field, found, expected)| {
                crate::error::content(record.path, &field, &found, &expected)
            })
        });
        let tables = tables.transpose()?;
        let (flags, mut spans) = spans(record)?;
        let rhythm = Waves::read(record, 6, spans.len())?;
        count_from_0(record, &mut spans, &rhythm, tables.is_some())?;
        let mut notes = Vec::new();
        notes.extend(simultaneous(flags, &spans));
        let subtracted = flags & 1 == 1;
        let beat = match subtracted || rhythm.bimodal != 0 {
            true => Some(Beat::read(record, spans.len())?),
            false => None,
        };
        let beat = beat.map(|beat| match tables {
            Some(_) => beat,
            None => beat.counted(),
        });
        let decimated = match &beat {
            Some(beat) => decimation(record, &rhythm, beat, options)?,
            None => None,
        };
        let interval_us = match (&decimated, &beat) {
            (Some(_), Some(beat)) => beat.waves.interval_us,
            _ => rhythm.interval_us,
        };
        let rate_hz = rate_hz(interval_us);
        if 1e6 / f64::from(interval_us) != rate_hz {
            notes.push(format!(
                "rate: {rate_hz} Hz; the file states {interval_us} us between samples, without a fraction"
            ));
        }
        if decimated.is_some() {
            notes.push(super::unverified("bimodal compression"));
        }
        Ok(Signal {
            first: spans.iter().map(|span| span.first).min().unwrap_or(1),
            last: spans.iter().map(|span| span.last).max().unwrap_or(1),
            record,
            leads: spans,
            tables,
            rhythm,
            beat: beat.filter(|_| subtracted),
            decimated,
            rate_hz,
            notes,
        })
    }

    /// Samples of a lead of the recording.
    pub fn len(&self) -> usize {
        self.last - self.first + 1
    }

    /// The lead in this row, with missing samples where others begin before or end after it.
    ///
    /// # Errors
    /// When its bits are no samples, or others than section 3 says.
    pub fn decode(&self, row: usize, keep_digital: bool) -> Result<StoredLead, RecordError> {
        let span = &self.leads[row];
        let coded = match &self.decimated {
            Some((factor, zones)) => stretches(span, zones, *factor)
                .map_err(|found| {
                    let expected = format!("groups of {factor} samples between protected zones");
                    let field = format!("the protected zones of lead {}", span.lead);
                    self.record.fault(4, &field, &found, &expected)
                })?
                .iter()
                .map(|stretch| stretch.coded)
                .sum(),
            None => span.len(),
        };
        let values = self.values(&self.rhythm, row, coded)?;
        let step_nv = f64::from(self.rhythm.step_nv);
        let scale = |step_nv: f64| {
            Scale::new(step_nv, 0.0, Unit::Nanovolt).ok_or_else(|| {
                let expected = "nanovolts of a digital unit, not 0";
                let field = "the amplitude multiplier";
                self.record.fault(6, field, &step_nv.to_string(), expected)
            })
        };
        let offset = span.first - self.first;
        let beat = match &self.beat {
            Some(beat) => Some((beat, self.values(&beat.waves, row, beat.samples)?)),
            None => None,
        };
        let alike = beat
            .as_ref()
            .is_none_or(|(beat, _)| beat.waves.step_nv == self.rhythm.step_nv);
        if self.decimated.is_none() && alike {
            let mut values = values;
            if let Some((beat, wave)) = &beat {
                beat.add(self.record, span, |at, index| {
                    values[at] = values[at].saturating_add(wave[index]);
                })?;
            }
            let before = std::iter::repeat_n(None, offset);
            let after = std::iter::repeat_n(None, self.last - span.last);
            let all = before.chain(values.iter().copied().map(Some)).chain(after);
            let all = Counted {
                all,
                left: self.len(),
            };
            let lead = span.lead.clone();
            return Ok(StoredLead::from_digital(
                lead,
                all,
                scale(step_nv)?,
                keep_digital,
            ));
        }
        // In nanovolts, all of which are exact.
        let mut nanovolts: Vec<f64> = match &self.decimated {
            Some((factor, zones)) => {
                let stretches = stretches(span, zones, *factor).unwrap_or_default();
                restore(&values, &stretches, *factor)
            }
            None => values.iter().map(|&value| f64::from(value)).collect(),
        };
        drop(values);
        for value in &mut nanovolts {
            *value *= step_nv;
        }
        if let Some((beat, wave)) = &beat {
            let step_nv = f64::from(beat.waves.step_nv);
            beat.add(self.record, span, |at, index| {
                nanovolts[at] += f64::from(wave[index]) * step_nv;
            })?;
        }
        let scale = scale(1.0)?;
        let mut mv = vec![f32::NAN; self.len()];
        for (mv, nanovolts) in mv[offset..].iter_mut().zip(nanovolts) {
            *mv = scale.to_mv(nanovolts);
        }
        Ok(StoredLead::from_mv(span.lead.clone(), mv))
    }

    /// So many samples of the lead in this row of section 5 or 6.
    fn values(&self, waves: &Waves<'_>, row: usize, count: usize) -> Result<Vec<i32>, RecordError> {
        let data = waves.leads[row];
        let fault = |found: &str| {
            let field = format!("the data of lead {}", self.leads[row].lead);
            let expected = format!(
                "{count} samples in {} bytes; the file may be damaged, copy it again",
                data.len()
            );
            self.record.fault(waves.section, &field, found, &expected)
        };
        let mut values = match &self.tables {
            Some(tables) => {
                let (values, rest) = tables.decode(data, count).map_err(|found| fault(&found))?;
                // Fewer than two bytes complete a word.
                if rest.len() > 2 && rest.iter().any(|&byte| byte != 0) {
                    return Err(fault(&format!("{} bytes longer", rest.len())));
                }
                values
            }
            None => {
                if data.len() / 2 != count {
                    return Err(fault(&format!("{} samples", data.len() / 2)));
                }
                let samples = data.chunks_exact(2);
                let samples = samples.map(|pair| i16::from_le_bytes([pair[0], pair[1]]));
                samples.map(i32::from).collect()
            }
        };
        integrate(&mut values, waves.differences);
        Ok(values)
    }
}

/// An iterator that knows how long it is, which chains do not.
#[derive(Clone)]
struct Counted<I> {
    all: I,
    left: usize,
}

impl<I: Iterator> Iterator for Counted<I> {
    type Item = I::Item;

    fn next(&mut self) -> Option<I::Item> {
        self.left = self.left.saturating_sub(1);
        self.all.next()
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<I: Iterator> ExactSizeIterator for Counted<I> {}

/// Samples of their differences. Samples have 16 bits, and so have the sums of a device: they wrap.
fn integrate(values: &mut [i32], differences: u8) {
    let wrap = |value: i32| i32::from(value as i16);
    match differences {
        1 => {
            for at in 1..values.len() {
                values[at] = wrap(values[at] + values[at - 1]);
            }
        }
        2 => {
            for at in 2..values.len() {
                values[at] = wrap(values[at] + 2 * values[at - 1] - values[at - 2]);
            }
        }
        _ => {}
    }
}

/// The rate of samples that are so far apart. Microseconds are whole, so that 3333 mean 300 Hz.
fn rate_hz(interval_us: u16) -> f64 {
    let interval_us = f64::from(interval_us);
    let nearest = (1e6 / interval_us).round();
    let meant = (1e6 / nearest - interval_us).abs() < 1.0;
    match nearest >= 100.0 && meant {
        true => nearest,
        false => 1e6 / interval_us,
    }
}

/// The flags of section 3, and its leads.
fn spans(record: &Record<'_>) -> Result<(u8, Vec<Span>), RecordError> {
    let Some(body) = record.section(3) else {
        return Err(record.fault(3, "the list of leads", "absent", "a section with the leads"));
    };
    let (Some(&count), Some(&flags)) = (body.first(), body.get(1)) else {
        return Err(record.ends(3, "the number of leads"));
    };
    let leads = body[2..].chunks_exact(LEAD_BYTES).take(usize::from(count));
    if leads.len() < usize::from(count) || count == 0 {
        return Err(record.ends(3, &format!("the list of {count} leads")));
    }
    let mut spans = Vec::with_capacity(leads.len());
    for lead in leads {
        let number = |at| u32_at(lead, at).unwrap_or(0) as usize;
        let code = lead[8];
        let span = Span {
            lead: leads::numbered(code.into())
                .unwrap_or_else(|| Lead::Other(format!("lead code {code}"))),
            first: number(0),
            last: number(4),
        };
        if span.last < span.first {
            let field = format!("the samples of lead {}", span.lead);
            let found = format!("{} to {}", span.first, span.last);
            return Err(record.fault(3, &field, &found, "a range that ends after its start"));
        }
        spans.push(span);
    }
    Ok((flags, spans))
}

/// Some devices count samples from 0 and give the number behind the last one. Where no table of codes hides how many there are, that
/// can be told.
fn count_from_0(
    record: &Record<'_>,
    spans: &mut [Span],
    rhythm: &Waves<'_>,
    coded: bool,
) -> Result<(), RecordError> {
    let from_0 = |(span, data): (&Span, &&[u8])| {
        !coded && rhythm.bimodal == 0 && span.first == 0 && data.len() / 2 == span.last
    };
    let told = spans.iter().zip(&rhythm.leads).all(from_0);
    for span in spans {
        if span.first > 0 {
            continue;
        }
        if !told || span.last == 0 {
            let field = format!("the first sample of lead {}", span.lead);
            return Err(record.fault(3, &field, "0", "1 or more"));
        }
        span.first = 1;
    }
    Ok(())
}

/// What is to be said where the flags do not say that the leads were recorded at the same time, though their samples are those of one time.
fn simultaneous(flags: u8, spans: &[Span]) -> Option<String> {
    let together = usize::from(flags >> 3);
    let one = spans
        .iter()
        .all(|span| (span.first, span.last) == (spans[0].first, spans[0].last));
    (one && flags & 4 == 0 && together < spans.len().min(31)).then(|| {
        format!(
            "leads: by its flags, {together} of {} were recorded at the same time; their samples have the same numbers",
            spans.len()
        )
    })
}

impl<'a> Waves<'a> {
    fn read(record: &Record<'a>, section: u16, leads: usize) -> Result<Self, RecordError> {
        let Some(body) = record.section(section) else {
            let what = match section {
                5 => "a reference beat, which section 3 or 6 relies on",
                _ => "rhythm data",
            };
            return Err(record.fault(section, "its data", "absent", what));
        };
        let (Some(step_nv), Some(interval_us)) = (u16_at(body, 0), u16_at(body, 2)) else {
            return Err(record.ends(section, "the amplitude multiplier"));
        };
        for (field, value) in [
            ("the amplitude multiplier", step_nv),
            ("the sample interval", interval_us),
        ] {
            if value == 0 {
                return Err(record.fault(section, field, "0", "more than 0"));
            }
        }
        let (Some(&differences), Some(&bimodal)) = (body.get(4), body.get(5)) else {
            return Err(record.ends(section, "the kind of differences"));
        };
        if differences > 2 {
            let expected = "0 (samples), 1 (first differences) or 2 (second differences)";
            let field = "the kind of differences";
            return Err(record.fault(section, field, &differences.to_string(), expected));
        }
        // Reserved in section 5, and since version 3.
        let known = if record.version < 30 { 1 } else { 0 };
        if section == 6 && bimodal > known {
            let field = format!(
                "the mark of bimodal compression in version {}",
                f64::from(record.version) / 10.0
            );
            return Err(record.fault(
                section,
                &field,
                &bimodal.to_string(),
                &format!("at most {known}"),
            ));
        }
        let mut rest = body.get(WAVE_BYTES + 2 * leads..).unwrap_or_default();
        let mut waves = Vec::with_capacity(leads);
        for lead in 0..leads {
            let what = || {
                record.ends(
                    section,
                    &format!("the data of lead {} of {leads}", lead + 1),
                )
            };
            let length = u16_at(body, WAVE_BYTES + 2 * lead).ok_or_else(what)?;
            let (own, others) = rest.split_at_checked(length.into()).ok_or_else(what)?;
            waves.push(own);
            rest = others;
        }
        // More would mean other leads than section 3 names, whose lengths would have been taken for samples.
        if rest.len() > 1 && rest.iter().any(|&byte| byte != 0) {
            let found = format!("{} bytes longer than its {leads} leads", rest.len());
            let expected = "data of the leads that section 3 names";
            return Err(record.fault(section, "its length", &found, expected));
        }
        Ok(Waves {
            section,
            step_nv,
            interval_us,
            differences,
            bimodal: if section == 6 { bimodal } else { 0 },
            leads: waves,
        })
    }
}

impl<'a> Beat<'a> {
    fn read(record: &Record<'a>, leads: usize) -> Result<Self, RecordError> {
        let Some(body) = record.section(4) else {
            let expected = "QRS locations, which section 3 or 6 relies on";
            return Err(record.fault(4, "its data", "absent", expected));
        };
        let head = [0, 2, 4].map(|at| u16_at(body, at).map(usize::from));
        let [Some(length_ms), Some(fiducial), Some(count)] = head else {
            return Err(record.ends(4, "the number of QRS complexes"));
        };
        let zones = body[WAVE_BYTES..].chunks_exact(ZONE_BYTES).take(count);
        if zones.len() < count {
            return Err(record.ends(
                4,
                &format!("the subtraction zones of {count} QRS complexes"),
            ));
        }
        let zones = zones.enumerate().filter_map(|(index, zone)| {
            let number = |at| u32_at(zone, at).unwrap_or(0) as usize;
            let zone = Zone {
                number: index + 1,
                first: number(2),
                fiducial: number(6),
                last: number(10),
            };
            // Complexes of other types are not like the reference beat, and nothing was subtracted.
            (u16_at(body, WAVE_BYTES + index * ZONE_BYTES) == Some(0) && zone.last > 0)
                .then_some(zone)
        });
        let zones: Vec<Zone> = zones.collect();
        let waves = Waves::read(record, 5, leads)?;
        let samples = (length_ms as f64 * 1e3 / f64::from(waves.interval_us)).round() as usize;
        Ok(Beat {
            waves,
            samples,
            fiducial,
            zones,
        })
    }

    /// The same with the number of samples that are there, which whole milliseconds may miss by one.
    fn counted(mut self) -> Self {
        let there = self.waves.leads.first().map_or(0, |data| data.len() / 2);
        if there.abs_diff(self.samples) == 1 {
            self.samples = there;
        }
        self
    }

    /// Calls `add` with the index of a sample in the lead and in the beat for all samples that the beat was subtracted from.
    fn add(
        &self,
        record: &Record<'_>,
        span: &Span,
        mut add: impl FnMut(usize, usize),
    ) -> Result<(), RecordError> {
        let mut all = 0;
        for zone in &self.zones {
            let fiducial = self.fiducial;
            if zone.last < zone.first || fiducial == 0 || fiducial + zone.first <= zone.fiducial {
                let field = format!("the subtraction zone of QRS complex {}", zone.number);
                let found = format!(
                    "samples {} to {}, {} being the fiducial point",
                    zone.first, zone.last, zone.fiducial
                );
                let expected = format!(
                    "samples of the reference beat, in which the fiducial point is number {fiducial}"
                );
                return Err(record.fault(4, &field, &found, &expected));
            }
            let index = |sample: usize| sample + self.fiducial - 1 - zone.fiducial;
            let first = zone.first.max(span.first);
            // A zone ends with the beat.
            let beyond = self.samples + zone.fiducial + 1;
            let last = zone
                .last
                .min(span.last)
                .min(beyond.saturating_sub(self.fiducial + 1));
            if last < first {
                continue;
            }
            // A heart beats seldom enough that zones do not cover each other many times.
            all += last - first + 1;
            if all > 4 * span.len() {
                let found = "more than four times as long as the recording";
                return Err(record.fault(
                    4,
                    "all subtraction zones",
                    found,
                    "zones apart from each other",
                ));
            }
            for sample in first..=last {
                add(sample - span.first, index(sample));
            }
        }
        Ok(())
    }
}

/// What was averaged; `None` where nothing was.
fn decimation(
    record: &Record<'_>,
    rhythm: &Waves<'_>,
    beat: &Beat<'_>,
    options: &OpenOptions,
) -> Result<Option<Decimation>, RecordError> {
    let (coarse, fine) = (
        usize::from(rhythm.interval_us),
        usize::from(beat.waves.interval_us),
    );
    if coarse == fine {
        return Ok(None);
    }
    let factor = coarse / fine;
    if rhythm.bimodal == 0 || !coarse.is_multiple_of(fine) || factor > MAX_DECIMATION {
        let expected = match rhythm.bimodal {
            0 => format!("{fine} us, as the reference beat has"),
            _ => format!(
                "a multiple of the {fine} us of the reference beat, at most {MAX_DECIMATION} times"
            ),
        };
        return Err(record.fault(6, "the sample interval", &format!("{coarse} us"), &expected));
    }
    if !options.unverified {
        return Err(record.fault(
            6,
            "the coding",
            "bimodal compression, which has not been compared with another reader",
            "another coding; `--unverified` (`OpenOptions::unverified`) reads it all the same",
        ));
    }
    let body = record.section(4).unwrap_or_default();
    let count = usize::from(u16_at(body, 4).unwrap_or(0));
    let zones = body
        .get(WAVE_BYTES + count * ZONE_BYTES..)
        .unwrap_or_default();
    let zones = zones.chunks_exact(PROTECTED_BYTES).take(count);
    if zones.len() < count {
        return Err(record.ends(4, &format!("the protected zones of {count} QRS complexes")));
    }
    let zones = zones.map(|zone| {
        let number = |at| u32_at(zone, at).unwrap_or(0) as usize;
        (number(0), number(4))
    });
    let mut zones: Vec<(usize, usize)> = zones
        .filter(|(first, last)| (1..=*last).contains(first))
        .collect();
    zones.sort_unstable();
    Ok(Some((factor, zones)))
}

/// Consecutive samples of a lead that are protected or not.
#[derive(Debug, PartialEq)]
struct Stretch {
    samples: usize,
    /// Samples of section 6 that stand for them.
    coded: usize,
}

/// A lead as stretches that begin with one that is not protected, in turn; else what is found of zones that leave incomplete groups of
/// samples between them.
fn stretches(span: &Span, zones: &[(usize, usize)], factor: usize) -> Result<Vec<Stretch>, String> {
    let mut found = Vec::new();
    let mut next = span.first;
    for &(first, last) in zones {
        let (first, last) = (first.max(next), last.min(span.last));
        if last < first {
            continue;
        }
        let between = first - next;
        if !between.is_multiple_of(factor) {
            return Err(format!("{between} samples before sample {first}"));
        }
        found.push(Stretch {
            samples: between,
            coded: between / factor,
        });
        let samples = last - first + 1;
        found.push(Stretch {
            samples,
            coded: samples,
        });
        next = last + 1;
    }
    let samples = span.last + 1 - next;
    found.push(Stretch {
        samples,
        coded: samples.div_ceil(factor),
    });
    Ok(found)
}

/// The samples of stretches. A decimated sample is the mean of its group and stands in the middle of it; between two such points samples lie on a
/// line, and at either end of a stretch they stay as they are.
fn restore(coded: &[i32], stretches: &[Stretch], factor: usize) -> Vec<f64> {
    let mut samples = Vec::with_capacity(stretches.iter().map(|s| s.samples).sum());
    let mut coded = coded;
    for (index, stretch) in stretches.iter().enumerate() {
        let (own, rest) = coded.split_at(stretch.coded.min(coded.len()));
        coded = rest;
        if index % 2 == 1 {
            samples.extend(own.iter().map(|&value| f64::from(value)));
            continue;
        }
        let middle = (factor - 1) as f64 / 2.0;
        for at in 0..stretch.samples {
            let place = ((at as f64 - middle) / factor as f64)
                .clamp(0.0, own.len().saturating_sub(1) as f64);
            let group = place.floor() as usize;
            let of = |group: usize| own.get(group).map_or(0.0, |&value| f64::from(value));
            let (before, after) = (of(group), of((group + 1).min(own.len().saturating_sub(1))));
            samples.push(before + (after - before) * (place - group as f64));
        }
    }
    samples
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rates_are_whole_where_microseconds_are_cut() {
        for (interval_us, hertz) in [
            (2000, 500.0),
            (1000, 1000.0),
            (8000, 125.0),
            (3333, 300.0),
            (1953, 512.0),
            (7812, 128.0),
            (7813, 128.0),
            (6944, 144.0),
            (4166, 240.0),
            (12_500, 80.0),
        ] {
            assert_eq!(rate_hz(interval_us), hertz, "{interval_us}");
        }
        assert_eq!(rate_hz(15_000), 1e6 / 15e3);
    }

    #[test]
    fn differences_are_summed_in_16_bits() {
        let mut first = [5, 1, -2, 0];
        integrate(&mut first, 1);
        assert_eq!(first, [5, 6, 4, 4]);
        let mut second = [5, 6, 1, -3, 0];
        integrate(&mut second, 2);
        assert_eq!(second, [5, 6, 8, 7, 6]);
        let mut wrapped = [32_767, -65_535 + 65_536];
        integrate(&mut wrapped, 1);
        assert_eq!(wrapped, [32_767, -32_768]);
    }

    #[test]
    fn decimated_samples_lie_on_lines() {
        let span = Span {
            lead: Lead::I,
            first: 1,
            last: 18,
        };
        let parts = stretches(&span, &[(9, 12)], 4).unwrap();
        let pairs: Vec<(usize, usize)> = parts.iter().map(|s| (s.samples, s.coded)).collect();
        assert_eq!(pairs, [(8, 2), (4, 4), (6, 2)]);
        let samples = restore(&[0, 8, 1, 2, 3, 4, 10, 20], &parts, 4);
        let first = [0.0, 0.0, 1.0, 3.0, 5.0, 7.0, 8.0, 8.0];
        let last = [1.0, 2.0, 3.0, 4.0, 10.0, 10.0, 11.25, 13.75, 16.25, 18.75];
        assert_eq!(samples, [&first[..], &last].concat());
        assert!(stretches(&span, &[(8, 12)], 4).is_err());
    }
}
