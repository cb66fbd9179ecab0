//! What HuBERT-ECG's first iteration describes pieces with: kind `features`.

use purkinje_signal::descriptors::{
    AnalysisRate, Choices, Descriptors, FILTERS, Kind, TIME_FREQUENCY, TOKENS,
};

use crate::Check;
use crate::compare::{Findings, Tolerance};
use crate::io::Io;
use crate::walk::Case;

/// The kinds checked here.
pub const CHECKS: &[(&str, Check)] = &[("features", features)];

/// Signals in double precision, stored in single.
const STORED_SINGLE: Tolerance = Tolerance::absolute(1e-6);
/// Sixteen descriptors, each relative to the largest of its column; below the absolute part lies what rounding makes of
/// the variance of a constant.
const TIME_FREQUENCY_TOLERANCE: Tolerance = Tolerance {
    absolute: 1e-15,
    relative: 1e-5,
};
/// Cepstra with the filters in single precision, as the original has them.
const CEPSTRA_TOLERANCE: Tolerance = Tolerance::absolute(3e-4);
/// Constants that the original has in single precision.
const SINGLE: Tolerance = Tolerance::absolute(2e-6);
/// Filter weights in single precision: at a triangle's foot all their digits are rounding.
const FILTER: Tolerance = Tolerance::absolute(1e-4);
const DOUBLE: Tolerance = Tolerance::absolute(1e-12);

/// The rates there are; a tensor of another fails as one that nobody looks at.
const RATES_HZ: [u32; 3] = [50, 100, 500];

/// The ending of a tensor's name for each kind.
const KINDS: [(&str, Kind); 3] = [
    ("time_freq", Kind::TimeFrequency),
    ("mfcc", Kind::Cepstra),
    ("mixed", Kind::Mixed),
];

fn features(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let mut io = Io::open(case)?;
    for record in io.between("", ".record") {
        let rows = io.f64(&format!("{record}.record"))?;
        for rate_hz in RATES_HZ {
            let base = format!("{record}.{rate_hz}hz");
            for (ending, kind) in KINDS {
                let name = format!("{base}.{ending}");
                if io.has(&name) {
                    let found = describe(kind, rate_hz)?
                        .of(&rows)
                        .map_err(|e| e.to_string())?;
                    findings.exact(
                        &format!("{name}: shape"),
                        io.shape(&name)?,
                        vec![TOKENS, kind.width()],
                    );
                    compare(&name, kind, &found, &mut io, findings)?;
                }
            }
            let shards = format!("{base}.shards");
            if io.has(&shards) {
                let found = describe(Kind::Mixed, rate_hz)?.pieces(&rows);
                io.close(
                    findings,
                    &shards,
                    &found.map_err(|e| e.to_string())?,
                    STORED_SINGLE,
                )?;
            }
        }
    }
    // Single pieces, whose length says their rate: `name` and what describes it.
    for (ending, kind) in KINDS {
        for name in io.between("", &format!(".{ending}")) {
            let piece = match name.as_str() {
                name if name.contains('.') => continue,
                // Not stored.
                "zero_piece" => vec![0.0; AnalysisRate::Hz100.piece_samples()],
                name => io.f64(name)?,
            };
            let rate_hz = RATES_HZ.into_iter().find(|rate_hz| {
                AnalysisRate::from_hz(*rate_hz)
                    .is_some_and(|rate| rate.piece_samples() == piece.len())
            });
            let rate_hz = rate_hz.ok_or_else(|| format!("`{name}` is no piece"))?;
            let found = describe(kind, rate_hz)?.of_piece(&piece);
            let found = found.ok_or_else(|| format!("`{name}` is no piece of {rate_hz} Hz"))?;
            compare(&format!("{name}.{ending}"), kind, &found, &mut io, findings)?;
        }
    }
    constants(&mut io, findings)?;
    io.finish(findings);
    Ok(())
}

fn constants(io: &mut Io, findings: &mut Findings) -> Result<(), String> {
    for rate_hz in RATES_HZ {
        let described = describe(Kind::Cepstra, rate_hz)?;
        let constants = described.cepstral_constants();
        let bank = format!("mel_bank.{rate_hz}hz");
        if io.has(&bank) {
            findings.exact("filters", io.shape(&bank)?[0], FILTERS);
            io.close(findings, &bank, constants.filters, FILTER)?;
        }
        let window = format!("povey_window.{}", constants.window.len());
        if io.has(&window) {
            io.close(findings, &window, constants.window, DOUBLE)?;
        }
    }
    let described = describe(Kind::Cepstra, 100)?;
    let constants = described.cepstral_constants();
    for (name, found) in [
        ("dct.23x13", constants.transform),
        ("lifter.13", constants.lifter),
    ] {
        if io.has(name) {
            io.close(findings, name, found, SINGLE)?;
        }
    }
    Ok(())
}

/// The published program's descriptors.
fn describe(kind: Kind, rate_hz: u32) -> Result<Descriptors, String> {
    let rate = AnalysisRate::from_hz(rate_hz).ok_or("no such rate")?;
    Descriptors::new(kind, rate, Choices::released()).map_err(|e| e.to_string())
}

/// Column by column, because columns differ in size by orders of magnitude.
fn compare(
    name: &str,
    kind: Kind,
    found: &[f32],
    io: &mut Io,
    findings: &mut Findings,
) -> Result<(), String> {
    let expected = io.f64(name)?;
    let width = kind.width();
    let cepstra_from = if kind == Kind::Cepstra {
        0
    } else {
        TIME_FREQUENCY
    };
    let column = |values: &[f64], at: usize| -> Vec<f64> {
        values.iter().skip(at).step_by(width).copied().collect()
    };
    let found: Vec<f64> = found.iter().map(|v| f64::from(*v)).collect();
    for at in 0..width {
        let tolerance = if at < cepstra_from {
            TIME_FREQUENCY_TOLERANCE
        } else {
            CEPSTRA_TOLERANCE
        };
        findings.close_all(
            &format!("{name}, column {at}"),
            &column(&found, at),
            &column(&expected, at),
            tolerance,
        );
    }
    Ok(())
}
