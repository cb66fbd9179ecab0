//! Cleaning of reports.

/// D-BETA's cleaning of any text: lower case, `ecg` for `ekg`, without the marks that machines put around statements. The last two
/// steps may leave blanks at the ends, so that a second pass can change the result.
pub fn d_beta(text: &str) -> String {
    let text = text.to_lowercase();
    let text = python_strip(&text).replace("ekg", "ecg");
    text.trim_matches(['*', ' '])
        .trim_matches('*')
        .trim_matches(['=', '-'])
        .trim_matches('=')
        .to_owned()
}

/// D-BETA's cleaning of training texts until December 2025, when most likely the published weights were trained: lower case, trimmed.
pub fn d_beta_released(text: &str) -> String {
    python_strip(&text.to_lowercase()).to_owned()
}

/// What Python's `str.strip` removes: also the separators of files, groups, records and units.
pub fn python_strip(text: &str) -> &str {
    text.trim_matches(is_python_blank)
}

/// Whether Python's `str.isspace` is true for the character.
pub fn is_python_blank(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}
