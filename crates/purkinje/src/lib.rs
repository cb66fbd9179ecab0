//! The library under the program `purkinje`.

#![deny(missing_docs)]

pub mod beats;
mod device;
pub mod embed;
pub mod error;
pub mod evaluate;
pub mod explain;
pub mod features;
pub mod files;
pub mod finetune;
pub mod inputs;
pub mod leads;
pub mod learns;
pub mod model;
pub mod network;
pub mod predict;
pub mod prepared;
pub mod probe;
pub mod registry;
pub mod reporter;
pub mod results;
pub mod run_folder;
pub mod settings;
pub mod stream;
pub mod system;
pub mod systems;
pub mod task;

pub use device::{Device, DeviceError};
pub use error::{Error, Result};
pub use evaluate::{EvaluateOptions, Evaluated, evaluate};
pub use finetune::{FinetuneOptions, Finetuned, finetune};
pub use model::Model;
pub use probe::{ProbeOptions, Probed, probe};
pub use registry::Registry;
pub use reporter::{Progress, Reporter, Silent};
pub use system::Level;

pub use purkinje_cluster as cluster;
pub use purkinje_eval as eval;
pub use purkinje_figures as figures;
pub use purkinje_models as models;
pub use purkinje_record as record;
pub use purkinje_signal as signal;
pub use purkinje_store as store;
pub use purkinje_train as train;
