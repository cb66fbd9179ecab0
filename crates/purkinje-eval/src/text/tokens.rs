//! How texts are split into words.

/// Whether Python's `str.split` splits at the character: white space of Unicode, and the separators of files, groups,
/// records and units.
fn is_space(c: char) -> bool {
    c.is_whitespace() || ('\u{1c}'..='\u{1f}').contains(&c)
}

/// Words between white space, as they stand: punctuation stays attached. What BLEU, METEOR and CIDEr compare.
pub fn words(text: &str) -> impl Iterator<Item = &str> {
    text.split(is_space).filter(|word| !word.is_empty())
}

/// What the published ROUGE compares: runs of a-z and 0-9 of the text in lower case, the Porter [`stem`](super::stem) of
/// those with more than three letters. Every other letter separates (`veränderung` becomes `ver`, `nderung`, stemmed).
pub fn rouge_tokens(text: &str) -> Vec<String> {
    let text = text.to_lowercase();
    ascii_pieces(&text).map(rouge_stem).collect()
}

/// Runs of letters and digits of any script in lower case, unstemmed. Combining diacritical marks belong to the letter
/// before them, but composed and decomposed letters are different.
pub fn unicode_tokens(text: &str) -> Vec<String> {
    let text = text.to_lowercase();
    unicode_pieces(&text).map(str::to_owned).collect()
}

/// Runs of a-z and 0-9.
pub(super) fn ascii_pieces(lower: &str) -> impl Iterator<Item = &str> {
    lower
        .split(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit()))
        .filter(|piece| !piece.is_empty())
}

/// The token of a piece.
pub(super) fn rouge_stem(piece: &str) -> String {
    if piece.len() > 3 {
        super::porter::stem(piece)
    } else {
        piece.to_owned()
    }
}

/// Whether a character is part of a token of [`unicode_tokens`].
pub(super) fn is_letter(c: char) -> bool {
    c.is_alphanumeric() || ('\u{300}'..='\u{36f}').contains(&c)
}

/// Runs of letters and digits.
pub(super) fn unicode_pieces(lower: &str) -> impl Iterator<Item = &str> {
    lower
        .split(|c| !is_letter(c))
        .filter(|piece| !piece.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_end_at_white_space_of_any_kind() {
        let found: Vec<&str> = words(" a\u{a0}b.\u{1f}c\u{2003}\r\nd\u{200b}e\u{85}").collect();
        assert_eq!(found, ["a", "b.", "c", "d\u{200b}e"]);
        assert_eq!(words(" \t").count(), 0);
    }

    #[test]
    fn rouge_knows_no_letters_beyond_z() {
        assert_eq!(
            rouge_tokens("2nd degree AV-block, Veränderungen"),
            ["2nd", "degre", "av", "block", "ver", "nderungen"]
        );
        // The Kelvin sign is a k in lower case, as for Python.
        assert_eq!(rouge_tokens("\u{212a}ELVIN…"), ["kelvin"]);
        assert_eq!(rouge_tokens("***"), [""; 0]);
    }

    #[test]
    fn words_of_other_scripts_stay_whole() {
        assert_eq!(
            unicode_tokens("Veränderung; förmaks-flimmer a\u{308}b 120/min"),
            [
                "veränderung",
                "förmaks",
                "flimmer",
                "a\u{308}b",
                "120",
                "min"
            ]
        );
    }
}
