//! Records with their reports, for pre-trainings on pairs.

use std::path::Path;

use purkinje_base::atomic;
use purkinje_models::text::TextConfig;
use purkinje_store::Store;
use purkinje_text::{Tokenizer, train};

use super::{Pretrains, Stage};
use crate::alignment::Judge;
use crate::prompts::read_prompts;
use crate::text::count;
use crate::texts::StoreText;
use crate::{Error, Result};

/// The tokenizer of a run, in its folder.
const TOKENIZER: &str = "tokenizer.json";
/// Word pieces of the shortest text that can be asked for.
const SHORTEST: usize = 3;

/// The records that have a report, and their reports.
pub(crate) struct Reports {
    /// Their rows in the store.
    pub rows: Vec<usize>,
    /// Their reports.
    pub texts: Vec<String>,
    /// Records without one.
    without: usize,
}

impl Reports {
    /// The texts of a column, cleaned; of the report where no column is named.
    pub fn read(
        store: &Store,
        rows: &[usize],
        column: &str,
        clean: impl Fn(&str) -> String,
    ) -> Result<Self> {
        let column = StoreText::named(store, column)?;
        let mut found = Reports {
            rows: Vec::new(),
            texts: Vec::new(),
            without: 0,
        };
        for &index in rows {
            let row = store.row(index)?;
            let text = column.of(&row).map(&clean);
            match text.filter(|text| !text.is_empty()) {
                Some(text) => {
                    found.rows.push(index);
                    found.texts.push(text);
                }
                None => found.without += 1,
            }
        }
        Ok(found)
    }

    /// Says what is left out.
    ///
    /// # Errors
    /// When the reports are too few, or all the same.
    pub fn note<S: Pretrains>(&self, stage: &Stage<'_, S>) -> Result<()> {
        let distinct = {
            let mut all: Vec<&String> = self.texts.iter().collect();
            all.sort_unstable();
            all.dedup();
            all.len()
        };
        if distinct < 2 {
            return Err(Error::invalid(format!(
                "the store {} has {} of {} training records with a report, {distinct} distinct; telling which report belongs to a recording needs at least two",
                stage.store.dir().display(),
                self.rows.len(),
                stage.rows.len()
            ))
            .with_help("choose another text with `--set text=NAME`; `purkinje store report` lists those of a store"));
        }
        if self.rows.len() < stage.config.batch {
            return Err(Error::invalid(format!(
                "{} have a report, fewer than a batch of {}",
                count(self.rows.len(), "training record"),
                stage.config.batch
            ))
            .with_help("choose a smaller `--batch`"));
        }
        if self.without > 0 {
            stage.reporter.note(&format!(
                "{} of {} have no report and are left out; {distinct} distinct reports",
                self.without,
                count(stage.rows.len(), "training record")
            ));
        }
        Ok(())
    }

    /// What models are judged by on these records; nothing where fewer than two reports differ.
    ///
    /// # Errors
    /// When only one of `task` and `prompts` is given, or the prompts cannot be read.
    pub fn judge<'a>(
        &'a self,
        store: &'a Store,
        task: &str,
        prompts: &str,
    ) -> Result<Option<Judge<'a>>> {
        let first = self.texts.first();
        if self.texts.iter().all(|text| Some(text) == first) {
            return Ok(None);
        }
        let labels = match (task, prompts) {
            ("", "") => None,
            (task, prompts) if !task.is_empty() && !prompts.is_empty() => {
                Some((task.to_owned(), read_prompts(Path::new(prompts))?))
            }
            _ => {
                return Err(Error::invalid(
                    "found only one of `task` and `prompts`, expected both, or none",
                ));
            }
        };
        Ok(Some(Judge {
            store,
            rows: &self.rows,
            texts: &self.texts,
            labels,
        }))
    }

    /// Their word pieces.
    pub fn ids(&self, tokenizer: &Tokenizer) -> Result<Vec<Vec<u32>>> {
        let ids = self.texts.iter().map(|text| tokenizer.ids(text));
        Ok(ids.collect::<Result<_, _>>()?)
    }
}

/// Checks `max-text`, in word pieces.
///
/// # Errors
/// When nothing fits between the marks of a text, or the encoder of texts reads less.
pub(crate) fn check_longest(longest: usize, encoder: &TextConfig) -> Result<(), String> {
    if longest < SHORTEST {
        return Err(format!(
            "`max-text` is {longest}, expected at least {SHORTEST} word pieces"
        ));
    }
    match encoder.positions().filter(|&most| longest > most) {
        Some(positions) => Err(format!(
            "`max-text` is {longest}, the text encoder reads {positions} word pieces at most"
        )),
        None => Ok(()),
    }
}

/// Where the tokenizer of a run comes from.
pub(crate) struct TokenizerOf<'a> {
    /// The user's, if not empty.
    pub tokenizer: &'a str,
    /// The folder of the encoder of texts that the run starts from, if not empty.
    pub text_encoder: &'a str,
    /// Word pieces of one made from the reports.
    pub vocabulary: usize,
    /// What such a one puts around texts.
    pub marks: train::Marks,
    /// Rows of the network's table.
    pub rows: usize,
}

impl TokenizerOf<'_> {
    /// That of the folder of the run, else the user's, else that of the encoder of texts it starts from, else one made from the
    /// reports; kept in the folder.
    ///
    /// # Errors
    /// When it cannot be read or made, or has more word pieces than the network's table.
    pub fn find(&self, dir: &Path, texts: &[String]) -> Result<Tokenizer> {
        let kept = dir.join(TOKENIZER);
        let found = if kept.is_file() {
            Tokenizer::read(&kept)?
        } else if !self.tokenizer.is_empty() {
            Tokenizer::read(Path::new(self.tokenizer))?
        } else if !self.text_encoder.is_empty() {
            Tokenizer::read(Path::new(self.text_encoder))?
        } else {
            train::train(texts, self.vocabulary, self.marks)?
        };
        let (largest, rows) = (found.largest_id() as usize, self.rows);
        if largest >= rows {
            return Err(Error::invalid(format!(
                "the tokenizer has ids up to {largest}, the network's table {rows} rows"
            ))
            .with_help(format!(
                "make it larger with `--set vocabulary={}`",
                largest + 1
            )));
        }
        if !kept.is_file() {
            atomic::write_file(&kept, found.json()).map_err(|error| {
                Error::invalid(format!("cannot write `{}`: {error}", kept.display()))
            })?;
        }
        Ok(found)
    }
}
