//! Tensors that the two sides show each other, as safetensors files.

use std::collections::BTreeMap;
use std::num::TryFromIntError;
use std::path::Path;

use burn::tensor::{Device, Tensor};
use purkinje_models::layers::Weights;
use purkinje_models::layers::update::sum_squares;
use purkinje_models::paired::Signal;
use purkinje_train::optimizer::Optimizer;
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView, serialize_to_file};

use crate::Result;

/// What a row computes, by name.
#[derive(Default)]
pub struct Answer(BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>);

impl Answer {
    /// A loss and the norm of its gradient with respect to all tracked weights.
    pub fn of_pass(loss: Tensor<1>, tracked: &Weights) -> Self {
        let mut gradients = loss.backward();
        let squares: f64 = tracked
            .iter()
            .filter_map(|p| p.value.grad_remove(&mut gradients))
            .map(|gradient| sum_squares(&gradient))
            .sum();
        let loss: f64 = loss.inner().into_scalar::<f32>().into();
        Answer::default()
            .f64("loss", &[loss])
            .f64("gradient_norm", &[squares.sqrt()])
    }

    /// Adds 32-bit floats.
    pub fn f32(self, name: &str, shape: &[usize], values: &[f32]) -> Self {
        self.put(name, Dtype::F32, shape, bytemuck::cast_slice(values))
    }

    /// Adds 64-bit floats.
    pub fn f64(self, name: &str, values: &[f64]) -> Self {
        self.put(
            name,
            Dtype::F64,
            &[values.len()],
            bytemuck::cast_slice(values),
        )
    }

    /// Adds integers.
    pub fn integers(self, name: &str, values: impl IntoIterator<Item = usize>) -> Self {
        let values: Vec<i64> = values.into_iter().map(|v| v as i64).collect();
        self.put(
            name,
            Dtype::I64,
            &[values.len()],
            bytemuck::cast_slice(&values),
        )
    }

    /// Adds integers of more than one dimension.
    pub fn table(self, name: &str, shape: &[usize], values: &[i64]) -> Self {
        self.put(name, Dtype::I64, shape, bytemuck::cast_slice(values))
    }

    fn put(mut self, name: &str, dtype: Dtype, shape: &[usize], bytes: &[u8]) -> Self {
        self.0
            .insert(name.to_owned(), (dtype, shape.to_vec(), bytes.to_vec()));
        self
    }

    /// Writes everything.
    pub fn save(&self, path: &Path) -> Result<()> {
        let views = self
            .0
            .iter()
            .map(|(name, (dtype, shape, bytes))| {
                Ok((name, TensorView::new(*dtype, shape.clone(), bytes)?))
            })
            .collect::<Result<Vec<_>>>()?;
        Ok(serialize_to_file(views, None, path)?)
    }
}

/// One step of training: the gradients of a loss with respect to `tracked`, and an update of `weights`.
pub fn update(
    loss: Tensor<1>,
    weights: &mut Weights,
    tracked: &Weights,
    optimizer: &mut Optimizer,
    learning_rate: f64,
) -> Result<()> {
    let gradients = loss.backward();
    let loss: f64 = loss.inner().into_scalar::<f32>().into();
    let norm = optimizer.step(weights, tracked, gradients, learning_rate);
    if !(loss.is_finite() && norm.is_finite()) {
        return Err(format!("loss {loss} or gradient norm {norm} is not finite").into());
    }
    Ok(())
}

/// Shape and values of what a network gives.
pub fn shown<const D: usize>(found: Tensor<D>) -> Result<(Vec<usize>, Vec<f32>)> {
    let shape = found.dims().to_vec();
    Ok((shape, found.into_data().try_to_vec()?))
}

/// Tensors that the peer left.
pub struct Shared(Vec<u8>);

impl Shared {
    /// Reads a file.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Shared(bytes))
    }

    /// The batch of row `name`.
    pub fn batch(name: &str, exchange: &Path) -> Result<Self> {
        Self::open(&exchange.join(format!("{name}.batch.safetensors")))
    }

    /// The weights of row `name`.
    pub fn weights(name: &str, exchange: &Path, device: &Device) -> Result<Weights> {
        let shared = Self::open(&exchange.join(format!("{name}.weights.safetensors")))?;
        let mut weights = Weights::default();
        for name in shared.names()? {
            let (shape, data) = shared.f32(&name)?;
            weights.insert(&name, &shape, data, device);
        }
        Ok(weights)
    }

    /// Names of all tensors.
    pub fn names(&self) -> Result<Vec<String>> {
        let file = SafeTensors::deserialize(&self.0)?;
        Ok(file.names().into_iter().map(str::to_owned).collect())
    }

    /// Shape and values of 32-bit floats.
    pub fn f32(&self, name: &str) -> Result<(Vec<usize>, Vec<f32>)> {
        let (shape, bytes) = self.bytes(name, Dtype::F32)?;
        let values = bytes.as_chunks().0.iter().copied();
        Ok((shape, values.map(f32::from_le_bytes).collect()))
    }

    /// Recordings `[size, leads, samples]`.
    pub fn signals(&self) -> Result<Vec<Signal>> {
        let (shape, samples) = self.f32("signals")?;
        let [_, leads, width] = shape[..] else {
            return Err(format!("signals of shape {shape:?}, expected three dimensions").into());
        };
        let inputs = samples.chunks_exact(leads * width).map(|samples| Signal {
            samples: samples.to_vec(),
        });
        Ok(inputs.collect())
    }

    /// Integers of another type.
    pub fn integers_as<T: TryFrom<i64, Error = TryFromIntError>>(
        &self,
        name: &str,
    ) -> Result<Vec<T>> {
        let values = self.integers(name)?.into_iter().map(T::try_from);
        Ok(values.collect::<std::result::Result<_, _>>()?)
    }

    /// Integers.
    pub fn integers(&self, name: &str) -> Result<Vec<i64>> {
        let (_, bytes) = self.bytes(name, Dtype::I64)?;
        let values = bytes.as_chunks().0.iter().copied();
        Ok(values.map(i64::from_le_bytes).collect())
    }

    fn bytes(&self, name: &str, dtype: Dtype) -> Result<(Vec<usize>, &[u8])> {
        let file = SafeTensors::deserialize(&self.0)?;
        let tensor = file.tensor(name)?;
        if tensor.dtype() != dtype {
            return Err(format!("`{name}` is {:?}, expected {dtype:?}", tensor.dtype()).into());
        }
        Ok((tensor.shape().to_vec(), tensor.data()))
    }
}
