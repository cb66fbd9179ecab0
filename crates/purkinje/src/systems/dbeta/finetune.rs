//! Fine-tuning of D-BETA.

use super::Dbeta;
use crate::finetune::Finetunes;
use crate::keys::NoSettings;

impl Finetunes for Dbeta {
    type Tuning = NoSettings;
}
