//! Leads as clinical files store them, and the way from there to a [`Recording`].

use std::path::Path;

use crate::error::content;
use crate::open::{LeadChoice, OpenOptions, id_of, valid_rate};
use crate::person;
use crate::units::none_is_voltage;
use crate::{Digital, Lead, LeadSet, RecordError, Recording, Source, Unit};

/// What a digital unit is worth: `mV = (sample - zero) / gain_per_mv`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scale {
    /// Digital units per millivolt.
    pub gain_per_mv: f64,
    /// Digital value of 0 mV.
    pub zero: f64,
}

impl Scale {
    /// A digital unit is `step` in `unit`, and the value 0 stands for `offset` in the same unit. `None` when no voltage can come
    /// of that: a step of zero, not a number, or out of all proportion.
    pub fn new(step: f64, offset: f64, unit: Unit) -> Option<Scale> {
        let gain_per_mv = unit.per_mv() / step;
        let zero = -offset / step;
        let sound = |value: f64| value.is_finite() && value.abs() < 1e15;
        (sound(gain_per_mv) && gain_per_mv.abs() > 1e-15 && sound(zero)).then_some(Scale {
            gain_per_mv,
            // A minus zero would be kept by the sum and shown by nobody.
            zero: zero + 0.0,
        })
    }

    /// A digital value in millivolts.
    pub fn to_mv(self, value: f64) -> f32 {
        ((value - self.zero) / self.gain_per_mv) as f32
    }
}

/// One lead of a file, decoded.
#[derive(Debug)]
pub(crate) struct StoredLead {
    pub lead: Lead,
    mv: Vec<f32>,
    /// Samples, gain and baseline, when they are kept and fit.
    digital: Option<(Vec<i16>, f64, i32)>,
}

impl StoredLead {
    /// From digital values, `None` for a missing one.
    pub fn from_digital(
        lead: Lead,
        values: impl ExactSizeIterator<Item = Option<i32>> + Clone,
        scale: Scale,
        keep_digital: bool,
    ) -> Self {
        let mv = values.clone().map(|value| match value {
            Some(value) => scale.to_mv(f64::from(value)),
            None => f32::NAN,
        });
        let mv = mv.collect();
        let digital = keep_digital.then(|| {
            // The lowest code means "missing", so a value of that size cannot be kept.
            let fit = |value: i32| i16::try_from(value).ok().filter(|&v| v != Digital::MISSING);
            let samples = values.map(|value| value.map_or(Some(Digital::MISSING), fit));
            let samples: Option<Vec<i16>> = samples.collect();
            let baseline = scale.zero as i32;
            let exact = f64::from(baseline) == scale.zero;
            samples
                .filter(|_| exact)
                .map(|samples| (samples, scale.gain_per_mv, baseline))
        });
        StoredLead {
            lead,
            mv,
            digital: digital.flatten(),
        }
    }

    /// From millivolts.
    pub fn from_mv(lead: Lead, mv: Vec<f32>) -> Self {
        StoredLead {
            lead,
            mv,
            digital: None,
        }
    }
}

/// A lead that a file offers, before anything of it is decoded.
pub(crate) struct Offer {
    pub lead: Lead,
    /// The unit as the file writes it.
    pub unit: String,
}

/// The offers that the options ask for, in their order.
pub(crate) fn choose(
    path: &Path,
    offers: &[Offer],
    options: &OpenOptions,
) -> Result<Vec<usize>, RecordError> {
    let leads: Vec<Lead> = offers.iter().map(|offer| offer.lead.clone()).collect();
    let rows = options.choose(path, &leads, |row| {
        options.is_voltage(&leads[row], &offers[row].unit)
    })?;
    if rows.is_empty() {
        let signals = offers.iter().map(|o| (o.lead.name(), o.unit.as_str()));
        return Err(none_is_voltage(path, signals));
    }
    for &row in &rows {
        let Offer { lead, unit } = &offers[row];
        options.unit_of(path, lead.name(), lead, unit)?;
    }
    Ok(rows)
}

/// What of the offers is left out because it is no voltage or of a name that another lead has, in words. Leads that nobody asked
/// for are not named.
pub(crate) fn left_out(offers: &[Offer], rows: &[usize], options: &OpenOptions) -> Vec<String> {
    const NAMED: usize = 16;
    if matches!(options.leads, LeadChoice::Named(_)) {
        return Vec::new();
    }
    let left = offers.iter().enumerate();
    let left = left.filter(|(row, _)| !rows.contains(row));
    let mut named: Vec<String> = left
        .map(|(row, offer)| match &*offer.unit {
            "" => format!("signal {}, {}", row + 1, offer.lead),
            unit => format!("signal {}, {} in {unit}", row + 1, offer.lead),
        })
        .collect();
    if named.len() > NAMED {
        let more = named.len() - NAMED;
        named.truncate(NAMED);
        named.push(format!("{more} more signals"));
    }
    named
}

