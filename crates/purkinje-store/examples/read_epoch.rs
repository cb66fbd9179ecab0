//! Reads a store in shuffled order and cuts every record into tokens: `read_epoch STORE [EPOCHS]`.

use std::time::Instant;

use purkinje_signal::Tokenizer;
use purkinje_signal::beats::TOKEN_SAMPLES;
use purkinje_store::Store;
use purkinje_store::legacy_random::numpy_permutation;
use rayon::prelude::*;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let dir = std::env::args()
        .nth(1)
        .ok_or("usage: read_epoch STORE [EPOCHS]")?;
    let epochs: u32 = std::env::args().nth(2).map_or(Ok(3), |n| n.parse())?;
    let start = Instant::now();
    let store = Store::open(&dir)?;
    println!("open: {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
    let start = Instant::now();
    store.verify()?;
    println!("verify: {:.1} ms", start.elapsed().as_secs_f64() * 1e3);
    let tokenizer = Tokenizer::new(&store.info().leads)?;
    let tokens = tokenizer.tokens();
    for epoch in 0..epochs {
        let order = numpy_permutation(store.len(), epoch);
        let start = Instant::now();
        let checksum: f64 = order
            .par_chunks(256)
            .map_init(
                || {
                    let samples = vec![0.0; tokens * TOKEN_SAMPLES];
                    (
                        Vec::new(),
                        Vec::new(),
                        samples,
                        vec![0; tokens],
                        vec![true; tokens],
                    )
                },
                |(signal_mv, r_peaks, samples, time_index, padding), batch| {
                    batch
                        .iter()
                        .map(|&index| {
                            let row = store.row(index).expect("the order holds rows of the store");
                            row.signal_mv_into(signal_mv);
                            r_peaks.clear();
                            r_peaks.extend(row.r_peaks().iter().map(|&peak| peak as usize));
                            tokenizer
                                .cut_into(signal_mv, r_peaks, samples, time_index, padding)
                                .expect("stored R-peaks lie inside the record");
                            f64::from(samples[TOKEN_SAMPLES / 2])
                        })
                        .sum::<f64>()
                },
            )
            .sum();
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "epoch {epoch}: {:.0} records/s (sum {checksum:.3})",
            store.len() as f64 / seconds
        );
    }
    Ok(())
}
