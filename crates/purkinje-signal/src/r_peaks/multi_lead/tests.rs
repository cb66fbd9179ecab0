use super::*;
use proptest::prelude::*;

/// Evenly distributed from -1 to 1.
struct Noise(u64);

impl Noise {
    fn next(&mut self) -> f64 {
        self.0 = self
            .0
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) as f64 / f64::from(1u32 << 30) - 1.0
    }
}

/// A bump at `at_s`, `width_s` wide.
fn bump(t: f64, at_s: f64, width_s: f64) -> f64 {
    (-((t - at_s) / width_s).powi(2) / 2.0).exp()
}

/// P wave, QRS complex and T wave around the beat at 0 s, in millivolts.
fn heartbeat(t: f64) -> f64 {
    0.12 * bump(t, -0.16, 0.022) - 0.15 * bump(t, -0.025, 0.009) + 1.0 * bump(t, 0.0, 0.011)
        - 0.25 * bump(t, 0.028, 0.010)
        + 0.3 * bump(t, 0.24, 0.045)
}

/// One lead with beats at these times, times `size`, with a little noise.
fn lead(beats_s: &[f64], size: f64, rate_hz: f64, seconds: f64, seed: u64) -> Vec<f32> {
    let mut noise = Noise(seed);
    let samples = (0..(seconds * rate_hz) as usize).map(|k| {
        let t = k as f64 / rate_hz;
        let near = beats_s.iter().filter(|beat| (*beat - t).abs() < 0.6);
        let value: f64 = near.map(|beat| heartbeat(t - beat)).sum();
        (size * value + 0.01 * noise.next()) as f32
    });
    samples.collect()
}

fn every(interval_s: f64, seconds: f64) -> Vec<f64> {
    let count = ((seconds - 0.6) / interval_s) as usize;
    (0..=count).map(|k| 0.4 + k as f64 * interval_s).collect()
}

fn seconds_of(rows: &[Vec<f32>], rate_hz: f64) -> Vec<f64> {
    let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
    let found = MultiLead::new(rate_hz, rows.len()).unwrap().detect(&rows);
    found.r_peaks.iter().map(|peak| peak / rate_hz).collect()
}

#[track_caller]
fn assert_near(found: &[f64], expected: &[f64], within_s: f64) {
    assert_eq!(
        found.len(),
        expected.len(),
        "{found:.2?} for {expected:.2?}"
    );
    for (found, expected) in found.iter().zip(expected) {
        assert!(
            (found - expected).abs() < within_s,
            "{found} for {expected}"
        );
    }
}

#[test]
fn every_rate_of_the_heart_and_of_sampling() {
    for rate_hz in [100.0, 128.0, 250.0, 257.0, 360.0, 500.0, 1000.0] {
        for per_minute in [30.0, 50.0, 75.0, 120.0, 180.0, 220.0] {
            let beats = every(60.0 / per_minute, 10.0);
            let rows = [1.0, 0.4, -0.8].map(|size| lead(&beats, size, rate_hz, 10.0, 1));
            assert_near(&seconds_of(&rows, rate_hz), &beats, 0.01);
            assert_near(&seconds_of(&rows[..1], rate_hz), &beats, 0.01);
        }
    }
}

#[test]
fn one_bad_lead_decides_nothing() {
    let beats = every(0.8, 10.0);
    let good = |size| lead(&beats, size, 500.0, 10.0, 3);
    let mut noise = Noise(5);
    let noisy: Vec<f32> = (0..5000).map(|_| 2.0 * noise.next() as f32).collect();
    let mut artefact = good(0.5);
    artefact[2200..2230].fill(9.0);
    let flat = vec![0.25; 5000];
    let missing = vec![f32::NAN; 5000];
    for bad in [noisy, artefact, flat, missing] {
        let rows = [bad, good(1.0), good(0.2), good(-0.6)];
        assert_near(&seconds_of(&rows, 500.0), &beats, 0.01);
    }
}

#[test]
fn premature_wide_and_large_beats_count() {
    let mut beats = every(0.8, 10.0);
    let early = beats[4] + 0.42;
    let mut row = lead(&beats, 1.0, 250.0, 10.0, 7);
    for (k, value) in row.iter_mut().enumerate() {
        let t = k as f64 / 250.0 - early;
        *value += (1.8 * bump(t, 0.0, 0.035) - 0.6 * bump(t, 0.2, 0.07)) as f32;
    }
    beats.push(early);
    beats.sort_unstable_by(f64::total_cmp);
    let found = seconds_of(&[row], 250.0);
    // The next regular beat comes 0.38 s after the early one.
    assert_near(&found, &beats, 0.04);
}

#[test]
fn missing_samples_are_no_beats() {
    let beats = every(1.0, 20.0);
    let mut rows = [1.0, 0.5].map(|size| lead(&beats, size, 500.0, 20.0, 9));
    for row in &mut rows {
        row[3800..4100].fill(f32::NAN);
        row.iter_mut().skip(4100).for_each(|value| *value += 0.8);
        row[6000] = f32::INFINITY;
    }
    // Those at 7.4 s and 8.4 s stand beside the gap.
    assert_near(&seconds_of(&rows, 500.0), &beats, 0.01);
}

