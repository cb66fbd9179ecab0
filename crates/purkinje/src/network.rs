//! Networks of any system as trait objects: the interface of [`System`] without its types.

use std::any::Any;
use std::ops::Range;
use std::sync::Arc;

use burn::tensor::{Tensor, TensorData};
use purkinje_models::checkpoint::StateDict;
use purkinje_models::compat::Compat;
use purkinje_models::encoder::{Classify as _, Encoder};
use purkinje_models::layers::{Context, Weights};
use purkinje_models::text::TextIds;
use purkinje_record::LeadSet;
use purkinje_signal::hubert_input::crop_start;
use purkinje_signal::resample::resampled_len;
use purkinje_signal::{Prepared, Preprocess};
use purkinje_store::Store;
use purkinje_train::source::Look;
use serde_json::Value;

use crate::import::Exports;
use crate::learns::Learns;
use crate::registry::Complete;
use crate::system::{About, Level, LevelVectors, Parts, Rows, Sight, Stretch, System};
use crate::windows::BeatCount;
use crate::{Device, Error, Result};

/// The input of a network for one recording.
pub struct Seen {
    /// The leads in it.
    pub leads: LeadSet,
    /// Where its crops begin, in seconds from its start.
    pub crops_s: Vec<f64>,
    /// Seconds that the crops see together.
    pub seconds: f64,
    /// Its beats; `None` for systems that do not use beats.
    pub beats: Option<BeatCount>,
    /// A [`Sight`] of the system's input.
    sight: Box<dyn Any + Send + Sync>,
}

/// The rows of a store as inputs of a network.
pub trait SeenRows: Sync {
    /// Samples of a lead of the row at `index` of the selected ones, and their rate in hertz.
    ///
    /// # Errors
    /// When the row cannot be read.
    fn samples(&self, index: usize) -> Result<(usize, f64)>;

    /// The input for a stretch of a row, in this number of crops, or in as many as see all of it.
    ///
    /// # Errors
    /// When the row cannot be read or preprocessed.
    fn see(&self, index: usize, stretch: &Range<usize>, crops: Option<usize>) -> Result<Seen>;
}

/// A network of some system, alone or with a head; its type is chosen once, when a model is loaded or created.
///
/// It is immutable. What a system does not support gives [`Error::Unsupported`], or an empty list where capabilities
/// are listed.
pub trait Network: Exports + Learns + Any + Send + Sync {
    /// Description of its system.
    fn about(&self) -> &'static About;

    /// Its parameters, those of the head included.
    fn weights(&self) -> &Weights;

    /// Length of one vector.
    fn width(&self) -> usize;

    /// Whether it follows the paper or the released program.
    fn compat(&self) -> Compat;

    /// Its hyper-parameters, as `config.json` holds them.
    fn config(&self) -> Result<Value>;

    /// Its head as `config.json` holds it; `None` for an encoder.
    fn head(&self) -> Result<Option<Value>>;

    /// The name of its head.
    fn head_name(&self) -> Option<String>;

    /// Number of outputs of its head; 0 without one.
    fn outputs(&self) -> usize;

    /// An encoder of the same sizes with random weights.
    fn random_twin(&self, seed: u64, device: &Device) -> Arc<dyn Network>;

    /// The same network with another vector of a recording, by its name among [`About::features`].
    ///
    /// # Errors
    /// When the system has no such vector; the message names those it has.
    fn with_feature(&self, name: &str) -> Result<Arc<dyn Network>>;

    /// The same encoder with a head, given by name and number of outputs, whose parameters are among `weights`.
    ///
    /// # Errors
    /// When the system has no such head, or a parameter is missing.
    fn with_head(&self, head: &str, outputs: usize, weights: &Weights) -> Result<Arc<dyn Network>>;

    /// Random parameters of a head, given by name and number of outputs.
    ///
    /// # Errors
    /// When the system has no such head.
    fn new_head(&self, head: &str, outputs: usize, seed: u64, device: &Device) -> Result<Weights>;

    /// Prefix of the parameter names of a linear head.
    fn linear_prefix(&self) -> &'static str;

    /// The levels at which it gives vectors.
    fn levels(&self) -> Vec<Level>;

