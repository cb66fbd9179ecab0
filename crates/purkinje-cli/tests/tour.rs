//! The commands of the README and of the tour, run as they are printed, from top to bottom.

use std::path::Path;
use std::process::Command;

/// The commands in the blocks of a Markdown file; of a block with prompts only those behind one.
fn commands(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for block in text.split("```").skip(1).step_by(2) {
        let block = block.replace("\\\n", " ");
        let prompts = block.lines().any(|line| line.starts_with("$ "));
        for line in block.lines() {
            let line = match prompts {
                true => line.strip_prefix("$ ").unwrap_or_default(),
                false => line,
            };
            let line = line.replacen("cargo run --release -- ", "purkinje ", 1);
            if line.starts_with("purkinje ") {
                found.push(line);
            }
        }
    }
    found
}

#[cfg(unix)]
#[test]
#[ignore = "takes many minutes; `cargo test --release -p purkinje-cli --test tour -- --ignored` runs it"]
fn the_readme_and_the_tour_run_from_top_to_bottom() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    let program = Path::new(env!("CARGO_BIN_EXE_purkinje")).parent().unwrap();
    let path = std::env::var("PATH").unwrap_or_default();
    let path = format!("{}:{path}", program.display());
    let dir = tempfile::tempdir().unwrap();
    let prompts = std::fs::canonicalize(root.join("prompts")).unwrap();
    std::os::unix::fs::symlink(prompts, dir.path().join("prompts")).unwrap();
    let mut run = 0;
    for file in ["README.md", "docs/tour.md"] {
        let text = std::fs::read_to_string(root.join(file)).unwrap();
        for line in commands(&text) {
            let output = Command::new("sh")
                .args(["-c", &line])
                .current_dir(dir.path())
                .env("PATH", &path)
                .output()
                .unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(output.status.success(), "{file}: {line}\n{said}");
            run += 1;
        }
    }
    assert!(run > 25, "{run} commands found");
}
