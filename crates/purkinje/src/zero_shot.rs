//! Diagnosis without training: how well a sentence for each label fits a recording, by the vectors of both.

use std::fmt;
use std::path::{Path, PathBuf};

use purkinje_eval::challenge::renamed;
use purkinje_eval::{RankingMetrics, evaluate_split};
use purkinje_models::compat::Compat;
use purkinje_store::{Split, Store};
use serde::de::{MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::Value;

use crate::inputs::{Input, StoreRows};
use crate::model::Model;
use crate::network::RowsOfVectors;
use crate::probe::quality_filter;
use crate::reporter::{Reporter, go_on};
use crate::task::Task;
use crate::text_encoder::each_alone;
use crate::windows::{Used, WindowOptions};
use crate::{Error, Result};

/// Bytes of the largest file of prompts.
const MAX_PROMPTS_BYTES: u64 = 16 << 20;
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

/// How the scores of several sentences of a label become one.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Together {
    /// Their mean.
    #[default]
    Mean,
    /// The largest.
    Max,
    /// That of the first sentence.
    First,
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

/// What a zero-shot diagnosis is measured on, and how.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ZeroShotOptions {
    /// Label set of the store; its classes are matched with the labels of the prompts by name.
    pub task: String,
    /// Split of the store.
    pub split: Split,
    /// How several sentences of a label are taken together.
    pub together: Together,
    /// How much of each record the model is given, and how its vectors are aggregated.
    pub windows: WindowOptions,
    /// Bootstrap resamples for the 95 % intervals.
    pub resamples: usize,
    /// Seed of resamples and of the twin.
    pub seed: u64,
    /// Also measure the same network with random weights.
    pub twin: bool,
    /// Limits on signal quality that records must keep; none when empty.
    pub quality: String,
    /// Accept a store that was prepared differently than the model expects.
    pub any_preprocessing: bool,
}

impl Default for ZeroShotOptions {
    fn default() -> Self {
        ZeroShotOptions {
            task: String::new(),
            split: Split::Test,
            together: Together::Mean,
            windows: WindowOptions::default(),
            resamples: 1000,
            seed: 0,
            twin: true,
            quality: String::new(),
            any_preprocessing: false,
        }
    }
}

/// The result on a store.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ZeroShot {
    /// Folder of the model; `None` for a model that was not read from disk.
    pub model: Option<PathBuf>,
    /// The store.
    pub data: PathBuf,
    /// The label set.
    pub task: String,
    /// Split of the store.
    pub split: &'static str,
    /// The sentences of each class, in the order of the classes.
    pub prompts: Vec<Prompt>,
    /// How several sentences of a label were taken together.
    pub together: Together,
    /// How much of all records together was used.
    pub used: Used,
    /// How the scores rank records. Scores are no probabilities, and no threshold was chosen: there are no decisions.
    pub ranking: RankingMetrics,
    /// The same of the network with random weights.
    pub random_weights: Option<RankingMetrics>,
}

/// Diagnoses labelled records of a store by sentences.
///
/// # Errors
/// When the model reads no texts or has no tokenizer, no class has a prompt, the store does not fit, or a stop was requested.
pub fn zero_shot(
    model: &Model,
    store: &Store,
    prompts: &[Prompt],
    options: &ZeroShotOptions,
    reporter: &dyn Reporter,
) -> Result<ZeroShot> {
    let quality = quality_filter(&options.quality)?;
    let all = Task::evaluated(store, &options.task, options.split, quality.as_ref())?;
    let (task, prompts) = with_prompts(all, prompts, reporter)?;
    let contract =
        model.check_store(store, &model.preprocess().leads, options.any_preprocessing)?;
    let measure = |model: &Model, what: &str| -> Result<(RankingMetrics, Used)> {
        let sentences = Sentences::of(model, &prompts)?;
        let source = StoreRows::under(model, store, &contract, Compat::Paper, 0)?;
        let rows = &task.test.rows;
        let inputs = rows.iter().map(|&row| Input::Row(&source, row));
        let progress = reporter.begin(what, rows.len(), "records");
        let (mut scores, mut used) = (Vec::new(), Used::default());
        for found in model.vectors_all(inputs, options.windows)? {
            go_on(reporter)?;
            let (vectors, own) = found?;
            used.add(&own);
            scores.extend(sentences.scores(model, &vectors.values, options.together)?);
            progress.add(1);
        }
        progress.finish();
        let thresholds = vec![0.0; task.classes.len()];
        let mut how = task.evaluation(&thresholds, options.resamples);
        how.probabilities = false;
        how.bootstrap.seed = options.seed;
        let metrics = evaluate_split(&scores, &task.test.labels, &task.patients, &how)?;
        Ok((metrics.ranking(), used))
    };
    let (ranking, used) = measure(model, "zero-shot")?;
    let random_weights = match options.twin {
        false => None,
        true => Some(measure(&twin(model, options.seed), "random weights")?.0),
    };
    Ok(ZeroShot {
        model: model.folder().map(Path::to_owned),
        data: store.dir().to_owned(),
        task: task.name.clone(),
        split: options.split.name(),
        prompts,
        together: options.together,
        used,
        ranking,
        random_weights,
    })
}

