//! HUG: a head that diagnoses as a cardiologist reads, from beat to lead to lead group to all leads
//! (arXiv 2512.24002).

mod network;

pub use network::{Classifier, GROUP_NAMES, GROUPS, Head};
