//! PyTorch checkpoints (`.pth`, `.pt`, `.bin`), read without executing the pickle in them.

use std::fmt;
use std::path::Path;

use serde_json::{Map, Value};

use super::optimizer::{self, OptimizerState};
use super::tensors::Tensors;
use super::{CheckpointError, StateDict, container};

/// Entries that hold the weights; the first found is used (some published systems use the last).
const WEIGHT_KEYS: [&str; 4] = ["model", "module", "state_dict", "model_state_dict"];
const OPTIMIZER_KEYS: [&str; 2] = ["optimizer", "optimizer_state_dict"];
/// The prefix that `DataParallel` adds to every name.
const PARALLEL: &str = "module.";
/// Largest number of names listed in one note.
const MOST_LISTED: usize = 8;

/// How a PyTorch checkpoint is read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PthOptions {
    /// Read the optimizer too. It has twice as many numbers as the model.
    pub optimizer: bool,
    /// Python types and functions (`module.name`) the file may name beside the known ones. They are never imported or
    /// called; their results appear as `<module.name>` in the arguments of the run.
    pub allowed_globals: Vec<String>,
}

/// The contents of a PyTorch checkpoint.
#[derive(Clone, Debug)]
pub struct PthCheckpoint {
    /// The weights under the names in the file, in its order.
    pub model: StateDict,
    /// The state of the optimizer; `None` if the file has none or it was not requested.
    pub optimizer: Option<OptimizerState>,
    /// When it was saved.
    pub epoch: Option<Epoch>,
    /// The arguments of the run, in their order; empty where the file has none.
    pub args: Map<String, Value>,
    /// Other entries of the file's dictionary beside weights and optimizer, without tensors: counters, best values, the
    /// configuration of the model.
    pub entries: Map<String, Value>,
    /// The state of the gradient scaler (`scale`, `growth_factor` and so on), where the file has it.
    pub scaler: Option<Map<String, Value>>,
    /// Notes to the user: which entry was used, what was left out or rounded.
    pub notes: Vec<String>,
}

/// When a checkpoint was saved.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Epoch {
    /// After this epoch, counted from 0.
    Number(i64),
    /// At an event: the published program writes `best`.
    Named(String),
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Epoch::Number(number) => write!(f, "{number}"),
            Epoch::Named(name) => f.write_str(name),
        }
    }
}

/// Reads the weights of a PyTorch checkpoint as float32, with the epoch and the arguments of the run, but without the
/// optimizer: [`read_pth_with`] and the default options.
///
/// # Errors
/// As [`read_pth_with`].
pub fn read_pth(path: &Path) -> Result<PthCheckpoint, CheckpointError> {
    read_pth_with(path, &PthOptions::default())
}

