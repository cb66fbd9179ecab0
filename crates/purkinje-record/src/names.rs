//! What containers of arrays say beside the samples, wherever it stands: names of leads, units, the rate, and what a digital step is worth.

use std::cmp::Reverse;
use std::path::Path;

use crate::error::content;
use crate::units::no_voltage;
use crate::{Lead, OpenOptions, RecordError, Unit};

/// A text that states no encoding: UTF-8, else Latin-1, where every byte is the character of the same number.
pub(crate) fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|&b| char::from(b)).collect(),
    }
}

/// What texts with the names of leads are called; the first ones are called so for nothing else.
const LEADS: [&str; 16] = [
    "leads",
    "lead",
    "lead_names",
    "lead_name",
    "leadnames",
    "sig_name",
    "sig_names",
    "channels",
    "channel_names",
    "ch_names",
    "signals",
    "labels",
    "columns",
    "names",
    "signal_names",
    "desc",
];
/// How many of them are called so for nothing else.
const CLEAR: usize = 7;
/// What units are called.
const UNITS: [&str; 8] = [
    "unit",
    "units",
    "sig_units",
    "sig_unit",
    "signal_units",
    "physical_unit",
    "voltage_unit",
    "uom",
];

/// What a sampling rate in hertz is called, most telling first.
const RATES: [&str; 16] = [
    "rate_hz",
    "fs",
    "sampling_rate",
    "sample_rate",
    "samplingrate",
    "samplerate",
    "sampling_frequency",
    "sample_frequency",
    "samplingfrequency",
    "curr_sample_rate",
    "sfreq",
    "srate",
    "fs_hz",
    "sampfreq",
    "samp_freq",
    "freq",
];
/// What the number of digital steps of a unit is called.
const GAINS: [&str; 3] = ["gain", "gains", "adc_gain"];
/// What the digital value of 0 mV is called.
const ZEROS: [&str; 5] = ["adczero", "adc_zero", "baseline", "baselines", "zero"];

/// What a container says beside the samples. Names are those of arrays, fields and attributes, with all that they are in.
#[derive(Default)]
pub(crate) struct Said {
    pub texts: Vec<(String, Vec<String>)>,
    pub numbers: Vec<(String, Vec<f64>)>,
    /// What is there and cannot be read, and why.
    pub unread: Vec<(String, String)>,
}

/// What a digital value is worth: `(value - zero) / gain` in its unit.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Scaling {
    pub gain: f64,
    pub zero: f64,
}

impl Default for Scaling {
    fn default() -> Scaling {
        Scaling {
            gain: 1.0,
            zero: 0.0,
        }
    }
}

impl Said {
    /// Of texts alone.
    pub fn of_texts(texts: Vec<(String, Vec<String>)>) -> Said {
        Said {
            texts,
            ..Said::default()
        }
    }

    /// Puts first what stands close to the samples `own`, and leaves out what several groups say of their own samples.
    pub fn settle(&mut self, own: &str) {
        self.texts.sort_by_key(|(name, _)| distance(own, name));
        self.numbers.sort_by_key(|(name, _)| distance(own, name));
        for words in [&LEADS[..CLEAR], &LEADS[CLEAR..], &UNITS[..]] {
            let is = |name: &str| words.contains(&low(name).as_str());
            let nearest = self.texts.iter().find(|(name, _)| is(name));
            let Some(nearest) = nearest.map(|(name, _)| distance(own, name)) else {
                continue;
            };
            let kept = |name: &str| !is(name) || distance(own, name) == nearest;
            self.texts.retain(|(name, _)| kept(name));
        }
    }

