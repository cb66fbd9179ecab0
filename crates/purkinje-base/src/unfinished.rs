//! What is left behind where a program ends at once, without unwinding: temporary files and folders that nobody would remove,
//! and steps that must not be cut in half.
//!
//! A program that is about to end at once calls [`abandon`]; until then this module only keeps a list.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError, RwLock, RwLockReadGuard};

static LISTED: Mutex<BTreeSet<PathBuf>> = Mutex::new(BTreeSet::new());
static STEPS: RwLock<()> = RwLock::new(());

/// A temporary file or folder, removed by [`abandon`] as long as this value lives.
#[derive(Debug)]
pub struct Listed(PathBuf);

impl Listed {
    /// Lists a path; it need not exist.
    pub fn new(path: &Path) -> Self {
        let path = std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
        let mut listed = LISTED.lock().unwrap_or_else(PoisonError::into_inner);
        listed.insert(path.clone());
        Listed(path)
    }
}

impl Drop for Listed {
    fn drop(&mut self) {
        let mut listed = LISTED.lock().unwrap_or_else(PoisonError::into_inner);
        listed.remove(&self.0);
    }
}

/// A step that is finished once begun.
#[must_use]
pub struct Step(#[allow(dead_code)] RwLockReadGuard<'static, ()>);

/// Begins a step that [`abandon`] waits for, such as the renames that replace a folder. Steps must be short, and no step may
/// begin within another.
pub fn step() -> Step {
    Step(STEPS.read().unwrap_or_else(PoisonError::into_inner))
}

/// Waits for steps that were begun, lets no other begin and removes what is listed: the caller must end the process.
pub fn abandon() {
    std::mem::forget(STEPS.write().unwrap_or_else(PoisonError::into_inner));
    let listed = LISTED.lock().unwrap_or_else(PoisonError::into_inner);
    for path in listed.iter() {
        // What cannot be removed stays; there is nobody to tell.
        let _ = match path.is_dir() {
            true => fs::remove_dir_all(path),
            false => fs::remove_file(path),
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_listed_is_removed() {
        // In a process of its own, as nothing may begin a step afterwards.
        let dir = tempfile::tempdir().unwrap();
        let [file, folder, finished] = ["file", "folder", "finished"].map(|n| dir.path().join(n));
        if let Some(dir) = std::env::var_os("PURKINJE_TEST_ABANDON") {
            let dir = Path::new(&dir);
            let _file = Listed::new(&dir.join("file"));
            let _folder = Listed::new(&dir.join("folder"));
            drop(Listed::new(&dir.join("finished")));
            abandon();
            std::process::exit(0);
        }
        fs::create_dir(&folder).unwrap();
        for path in [&file, &folder.join("inside"), &finished] {
            fs::write(path, "").unwrap();
        }
        let name = "unfinished::tests::only_what_is_listed_is_removed";
        let done = std::process::Command::new(std::env::current_exe().unwrap())
            .args([name, "--exact"])
            .env("PURKINJE_TEST_ABANDON", dir.path())
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
        assert!(!file.exists() && !folder.exists() && finished.exists());
    }
}
