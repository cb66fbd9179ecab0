//! Prints how long reading takes: `cargo run --release --example time_read -- FOLDER [RUNS]`.
//!
//! Every recording of the folder is opened once to fill the file cache, then RUNS times; the median and the 10th and 90th
//! percentile over all reads are printed in microseconds.

use std::path::PathBuf;
use std::time::Instant;

use purkinje_record::{OpenOptions, find_records, open};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args_os().skip(1);
    let folder: PathBuf = args.next().ok_or("usage: time_read FOLDER [RUNS]")?.into();
    let runs: usize = match args.next() {
        Some(runs) => runs.to_string_lossy().parse()?,
        None => 100,
    };
    let records = find_records(&folder)?;
    let options = [
        ("verified", OpenOptions::default()),
        (
            "not verified",
            OpenOptions {
                verify: false,
                ..OpenOptions::default()
            },
        ),
        (
            "with digital samples",
            OpenOptions {
                keep_digital: true,
                ..OpenOptions::default()
            },
        ),
    ];
    for (name, options) in options {
        let mut times_us = Vec::new();
        let mut samples = 0;
        for run in 0..=runs {
            for path in &records {
                let start = Instant::now();
                let recording = open(path, &options)?;
                let elapsed = start.elapsed();
                samples += std::hint::black_box(recording).samples_mv().len();
                if run > 0 {
                    times_us.push(elapsed.as_secs_f64() * 1e6);
                }
            }
        }
        times_us.sort_by(f64::total_cmp);
        let at = |q: f64| times_us[((times_us.len() - 1) as f64 * q) as usize];
        println!(
            "{name}: {} reads of {} recordings, {} samples each on average: median {:.1} us, p10 {:.1} us, p90 {:.1} us",
            times_us.len(),
            records.len(),
            samples / (records.len() * (runs + 1)),
            at(0.5),
            at(0.1),
            at(0.9),
        );
    }
    Ok(())
}
