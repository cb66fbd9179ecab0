//! What stands under the name of a recording and is none: pointers of Git LFS and git-annex whose file was not fetched, pages that a server
//! sent instead of the file, files without a byte.

use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use crate::RecordError;

/// Bytes of a file that are looked at.
const START_BYTES: u64 = 512;
/// Bytes of the longest message of a server that is told by its words.
const MESSAGE_BYTES: usize = 64;

const LFS: &str = "it is a Git LFS pointer, not the file; fetch it with `git lfs pull`";
const ANNEX: &str =
    "it is a git-annex pointer, not the file; fetch it with `git annex get` or `datalad get`";
const EMPTY: &str = "it is empty (0 bytes); copy or download it again";

/// What became of reading the file at `path`; an error says what the file is where that is plainly no recording.
pub(crate) fn told<T>(path: &Path, read: Result<T, RecordError>) -> Result<T, RecordError> {
    read.map_err(|error| refuse(path).err().unwrap_or(error))
}

/// Refuses a file that is plainly no recording; one that is not there is left to its reader.
///
/// # Errors
/// Says what the file is.
pub(crate) fn refuse(path: &Path) -> Result<(), RecordError> {
    let no_samples = |why: String| RecordError::NoSamples {
        path: path.to_owned(),
        why,
    };
    let Ok(metadata) = fs::metadata(path) else {
        // The link of a file that was not fetched leads nowhere.
        let link = fs::read_link(path).unwrap_or_default();
        return match link.to_string_lossy().contains("annex/objects/") {
            true => Err(no_samples(ANNEX.to_owned())),
            false => Ok(()),
        };
    };
    // Looked at before it is opened: opening a pipe would wait for a writer.
    if !metadata.is_file() {
        return Ok(());
    }
    let mut start = Vec::new();
    let read = File::open(path).and_then(|file| file.take(START_BYTES).read_to_end(&mut start));
    match read {
        Ok(0) => Err(no_samples(EMPTY.to_owned())),
        Ok(_) => {
            let json = path
                .extension()
                .is_some_and(|own| own.eq_ignore_ascii_case("json"));
            match what(&start).filter(|_| !json) {
                Some(what) => Err(no_samples(what)),
                None => Ok(()),
            }
        }
        // Its reader says why.
        Err(_) => Ok(()),
    }
}

/// What a file is that starts so, if it is plainly no recording.
fn what(start: &[u8]) -> Option<String> {
    // Most recordings: the first byte tells.
    let first = start.iter().find(|b| !b.is_ascii_whitespace())?;
    if !(b"v/.<{[\xef".contains(first) || start.len() < MESSAGE_BYTES) {
        return None;
    }
    let text = String::from_utf8_lossy(start).to_lowercase();
    let text = text.trim_start_matches('\u{feff}').trim_start();
    if text.starts_with("version https://git-lfs.github.com/") {
        return Some(LFS.to_owned());
    }
    let line = text.lines().next().unwrap_or("");
    if ["/annex/", "../", "./", ".git/"]
        .iter()
        .any(|way| line.starts_with(way))
        && line.contains("annex/objects/")
    {
        return Some(ANNEX.to_owned());
    }
    let sent = |what: &str| {
        let shown = line.chars().filter(|c| !c.is_control()).take(60);
        let shown: String = shown.collect();
        Some(format!(
            "it is {what} that was sent instead of the file (`{shown}`); download it again"
        ))
    };
    let markup = ["<!doctype html", "<html", "<head"];
    if markup.iter().any(|tag| text.starts_with(tag))
        || (["<?xml", "<!--"].iter().any(|tag| text.starts_with(tag))
            && markup.iter().any(|tag| text.contains(tag)))
    {
        return sent("an HTML page");
    }
    if text.starts_with("<error>") || (text.starts_with("<?xml") && text.contains("<error>")) {
        return sent("an error message");
    }
    let object = text.strip_prefix(['{', '[']).map(str::trim_start);
    if object.is_some_and(|rest| rest.starts_with(['"', '{', '}', ']'])) {
        return sent("a JSON text");
    }
    let words = ["not found", "forbidden", "access denied", "bad gateway"];
    if text.len() < MESSAGE_BYTES && words.iter().any(|words| line.contains(words)) {
        return sent("an error message");
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pointers_and_pages_are_told_by_name() {
        for (start, expected) in [
            (
                "version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12\n",
                "Git LFS",
            ),
            ("/annex/objects/SHA256E-s12--4d7a.edf\n", "git-annex"),
            (
                "../../.git/annex/objects/2K/4v/SHA256E-s12--4d7a.edf",
                "git-annex",
            ),
            ("\u{feff}\n<!DOCTYPE html>\n<html><head>", "HTML"),
            ("<?xml version=\"1.0\"?>\n<!DOCTYPE html PUBLIC", "HTML"),
            (
                "<?xml version=\"1.0\"?><Error><Code>AccessDenied</Code>",
                "error message",
            ),
            ("{\"message\": \"Not Found\"}", "JSON"),
            ("[\n {\"error\": 403}]", "JSON"),
            ("404: Not Found", "error message"),
        ] {
            let found = what(start.as_bytes()).unwrap_or_default();
            assert!(found.contains(expected), "{start}: {found}");
        }
        for recording in [
            "<?xml version=\"1.0\"?><RestingECG>",
            "time,I,II\n0,1,2\n",
            "r 1 500 3\nr.dat 16\n",
            "{I},{II}\n",
            "0       X X X X",
            "../x\n",
        ] {
            assert_eq!(what(recording.as_bytes()), None, "{recording}");
        }
    }
}
