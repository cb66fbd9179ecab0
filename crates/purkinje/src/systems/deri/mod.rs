//! DERI (IJCAI 2025): recordings and reports, aligned at several levels, each decoded from the other.

use purkinje_models::deri::{self, DeriConfig, Feature};

use super::paired::{ConfigOf, Family, HEADS, PairOwn, PairSystem};
use crate::keys::{Key, fraction, key, probability};
use crate::system::{About, Level, Size};

/// The system.
pub type Deri = PairSystem<Own>;

/// What only DERI has.
pub struct Own;

impl Family for Own {
    type Network = deri::Deri;

    const ABOUT: About = About {
        name: "deri",
        title: "DERI",
        summary: "recordings and reports in one space, each decoded from the other",
        sizes: &[
            Size {
                name: "tiny",
                parameters: "0.5 M",
            },
            Size {
                name: "small",
                parameters: "3.3 M",
            },
            Size {
                name: "published",
                parameters: "118 M",
            },
        ],
        heads: HEADS,
        frozen_heads: &["linear"],
        levels: &[Level::Recording, Level::Token],
        head_levels: &[],
        features: &["mix", "align"],
        crops: false,
        preset: "deri",
        other_presets: &["deri-100"],
    };

    const ENCODERS: &'static [&'static str] = &["resnet18", "resnet34", "resnet50", "resnet101"];

    const RECIPES: &'static [(&'static str, &'static str)] = &[
        ("deri-linear", include_str!("recipes/deri-linear.toml")),
        (
            "deri-linear-supplement",
            include_str!("recipes/deri-linear-supplement.toml"),
        ),
    ];

    fn size(name: &str) -> Option<DeriConfig> {
        DeriConfig::size(name)
    }

    fn keys() -> Vec<Key<PairOwn<ConfigOf<Self>>>> {
        vec![
            key!(
                "mask-ratio",
                "share of tokens that each of the two views leaves out",
                own.network.mask_ratio,
                fraction
            ),
            key!(
                "dropout",
                "dropout in the first and last layer of both decoders",
                own.network.decoder.dropout,
                |text| probability(text).map(|own| own as f32)
            ),
            key!(
                "feature",
                "the vector of a recording: mix (aligned tokens and decoded text) or align (aligned tokens alone)",
                own.network.feature
            ),
        ]
    }

    fn with_feature(config: DeriConfig, name: &str) -> Option<DeriConfig> {
        let feature = match name {
            "mix" => Feature::Mix,
            "align" => Feature::Align,
            _ => return None,
        };
        Some(DeriConfig { feature, ..config })
    }
}
