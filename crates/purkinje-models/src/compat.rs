//! Which behaviour a model follows where a paper and the program released with it differ.

use serde::{Deserialize, Serialize};

/// Which behaviour a model follows.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Compat {
    /// The paper.
    #[default]
    Paper,
    /// The released program, so that published weights give published results.
    Released,
}
