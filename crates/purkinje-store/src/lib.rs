//! placeholder
pub mod legacy_random;