    /// Whether its predictions can be explained.
    fn explains(&self) -> bool;

    /// The input for a recording that was preprocessed under `contract`, in this number of crops, or in as many as see
    /// all of it.
    ///
    /// # Errors
    /// A message that says why the recording cannot be used.
    fn see(
        &self,
        prepared: &Prepared,
        contract: &Preprocess,
        crops: Option<usize>,
    ) -> Result<Seen, String>;

    /// The inputs for rows of a store. Where `compat` follows a released program that takes random crops, they are
    /// drawn from the stream of `seed`.
    ///
    /// # Errors
    /// When `contract` cannot be reached from the preprocessing of the store.
    fn rows<'a>(
        &self,
        store: &'a Store,
        rows: Vec<usize>,
        contract: &Preprocess,
        compat: Compat,
        seed: u64,
    ) -> Result<Box<dyn SeenRows + 'a>>;

    /// Whether two recordings can be in one batch.
    fn alike(&self, a: &Seen, b: &Seen) -> bool;

    /// The vectors of one crop of recordings at a level.
    ///
    /// # Errors
    /// When the recordings do not form a batch, or the network gives no vectors at this level.
    fn embed(
        &self,
        seen: &[&Seen],
        crop: usize,
        level: Level,
        device: &Device,
    ) -> Result<LevelVectors>;

    /// Logits `[recordings, labels]` of one crop.
    ///
    /// # Errors
    /// When the recordings do not form a batch, or there is no head.
    fn logits(&self, seen: &[&Seen], crop: usize, device: &Device) -> Result<Vec<f32>>;

    /// The logits of the first crop as sums over leads.
    ///
    /// # Errors
    /// As [`logits`](Network::logits), and where [`explains`](Network::explains) is false.
    fn contributions(&self, seen: &[&Seen], device: &Device) -> Result<Parts>;

    /// Its attention in the first crop.
    ///
    /// # Errors
    /// When the recordings do not form a batch.
    fn attention(&self, seen: &[&Seen], device: &Device) -> Result<Vec<Vec<Stretch>>>;

    /// Rows of the table of word pieces; `None` where the network reads no texts.
    fn table_of_words(&self) -> Option<usize>;

    /// Word pieces of the longest text it reads; longer ones are cut.
    fn longest_text(&self) -> usize;

    /// A text as the network was trained to read it.
    fn clean_text(&self, text: &str) -> String;

    /// One vector for each text `[texts, width]`; `None` where the network reads none.
    ///
    /// # Errors
    /// When they cannot be copied from the device.
    fn text_vectors(&self, texts: &TextIds, device: &Device) -> Result<Option<Vec<f32>>>;

    /// How well texts fit recordings `[recordings, texts]`, by their vectors; `None` where the network compares none.
    ///
    /// # Errors
    /// When they cannot be copied from the device.
    fn similarity(
        &self,
        recordings: RowsOfVectors<'_>,
        texts: RowsOfVectors<'_>,
        device: &Device,
    ) -> Result<Option<Vec<f32>>>;
}

/// Vectors of one width, row after row.
#[derive(Clone, Copy, Debug)]
pub struct RowsOfVectors<'a> {
    /// `[rows, width]`.
    pub values: &'a [f32],
    /// Length of one.
    pub width: usize,
}

/// A network of the system `S`.
pub struct Loaded<S: System> {
    /// The network; its weights include those of the head.
    pub encoder: S::Encoder,
    /// The head and its number of outputs.
    pub head: Option<(S::Head, usize)>,
}

/// The network as one of the system `S`, if it is one.
pub fn loaded<S: System>(network: &dyn Network) -> Option<&Loaded<S>> {
    (network as &dyn Any).downcast_ref()
}

type Input<S> = <<S as System>::Encoder as Encoder>::Input;
type Batch<S> = <<S as System>::Encoder as Encoder>::Batch;

impl<S: System> Loaded<S> {
    /// The network with its head.
    ///
    /// # Errors
    /// When it has none, or the head lacks a parameter.
    pub fn classifier(&self) -> Result<S::Classifier> {
        let (head, outputs) = self.head.ok_or_else(no_head)?;
        Ok(S::classifier(self.encoder.clone(), head, outputs)?)
    }

