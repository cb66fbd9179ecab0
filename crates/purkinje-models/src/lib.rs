//! The networks: one folder for each published system, and the layers they have in common.
//!
//! [`clear`] is the masked autoencoder of heartbeats, [`hug`] its classification head; [`hubert`] predicts cluster
//! indices of masked stretches of the signal; [`encoder`] is their common interface, [`layers`] are their building
//! blocks, [`checkpoint`] reads and writes published files.

#![deny(missing_docs)]

pub mod batch;
pub mod checkpoint;
pub mod clear;
pub mod compat;
pub mod encoder;
pub mod hubert;
pub mod hug;
pub mod layers;
pub use purkinje_base::random;
