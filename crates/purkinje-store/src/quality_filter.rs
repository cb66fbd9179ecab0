//! Limits on signal quality: on the [quality columns](crate::arrow_schema), as one value with a textual form.

use std::fmt;
use std::str::FromStr;

use purkinje_signal::quality::{LEAST_MV, LimbLeads, MOST_MV, Measures};

use crate::columns::NewRow;
use crate::store::Row;

/// Limits that a record must keep to be used; without limits every record is used.
///
/// The textual form lists measures with limits, separated by commas, by the names of the quality columns or shorter
/// ones:
///
/// | measure | short name | limit | default limit |
/// | --- | --- | --- | --- |
/// | `missing_leads` | | most leads without any value | 0 |
/// | `flat_leads` | `flat` | most leads without variation | 0 |
/// | `clipped_leads` | `clipped` | most leads that stay at their extremes | 0 |
/// | `missing_samples` | `missing` | largest fraction of missing samples: `0.1` or `10%` | 0 |
/// | `limb_leads` | `limb` | `ok`: not known to differ from their names; or findings, joined by `\|`: `as_named\|unknown` | `ok` |
/// | `einthoven_mv` | `einthoven` | largest deviation of the limb leads from their relations, in millivolts | |
/// | `noise_mv` | `noise` | largest noise from sample to sample | |
/// | `baseline_mv` | `baseline`, `wander`, `wander_mv` | largest baseline wander | |
/// | `powerline_mv` | `powerline`, `mains`, `mains_mv` | largest mains interference of 50 or 60 Hz | |
/// | `amplitude_mv` | `amplitude` | smallest and largest amplitude: `0.005..20` | `0.005..20` |
/// | `usable` | | `yes`: what no result can be meant of is left out ([`Measures::usable`]) | `yes` |
///
/// A measure that could not be computed (mains in a recording at 100 Hz, relations of missing leads) passes. Measures
/// are of the source's samples, before any filter.
///
/// ```
/// # use purkinje_store::QualityFilter;
/// let filter: QualityFilter = "flat=0, missing=10%, clipped, limb=ok, noise_mv=0.05".parse().unwrap();
/// assert_eq!(
///     filter.to_string(),
///     "flat_leads=0,clipped_leads=0,missing_samples=0.1,limb_leads=ok,noise_mv=0.05"
/// );
/// assert!("flat=-1".parse::<QualityFilter>().is_err());
/// ```
#[derive(Clone, Debug, Default, PartialEq)]
pub struct QualityFilter {
    /// Most leads without any value in the source.
    pub missing_leads: Option<u32>,
    /// Most leads of the source without any variation.
    pub flat_leads: Option<u32>,
    /// Most leads that stay at their extreme values.
    pub clipped_leads: Option<u32>,
    /// Largest fraction of missing samples over all leads, from 0 to 1.
    pub missing_samples: Option<f64>,
    /// What the limb leads may be found to be.
    pub limb_leads: Option<LimbLimit>,
    /// Largest root mean square deviation of the limb leads from their relations, in millivolts.
    pub einthoven_mv: Option<f32>,
    /// Largest noise from sample to sample, in millivolts.
    pub noise_mv: Option<f32>,
    /// Largest baseline wander, in millivolts.
    pub baseline_mv: Option<f32>,
    /// Largest mains interference of 50 or 60 Hz, in millivolts.
    pub powerline_mv: Option<f32>,
    /// Smallest and largest amplitude, in millivolts.
    pub amplitude_mv: Option<[f32; 2]>,
    /// Whether only records are used that are [usable](Measures::usable).
    pub usable: bool,
}

/// What limb leads may be found to be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LimbLimit {
    /// Consistent with their names, or unknown.
    Ok,
    /// One of these findings.
    OneOf(Vec<LimbLeads>),
}

/// A limit that a record does not keep.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("signal quality: {measure} is {found}, the limit is {limit}")]
pub struct BelowQuality {
    /// Name of the measure, as its column's without `quality_`.
    pub measure: &'static str,
    /// Its value.
    pub found: String,
    /// The limit.
    pub limit: String,
}

/// A text that is not a valid filter.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "found `{part}`: {reason}; expected limits such as flat=0,missing=10%,limb=ok,noise_mv=0.05 on {}",
    MEASURES.join(", ")
)]
pub struct WrongQualityFilter {
    /// The part that is wrong.
    pub part: String,
    /// Why.
    pub reason: String,
}

