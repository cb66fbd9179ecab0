//! The parts of networks and systems that probing, fine-tuning and evaluation need, as object-safe traits.

use std::sync::Arc;

use purkinje_models::compat::Compat;
use purkinje_models::encoder::Encoder as _;
use purkinje_models::layers::Context;
use purkinje_signal::Preprocess;
use toml::Table;

use crate::finetune::{self, FinetuneConfig, Job, PatientJob, Tuned, tuning};
use crate::keys::{Described, describe};
use crate::network::{Loaded, Network, Seen, head_named, values};
use crate::probe::FrozenHead;
use crate::registry::{Complete, Entry, Registry, sized};
use crate::system::EvaluationRules;
use crate::{Device, Error, Result};

/// Input vectors of heads.
pub struct FrozenVectors {
    /// `[records, vectors, width]`.
    pub values: Vec<f32>,
    /// Standard positions of the leads the vectors stand for; one entry where there is one vector for the recording.
    pub leads: Vec<usize>,
}

/// The part of [`Network`] that probing, fine-tuning and evaluating need; see [`Finetunes`](crate::finetune::Finetunes)
/// and [`System`](crate::system::System).
pub trait Learns {
    /// The input vectors of heads, averaged over the crops of each input.
    ///
    /// # Errors
    /// When the recordings do not form a batch.
    fn vectors(&self, seen: &[&Seen], device: &Device) -> Result<FrozenVectors>;

    /// A head for frozen vectors by its name.
    fn frozen_head(&self, name: &str) -> Option<Box<dyn FrozenHead>>;

    /// Rules for computing metrics that follow the paper or the released program.
    fn evaluation(&self, compat: Compat) -> EvaluationRules;

    /// The settings of fine-tuning that only this system has, with their defaults.
    fn finetune_keys(&self) -> Vec<Described>;

    /// Settings of fine-tuning as this system writes them.
    ///
    /// # Errors
    /// Names a key that it does not have, with those there are, or a value that makes no sense.
    fn settings(&self, given: &Table) -> Result<Table>;

    /// Names of published fine-tuning recipes.
    fn recipes(&self) -> Vec<String>;

    /// Replaces the general defaults by those of this system.
    fn defaults(&self, config: &mut FinetuneConfig);

    /// Applies a published recipe.
    ///
    /// # Errors
    /// When no recipe has this name, size and start, or it is for another kind of task.
    fn follow(
        &self,
        config: &mut FinetuneConfig,
        recipe: &str,
        size: Option<&str>,
        classes: usize,
    ) -> Result<()>;

    /// Changes a recipe for pre-trained weights to one for random weights.
    ///
    /// # Errors
    /// For settings that the system does not have.
    fn start_from_scratch(&self, config: &mut FinetuneConfig) -> Result<()>;

    /// Fills in what follows from other fields.
    ///
    /// # Errors
    /// For settings that the system does not have.
    fn settle(&self, config: &mut FinetuneConfig) -> Result<()>;

    /// Settings in fields of older configurations.
    fn settings_of_old(&self, fields: &Table) -> Table;

    /// Checks the head, the trainable parameters and the system's settings of a configuration.
    ///
    /// # Errors
    /// A message that names what does not fit.
    fn check_finetuning(&self, config: &FinetuneConfig) -> Result<()>;

