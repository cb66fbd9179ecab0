//! Damaged files, and what reading them costs: shared by the tests of bad input.

mod memory;

use std::fs::{File, OpenOptions};
use std::io::{Seek, SeekFrom, Write};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

pub use memory::{peak_since, start_measuring};

/// Files up to this size are cut at every byte; larger ones at the bytes of their head and tail and at a sample between.
pub const MAX_CUT_EVERYWHERE: usize = 12 << 10;
/// Cuts of a larger file besides head and tail.
pub const CUTS_BETWEEN: usize = 500;
/// Bytes that are changed, one at a time.
pub const FLIPS: usize = 2000;
/// What reading may allocate besides four times the size of the file.
pub const FREE_BYTES: usize = 64 << 20;
/// The longest that reading one damaged file may take.
pub const MAX_TIME: Duration = Duration::from_secs(5);

/// Asserts that `open` copes with whatever becomes of a file `bytes` with the name `extension` (without dot): every prefix of it
/// (a dense sample where it is large) and [`FLIPS`] changes of single bytes, half of them in its first 4 kB. No case may panic,
/// take longer than [`MAX_TIME`], or have more than `4 x size + 64 MB` allocated at a time. Whether `open` succeeds does not
/// matter; `name` names the file in messages.
pub fn survives(name: &str, bytes: &[u8], extension: &str, open: impl Fn(&Path)) {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join(format!("damaged.{extension}"));
    let mut file = OpenOptions::new()
        .create_new(true)
        .write(true)
        .open(&path)
        .unwrap();
    file.write_all(bytes).unwrap();
    let limit = 4 * bytes.len() + FREE_BYTES;
    let check = |what: &str| {
        let start = Instant::now();
        let before = start_measuring();
        let outcome = catch_unwind(AssertUnwindSafe(|| open(&path)));
        let peak = peak_since(before);
        assert!(outcome.is_ok(), "{name}, {what}: panic");
        assert!(
            peak <= limit,
            "{name}, {what}: {peak} bytes allocated, more than {limit}"
        );
        let took = start.elapsed();
        assert!(took <= MAX_TIME, "{name}, {what}: took {took:?}");
    };
    check("whole");

    let mut random = Random(0x9e37_79b9_7f4a_7c15 ^ bytes.len() as u64);
    for flip in 0..FLIPS.min(bytes.len() * 16) {
        let reach = if flip % 2 == 0 {
            bytes.len()
        } else {
            bytes.len().min(4096)
        };
        let at = random.below(reach);
        let change = 1 + random.below(255) as u8;
        put(&mut file, at, bytes[at] ^ change);
        check(&format!(
            "byte {at} changed from {} to {}",
            bytes[at],
            bytes[at] ^ change
        ));
        put(&mut file, at, bytes[at]);
    }

    // From the longest to the shortest, so that cutting the file is enough.
    let mut cuts: Vec<usize> = if bytes.len() <= MAX_CUT_EVERYWHERE {
        (0..bytes.len()).collect()
    } else {
        (0..MAX_CUT_EVERYWHERE / 2)
            .chain((0..CUTS_BETWEEN).map(|_| random.below(bytes.len())))
            .chain(bytes.len() - MAX_CUT_EVERYWHERE / 16..bytes.len())
            .collect()
    };
    cuts.sort_unstable_by(|a, b| b.cmp(a));
    for cut in cuts {
        file.set_len(cut as u64).unwrap();
        check(&format!("cut to {cut} bytes"));
    }
}

fn put(file: &mut File, at: usize, byte: u8) {
    file.seek(SeekFrom::Start(at as u64)).unwrap();
    file.write_all(&[byte]).unwrap();
}

/// A small generator of random numbers (xorshift), the same in every run.
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }
}