/// The measures by name, in the order of their columns.
const MEASURES: [&str; 11] = [
    "missing_leads",
    "flat_leads",
    "clipped_leads",
    "missing_samples",
    "limb_leads",
    "einthoven_mv",
    "noise_mv",
    "baseline_mv",
    "powerline_mv",
    "amplitude_mv",
    "usable",
];

impl QualityFilter {
    /// Whether every record passes.
    pub fn is_empty(&self) -> bool {
        *self == QualityFilter::default()
    }

    /// Checks a record of so many leads by its measures; `missing_fraction` is the fraction of its samples that are missing.
    ///
    /// # Errors
    /// [`BelowQuality`] with the first limit that it does not keep, in the order of the columns.
    pub fn check(
        &self,
        measures: &Measures,
        leads: usize,
        missing_fraction: f64,
    ) -> Result<(), BelowQuality> {
        // Destructured so that a new limit cannot be forgotten here.
        let QualityFilter {
            missing_leads,
            flat_leads,
            clipped_leads,
            missing_samples,
            limb_leads,
            einthoven_mv,
            noise_mv,
            baseline_mv,
            powerline_mv,
            amplitude_mv,
            usable,
        } = self;
        for (measure, mask, most) in [
            ("missing_leads", measures.missing_leads, missing_leads),
            ("flat_leads", measures.flat_leads, flat_leads),
            ("clipped_leads", measures.clipped_leads, clipped_leads),
        ] {
            at_most(measure, Some(mask.count_ones()), *most)?;
        }
        at_most("missing_samples", Some(missing_fraction), *missing_samples)?;
        if let Some(limit) = limb_leads
            && !limit.allows(measures.limb_leads)
        {
            return Err(BelowQuality {
                measure: "limb_leads",
                found: measures.limb_leads.name().to_owned(),
                limit: limit.to_string(),
            });
        }
        for (measure, found, most) in [
            ("einthoven_mv", measures.einthoven_mv, einthoven_mv),
            ("noise_mv", measures.noise_mv, noise_mv),
            ("baseline_mv", measures.baseline_mv, baseline_mv),
            ("powerline_mv", measures.powerline_mv, powerline_mv),
        ] {
            at_most(measure, found, *most)?;
        }
        if let (Some(found), Some([least, most])) = (measures.amplitude_mv, amplitude_mv)
            && !(*least..=*most).contains(&found)
        {
            return Err(BelowQuality {
                measure: "amplitude_mv",
                found: found.to_string(),
                limit: format!("{least}..{most}"),
            });
        }
        match measures.usable(leads, missing_fraction) {
            Err(reason) if *usable => Err(BelowQuality {
                measure: "usable",
                found: format!("no ({reason})"),
                limit: "yes".to_owned(),
            }),
            _ => Ok(()),
        }
    }

    /// Checks a stored record; `rate_hz` is the sampling rate of the store. In a store of schema version 1 the number
    /// of missing samples is the only measure.
    ///
    /// # Errors
    /// As [`check`](Self::check).
    pub fn check_row(&self, row: &Row<'_>, rate_hz: f64) -> Result<(), BelowQuality> {
        let measures = row.quality().unwrap_or_default();
        self.check(&measures, row.leads(), missing_fraction(row, rate_hz))
    }

    /// Checks a record about to be stored at `rate_hz`.
    pub(crate) fn check_new(
        &self,
        row: &NewRow,
        leads: usize,
        rate_hz: f64,
    ) -> Result<(), BelowQuality> {
        let source_hz = row.source_rate_hz.map(f64::from);
        let values = source_values(row.signal.len(), source_hz, rate_hz);
        let missing = usize::try_from(row.missing_samples).unwrap_or(0);
        self.check(
            &row.quality.unwrap_or_default(),
            leads,
            fraction(missing, values),
        )
    }
}

/// Fraction of the samples of a stored record that were missing in its source; `rate_hz` is the sampling rate of the store.
pub(crate) fn missing_fraction(row: &Row<'_>, rate_hz: f64) -> f64 {
    let source_hz = row.source_rate_hz().map(f64::from);
    let values = source_values(row.signal().len(), source_hz, rate_hz);
    fraction(row.missing_samples(), values)
}

