//! Named weights of a network, in the order of its published state dict: parameters, which the optimizer changes, and
//! state, which forward passes in training return (running statistics of batch normalisation).

use std::collections::HashMap;

use burn::tensor::{Device, Shape, Tensor, TensorData};

/// One entry: stored flat, so that optimizers and checkpoints need not know ranks.
#[derive(Clone, Debug)]
pub struct Parameter {
    /// Name in the published state dict.
    pub name: String,
    /// Shape in the published state dict.
    pub shape: Vec<usize>,
    /// Values, row-major.
    pub value: Tensor<1>,
    /// Whether it is state: never tracked, never changed by an optimizer, only by [`Weights::store`].
    pub state: bool,
}

/// Values that a forward pass of training hands back, by name: see [`Context::hand_back`](super::Context::hand_back).
pub type HandedBack = Vec<(String, Tensor<1>)>;

/// The weights of a network by name.
///
/// Files do not distinguish parameters and state: a network declares its state when it is built
/// ([`Weights::declare_state`]).
#[derive(Clone, Debug, Default)]
pub struct Weights {
    list: Vec<Parameter>,
    index: HashMap<String, usize>,
}

/// A parameter that is missing or has another shape.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum WeightError {
    /// The parameter is missing.
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
        /// The shape expected by the configuration.
        expected: Vec<usize>,
    },
    /// A forward pass returned a value for a parameter.
    #[error(
        "`{0}` was handed back by a forward pass but is a parameter: the network must declare it as state"
    )]
    NotState(String),
    /// A forward pass returned another number of values than the entry has.
    #[error(
        "{found} values were handed back for `{name}`, which has {expected}: the layer and the weights differ in size"
    )]
    Count {
        /// Its name.
        name: String,
        /// The number of values handed back.
        found: usize,
        /// The number of values it has.
        expected: usize,
    },
}

impl Weights {
    /// Adds a parameter; a second entry of the same name replaces the first.
    pub fn insert(
        &mut self,
        name: impl Into<String>,
        shape: &[usize],
        data: Vec<f32>,
        device: &Device,
    ) {
        self.put(Parameter {
            name: name.into(),
            shape: shape.to_vec(),
            value: flat(data, shape, device),
            state: false,
        });
    }

    /// Adds state; it replaces an entry of the same name.
    pub fn insert_state(
        &mut self,
        name: impl Into<String>,
        shape: &[usize],
        data: Vec<f32>,
        device: &Device,
    ) {
        self.put(Parameter {
            name: name.into(),
            shape: shape.to_vec(),
            value: flat(data, shape, device),
            state: true,
        });
    }

