//! How good reports are, beside texts that were not written for the recording.

use std::collections::{BTreeMap, HashMap};

use purkinje_datasets::import::report_language;
use purkinje_eval::bootstrap::BootstrapOptions;
use purkinje_eval::text::{BleuOptions, TextOptions, TextPair, TextScores, text_scores};
use purkinje_models::random::Stream;
use purkinje_store::{Split, Store};
use serde::{Deserialize, Serialize};

use super::baselines::{Known, baselines};
use super::labels::{LabelRow, Labeller, Labelling};
use super::pairs::{Pairs, vectors_of};
use super::{Report, WriteOptions};
use crate::model::Model;
use crate::reporter::{Reporter, go_on};
use crate::system::Level;
use crate::texts::StoreText;
use crate::zero_shot::twin;
use crate::{Error, Result};

/// Records of a language from which on it has a table of its own.
const GROUP: usize = 20;
/// Label sets that say the same as others do.
const COARSE: [&str; 2] = ["superdiagnostic", "subdiagnostic"];

/// The scores of one way of giving texts to recordings. All are fractions but CIDEr, lengths and numbers of texts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// What gave the texts.
    pub name: String,
    /// BLEU-1 to BLEU-4.
    pub bleu: [f64; 4],
    /// ROUGE-L as published.
    pub rouge_l: f64,
    /// Its 95 % interval over patients.
    pub rouge_l_interval: Option<(f64, f64)>,
    /// ROUGE-L over letters of all scripts, not stemmed.
    pub rouge_l_unicode: f64,
    /// METEOR.
    pub meteor: f64,
    /// CIDEr.
    pub cider: f64,
    /// The share of texts that are the reference.
    pub exact: f64,
    /// Distinct texts.
    pub distinct: usize,
    /// The share of texts in the language of the reference, of those whose language is known.
    pub right_language: f64,
    /// The share of texts that deny what the reference affirms, or affirm what it denies.
    pub negation_errors: f64,
    /// Mean number of words.
    pub words: f64,
    /// The share of word sequences of four that occurred before in their text.
    pub repeated: f64,
    /// Texts that were cut at the limit.
    pub cut: usize,
}

/// The records of one language, or all.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Group {
    /// Its name.
    pub name: String,
    /// Records in it.
    pub records: usize,
    /// What gave them texts.
    pub rows: Vec<Row>,
    /// What these texts say, as labels, the records' own reports first; empty unless asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub labels: Vec<LabelRow>,
}

/// A record with its reports.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Judged {
    /// Its id.
    pub id: String,
    /// Its report.
    pub reference: String,
    /// That which was written.
    #[serde(flatten)]
    pub report: Report,
    /// ROUGE-L of the two.
    pub rouge_l: f64,
}

/// What an evaluation found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Evaluated {
    /// All records, and those of each language of which there are enough.
    pub groups: Vec<Group>,
    /// Every record.
    pub records: Vec<Judged>,
}

/// How reports are judged.
#[derive(Clone, Copy)]
pub struct Judging<'a> {
    /// Also texts that were not written for the recordings.
    pub baselines: bool,
    /// Another model by whose vectors the nearest training recording is found too, and a store with the same records that it reads.
    pub nearest_by: Option<(&'a Model, &'a Store)>,
    /// What reads labels from texts, to score these too.
    pub labelling: Option<Labelling<'a>>,
    /// Resamples of patients for intervals.
    pub resamples: usize,
    /// Seed of all draws.
    pub seed: u64,
}

