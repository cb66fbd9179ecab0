//! Import of published files to tensors under this crate's names, and export.

use std::borrow::Cow;
use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::safetensors_io::read_noted;
use super::{
    CheckpointError, Epoch, Facts, KeyReport, Layout, NamedTensor, OptimizerState, PthOptions,
    Published, StateDict, read_pth_with, report_as,
};

/// The largest `config.json` read; published ones have 2 kB.
const LONGEST_CONFIG: u64 = 1 << 20;
const CONFIG: &str = "config.json";
/// Names of weight files in a Hugging Face folder; the first found is used.
const WEIGHTS: [&str; 2] = ["model.safetensors", "pytorch_model.bin"];
/// The entry with the configuration in the file of a training script.
const MODEL_CONFIG: &str = "model_config";

/// How a published file is imported.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ImportOptions {
    /// Attention heads of the encoder; `None` for those of the configuration or of the published size.
    pub heads: Option<usize>,
    /// Attention heads of the decoder; the same.
    pub decoder_heads: Option<usize>,
    /// How a PyTorch file is read: with its optimizer or without, and which Python names it may hold.
    pub pth: PthOptions,
}

/// A published model in host memory.
#[derive(Clone, Debug)]
pub struct Imported<L = Layout> {
    /// The tensors of parameters, under this crate's names and in state-dict order.
    pub state: StateDict,
    /// The structure of the model.
    pub layout: L,
    /// Attention heads of the encoder.
    pub heads: usize,
    /// Attention heads of the decoder; `None` without a decoder.
    pub decoder_heads: Option<usize>,
    /// The state of the optimizer, if it was requested and is present.
    pub optimizer: Option<OptimizerState>,
    /// When the file was saved, if it states it.
    pub epoch: Option<Epoch>,
    /// The arguments of the run, or the configuration of the model; empty where the file has neither.
    pub args: Map<String, Value>,
    /// Other entries of a training script's file beside weights, optimizer and arguments: counters, best values, sizes.
    pub entries: Map<String, Value>,
    /// How every tensor was used. Missing, unused and mis-shaped ones are reported and are not an error, as in the
    /// published program; see [`KeyReport::is_complete`].
    pub report: KeyReport,
    /// Notes to the user: which entry was used, what was left out or rounded.
    pub notes: Vec<String>,
}

/// Imports a CLEAR or HUG model: [`import_as`] for that system.
///
/// # Errors
/// As [`import_as`].
pub fn import(path: &Path, options: &ImportOptions) -> Result<Imported, CheckpointError> {
    import_as(path, options)
}

/// A published file as read, before its system is determined.
#[derive(Clone, Debug)]
pub struct PublishedFile {
    /// Its tensors under their own names.
    pub tensors: StateDict,
    /// The arguments of the run, or the configuration of the model; empty where the file has neither.
    pub args: Map<String, Value>,
    /// Other entries of a training script's file beside weights, optimizer and arguments: counters, best values, sizes.
    pub entries: Map<String, Value>,
    /// When it was saved, if it states it.
    pub epoch: Option<Epoch>,
    /// The state of the optimizer, if it was requested and is present.
    pub optimizer: Option<OptimizerState>,
    /// Notes to the user: which entry was used, what was left out or rounded.
    pub notes: Vec<String>,
}

/// Imports a model of the system that `L` describes: [`read_published`], then [`import_read`].
///
/// # Errors
/// As these two.
pub fn import_as<L: Published>(
    path: &Path,
    options: &ImportOptions,
) -> Result<Imported<L>, CheckpointError> {
    import_read(read_published(path, options)?, options)
}

/// Reads a folder of Hugging Face (`config.json` with `model.safetensors` or `pytorch_model.bin`), a `.safetensors`
/// file (by its extension), or else a PyTorch checkpoint. A `config.json` beside a file with one of these names is read
/// too.
///
/// # Errors
/// When the file cannot be read ([`read_pth_with`], [`super::read_safetensors`]).
pub fn read_published(
    path: &Path,
    options: &ImportOptions,
) -> Result<PublishedFile, CheckpointError> {
    let (file, config) = located(path)?;
    let is_safetensors = file
        .extension()
        .is_some_and(|ending| ending.eq_ignore_ascii_case("safetensors"));
    if is_safetensors {
        let (tensors, _, notes) = read_noted(&file)?;
        return Ok(PublishedFile {
            tensors,
            args: config,
            entries: Map::new(),
            epoch: None,
            optimizer: None,
            notes,
        });
    }
    let file = read_pth_with(&file, &options.pth)?;
    let own = match file.entries.get(MODEL_CONFIG) {
        Some(Value::Object(own)) if config.is_empty() => own.clone(),
        _ => config,
    };
    Ok(PublishedFile {
        tensors: file.model,
        args: if file.args.is_empty() { own } else { file.args },
        entries: file.entries,
        epoch: file.epoch,
        optimizer: file.optimizer,
        notes: file.notes,
    })
}

