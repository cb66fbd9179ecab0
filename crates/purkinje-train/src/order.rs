//! In which order records are learned from.

use std::sync::Mutex;

use purkinje_models::random::Stream;

/// A new order of the records for every epoch, incomplete last batch dropped.
#[derive(Debug)]
pub struct EpochOrder {
    stream: Stream,
    records: usize,
    batch: usize,
    /// Whether every epoch has the order of the first.
    repeated: bool,
    current: Mutex<(usize, Vec<usize>)>,
}

impl EpochOrder {
    /// An order of `records` records in batches of `batch`.
    pub fn new(records: usize, batch: usize, seed: u64) -> Self {
        EpochOrder {
            stream: Stream::new(seed, "epoch order"),
            records,
            batch,
            repeated: false,
            current: Mutex::new((usize::MAX, Vec::new())),
        }
    }

    /// The same order in every epoch, as in the released programs of DERI and MERL.
    #[must_use]
    pub fn repeated(self) -> Self {
        EpochOrder {
            repeated: true,
            ..self
        }
    }

    /// Records of one batch.
    pub fn batch_size(&self) -> usize {
        self.batch
    }

    /// Batches of one pass.
    pub fn steps(&self) -> usize {
        self.records / self.batch
    }

    /// The records of a step, counted from 0 over all epochs.
    pub fn records_of(&self, step: usize) -> Vec<usize> {
        let (epoch, step) = (step / self.steps(), step % self.steps());
        let epoch = if self.repeated { 0 } else { epoch };
        // A poisoned lock means that another thread panicked; the order itself is always whole.
        let mut current = self.current.lock().unwrap_or_else(|e| e.into_inner());
        if current.0 != epoch {
            *current = (
                epoch,
                self.stream.at(epoch as u64).permutation(self.records),
            );
        }
        current.1[step * self.batch..(step + 1) * self.batch].to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_can_be_repeated() {
        let order = EpochOrder::new(10, 5, 1).repeated();
        assert_eq!(order.records_of(1), order.records_of(3));
        assert_eq!(order.records_of(0), EpochOrder::new(10, 5, 1).records_of(0));
    }

    #[test]
    fn every_epoch_visits_every_record_once_in_a_new_order() {
        let order = EpochOrder::new(10, 5, 1);
        let epoch =
            |e: usize| -> Vec<usize> { (0..2).flat_map(|s| order.records_of(e * 2 + s)).collect() };
        let (a, b) = (epoch(0), epoch(1));
        assert_ne!(a, b);
        assert_eq!(epoch(0), a);
        let mut sorted = a;
        sorted.sort_unstable();
        assert_eq!(sorted, (0..10).collect::<Vec<_>>());
    }
}
