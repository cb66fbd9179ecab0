//! Published files.

use purkinje_models::checkpoint::{PairFile, PairLayout, Published};
use purkinje_models::paired::{PairConfig as _, Part};

use super::{ConfigOf, Family, Head, PairSystem};
use crate::import::Imports;
use crate::keys::{Key, parsed};

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

    fn published_layout(config: &ConfigOf<F>, head: Option<(Head, usize)>) -> Self::Layout {
        PairLayout {
            outputs: head.map(|(head, outputs)| (outputs, head == Head::LinearAverage)),
            unused: Vec::new(),
            config: config.clone(),
        }
    }
}
