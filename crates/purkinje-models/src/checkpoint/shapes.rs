//! The shapes of the tensors of a file by their canonical names.

use std::borrow::Cow;
use std::collections::HashMap;

use super::StateDict;

/// Shapes by canonical names.
pub struct Shapes<'a> {
    shapes: HashMap<Cow<'a, str>, &'a [usize]>,
}

impl<'a> Shapes<'a> {
    /// Those of a file; `canonical` gives this crate's name for a tensor.
    pub(super) fn new(found: &'a StateDict, canonical: fn(&str) -> Cow<'_, str>) -> Self {
        let shapes = found.iter();
        Shapes {
            shapes: shapes
                .map(|(name, tensor)| (canonical(name), tensor.shape.as_slice()))
                .collect(),
        }
    }

    /// Whether there is a tensor of this name.
    pub(super) fn contains(&self, name: &str) -> bool {
        self.shapes.contains_key(name)
    }

    /// Whether there is a tensor whose name begins so.
    pub(super) fn has(&self, root: &str) -> bool {
        self.shapes.keys().any(|name| name.starts_with(root))
    }

    /// Whether a tensor is there and has this shape.
    pub(super) fn is(&self, name: &str, shape: &[usize]) -> bool {
        self.shapes.get(name).is_some_and(|own| *own == shape)
    }

    /// The shape of a tensor of `rank` dimensions, none of which is 0.
    pub(super) fn shape(&self, name: &str, rank: usize) -> Result<&'a [usize], String> {
        match self.shapes.get(name) {
            None => Err(format!("`{name}` is missing")),
            Some(shape) if shape.len() == rank && !shape.contains(&0) => Ok(shape),
            Some(shape) => Err(format!(
                "`{name}` has shape {shape:?}, expected {rank} dimensions"
            )),
        }
    }

    /// The first dimension of a tensor.
    pub(super) fn first(&self, name: &str) -> Option<usize> {
        self.shapes.get(name)?.first().copied()
    }

    /// How many parts are numbered from 0 after `prefix`.
    pub(super) fn numbered(&self, prefix: &str) -> usize {
        let number = |name: &Cow<'_, str>| -> Option<usize> {
            name.strip_prefix(prefix)?.split('.').next()?.parse().ok()
        };
        let last = self.shapes.keys().filter_map(number).max();
        last.map_or(0, |last| last + 1)
    }
}
