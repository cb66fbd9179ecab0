//! Beats that a file brings, beside those that are found.

use purkinje_record::{Annotation, Lead, Recording};

/// Codes of beats among the annotations of WFDB, which all readers use.
const BEAT_CODES: [&str; 20] = [
    "N", "L", "R", "B", "A", "a", "J", "S", "V", "r", "F", "e", "j", "n", "E", "/", "f", "Q", "?",
    "!",
];

/// Found beats beside annotated ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BeatAgreement {
    /// Annotated beats.
    pub annotated: usize,
    /// Those of them that were found.
    pub found: usize,
    /// Beats between the first and the last annotated one that were found and not annotated.
    pub extra: usize,
}

/// R-peaks in seconds that the annotations of a recording mark, increasing: those that hold for all leads; where each lead has
/// its own, those of lead II, or of the first annotated lead.
pub fn annotated_beats(recording: &Recording) -> Vec<f64> {
    let is_beat =
        |mark: &&Annotation| BEAT_CODES.contains(&mark.symbol.as_str()) && mark.sample >= 0;
    let marks: Vec<&Annotation> = recording.annotations.iter().filter(is_beat).collect();
    let has = |lead: Option<&Lead>| marks.iter().any(|mark| mark.lead.as_ref() == lead);
    let lead = match (has(None), has(Some(&Lead::II))) {
        (true, _) => None,
        (false, true) => Some(&Lead::II),
        (false, false) => marks.first().and_then(|mark| mark.lead.as_ref()),
    };
    let of_lead = marks.iter().filter(|mark| mark.lead.as_ref() == lead);
    let mut seconds: Vec<f64> = of_lead
        .map(|mark| mark.sample as f64 / recording.rate_hz)
        .collect();
    seconds.sort_unstable_by(f64::total_cmp);
    seconds
}

impl BeatAgreement {
    /// Compares increasing times in seconds; each beat counts once, and beats further apart than `within_s` are two.
    pub fn of(annotated_s: &[f64], found_s: &[f64], within_s: f64) -> BeatAgreement {
        let [Some(first), Some(last)] = [annotated_s.first(), annotated_s.last()] else {
            return BeatAgreement::default();
        };
        let inside = first - within_s..=last + within_s;
        let mut found = found_s
            .iter()
            .filter(|beat| inside.contains(beat))
            .peekable();
        let (mut both, mut extra) = (0, 0);
        for &annotated in annotated_s {
            while found
                .next_if(|&&beat| beat < annotated - within_s)
                .is_some()
            {
                extra += 1;
            }
            if found
                .next_if(|&&beat| beat <= annotated + within_s)
                .is_some()
            {
                both += 1;
            }
        }
        BeatAgreement {
            annotated: annotated_s.len(),
            found: both,
            extra: extra + found.count(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn beats_are_told_from_other_marks_and_other_leads() {
        let mark = |sample, lead: Option<Lead>, symbol: &str| Annotation {
            sample,
            lead,
            symbol: symbol.to_owned(),
            note: None,
        };
        let mut recording =
            Recording::new("r", "I,II".parse().unwrap(), 100.0, vec![0.0; 400]).unwrap();
        assert!(annotated_beats(&recording).is_empty());
        recording.annotations = vec![
            mark(60, Some(Lead::II), "N"),
            mark(30, Some(Lead::I), "N"),
            mark(50, Some(Lead::II), "("),
        ];
        assert_eq!(annotated_beats(&recording), [0.6]);
        recording.annotations.push(mark(150, None, "V"));
        recording.annotations.push(mark(18, None, "+"));
        assert_eq!(annotated_beats(&recording), [1.5]);
    }

    #[test]
    fn every_beat_counts_once() {
        let of = |annotated: &[f64], found: &[f64]| {
            let BeatAgreement {
                annotated,
                found,
                extra,
            } = BeatAgreement::of(annotated, found, 0.1);
            (annotated, found, extra)
        };
        assert_eq!(
            of(&[1.0, 2.0, 3.0], &[0.2, 1.05, 1.5, 2.95, 3.05, 4.0]),
            (3, 2, 2)
        );
        assert_eq!(of(&[1.0, 2.0], &[]), (2, 0, 0));
        assert_eq!(of(&[], &[1.0]), (0, 0, 0));
    }
}
