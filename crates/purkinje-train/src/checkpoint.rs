//! Checkpoints of a run: weights, optimizer moments and position in one safetensors file.

use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

use burn::tensor::{Device, Shape, Tensor, TensorData};
use purkinje_models::layers::Weights;
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::TrainError;
use crate::optimizer::Adamw;

/// Position in the run, under this key of the file's metadata.
const STEPS: &str = "purkinje.optimizer_steps";
const PREFIXES: [&str; 3] = ["weights.", "exp_avg.", "exp_avg_sq."];

/// Writes a checkpoint: to a temporary file beside it, synced, then renamed, so that a kill leaves the old one or the
/// new one.
///
/// # Errors
/// When the folder cannot be written, for instance on a full disk; the old checkpoint stays.
pub fn save(path: &Path, weights: &Weights, optimizer: &Adamw) -> Result<(), TrainError> {
    let mut parts: Vec<(String, Vec<usize>, TensorData)> = Vec::new();
    for (p, moments) in weights.iter().zip(optimizer.moments()) {
        let moments = moments.iter().flatten();
        for (prefix, value) in PREFIXES
            .iter()
            .zip(std::iter::once(&p.value).chain(moments))
        {
            let name = format!("{prefix}{}", p.name);
            parts.push((name, p.shape.clone(), value.to_data()));
        }
    }
    let views = parts
        .iter()
        .map(|(name, shape, data)| {
            let view = TensorView::new(Dtype::F32, shape.clone(), data.as_bytes());
            view.map(|view| (name.as_str(), view))
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| TrainError::checkpoint(path, e.to_string()))?;
    let metadata = HashMap::from([(STEPS.to_owned(), optimizer.steps().to_string())]);
    let bytes = safetensors::serialize(views, Some(metadata))
        .map_err(|e| TrainError::checkpoint(path, e.to_string()))?;
    let folder = path.parent().unwrap_or(Path::new("."));
    let write = || -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(&bytes)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|e| e.error)?;
        std::fs::File::open(folder)?.sync_all()
    };
    write().map_err(|e| TrainError::io(path, e))
}

/// Reads a checkpoint into weights and optimizer of the same configuration; returns the step to continue at.
///
/// # Errors
/// When the file cannot be read or was written by a run with other parameters.
pub fn load(
    path: &Path,
    weights: &mut Weights,
    optimizer: &mut Adamw,
    device: &Device,
) -> Result<usize, TrainError> {
    let broken = |problem: String| TrainError::checkpoint(path, problem);
    let bytes = std::fs::read(path).map_err(|e| TrainError::io(path, e))?;
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| broken(e.to_string()))?;
    let steps: u64 = header
        .metadata()
        .as_ref()
        .and_then(|m| m.get(STEPS)?.parse().ok())
        .ok_or_else(|| broken(format!("its metadata lacks `{STEPS}`")))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|e| broken(e.to_string()))?;
    let read = |prefix: &str, name: &str, shape: &[usize]| -> Result<Tensor<1>, TrainError> {
        let name = format!("{prefix}{name}");
        let view = file
            .tensor(&name)
            .map_err(|_| broken(format!("it lacks `{name}`")))?;
        if view.shape() != shape || view.dtype() != Dtype::F32 {
            return Err(broken(format!(
                "`{name}` is {:?} {:?}; the configuration asks for F32 {shape:?}",
                view.dtype(),
                view.shape()
            )));
        }
        let values: Vec<f32> = bytemuck::pod_collect_to_vec(view.data());
        let count = Shape::new([values.len()]);
        Ok(Tensor::from_data(TensorData::new(values, count), device))
    };
    let mut moments = Vec::new();
    let mut values = Vec::new();
    for (p, own) in weights.iter().zip(optimizer.moments()) {
        values.push(read(PREFIXES[0], &p.name, &p.shape)?);
        moments.push(match own {
            None => None,
            Some(_) => Some([
                read(PREFIXES[1], &p.name, &p.shape)?,
                read(PREFIXES[2], &p.name, &p.shape)?,
            ]),
        });
    }
    for (p, value) in weights.iter_mut().zip(values) {
        p.value = value;
    }
    optimizer.restore(steps, moments);
    usize::try_from(steps).map_err(|_| broken(format!("`{STEPS}` is {steps}")))
}
