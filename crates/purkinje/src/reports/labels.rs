//! What reports say, as labels: by the sentences that each text is most like.

use std::collections::HashMap;

use purkinje_eval::bootstrap::Estimate;
use purkinje_eval::text::{LabelScores, label_scores};
use purkinje_eval::{
    EvaluateOptions, best_thresholds, bootstrap::BootstrapOptions, evaluate_split,
};
use purkinje_store::{Split, Store};
use serde::{Deserialize, Serialize};

use crate::model::Model;
use crate::prompts::{Prompt, with_prompts};
use crate::reporter::Reporter;
use crate::task::Task;
use crate::texts::StoreText;
use crate::zero_shot::{Sentences, Similarity, Together, text_vectors};
use crate::{Error, Result};

/// What reads labels from texts.
#[derive(Clone, Copy, Debug)]
pub struct Labelling<'a> {
    /// A model that reads texts, which learned nothing from generated reports.
    pub model: &'a Model,
    /// Sentences of labels.
    pub prompts: &'a [Prompt],
    /// The label set that texts are scored against.
    pub task: &'a str,
}

/// How well texts say what is to be said.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabelRow {
    /// What gave the texts.
    pub name: String,
    /// The one label of each text beside that of the record's own report: clinical efficacy (DERI, IJCAI 2025).
    pub efficacy: LabelScores,
    /// Records with labels.
    pub records: usize,
    /// Mean AUROC of the labels of the record, by the scores of its text.
    pub auroc: Estimate,
    /// Mean F1 of decisions at thresholds that were chosen on other records with their own reports.
    pub f1: Estimate,
    /// Share of right decisions.
    pub accuracy: f64,
}

/// The scores of a text: of every prompt, and of every class of the label set. A text without words has none.
type Scores = Option<(Vec<f32>, Vec<f32>)>;

/// Reads labels from texts, each text once.
pub(super) struct Labeller<'a> {
    model: &'a Model,
    all: Sentences,
    own: Sentences,
    task: Task,
    thresholds: Vec<f32>,
    /// Place of each labelled row among those of the task.
    places: HashMap<usize, usize>,
    known: HashMap<String, Scores>,
    bootstrap: BootstrapOptions,
}

impl<'a> Labeller<'a> {
    /// Thresholds are chosen on the reports of the validation split, or of the training split where the former is judged.
    pub fn new(
        by: Labelling<'a>,
        store: &Store,
        (column, split): (StoreText, Split),
        bootstrap: BootstrapOptions,
        reporter: &dyn Reporter,
    ) -> Result<Self> {
        let task = Task::evaluated(store, by.task, split, None)?;
        let (task, prompts) = with_prompts(task, by.prompts, &[], reporter)?;
        let cosine = Some(Similarity::Cosine);
        let rows = task.test.rows.iter().copied();
        let mut labeller = Labeller {
            model: by.model,
            all: Sentences::of(by.model, by.prompts, cosine)?,
            own: Sentences::of(by.model, &prompts, cosine)?,
            places: rows.zip(0..).collect(),
            thresholds: Vec::new(),
            known: HashMap::new(),
            task,
            bootstrap,
        };
        let other = match split {
            Split::Val => Split::Train,
            _ => Split::Val,
        };
        let chosen = Task::evaluated(store, by.task, other, None)?;
        let chosen = chosen.with_classes(&labeller.task.classes)?;
        let classes = chosen.classes.len();
        let (mut texts, mut labels) = (Vec::new(), Vec::new());
        for (&row, own) in chosen
            .test
            .rows
            .iter()
            .zip(chosen.test.labels.chunks(classes))
        {
            if let Some(text) = column.of(&store.row(row)?) {
                texts.push(super::pairs::tidy(text));
                labels.extend_from_slice(own);
            }
        }
        if texts.is_empty() {
            return Err(Error::invalid(format!(
                "the split `{}` of {} has no labelled record with a report, on which thresholds could be chosen",
                other.name(),
                store.dir().display()
            )));
        }
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let scores = labeller.of_classes(&texts)?;
        labeller.thresholds = best_thresholds(&scores, &labels, classes, f32::INFINITY)?;
        Ok(labeller)
    }