/// Number of source samples that correspond to `stored` ones; missing samples are counted at the source's rate.
fn source_values(stored: usize, source_hz: Option<f64>, rate_hz: f64) -> f64 {
    let times = source_hz.map_or(1.0, |source_hz| source_hz / rate_hz);
    stored as f64 * if times.is_finite() { times } else { 1.0 }
}

fn fraction(missing: usize, of: f64) -> f64 {
    if missing == 0 || of <= 0.0 {
        return 0.0;
    }
    (missing as f64 / of).min(1.0)
}

fn at_most<T: PartialOrd + fmt::Display + Copy>(
    measure: &'static str,
    found: Option<T>,
    most: Option<T>,
) -> Result<(), BelowQuality> {
    match (found, most) {
        (Some(found), Some(most)) if found > most => Err(BelowQuality {
            measure,
            found: format!("{found:.6}")
                .trim_end_matches('0')
                .trim_end_matches('.')
                .to_owned(),
            limit: most.to_string(),
        }),
        _ => Ok(()),
    }
}

impl LimbLimit {
    fn allows(&self, found: LimbLeads) -> bool {
        match self {
            LimbLimit::Ok => matches!(found, LimbLeads::AsNamed | LimbLeads::Unknown),
            LimbLimit::OneOf(allowed) => allowed.contains(&found),
        }
    }
}

impl fmt::Display for LimbLimit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            LimbLimit::Ok => f.write_str("ok"),
            LimbLimit::OneOf(allowed) => {
                let names: Vec<&str> = allowed.iter().map(|limb| limb.name()).collect();
                f.write_str(&names.join("|"))
            }
        }
    }
}

impl fmt::Display for QualityFilter {
    /// As it is parsed, with full names; empty without limits.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fn text<T: ToString>(limit: &Option<T>) -> Option<String> {
            limit.as_ref().map(T::to_string)
        }
        let limits = [
            text(&self.missing_leads),
            text(&self.flat_leads),
            text(&self.clipped_leads),
            text(&self.missing_samples),
            text(&self.limb_leads),
            text(&self.einthoven_mv),
            text(&self.noise_mv),
            text(&self.baseline_mv),
            text(&self.powerline_mv),
            self.amplitude_mv
                .map(|[least, most]| format!("{least}..{most}")),
            self.usable.then(|| "yes".to_owned()),
        ];
        let named: Vec<String> = MEASURES
            .iter()
            .zip(limits)
            .filter_map(|(name, limit)| Some(format!("{name}={}", limit?)))
            .collect();
        f.write_str(&named.join(","))
    }
}

impl FromStr for QualityFilter {
    type Err = WrongQualityFilter;

    fn from_str(text: &str) -> Result<Self, WrongQualityFilter> {
        let mut filter = QualityFilter::default();
        for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let (name, limit) = match part.split_once('=') {
                Some((name, limit)) => (name.trim(), Some(limit.trim())),
                None => (part, None),
            };
            filter
                .set(&name.to_ascii_lowercase(), limit)
                .map_err(|reason| WrongQualityFilter {
                    part: part.chars().take(80).collect(),
                    reason,
                })?;
        }
        Ok(filter)
    }
}

impl QualityFilter {
    fn set(&mut self, name: &str, limit: Option<&str>) -> Result<(), String> {
        match name {
            "missing_leads" => once(&mut self.missing_leads, leads(limit)?),
            "flat_leads" | "flat" => once(&mut self.flat_leads, leads(limit)?),
            "clipped_leads" | "clipped" => once(&mut self.clipped_leads, leads(limit)?),
            "missing_samples" | "missing" => once(&mut self.missing_samples, portion(limit)?),
            "limb_leads" | "limb" => once(&mut self.limb_leads, limb(limit)?),
            "einthoven_mv" | "einthoven" => once(&mut self.einthoven_mv, millivolts(limit)?),
            "noise_mv" | "noise" => once(&mut self.noise_mv, millivolts(limit)?),
            "baseline_mv" | "baseline" | "wander_mv" | "wander" => {
                once(&mut self.baseline_mv, millivolts(limit)?)
            }
            "powerline_mv" | "powerline" | "mains_mv" | "mains" => {
                once(&mut self.powerline_mv, millivolts(limit)?)
            }
            "amplitude_mv" | "amplitude" => once(&mut self.amplitude_mv, amplitudes(limit)?),
            "usable" => match limit {
                None | Some("yes") if !self.usable => {
                    self.usable = true;
                    Ok(())
                }
                None | Some("yes") => Err("the measure has two limits".to_owned()),
                Some(_) => Err("its limit can only be `yes`".to_owned()),
            },
            _ => Err("unknown measure".to_owned()),
        }
    }
}

