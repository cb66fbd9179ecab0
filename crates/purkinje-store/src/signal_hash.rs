//! A hash that is equal for the same samples in any container.

use purkinje_record::{Lead, LeadSet, Reader, RecordError};

use crate::schema::SIGNAL_HASH_DIGITS;

/// Offset added before rounding to microvolts. Values half-way between two steps are common (gains of 200, 500, 2000
/// per mV), and whether single precision puts them above or below depends on the container; with this shift they are
/// well inside a step.
const SHIFT_UV: f64 = 0.1357;

/// The value for a missing sample.
const MISSING: i32 = i32::MIN;

/// 32 hex digits of BLAKE3 over the samples of the standard leads, in standard order, in steps of a
/// microvolt; `None` if there is no standard lead, or the number of samples is not a multiple of that of the leads.
///
/// The same recording read from a WFDB, EDF, MATLAB or CSV file that holds the same leads gives the same
/// hash; another sampling rate, filter, window or lead set does not. `samples_mv` is `[lead, time]`, row-major.
pub fn signal_hash(leads: &LeadSet, samples_mv: &[f32]) -> Option<String> {
    let len = samples_mv.len().checked_div(leads.len())?;
    if len == 0 || len * leads.len() != samples_mv.len() {
        return None;
    }
    let mut hash = Hash::new(leads, len)?;
    while let Some(row) = hash.next_row() {
        hash.add(&samples_mv[row * len..(row + 1) * len]);
    }
    Some(hash.finish())
}

/// [`signal_hash`] of a recording that may be long, which is read once for each standard lead.
pub(crate) fn signal_hash_long(reader: &Reader) -> Result<Option<String>, RecordError> {
    let Some(mut hash) = Hash::new(&reader.about().leads, reader.len()) else {
        return Ok(None);
    };
    while let Some(row) = hash.next_row() {
        for block in reader.blocks() {
            let block = block?;
            let len = block.len();
            hash.add(&block.samples_mv()[row * len..(row + 1) * len]);
        }
    }
    Ok(Some(hash.finish()))
}

/// The hash being computed, lead after lead.
struct Hash {
    hasher: blake3::Hasher,
    /// Standard positions and rows of the leads to come, the next one last.
    rows: Vec<(usize, usize)>,
}

impl Hash {
    /// Of a recording of `len` samples a lead; `None` without a standard lead or a sample.
    fn new(leads: &LeadSet, len: usize) -> Option<Self> {
        let standard = Lead::STANDARD_12.iter().enumerate().rev();
        let rows: Vec<(usize, usize)> = standard
            .filter_map(|(standard, lead)| Some((standard, leads.position(lead)?)))
            .collect();
        if rows.is_empty() || len == 0 {
            return None;
        }
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"purkinje signal 1");
        hasher.update(&(len as u64).to_le_bytes());
        Some(Hash { hasher, rows })
    }

    /// The row of the lead whose samples follow.
    fn next_row(&mut self) -> Option<usize> {
        let (standard, row) = self.rows.pop()?;
        self.hasher.update(&[standard as u8]);
        Some(row)
    }

    fn add(&mut self, samples_mv: &[f32]) {
        // Whole chunks of BLAKE3 at a time keep its vector units busy.
        let mut bytes = [0; 1 << 15];
        for block in samples_mv.chunks(bytes.len() / 4) {
            for (bytes, &mv) in bytes.chunks_exact_mut(4).zip(block) {
                bytes.copy_from_slice(&microvolts(mv).to_le_bytes());
            }
            self.hasher.update(&bytes[..4 * block.len()]);
        }
    }

    fn finish(self) -> String {
        self.hasher.finalize().to_hex()[..SIGNAL_HASH_DIGITS].to_owned()
    }
}

/// The nearest step, from the low bits of a sum in which they stand for whole microvolts: no call, no branch.
fn microvolts(mv: f32) -> i32 {
    const WHOLE: f64 = 6_755_399_441_055_744.0;
    let step = (f64::from(mv) * 1000.0 + SHIFT_UV + WHOLE).to_bits() as i32;
    if mv.is_finite() { step } else { MISSING }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leads(names: &str) -> LeadSet {
        names.parse().unwrap()
    }

    #[test]
    fn the_order_of_leads_and_rounding_do_not_matter_samples_do() {
        let samples = [0.001, -0.0005, f32::NAN, 1.5, 2.0, 0.0025];
        let first = signal_hash(&leads("I,II"), &samples).unwrap();
        assert_eq!(first.len(), SIGNAL_HASH_DIGITS);
        let swapped = [1.5, 2.0, 0.0025, 0.001, -0.0005, f32::NAN];
        assert_eq!(signal_hash(&leads("II,I"), &swapped).unwrap(), first);
        // One unit in the last place either way, as other readers compute the same quotient.
        for direction in [f32::next_up, f32::next_down] {
            let nearby = samples.map(direction);
            assert_eq!(signal_hash(&leads("I,II"), &nearby).unwrap(), first);
        }
        let mut other = samples;
        other[1] += 0.001;
        assert_ne!(signal_hash(&leads("I,II"), &other).unwrap(), first);
        assert_ne!(signal_hash(&leads("I,V1"), &samples).unwrap(), first);
        let unknown = LeadSet::new(vec![Lead::Other("MLII".into())]);
        assert_eq!(signal_hash(&unknown, &samples), None);
        assert_eq!(signal_hash(&leads("I,II"), &samples[..5]), None);
    }

    #[test]
    fn steps_are_whole_microvolts() {
        for (mv, step) in [
            (0.0, 0),
            (0.001, 1),
            (-0.001, -1),
            (5.0, 5000),
            (-32.768, -32768),
        ] {
            assert_eq!(microvolts(mv), step);
        }
        assert_eq!(microvolts(f32::INFINITY), MISSING);
    }
}
