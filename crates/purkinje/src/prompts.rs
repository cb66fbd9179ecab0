//! Sentences for labels, and which classes of a task they are for.

use std::collections::HashSet;
use std::fmt;
use std::path::Path;

use purkinje_eval::challenge::renamed;
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::reporter::Reporter;
use crate::task::Task;
use crate::{Error, Result};

/// Bytes of the largest file of prompts.
const MAX_PROMPTS_BYTES: u64 = 16 << 20;
/// Prompts without a class that are named in a note.
const NAMED: usize = 12;
/// Names of labels in published prompts, and those of the classes they are for.
const SYNONYMS: [(&str, &str); 4] = [
    ("1DAVB", "1AVB"),
    ("SB", "SBRAD"),
    ("ST", "STACH"),
    ("AF", "AFIB"),
];

/// The sentences of one label.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Prompt {
    /// The label.
    pub label: String,
    /// At least one sentence.
    pub texts: Vec<String>,
}

/// Reads prompts: a JSON object of labels with a text or a list of texts, or a table with a label, a tab and a text in each line, of
/// which a label may have several.
///
/// # Errors
/// When the file cannot be read, is neither, or a label has no text or stands twice.
pub fn read_prompts(path: &Path) -> Result<Vec<Prompt>> {
    let io = |source| Error::File {
        action: "read",
        path: path.to_owned(),
        source,
    };
    let size = std::fs::metadata(path).map_err(io)?.len();
    let fail = |problem: String| {
        Error::invalid(format!("the prompts `{}`: {problem}", path.display())).with_help(
            "expected a JSON object such as {\"AFIB\": \"atrial fibrillation\"}, or lines of a label, a tab and a text",
        )
    };
    if size > MAX_PROMPTS_BYTES {
        return Err(fail(format!(
            "found {size} bytes, expected at most {MAX_PROMPTS_BYTES}"
        )));
    }
    let bytes = std::fs::read(path).map_err(io)?;
    let text = String::from_utf8(bytes).map_err(|_| fail("it is not text in UTF-8".to_owned()))?;
    let prompts = match text.trim_start().starts_with('{') {
        true => from_json(&text),
        false => from_lines(&text),
    };
    prompts.map_err(fail)
}

fn from_json(text: &str) -> std::result::Result<Vec<Prompt>, String> {
    let Entries(map) = serde_json::from_str(text).map_err(|error| error.to_string())?;
    let mut prompts = Vec::new();
    for (label, value) in map {
        let texts = match value {
            Value::String(text) => vec![text],
            Value::Array(list) => list
                .into_iter()
                .map(|text| match text {
                    Value::String(text) => Ok(text),
                    other => Err(format!("label `{label}` has {other}, expected a text")),
                })
                .collect::<std::result::Result<_, _>>()?,
            other => {
                return Err(format!(
                    "label `{label}` has {other}, expected a text or a list of texts"
                ));
            }
        };
        prompts.push(Prompt { label, texts });
    }
    checked(prompts)
}

/// The entries of a JSON object as they stand, a name that stands twice included.
struct Entries(Vec<(String, Value)>);

impl<'de> Deserialize<'de> for Entries {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> std::result::Result<Self, D::Error> {
        struct Read;
        impl<'de> Visitor<'de> for Read {
            type Value = Entries;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object of labels with texts")
            }

            fn visit_map<A: MapAccess<'de>>(
                self,
                mut map: A,
            ) -> std::result::Result<Entries, A::Error> {
                let mut entries = Vec::new();
                while let Some(entry) = map.next_entry()? {
                    entries.push(entry);
                }
                Ok(Entries(entries))
            }
        }
        deserializer.deserialize_map(Read)
    }
}

fn from_lines(text: &str) -> std::result::Result<Vec<Prompt>, String> {
    let mut prompts: Vec<Prompt> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        if line.trim().is_empty() {
            continue;
        }
        let (label, text) = line
            .split_once('\t')
            .ok_or_else(|| format!("line {} has no tab between label and text", number + 1))?;
        let (label, text) = (label.trim().to_owned(), text.trim().to_owned());
        match prompts.iter_mut().find(|own| own.label == label) {
            Some(own) => own.texts.push(text),
            None => prompts.push(Prompt {
                label,
                texts: vec![text],
            }),
        }
    }
    checked(prompts)
}

