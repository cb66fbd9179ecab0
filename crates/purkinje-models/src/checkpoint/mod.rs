//! Files of weights: the published PyTorch checkpoints, safetensors, and the folders Purkinje keeps models in.
//!
//! [`import`] converts a published file to this crate's names and reports how every tensor was used; [`export`] is the
//! reverse. Their parts: [`read_pth`] reads files of `torch.save` without executing the pickle in them;
//! [`read_safetensors`] and [`write_safetensors`] handle the format in which weights are stored; [`Layout`] and
//! [`HubertLayout`] list every parameter of a model; [`canonical`] and [`published`] translate names; [`report`]
//! compares. Functions that end in `_as` work for every system that is [`Published`]. [`ModelFolder`] is a model
//! folder.
//!
//! Nothing here needs a device: tensors are float32 in host memory, row-major.

mod archive;
mod card;
mod container;
mod dbeta;
mod error;
mod folder;
mod hubert;
mod import;
mod keys;
mod optimizer;
mod pairs;
mod pickle;
mod pickle_parser;
mod pth;
mod report;
mod safetensors_io;
mod shapes;
mod stream;
mod system;
mod tensors;
#[cfg(test)]
mod testing;
mod writers;

use std::borrow::Cow;
use std::collections::HashMap;

use half::{bf16, f16};

pub use card::{Evaluation, ModelCard};
pub use dbeta::DbetaLayout;
pub use error::CheckpointError;
pub use folder::{
    FolderContents, FolderWriter, LabelClass, Labels, ModelFolder, ReadWriter, Reference,
};
pub use hubert::HubertLayout;
pub use import::{
    ImportOptions, Imported, PublishedFile, canonical_as, export, export_as, import, import_as,
    import_read, read_published,
};
pub use keys::{Layout, Stage, canonical, default_heads, detect, published};
pub use optimizer::{Moments, OptimizerState, ParamGroup};
pub use pairs::{DeriLayout, MerlLayout, PairFile, PairLayout};
pub use pth::{Epoch, PthCheckpoint, PthOptions, read_pth, read_pth_with};
pub use report::{KeyReport, Mapped, MisShaped, report, report_as};
pub use safetensors_io::{read as read_safetensors, write as write_safetensors};
pub use shapes::Shapes;
pub use system::{Facts, Published};
pub use writers::{FileWriter, published_writer};

/// One tensor in host memory.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedTensor {
    /// Its dimensions, outermost first; empty for a single number.
    pub shape: Vec<usize>,
    /// Its values, row-major; as many as the product of the dimensions.
    pub data: Vec<f32>,
}

impl NamedTensor {
    /// The numbers as little-endian bytes, without a copy on little-endian machines.
    pub fn le_bytes(&self) -> Cow<'_, [u8]> {
        if cfg!(target_endian = "little") {
            return Cow::Borrowed(bytemuck::cast_slice(&self.data));
        }
        self.data.iter().flat_map(|v| v.to_le_bytes()).collect()
    }

    /// A tensor from the little-endian bytes of its numbers; `None` if they do not fill the shape.
    pub fn from_le_bytes(shape: Vec<usize>, bytes: &[u8]) -> Option<Self> {
        let values = shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d))?;
        (values.checked_mul(size_of::<f32>())? == bytes.len()).then(|| NamedTensor {
            shape,
            data: Stored::F32.to_f32(bytes),
        })
    }
}

/// Tensors by name, in the order in which they were added.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StateDict {
    entries: Vec<(String, NamedTensor)>,
    places: HashMap<String, usize>,
}

impl StateDict {
    /// Adds a tensor at the end, or replaces the one of this name in its place and returns it.
    pub fn insert(&mut self, name: impl Into<String>, tensor: NamedTensor) -> Option<NamedTensor> {
        let name = name.into();
        if let Some(place) = self.places.get(&name) {
            return Some(std::mem::replace(&mut self.entries[*place].1, tensor));
        }
        self.places.insert(name.clone(), self.entries.len());
        self.entries.push((name, tensor));
        None
    }

    /// The tensor of this name.
    pub fn get(&self, name: &str) -> Option<&NamedTensor> {
        self.places.get(name).map(|place| &self.entries[*place].1)
    }

    /// Whether there is a tensor of this name.
    pub fn contains(&self, name: &str) -> bool {
        self.places.contains_key(name)
    }

    /// Names and tensors in order.
    pub fn iter(&self) -> impl ExactSizeIterator<Item = (&str, &NamedTensor)> {
        self.entries
            .iter()
            .map(|(name, tensor)| (name.as_str(), tensor))
    }