/// Interprets a file as a model of the system that `L` describes.
///
/// # Errors
/// When it is not of this system, holds a tensor under two of its names, or the number of attention heads cannot be
/// determined.
pub fn import_read<L: Published>(
    file: PublishedFile,
    options: &ImportOptions,
) -> Result<Imported<L>, CheckpointError> {
    let facts = Facts {
        config: file.args,
        heads: options.heads,
        decoder_heads: options.decoder_heads,
    };
    let found = L::tidied(file.tensors);
    let layout = L::read(&found, &facts)?;
    let (heads, decoder_heads) = layout.heads(&facts)?;
    let report = report_as::<L>(&layout.parameters(), &found);
    let mut tensors: HashMap<String, NamedTensor> = canonical_as::<L>(found)?.into_iter().collect();
    let state = report
        .mapped
        .iter()
        .filter_map(|mapped| Some((mapped.ours.clone(), tensors.remove(&mapped.ours)?)))
        .collect();
    Ok(Imported {
        state,
        layout,
        heads,
        decoder_heads,
        optimizer: file.optimizer,
        epoch: file.epoch,
        args: facts.config,
        entries: file.entries,
        report,
        notes: file.notes,
    })
}

/// The file of weights at a path, and the configuration beside it.
fn located(path: &Path) -> Result<(PathBuf, Map<String, Value>), CheckpointError> {
    let is_weights = |path: &Path| {
        let name = path.file_name().and_then(|name| name.to_str());
        name.is_some_and(|name| WEIGHTS.contains(&name))
    };
    let (dir, file) = if path.is_dir() {
        let all = WEIGHTS.map(|name| path.join(name));
        let file = all.into_iter().find(|file| file.is_file());
        let missing = || CheckpointError::MissingFile {
            path: path.to_path_buf(),
            file: WEIGHTS[0],
            remedy: "give the folder that holds it or `pytorch_model.bin`, or the file itself",
        };
        (path, file.ok_or_else(missing)?)
    } else if is_weights(path) {
        (path.parent().unwrap_or(Path::new(".")), path.to_path_buf())
    } else {
        return Ok((path.to_path_buf(), Map::new()));
    };
    let config = dir.join(CONFIG);
    if !config.is_file() {
        return Ok((file, Map::new()));
    }
    let odd = |problem: String| CheckpointError::Json {
        path: config.clone(),
        problem,
    };
    let size = std::fs::metadata(&config)
        .map_err(CheckpointError::io(&config, "read"))?
        .len();
    if size > LONGEST_CONFIG {
        return Err(odd(format!("it has {size} bytes, expected a few thousand")));
    }
    let text = std::fs::read(&config).map_err(CheckpointError::io(&config, "read"))?;
    match serde_json::from_slice(&text) {
        Ok(Value::Object(fields)) => Ok((file, fields)),
        Ok(_) => Err(odd("it is not an object".to_owned())),
        Err(e) => Err(odd(e.to_string())),
    }
}

/// The same tensors under this crate's names.
///
/// # Errors
/// When two names mean the same tensor.
pub fn canonical_as<L: Published>(found: StateDict) -> Result<StateDict, CheckpointError> {
    check_names::<L>(&found)?;
    Ok(found
        .into_iter()
        .map(|(name, tensor)| (L::canonical(&name).into_owned(), tensor))
        .collect())
}

fn check_names<L: Published>(found: &StateDict) -> Result<(), CheckpointError> {
    let mut seen: HashMap<Cow<'_, str>, &str> = HashMap::new();
    for name in found.names() {
        let canonical = L::canonical(name);
        if let Some(first) = seen.get(&canonical) {
            // The canonical name itself is reported first.
            let (first, second) = match canonical == name {
                true => (name, *first),
                false => (*first, name),
            };
            return Err(CheckpointError::DuplicateName {
                name: canonical.into_owned(),
                first: first.to_owned(),
                second: second.to_owned(),
            });
        }
        seen.insert(canonical, name);
    }
    Ok(())
}

/// The tensors of a complete CLEAR or HUG model as the published program names and orders them: [`export_as`] for that
/// system.
///
/// # Errors
/// As [`export_as`].
pub fn export(state: StateDict, layout: &Layout) -> Result<StateDict, CheckpointError> {
    export_as(state, layout)
}

