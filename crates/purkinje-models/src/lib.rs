//! The networks: one folder for each published system, and the layers they have in common.
//!
//! [`clear`] is the masked autoencoder of heartbeats, [`hug`] its classification head; [`hubert`] predicts cluster
//! indices of masked stretches of the signal; [`dbeta`] learns from recordings and their reports, with the encoders of [`text`]; [`deri`] and [`merl`] compare both in one space and share [`paired`]; [`encoder`] is their common interface, [`layers`] are their building
//! blocks, [`checkpoint`] reads and writes published files.

#![deny(missing_docs)]

pub mod angles;
pub mod batch;
pub mod checkpoint;
pub mod clear;
pub mod compat;
pub mod dbeta;
pub mod decoding;
pub mod deri;
pub mod encoder;
pub mod hubert;
pub mod hug;
pub mod layers;
pub mod merl;
pub mod paired;
pub mod text;
pub mod writing;
pub use purkinje_base::random;
