#![doc = include_str!("../README.md")]
#![deny(missing_docs, unsafe_code)]

pub mod batch;
pub mod clean;
pub mod masking;
pub mod neighbours;
pub mod tokenizer;
pub mod train;

pub use batch::TextBatch;
pub use tokenizer::{TextError, Tokenizer};
