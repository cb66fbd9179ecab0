//! R-peak detection.
//!
//! [`MultiLead`] looks at several leads of a recording as it came and is what everything uses by default.
//!
//! [`Xqrs`] is the XQRS algorithm of the WFDB Python package 4.3.0 in its default configuration, on one lead. Source: the
//! published program of CLEAR-HUG. It expects millivolts: when its learning phase fails, an absolute threshold decides.

mod annotated;
mod local_peaks;
mod multi_lead;
mod xqrs;

pub use annotated::{BeatAgreement, annotated_beats};
pub use multi_lead::{
    BeatFinder, Beats, FoundBeats, LOWEST_RATE_HZ, MultiLead, find_beats, find_beats_in,
};

pub use xqrs::{Analysis, Constants, Running, Xqrs};

/// Lowest sampling rate (exclusive) at which the detector's 5-20 Hz band exists.
pub const MIN_RATE_HZ: f64 = 40.0;

/// A sampling rate the detector cannot work at.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
#[error(
    "R-peak detection at {rate_hz} Hz: expected a sampling rate above {lowest_hz} Hz, because QRS complexes have their energy at 5 to 20 Hz; resample the signal first"
)]
pub struct UnsupportedRate {
    /// The rate asked for.
    pub rate_hz: f64,
    /// The detector's lowest rate.
    pub lowest_hz: f64,
}

/// R-peaks of one lead in millivolts: increasing sample indices, possibly none.
///
/// Keep an [`Xqrs`] where many signals of one rate are analysed.
///
/// # Errors
/// [`UnsupportedRate`] at or below [`MIN_RATE_HZ`].
pub fn xqrs(signal_mv: &[f64], rate_hz: f64) -> Result<Vec<usize>, UnsupportedRate> {
    Ok(Xqrs::new(rate_hz)?.detect(signal_mv))
}
