//! Small things around batches.

use miette::{bail, miette};

use crate::system;

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