fn amplitudes(limit: Option<&str>) -> Result<[f32; 2], String> {
    let Some(limit) = limit else {
        return Ok([LEAST_MV, MOST_MV]);
    };
    let (least, most) = limit.split_once("..").unwrap_or(("0", limit));
    match (
        millivolts(Some(least.trim())),
        millivolts(Some(most.trim())),
    ) {
        (Ok(least), Ok(most)) if least <= most => Ok([least, most]),
        _ => Err("its limit must be two numbers of millivolts, such as 0.005..20".to_owned()),
    }
}

fn once<T>(place: &mut Option<T>, limit: T) -> Result<(), String> {
    match place.replace(limit) {
        None => Ok(()),
        Some(_) => Err("the measure has two limits".to_owned()),
    }
}

fn leads(limit: Option<&str>) -> Result<u32, String> {
    match limit {
        None => Ok(0),
        Some(limit) => limit
            .parse()
            .map_err(|_| "its limit must be a number of leads, 0 or more".to_owned()),
    }
}

fn portion(limit: Option<&str>) -> Result<f64, String> {
    let Some(limit) = limit else { return Ok(0.0) };
    let (digits, of) = match limit.strip_suffix('%') {
        Some(percent) => (percent.trim_end(), 100.0),
        None => (limit, 1.0),
    };
    match digits.parse::<f64>().map(|number| number / of) {
        Ok(share) if (0.0..=1.0).contains(&share) => Ok(share),
        _ => Err("its limit must be a fraction from 0 to 1, or from 0% to 100%".to_owned()),
    }
}

fn millivolts(limit: Option<&str>) -> Result<f32, String> {
    match limit.map(str::parse::<f32>) {
        Some(Ok(limit)) if limit.is_finite() && limit >= 0.0 => Ok(limit),
        _ => Err("its limit must be a number of millivolts, 0 or more".to_owned()),
    }
}

