//! What must hold for any input.

use proptest::prelude::*;
use purkinje_record::{Lead, LeadSet, Recording};
use purkinje_signal::beats::{BEATS_PER_LEAD, TOKEN_SAMPLES, Tokenized, Tokenizer};
use purkinje_signal::filter::{BandPass, ZeroPhase};
use purkinje_signal::preprocess::Preprocess;
use purkinje_signal::r_peaks::{Xqrs, xqrs};
use purkinje_signal::{quality, resample};

/// Distinct standard leads in any order.
fn lead_set() -> impl Strategy<Value = LeadSet> {
    (Just(Lead::STANDARD_12.to_vec()).prop_shuffle(), 1..=12usize)
        .prop_map(|(leads, count)| LeadSet::new(leads[..count].to_vec()))
}

/// Beats of a given period on noise: something in which R-peaks are found.
fn ecg(len: usize, period: usize, seed: u64) -> Vec<f64> {
    let mut state = seed;
    (0..len)
        .map(|k| {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            let noise = (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5;
            let t = (k % period) as f64 - period as f64 / 2.0;
            (-t * t / 3.0).exp() - 0.25 * (-(t - 3.0) * (t - 3.0) / 4.0).exp() + 0.05 * noise
        })
        .collect()
}

/// Samples including every kind of trouble.
fn troubled() -> impl Strategy<Value = Vec<f64>> {
    let sample = prop_oneof![
        20 => -5.0..5.0f64,
        4 => Just(0.0),
        1 => Just(f64::NAN),
        1 => Just(f64::INFINITY),
        1 => Just(-1e300),
        1 => Just(1e300),
    ];
    prop_oneof![
        prop::collection::vec(-5.0..5.0f64, 0..1500),
        prop::collection::vec(sample, 0..300),
    ]
}

fn wide(order: usize) -> BandPass {
    BandPass {
        order,
        low_hz: 0.67,
        high_hz: 40.0,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn tokens_are_copies_and_zeros(
        leads in lead_set(),
        len in 1..1400usize,
        mut r_peaks in prop::collection::vec(0..1400usize, 0..40),
        seed in any::<u64>(),
    ) {
        r_peaks.retain(|peak| *peak < len);
        r_peaks.sort_unstable();
        let rows: Vec<f32> = (0..leads.len())
            .flat_map(|row| ecg(len, 70, seed ^ row as u64))
            .map(|value| value as f32)
            .collect();
        let tokenizer = Tokenizer::new(&leads).unwrap();
        let tokens = tokenizer.cut(&rows, &r_peaks).unwrap();

        let per_lead = BEATS_PER_LEAD * TOKEN_SAMPLES;
        prop_assert_eq!(tokens.samples.len(), leads.len() * per_lead);
        for (row, lead) in leads.leads().iter().enumerate() {
            let own = &rows[row * len..(row + 1) * len];
            let bits: std::collections::HashSet<u32> = own.iter().map(|v| v.to_bits()).collect();
            let block = &tokens.samples[row * per_lead..(row + 1) * per_lead];
            prop_assert!(block.iter().all(|v| v.to_bits() == 0 || bits.contains(&v.to_bits())));
            let standard = lead.standard_index().unwrap() as u8 + 1;
            for beat in 0..BEATS_PER_LEAD {
                let token = row * BEATS_PER_LEAD + beat;
                prop_assert_eq!(tokens.lead_index[token], standard);
                prop_assert_eq!(tokens.padding[token], beat >= r_peaks.len());
                let values = &tokens.samples[token * TOKEN_SAMPLES..(token + 1) * TOKEN_SAMPLES];
                if beat >= r_peaks.len() {
                    prop_assert!(values.iter().all(|v| *v == 0.0));
                    prop_assert_eq!(tokens.time_index[token], 0);
                } else {
                    // One R-peak among several at the same sample may own nothing of the signal.
                    let alone = r_peaks.iter().filter(|p| **p == r_peaks[beat]).count() == 1;
                    let next = r_peaks.get(beat + 1).is_none_or(|p| *p > r_peaks[beat] + 1);
                    if alone && next {
                        let peak = own[r_peaks[beat]].to_bits();
                        prop_assert!(values.iter().any(|v| v.to_bits() == peak));
                    }
                }
            }
        }

        let count = tokenizer.tokens();
        let (mut samples, mut time, mut padding) =
            (vec![7.0; count * TOKEN_SAMPLES], vec![7; count], vec![true; count]);
        tokenizer.cut_into(&rows, &r_peaks, &mut samples, &mut time, &mut padding).unwrap();
        prop_assert_eq!(samples, tokens.samples);
        prop_assert_eq!(time, tokens.time_index);
        prop_assert_eq!(padding, tokens.padding);
    }

    #[test]
    fn tokenizing_never_panics(leads in lead_set(), samples in troubled()) {
        let len = samples.len() / leads.len();
        let rows = &samples[..len * leads.len()];
        let mut tokenizer = Tokenizer::new(&leads).unwrap();
        match tokenizer.tokenize(rows) {
            Ok(Tokenized::Beats(tokens)) => {
                prop_assert!(!tokens.r_peaks.is_empty());
                prop_assert!(tokens.r_peaks.iter().all(|peak| *peak < len));
            }
            Ok(Tokenized::Silent) => prop_assert!(rows.iter().all(|value| *value <= 0.0)),
            Err(_) => prop_assert_eq!(len, 0),
        }
        // Peaks that do not belong to the recording are refused, not followed.
        let _ = tokenizer.cut(rows, &[5, 3]);
        prop_assert!(tokenizer.cut(rows, &[len]).is_err());
    }

    #[test]
    fn r_peaks_increase(signal in troubled(), rate_hz in 40.5..1200.0f64) {
        let peaks = xqrs(&signal, rate_hz).unwrap();
        prop_assert!(peaks.windows(2).all(|pair| pair[0] < pair[1]));
        prop_assert!(peaks.iter().all(|peak| *peak < signal.len()));
        // A detector that was used before answers alike.
        let mut detector = Xqrs::new(rate_hz).unwrap();
        detector.detect(&ecg(3000, 70, 5));
        prop_assert_eq!(detector.detect(&signal), peaks);
    }

    #[test]
    fn r_peaks_are_found_where_beats_are(period in 60..120usize, seed in any::<u64>(), scale in 0.01..100.0f64) {
        let signal = ecg(2000, period, seed);
        let peaks = xqrs(&signal, 100.0).unwrap();
        // The detector reports a lobe of its filtered signal, at most one QRS width (0.1 s) away.
        for beat in 1..2000 / period - 1 {
            let at = beat * period + period / 2;
            prop_assert!(peaks.iter().any(|peak| peak.abs_diff(at) <= 10), "no R-peak at {}: {:?}", at, peaks);
        }
        // There are more beats than the detector needs to learn, so the unit does not matter.
        let scaled: Vec<f64> = signal.iter().map(|value| value * scale).collect();
        prop_assert_eq!(xqrs(&scaled, 100.0).unwrap(), peaks);
    }

    #[test]
    fn zero_phase_is_linear_and_keeps_time(order in 1..=5usize, seed in any::<u64>(), len in 40..900usize, factor in -3.0..3.0f64) {
        let filter = ZeroPhase::butterworth(wide(order), 100.0).unwrap();
        let run = |mut rows: Vec<f64>| { filter.apply(&mut rows, 1).map(|()| rows) };
        let (x, y) = (ecg(len, 50, seed), ecg(len, 33, !seed));
        let (fx, fy) = (run(x.clone()).unwrap(), run(y.clone()).unwrap());
        let sum = run(x.iter().zip(&y).map(|(x, y)| x + factor * y).collect()).unwrap();
        for (k, sum) in sum.iter().enumerate() {
            prop_assert!((sum - fx[k] - factor * fy[k]).abs() < 1e-9);
        }
        // Reversing time swaps the two passes: only the start states at the ends tell them apart,
        // and this band forgets them within a second.
        let band = BandPass { order: 2, low_hz: 5.0, high_hz: 20.0 };
        let filter = ZeroPhase::butterworth(band, 100.0).unwrap();
        let (mut ahead, mut back) = (x.clone(), x);
        back.reverse();
        filter.apply(&mut ahead, 1).unwrap();
        filter.apply(&mut back, 1).unwrap();
        back.reverse();
        for k in len.min(100)..len.saturating_sub(100) {
            prop_assert!((back[k] - ahead[k]).abs() < 1e-6, "{} {}", back[k], ahead[k]);
        }
        // A constant lies outside of the band.
        let flat = run(vec![factor; len]).unwrap();
        prop_assert!(flat.iter().all(|value| value.abs() < 1e-6));
    }

    #[test]
    fn resampling_up_and_back_returns(len in 2..400usize, more in 1..300usize, seed in any::<u64>()) {
        let x = ecg(len, 40, seed);
        let up = resample::fourier(&x, 1, len + more);
        prop_assert_eq!(up.len(), len + more);
        let back = resample::fourier(&up, 1, len);
        for (found, expected) in back.iter().zip(&x) {
            prop_assert!((found - expected).abs() < 1e-10);
        }
        let mean = |x: &[f64]| x.iter().sum::<f64>() / x.len() as f64;
        prop_assert!((mean(&up) - mean(&x)).abs() < 1e-12);
        let single: Vec<f32> = x.iter().map(|value| *value as f32).collect();
        for (single, double) in resample::fourier_f32(&single, 1, len + more).iter().zip(&up) {
            prop_assert!((f64::from(*single) - double).abs() < 1e-5);
        }
    }

    #[test]
    fn any_recording_is_prepared_or_refused(
        leads in lead_set(),
        samples in troubled(),
        rate_hz in prop_oneof![Just(0.0), Just(f64::NAN), Just(1e-9), 0.5..2000.0f64],
        preset in prop::sample::select(&["clear", "clear-raw", "clear-mimic", "clear-csn", "clear-cpsc2018-int16"]),
    ) {
        let len = samples.len() / leads.len();
        let samples = samples[..len * leads.len()].iter().map(|value| *value as f32).collect();
        let recording = Recording::new("r", leads.clone(), rate_hz, samples).unwrap();
        quality::assess(&recording);
            let contract = Preprocess::preset(preset).unwrap().with_leads(leads.clone());
            match contract.apply(&recording) {
                Ok(prepared) => {
                    prop_assert_eq!(&prepared.leads, &leads);
                    prop_assert!(prepared.rows.len().is_multiple_of(leads.len()));
                }
                Err(error) => prop_assert!(error.to_string().contains("`r`")),
            }
    }
}
