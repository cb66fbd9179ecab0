use super::*;

/// Twelve leads of beats, waves and a little noise, 2600 samples each.
fn recording() -> Vec<f64> {
    (0..LEADS * 2600)
        .map(|k| {
            let (lead, t) = (k / 2600, (k % 2600) as f64 / 500.0);
            let beat = (-((t * 1.3).fract() - 0.4).powi(2) * 900.0).exp();
            let wave = (0.3 + 0.05 * lead as f64) * (6.1 * t + lead as f64).sin();
            let noise = ((k * 7919 % 1013) as f64 / 1013.0 - 0.5) * 0.05;
            beat * (lead as f64 / 6.0 - 0.8) + 0.2 * wave + noise
        })
        .collect()
}

fn make(kind: Kind, rate: AnalysisRate, choices: Choices) -> Descriptors {
    Descriptors::new(kind, rate, choices).unwrap()
}

const RATES: [AnalysisRate; 3] = [AnalysisRate::Hz50, AnalysisRate::Hz100, AnalysisRate::Hz500];

#[test]
fn every_kind_has_a_row_for_every_token() {
    let record = recording();
    for choices in [Choices::paper(), Choices::released()] {
        for rate in RATES {
            for (kind, width) in [
                (Kind::TimeFrequency, 16),
                (Kind::Cepstra, 39),
                (Kind::Mixed, 29),
            ] {
                let rows = make(kind, rate, choices).of(&record).unwrap();
                assert_eq!(rows.len(), TOKENS * width);
                assert!(rows.iter().all(|v| v.is_finite()));
            }
        }
    }
}

#[test]
fn mixed_rows_are_the_other_two() {
    let record = recording();
    let of = |kind| {
        make(kind, AnalysisRate::Hz100, Choices::paper())
            .of(&record)
            .unwrap()
    };
    let (sixteen, cepstra, mixed) = (of(Kind::TimeFrequency), of(Kind::Cepstra), of(Kind::Mixed));
    for k in 0..TOKENS {
        let expected = [&sixteen[16 * k..16 * k + 16], &cepstra[39 * k..39 * k + 13]].concat();
        assert_eq!(mixed[29 * k..29 * k + 29], expected);
    }
}

#[test]
fn pieces_begin_where_tokens_begin_and_drift_as_released() {
    // Each sample is its place in the decimated layout, which a low-pass keeps but for its ripple.
    let record: Vec<f64> = (0..LEADS * 2500)
        .map(|k| (k / 2500) as f64 * 500.0 + (k % 2500) as f64 / 5.0)
        .collect();
    let gain = 10f64.powf(-0.05 / 10.0);
    let begins = |choices| -> Vec<f64> {
        make(Kind::Mixed, AnalysisRate::Hz100, choices)
            .pieces(&record)
            .unwrap()
            .chunks(64)
            .map(|piece| piece[0] / gain)
            .collect()
    };
    let (paper, released) = (begins(Choices::paper()), begins(Choices::released()));
    for (k, (paper, released)) in paper.iter().zip(&released).enumerate() {
        let token = 64.0 * k as f64;
        assert!((paper - token).abs() < 1.0, "{k}: {paper}");
        let drift = 2.0 + 4.0 * (64 * k / 496) as f64;
        assert!((released - token - drift).abs() < 1.0, "{k}: {released}");
    }
}

#[test]
fn differences_are_real_and_zero_as_released() {
    let record = recording();
    let of = |choices| {
        make(Kind::Cepstra, AnalysisRate::Hz100, choices)
            .of(&record)
            .unwrap()
    };
    let released = of(Choices::released());
    assert!(released.chunks(39).all(|row| row[13..] == [0.0; 26]));
    let paper = of(Choices::paper());
    let at = |token: usize, column: usize| f64::from(paper[39 * token + column]);
    for column in 0..26 {
        let slope =
            (at(41, column) - at(39, column) + 2.0 * (at(42, column) - at(38, column))) / 10.0;
        assert!((at(40, column + 13) - slope).abs() < 1e-5 * slope.abs().max(1.0));
        // The first token stands for those before it.
        let first = (at(1, column) - at(0, column) + 2.0 * (at(2, column) - at(0, column))) / 10.0;
        assert!((at(0, column + 13) - first).abs() < 1e-5 * first.abs().max(1.0));
    }
    assert!((13..39).all(|column| at(40, column) != 0.0));
}

