//! Settings of the pre-training of pairs.

use std::collections::BTreeMap;
use std::path::Path;

use purkinje_models::paired::{Learned, PairConfig, Paired, small_text};
use serde::{Deserialize, Serialize};

use super::{ConfigOf, Family};
use crate::keys::{Key, as_given, joined, key, parsed};
use crate::pretrain::Own;
use crate::text_encoder::TextEncoder;

/// What the kept weights are chosen by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Select {
    /// The smallest loss of held-out pairs.
    #[default]
    Loss,
    /// The highest AUROC of diagnosis by sentences: looks at labels, which makes zero-shot figures no longer free of them.
    ZeroShot,
}

/// Settings of the pre-training.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Text column of the store; the report if empty.
    pub text: String,
    /// A tokenizer; one is made from the training reports if empty.
    pub tokenizer: String,
    /// Folder of an encoder of texts to start from; a random one if empty.
    pub text_encoder: String,
    /// Terms of the loss with their weights; the others are only logged. Those of paper or program if empty.
    pub losses: BTreeMap<String, f64>,
    /// What the kept weights are chosen by.
    pub select: Select,
    /// Label set of the store that validations diagnose by sentences; none if empty.
    pub task: String,
    /// The sentences.
    pub prompts: String,
    /// Megabytes of states of texts that are kept where texts do not learn.
    pub cache_mb: usize,
    /// Updates after which the learning rate begins again at its highest.
    pub restart_every: usize,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            text: String::new(),
            tokenizer: String::new(),
            text_encoder: String::new(),
            losses: BTreeMap::new(),
            select: Select::Loss,
            task: String::new(),
            prompts: String::new(),
            cache_mb: 2048,
            restart_every: 5000,
        }
    }
}

/// A network and these settings.
pub type PairOwn<C> = Own<C, Settings>;

impl Settings {
    /// The weight of a term.
    pub fn weight<N: Paired>(&self, term: &str, released: bool) -> f64 {
        match self.losses.is_empty() {
            true if released && N::RELEASED_WITHOUT.contains(&term) => 0.0,
            true => 1.0,
            false => self.losses.get(term).copied().unwrap_or(0.0),
        }
    }
}

/// What `--set` takes for all of these systems.
pub fn keys<F: Family>() -> Vec<Key<PairOwn<ConfigOf<F>>>> {
    let mut all = texts::<F>();
    all.extend(judging::<F>());
    all.extend(F::keys());
    all
}

fn texts<F: Family>() -> Vec<Key<PairOwn<ConfigOf<F>>>> {
    vec![
        Key {
            key: "encoder",
            help: "encoder of recordings: resnet18, resnet34, resnet50 or resnet101, in MERL also vit-tiny, vit-small, vit-middle or vit-base; a residual network keeps the widths of the size",
            get: |_| "that of the size".to_owned(),
            set: |own, text| {
                let found = own.network.encoder().named(text)?;
                own.network.set_encoder(found)
            },
        },
        key!(
            "text",
            "text column of the store; the report if empty",
            own.settings.text,
            as_given
        ),
        key!(
            "tokenizer",
            "a tokenizer.json, or the folder of one or of a vocab.txt; one is made from the training reports if empty",
            own.settings.tokenizer,
            as_given
        ),
        Key {
            key: "vocabulary",
            help: "rows of the table of word pieces",
            get: |own| own.network.text().vocabulary().to_string(),
            set: |own, text| {
                let rows = parsed(text, "a number of word pieces")?;
                own.network.text_mut().set_vocabulary(rows);
                Ok(())
            },
        },
        Key {
            key: "text-size",
            help: "size of a random encoder of texts: tiny (2 layers of 64) or small (4 of 128)",
            get: |_| "that of the size".to_owned(),
            set: |own, text| {
                let rows = own.network.text().vocabulary();
                *own.network.text_mut() = small_text(text).ok_or("expected tiny or small")?;
                own.network.text_mut().set_vocabulary(rows.min(1 << 16));
                *own.network.text_learns() = Learned::All;
                Ok(())
            },
        },
        Key {
            key: "text-encoder",
            help: "folder of a BERT (config.json, model.safetensors, tokenizer.json or vocab.txt) to start from, none of whose layers learn unless `text-layers` says otherwise; a random one if empty",
            get: |own| own.settings.text_encoder.clone(),
            set: |own, text| {
                own.settings.text_encoder = text.to_owned();
                if !text.is_empty() {
                    *own.network.text_mut() =
                        TextEncoder::sizes(Path::new(text)).map_err(|error| error.to_string())?;
                    *own.network.text_learns() = Learned::None;
                }
                Ok(())
            },
        },
        Key {
            key: "text-layers",
            help: "layers of the encoder of texts that learn: none, a number of the last ones, or all",
            get: |own| own.network.clone().text_learns().to_string(),
            set: |own, text| {
                *own.network.text_learns() = text.parse()?;
                Ok(())
            },
        },
        Key {
            key: "max-text",
            help: "longest text in word pieces",
            get: |own| own.network.clone().text_tokens().to_string(),
            set: |own, text| {
                *own.network.text_tokens() = parsed(text, "a number of word pieces")?;
                Ok(())
            },
        },
        key!(
            "cache-mb",
            "megabytes of states of texts that are kept where their encoder does not learn",
            own.settings.cache_mb,
            |text| parsed(text, "a number of megabytes")
        ),
    ]
}