    pub(crate) fn sights<'s>(&self, seen: &[&'s Seen]) -> Result<Vec<&'s Sight<Input<S>>>> {
        let sights = seen.iter().map(|seen| seen.sight.downcast_ref());
        let sights: Option<Vec<_>> = sights.collect();
        sights.ok_or_else(|| {
            Error::invalid(format!(
                "the recordings were preprocessed for another system, expected {}",
                S::ABOUT.title
            ))
        })
    }

    pub(crate) fn batch(&self, sights: &[&Sight<Input<S>>], crop: usize) -> Result<Batch<S>> {
        let inputs = sights.iter().filter_map(|sight| sight.crops.get(crop));
        let inputs: Vec<Input<S>> = inputs.cloned().collect();
        Ok(self.encoder.batch(&inputs)?)
    }
}

fn no_head() -> Error {
    Error::invalid("the model is an encoder without a classification head")
        .with_help("fit one with `purkinje probe --out` or `purkinje finetune`")
}

/// The values of a tensor, row-major.
///
/// # Errors
/// When they cannot be copied from the device.
pub fn values<const D: usize>(tensor: burn::tensor::Tensor<D>) -> Result<Vec<f32>> {
    let data = tensor.into_data().convert::<f32>();
    data.try_to_vec::<f32>()
        .map_err(|error| Error::invalid(format!("cannot copy results from the device: {error:?}")))
}

/// Rows of a store for the system `S`.
struct RowsOf<'a, S: System> {
    store: &'a Store,
    /// Their places in the store.
    places: Vec<usize>,
    leads: LeadSet,
    crops: Crops,
    rows: Rows<'a, S::Encoder>,
}

/// Where crops lie in samples of a lead at `rate_hz`.
#[derive(Clone, Copy)]
struct Crops {
    /// Samples of one; `None` where there are none.
    samples: Option<usize>,
    rate_hz: f64,
}

impl Crops {
    fn of<S: System>(encoder: &S::Encoder, contract: &Preprocess) -> Self {
        Crops {
            samples: S::crop_samples(encoder),
            rate_hz: contract.rate_hz,
        }
    }

    /// How many are taken of `len` samples.
    fn count(self, wanted: Option<usize>, len: usize) -> usize {
        let covering = self.samples.map_or(1, |samples| len.div_ceil(samples));
        wanted.unwrap_or(covering).max(1)
    }

    fn seen<S: System>(
        self,
        leads: &LeadSet,
        len: usize,
        crops: Vec<Input<S>>,
    ) -> Result<Seen, String> {
        crops.iter().try_for_each(S::check)?;
        let count = crops.len();
        let size = self.samples.unwrap_or(len);
        let start = |k| crop_start(len, size, k, count) as f64 / self.rate_hz;
        Ok(Seen {
            leads: leads.clone(),
            crops_s: (0..count).map(start).collect(),
            seconds: (count * size).min(len) as f64 / self.rate_hz,
            beats: crops.first().and_then(S::beats),
            sight: Box::new(Sight {
                leads: leads.clone(),
                samples: len,
                rate_hz: self.rate_hz,
                crops,
            }),
        })
    }
}

impl<S: System> SeenRows for RowsOf<'_, S> {
    fn samples(&self, index: usize) -> Result<(usize, f64)> {
        Ok(self.rows.samples(index)?)
    }

    fn see(&self, index: usize, stretch: &Range<usize>, crops: Option<usize>) -> Result<Seen> {
        let (_, stored_hz) = self.rows.samples(index)?;
        let len = resampled_len(stretch.len(), stored_hz, self.crops.rate_hz);
        let n = self.crops.count(crops, len);
        let inputs = (0..n).map(|k| match n {
            1 => self.rows.see_within(index, stretch, Look::Whole),
            n => self.rows.see_within(index, stretch, Look::Crop { k, n }),
        });
        let inputs = inputs.collect::<Result<Vec<Input<S>>, _>>()?;
        let seen = self.crops.seen::<S>(&self.leads, len, inputs);
        seen.map_err(|reason| {
            let row = self.store.row(self.places[index]);
            let id = row.map(|row| row.id().to_owned()).unwrap_or_default();
            let store = self.store.dir().display();
            Error::invalid(format!("store {store}, record `{id}`: {reason}"))
        })
    }
}

