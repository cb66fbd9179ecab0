#![doc = include_str!("../README.md")]
#![deny(missing_docs)]

#[allow(unsafe_code)]
pub mod by_rows;
#[allow(unsafe_code)]
pub mod matmul;
#[cfg(target_arch = "x86_64")]
#[allow(unsafe_code)]
pub mod transpose;
