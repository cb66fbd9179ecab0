//! The random generators of Python, NumPy, scikit-learn and PyTorch, reproduced number for number.
//!
//! Published results depend on which records a seed selected. These functions reproduce the selections of the original
//! Python programs, so that a label fraction, a 90/10 split or an epoch order is the same list of records. Everything
//! else should use a counter-based generator instead.
//!
//! | function | reproduces |
//! | --- | --- |
//! | [`python_sample`] | `random.seed(s); random.sample(range(n), k)` |
//! | [`numpy_permutation`] | `numpy.random.seed(s); numpy.random.permutation(n)` |
//! | [`stratified_subset`] | per-class NumPy shuffles, then one over the union |
//! | [`train_test_split`] | `sklearn.model_selection.train_test_split(random_state=s)` |
//! | [`torch_randperm`] | `torch.randperm(n)` on the CPU after `manual_seed(s)` |
//! | [`epoch_order`] | `torch.utils.data.DistributedSampler` |
//!
//! All of them rest on [`Mt19937`] (Matsumoto and Nishimura 1998, doi:10.1145/272991.272995).

use std::collections::HashSet;

use thiserror::Error;

/// Arguments that the original functions also refuse.
#[derive(Debug, Clone, PartialEq, Error)]
pub enum LegacyRandomError {
    /// The sample is larger than the number of records.
    #[error("The sample size is {wanted}, expected at most {available}, the number of records.")]
    SampleTooLarge {
        /// The sample size.
        wanted: usize,
        /// The number of records.
        available: usize,
    },
    /// A fraction outside its range.
    #[error(
        "The fraction is {share}, expected greater than 0 and at most 1 (for example 0.1 for 10 %)."
    )]
    Share {
        /// The fraction found.
        share: f64,
    },
    /// A split that leaves one side empty.
    #[error(
        "A split of {records} records with a test fraction of {share} leaves one side empty; change the fraction or give more records."
    )]
    EmptySide {
        /// Records to split.
        records: usize,
        /// Fraction of the test side.
        share: f64,
    },
    /// A label matrix that is not `records x classes`.
    #[error("The label matrix has {found} values, expected whole rows of {classes} classes.")]
    LabelShape {
        /// Values found.
        found: usize,
        /// Columns declared.
        classes: usize,
    },
    /// A sampler with no process.
    #[error("The number of processes of an epoch order is 0, expected at least 1.")]
    NoReplicas,
}

/// The Mersenne Twister with 32-bit output and a period of 2^19937 - 1.
///
/// [`Mt19937::from_seed`] is `init_genrand` of the reference implementation (NumPy's legacy
/// generator and PyTorch's CPU generator seed this way), [`Mt19937::from_key`] is
/// `init_by_array` (Python's `random` seeds this way).
#[derive(Clone, Debug)]
pub struct Mt19937 {
    state: [u32; Mt19937::WORDS],
    /// Words of `state` already handed out.
    used: usize,
}

impl Mt19937 {
    const WORDS: usize = 624;
    const SHIFT: usize = 397;

    /// Generator seeded by one 32-bit number.
    pub fn from_seed(seed: u32) -> Self {
        let mut state = [0u32; Self::WORDS];
        state[0] = seed;
        for i in 1..Self::WORDS {
            let previous = state[i - 1];
            state[i] = (previous ^ (previous >> 30))
                .wrapping_mul(1_812_433_253)
                .wrapping_add(i as u32);
        }
        Self {
            state,
            used: Self::WORDS,
        }
    }

    /// Generator seeded by a list of 32-bit numbers; an empty list counts as `[0]`.
    pub fn from_key(key: &[u32]) -> Self {
        let key = if key.is_empty() { &[0][..] } else { key };
        let mut generator = Self::from_seed(19_650_218);
        let state = &mut generator.state;
        let (mut i, mut j) = (1, 0);
        for _ in 0..Self::WORDS.max(key.len()) {
            let previous = state[i - 1];
            state[i] = (state[i] ^ (previous ^ (previous >> 30)).wrapping_mul(1_664_525))
                .wrapping_add(key[j])
                .wrapping_add(j as u32);
            (i, j) = (i + 1, (j + 1) % key.len());
            if i == Self::WORDS {
                state[0] = state[Self::WORDS - 1];
                i = 1;
            }
        }
        for _ in 1..Self::WORDS {
            let previous = state[i - 1];
            state[i] = (state[i] ^ (previous ^ (previous >> 30)).wrapping_mul(1_566_083_941))
                .wrapping_sub(i as u32);
            i += 1;
            if i == Self::WORDS {
                state[0] = state[Self::WORDS - 1];
                i = 1;
            }
        }
        state[0] = 0x8000_0000;
        generator
    }

