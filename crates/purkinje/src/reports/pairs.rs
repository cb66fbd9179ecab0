//! Records of a store with their reports.

use purkinje_models::compat::Compat;
use purkinje_store::{Split, Store};
use purkinje_text::Tokenizer;

use super::write::vectors;
use crate::Result;
use crate::inputs::{Input, StoreRows};
use crate::model::Model;
use crate::reporter::{Reporter, go_on};
use crate::system::Level;
use crate::texts::StoreText;
use crate::windows::WindowOptions;

/// A report as it is learned and compared: lower case, single blanks.
pub(super) fn tidy(text: &str) -> String {
    let words: Vec<&str> = text.split_whitespace().collect();
    words.join(" ").to_lowercase()
}

/// Vectors of records and their reports.
pub(super) struct Pairs {
    /// Rows of the store.
    pub rows: Vec<usize>,
    /// The vectors of each, one after another.
    pub vectors: Vec<Vec<f32>>,
    /// Their reports, tidied.
    pub texts: Vec<String>,
}

impl Pairs {
    /// The records of a split that have a report.
    pub fn read(
        model: &Model,
        level: Level,
        store: &Store,
        (column, split): (StoreText, Split),
        reporter: &dyn Reporter,
    ) -> Result<Self> {
        let (mut rows, mut texts) = (Vec::new(), Vec::new());
        for index in store.indices(split) {
            let row = store.row(index)?;
            let text = column.of(&row).map(tidy);
            if let Some(text) = text.filter(|text| !text.is_empty()) {
                rows.push(index);
                texts.push(text);
            }
        }
        Ok(Pairs {
            vectors: vectors_of(model, level, (store, false), &rows, reporter)?,
            rows,
            texts,
        })
    }

    /// The word pieces of the reports.
    pub fn ids(&self, tokenizer: &Tokenizer) -> Result<Vec<Vec<u32>>> {
        let ids = self.texts.iter().map(|text| tokenizer.ids(text));
        Ok(ids.collect::<Result<_, _>>()?)
    }
}

/// The vectors of rows of a store, those of a row one after another. A store that was prepared otherwise than the model expects is accepted
/// on request, with a warning.
pub(super) fn vectors_of(
    model: &Model,
    level: Level,
    (store, any_preprocessing): (&Store, bool),
    rows: &[usize],
    reporter: &dyn Reporter,
) -> Result<Vec<Vec<f32>>> {
    let contract = model.check_store(store, &model.preprocess().leads, any_preprocessing)?;
    let source = StoreRows::under(model, store, &contract, Compat::Paper, 0)?;
    let inputs = rows.iter().map(|&row| Input::Row(&source, row));
    let progress = reporter.begin("encode recordings", rows.len(), "records");
    let mut all = Vec::with_capacity(rows.len());
    for found in vectors(model, level, inputs, WindowOptions::default())? {
        go_on(reporter)?;
        all.push(found?);
        progress.add(1);
    }
    progress.finish();
    Ok(all)
}
