//! Checkpoints of a run: weights, optimizer moments and position in one safetensors file.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;

use burn::tensor::{Device, Shape, Tensor, TensorData};
use purkinje_models::layers::{Parameter, Weights};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::TrainError;
use crate::optimizer::Optimizer;

/// Position in the run, under this key of the file's metadata.
const STEPS: &str = "purkinje.optimizer_steps";
/// What its validations have decided.
const VALIDATIONS: &str = "purkinje.validations";
/// The loss of its first update.
const FIRST_LOSS: &str = "purkinje.first_loss";
/// There where the validation that is due after the last update is still to be made.
const UNVALIDATED: &str = "purkinje.unvalidated";
const PREFIXES: [&str; 3] = ["weights.", "exp_avg.", "exp_avg_sq."];

/// What a checkpoint says of its run beside weights and moments.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Position {
    /// Updates made.
    pub steps: usize,
    /// What validations have decided until then, if there are any.
    pub validations: Option<String>,
    /// The loss of the first update; older checkpoints do not hold it.
    pub first_loss: Option<f64>,
    /// Whether the run was interrupted before what follows the last update: a validation that is due, the end of its epoch.
    pub unvalidated: bool,
}

/// Writes a checkpoint: to a temporary file beside it, synced, then renamed, so
/// that a kill leaves the old one or the new one.
///
/// # Errors
/// When the folder cannot be written, for instance on a full disk; the old checkpoint stays.
pub fn save(
    path: &Path,
    weights: &Weights,
    optimizer: &Optimizer,
    position: Position,
) -> Result<(), TrainError> {
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
    let mut metadata = HashMap::from([(STEPS.to_owned(), position.steps.to_string())]);
    metadata.extend(
        position
            .validations
            .map(|text| (VALIDATIONS.to_owned(), text)),
    );
    let first = position.first_loss.map(|loss| loss.to_string());
    metadata.extend(first.map(|text| (FIRST_LOSS.to_owned(), text)));
    metadata.extend((position.unvalidated).then(|| (UNVALIDATED.to_owned(), "true".to_owned())));
    write(path, &parts, metadata)
}

/// Writes weights alone, with the updates they had, as [`save`] does.
///
/// # Errors
/// As [`save`].
pub fn save_weights(path: &Path, weights: &Weights, steps: usize) -> Result<(), TrainError> {
    let parts: Vec<_> = weights
        .iter()
        .map(|p| {
            let name = format!("{}{}", PREFIXES[0], p.name);
            (name, p.shape.clone(), p.value.to_data())
        })
        .collect();
    let metadata = HashMap::from([(STEPS.to_owned(), steps.to_string())]);
    write(path, &parts, metadata)
}

fn write(
    path: &Path,
    parts: &[(String, Vec<usize>, TensorData)],
    metadata: HashMap<String, String>,
) -> Result<(), TrainError> {
    let views = parts
        .iter()
        .map(|(name, shape, data)| {
            let view = TensorView::new(Dtype::F32, shape.clone(), data.as_bytes());
            view.map(|view| (name.as_str(), view))
        })
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| TrainError::checkpoint(path, e.to_string()))?;
    let mut bytes = safetensors::serialize(views, Some(metadata))
        .map_err(|e| TrainError::checkpoint(path, e.to_string()))?;
    sort_metadata(&mut bytes).map_err(|e| TrainError::checkpoint(path, e.to_string()))?;
    purkinje_base::atomic::write_file(path, &bytes).map_err(|e| TrainError::io(path, e))
}

/// Brings the notes of a safetensors file into the order of their keys, so that equal runs write equal bytes: the crate writes them in the order
/// of a hash map.
fn sort_metadata(bytes: &mut [u8]) -> Result<(), serde_json::Error> {
    const METADATA: &str = "__metadata__";
    let Some((length, rest)) = bytes.split_first_chunk_mut::<8>() else {
        return Ok(());
    };
    let length = usize::try_from(u64::from_le_bytes(*length)).unwrap_or(usize::MAX);
    let Some(head) = rest.get_mut(..length) else {
        return Ok(());
    };
    let mut entries: BTreeMap<String, serde_json::Value> = serde_json::from_slice(head)?;
    if let Some(notes) = entries.remove(METADATA) {
        let notes: BTreeMap<String, String> = serde_json::from_value(notes)?;
        entries.insert(METADATA.to_owned(), serde_json::to_value(notes)?);
    }
    let sorted = serde_json::to_vec(&entries)?;
    // The same entries in another order are as long, but for the blanks at the end.
    if let Some((text, blanks)) = head.split_at_mut_checked(sorted.len()) {
        text.copy_from_slice(&sorted);
        blanks.fill(b' ');
    }
    Ok(())
}

