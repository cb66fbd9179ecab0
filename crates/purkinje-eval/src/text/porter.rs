//! Porter's stemmer for English in the variant of the Natural Language Toolkit.
//!
//! M. F. Porter, "An algorithm for suffix stripping", Program 14(3), 1980, with what NLTK documents as its extensions: a table
//! of irregular forms, words of one or two letters stay, `ies` becomes `ie` in words of four letters, `y` becomes `i`
//! only behind a consonant that is not the whole stem, and the endings `alli`, `bli`, `fulli` and `logi`. ROUGE and METEOR
//! are published with this variant; Porter's later stemmer ("Snowball English") gives other stems.

/// Words whose stems no rule gives.
const IRREGULAR: [(&str, &str); 16] = [
    ("sky", "sky"),
    ("skies", "sky"),
    ("dying", "die"),
    ("lying", "lie"),
    ("tying", "tie"),
    ("news", "news"),
    ("innings", "inning"),
    ("inning", "inning"),
    ("outings", "outing"),
    ("outing", "outing"),
    ("cannings", "canning"),
    ("canning", "canning"),
    ("howe", "howe"),
    ("proceed", "proceed"),
    ("exceed", "exceed"),
    ("succeed", "succeed"),
];

/// The stem of a word, in lower case. Letters outside a-z count as consonants.
///
/// ```
/// use purkinje_eval::text::stem;
///
/// assert_eq!(stem("Infarctions"), "infarct");
/// assert_eq!(stem("abnormality"), "abnorm");
/// ```
pub fn stem(word: &str) -> String {
    let is_short = word.chars().nth(2).is_none();
    let word = word.to_lowercase();
    if let Some((_, stem)) = IRREGULAR.iter().find(|(form, _)| *form == word) {
        return (*stem).to_owned();
    }
    if is_short {
        return word;
    }
    let mut letters: Vec<char> = word.chars().collect();
    plurals(&mut letters);
    participles(&mut letters);
    final_y(&mut letters);
    double_suffixes(&mut letters);
    simple_suffixes(&mut letters);
    residual_suffixes(&mut letters);
    final_e(&mut letters);
    if ends(&letters, "ll") && measure(&letters[..letters.len() - 1]) > 1 {
        letters.pop();
    }
    letters.into_iter().collect()
}

/// Step 1a.
fn plurals(word: &mut Vec<char>) {
    if ends(word, "ies") && word.len() == 4 {
        return replace(word, "ies", "ie");
    }
    let rules = [("sses", "ss"), ("ies", "i"), ("ss", "ss"), ("s", "")];
    apply(word, &rules, |_, _| true);
}

/// Step 1b.
fn participles(word: &mut Vec<char>) {
    if ends(word, "ied") {
        let ending = if word.len() == 4 { "ie" } else { "i" };
        return replace(word, "ied", ending);
    }
    if ends(word, "eed") {
        if measure(&word[..word.len() - 3]) > 0 {
            word.pop();
        }
        return;
    }
    let found = ["ed", "ing"]
        .into_iter()
        .find(|suffix| ends(word, suffix) && has_vowel(&word[..word.len() - suffix.len()]));
    let Some(suffix) = found else { return };
    replace(word, suffix, "");
    for (suffix, ending) in [("at", "ate"), ("bl", "ble"), ("iz", "ize")] {
        if ends(word, suffix) {
            return replace(word, suffix, ending);
        }
    }
    if ends_double_consonant(word) {
        if !matches!(word.last(), Some('l' | 's' | 'z')) {
            word.pop();
        }
    } else if measure(word) == 1 && ends_short_syllable(word) {
        word.push('e');
    }
}

/// Step 1c.
fn final_y(word: &mut [char]) {
    if let Some((last @ 'y', stem)) = word.split_last_mut()
        && stem.len() > 1
        && kinds(stem).last() == Some(Kind::Consonant)
    {
        *last = 'i';
    }
}

/// Step 2.
fn double_suffixes(word: &mut Vec<char>) {
    if ends(word, "alli") && measure(&word[..word.len() - 4]) > 0 {
        replace(word, "alli", "al");
        return double_suffixes(word);
    }
    let rules = [
        ("ational", "ate"),
        ("tional", "tion"),
        ("enci", "ence"),
        ("anci", "ance"),
        ("izer", "ize"),
        ("bli", "ble"),
        ("alli", "al"),
        ("entli", "ent"),
        ("eli", "e"),
        ("ousli", "ous"),
        ("ization", "ize"),
        ("ation", "ate"),
        ("ator", "ate"),
        ("alism", "al"),
        ("iveness", "ive"),
        ("fulness", "ful"),
        ("ousness", "ous"),
        ("aliti", "al"),
        ("iviti", "ive"),
        ("biliti", "ble"),
        ("fulli", "ful"),
        ("logi", "log"),
    ];
    apply(word, &rules, |word, suffix| {
        // The l of `logi` counts as part of the stem, so that short ones such as geo- are enough.
        let kept = usize::from(suffix == "logi");
        measure(&word[..word.len() - suffix.len() + kept]) > 0
    });
}

/// Step 3.
fn simple_suffixes(word: &mut Vec<char>) {
    let rules = [
        ("icate", "ic"),
        ("ative", ""),
        ("alize", "al"),
        ("iciti", "ic"),
        ("ical", "ic"),
        ("ful", ""),
        ("ness", ""),
    ];
    apply(word, &rules, |word, suffix| {
        measure(&word[..word.len() - suffix.len()]) > 0
    });
}

