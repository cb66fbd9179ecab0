//! A shuffled epoch over a store whose files are not in memory.

#![allow(unsafe_code)]

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::time::Instant;

use purkinje_base::legacy_random::numpy_permutation;
use purkinje_models::clear::ClearBatch;
use purkinje_store::Store;
use purkinje_train::TrainError;
use purkinje_train::source::{Look, Source as _, StoreTokens};
use rayon::prelude::*;
use serde_json::json;

use crate::Result;

/// Records of the first batch.
const BATCH: usize = 64;

/// Opens the store and reads a first batch, then reads all of it in shuffled order on all threads, tokens cut. Before
/// each of the two the system is asked to forget the files. Prints the seconds of both.
pub fn run(path: &Path) -> Result<()> {
    forget(path)?;
    let start = Instant::now();
    let store = Store::open(path)?;
    let contract = store.info().preprocess.clone();
    let order: Vec<usize> = numpy_permutation(store.len(), 0);
    let tokens = StoreTokens::new(&store, order, &contract)?;
    let first = (0..BATCH.min(tokens.len())).map(|index| tokens.see(index, Look::Whole));
    let first = first.collect::<std::result::Result<Vec<_>, TrainError>>()?;
    std::hint::black_box(ClearBatch::new(&first)?);
    let first_batch_s = start.elapsed().as_secs_f64();
    drop(tokens);
    drop(store);

    forget(path)?;
    let store = Store::open(path)?;
    let tokens = StoreTokens::new(&store, numpy_permutation(store.len(), 1), &contract)?;
    let start = Instant::now();
    let detected = (0..tokens.len())
        .into_par_iter()
        .map(|index| Ok(usize::from(tokens.see(index, Look::Whole)?.detected)))
        .try_reduce(|| 0, |a, b| Ok::<usize, TrainError>(a + b))?;
    let seconds = start.elapsed().as_secs_f64();
    let bytes: u64 = store.info().shards.iter().map(|shard| shard.bytes).sum();
    println!(
        "{}",
        json!({"records": store.len(), "detected": detected, "bytes": bytes, "first_batch_s": first_batch_s, "seconds": seconds})
    );
    Ok(())
}

/// Asks the system to drop the files of a folder from its cache, so that they are read from the disk again.
fn forget(folder: &Path) -> Result<()> {
    for entry in std::fs::read_dir(folder)? {
        let file = File::open(entry?.path())?;
        file.sync_all()?;
        // SAFETY: the descriptor is open for the whole call, and the advice touches no memory of ours.
        let refused =
            unsafe { libc::posix_fadvise(file.as_raw_fd(), 0, 0, libc::POSIX_FADV_DONTNEED) };
        if refused != 0 {
            return Err(std::io::Error::from_raw_os_error(refused).into());
        }
    }
    Ok(())
}
