//! Lead names and ordered sets of leads.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

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

    /// Reads a name as files spell it: case, surrounding blanks, and leading words `Lead`, `ECG` and `EKG` do not
    /// matter.
    /// Never fails: an unknown name becomes [`Lead::Other`].
    pub fn parse(name: &str) -> Lead {
        let trimmed = name.trim();
        let lower = trimmed.to_ascii_lowercase();
        let mut core = lower.as_str();
        while let Some(rest) = ["lead", "ecg", "ekg"]
            .iter()
            .find_map(|prefix| core.strip_prefix(prefix))
        {
            core = rest.trim_start_matches([' ', '_', '-', ':']);
        }
        STANDARD
            .iter()
            .find(|(_, standard)| standard.eq_ignore_ascii_case(core))
            .map_or_else(|| Lead::Other(trimmed.to_owned()), |(lead, _)| lead.clone())
    }

    /// Position among the twelve standard leads (0 for I .. 11 for V6), `None` for any other lead.
    ///
    /// This is the row of a model's lead embedding, not a row of any recording.
    pub fn standard_index(&self) -> Option<usize> {
        STANDARD.iter().position(|(lead, _)| lead == self)
    }
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
        assert_eq!(Lead::parse("vx"), Lead::Other("vx".into()));
        assert_eq!(Lead::parse("MLII"), Lead::Other("MLII".into()));
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
