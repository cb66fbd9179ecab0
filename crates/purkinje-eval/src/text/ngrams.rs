//! N-grams as numbers.

/// Stands before the first word of an n-gram.
pub(super) const START: u32 = u32::MAX;

/// Numbers for pairs of (number of an n-gram, next word), so that an n-gram of any length is one number: 0, 1, 2, ...
/// in the order in which they come. [`clear`](Self::clear) costs nothing, so that one table serves many texts.
pub(super) struct NgramTable {
    slots: Vec<Slot>,
    /// Slots of an earlier epoch are free.
    epoch: u32,
    len: u32,
}

#[derive(Clone, Copy, Default)]
struct Slot {
    key: u64,
    number: u32,
    epoch: u32,
}

impl Default for NgramTable {
    fn default() -> Self {
        NgramTable {
            slots: Vec::new(),
            epoch: 1, // New slots have epoch 0.
            len: 0,
        }
    }
}

impl NgramTable {
    /// Forgets everything.
    pub fn clear(&mut self) {
        self.len = 0;
        self.epoch = self.epoch.wrapping_add(1);
        if self.epoch == 0 {
            // Slots that were filled 2^32 epochs ago would look new.
            self.slots.fill(Slot::default());
            self.epoch = 1;
        }
    }

    /// How many n-grams there are.
    pub fn len(&self) -> usize {
        self.len as usize
    }

    /// The number of the n-gram `before` lengthened by `word`, if it is there.
    pub fn get(&self, before: u32, word: u32) -> Option<u32> {
        if self.len == 0 {
            return None;
        }
        let slot = self.slots[self.place(key(before, word))];
        (slot.epoch == self.epoch).then_some(slot.number)
    }

    /// The same, which is there afterwards.
    pub fn insert(&mut self, before: u32, word: u32) -> u32 {
        // At most half full, so that searches end soon.
        if self.slots.len() <= 2 * self.len() {
            self.grow();
        }
        let key = key(before, word);
        let place = self.place(key);
        if self.slots[place].epoch != self.epoch {
            self.slots[place] = Slot {
                key,
                number: self.len,
                epoch: self.epoch,
            };
            self.len += 1;
        }
        self.slots[place].number
    }

    /// Where the key is, or the free slot where it would be.
    fn place(&self, key: u64) -> usize {
        let last = self.slots.len() - 1;
        let mut place = spread(key) as usize & last;
        loop {
            let slot = &self.slots[place];
            if slot.epoch != self.epoch || slot.key == key {
                return place;
            }
            place = (place + 1) & last;
        }
    }

    fn grow(&mut self) {
        let size = (2 * self.slots.len()).max(64);
        let old = std::mem::replace(&mut self.slots, vec![Slot::default(); size]);
        for slot in old {
            if slot.epoch == self.epoch {
                let place = self.place(slot.key);
                self.slots[place] = slot;
            }
        }
    }
}

fn key(before: u32, word: u32) -> u64 {
    u64::from(before) << 32 | u64::from(word)
}

/// Neighbouring keys go to places far apart.
fn spread(key: u64) -> u64 {
    let mixed = (key ^ key >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed ^ mixed >> 32
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn numbers_are_those_of_a_map(rounds in prop::collection::vec(
            prop::collection::vec((0u32..20, 0u32..20), 0..200), 1..4))
        {
            let mut table = NgramTable::default();
            for pairs in rounds {
                table.clear();
                let mut map: HashMap<(u32, u32), u32> = HashMap::new();
                for &(before, word) in &pairs {
                    prop_assert_eq!(table.get(before, word), map.get(&(before, word)).copied());
                    let next = map.len() as u32;
                    let number = *map.entry((before, word)).or_insert(next);
                    prop_assert_eq!(table.insert(before, word), number);
                }
                prop_assert_eq!(table.len(), map.len());
            }
        }
    }

    #[test]
    fn a_table_works_before_it_is_cleared() {
        let mut table = NgramTable::default();
        assert_eq!(table.get(START, 7), None);
        assert_eq!((table.insert(START, 7), table.insert(0, 7)), (0, 1));
        assert_eq!((table.get(START, 7), table.get(0, 7)), (Some(0), Some(1)));
    }
}
