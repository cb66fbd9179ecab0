//! Looks for records that are in more than one part or store: `leakage STORE...`.

use std::time::Instant;

use purkinje_store::Store;
use purkinje_store::leakage::leakage;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let stores = std::env::args()
        .skip(1)
        .map(Store::open)
        .collect::<Result<Vec<_>, _>>()?;
    let start = Instant::now();
    let report = leakage(&stores.iter().collect::<Vec<_>>())?;
    println!(
        "{} patients, {} identical, {} similar, {} not compared in {:.2} s",
        report.patients.count,
        report.identical.count,
        report.similar.count,
        report.not_compared,
        start.elapsed().as_secs_f64()
    );
    for pair in &report.similar.listed {
        println!(
            "{:.4} lag {:+.2} s: {} {} ({}) and {} {} ({})",
            pair.similarity,
            pair.lag_s,
            pair.first.store,
            pair.first.id,
            pair.first.split,
            pair.second.store,
            pair.second.id,
            pair.second.split
        );
    }
    Ok(())
}
