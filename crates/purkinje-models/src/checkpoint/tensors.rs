//! The tensors of a PyTorch checkpoint: described in its pickle; their numbers are read on request.

use std::path::Path;

use super::container::{Container, MOST_EXPANSION};
use super::pickle::{Described, Pickle};
use super::{CheckpointError, NamedTensor, StateDict, Stored};

/// The tensors of a file by dotted name, in its order.
pub(super) struct Tensors<'a> {
    pub(super) path: &'a Path,
    pub(super) described: Vec<(String, Described)>,
    container: Container,
    /// Of the file, in bytes.
    size: u64,
}

impl<'a> Tensors<'a> {
    pub(super) fn open(
        path: &'a Path,
        pickle: &Pickle,
        container: Container,
    ) -> Result<Self, CheckpointError> {
        let size = std::fs::metadata(path)
            .map_err(CheckpointError::io(path, "read"))?
            .len();
        Ok(Tensors {
            path,
            described: pickle.tensors(),
            container,
            size,
        })
    }

    /// The numbers of these tensors, each under the name given last.
    pub(super) fn read<'t>(
        &self,
        tensors: impl IntoIterator<Item = (&'t str, &'t Described, &'t str)>,
    ) -> Result<(StateDict, Vec<&'t str>), CheckpointError> {
        let mut all = StateDict::default();
        let mut rounded = Vec::new();
        let mut total = 0u64;
        for (full, tensor, name) in tensors {
            let (shape, stored, bytes) = self.numbers(tensor, full, &mut total)?;
            if !matches!(stored, Stored::F32) {
                rounded.push(name);
            }
            let data = stored.to_f32(&bytes);
            all.insert(name, NamedTensor { shape, data });
        }
        Ok((all, rounded))
    }

    fn numbers(
        &self,
        tensor: &Described,
        name: &str,
        total: &mut u64,
    ) -> Result<(Vec<usize>, Stored, Vec<u8>), CheckpointError> {
        let odd = |problem: &str| CheckpointError::tensor(self.path, name, problem);
        let Described::Tensor(view) = tensor else {
            return Err(odd(
                "is of an unsupported kind, expected an ordinary dense tensor; convert it",
            ));
        };
        let (stored, width) = storage(&view.storage_type).ok_or_else(|| {
            odd(&format!(
                "holds numbers of the unsupported type `{}`; convert it to float32",
                view.storage_type
            ))
        })?;
        let garbled = || odd("has a shape, strides or an offset that contradict its storage");
        let count = product(&view.shape).ok_or_else(garbled)?;
        // From its first to one past its last number.
        let extent = match count {
            0 => 0,
            _ => view
                .shape
                .iter()
                .zip(&view.strides)
                .try_fold(1usize, |n, (d, stride)| {
                    n.checked_add((d - 1).checked_mul(*stride)?)
                })
                .ok_or_else(garbled)?,
        };
        let bytes = |numbers: usize| numbers.checked_mul(width).map(|n| n as u64);
        let (Some(needed), Some(from), Some(length)) =
            (bytes(count), bytes(view.offset), bytes(extent))
        else {
            return Err(garbled());
        };
        self.admit(name, &view.shape, needed, total)?;
        let window = self
            .container
            .storage(self.path, name, &view.key, from, length)?;
        // Without numbers the other dimensions may be anything.
        let numbers = if count == 0 || is_contiguous(&view.shape, &view.strides) {
            window
        } else {
            gather(&window, &view.shape, &view.strides, width)
        };
        Ok((view.shape.clone(), stored, numbers))
    }

    /// Refuses a tensor larger than the file, as a view with stride 0 may claim to be (`torch.save` stores weights in
    /// full), and many views that together are far larger.
    fn admit(
        &self,
        name: &str,
        shape: &[usize],
        bytes: u64,
        total: &mut u64,
    ) -> Result<(), CheckpointError> {
        if bytes > self.size {
            let problem = format!(
                "of shape {shape:?} claims {bytes} bytes in a file of {}; save it with `.contiguous()`, or fetch the file again",
                self.size
            );
            return Err(CheckpointError::tensor(self.path, name, problem));
        }
        *total = total.saturating_add(bytes);
        if *total > self.size.saturating_mul(MOST_EXPANSION) {
            return Err(CheckpointError::Bomb {
                path: self.path.to_path_buf(),
                problem: format!(
                    "its tensors claim more than {total} bytes in a file of {}",
                    self.size
                ),
            });
        }
        Ok(())
    }
}

/// The type of the numbers of a storage class, and its size in bytes.
pub(super) fn storage(class: &str) -> Option<(Stored, usize)> {
    Some(match class {
        "torch.DoubleStorage" => (Stored::F64, 8),
        "torch.FloatStorage" => (Stored::F32, 4),
        "torch.HalfStorage" => (Stored::F16, 2),
        "torch.BFloat16Storage" => (Stored::Bf16, 2),
        "torch.LongStorage" => (Stored::I64, 8),
        "torch.IntStorage" => (Stored::I32, 4),
        "torch.ShortStorage" => (Stored::I16, 2),
        "torch.CharStorage" => (Stored::I8, 1),
        "torch.ByteStorage" | "torch.BoolStorage" => (Stored::U8, 1),
        _ => return None,
    })
}

fn product(shape: &[usize]) -> Option<usize> {
    shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d))
}

/// Whether the numbers are contiguous and row-major.
fn is_contiguous(shape: &[usize], strides: &[usize]) -> bool {
    let mut expected = 1;
    shape.iter().zip(strides).rev().all(|(size, stride)| {
        let fits = *size == 1 || *stride == expected;
        expected *= size.max(&1);
        fits
    })
}

/// The numbers of a view in row-major order. The window is known to reach to its last number.
fn gather(window: &[u8], shape: &[usize], strides: &[usize], width: usize) -> Vec<u8> {
    let count = shape.iter().product::<usize>();
    let mut numbers = Vec::with_capacity(count * width);
    let mut index = vec![0; shape.len()];
    for _ in 0..count {
        let at: usize = index
            .iter()
            .zip(strides)
            .map(|(i, stride)| i * stride)
            .sum();
        numbers.extend(&window[at * width..(at + 1) * width]);
        for axis in (0..shape.len()).rev() {
            index[axis] += 1;
            if index[axis] < shape[axis] {
                break;
            }
            index[axis] = 0;
        }
    }
    numbers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn views_are_written_out_row_by_row() {
        let window: Vec<u8> = (0..6).collect();
        assert!(is_contiguous(&[2, 3], &[3, 1]) && is_contiguous(&[1, 3], &[77, 1]));
        assert!(is_contiguous(&[], &[]) && is_contiguous(&[2, 1, 3], &[3, 9, 1]));
        assert!(!is_contiguous(&[3, 2], &[1, 3]));
        // The transpose of [[0, 1, 2], [3, 4, 5]], every second number, and one number three times.
        assert_eq!(gather(&window, &[3, 2], &[1, 3], 1), [0, 3, 1, 4, 2, 5]);
        assert_eq!(gather(&window, &[3], &[2], 1), [0, 2, 4]);
        assert_eq!(gather(&window, &[3, 1], &[0, 1], 2), [0, 1, 0, 1, 0, 1]);
        assert!(gather(&window, &[0, 3], &[1, 1], 1).is_empty());
    }
}