fn judging<F: Family>() -> Vec<Key<PairOwn<ConfigOf<F>>>> {
    vec![
        Key {
            key: "losses",
            help: "terms that are minimised, with weights other than 1: alignment,views=0.5; the others are only logged",
            get: |own| {
                let terms = F::Network::TERMS.iter();
                let released =
                    *own.network.clone().compat() == purkinje_models::compat::Compat::Released;
                let weight =
                    |term: &&'static str| own.settings.weight::<F::Network>(term, released);
                let named = terms.filter(|term| weight(term) != 0.0);
                joined(
                    named.map(|term| match weight(term) {
                        1.0 => (*term).to_owned(),
                        weight => format!("{term}={weight}"),
                    }),
                    ",",
                )
            },
            set: |own, text| {
                let mut found = BTreeMap::new();
                for part in text.split(',') {
                    let (term, weight) = match part.split_once('=') {
                        None => (part.trim(), 1.0),
                        Some((term, weight)) => {
                            (term.trim(), parsed(weight.trim(), "a weight behind `=`")?)
                        }
                    };
                    if !F::Network::TERMS.contains(&term) {
                        return Err(format!(
                            "there is no term `{term}`, expected terms among {}",
                            F::Network::TERMS.join(", ")
                        ));
                    }
                    found.insert(term.to_owned(), weight);
                }
                own.settings.losses = found;
                Ok(())
            },
        },
        key!(
            "restart-every",
            "updates after which the learning rate begins again at its highest",
            own.settings.restart_every,
            |text| parsed(text, "a number of updates")
        ),
        key!(
            "select",
            "what the kept weights are chosen by in validations: loss, or zero-shot (by `task` and `prompts`; looks at labels)",
            own.settings.select
        ),
        key!(
            "task",
            "label set of the store that validations diagnose by sentences; none if empty",
            own.settings.task,
            as_given
        ),
        key!(
            "prompts",
            "file of the sentences for its classes",
            own.settings.prompts,
            as_given
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use purkinje_models::deri::Deri;
    use purkinje_models::merl::Merl;

    #[test]
    fn terms_of_the_loss_follow_paper_or_program() {
        let own = Settings::default();
        for term in Deri::TERMS {
            assert_eq!(own.weight::<Deri>(term, false), 1.0);
            let released = f64::from(u8::from(*term != "decoded-text"));
            assert_eq!(own.weight::<Deri>(term, true), released);
        }
        assert_eq!(own.weight::<Merl>("views", true), 1.0);
        let chosen = Settings {
            losses: BTreeMap::from([("alignment".to_owned(), 0.5)]),
            ..own
        };
        assert_eq!(chosen.weight::<Deri>("alignment", true), 0.5);
        assert_eq!(chosen.weight::<Deri>("views", false), 0.0);
    }
}
