//! Quantisation of samples in millivolts to 16-bit integers with one gain per record.

/// Gains in units per millivolt that published files use; tried first, because samples that were
/// 16-bit integers in the file are then stored as those integers.
const FILE_GAINS_PER_MV: [f32; 12] = [
    1000.0, 200.0, 500.0, 2000.0, 204.8, 400.0, 800.0, 1024.0, 250.0, 100.0, 10000.0, 5000.0,
];

/// Largest gain chosen for samples that no file gain fits: a step of 1/32768 mV is far below the noise of any
/// electrode.
const LARGEST_GAIN_PER_MV: f32 = 32768.0;

/// A record as 16-bit integers.
#[derive(Clone, Debug, PartialEq)]
pub struct Quantised {
    /// Samples in the order given.
    pub signal: Vec<i16>,
    /// Units per millivolt: a sample in millivolts is `signal / gain_per_mv`.
    pub gain_per_mv: f32,
    /// Whether every sample is reproduced exactly (up to the rounding of its f32).
    pub lossless: bool,
}

/// Quantises samples in millivolts.
///
/// If all samples are integers over a gain that files use (1000 per mV in PTB-XL), those integers
/// are stored without loss. Otherwise the gain is the largest power of two for which the range fits,
/// at most 32768 per mV, and the error of a sample is at most half a unit: never more than
/// `max |x| / 32767` (0.00015 mV for a recording of 5 mV), and 0.000016 mV below 1 mV.
///
/// # Errors
/// The index of the first sample that is not finite, or whose magnitude exceeds 32767 mV.
pub fn quantise(samples_mv: &[f64]) -> Result<Quantised, usize> {
    let mut largest_mv = 0.0f64;
    let mut finite = true;
    for &x in samples_mv {
        finite &= x.is_finite();
        largest_mv = largest_mv.max(x.abs());
    }
    if !finite || largest_mv > 32767.0 {
        // The slow search runs only to name the sample.
        return Err(samples_mv
            .iter()
            .position(|x| !x.is_finite() || x.abs() > 32767.0)
            .unwrap_or(0));
    }
    for gain_per_mv in FILE_GAINS_PER_MV {
        // Written so that -32768 fits as well.
        if largest_mv * f64::from(gain_per_mv) < 32768.5
            && let Some(signal) = exact(samples_mv, f64::from(gain_per_mv))
        {
            return Ok(Quantised {
                signal,
                gain_per_mv,
                lossless: true,
            });
        }
    }
    let mut gain_per_mv = LARGEST_GAIN_PER_MV;
    while f64::from(gain_per_mv) * largest_mv > 32767.0 {
        gain_per_mv /= 2.0;
    }
    let gain = f64::from(gain_per_mv);
    Ok(Quantised {
        // Multiplying by a power of two is exact, so only the rounding loses anything.
        signal: samples_mv
            .iter()
            .map(|x| nearest(x * gain) as i16)
            .collect(),
        gain_per_mv,
        lossless: false,
    })
}

/// The integers, if every sample is one over this gain up to the rounding of f32: arrays hold f32,
/// and readers compute the quotient in one rounding or two.
fn exact(samples_mv: &[f64], gain: f64) -> Option<Vec<i16>> {
    const TOLERANCE: f64 = 2.0 * f32::EPSILON as f64;
    let fits = |x: &f64| {
        let scaled = x * gain;
        let unit = nearest(scaled);
        ((unit - scaled).abs() <= TOLERANCE * scaled.abs()) & (-32768.0..=32767.0).contains(&unit)
    };
    // A short look ahead rejects a wrong gain before anything is allocated.
    if !samples_mv.iter().take(64).all(fits) {
        return None;
    }
    let mut signal = Vec::with_capacity(samples_mv.len());
    for block in samples_mv.chunks(1024) {
        if !block.iter().fold(true, |all, x| all & fits(x)) {
            return None;
        }
        signal.extend(block.iter().map(|x| nearest(x * gain) as i16));
    }
    Some(signal)
}

/// The nearest integer (ties to even) of a number far below 2^51. Adding and subtracting 1.5 * 2^52
/// leaves the rounding to the addition, which every vector unit has; `round` is a call without SSE4.1.
fn nearest(x: f64) -> f64 {
    const SHIFT: f64 = 6_755_399_441_055_744.0;
    (x + SHIFT) - SHIFT
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn file_integers_survive_unchanged() {
        let units: Vec<i16> = (-32768..=32767).step_by(7).map(|u| u as i16).collect();
        for gain in [1000.0f64, 200.0, 204.8] {
            let mv: Vec<f64> = units.iter().map(|&u| f64::from(u) / gain).collect();
            // As arrays in single precision hold it.
            let single: Vec<f64> = mv.iter().map(|&x| f64::from(x as f32)).collect();
            for mv in [mv, single] {
                let stored = quantise(&mv).unwrap();
                assert!(stored.lossless);
                assert_eq!(stored.gain_per_mv, gain as f32);
                assert_eq!(stored.signal, units);
            }
        }
    }

    #[test]
    fn unusable_samples_are_named() {
        assert_eq!(quantise(&[0.0, f64::NAN]), Err(1));
        assert_eq!(quantise(&[0.0, 0.0, f64::INFINITY]), Err(2));
        assert_eq!(quantise(&[40000.0]), Err(0));
        assert!(quantise(&[]).unwrap().signal.is_empty());
    }

    proptest! {
        #[test]
        fn the_error_stays_within_its_bound(mv in prop::collection::vec(-80f64..80.0, 1..200)) {
            let stored = quantise(&mv).unwrap();
            let largest = mv.iter().fold(0f64, |m, x| m.max(x.abs()));
            for (x, &unit) in mv.iter().zip(&stored.signal) {
                let error = (f64::from(unit) / f64::from(stored.gain_per_mv) - x).abs();
                prop_assert!(error <= (largest / 32767.0).max(0.000_016));
            }
        }
    }
}
