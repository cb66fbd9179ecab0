//! The published systems: what each provides, in a folder of its own.

pub mod clear;
pub mod hubert;

pub use clear::Clear;
pub use hubert::Hubert;
