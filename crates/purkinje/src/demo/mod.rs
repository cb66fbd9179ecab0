//! The demonstration: real recordings inside the library.

pub mod recordings;