    /// Declares exactly these entries as state and all others as parameters, for weights from a file.
    ///
    /// # Errors
    /// [`WeightError::Missing`] with the first missing entry.
    pub fn declare_state<'n>(
        &mut self,
        names: impl IntoIterator<Item = &'n str>,
    ) -> Result<(), WeightError> {
        for entry in &mut self.list {
            entry.state = false;
        }
        for name in names {
            let place = self.index.get(name).copied();
            let place = place.ok_or_else(|| WeightError::Missing(name.to_owned()))?;
            self.list[place].state = true;
        }
        Ok(())
    }

    /// Stores the values returned by a forward pass in training, in order.
    ///
    /// # Errors
    /// When a name is missing, is that of a parameter, or has another number of values; the values before it are
    /// stored.
    pub fn store(&mut self, handed_back: HandedBack) -> Result<(), WeightError> {
        for (name, value) in handed_back {
            let place = self.index.get(&name).copied();
            let Some(place) = place else {
                return Err(WeightError::Missing(name));
            };
            let own = &mut self.list[place];
            let [found, expected] = [value.dims()[0], own.value.dims()[0]];
            if !own.state {
                return Err(WeightError::NotState(name));
            }
            if found != expected {
                return Err(WeightError::Count {
                    name,
                    found,
                    expected,
                });
            }
            own.value = value;
        }
        Ok(())
    }

    /// Adds an entry of other weights; it replaces one of the same name.
    pub fn put(&mut self, parameter: Parameter) {
        match self.index.get(&parameter.name) {
            Some(&i) => self.list[i] = parameter,
            None => {
                self.index.insert(parameter.name.clone(), self.list.len());
                self.list.push(parameter);
            }
        }
    }

    /// The entries of these names that exist, in the order of this value.
    pub fn subset<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Weights {
        let mut own = Weights::default();
        for parameter in names.into_iter().filter_map(|name| self.parameter(name)) {
            own.put(parameter.clone());
        }
        own
    }

    /// The entries whose names begin with `prefix`, named without it: the weights of a part of the network.
    pub fn below(&self, prefix: &str) -> Weights {
        let mut own = Weights::default();
        for parameter in &self.list {
            if let Some(name) = parameter.name.strip_prefix(prefix) {
                own.put(Parameter {
                    name: name.to_owned(),
                    ..parameter.clone()
                });
            }
        }
        own
    }

    /// The same weights outside of any graph.
    pub fn untracked(mut self) -> Weights {
        for parameter in &mut self.list {
            parameter.value = parameter.value.clone().inner();
        }
        self
    }

    /// Parameters and state in state-dict order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = &Parameter> {
        self.list.iter()
    }

    /// Parameters and state in state-dict order, to be changed.
    pub fn iter_mut(&mut self) -> impl ExactSizeIterator<Item = &mut Parameter> {
        self.list.iter_mut()
    }

    /// The entry of that name, a parameter or state.
    pub fn parameter(&self, name: &str) -> Option<&Parameter> {
        self.index.get(name).map(|&i| &self.list[i])
    }

    /// Checks that every `(name, shape)` is present.
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
        let p = self.required(name);
        let shape: [usize; D] = std::array::from_fn(|i| p.shape[i]);
        p.value.clone().reshape(shape)
    }

    /// The values of that name, row-major.
    ///
    /// # Panics
    /// As [`Weights::get`].
    pub fn flat(&self, name: &str) -> Tensor<1> {
        self.required(name).value.clone()
    }

    fn required(&self, name: &str) -> &Parameter {
        self.parameter(name)
            .unwrap_or_else(|| panic!("parameter `{name}` was not required at construction"))
    }

    /// Number of parameters, without state.
    pub fn count(&self) -> usize {
        self.numbers(false)
    }

    /// Number of values of the state.
    pub fn state_count(&self) -> usize {
        self.numbers(true)
    }

    fn numbers(&self, state: bool) -> usize {
        self.list
            .iter()
            .filter(|p| p.state == state)
            .map(|p| p.shape.iter().product::<usize>())
            .sum()
    }

    /// The same weights as leaves of a new autodiff graph; gradients are kept for parameters whose names satisfy
    /// `trains`, and never for state.
    pub fn tracked(&self, trains: impl Fn(&str) -> bool) -> Weights {
        let list = self
            .list
            .iter()
            .map(|p| {
                let value = Tensor::<1>::from_inner(p.value.clone());
                Parameter {
                    value: if !p.state && trains(&p.name) {
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

    /// The values on the host, parameters and state, in state-dict order.
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

fn flat(data: Vec<f32>, shape: &[usize], device: &Device) -> Tensor<1> {
    let count = Shape::new([shape.iter().product()]);
    Tensor::from_data(TensorData::new(data, count), device)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn weights(device: &Device) -> Weights {
        let mut weights = Weights::default();
        weights.insert("w", &[2, 2], vec![1.0; 4], device);
        weights.insert_state("mean", &[3], vec![2.0; 3], device);
        weights.insert_state("batches", &[], vec![7.0], device);
        weights
    }

    #[test]
    fn state_is_counted_apart_and_never_tracked() {
        let weights = weights(&Device::flex());
        assert_eq!((weights.count(), weights.state_count()), (4, 4));
        let tracked = weights.tracked(|_| true);
        let all: Vec<_> = tracked
            .iter()
            .map(|p| (p.state, p.value.is_require_grad()))
            .collect();
        assert_eq!(all, [(false, true), (true, false), (true, false)]);
    }

    #[test]
    fn a_network_declares_what_a_file_does_not_mark() {
        let device = Device::flex();
        let mut from_file = Weights::default();
        for (name, shape, data) in weights(&device).to_host() {
            from_file.insert(name, &shape, data, &device);
        }
        assert_eq!(from_file.state_count(), 0);
        from_file.declare_state(["mean", "batches"]).unwrap();
        assert_eq!((from_file.count(), from_file.state_count()), (4, 4));
        assert_eq!(
            from_file.declare_state(["variance"]),
            Err(WeightError::Missing("variance".to_owned()))
        );
    }

    #[test]
    fn only_state_of_the_right_size_is_stored() {
        let device = Device::flex();
        let mut weights = weights(&device);
        let ones = |n: usize| Tensor::<1>::ones([n], &device);
        let store =
            |weights: &mut Weights, name: &str, n| weights.store(vec![(name.to_owned(), ones(n))]);
        store(&mut weights, "mean", 3).unwrap();
        assert_eq!(weights.to_host()[1].2, [1.0; 3]);
        for (name, n, problem) in [
            ("w", 4, "is a parameter"),
            ("mean", 2, "2 values"),
            ("other", 1, "missing"),
        ] {
            let error = store(&mut weights, name, n).unwrap_err().to_string();
            assert!(error.contains(problem) && error.contains(name), "{error}");
        }
        assert_eq!(weights.to_host()[0].2, [1.0; 4]);
    }
}
