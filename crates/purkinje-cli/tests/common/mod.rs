//! Running the program, for the tests of this folder.

#![allow(dead_code, unused_macros, unused_imports)] // Every test program uses a part.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use serde_json::Value;

pub fn data(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests")
        .join(path)
}

pub fn ptb_xl() -> PathBuf {
    data("data/ptb-xl")
}

pub fn record() -> PathBuf {
    ptb_xl().join("records100/00000/00006_lr.hea")
}

pub fn command<S: AsRef<std::ffi::OsStr>>(args: &[S]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_purkinje"));
    command
        .args(args)
        .env_remove("PURKINJE_LOG")
        .env("COLUMNS", "100")
        .stdin(Stdio::null());
    command
}

/// Arguments of any string-like kinds in one list.
macro_rules! run {
    ($($arg:expr),+ $(,)?) => {
        $crate::common::command(&[$(std::ffi::OsString::from($arg)),+]).output().unwrap()
    };
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// Standard output of a run that must succeed.
pub fn ok(output: Output) -> String {
    assert!(
        output.status.success(),
        "{}\n{}",
        text(&output.stdout),
        text(&output.stderr)
    );
    text(&output.stdout)
}

/// Standard error of a run that must fail with code 1.
pub fn failed(output: Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let stderr = text(&output.stderr);
    assert_eq!(stderr.matches("error:").count(), 1, "{stderr}");
    stderr
}

pub fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{error}: {text}"))
}

/// Everything in a folder by name.
pub fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| entry.unwrap())
        .filter(|entry| entry.path().is_file())
        .map(|entry| {
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect()
}

pub(crate) use run;
