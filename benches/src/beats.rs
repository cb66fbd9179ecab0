//! R-peaks of signals that `benches/beats` hands over, line by line.

use std::io::{BufRead, Write};
use std::path::PathBuf;
use std::time::Instant;

use purkinje_signal::r_peaks::MultiLead;
use serde::Deserialize;
use serde_json::json;

use crate::Result;

/// A signal: a file of float32 in the machine's order, `[lead, time]`, in millivolts.
#[derive(Deserialize)]
struct Signal {
    file: PathBuf,
    leads: usize,
    rate_hz: f64,
    /// How often it is searched, for the time it takes.
    #[serde(default = "once")]
    times: usize,
}

fn once() -> usize {
    1
}

/// Answers each line of standard input with the R-peaks in seconds and the seconds a search takes.
pub fn serve() -> Result<()> {
    for line in std::io::stdin().lock().lines() {
        let signal: Signal = serde_json::from_str(&line?)?;
        let bytes = std::fs::read(&signal.file)?;
        let rows: Vec<f32> = bytes
            .chunks_exact(4)
            .map(|b| f32::from_ne_bytes([b[0], b[1], b[2], b[3]]))
            .collect();
        let mut detector = MultiLead::new(signal.rate_hz, signal.leads)?;
        let time = rows.len() / signal.leads;
        let rows: Vec<&[f32]> = rows.chunks_exact(time).collect();
        let found = detector.detect(&rows);
        let start = Instant::now();
        for _ in 0..signal.times {
            std::hint::black_box(detector.detect(std::hint::black_box(&rows)));
        }
        let seconds = start.elapsed().as_secs_f64() / signal.times as f64;
        let r_peaks_s: Vec<f64> = found
            .r_peaks
            .iter()
            .map(|peak| peak / signal.rate_hz)
            .collect();
        let mut out = std::io::stdout().lock();
        writeln!(
            out,
            "{}",
            json!({ "r_peaks_s": r_peaks_s, "weights": found.weights, "seconds": seconds })
        )?;
        out.flush()?;
    }
    Ok(())
}
