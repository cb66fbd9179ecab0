//! The outcome of every record of a source: `outcomes.csv`.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::error::StoreError;
use crate::schema::OutcomeCounts;

/// The outcome of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Stored.
    Ok,
    /// Readable, but not usable.
    Skipped,
    /// Unreadable, or not what the settings expect.
    Failed,
    /// Listed in a table, but without a file.
    Missing,
}

/// One row of `outcomes.csv`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Outcome {
    /// The record.
    pub id: String,
    /// Its file, relative to the root of the source.
    pub path: String,
    /// Its status.
    pub status: Status,
    /// The reason; for stored records a note, or empty.
    pub reason: String,
    /// Samples per lead in the store.
    pub samples: usize,
    /// Samples that were missing in the file and were replaced.
    pub missing_samples: usize,
    /// Leads without any variation.
    pub flat_leads: usize,
    /// R-peaks found.
    pub beats: usize,
}

impl Outcome {
    /// The outcome of a record that was not stored.
    pub fn not_stored(
        id: impl Into<String>,
        path: &Path,
        status: Status,
        reason: impl Into<String>,
    ) -> Self {
        Outcome {
            id: id.into(),
            path: portable(path),
            status,
            reason: reason.into(),
            samples: 0,
            missing_samples: 0,
            flat_leads: 0,
            beats: 0,
        }
    }
}

/// Reads the `outcomes.csv` of a store.
///
/// # Errors
/// [`StoreError::Io`] and, for a table that is not one of outcomes, [`StoreError::Description`].
pub fn read_outcomes(store: &Path) -> Result<Vec<Outcome>, StoreError> {
    let path = store.join(crate::schema::OUTCOMES_FILE);
    let file = std::fs::File::open(&path).map_err(StoreError::io("open", &path))?;
    csv::Reader::from_reader(std::io::BufReader::new(file))
        .deserialize()
        .collect::<Result<_, _>>()
        .map_err(|error| StoreError::Description {
            path,
            reason: error.to_string(),
        })
}

/// Whether the table names a record whose path is not told.
pub(crate) fn any_withheld(table: &Path) -> Result<bool, StoreError> {
    let file = std::fs::File::open(table).map_err(StoreError::io("open", table))?;
    let mut rows = csv::Reader::from_reader(std::io::BufReader::new(file));
    let mut outcomes = rows.deserialize::<Outcome>().flatten();
    Ok(outcomes.any(|outcome| crate::ids::is_withheld(&outcome)))
}

/// A relative path with `/` as the separator on every system.
pub fn portable(path: &Path) -> String {
    path.components()
        .map(|part| part.as_os_str().to_string_lossy())
        .collect::<Vec<_>>()
        .join("/")
}

/// Lines of `outcomes.csv`, with the header line if this is the start of the table.
pub(crate) fn to_csv(outcomes: &[Outcome], with_header: bool) -> Result<Vec<u8>, csv::Error> {
    let mut writer = csv::WriterBuilder::new()
        .has_headers(false)
        .from_writer(Vec::new());
    if with_header {
        writer.write_record([
            "id",
            "path",
            "status",
            "reason",
            "samples",
            "missing_samples",
            "flat_leads",
            "beats",
        ])?;
    }
    for outcome in outcomes {
        writer.serialize(outcome)?;
    }
    writer
        .into_inner()
        .map_err(|error| csv::Error::from(error.into_error()))
}

impl OutcomeCounts {
    pub(crate) fn count(&mut self, status: Status) {
        match status {
            Status::Ok => self.ok += 1,
            Status::Skipped => self.skipped += 1,
            Status::Failed => self.failed += 1,
            Status::Missing => self.missing += 1,
        }
    }
}