/// Step 4.
fn residual_suffixes(word: &mut Vec<char>) {
    let suffixes = [
        "al", "ance", "ence", "er", "ic", "able", "ible", "ant", "ement", "ment", "ent", "ion",
        "ou", "ism", "ate", "iti", "ous", "ive", "ize",
    ];
    let rules = suffixes.map(|suffix| (suffix, ""));
    apply(word, &rules, |word, suffix| {
        let stem = &word[..word.len() - suffix.len()];
        measure(stem) > 1 && (suffix != "ion" || matches!(stem.last(), Some('s' | 't')))
    });
}

/// Step 5a.
fn final_e(word: &mut Vec<char>) {
    if let Some(('e', stem)) = word.split_last() {
        let measure = measure(stem);
        if measure > 1 || measure == 1 && !ends_short_syllable(stem) {
            word.pop();
        }
    }
}

/// Applies the first rule whose suffix the word has, if the condition on word and suffix holds.
fn apply(word: &mut Vec<char>, rules: &[(&str, &str)], holds: impl FnOnce(&[char], &str) -> bool) {
    if let Some((suffix, ending)) = rules.iter().find(|(suffix, _)| ends(word, suffix))
        && holds(word, suffix)
    {
        replace(word, suffix, ending);
    }
}

/// Whether a word ends so; suffixes are ASCII.
fn ends(word: &[char], suffix: &str) -> bool {
    word.len() >= suffix.len()
        && word[word.len() - suffix.len()..]
            .iter()
            .copied()
            .eq(suffix.chars())
}

fn replace(word: &mut Vec<char>, suffix: &str, ending: &str) {
    word.truncate(word.len() - suffix.len());
    word.extend(ending.chars());
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Vowel,
    Consonant,
}

/// Vowels are a, e, i, o, u, and y behind a consonant.
fn kinds(word: &[char]) -> impl Iterator<Item = Kind> {
    word.iter().scan(Kind::Vowel, |before, letter| {
        *before = match (letter, *before) {
            ('a' | 'e' | 'i' | 'o' | 'u', _) | ('y', Kind::Consonant) => Kind::Vowel,
            _ => Kind::Consonant,
        };
        Some(*before)
    })
}

/// Porter's m: how often a consonant follows a vowel.
fn measure(word: &[char]) -> usize {
    let behind = kinds(word).skip(1);
    kinds(word)
        .zip(behind)
        .filter(|pair| *pair == (Kind::Vowel, Kind::Consonant))
        .count()
}

fn has_vowel(word: &[char]) -> bool {
    kinds(word).any(|kind| kind == Kind::Vowel)
}

fn ends_double_consonant(word: &[char]) -> bool {
    matches!(word, [.., a, b] if a == b) && kinds(word).last() == Some(Kind::Consonant)
}

/// Porter's *o: consonant, vowel, consonant other than w, x, y; or the whole word is a vowel and a consonant.
fn ends_short_syllable(word: &[char]) -> bool {
    use Kind::{Consonant, Vowel};
    let kinds: Vec<Kind> = kinds(word).collect();
    match kinds[..] {
        [Vowel, Consonant] => true,
        [.., Consonant, Vowel, Consonant] => !matches!(word.last(), Some('w' | 'x' | 'y')),
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn examples_of_every_step() {
        for (word, expected) in [
            // 1a
            ("caresses", "caress"),
            ("ponies", "poni"),
            ("ties", "tie"),
            ("cats", "cat"),
            // 1b
            ("feed", "feed"),
            ("agreed", "agre"),
            ("died", "die"),
            ("spied", "spi"),
            ("bled", "bled"),
            ("conflated", "conflat"),
            ("sized", "size"),
            ("hopping", "hop"),
            ("falling", "fall"),
            ("filing", "file"),
            ("failing", "fail"),
            ("aging", "age"),
            // 1c
            ("happy", "happi"),
            ("enjoy", "enjoy"),
            ("cry", "cri"),
            ("dry", "dri"),
            ("ay", "ay"),
            ("say", "say"),
            // 2
            ("relational", "relat"),
            ("conformably", "conform"),
            ("radically", "radic"),
            ("faithfully", "faith"),
            ("geology", "geolog"),
            ("theology", "theolog"),
            ("vietnamization", "vietnam"),
            // 3
            ("triplicate", "triplic"),
            ("goodness", "good"),
            ("electrical", "electr"),
            // 4
            ("replacement", "replac"),
            ("adoption", "adopt"),
            ("communion", "communion"),
            ("effective", "effect"),
            // 5
            ("probate", "probat"),
            ("rate", "rate"),
            ("cease", "ceas"),
            ("controll", "control"),
            ("roll", "roll"),
            // the table, short words, other letters
            ("skies", "sky"),
            ("Dying", "die"),
            ("as", "as"),
            ("is", "is"),
            ("", ""),
            ("Veränderung", "veränderung"),
            ("changes.", "changes."),
        ] {
            assert_eq!(stem(word), expected, "{word}");
        }
    }

    proptest! {
        #[test]
        fn stems_are_there_and_no_longer_than_words(word in prop_oneof![
            "\\PC{0,12}",
            "[a-z]{0,4}(ational|iveness|alli|logi|ing|ed|ies|y|ement|ion|ll|e)?",
        ]) {
            let found = stem(&word);
            prop_assert!(found.chars().count() <= word.to_lowercase().chars().count());
            prop_assert_eq!(word.is_empty(), found.is_empty());
        }
    }
}
