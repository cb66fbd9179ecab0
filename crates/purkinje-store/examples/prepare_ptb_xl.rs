//! Prepares PTB-XL: `prepare_ptb_xl SOURCE TARGET [100|500] [CONTRACT]`, then says how fast it was.

use std::time::Instant;

use purkinje_signal::Preprocess;
use purkinje_store::import::{PtbXl, PtbXlRate};
use purkinje_store::{PrepareOptions, prepare};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [source, target, rest @ ..] = arguments.as_slice() else {
        return Err("usage: prepare_ptb_xl SOURCE TARGET [100|500] [CONTRACT]".into());
    };
    let mut importer = PtbXl::new(source);
    if rest.first().is_some_and(|rate| rate == "500") {
        importer.rate = PtbXlRate::Hz500;
    }
    let contract = Preprocess::preset(rest.get(1).map_or("clear-ptbxl", String::as_str))?;
    let options = PrepareOptions {
        source: "ptb-xl".to_owned(),
        command: "example prepare_ptb_xl".to_owned(),
        ..PrepareOptions::default()
    };
    let start = Instant::now();
    let summary = prepare(&importer, &contract, target.as_ref(), &options, &())?;
    let seconds = start.elapsed().as_secs_f64();
    let read = summary.info.outcomes.total() - summary.info.outcomes.missing;
    println!("{:?}", summary.info.outcomes);
    println!(
        "{read} records in {seconds:.2} s: {:.0} records/s",
        read as f64 / seconds
    );
    for remark in summary.remarks {
        println!("{remark}");
    }
    Ok(())
}
