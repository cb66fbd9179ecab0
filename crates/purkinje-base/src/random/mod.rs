//! Explicit randomness: counter-based numbers that depend only on a seed and the name of their purpose, not on threads
//! or on where a run was resumed.
//!
//! [`Stream`] is drawn from in order and can be cut into sub-streams; [`Counter`] is addressed by row and column. Both
//! rest on the finaliser of SplitMix64 (Steele, Lea, Flood 2014, doi:10.1145/2660193.2660195).

mod counter;
mod stream;

pub use counter::Counter;
pub use stream::Stream;

/// What SplitMix64 adds between two numbers: 2^64 divided by the golden ratio, made odd.
const GOLDEN_GAMMA: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finaliser of SplitMix64.
fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The high half of `bits` times `bound`: a number in `0..bound` whose bias is below `bound` / 2^64.
fn scaled(bits: u64, bound: usize) -> usize {
    ((u128::from(bits) * bound as u128) >> 64) as usize
}
