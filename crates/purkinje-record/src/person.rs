//! Age and sex as tables, headers and comments state them, with one check of what is plausible.

/// Marks of a missing value, in lower case.
const MISSING: [&str; 16] = [
    "",
    "nan",
    "na",
    "n/a",
    "#n/a",
    "<na>",
    "null",
    "none",
    "nil",
    "nat",
    "-",
    "--",
    "?",
    ".",
    "missing",
    "not available",
];

/// Nobody is older, in years.
const OLDEST: f64 = 130.0;

/// A text, or nothing where it is a mark of a missing value.
pub fn known(text: &str) -> Option<&str> {
    let text = text.trim();
    let missing = MISSING.iter().any(|mark| mark.eq_ignore_ascii_case(text));
    (!missing).then_some(text)
}

/// An age in years: `63`, `63.5`, `63 y`, `6 months`, and what hides high ages (`89+`, `>89`, `90 and over`) as the bound; nothing where
/// it is missing.
///
/// # Errors
/// When it is no age: no number, below 0 or above 130 years.
pub fn age(text: &str) -> Result<Option<f32>, NoAge> {
    let unknown = ["(none)", "unknown", "unk", "not known"];
    let unknown = |text: &&str| {
        !unknown.iter().any(|own| own.eq_ignore_ascii_case(text)) && text.chars().any(|c| c != '?')
    };
    let Some(text) = known(text).filter(unknown) else {
        return Ok(None);
    };
    let begin = text.trim_start_matches(['>', '=', ' ']);
    let end = begin.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '-');
    let (number, unit) = begin.split_at(end.unwrap_or(begin.len()));
    age_in(number, unit).map(Some).ok_or(NoAge)
}

/// An age that is stated as a number and a unit, in years.
pub(crate) fn age_in(number: &str, unit: &str) -> Option<f32> {
    let number: f64 = number.trim().parse().ok()?;
    let unit = unit.trim().trim_end_matches('.').to_ascii_lowercase();
    let per_year = match unit.as_str() {
        "" | "+" | "y" | "yr" | "yrs" | "a" | "year" | "years" | "year old" | "years old"
        | "y/o" | "yo" | "and over" | "or older" => 1.0,
        "m" | "mo" | "mon" | "month" | "months" => 12.0,
        "w" | "wk" | "week" | "weeks" => 365.25 / 7.0,
        "d" | "day" | "days" => 365.25,
        "h" | "hour" | "hours" => 365.25 * 24.0,
        _ => return None,
    };
    plausible_age(number / per_year)
}

/// An age in years, if somebody can be that old.
pub(crate) fn plausible_age(years: f64) -> Option<f32> {
    (0.0..=OLDEST).contains(&years).then_some(years as f32)
}

/// A text that is no age.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no age from 0 to {OLDEST} years")]
pub struct NoAge;

/// A text that names neither sex.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("neither female nor male")]
pub struct NoSex;

/// `female` or `male` by the words and letters of several languages; nothing where it is missing, another or unknown.
///
/// # Errors
/// When it is none of these.
pub fn sex(text: &str) -> Result<Option<String>, NoSex> {
    let Some(text) = known(text) else {
        return Ok(None);
    };
    match text.to_lowercase().as_str() {
        "m" | "male" | "man" | "mann" | "maennlich" | "m\u{e4}nnlich" | "h" | "homme"
        | "hombre" => Ok(Some("male".to_owned())),
        "f" | "female" | "w" | "woman" | "weiblich" | "frau" | "k" | "kvinna" | "femme"
        | "mujer" => Ok(Some("female".to_owned())),
        "u" | "un" | "unk" | "unknown" | "undifferentiated" | "unspecified" | "undetermined"
        | "x" | "o" | "other" | "d" | "divers" | "(none)" | "not known" => Ok(None),
        _ => Err(NoSex),
    }
}

/// What comments say about the patient.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Person {
    /// Age in years.
    pub age: Option<f32>,
    /// `female` or `male`.
    pub sex: Option<String>,
    /// What was stated and left out, with the reason.
    pub left_out: Vec<String>,
}

impl Person {
    /// Age and sex from comments such as those of WFDB headers: names with a value (`Age: 63`, `<age>: 69  <sex>: M`,
    /// `Age (years) = 54, gender: F`), or a line that begins with both (`69 M 1085 1629 x1`, of MIT-BIH). Two values that differ
    /// are none.
    pub fn of_comments(comments: &[impl AsRef<str>]) -> Person {
        let (mut ages, mut sexes) = (Vec::new(), Vec::new());
        for comment in comments {
            for (name, value) in pairs(comment.as_ref()) {
                match name {
                    Name::Age => ages.push(value),
                    Name::Sex => sexes.push(value),
                }
            }
        }
        if ages.is_empty()
            && sexes.is_empty()
            && let Some((age, sex)) = comments.iter().find_map(|own| age_and_sex(own.as_ref()))
        {
            ages.push(age);
            sexes.push(sex);
        }
        let mut left_out = Vec::new();
        Person {
            age: only("age", &ages, age, &mut left_out),
            sex: only("sex", &sexes, sex, &mut left_out),
            left_out,
        }
    }
}

