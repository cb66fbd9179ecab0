//! The run log: one JSON object per line, readable while the training runs.
//!
//! ```text
//! {"event":"train","step":1200,"time_s":1763701234.5,"loss":0.1873,"lr":0.0005}
//! {"event":"validation","step":1320,"time_s":1763701290.1,"macro_auroc":0.913}
//! ```
//!
//! Every line is flushed when written. After a crash the last line may be cut short, and lines
//! may be there of steps that the last checkpoint does not know; [`RunLog::resume`] removes both,
//! so that the file reads as if the training had never stopped.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, BufRead, BufReader, Write},
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use purkinje_base::atomic::NewFile;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use thiserror::Error;

/// A run log that cannot be written or continued.
#[derive(Debug, Error)]
pub enum RunLogError {
    /// Reading or writing failed.
    #[error("The run log {path} cannot be {action}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// `read` or `written`.
        action: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
    /// A line that is no entry.
    #[error(
        "Line {line} of the run log {path} is not an entry ({reason}); repair or remove the line, or start in a new folder."
    )]
    Line {
        /// The file.
        path: PathBuf,
        /// Line, counted from 1.
        line: usize,
        /// What is wrong with it.
        reason: String,
    },
    /// A field name the log uses itself.
    #[error(
        "The run log cannot take a field named `{name}`, because every entry has one of its own; rename it."
    )]
    Reserved {
        /// The name.
        name: String,
    },
}

/// One line of the log.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// What happened (`train`, `validation`, `checkpoint`, ...).
    pub event: String,
    /// Optimizer steps completed when it happened.
    pub step: u64,
    /// When, in seconds since 1970.
    pub time_s: f64,
    /// The rest of the fields. A number that JSON does not have is written as `"NaN"`, `"inf"`
    /// or `"-inf"`.
    #[serde(flatten)]
    pub fields: Map<String, Value>,
}

impl Entry {
    /// A field as a number, if it is there and one.
    pub fn number(&self, field: &str) -> Option<f64> {
        match self.fields.get(field)? {
            Value::String(text) if ["NaN", "inf", "-inf"].contains(&text.as_str()) => {
                text.parse().ok()
            }
            value => value.as_f64(),
        }
    }
}

/// An open run log.
#[derive(Debug)]
pub struct RunLog {
    file: File,
    path: PathBuf,
}

impl RunLog {
    /// Starts an empty log; an existing file is replaced.
    ///
    /// # Errors
    /// [`RunLogError::File`] if it cannot be written.
    pub fn create(path: &Path) -> Result<Self, RunLogError> {
        let file = File::create(path).map_err(written(path))?;
        Ok(Self {
            file,
            path: path.to_owned(),
        })
    }

    /// Continues the log of a training resumed after `last_step` completed steps: entries of
    /// later steps and a last line cut short are removed, all others kept byte by byte. A missing
    /// file is started.
    ///
    /// # Errors
    /// [`RunLogError::File`] if it cannot be read or written, [`RunLogError::Line`] if a whole
    /// line is no entry; the file is then left as it was.
    pub fn resume(path: &Path, last_step: u64) -> Result<Self, RunLogError> {
        match File::open(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Self::create(path),
            Err(source) => return Err(read(path)(source)),
            Ok(old) => {
                // Written beside and renamed, so that a crash here loses nothing.
                let mut kept = NewFile::begin(path).map_err(written(path))?;
                each_line(old, path, |line, entry| {
                    if entry.step <= last_step {
                        kept.write_all(line).map_err(written(path))?;
                    }
                    Ok(())
                })?;
                let permissions = fs::metadata(path).map_err(read(path))?.permissions();
                kept.file()
                    .set_permissions(permissions)
                    .and_then(|()| kept.finish())
                    .map_err(written(path))?;
            }
        }
        let file = OpenOptions::new()
            .append(true)
            .open(path)
            .map_err(written(path))?;
        Ok(Self {
            file,
            path: path.to_owned(),
        })
    }

    /// Appends an entry of now and flushes it.
    ///
    /// # Errors
    /// [`RunLogError::Reserved`] for a field named `event`, `step` or `time_s`,
    /// [`RunLogError::File`] if it cannot be written.
    pub fn write<'a>(
        &mut self,
        event: &str,
        step: u64,
        fields: impl IntoIterator<Item = (&'a str, f64)>,
    ) -> Result<(), RunLogError> {
        let mut map = Map::new();
        for (name, value) in fields {
            map.insert(name.to_owned(), number(value));
        }
        self.write_fields(event, step, map)
    }

    /// Appends an entry with fields of any JSON type.
    ///
    /// # Errors
    /// As [`RunLog::write`].
    pub fn write_fields(
        &mut self,
        event: &str,
        step: u64,
        fields: Map<String, Value>,
    ) -> Result<(), RunLogError> {
        let reserved = ["event", "step", "time_s"];
        if let Some(name) = reserved.into_iter().find(|name| fields.contains_key(*name)) {
            return Err(RunLogError::Reserved { name: name.into() });
        }
        let entry = Entry {
            event: event.to_owned(),
            step,
            // A clock before 1970 is no reason to stop a training.
            time_s: SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0.0, |elapsed| elapsed.as_secs_f64()),
            fields,
        };
        let failed = written(&self.path);
        let mut line = serde_json::to_vec(&entry).map_err(|error| failed(error.into()))?;
        line.push(b'\n');
        // One call per line, so that a reader never sees half of one under normal running.
        self.file
            .write_all(&line)
            .and_then(|()| self.file.flush())
            .map_err(failed)
    }

    /// The file being written.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// Reads the entries of a log; a last line cut short is left out.
