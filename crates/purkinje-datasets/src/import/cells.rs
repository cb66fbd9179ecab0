//! Cells of tables that people and programs write: marks of missing values, lists in several notations, ages, sexes.

use std::borrow::Cow;

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
/// Nobody is older.
const OLDEST: f32 = 130.0;

/// A cell, or nothing where it is a mark of a missing value.
pub(super) fn known(cell: &str) -> Option<&str> {
    let cell = cell.trim();
    let missing = MISSING.iter().any(|mark| mark.eq_ignore_ascii_case(cell));
    (!missing).then_some(cell)
}

/// The names in a cell of labels: separated by `;` or `|`; as Python, NumPy, JSON or R write lists and sets, or the keys of a dictionary; or
/// codes separated by commas, as the PhysioNet Challenges write them. Marks of missing values are no names.
///
/// # Errors
/// Why it is no list, where it begins like one.
pub(super) fn names(cell: &str) -> Result<Vec<Cow<'_, str>>, String> {
    let Some(cell) = known(cell) else {
        return Ok(Vec::new());
    };
    let call = ["c(", "set(", "frozenset(", "array(", "list("];
    let inner = call.iter().find_map(|call| {
        let rest = cell.strip_prefix(call)?;
        Some((rest.strip_suffix(')')?.trim(), true))
    });
    let (inner, called) = inner.unwrap_or((cell, false));
    let pairs = [('[', ']'), ('{', '}'), ('(', ')')];
    let bracketed = pairs.iter().find(|(open, _)| inner.starts_with(*open));
    let listed = match bracketed {
        Some((_, close)) => {
            let body = inner[1..].strip_suffix(*close).ok_or_else(|| {
                format!("`{cell}` begins like a list and does not end like one; expected names separated by `;` or `|`")
            })?;
            quoted(body, inner.starts_with('{'))?
        }
        None if called => quoted(inner, false)?,
        None if cell.contains([';', '|']) => {
            let each = cell.split([';', '|']).map(str::trim);
            each.map(Cow::Borrowed).collect()
        }
        None if cell.contains(',') && cell.split(',').all(is_code) => cell
            .split(',')
            .map(|own| Cow::Borrowed(own.trim()))
            .collect(),
        None => vec![Cow::Borrowed(cell)],
    };
    let each = listed.into_iter().filter(|name| known(name).is_some());
    Ok(each.collect())
}

/// Whether a part of a list is a short code: without blanks, and of letters, digits and a few signs.
fn is_code(part: &str) -> bool {
    let part = part.trim();
    let sign = |c: char| c.is_alphanumeric() || "_+-/.".contains(c);
    !part.is_empty() && part.chars().count() <= 24 && part.chars().all(sign)
}

/// Parts of a list, in quotes or not; of a dictionary the keys.
fn quoted(body: &str, keys: bool) -> Result<Vec<Cow<'_, str>>, String> {
    let mut parts = Vec::new();
    let mut rest = body.trim();
    let is_dictionary = keys && outside_quotes(body).contains(&':');
    while !rest.is_empty() {
        let (part, after) = match rest.chars().next().filter(|c| "'\"".contains(*c)) {
            Some(quote) => rest[1..].split_once(quote).ok_or_else(|| {
                format!("`{body}` has a quotation mark that is not closed; expected names separated by `;` or `|`")
            })?,
            None => {
                let ends = |c: char| c == ',' || c == '\n' || (is_dictionary && c == ':');
                let end = rest.find(ends).unwrap_or(rest.len());
                // NumPy prints arrays with blanks between, numbers of them too.
                let end = match rest[..end].trim_end().contains(' ') && !rest.contains(',') {
                    true => rest.find(' ').unwrap_or(end),
                    false => end,
                };
                (&rest[..end], &rest[end..])
            }
        };
        if !part.trim().is_empty() {
            parts.push(Cow::Borrowed(part.trim()));
        }
        let mut after = after.trim_start();
        if is_dictionary && let Some(value) = after.strip_prefix(':') {
            let end = value.find(',').unwrap_or(value.len());
            after = &value[end..];
        }
        rest = after.trim_start_matches([',', ' ', '\n', '\t']);
    }
    Ok(parts)
}

/// The characters of a text that are in no quotation marks.
fn outside_quotes(text: &str) -> Vec<char> {
    let mut open = None;
    let mut outside = Vec::new();
    for c in text.chars() {
        match open {
            Some(quote) if c == quote => open = None,
            Some(_) => {}
            None if "'\"".contains(c) => open = Some(c),
            None => outside.push(c),
        }
    }
    outside
}

