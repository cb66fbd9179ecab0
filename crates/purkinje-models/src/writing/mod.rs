//! Reports written from vectors of recordings, whatever encoder these come from.

mod forcing;
mod gpt2;

pub use forcing::{Taught, TaughtBert};
pub use gpt2::{Gpt2Writer, WriterConfig};
pub(crate) use gpt2::{loss, write};
