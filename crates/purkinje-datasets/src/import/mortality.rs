//! Death within a horizon, as a binary task from right-censored follow-up.
use purkinje_store::LabelSet;

use super::Item;
use super::published::class;

/// The horizon of the usual task, two years, in years.
pub const DEFAULT_HORIZON_YEARS: f32 = 2.0;

/// The longest horizon, in years: longer than any follow-up.
pub const MAX_HORIZON_YEARS: f32 = 100.0;

/// Whether a patient died at most `horizon_years` after the recording.
///
/// `follow_up_years` is the time from the recording to death, or for survivors to the end of follow-up
/// (right-censored). `None` if follow-up ended alive at or before the horizon, or if a death has no time or is before
/// the recording.
fn died_within(dead: bool, follow_up_years: Option<f32>, horizon_years: f32) -> Option<bool> {
    let years = follow_up_years.filter(|years| *years >= 0.0)?;
    match (dead, years > horizon_years) {
        // Alive at the horizon, whatever happened later.
        (_, true) => Some(false),
        (true, false) => Some(true),
        (false, false) => None,
    }
}

/// Adds the label set `death-Ny`, of one class, to items whose first two numbers are death (0 or 1) and years of
/// follow-up, and returns a note on the number of items that are not part of that task.
pub(super) fn add_mortality(
    horizon_years: f32,
    items: &mut [Item],
    label_sets: &mut Vec<LabelSet>,
    remarks: &mut Vec<String>,
) {
    let name = format!("death-{horizon_years}y");
    let (mut outcomes, mut unknown) = (0usize, 0usize);
    for item in items.iter_mut() {
        let number = |place: usize| item.values.get(place).copied().flatten();
        let dead = number(0).map(|dead| dead > 0.5);
        let label = dead.and_then(|dead| died_within(dead, number(1), horizon_years));
        outcomes += usize::from(dead.is_some());
        unknown += usize::from(dead.is_some() && label.is_none());
        item.labels
            .push(label.map(|died| if died { vec![0] } else { Vec::new() }));
    }
    if unknown > 0 {
        remarks.push(format!(
            "{unknown} of {outcomes} exams with a known outcome are right-censored at or before {horizon_years} years; they have no label in {name}"
        ));
    }
    let about = format!(
        "died within {horizon_years} years of the recording; unlabelled if right-censored before that"
    );
    label_sets.push(LabelSet {
        classes: vec![class(&name, about)],
        name,
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_patient_counts_as_alive_only_if_seen_beyond_the_horizon() {
        // dead, years, within two years
        for (dead, years, expected) in [
            (true, Some(0.0), Some(true)),
            (true, Some(1.99), Some(true)),
            (true, Some(2.0), Some(true)),
            (true, Some(2.01), Some(false)),
            (false, Some(2.01), Some(false)),
            (false, Some(2.0), None),
            (false, Some(0.5), None),
            (false, None, None),
            (true, None, None),
            (true, Some(-0.1), None),
        ] {
            assert_eq!(died_within(dead, years, 2.0), expected, "{dead} {years:?}");
        }
    }

    #[test]
    fn records_without_an_answer_are_counted_and_not_labelled() {
        let with = |dead: Option<f32>, years: Option<f32>| Item {
            labels: vec![None],
            values: vec![dead, years, Some(50.0)],
            ..Item::default()
        };
        let mut items = vec![
            with(Some(1.0), Some(1.0)),
            with(Some(1.0), Some(1.6)),
            with(Some(0.0), Some(1.2)),
            with(Some(0.0), Some(3.0)),
            with(None, None),
            Item::default(),
        ];
        items[5].labels.push(None);
        let (mut sets, mut remarks) = (Vec::new(), Vec::new());
        add_mortality(1.5, &mut items, &mut sets, &mut remarks);
        assert_eq!(sets[0].name, "death-1.5y");
        let labels: Vec<_> = items.iter().map(|item| item.labels[1].as_deref()).collect();
        let expected: [Option<&[i16]>; 6] = [Some(&[0]), Some(&[]), None, Some(&[]), None, None];
        assert_eq!(labels, expected);
        assert_eq!(remarks.len(), 1);
        assert!(remarks[0].starts_with("1 of 4 exams"), "{remarks:?}");
    }
}
