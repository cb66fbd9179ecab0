//! The driver of pre-training for any system.

use std::cell::OnceCell;
use std::path::Path;
use std::sync::Arc;

use purkinje_models::compat::Compat;
use purkinje_models::encoder::Encoder as _;
use purkinje_models::layers::Weights;
use purkinje_signal::Preprocess;
use purkinje_signal::preprocess::BeatSearch;
use purkinje_store::Store;
use purkinje_text::Tokenizer;

use super::config::{begin, resolve};
use super::rows::{self, Limits};
use super::stage::Stage;
use super::{PretrainOptions, Pretrained, RunOf, StageResult, Stages};
use crate::made::{Made, PROGRAM, lines, provenance, unlabelled_data};
use crate::network::{Loaded, loaded};
use crate::registry::Complete;
use crate::reporter::go_on;
use crate::run_folder::say;
use crate::system::Level;
use crate::{Device, Error, Model, Registry, Reporter, Result};

/// Folder of the finished model within that of its stage or run.
const MODEL: &str = "model";

pub(super) fn run<S: Complete>(
    options: &PretrainOptions,
    device: &Device,
    registry: &Registry,
    reporter: &dyn Reporter,
) -> Result<Pretrained> {
    let store = Store::open(&options.data)?;
    let stored = &store.info().preprocess;
    let systems = registry.names();
    let config = resolve::<S>(options, stored, &systems)?;
    let contract = match &config.preprocess {
        Some(contract) => contract.clone(),
        None => S::contract(stored),
    };
    check_rate::<S>(&contract)?;
    note_beats::<S>(&contract, S::compat(&config.network), &store, reporter);
    begin::<S>(options, &config, stored, &systems)?;
    say(&options.out, &provenance(reporter, None, Some(&store)))?;
    let own = config.own();
    let limits = Limits {
        quality: &config.quality,
        least_seconds: S::least_seconds(&own),
    };
    let run = Run::<S> {
        options,
        rows: rows::training(&store, &limits, reporter)?,
        validation: match config.train.validation {
            None => Vec::new(),
            Some(_) => rows::validation(&store, &limits, reporter)?,
        },
        contract: S::followed(
            contract.with_leads(config.leads.clone()),
            S::compat(&config.network),
        ),
        config: &config,
        store: &store,
        device,
        registry,
        reporter,
    };
    let names: Vec<Option<String>> = match S::stages(&own) {
        Stages::One => vec![None],
        Stages::Several(names) => names.into_iter().map(Some).collect(),
    };
    let mut last: Option<Stood<S>> = None;
    let mut stages = Vec::new();
    for (number, name) in (1..).zip(&names) {
        let before = last.as_ref().map(|last| &last.encoder);
        let (next, result) = run.stage(number, name.clone(), names.len(), before)?;
        last = Some(next);
        stages.push(result);
    }
    let last = last.ok_or_else(|| {
        Error::invalid("the settings define no stage of pre-training; change them with `--set`")
    })?;
    let folder = options.out.join(MODEL);
    let model = run.model(&last);
    if names.first().is_some_and(Option::is_some) {
        model.save(&folder, run.made(names.len(), names.len(), None))?;
    }
    Ok(Pretrained {
        system: S::ABOUT.name,
        records: run.rows.len(),
        parameters: last.encoder.weights().count(),
        stages,
        folder,
        model,
    })
}

/// Says when a network of heartbeats is about to learn from R-peaks that are known to be bad.
fn note_beats<S: Complete>(
    contract: &Preprocess,
    compat: Compat,
    store: &Store,
    reporter: &dyn Reporter,
) {
    let of_beats = S::ABOUT.levels.contains(&Level::Beat);
    let by_xqrs = matches!(contract.beats, BeatSearch::Xqrs { .. });
    if of_beats && by_xqrs && compat == Compat::Paper {
        reporter.note(&format!(
            "the R-peaks of {} were detected by XQRS at {} Hz, which marks many P and T waves; `purkinje store redetect` writes a store with better ones",
            store.dir().display(),
            contract.rate_hz
        ));
    }
}

/// Checks the sampling rate: patterns learnt at one rate do not fit another. Other rates than that of the system's preset are those of its
/// other presets, with all that these state.
fn check_rate<S: Complete>(contract: &Preprocess) -> Result<()> {
    let (found, preset) = (contract.rate_hz, S::ABOUT.preset);
    let others = S::ABOUT.other_presets;
    let chosen = |name: &&str| {
        let other = Preprocess::preset(name);
        other.is_ok_and(|other| other.with_leads(contract.leads.clone()) == *contract)
    };
    match Preprocess::preset(preset) {
        Ok(own) if own.rate_hz != found && !others.iter().any(chosen) => {
            let mut also = String::new();
            for other in others {
                also.push_str(&format!(
                    "; small networks can also be pre-trained with `--preset {other}`"
                ));
            }
            Err(Error::invalid(format!(
                "the store, or the preset chosen for it, has {found} Hz, expected {} Hz for {}",
                own.rate_hz,
                S::ABOUT.title
            ))
            .with_help(format!(
                "a store that was prepared with `--preset raw-500` serves it with `--preset {preset}`; otherwise prepare a store with `--preset {preset}`{also}"
            )))
        }
        _ => Ok(()),
    }
}

