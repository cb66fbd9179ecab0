//! Checkpoints of the original programs: their tensors are read exactly.

use std::path::Path;

use purkinje_models::checkpoint;

use crate::compare::Findings;
use crate::walk::Case;

/// Name, shape and numbers of a tensor.
pub type Named = (String, Vec<usize>, Vec<f32>);

/// Every tensor of a PyTorch checkpoint: its name without `backbone.`, its shape, its numbers.
pub fn model_tensors(path: &Path) -> Result<Vec<Named>, String> {
    let read = checkpoint::read_pth(path).map_err(|e| e.to_string())?;
    let tensors = checkpoint::canonical(read.model).map_err(|e| e.to_string())?;
    Ok(tensors
        .into_iter()
        .map(|(name, tensor)| (name, tensor.shape, tensor.data))
        .collect())
}

/// Where a case has both, the tensors in `checkpoint.pth` are those in `weights.safetensors`, bit for bit.
pub fn compare(case: &Case, findings: &mut Findings) -> Result<(), String> {
    if !case.has("checkpoint.pth") || !case.has("weights.safetensors") {
        return Ok(());
    }
    let found = checkpoint::read_pth(&case.path("checkpoint.pth")).map_err(|e| e.to_string())?;
    let expected = case.tensors("weights.safetensors")?;
    let mut names: Vec<&str> = found.model.names().collect();
    names.sort_unstable();
    findings.exact_all(
        "checkpoint names",
        &names,
        &expected.names().collect::<Vec<_>>(),
    );
    for (name, tensor) in found.model.iter().filter(|(name, _)| expected.has(name)) {
        findings.exact_all(
            &format!("shape of {name}"),
            &tensor.shape,
            expected.shape(name)?,
        );
        let bits = |values: &[f32]| values.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
        findings.exact_all(name, &bits(&tensor.data), &bits(expected.f32(name)?));
    }
    Ok(())
}