    /// Generator in the state of Python's `random.seed(seed)`.
    pub fn from_python_seed(seed: u64) -> Self {
        let (low, high) = (seed as u32, (seed >> 32) as u32);
        if high == 0 {
            Self::from_key(&[low])
        } else {
            Self::from_key(&[low, high])
        }
    }

    /// The next 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.used == Self::WORDS {
            self.refill();
        }
        let mut word = self.state[self.used];
        self.used += 1;
        word ^= word >> 11;
        word ^= (word << 7) & 0x9d2c_5680;
        word ^= (word << 15) & 0xefc6_0000;
        word ^ (word >> 18)
    }

    fn refill(&mut self) {
        for i in 0..Self::WORDS {
            let upper = self.state[i] & 0x8000_0000;
            let lower = self.state[(i + 1) % Self::WORDS] & 0x7fff_ffff;
            let joined = upper | lower;
            let twist = if joined & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[i] = self.state[(i + Self::SHIFT) % Self::WORDS] ^ (joined >> 1) ^ twist;
        }
        self.used = 0;
    }

    /// Python's `getrandbits(bits)` for 1 to 64 bits: whole words first, low word first.
    fn python_bits(&mut self, bits: u32) -> u64 {
        if bits <= 32 {
            return u64::from(self.next_u32() >> (32 - bits));
        }
        let low = u64::from(self.next_u32());
        let high = u64::from(self.next_u32() >> (64 - bits));
        low | (high << 32)
    }

    /// Python's `randrange(bound)`: rejects the bit patterns that are not below `bound` (>= 1).
    fn python_below(&mut self, bound: usize) -> usize {
        let bits = usize::BITS - bound.leading_zeros();
        loop {
            let value = self.python_bits(bits) as usize;
            if value < bound {
                return value;
            }
        }
    }

    /// NumPy's legacy `random_interval`: a number in `0..=largest` by masked rejection.
    fn numpy_up_to(&mut self, largest: usize) -> usize {
        if largest == 0 {
            return 0;
        }
        let mask = u64::MAX >> (largest as u64).leading_zeros();
        loop {
            let value = if mask <= u64::from(u32::MAX) {
                u64::from(self.next_u32()) & mask
            } else {
                let high = u64::from(self.next_u32());
                ((high << 32) | u64::from(self.next_u32())) & mask
            };
            if value <= largest as u64 {
                return value as usize;
            }
        }
    }

    /// NumPy's legacy `random_sample`: uniform in [0, 1), from the upper bits of two words.
    pub fn numpy_uniform(&mut self) -> f64 {
        let (high, low) = (self.next_u32() >> 5, self.next_u32() >> 6);
        (f64::from(high) * 67_108_864.0 + f64::from(low)) / 9_007_199_254_740_992.0
    }

    /// NumPy's legacy `shuffle`: positions n-1 down to 1, each swapped with one at or below it.
    pub fn numpy_shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            let j = self.numpy_up_to(i);
            items.swap(i, j);
        }
    }
}

/// Indices that Python's `random.seed(seed); random.sample(range(records), wanted)` returns, in
/// the order in which they are drawn (the released program's subsets by method `random`).
///
/// Small populations are drawn from a shrinking pool, large ones by rejecting repeats; the limit between the two is
/// Python's rule.
///
/// # Errors
/// [`LegacyRandomError::SampleTooLarge`] if `wanted > records`.
pub fn python_sample(
    records: usize,
    wanted: usize,
    seed: u64,
) -> Result<Vec<usize>, LegacyRandomError> {
    if wanted > records {
        return Err(LegacyRandomError::SampleTooLarge {
            wanted,
            available: records,
        });
    }
    let mut generator = Mt19937::from_python_seed(seed);
    if records as u128 <= python_pool_limit(wanted) {
        let mut pool: Vec<usize> = (0..records).collect();
        Ok((0..wanted)
            .map(|_| {
                let drawn = generator.python_below(pool.len());
                // The last entry of the pool takes the place of the drawn one.
                pool.swap_remove(drawn)
            })
            .collect())
    } else {
        let mut seen = HashSet::with_capacity(wanted);
        let mut drawn = Vec::with_capacity(wanted);
        while drawn.len() < wanted {
            let candidate = generator.python_below(records);
            if seen.insert(candidate) {
                drawn.push(candidate);
            }
        }
        Ok(drawn)
    }
}

/// Largest population that `random.sample` draws from a pool: 21, for more than five draws
/// plus the smallest power of four that is at least three times their number.
fn python_pool_limit(wanted: usize) -> u128 {
    let mut limit = 21;
    if wanted > 5 {
        let mut power: u128 = 1;
        while power < 3 * wanted as u128 {
            power *= 4;
        }
        limit += power;
    }
    limit
}

