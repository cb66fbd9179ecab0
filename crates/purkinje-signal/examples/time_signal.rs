//! Median time of each step between a recording and its tokens, on one thread.
//!
//! `cargo run --release -p purkinje-signal --example time_signal`

use std::hint::black_box;
use std::time::Instant;

use purkinje_record::{LeadSet, Recording};
use purkinje_signal::beats::Tokenizer;
use purkinje_signal::filter::{BandPass, ZeroPhase};
use purkinje_signal::hubert_input::{CROP_SAMPLES, DECIMATION, HubertInputs};
use purkinje_signal::preprocess::{Preparer, Preprocess};
use purkinje_signal::quality::measure;
use purkinje_signal::r_peaks::Xqrs;
use purkinje_signal::resample;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let leads = LeadSet::standard_12();
    let slow = twelve_leads(1000, 100.0); // [lead, time]
    let fast = twelve_leads(5000, 500.0);
    let narrow: Vec<f32> = slow.iter().map(|value| *value as f32).collect();

    let mut at_100 = Xqrs::new(100.0)?;
    let mut at_500 = Xqrs::new(500.0)?;
    let (row_100, row_500) = (slow[1000..2000].to_vec(), fast[5000..10_000].to_vec());
    println!(
        "R-peaks found: {} at 100 Hz, {} at 500 Hz",
        at_100.detect(&row_100).len(),
        at_500.detect(&row_500).len()
    );
    time("xqrs, 10 s at 100 Hz", || at_100.detect(&row_100));
    time("xqrs, 10 s at 500 Hz", || at_500.detect(&row_500));

    let mut tokenizer = Tokenizer::new(&leads)?;
    time("R-peaks and 180 tokens, 12 x 1000", || {
        tokenizer.tokenize(&narrow)
    });
    let tokenizer = Tokenizer::new(&leads)?;
    let r_peaks = at_100.detect(&row_100);
    time("180 tokens at known R-peaks", || {
        tokenizer.cut(&narrow, &r_peaks)
    });
    let (mut samples, mut times, mut pads) = (vec![0.0; 180 * 96], [0; 180], [false; 180]);
    time("180 tokens into a batch", || {
        tokenizer.cut_into(&narrow, &r_peaks, &mut samples, &mut times, &mut pads)
    });

    let band = BandPass {
        order: 5,
        low_hz: 0.67,
        high_hz: 40.0,
    };
    let filter = ZeroPhase::butterworth(band, 100.0)?;
    let mut rows = slow.clone();
    time("band-pass, 12 x 1000", || {
        rows.copy_from_slice(&slow);
        filter.apply(&mut rows, 12)
    });
    time("resample, 12 x 5000 to 1000", || {
        resample::fourier(&fast, 12, 1000)
    });

    let recording = Recording::new(
        "made up",
        leads.clone(),
        500.0,
        fast.iter().map(|value| *value as f32).collect(),
    )?;
    let preparer = Preparer::new(&Preprocess::clear())?;
    time("preparation, 12 x 5000 at 500 Hz", || {
        preparer.apply(&recording)
    });
    for name in ["hubert", "d-beta", "deri", "raw-500"] {
        let preparer = Preparer::new(&Preprocess::preset(name)?)?;
        time(&format!("preparation for {name}"), || {
            preparer.apply(&recording)
        });
    }
    let rest = Preprocess::clear().serve(&Preprocess::raw(500.0), Some(500.0))?;
    time("clear from a row of raw-500", || {
        rest.apply("made up", &leads, recording.samples_mv())
    });
    time("figures of quality, 12 x 5000", || {
        measure(&leads, 500.0, recording.samples_mv())
    });
    time("figures of quality, 12 x 1000", || {
        measure(&leads, 100.0, &narrow)
    });
    let inputs = HubertInputs::new(Some(DECIMATION))?;
    time("crop of 5 s, decimated", || {
        inputs.crop(recording.samples_mv(), 12, 0, CROP_SAMPLES)
    });

    let mut tokenizer = Tokenizer::new(&leads)?;
    time("preparation and tokens", || {
        let prepared = preparer.apply(&recording)?;
        tokenizer
            .tokenize(&prepared.rows)
            .map_err(Box::<dyn std::error::Error>::from)
    });
    Ok(())
}

/// Prints the median of many calls in microseconds.
fn time<T>(what: &str, mut run: impl FnMut() -> T) {
    let mut micros: Vec<f64> = (0..1000)
        .map(|_| {
            let began = Instant::now();
            black_box(run());
            began.elapsed().as_secs_f64() * 1e6
        })
        .collect();
    micros.sort_by(f64::total_cmp);
    println!("{what:<36} {:8.1} us", micros[micros.len() / 2]);
}

/// Narrow beats at 72 per minute with T waves and noise, of another size in every lead.
fn twelve_leads(len: usize, rate_hz: f64) -> Vec<f64> {
    let bump = |t: f64, at: f64, width: f64| (-((t - at) / width).powi(2)).exp();
    let mut state = 1u64;
    let mut noise = || {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        (state >> 11) as f64 / (1u64 << 53) as f64 - 0.5
    };
    let mut samples = Vec::with_capacity(12 * len);
    for lead in 0..12 {
        let size = 0.4 + 0.1 * f64::from(lead);
        samples.extend((0..len).map(|k| {
            let t = (k as f64 / rate_hz) % (60.0 / 72.0);
            size * (bump(t, 0.3, 0.012) - 0.2 * bump(t, 0.33, 0.012) + 0.2 * bump(t, 0.55, 0.05))
                + 0.02 * noise()
        }));
    }
    samples
}
