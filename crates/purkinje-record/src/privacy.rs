//! What identifies a patient is taken out of the texts that are kept.
//!
//! Reports, notes and comments are written by people, who may name the patient in them. What a file itself states to be the
//! patient's name, number or day of birth is therefore looked for in all texts of the recording and replaced. A name that stands
//! nowhere but in a text cannot be known.
//!
//! Files and folders are called after patients as well: the parts of its path that hold what the file states are noted in
//! [`Source::naming`](crate::Source::naming), so that whoever keeps the path can call the record otherwise.

use std::cell::RefCell;
use std::path::{Component, Path, PathBuf};

use crate::{LeadChoice, OpenOptions, Reader, Recording, Repeated};

/// Identifiers of one patient that are looked for.
pub const MAX_IDENTIFIERS: usize = 64;

/// What stands in the place of an identifier.
const REMOVED: &str = "[removed]";

/// Words that stand for a name where there is none, and words of reports: taking these out would only harm.
const NO_NAMES: [&str; 24] = [
    "anonymous",
    "anonymized",
    "anonymised",
    "anon",
    "unknown",
    "patient",
    "name",
    "test",
    "demo",
    "none",
    "ecg",
    "ekg",
    "the",
    "and",
    "male",
    "female",
    "adult",
    "normal",
    "abnormal",
    "sinus",
    "rhythm",
    "block",
    "axis",
    "wave",
];

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];

thread_local! {
    /// The path of what is being read from another place.
    static TOLD_AS: RefCell<Option<PathBuf>> = const { RefCell::new(None) };
}

/// Reads what was unpacked from `path`: that is the path that may name the patient, and not the place where it was unpacked.
pub(crate) fn told_as<T>(path: &Path, read: impl FnOnce() -> T) -> T {
    let before = TOLD_AS.replace(Some(path.to_owned()));
    let result = read();
    TOLD_AS.set(before);
    result
}

/// What a file states about who the patient is.
#[derive(Default)]
pub(crate) struct Identifiers(Vec<String>);

impl Identifiers {
    /// A name in any form, `Doe^Jane` or `Doe, Jane`: each of its words, and all together.
    pub fn name(&mut self, name: &str) {
        let apart = |c: char| c.is_whitespace() || "^=,;_\\/.".contains(c);
        let words: Vec<&str> = name.split(apart).filter(|word| !word.is_empty()).collect();
        self.add(words.join(" "));
        for word in words {
            self.add(word.to_owned());
        }
    }

    /// The number of the patient in a hospital or study.
    pub fn number(&mut self, number: &str) {
        // Shorter numbers are found in any report.
        if number.trim().chars().count() >= 4 {
            self.add(number.trim().to_owned());
        }
    }

    /// The day of birth, as the file writes it and as people may.
    pub fn born(&mut self, text: &str) {
        let text = text.trim();
        if text.chars().filter(char::is_ascii_digit).count() < 6 {
            return;
        }
        self.add(text.to_owned());
        let Some((year, month, day)) = crate::stored::date(text).or_else(|| named_month(text))
        else {
            return;
        };
        for form in [
            format!("{year:04}{month:02}{day:02}"),
            format!("{year:04}-{month:02}-{day:02}"),
            format!("{year:04}/{month:02}/{day:02}"),
            format!("{day:02}.{month:02}.{year:04}"),
            format!("{day}.{month}.{year:04}"),
            format!("{day:02}/{month:02}/{year:04}"),
            format!("{month:02}/{day:02}/{year:04}"),
            format!("{month}/{day}/{year:04}"),
            format!("{day:02}-{month:02}-{year:04}"),
            format!("{month:02}-{day:02}-{year:04}"),
        ] {
            self.add(form);
        }
        let name = usize::try_from(month - 1).ok();
        if let Some(name) = name.and_then(|month| MONTHS.get(month)) {
            self.add(format!("{day:02}-{name}-{year:04}"));
            self.add(format!("{day} {name} {year:04}"));
        }
    }

    /// Takes all of it out of the texts of a recording, and notes which parts of its path hold some of it.
    pub fn remove_from(mut self, recording: &mut Recording) {
        // What holds another goes first, so that nothing of it remains.
        self.0.sort_by_key(|text| std::cmp::Reverse(text.len()));
        self.0.dedup();
        if self.0.is_empty() {
            return;
        }
        let told = TOLD_AS.with_borrow(Clone::clone);
        let path = told.as_ref().unwrap_or(&recording.source.path);
        recording.source.naming = self.parts_of(path);
        let notes = recording.annotations.iter_mut();
        let texts = recording
            .report
            .iter_mut()
            .chain(&mut recording.labels)
            .chain(&mut recording.source.comments)
            .chain(&mut recording.source.also)
            .chain(notes.filter_map(|annotation| annotation.note.as_mut()));
        for text in texts {
            for identifier in &self.0 {
                remove(text, identifier);
            }
        }
    }