#[test]
fn filters_cover_the_signal_and_miss_it_as_released() {
    for rate in RATES {
        let described = |choices| make(Kind::Cepstra, rate, choices);
        let paper = described(Choices::paper());
        let filters = paper.cepstral_constants().filters;
        let bins = filters.len() / FILTERS;
        assert!(filters.chunks(bins).all(|f| f.iter().any(|w| *w > 0.0)));
        let bin_hz = f64::from(rate.hz()) / (2 * bins) as f64;
        // The share of a 5 Hz wave's bin that any filter sees.
        let bin = (5.0 / bin_hz).round() as usize;
        let seen = |filters: &[f64]| filters.chunks(bins).map(|f| f[bin]).sum::<f64>();
        assert!(seen(filters) > 0.5, "{rate:?}");
        let released = described(Choices::released());
        assert_eq!(seen(released.cepstral_constants().filters), 0.0);
    }
    let half = make(Kind::Cepstra, AnalysisRate::Hz50, Choices::released());
    let filters = half.cepstral_constants().filters;
    let empty = filters.chunks(16).filter(|f| f.iter().all(|w| *w == 0.0));
    assert!(empty.count() > FILTERS / 2);
}

#[test]
fn constant_pieces_are_numbers_and_undefined_as_released() {
    for rate in RATES {
        let of = |choices, value| {
            make(Kind::TimeFrequency, rate, choices)
                .of_piece(&vec![value; rate.piece_samples()])
                .unwrap()
        };
        let paper = of(Choices::paper(), 0.0);
        assert!(paper.iter().all(|v| *v == 0.0), "{paper:?}");
        let released = of(Choices::released(), 0.0);
        let undefined: Vec<bool> = released.iter().map(|v| v.is_nan()).collect();
        let expected: Vec<bool> = (0..16).map(|k| (9..12).contains(&k)).collect();
        assert_eq!(undefined, expected);
        let flat = of(Choices::paper(), 0.7);
        assert_eq!((flat[9], flat[10], flat[11]), (1.0, 0.0, 0.0));
    }
    let mut one = make(Kind::Mixed, AnalysisRate::Hz100, Choices::paper());
    assert!(one.of_piece(&[0.0; 63]).is_none());
}

#[test]
fn a_missing_sample_costs_a_sample_and_a_lead_as_released() {
    let whole = recording();
    let mut holed = whole.clone();
    holed[2600 * 4 + 1000] = f64::NAN;
    let changed = |choices| {
        let mut make = make(Kind::TimeFrequency, AnalysisRate::Hz100, choices);
        let (a, b) = (make.of(&whole).unwrap(), make.of(&holed).unwrap());
        a.chunks(16)
            .zip(b.chunks(16))
            .filter(|(a, b)| {
                a.iter()
                    .zip(*b)
                    .any(|(a, b)| (a - b).abs() > 0.05 || (a - b).is_nan())
            })
            .count()
    };
    assert!(changed(Choices::paper()) <= 1);
    assert!(changed(Choices::released()) >= 7);
}

#[test]
fn unusable_recordings_are_refused() {
    let mut make = make(Kind::Mixed, AnalysisRate::Hz100, Choices::paper());
    let mut out = vec![1.0];
    for samples in [0, 1, 12 * 2499, 11 * 2600, 12 * 2500 + 1] {
        let error = make.extend(&vec![0.1f32; samples], &mut out).unwrap_err();
        assert_eq!(error, DescriptorError::Shape { samples });
    }
    let error = make.of(&vec![f32::NAN; 12 * 2500]).unwrap_err();
    assert_eq!(error, DescriptorError::AllMissing);
    let mut infinite = vec![0.0f32; 12 * 2500];
    infinite[7] = f32::INFINITY;
    assert_eq!(make.of(&infinite).unwrap_err(), DescriptorError::Infinite);
    assert_eq!(out, [1.0]);
}