/// Reads a PyTorch checkpoint, numbers as float32.
///
/// The weights are the entry `model`, else `module`, `state_dict` or `model_state_dict`, else the file's dictionary
/// itself. The pickle is read as data: nothing in it is imported or called, and a name that is not known to describe
/// weights is an error. Zip archives (PyTorch 1.6 and later) and the stream of pickles before them are read.
///
/// # Errors
/// When the file cannot be read, is cut off, damaged, of another format or far larger than its size when unpacked,
/// names an unknown Python object, holds no tensor, or its optimizer was requested and is not Adam.
pub fn read_pth_with(path: &Path, options: &PthOptions) -> Result<PthCheckpoint, CheckpointError> {
    let (pickle, container) = container::open(path, &options.allowed_globals)?;
    let file = Tensors::open(path, &pickle, container)?;
    let mut notes = Vec::new();

    let key = WEIGHT_KEYS
        .into_iter()
        .find(|key| pickle.keys(&[*key]).is_some());
    let optimizer_key = OPTIMIZER_KEYS
        .into_iter()
        .find(|key| pickle.keys(&[*key]).is_some_and(|keys| !keys.is_empty()));
    let prefix = key.map(|key| format!("{key}."));
    let optimizer_prefix = optimizer_key.map(|key| format!("{key}."));
    let (mut ours, mut others) = (Vec::new(), Vec::new());
    for (full, tensor) in &file.described {
        if optimizer_prefix
            .as_deref()
            .is_some_and(|p| full.starts_with(p))
        {
            continue;
        }
        let below = match &prefix {
            Some(prefix) => full.strip_prefix(prefix.as_str()),
            None => Some(full.as_str()),
        };
        match below {
            Some(name) => ours.push((full.as_str(), tensor, name)),
            None => others.push(full.as_str()),
        }
    }
    if ours.is_empty() {
        return Err(CheckpointError::NoTensors {
            path: path.to_path_buf(),
        });
    }
    notes.push(match key {
        Some(key) => format!("The weights are the entry `{key}`."),
        None => "The weights are the file's dictionary itself.".to_owned(),
    });
    if let Some(listed) = listed(&others) {
        notes.push(format!("Left out beside the weights: {listed}."));
    }
    if optimizer_key.is_some() && !options.optimizer {
        notes.push("The state of the optimizer was not read.".to_owned());
    }

    let (model, rounded) = file.read(ours)?;
    notes.extend(rounding_note(&rounded));
    let model = without_parallel(model, &mut notes);

    let optimizer = match optimizer_key {
        Some(key) if options.optimizer => Some(optimizer::read(&file, &pickle, key)?),
        _ => None,
    };
    let object = |key: &str| match pickle.value(&[key]) {
        Some(Value::Object(object)) => Some(object),
        _ => None,
    };
    let entries = match key {
        // Where the file is the dictionary of weights, there are no other entries.
        None => Map::new(),
        Some(_) => pickle
            .keys(&[])
            .unwrap_or_default()
            .into_iter()
            .filter(|name| Some(*name) != key && Some(*name) != optimizer_key && *name != "args")
            .filter_map(|name| Some((name.to_owned(), pickle.value(&[name])?)))
            .collect(),
    };
    Ok(PthCheckpoint {
        model,
        optimizer,
        entries,
        epoch: match pickle.value(&["epoch"]) {
            Some(Value::String(name)) => Some(Epoch::Named(name)),
            Some(Value::Number(number)) => number.as_i64().map(Epoch::Number),
            _ => None,
        },
        args: object("args").unwrap_or_default(),
        scaler: object("scaler"),
        notes,
    })
}

/// Removes the prefix that `DataParallel` adds to every name.
fn without_parallel(model: StateDict, notes: &mut Vec<String>) -> StateDict {
    if !model.names().all(|name| name.starts_with(PARALLEL)) {
        return model;
    }
    notes.push(format!(
        "The prefix `{PARALLEL}` was removed from every name."
    ));
    model
        .into_iter()
        .map(|(name, tensor)| (name[PARALLEL.len()..].to_owned(), tensor))
        .collect()
}

/// A note on tensors whose numbers were rounded.
pub(super) fn rounding_note(names: &[&str]) -> Option<String> {
    Some(format!(
        "Not float32 in the file, rounded to float32: {}.",
        listed(names)?
    ))
}