/// Scores of pairs, by whoever wrote them; BLEU-3 is weighted as in the publications.
///
/// # Errors
/// When there are none.
pub fn scores_of_pairs(pairs: &[TextPair<'_>]) -> Result<TextScores> {
    let options = TextOptions {
        bleu: BleuOptions::RELEASED,
        ..TextOptions::default()
    };
    Ok(text_scores(pairs, &options)?)
}

/// Writes the reports of a split of a store and scores them, as a whole and by language, each beside baselines of its own language and
/// beside the same reports exchanged among records of one language.
///
/// # Errors
/// When the model writes no reports, or the split has none.
pub fn evaluate_reports(
    model: &Model,
    store: &Store,
    split: Split,
    options: &WriteOptions,
    judging: Judging<'_>,
    reporter: &dyn Reporter,
) -> Result<Evaluated> {
    let writer = model.writer()?;
    let level = writer.about().level;
    let column = StoreText::named(store, &writer.about().text)?;
    let records = Pairs::read(model, level, store, (column, split), reporter)?;
    if records.texts.is_empty() {
        return Err(Error::invalid(format!(
            "the split `{}` of {} has no record with a report",
            split.name(),
            store.dir().display()
        )));
    }
    let mut labeller = match judging.labelling {
        None => None,
        Some(by) => {
            let bootstrap = BootstrapOptions {
                resamples: judging.resamples,
                seed: judging.seed,
                ..BootstrapOptions::default()
            };
            Some(Labeller::new(
                by,
                store,
                (column, split),
                bootstrap,
                reporter,
            )?)
        }
    };
    let progress = reporter.begin("write reports", records.texts.len(), "reports");
    let mut written = Vec::with_capacity(records.texts.len());
    for some in records.vectors.chunks(options.batch.max(1)) {
        go_on(reporter)?;
        written.extend(writer.write(some, options, model.device())?);
        progress.add(some.len());
    }
    progress.finish();
    let twin = judging.baselines.then(|| twin(model, judging.seed));
    let others = Others {
        twin: twin.as_ref(),
        nearest_by: judging.nearest_by.filter(|_| judging.baselines),
    };
    let read = |pairs: Pairs| Part::of(pairs, model.width(), &others, store, reporter);
    let training = match judging.baselines {
        true => {
            let split = (column, Split::Train);
            Some(read(Pairs::read(model, level, store, split, reporter)?)?)
        }
        false => None,
    };
    let records = read(records)?;
    let mut groups = Vec::new();
    for language in groups_of(&records.languages) {
        let group = GroupOf {
            places: &records.of_language(language),
            records: &records,
            judging,
        };
        let texts = group.places.iter().map(|&at| written[at].report.clone());
        let texts: Vec<String> = texts.collect();
        let cut = group.places.iter().filter(|&&at| written[at].cut).count();
        let exchanged = group.exchanged(&texts);
        let mut all = vec![
            ("written from the recording", texts, cut),
            (
                "the same, recordings exchanged within a language",
                exchanged,
                cut,
            ),
        ];
        if let Some(training) = &training {
            let known = training.known(&training.of_language(language));
            let found = baselines(&known, &records.known(group.places), judging.seed)?;
            all.extend(found.into_iter().map(|(own, texts)| (own.name(), texts, 0)));
        }
        let rows = all
            .iter()
            .map(|(name, texts, cut)| group.row(name, texts, *cut));
        let rows = rows.collect::<Result<_>>()?;
        let labels = match &mut labeller {
            None => Vec::new(),
            Some(labeller) => group.labels(&all, labeller)?,
        };
        groups.push(Group {
            name: language.unwrap_or("all").to_owned(),
            records: group.places.len(),
            rows,
            labels,
        });
    }
    Ok(Evaluated {
        groups,
        records: judged(store, &records.pairs, written)?,
    })
}

/// All records, and the languages of which there are enough, the commonest first.
fn groups_of(languages: &[&'static str]) -> Vec<Option<&'static str>> {
    let mut counts: BTreeMap<&'static str, usize> = BTreeMap::new();
    for language in languages {
        *counts.entry(language).or_default() += 1;
    }
    let enough = counts
        .into_iter()
        .filter(|(name, count)| !name.is_empty() && *count >= GROUP);
    let mut enough: Vec<(&'static str, usize)> = enough.collect();
    enough.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    let names = enough.into_iter().map(|(name, _)| Some(name));
    std::iter::once(None).chain(names).collect()
}

/// Other networks by which the nearest recording is found.
struct Others<'a> {
    twin: Option<&'a Model>,
    nearest_by: Option<(&'a Model, &'a Store)>,
}

/// Records with what is known of them.
struct Part {
    pairs: Pairs,
    languages: Vec<&'static str>,
    patients: Vec<String>,
    labels: Vec<String>,
    /// One vector for each, the mean where it has several.
    vectors: Vec<Vec<f32>>,
    /// Vectors of random weights; empty where they are not wanted.
    random: Vec<Vec<f32>>,
    /// Those of another model; empty where they are not wanted.
    other: Vec<Vec<f32>>,
}

impl Part {
    fn of(
        pairs: Pairs,
        width: usize,
        others: &Others<'_>,
        store: &Store,
        reporter: &dyn Reporter,
    ) -> Result<Self> {
        let languages = pairs.texts.iter();
        let languages = languages.map(|text| report_language(text).unwrap_or_default());
        let patients = pairs.rows.iter().map(|&row| {
            let row = store.row(row)?;
            Ok(row.patient().unwrap_or(row.id()).to_owned())
        });
        let labels = pairs.rows.iter().map(|&row| labels_of(store, row));
        let whole = Level::Recording;
        let random = others
            .twin
            .map(|twin| vectors_of(twin, whole, (store, false), &pairs.rows, reporter));
        let other = others.nearest_by.map(|(model, other)| {
            let rows = same_records(store, &pairs.rows, other)?;
            // The store was named for this model: it may have learned from another scale than its system's.
            vectors_of(model, whole, (other, true), &rows, reporter)
        });
        Ok(Part {
            languages: languages.collect(),
            patients: patients.collect::<Result<_>>()?,
            labels: labels.collect::<Result<_>>()?,
            vectors: pairs.vectors.iter().map(|own| mean(own, width)).collect(),
            random: random.transpose()?.unwrap_or_default(),
            other: other.transpose()?.unwrap_or_default(),
            pairs,
        })
    }

    /// The places of the records of a language, or of all.
    fn of_language(&self, language: Option<&str>) -> Vec<usize> {
        let all = 0..self.languages.len();
        all.filter(|&at| language.is_none_or(|name| self.languages[at] == name))
            .collect()
    }

    fn known(&self, places: &[usize]) -> Known<'_> {
        fn of<'v>(vectors: &'v [Vec<f32>], places: &[usize]) -> Vec<&'v [f32]> {
            let own = places.iter().filter_map(|&at| vectors.get(at));
            own.map(Vec::as_slice).collect()
        }
        Known {
            texts: places
                .iter()
                .map(|&at| self.pairs.texts[at].as_str())
                .collect(),
            vectors: of(&self.vectors, places),
            other_vectors: of(&self.other, places),
            random_vectors: of(&self.random, places),
            labels: places.iter().map(|&at| self.labels[at].as_str()).collect(),
        }
    }
}

