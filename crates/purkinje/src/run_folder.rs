//! The folder of a run: its configuration, written once and compared when the run is resumed.

use std::path::Path;

use serde::Serialize;

use crate::files::write_file;
use crate::{Error, Result};

/// File of the resolved configuration in a run folder.
pub const CONFIG: &str = "config.toml";

/// Writes the configuration of a run. A folder with another run is left alone; the same run must be resumed on purpose.
/// `stored` is the configuration of the run to be resumed, if there is one.
///
/// # Errors
/// When the folder holds a run that is not to be resumed, or one of another configuration, or cannot be written.
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
    if path.exists() && !resume {
        return Err(
            Error::invalid(format!("{} already holds a run", out.display()))
                .with_help("give --resume to continue it, or another --out"),
        );
    }
    match stored {
        Some(old) if old != config => {
            return Err(Error::invalid(format!(
                "{} was started with another configuration:\n{}",
                out.display(),
                first_difference(&text(old)?, &new)
            ))
            .with_help("resume with the same arguments, or choose another --out"));
        }
        _ => {}
    }
    write_file(&path, new.as_bytes())
}

fn first_difference(old: &str, new: &str) -> String {
    let old: Vec<&str> = old.lines().collect();
    let new: Vec<&str> = new.lines().collect();
    let lost = old.iter().find(|line| !new.contains(line));
    let come = new.iter().find(|line| !old.contains(line));
    match (lost, come) {
        (Some(a), Some(b)) => format!("it has `{a}`, now `{b}`"),
        (Some(a), None) => format!("it has `{a}`, which is not there now"),
        (None, Some(b)) => format!("it lacks `{b}`"),
        (None, None) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_is_resumed_on_purpose_and_as_it_was() {
        let dir = tempfile::tempdir().unwrap();
        let config = |lr: f64| toml::Table::from_iter([("lr".to_owned(), lr.into())]);
        begin(dir.path(), false, None, &config(0.5)).unwrap();
        let stored = config(0.5);
        let again = |resume, lr: f64| begin(dir.path(), resume, Some(&stored), &config(lr));
        let error = again(false, 0.5).unwrap_err().to_string();
        assert!(error.contains("already holds a run"), "{error}");
        let error = again(true, 0.25).unwrap_err().to_string();
        assert!(
            error.contains("it has `lr = 0.5`, now `lr = 0.25`"),
            "{error}"
        );
        again(true, 0.5).unwrap();
        assert!(dir.path().join(CONFIG).is_file());
    }
}
