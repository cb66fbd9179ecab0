//! Everything that decides a fine-tuning run: defaults, then a published recipe, then the command line.

use std::path::PathBuf;

use miette::{IntoDiagnostic, Result, bail, miette};
use purkinje_eval::crops::Aggregation;
use purkinje_eval::fraction::LabelFraction;
use purkinje_models::compat::Compat;
use purkinje_models::hubert::HubertConfig;
use purkinje_record::LeadSet;
use purkinje_train::early_stopping::{Behaviour, StoppingConfig};
use purkinje_train::optimizer::OptimizerConfig;
use purkinje_train::recipes::{Recipe, Size, Start, TaskType, Trained, ValidatedOn, recipe};
use purkinje_train::{Decay, Keep, Schedule, Span, TrainConfig, ValidationConfig};
use serde::{Deserialize, Serialize};

use super::Args;
use crate::model::Network;

/// Penalties of the weight decay that a patience is divided into (HuBERT-ECG specification 11.2).
const INTERVALS: usize = 3;

/// Everything that decides the outcome of a run; written beside it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Plan {
    /// Prepared store.
    pub data: PathBuf,
    /// Label set of the store.
    pub task: String,
    /// Model that gives weights, or just the sizes.
    pub model: Option<PathBuf>,
    /// Size of a network without a model.
    pub size: Option<String>,
    /// Pre-trained weights or random ones.
    pub start: Start,
    /// The published run it follows.
    pub recipe: Option<String>,
    /// Behaviour of everything around the network.
    pub compat: Compat,
    /// What stands on the encoder.
    pub head: String,
    /// What learns.
    pub trainable: String,
    /// Updates during which transformer and convolutions are frozen.
    pub frozen_until: Option<usize>,
    /// Published rates by layer.
    pub layer_wise: bool,
    /// Probability of leaving out a layer, if not that of the model.
    pub layerdrop: Option<f64>,
    /// Every dropout of the encoder but that on attention, if not those of the model.
    pub dropout: Option<f64>,
    /// Positive labels, or classes that exclude each other, weigh by their rarity.
    pub class_weights: bool,
    /// One label is learnt as two classes that exclude each other.
    pub two_classes: bool,
    /// Training sees another crop of a recording in every epoch.
    pub random_crop: bool,
    /// What early stopping and the choice of weights look at.
    pub validated_on: ValidatedOn,
    /// Crops of a recording that is judged.
    pub crops: usize,
    /// How their probabilities become one.
    pub aggregation: Aggregation,
    /// Decisions at 0.5 and not where validation F1 is best.
    pub half: bool,
    /// Records of one step.
    pub batch: usize,
    /// Share of the training labels.
    pub fraction: LabelFraction,
    /// Leads, if not those of the model.
    pub leads: Option<LeadSet>,
    /// Limits on the quality of records; none when empty.
    pub quality: String,
    /// Schedule, optimizer, validation.
    pub train: TrainConfig,
}

impl Plan {
    /// The plan of a command line for a network.
    pub fn new(args: &Args, network: &Network, classes: usize) -> Result<Plan> {
        let start = match args.scratch {
            true => Start::Scratch,
            false => Start::Finetune,
        };
        let mut plan = Plan::defaults(args, network, start, args.compat.unwrap_or_default());
        if let Some(name) = &args.recipe {
            let Network::Hubert(hubert) = network else {
                bail!("`--recipe`: the published recipes are HuBERT-ECG's, the model is CLEAR's");
            };
            let config = hubert.config();
            let found = recipe(name, args.recipe_size.unwrap_or(size_of(config)), start);
            plan.follow(found.into_diagnostic()?, config, classes)?;
        }
        plan.apply(args);
        plan.check(args, network)?;
        Ok(plan)
    }

    /// What from-scratch training of the same is compared under: the published from-scratch run if there is one, otherwise the
    /// same with everything learning.
    pub fn scratch_twin(&self, network: &Network, args: &Args, classes: usize) -> Result<Plan> {
        let mut twin = self.clone();
        let (Some(name), Network::Hubert(hubert)) = (&self.recipe, network) else {
            return Ok(twin);
        };
        twin.start = Start::Scratch;
        twin.trainable = "all".into();
        twin.frozen_until = None;
        let config = hubert.config();
        let size = args.recipe_size.unwrap_or(size_of(config));
        if let Ok(found) = recipe(name, size, Start::Scratch) {
            twin.follow(found, config, classes)?;
            twin.apply(args);
        }
        Ok(twin)
    }

