//! Tensors that the two sides show each other, as safetensors files.

use std::collections::BTreeMap;
use std::path::Path;

use safetensors::tensor::{Dtype, TensorView, serialize_to_file};

use crate::Result;

/// What a row computes, by name.
#[derive(Default)]
pub struct Answer(BTreeMap<String, (Dtype, Vec<usize>, Vec<u8>)>);

impl Answer {
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