    /// The sampling rate.
    ///
    /// # Errors
    /// When there are several, or when it is kept as something that is not read.
    pub fn rate(&self, path: &Path, own: &str) -> Result<Option<f64>, RecordError> {
        let number = |text: &String| {
            let text = text.trim().to_lowercase();
            text.strip_suffix("hz")
                .unwrap_or(&text)
                .trim()
                .parse::<f64>()
                .ok()
        };
        let texts = self.texts.iter().filter(|(name, _)| is_in(&RATES, name));
        let texts = texts.filter_map(|(name, own)| {
            let numbers: Option<Vec<f64>> = own.iter().map(number).collect();
            Some((name, numbers?))
        });
        let numbers = self.numbers.iter().map(|(name, own)| (name, own.clone()));
        let place = |name: &str| RATES.iter().position(|word| *word == low(name));
        let mut all: Vec<_> = numbers
            .chain(texts)
            .filter(|(_, own)| !own.is_empty())
            .filter_map(|(name, rates)| Some(((distance(own, name), place(name)?), rates)))
            .collect();
        all.sort_by_key(|(at, _)| *at);
        let Some(&(nearest, _)) = all.first() else {
            return self.readable(path, &RATES, "`--input-rate`").map(|()| None);
        };
        let own = all.iter().filter(|(at, _)| *at == nearest);
        let mut rates: Vec<f64> = own.flat_map(|(_, rates)| rates).copied().collect();
        rates.dedup();
        match rates[..] {
            [rate] => Ok(Some(rate)),
            _ => {
                let rates: Vec<String> = rates.iter().take(4).map(f64::to_string).collect();
                Err(content(
                    path,
                    "the sampling rate",
                    &rates.join(", "),
                    "one for all leads, or a sampling rate (`--input-rate`)",
                ))
            }
        }
    }

    /// Gain and zero of each lead, or of all: digital values become `(value - zero) / gain` in their unit. Only of whole numbers, and of what a
    /// `header` is about (that of ecg-kit, as WFDB has it): the gain of an amplifier was undone where samples are voltages. A caller who says
    /// the unit of whole numbers says it of the numbers as they are.
    ///
    /// # Errors
    /// When they are no gains, or not as many as leads.
    pub fn scales(
        &self,
        path: &Path,
        units: &[Unit],
        options: &OpenOptions,
        whole: bool,
    ) -> Result<Vec<Scaling>, RecordError> {
        let of_header = |name: &str| low(parent(name).trim_end_matches(['/', '.'])) == "header";
        let find = |words: &[&str]| {
            let mut all = self.numbers.iter();
            all.find(|(name, own)| {
                let counts = of_header(name) || (whole && options.unit.is_none());
                is_in(words, name) && !own.is_empty() && counts
            })
        };
        let Some((name, gains)) = find(&GAINS) else {
            return Ok(Vec::new());
        };
        let zeros = find(&ZEROS).filter(|(zero, _)| parent(zero) == parent(name));
        let zeros = zeros.map_or(&[0.0][..], |(_, zeros)| zeros);
        let leads = units.len();
        let of = |list: &[f64], row: usize| match list.len() {
            1 => Some(list[0]),
            own if own == leads => Some(list[row]),
            _ => None,
        };
        let each = units.iter().enumerate().map(|(row, unit)| {
            let scaling = Scaling {
                gain: of(gains, row)?,
                zero: of(zeros, row)?,
            };
            let steps = scaling.gain.abs() * unit.per_mv();
            // Less than a step a millivolt is the other way round: millivolts of a step.
            let sound = if of_header(name) {
                steps > 0.0
            } else {
                steps >= 1.0
            };
            (sound && steps.is_finite() && scaling.zero.is_finite()).then_some(scaling)
        });
        each.collect::<Option<Vec<Scaling>>>().ok_or_else(|| {
            let found: Vec<String> = gains.iter().take(12).map(f64::to_string).collect();
            content(
                path,
                &format!("the gain (`{name}`)"),
                &format!("{} with {} zeros for {leads} leads", found.join(", "), zeros.len()),
                "digital steps of a unit, for all leads or for each; or the unit of the samples as they are (`--input-unit`)",
            )
        })
    }

    /// Whether names of leads and units could be read, where they are needed.
    ///
    /// # Errors
    /// When they are there and kept as something that is not read: nothing is assumed then.
    pub fn check(
        &self,
        path: &Path,
        options: &OpenOptions,
        leads_known: bool,
    ) -> Result<(), RecordError> {
        if options.array_leads.is_none() && !leads_known {
            self.readable(path, &LEADS[..CLEAR], "`--input-leads`")?;
        }
        if options.unit.is_none() {
            self.readable(path, &UNITS, "`--input-unit`")?;
        }
        Ok(())
    }