/// Reads a checkpoint into weights and optimizer of the same configuration; returns where to continue.
///
/// # Errors
/// When the file cannot be read or was written by a run with other parameters.
pub fn load(
    path: &Path,
    weights: &mut Weights,
    optimizer: &mut Optimizer,
    device: &Device,
) -> Result<Position, TrainError> {
    let bytes = std::fs::read(path).map_err(|e| TrainError::io(path, e))?;
    let stored = Stored::of(path, &bytes)?;
    let values = stored.values(weights, device)?;
    let moments = weights.iter().zip(optimizer.moments()).map(|(p, own)| {
        own.as_ref()
            .map(|_| -> Result<_, TrainError> {
                let moment = |prefix| stored.read(prefix, p, device);
                Ok([moment(PREFIXES[1])?, moment(PREFIXES[2])?])
            })
            .transpose()
    });
    let moments = moments.collect::<Result<Vec<_>, _>>()?;
    put(values, weights);
    optimizer.restore(stored.position.steps as u64, moments);
    Ok(stored.position)
}

/// Reads weights, from [`save_weights`] or a checkpoint, into others of the same shapes; returns the updates they had.
///
/// # Errors
/// As [`load`].
pub fn load_weights(
    path: &Path,
    weights: &mut Weights,
    device: &Device,
) -> Result<usize, TrainError> {
    let bytes = std::fs::read(path).map_err(|e| TrainError::io(path, e))?;
    let stored = Stored::of(path, &bytes)?;
    put(stored.values(weights, device)?, weights);
    Ok(stored.position.steps)
}

/// A file of this module.
struct Stored<'a> {
    path: &'a Path,
    file: SafeTensors<'a>,
    position: Position,
}

impl<'a> Stored<'a> {
    fn of(path: &'a Path, bytes: &'a [u8]) -> Result<Self, TrainError> {
        let broken = |problem: String| TrainError::checkpoint(path, problem);
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|e| broken(e.to_string()))?;
        let entry = |key| header.metadata().as_ref().and_then(|m| m.get(key).cloned());
        let steps = entry(STEPS).and_then(|text| text.parse().ok());
        Ok(Stored {
            path,
            file: SafeTensors::deserialize(bytes).map_err(|e| broken(e.to_string()))?,
            position: Position {
                steps: steps.ok_or_else(|| broken(format!("its metadata lacks `{STEPS}`")))?,
                validations: entry(VALIDATIONS),
                first_loss: entry(FIRST_LOSS).and_then(|text| text.parse().ok()),
                unvalidated: entry(UNVALIDATED).is_some(),
            },
        })
    }

    fn read(
        &self,
        prefix: &str,
        parameter: &Parameter,
        device: &Device,
    ) -> Result<Tensor<1>, TrainError> {
        let broken = |problem: String| TrainError::checkpoint(self.path, problem);
        let name = format!("{prefix}{}", parameter.name);
        let view = self.file.tensor(&name);
        let view = view.map_err(|_| broken(format!("it lacks `{name}`")))?;
        if view.shape() != parameter.shape || view.dtype() != Dtype::F32 {
            return Err(broken(format!(
                "`{name}` is {:?} {:?}; the configuration asks for F32 {:?}",
                view.dtype(),
                view.shape(),
                parameter.shape
            )));
        }
        let values: Vec<f32> = bytemuck::pod_collect_to_vec(view.data());
        let count = Shape::new([values.len()]);
        Ok(Tensor::from_data(TensorData::new(values, count), device))
    }

    fn values(&self, like: &Weights, device: &Device) -> Result<Vec<Tensor<1>>, TrainError> {
        like.iter()
            .map(|p| self.read(PREFIXES[0], p, device))
            .collect()
    }
}

fn put(values: Vec<Tensor<1>>, weights: &mut Weights) {
    for (p, value) in weights.iter_mut().zip(values) {
        p.value = value;
    }
}
