//! Lead names and ordered sets of leads.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Unit;

/// A named ECG lead.
///
/// The twelve standard leads have variants of their own; anything else (Frank leads, monitor leads,
/// posterior leads) keeps its name in [`Lead::Other`].
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Lead {
    /// Limb lead I.
    I,
    /// Limb lead II.
    II,
    /// Limb lead III.
    III,
    /// Augmented lead aVR.
    AVR,
    /// Augmented lead aVL.
    AVL,
    /// Augmented lead aVF.
    AVF,
    /// Chest lead V1.
    V1,
    /// Chest lead V2.
    V2,
    /// Chest lead V3.
    V3,
    /// Chest lead V4.
    V4,
    /// Chest lead V5.
    V5,
    /// Chest lead V6.
    V6,
    /// Any other signal, by the name its file gives it.
    Other(String),
}

const STANDARD: [(Lead, &str); 12] = [
    (Lead::I, "I"),
    (Lead::II, "II"),
    (Lead::III, "III"),
    (Lead::AVR, "aVR"),
    (Lead::AVL, "aVL"),
    (Lead::AVF, "aVF"),
    (Lead::V1, "V1"),
    (Lead::V2, "V2"),
    (Lead::V3, "V3"),
    (Lead::V4, "V4"),
    (Lead::V5, "V5"),
    (Lead::V6, "V6"),
];

impl Lead {
    /// The twelve standard leads in the usual order I, II, III, aVR, aVL, aVF, V1..V6.
    pub const STANDARD_12: [Lead; 12] = [
        Lead::I,
        Lead::II,
        Lead::III,
        Lead::AVR,
        Lead::AVL,
        Lead::AVF,
        Lead::V1,
        Lead::V2,
        Lead::V3,
        Lead::V4,
        Lead::V5,
        Lead::V6,
    ];

    /// The name in the usual spelling (`aVR`, `V1`, ...).
    pub fn name(&self) -> &str {
        match self {
            Lead::Other(name) => name,
            lead => STANDARD
                .iter()
                .find(|(standard, _)| standard == lead)
                .map_or("?", |(_, name)| name),
        }
    }

    /// Reads a name as files spell it, the same for all formats. Case and surrounding blanks do not matter, nor words in front (`Lead`, `ECG`,
    /// `EKG`, `MDC_ECG_LEAD_`), what follows in brackets or after a comma (`I (Einthoven)`), a reference (`I-Ref`, `I-LE`) or a unit
    /// (`I_mV`); the numbers of Einthoven's leads are known (`DI`, `D1`, `Lead 1`).
    ///
    /// A sign belongs to the name: `-aVR`, `aVR-` and `aVR (inverted)` are not aVR. Pairs of electrodes (`V1-V2`) are signals of their own.
    /// Never fails: an unknown name becomes [`Lead::Other`].
    pub fn parse(name: &str) -> Lead {
        let trimmed = name.trim();
        let known = |core: &str| {
            let found = STANDARD
                .iter()
                .find(|(_, standard)| standard.eq_ignore_ascii_case(core));
            found.map(|(lead, _)| lead.clone())
        };
        known(trimmed)
            .or_else(|| known(core(&trimmed.to_lowercase())?.as_str()))
            .unwrap_or_else(|| Lead::Other(trimmed.to_owned()))
    }

    /// Position among the twelve standard leads (0 for I .. 11 for V6), `None` for any other lead.
    ///
    /// This is the row of a model's lead embedding, not a row of any recording.
    pub fn standard_index(&self) -> Option<usize> {
        STANDARD.iter().position(|(lead, _)| lead == self)
    }
}

/// What names in the nomenclature of ISO/IEEE 11073 begin with, in lower case.
const CODE: &str = "mdc_ecg_lead_";
/// Words in front of the name of a lead.
const BEFORE: [&str; 8] = [
    CODE,
    "lead",
    "ecg",
    "ekg",
    "afleiding",
    "ableitung",
    "d\u{e9}rivation",
    "derivation",
];
/// Words that say that a signal has the other sign.
const INVERTED: [&str; 6] = ["inverted", "inv", "negative", "neg", "minus", "reversed"];