/// The tensors of a complete model as the published program names and orders them. Tensors that are not a parameter of
/// the layout are left out.
///
/// # Errors
/// When a parameter is missing or has another shape.
pub fn export_as<L: Published>(state: StateDict, layout: &L) -> Result<StateDict, CheckpointError> {
    let expected = layout.parameters();
    let found = report_as::<L>(&expected, &state);
    if !found.is_complete() {
        let missing = found.missing.iter().map(|(name, _)| name);
        let first = missing
            .chain(found.mis_shaped.iter().map(|odd| &odd.ours))
            .next();
        return Err(CheckpointError::Incomplete {
            missing: found.missing.len(),
            mis_shaped: found.mis_shaped.len(),
            first: first.cloned().unwrap_or_default(),
        });
    }
    let mut tensors: HashMap<String, NamedTensor> = canonical_as::<L>(state)?.into_iter().collect();
    Ok(expected
        .into_iter()
        .filter_map(|(name, _)| Some((layout.published(&name), tensors.remove(&name)?)))
        .collect())
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::super::{Stage, read_safetensors, write_safetensors};
    use super::*;

    fn golden(file: &str) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../../tests/golden-data/clear-hug")
            .join(file)
    }

    fn heads() -> ImportOptions {
        ImportOptions {
            heads: Some(4),
            decoder_heads: Some(2),
            ..ImportOptions::default()
        }
    }

    #[test]
    fn what_is_exported_is_what_was_imported() {
        let folder = tempfile::tempdir().unwrap();
        for (case, stage) in [
            ("pretrain-forward", Stage::Pretrain),
            ("finetune-clear", Stage::Linear),
            ("train-hug-20", Stage::Hug),
        ] {
            let path = golden(&format!("{case}/checkpoint.pth"));
            let imported = import(&path, &heads()).unwrap();
            assert_eq!(imported.layout.stage, stage);
            assert!(imported.report.is_complete() && imported.report.unused.is_empty());
            assert!(
                imported
                    .state
                    .names()
                    .all(|name| !name.starts_with("backbone."))
            );
            let expected = imported.layout.parameters();
            assert!(
                imported
                    .state
                    .names()
                    .eq(expected.iter().map(|(name, _)| name.as_str()))
            );

            // From the order of another writer back to the order of the file.
            let shuffled = imported.state.clone().into_iter().collect::<Vec<_>>();
            let shuffled = shuffled.into_iter().rev().collect();
            let out = folder.path().join(format!("{case}.safetensors"));
            let exported = export(shuffled, &imported.layout).unwrap();
            write_safetensors(&out, &exported, &HashMap::new()).unwrap();
            let original = read_pth_with(&path, &PthOptions::default()).unwrap();
            assert_eq!(read_safetensors(&out).unwrap().0, original.model);

            // And the export can be imported.
            let again = import(&out, &heads()).unwrap();
            assert_eq!(
                (again.state, again.layout),
                (imported.state, imported.layout)
            );
            assert!(again.args.is_empty() && again.notes.is_empty());
        }
    }

    #[test]
    fn what_does_not_fit_is_reported_and_left_out() {
        let path = golden("finetune-clear-hug/checkpoint.pth");
        let imported = import(&path, &heads()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("odd.safetensors");
        let mut odd: StateDict = imported
            .state
            .clone()
            .into_iter()
            .filter(|(name, _)| name != "norm_layer.bias")
            .collect();
        let wide = NamedTensor {
            shape: vec![7],
            data: vec![0.0; 7],
        };
        odd.insert("norm_layer.weight", wide.clone());
        odd.insert("extra", wide);
        write_safetensors(&out, &odd, &HashMap::new()).unwrap();
        let found = import(&out, &heads()).unwrap();
        assert!(!found.report.is_complete());
        assert_eq!(found.report.missing[0].0, "norm_layer.bias");
        assert_eq!(found.report.mis_shaped[0].found, [7]);
        assert_eq!(found.report.unused[0].0, "extra");
        assert_eq!(found.state.len(), imported.state.len() - 2);
        let error = export(found.state, &found.layout).unwrap_err();
        assert!(
            matches!(
                &error,
                CheckpointError::Incomplete {
                    missing: 2,
                    mis_shaped: 0,
                    ..
                }
            ),
            "{error}"
        );
    }

    #[test]
    fn heads_must_be_known() {
        let path = golden("pretrain-forward/checkpoint.pth");
        for (heads, part) in [(None, "encoder"), (Some(4), "decoder")] {
            let options = ImportOptions {
                heads,
                ..ImportOptions::default()
            };
            let error = import(&path, &options).unwrap_err().to_string();
            assert!(error.contains(&format!("heads of the {part}")), "{error}");
        }
    }

    #[test]
    fn the_optimizer_comes_on_request() {
        let path = golden("train-pretrain-20/checkpoint.pth");
        let without = import(&path, &heads()).unwrap();
        assert_eq!(without.optimizer, None);
        let mut options = heads();
        options.pth.optimizer = true;
        let with = import(&path, &options).unwrap();
        // Every parameter is trained in pre-training; the indices run over the groups one after the other.
        let optimizer = with.optimizer.unwrap();
        let params: Vec<usize> = optimizer
            .groups
            .iter()
            .flat_map(|g| g.params.clone())
            .collect();
        assert!(params.iter().copied().eq(0..with.state.len()));
        assert_eq!(without.state, with.state);
    }
}