/// The mean of vectors one after another.
fn mean(values: &[f32], width: usize) -> Vec<f32> {
    let count = (values.len() / width.max(1)).max(1) as f32;
    let mut mean = vec![0.0; width];
    for vector in values.chunks_exact(width.max(1)) {
        for (sum, value) in mean.iter_mut().zip(vector) {
            *sum += value / count;
        }
    }
    mean
}

/// The rows of another store that hold the same records.
fn same_records(store: &Store, rows: &[usize], other: &Store) -> Result<Vec<usize>> {
    let mut places: HashMap<String, usize> = HashMap::new();
    for row in 0..other.len() {
        places.insert(other.row(row)?.id().to_owned(), row);
    }
    let found = rows.iter().map(|&row| {
        let row = store.row(row)?;
        places.get(row.id()).copied().ok_or_else(|| {
            Error::invalid(format!(
                "the store {} has no record `{}`, which {} has",
                other.dir().display(),
                row.id(),
                store.dir().display()
            ))
            .with_help("give `--nearest-data` a store of the same records")
        })
    });
    found.collect()
}

/// The labels of a row in all label sets that do not repeat others, as one text.
fn labels_of(store: &Store, row: usize) -> Result<String> {
    let row = store.row(row)?;
    let sets = store.info().label_sets.iter().enumerate();
    let sets = sets.filter(|(_, set)| !COARSE.contains(&set.name.as_str()));
    let found = sets.map(|(place, _)| format!("{:?}", row.labels(place)));
    Ok(found.collect::<Vec<_>>().join(";"))
}

fn judged(store: &Store, records: &Pairs, written: Vec<Report>) -> Result<Vec<Judged>> {
    let pairs = records
        .texts
        .iter()
        .zip(&written)
        .map(|(text, own)| TextPair {
            id: "",
            reference: text,
            generated: &own.report,
        });
    let found = scores_of_pairs(&pairs.collect::<Vec<_>>())?;
    let each = records
        .rows
        .iter()
        .zip(&records.texts)
        .zip(written)
        .zip(&found.pairs);
    each.map(|(((&row, text), report), scores)| {
        Ok(Judged {
            id: store.row(row)?.id().to_owned(),
            reference: text.clone(),
            report,
            rouge_l: scores.rouge_l.f1,
        })
    })
    .collect()
}