/// `numpy.random.seed(seed); numpy.random.permutation(records)` of NumPy's legacy generator.
pub fn numpy_permutation(records: usize, seed: u32) -> Vec<usize> {
    let mut order: Vec<usize> = (0..records).collect();
    Mt19937::from_seed(seed).numpy_shuffle(&mut order);
    order
}

/// A fraction of every class, as sampled by the original method `stratified`.
///
/// `labels` is `[records, classes]`, row-major; the class of a record is the index of its first
/// largest label (0 where all labels are equal). Every class that occurs gives
/// `max(1, floor(count * share))` records. The result is shuffled as a whole.
///
/// # Errors
/// [`LegacyRandomError::Share`] unless `0 < share <= 1`, [`LegacyRandomError::LabelShape`] if
/// `labels` does not divide into rows.
pub fn stratified_subset<L: PartialOrd>(
    labels: &[L],
    classes: usize,
    share: f64,
    seed: u32,
) -> Result<Vec<usize>, LegacyRandomError> {
    check_share(share)?;
    if classes == 0 || !labels.len().is_multiple_of(classes) {
        return Err(LegacyRandomError::LabelShape {
            found: labels.len(),
            classes,
        });
    }
    let mut members = vec![Vec::new(); classes];
    for (record, row) in labels.chunks_exact(classes).enumerate() {
        let class = (1..classes).fold(0, |best, c| if row[c] > row[best] { c } else { best });
        members[class].push(record);
    }
    let mut generator = Mt19937::from_seed(seed);
    let mut chosen = Vec::new();
    for class in members.iter_mut().filter(|class| !class.is_empty()) {
        generator.numpy_shuffle(class);
        let wanted = share_of(class.len(), share).max(1);
        chosen.extend_from_slice(&class[..wanted]);
    }
    generator.numpy_shuffle(&mut chosen);
    Ok(chosen)
}

/// `(train, test)` indices of scikit-learn's `train_test_split(test_size=share,
/// random_state=seed)`: the first `ceil(records * share)` entries of the permutation are the
/// test side.
///
/// # Errors
/// [`LegacyRandomError::Share`] or [`LegacyRandomError::EmptySide`].
pub fn train_test_split(
    records: usize,
    share: f64,
    seed: u32,
) -> Result<(Vec<usize>, Vec<usize>), LegacyRandomError> {
    check_share(share)?;
    let test_records = (records as f64 * share).ceil() as usize;
    if test_records == 0 || test_records >= records {
        return Err(LegacyRandomError::EmptySide { records, share });
    }
    let mut test = numpy_permutation(records, seed);
    let train = test.split_off(test_records);
    Ok((train, test))
}

/// `torch.manual_seed(seed); torch.randperm(records)` on the CPU.
///
/// Equal to PyTorch for fewer than 2^32/20 (214 million) records, where PyTorch changes to
/// 64-bit draws.
pub fn torch_randperm(records: usize, seed: u32) -> Vec<usize> {
    let mut generator = Mt19937::from_seed(seed);
    let mut order: Vec<usize> = (0..records).collect();
    for i in 0..records.saturating_sub(1) {
        let offset = generator.next_u32() as usize % (records - i);
        order.swap(i, i + offset);
    }
    order
}

/// The records of each of `replicas` processes in epoch `epoch` (counted from 0), as PyTorch's
/// `DistributedSampler(seed=seed, shuffle=True, drop_last=False)` deals them: `[replica][i]`.
///
/// The permutation for `seed + epoch` is lengthened from its own start to a multiple of
/// `replicas`; process r takes entries r, r + replicas, ...
///
/// # Errors
/// [`LegacyRandomError::NoReplicas`] if `replicas` is 0.
pub fn epoch_order(
    records: usize,
    epoch: u32,
    seed: u32,
    replicas: usize,
) -> Result<Vec<Vec<usize>>, LegacyRandomError> {
    if replicas == 0 {
        return Err(LegacyRandomError::NoReplicas);
    }
    let order = torch_randperm(records, seed.wrapping_add(epoch));
    let per_replica = records.div_ceil(replicas);
    Ok((0..replicas)
        .map(|replica| {
            (0..per_replica)
                .map(|i| order[(replica + i * replicas) % records])
                .collect()
        })
        .collect())
}

/// `int(records * share)` of the original: a float product, truncated.
pub fn share_of(records: usize, share: f64) -> usize {
    (records as f64 * share) as usize
}