    fn readable(&self, path: &Path, words: &[&str], what: &str) -> Result<(), RecordError> {
        let unread = self.unread.iter().find(|(name, _)| is_in(words, name));
        match unread {
            None => Ok(()),
            Some((name, why)) => Err(content(
                path,
                &format!("`{name}`"),
                &format!("{why}, and so not read"),
                &format!("numbers or strings, or {what}"),
            )),
        }
    }
}

/// How far what is called `name` is from the samples `own`: steps up from the samples, then steps down.
fn distance(own: &str, name: &str) -> (Reverse<usize>, usize) {
    let steps = |name: &str| {
        name.split(['/', '.'])
            .map(str::to_owned)
            .collect::<Vec<_>>()
    };
    let (own, around) = (steps(own), steps(parent(name).trim_end_matches(['/', '.'])));
    let common = own.iter().zip(&around).take_while(|(a, b)| a == b).count();
    let around = around.iter().filter(|step| !step.is_empty()).count();
    (Reverse(common), around.saturating_sub(common))
}

fn is_in(words: &[&str], name: &str) -> bool {
    words.contains(&low(name).as_str())
}

/// Whether something is called as a sampling rate is.
pub(crate) fn is_rate(name: &str) -> bool {
    is_in(&RATES, name)
}

/// Whether numbers that are called so say something about samples.
pub(crate) fn is_number(name: &str) -> bool {
    is_rate(name) || is_in(&GAINS, name) || is_in(&ZEROS, name)
}

/// Whether what is called so says something about samples: leads or their unit.
pub(crate) fn matters(name: &str) -> bool {
    is_in(&LEADS, name) || is_in(&UNITS, name)
}

/// Whether what is called so says something about samples.
pub(crate) fn says(name: &str) -> bool {
    matters(name) || is_number(name)
}

/// The last part of a name with slashes or points.
pub(crate) fn bare(name: &str) -> &str {
    name.rsplit(['/', '.']).next().unwrap_or(name).trim()
}

/// What stands before it, with the slash or the point.
pub(crate) fn parent(name: &str) -> &str {
    let end = name.rfind(['/', '.']).map_or(0, |at| at + 1);
    &name[..end]
}

/// The last part in lower case.
fn low(name: &str) -> String {
    bare(name).to_lowercase()
}

/// The unit that the name of an array ends with, or an array of a group that ends so: `I_uV`, `ecg_mV/I`.
pub(crate) fn unit_in(name: &str) -> Option<Unit> {
    let parts = name.rsplit(['/', '.']);
    let units = parts.filter_map(|part| {
        let mut words = part.rsplit(['_', ' ', '-', '(', ')', '[', ']']);
        let last = words.find(|word| !word.is_empty())?;
        // A single letter is a unit just as it is written, and behind a name.
        let unit = last.parse().ok().filter(|_| last.len() > 1 || last == "V");
        unit.filter(|_| last.len() < part.len())
    });
    units.take(1).next()
}

/// A list as it is, or the parts of its only text.
fn parts(texts: &[String]) -> Vec<String> {
    let parts: Vec<String> = match texts {
        [one] => {
            let between: &[char] = match one.contains([',', ';', '\n', '\t']) {
                true => &[',', ';', '\n', '\t'],
                false => &[' '],
            };
            one.split(between).map(str::to_owned).collect()
        }
        more => more.to_vec(),
    };
    let trimmed = parts.iter().map(|part| part.trim().to_owned());
    trimmed.filter(|part| !part.is_empty()).collect()
}

