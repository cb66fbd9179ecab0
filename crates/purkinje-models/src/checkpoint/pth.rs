//! PyTorch checkpoints (`.pth`, `.pt`, `.bin`), read without executing the pickle in them (specification 6.6, 6.7).

use std::collections::HashMap;
use std::fs::File;
use std::io::{BufReader, Read, Seek, SeekFrom};
use std::path::Path;

use pytorch_reader::{DType, PytorchReader, Tensor};
use serde_json::{Map, Value};

use super::pickle::Pickle;
use super::{CheckpointError, NamedTensor, StateDict, Stored};

const FORMAT: &str = "PyTorch checkpoint";
/// Entries that hold the weights, the first found counts (specification 6.7).
const WEIGHT_KEYS: [&str; 3] = ["model", "module", "state_dict"];
const OPTIMIZER: &str = "optimizer.";
/// A pickle longer than this is not looked through for arguments; `pytorch-reader` has the same limit.
const LONGEST_PICKLE: u64 = pytorch_reader::MAX_PICKLE_SIZE;

/// What a PyTorch checkpoint holds.
#[derive(Clone, Debug)]
pub struct PthCheckpoint {
    /// The weights under the names in the file, in its order.
    pub model: StateDict,
    /// Names and shapes of the optimizer's tensors (`state.<parameter index>.exp_avg` and so on); their numbers, twice
    /// those of the model, are read by [`read_pth_optimizer`].
    pub optimizer_tensors: Vec<(String, Vec<usize>)>,
    /// The epoch it was saved after, or `best`.
    pub epoch: Option<String>,
    /// The arguments of the run, in their order; empty where the file has none.
    pub args: Map<String, Value>,
    /// What a reader should know: which entry was taken, what was left out.
    pub notes: Vec<String>,
}

/// Reads the weights of a PyTorch checkpoint as float32, with the epoch and the arguments of the run.
///
/// The weights are the entry `model`, else `module`, else `state_dict`, else the file's dictionary itself. The pickle
/// is read as data: nothing in it is imported or called.
///
/// # Errors
/// When the file cannot be read, is damaged, or holds no tensor.
pub fn read_pth(path: &Path) -> Result<PthCheckpoint, CheckpointError> {
    let (tensors, size) = open(path)?;
    let mut notes = Vec::new();
    let key = WEIGHT_KEYS
        .into_iter()
        .find(|key| tensors.keys().any(|name| below(name, key).is_some()));
    let mut ours: HashMap<String, &Tensor> = HashMap::new();
    let (mut optimizer_tensors, mut others) = (Vec::new(), Vec::new());
    for (name, tensor) in &tensors {
        if let Some(name) = key.map_or(Some(name.as_str()), |key| below(name, key)) {
            ours.insert(name.to_owned(), tensor);
        } else if let Some(name) = name.strip_prefix(OPTIMIZER) {
            optimizer_tensors.push((name.to_owned(), tensor.shape().to_vec()));
        } else {
            others.push(name.as_str());
        }
    }
    if ours.is_empty() {
        return Err(CheckpointError::NoTensors {
            path: path.to_path_buf(),
        });
    }
    match key {
        Some(key) => notes.push(format!("The weights are the entry `{key}`.")),
        None => notes.push("The weights are the file's dictionary itself.".to_owned()),
    }
    if !others.is_empty() {
        others.sort_by_key(|name| natural(name));
        notes.push(format!(
            "Left out beside the weights: `{}`.",
            others.join("`, `")
        ));
    }
    let converted = ours.values().filter(|t| t.dtype() != DType::F32).count();
    if converted > 0 {
        notes.push(format!(
            "{converted} tensors of the weights are not float32 and were rounded to it."
        ));
    }
    optimizer_tensors.sort_by_key(|(name, _)| natural(name));

    let pickle = pickle(path).map_err(|problem| {
        notes.push(format!(
            "The arguments of the run were not read: {problem}."
        ));
    });
    let pickle = pickle.ok();
    let entry = |key: &str| pickle.as_ref().and_then(|pickle| pickle.entry(key));
    let epoch = match entry("epoch") {
        Some(Value::String(text)) => Some(text),
        Some(Value::Number(number)) => Some(number.to_string()),
        _ => None,
    };
    let args = match entry("args") {
        Some(Value::Object(args)) => args,
        _ => Map::new(),
    };

    let mut model = StateDict::default();
    // In the order of the file as far as it is known, the rest by name.
    let mut order: Vec<&str> = pickle.as_ref().map_or_else(Vec::new, |p| p.keys(key));
    let mut rest: Vec<&str> = ours.keys().map(String::as_str).collect();
    rest.sort_by_key(|name| natural(name));
    order.extend(rest);
    for name in order {
        if model.contains(name) {
            continue;
        }
        if let Some(tensor) = ours.get(name) {
            model.insert(name, numbers(path, name, tensor, size)?);
        }
    }
    Ok(PthCheckpoint {
        model,
        optimizer_tensors,
        epoch,
        args,
        notes,
    })
}

