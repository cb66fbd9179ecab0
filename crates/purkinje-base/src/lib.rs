#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

pub mod atomic;
pub mod challenge;
pub mod legacy_random;
pub mod npy;
pub mod random;
pub mod unfinished;
