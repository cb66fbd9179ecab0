//! The branch of texts: an encoder, the vector of its first word piece, and a projection to the width of recordings.

use std::fmt;
use std::str::FromStr;

use burn::tensor::{Tensor, activation};
use serde::{Deserialize, Serialize};

use super::Entries;
use crate::layers::vit1d::map;
use crate::layers::{Activation, Context, Weights, linear};
use crate::text::{TextConfig, TextIds};

/// What the names of the parameters of the encoder of texts begin with.
pub const TEXT: &str = "lm_model.";
/// The dense layer behind the first word piece.
const POOLER: &str = "lm_model.pooler.dense";

/// Which layers of an encoder of texts learn; those below are in evaluation mode.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Learned {
    /// None.
    #[default]
    None,
    /// So many last ones, and the dense layer behind them.
    Last(usize),
    /// All, with the tables of word pieces and positions.
    All,
}

impl fmt::Display for Learned {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Learned::None => f.write_str("none"),
            Learned::Last(layers) => write!(f, "{layers}"),
            Learned::All => f.write_str("all"),
        }
    }
}

impl From<Learned> for String {
    fn from(own: Learned) -> String {
        own.to_string()
    }
}

impl FromStr for Learned {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "none" | "0" => Ok(Learned::None),
            "all" => Ok(Learned::All),
            number => match number.parse() {
                Ok(layers) => Ok(Learned::Last(layers)),
                Err(_) => Err("expected none, all or a number of last layers".to_owned()),
            },
        }
    }
}

impl TryFrom<String> for Learned {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        text.parse()
    }
}

impl Learned {
    /// How many first layers do not learn, of so many.
    fn still(self, layers: usize) -> usize {
        match self {
            Learned::None => layers + 1,
            Learned::Last(own) => layers.saturating_sub(own),
            Learned::All => 0,
        }
    }

    /// Whether the parameter of that name, of an encoder of this configuration, learns.
    pub fn learns(self, name: &str, config: &TextConfig) -> bool {
        let Some(own) = name.strip_prefix(TEXT) else {
            return true;
        };
        match self {
            Learned::None => false,
            Learned::All => true,
            Learned::Last(_) => {
                let still = self.still(config.layers());
                let layer = own.strip_prefix("encoder.layer.");
                let layer = layer.and_then(|rest| rest.split('.').next()?.parse::<usize>().ok());
                match layer {
                    Some(layer) => layer >= still,
                    None => own.starts_with("pooler"),
                }
            }
        }
    }
}

/// The states of texts, and their vectors.
#[derive(Clone, Debug)]
pub struct Read {
    /// `[texts, length, text width]`.
    pub states: Tensor<3>,
    /// `[texts, text width]`: the first word piece through a dense layer and a hyperbolic tangent.
    pub pooled: Tensor<2>,
}

/// Reads texts. Layers that do not learn are in evaluation mode, unless all of them are as `ctx` says, as in the released programs.
pub(crate) fn read(
    weights: &Weights,
    config: &TextConfig,
    learned: Option<Learned>,
    texts: &TextIds,
    ctx: &Context,
) -> Read {
    let layers = config.layers();
    let still = learned.map_or(0, |own| own.still(layers));
    let states = config.states_above(weights, TEXT, texts, still.min(layers), ctx);
    let [size, _, width] = states.dims();
    let first = states.clone().narrow(1, 0, 1).reshape([size, width]);
    let pooled = map(first, weights, POOLER, ctx).tanh();
    Read { states, pooled }
}

/// Texts to the width of recordings `[texts, width]`.
pub(crate) fn project(x: Tensor<2>, weights: &Weights, ctx: &Context) -> Tensor<2> {
    let x = activation::gelu(map(x, weights, "proj_t.0", ctx));
    map(x, weights, "proj_t.2", ctx)
}

/// The same of all word pieces `[texts, length, width]`.
pub(crate) fn project3(x: Tensor<3>, weights: &Weights, ctx: &Context) -> Tensor<3> {
    let (w, b) = (weights.get("proj_t.0.weight"), weights.get("proj_t.0.bias"));
    let x = linear(x, w, b, Activation::Gelu, false, ctx);
    map(x, weights, "proj_t.2", ctx)
}

/// The projection.
pub(crate) fn projection_entries(text: usize, inner: usize, width: usize) -> Entries {
    vec![
        ("proj_t.0.weight".to_owned(), vec![inner, text]),
        ("proj_t.0.bias".to_owned(), vec![inner]),
        ("proj_t.2.weight".to_owned(), vec![width, inner]),
        ("proj_t.2.bias".to_owned(), vec![width]),
    ]
}

/// What gives vectors of texts, beside the projection.
pub fn text_entries(config: &TextConfig) -> Entries {
    let d = config.width();
    let mut all = config.parameters(TEXT);
    all.push((format!("{POOLER}.weight"), vec![d, d]));
    all.push((format!("{POOLER}.bias"), vec![d]));
    all
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::text::BertConfig;

    #[test]
    fn the_last_layers_learn() {
        let config = TextConfig::Bert(BertConfig {
            num_hidden_layers: 4,
            ..BertConfig::default()
        });
        let learns = |learned: &str, name: &str| {
            let learned: Learned = learned.parse().unwrap();
            learned.learns(&format!("lm_model.{name}"), &config)
        };
        for (learned, table, second, last, pooler) in [
            ("none", false, false, false, false),
            ("0", false, false, false, false),
            ("1", false, false, true, true),
            ("2", false, true, true, true),
            ("all", true, true, true, true),
        ] {
            assert_eq!(learns(learned, "embeddings.word_embeddings.weight"), table);
            assert_eq!(learns(learned, "encoder.layer.2.output.dense.bias"), second);
            assert_eq!(learns(learned, "encoder.layer.3.output.dense.bias"), last);
            assert_eq!(learns(learned, "pooler.dense.weight"), pooler);
        }
        assert!(Learned::None.learns("proj_t.0.weight", &config));
        assert!("some".parse::<Learned>().is_err());
    }
}
