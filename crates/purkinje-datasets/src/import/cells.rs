//! Cells of tables that people and programs write: lists in several notations.

use std::borrow::Cow;

use purkinje_record::person::known;

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

    proptest::proptest! {
        #[test]
        fn any_cell_is_a_list_or_an_error(cell in "[\\[\\](){}'\",;|: a-cA-C0-9.]{0,24}") {
            if let Ok(found) = names(&cell) {
                for name in found {
                    proptest::prop_assert!(known(&name).is_some() && name.trim() == name);
                }
            }
        }
    }
}