/// What of a name in lower case says which lead it is; `None` where it says that the sign is another.
fn core(name: &str) -> Option<String> {
    let words = |text: &str| {
        let mut words = text.split(|c: char| !c.is_alphanumeric());
        words.any(|word| INVERTED.contains(&word))
    };
    if words(name) {
        return None;
    }
    // What is in brackets or behind a comma explains.
    let mut core = name.split(['(', '[', ',']).next().unwrap_or("").trim();
    let mut of_einthoven = false;
    let before = |core: &str| BEFORE.iter().find(|word| core.starts_with(**word)).copied();
    while let Some(word) = before(core) {
        // `ECG 1` is the first channel of something, `Lead 1` is Einthoven's.
        of_einthoven |= !["ecg", "ekg"].contains(&word);
        let rest = &core[word.len()..];
        // A minus right behind the word divides; any other is the sign of the lead, unless a blank follows.
        core = match rest.strip_prefix('-') {
            Some(own) if !name.starts_with(CODE) => own,
            _ => {
                let rest = rest.trim_start_matches([' ', '_', ':']);
                rest.strip_prefix("- ").unwrap_or(rest)
            }
        }
        .trim_start();
    }
    if core.starts_with(['-', '\u{2212}', '\u{2013}'])
        || core.ends_with(['-', '\u{2212}', '\u{2013}'])
    {
        return None;
    }
    for reference in ["-ref", "-le"] {
        core = core.strip_suffix(reference).unwrap_or(core);
    }
    let last = core.rsplit_once(['_', '/', ' ']);
    if let Some((rest, unit)) = last
        && unit.len() > 1
        && unit.parse::<Unit>().is_ok()
    {
        core = rest.trim_end_matches(['_', '/', ' ']);
    }
    let named = match core {
        "di" | "d1" => "i",
        "dii" | "d2" => "ii",
        "diii" | "d3" => "iii",
        "1" if of_einthoven => "i",
        "2" if of_einthoven => "ii",
        "3" if of_einthoven => "iii",
        other => other,
    };
    Some(named.to_owned())
}

/// Whether a name says that a signal has the other sign.
pub(crate) fn is_inverted(name: &str) -> bool {
    core(&name.trim().to_lowercase()).is_none()
}

/// Whether this is the usual name of a lead that is not among the twelve: of the back, of the right side, of a monitor, of Frank.
pub(crate) fn is_further(name: &str) -> bool {
    let name = name.to_ascii_uppercase();
    let right = name.strip_prefix('V').and_then(|own| own.strip_suffix('R'));
    matches!(
        name.as_str(),
        "V7" | "V8" | "V9" | "VX" | "VY" | "VZ" | "MLI" | "MLII" | "MLIII" | "MCL1" | "CM5" | "CC5"
    ) || right.is_some_and(|own| own.len() == 1 && own.bytes().all(|b| (b'1'..=b'9').contains(&b)))
        || name
            .strip_prefix("MV")
            .is_some_and(|own| own.len() == 1 && own.bytes().all(|b| (b'1'..=b'6').contains(&b)))
}

/// Gives leads of one recording their names where only all of them together tell: C1 to C6 are V1 to V6 where there is no V lead, they are
/// numbered from 1 without a gap, and they are all six or stand beside a limb lead (electrodes of an EEG have such names too).
pub(crate) fn settle(leads: &mut [&mut Lead]) {
    let number = |lead: &Lead| match lead {
        Lead::Other(name) => {
            let name = name.to_ascii_lowercase();
            let core = core(&name)?;
            core.strip_prefix('c')?.parse::<usize>().ok()
        }
        _ => None,
    };
    let is = |lead: &Lead, range: std::ops::Range<usize>| {
        lead.standard_index()
            .is_some_and(|index| range.contains(&index))
    };
    let numbers: Vec<usize> = leads.iter().filter_map(|lead| number(lead)).collect();
    let highest = numbers.iter().copied().max().unwrap_or(0);
    let without_gap =
        highest <= 6 && numbers.len() == highest && (1..=highest).all(|n| numbers.contains(&n));
    let limb = leads.iter().any(|lead| is(lead, 0..6));
    let chest = leads.iter().any(|lead| is(lead, 6..12));
    if chest || !without_gap || highest == 0 || !(limb || highest == 6) {
        return;
    }
    for lead in leads {
        if let Some(number) = number(lead) {
            **lead = Lead::STANDARD_12[5 + number].clone();
        }
    }
}

