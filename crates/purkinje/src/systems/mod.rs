//! The published systems: what each provides, in a folder of its own. [`paired`] is what DERI and MERL share.

pub mod clear;
pub mod dbeta;
pub mod deri;
pub mod hubert;
mod leads;
pub mod merl;
pub mod paired;

use std::collections::HashSet;

use purkinje_models::layers::Weights;
use purkinje_signal::Prepared;
use purkinje_train::TrainError;
use purkinje_train::source::{Cut, Look};

pub use clear::Clear;
pub use dbeta::Dbeta;
pub use deri::Deri;
pub use hubert::Hubert;
pub use merl::Merl;

/// Weights without what belongs to parts that are left out: entries of the `whole` network that are not its `own`. A head, which is
/// neither, stays.
fn of_part(
    weights: &Weights,
    own: Vec<(String, Vec<usize>)>,
    whole: Vec<(String, Vec<usize>)>,
) -> Weights {
    let own: HashSet<String> = own.into_iter().map(|(name, _)| name).collect();
    let whole = whole.into_iter().map(|(name, _)| name);
    let left_out: HashSet<String> = whole.filter(|name| !own.contains(name)).collect();
    let names = weights.iter().map(|parameter| parameter.name.as_str());
    weights.subset(names.filter(|name| !left_out.contains(*name)))
}

/// A prepared recording as one input, whole.
fn whole<C: Cut>(
    cutter: Result<C, TrainError>,
    prepared: &Prepared,
) -> Result<Vec<C::Input>, String> {
    let cutter = cutter.map_err(|error| error.to_string())?;
    // Stored samples are single precision; a recording and its store give one input.
    let rows: Vec<f32> = prepared.rows.iter().map(|&v| v as f32).collect();
    let seen = cutter.cut(&rows, prepared.leads.len(), 0, Look::Whole);
    Ok(vec![seen.map_err(|error| error.to_string())?])
}
