//! The files of a published system. Names and shapes are behind this trait and nowhere else.

use std::borrow::Cow;

use serde_json::{Map, Value};

use super::{CheckpointError, HubertLayout, Layout, StateDict, hubert, keys};

/// Facts from a file beside its tensors, and from the user.
#[derive(Clone, Debug, Default)]
pub struct Facts {
    /// The configuration of the model: `config.json`, or the object in a training script's file.
    pub config: Map<String, Value>,
    /// Attention heads of the encoder, stated by the user.
    pub heads: Option<usize>,
    /// Attention heads of the decoder, stated by the user.
    pub decoder_heads: Option<usize>,
}

/// The structure of a model of one system, from shapes and facts.
pub trait Published: Sized {
    /// Tensors that published files hold a second time, under another name.
    const REPEATED: &'static [(&'static str, &'static str)] = &[];

    /// Whether only encoders of this system have a tensor of this name.
    fn recognises(name: &str) -> bool;

    /// The tensors of a file without what says the same twice under other names.
    fn tidied(found: StateDict) -> StateDict {
        found
    }

    /// Determines the layout from names, shapes and facts.
    ///
    /// # Errors
    /// When they are not those of this system, or are not sufficient.
    fn read(found: &StateDict, facts: &Facts) -> Result<Self, CheckpointError>;

    /// Every parameter by this crate's name, with its shape, in state-dict order.
    fn parameters(&self) -> Vec<(String, Vec<usize>)>;

    /// This crate's name for a tensor of a file.
    fn canonical(name: &str) -> Cow<'_, str>;

    /// The published name of a parameter.
    fn published(&self, name: &str) -> String;

    /// Tensors, by their published names, that the published program has and nothing uses: written as zeros where a network lacks them.
    fn unused(&self) -> Vec<(String, Vec<usize>)> {
        Vec::new()
    }

    /// Attention heads of encoder and decoder.
    fn heads(&self, facts: &Facts) -> Result<(usize, Option<usize>), CheckpointError>;
}

impl Published for Layout {
    fn recognises(name: &str) -> bool {
        keys::is_own(name)
    }

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
    fn recognises(name: &str) -> bool {
        hubert::is_own(name)
    }

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
    use super::super::Stage;
    use super::*;
    use crate::hubert::HubertConfig;

    #[test]
    fn files_are_known_by_their_names() {
        let known = |names: &[(String, Vec<usize>)], prefix: &str| {
            let names: Vec<String> = names.iter().map(|(n, _)| format!("{prefix}{n}")).collect();
            let any = |recognises: fn(&str) -> bool| names.iter().any(|name| recognises(name));
            (any(Layout::recognises), any(HubertLayout::recognises))
        };
        let clear = Layout::base(Stage::Pretrain, 0).parameters();
        for prefix in ["", "backbone."] {
            assert_eq!(known(&clear, prefix), (true, false));
        }
        let hubert = HubertConfig::base().parameters();
        for prefix in ["", "hubert_ecg."] {
            assert_eq!(known(&hubert, prefix), (false, true));
        }
        let other = [("conv1.weight".to_owned(), vec![])];
        assert_eq!(known(&other, ""), (false, false));
    }
}