/// Records of a group.
struct GroupOf<'a> {
    places: &'a [usize],
    records: &'a Part,
    judging: Judging<'a>,
}

impl GroupOf<'_> {
    fn row(&self, name: &str, texts: &[String], cut: usize) -> Result<Row> {
        let pairs = self.places.iter().zip(texts).map(|(&at, text)| TextPair {
            id: "",
            reference: &self.records.pairs.texts[at],
            generated: text,
        });
        let found = scores_of_pairs(&pairs.collect::<Vec<_>>())?;
        let count = texts.len() as f64;
        let known = self
            .places
            .iter()
            .zip(texts)
            .filter(|(at, _)| !self.records.languages[**at].is_empty());
        let (mut of, mut right) = (0.0, 0.0);
        for (&at, text) in known {
            of += 1.0;
            right += f64::from(u8::from(
                report_language(text) == Some(self.records.languages[at]),
            ));
        }
        let each: Vec<f64> = found.pairs.iter().map(|own| own.rouge_l.f1).collect();
        Ok(Row {
            name: name.to_owned(),
            bleu: found.means.bleu,
            rouge_l: found.means.rouge_l.f1,
            rouge_l_interval: self.interval(&each),
            rouge_l_unicode: found.means.rouge_l_unicode.f1,
            meteor: found.means.meteor,
            cider: found.means.cider,
            exact: found.exact_matches as f64 / count,
            distinct: found.distinct_generated,
            right_language: right / f64::max(of, 1.0),
            negation_errors: found.pairs_with_negation_errors as f64 / count,
            words: found.means.generated_words,
            repeated: found.means.repeated,
            cut,
        })
    }

    /// What texts say as labels, the records' own reports first.
    fn labels(
        &self,
        all: &[(&str, Vec<String>, usize)],
        labeller: &mut Labeller<'_>,
    ) -> Result<Vec<LabelRow>> {
        let pairs = &self.records.pairs;
        let rows: Vec<usize> = self.places.iter().map(|&at| pairs.rows[at]).collect();
        let references = self.places.iter().map(|&at| pairs.texts[at].as_str());
        let references: Vec<&str> = references.collect();
        let own = ("the report itself", references.clone());
        let others = all.iter().map(|(name, texts, _)| {
            let texts = texts.iter().map(String::as_str).collect();
            (*name, texts)
        });
        let each = std::iter::once(own).chain(others);
        each.map(|(name, texts)| labeller.row(name, &rows, &references, &texts))
            .collect()
    }

    /// Texts exchanged among records of one language: each record has that of the next one in a drawn order.
    fn exchanged(&self, texts: &[String]) -> Vec<String> {
        let mut of: BTreeMap<&str, Vec<usize>> = BTreeMap::new();
        for (own, &at) in self.places.iter().enumerate() {
            of.entry(self.records.languages[at]).or_default().push(own);
        }
        let mut all = texts.to_vec();
        for (language, members) in of {
            let order = Stream::new(self.judging.seed, language).permutation(members.len());
            for (at, &place) in order.iter().enumerate() {
                let next = order[(at + 1) % order.len()];
                all[members[place]] = texts[members[next]].clone();
            }
        }
        all
    }

    /// The 95 % interval of a mean over resamples of patients.
    fn interval(&self, values: &[f64]) -> Option<(f64, f64)> {
        if self.judging.resamples == 0 {
            return None;
        }
        let mut of: BTreeMap<&str, (f64, f64)> = BTreeMap::new();
        for (&at, value) in self.places.iter().zip(values) {
            let own = of.entry(&self.records.patients[at]).or_default();
            (own.0, own.1) = (own.0 + value, own.1 + 1.0);
        }
        let patients: Vec<(f64, f64)> = of.into_values().collect();
        let mut stream = Stream::new(self.judging.seed, "patients");
        let mut means: Vec<f64> = (0..self.judging.resamples)
            .map(|_| {
                let (mut sum, mut count) = (0.0, 0.0);
                for _ in 0..patients.len() {
                    let own = patients[stream.below(patients.len())];
                    (sum, count) = (sum + own.0, count + own.1);
                }
                sum / count
            })
            .collect();
        means.sort_by(f64::total_cmp);
        let at = |share: f64| means[((means.len() - 1) as f64 * share).round() as usize];
        Some((at(0.025), at(0.975)))
    }
}
