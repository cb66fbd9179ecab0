//! How much of a recording a model is given, and what was used of it: one rule for embedding, predicting, probing and
//! evaluating.

use purkinje_eval::crops::{Aggregation, aggregate};
use purkinje_models::compat::Compat;
use purkinje_signal::windows::{Take, WINDOW_S, Windows};
use serde::{Deserialize, Serialize};

use crate::model::Model;
use crate::{Error, Result};

/// Reasons for windows left out that are listed with a result.
const MOST_REASONS: usize = 10;

/// How much of a recording a model is given.
///
/// A recording is cut into windows, each of which is preprocessed as a recording of its own and becomes one input of the
/// network, or several crops where the system crops. The default is all of the recording in windows as long as the
/// preprocessing states, otherwise of ten seconds; networks that follow a released program are given what it took: the
/// beginning.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct WindowOptions {
    /// Length of a window in seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub length_s: Option<f64>,
    /// Distance between the starts of windows in seconds; their length if absent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub stride_s: Option<f64>,
    /// Which windows are used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub take: Option<Take>,
    /// Number of crops of a window, spread evenly, for systems that crop; as many as see all of the window if absent. A single crop is
    /// taken from the beginning.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub crops: Option<usize>,
    /// How the results of crops become that of a window, and those of windows that of the recording.
    pub aggregation: Aggregation,
    /// Vectors of every window instead of one for the recording.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub each: bool,
}

/// [`WindowOptions`] for one model.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Plan {
    /// `None` for the whole recording at once.
    pub(crate) windows: Option<Windows>,
    /// Whether the length of windows was asked for.
    pub(crate) stated: bool,
    /// `None` for as many as see all of a window.
    pub(crate) crops: Option<usize>,
    pub(crate) aggregation: Aggregation,
}

/// How much of one or several recordings was used.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Used {
    /// Windows used.
    pub windows: usize,
    /// Windows asked for: those that could not be used are in `left_out`.
    pub windows_asked: usize,
    /// Seconds that the network was given.
    pub seconds_used: f64,
    /// Seconds of the recording.
    pub seconds: f64,
    /// Beats that became tokens, in the windows used; absent where no beats are cut.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beats_used: Option<usize>,
    /// Beats in the windows used.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub beats: Option<usize>,
    /// Windows that could not be used: the first ten.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub left_out: Vec<LeftOut>,
    /// Whether the quality of the recording allows a result ([`Measures::usable`](purkinje_signal::quality::Measures::usable)); absent for
    /// several recordings.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub usable: Option<bool>,
    /// Why it does not.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unusable_because: Option<String>,
    /// Of several recordings, those whose quality does not.
    #[serde(skip_serializing_if = "is_zero")]
    pub unusable: usize,
}

#[allow(clippy::trivially_copy_pass_by_ref)] // serde asks for it
fn is_zero(number: &usize) -> bool {
    *number == 0
}

/// A window that could not be used.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LeftOut {
    /// Its start in seconds of the recording.
    pub start_s: f64,
    /// Why.
    pub reason: String,
}

/// The beats in an input.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BeatCount {
    /// Those that became tokens.
    pub used: usize,
    /// Those that were found; none where evenly spaced positions stand in.
    pub found: usize,
}

/// A window and what came of it.
#[derive(Clone, Debug)]
pub struct Window<W> {
    /// Its start in seconds of the recording.
    pub start_s: f64,
    /// Its length in seconds.
    pub seconds: f64,
    /// Seconds of it that the network was given.
    pub seconds_used: f64,
    /// Its beats; `None` where no beats are cut.
    pub beats: Option<BeatCount>,
    /// What came of it.
    pub value: W,
}

impl<W> Window<W> {
    /// With something else that came of it.
    pub fn map<V>(self, of: impl FnOnce(W) -> V) -> Window<V> {
        Window {
            start_s: self.start_s,
            seconds: self.seconds,
            seconds_used: self.seconds_used,
            beats: self.beats,
            value: of(self.value),
        }
    }
}

impl WindowOptions {
    /// The beginning of each recording alone.
    pub fn first() -> Self {
        WindowOptions {
            take: Some(Take::First),
            crops: Some(1),
            ..WindowOptions::default()
        }
    }

    /// What this means for a model whose recordings are read as `compat` says.
    ///
    /// # Errors
    /// For lengths that make no sense or that the model's preprocessing would cut off, and for crops that the system does
    /// not take.
    pub(crate) fn plan(&self, model: &Model, compat: Compat) -> Result<Plan> {
        if let Some(crops) = self.crops {
            model.check_crops(crops)?;
        }
        let released = compat == Compat::Released || model.network().compat() == Compat::Released;
        let untouched = self.length_s.or(self.stride_s).is_none() && self.take.is_none();
        let crops = self.crops.or(released.then_some(1));
        let plan = |windows| Plan {
            windows,
            stated: self.length_s.is_some(),
            crops,
            aggregation: self.aggregation,
        };
        if released && untouched {
            return Ok(plan(None));
        }
        let own_s = model.preprocess().window().map(|window| window.keep_s);
        let length_s = self.length_s.or(own_s).unwrap_or(WINDOW_S);
        let stride_s = self.stride_s.unwrap_or(length_s);
        for (name, found) in [("--window", length_s), ("--stride", stride_s)] {
            if !(found >= 0.1 && found.is_finite()) {
                return Err(Error::invalid(format!(
                    "`{name}` is {found} s, expected at least 0.1 s"
                )));
            }
        }
        if let Some(own_s) = own_s.filter(|own_s| length_s > *own_s) {
            return Err(Error::invalid(format!(
                "`--window` is {length_s} s, but the preprocessing of the model keeps {own_s} s of each; expected at most {own_s} s"
            )));
        }
        Ok(plan(Some(Windows {
            length_s,
            stride_s,
            take: self.take.unwrap_or_default(),
        })))
    }
}

