//! MERL (ICML 2024): recordings and reports in one space, and two views of a recording.

use purkinje_models::merl::{self, MerlConfig};

use super::paired::{ConfigOf, Family, HEADS, PairOwn, PairSystem};
use crate::keys::{Key, key, probability};
use crate::system::{About, Level, Size};

/// The system.
pub type Merl = PairSystem<Own>;

/// What only MERL has.
pub struct Own;

impl Family for Own {
    type Network = merl::Merl;

    const ABOUT: About = About {
        name: "merl",
        title: "MERL",
        summary: "recordings and reports in one space, and two views of a recording",
        sizes: &[
            Size {
                name: "tiny",
                parameters: "0.4 M",
            },
            Size {
                name: "small",
                parameters: "2.6 M",
            },
            Size {
                name: "published",
                parameters: "114 M",
            },
        ],
        heads: HEADS,
        frozen_heads: &["linear"],
        levels: &[Level::Recording],
        head_levels: &[],
        features: &[],
        crops: false,
        preset: "deri",
        other_presets: &["deri-100"],
    };

    const ENCODERS: &'static [&'static str] = &purkinje_models::paired::ENCODERS;

    const RECIPES: &'static [(&'static str, &'static str)] =
        &[("merl-linear", include_str!("recipes/merl-linear.toml"))];

    fn size(name: &str) -> Option<MerlConfig> {
        MerlConfig::size(name)
    }

    fn keys() -> Vec<Key<PairOwn<ConfigOf<Self>>>> {
        vec![key!(
            "dropout",
            "dropout of the two views",
            own.network.dropout,
            |text| probability(text).map(|own| own as f32)
        )]
    }
}