    fn defaults(args: &Args, network: &Network, start: Start, compat: Compat) -> Plan {
        let hubert = matches!(network, Network::Hubert(_));
        let released = compat == Compat::Released;
        let train = match hubert {
            false => TrainConfig {
                optimizer: OptimizerConfig {
                    clip_norm: Some(3.0),
                    ..OptimizerConfig::finetune()
                },
                ..TrainConfig::default()
            },
            true => TrainConfig {
                schedule: Schedule::linear(1e-4),
                optimizer: OptimizerConfig::hubert(),
                ..TrainConfig::default()
            },
        };
        Plan {
            data: args.data.clone(),
            task: args.task.clone(),
            model: args.model.clone(),
            size: args.size.clone(),
            start,
            recipe: args.recipe.clone(),
            compat,
            head: match (&args.head, hubert) {
                (Some(name), _) => name.clone(),
                (None, true) => "linear".into(),
                (None, false) => "hug".into(),
            },
            trainable: "all".into(),
            frozen_until: None,
            layer_wise: false,
            layerdrop: None,
            dropout: None,
            class_weights: false,
            two_classes: false,
            random_crop: hubert,
            validated_on: ValidatedOn::Validation,
            crops: 1,
            aggregation: Aggregation::default(),
            half: released && hubert,
            batch: 64,
            fraction: LabelFraction {
                share: args.fraction,
                method: args.sampling,
                seed: args.seed,
            },
            leads: args.leads.clone(),
            quality: String::new(),
            train: TrainConfig {
                epochs: 20,
                seed: u64::from(args.seed),
                validation: Some(ValidationConfig {
                    keep: match released && hubert {
                        true => Keep::LastImprovement,
                        false => Keep::Best,
                    },
                    ..ValidationConfig::default()
                }),
                ..train
            },
        }
    }

    /// Takes over a published run. Its dropout multiplier is for pre-trained networks; others have the dropout they were made
    /// with (specification 11.3).
    fn follow(&mut self, recipe: &Recipe, config: &HubertConfig, classes: usize) -> Result<()> {
        let two = recipe.task == TaskType::MultiClass && recipe.outputs == 2;
        self.two_classes = two && classes == 1;
        if recipe.task == TaskType::MultiClass && !self.two_classes {
            bail!(
                "`--recipe {}` is for one label (two classes that exclude each other); task `{}` has {classes}",
                recipe.name,
                self.task
            );
        }
        self.layerdrop = Some(recipe.layerdrop);
        self.dropout = (recipe.start == Start::Finetune).then(|| recipe.dropout());
        self.class_weights = recipe.class_weights;
        self.random_crop = recipe.random_crop;
        self.validated_on = match self.compat {
            Compat::Paper => ValidatedOn::Validation,
            Compat::Released => recipe.validated_on,
        };
        self.batch = recipe.batch_size;
        self.trainable = match recipe.trained {
            Trained::All => "all".into(),
            Trained::Blocks(n) => format!("last-{}", n.min(config.num_hidden_layers)),
        };
        if let Some(test) = recipe.tests.first() {
            self.crops = test.crops.max(1);
            self.aggregation = match test.aggregation.as_deref() {
                Some("mean") => Aggregation::Mean,
                _ => Aggregation::Max,
            };
        }
        let train = &mut self.train;
        train.schedule.lr = recipe.lr;
        train.updates = Some(recipe.max_steps);
        train.schedule.warmup = Span::Fraction(recipe.warmup_share);
        if let Some(validation) = &mut train.validation {
            validation.every = Some(recipe.validation_interval);
            validation.stopping = Some(StoppingConfig {
                patience: recipe.patience,
                intervals: INTERVALS,
                dynamic_regularisation: recipe.dynamic_regularisation,
                behaviour: behaviour(self.compat),
            });
        }
        Ok(())
    }