///
/// # Errors
/// [`RunLogError::File`] or [`RunLogError::Line`].
pub fn read_run_log(path: &Path) -> Result<Vec<Entry>, RunLogError> {
    let mut entries = Vec::new();
    each_line(File::open(path).map_err(read(path))?, path, |_, entry| {
        entries.push(entry);
        Ok(())
    })?;
    Ok(entries)
}

fn each_line(
    file: File,
    path: &Path,
    mut take: impl FnMut(&[u8], Entry) -> Result<(), RunLogError>,
) -> Result<(), RunLogError> {
    let mut reader = BufReader::new(file);
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        reader.read_until(b'\n', &mut line).map_err(read(path))?;
        if line.last() != Some(&b'\n') {
            break; // the end, or a line cut short
        }
        let entry = serde_json::from_slice(&line).map_err(|error| RunLogError::Line {
            path: path.to_owned(),
            line: number,
            reason: error.to_string(),
        })?;
        take(&line, entry)?;
    }
    Ok(())
}

fn number(value: f64) -> Value {
    match serde_json::Number::from_f64(value) {
        Some(number) => Value::Number(number),
        None => Value::String(value.to_string()),
    }
}

fn read(path: &Path) -> impl Fn(io::Error) -> RunLogError {
    failed(path, "read")
}

fn written(path: &Path) -> impl Fn(io::Error) -> RunLogError {
    failed(path, "written")
}

fn failed(path: &Path, action: &'static str) -> impl Fn(io::Error) -> RunLogError {
    let path = path.to_owned();
    move |source| RunLogError::File {
        path: path.clone(),
        action,
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(path: &Path) -> Vec<u64> {
        read_run_log(path)
            .unwrap()
            .iter()
            .map(|entry| entry.step)
            .collect()
    }

    #[test]
    fn entries_come_back_as_written() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        let mut log = RunLog::create(&path).unwrap();
        log.write("train", 1, [("loss", 0.1), ("grad_norm", f64::INFINITY)])
            .unwrap();
        log.write("train", 2, [("loss", f64::NAN)]).unwrap();
        // Visible before the log is closed.
        let entries = read_run_log(&path).unwrap();
        assert_eq!(entries[0].event, "train");
        assert_eq!(entries[0].number("loss"), Some(0.1));
        assert_eq!(entries[0].number("grad_norm"), Some(f64::INFINITY));
        assert!(entries[1].number("loss").unwrap().is_nan());
        assert_eq!(entries[1].number("lr"), None);
        assert!(entries[0].time_s > 1.7e9);
    }

    #[test]
    fn resuming_forgets_later_steps_and_the_torn_line() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        let mut log = RunLog::create(&path).unwrap();
        for step in [10, 20, 30, 40] {
            log.write("train", step, [("loss", 1.0 / step as f64)])
                .unwrap();
        }
        drop(log);
        let before = fs::read(&path).unwrap();
        let mut torn = before.clone();
        torn.extend(b"{\"event\":\"train\",\"step\":2");
        fs::write(&path, torn).unwrap();

        let mut log = RunLog::resume(&path, 20).unwrap();
        log.write("train", 30, [("loss", 0.5)]).unwrap();
        assert_eq!(steps(&path), [10, 20, 30]);
        let after = fs::read(&path).unwrap();
        let kept = before
            .iter()
            .enumerate()
            .filter(|&(_, &b)| b == b'\n')
            .nth(1)
            .unwrap()
            .0;
        assert_eq!(after[..=kept], before[..=kept]);
    }

    #[test]
    fn a_missing_log_is_started() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        RunLog::resume(&path, 5)
            .unwrap()
            .write("train", 6, [])
            .unwrap();
        assert_eq!(steps(&path), [6]);
    }

    #[test]
    fn a_broken_line_inside_is_reported_and_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log.jsonl");
        let text = "{\"event\":\"a\",\"step\":1,\"time_s\":0.0}\nrubbish\n";
        fs::write(&path, text).unwrap();
        let message = RunLog::resume(&path, 1).unwrap_err().to_string();
        assert!(message.starts_with("Line 2 of the run log"), "{message}");
        assert_eq!(fs::read_to_string(&path).unwrap(), text);
    }

    #[test]
    fn own_fields_cannot_be_overwritten() {
        let folder = tempfile::tempdir().unwrap();
        let mut log = RunLog::create(&folder.path().join("log.jsonl")).unwrap();
        assert!(matches!(
            log.write("train", 1, [("step", 2.0)]),
            Err(RunLogError::Reserved { .. })
        ));
    }
}