fn check_share(share: f64) -> Result<(), LegacyRandomError> {
    if share > 0.0 && share <= 1.0 {
        Ok(())
    } else {
        Err(LegacyRandomError::Share { share })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn is_permutation(order: &[usize]) -> bool {
        let mut sorted = order.to_vec();
        sorted.sort_unstable();
        sorted.iter().copied().eq(0..order.len())
    }

    #[test]
    fn twister_gives_the_reference_outputs() {
        // First outputs of the authors' mt19937ar.c with its own test key.
        let mut by_key = Mt19937::from_key(&[0x123, 0x234, 0x345, 0x456]);
        let first: Vec<u32> = (0..5).map(|_| by_key.next_u32()).collect();
        assert_eq!(
            first,
            [1067595299, 955945823, 477289528, 4107218783, 4228976476]
        );
        // The 10000th output for seed 5489 is fixed by the C++ standard [rand.predef].
        let mut by_seed = Mt19937::from_seed(5489);
        let last = (0..10_000).fold(0, |_, _| by_seed.next_u32());
        assert_eq!(last, 4123659995);
    }

    #[test]
    fn uniform_numbers_match_numpy() {
        // numpy.random.RandomState(42).random_sample(3)
        let mut generator = Mt19937::from_seed(42);
        let drawn: Vec<f64> = (0..3).map(|_| generator.numpy_uniform()).collect();
        assert_eq!(
            drawn,
            [0.3745401188473625, 0.9507143064099162, 0.7319939418114051]
        );
    }

    #[test]
    fn python_samples_match_cpython() {
        // CPython 3.11.7: pool method, rejection method, a seed of two words.
        assert_eq!(python_sample(10, 4, 0).unwrap(), [6, 9, 0, 2]);
        assert_eq!(
            python_sample(100, 8, 7).unwrap(),
            [41, 19, 50, 83, 6, 9, 68, 12]
        );
        assert_eq!(
            python_sample(1000, 6, 0).unwrap(),
            [864, 394, 776, 911, 430, 41]
        );
        assert_eq!(python_sample(5, 5, 1099511627779).unwrap(), [1, 0, 2, 3, 4]);
    }

    #[test]
    fn samples_are_distinct_and_bounded() {
        for (records, wanted) in [(0, 0), (1, 1), (30, 30), (5000, 17), (1000, 1000)] {
            let drawn = python_sample(records, wanted, 3).unwrap();
            assert_eq!(drawn.len(), wanted);
            assert_eq!(drawn.iter().collect::<HashSet<_>>().len(), wanted);
            assert!(drawn.iter().all(|&i| i < records));
        }
        assert_eq!(
            python_sample(3, 4, 0),
            Err(LegacyRandomError::SampleTooLarge {
                wanted: 4,
                available: 3
            })
        );
    }

    #[test]
    fn permutations_hold_every_record_once() {
        for records in [0, 1, 2, 31, 1000] {
            assert!(is_permutation(&numpy_permutation(records, 9)));
            assert!(is_permutation(&torch_randperm(records, 9)));
        }
    }

    #[test]
    fn splits_cover_all_records_once() {
        let (train, test) = train_test_split(103, 0.1, 0).unwrap();
        assert_eq!((train.len(), test.len()), (92, 11));
        assert!(is_permutation(&[train, test].concat()));
        assert!(train_test_split(1, 0.1, 0).is_err());
        assert!(train_test_split(10, f64::NAN, 0).is_err());
    }

    #[test]
    fn strata_keep_at_least_one_record_of_every_class() {
        // 40 records of class 0 (two of them without any label), 3 of class 2, none of class 1.
        let labels: Vec<u8> = (0..43)
            .flat_map(|i| match i {
                0..3 => [0, 0, 1],
                3..5 => [0, 0, 0],
                _ => [1, 0, 0],
            })
            .collect();
        let chosen = stratified_subset(&labels, 3, 0.1, 0).unwrap();
        assert_eq!(chosen.len(), 4 + 1);
        assert_eq!(chosen.iter().filter(|&&i| i < 3).count(), 1);
        assert!(stratified_subset(&labels, 4, 0.1, 0).is_err());
        assert!(stratified_subset(&labels, 0, 0.1, 0).is_err());
        assert!(stratified_subset(&labels, 3, 0.0, 0).is_err());
    }

    #[test]
    fn replicas_share_an_epoch() {
        let one = epoch_order(50, 2, 0, 1).unwrap();
        assert_eq!(one, [torch_randperm(50, 2)]);
        let seven = epoch_order(50, 2, 0, 7).unwrap();
        assert!(seven.iter().all(|share| share.len() == 8));
        let dealt: HashSet<usize> = seven.concat().into_iter().collect();
        assert_eq!(dealt.len(), 50);
        // More processes than records: the order is repeated as often as needed.
        assert_eq!(epoch_order(2, 0, 0, 5).unwrap().concat().len(), 5);
        assert_eq!(epoch_order(0, 0, 0, 3).unwrap().concat().len(), 0);
        assert!(epoch_order(2, 0, 0, 0).is_err());
    }
}