fn limb(limit: Option<&str>) -> Result<LimbLimit, String> {
    let names = match limit {
        None => return Ok(LimbLimit::Ok),
        Some(limit) if limit.eq_ignore_ascii_case("ok") => return Ok(LimbLimit::Ok),
        Some(names) => names,
    };
    names
        .split('|')
        .map(|name| {
            LimbLeads::from_name(&name.trim().to_ascii_lowercase()).ok_or_else(|| {
                let known: Vec<&str> = LimbLeads::ALL.iter().map(|limb| limb.name()).collect();
                format!(
                    "its limit must be `ok`, or findings among {}",
                    known.join(", ")
                )
            })
        })
        .collect::<Result<_, _>>()
        .map(LimbLimit::OneOf)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filter(text: &str) -> QualityFilter {
        text.parse().unwrap()
    }

    #[test]
    fn every_measure_is_limited() {
        let bad = Measures {
            missing_leads: 0b1,
            flat_leads: 0b110,
            clipped_leads: 0b1000,
            einthoven_mv: Some(0.3),
            limb_leads: LimbLeads::ArmsReversed,
            noise_mv: Some(0.07),
            baseline_mv: Some(0.6),
            powerline_mv: Some(0.05),
            amplitude_mv: Some(25.0),
        };
        for (measure, failing, passing) in [
            ("missing_leads", "=0", "=1"),
            ("flat_leads", "=1", "=2"),
            ("clipped_leads", "=0", "=1"),
            ("missing_samples", "=0.19", "=0.2"),
            ("limb_leads", "=ok", "=as_named|arms_reversed"),
            ("einthoven_mv", "=0.25", "=0.31"),
            ("noise_mv", "=0.05", "=0.08"),
            ("baseline_mv", "=0.5", "=0.7"),
            ("powerline_mv", "=0.04", "=0.06"),
            ("amplitude_mv", "=0.005..20", "=0.005..30"),
        ] {
            let error = filter(&format!("{measure}{failing}"))
                .check(&bad, 12, 0.2)
                .unwrap_err();
            assert_eq!(error.measure, measure);
            assert_eq!(error.limit, &failing[1..]);
            let passes = filter(&format!("{measure}{passing}"));
            assert_eq!(passes.check(&bad, 12, 0.2), Ok(()), "{measure}");
            // Nothing is known against a record without figures.
            let unknown = filter(&format!("{measure}{failing}"));
            assert_eq!(unknown.check(&Measures::default(), 12, 0.0), Ok(()));
        }
        let error = filter("noise=0.05").check(&bad, 12, 0.0).unwrap_err();
        assert_eq!(
            error.to_string(),
            "signal quality: noise_mv is 0.07, the limit is 0.05"
        );
        let error = filter("limb=as_named")
            .check(&Measures::default(), 12, 0.0)
            .unwrap_err();
        assert_eq!(error.found, "unknown");
        assert_eq!(filter("").check(&bad, 12, 1.0), Ok(()));
        let error = filter("usable").check(&bad, 12, 0.0).unwrap_err();
        assert!(
            error.to_string().contains("usable is no (the amplitude"),
            "{error}"
        );
        let fine = Measures {
            amplitude_mv: Some(1.0),
            limb_leads: LimbLeads::AsNamed,
            einthoven_mv: None,
            ..bad
        };
        assert_eq!(filter("usable,amplitude").check(&fine, 12, 0.0), Ok(()));
        assert!(filter("usable").check(&fine, 12, 0.2).is_err());
    }

    #[test]
    fn texts_are_read_and_written_back() {
        let text = "flat=0,missing=0.1,clipped,limb=ok,noise_mv=0.05,wander_mv=0.5,mains_mv=0.05";
        let read = filter(text);
        assert_eq!(read.flat_leads, Some(0));
        assert_eq!(read.clipped_leads, Some(0));
        assert_eq!(read.missing_samples, Some(0.1));
        assert_eq!(read.limb_leads, Some(LimbLimit::Ok));
        assert_eq!(read.baseline_mv, Some(0.5));
        assert_eq!(read.powerline_mv, Some(0.05));
        assert_eq!(filter(&read.to_string()), read);
        assert_eq!(
            filter(" Flat = 2 ,, missing = 5 % "),
            filter("missing_samples=0.05,flat_leads=2")
        );
        let every = "missing_leads=1,flat_leads=2,clipped_leads=3,missing_samples=0.25,limb_leads=unknown|as_named,einthoven_mv=0.1,noise_mv=1,baseline_mv=2,powerline_mv=3,amplitude_mv=0.01..10,usable=yes";
        assert_eq!(filter(every).to_string(), every);
        assert!(filter("").is_empty() && !read.is_empty());
    }

    #[test]
    fn what_is_no_limit_is_named() {
        for (text, word) in [
            ("colour=1", "unknown measure"),
            ("flat=-1", "number of leads"),
            ("flat=0.5", "number of leads"),
            ("missing=1.1", "a fraction from 0 to 1"),
            ("missing=-1%", "a fraction from 0 to 1"),
            ("missing=nan", "a fraction from 0 to 1"),
            ("noise", "millivolts"),
            ("noise=inf", "millivolts"),
            ("noise_mv=", "millivolts"),
            ("limb=twisted", "arms_reversed"),
            ("flat=0,flat_leads=1", "two limits"),
            ("usable,usable=yes", "two limits"),
            ("usable=no", "only be `yes`"),
            ("amplitude=3..1", "two numbers"),
            ("amplitude=x", "two numbers"),
        ] {
            let error = text.parse::<QualityFilter>().unwrap_err().to_string();
            assert!(
                error.contains(word) && error.contains("powerline_mv"),
                "{error}"
            );
        }
    }

    #[test]
    fn missing_samples_are_counted_at_the_rate_of_the_source() {
        let row = NewRow {
            signal: vec![0; 12 * 1000],
            source_rate_hz: Some(500.0),
            missing_samples: 6000,
            ..NewRow::default()
        };
        let error = filter("missing=5%").check_new(&row, 12, 100.0).unwrap_err();
        assert_eq!(
            (error.found.as_str(), error.limit.as_str()),
            ("0.1", "0.05")
        );
        assert_eq!(filter("missing=10%").check_new(&row, 12, 100.0), Ok(()));
    }
}
