//! The published systems: what each provides, in a folder of its own.

pub mod clear;
pub mod dbeta;
pub mod hubert;

pub use clear::Clear;
pub use dbeta::Dbeta;
pub use hubert::Hubert;
