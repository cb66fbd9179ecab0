//! Foundation models for the electrocardiogram: raw 12-lead recordings to representations, diagnoses and explanations.
//!
//! This is the library under the program `purkinje`; everything the program does can be called. **Research use only:
//! Purkinje is not a medical device, and its results are no medical advice.**
//!
//! # A tour
//!
//! A recording is read from any supported format ([`read`]); a [`Model`] is loaded from its folder, or created with
//! random weights for a first try. A model can be asked what it supports: the [`Level`]s at which it gives vectors, the
//! labels it predicts, and whether it explains its predictions.
//!
//! ```
//! use purkinje::{Device, Level, Model};
//!
//! # fn main() -> purkinje::Result<()> {
//! # let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/ptb-xl/records100/00000/00006_lr.hea");
//! let recording = purkinje::read(file)?;
//! assert_eq!((recording.leads.len(), recording.rate_hz), (12, 100.0));
//!
//! let model = Model::random("clear", "tiny", 0, &Device::cpu())?; // or Model::load("demo/run", &Device::cpu())?
//! let vectors = model.embed([&recording], Level::Lead)?;
//! assert_eq!(vectors.shape(), Some([1, 12, 192]));
//! let (place, first) = vectors.records[0].vectors().next().unwrap();
//! println!("{:?}: {} numbers", place.lead, first.len());
//! # Ok(())
//! # }
//! ```
//!
//! A model with a classification head predicts labels with probabilities and explains them: how much each lead adds to
//! the logit, compared with the mean recording of the training split. Predictions and explanations serialise to the
//! JSON that the program writes, and an explanation can be drawn on ECG paper.
//!
//! ```
//! # use purkinje::{Device, Model};
//! # fn main() -> purkinje::Result<()> {
//! # let file = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/ptb-xl/records100/00000/00006_lr.hea");
//! # let recording = purkinje::read(file)?;
//! # let encoder = Model::random("clear", "tiny", 0, &Device::cpu())?;
//! # let labels = purkinje::model::labels("two", &["MI".to_owned(), "NORM".to_owned()], &[0.5, 0.5]);
//! # let model = encoder.with_new_head("hug", labels, 0)?;
//! let prediction = &model.predict([&recording])?[0];
//! for label in &prediction.labels {
//!     println!("{} {:.3} {:?}", label.name, label.probability, label.present);
//! }
//! let why = model.explain(&recording, "MI")?;
//! assert!((why.sum() - f64::from(why.logit)).abs() < 1e-5);
//! let picture = why.svg()?.to_string();
//! # assert!(picture.contains("<svg"));
//! # Ok(())
//! # }
//! ```
//!
//! Whole archives are processed as streams: any number of files, recordings or rows of a store go in, one result for
//! each comes out. Recordings are read in parallel and batched, in bounded memory. One that cannot be used gives an
//! error for itself; the stream continues with the next.
//!
//! ```
//! # use purkinje::{Device, Level, Model};
//! use purkinje::inputs::{Input, ReadOptions, list};
//!
//! # fn main() -> purkinje::Result<()> {
//! # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../tests/data/ptb-xl/records100/00000");
//! # let model = Model::random("clear", "tiny", 0, &Device::cpu())?;
//! let files = list(folder.as_ref())?.into_iter().map(Input::File);
//! for embedded in model.embed_all(files, Level::Recording, ReadOptions::new())? {
//!     match embedded {
//!         Ok(record) => println!("{}: {} numbers", record.id, record.values.len()),
//!         Err(error) => eprintln!("left out: {error}"),
//!     }
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Asking a model for something it does not support gives an error that names the systems that do:
//!
//! ```
//! # use purkinje::{Device, Level, Model};
//! let model = Model::random("hubert", "tiny", 0, &Device::cpu()).unwrap();
//! let error = model.check_level(Level::Beat).unwrap_err();
//! assert!(error.to_string().contains("supported by CLEAR"));
//! ```
//!
//! # The modules
//!
//! [`record`] reads files, [`signal`] filters, resamples and finds beats, [`store`] holds prepared recordings,
//! [`models`] are the networks, [`train`] optimises them, [`cluster`] fits code books by k-means, [`eval`] computes
//! metrics, [`figures`] draws. A published system is one folder in [`systems`] that implements [`system::System`], and
//! one line in [`registry`]; nothing else in the library or the program names it.

#![deny(missing_docs)]

pub mod alignment;
pub mod beats;
pub mod demo;
mod device;
pub mod embed;
pub mod error;
pub mod evaluate;
pub mod explain;
pub mod features;
pub mod files;
pub mod finetune;
pub mod identify;
pub mod import;
pub mod inputs;
pub mod keys;
pub mod leads;
pub mod learns;
pub mod made;
pub mod model;
pub mod network;
pub mod occlusion;
pub mod predict;
pub mod prepared;
pub mod pretrain;
pub mod probe;
pub mod prompts;
pub mod registry;
pub mod report;
pub mod reporter;
pub mod reports;
pub mod results;
pub mod run_folder;
mod shift;
pub mod stream;
pub mod system;
pub mod systems;
pub mod task;
pub mod text;
pub mod text_encoder;
pub mod text_index;
pub mod texts;
pub mod timeline;
pub mod windows;
pub mod zero_shot;

use std::path::Path;

pub use device::{Device, DeviceError};
pub use embed::Vectors;
pub use error::{Error, Result};
pub use evaluate::{EvaluateOptions, Evaluated, evaluate};
pub use explain::Explanation;
pub use finetune::{FinetuneOptions, Finetuned, finetune};
pub use import::{ImportOptions, Imported, import};
pub use model::Model;
pub use predict::Prediction;
pub use pretrain::{PretrainOptions, Pretrained, pretrain};
pub use probe::{ProbeOptions, Probed, probe};
pub use registry::Registry;
pub use reporter::{Progress, Reporter, Silent};
pub use system::Level;
pub use windows::WindowOptions;

pub use purkinje_base as base;
pub use purkinje_cluster as cluster;
pub use purkinje_datasets as datasets;
pub use purkinje_eval as eval;
pub use purkinje_figures as figures;
pub use purkinje_models as models;
pub use purkinje_record as record;
pub use purkinje_signal as signal;
pub use purkinje_store as store;
pub use purkinje_train as train;

pub use purkinje_record::Recording;

/// Reads a recording in any format, its voltage leads in millivolts; [`record::open`] takes options for plain arrays.
///
/// # Errors
/// When it cannot be read; the message names the file and what was expected.
pub fn read(path: impl AsRef<Path>) -> Result<Recording> {
    let options = record::OpenOptions {
        leads: record::LeadChoice::Voltages,
        keep_digital: true,
        ..record::OpenOptions::default()
    };
    Ok(record::open(path.as_ref(), &options)?)
}