/// Leads that have numbers in SCP-ECG (EN 1064, table of lead identifications), and the same, above 256, in ISO/IEEE 11073-10101.
const NUMBERED: &str = "I II V1 V2 V3 V4 V5 V6 V7 V2R V3R V4R V5R V6R V7R X Y Z CC5 CM5 LA RA LL fI fE fC fA fM fF fH I-cal II-cal \
     V1-cal V2-cal V3-cal V4-cal V5-cal V6-cal V7-cal V2R-cal V3R-cal V4R-cal V5R-cal V6R-cal V7R-cal X-cal Y-cal Z-cal CC5-cal \
     CM5-cal LA-cal RA-cal LL-cal fI-cal fE-cal fC-cal fA-cal fM-cal fF-cal fH-cal III aVR aVL aVF -aVR V8 V9 V8R V9R D A J Defib \
     ExtPace A1 A2 A3 A4 V8-cal V9-cal V8R-cal V9R-cal D-cal A-cal J-cal";

/// The lead with this number, from 1 on; calibration pulses of a lead (`I-cal`) are signals of their own.
pub(crate) fn numbered(number: u32) -> Option<Lead> {
    let index = usize::try_from(number).ok()?.checked_sub(1)?;
    NUMBERED.split_whitespace().nth(index).map(|name| {
        let standard = STANDARD.iter().find(|(_, standard)| *standard == name);
        standard.map_or_else(|| Lead::Other(name.into()), |(lead, _)| lead.clone())
    })
}

impl fmt::Display for Lead {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for Lead {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for Lead {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer).map(|name| Lead::parse(&name))
    }
}

/// An ordered set of leads: the meaning of the rows of a recording, a store or a model input.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LeadSet(Vec<Lead>);

/// A list of leads without a name in it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "no lead in `{0}`: expected names such as I,II,V2 or MLII, as the recordings have them, or a named set (12, limb)"
)]
pub struct NoLead(pub String);

impl LeadSet {
    /// A set from leads in their order. Duplicates are kept as they are.
    pub fn new(leads: Vec<Lead>) -> Self {
        LeadSet(leads)
    }

    /// The twelve standard leads in the usual order.
    pub fn standard_12() -> Self {
        LeadSet(Lead::STANDARD_12.to_vec())
    }

    /// The leads in order.
    pub fn leads(&self) -> &[Lead] {
        &self.0
    }

    /// How many leads.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether the set is empty.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The row of `lead`, if present; of a lead that is not among the standard ones, whatever the case of its letters.
    pub fn position(&self, lead: &Lead) -> Option<usize> {
        let exact = self.0.iter().position(|own| own == lead);
        exact.or_else(|| {
            let Lead::Other(name) = lead else { return None };
            let same =
                |own: &Lead| matches!(own, Lead::Other(own) if own.eq_ignore_ascii_case(name));
            self.0.iter().position(same)
        })
    }

    /// For every lead of `wanted`, its row here; or the first lead that is missing.
    pub fn rows_of(&self, wanted: &LeadSet) -> Result<Vec<usize>, Lead> {
        wanted
            .0
            .iter()
            .map(|lead| self.position(lead).ok_or_else(|| lead.clone()))
            .collect()
    }
}

impl FromStr for LeadSet {
    type Err = NoLead;

    /// Reads `"I,II,V2"` or `"I II V2"`, or a named set: `12` (standard order), `limb` (I II III aVR aVL aVF). Any name is a
    /// lead (`MLII`, `CM5`); between commas it may have blanks (`Frank X,Frank Y`).
    fn from_str(text: &str) -> Result<Self, NoLead> {
        match text.trim().to_ascii_lowercase().as_str() {
            "12" | "all" => return Ok(Self::standard_12()),
            "limb" => return Ok(LeadSet(Lead::STANDARD_12[..6].to_vec())),
            _ => {}
        }
        let separators: &[char] = if text.contains(',') {
            &[',']
        } else {
            &[' ', '+']
        };
        let names = text.split(separators).map(str::trim);
        let leads: Vec<Lead> = names
            .filter(|name| !name.is_empty())
            .map(Lead::parse)
            .collect();
        match leads.is_empty() {
            false => Ok(LeadSet(leads)),
            true => Err(NoLead(text.to_owned())),
        }
    }
}