fn checked(prompts: Vec<Prompt>) -> std::result::Result<Vec<Prompt>, String> {
    if prompts.is_empty() {
        return Err("it has no label".to_owned());
    }
    for (at, prompt) in prompts.iter().enumerate() {
        let label = &prompt.label;
        if prompt.texts.is_empty() {
            return Err(format!("label `{label}` has no text"));
        }
        if prompt.texts.iter().any(|text| text.trim().is_empty()) {
            return Err(format!("label `{label}` has a text without words"));
        }
        let spelt = |other: &&Prompt| other.label.eq_ignore_ascii_case(label);
        if let Some(other) = prompts[..at].iter().find(spelt) {
            return Err(match other.label == *label {
                true => format!("label `{label}` stands twice; give it a list of texts"),
                false => format!(
                    "`{}` and `{label}` are one label in two spellings; leave one out",
                    other.label
                ),
            });
        }
    }
    Ok(prompts)
}

/// Reads which prompts are for which classes: a JSON object of classes with labels of prompts, or lines of a class, a tab and a label.
///
/// # Errors
/// As [`read_prompts`].
pub fn read_map(path: &Path) -> Result<Vec<(String, String)>> {
    let pair = |prompt: Prompt| match <[String; 1]>::try_from(prompt.texts) {
        Ok([label]) => Ok((prompt.label, label)),
        Err(labels) => Err(Error::invalid(format!(
            "the map `{}`: class `{}` has {} labels, expected one",
            path.display(),
            prompt.label,
            labels.len()
        ))),
    };
    read_prompts(path)?.into_iter().map(pair).collect()
}