/// What stands after a stage.
struct Stood<S: Complete> {
    encoder: S::Encoder,
    tokenizer: Option<Arc<Tokenizer>>,
}

struct Run<'a, S: Complete> {
    options: &'a PretrainOptions,
    config: &'a RunOf<S>,
    rows: Vec<usize>,
    /// Records to validate on; empty without validation.
    validation: Vec<usize>,
    contract: Preprocess,
    store: &'a Store,
    device: &'a Device,
    registry: &'a Registry,
    reporter: &'a dyn Reporter,
}

impl<S: Complete> Run<'_, S> {
    /// Trains stage `number` of `of`, or what is left of it.
    fn stage(
        &self,
        number: usize,
        name: Option<String>,
        of: usize,
        before: Option<&S::Encoder>,
    ) -> Result<(Stood<S>, StageResult)> {
        go_on(self.reporter)?;
        let dir = match &name {
            None => self.options.out.clone(),
            Some(name) => self.options.out.join(name),
        };
        let finished = dir.join(MODEL);
        if self.options.resume && finished.join("config.json").is_file() {
            let stood = self.load(&finished)?;
            return Ok((stood, StageResult { name, last: None }));
        }
        let start = S::begin(self.config, number, before, self.device)?;
        let stood = |weights: &Weights, tokenizer: Option<&Arc<Tokenizer>>| Stood {
            encoder: start.with_weights(weights.clone()),
            tokenizer: tokenizer.cloned(),
        };
        let save = |weights: &Weights, tokenizer: Option<&Arc<Tokenizer>>, folder: &str, epochs| {
            let folder = dir.join(folder);
            self.save(
                &stood(weights, tokenizer),
                &folder,
                number,
                of,
                Some(epochs),
            )
        };
        let model = |weights: &Weights, tokenizer: Option<&Arc<Tokenizer>>| {
            self.model(&stood(weights, tokenizer))
        };
        let stage = Stage::<S> {
            number,
            name: name.clone(),
            dir: dir.clone(),
            config: self.config,
            train: S::stage_training(self.config, number, self.rows.len())?,
            store: self.store,
            rows: &self.rows,
            validation: &self.validation,
            contract: &self.contract,
            device: self.device,
            reporter: self.reporter,
            keep_every: self.options.keep_every,
            resume: self.options.resume,
            tokenizer: OnceCell::new(),
            save: &save,
            model: &model,
        };
        let nothing = stage.train.epochs == 0 && stage.train.updates.is_none();
        let (encoder, tokenizer, last) = match nothing {
            true => (start.clone(), None, None),
            false => {
                let learned = S::stage(&stage, &start, before)?;
                let encoder = start.with_weights(learned.weights);
                (encoder, learned.tokenizer, learned.last)
            }
        };
        let stood = Stood { encoder, tokenizer };
        self.save(&stood, &finished, number, of, None)?;
        Ok((stood, StageResult { name, last }))
    }

    fn model(&self, stood: &Stood<S>) -> Model {
        let network = Arc::new(Loaded::<S> {
            encoder: stood.encoder.clone(),
            head: None,
        });
        Model::encoder(network, self.contract.clone(), self.device, self.registry)
            .with_tokenizer(stood.tokenizer.clone())
    }

    fn save(
        &self,
        stood: &Stood<S>,
        folder: &Path,
        number: usize,
        of: usize,
        epochs: Option<usize>,
    ) -> Result<()> {
        self.model(stood)
            .save(folder, self.made(number, of, epochs))
    }

    fn load(&self, folder: &Path) -> Result<Stood<S>> {
        let model = Model::load_with(folder, self.device, self.registry)?;
        loaded::<S>(model.network().as_ref())
            .map(|loaded| Stood {
                encoder: loaded.encoder.clone(),
                tokenizer: model.tokenizer().cloned(),
            })
            .ok_or_else(|| {
                Error::invalid(format!(
                    "`{}` holds a {} model, expected {}",
                    folder.display(),
                    model.about().title,
                    S::ABOUT.title
                ))
            })
    }

    /// How a model was made, for its card: after stage `number` of `of`, or after `epochs` of that stage.
    fn made(&self, number: usize, of: usize, epochs: Option<usize>) -> Made {
        let train = &self.config.train;
        let length = match (train.updates, epochs) {
            (Some(updates), None) => format!("{updates} updates"),
            (Some(updates), Some(done)) => format!("{done} epochs in {updates} updates"),
            (None, None) if of > 1 => format!("{} epochs", train.epochs),
            (None, done) => format!(
                "{} of {} epochs",
                done.unwrap_or(train.epochs),
                train.epochs
            ),
        };
        let length = match of {
            1 => length,
            _ => format!("{number} of {of} stages of {length}"),
        };
        let sentence = format!(
            "{PROGRAM} pretrain {}: {} records of `{}`, {length}, seed {}",
            S::ABOUT.name,
            self.rows.len(),
            self.store.info().name,
            train.seed
        );
        let made_by = provenance(self.reporter, None, Some(self.store));
        Made {
            how: [vec![sentence], lines(&made_by)].concat(),
            training_data: unlabelled_data(self.store, self.rows.len()),
            ..Made::default()
        }
    }
}
