use super::{GOLDEN_GAMMA, mix, scaled};

/// A stream of 64-bit numbers addressed by `(row, column)`, determined by a seed and the name of its purpose. It has no
/// state, so threads and order do not matter.
///
/// Every coordinate passes through the finaliser of SplitMix64 (Steele, Lea, Flood 2014,
/// doi:10.1145/2660193.2660195), keyed by all coordinates before it.
#[derive(Clone, Copy, Debug)]
pub struct Counter {
    key: u64,
}

impl Counter {
    /// The stream called `purpose` of `seed`.
    pub fn new(seed: u64, purpose: &str) -> Self {
        let key = purpose
            .bytes()
            .fold(first(seed), |key, byte| first(key ^ u64::from(byte)));
        Self { key }
    }

    /// The stream of one row.
    pub fn row(self, row: u64) -> Self {
        Self {
            key: first(self.key ^ first(row)),
        }
    }

    /// The number at `column`.
    pub fn at(self, column: u64) -> u64 {
        first(self.key.wrapping_add(column.wrapping_mul(GOLDEN_GAMMA)))
    }

    /// A number in `0..bound` at `column`, by multiplication; the bias is below bound / 2^64.
    pub fn below(self, column: u64, bound: usize) -> usize {
        scaled(self.at(column), bound)
    }
}

/// The number that SplitMix64 gives first from the state `value`.
fn first(value: u64) -> u64 {
    mix(value.wrapping_add(GOLDEN_GAMMA))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_number_is_splitmix64s() {
        // First output of SplitMix64 with seed 0 in the authors' reference code.
        assert_eq!(first(0), 0xe220_a839_7b1d_cdaf);
    }

    /// Published intervals rest on these numbers.
    #[test]
    fn numbers_are_those_of_every_version() {
        let counter = Counter::new(7, "bootstrap");
        assert_eq!(counter.at(0), 0x5edb_7d0e_b4fe_b895);
        assert_eq!(counter.row(2).at(5), 0x3ac2_34f6_a16a_2b9d);
    }

    #[test]
    fn draws_are_even_over_rows_and_columns() {
        let stream = Counter::new(0, "test");
        let mut counts = [0u32; 10];
        for row in 0..100 {
            for column in 0..1000 {
                counts[stream.row(row).below(column, 10)] += 1;
            }
        }
        // 100,000 draws: the chi-square with 9 degrees of freedom exceeds 27.9 in 1 of 1000 cases.
        let chi_square: f64 = counts
            .iter()
            .map(|&count| (f64::from(count) - 1e4).powi(2) / 1e4)
            .sum();
        assert!(chi_square < 27.9, "{counts:?}");
    }

    #[test]
    fn names_and_seeds_give_different_streams() {
        let first = Counter::new(1, "a").at(0);
        assert_ne!(first, Counter::new(1, "b").at(0));
        assert_ne!(first, Counter::new(2, "a").at(0));
        assert_eq!(first, Counter::new(1, "a").at(0));
    }
}