/// The value that all that are stated agree on.
fn only<T: PartialEq, E: std::fmt::Display>(
    name: &str,
    stated: &[&str],
    parse: impl Fn(&str) -> Result<Option<T>, E>,
    left_out: &mut Vec<String>,
) -> Option<T> {
    let mut found = None;
    for &text in stated {
        let shown: String = text.chars().take(40).collect();
        match parse(text) {
            Ok(None) => {}
            Ok(Some(value)) if found.as_ref().is_none_or(|own| *own == value) => {
                found = Some(value)
            }
            Ok(Some(_)) => {
                left_out.push(format!(
                    "several values are stated for the {name}; left out"
                ));
                return None;
            }
            Err(error) => {
                left_out.push(format!("the {name} `{shown}` is {error}; left out"));
            }
        }
    }
    found
}

enum Name {
    Age,
    Sex,
}

/// The ages and sexes that a comment states by name.
fn pairs(comment: &str) -> Vec<(Name, &str)> {
    let separates = |c: char| matches!(c, ':' | '=');
    let mut found = Vec::new();
    // A name ends at its colon; what stands before it begins the line, or follows the value of the name before.
    let mut begin = 0;
    let mut open: Option<Name> = None;
    while let Some(colon) = comment[begin..].find(separates).map(|at| begin + at) {
        let text = &comment[begin..colon];
        let (value, name) = split_name(text, open.is_some(), begin == 0);
        if let Some(name_before) = open.take() {
            found.push((name_before, clean(value)));
        }
        open = name;
        begin = colon + 1;
    }
    if let Some(name) = open {
        found.push((name, clean(&comment[begin..])));
    }
    found
}

/// A value without what closes it.
fn clean(value: &str) -> &str {
    // What follows after a comma, a semicolon or two blanks is something else.
    let ends = [",", ";", "|", "\t", "  ", " <"];
    let value = value.trim();
    let end = ends.iter().filter_map(|end| value.find(end)).min();
    value[..end.unwrap_or(value.len())].trim_matches([' ', '"', '\''])
}

/// What stands between two colons: the value of the name before, and the name that ends at the second, if it is one of those looked
/// for. `known`: the name before is one of them; `first`: there is none.
fn split_name(text: &str, known: bool, first: bool) -> (&str, Option<Name>) {
    let mut places = vec![0];
    places.extend(text.char_indices().filter_map(|(at, c)| {
        let begins = |c: char| c.is_whitespace() || ",;|<".contains(c);
        begins(c).then_some(at)
    }));
    for &at in &places {
        let (before, own) = text.split_at(at);
        let Some(name) = name_of(own) else { continue };
        let apart = before.trim_end().ends_with([',', ';', '|', '.']) || own.contains('<');
        let wide = own.starts_with('\t') || before.ends_with([' ', '\t']);
        let number = before.trim_end().ends_with(|c: char| c.is_ascii_digit());
        let free = before.trim().is_empty();
        let is_name = match first {
            true => free || apart || wide,
            false => known || apart || wide || number,
        };
        if is_name {
            return (before, Some(name));
        }
    }
    // Another name, of which at least the last word is.
    (
        text.trim_end()
            .rsplit_once(char::is_whitespace)
            .map_or("", |(value, _)| value),
        None,
    )
}

/// The name that a text is, whatever brackets and units stand with it.
fn name_of(text: &str) -> Option<Name> {
    let outer = |c: char| c.is_whitespace() || "<>,;|\"'#*".contains(c);
    let text = text.trim_matches(outer).to_ascii_lowercase();
    let text = text.strip_prefix("patient").unwrap_or(&text);
    let text = ["'s", "\u{2019}s"]
        .iter()
        .find_map(|own| text.strip_prefix(own))
        .unwrap_or(text);
    let text = text.trim_start_matches([' ', '_']);
    let (name, unit) = match text.find(['(', '[']) {
        Some(at) => (
            text[..at].trim(),
            text[at..].trim_matches(['(', ')', '[', ']']),
        ),
        None => (text, ""),
    };
    let years = [
        "", "y", "yr", "yrs", "years", "year", "in years", "m/f", "f/m",
    ];
    if !years.contains(&unit.trim()) {
        return None;
    }
    match name {
        "age" | "age in years" | "age at recording" | "age_years" | "age at ecg" => Some(Name::Age),
        "sex" | "gender" => Some(Name::Sex),
        _ => None,
    }
}

