//! Where results and models come from: what their files and cards say of program, command, data and weights.

use purkinje_eval::bootstrap::Estimate;
pub use purkinje_eval::report::Provenance;
use purkinje_eval::report::{ModelResult, estimate_text};
use purkinje_models::checkpoint::{Evaluation, Labels};
use purkinje_store::{Split, Store};

use crate::model::Model;
use crate::reporter::Reporter;
use crate::task::Task;
use crate::text::count;

/// Program and version.
pub const PROGRAM: &str = concat!("purkinje ", env!("CARGO_PKG_VERSION"));

/// The provenance of what is made from a model and a store, under a command that `reporter` knows.
pub fn provenance(
    reporter: &dyn Reporter,
    model: Option<&Model>,
    store: Option<&Store>,
) -> Provenance {
    Provenance {
        program: PROGRAM.to_owned(),
        command: reporter.command(),
        model_blake3: model.and_then(Model::hash).map(str::to_owned),
        store: store.map(|store| store.info().name.clone()),
        store_fingerprint: store.map(|store| store.info().fingerprint.clone()),
    }
}

/// How a model was made, for its card.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Made {
    /// Sentences: program, version, what was done.
    pub how: Vec<String>,
    /// What it was trained on, in paragraphs of Markdown.
    pub training_data: String,
    /// What was measured.
    pub evaluation: Vec<Evaluation>,
}

impl From<&str> for Made {
    fn from(how: &str) -> Made {
        Made {
            how: vec![how.to_owned()],
            ..Made::default()
        }
    }
}

impl Made {
    /// A model that was made from another one: it keeps what the card of that one says.
    #[must_use]
    pub fn from_model(mut self, model: &Model) -> Made {
        let name = model.name();
        let data = match model.trained_on() {
            Some(data) => format!("Of the encoder `{name}`:\n\n{data}"),
            None if model.hash().is_some() => {
                format!("Of the encoder `{name}`: its card does not say.")
            }
            None => format!("The encoder `{name}` began with random weights."),
        };
        self.training_data = match self.training_data.is_empty() {
            true => data,
            false => format!("{}\n\n{data}", self.training_data),
        };
        self.how.splice(0..0, model.how_made().iter().cloned());
        self
    }
}

/// The lines of a card about a provenance.
pub fn lines(provenance: &Provenance) -> Vec<String> {
    let mut lines = Vec::new();
    if !provenance.command.is_empty() {
        lines.push(format!(
            "Command: `{}`",
            provenance.command.replace('`', "'")
        ));
    }
    if let Some(blake3) = &provenance.model_blake3 {
        lines.push(format!("From weights with the BLAKE3 `{blake3}`"));
    }
    if let (Some(name), Some(print)) = (&provenance.store, &provenance.store_fingerprint) {
        lines.push(format!("Store `{name}` with the fingerprint `{print}`"));
    }
    lines
}

/// The data of a classifier: its label set and the records of each split.
pub(crate) fn labelled_data(store: &Store, task: &Task, trained: &ModelResult) -> String {
    let info = store.info();
    let share = match trained.fraction.share {
        1.0 => String::new(),
        share => format!(" ({} % of the training labels)", 100.0 * share),
    };
    format!(
        "Label set `{}` ({}) of {}{share} of the store `{}`; thresholds and what was selected come from {}, and {} were kept for the evaluation \
         below. {}",
        task.name,
        match task.classes.len() {
            1 => "1 class".to_owned(),
            n => format!("{n} classes"),
        },
        count(trained.training_records, "training record"),
        info.name,
        count(task.validation.rows.len(), "validation record"),
        count(task.test.rows.len(), "test record"),
        source_of(store),
    )
}

/// The data of an encoder: the records it was trained on without their labels.
pub(crate) fn unlabelled_data(store: &Store, records: usize) -> String {
    format!(
        "{} of the split `{}` of the store `{}`, without their labels. {}",
        count(records, "record"),
        Split::Train.name(),
        store.info().name,
        source_of(store),
    )
}

fn source_of(store: &Store) -> String {
    let info = store.info();
    let outcomes = info.outcomes;
    format!(
        "The store has {} of {} of its source: {} skipped, {} failed, {} without a file.",
        info.records,
        count(outcomes.total(), "record"),
        outcomes.skipped,
        outcomes.failed,
        outcomes.missing
    )
}

/// The rows of a card for the results of a classifier beside its baseline, the means first.
pub(crate) fn evaluations(
    store: &Store,
    labels: &Labels,
    trained: &ModelResult,
    baseline: &ModelResult,
) -> Vec<Evaluation> {
    let metrics = &trained.metrics;
    let data = format!(
        "{}, {}, split `{}`: {} of {}",
        store.info().name,
        trained.task,
        trained.split,
        count(metrics.records, "record"),
        count(metrics.patients, "patient")
    );
    let detail = match metrics.bootstrap.resamples {
        0 => String::new(),
        resamples => format!(
            "{} % interval, {resamples} resamples",
            100.0 * metrics.bootstrap.level
        ),
    };
    let row = |metric: String, value: &Estimate, detail: &str| Evaluation {
        data: data.clone(),
        metric,
        value: estimate_text(value),
        detail: detail.to_owned(),
    };
    let mean = &metrics.macro_mean;
    let mut rows = vec![
        row("macro AUROC".into(), &mean.auroc, &detail),
        row(
            format!("macro AUROC of random weights, {} head", baseline.head),
            &baseline.metrics.macro_mean.auroc,
            "the same network without pre-training, as the baseline",
        ),
        row("macro AUPRC".into(), &mean.auprc, &detail),
        row(
            "macro F1".into(),
            &mean.f1,
            "at the thresholds of the labels",
        ),
    ];
    for class in &metrics.classes {
        let mut own = labels.classes.iter();
        let meaning = own
            .find(|label| label.name == class.class)
            .and_then(|label| label.description.as_deref());
        let name = match meaning {
            Some(meaning) => format!("{} ({meaning})", class.class),
            None => class.class.clone(),
        };
        let positives = count(class.positives, "positive");
        rows.push(row(format!("AUROC of {name}"), &class.auroc, &positives));
    }
    rows
}
