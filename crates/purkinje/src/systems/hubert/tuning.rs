//! What only HuBERT-ECG's fine-tuning has.

use serde::Serialize;
use toml::{Table, Value};

use crate::keys::{Key, boolean, key, parsed, probability};

/// What only HuBERT-ECG's fine-tuning has.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub struct Tuning {
    /// Every dropout of the encoder but that on attention; those of the model if open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dropout: Option<f64>,
    /// Train on the first five seconds and not on a random crop.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub fixed_crop: bool,
    /// Updates for which transformer and convolutions are frozen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub freeze_until: Option<usize>,
    /// The published rates by layer.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub layer_wise: bool,
    /// Probability of leaving out a layer; that of the model if open.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub layerdrop: Option<f64>,
}

/// What `--set` takes.
pub(super) const KEYS: &[Key<Tuning>] = &[
    Key {
        key: "freeze-until",
        help: "transformer and convolutions are frozen for so many updates",
        get: |own| own.freeze_until.unwrap_or(0).to_string(),
        set: |own, text| {
            own.freeze_until = Some(parsed(text, "a whole number of at least 0")?);
            Ok(())
        },
    },
    key!(
        "layer-wise",
        "the published rates by layer: 1e-7 below the last four layers, 1e-5 for the head",
        own.layer_wise,
        boolean
    ),
    Key {
        key: "layerdrop",
        help: "probability of leaving out a layer",
        get: |own| or_words(own.layerdrop, "that of the model"),
        set: |own, text| {
            own.layerdrop = Some(probability(text)?);
            Ok(())
        },
    },
    Key {
        key: "dropout",
        help: "every dropout of the encoder but that on attention",
        get: |own| or_words(own.dropout, "those of the model"),
        set: |own, text| {
            own.dropout = Some(probability(text)?);
            Ok(())
        },
    },
    // Comes after `dropout` in the order of keys: where both are given, it holds.
    Key {
        key: "dropout-multiplier",
        help: "K for a dropout of max(0, 0.1 + 0.05 K), as published runs say it",
        get: |_| "none".to_owned(),
        set: |own, text| {
            let k: i64 = parsed(text, "a whole number")?;
            own.dropout = Some((0.1 + 0.05 * k as f64).max(0.0));
            Ok(())
        },
    },
    key!(
        "fixed-crop",
        "train on the first five seconds and not on a random crop",
        own.fixed_crop,
        boolean
    ),
];

fn or_words(value: Option<f64>, words: &str) -> String {
    value.map_or(words.to_owned(), |value| value.to_string())
}

/// Settings by their keys, of runs before settings were a table of their own.
pub(super) fn of_old(fields: &Table) -> Table {
    let names = [
        ("frozen_until", "freeze-until"),
        ("layerdrop", "layerdrop"),
        ("dropout", "dropout"),
        ("layer_wise", "layer-wise"),
    ];
    let same = names.into_iter().filter_map(|(field, key)| {
        let value = fields.get(field)?.clone();
        Some((key.to_owned(), value))
    });
    let mut settings: Table = same.collect();
    if let Some(random) = fields.get("random_crop").and_then(Value::as_bool) {
        settings.insert("fixed-crop".into(), (!random).into());
    }
    settings
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::finetune::tuning;
    use crate::systems::Hubert;

    #[test]
    fn settings_are_written_as_they_are_read() {
        let read = |text: &str| tuning::read::<Hubert>(&text.parse().unwrap());
        let all = Tuning {
            dropout: Some(0.25),
            fixed_crop: true,
            freeze_until: Some(0),
            layer_wise: true,
            layerdrop: Some(0.0),
        };
        for tuning in [all, Tuning::default()] {
            let table = tuning::written::<Hubert>(&tuning).unwrap();
            assert_eq!(read(&table.to_string()).unwrap(), tuning, "{table}");
        }
        // Written sparsely, in the order in which older versions wrote them.
        let sparse = read("layerdrop = 0\nlayer-wise = false\nfixed_crop = true").unwrap();
        let table = tuning::written::<Hubert>(&sparse).unwrap();
        assert_eq!(table.to_string(), "fixed-crop = true\nlayerdrop = 0.0\n");
        let multiplied = read("dropout-multiplier = -1\ndropout = 0.5").unwrap();
        assert!((multiplied.dropout.unwrap() - 0.05).abs() < 1e-12);
        assert_eq!(read("dropout-multiplier = -9").unwrap().dropout, Some(0.0));
        assert!(read("dropout = 25.0").is_err());
    }

    #[test]
    fn fields_of_old_become_settings() {
        let old = "frozen_until = 3\nlayerdrop = 0.25\nlayer_wise = true\nrandom_crop = false";
        let table = of_old(&old.parse().unwrap());
        let expected = Tuning {
            fixed_crop: true,
            freeze_until: Some(3),
            layer_wise: true,
            layerdrop: Some(0.25),
            ..Tuning::default()
        };
        assert_eq!(tuning::read::<Hubert>(&table).unwrap(), expected);
        assert!(of_old(&Table::new()).is_empty());
    }
}
