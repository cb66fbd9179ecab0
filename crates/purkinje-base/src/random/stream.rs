use super::{GOLDEN_GAMMA, mix, scaled};

/// A stream of random numbers that depends only on its seed and name, and whose position can be stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stream {
    key: u64,
    position: u64,
}

impl Stream {
    /// The stream `name` of `seed`, at its start.
    pub fn new(seed: u64, name: &str) -> Self {
        // FNV-1a of the name, mixed with the seed.
        let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325u64, |h, b| {
            (h ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3)
        });
        Stream {
            key: mix(hash ^ mix(seed)),
            position: 0,
        }
    }

    /// The sub-stream `index`: one for each step, record or epoch.
    pub fn at(&self, index: u64) -> Self {
        Stream {
            key: mix(self.key ^ mix(index.wrapping_add(GOLDEN_GAMMA))),
            position: 0,
        }
    }

    /// The next 64 random bits.
    pub fn next_u64(&mut self) -> u64 {
        self.position += 1;
        mix(self
            .key
            .wrapping_add(self.position.wrapping_mul(GOLDEN_GAMMA)))
    }

    /// Uniform in [0, 1).
    pub fn uniform(&mut self) -> f64 {
        (self.next_u64() >> 11) as f64 / (1u64 << 53) as f64
    }

    /// Standard normal (Box-Muller).
    pub fn normal(&mut self) -> f64 {
        let radius = (-2.0 * (1.0 - self.uniform()).ln()).sqrt();
        radius * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Uniform in `0..n`, with a negligible bias (2^-64 n).
    pub fn below(&mut self, n: usize) -> usize {
        scaled(self.next_u64(), n)
    }

    /// A random order of `0..n`.
    pub fn permutation(&mut self, n: usize) -> Vec<usize> {
        let mut order: Vec<usize> = (0..n).collect();
        for i in (1..n).rev() {
            order.swap(i, self.below(i + 1));
        }
        order
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_repeat_and_differ_by_name_seed_and_index() {
        let draw = |mut s: Stream| [s.next_u64(), s.next_u64()];
        let a = Stream::new(1, "mask");
        assert_eq!(draw(a.clone()), draw(Stream::new(1, "mask")));
        for other in [
            Stream::new(1, "order"),
            Stream::new(2, "mask"),
            a.at(0),
            a.at(1),
        ] {
            assert_ne!(draw(a.clone()), draw(other));
        }
    }

    /// Stored runs resume on these numbers.
    #[test]
    fn numbers_are_those_of_every_version() {
        let mut stream = Stream::new(7, "epoch order");
        assert_eq!(stream.at(3).next_u64(), 0x2444_87ae_9852_a9b4);
        assert_eq!(stream.next_u64(), 0xba10_881d_1b8e_129a);
        assert_eq!(stream.next_u64(), 0x1a22_7d3f_cf1e_8307);
    }

    #[test]
    fn moments_are_those_of_the_distributions() {
        let mut s = Stream::new(0, "moments");
        let n = 100_000;
        let normal: Vec<f64> = (0..n).map(|_| s.normal()).collect();
        let mean = normal.iter().sum::<f64>() / n as f64;
        let var = normal.iter().map(|x| x * x).sum::<f64>() / n as f64;
        assert!(
            mean.abs() < 0.02 && (var - 1.0).abs() < 0.03,
            "{mean} {var}"
        );
        let mut seen = s.permutation(100);
        seen.sort_unstable();
        assert_eq!(seen, (0..100).collect::<Vec<_>>());
    }
}
