//! The folder of a run: its configuration is written once and compared when the run is resumed.

use std::path::Path;

use serde::Serialize;

use crate::files::write_file;
use crate::made::Provenance;
use crate::{Error, Result};

/// Name of the file with the resolved configuration.
pub const CONFIG: &str = "config.toml";
/// Name of the file that says what a run was made with.
pub const MADE_BY: &str = "made_by.json";

/// Writes what a run is made with beside its configuration, its log and its checkpoints.
///
/// # Errors
/// When it cannot be written.
pub fn say(out: &Path, made_by: &Provenance) -> Result<()> {
    let mut text = serde_json::to_string_pretty(made_by)
        .map_err(|error| Error::invalid(format!("{MADE_BY}: {error}")))?;
    text.push('\n');
    write_file(&out.join(MADE_BY), text.as_bytes())
}

/// Writes the configuration of a run. A folder that holds a run, and more of it than its configuration, is refused unless `resume` is set
/// and the configuration is the same. `stored` is the configuration of the run to resume, if there is one.
///
/// # Errors
/// When the folder holds a run and `resume` is false, the configurations differ, or the folder cannot be written.
pub fn begin<C: Serialize + PartialEq>(
    out: &Path,
    resume: bool,
    stored: Option<&C>,
    config: &C,
) -> Result<()> {
    let text = |config: &C| {
        toml::to_string(config)
            .map_err(|error| Error::invalid(format!("the configuration: {error}")))
    };
    let new = text(config)?;
    let path = out.join(CONFIG);
    if path.exists() && !resume && worked(out) {
        return Err(
            Error::invalid(format!("`{}` already holds a run", out.display()))
                .with_help("continue it with `--resume`, or choose another `--out`"),
        );
    }
    match stored {
        Some(old) if resume && old != config => {
            return Err(Error::invalid(format!(
                "the run in `{}` was started with another configuration: {}",
                out.display(),
                first_difference(&text(old)?, &new)
            ))
            .with_help("resume with the same arguments, or choose another `--out`"));
        }
        _ => {}
    }
    write_file(&path, new.as_bytes())
}

/// Whether a folder holds more than a configuration and what it was made with: what failed before its first step left no work to lose.
fn worked(out: &Path) -> bool {
    std::fs::read_dir(out).is_ok_and(|entries| {
        let mut names = entries.filter_map(|entry| Some(entry.ok()?.file_name()));
        names.any(|name| name != CONFIG && name != MADE_BY)
    })
}

fn first_difference(old: &str, new: &str) -> String {
    let old: Vec<&str> = old.lines().collect();
    let new: Vec<&str> = new.lines().collect();
    let lost = old.iter().find(|line| !new.contains(line));
    let come = new.iter().find(|line| !old.contains(line));
    match (lost, come) {
        (Some(a), Some(b)) => format!("found `{b}`, expected `{a}`"),
        (Some(a), None) => format!("`{a}` is missing"),
        (None, Some(b)) => format!("found `{b}`, which it does not have"),
        (None, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_resumed_only_on_request_and_unchanged() {
        let dir = tempfile::tempdir().unwrap();
        let config = |lr: f64| toml::Table::from_iter([("lr".to_owned(), lr.into())]);
        begin(dir.path(), false, None, &config(0.5)).unwrap();
        let stored = config(0.5);
        let again = |resume, lr: f64| begin(dir.path(), resume, Some(&stored), &config(lr));
        say(dir.path(), &Provenance::default()).unwrap();
        // A run that failed before its first step is begun anew.
        again(false, 0.25).unwrap();
        again(false, 0.5).unwrap();
        std::fs::write(dir.path().join("log.jsonl"), "").unwrap();
        let error = again(false, 0.5).unwrap_err().to_string();
        assert!(error.contains("already holds a run"), "{error}");
        let error = again(true, 0.25).unwrap_err().to_string();
        assert!(
            error.contains("found `lr = 0.25`, expected `lr = 0.5`"),
            "{error}"
        );
        again(true, 0.5).unwrap();
        assert!(dir.path().join(CONFIG).is_file());
    }
}
