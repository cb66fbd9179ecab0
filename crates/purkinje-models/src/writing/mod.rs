//! Reports written from vectors of recordings, whatever encoder these come from.

mod forcing;
mod gpt2;
mod r2gen;
mod writer;

pub use forcing::{Taught, TaughtBert};
pub(crate) use gpt2::{loss, write};
pub use writer::{DecoderConfig, ReportWriter, WriterConfig};
