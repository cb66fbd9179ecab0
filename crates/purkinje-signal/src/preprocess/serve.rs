//! Whether one contract can be reached from rows stored under another, and the remaining steps.

use std::ops::Range;

use purkinje_record::LeadSet;

use super::{
    EmptyLead, Extent, Mismatch, MissingPolicy, Prepared, Preparer, Preprocess, PreprocessError,
    Scale, Step, first_difference, show,
};
use crate::beats::Sample;

/// The remaining steps for stored rows.
#[derive(Clone, Debug)]
pub struct Remaining {
    preparer: Preparer,
    stored_hz: f64,
    served: Served,
}

/// The stored rows that equal those under the requested contract.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Served {
    /// All.
    All,
    /// Those without repaired samples.
    Complete,
    /// Those without repaired samples, and those with repaired samples of at most this length and without an empty
    /// lead.
    Repaired {
        /// Length in seconds up to which both contracts repair in the same way.
        within_s: f64,
        /// Whether both contracts treat leads without any value in the same way.
        empty_leads: bool,
    },
}

impl Preprocess {
    /// The remaining steps for rows `stored` under another contract, to get the result of this one.
    ///
    /// This is possible if the steps of the stored contract are the first ones of this contract, and its leads are
    /// among the stored ones. `source_rate_hz` is the sampling rate of all source recordings, if it is the same:
    /// resampling to the same rate is no step. Missing samples may have been treated differently: then rows with
    /// missing samples are not [served](Remaining::serves_row). R-peaks are not compared: where the contracts differ in
    /// `beats`, they are detected again in the result.
    ///
    /// # Errors
    /// [`Mismatch`] with the first difference and what to do.
    pub fn serve(
        &self,
        stored: &Preprocess,
        source_rate_hz: Option<f64>,
    ) -> Result<Remaining, Mismatch> {
        let advice = || {
            let mut advice = "prepare the recordings again with the expected contract".to_owned();
            if let (Some(rate_hz), true) = (source_rate_hz, stored.rate_hz != self.rate_hz) {
                advice += &format!(
                    " (their sampling rate was {rate_hz} Hz, that of the store is {} Hz)",
                    stored.rate_hz
                );
            }
            let raw = |step: &Step| matches!(step, Step::Missing { .. } | Step::Resample { .. });
            if !stored.steps.iter().all(raw) {
                advice += ", or with `raw-500` to serve several models from one store";
            }
            advice
        };
        if let Err(lead) = stored.leads.rows_of(&self.leads) {
            return Err(Mismatch {
                field: "leads",
                found: show(&stored.leads),
                expected: show(&self.leads),
                advice: format!(
                    "the store has no lead {lead}; choose other leads, or prepare the data again"
                ),
            });
        }
        let done = Significant::of(stored, source_rate_hz);
        let wanted = Significant::of(self, source_rate_hz);
        // A subset of the leads has another range than all of them.
        let shares_range = |step: &&Step| {
            matches!(
                step,
                Step::Scale(Scale::MinMax {
                    over: Extent::Recording,
                    ..
                })
            )
        };
        if self.leads.len() != stored.leads.len()
            && let Some(step) = done.steps.iter().find(shares_range)
        {
            return Err(Mismatch {
                field: "leads",
                found: show(&stored.leads),
                expected: show(&self.leads),
                advice: format!("all stored leads were {step} together; {}", advice()),
            });
        }
        let rest = wanted.after(&done).map_err(|difference| {
            // Frequencies above the limit of a lower rate are lost, whatever else differs.
            if stored.rate_hz < self.rate_hz {
                return Mismatch {
                    field: "rate_hz",
                    found: show(&stored.rate_hz),
                    expected: show(&self.rate_hz),
                    advice: advice(),
                };
            }
            difference.advise(&advice())
        })?;
        let (steps, rate_hz) = without_idle_resampling(rest, Some(stored.rate_hz));
        if rate_hz != Some(self.rate_hz) {
            return Err(Mismatch {
                field: "rate_hz",
                found: show(&stored.rate_hz),
                expected: show(&self.rate_hz),
                advice: advice(),
            });
        }
        let rest = Preprocess::new(self.rate_hz, self.leads.clone(), steps).with_beats(self.beats);
        let preparer = Preparer::for_the_rest(&rest).map_err(|problem| Mismatch {
            field: "steps",
            found: show(&stored.steps),
            expected: show(&self.steps),
            advice: problem.to_string(),
        })?;
        Ok(Remaining {
            preparer,
            stored_hz: stored.rate_hz,
            served: served(stored, self, source_rate_hz),
        })
    }
}

