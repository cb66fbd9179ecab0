//! What containers of arrays say in words, wherever it stands: names of leads and units.

use std::path::Path;

use crate::units::no_voltage;
use crate::{Lead, RecordError, Unit};

/// A text that states no encoding: UTF-8, else Latin-1, where every byte is the character of the same number.
pub(crate) fn text(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(text) => text.to_owned(),
        Err(_) => bytes.iter().map(|&b| char::from(b)).collect(),
    }
}

/// What texts with the names of leads are called; the first ones are called so for nothing else.
const LEADS: [&str; 15] = [
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

/// Whether something is called as nothing but lists of leads are.
pub(crate) fn is_list_of_leads(name: &str) -> bool {
    LEADS[..CLEAR].contains(&bare(name).as_str())
}

/// Whether what is called so says something about samples: leads or their unit.
pub(crate) fn matters(name: &str) -> bool {
    let bare = bare(name);
    LEADS.contains(&bare.as_str()) || UNITS.contains(&bare.as_str())
}

/// The last part of a name with slashes or points, in lower case.
fn bare(name: &str) -> String {
    let last = name.rsplit(['/', '.']).next().unwrap_or(name);
    last.trim().to_lowercase()
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
            (bare(name), leads)
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
        let own = texts.iter().find(|(name, _)| bare(name) == word);
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
