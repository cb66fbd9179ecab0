//! The systems whose published files are read. Their names and shapes live here and nowhere else.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::{CheckpointError, HubertLayout, Layout, StateDict, hubert, keys};

/// A published system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum System {
    /// CLEAR and HUG.
    Clear,
    /// HuBERT-ECG.
    Hubert,
}

/// How the files of a system are known: its name, and a name that its encoders alone have.
struct Known {
    system: System,
    name: &'static str,
    recognises: fn(&str) -> bool,
}

/// One line for each system.
const SYSTEMS: [Known; 2] = [
    Known {
        system: System::Clear,
        name: "clear",
        recognises: keys::is_own,
    },
    Known {
        system: System::Hubert,
        name: "hubert",
        recognises: hubert::is_own,
    },
];

impl System {
    /// The system of this name, as commands call it.
    pub fn named(name: &str) -> Option<System> {
        let known = SYSTEMS.iter().find(|known| known.name == name)?;
        Some(known.system)
    }

    /// The system whose encoder these tensors hold.
    pub fn of(found: &StateDict) -> Option<System> {
        let known = SYSTEMS
            .iter()
            .find(|known| found.names().any(known.recognises))?;
        Some(known.system)
    }

    /// What commands call it.
    pub fn name(self) -> &'static str {
        let known = SYSTEMS.iter().find(|known| known.system == self);
        known.map_or("", |known| known.name)
    }
}

/// What a file says beside its tensors, and what the user says.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The configuration of the model: `config.json`, or the object in a training script's file.
    pub config: Map<String, Value>,
    /// Attention heads of the encoder, stated by the user.
    pub heads: Option<usize>,
    /// Attention heads of the decoder, stated by the user.
    pub decoder_heads: Option<usize>,
}

/// What shapes and facts tell about a model of one system.
pub trait Published: Sized {
    /// Reads the layout off names, shapes and facts.
    ///
    /// # Errors
    /// When they are not those of this system, or leave something open.
    fn read(found: &StateDict, facts: &Facts) -> Result<Self, CheckpointError>;

    /// Every parameter by this crate's name, with its shape, in state-dict order.
    fn parameters(&self) -> Vec<(String, Vec<usize>)>;

    /// This crate's name for a tensor of a file.
    fn canonical(name: &str) -> Cow<'_, str>;

    /// The published name of a parameter.
    fn published(&self, name: &str) -> String;

    /// Attention heads of encoder and decoder.
    fn heads(&self, facts: &Facts) -> Result<(usize, Option<usize>), CheckpointError>;
}

impl Published for Layout {
    fn read(found: &StateDict, _: &Facts) -> Result<Self, CheckpointError> {
        keys::detect(found)
    }

    fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        Layout::parameters(self)
    }

    fn canonical(name: &str) -> Cow<'_, str> {
        Cow::Borrowed(keys::bare(name))
    }

    fn published(&self, name: &str) -> String {
        keys::published_name(name, self.stage)
    }

    fn heads(&self, facts: &Facts) -> Result<(usize, Option<usize>), CheckpointError> {
        let unknown = |part, width| CheckpointError::UnknownHeads { part, width };
        let heads = facts
            .heads
            .or_else(|| keys::encoder_heads(self.embed_dim, &facts.config))
            .ok_or_else(|| unknown("encoder", self.embed_dim))?;
        let decoder = match self.decoder_depth {
            0 => None,
            _ => Some(
                facts
                    .decoder_heads
                    .or_else(|| keys::decoder_heads(self.embed_dim, &facts.config))
                    .ok_or_else(|| unknown("decoder", self.decoder_embed_dim))?,
            ),
        };
        Ok((heads, decoder))
    }
}

impl Published for HubertLayout {
    fn read(found: &StateDict, facts: &Facts) -> Result<Self, CheckpointError> {
        HubertLayout::detect(found, facts)
    }

    fn parameters(&self) -> Vec<(String, Vec<usize>)> {
        HubertLayout::parameters(self)
    }

    fn canonical(name: &str) -> Cow<'_, str> {
        hubert::canonical_name(name)
    }

    fn published(&self, name: &str) -> String {
        self.published_name(name)
    }

    fn heads(&self, _: &Facts) -> Result<(usize, Option<usize>), CheckpointError> {
        Ok((self.config.num_attention_heads, None))
    }
}

#[cfg(test)]
mod tests {
    use super::super::{NamedTensor, Stage};
    use super::*;
    use crate::hubert::HubertConfig;

    #[test]
    fn files_are_known_by_their_names() {
        let hollow = |names: Vec<(String, Vec<usize>)>, prefix: &str| -> StateDict {
            let hollow = |(name, shape)| {
                let data = Vec::new();
                (format!("{prefix}{name}"), NamedTensor { shape, data })
            };
            names.into_iter().map(hollow).collect()
        };
        let clear = Layout::base(Stage::Pretrain, 0).parameters();
        let hubert = HubertConfig::base().parameters();
        for prefix in ["", "backbone."] {
            let found = System::of(&hollow(clear.clone(), prefix));
            assert_eq!(found, Some(System::Clear));
        }
        for prefix in ["", "hubert_ecg."] {
            let found = System::of(&hollow(hubert.clone(), prefix));
            assert_eq!(found, Some(System::Hubert));
        }
        let other = hollow(vec![("conv1.weight".to_owned(), vec![])], "");
        assert_eq!(System::of(&other), None);
        for known in SYSTEMS {
            assert_eq!(System::named(known.name), Some(known.system));
            assert_eq!(known.system.name(), known.name);
        }
    }
}
