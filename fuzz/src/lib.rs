//! What the fuzz targets share: bytes become a file, and the file is opened as users open it.

use std::fs;
use std::path::Path;
use std::sync::OnceLock;

use purkinje_record::{LeadChoice, OpenOptions, Recording, find_records, open};
use tempfile::TempDir;

/// A folder of this process, in memory where there is such a place.
pub fn folder() -> &'static Path {
    static FOLDER: OnceLock<TempDir> = OnceLock::new();
    let folder = FOLDER.get_or_init(|| {
        let memory = Path::new("/dev/shm");
        let made = tempfile::Builder::new()
            .prefix("purkinje-fuzz")
            .tempdir_in(memory);
        made.or_else(|_| TempDir::new())
            .expect("a folder for temporary files")
    });
    folder.path()
}

/// Writes a file into the folder.
pub fn write(name: &str, bytes: &[u8]) {
    fs::write(folder().join(name), bytes).expect("a file in the folder for temporary files");
}

/// Opens `bytes` as a file with this name, in the two ways that share least, and looks what the folder holds.
pub fn read(name: &str, bytes: &[u8]) {
    write(name, bytes);
    open_both(name);
}

/// Opens a file of the folder in the two ways that share least.
pub fn open_both(name: &str) {
    let path = folder().join(name);
    let strict = OpenOptions {
        rate_hz: Some(500.0),
        ..OpenOptions::default()
    };
    check(open(&path, &strict).ok());
    let lenient = OpenOptions {
        leads: LeadChoice::Voltages,
        verify: false,
        keep_digital: true,
        patient_salt: Some("salt".into()),
        unverified: true,
        ..OpenOptions::default()
    };
    check(open(&path, &lenient).ok());
    let _ = find_records(folder());
}

/// What holds for every recording.
fn check(recording: Option<Recording>) {
    let Some(recording) = recording else { return };
    assert!(recording.rate_hz.is_finite() && recording.rate_hz > 0.0);
    assert!(!recording.leads.is_empty());
    assert_eq!(
        recording.samples_mv().len(),
        recording.len() * recording.leads.len()
    );
    let Some(digital) = &recording.digital else {
        return;
    };
    assert_eq!(digital.samples().len(), recording.samples_mv().len());
    assert_eq!(digital.gain_per_mv().len(), recording.leads.len());
}