    /// Trains one classifier.
    ///
    /// # Errors
    /// When records cannot be read, training diverges or a stop was requested.
    fn finetune(&self, job: &Job<'_>) -> Result<Tuned>;

    /// Trains an encoder on patients.
    ///
    /// # Errors
    /// As [`Learns::finetune`].
    fn learn_patients(&self, job: PatientJob<'_>) -> Result<Arc<dyn Network>>;
}

impl<S: Complete> Learns for Loaded<S> {
    fn vectors(&self, seen: &[&Seen], device: &Device) -> Result<FrozenVectors> {
        let sights = self.sights(seen)?;
        let crops = sights.first().map_or(0, |sight| sight.crops.len());
        let mut found = None;
        for crop in 0..crops {
            let batch = self.batch(&sights, crop)?;
            let ctx = Context::inference(device.inner());
            let vectors = self.encoder.vectors(&batch, &ctx);
            found = Some(match found {
                None => (vectors, S::vector_leads(&batch)),
                Some((sum, leads)) => (sum + vectors, leads),
            });
        }
        let (sum, leads) = found.ok_or_else(|| {
            Error::invalid("no recordings were given to compute vectors of; expected at least one")
        })?;
        Ok(FrozenVectors {
            values: values(sum / crops as f32)?,
            leads,
        })
    }

    fn frozen_head(&self, name: &str) -> Option<Box<dyn FrozenHead>> {
        S::frozen_head(name)
    }

    fn evaluation(&self, compat: Compat) -> EvaluationRules {
        S::evaluation(compat)
    }

    fn finetune_keys(&self) -> Vec<Described> {
        describe(S::FINETUNE_KEYS, &S::Tuning::default())
    }

    fn settings(&self, given: &Table) -> Result<Table> {
        tuning::written::<S>(&tuning::read::<S>(given)?)
    }

    fn recipes(&self) -> Vec<String> {
        S::recipes()
    }

    fn defaults(&self, config: &mut FinetuneConfig) {
        S::defaults(config);
    }

    fn follow(
        &self,
        config: &mut FinetuneConfig,
        recipe: &str,
        size: Option<&str>,
        classes: usize,
    ) -> Result<()> {
        let network = S::config(&self.encoder);
        config.tune::<S>(|config, tuning| S::follow(config, tuning, network, recipe, size, classes))
    }

    fn start_from_scratch(&self, config: &mut FinetuneConfig) -> Result<()> {
        config.tune::<S>(|config, tuning| {
            S::from_scratch(config, tuning);
            Ok(())
        })
    }

    fn settle(&self, config: &mut FinetuneConfig) -> Result<()> {
        config.tune::<S>(|config, tuning| {
            S::settle(config, tuning);
            Ok(())
        })
    }

    fn settings_of_old(&self, fields: &Table) -> Table {
        S::settings_of_old(fields)
    }

    fn check_finetuning(&self, config: &FinetuneConfig) -> Result<()> {
        let head = head_named::<S>(&config.head)?;
        S::check_finetuning(config)?;
        let names = finetune::head_names::<S>(head, S::head_width(&self.encoder, head), 1);
        let tuning = config.tuning::<S>()?;
        S::learning(config, &tuning, S::config(&self.encoder), &names).map(|_| ())
    }

    fn finetune(&self, job: &Job<'_>) -> Result<Tuned> {
        finetune::run::<S>(&self.encoder, job)
    }

    fn learn_patients(&self, job: PatientJob<'_>) -> Result<Arc<dyn Network>> {
        Ok(Arc::new(Loaded::<S> {
            encoder: finetune::run_patients::<S>(&self.encoder, job)?,
            head: None,
        }))
    }
}

/// The part of [`AnySystem`](crate::registry::AnySystem) that fine-tuning needs.
pub trait LearnsAny {
    /// The settings of fine-tuning that only this system has, with their defaults.
    fn finetune_keys(&self) -> Vec<Described>;

    /// Names of published fine-tuning recipes.
    fn recipes(&self) -> Vec<String>;

    /// A network of a size with random weights, to train without a model, for the input that `contract` gives; with a published encoder
    /// of recordings, if one is named.
    ///
    /// # Errors
    /// When there is no such size or encoder.
    fn untrained(
        &self,
        of: (&str, Option<&str>),
        contract: &Preprocess,
        compat: Compat,
        device: &Device,
    ) -> Result<Arc<dyn Network>>;

    /// Published names of the encoders of recordings that its networks can have.
    fn encoders(&self) -> &'static [&'static str];
}

impl<S: Complete> LearnsAny for Entry<S> {
    fn finetune_keys(&self) -> Vec<Described> {
        describe(S::FINETUNE_KEYS, &S::Tuning::default())
    }

    fn recipes(&self) -> Vec<String> {
        S::recipes()
    }

    fn untrained(
        &self,
        (size, encoder): (&str, Option<&str>),
        contract: &Preprocess,
        compat: Compat,
        device: &Device,
    ) -> Result<Arc<dyn Network>> {
        let mut config = S::with_compat(sized::<S>(size)?, compat);
        if let Some(name) = encoder {
            config = S::with_encoder(config, name)
                .map_err(|problem| Error::invalid(format!("`--encoder {name}`: {problem}")))?;
        }
        let config = S::untrained(S::for_contract(config, contract));
        S::validate(&config).map_err(Error::invalid)?;
        Ok(Arc::new(Loaded::<S> {
            // These weights are not trained: the run draws its own from its seed.
            encoder: S::random(config, 0, device.inner()),
            head: None,
        }))
    }

    fn encoders(&self) -> &'static [&'static str] {
        S::ENCODERS
    }
}

impl Registry {
    /// The names of the systems that have published fine-tuning recipes.
    pub fn with_recipes(&self) -> Vec<&'static str> {
        let able = self.systems().filter(|system| !system.recipes().is_empty());
        able.map(|system| system.about().name).collect()
    }

    /// The names of the systems that have a fine-tuning setting of this name.
    pub fn with_setting(&self, key: &str) -> Vec<&'static str> {
        let has = |keys: &[Described]| keys.iter().any(|own| own.key == key);
        let able = self.systems().filter(|system| has(&system.finetune_keys()));
        able.map(|system| system.about().name).collect()
    }
}