    fn apply(&mut self, args: &Args) {
        if let Some(trainable) = &args.trainable {
            self.trainable.clone_from(trainable);
        }
        if let Some(quality) = &args.quality {
            self.quality = quality.to_string();
        }
        self.frozen_until = args.freeze_until.or(self.frozen_until);
        self.layer_wise |= args.layer_wise;
        self.layerdrop = args.layerdrop.or(self.layerdrop);
        if let Some(k) = args.dropout_multiplier {
            self.dropout = Some((0.1 + 0.05 * f64::from(k)).max(0.0));
        }
        self.class_weights |= args.class_weights;
        self.random_crop &= !args.fixed_crop;
        self.crops = args.crops.unwrap_or(self.crops);
        self.aggregation = args.aggregation.unwrap_or(self.aggregation);
        self.half |= args.half;
        self.batch = args.batch.unwrap_or(self.batch);
        let (compat, frozen_until) = (self.compat, self.frozen_until);
        let train = &mut self.train;
        if let Some(epochs) = args.epochs {
            train.epochs = epochs;
            train.updates = None;
        }
        train.updates = args.updates.or(train.updates);
        let schedule = &mut train.schedule;
        schedule.lr = args.lr.unwrap_or(schedule.lr);
        if let Decay::Cosine { end } = &mut schedule.decay {
            *end = schedule.lr.min(1e-5);
            schedule.warmup = Span::Epochs(train.epochs / 10);
        }
        if let Some(fraction) = args.warmup_share {
            schedule.warmup = Span::Fraction(fraction);
        }
        train.accumulate = args.accumulate.unwrap_or(train.accumulate);
        train.restarts_from = frozen_until.filter(|_| compat == Compat::Released);
        if let Some(validation) = &mut train.validation {
            validation.every = args.validate_every.or(validation.every);
            if args.patience.is_some() || args.dynamic_regularisation {
                let now = validation.stopping.unwrap_or(StoppingConfig {
                    patience: usize::MAX,
                    intervals: INTERVALS,
                    dynamic_regularisation: false,
                    behaviour: behaviour(compat),
                });
                validation.stopping = Some(StoppingConfig {
                    patience: args.patience.unwrap_or(now.patience),
                    dynamic_regularisation: now.dynamic_regularisation
                        || args.dynamic_regularisation,
                    ..now
                });
            }
        }
    }

    fn check(&self, args: &Args, network: &Network) -> Result<()> {
        network.check_crops(self.crops)?;
        if self.batch == 0 {
            bail!("`--batch 0`: expected at least 1");
        }
        let given = [
            ("--freeze-until", args.freeze_until.is_some()),
            ("--layer-wise", args.layer_wise),
            ("--layerdrop", args.layerdrop.is_some()),
            ("--dropout-multiplier", args.dropout_multiplier.is_some()),
            ("--fixed-crop", args.fixed_crop),
            ("--warmup-share", args.warmup_share.is_some()),
        ];
        if let (Network::Clear(_), Some((name, _))) = (network, given.iter().find(|(_, on)| *on)) {
            bail!("`{name}` is for HuBERT-ECG, the model is CLEAR's; leave it out");
        }
        // Said before the run and not after it.
        if self.two_classes && self.head == "label-embedding" {
            bail!(
                "`--head label-embedding`: this recipe learns two classes that exclude each other, which takes a linear or an mlp head"
            );
        }
        if self.layerdrop.is_some_and(|p| !(0.0..1.0).contains(&p)) {
            bail!("`--layerdrop`: expected a probability below 1");
        }
        let fraction = match self.train.schedule.warmup {
            Span::Fraction(fraction) => fraction,
            _ => 0.0,
        };
        if !(0.0..=1.0).contains(&fraction) {
            bail!("`--warmup-share`: expected a share from 0 to 1");
        }
        let stopping = self.train.validation.as_ref().and_then(|v| v.stopping);
        match stopping {
            Some(stopping) if stopping.patience == usize::MAX => Err(miette!(
                "`--dynamic-regularisation` needs `--patience`: penalties come at thirds of it"
            )),
            _ => Ok(()),
        }
    }
}

fn behaviour(compat: Compat) -> Behaviour {
    match compat {
        Compat::Paper => Behaviour::Paper,
        Compat::Released => Behaviour::ReleasedFinetune,
    }
}

/// The published size a network has; that of SMALL for smaller ones.
fn size_of(config: &HubertConfig) -> Size {
    let large = HubertConfig::large().hidden_size;
    match config.hidden_size {
        d if d >= large => Size::Large,
        d if d >= HubertConfig::base().hidden_size => Size::Base,
        _ => Size::Small,
    }
}

/// A published size by name.
pub fn parse_size(text: &str) -> Result<Size, String> {
    match text {
        "small" => Ok(Size::Small),
        "base" => Ok(Size::Base),
        "large" => Ok(Size::Large),
        _ => Err("expected small, base or large".into()),
    }
}

/// How crops become one, by name.
pub fn parse_aggregation(text: &str) -> Result<Aggregation, String> {
    match text {
        "mean" => Ok(Aggregation::Mean),
        "max" => Ok(Aggregation::Max),
        _ => Err("expected mean or max".into()),
    }
}