    /// The folders and the file of a path whose names hold an identifier: in any case and order, with anything between its words.
    fn parts_of(&self, path: &Path) -> Vec<String> {
        let wanted: Vec<Vec<String>> = self.0.iter().map(|text| words(text)).collect();
        let holds = |name: &str| {
            let found = words(name);
            let together = found.concat();
            wanted.iter().filter(|own| !own.is_empty()).any(|own| {
                let letters = own.concat();
                let long = letters.chars().count() >= 4 || letters.chars().any(|c| c >= '\u{2e80}');
                (long && together.contains(&letters))
                    || found.windows(own.len()).any(|part| part == &own[..])
            })
        };
        let names = path.components().filter_map(|part| match part {
            Component::Normal(name) => Some(name.to_string_lossy().into_owned()),
            _ => None,
        });
        names.filter(|name| holds(name)).collect()
    }

    fn add(&mut self, text: String) {
        let plain = text.to_lowercase();
        let letters = plain.chars().count();
        // Names of two characters are usual in Chinese only.
        let short = letters < 3 && (letters < 2 || plain.is_ascii());
        if short
            || NO_NAMES.contains(&plain.as_str())
            || plain.bytes().all(|b| b == b'0')
            || self.0.len() + 3 > MAX_IDENTIFIERS
        {
            return;
        }
        // ASCII is compared without case; other letters as they are and in both cases.
        for form in [text.to_uppercase(), plain, text] {
            if !self.0.iter().any(|known| known.eq_ignore_ascii_case(&form)) {
                self.0.push(form);
            }
        }
    }
}

/// The words of a name in lower case and plain letters: parted by what is no letter or digit, between letters and digits, and where a
/// capital letter follows a small one.
fn words(text: &str) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    let mut before = ' ';
    for c in text
        .chars()
        .filter(|c| !('\u{300}'..='\u{36f}').contains(c))
    {
        let apart = c.is_numeric() != before.is_numeric()
            || (c.is_uppercase() && before.is_lowercase())
            || !before.is_alphanumeric();
        if c.is_alphanumeric() {
            if apart {
                words.push(String::new());
            } else if c.is_lowercase() && before.is_uppercase() {
                // `JDoe`: the last of several capital letters begins the next word.
                let word = words.last_mut().filter(|word| word.chars().count() > 1);
                if let Some(capital) = word.and_then(String::pop) {
                    words.push(capital.to_string());
                }
            }
            if let Some(word) = words.last_mut() {
                word.extend(c.to_lowercase().map(plain));
            }
        }
        before = c;
    }
    words
}

/// A letter without its accent, as file systems that take accents apart leave it.
fn plain(c: char) -> char {
    const ACCENTS: [(&str, char); 8] = [
        ("àáâãäåāăą", 'a'),
        ("çćč", 'c'),
        ("èéêëēęě", 'e'),
        ("ìíîïī", 'i'),
        ("ñńň", 'n'),
        ("òóôõöōő", 'o'),
        ("ùúûüūůű", 'u'),
        ("śšş", 's'),
    ];
    let found = ACCENTS.iter().find(|(accented, _)| accented.contains(c));
    found.map_or(c, |(_, plain)| *plain)
}

/// Whether files of this name can state who the patient is, as far as the extension tells: not those of WFDB, tables and arrays. DICOM files
/// often have none.
pub fn may_name_a_patient(path: &Path) -> bool {
    const NAMELESS: [&str; 10] = [
        "hea", "npy", "npz", "csv", "tsv", "txt", "mat", "h5", "hdf5", "parquet",
    ];
    let extension = path.extension();
    !extension.is_some_and(|own| NAMELESS.iter().any(|other| own.eq_ignore_ascii_case(other)))
}

/// The parts of `path` that hold what the file states of who the patient is, see [`Source::naming`](crate::Source::naming); none where the
/// file cannot be read.
pub fn naming(path: &Path) -> Vec<String> {
    let options = OpenOptions {
        leads: LeadChoice::Voltages,
        verify: false,
        repeated: Repeated::First,
        ..OpenOptions::default()
    };
    let reader = Reader::open(path, &options);
    reader.map_or(Vec::new(), |reader| reader.about().source.naming.clone())
}

/// A text without these [parts of paths](crate::Source::naming), with and without extension.
pub fn without_naming(text: &str, naming: &[String]) -> String {
    let mut parts: Vec<&str> = naming.iter().map(String::as_str).collect();
    parts.extend(
        naming
            .iter()
            .filter_map(|part| Path::new(part).file_stem()?.to_str()),
    );
    // What holds another goes first.
    parts.sort_by_key(|part| std::cmp::Reverse(part.len()));
    let kept = text.to_owned();
    parts
        .iter()
        .fold(kept, |text, part| text.replace(part, REMOVED))
}

