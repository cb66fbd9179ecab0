//! Golden cases: what the original programs computed, against what Purkinje computes.
//!
//! `cargo test --release --test golden` walks the folder named by `PURKINJE_GOLDEN` (this package's
//! `golden-data` by default), finds every `case.json`, and runs the check registered below for its system
//! and kind. Names, sizes and seeds come from the cases. Words after `--` choose the cases whose path
//! contains one of them.

mod batches;
mod checkpoints;
mod clear_hug_models;
mod clear_hug_preprocess;
mod clear_hug_records;
mod clear_hug_tokenizer;
mod clear_hug_xqrs;
mod compare;
mod d_beta;
mod deri;
mod deri_metrics;
mod deri_reports;
mod deri_writing;
mod entry;
mod full_scale;
mod full_scale_decoder;
mod hubert_clustering;
mod hubert_descriptors;
mod hubert_metrics;
mod hubert_models;
mod hubert_schedules;
mod io;
mod optimisation;
mod paired;
mod preprocessing;
mod recipe;
mod resnet1d;
mod text;
mod text_metrics;
mod vit1d;
mod walk;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Instant;

use compare::Findings;
use walk::Case;

/// Checks one case: failed comparisons go into the findings, what prevents comparing is the error.
type Check = fn(&Case, &mut Findings) -> Result<(), String>;

/// Checks by the kind of case they are for.
type Kinds = &'static [(&'static str, Check)];

/// Systems all of whose kinds are checked: a case of another kind fails. Of the others it is skipped, and said so.
const COMPLETE: &[&str] = &["clear-hug", "hubert-ecg", "d-beta", "deri"];

/// Systems of whose cases in the repository a check must read every file and look at every tensor.
const READ_WHOLE: &[&str] = &["clear-hug", "hubert-ecg", "d-beta", "deri"];

/// For each system that exists here, the kinds of case it is checked with.
const SYSTEMS: &[(&str, &[Kinds])] = &[
    (
        "clear-hug",
        &[
            clear_hug_records::CHECKS,
            clear_hug_tokenizer::CHECKS,
            clear_hug_xqrs::CHECKS,
            clear_hug_preprocess::CHECKS,
            clear_hug_models::CHECKS,
            recipe::CHECKS,
        ],
    ),
    (
        "hubert-ecg",
        &[
            preprocessing::HUBERT,
            hubert_models::CHECKS,
            hubert_descriptors::CHECKS,
            hubert_clustering::CHECKS,
            hubert_metrics::CHECKS,
            hubert_schedules::CHECKS,
        ],
    ),
    (
        "d-beta",
        &[
            preprocessing::D_BETA,
            optimisation::D_BETA,
            d_beta::CHECKS,
            text::D_BETA,
        ],
    ),
    ("text", &[text::PUBLISHED]),
    (
        "deri",
        &[
            preprocessing::DERI,
            optimisation::DERI,
            resnet1d::CHECKS,
            vit1d::CHECKS,
            deri::CHECKS,
            paired::CHECKS,
            full_scale::CHECKS,
            deri_metrics::CHECKS,
            text_metrics::CHECKS,
            deri_reports::CHECKS,
        ],
    ),
];

fn main() -> ExitCode {
    // Cargo names the package's folder when it runs a test; otherwise the current folder counts.
    let package = std::env::var_os("CARGO_MANIFEST_DIR").map_or_else(PathBuf::new, PathBuf::from);
    let other = std::env::var_os("PURKINJE_GOLDEN").map(PathBuf::from);
    let own = other.is_none();
    let root = other.unwrap_or_else(|| package.join("golden-data"));
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|word| !word.starts_with('-'))
        .collect();
    let cases = match walk::find(&root) {
        Ok(cases) => cases,
        Err(problem) => {
            println!("golden: {problem}");
            return ExitCode::FAILURE;
        }
    };

    let (mut run, mut failed, mut skipped) = (0, 0, Vec::new());
    for case in cases {
        if !words.is_empty() && !words.iter().any(|word| case.name.contains(word)) {
            continue;
        }
        let Some((_, kinds)) = SYSTEMS.iter().find(|(system, _)| *system == case.system) else {
            skipped.push(case.system);
            continue;
        };
        let check = kinds
            .iter()
            .copied()
            .flatten()
            .find(|(kind, _)| *kind == case.kind)
            .map(|(_, check)| *check);
        if check.is_none() && !COMPLETE.contains(&case.system.as_str()) {
            skipped.push(format!("{} {}", case.system, case.kind));
            continue;
        }
        run += 1;
        failed += usize::from(!report(&case, check, own));
    }
    skipped.sort();
    skipped.dedup();
    if !skipped.is_empty() {
        println!("skipped, not implemented yet: {}", skipped.join(", "));
    }
    println!("golden: {run} cases, {failed} failed");
    if run == 0 {
        println!("golden: no case found under {}", root.display());
    }
    if run == 0 || failed > 0 {
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}

/// Runs one case, prints its line, and says whether it passed. A case of the repository's own must be looked at as a whole;
/// of another, what was not is said.
fn report(case: &Case, check: Option<Check>, own: bool) -> bool {
    let began = Instant::now();
    let mut findings = Findings::default();
    let outcome = match check {
        None => Err(format!("kind `{}` is not implemented", case.kind)),
        Some(check) => catch_unwind(AssertUnwindSafe(|| check(case, &mut findings)))
            .unwrap_or_else(|_| Err("panicked, see above".to_owned())),
    };
    if let Err(problem) = outcome {
        findings.fail(problem);
    }
    if findings.failures().is_empty() && READ_WHOLE.contains(&case.system.as_str()) {
        match case.unread() {
            Err(problem) => findings.fail(problem),
            Ok(unread) if own => unread
                .iter()
                .for_each(|name| findings.fail(format!("`{name}` is looked at by no check"))),
            Ok(unread) => unread
                .iter()
                .for_each(|name| println!("       looked at by no check: {name}")),
        }
    }
    if let Some(reason) = findings.skipped()
        && findings.failures().is_empty()
        && !COMPLETE.contains(&case.system.as_str())
    {
        println!("skipped {} ({}): {reason}", case.name, case.kind);
        return true;
    }
    if findings.compared() == 0 && findings.failures().is_empty() {
        findings.fail("nothing was compared".to_owned());
    }
    let passed = findings.failures().is_empty();
    println!(
        "{} {} ({}): {} comparisons in {} ms",
        if passed { "ok    " } else { "FAILED" },
        case.name,
        case.kind,
        findings.compared(),
        began.elapsed().as_millis(),
    );
    if let Some((share, relative, label)) = findings.closest() {
        println!(
            "       closest to its bound, {share:.2} of it, relative error {relative:.1e}: {label}"
        );
    }
    for failure in findings.failures() {
        println!("       {failure}");
    }
    passed
}