/// An age in years: `63`, `63.5`, `63 y`, and what hides high ages (`89+`, `>89`, `90 and over`) as the bound; nothing where it is missing.
///
/// # Errors
/// When it is no age: no number, below 0 or above 130.
pub(super) fn age(cell: &str) -> Result<Option<f32>, ()> {
    let Some(cell) = known(cell) else {
        return Ok(None);
    };
    let begin = cell.trim_start_matches(['>', '=', ' ']);
    let end = begin.find(|c: char| !c.is_ascii_digit() && c != '.' && c != '-');
    let (number, unit) = begin.split_at(end.unwrap_or(begin.len()));
    let unit = unit.trim().trim_end_matches('.').to_ascii_lowercase();
    let years = [
        "", "+", "y", "yr", "yrs", "year", "years", "and over", "or older",
    ];
    match number.parse::<f32>() {
        Ok(age) if (0.0..=OLDEST).contains(&age) && years.contains(&unit.as_str()) => Ok(Some(age)),
        _ => Err(()),
    }
}

/// `female` or `male` by the words and letters of several languages; nothing where it is missing.
///
/// # Errors
/// When it is neither, nor a word for another or an unknown sex.
pub(super) fn sex(cell: &str) -> Result<Option<String>, ()> {
    let Some(cell) = known(cell) else {
        return Ok(None);
    };
    match cell.to_lowercase().as_str() {
        "m" | "male" | "man" | "mann" | "maennlich" | "m\u{e4}nnlich" | "h" | "homme"
        | "hombre" => Ok(Some("male".to_owned())),
        "f" | "female" | "w" | "woman" | "weiblich" | "frau" | "k" | "kvinna" | "femme"
        | "mujer" => Ok(Some("female".to_owned())),
        "u" | "unknown" | "undifferentiated" | "x" | "o" | "other" | "d" | "divers" => Ok(None),
        _ => Err(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_in_every_notation() {
        for (cell, expected) in [
            ("AF;RBBB", &["AF", "RBBB"][..]),
            ("AF | RBBB", &["AF", "RBBB"]),
            ("AF,RBBB", &["AF", "RBBB"]),
            ("164889003,59118001", &["164889003", "59118001"]),
            ("['SR']", &["SR"]),
            ("['AF', 'RBBB']", &["AF", "RBBB"]),
            ("[\"SR\", \"a, b\"]", &["SR", "a, b"]),
            ("{'NORM': 100.0, 'SR': 0.0}", &["NORM", "SR"]),
            ("{\"a: b\": 1}", &["a: b"]),
            ("{'AF', 'SR'}", &["AF", "SR"]),
            ("('AF',)", &["AF"]),
            ("c(\"AF\", \"SR\")", &["AF", "SR"]),
            ("['AF' 'RBBB']", &["AF", "RBBB"]),
            ("array(['AF'])", &["AF"]),
            ("[164889003 59118001]", &["164889003", "59118001"]),
            ("[AF, SR]", &["AF", "SR"]),
            ("[]", &[]),
            ("set()", &[]),
            ("['nan']", &[]),
            ("nan", &[]),
            (" N/A ", &[]),
            ("-", &[]),
            ("sinus rhythm, normal", &["sinus rhythm, normal"]),
            ("1AVB", &["1AVB"]),
        ] {
            assert_eq!(names(cell).unwrap(), expected, "{cell}");
        }
        for broken in ["['AF'", "['AF]", "{'a': 1"] {
            assert!(names(broken).is_err(), "{broken}");
        }
    }

    #[test]
    fn ages_and_sexes_are_plausible_or_said() {
        for (cell, expected) in [
            ("63", Ok(Some(63.0))),
            ("63.5", Ok(Some(63.5))),
            ("89+", Ok(Some(89.0))),
            (">89", Ok(Some(89.0))),
            ("70 y", Ok(Some(70.0))),
            ("0", Ok(Some(0.0))),
            ("NaN", Ok(None)),
            ("-1", Err(())),
            ("300", Err(())),
            ("old", Err(())),
            ("3 months", Err(())),
        ] {
            assert_eq!(age(cell), expected, "{cell}");
        }
        for (cell, expected) in [
            ("F", Ok(Some("female"))),
            ("w", Ok(Some("female"))),
            ("Male", Ok(Some("male"))),
            ("?", Ok(None)),
            ("unknown", Ok(None)),
            ("2", Err(())),
        ] {
            let found = sex(cell);
            assert_eq!(
                found.as_ref().map(Option::as_deref),
                expected.as_ref().map(|own| *own),
                "{cell}"
            );
        }
    }

    proptest::proptest! {
        #[test]
        fn any_cell_is_a_list_or_an_error(cell in "[\\[\\](){}'\",;|: a-cA-C0-9.]{0,24}") {
            if let Ok(found) = names(&cell) {
                for name in found {
                    proptest::prop_assert!(known(&name).is_some() && name.trim() == name);
                }
            }
            let _ = (age(&cell), sex(&cell));
        }
    }
}