impl fmt::Display for LeadSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, lead) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str(" ")?;
            }
            f.write_str(lead.name())?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_in_every_spelling() {
        for spelling in [
            "AVR",
            "avr",
            " aVR ",
            "Lead aVR",
            "lead_avr",
            "ECG aVR",
            "ECG lead aVR",
        ] {
            assert_eq!(Lead::parse(spelling), Lead::AVR, "{spelling}");
        }
        for (name, lead) in [
            ("DI", Lead::I),
            ("d3", Lead::III),
            ("Lead 1", Lead::I),
            ("MDC_ECG_LEAD_AVF", Lead::AVF),
            ("I-Ref", Lead::I),
            ("V2-LE", Lead::V2),
            ("ECG-I", Lead::I),
            ("ECG - II", Lead::II),
            ("Lead: II", Lead::II),
            ("ECG I (Einthoven)", Lead::I),
            ("Afleiding I", Lead::I),
            ("I, Einthoven", Lead::I),
            ("I_mV", Lead::I),
            ("II/mV", Lead::II),
            ("V1 uV", Lead::V1),
            ("V1_microV", Lead::V1),
        ] {
            assert_eq!(Lead::parse(name), lead, "{name}");
        }
        for other in [
            "-aVR",
            "aVR-",
            "minus aVR",
            "aVR (inverted)",
            "-III",
            "-V1",
            "Lead -aVR",
            "ECG -aVR",
            "ECG -I",
            "MDC_ECG_LEAD_-AVR",
            "ECG_-I",
            "inv. II",
            "V1-V2",
            "I-II",
            "1",
            "C1",
            "V7",
            "ECG 4",
            "ECG 1",
            "mV",
            "-",
            "\u{2212}aVR",
        ] {
            let found = Lead::parse(other);
            assert_eq!(found, Lead::Other(other.into()), "{other}");
            assert_eq!(Lead::parse(found.name()), found);
        }
        assert_eq!(Lead::parse("vx"), Lead::Other("vx".into()));
        assert_eq!(Lead::parse("MLII"), Lead::Other("MLII".into()));
    }

    #[test]
    fn chest_leads_may_be_called_c() {
        let settled = |names: &str| {
            let mut leads: Vec<Lead> = names.split(' ').map(Lead::parse).collect();
            settle(&mut leads.iter_mut().collect::<Vec<_>>());
            LeadSet::new(leads).to_string()
        };
        assert_eq!(settled("I II C1 C2"), "I II V1 V2");
        assert_eq!(settled("C1 C2 C3 C4 C5 C6"), "V1 V2 V3 V4 V5 V6");
        for kept in [
            "C3 C4 I",
            "C1 C2",
            "I V1 C1 C2",
            "I C1 C2 C2",
            "I C0 C1",
            "I CM5",
        ] {
            assert_eq!(settled(kept), kept);
        }
    }

    #[test]
    fn sets_are_parsed_and_shown() {
        let set: LeadSet = "I, II,V2".parse().unwrap();
        assert_eq!(set.to_string(), "I II V2");
        assert_eq!("limb".parse::<LeadSet>().unwrap().len(), 6);
        assert_eq!("mlii V5".parse::<LeadSet>().unwrap().to_string(), "mlii V5");
        let frank: LeadSet = "Frank X, Frank Y,II".parse().unwrap();
        assert_eq!(frank.leads()[1], Lead::Other("Frank Y".into()));
        assert_eq!(frank.position(&Lead::parse("frank y")), Some(1));
        for nothing in ["", " , "] {
            assert!(nothing.parse::<LeadSet>().is_err());
        }
    }

    #[test]
    fn rows_follow_names_not_positions() {
        let mimic: LeadSet = "I II III aVR aVF aVL V1 V2 V3 V4 V5 V6".parse().unwrap();
        let rows = mimic.rows_of(&LeadSet::standard_12()).unwrap();
        assert_eq!(rows[4..6], [5, 4]);
        let limb: LeadSet = "limb".parse().unwrap();
        assert_eq!(limb.rows_of(&mimic), Err(Lead::V1));
    }
}
