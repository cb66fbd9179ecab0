//! From raw recordings to an evaluated encoder: prepares a store, pre-trains and probes, on the recordings that come
//! with the library.
//!
//! `cargo run --release --example zero_to_probe -- FOLDER`

use std::path::PathBuf;

use purkinje::datasets::import::PtbXl;
use purkinje::signal::Preprocess;
use purkinje::store::{PrepareOptions, Store, prepare};
use purkinje::{Device, Error, PretrainOptions, ProbeOptions, Registry, Result, Silent};

fn main() -> Result<()> {
    let folder = std::env::args().nth(1).map(PathBuf::from);
    let folder = folder.ok_or_else(|| Error::invalid("expected FOLDER"))?;
    let (source, data) = (folder.join("ptb-xl"), folder.join("store"));
    purkinje::demo::recordings::unpack(&source)?;
    let contract = Preprocess::clear_ptbxl();
    prepare(
        &PtbXl::new(&source),
        &contract,
        &data,
        &PrepareOptions::default(),
        &(),
    )?;

    let options = PretrainOptions {
        system: "clear".into(),
        data: data.clone(),
        out: folder.join("run"),
        epochs: Some(3),
        ..PretrainOptions::default()
    };
    let trained = purkinje::pretrain(&options, &Device::cpu(), &Registry::default(), &Silent)?;

    let options = ProbeOptions {
        tasks: vec!["superdiagnostic".into()],
        ..ProbeOptions::default()
    };
    let found = purkinje::probe(&trained.model, &Store::open(&data)?, &options, &Silent)?;
    println!("{}", found.tables[0]);
    Ok(())
}