impl Used {
    /// What the windows used of a recording of `seconds` that has `found` of them.
    pub(crate) fn of<W>(
        windows: &[Window<W>],
        found: usize,
        seconds: f64,
        mut left_out: Vec<LeftOut>,
    ) -> Used {
        // Windows may overlap, and are in order of time.
        let (mut together, mut end) = (0.0, 0.0f64);
        for window in windows {
            let stop = window.start_s + window.seconds;
            together += (stop - window.start_s.max(end)).max(0.0);
            end = end.max(stop);
        }
        let given: f64 = windows.iter().map(|window| window.seconds_used).sum();
        let beats = || windows.iter().filter_map(|window| window.beats);
        let any = beats().next().is_some();
        left_out.truncate(MOST_REASONS);
        Used {
            windows: windows.len(),
            windows_asked: found,
            seconds_used: given.min(together),
            seconds,
            beats_used: any.then(|| beats().map(|count| count.used).sum()),
            beats: any.then(|| beats().map(|count| count.found).sum()),
            left_out,
            ..Used::default()
        }
    }

    /// Says whether the quality of the recording allows a result, by the reason why not.
    pub(crate) fn judged(self, unusable: Option<String>) -> Used {
        Used {
            usable: Some(unusable.is_none()),
            unusable_because: unusable,
            ..self
        }
    }

    /// Adds what was used of another recording.
    pub fn add(&mut self, other: &Used) {
        let sum = |a: Option<usize>, b: Option<usize>| match (a, b) {
            (None, None) => None,
            (a, b) => Some(a.unwrap_or(0) + b.unwrap_or(0)),
        };
        self.windows += other.windows;
        self.windows_asked += other.windows_asked;
        self.seconds_used += other.seconds_used;
        self.seconds += other.seconds;
        self.beats_used = sum(self.beats_used, other.beats_used);
        self.beats = sum(self.beats, other.beats);
        self.unusable += other.unusable + usize::from(other.usable == Some(false));
    }

    /// In words, where not everything was used: `2 of 3 windows, 20 of 30 s, 30 of 44 beats`.
    pub fn in_words(&self) -> Option<String> {
        let mut words = Vec::new();
        if self.windows < self.windows_asked {
            words.push(format!(
                "{} of {} windows",
                self.windows, self.windows_asked
            ));
        }
        if self.seconds - self.seconds_used > 0.05 {
            words.push(format!("{:.1} of {:.1} s", self.seconds_used, self.seconds));
        }
        if let (Some(used), Some(found)) = (self.beats_used, self.beats)
            && used < found
        {
            words.push(format!("{used} of {found} beats"));
        }
        if self.unusable > 0 {
            words.push(format!(
                "{}, although by quality not usable (`--quality usable` leaves such records of a store out)",
                crate::text::count(self.unusable, "recording")
            ));
        }
        (!words.is_empty()).then(|| words.join(", "))
    }
}

/// The probabilities `[labels]` of a recording or window from those of its parts, with the logits they have. Of a single part the logits
/// are its own.
pub(crate) fn together(parts: &[&[f32]], how: Aggregation) -> Result<Vec<f32>> {
    if let [logits] = parts {
        return Ok(logits.to_vec());
    }
    let all = parts.concat();
    // The largest probability has the largest logit.
    if how == Aggregation::Max {
        return Ok(aggregate(&all, parts.len(), how)?);
    }
    let mean = aggregate(&crate::predict::probabilities(&all), parts.len(), how)?;
    let logit = |p: f32| {
        (p / (1.0 - p).max(f32::MIN_POSITIVE))
            .max(f32::MIN_POSITIVE)
            .ln()
    };
    Ok(mean.into_iter().map(logit).collect())
}

/// The vectors of a recording or window from those of its parts, value by value.
pub(crate) fn vectors_together(parts: &[&[f32]], how: Aggregation) -> Result<Vec<f32>> {
    match parts {
        [vectors] => Ok(vectors.to_vec()),
        parts => Ok(aggregate(&parts.concat(), parts.len(), how)?),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::predict::probability;

    #[test]
    fn parts_are_aggregated_as_probabilities() {
        let parts: [&[f32]; 2] = [&[0.0], &[2.0]];
        let mean = together(&parts, Aggregation::Mean).unwrap();
        let expected = (0.5 + probability(2.0)) / 2.0;
        assert!((probability(mean[0]) - expected).abs() < 1e-6);
        assert_eq!(together(&parts, Aggregation::Max).unwrap(), [2.0]);
        assert_eq!(together(&parts[1..], Aggregation::Mean).unwrap(), [2.0]);
        assert_eq!(vectors_together(&parts, Aggregation::Mean).unwrap(), [1.0]);
    }

    #[test]
    fn overlapping_windows_count_their_seconds_once() {
        let window = |start_s| Window {
            start_s,
            seconds: 10.0,
            seconds_used: 10.0,
            beats: Some(BeatCount {
                used: 15,
                found: 22,
            }),
            value: (),
        };
        let used = Used::of(&[window(0.0), window(5.0)], 3, 24.0, Vec::new());
        assert_eq!((used.windows, used.seconds_used), (2, 15.0));
        assert_eq!(
            used.in_words().unwrap(),
            "2 of 3 windows, 15.0 of 24.0 s, 30 of 44 beats"
        );
        let whole = Used::of(&[window(0.0)], 1, 10.0, Vec::new());
        assert_eq!(whole.in_words().unwrap(), "15 of 22 beats");
    }
}
