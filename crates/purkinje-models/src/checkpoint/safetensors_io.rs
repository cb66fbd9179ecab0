//! safetensors files: an 8-byte length, a JSON header, and the numbers.

use std::collections::{BTreeMap, HashMap};
use std::fs::File;
use std::io::{BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;

use purkinje_base::atomic::NewFile;
use safetensors::tensor::{Dtype, Metadata};
use serde_json::{Map, Value, json};

use super::pth::rounding_note;
use super::{CheckpointError, NamedTensor, StateDict, Stored};

const FORMAT: &str = "safetensors file";
/// Bytes before the header: its length.
const LENGTH_BYTES: u64 = 8;
/// The longest header the format allows.
const LARGEST_HEADER: u64 = 100_000_000;

/// Reads every tensor of a safetensors file as float32, in the order of the numbers in the file, and its metadata.
///
/// Half, bfloat16 and double precision, integers and booleans are converted to the nearest float32.
///
/// # Errors
/// When the file cannot be read, its header contradicts its size, or a tensor has another type of number.
pub fn read(path: &Path) -> Result<(StateDict, HashMap<String, String>), CheckpointError> {
    read_noted(path).map(|(tensors, metadata, _)| (tensors, metadata))
}

/// Tensors, metadata, and notes.
type Noted = (StateDict, HashMap<String, String>, Vec<String>);

/// As [`read`], with a note on tensors that are not float32 in the file.
pub(super) fn read_noted(path: &Path) -> Result<Noted, CheckpointError> {
    let io = || CheckpointError::io(path, "read");
    let damaged = |problem: String| CheckpointError::damaged(path, FORMAT, problem);
    let file = File::open(path).map_err(io())?;
    let size = file.metadata().map_err(io())?.len();
    let mut file = BufReader::new(file);

    if size < LENGTH_BYTES {
        return Err(damaged(format!("it has {size} bytes, fewer than 8")));
    }
    let mut length = [0; LENGTH_BYTES as usize];
    file.read_exact(&mut length).map_err(io())?;
    let length = u64::from_le_bytes(length);
    if length > LARGEST_HEADER.min(size - LENGTH_BYTES) {
        return Err(damaged(format!(
            "its first 8 bytes announce a header of {length} bytes in a file of {size}"
        )));
    }
    // Below 100 MB by the line above.
    let mut header = vec![0; length as usize];
    file.read_exact(&mut header).map_err(io())?;
    let header: Metadata =
        serde_json::from_slice(&header).map_err(|e| damaged(format!("its header: {e}")))?;

    let start = LENGTH_BYTES + length;
    let body = size - start;
    let mut all = StateDict::default();
    let mut end = 0;
    let mut rounded = Vec::new();
    for name in header.offset_keys() {
        let Some(info) = header.info(&name) else {
            continue;
        };
        let stored = stored(info.dtype).ok_or_else(|| {
            let problem = format!(
                "is of type {:?}, expected F32, F16 or BF16; convert it",
                info.dtype
            );
            CheckpointError::tensor(path, &name, problem)
        })?;
        if info.dtype != Dtype::F32 {
            rounded.push(name.clone());
        }
        let (from, to) = info.data_offsets;
        let bytes = info
            .shape
            .iter()
            .try_fold(info.dtype.bitsize() / 8, |n, d| n.checked_mul(*d));
        if from != end || to < from || to as u64 > body || bytes != Some(to - from) {
            return Err(damaged(format!(
                "tensor `{name}` of type {:?} and shape {:?} does not fit its position at bytes {from}..{to} of {body}",
                info.dtype, info.shape
            )));
        }
        end = to;
        file.seek(SeekFrom::Start(start + from as u64))
            .map_err(io())?;
        let mut raw = vec![0; to - from];
        file.read_exact(&mut raw).map_err(io())?;
        let tensor = NamedTensor {
            shape: info.shape.clone(),
            data: stored.to_f32(&raw),
        };
        all.insert(name, tensor);
    }
    if end as u64 != body {
        return Err(damaged(format!(
            "its tensors end at byte {end} of {body}, expected no bytes after them"
        )));
    }
    let rounded: Vec<&str> = rounded.iter().map(String::as_str).collect();
    let notes = rounding_note(&rounded).into_iter().collect();
    Ok((all, header.metadata().clone().unwrap_or_default(), notes))
}

/// Writes tensors as a safetensors file of float32, in their order, with metadata sorted by key: equal input gives
/// equal bytes.
///
/// The file is written beside `path`, synced and renamed, so an interrupted write leaves the old file or the new one.
///
/// # Errors
/// When a tensor's numbers do not fill its shape, or the folder cannot be written, for instance on a full disk.
pub fn write(
    path: &Path,
    tensors: &StateDict,
    metadata: &HashMap<String, String>,
) -> Result<(), CheckpointError> {
    let header = header(path, tensors, metadata)?;
    let save = || -> std::io::Result<()> {
        let mut out = BufWriter::new(NewFile::begin(path)?);
        out.write_all(&(header.len() as u64).to_le_bytes())?;
        out.write_all(&header)?;
        for (_, tensor) in tensors.iter() {
            out.write_all(&tensor.le_bytes())?;
        }
        out.into_inner()
            .map_err(|error| error.into_error())?
            .finish()
    };
    save().map_err(CheckpointError::io(path, "written"))
}

/// The JSON header, padded so that the numbers after it are aligned.
fn header(
    path: &Path,
    tensors: &StateDict,
    metadata: &HashMap<String, String>,
) -> Result<Vec<u8>, CheckpointError> {
    let mut entries = Map::new();
    if !metadata.is_empty() {
        let sorted: BTreeMap<_, _> = metadata.iter().collect();
        entries.insert("__metadata__".to_owned(), json!(sorted));
    }
    let mut end = 0;
    for (name, tensor) in tensors.iter() {
        let (values, shape) = (tensor.data.len(), &tensor.shape);
        if shape.iter().try_fold(1usize, |n, d| n.checked_mul(*d)) != Some(values) {
            let problem = format!("has {values} values, which do not fill its shape {shape:?}");
            return Err(CheckpointError::tensor(path, name, problem));
        }
        let from = end;
        end += values * size_of::<f32>();
        let entry = json!({"dtype": "F32", "shape": shape, "data_offsets": [from, end]});
        entries.insert(name.to_owned(), entry);
    }
    let mut text = Value::Object(entries).to_string().into_bytes();
    text.resize(text.len().next_multiple_of(8), b' ');
    Ok(text)
}

fn stored(dtype: Dtype) -> Option<Stored> {
    Some(match dtype {
        Dtype::F64 => Stored::F64,
        Dtype::F32 => Stored::F32,
        Dtype::F16 => Stored::F16,
        Dtype::BF16 => Stored::Bf16,
        Dtype::I64 => Stored::I64,
        Dtype::I32 => Stored::I32,
        Dtype::I16 => Stored::I16,
        Dtype::I8 => Stored::I8,
        Dtype::U64 => Stored::U64,
        Dtype::U32 => Stored::U32,
        Dtype::U16 => Stored::U16,
        Dtype::U8 | Dtype::BOOL => Stored::U8,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> StateDict {
        [("z", vec![2, 3]), ("a", vec![]), ("empty", vec![0, 4])]
            .into_iter()
            .map(|(name, shape): (&str, Vec<usize>)| {
                let data = (0..shape.iter().product())
                    .map(|v| v as f32 - 0.5)
                    .collect();
                (name.to_owned(), NamedTensor { shape, data })
            })
            .collect()
    }

    #[test]
    fn what_is_written_is_read_in_order_and_bytes_repeat() {
        let folder = tempfile::tempdir().unwrap();
        let (one, two) = (folder.path().join("1"), folder.path().join("2"));
        let metadata: HashMap<_, _> = (0..20).map(|i| (format!("k{i}"), "v".to_owned())).collect();
        write(&one, &sample(), &metadata).unwrap();
        write(&two, &sample(), &metadata.clone().into_iter().collect()).unwrap();
        assert_eq!(std::fs::read(&one).unwrap(), std::fs::read(&two).unwrap());
        assert_eq!(read(&one).unwrap(), (sample(), metadata));
        let bytes = std::fs::read(&one).unwrap();
        let theirs = safetensors::SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(theirs.tensor("z").unwrap().shape(), [2, 3]);
    }

    #[test]
    fn other_numbers_become_float32() {
        use safetensors::tensor::TensorView;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("mixed.safetensors");
        let (f64s, f16s) = (0.1f64.to_le_bytes(), 0x3c00u16.to_le_bytes());
        let views = [
            ("f64", TensorView::new(Dtype::F64, vec![1], &f64s).unwrap()),
            (
                "f16",
                TensorView::new(Dtype::F16, vec![1, 1], &f16s).unwrap(),
            ),
            (
                "bool",
                TensorView::new(Dtype::BOOL, vec![2], &[1, 0]).unwrap(),
            ),
        ];
        std::fs::write(&path, safetensors::serialize(views, None).unwrap()).unwrap();
        let (all, _, notes) = read_noted(&path).unwrap();
        assert!(
            notes[0].contains("`bool`") && notes[0].contains("`f64`"),
            "{notes:?}"
        );
        assert_eq!(all.get("f64").unwrap().data, [0.1f32]);
        assert_eq!(all.get("f16").unwrap().data, [1.0]);
        assert_eq!(all.get("bool").unwrap().data, [1.0, 0.0]);
    }

    #[test]
    fn damage_is_an_error_and_never_a_panic() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.safetensors");
        write(&path, &sample(), &HashMap::new()).unwrap();
        let whole = std::fs::read(&path).unwrap();
        for length in 0..whole.len() {
            std::fs::write(&path, &whole[..length]).unwrap();
            assert!(read(&path).is_err(), "{length} bytes");
        }
        let mut longer = whole.clone();
        longer.push(0);
        std::fs::write(&path, &longer).unwrap();
        assert!(read(&path).is_err());
        for place in 0..whole.len() {
            for bit in 0..8 {
                let mut flipped = whole.clone();
                flipped[place] ^= 1 << bit;
                std::fs::write(&path, &flipped).unwrap();
                let _ = read(&path);
            }
        }
    }

    #[test]
    fn numbers_must_fill_the_shape() {
        let folder = tempfile::tempdir().unwrap();
        let wrong = NamedTensor {
            shape: vec![2, 2],
            data: vec![0.0; 3],
        };
        let all = [("w".to_owned(), wrong)].into_iter().collect();
        let path = folder.path().join("x.safetensors");
        let error = write(&path, &all, &HashMap::new()).unwrap_err().to_string();
        assert!(error.contains("`w` has 3 values"), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }
}
