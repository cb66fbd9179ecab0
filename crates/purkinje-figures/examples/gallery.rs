//! Draws one of everything into a folder: `cargo run --example gallery -- OUT`.
//!
//! The ECG is synthetic (sums of Gaussian waves), the results are invented: this shows looks, not findings.

use std::path::PathBuf;

use purkinje_figures::chart::{
    AxisScale, BarChart, BarRow, Histogram, LineChart, RocChart, RocCurve, Series,
};
use purkinje_figures::explain::{self, BeatAttention, Explanation};
use purkinje_figures::page::{Page, Table};
use purkinje_figures::paper::{self, Marks, PaperOptions};
use purkinje_figures::{Svg, raster, terminal};
use purkinje_record::{LeadSet, Recording};

const RATE_HZ: f64 = 500.0;
const BEAT_S: f64 = 0.82;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let out = PathBuf::from(std::env::args().nth(1).unwrap_or_else(|| "gallery".into()));
    std::fs::create_dir_all(&out)?;

    let recording = synthetic_ecg()?;
    let r_peaks: Vec<usize> = (0..12)
        .map(|beat| ((0.5 + beat as f64 * BEAT_S) * RATE_HZ).round() as usize)
        .collect();
    let half = (0.4 * RATE_HZ) as usize;
    let tokens: Vec<(usize, usize, usize)> = r_peaks
        .iter()
        .map(|&peak| (peak - half, peak, peak + half))
        .collect();

    let options = PaperOptions {
        filter: Some("no filter (synthetic)".into()),
        ..PaperOptions::default()
    };
    let marks = Marks {
        r_peaks: &r_peaks,
        tokens: &tokens,
    };
    let ecg = paper::draw(&recording, &options, &marks);
    let explanation = explain::draw(
        &recording,
        &options,
        &invented_explanation(&recording, &tokens),
    );
    let (curves, bars, roc, histogram) = invented_charts();
    for (name, svg) in [
        ("ecg", &ecg),
        ("explanation", &explanation),
        ("curves", &curves),
        ("bars", &bars),
        ("roc", &roc),
        ("histogram", &histogram),
    ] {
        std::fs::write(out.join(format!("{name}.svg")), svg.to_string())?;
        std::fs::write(
            out.join(format!("{name}.png")),
            raster::png(svg, raster::CRISP_DPI)?,
        )?;
    }
    std::fs::write(
        out.join("report.html"),
        report(&ecg, &explanation, &bars, &curves),
    )?;
    println!(
        "{}",
        terminal::draw(&recording, &terminal::TerminalOptions::default(), &r_peaks)
    );
    println!("Written to {}.", out.display());
    Ok(())
}

/// Twelve leads of sinus rhythm: every wave a Gaussian, with an amplitude of its own in every lead.
fn synthetic_ecg() -> Result<Recording, purkinje_record::ShapeError> {
    // Seconds after the R-peak, width in seconds, then millivolts in I, II and V1..V6.
    const WAVES: [(f64, f64, [f64; 8]); 5] = [
        (
            -0.17,
            0.025,
            [0.08, 0.14, 0.05, 0.08, 0.09, 0.09, 0.08, 0.08],
        ),
        (
            -0.025,
            0.009,
            [-0.06, -0.08, 0.0, 0.0, -0.02, -0.06, -0.08, -0.08],
        ),
        (0.0, 0.011, [0.7, 1.1, 0.2, 0.45, 0.8, 1.4, 1.5, 1.1]),
        (
            0.03,
            0.012,
            [-0.12, -0.2, -0.9, -1.3, -0.9, -0.5, -0.25, -0.1],
        ),
        (0.27, 0.055, [0.2, 0.3, -0.05, 0.45, 0.5, 0.45, 0.35, 0.25]),
    ];
    let wave = |channel: usize, time_s: f64| -> f64 {
        (0..12)
            .flat_map(|beat| WAVES.map(|(at, width, mv)| (beat as f64, at, width, mv[channel])))
            .map(|(beat, at, width, mv)| {
                let z = (time_s - 0.5 - beat * BEAT_S - at) / width;
                mv * (-0.5 * z * z).exp()
            })
            .sum()
    };
    // The limb leads as sums of I and II.
    const LIMB: [(f64, f64); 6] = [
        (1.0, 0.0),
        (0.0, 1.0),
        (-1.0, 1.0),
        (-0.5, -0.5),
        (1.0, -0.5),
        (-0.5, 1.0),
    ];
    let times = || (0..(10.0 * RATE_HZ) as usize).map(|i| i as f64 / RATE_HZ);
    let mut samples_mv: Vec<f32> = Vec::new();
    for (one, two) in LIMB {
        samples_mv.extend(times().map(|t| (one * wave(0, t) + two * wave(1, t)) as f32));
    }
    for chest in 2..8 {
        samples_mv.extend(times().map(|t| wave(chest, t) as f32));
    }
    Recording::new(
        "synthetic sinus rhythm",
        LeadSet::standard_12(),
        RATE_HZ,
        samples_mv,
    )
}

