//! What the networks compute: one folder for each published system over layers they share.
//!
//! [`clear`] is the masked autoencoder of heartbeats, [`hug`] its diagnostic head; [`hubert`] predicts code words of
//! hidden stretches of the signal; [`encoder`] is what they have in common, [`layers`] what they are built from,
//! [`checkpoint`] the published files and their names.

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