/// `02-MAY-1951` as year, month and day.
fn named_month(text: &str) -> Option<(i32, i32, i32)> {
    let mut parts = text.split('-');
    let [day, month, year] = [parts.next()?, parts.next()?, parts.next()?];
    let month = month.to_lowercase();
    let month = MONTHS.iter().position(|&name| name == month)?;
    Some((year.parse().ok()?, month as i32 + 1, day.parse().ok()?))
}

/// Replaces `identifier` wherever it stands as a word.
fn remove(text: &mut String, identifier: &str) {
    let (bytes, wanted) = (text.as_bytes(), identifier.as_bytes());
    let Some((first, _)) = wanted.split_first() else {
        return;
    };
    let mut out = String::new();
    let mut kept = 0;
    let mut at = 0;
    while at + wanted.len() <= bytes.len() {
        let end = at + wanted.len();
        if !bytes[at].eq_ignore_ascii_case(first)
            || !bytes[at..end].eq_ignore_ascii_case(wanted)
            || !is_word(text, at, end)
        {
            at += 1;
            continue;
        }
        out.push_str(&text[kept..at]);
        out.push_str(REMOVED);
        (at, kept) = (end, end);
    }
    if kept > 0 {
        out.push_str(&text[kept..]);
        *text = out;
    }
}

/// Whether no letter or digit of the same script goes on at either end.
fn is_word(text: &str, start: usize, end: usize) -> bool {
    let (Some(before), Some(found), Some(after)) =
        (text.get(..start), text.get(start..end), text.get(end..))
    else {
        return false;
    };
    // Chinese, Japanese and Korean do not part their words.
    let apart = |c: Option<char>| c.is_none_or(|c| !c.is_alphanumeric() || c >= '\u{2e80}');
    found.chars().any(|c| c >= '\u{2e80}')
        || (apart(before.chars().next_back()) && apart(after.chars().next()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cleaned(text: &str, fill: impl FnOnce(&mut Identifiers)) -> String {
        let mut recording = Recording::new("r", "I".parse().unwrap(), 1.0, vec![0.0]).unwrap();
        recording.report = Some(text.into());
        let mut identifiers = Identifiers::default();
        fill(&mut identifiers);
        identifiers.remove_from(&mut recording);
        recording.report.unwrap()
    }

    #[test]
    fn names_are_taken_out_as_words() {
        let name = |name: &'static str| move |i: &mut Identifiers| i.name(name);
        assert_eq!(
            cleaned("Mrs DOE, jane: Doeling", name("Doe^Jane")),
            "Mrs [removed], [removed]: Doeling"
        );
        assert_eq!(
            cleaned("Jane Doe's ECG", name("Jane Doe")),
            "[removed]'s ECG"
        );
        assert_eq!(
            cleaned("Normal ECG", name("Anonymous^Normal")),
            "Normal ECG"
        );
        assert_eq!(cleaned("Li 12", name("Li")), "Li 12");
        assert_eq!(
            cleaned("患者王芳窦性心律", name("王芳")),
            "患者[removed]窦性心律"
        );
        assert_eq!(cleaned("Frau MÜLLER", name("Müller")), "Frau [removed]");
        assert_eq!(cleaned("", name("Doe")), "");
    }

    #[test]
    fn parts_of_paths_that_name_the_patient_are_found() {
        let mut stated = Identifiers::default();
        stated.name("Doe^John");
        stated.name("Müller, Eva");
        stated.number("12345678");
        stated.born("19500102");
        let named = |path: &str| stated.parts_of(Path::new(path));
        for part in [
            "Doe, John 1950-01-02",
            "12345678_DOE_JOHN.dcm",
            "EDF_john-doe.edf",
            "JohnDoe.edf",
            "JDoe7.edf",
            "x12345678y.dcm",
            "b 02.01.1950",
            "Mu\u{308}ller.xml",
            "MÜLLER_eva.xml",
        ] {
            assert_eq!(named(&format!("/data/{part}/a.edf")), [part], "{part}");
        }
        assert!(named("/data/does/1234567/Muell/ecg 1950.edf").is_empty());
        let text = without_naming("`a/Doe, John 1/x` of Doe, John 1", &["Doe, John 1".into()]);
        assert_eq!(text, "`a/[removed]/x` of [removed]");
    }

    #[test]
    fn numbers_and_days_are_taken_out() {
        let text = "MRN 12345 (123456), born 2 May 1951, 02.05.1951 or 19510502; rate 123";
        let found = cleaned(text, |i| {
            i.number("12345");
            i.number("123");
            i.born("1951-05-02");
        });
        assert_eq!(
            found,
            "MRN [removed] (123456), born [removed], [removed] or [removed]; rate 123"
        );
        assert_eq!(cleaned("0000 bpm", |i| i.number("0000")), "0000 bpm");
    }
}