impl Remaining {
    /// The remaining steps.
    pub fn steps(&self) -> &[Step] {
        &self.preparer.contract().steps
    }

    /// Whether a stored row equals the one under the requested contract: it has `len` samples per lead, and
    /// `missing_samples` over all leads were repaired.
    pub fn serves_row(&self, len: usize, missing_samples: usize) -> bool {
        match self.served {
            _ if missing_samples == 0 => true,
            Served::All => true,
            Served::Complete => false,
            Served::Repaired {
                within_s,
                empty_leads,
            } => {
                len as f64 <= (within_s * self.stored_hz).round()
                    && (empty_leads || missing_samples < len)
            }
        }
    }

    /// Applies the remaining steps to a stored row: `rows` is `[lead, time]`, row-major, with the meaning `leads`, in
    /// the unit of the stored contract; `record` names it in errors.
    ///
    /// # Errors
    /// See [`PreprocessError`].
    pub fn apply<S: Sample>(
        &self,
        record: &str,
        leads: &LeadSet,
        rows: &[S],
    ) -> Result<Prepared, PreprocessError> {
        self.preparer
            .apply_samples(record, leads, self.stored_hz, rows)
    }

    /// Applies the remaining steps to a stretch of a stored row `[lead, time]`, samples `stretch` of each lead; see
    /// [`apply`](Self::apply). R-peaks are looked for in the whole row.
    ///
    /// # Errors
    /// See [`PreprocessError`].
    pub fn apply_within<S: Sample>(
        &self,
        record: &str,
        leads: &LeadSet,
        rows: &[S],
        stretch: &Range<usize>,
    ) -> Result<Prepared, PreprocessError> {
        let len = rows.len() / leads.len().max(1);
        if *stretch == (0..len) {
            return self.apply(record, leads, rows);
        }
        let found = self.preparer.find_beats(leads, self.stored_hz, rows);
        let found = found.map(|found| found.within(stretch));
        let rows: Vec<S> = rows
            .chunks_exact(len.max(1))
            .flat_map(|row| &row[stretch.clone()])
            .copied()
            .collect();
        self.preparer
            .apply_window(record, leads, self.stored_hz, &rows, found.as_ref())
    }
}

/// The steps that change samples, without missing ones.
struct Significant {
    steps: Vec<Step>,
}

impl Significant {
    fn of(contract: &Preprocess, source_rate_hz: Option<f64>) -> Self {
        let steps = contract.steps.iter().copied();
        let steps = steps
            .filter(|step| !matches!(step, Step::Missing { .. }))
            .collect();
        Significant {
            steps: without_idle_resampling(steps, source_rate_hz).0,
        }
    }

    /// The remaining steps after `done`.
    fn after(self, done: &Significant) -> Result<Vec<Step>, Mismatch> {
        let count = done.steps.len();
        let first = &self.steps[..count.min(self.steps.len())];
        if first == done.steps {
            return Ok(self.steps[count..].to_vec());
        }
        // A window within a last window is cut now.
        if let (Some((Step::Window(wide), before)), Some(Step::Window(narrow))) =
            (done.steps.split_last(), self.steps.get(count - 1))
            && wide.pad_to_s.is_none()
            && narrow.keep_s <= wide.keep_s
            && before == &self.steps[..count - 1]
        {
            return Ok(self.steps[count - 1..].to_vec());
        }
        let difference = first_difference(&done.steps, first);
        Err(difference.unwrap_or_else(|| Mismatch {
            field: "steps",
            found: show(&done.steps),
            expected: show(&self.steps),
            advice: String::new(),
        }))
    }
}

