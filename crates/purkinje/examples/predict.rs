//! Predicts the labels of a recording and explains the most probable one.
//!
//! `cargo run --release --example predict -- MODEL RECORDING why.svg`

use std::path::Path;

use purkinje::{Device, Error, Model, Result, files};

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [model, recording, out] = args.as_slice() else {
        return Err(Error::invalid("expected MODEL RECORDING OUT.svg"));
    };
    let model = Model::load(model, &Device::cpu())?;
    let recording = purkinje::read(recording)?;
    for prediction in model.predict([&recording])? {
        for label in &prediction.labels {
            println!("{:<12} {:.3}", label.name, label.probability);
        }
        let Some(&first) = prediction.most_probable(1).first() else {
            continue;
        };
        let why = model.explain(&recording, &prediction.labels[first].name)?;
        println!("\nlogit {:.3} = {:.3} (base)", why.logit, why.base);
        for (lead, part) in &why.contributions {
            println!("{:>6} {part:+.3}", lead.name());
        }
        files::write_file(Path::new(out), why.svg()?.to_string().as_bytes())?;
    }
    Ok(())
}