/// Reduces a task to the classes that have a prompt, by the map, by name, or by another name that is known; returns the prompt of each.
pub(crate) fn with_prompts(
    mut task: Task,
    prompts: &[Prompt],
    map: &[(String, String)],
    reporter: &dyn Reporter,
) -> Result<(Task, Vec<Prompt>)> {
    for (class, label) in map {
        let known = |names: &mut dyn Iterator<Item = &String>, own: &str| {
            let all: Vec<&str> = names.map(String::as_str).collect();
            match all.iter().any(|name| name.eq_ignore_ascii_case(own)) {
                true => Ok(()),
                false => Err(all.join(", ")),
            }
        };
        known(&mut task.classes.iter(), class).map_err(|all| {
            Error::invalid(format!(
                "the map names the class `{class}`, task `{}` has {all}",
                task.name
            ))
        })?;
        known(&mut prompts.iter().map(|prompt| &prompt.label), label).map_err(|all| {
            Error::invalid(format!(
                "the map names the label `{label}`, the prompts have {all}"
            ))
        })?;
    }
    let known = |class: &str| {
        let mapped = map.iter().find(|(own, _)| own.eq_ignore_ascii_case(class));
        let own = class.to_uppercase();
        let synonym = SYNONYMS.iter().find(|(name, _)| *name == own);
        let named = |same: &dyn Fn(&str) -> bool| prompts.iter().find(|p| same(&p.label));
        if let Some((_, own)) = mapped {
            return named(&|label| label.eq_ignore_ascii_case(own));
        }
        named(&|label| label.eq_ignore_ascii_case(class))
            .or_else(|| {
                synonym.and_then(|(_, other)| named(&|label| label.eq_ignore_ascii_case(other)))
            })
            .or_else(|| named(&|label| renamed(label) == renamed(class)))
    };
    let found: Vec<Option<&Prompt>> = task.classes.iter().map(|class| known(class)).collect();
    let without = task.classes.iter().zip(&found);
    let without: Vec<&str> = without
        .filter_map(|(class, prompt)| prompt.is_none().then_some(class.as_str()))
        .collect();
    if without.len() == task.classes.len() {
        let labels: Vec<&str> = prompts.iter().map(|p| p.label.as_str()).collect();
        return Err(Error::invalid(format!(
            "no class of task `{}` has a prompt (classes: {}; labels of the prompts: {})",
            task.name,
            task.classes.join(", "),
            labels.join(", ")
        ))
        .with_help(
            "name the labels in the file of prompts as the classes are named, or give `--map FILE`",
        ));
    }
    if !without.is_empty() {
        reporter.note(&format!(
            "{} of {} classes have no prompt and are not measured: {}",
            without.len(),
            task.classes.len(),
            without.join(", ")
        ));
    }
    let used: HashSet<&str> = found
        .iter()
        .flatten()
        .map(|own| own.label.as_str())
        .collect();
    let unused = prompts.iter().map(|own| own.label.as_str());
    let unused: Vec<&str> = unused.filter(|label| !used.contains(label)).collect();
    if !unused.is_empty() {
        let more = match unused.len().saturating_sub(NAMED) {
            0 => String::new(),
            more => format!(" and {more} others"),
        };
        reporter.note(&format!(
            "{} of {} prompts are for no class of task `{}`: {}{more}",
            unused.len(),
            prompts.len(),
            task.name,
            unused[..unused.len().min(NAMED)].join(", ")
        ));
    }
    let chosen: Vec<Prompt> = found
        .iter()
        .zip(&task.classes)
        .filter_map(|(prompt, class)| {
            Some(Prompt {
                label: class.clone(),
                texts: (*prompt)?.texts.clone(),
            })
        })
        .collect();
    task.keep(|class| found[class].is_some());
    Ok((task, chosen))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(text: &str) -> Result<Vec<Prompt>> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        read_prompts(file.path())
    }

    #[test]
    fn prompts_are_objects_or_tables() {
        let json = of(r#"{"AFIB": "atrial fibrillation", "NORM": ["normal ecg", "sinus rhythm"]}"#);
        let table = of("AFIB\tatrial fibrillation\n\nNORM\tnormal ecg\nNORM\tsinus rhythm\n");
        let (json, table) = (json.unwrap(), table.unwrap());
        assert_eq!(json, table);
        assert_eq!(json[1].texts, ["normal ecg", "sinus rhythm"]);
        for (odd, problem) in [
            ("{", "EOF"),
            ("[1]", "no tab"),
            (r#"{"A": 1}"#, "expected a text"),
            (r#"{"A": ""}"#, "without words"),
            (r#"{"A": ["x", " "]}"#, "`A` has a text without words"),
            ("A\tx\nA\t\n", "`A` has a text without words"),
            (r#"{"A": "x", "B": "y", "A": "z"}"#, "`A` stands twice"),
            (r#"{"A": [], "B": "x"}"#, "no text"),
            (r#"{"Afib": "x", "AFIB": "y"}"#, "two spellings"),
            ("", "no label"),
        ] {
            let error = of(odd).unwrap_err().to_string();
            assert!(error.contains(problem), "{odd}: {error}");
        }
        // Labels may share a sentence: each keeps its own.
        let same = of(r#"{"SB": "slow", "SBRAD": "slow"}"#).unwrap();
        assert_eq!(same.len(), 2);
    }

    proptest! {
        #[test]
        fn any_text_is_read_or_refused(text in "[\\PC\\t\\n]{0,80}") {
            if let Ok(prompts) = of(&text) {
                prop_assert!(!prompts.is_empty());
                prop_assert!(prompts.iter().all(|own| !own.texts.is_empty()));
            }
        }

        #[test]
        fn objects_come_back(labels in prop::collection::btree_map("[A-Z]{1,6}", "[a-z]{1,9}( [a-z]{1,9}){0,3}", 1..6)) {
            let found = of(&serde_json::to_string(&labels).unwrap()).unwrap();
            let found = found.into_iter().map(|own| (own.label, own.texts[0].clone()));
            prop_assert_eq!(found.collect::<std::collections::BTreeMap<_, _>>(), labels);
        }
    }
}
