//! The lead in which R-peaks are detected, as part of the contract.

use purkinje_record::{Lead, LeadSet};
use serde::{Deserialize, Serialize};

/// How the R-peaks of a recording, common to all leads, are detected. Leads are searched in order until one has
/// R-peaks.
///
/// A contract without it has the default: lead II first, at any position.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BeatSearch {
    /// The row that is searched first; the others follow in order.
    pub first: FirstRow,
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
    pub const RELEASED: BeatSearch = BeatSearch {
        first: FirstRow::Second,
    };

    /// The index of the row that is searched first; if lead II is selected by name but missing, the second row, or the
    /// only one.
    pub fn first_row(self, leads: &LeadSet) -> usize {
        let second = usize::from(leads.len() > 1);
        match self.first {
            FirstRow::LeadIi => leads.position(&Lead::II).unwrap_or(second),
            FirstRow::Second => second,
        }
    }

    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::super::Preprocess;
    use super::*;

    #[test]
    fn the_search_travels_in_the_contract_and_the_default_leaves_no_trace() {
        let paper = Preprocess::preset("clear").unwrap();
        assert!(!paper.to_json().contains("beats"));
        let released = paper.clone().with_beats(BeatSearch::RELEASED);
        let text = released.to_json();
        assert!(text.contains("\"first\": \"second_row\""), "{text}");
        assert_eq!(Preprocess::from_json(&text).unwrap(), released);
        assert_eq!(released.clone().with_beats(BeatSearch::default()), paper);
        assert_eq!(released.check(&paper).unwrap_err().field, "beats");
        for (good, bad) in [("\"first\"", "\"frist\""), ("second_row", "third_row")] {
            assert!(Preprocess::from_json(&text.replace(good, bad)).is_err());
        }
    }

    #[test]
    fn rows_with_their_peaks_serve_where_both_searches_begin_with_the_same_row() {
        let paper = Preprocess::preset("clear").unwrap();
        let released = paper.clone().with_beats(BeatSearch::RELEASED);
        assert!(paper.gives_the_same(&released) && released.gives_the_same(&paper));
        let turned: LeadSet = "V6,V5,II,I".parse().unwrap();
        let [paper, released] = [paper, released].map(|c| c.with_leads(turned.clone()));
        assert!(!paper.gives_the_same(&released) && paper.same_samples(&released));
        // Samples are the same, R-peaks are found again.
        assert!(released.serve(&paper, None).unwrap().steps().is_empty());
        let slow = paper.clone().at_rate(50.0);
        assert!(!slow.same_samples(&paper) && !slow.gives_the_same(&paper));
    }
}
