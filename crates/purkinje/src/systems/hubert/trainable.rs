//! Which parts of HuBERT-ECG's classifiers train, and how fast.

use purkinje_models::compat::Compat;
use purkinje_models::hubert::HubertConfig;

/// Which parts of a classifier train. The feature projection and the head always do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Freezing {
    /// Transformer layers, counted from the last.
    pub blocks: usize,
    /// The convolutions of the front end.
    pub convolutions: bool,
    /// The positional convolution and the first norm of the encoder.
    pub positions: bool,
}

impl Freezing {
    /// Everything trains.
    pub fn all(layers: usize) -> Self {
        Freezing {
            blocks: layers,
            convolutions: true,
            positions: true,
        }
    }

    /// The last `blocks` layers of `config` train. Where these are all, [`Compat::Paper`] also trains what comes before
    /// the first layer; the program leaves it frozen (13.14).
    pub fn last(blocks: usize, convolutions: bool, config: &HubertConfig) -> Self {
        Freezing {
            blocks,
            convolutions,
            positions: config.compat == Compat::Paper && blocks >= config.num_hidden_layers,
        }
    }

    /// Whether the parameter of that name trains in a model of this configuration.
    pub fn trains(&self, name: &str, config: &HubertConfig) -> bool {
        if name.starts_with("feature_extractor.") {
            return self.convolutions;
        }
        match name.strip_prefix("encoder.") {
            None => true,
            Some(part) => match layer_of(part) {
                None => self.positions,
                Some(layer) => layer + self.blocks >= config.num_hidden_layers,
            },
        }
    }
}

/// The number of the layer a part of the encoder belongs to.
fn layer_of(part: &str) -> Option<usize> {
    let rest = part.strip_prefix("layers.")?;
    rest.split('.').next()?.parse().ok()
}

/// The learning rate of a parameter under layer-wise rates: 1e-7 for the feature projection and all layers but the last
/// four, `lr` for these, 1e-5 for the head; `None` for what is not optimised.
pub fn layer_wise_rate(name: &str, lr: f64, config: &HubertConfig) -> Option<f64> {
    const LOW: f64 = 1e-7;
    const HEAD: f64 = 1e-5;
    const LAST: usize = 4;
    if name.starts_with("feature_projection.") {
        return Some(LOW);
    }
    if name.starts_with("classifier.") || name.starts_with("label_embedding.") {
        return Some(HEAD);
    }
    let layer = layer_of(name.strip_prefix("encoder.")?)?;
    let high = layer + LAST >= config.num_hidden_layers;
    Some(if high { lr } else { LOW })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_rules_freeze_what_the_key_tables_say() {
        let paper = HubertConfig::base();
        let released = HubertConfig {
            compat: Compat::Released,
            ..paper.clone()
        };
        let sizes = |config: &HubertConfig| -> usize {
            let freezing = Freezing::last(12, false, config);
            let own = config.encoder_parameters().into_iter();
            own.filter(|(name, _)| freezing.trains(name, config))
                .map(|(_, shape)| shape.iter().product::<usize>())
                .sum()
        };
        let table =
            include_str!("../../../../purkinje-models/src/checkpoint/published_keys_hubert.txt");
        let (_, table) = table.split_once("= base classification").unwrap();
        let (table, _) = table.split_once("\n= ").unwrap();
        let all = Freezing::last(12, false, &released);
        for line in table.lines().filter(|line| line.contains("hubert_ecg.")) {
            let words: Vec<&str> = line.trim_start_matches("*12 ").split(' ').collect();
            let name = words[0]["hubert_ecg.".len()..].replace("{i}", "3");
            assert_eq!(all.trains(&name, &released), words[2] == "+", "{name}");
        }
        // With the vector for hidden tokens and 164 outputs.
        assert_eq!(sizes(&released) + 768 + 769 * 164, 85_576_356);
        assert!(sizes(&paper) > sizes(&released));
        let two = Freezing::last(2, true, &paper);
        assert!(two.trains("encoder.layers.10.layer_norm.bias", &paper));
        assert!(!two.trains("encoder.layers.9.layer_norm.bias", &paper));
        assert!(!two.trains("encoder.layer_norm.bias", &paper));
        assert!(two.trains("feature_extractor.conv_layers.0.conv.weight", &paper));
        let rate = |name| layer_wise_rate(name, 1e-4, &paper);
        assert_eq!(rate("encoder.layers.7.layer_norm.bias"), Some(1e-7));
        assert_eq!(rate("encoder.layers.8.layer_norm.bias"), Some(1e-4));
        assert_eq!(rate("classifier.0.bias"), Some(1e-5));
        assert_eq!(rate("encoder.layer_norm.bias"), None);
    }
}
