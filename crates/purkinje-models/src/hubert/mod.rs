//! HuBERT-ECG: a convolutional front end and a transformer that predict the cluster indices of masked stretches of the
//! twelve concatenated leads (medRxiv 2024.11.14.24317328).

mod config;
mod heads;
mod input;
mod masking;
mod network;
mod objective;

pub(crate) use config::POSITION_DIRECTION;
pub use config::{FrontEnd, HubertConfig};
pub use heads::{Classified, Head, HeadActivation, HubertClassifier};
pub use input::{HubertBatch, HubertInput};
pub use masking::{TokenMasking, span_count};
pub use network::{Encoded, Hubert};
pub use objective::{CodeBookLoss, CodePrediction, TEMPERATURE};
