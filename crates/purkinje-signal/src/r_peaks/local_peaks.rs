//! Local maxima within a radius.

/// Positions whose value equals the largest within `[i - radius, i + radius)`, each at least `radius` after
/// the one before. `radius >= 2`. Nothing for a constant sequence; NaN is never a peak nor tolerates one beside it.
pub(super) fn local_peaks_into(signal: &[f64], radius: usize, peaks: &mut Vec<usize>) {
    peaks.clear();
    let Some(first) = signal.first() else { return };
    if signal.iter().all(|value| value == first) {
        return;
    }
    let mut i = 0;
    while i < signal.len() {
        if is_peak(signal, i, radius) {
            peaks.push(i);
            i += radius;
        } else {
            i += 1;
        }
    }
}

#[inline]
fn is_peak(signal: &[f64], i: usize, radius: usize) -> bool {
    let value = signal[i];
    // Most samples lie on a slope: the neighbours, which every window holds, settle them.
    if i > 0 && signal[i - 1] > value {
        return false;
    }
    if i + 1 < signal.len() && signal[i + 1] > value {
        return false;
    }
    let end = signal.len().min(i + radius);
    signal[i.saturating_sub(radius)..end]
        .iter()
        .all(|other| *other <= value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The two loops of the reference program.
    fn by_the_book(y: &[f64], r: usize) -> Vec<usize> {
        let max = |range: &[f64]| range.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let min = y.iter().copied().fold(f64::INFINITY, f64::min);
        let mut out = Vec::new();
        if min == max(y) {
            return out;
        }
        let mut i = 0;
        while i < r + 1 && i < y.len() {
            if y[i] == max(&y[..(i + r).min(y.len())]) {
                out.push(i);
                i += r;
            } else {
                i += 1;
            }
        }
        while i < y.len() {
            if y[i] == max(&y[i - r..(i + r).min(y.len())]) {
                out.push(i);
                i += r;
            } else {
                i += 1;
            }
        }
        out
    }

    proptest! {
        #[test]
        fn equals_the_definition(levels in prop::collection::vec(0u8..6, 0..120), radius in 2usize..9) {
            let y: Vec<f64> = levels.into_iter().map(f64::from).collect();
            let mut found = Vec::new();
            local_peaks_into(&y, radius, &mut found);
            if !y.is_empty() {
                prop_assert_eq!(found, by_the_book(&y, radius));
            }
        }
    }
}
