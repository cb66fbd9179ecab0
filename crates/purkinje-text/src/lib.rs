#![doc = include_str!("../README.md")]
#![deny(missing_docs, unsafe_code)]

pub mod batch;
pub mod clean;
mod folder;
mod gpt2;
pub mod masking;
pub mod neighbours;
pub mod tokenizer;
pub mod train;

pub use batch::TextBatch;
pub use folder::has_tokenizer;
pub use tokenizer::{TextError, Tokenizer};
