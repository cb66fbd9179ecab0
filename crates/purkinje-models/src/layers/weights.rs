//! Named parameters of a network, in the order of its published state dict.

use std::collections::HashMap;

use burn::tensor::{Device, Shape, Tensor, TensorData};

/// One parameter: stored flat, so that optimizers and checkpoints need not know ranks.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Name in the published state dict.
    pub name: String,
    /// Shape in the published state dict.
    pub shape: Vec<usize>,
    /// Values, row-major.
    pub value: Tensor<1>,
}

/// The parameters of a network by name.
#[derive(Clone, Debug, Default)]
pub struct Weights {
    list: Vec<Parameter>,
    index: HashMap<String, usize>,
}

/// A parameter that is not there or has another shape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WeightError {
    /// No such name.
    #[error("parameter `{0}` is missing: the weights belong to another model or configuration")]
    Missing(String),
    /// Wrong shape.
    #[error(
        "parameter `{name}` has shape {found:?}, expected {expected:?}: the weights belong to another configuration"
    )]
    Shape {
        /// Its name.
        name: String,
        /// The shape found.
        found: Vec<usize>,
        /// The shape the configuration asks for.
        expected: Vec<usize>,
    },
}

impl Weights {
    /// Adds a parameter; a second one of the same name replaces the first.
    pub fn insert(
        &mut self,
        name: impl Into<String>,
        shape: &[usize],
        data: Vec<f32>,
        device: &Device,
    ) {
        let value = Tensor::from_data(
            TensorData::new(data, Shape::new([shape.iter().product()])),
            device,
        );
        self.put(Parameter {
            name: name.into(),
            shape: shape.to_vec(),
            value,
        });
    }

    /// Adds a parameter of other weights; it replaces one of the same name.
    pub fn put(&mut self, parameter: Parameter) {
        match self.index.get(&parameter.name) {
            Some(&i) => self.list[i] = parameter,
            None => {
                self.index.insert(parameter.name.clone(), self.list.len());
                self.list.push(parameter);
            }
        }
    }

    /// The parameters of these names, in their order, as far as they are here.
    pub fn subset<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Weights {
        let mut own = Weights::default();
        for parameter in names.into_iter().filter_map(|name| self.parameter(name)) {
            own.put(parameter.clone());
        }
        own
    }

    /// The parameters in state-dict order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Parameter> {
        self.list.iter()
    }

    /// The parameters in state-dict order, to be changed.
    pub fn iter_mut(&mut self) -> impl ExactSizeIterator<Item = &mut Parameter> {
        self.list.iter_mut()
    }

    /// The parameter of that name.
    pub fn parameter(&self, name: &str) -> Option<&Parameter> {
        self.index.get(name).map(|&i| &self.list[i])
    }

    /// Checks that every `(name, shape)` is here.
    ///
    /// # Errors
    /// Names the first parameter that is missing or mis-shaped.
    pub fn require(&self, expected: &[(String, Vec<usize>)]) -> Result<(), WeightError> {
        for (name, shape) in expected {
            let own = self
                .parameter(name)
                .ok_or_else(|| WeightError::Missing(name.clone()))?;
            if own.shape != *shape {
                return Err(WeightError::Shape {
                    name: name.clone(),
                    found: own.shape.clone(),
                    expected: shape.clone(),
                });
            }
        }
        Ok(())
    }

    /// The tensor of that name with its shape.
    ///
    /// # Panics
    /// When it is missing: networks check with [`Weights::require`] when they are built.
    pub fn get<const D: usize>(&self, name: &str) -> Tensor<D> {
        let p = self
            .parameter(name)
            .unwrap_or_else(|| panic!("parameter `{name}` was not required at construction"));
        let shape: [usize; D] = std::array::from_fn(|i| p.shape[i]);
        p.value.clone().reshape(shape)
    }

    /// How many numbers.
    pub fn count(&self) -> usize {
        self.list
            .iter()
            .map(|p| p.shape.iter().product::<usize>())
            .sum()
    }

    /// The same weights as leaves of a new graph on the autodiff twin of `device`; gradients are kept for the names
    /// that `trains` accepts.
    pub fn tracked(&self, trains: impl Fn(&str) -> bool) -> Weights {
        let list = self
            .list
            .iter()
            .map(|p| {
                let value = Tensor::<1>::from_inner(p.value.clone());
                Parameter {
                    value: if trains(&p.name) {
                        value.require_grad()
                    } else {
                        value
                    },
                    ..p.clone()
                }
            })
            .collect();
        Weights {
            list,
            index: self.index.clone(),
        }
    }

    /// The values on the host, in state-dict order.
    pub fn to_host(&self) -> Vec<(String, Vec<usize>, Vec<f32>)> {
        self.list
            .iter()
            .map(|p| {
                let data = p.value.to_data();
                // The parameters are float32 by construction (`insert`).
                let values = data.as_slice::<f32>().map(<[f32]>::to_vec);
                (p.name.clone(), p.shape.clone(), values.unwrap_or_default())
            })
            .collect()
    }
}
