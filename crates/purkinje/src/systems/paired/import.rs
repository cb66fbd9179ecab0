//! Published files.

use purkinje_models::checkpoint::{PairFile, PairLayout, Published, StateDict, published_writer};
use purkinje_models::paired::{PairConfig as _, Part};
use purkinje_models::writing::DecoderConfig;
use serde_json::Value;

use super::{ConfigOf, Family, Head, PairSystem};
use crate::import::{Imports, PublishedWriter};
use crate::keys::{Key, parsed};
use crate::system::Level;
use crate::{Error, Result};

impl<F: Family> Imports for PairSystem<F>
where
    F::Network: PairFile,
    PairLayout<ConfigOf<F>>: Published,
{
    type Layout = PairLayout<ConfigOf<F>>;

    const IMPORT_KEYS: &'static [Key<ConfigOf<F>>] = &[Key {
        key: "samples",
        help: "samples of a lead; the roundest number that the positions of the file allow unless given",
        get: |config| config.clone().samples().to_string(),
        set: |config, text| {
            *config.samples() = parsed(text, "a number of samples")?;
            Ok(())
        },
    }];

    fn published_network(
        layout: &Self::Layout,
        _: usize,
        _: Option<usize>,
    ) -> (ConfigOf<F>, Option<(Head, usize)>) {
        let mut config = layout.config.clone();
        let alone = *config.part() == Part::Encoder;
        let head = layout
            .outputs
            .map(|(outputs, average)| match average && !alone {
                true => (Head::LinearAverage, outputs),
                false => (Head::Linear, outputs),
            });
        (config, head)
    }

    /// As released, a GPT-2 reads the aligned vector and an R2Gen all tokens (`docs/differences.md`, D25).
    fn published_writer(
        found: &StateDict,
        stated: Option<&Value>,
    ) -> Result<Option<PublishedWriter>> {
        let own = published_writer(found, stated).map_err(Error::invalid)?;
        Ok(own.map(|file| {
            let of_tokens = matches!(file.config.decoder, DecoderConfig::R2Gen(_));
            let align = !of_tokens && F::ABOUT.features.contains(&"align");
            PublishedWriter {
                file,
                feature: align.then(|| "align".to_owned()),
                level: if of_tokens {
                    Level::Token
                } else {
                    Level::Recording
                },
            }
        }))
    }

    fn published_layout(config: &ConfigOf<F>, head: Option<(Head, usize)>) -> Self::Layout {
        PairLayout {
            outputs: head.map(|(head, outputs)| (outputs, head == Head::LinearAverage)),
            unused: Vec::new(),
            config: config.clone(),
        }
    }
}