impl<S: Complete> Network for Loaded<S> {
    fn about(&self) -> &'static About {
        &S::ABOUT
    }

    fn weights(&self) -> &Weights {
        self.encoder.weights()
    }

    fn width(&self) -> usize {
        self.encoder.width()
    }

    fn compat(&self) -> Compat {
        S::compat(S::config(&self.encoder))
    }

    fn config(&self) -> Result<Value> {
        json(S::config(&self.encoder))
    }

    fn head(&self) -> Result<Option<Value>> {
        self.head.map(|(head, _)| json(&head)).transpose()
    }

    fn head_name(&self) -> Option<String> {
        self.head.map(|(head, _)| head.to_string())
    }

    fn outputs(&self) -> usize {
        self.head.map_or(0, |(_, outputs)| outputs)
    }

    fn random_twin(&self, seed: u64, device: &Device) -> Arc<dyn Network> {
        Arc::new(Loaded::<S> {
            encoder: self.encoder.random_twin(seed, device.inner()),
            head: None,
        })
    }

    fn with_feature(&self, name: &str) -> Result<Arc<dyn Network>> {
        let config = S::with_feature(S::config(&self.encoder).clone(), name);
        let config = config.ok_or_else(|| {
            Error::invalid(match S::ABOUT.features {
                [] => format!(
                    "{} has one vector of a recording; leave `{name}` out",
                    S::ABOUT.title
                ),
                known => format!(
                    "{} has no vector `{name}` of a recording, expected one of {}",
                    S::ABOUT.title,
                    known.join(", ")
                ),
            })
        })?;
        Ok(Arc::new(Loaded::<S> {
            encoder: S::encoder(config, self.weights().clone())?,
            head: self.head,
        }))
    }

    fn with_head(&self, head: &str, outputs: usize, weights: &Weights) -> Result<Arc<dyn Network>> {
        let head = head_named::<S>(head)?;
        let kept = S::kept_with_head(S::config(&self.encoder));
        let mut all = self
            .weights()
            .subset(kept.iter().map(|(name, _)| name.as_str()));
        let width = S::head_width(&self.encoder, head);
        for (name, _) in S::head_parameters(head, width, outputs) {
            if let Some(parameter) = weights.parameter(&name) {
                all.put(parameter.clone());
            }
        }
        let encoder = self.encoder.with_weights(all);
        // Names what is missing.
        S::classifier(encoder.clone(), head, outputs)?;
        Ok(Arc::new(Loaded::<S> {
            encoder,
            head: Some((head, outputs)),
        }))
    }

    fn new_head(&self, head: &str, outputs: usize, seed: u64, device: &Device) -> Result<Weights> {
        let head = head_named::<S>(head)?;
        let mut weights = Weights::default();
        let width = S::head_width(&self.encoder, head);
        S::initialise_head(head, &mut weights, width, outputs, seed, device.inner());
        Ok(weights)
    }

    fn linear_prefix(&self) -> &'static str {
        S::LINEAR
    }

    fn levels(&self) -> Vec<Level> {
        S::levels(self.head.map(|(head, _)| head))
    }

    fn explains(&self) -> bool {
        self.head.is_some_and(|(head, _)| S::explains(head))
    }

    fn see(
        &self,
        prepared: &Prepared,
        contract: &Preprocess,
        crops: Option<usize>,
    ) -> Result<Seen, String> {
        let len = prepared.rows.len() / prepared.leads.len().max(1);
        let own = Crops::of::<S>(&self.encoder, contract);
        let inputs = S::see(&self.encoder, prepared, contract, own.count(crops, len))?;
        own.seen::<S>(&contract.leads, len, inputs)
    }

    fn rows<'a>(
        &self,
        store: &'a Store,
        rows: Vec<usize>,
        contract: &Preprocess,
        compat: Compat,
        seed: u64,
    ) -> Result<Box<dyn SeenRows + 'a>> {
        Ok(Box::new(RowsOf::<S> {
            store,
            places: rows.clone(),
            leads: contract.leads.clone(),
            crops: Crops::of::<S>(&self.encoder, contract),
            rows: S::rows(&self.encoder, store, rows, contract, compat, seed)?,
        }))
    }

    fn alike(&self, a: &Seen, b: &Seen) -> bool {
        match self.sights(&[a, b]).as_deref() {
            Ok([a, b]) if a.crops.len() == b.crops.len() => {
                match (a.crops.first(), b.crops.first()) {
                    (Some(a), Some(b)) => S::alike(a, b),
                    _ => false,
                }
            }
            _ => false,
        }
    }

    fn embed(
        &self,
        seen: &[&Seen],
        crop: usize,
        level: Level,
        device: &Device,
    ) -> Result<LevelVectors> {
        let sights = self.sights(seen)?;
        let batch = self.batch(&sights, crop)?;
        let ctx = Context::inference(device.inner());
        S::embed(&self.encoder, &batch, &sights, level, &ctx)
    }

    fn logits(&self, seen: &[&Seen], crop: usize, device: &Device) -> Result<Vec<f32>> {
        let batch = self.batch(&self.sights(seen)?, crop)?;
        let ctx = Context::inference(device.inner());
        values(self.classifier()?.logits(&batch, &ctx))
    }

    fn contributions(&self, seen: &[&Seen], device: &Device) -> Result<Parts> {
        let (head, _) = self.head.ok_or_else(no_head)?;
        let batch = self.batch(&self.sights(seen)?, 0)?;
        let ctx = Context::inference(device.inner());
        let leads = seen
            .first()
            .map_or_else(|| LeadSet::new(Vec::new()), |seen| seen.leads.clone());
        S::contributions(&self.encoder, head, &batch, &leads, &ctx)
    }

    fn table_of_words(&self) -> Option<usize> {
        S::table_of_words(&self.encoder)
    }

    fn longest_text(&self) -> usize {
        S::longest_text(&self.encoder)
    }

    fn clean_text(&self, text: &str) -> String {
        S::clean_text(&self.encoder, text)
    }

    fn text_vectors(&self, texts: &TextIds, device: &Device) -> Result<Option<Vec<f32>>> {
        let ctx = Context::inference(device.inner());
        let found = S::text_vectors(&self.encoder, texts, &ctx);
        found.map(values).transpose()
    }

    fn similarity(
        &self,
        recordings: RowsOfVectors<'_>,
        texts: RowsOfVectors<'_>,
        device: &Device,
    ) -> Result<Option<Vec<f32>>> {
        let ctx = Context::inference(device.inner());
        let tensor = |rows: RowsOfVectors<'_>| {
            let shape = [rows.values.len() / rows.width.max(1), rows.width];
            let data = TensorData::new(rows.values.to_vec(), shape);
            Tensor::<2>::from_data(data, ctx.device())
        };
        let (recordings, texts) = (tensor(recordings), tensor(texts));
        let found = S::similarity(&self.encoder, recordings, texts, &ctx);
        found.map(values).transpose()
    }

    fn attention(&self, seen: &[&Seen], device: &Device) -> Result<Vec<Vec<Stretch>>> {
        let sights = self.sights(seen)?;
        let batch = self.batch(&sights, 0)?;
        let ctx = Context::inference(device.inner());
        S::attention(&self.encoder, &batch, &sights, &ctx)
    }
}

/// The head with a name.
///
/// # Errors
/// When the system has no such head; the message names those it has.
pub fn head_named<S: System>(name: &str) -> Result<S::Head> {
    S::head(name).ok_or_else(|| {
        Error::invalid(format!(
            "`--head` is {name}, expected one of {1} for a {0} model",
            S::ABOUT.title,
            S::ABOUT.heads.join(", ")
        ))
    })
}

pub(crate) fn json(value: &impl serde::Serialize) -> Result<Value> {
    serde_json::to_value(value).map_err(|error| Error::invalid(format!("JSON: {error}")))
}

/// The weights of a network by their names, in host memory.
pub fn state_dict(weights: &Weights) -> StateDict {
    let host = weights.to_host();
    host.into_iter()
        .map(|(name, shape, data)| {
            (
                name,
                purkinje_models::checkpoint::NamedTensor { shape, data },
            )
        })
        .collect()
}