/// Reads the optimizer's tensors of a PyTorch checkpoint: `state.<parameter index>.{step,exp_avg,exp_avg_sq}`, by
/// index. Empty where the file has no optimizer.
///
/// # Errors
/// When the file cannot be read or is damaged.
pub fn read_pth_optimizer(path: &Path) -> Result<StateDict, CheckpointError> {
    let (tensors, size) = open(path)?;
    let mut names: Vec<&String> = tensors
        .keys()
        .filter(|name| name.starts_with(OPTIMIZER))
        .collect();
    names.sort_by_key(|name| natural(name));
    names
        .into_iter()
        .map(|full| {
            let name = full.strip_prefix(OPTIMIZER).unwrap_or(full);
            Ok((name.to_owned(), numbers(path, name, &tensors[full], size)?))
        })
        .collect()
}

/// The tensors of the file by dotted name, their numbers unread, and the file's size in bytes.
fn open(path: &Path) -> Result<(HashMap<String, Tensor>, u64), CheckpointError> {
    let file = File::open(path).map_err(CheckpointError::io(path, "read"))?;
    let metadata = file.metadata().map_err(CheckpointError::io(path, "read"))?;
    if metadata.is_dir() {
        let problem = "it is a folder";
        return Err(CheckpointError::damaged(path, FORMAT, problem));
    }
    let reader = PytorchReader::new(path)
        .map_err(|e| CheckpointError::damaged(path, FORMAT, sentence_end(e)))?;
    Ok((reader.into_tensors(), metadata.len()))
}

/// The numbers of one tensor.
fn numbers(
    path: &Path,
    name: &str,
    tensor: &Tensor,
    size: u64,
) -> Result<NamedTensor, CheckpointError> {
    // A view with stride 0 may claim any number of elements; `torch.save` stores weights in full.
    if tensor.byte_len() as u64 > size {
        let problem = format!(
            "of shape {:?} claims {} bytes in a file of {size}; save it with `.contiguous()`, or fetch the file again",
            tensor.shape(),
            tensor.byte_len()
        );
        return Err(CheckpointError::tensor(path, name, problem));
    }
    let mut bytes = tensor.read().map_err(|e| {
        let problem = format!("cannot be read: {}; fetch the file again", sentence_end(e));
        CheckpointError::tensor(path, name, problem)
    })?;
    // They come in the byte order of this machine.
    if cfg!(target_endian = "big") {
        let number = tensor.dtype().size();
        bytes.chunks_mut(number).for_each(<[u8]>::reverse);
    }
    let stored = match tensor.dtype() {
        DType::F64 => Stored::F64,
        DType::F32 => Stored::F32,
        DType::F16 => Stored::F16,
        DType::BF16 => Stored::Bf16,
        DType::I64 => Stored::I64,
        DType::I32 => Stored::I32,
        DType::I16 => Stored::I16,
        DType::I8 => Stored::I8,
        DType::U64 => Stored::U64,
        DType::U32 => Stored::U32,
        DType::U16 => Stored::U16,
        DType::U8 | DType::Bool => Stored::U8,
    };
    Ok(NamedTensor {
        shape: tensor.shape().to_vec(),
        data: stored.to_f32(&bytes),
    })
}

/// The pickle of a zip-based checkpoint. `torch.save` writes it first and uncompressed, and it marks its own end, so
/// the archive's directory is not needed.
fn pickle(path: &Path) -> Result<Pickle, String> {
    const HEADER: usize = 30;
    let broken = |e: std::io::Error| format!("{e}");
    let mut file = BufReader::new(File::open(path).map_err(broken)?);
    let mut header = [0; HEADER];
    file.read_exact(&mut header).map_err(broken)?;
    let word = |at: usize| u16::from_le_bytes([header[at], header[at + 1]]);
    if !header.starts_with(b"PK\x03\x04") {
        return Err("the file is not of the zip kind that PyTorch 1.6 and later write".to_owned());
    }
    let (method, name_bytes, extra_bytes) = (word(8), word(26), word(28));
    let mut name = vec![0; usize::from(name_bytes)];
    file.read_exact(&mut name).map_err(broken)?;
    if method != 0 || !name.ends_with(b"data.pkl") {
        return Err("the archive does not begin with an uncompressed `data.pkl`".to_owned());
    }
    file.seek(SeekFrom::Current(extra_bytes.into()))
        .map_err(broken)?;
    Pickle::parse(&mut file.take(LONGEST_PICKLE))
}

/// The part of `name` below `key`.
fn below<'a>(name: &'a str, key: &str) -> Option<&'a str> {
    name.strip_prefix(key)?.strip_prefix('.')
}