fn invented_explanation(recording: &Recording, tokens: &[(usize, usize, usize)]) -> Explanation {
    let leads = recording.leads.leads();
    let mut explanation = Explanation {
        class: "SR (sinus rhythm)".into(),
        base: -0.42,
        reference: explain::Reference::MeanRecording { records: 313 },
        contributions: leads
            .iter()
            .enumerate()
            .map(|(i, lead)| (lead.clone(), ((i * 37 % 17) as f64 - 5.0) / 14.0))
            .collect(),
        attention: leads
            .iter()
            .enumerate()
            .flat_map(|(i, lead)| {
                tokens
                    .iter()
                    .enumerate()
                    .map(move |(beat, &(start, _, end))| BeatAttention {
                        lead: lead.clone(),
                        start,
                        end,
                        shares: ((i * 5 + beat * 7) % 11) as f64 / 4.0,
                    })
            })
            .collect(),
        ..Explanation::default()
    };
    explanation.probability = 1.0 / (1.0 + (-explanation.logit()).exp());
    explanation
}

fn invented_charts() -> (Svg, Svg, Svg, Svg) {
    let curve = |start: f64, end: f64| -> Vec<(f64, f64)> {
        (0..=100)
            .map(|epoch| {
                let ripple = 1.0 + 0.02 * (epoch as f64 * 1.7).sin();
                (
                    epoch as f64,
                    (end + (start - end) * (-epoch as f64 / 18.0).exp()) * ripple,
                )
            })
            .collect()
    };
    let curves = LineChart {
        title: "Masked reconstruction (invented)".into(),
        x_label: "epoch".into(),
        y_label: "loss".into(),
        y_scale: AxisScale::Log,
        series: vec![
            Series {
                name: "training".into(),
                points: curve(1.0, 0.06),
            },
            Series {
                name: "validation".into(),
                points: curve(1.0, 0.09),
            },
        ],
        marked: None,
    };
    let bar = |label: &str, value: f64, is_reference| BarRow {
        label: label.into(),
        value,
        interval: Some((value - 0.014, value + 0.012)),
        is_reference,
    };
    let bars = BarChart {
        title: "Linear probe per class (invented)".into(),
        x_label: "AUROC, 95 % bootstrap interval".into(),
        origin: 0.5,
        limit: Some(1.0),
        decimals: 3,
        rows: vec![
            bar("normal ECG", 0.938, false),
            bar("myocardial infarction", 0.902, false),
            bar("ST/T change", 0.921, false),
            bar("conduction disturbance", 0.88, false),
            bar("hypertrophy", 0.842, false),
            bar("random weights, mean", 0.71, true),
        ],
    };
    let power = |exponent: f64| -> Vec<(f64, f64)> {
        (0..=200)
            .map(|i| (i as f64 / 200.0, (i as f64 / 200.0).powf(exponent)))
            .collect()
    };
    let roc = RocChart {
        title: "Myocardial infarction (invented)".into(),
        curves: [
            ("fine-tuned", 0.12),
            ("linear probe", 0.25),
            ("random weights", 0.7),
        ]
        .into_iter()
        .map(|(name, exponent): (&str, f64)| RocCurve {
            name: name.into(),
            points: power(exponent),
            auroc: Some(1.0 / (1.0 + exponent)),
            interval: None,
        })
        .collect(),
    };
    let histogram = Histogram {
        title: "Heart rate (invented)".into(),
        x_label: "beats per minute".into(),
        values: (0..4000)
            .map(|i| {
                let i = f64::from(i);
                74.0 + 11.0 * ((i * 0.731).sin() + (i * 1.37).sin() + (i * 2.11).sin())
            })
            .collect(),
        ..Histogram::default()
    };
    (curves.draw(), bars.draw(), roc.draw(), histogram.draw())
}

fn report(ecg: &Svg, explanation: &Svg, bars: &Svg, curves: &Svg) -> String {
    Page::new("Sample report")
        .summary(
            "What a report looks like. The recording is synthetic and every number is invented.",
        )
        .facts([("Model", "none"), ("Data", "synthetic"), ("Seed", "0")])
        .section("Results")
        .table(
            &Table::new(["class", "positives", "AUROC", "95 % interval"])
                .caption("Invented test fold.")
                .row(["normal ECG", "963", "0.938", "0.924\u{2013}0.950"])
                .row(["hypertrophy", "262", "0.842", "0.828\u{2013}0.854"])
                .strong_row(["mean", "", "0.890", "0.876\u{2013}0.902"]),
        )
        .figure(
            bars,
            "AUROC per class; the dashed line is an encoder with random weights.",
        )
        .figure(curves, "Loss while training.")
        .note("Intervals come from resampling patients, not recordings.")
        .section("One recording")
        .figure(ecg, "The recording with its R-peaks and beat tokens.")
        .figure(
            explanation,
            "What each lead adds to the logit, and where attention lies.",
        )
        .section("How to make it again")
        .code("cargo run -p purkinje-figures --example gallery -- OUT")
        .finish()
}
