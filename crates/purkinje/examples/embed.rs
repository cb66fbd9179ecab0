//! Writes the vectors of every lead of the recordings below a folder to a Parquet table.
//!
//! `cargo run --release --example embed -- MODEL FOLDER vectors.parquet`

use std::path::Path;

use purkinje::embed::table::Table;
use purkinje::inputs::{Input, ReadOptions, list};
use purkinje::{Device, Error, Level, Model, Result};

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model_folder, folder, out] = args.as_slice() else {
        return Err(Error::invalid("expected MODEL FOLDER OUT.parquet"));
    };
    let model = Model::load(model_folder, &Device::cpu())?;
    let mut table = Table::begin(
        Path::new(out),
        &model,
        Path::new(model_folder),
        Level::Lead,
        false,
    )?;
    let files = list(Path::new(folder))?.into_iter().map(Input::File);
    for embedded in model.embed_all(files, Level::Lead, ReadOptions::new())? {
        match embedded {
            Ok(record) => table.add(&record)?,
            Err(error) => eprintln!("left out: {error}"),
        }
    }
    println!("{} vectors of {} numbers", table.rows(), model.width());
    table.finish()
}
