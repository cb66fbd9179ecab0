//! Whether a store fits a model, and small things around batches.

use miette::{bail, miette};
use purkinje_signal::Preprocess;
use purkinje_store::Store;

pub use purkinje::leads::WantedLeads;

use crate::output::Show as _;
use crate::system;

/// [`purkinje::prepared::agree`].
pub fn agree(
    store: &Store,
    contract: &Preprocess,
    wanted: Option<&WantedLeads>,
    any_preprocessing: bool,
) -> miette::Result<Preprocess> {
    purkinje::prepared::agree(store, contract, wanted, any_preprocessing).shown()
}

/// The values of a tensor, row-major.
///
/// # Errors
/// When the device cannot give them.
pub fn values<const D: usize>(tensor: burn::tensor::Tensor<D>) -> miette::Result<Vec<f32>> {
    tensor
        .into_data()
        .convert::<f32>()
        .try_to_vec::<f32>()
        .map_err(|error| miette!("the device did not give its results: {error:?}"))
}

/// Ends the work when the user pressed Ctrl-C.
///
/// # Errors
/// When they did.
pub fn stop_if_asked() -> miette::Result<()> {
    if system::stop_requested() {
        bail!("stopped on request");
    }
    Ok(())
}
