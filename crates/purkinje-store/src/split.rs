//! Assignment of records to splits.

use crate::error::StoreError;
use crate::schema::Split;
use crate::source::Item;
use purkinje_base::legacy_random::train_test_split;

/// How records are assigned to splits.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum SplitRule {
    /// As stated by the source; by patient, if it states a split for no record.
    Source(PatientSplit),
    /// By patient, even if the source states splits.
    Patients(PatientSplit),
    /// Per record, by NumPy's legacy generator: the 90/10 split of CLEAR-HUG's pre-training data. Two records of one
    /// patient may be in different splits, so use it only to reproduce published runs.
    LegacyRecords {
        /// Seed of the generator (0 in the published runs).
        seed: u32,
        /// Fraction of the validation split (0.1 in the published runs).
        val_share: f64,
        /// Number of records that are split together (100,100 in the published runs).
        block: usize,
    },
}

/// A random split in which all records of a patient are in the same split.
///
/// Every patient is drawn independently, from the seed and the name: adding or removing patients moves no other, and
/// the fractions hold on average. A record without a patient counts as a patient.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct PatientSplit {
    /// Seed: another one gives another split.
    pub seed: u64,
    /// Fraction of the patients in validation.
    pub val_share: f64,
    /// Fraction of the patients in test.
    pub test_share: f64,
}

impl Default for PatientSplit {
    /// 80/10/10 with seed 0.
    fn default() -> Self {
        PatientSplit {
            seed: 0,
            val_share: 0.1,
            test_share: 0.1,
        }
    }
}

impl Default for SplitRule {
    fn default() -> Self {
        SplitRule::Source(PatientSplit::default())
    }
}

impl SplitRule {
    /// Assigns a split to every item.
    ///
    /// # Errors
    /// [`StoreError::Settings`] for impossible fractions.
    pub fn apply(&self, items: &mut [Item]) -> Result<(), StoreError> {
        match *self {
            SplitRule::Source(_) if items.iter().any(|item| item.split.is_some()) => {
                for item in items {
                    item.split.get_or_insert(Split::None);
                }
                Ok(())
            }
            SplitRule::Source(patients) | SplitRule::Patients(patients) => {
                patients.check()?;
                for item in items {
                    item.split = Some(patients.part(item));
                }
                Ok(())
            }
            SplitRule::LegacyRecords {
                seed,
                val_share,
                block,
            } => legacy(items, seed, val_share, block),
        }
    }
}

impl PatientSplit {
    fn check(&self) -> Result<(), StoreError> {
        let shares = [self.val_share, self.test_share];
        let usable = shares.iter().all(|share| (0.0..1.0).contains(share));
        if usable && self.val_share + self.test_share < 1.0 {
            return Ok(());
        }
        Err(StoreError::Settings {
            reason: format!(
                "found fractions of {} for validation and {} for test, expected each to be at least 0 and their sum less than 1 (`--val-share`, `--test-share`)",
                self.val_share, self.test_share
            ),
        })
    }

    fn part(&self, item: &Item) -> Split {
        let (kind, name) = match &item.patient {
            Some(patient) => (b'p', patient),
            None => (b'r', &item.id),
        };
        let mut hasher = blake3::Hasher::new();
        hasher.update(b"purkinje patient split 1");
        hasher.update(&self.seed.to_le_bytes());
        hasher.update(&[kind]);
        hasher.update(name.as_bytes());
        let mut word = [0; 8];
        word.copy_from_slice(&hasher.finalize().as_bytes()[..8]);
        let drawn = u64::from_le_bytes(word) as f64 / 2f64.powi(64);
        if drawn < self.test_share {
            Split::Test
        } else if drawn < self.test_share + self.val_share {
            Split::Val
        } else {
            Split::Train
        }
    }
}

/// Records without files are not read by the original program, so they are not part of its random split.
fn legacy(items: &mut [Item], seed: u32, val_share: f64, block: usize) -> Result<(), StoreError> {
    if block == 0 {
        return Err(StoreError::Settings {
            reason: "a block of the legacy split needs at least one record".to_owned(),
        });
    }
    let mut present: Vec<&mut Item> = Vec::with_capacity(items.len());
    for item in items {
        item.split = Some(Split::None);
        if item.fault.is_none() {
            present.push(item);
        }
    }
    for block in present.chunks_mut(block) {
        let (train, val) = train_test_split(block.len(), val_share, seed).map_err(|error| {
            StoreError::Settings {
                reason: error.to_string(),
            }
        })?;
        for index in train {
            block[index].split = Some(Split::Train);
        }
        for index in val {
            block[index].split = Some(Split::Val);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn items(n: usize, records_per_patient: usize) -> Vec<Item> {
        (0..n)
            .map(|i| Item {
                id: format!("r{i}"),
                patient: Some(format!("p{}", i / records_per_patient)),
                ..Item::default()
            })
            .collect()
    }

    fn count(items: &[Item], split: Split) -> usize {
        items.iter().filter(|i| i.split == Some(split)).count()
    }

    #[test]
    fn patients_stay_together_and_do_not_move() {
        let mut all = items(9000, 3);
        SplitRule::default().apply(&mut all).unwrap();
        for patient in all.chunks(3) {
            assert!(patient.iter().all(|item| item.split == patient[0].split));
        }
        for split in [Split::Val, Split::Test] {
            let share = count(&all, split) as f64 / 9000.0;
            assert!((0.08..0.12).contains(&share), "{split}: {share}");
        }
        // The second half alone: every record where it was.
        let mut half = items(9000, 3).split_off(4500);
        SplitRule::default().apply(&mut half).unwrap();
        assert!(
            half.iter()
                .zip(&all[4500..])
                .all(|(a, b)| a.split == b.split)
        );
    }

    #[test]
    fn a_given_split_is_kept() {
        let mut some = items(3, 1);
        some[1].split = Some(Split::Test);
        SplitRule::default().apply(&mut some).unwrap();
        let parts: Vec<_> = some.iter().map(|item| item.split).collect();
        assert_eq!(
            parts,
            [Some(Split::None), Some(Split::Test), Some(Split::None)]
        );
    }

    #[test]
    fn legacy_blocks_are_divided_like_the_original() {
        let rule = SplitRule::LegacyRecords {
            seed: 0,
            val_share: 0.1,
            block: 100,
        };
        let mut all = items(150, 1);
        rule.apply(&mut all).unwrap();
        assert_eq!(count(&all[..100], Split::Val), 10);
        assert_eq!(count(&all[100..], Split::Val), 5);
        let (_, val) = train_test_split(100, 0.1, 0).unwrap();
        assert!(val.iter().all(|&i| all[i].split == Some(Split::Val)));
    }

    #[test]
    fn impossible_shares_are_refused() {
        let rule = SplitRule::Patients(PatientSplit {
            val_share: 0.6,
            test_share: 0.5,
            seed: 0,
        });
        assert!(rule.apply(&mut items(3, 1)).is_err());
    }
}