    /// Reads texts that were not read before.
    fn read(&mut self, texts: &[&str]) -> Result<()> {
        let mut new: Vec<&str> = Vec::new();
        for &text in texts {
            if self.known.contains_key(text) {
                continue;
            }
            self.known.insert(text.to_owned(), None);
            if !self.model.network().clean_text(text).is_empty() {
                new.push(text);
            }
        }
        let vectors = text_vectors(self.model, &new)?.values;
        for (text, vector) in new.iter().zip(vectors.chunks_exact(self.model.width())) {
            let all = self.all.scores(self.model, vector, Together::Mean)?;
            let own = self.own.scores(self.model, vector, Together::Mean)?;
            self.known.insert((*text).to_owned(), Some((all, own)));
        }
        Ok(())
    }

    fn scores(&self, text: &str) -> Option<&(Vec<f32>, Vec<f32>)> {
        self.known.get(text)?.as_ref()
    }

    /// The scores of the classes for texts `[texts, classes]`: as unlike as can be for a text without words.
    fn of_classes(&mut self, texts: &[&str]) -> Result<Vec<f32>> {
        self.read(texts)?;
        let classes = self.task.classes.len();
        let each = texts.iter().map(|text| match self.scores(text) {
            Some((_, own)) => own.clone(),
            None => vec![-1.0; classes],
        });
        Ok(each.collect::<Vec<_>>().concat())
    }

    /// The label whose sentences each text is most like; none for a text without words.
    fn label(&self, text: &str) -> Option<usize> {
        let (all, _) = self.scores(text)?;
        let best = all
            .iter()
            .enumerate()
            .max_by(|a, b| a.1.total_cmp(b.1).then(b.0.cmp(&a.0)));
        best.map(|(place, _)| place)
    }

    /// Texts for rows of the store, beside the reports of these.
    pub fn row(
        &mut self,
        name: &str,
        rows: &[usize],
        references: &[&str],
        texts: &[&str],
    ) -> Result<LabelRow> {
        self.read(references)?;
        self.read(texts)?;
        let labels = |of: &[&str]| of.iter().map(|text| self.label(text)).collect::<Vec<_>>();
        let efficacy = label_scores(&labels(references), &labels(texts))?;
        let labelled = rows.iter().zip(texts);
        let labelled = labelled.filter_map(|(row, text)| Some((*self.places.get(row)?, *text)));
        let (places, texts): (Vec<usize>, Vec<&str>) = labelled.unzip();
        let classes = self.task.classes.len();
        let scores = self.of_classes(&texts)?;
        let of = |at: &usize| &self.task.test.labels[at * classes..(at + 1) * classes];
        let truth: Vec<bool> = places.iter().flat_map(of).copied().collect();
        let patients: Vec<&str> = places
            .iter()
            .map(|&at| self.task.patients[at].as_str())
            .collect();
        let how = EvaluateOptions {
            thresholds: self.thresholds.clone(),
            probabilities: false,
            bootstrap: self.bootstrap,
            ..EvaluateOptions::new(self.task.classes.clone())
        };
        let (auroc, f1) = match places.is_empty() {
            true => (Estimate::default(), Estimate::default()),
            false => {
                let found = evaluate_split(&scores, &truth, &patients, &how)?.macro_mean;
                (found.auroc, found.f1)
            }
        };
        let limits = self.thresholds.iter().cycle();
        let decided = scores
            .iter()
            .zip(limits)
            .map(|(score, limit)| score > limit);
        let right = decided.zip(&truth).filter(|(found, own)| found == *own);
        Ok(LabelRow {
            name: name.to_owned(),
            efficacy,
            records: places.len(),
            auroc,
            f1,
            accuracy: right.count() as f64 / truth.len().max(1) as f64,
        })
    }
}
