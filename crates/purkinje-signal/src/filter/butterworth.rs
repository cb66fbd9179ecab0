//! Butterworth design in SciPy's order of operations, so that coefficients agree to the last digits.

use std::f64::consts::PI;

use rustfft::num_complex::Complex64;

use super::{BandPass, Coefficients, FilterError, MAX_ORDER};

pub(super) fn design(band: BandPass, rate_hz: f64) -> Result<Coefficients, FilterError> {
    let BandPass {
        order,
        low_hz,
        high_hz,
    } = band;
    if order == 0 || order > MAX_ORDER {
        return Err(FilterError::Order { found: order });
    }
    // Written so that NaN fails too.
    let inside = low_hz > 0.0 && low_hz < high_hz && high_hz < rate_hz / 2.0 && rate_hz.is_finite();
    if !inside {
        return Err(FilterError::Band {
            low_hz,
            high_hz,
            rate_hz,
        });
    }

    // Analogue prototype: poles on the left half of the unit circle, no zeros.
    let prototype = (0..order).map(|k| {
        let m = 2.0 * k as f64 - (order as f64 - 1.0);
        -Complex64::new(0.0, PI * m / (2.0 * order as f64)).exp()
    });

    // Band edges on the analogue axis of the bilinear transform at the nominal rate 2.
    const NOMINAL: f64 = 2.0;
    let warp = |hz: f64| 2.0 * NOMINAL * (PI * (2.0 * hz / rate_hz) / NOMINAL).tan();
    let (low, high) = (warp(low_hz), warp(high_hz));
    let width = high - low;
    let centre = (low * high).sqrt();

    // Low-pass to band-pass: each pole becomes two; `order` zeros appear at 0 and `order` at infinity.
    let scaled: Vec<Complex64> = prototype.map(|pole| pole * (width / 2.0)).collect();
    let root = |pole: &Complex64| (pole * pole - centre * centre).sqrt();
    let analogue: Vec<Complex64> = scaled
        .iter()
        .map(|pole| pole + root(pole))
        .chain(scaled.iter().map(|pole| pole - root(pole)))
        .collect();

    // Bilinear transform: zeros at 0 go to 1, zeros at infinity to -1.
    let double = 2.0 * NOMINAL;
    let poles: Vec<Complex64> = analogue
        .iter()
        .map(|pole| (double + pole) / (double - pole))
        .collect();
    let zeros_product = Complex64::new(double, 0.0).powu(order as u32);
    let poles_product: Complex64 = analogue.iter().map(|pole| double - pole).product();
    let gain = width.powi(order as i32) * (zeros_product / poles_product).re;
    let zeros: Vec<Complex64> = (0..2 * order)
        .map(|k| Complex64::new(if k < order { 1.0 } else { -1.0 }, 0.0))
        .collect();

    Ok(Coefficients {
        b: polynomial(&zeros).into_iter().map(|c| gain * c).collect(),
        a: polynomial(&poles),
    })
}

/// Real coefficients of the polynomial with these roots, highest power first.
fn polynomial(roots: &[Complex64]) -> Vec<f64> {
    let mut coefficients = vec![Complex64::new(1.0, 0.0)];
    for root in roots {
        coefficients.push(Complex64::new(0.0, 0.0));
        for k in (1..coefficients.len()).rev() {
            coefficients[k] = coefficients[k] - root * coefficients[k - 1];
        }
    }
    coefficients.into_iter().map(|c| c.re).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn assert_close(found: &[f64], expected: &[f64]) {
        assert_eq!(found.len(), expected.len());
        for (f, e) in found.iter().zip(expected) {
            assert!((f - e).abs() <= 1e-14 * e.abs().max(1.0), "{f} is not {e}");
        }
    }

    #[test]
    fn published_check_values() {
        // The band-pass of the preprocessing, and that of the R-peak detector.
        let wide = BandPass {
            order: 5,
            low_hz: 0.67,
            high_hz: 40.0,
        };
        let c = design(wide, 100.0).unwrap();
        let b0 = 0.329_291_041_724_743_05;
        let b = [1.0, 0.0, -5.0, 0.0, 10.0, 0.0, -10.0, 0.0, 5.0, 0.0, -1.0].map(|k| b0 * k);
        assert_close(&c.b, &b);
        assert_close(
            &c.a,
            &[
                1.0,
                -1.8963403160353125,
                -1.177925030889035,
                2.971706460544496,
                1.5845208571667662,
                -2.654467040677095,
                -1.2332944675140514,
                1.1528919135665205,
                0.5670086085853809,
                -0.20566980517028302,
                -0.10842973670415632,
            ],
        );
        let qrs = BandPass {
            order: 2,
            low_hz: 5.0,
            high_hz: 20.0,
        };
        let c = design(qrs, 100.0).unwrap();
        assert_close(
            &c.b,
            &[1.0, 0.0, -2.0, 0.0, 1.0].map(|k| 0.13110643991662602 * k),
        );
        assert_close(
            &c.a,
            &[
                1.0,
                -2.1806578386027993,
                2.0200041161835105,
                -1.025510847713418,
                0.27221493792500717,
            ],
        );
        assert!((2.0 * c.gain(PI * 128.0 / 512.0) - 1.9966861372918783).abs() < 1e-13);
    }

    #[test]
    fn impossible_bands_are_refused() {
        let band = |order, low_hz, high_hz| BandPass {
            order,
            low_hz,
            high_hz,
        };
        assert!(matches!(
            design(band(0, 1.0, 2.0), 100.0),
            Err(FilterError::Order { found: 0 })
        ));
        for (low, high, rate) in [
            (0.0, 2.0, 100.0),
            (3.0, 2.0, 100.0),
            (1.0, 50.0, 100.0),
            (1.0, 2.0, f64::NAN),
            (f64::NAN, 2.0, 100.0),
        ] {
            assert!(matches!(
                design(band(2, low, high), rate),
                Err(FilterError::Band { .. })
            ));
        }
    }
}
