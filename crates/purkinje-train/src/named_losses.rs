//! The losses of one step by name.

use burn::tensor::Tensor;

/// One term of the loss.
#[derive(Clone, Debug)]
struct Term {
    name: String,
    weight: f64,
    value: Tensor<1>,
}

/// The terms of a loss, and what else a step has to say. Names become fields of the run log and tags of TensorBoard:
/// they differ from each other and from the fields every update has (`loss`, `learning_rate`, ...).
#[derive(Clone, Debug)]
pub struct Losses {
    first: Term,
    others: Vec<Term>,
    metrics: Vec<(String, f64)>,
}

impl Losses {
    /// A loss of one term, with weight 1.
    pub fn new(name: impl Into<String>, value: Tensor<1>) -> Self {
        Self::weighted(name, 1.0, value)
    }

    /// A loss whose first term has a weight.
    pub fn weighted(name: impl Into<String>, weight: f64, value: Tensor<1>) -> Self {
        Losses {
            first: Term {
                name: name.into(),
                weight,
                value,
            },
            others: Vec::new(),
            metrics: Vec::new(),
        }
    }

    /// Adds a term.
    pub fn and(mut self, name: impl Into<String>, weight: f64, value: Tensor<1>) -> Self {
        self.others.push(Term {
            name: name.into(),
            weight,
            value,
        });
        self
    }

    /// Adds a number that is logged and not minimised, such as an accuracy.
    pub fn with_metric(mut self, name: impl Into<String>, value: f64) -> Self {
        self.metrics.push((name.into(), value));
        self
    }

    /// What is minimised: the sum of all terms, each times its weight.
    pub fn total(&self) -> Tensor<1> {
        // A term of weight 1 is taken as it is.
        let weighted = |term: &Term| match term.weight {
            1.0 => term.value.clone(),
            weight => term.value.clone() * weight,
        };
        let others = self.others.iter().map(weighted);
        others.fold(weighted(&self.first), |sum, term| sum + term)
    }

    /// The terms as numbers without their weights, where there is more than one.
    pub(crate) fn values(&self) -> Vec<(String, f64)> {
        if self.others.is_empty() {
            return Vec::new();
        }
        let value = |term: &Term| {
            let value = term.value.clone().inner().into_scalar::<f32>();
            (term.name.clone(), f64::from(value))
        };
        std::iter::once(&self.first)
            .chain(&self.others)
            .map(value)
            .collect()
    }

    /// What is logged and not minimised.
    pub(crate) fn metrics(&self) -> &[(String, f64)] {
        &self.metrics
    }
}

/// Means of named numbers over the batches of an update.
#[derive(Debug, Default)]
pub(crate) struct Means(Vec<(String, f64, usize)>);

impl Means {
    pub(crate) fn add(&mut self, values: impl IntoIterator<Item = (String, f64)>) {
        // A name that stands twice in one batch stays twice, so that it is seen and refused.
        let mut taken = vec![false; self.0.len()];
        for (name, value) in values {
            match (0..taken.len()).find(|&at| !taken[at] && self.0[at].0 == name) {
                Some(at) => {
                    self.0[at].1 += value;
                    self.0[at].2 += 1;
                    taken[at] = true;
                }
                None => self.0.push((name, value, 1)),
            }
        }
    }

    pub(crate) fn finish(self) -> Vec<(String, f64)> {
        let mean = |(name, sum, count): (String, f64, usize)| (name, sum / count as f64);
        self.0.into_iter().map(mean).collect()
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::Device;

    use super::*;

    #[test]
    fn the_total_is_the_weighted_sum() {
        let device = Device::flex();
        let tensor = |v: f32| Tensor::<1>::from_floats([v], &device);
        let one = Losses::new("a", tensor(0.3));
        let total: f32 = one.total().into_scalar();
        assert_eq!(total, 0.3);
        let losses = Losses::weighted("a", 0.5, tensor(2.0))
            .and("b", 1.0, tensor(3.0))
            .and("c", -2.0, tensor(0.25));
        let total: f32 = losses.total().into_scalar();
        assert_eq!(total, 1.0 + 3.0 - 0.5);
    }

    #[test]
    fn means_are_taken_over_the_batches_that_name_a_number() {
        let mut means = Means::default();
        means.add([("a".to_owned(), 1.0), ("b".to_owned(), 4.0)]);
        means.add([("a".to_owned(), 2.0)]);
        assert_eq!(
            means.finish(),
            [("a".to_owned(), 1.5), ("b".to_owned(), 4.0)]
        );
    }
}