/// The steps without resampling that has no effect, and the final rate, if it is known.
fn without_idle_resampling(steps: Vec<Step>, mut rate_hz: Option<f64>) -> (Vec<Step>, Option<f64>) {
    let mut kept = Vec::with_capacity(steps.len());
    for step in steps {
        if let Step::Resample { to_hz, .. } = step
            && rate_hz.replace(to_hz) == Some(to_hz)
        {
            continue;
        }
        kept.push(step);
    }
    (kept, rate_hz)
}

fn served(stored: &Preprocess, wanted: &Preprocess, source_rate_hz: Option<f64>) -> Served {
    let missing = |contract: &Preprocess| {
        contract.steps.iter().find_map(|step| match step {
            Step::Missing { policy, empty_lead } => Some((*policy, *empty_lead)),
            _ => None,
        })
    };
    let (Some(stored_so), Some(wanted_so)) = (missing(stored), missing(wanted)) else {
        return Served::Complete;
    };
    // Steps on the whole recording depend on the leads present.
    let whole = |(policy, _)| policy == MissingPolicy::ZeroRecording;
    if stored_so.0 == MissingPolicy::Reject {
        return Served::All;
    }
    if stored_so.0 != wanted_so.0 || (whole(stored_so) && stored.leads.len() != wanted.leads.len())
    {
        return Served::Complete;
    }
    // Within all windows of both contracts, repairing before or after the cut gives the same result.
    let windows = [stored, wanted].map(Preprocess::window);
    let same_place = windows[0] == windows[1];
    if !same_place
        && windows
            .iter()
            .flatten()
            .any(|window| window.pad_to_s.is_some())
    {
        return Served::Complete;
    }
    let within_s = match same_place {
        true => f64::INFINITY,
        false => windows
            .iter()
            .flatten()
            .fold(f64::INFINITY, |s, window| s.min(window.keep_s)),
    };
    let empty_leads = (stored_so.1, wanted_so.1) != (EmptyLead::Zero, EmptyLead::Reject);
    // Whether a lead was empty is known from the number of repaired samples, which is counted at the source's rate.
    if !empty_leads && source_rate_hz.is_none_or(|source_hz| source_hz < stored.rate_hz) {
        return Served::Complete;
    }
    if same_place && empty_leads {
        return Served::All;
    }
    Served::Repaired {
        within_s,
        empty_leads,
    }
}

#[cfg(test)]
mod tests {
    use purkinje_record::Recording;

    use super::*;

    fn preset(name: &str) -> Preprocess {
        Preprocess::preset(name).unwrap()
    }

    fn recording(rate_hz: f64, seconds: usize) -> Recording {
        let len = (rate_hz * seconds as f64) as usize;
        let samples = (0..12 * len).map(|k| {
            let t = (k % len) as f32 / rate_hz as f32;
            let size = 1.0 + (k / len) as f32;
            size * ((t * 7.0).sin() * (t * 41.0).cos() + 0.1 * (t * 100.0).sin())
        });
        Recording::new("r", LeadSet::standard_12(), rate_hz, samples.collect()).unwrap()
    }

    #[test]
    fn one_store_serves_every_system() {
        let stored = preset("raw-500");
        for (rate_hz, seconds) in [(500.0, 10), (500.0, 13)] {
            let recording = recording(rate_hz, seconds);
            let row = stored.apply(&recording).unwrap();
            for (name, _) in super::super::PRESETS {
                let wanted = preset(name);
                let rest = wanted.serve(&stored, Some(rate_hz)).unwrap();
                assert_eq!(
                    rest.steps()
                        .iter()
                        .filter(|s| s.kind() == "missing")
                        .count(),
                    0
                );
                let served = rest.apply("r", &row.leads, &row.rows).unwrap();
                let direct = wanted.apply(&recording).unwrap();
                assert_eq!(served.rows, direct.rows, "{name}");
                assert_eq!(
                    (served.leads, served.rate_hz),
                    (direct.leads, direct.rate_hz)
                );
                assert!(rest.serves_row(5000, 0));
            }
        }
    }