/// The score of every prompt for a recording, in the order of the prompts.
///
/// # Errors
/// As [`zero_shot`], and when the recording cannot be read.
pub fn scores_of<'a>(
    model: &'a Model,
    inputs: impl Iterator<Item = Input<'a>> + 'a,
    prompts: &[Prompt],
    together: Together,
    windows: WindowOptions,
) -> Result<impl Iterator<Item = Result<(Vec<f32>, Used)>> + 'a> {
    let sentences = Sentences::of(model, prompts)?;
    let found = model.vectors_all(inputs, windows)?;
    Ok(found.map(move |found| {
        let (vectors, used) = found?;
        Ok((sentences.scores(model, &vectors.values, together)?, used))
    }))
}

/// The same network with random weights, and the same tokenizer.
fn twin(model: &Model, seed: u64) -> Model {
    let network = model.network().random_twin(seed, model.device());
    let twin = Model::encoder(
        network,
        model.preprocess().clone(),
        model.device(),
        model.registry(),
    );
    twin.with_tokenizer(model.tokenizer().cloned())
}

/// The vectors of all sentences.
struct Sentences {
    /// `[sentences, width]`.
    vectors: Vec<f32>,
    width: usize,
    /// Sentences of each label.
    counts: Vec<usize>,
}

impl Sentences {
    fn of(model: &Model, prompts: &[Prompt]) -> Result<Self> {
        let texts = prompts.iter().flat_map(|prompt| &prompt.texts);
        let texts: Vec<&str> = texts.map(String::as_str).collect();
        Ok(Sentences {
            vectors: text_vectors(model, &texts)?,
            width: model.width(),
            counts: prompts.iter().map(|prompt| prompt.texts.len()).collect(),
        })
    }

    fn scores(&self, model: &Model, recording: &[f32], together: Together) -> Result<Vec<f32>> {
        let rows = |values| RowsOfVectors {
            values,
            width: self.width,
        };
        let (network, device) = (model.network(), model.device());
        let each = network.similarity(rows(recording), rows(&self.vectors), device)?;
        let each = each.ok_or_else(|| reads_no_texts(model))?;
        let mut rest = each.as_slice();
        let scores = self.counts.iter().map(|&count| {
            let (own, others) = rest.split_at(count);
            rest = others;
            match together {
                Together::Mean => own.iter().sum::<f32>() / count as f32,
                Together::Max => own.iter().copied().fold(f32::NEG_INFINITY, f32::max),
                Together::First => own[0],
            }
        });
        Ok(scores.collect())
    }
}

/// One vector for each text `[texts, width]`: the same bits alone and among others.
///
/// # Errors
/// When the model reads no texts or has no tokenizer, or a text has no words.
pub fn text_vectors(model: &Model, texts: &[&str]) -> Result<Vec<f32>> {
    let network = model.network();
    if network.table_of_words().is_none() {
        return Err(reads_no_texts(model));
    }
    let tokenizer = model.tokenizer().ok_or_else(|| {
        Error::invalid("the model has no tokenizer, so that texts cannot be read").with_help(
            "import the checkpoint again with `--tokenizer FILE`, the `tokenizer.json` that it was trained with",
        )
    })?;
    let mut ids = Vec::with_capacity(texts.len());
    for text in texts {
        let text = network.clean_text(text);
        if text.is_empty() {
            return Err(Error::invalid(
                "a text has no words; give it some, or leave it out",
            ));
        }
        ids.push(tokenizer.ids(&text)?);
    }
    each_alone(&ids, tokenizer.pad(), model.width(), |texts| {
        let found = network.text_vectors(texts, model.device())?;
        found.ok_or_else(|| reads_no_texts(model))
    })
}

fn reads_no_texts(model: &Model) -> Error {
    Error::invalid(format!(
        "this {} model reads no texts; expected one that was trained on recordings with reports",
        model.about().title
    ))
}

/// Reduces a task to the classes that have a prompt; returns the prompt of each.
fn with_prompts(
    mut task: Task,
    prompts: &[Prompt],
    reporter: &dyn Reporter,
) -> Result<(Task, Vec<Prompt>)> {
    let known = |class: &str| {
        let own = class.to_uppercase();
        let synonym = SYNONYMS.iter().find(|(name, _)| *name == own);
        let named = |same: &dyn Fn(&str) -> bool| prompts.iter().find(|p| same(&p.label));
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
        .with_help("name the labels in the file of prompts as the classes are named"));
    }
    if !without.is_empty() {
        reporter.note(&format!(
            "{} of {} classes have no prompt and are not measured: {}",
            without.len(),
            task.classes.len(),
            without.join(", ")
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
    }
}
