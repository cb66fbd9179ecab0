//! Findings that one text affirms and the other denies.
//!
//! A rule in the manner of NegEx (W. W. Chapman et al., "A simple algorithm for identifying negated findings and diseases in discharge
//! summaries", J Biomed Inform 34, 2001), for English, German and Swedish: a negation word denies the words behind it,
//! up to the end of the clause (full stop, comma, semicolon, or a word such as "but") and at most [`NegationOptions::reach`] of them. A
//! finding is a word of more than three letters that is not a common word. It is compared as it stands, in lower case:
//! "infarct" and "infarction" are two findings, and a denial that follows its finding ("Vorhofflimmern nicht
//! nachweisbar") is not seen.

use std::collections::HashSet;
use std::sync::LazyLock;

use serde::{Deserialize, Serialize};

use super::lexicon::{CLAUSE_END, Lexicon};

/// How findings are taken for denied.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct NegationOptions {
    /// Words behind a negation word that it denies at most.
    pub reach: usize,
}

impl Default for NegationOptions {
    fn default() -> Self {
        Self { reach: 6 }
    }
}

/// Words that deny what follows.
const NEGATIONS: &[&str] = &[
    "no", "not", "without", "kein", "keine", "keinem", "keinen", "keiner", "keines", "ohne",
    "nicht", "ingen", "inga", "inget", "inte", "utan", "ej",
];

/// Words that end a clause.
const BREAKS: &[&str] = &["but", "aber", "men"];

/// Words of more than three letters that are no findings: those that connect others, those that stand between a negation and what is
/// denied, and parts of the trace, about which something else is said.
static COMMON: LazyLock<HashSet<&str>> = LazyLock::new(|| {
    let english = "about after again also although because been before being between cannot consider consistent \
        could definite during either evidence excluded from have having however into likely longer \
        might more most neither only other otherwise possible possibly probable probably seen several \
        should sign significant signs since some such than that their then there these this those \
        through under until very were when where which while will with would";
    let german = "alle allen anzeichen auch beim dabei dass diese dieser dieses durch eine einem einen einer \
        eines gegen hinweis hinweise möglich möglicherweise nach noch oder sehr sich sicher sichere \
        sicheren sind sonst unter wahrscheinlich weitere werden wird zeichen über";
    let swedish = "andra denna detta eller från möjlig möjligen också samt sannolik sannolikt säkert säkra tecken \
        utom vara över";
    let trace = "ableitung ableitungen avledning avledningar complex complexes interval intervals lead leads \
        segment segments strecke sträcka wave waves";
    let all = [english, german, swedish, trace].into_iter();
    all.flat_map(str::split_whitespace).collect()
});

/// What a term does to negation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Negation,
    Break,
    Finding,
    Other,
}

impl Role {
    pub fn of(term: &str) -> Self {
        if NEGATIONS.contains(&term) {
            Role::Negation
        } else if BREAKS.contains(&term) {
            Role::Break
        } else if term.chars().filter(|c| c.is_alphabetic()).nth(3).is_some()
            && !COMMON.contains(term)
        {
            Role::Finding
        } else {
            Role::Other
        }
    }
}

/// A finding of a text, and whether it is affirmed anywhere in it.
type Finding = (u32, bool);

/// Holds memory for the next pair.
#[derive(Default)]
pub(super) struct Negation {
    findings: [Vec<Finding>; 2],
}

impl Negation {
    /// Findings that one text affirms and the other only denies, in alphabetical order.
    pub fn errors(
        &mut self,
        items: [&[u32]; 2],
        lexicon: &Lexicon,
        options: NegationOptions,
    ) -> Vec<String> {
        let mut denied = false;
        for (findings, items) in self.findings.iter_mut().zip(items) {
            denied |= collect(findings, items, lexicon, options.reach);
        }
        if !denied {
            return Vec::new();
        }
        for findings in &mut self.findings {
            // The affirmed one first, which is kept.
            findings.sort_unstable_by_key(|&(term, affirmed)| (term, !affirmed));
            findings.dedup_by_key(|(term, _)| *term);
        }
        let [reference, generated] = &self.findings;
        let affirmed_in_generated = |term: u32| {
            let place = generated.binary_search_by_key(&term, |(other, _)| *other);
            place.ok().map(|place| generated[place].1)
        };
        let mut errors: Vec<String> = reference
            .iter()
            .filter(|(term, affirmed)| {
                affirmed_in_generated(*term).is_some_and(|other| other != *affirmed)
            })
            .map(|(term, _)| lexicon.term_text(*term).to_owned())
            .collect();
        errors.sort_unstable();
        errors
    }
}

/// Lists the findings of a text, and returns whether any is denied.
fn collect(findings: &mut Vec<Finding>, items: &[u32], lexicon: &Lexicon, reach: usize) -> bool {
    findings.clear();
    let (mut denied_words, mut any) = (0, false);
    for &item in items {
        let role = match item {
            CLAUSE_END => Role::Break,
            term => lexicon.role(term),
        };
        match role {
            Role::Negation => denied_words = reach,
            Role::Break => denied_words = 0,
            Role::Finding | Role::Other => {
                if role == Role::Finding {
                    findings.push((item, denied_words == 0));
                    any |= denied_words > 0;
                }
                denied_words = denied_words.saturating_sub(1);
            }
        }
    }
    any
}

#[cfg(test)]
mod tests {
    use super::super::lexicon::Corpus;
    use super::*;

    fn errors(reference: &str, generated: &str) -> Vec<String> {
        let corpus = Corpus::new(&[reference, generated]);
        let mut items = [Vec::new(), Vec::new()];
        for (index, items) in items.iter_mut().enumerate() {
            corpus.lexicon().items(corpus.text(index), items);
        }
        let options = NegationOptions::default();
        Negation::default().errors([&items[0], &items[1]], corpus.lexicon(), options)
    }

    #[test]
    fn a_denied_finding_is_an_error_in_either_direction() {
        let (yes, no) = ("acute ischemia.", "No acute ischemia.");
        assert_eq!(errors(yes, no), ["acute", "ischemia"]);
        assert_eq!(errors(no, yes), ["acute", "ischemia"]);
        assert!(errors(no, no).is_empty() && errors(yes, yes).is_empty());
        assert!(errors(no, "sinus rhythm").is_empty());
        assert_eq!(
            errors("Vorhofflimmern", "kein Vorhofflimmern"),
            ["vorhofflimmern"]
        );
        assert_eq!(
            errors("förmaksflimmer", "inga tecken till förmaksflimmer"),
            ["förmaksflimmer"]
        );
    }

    #[test]
    fn denial_ends_with_its_clause_and_its_reach() {
        for (text, denied) in [
            ("no infarct, fibrillation", false),
            ("no infarct; fibrillation", false),
            ("no infarct. fibrillation", false),
            ("no infarct but fibrillation", false),
            ("kein infarkt aber fibrillation", false),
            ("no st 0.1 fibrillation", true),
            ("not a b c d e fibrillation", true),
            ("not a b c d e f fibrillation", false),
            ("without infarct or fibrillation", true),
            ("fibrillation. no fibrillation", false),
        ] {
            let found = errors("fibrillation", text).contains(&"fibrillation".to_owned());
            assert_eq!(found, denied, "{text}");
        }
    }

    #[test]
    fn common_words_are_no_findings() {
        assert!(errors("no evidence of stemi", "evidence of stemi").contains(&"stemi".into()));
        assert!(errors("no signs of pvc with lead ii", "signs of pvc with lead ii").is_empty());
    }
}