/// An error of another library as the middle of a sentence.
fn sentence_end(error: impl ToString) -> String {
    error.to_string().trim_end_matches('.').to_owned()
}

/// Sorts `layers.10` after `layers.9`.
fn natural(name: &str) -> Vec<(u64, String)> {
    name.split('.')
        .map(|part| (part.parse().unwrap_or(u64::MAX), part.to_owned()))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::read_safetensors;
    use super::*;

    const CASES: [&str; 5] = [
        "pretrain-forward",
        "finetune-clear",
        "finetune-clear-hug",
        "train-pretrain-20",
        "train-hug-20",
    ];

    fn golden(file: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../tests/golden-data/clear-hug")
            .join(file)
    }

    #[test]
    fn published_checkpoints_give_their_tensors_bit_for_bit() {
        for case in CASES {
            let found = read_pth(&golden(&format!("{case}/checkpoint.pth"))).unwrap();
            let (expected, _) =
                read_safetensors(&golden(&format!("{case}/weights.safetensors"))).unwrap();
            assert_eq!(found.model.len(), expected.len(), "{case}");
            for (name, tensor) in expected.iter() {
                let ours = found.model.get(name).unwrap();
                assert_eq!(ours.shape, tensor.shape, "{case} {name}");
                let bits = |t: &NamedTensor| t.data.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
                assert_eq!(bits(ours), bits(tensor), "{case} {name}");
            }
        }
    }

    #[test]
    fn epoch_arguments_order_and_optimizer_are_read() {
        let path = golden("train-hug-20/checkpoint.pth");
        let found = read_pth(&path).unwrap();
        assert_eq!(found.epoch.as_deref(), Some("4"));
        assert_eq!(found.args["model"], "CLEAR_HUG_finetune_base");
        assert_eq!(found.args["trainable"], "moe");
        assert_eq!(found.args["nb_classes"], 6);
        assert_eq!(found.args["weight_decay"], 0.05);
        assert_eq!(found.args["local_rank"], -1);
        let names: Vec<&str> = found.model.names().collect();
        assert_eq!(names[..2], ["backbone.cls_token", "backbone.mask_token"]);
        assert_eq!(
            names[names.len() - 2..],
            ["mlp_head.weight", "mlp_head.bias"]
        );
        let moments = read_pth_optimizer(&path).unwrap();
        let shapes: Vec<(String, Vec<usize>)> = moments
            .iter()
            .map(|(n, t)| (n.to_owned(), t.shape.clone()))
            .collect();
        assert!(!shapes.is_empty());
        assert_eq!(shapes, found.optimizer_tensors);
        // 16 trainable tensors of stage 2, each with a step and two moments.
        assert_eq!(moments.len(), 3 * 16);
        assert_eq!(moments.get("state.0.step").unwrap().data, [20.0]);

        let best = read_pth(&golden("finetune-clear/checkpoint.pth")).unwrap();
        assert_eq!(best.epoch.as_deref(), Some("best"));
    }

    #[test]
    fn damage_is_an_error_and_never_a_panic() {
        let whole = std::fs::read(golden("pretrain-forward/checkpoint.pth")).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("damaged.pth");
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            read_pth(&path)
        };
        // The archive's directory lies at the end, so every cut file is refused.
        for length in (0..64).chain((64..whole.len()).step_by(whole.len() / 97)) {
            let error = read(&whole[..length]).unwrap_err();
            assert!(
                matches!(error, CheckpointError::Damaged { .. }),
                "{length}: {error}"
            );
        }
        // Bytes of the pickle (the first 10 kB), of the numbers, and of the directory.
        let places = (0..10_500)
            .step_by(53)
            .chain((10_500..whole.len()).step_by(4_001));
        let directory = whole.len() - 600..whole.len();
        for place in places.chain(directory.step_by(7)) {
            let mut flipped = whole.clone();
            flipped[place] ^= 1 << (place % 8);
            match read(&flipped) {
                Ok(found) => assert!(!found.model.is_empty()),
                Err(error) => assert!(error.to_string().contains("damaged.pth"), "{error}"),
            }
        }
    }

    #[test]
    fn other_files_are_named_as_such() {
        let folder = tempfile::tempdir().unwrap();
        let error = read_pth(folder.path()).unwrap_err().to_string();
        assert!(error.contains("it is a folder"), "{error}");
        let error = read_pth(&golden("pretrain-forward/weights.safetensors")).unwrap_err();
        assert!(matches!(error, CheckpointError::Damaged { .. }), "{error}");
        let error = read_pth(&folder.path().join("none.pth")).unwrap_err();
        assert!(matches!(error, CheckpointError::Io { .. }), "{error}");
        let empty = folder.path().join("empty.pkl");
        std::fs::write(&empty, b"\x80\x02}.").unwrap();
        let error = read_pth(&empty).unwrap_err();
        assert!(
            matches!(error, CheckpointError::NoTensors { .. }),
            "{error}"
        );
    }
}
