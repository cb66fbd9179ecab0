//! What probing, fine-tuning and evaluating need of networks and systems, without their types.

use std::sync::Arc;

use purkinje_models::compat::Compat;
use purkinje_models::encoder::Encoder as _;
use purkinje_models::layers::Context;
use toml::Table;

use crate::finetune::{self, FinetuneConfig, Finetunes, Job, Tuned};
use crate::network::{Loaded, Network, Seen, head_named, values};
use crate::probe::FrozenHead;
use crate::registry::{Complete, Entry, Registry, sized};
use crate::settings::{Setting, Settings};
use crate::system::EvaluationRules;
use crate::{Device, Error, Result};

/// Vectors that heads stand on.
pub struct FrozenVectors {
    /// `[records, vectors, width]`.
    pub values: Vec<f32>,
    /// Standard positions of the leads the vectors stand for; one entry where there is one vector for the recording.
    pub leads: Vec<usize>,
}

/// The part of [`Network`] that probing, fine-tuning and evaluating need; see [`Finetunes`](crate::finetune::Finetunes)
/// and [`System`](crate::system::System).
pub trait Learns {
    /// The vectors that heads stand on, averaged over the crops of each recording.
    ///
    /// # Errors
    /// When the recordings do not form a batch.
    fn vectors(&self, seen: &[&Seen], device: &Device) -> Result<FrozenVectors>;

    /// A head for frozen vectors by its name.
    fn frozen_head(&self, name: &str) -> Option<Box<dyn FrozenHead>>;

    /// How metrics are computed under this behaviour.
    fn evaluation(&self, compat: Compat) -> EvaluationRules;

    /// Settings of fine-tuning that no other system has.
    fn settings(&self) -> &'static [Setting];

    /// Published runs of fine-tuning by name.
    fn recipes(&self) -> Vec<String>;

    /// Changes the defaults of all systems to those of this one.
    fn defaults(&self, config: &mut FinetuneConfig);

    /// Takes over a published run.
    ///
    /// # Errors
    /// When there is none of this name, size and start, or it is for another kind of task.
    fn follow(
        &self,
        config: &mut FinetuneConfig,
        recipe: &str,
        size: Option<&str>,
        classes: usize,
    ) -> Result<()>;

    /// What a run from random weights does otherwise, where one from pre-trained weights follows a published run.
    fn start_from_scratch(&self, config: &mut FinetuneConfig);

    /// Fills in what follows from other fields.
    fn settle(&self, config: &mut FinetuneConfig);

    /// Settings in fields of older configurations.
    fn settings_of_old(&self, fields: &Table) -> Settings;

    /// Checks what a configuration says about head, parameters that learn and the system.
    ///
    /// # Errors
    /// Names what does not fit.
    fn check_finetuning(&self, config: &FinetuneConfig) -> Result<()>;

    /// Trains one classifier.
    ///
    /// # Errors
    /// When records cannot be read, training diverges or a stop was requested.
    fn finetune(&self, job: &Job<'_>) -> Result<Tuned>;
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
        let (sum, leads) =
            found.ok_or_else(|| Error::invalid("there is nothing to compute vectors of"))?;
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

    fn settings(&self) -> &'static [Setting] {
        S::SETTINGS
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
        S::follow(config, S::config(&self.encoder), recipe, size, classes)
    }

    fn start_from_scratch(&self, config: &mut FinetuneConfig) {
        S::from_scratch(config);
    }

    fn settle(&self, config: &mut FinetuneConfig) {
        S::settle(config);
    }

    fn settings_of_old(&self, fields: &Table) -> Settings {
        S::settings_of_old(fields)
    }

    fn check_finetuning(&self, config: &FinetuneConfig) -> Result<()> {
        let head = head_named::<S>(&config.head)?;
        <S as Finetunes>::check(config)?;
        let names = finetune::head_names::<S>(head, self.encoder.width(), 1);
        S::learning(config, S::config(&self.encoder), &names).map(|_| ())
    }

    fn finetune(&self, job: &Job<'_>) -> Result<Tuned> {
        finetune::run::<S>(&self.encoder, job)
    }
}

/// The part of [`AnySystem`](crate::registry::AnySystem) that fine-tuning needs.
pub trait LearnsAny {
    /// Settings of fine-tuning that no other system has.
    fn settings(&self) -> &'static [Setting];

    /// Published runs of fine-tuning by name.
    fn recipes(&self) -> Vec<String>;

    /// A network of a size with random weights, from which training starts where there is no model.
    ///
    /// # Errors
    /// When there is no such size.
    fn untrained(
        &self,
        size: &str,
        compat: Compat,
        seed: u64,
        device: &Device,
    ) -> Result<Arc<dyn Network>>;
}

impl<S: Complete> LearnsAny for Entry<S> {
    fn settings(&self) -> &'static [Setting] {
        S::SETTINGS
    }

    fn recipes(&self) -> Vec<String> {
        S::recipes()
    }

    fn untrained(
        &self,
        size: &str,
        compat: Compat,
        seed: u64,
        device: &Device,
    ) -> Result<Arc<dyn Network>> {
        let config = S::untrained(S::with_compat(sized::<S>(size)?, compat));
        Ok(Arc::new(Loaded::<S> {
            encoder: S::random(config, seed, device.inner()),
            head: None,
        }))
    }
}

impl Registry {
    /// The names of the systems of which published runs of fine-tuning are known.
    pub fn with_recipes(&self) -> Vec<&'static str> {
        let able = self.systems().filter(|system| !system.recipes().is_empty());
        able.map(|system| system.about().name).collect()
    }

    /// The names of the systems whose fine-tuning has a setting of this name.
    pub fn with_setting(&self, key: &str) -> Vec<&'static str> {
        let has = |settings: &[Setting]| settings.iter().any(|setting| setting.key == key);
        let able = self.systems().filter(|system| has(system.settings()));
        able.map(|system| system.about().name).collect()
    }
}