/// Age and sex at the start of a line, as MIT-BIH and its relatives have them: nothing, or more numbers, behind.
fn age_and_sex(comment: &str) -> Option<(&str, &str)> {
    let mut words = comment.split_whitespace();
    let (age, sex) = (words.next()?, words.next()?);
    let number = |word: &str| word.starts_with(|c: char| c.is_ascii_digit());
    let is_sex = matches!(sex, "M" | "F" | "?");
    let is_age = age.parse::<f32>().is_ok() || age == "?";
    // -1 stands for an unknown age there.
    let age = if age == "-1" { "?" } else { age };
    (is_age && is_sex && words.next().is_none_or(number)).then_some((age, sex))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_and_sexes_are_plausible_or_said() {
        for (cell, expected) in [
            ("63", Ok(Some(63.0))),
            ("063Y", Ok(Some(63.0))),
            ("Unknown", Ok(None)),
            ("63.5", Ok(Some(63.5))),
            ("89+", Ok(Some(89.0))),
            (">89", Ok(Some(89.0))),
            ("70 y", Ok(Some(70.0))),
            ("0", Ok(Some(0.0))),
            ("NaN", Ok(None)),
            ("-1", Err(NoAge)),
            ("300", Err(NoAge)),
            ("old", Err(NoAge)),
            ("3 months", Ok(Some(0.25))),
        ] {
            assert_eq!(age(cell), expected, "{cell}");
        }
        for (cell, expected) in [
            ("F", Ok(Some("female"))),
            ("w", Ok(Some("female"))),
            ("Male", Ok(Some("male"))),
            ("?", Ok(None)),
            ("unknown", Ok(None)),
            ("2", Err(NoSex)),
        ] {
            let found = sex(cell);
            assert_eq!(
                found.as_ref().map(Option::as_deref),
                expected.as_ref().map(|own| *own),
                "{cell}"
            );
        }
    }

    #[test]
    fn comments_state_age_and_sex_in_many_ways() {
        let person = |text: &str| {
            let lines: Vec<&str> = text.lines().collect();
            let found = Person::of_comments(&lines);
            (
                found.age,
                found.sex.unwrap_or_default(),
                found.left_out.len(),
            )
        };
        for (text, age, sex) in [
            ("Age: 63", Some(63.0), ""),
            ("Age:63\nSex:F", Some(63.0), "female"),
            ("age: 54 sex: M", Some(54.0), "male"),
            (
                "<age>: 25  <sex>: M  <diagnoses>: (none)  <medications>: (none)",
                Some(25.0),
                "male",
            ),
            (
                "<age>: 65 <sex>: F <diagnoses> hypertension",
                Some(65.0),
                "female",
            ),
            (
                "<age>: >89\n<sex>: M\n<diagnoses>:\nRhythm: sinus",
                Some(89.0),
                "male",
            ),
            ("Age: 62  Sex: M\nMixed angina", Some(62.0), "male"),
            ("Age: 43 Sex: M History: none", Some(43.0), "male"),
            ("Sex: F Age: 43 Height: 170", Some(43.0), "female"),
            ("Age (years) = 54, gender: F", Some(54.0), "female"),
            ("AGE : 54 years; SEX : female", Some(54.0), "female"),
            ("Patient's age: 7 months", Some(7.0f32 / 12.0), ""),
            (
                "Patient Sex: Female\nPatient Age: 054Y",
                Some(54.0),
                "female",
            ),
            (
                "unnecessary\n69 M 1085 1629 x1\nAldomet, Inderal",
                Some(69.0),
                "male",
            ),
            ("-1 M 1629 x1", None, "male"),
            ("32 F", Some(32.0), "female"),
            ("Age: NaN\nSex: NaN", None, ""),
            ("Age: Unknown\nSex: Unknown", None, ""),
            ("age: n/a\nsex: n/a", None, ""),
            ("<age>: ??  <sex>: ?", None, ""),
            ("Age: 89+", Some(89.0), ""),
            ("Weight: 80 Age: 54 Sex: F", Some(54.0), "female"),
            ("Dx: 426783006, Age: 54", Some(54.0), ""),
            ("Average age: 56", None, ""),
            ("Gestational age: 32", None, ""),
            ("Comment: mean age: 54", None, ""),
            ("Age of onset: 30", None, ""),
            ("Dosage: 5\nStage: 3\nSexual history: F", None, ""),
            ("10 M resistors", None, ""),
            ("12 leads", None, ""),
            ("Age:", None, ""),
            ("", None, ""),
        ] {
            assert_eq!(person(text), (age, sex.to_owned(), 0), "{text}");
        }
        for (text, sex) in [
            ("Age: 300\nSex: F", "female"),
            ("Age: -3", ""),
            ("Age: old", ""),
            ("Age: <18", ""),
            ("Age: 56\nage: 57", ""),
            ("Age: x\nSex: M", "male"),
        ] {
            assert_eq!(person(text), (None, sex.to_owned(), 1), "{text}");
        }
        assert_eq!(
            person("Age: 56\nage: 56\nSex: 7"),
            (Some(56.0), String::new(), 1)
        );
    }

    proptest::proptest! {
        #[test]
        fn any_comment_gives_plausible_values(text in "(age|Sex|<|>|:|=| |,|\t|\u{e4}|[0-9MF.+-]){0,24}") {
            let found = Person::of_comments(&[&text]);
            proptest::prop_assert!(found.age.is_none_or(|age| (0.0..=130.0).contains(&age)));
            let sexes = ["male", "female"];
            proptest::prop_assert!(found.sex.is_none_or(|sex| sexes.contains(&&*sex)));
        }
    }
}
