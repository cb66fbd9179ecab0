//! Comparing what was found with what is expected, and remembering every difference.

use std::fmt::{Debug, Write};

use sha2::{Digest, Sha256};

use crate::walk::Tensors;

/// How far numbers may be apart: `absolute + relative * (largest expected magnitude)`.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    pub absolute: f64,
    pub relative: f64,
}

impl Tolerance {
    /// Relative to the largest expected magnitude.
    pub const fn relative(relative: f64) -> Self {
        Tolerance {
            absolute: 0.0,
            relative,
        }
    }

    /// In the unit of the values.
    pub const fn absolute(absolute: f64) -> Self {
        Tolerance {
            absolute,
            relative: 0.0,
        }
    }
}

/// The comparisons of one case.
#[derive(Debug, Default)]
pub struct Findings {
    compared: usize,
    failures: Vec<String>,
    closest: Option<(f64, f64, String)>,
    skipped: Option<String>,
}

impl Findings {
    /// How many comparisons were made.
    pub fn compared(&self) -> usize {
        self.compared
    }

    /// Those that failed.
    pub fn failures(&self) -> &[String] {
        &self.failures
    }

    /// The comparison of numbers that came closest to its bound: its largest error as a share of what is allowed and of
    /// the largest expected magnitude, and its label.
    pub fn closest(&self) -> Option<&(f64, f64, String)> {
        self.closest.as_ref()
    }

    /// Why the case cannot be checked so far, if so.
    pub fn skipped(&self) -> Option<&str> {
        self.skipped.as_deref()
    }

    /// Notes that the case needs something that is not there yet.
    pub fn skip(&mut self, reason: &str) {
        self.skipped = Some(reason.to_owned());
    }

    /// Notes a failure that is not a comparison.
    pub fn fail(&mut self, problem: String) {
        self.failures.push(problem);
    }

    /// Equal in every bit that `==` sees.
    pub fn exact<T: PartialEq + Debug>(&mut self, label: &str, found: T, expected: T) {
        self.compared += 1;
        if found != expected {
            self.fail(format!("{label}: found {found:?}, expected {expected:?}"));
        }
    }

    /// Equal entry by entry.
    pub fn exact_all<T: PartialEq + Debug>(&mut self, label: &str, found: &[T], expected: &[T]) {
        self.compared += 1;
        if found.len() != expected.len() {
            let (f, e) = (found.len(), expected.len());
            self.fail(format!("{label}: found {f} entries, expected {e}"));
        } else if let Some(at) = (0..found.len()).find(|k| found[*k] != expected[*k]) {
            let wrong = (0..found.len())
                .filter(|k| found[*k] != expected[*k])
                .count();
            self.fail(format!(
                "{label}: {wrong} of {} entries differ, first [{at}]: found {:?}, expected {:?}",
                found.len(),
                found[at],
                expected[at]
            ));
        }
    }

    /// Close entry by entry; NaN is close to NaN only.
    pub fn close_all(
        &mut self,
        label: &str,
        found: &[f64],
        expected: &[f64],
        tolerance: Tolerance,
    ) {
        self.compared += 1;
        if found.len() != expected.len() {
            let (f, e) = (found.len(), expected.len());
            return self.fail(format!("{label}: found {f} entries, expected {e}"));
        }
        let largest = expected.iter().fold(0.0, |max: f64, v| max.max(v.abs()));
        let allowed = tolerance.absolute + tolerance.relative * largest;
        let error = |k: usize| match (found[k].is_nan(), expected[k].is_nan()) {
            (true, true) => 0.0,
            (false, false) if found[k] == expected[k] => 0.0,
            (false, false) => (found[k] - expected[k]).abs(),
            _ => f64::INFINITY,
        };
        let largest_error = (0..found.len()).map(error).fold(0.0, f64::max);
        let share = largest_error / allowed;
        if share > self.closest.as_ref().map_or(0.0, |(share, ..)| *share) {
            let relative = largest_error / largest;
            self.closest = Some((share, relative, label.to_owned()));
        }
        if let Some(worst) = (0..found.len()).max_by(|a, b| error(*a).total_cmp(&error(*b)))
            // A NaN among the tolerances fails.
            && (allowed.is_nan() || error(worst) > allowed)
        {
            self.fail(format!(
                "{label}: largest error {:e} at [{worst}], allowed {allowed:e}: found {}, expected {}",
                error(worst),
                found[worst],
                expected[worst]
            ));
        }
    }

    /// One close number.
    pub fn close(&mut self, label: &str, found: f64, expected: f64, tolerance: Tolerance) {
        self.close_all(label, &[found], &[expected], tolerance);
    }

    /// SHA-256 of the little-endian bytes of float32 values.
    pub fn sha256_f32(&mut self, label: &str, values: &[f32], expected: &str) {
        self.sha256(
            label,
            values.iter().map(|value| value.to_le_bytes()),
            expected,
        );
    }

    /// SHA-256 of the little-endian bytes of 32-bit integers.
    pub fn sha256_i32(&mut self, label: &str, values: &[i32], expected: &str) {
        self.sha256(
            label,
            values.iter().map(|value| value.to_le_bytes()),
            expected,
        );
    }

    fn sha256(&mut self, label: &str, bytes: impl Iterator<Item = [u8; 4]>, expected: &str) {
        let mut hash = Sha256::new();
        bytes.for_each(|bytes| hash.update(bytes));
        let mut found = String::new();
        for byte in hash.finalize() {
            // Writing to a string cannot fail.
            let _ = write!(found, "{byte:02x}");
        }
        self.exact(label, found.as_str(), expected);
    }
}

/// Compares with the stored tensor, if the case has it.
pub fn close(
    findings: &mut Findings,
    io: &Tensors,
    name: &str,
    found: &[f32],
    tolerance: Tolerance,
) -> Result<(), String> {
    if io.has(name) {
        let found: Vec<f64> = found.iter().map(|v| f64::from(*v)).collect();
        findings.close_all(name, &found, &io.f64(name)?, tolerance);
    }
    Ok(())
}
