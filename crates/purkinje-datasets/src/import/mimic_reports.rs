//! Reports of MIMIC-IV-ECG, assembled from the machine's lines by the rules of each system.

use purkinje_text::clean::{self, is_python_blank};

/// Cells that pandas, with which the original programs read the table, treats as missing.
const MISSING: [&str; 19] = [
    "", "#N/A", "#N/A N/A", "#NA", "-1.#IND", "-1.#QNAN", "-NaN", "-nan", "1.#IND", "1.#QNAN",
    "<NA>", "N/A", "NA", "NULL", "NaN", "None", "n/a", "nan", "null",
];

/// Whether a cell is no report line for the original programs. A space is a line for them.
pub(super) fn is_missing(cell: &str) -> bool {
    MISSING.contains(&cell)
}

/// The report of D-BETA: lines joined by a space, then cleaned.
///
/// This is the rule that its authors describe, and that their program applies since December 2025.
pub fn d_beta_report<S: AsRef<str>>(lines: &[S]) -> String {
    clean::d_beta(&join(lines, " "))
}

/// The report of D-BETA as its program assembled it until December 2025, hence most likely what the published weights
/// were trained on: lines joined by a space, in lower case, trimmed.
pub fn d_beta_released_report<S: AsRef<str>>(lines: &[S]) -> String {
    clean::d_beta_released(&join(lines, " "))
}

/// The report of DERI and MERL, and the number of its words. Reports of fewer than
/// [`DERI_MIN_WORDS`] words are left out of their training.
pub fn deri_report<S: AsRef<str>>(lines: &[S]) -> (String, usize) {
    let joined = join(lines, ". ")
        .replace("EKG", "ECG")
        .replace("ekg", "ecg");
    let text = joined
        .trim_matches([' ', '*'])
        .trim_matches(['*', ' '])
        .trim_matches('*')
        .trim_matches(['=', '-'])
        .trim_matches('=')
        .to_lowercase();
    let words = text
        .split(is_python_blank)
        .filter(|word| !word.is_empty())
        .count();
    if words == 0 {
        return ("empty".to_owned(), 0);
    }
    let mut text = text.replace(['\n', '\r', '\t'], " ");
    text.push('.');
    (text, words)
}

/// Words that a report needs to be in DERI's and MERL's training.
pub const DERI_MIN_WORDS: usize = 4;

/// A cleaned report: one sentence per line, in its original case, without the machine's markers (`***`, `---`) and
/// double full stops; `EKG` is replaced by `ECG`. Empty if there is no text.
pub fn clean_report<S: AsRef<str>>(lines: &[S]) -> String {
    let mut report = String::new();
    for line in lines {
        let line = sentence(line.as_ref());
        if line.is_empty() {
            continue;
        }
        if !report.is_empty() {
            report.push(' ');
        }
        report.push_str(&line);
        if !line.ends_with(['.', '!', '?', ':']) {
            report.push('.');
        }
    }
    report
}

/// One line without markers and superfluous spaces.
fn sentence(line: &str) -> String {
    let words: Vec<&str> = line
        .split_whitespace()
        .map(|word| word.trim_matches('*'))
        .filter(|word| {
            !word.is_empty() && !word.chars().all(|c| matches!(c, '=' | '-' | '*' | '.'))
        })
        .collect();
    let text = words.join(" ");
    let text = text.trim_end_matches(['=', '-', '*', ' ']);
    // A number keeps its sign.
    let marker = text.len() - text.trim_start_matches(['=', '-', '*', ' ']).len();
    let signed = marker == 1 && text[1..].starts_with(|c: char| c.is_ascii_digit());
    let text = if signed { text } else { &text[marker..] };
    let dots = text.len() - text.trim_end_matches('.').len();
    let text = &text[..text.len() - dots.saturating_sub(1)];
    text.replace("EKG", "ECG")
        .replace("ekg", "ecg")
        .replace("Ekg", "Ecg")
}

fn join<S: AsRef<str>>(lines: &[S], separator: &str) -> String {
    lines
        .iter()
        .map(AsRef::as_ref)
        .collect::<Vec<_>>()
        .join(separator)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn cases(file: &str) -> Value {
        let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../tests/data/mimic-iv-ecg")
            .join(file);
        serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
    }

    #[test]
    fn d_beta_cleans_like_the_reference() {
        let cases = cases("d_beta_cleaning.json");
        let cases = cases.as_array().unwrap();
        assert!(cases.len() >= 15);
        for case in cases {
            let text = case["in"].as_str().unwrap();
            assert_eq!(
                clean::d_beta(text),
                case["out"].as_str().unwrap(),
                "{text:?}"
            );
        }
        let lines = ["Sinus rhythm", " *** Abnormal EKG ***"];
        assert_eq!(d_beta_report(&lines), "sinus rhythm  *** abnormal ecg");
        assert_eq!(
            d_beta_released_report(&lines),
            "sinus rhythm  *** abnormal ekg ***"
        );
        assert_eq!(d_beta_report::<&str>(&[]), "");
    }

    #[test]
    fn deri_assembles_like_the_reference() {
        let cases = cases("deri_reports.json");
        let cases = cases.as_array().unwrap();
        assert!(cases.len() >= 12);
        for case in cases {
            let lines: Vec<&str> = case["lines"]
                .as_array()
                .unwrap()
                .iter()
                .map(|line| line.as_str().unwrap())
                .collect();
            let (text, words) = deri_report(&lines);
            assert_eq!(text, case["total_report"].as_str().unwrap(), "{lines:?}");
            assert_eq!(words as u64, case["words"].as_u64().unwrap(), "{lines:?}");
            assert_eq!(words >= DERI_MIN_WORDS, case["kept"].as_bool().unwrap());
        }
    }

    #[test]
    fn the_clean_report_reads_like_sentences() {
        for (lines, expected) in [
            (
                &[
                    "Sinus rhythm",
                    "Possible right atrial abnormality",
                    "Borderline ECG",
                ][..],
                "Sinus rhythm. Possible right atrial abnormality. Borderline ECG.",
            ),
            (
                &[
                    "Sinus rhythm.",
                    "*** CONSIDER ACUTE ST ELEVATION MI ***",
                    "",
                    "Abnormal EKG..",
                ],
                "Sinus rhythm. CONSIDER ACUTE ST ELEVATION MI. Abnormal ECG.",
            ),
            (
                &[
                    "--- Warning: Data quality may affect interpretation ---",
                    "-30 degrees",
                    "- axis",
                ],
                "Warning: Data quality may affect interpretation. -30 degrees. axis.",
            ),
            (&["***", " = ", "---", "."], ""),
            (&["Atrial\tflutter \n?"], "Atrial flutter ?"),
        ] {
            assert_eq!(clean_report(lines), expected);
        }
    }

    #[test]
    fn cells_without_a_line_are_known() {
        for cell in ["", "NaN", "nan", "NA", "None"] {
            assert!(is_missing(cell), "{cell:?}");
        }
        assert!(!is_missing(" ") && !is_missing("Sinus rhythm"));
    }
}