    #[test]
    fn what_is_lost_is_named() {
        let refused = |wanted: &str, stored: &Preprocess, source_hz| {
            let mismatch = preset(wanted).serve(stored, source_hz).unwrap_err();
            (mismatch.field, mismatch.to_string())
        };
        let (field, words) = refused("hubert", &preset("clear"), Some(500.0));
        assert_eq!(field, "rate_hz");
        assert!(
            words.contains("prepare the recordings again") && words.contains("raw-500"),
            "{words}"
        );
        // Filtered at 100 Hz.
        let (field, _) = refused("clear-ptbxl", &preset("clear-mimic"), Some(500.0));
        assert_eq!(field, "filter");
        // The sources were at another rate, so the filter at the source's rate is too late.
        for source_hz in [None, Some(400.0)] {
            let (field, words) = refused("hubert", &preset("raw-500"), source_hz);
            assert_eq!(field, "filter", "{words}");
            assert!(!words.contains("raw-500"), "{words}");
        }
        // 100 Hz cannot become 500 Hz.
        let (field, words) = refused("d-beta", &preset("raw-100"), Some(500.0));
        assert_eq!(field, "rate_hz");
        assert!(words.contains("their sampling rate was 500 Hz"), "{words}");
        let (field, words) = refused("raw-500", &preset("deri-ptbxl"), Some(500.0));
        assert_eq!(field, "window", "{words}");
        let limb = preset("raw-500").with_leads("limb".parse().unwrap());
        let (field, words) = refused("deri", &limb, Some(500.0));
        assert_eq!(field, "leads");
        assert!(words.contains("no lead V1"), "{words}");
        // All leads share one range.
        let two = preset("deri-ptbxl").with_leads("I,II".parse().unwrap());
        assert_eq!(
            two.serve(&preset("deri-ptbxl"), None).unwrap_err().field,
            "leads"
        );
        assert!(
            preset("deri-ptbxl")
                .serve(&preset("deri-ptbxl"), None)
                .unwrap()
                .steps()
                .is_empty()
        );
    }

    #[test]
    fn resampling_that_was_none_is_no_step() {
        let slow = preset("clear-ptbxl");
        let rest = preset("clear").serve(&slow, Some(100.0)).unwrap();
        let kinds: Vec<_> = rest.steps().iter().map(Step::kind).collect();
        assert_eq!(kinds, ["window", "filter"]);
        assert_eq!(
            preset("clear").serve(&slow, None).unwrap_err().field,
            "window"
        );
        let rest = preset("d-beta").serve(&preset("raw-500"), None).unwrap();
        assert_eq!(
            rest.steps().iter().map(Step::kind).collect::<Vec<_>>(),
            ["window"]
        );
    }

    #[test]
    fn shorter_windows_are_cut_from_longer_ones() {
        let long = preset("clear-raw").without("resample").at_rate(500.0);
        let rest = preset("clear-cpsc2018").serve(&long, Some(500.0)).unwrap();
        assert_eq!(rest.steps()[0].kind(), "window");
        let mut longer = long.clone();
        longer.steps[0] = Step::Window(super::super::Window {
            keep_s: 20.0,
            pad_to_s: None,
        });
        assert!(preset("clear").serve(&longer, Some(500.0)).is_ok());
        assert_eq!(
            longer.serve(&long, Some(500.0)).unwrap_err().field,
            "window"
        );
    }

    #[test]
    fn repaired_rows_are_served_where_both_repair_alike() {
        let stored = preset("raw-500");
        let rest = |name: &str, source_hz| preset(name).serve(&stored, source_hz).unwrap();
        let hubert = rest("hubert", Some(500.0));
        assert!(
            hubert.serves_row(5000, 0)
                && hubert.serves_row(9000, 7)
                && hubert.serves_row(5000, 5000)
        );
        let mimic = rest("clear-mimic", Some(500.0));
        assert!(mimic.serves_row(9000, 9000));
        // Refuses empty leads, and repairs within ten seconds only.
        let clear = rest("clear", Some(500.0));
        assert!(
            clear.serves_row(5000, 7)
                && !clear.serves_row(5000, 5000)
                && !clear.serves_row(5001, 7)
        );
        let dbeta = rest("d-beta", Some(500.0));
        assert!(dbeta.serves_row(5000, 0) && !dbeta.serves_row(5000, 1));
        let strict = preset("deri")
            .serve(&preset("d-beta").without("window"), Some(500.0))
            .unwrap();
        assert!(strict.serves_row(5000, 1));
    }
}
