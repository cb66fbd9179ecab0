//! Purkinje's side of the benchmarks. `benches/run` starts it and the Python peers, and asks both in turn.
//!
//! - `purkinje-bench worker DATA EXCHANGE` answers requests on standard input, see [`worker`],
//! - `purkinje-bench prepare FOLDER STORE PRESET` prepares a folder, `purkinje-bench show STORE FILE` shows the result,
//! - `purkinje-bench beats` finds the R-peaks of the signals that `benches/beats` names on standard input,
//! - `purkinje-bench epoch STORE` reads a store in shuffled order, as training does, and cuts tokens.

mod allocator;
mod beats;
mod clear;
mod cluster;
mod dbeta;
mod deri;
mod descriptors;
mod epoch;
mod exchange;
mod hubert;
mod prepare;
mod signals;
mod texts;
mod worker;
mod writing;

use std::error::Error;
use std::path::Path;
use std::process::ExitCode;

/// Whatever goes wrong ends in a message to the program that asked.
type Result<T> = std::result::Result<T, Box<dyn Error>>;

fn main() -> ExitCode {
    allocator::keep_large_blocks();
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args.as_slice() {
        ["worker", data, exchange] => worker::serve(Path::new(data), Path::new(exchange)),
        ["prepare", folder, store, preset] => prepare::run(Path::new(folder), Path::new(store), preset),
        ["epoch", store] => epoch::run(Path::new(store)),
        ["beats"] => beats::serve(),
        ["show", store, file] => prepare::show(Path::new(store), Path::new(file)),
        _ => Err("usage: purkinje-bench worker DATA EXCHANGE | prepare FOLDER STORE PRESET | show STORE FILE | epoch STORE | beats (benches/run calls it)".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("purkinje-bench: {error}");
            ExitCode::FAILURE
        }
    }
}
