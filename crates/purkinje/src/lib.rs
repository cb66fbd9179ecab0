//! The library under the program `purkinje`.

#![deny(missing_docs)]

pub mod beats;
pub mod demo;
mod device;
pub mod embed;
pub mod error;
pub mod explain;
pub mod files;
pub mod import;
pub mod inputs;
pub mod keys;
pub mod leads;
pub mod model;
pub mod network;
pub mod predict;
pub mod prepared;
pub mod pretrain;
pub mod registry;
pub mod report;
pub mod reporter;
pub mod run_folder;
pub mod stream;
pub mod system;
pub mod systems;
pub mod text;

pub use device::{Device, DeviceError};
pub use error::{Error, Result};
pub use import::{ImportOptions, Imported, import};
pub use model::Model;
pub use pretrain::{PretrainOptions, Pretrained, pretrain};
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