/// The leads of an array of this shape, if one of the texts names them: one with a usual name, or any of as many names of standard leads as
/// there are rows or columns.
pub(crate) fn leads(texts: &[(String, Vec<String>)], shape: [usize; 2]) -> Option<Vec<Lead>> {
    let lists = || {
        let each = texts.iter();
        each.map(|(name, texts)| {
            let leads = parts(texts).iter().map(|name| Lead::parse(name)).collect();
            let name = match name.to_lowercase() {
                // That of ecg-kit.
                own if own.ends_with("header.desc") || own.ends_with("header/desc") => {
                    LEADS[0].to_owned()
                }
                own => low(&own),
            };
            (name, leads)
        })
    };
    let all: Vec<(String, Vec<Lead>)> = lists().collect();
    let fits = |leads: &[Lead]| !leads.is_empty() && shape.contains(&leads.len());
    let standard = |leads: &[Lead]| {
        let known = leads.iter().filter(|lead| lead.standard_index().is_some());
        known.count()
    };
    for (place, word) in LEADS.iter().enumerate() {
        let own = all.iter().filter(|(name, _)| name == word);
        for (_, leads) in own {
            // A list that names leads and does not fit the array is for the message about its shape.
            let clear = place < CLEAR && !leads.is_empty();
            if clear || (fits(leads) && 2 * standard(leads) >= leads.len()) {
                return Some(leads.clone());
            }
        }
    }
    let named = all
        .into_iter()
        .find(|(_, leads)| fits(leads) && leads.len() > 1 && standard(leads) == leads.len());
    named.map(|(_, leads)| leads)
}

/// The unit of all leads, or of each of them; none where nothing says one.
///
/// # Errors
/// When what is called a unit is no voltage.
pub(crate) fn units(
    path: &Path,
    texts: &[(String, Vec<String>)],
    leads: usize,
) -> Result<Vec<Unit>, RecordError> {
    for word in UNITS {
        let own = texts.iter().find(|(name, _)| low(name) == word);
        let Some((name, own)) = own else { continue };
        let own = match &own[..] {
            [one] if one.parse::<Unit>().is_ok() => own.clone(),
            _ => parts(own),
        };
        if own.len() != 1 && own.len() != leads {
            continue;
        }
        let each = own
            .iter()
            .map(|unit| unit.parse().map_err(|_| no_voltage(path, name, unit, true)));
        return each.collect();
    }
    Ok(Vec::new())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(name: &str, own: &[&str]) -> Vec<(String, Vec<String>)> {
        vec![(
            name.to_owned(),
            own.iter().map(|t| (*t).to_owned()).collect(),
        )]
    }

    #[test]
    fn names_of_leads_are_found_wherever_they_stand() {
        let two = Some(vec![Lead::II, Lead::V1]);
        for (name, own) in [
            ("leads", &["II", "V1"][..]),
            ("record/Channels", &["II", "V1"]),
            ("ch_names", &["II,V1"]),
            ("x", &["II", "V1"]),
            ("y", &["II V1"]),
            ("labels", &["II\nV1"]),
        ] {
            assert_eq!(leads(&texts(name, own), [2, 100]), two, "{name}");
        }
        for (name, own) in [
            ("labels", &["AF", "SR"][..]),
            ("comment", &["V1"]),
            ("x", &["II", "V1", "V2"]),
            ("names", &["a", "b"]),
        ] {
            assert_eq!(leads(&texts(name, own), [2, 100]), None, "{name}");
        }
        // So many leads that the shape is wrong.
        assert_eq!(
            leads(&texts("leads", &["I", "II", "V1"]), [2, 100])
                .unwrap()
                .len(),
            3
        );
    }

    #[test]
    fn units_are_of_all_leads_or_of_each() {
        let path = Path::new("x.h5");
        let of = |own: &[&str]| units(path, &texts("a/units", own), 2);
        assert_eq!(of(&["uV"]).unwrap(), [Unit::Microvolt]);
        assert_eq!(of(&["micro volt"]).unwrap(), [Unit::Microvolt]);
        assert_eq!(
            of(&["mV", "uV"]).unwrap(),
            [Unit::Millivolt, Unit::Microvolt]
        );
        assert!(units(path, &texts("z", &["uV"]), 2).unwrap().is_empty());
        assert!(of(&["mmHg"]).unwrap_err().to_string().contains("mmHg"));
    }
}
