//! HUG: a classification head that works as a cardiologist reads, from beats to leads, lead groups and all leads
//! (arXiv 2512.24002).

mod network;

pub use network::{Classifier, GROUP_NAMES, GROUPS, Head};
