//! Tensors that the two sides show each other, as safetensors files.

use std::collections::BTreeMap;
use std::path::Path;

use burn::tensor::Tensor;
use purkinje_models::layers::Weights;
use purkinje_models::layers::update::sum_squares;
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

/// Tensors that the peer left.
pub struct Shared(Vec<u8>);

impl Shared {
    /// Reads a file.
    pub fn open(path: &Path) -> Result<Self> {
        let bytes = std::fs::read(path).map_err(|error| format!("{}: {error}", path.display()))?;
        Ok(Shared(bytes))
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
