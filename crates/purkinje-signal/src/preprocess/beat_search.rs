//! How R-peaks are detected, as part of the contract.

use purkinje_record::{Lead, LeadSet};
use serde::{Deserialize, Serialize};

/// How the R-peaks that all leads share are looked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Wire", into = "Wire")]
pub enum BeatSearch {
    /// On the chosen leads together, in the recording as it came, before any step: [`MultiLead`](crate::r_peaks::MultiLead).
    #[default]
    MultiLead,
    /// By XQRS in the rows that result, one after another until one shows R-peaks, as CLEAR-HUG's program.
    Xqrs {
        /// The row that is searched first; the others follow in their order.
        first: FirstRow,
    },
}

/// The fields of both.
#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    detector: Option<Detector>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    first: Option<FirstRow>,
}

#[derive(Clone, Copy, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Detector {
    MultiLead,
    Xqrs,
}

/// The row that is searched for R-peaks first.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FirstRow {
    /// Lead II by its name.
    #[default]
    LeadIi,
    /// The second of the chosen leads in the order in which they were chosen, whichever lead it is: CLEAR-HUG's
    /// program (`docs/differences.md`, 3.1). The only one if there is only one.
    #[serde(rename = "second_row")]
    Second,
}

impl BeatSearch {
    /// As CLEAR-HUG's program: the second row first.
    pub const RELEASED: BeatSearch = BeatSearch::Xqrs {
        first: FirstRow::Second,
    };

    /// What a contract means that says nothing, as all did once: lead II first.
    pub const UNSAID: BeatSearch = BeatSearch::Xqrs {
        first: FirstRow::LeadIi,
    };

    /// The name of the detector.
    pub fn name(self) -> &'static str {
        match self {
            BeatSearch::MultiLead => "multi_lead",
            BeatSearch::Xqrs { .. } => "xqrs",
        }
    }

    /// The row at which XQRS begins; `None` where all leads are looked at together.
    pub fn first_row(self, leads: &LeadSet) -> Option<usize> {
        match self {
            BeatSearch::MultiLead => None,
            BeatSearch::Xqrs { first } => Some(first.of(leads)),
        }
    }

    pub(super) fn is_unsaid(&self) -> bool {
        *self == Self::UNSAID
    }
}

impl FirstRow {
    /// Its index; without a lead II that is looked for by name, the second row, or the only one.
    fn of(self, leads: &LeadSet) -> usize {
        let second = usize::from(leads.len() > 1);
        match self {
            FirstRow::LeadIi => leads.position(&Lead::II).unwrap_or(second),
            FirstRow::Second => second,
        }
    }
}

impl From<BeatSearch> for Wire {
    fn from(search: BeatSearch) -> Wire {
        match search {
            BeatSearch::MultiLead => Wire {
                detector: Some(Detector::MultiLead),
                first: None,
            },
            BeatSearch::Xqrs { first } => Wire {
                detector: None,
                first: Some(first),
            },
        }
    }
}

impl TryFrom<Wire> for BeatSearch {
    type Error = &'static str;

    fn try_from(wire: Wire) -> Result<Self, Self::Error> {
        match (wire.detector, wire.first) {
            (Some(Detector::MultiLead), None) => Ok(BeatSearch::MultiLead),
            (Some(Detector::MultiLead), Some(_)) => Err(
                "`first` belongs to the detector `xqrs`; `multi_lead` looks at all leads together",
            ),
            (None | Some(Detector::Xqrs), first) => {
                let first = first.unwrap_or_default();
                Ok(BeatSearch::Xqrs { first })
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::Preprocess;
    use super::*;

    #[test]
    fn the_search_travels_in_the_contract() {
        let paper = Preprocess::preset("clear").unwrap();
        let text = paper.to_json();
        assert!(text.contains("\"detector\": \"multi_lead\""), "{text}");
        assert_eq!(Preprocess::from_json(&text).unwrap(), paper);
        let released = paper.clone().with_beats(BeatSearch::RELEASED);
        let text = released.to_json();
        assert!(text.contains("\"first\": \"second_row\""), "{text}");
        assert_eq!(Preprocess::from_json(&text).unwrap(), released);
        assert_eq!(released.check(&paper).unwrap_err().field, "beats");
        for (good, bad) in [("\"first\"", "\"frist\""), ("second_row", "third_row")] {
            assert!(Preprocess::from_json(&text.replace(good, bad)).is_err());
        }
        let both = paper
            .to_json()
            .replace("\"multi_lead\"", "\"multi_lead\", \"first\": \"lead_ii\"");
        let error = Preprocess::from_json(&both).unwrap_err().to_string();
        assert!(error.contains("`first` belongs to"), "{error}");
    }

    #[test]
    fn a_contract_that_says_nothing_means_what_it_meant() {
        let unsaid = Preprocess::clear().with_beats(BeatSearch::UNSAID);
        let text = unsaid.to_json();
        assert!(!text.contains("beats"), "{text}");
        assert_eq!(Preprocess::from_json(&text).unwrap(), unsaid);
        let said = text.replacen('{', "{\"beats\": {\"detector\": \"xqrs\"},", 1);
        assert_eq!(Preprocess::from_json(&said).unwrap(), unsaid);
    }

    #[test]
    fn rows_with_their_peaks_serve_where_both_searches_begin_with_the_same_row() {
        let unsaid = Preprocess::clear().with_beats(BeatSearch::UNSAID);
        let released = unsaid.clone().with_beats(BeatSearch::RELEASED);
        assert!(unsaid.gives_the_same(&released) && released.gives_the_same(&unsaid));
        let multi = Preprocess::clear();
        assert!(!multi.gives_the_same(&unsaid) && multi.gives_the_same(&Preprocess::clear()));
        let turned: LeadSet = "V6,V5,II,I".parse().unwrap();
        let [unsaid, released] = [unsaid, released].map(|c| c.with_leads(turned.clone()));
        assert!(!unsaid.gives_the_same(&released) && unsaid.same_samples(&released));
        // Samples are the same, R-peaks are found again.
        assert!(released.serve(&unsaid, None).unwrap().steps().is_empty());
        let slow = unsaid.clone().at_rate(50.0);
        assert!(!slow.same_samples(&unsaid) && !slow.gives_the_same(&unsaid));
    }
}