#[test]
fn where_nothing_beats_nothing_is_found() {
    for rate_hz in [100.0, 500.0] {
        let len = (10.0 * rate_hz) as usize;
        for leads in [1, 2, 8] {
            for seed in 0..20 {
                let mut noise = Noise(seed);
                let row = |_| (0..len).map(|_| noise.next() as f32).collect::<Vec<f32>>();
                let rows: Vec<Vec<f32>> = (0..leads).map(row).collect();
                let found = seconds_of(&rows, rate_hz);
                assert!(found.len() < 3, "{leads} leads, seed {seed}: {found:.1?}");
            }
        }
        assert!(seconds_of(&[vec![0.3; len]], rate_hz).is_empty());
        assert!(seconds_of(&[vec![f32::NAN; len]], rate_hz).is_empty());
        assert!(seconds_of(&[vec![]], rate_hz).is_empty());
    }
    assert!(
        MultiLead::new(500.0, 0)
            .unwrap()
            .detect::<f32>(&[])
            .r_peaks
            .is_empty()
    );
    for rate_hz in [0.0, 49.0, f64::NAN, f64::INFINITY] {
        assert!(MultiLead::new(rate_hz, 1).is_err(), "{rate_hz}");
    }
}

#[test]
fn leads_that_follow_from_others_are_left_out() {
    let beats = every(0.8, 10.0);
    let rows: Vec<Vec<f32>> = (0..12).map(|k| lead(&beats, 1.0, 100.0, 10.0, k)).collect();
    let rows: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
    let all = LeadSet::standard_12();
    let found = find_beats(&all, 100.0, &rows);
    let names: Vec<&str> = found.leads.iter().map(Lead::name).collect();
    assert_eq!(names, ["I", "II", "V1", "V2", "V3", "V4", "V5", "V6"]);
    let other: LeadSet = LeadSet::new(vec![Lead::III, Lead::AVR, Lead::Other("MLII".into())]);
    assert_eq!(find_beats(&other, 100.0, &rows[..3]).leads, other.leads());
    assert_eq!(find_beats(&all, 40.0, &rows).beats, Beats::default());
}

#[test]
fn a_beat_that_the_end_cuts_off_lies_within() {
    for seed in 0..400 {
        let mut noise = Noise(seed);
        let len = 60 + seed as usize;
        let values: Vec<f32> = (0..len)
            .map(
                |_| match ((noise.next() * 1e6).abs() as u64 % 10, noise.next()) {
                    (0, _) => f32::NAN,
                    (1, value) => 1e30 * value as f32,
                    (_, value) => value as f32,
                },
            )
            .collect();
        for rate in [62.0, 108.2, 333.0] {
            let found = MultiLead::new(rate, 1).unwrap().detect(&[&values[..]]);
            let inside = |peak: &f64| (0.0..=(len - 1) as f64).contains(peak);
            assert!(
                found.r_peaks.iter().all(inside),
                "seed {seed}, {rate} Hz: {:?}",
                found.r_peaks
            );
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// However a signal arrives, and in whatever unit and order of leads, its beats are the same.
    #[test]
    fn stretches_units_and_order_change_nothing(
        sizes in prop::collection::vec(0.2..2.0f64, 1..4),
        intervals in prop::collection::vec(0.3..1.6f64, 20..60),
        cuts in prop::collection::vec(1..9000usize, 0..12),
        offset in -5.0..5.0f32,
    ) {
        let beats: Vec<f64> = intervals.iter().scan(0.3, |t, d| { *t += d; Some(*t) }).collect();
        let seconds = beats[beats.len() - 1] + 0.5;
        let rows: Vec<Vec<f32>> =
            sizes.iter().enumerate().map(|(k, size)| lead(&beats, *size, 250.0, seconds, k as u64)).collect();
        let slices: Vec<&[f32]> = rows.iter().map(Vec::as_slice).collect();
        let mut detector = MultiLead::new(250.0, rows.len()).unwrap();
        let whole = detector.detect(&slices);
        let mut at = 0;
        for cut in cuts {
            let end = (at + cut).min(rows[0].len());
            let part: Vec<&[f32]> = rows.iter().map(|row| &row[at..end]).collect();
            detector.push(&part);
            at = end;
        }
        let rest: Vec<&[f32]> = rows.iter().map(|row| &row[at..]).collect();
        detector.push(&rest);
        let pieces = detector.finish();
        prop_assert_eq!(whole.r_peaks.len(), pieces.r_peaks.len());
        for (a, b) in whole.r_peaks.iter().zip(&pieces.r_peaks) {
            prop_assert!((a - b).abs() < 0.05, "{} {}", a, b);
        }
        let other: Vec<Vec<f32>> =
            rows.iter().rev().map(|row| row.iter().map(|v| 4.0 * v + offset).collect()).collect();
        let other: Vec<&[f32]> = other.iter().map(Vec::as_slice).collect();
        let other = detector.detect(&other);
        prop_assert_eq!(whole.r_peaks.len(), other.r_peaks.len());
        for (a, b) in whole.r_peaks.iter().zip(&other.r_peaks) {
            prop_assert!((a - b).abs() < 0.5, "{} {}", a, b);
        }
    }

    /// Whatever comes, R-peaks increase and lie within.
    #[test]
    fn r_peaks_increase(
        values in prop::collection::vec(prop_oneof![8 => -3.0..3.0f32, 1 => Just(f32::NAN), 1 => -1e30..1e30f32], 0..3000),
        rate_hz in 50.0..2000.0f64,
    ) {
        let found = MultiLead::new(rate_hz, 1).unwrap().detect(&[values.as_slice()]);
        prop_assert!(found.r_peaks.windows(2).all(|pair| pair[0] < pair[1]));
        prop_assert!(found.r_peaks.iter().all(|peak| (0.0..values.len() as f64).contains(peak)));
    }
}
