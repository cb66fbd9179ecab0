//! How the networks learn: objectives, optimizer, schedule, loop, resumption.

#![deny(missing_docs)]

pub mod augment;
pub mod checkpoint;
pub mod class_weights;
pub mod classification;
pub mod early_stopping;
mod error;
pub mod losses;
mod named_losses;
mod objective;
pub mod optimizer;
mod order;
pub mod patients;
pub mod run_log;
pub mod schedule;
pub mod source;
pub mod tensorboard;
mod training;
mod validation;

pub use classification::{Classification, LearningOf, Loss, Targets};
pub use error::TrainError;
pub use named_losses::Losses;
pub use objective::{Learning, Objective};
pub use order::EpochOrder;
pub use schedule::{Decay, Schedule, Span};
pub use training::{Next, Observer, RunFolder, StepReport, TrainConfig, Trained, train};
pub use validation::{Keep, Kept, Validated, ValidationConfig};
