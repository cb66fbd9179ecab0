//! Rules of the house that no compiler checks.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

/// Calls that make or rename files, and where they may stand beside `purkinje-base/src/atomic.rs`: the end of the path,
/// how many there are, and why.
const WRITES: [(&str, usize, &str); 9] = [
    (
        "record/src/packed.rs",
        1,
        "inside a temporary folder of its own",
    ),
    (
        "models/src/checkpoint/folder.rs",
        1,
        "inside a hidden folder that is renamed as a whole",
    ),
    (
        "src/export/place.rs",
        3,
        "inside a folder that is renamed as a whole",
    ),
    (
        "src/export/d_beta.rs",
        1,
        "inside a folder that is renamed as a whole",
    ),
    (
        "src/export/hubert.rs",
        1,
        "inside a folder that is renamed as a whole",
    ),
    (
        "store/src/shard.rs",
        1,
        "under the partial name of the shard, renamed when it is synced",
    ),
    (
        "purkinje/src/text_index.rs",
        1,
        "under a partial name it grows by whole rows, of which an interrupted call keeps those that are whole",
    ),
    ("train/src/run_log.rs", 1, "a log: it grows by lines"),
    (
        "src/demo/recordings.rs",
        1,
        "recordings of the demo, in a folder of its own",
    ),
];

const CALLS: [&str; 7] = [
    "fs::rename(",
    ".persist(",
    "persist_noclobber(",
    "NamedTempFile",
    "tempfile_in(",
    "File::create(",
    "fs::write(",
];

fn sources(folder: &Path, all: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            sources(&path, all);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            all.push(path);
        }
    }
}

/// The code of a file without comments and without its tests, which stand at the end.
fn code(path: &Path) -> String {
    let text = fs::read_to_string(path).unwrap();
    let lines = text
        .lines()
        .take_while(|line| line.trim() != "#[cfg(test)]")
        .filter(|line| !line.trim_start().starts_with("//"));
    lines.collect::<Vec<_>>().join("\n")
}

#[test]
fn files_are_written_in_one_way() {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates");
    let mut files = Vec::new();
    for entry in fs::read_dir(&crates).unwrap() {
        let folder = entry.unwrap().path().join("src");
        if folder.is_dir() {
            sources(&folder, &mut files);
        }
    }
    assert!(files.len() > 100, "{} files found", files.len());
    let mut found = BTreeMap::new();
    let mut inside = 0;
    for path in files {
        let code = code(&path);
        let count: usize = CALLS.iter().map(|call| code.matches(call).count()).sum();
        let name = path
            .strip_prefix(&crates)
            .unwrap()
            .to_string_lossy()
            .replace('\\', "/");
        if name == "purkinje-base/src/atomic.rs" {
            inside = count;
        } else if count > 0 && !name.ends_with("/tests.rs") {
            found.insert(name, count);
        }
    }
    // The search sees what it looks for.
    assert!(inside >= 5, "{inside} calls in the module that is for them");
    for (end, expected, why) in WRITES {
        let name = found.keys().find(|name| name.ends_with(end)).cloned();
        let name = name.unwrap_or_else(|| panic!("{end} writes no file any more ({why})"));
        assert_eq!(found.remove(&name), Some(expected), "{name}: {why}");
    }
    assert!(
        found.is_empty(),
        "these write files by themselves instead of with purkinje_base::atomic: {found:?}"
    );
}

/// The normal dependencies of a crate on others of the workspace, without the common prefix.
fn arrows(manifest: &str) -> Vec<String> {
    let table: toml::Table = manifest.parse().unwrap();
    let Some(toml::Value::Table(all)) = table.get("dependencies") else {
        return Vec::new();
    };
    let names = all.keys().filter(|name| name.starts_with("purkinje"));
    names.map(|name| short(name).to_owned()).collect()
}

fn short(name: &str) -> &str {
    name.strip_prefix("purkinje-").unwrap_or(name)
}

/// Crates depend on each other as docs/architecture.md draws it, and each is drawn.
#[test]
fn crates_depend_as_they_are_drawn() {
    let project = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let text = fs::read_to_string(project.join("docs/architecture.md")).unwrap();
    let mut above: Vec<String> = Vec::new();
    for line in text.lines().filter(|line| line.starts_with("| `purkinje")) {
        let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
        let name = cells[0].trim_matches('`').to_owned();
        let manifest = project.join("crates").join(&name).join("Cargo.toml");
        let found = arrows(&fs::read_to_string(&manifest).unwrap());
        for used in &found {
            let allowed = match cells[2] {
                "all above" => above.iter().any(|name| short(name) == used),
                list => list.split(',').any(|name| name.trim() == used),
            };
            assert!(
                allowed,
                "{name} depends on {used}, docs/architecture.md allows: {}",
                cells[2]
            );
        }
        above.push(name);
    }
    let there_are = fs::read_dir(project.join("crates")).unwrap().count();
    assert_eq!(above.len(), there_are, "crates that are drawn: {above:?}");
}

/// The program names no system outside comments and help texts: it asks the registry.
#[test]
fn the_program_names_no_system() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../crates/purkinje-cli/src");
    let mut files = Vec::new();
    sources(&folder, &mut files);
    assert!(files.len() > 15);
    let names = [
        "Clear", "Hubert", "HuBERT", "CLEAR", "Hug", "DBeta", "Dbeta", "Deri", "Merl",
    ];
    let paths = [
        "clear::", "hubert::", "hug::", "dbeta::", "deri::", "merl::",
    ];
    for file in files {
        for (number, line) in code(&file).lines().enumerate() {
            // What stands between quotes is for people to read.
            let outside: String = line.split('"').step_by(2).collect();
            let words = outside.split(|c: char| !c.is_alphanumeric() && c != '_');
            let named = words
                .into_iter()
                .any(|word| names.iter().any(|name| word.starts_with(name)));
            let used = paths.iter().any(|path| outside.contains(path));
            assert!(
                !named && !used,
                "{}, line {} of its code: {line}",
                file.display(),
                number + 1
            );
        }
    }
}
