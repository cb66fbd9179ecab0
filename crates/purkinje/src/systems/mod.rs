//! The published systems: what each provides, in a folder of its own. [`paired`] is what DERI and MERL share.

pub mod clear;
pub mod dbeta;
pub mod deri;
pub mod hubert;
mod leads;
pub mod merl;
pub mod paired;

pub use clear::Clear;
pub use dbeta::Dbeta;
pub use deri::Deri;
pub use hubert::Hubert;
pub use merl::Merl;