/// The recording of leads that are all of one length, with everything that does not depend on the format. One lead is decoded
/// at a time, so that no more than one is held twice.
pub(crate) fn recording(
    path: &Path,
    format: &'static str,
    rate_hz: Option<f64>,
    leads: impl ExactSizeIterator<Item = Result<StoredLead, RecordError>>,
    options: &OpenOptions,
) -> Result<Recording, RecordError> {
    let rate_hz = valid_rate(path, rate_hz, "a sampling rate in the file")?;
    let count = leads.len();
    let mut samples_mv: Vec<f32> = Vec::new();
    let mut names: Vec<Lead> = Vec::with_capacity(count);
    let mut digital = options.keep_digital.then(|| (Vec::new(), vec![], vec![]));
    for lead in leads {
        let lead = lead?;
        let samples = lead.mv.len();
        if let Some(first) = names.first()
            && samples_mv.len() != samples * names.len()
        {
            return Err(content(
                path,
                &format!("the length of lead {}", lead.lead),
                &format!("{samples} samples"),
                &format!("{}, as lead {first} has", samples_mv.len() / names.len()),
            ));
        }
        append(&mut samples_mv, lead.mv, count);
        digital = match (digital, lead.digital) {
            (Some(mut all), Some((samples, gain, baseline))) => {
                append(&mut all.0, samples, count);
                all.1.push(gain);
                all.2.push(baseline);
                Some(all)
            }
            _ => None,
        };
        names.push(lead.lead);
    }
    if samples_mv.is_empty() {
        return Err(RecordError::NoSamples {
            path: path.to_owned(),
            why: "its leads are empty".into(),
        });
    }
    let recording = Recording::new(id_of(path), LeadSet::new(names), rate_hz, samples_mv);
    let mut recording = recording.map_err(|source| RecordError::Shape {
        path: path.to_owned(),
        source,
    })?;
    recording.digital = digital.map(|(samples, gains, baselines)| {
        let digital = Digital::new(samples, gains, baselines);
        Box::new(digital)
    });
    recording.source = Source {
        path: path.to_owned(),
        format,
        comments: Vec::new(),
        ..Source::default()
    };
    Ok(recording)
}

/// Adds one of `count` leads; the first becomes the buffer of all.
fn append<T: Copy>(all: &mut Vec<T>, lead: Vec<T>, count: usize) {
    if all.is_empty() {
        *all = lead;
        all.reserve_exact(all.len().saturating_mul(count - 1));
    } else {
        all.extend_from_slice(&lead);
    }
}

/// `female`, `male`, or what the file writes instead; `None` where it says nothing or "unknown".
pub(crate) fn sex(found: &str) -> Option<String> {
    person::sex(found).unwrap_or_else(|_| Some(found.trim().to_owned()))
}

/// An age as a file states it, in years.
pub(crate) fn age_years(number: &str, unit: &str) -> Option<f32> {
    person::age_in(number, unit)
}

/// Completed years from a birth date to the day of the recording, months for children under two; dates are written with the
/// year first (`19710123`, `1971-01-23`) or last (`01-23-1971`, month first).
pub(crate) fn age_between(birth: &str, day: &str) -> Option<f32> {
    let (birth, day) = (date(birth)?, date(day)?);
    let months = (day.0 - birth.0) * 12 + (day.1 - birth.1) - i32::from(day.2 < birth.2);
    let years = if months < 24 {
        f64::from(months) / 12.0
    } else {
        f64::from(months / 12)
    };
    person::plausible_age(years)
}

/// Year, month and day.
pub(crate) fn date(text: &str) -> Option<(i32, i32, i32)> {
    let text = text.trim();
    let number = |part: &str| -> Option<i32> {
        let digits = part.bytes().all(|b| b.is_ascii_digit()) && part.len() <= 4;
        part.parse().ok().filter(|_| digits)
    };
    let parts: Vec<&str> = text.split(['-', '/', '.', 'T', ' ']).collect();
    let (year, month, day) = match parts[..] {
        [year, month, day, ..] if year.len() == 4 => (number(year)?, number(month)?, number(day)?),
        [month, day, year, ..] => (number(year)?, number(month)?, number(day)?),
        [all, ..] => (
            number(all.get(..4)?)?,
            number(all.get(4..6)?)?,
            number(all.get(6..8)?)?,
        ),
        [] => return None,
    };
    let sound = year >= 1850 && (1..=12).contains(&month) && (1..=31).contains(&day);
    sound.then_some((year, month, day))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_come_from_numbers_and_dates() {
        assert_eq!(age_years("45", "YEARS"), Some(45.0));
        assert_eq!(age_years("6", "MONTHS"), Some(0.5));
        assert_eq!(age_years("-3", ""), None);
        assert_eq!(age_years("x", ""), None);
        assert_eq!(age_between("19710123", "20130125"), Some(42.0));
        assert_eq!(age_between("1971-01-26", "2013-01-25"), Some(41.0));
        assert_eq!(age_between("01-23-1971", "01-22-2013"), Some(41.0));
        assert_eq!(age_between("20120725", "20130125"), Some(0.5));
        assert_eq!(age_between("2013", "20130125"), None);
        assert_eq!(age_between("19\u{e4}71231", "20130125"), None);
    }

    #[test]
    fn scales_without_meaning_are_refused() {
        assert!(Scale::new(0.0, 0.0, Unit::Microvolt).is_none());
        assert!(Scale::new(f64::NAN, 0.0, Unit::Microvolt).is_none());
        assert!(Scale::new(1e-300, 1.0, Unit::Microvolt).is_none());
        let scale = Scale::new(2.5, 5.0, Unit::Microvolt).unwrap();
        assert_eq!((scale.gain_per_mv, scale.zero), (400.0, -2.0));
        assert_eq!(scale.to_mv(398.0), 1.0);
    }

    #[test]
    fn digital_values_are_kept_when_all_fit() {
        let scale = Scale::new(5.0, 0.0, Unit::Microvolt).unwrap();
        let kept = |values: &[Option<i32>]| {
            StoredLead::from_digital(Lead::I, values.iter().copied(), scale, true).digital
        };
        assert_eq!(
            kept(&[Some(200), None]).unwrap(),
            (vec![200, Digital::MISSING], 200.0, 0)
        );
        assert!(kept(&[Some(-32768)]).is_none());
        assert!(kept(&[Some(40000)]).is_none());
    }
}