/// Some names for a note; `None` for an empty list.
fn listed(names: &[&str]) -> Option<String> {
    if names.is_empty() {
        return None;
    }
    let shown = &names[..names.len().min(MOST_LISTED)];
    let mut text = format!("`{}`", shown.join("`, `"));
    if names.len() > shown.len() {
        text += &format!(" and {} more", names.len() - shown.len());
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::testing::{
        dictionary, legacy_checkpoint, pickle, tensor, text, weights, zip_checkpoint,
        zip_checkpoint_named,
    };
    use super::super::{NamedTensor, ParamGroup, read_safetensors};
    use super::*;

    fn golden(file: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../tests/golden-data/clear-hug")
            .join(file)
    }

    fn whole() -> PthOptions {
        PthOptions {
            optimizer: true,
            ..PthOptions::default()
        }
    }

    #[test]
    fn published_checkpoints_give_their_tensors_bit_for_bit() {
        for (case, epoch, moments) in [
            ("pretrain-forward", Epoch::Number(0), 0),
            ("finetune-clear", Epoch::Named("best".to_owned()), 0),
            ("finetune-clear-hug", Epoch::Named("best".to_owned()), 0),
            ("train-pretrain-20", Epoch::Number(4), 51),
            ("train-hug-20", Epoch::Number(4), 16),
        ] {
            let path = golden(&format!("{case}/checkpoint.pth"));
            let found = read_pth_with(&path, &whole()).unwrap();
            let (expected, _) =
                read_safetensors(&golden(&format!("{case}/weights.safetensors"))).unwrap();
            assert_eq!(found.model.len(), expected.len(), "{case}");
            let bits = |t: &NamedTensor| t.data.iter().map(|v| v.to_bits()).collect::<Vec<_>>();
            for (name, tensor) in expected.iter() {
                let ours = found.model.get(name).unwrap();
                assert_eq!(ours.shape, tensor.shape, "{case} {name}");
                assert_eq!(bits(ours), bits(tensor), "{case} {name}");
            }
            assert_eq!(found.epoch, Some(epoch), "{case}");
            assert_eq!(found.optimizer.unwrap().parameters.len(), moments, "{case}");
        }
    }

    #[test]
    fn epoch_arguments_order_optimizer_and_scaler_are_read() {
        let path = golden("train-hug-20/checkpoint.pth");
        let found = read_pth_with(&path, &whole()).unwrap();
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
        assert_eq!(found.scaler.unwrap()["scale"], 65_536.0);

        // 16 trainable tensors of stage 2: 8 matrices that decay, 8 biases that do not.
        let optimizer = found.optimizer.unwrap();
        let [matrices, biases]: [ParamGroup; 2] = optimizer.groups.try_into().unwrap();
        assert_eq!((matrices.weight_decay, biases.weight_decay), (0.05, 0.0));
        assert_eq!(matrices.params, (0..8).collect::<Vec<_>>());
        assert_eq!(biases.params, (8..16).collect::<Vec<_>>());
        assert_eq!(matrices.betas, [0.9, 0.999]);
        assert_eq!(matrices.others["lr_scale"], 1.0);
        // Learning rates are NumPy scalars; both groups have that of the last step.
        assert!(matrices.lr == biases.lr && matrices.lr > 0.0 && matrices.lr < 1e-3);
        assert!(optimizer.parameters.keys().copied().eq(0..16));
        for (index, moments) in &optimizer.parameters {
            assert_eq!(moments.step, 20);
            assert_eq!(moments.exp_avg.shape.len(), if *index < 8 { 2 } else { 1 });
            assert!(moments.exp_avg_sq.data.iter().all(|square| *square >= 0.0));
            assert!(moments.exp_avg.data.iter().any(|mean| *mean != 0.0));
        }

        let without = read_pth(&path).unwrap();
        assert_eq!((&without.optimizer, &without.model), (&None, &found.model));
        assert!(
            without
                .notes
                .iter()
                .any(|note| note.contains("optimizer was not read"))
        );
    }

    /// Reads these bytes as a file.
    fn read(bytes: &[u8]) -> Result<PthCheckpoint, CheckpointError> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("small.pth");
        std::fs::write(&path, bytes).unwrap();
        read_pth_with(&path, &whole())
    }

    #[test]
    fn every_way_to_keep_weights_is_read() {
        let numbers = |found: &PthCheckpoint| {
            let all = found.model.iter();
            all.map(|(n, t)| (n.to_owned(), t.data.clone()))
                .collect::<Vec<_>>()
        };
        let expected = [
            ("w".to_owned(), vec![1.5, -2.0]),
            ("s".to_owned(), vec![0.25]),
        ];
        for is_legacy in [false, true] {
            let write = |pickle: &[u8]| match is_legacy {
                false => zip_checkpoint(pickle),
                true => legacy_checkpoint(pickle),
            };
            for key in WEIGHT_KEYS {
                let entries = [("epoch", b"K\x03".to_vec()), (key, weights(is_legacy))];
                let found = read(&write(&pickle(&dictionary(&entries)))).unwrap();
                assert_eq!(numbers(&found), expected, "{key}");
                assert_eq!(found.epoch, Some(Epoch::Number(3)));
                assert_eq!(found.optimizer, None);
            }
            let found = read(&write(&pickle(&weights(is_legacy)))).unwrap();
            assert_eq!(numbers(&found), expected);
            // `model` before `module`, whatever their order; what is left out is said.
            let other = dictionary(&[("z", tensor("1", 1, 1, is_legacy))]);
            let entries = [("module", other.clone()), ("model", weights(is_legacy))];
            let found = read(&write(&pickle(&dictionary(&entries)))).unwrap();
            assert_eq!(numbers(&found), expected);
            assert!(found.notes[1].contains("`module.z`"), "{:?}", found.notes);
            // A model within `DataParallel`.
            let entries = [
                ("module.w", tensor("0", 2, 2, is_legacy)),
                ("module.s", tensor("1", 1, 1, is_legacy)),
            ];
            let found = read(&write(&pickle(&dictionary(&entries)))).unwrap();
            assert_eq!(numbers(&found), expected);
        }
    }

    #[test]
    fn the_name_of_the_file_does_not_matter() {
        let root = pickle(&weights(false));
        for length in 1..100 {
            let file = zip_checkpoint_named(&"n".repeat(length), &root);
            assert_eq!(read(&file).unwrap().model.len(), 2, "{length}");
        }
    }

    #[test]
    fn changed_numbers_are_noticed_by_their_checksum() {
        let path = golden("finetune-clear/checkpoint.pth");
        let mut bytes = std::fs::read(&path).unwrap();
        let cls_token = read_pth(&path).unwrap().model;
        let cls_token = cls_token
            .get("backbone.cls_token")
            .unwrap()
            .le_bytes()
            .into_owned();
        let at = bytes
            .windows(16)
            .position(|w| *w == cls_token[..16])
            .unwrap();
        bytes[at + 1] ^= 1;
        let error = read(&bytes).unwrap_err().to_string();
        assert!(
            error.contains("backbone.cls_token`") && error.contains("checksum"),
            "{error}"
        );
    }

    #[test]
    fn views_are_written_out() {
        // The two numbers of `w` from last to first cannot be a view; the second one alone, and one twice, can.
        let view = |offset: u8, count: u8, stride: u8| {
            let mut view = tensor("0", count.into(), 2, false);
            let at = view.windows(2).rposition(|w| w == [b'K', 0]).unwrap();
            view[at + 1] = offset;
            let at = view.windows(3).rposition(|w| w == [b'K', 1, 0x85]).unwrap();
            view[at + 1] = stride;
            zip_checkpoint(&pickle(&dictionary(&[("v", view)])))
        };
        for (offset, count, stride, expected) in [
            (1, 1, 1, &[-2.0][..]),
            (0, 3, 0, &[1.5, 1.5, 1.5]),
            (2, 0, 1, &[]),
        ] {
            let found = read(&view(offset, count, stride)).unwrap();
            assert_eq!(found.model.get("v").unwrap().data, expected);
        }
        // Nothing, of a shape whose product without the zero is beyond any memory.
        let mut empty = tensor("0", 0, 2, false);
        let at = empty
            .windows(4)
            .rposition(|w| w == [b'M', 0, 0, 0x85])
            .unwrap();
        let shape = b"(K\0J\0\0\0\x7fJ\0\0\0\x7fJ\0\0\0\x7ft(K\x01K\x01K\x01K\x01t";
        empty.splice(at..at + 7, shape.iter().copied());
        let found = read(&zip_checkpoint(&pickle(&dictionary(&[("v", empty)])))).unwrap();
        let huge = 0x7f00_0000;
        assert_eq!(found.model.get("v").unwrap().shape, [0, huge, huge, huge]);

        let error = read(&view(1, 2, 1)).unwrap_err().to_string();
        assert!(
            error.contains("needs bytes 4 to 12 of the storage `0`, which has 8"),
            "{error}"
        );
    }

    #[test]
    fn optimizers_other_than_adam_are_named_and_do_not_keep_the_weights_back() {
        let state = |part: &str| {
            let parts = dictionary(&[(part, tensor("1", 1, 1, false))]);
            let state = [b"}K\x00", &parts[..], b"s"].concat();
            let optimizer = dictionary(&[("state", state), ("param_groups", b"]".to_vec())]);
            let entries = [("model", weights(false)), ("optimizer", optimizer)];
            zip_checkpoint(&pickle(&dictionary(&entries)))
        };
        for (part, expected) in [
            (
                "momentum_buffer",
                "`optimizer.state.0.momentum_buffer`: it is not part",
            ),
            ("exp_avg", "`optimizer.state.0.step`: it is missing"),
        ] {
            let error = read(&state(part)).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path().join("sgd.pth");
            std::fs::write(&path, state(part)).unwrap();
            assert_eq!(read_pth(&path).unwrap().model.len(), 2);
        }
    }

    #[test]
    fn names_that_are_no_data_are_refused_unless_allowed() {
        let attack = [b"cos\nsystem\n", &text("true")[..], b"\x85R"].concat();
        let entries = [("model", weights(false)), ("args", attack)];
        let file = zip_checkpoint(&pickle(&dictionary(&entries)));
        let error = read(&file).unwrap_err();
        assert!(
            matches!(&error, CheckpointError::ForbiddenGlobal { global, .. } if global == "os.system")
        );
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("attack.pth");
        std::fs::write(&path, file).unwrap();
        let options = PthOptions {
            allowed_globals: vec!["os.system".to_owned()],
            ..PthOptions::default()
        };
        assert_eq!(read_pth_with(&path, &options).unwrap().model.len(), 2);
    }

    #[test]
    fn views_that_repeat_a_storage_without_end_are_refused() {
        let names: Vec<String> = (0..200).map(|i| format!("view{i}")).collect();
        // 2,000 numbers with stride 0 of a storage that holds one.
        let mut view = tensor("1", 2_000, 1, false);
        let stride = view.windows(3).rposition(|w| w == [b'K', 1, 0x85]).unwrap();
        view[stride + 1] = 0;
        let entries: Vec<(&str, Vec<u8>)> = names
            .iter()
            .map(|name| (name.as_str(), view.clone()))
            .collect();
        let error = read(&zip_checkpoint(&pickle(&dictionary(&entries[..3])))).unwrap_err();
        assert!(matches!(error, CheckpointError::Tensor { .. }), "{error}");
        // Here the file is larger than each of them, but not than all of them.
        let file = zip_checkpoint(&pickle(&dictionary(&entries)));
        assert!(file.len() > 8_000);
        let error = read(&file).unwrap_err();
        assert!(matches!(error, CheckpointError::Bomb { .. }), "{error}");
    }

    #[test]
    fn no_prefix_and_no_flipped_bit_is_a_panic() {
        let entries = |is_legacy| {
            pickle(&dictionary(&[
                ("model", weights(is_legacy)),
                ("epoch", b"K\x03".to_vec()),
            ]))
        };
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("small.pth");
        let read = |bytes: &[u8]| {
            std::fs::write(&path, bytes).unwrap();
            read_pth_with(&path, &whole())
        };
        for (whole, is_zip) in [
            (zip_checkpoint(&entries(false)), true),
            (legacy_checkpoint(&entries(true)), false),
        ] {
            assert_eq!(read(&whole).unwrap().model.len(), 2);
            for length in 0..whole.len() {
                let error = read(&whole[..length]).unwrap_err();
                assert!(error.to_string().contains("small.pth"), "{error}");
                if is_zip && length >= 4 {
                    assert!(
                        matches!(error, CheckpointError::Truncated { .. }),
                        "{length}: {error}"
                    );
                }
            }
            for place in 0..whole.len() {
                // The lowest, the highest, and one between that changes from byte to byte.
                for bit in [0, 1 + place % 6, 7] {
                    let mut flipped = whole.clone();
                    flipped[place] ^= 1 << bit;
                    match read(&flipped) {
                        Ok(found) => assert!(!found.model.is_empty()),
                        Err(error) => assert!(error.to_string().contains("small.pth"), "{error}"),
                    }
                }
            }
        }
    }

    #[test]
    fn damage_to_published_files_is_an_error_and_never_a_panic() {
        let whole = std::fs::read(golden("train-hug-20/checkpoint.pth")).unwrap();
        for length in (0..64).chain((64..whole.len()).step_by(whole.len() / 97)) {
            let error = read(&whole[..length]).unwrap_err();
            let is_named = matches!(
                error,
                CheckpointError::Truncated { .. } | CheckpointError::NotACheckpoint { .. }
            );
            assert!(is_named, "{length}: {error}");
        }
        // Bytes of the pickle (the first 30 kB), of the numbers, and of the directory.
        let places = (0..30_000)
            .step_by(131)
            .chain((30_000..whole.len()).step_by(4_001));
        let directory = whole.len() - 600..whole.len();
        for place in places.chain(directory.step_by(7)) {
            let mut flipped = whole.clone();
            flipped[place] ^= 1 << (place % 8);
            match read(&flipped) {
                Ok(found) => assert!(!found.model.is_empty()),
                Err(error) => assert!(error.to_string().contains("small.pth"), "{error}"),
            }
        }
    }
}
