//! Windows: the stretches of a recording that a model is given, one after another.

use std::fmt;
use std::ops::Range;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Length of a window in seconds where neither the user nor the preprocessing states one.
pub const WINDOW_S: f64 = 10.0;

/// Where the windows of a recording lie.
///
/// They begin at multiples of the stride. The last one is the first that reaches the end of the recording; where it is
/// shorter than half a window it is left out, unless it is the only one.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Windows {
    /// Length of a window in seconds.
    pub length_s: f64,
    /// Distance between the starts of windows in seconds.
    pub stride_s: f64,
    /// Which of them are used.
    pub take: Take,
}

/// Which windows of a recording are used.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Take {
    /// All.
    #[default]
    All,
    /// The first.
    First,
    /// As many as this, spread evenly from the first to the last; all where there are fewer.
    Spread(usize),
}

impl Windows {
    /// The windows of a recording of `len` samples, in samples; none where it is empty.
    pub fn places(&self, len: usize, rate_hz: f64) -> Vec<Range<usize>> {
        let samples = |seconds: f64| ((seconds * rate_hz).round() as usize).max(1);
        let (length, stride) = (samples(self.length_s), samples(self.stride_s));
        // Windows before the first that reaches the end.
        let whole = len.saturating_sub(length).div_ceil(stride);
        let rest = len.saturating_sub(whole * stride);
        let all = whole + usize::from(2 * rest >= length || (whole == 0 && len > 0));
        let at = |place: usize| place * stride..(place * stride + length).min(len);
        match self.take {
            Take::First => (0..all.min(1)).map(at).collect(),
            Take::Spread(count) if count < all => (0..count)
                .map(|k| at(k * (all - 1) / count.saturating_sub(1).max(1)))
                .collect(),
            Take::All | Take::Spread(_) => (0..all).map(at).collect(),
        }
    }
}

impl fmt::Display for Take {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Take::All => f.write_str("all"),
            Take::First => f.write_str("first"),
            Take::Spread(count) => count.fmt(f),
        }
    }
}

impl FromStr for Take {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match (text.trim(), text.trim().parse()) {
            ("all", _) => Ok(Take::All),
            ("first", _) => Ok(Take::First),
            (_, Ok(count @ 1..)) => Ok(Take::Spread(count)),
            _ => Err(format!(
                "`{text}` found, expected all, first, or a number of windows of at least 1"
            )),
        }
    }
}

impl From<Take> for String {
    fn from(take: Take) -> String {
        take.to_string()
    }
}

impl TryFrom<String> for Take {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn windows(length_s: f64, stride_s: f64, take: Take) -> Windows {
        Windows {
            length_s,
            stride_s,
            take,
        }
    }

    /// Starts and ends at one sample a second.
    fn pairs(windows: &Windows, len: usize) -> Vec<(usize, usize)> {
        let places = windows.places(len, 1.0);
        places
            .iter()
            .map(|place| (place.start, place.end))
            .collect()
    }

    #[test]
    fn a_last_piece_counts_from_half_a_window_on() {
        let places = |len| pairs(&windows(10.0, 10.0, Take::All), len);
        assert_eq!(places(10), [(0, 10)]);
        assert_eq!(places(14), [(0, 10)]);
        assert_eq!(places(15), [(0, 10), (10, 15)]);
        assert_eq!(places(20), [(0, 10), (10, 20)]);
        assert_eq!(places(3), [(0, 3)]);
        assert!(places(0).is_empty());
        let steps = |len| pairs(&windows(10.0, 5.0, Take::All), len);
        assert_eq!(steps(15), [(0, 10), (5, 15)]);
        assert_eq!(steps(17), [(0, 10), (5, 15), (10, 17)]);
        let gaps = windows(4.0, 10.0, Take::All);
        assert_eq!(pairs(&gaps, 21), [(0, 4), (10, 14)]);
    }

    #[test]
    fn some_windows_are_spread() {
        let places = |take| pairs(&windows(1.0, 1.0, take), 9);
        assert_eq!(places(Take::First), [(0, 1)]);
        assert_eq!(places(Take::Spread(3)), [(0, 1), (4, 5), (8, 9)]);
        assert_eq!(places(Take::Spread(1)), [(0, 1)]);
        assert_eq!(places(Take::Spread(20)).len(), 9);
        for text in ["all", "first", "7"] {
            assert_eq!(text.parse::<Take>().unwrap().to_string(), text);
        }
        for text in ["", "0", "-1", "last"] {
            assert!(text.parse::<Take>().unwrap_err().contains("expected all"));
        }
    }

    proptest! {
        #[test]
        fn windows_are_in_order_and_within(
            len in 0usize..5000, length in 0.2f64..20.0, stride in 0.2f64..20.0, rate in 1.0f64..60.0
        ) {
            let places = windows(length, stride, Take::All).places(len, rate);
            let most = (length * rate).round().max(1.0) as usize;
            prop_assert_eq!(places.is_empty(), len == 0);
            for place in &places {
                prop_assert!(place.start < place.end && place.end <= len && place.len() <= most);
            }
            prop_assert!(places.windows(2).all(|pair| pair[0].start < pair[1].start && pair[0].end < len));
            // What is left out at the end is shorter than half a window where windows touch.
            if stride <= length && let Some(last) = places.last() {
                prop_assert!(2 * (len - last.end) < most.max(2));
            }
        }
    }
}
