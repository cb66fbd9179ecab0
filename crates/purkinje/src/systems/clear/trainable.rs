//! Which parameters of CLEAR's classifiers train.

use serde::{Deserialize, Serialize};

/// Which parameters of a classifier train.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Trainable {
    /// Everything.
    All,
    /// The last linear layer.
    Linear,
    /// HUG and the last linear layer.
    Moe,
    /// Parameters whose names contain one of these.
    Parts(Vec<String>),
}

impl Trainable {
    /// Whether the parameter of that name trains. The decoder never does: no classifier uses it.
    pub fn accepts(&self, name: &str) -> bool {
        if name.starts_with("decoder_") || name == "mask_token" {
            return false;
        }
        match self {
            Trainable::All => true,
            Trainable::Linear => name.starts_with("mlp_head"),
            Trainable::Moe => ["moe", "mlp_head", "weight_sum"]
                .iter()
                .any(|part| name.contains(part)),
            Trainable::Parts(parts) => parts.iter().any(|part| name.contains(part)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frozen_parts_follow_the_published_rules() {
        let hug = "moe.level1_experts.0.net.0.weight";
        let encoder = "encoder_transformer.layers.0.ff.0.weight";
        assert!(Trainable::Moe.accepts(hug) && Trainable::Moe.accepts("mlp_head.bias"));
        assert!(!Trainable::Moe.accepts(encoder) && !Trainable::Linear.accepts(hug));
        assert!(Trainable::All.accepts(encoder) && !Trainable::All.accepts("mask_token"));
    }
}