    /// Names in order.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.entries.iter().map(|(name, _)| name.as_str())
    }

    /// Number of tensors.
    pub fn len(&self) -> usize {
        self.entries.len()
    }

    /// Whether there are no tensors.
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Total number of values in all tensors.
    pub fn parameters(&self) -> usize {
        self.entries
            .iter()
            .map(|(_, tensor)| tensor.data.len())
            .sum()
    }
}

impl IntoIterator for StateDict {
    type Item = (String, NamedTensor);
    type IntoIter = std::vec::IntoIter<(String, NamedTensor)>;

    fn into_iter(self) -> Self::IntoIter {
        self.entries.into_iter()
    }
}

impl FromIterator<(String, NamedTensor)> for StateDict {
    /// A later tensor replaces an earlier one of the same name.
    fn from_iter<I: IntoIterator<Item = (String, NamedTensor)>>(tensors: I) -> Self {
        let mut all = StateDict::default();
        for (name, tensor) in tensors {
            all.insert(name, tensor);
        }
        all
    }
}

/// The types of numbers in a file, little-endian.
#[derive(Clone, Copy)]
enum Stored {
    F64,
    F32,
    F16,
    Bf16,
    I64,
    I32,
    I16,
    I8,
    U64,
    U32,
    U16,
    U8,
}

impl Stored {
    /// The nearest float32 of each number; the bytes left over after the last whole number are ignored.
    fn to_f32(self, bytes: &[u8]) -> Vec<f32> {
        fn each<const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> f32) -> Vec<f32> {
            bytes.as_chunks::<N>().0.iter().map(|b| read(*b)).collect()
        }
        match self {
            Stored::F64 => each(bytes, |b| f64::from_le_bytes(b) as f32),
            Stored::F32 => each(bytes, f32::from_le_bytes),
            Stored::F16 => each(bytes, |b| f16::from_le_bytes(b).to_f32()),
            Stored::Bf16 => each(bytes, |b| bf16::from_le_bytes(b).to_f32()),
            Stored::I64 => each(bytes, |b| i64::from_le_bytes(b) as f32),
            Stored::I32 => each(bytes, |b| i32::from_le_bytes(b) as f32),
            Stored::I16 => each(bytes, |b| f32::from(i16::from_le_bytes(b))),
            Stored::I8 => each(bytes, |b| f32::from(i8::from_le_bytes(b))),
            Stored::U64 => each(bytes, |b| u64::from_le_bytes(b) as f32),
            Stored::U32 => each(bytes, |b| u32::from_le_bytes(b) as f32),
            Stored::U16 => each(bytes, |b| f32::from(u16::from_le_bytes(b))),
            Stored::U8 => bytes.iter().map(|b| f32::from(*b)).collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_every_width_keep_their_value() {
        let f16 = Stored::F16.to_f32(&[0x55, 0x35, 1, 0, 0, 0x80, 0, 0xfc]);
        let bits: Vec<u32> = f16.iter().map(|v| v.to_bits()).collect();
        let expected = [0.333_251_95, 5.960_464_5e-8, -0.0, f32::NEG_INFINITY];
        assert_eq!(bits, expected.map(f32::to_bits));
        assert_eq!(Stored::Bf16.to_f32(&[0x80, 0x3f, 0x20, 0xc1]), [1.0, -10.0]);
        assert_eq!(Stored::I64.to_f32(&(-3i64).to_le_bytes()), [-3.0]);
    }

    #[test]
    fn bytes_and_numbers_are_the_same_tensor() {
        let tensor = NamedTensor {
            shape: vec![2, 1],
            data: vec![1.0, -0.0],
        };
        assert_eq!(*tensor.le_bytes(), [0, 0, 0x80, 0x3f, 0, 0, 0, 0x80]);
        let again = NamedTensor::from_le_bytes(vec![2, 1], &tensor.le_bytes());
        assert_eq!(again, Some(tensor));
        assert_eq!(NamedTensor::from_le_bytes(vec![2], &[0; 7]), None);
        assert_eq!(NamedTensor::from_le_bytes(vec![usize::MAX, 4], &[]), None);
    }

    #[test]
    fn a_replaced_tensor_keeps_its_place() {
        let scalar = |value| NamedTensor {
            shape: vec![],
            data: vec![value],
        };
        let mut all = StateDict::default();
        assert!(all.insert("a", scalar(1.0)).is_none());
        assert!(all.insert("b", scalar(2.0)).is_none());
        assert_eq!(all.insert("a", scalar(3.0)), Some(scalar(1.0)));
        assert_eq!(all.names().collect::<Vec<_>>(), ["a", "b"]);
        assert_eq!((all.len(), all.parameters()), (2, 2));
        assert_eq!(all.get("a"), Some(&scalar(3.0)));
    }
}
