//! The published systems: what each provides, in a folder of its own.

mod clear;
mod hubert;

pub use clear::Clear;
pub use hubert::Hubert;
