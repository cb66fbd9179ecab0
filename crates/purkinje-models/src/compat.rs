//! Whose behaviour a model follows where a paper and the program released with it differ.

use serde::{Deserialize, Serialize};

/// Whose behaviour a model follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compat {
    /// What the authors wrote.
    #[default]
    Paper,
    /// What their program computes, so that published weights give published numbers.
    Released,
}
