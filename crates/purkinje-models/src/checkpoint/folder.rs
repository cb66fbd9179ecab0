//! Model folders in the layout of Hugging Face.
//!
//! `config.json` (architecture), `model.safetensors` (weights), `preprocess.json` (preprocessing of the input),
//! `labels.json` (labels of the outputs, for classifiers), `tokenizer.json` (for networks that read texts), `README.md` (model card).

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use purkinje_base::atomic::{folder_of, rename, sync_folder};
use purkinje_base::unfinished::{Listed, step};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::safetensors_io;
use super::{CheckpointError, ModelCard, StateDict};

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
const PREPROCESS: &str = "preprocess.json";
const LABELS: &str = "labels.json";
const CARD: &str = "README.md";
const TOKENIZER: &str = "tokenizer.json";
/// What writes reports: its configuration, weights and tokenizer.
const WRITER: &str = "writer.json";
const WRITER_WEIGHTS: &str = "writer.safetensors";
const WRITER_TOKENIZER: &str = "writer-tokenizer.json";
const FILES: [&str; 9] = [
    CONFIG,
    WEIGHTS,
    PREPROCESS,
    LABELS,
    TOKENIZER,
    CARD,
    WRITER,
    WRITER_WEIGHTS,
    WRITER_TOKENIZER,
];
/// Bytes of the largest tokenizer that is read.
const MAX_TOKENIZER_BYTES: u64 = 64 << 20;

/// The contents of a model folder to write.
#[derive(Clone, Debug)]
pub struct FolderContents<'a> {
    /// The architecture, for `config.json`.
    pub config: Value,
    /// The weights.
    pub weights: &'a StateDict,
    /// The preprocessing contract, for `preprocess.json`.
    pub preprocess: Value,
    /// The labels of the outputs; `None` for a model without a classification head.
    pub labels: Option<Labels>,
    /// The tokenizer, for `tokenizer.json`; `None` for a network that does not read texts.
    pub tokenizer: Option<&'a [u8]>,
    /// What writes reports, if it does.
    pub writer: Option<FolderWriter<'a>>,
    /// The model card.
    pub card: ModelCard,
}

/// What writes reports, to be written with a model.
#[derive(Clone, Debug)]
pub struct FolderWriter<'a> {
    /// Its configuration, for `writer.json`.
    pub config: Value,
    /// Its weights, for `writer.safetensors`.
    pub weights: &'a StateDict,
    /// Its tokenizer, for `writer-tokenizer.json`.
    pub tokenizer: &'a [u8],
}

/// The same, as it was read.
#[derive(Clone, Debug)]
pub struct ReadWriter {
    /// Its configuration.
    pub config: Value,
    /// Its weights.
    pub weights: StateDict,
    /// Its tokenizer.
    pub tokenizer: Vec<u8>,
}

/// The labels of a classifier's outputs: the contents of `labels.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Labels {
    /// The task, for instance `ptb-xl/super`.
    pub task: String,
    /// One entry for each output, in order.
    pub classes: Vec<LabelClass>,
    /// The reference of explanations; absent in older folders and for heads whose logits are not sums over leads.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reference: Option<Reference>,
}

/// The mean recording of the training split as the reference of explanations: the contribution of each of its leads to
/// each logit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reference {
    /// Number of records it is the mean of.
    pub records: usize,
    /// The leads, in order, separated by spaces.
    pub leads: String,
    /// `[leads, classes]`, in logits.
    pub contributions: Vec<f64>,
}

impl Reference {
    /// Whether it has these leads and this number of values.
    pub fn fits(&self, leads: &str, values: usize) -> bool {
        self.leads == leads && self.contributions.len() == values
    }
}

/// One output of a classifier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabelClass {
    /// The name of the label.
    pub name: String,
    /// What it means, in words, where the source of the labels says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub description: Option<String>,
    /// Its code in the coding system of the data, for instance an SCP or SNOMED CT code.
    #[serde(default)]
    pub code: Option<String>,
    /// The decision threshold on the probability, where one was chosen.
    #[serde(default)]
    pub threshold: Option<f64>,
    /// Training records with the label, where they are known: with none, the probability means nothing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub training_positives: Option<usize>,
}

/// A model folder that was read.
#[derive(Clone, Debug)]
pub struct ModelFolder {
    /// The architecture, from `config.json`.
    pub config: Value,
    /// The weights.
    pub weights: StateDict,
    /// Metadata of the weights file.
    pub metadata: HashMap<String, String>,
    /// The preprocessing contract, from `preprocess.json`.
    pub preprocess: Value,
    /// The labels of the outputs, if the folder has `labels.json`.
    pub labels: Option<Labels>,
    /// The tokenizer, if the folder has `tokenizer.json`.
    pub tokenizer: Option<Vec<u8>>,
    /// What writes reports, if the folder has `writer.json`.
    pub writer: Option<ReadWriter>,
    /// The text of the model card, where there is one.
    pub card: Option<String>,
}

impl ModelFolder {
    /// Writes a model folder. It is written beside `dir` and renamed, so that `dir` never holds an incomplete model.
    ///
    /// An existing model folder is replaced; other files in it (`.gitattributes`, notes) are kept. During the rename it
    /// exists only as `.<name>.old-<random>`, which remains if the process is killed at that moment.
    ///
    /// # Errors
    /// When `dir` exists and is neither empty nor a model folder, or cannot be written; it is then unchanged.
    pub fn write(dir: &Path, contents: &FolderContents<'_>) -> Result<(), CheckpointError> {
        // A link to a folder stays a link: its target is replaced.
        let dir = &fs::canonicalize(dir).unwrap_or_else(|_| dir.to_path_buf());
        refuse_others(dir)?;
        let (parent, name) = place(dir)?;
        let io = || CheckpointError::io(dir, "written");
        fs::create_dir_all(&parent).map_err(io())?;
        let new = hidden(&parent, &name, "new").map_err(io())?;
        let listed = Listed::new(new.path());

        write_json(new.path(), CONFIG, &contents.config)?;
        write_json(new.path(), PREPROCESS, &contents.preprocess)?;
        if let Some(labels) = &contents.labels {
            write_json(new.path(), LABELS, labels)?;
        }
        if let Some(tokenizer) = contents.tokenizer {
            write_synced(&new.path().join(TOKENIZER), tokenizer)?;
        }
        let card = contents.card.render(contents);
        write_synced(&new.path().join(CARD), card.as_bytes())?;
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        safetensors_io::write(&new.path().join(WEIGHTS), contents.weights, &metadata)?;
        if let Some(writer) = &contents.writer {
            write_json(new.path(), WRITER, &writer.config)?;
            write_synced(&new.path().join(WRITER_TOKENIZER), writer.tokenizer)?;
            let file = new.path().join(WRITER_WEIGHTS);
            safetensors_io::write(&file, writer.weights, &metadata)?;
        }
        sync_folder(new.path()).map_err(io())?;

        let _step = step();
        drop(listed);
        replace(dir, &parent, &name, new).map_err(io())
    }

    /// Reads a model folder.
    ///
    /// # Errors
    /// When `config.json`, `model.safetensors` or `preprocess.json` is missing, or a file is damaged.
    pub fn read(dir: &Path) -> Result<ModelFolder, CheckpointError> {
        let missing = |file, remedy| CheckpointError::MissingFile {
            path: dir.to_path_buf(),
            file,
            remedy,
        };
        let config: Value = read_json(dir, CONFIG)?
            .ok_or_else(|| missing(CONFIG, "give the folder of the model"))?;
        let preprocess = read_json(dir, PREPROCESS)?.ok_or_else(|| {
            missing(
                PREPROCESS,
                "the preprocessing of the input is not known without it; copy it from the source of the model",
            )
        })?;
        let weights = dir.join(WEIGHTS);
        if !weights.exists() {
            return Err(missing(WEIGHTS, "copy it from the source of the model"));
        }
        let (weights, metadata) = safetensors_io::read(&weights)?;
        let card = dir.join(CARD);
        let card = match card.exists() {
            true => Some(fs::read_to_string(&card).map_err(CheckpointError::io(&card, "read"))?),
            false => None,
        };
        Ok(ModelFolder {
            config,
            weights,
            metadata,
            preprocess,
            labels: read_labels(dir)?,
            tokenizer: read_tokenizer(dir, TOKENIZER)?,
            writer: read_writer(dir)?,
            card,
        })
    }
}

/// What writes reports, or `None` if there is nothing that does.
fn read_writer(dir: &Path) -> Result<Option<ReadWriter>, CheckpointError> {
    let Some(config) = read_json(dir, WRITER)? else {
        return Ok(None);
    };
    let missing = |file| CheckpointError::MissingFile {
        path: dir.to_path_buf(),
        file,
        remedy: "copy it from the source of the model",
    };
    let weights = dir.join(WRITER_WEIGHTS);
    if !weights.is_file() {
        return Err(missing(WRITER_WEIGHTS));
    }
    let tokenizer = read_tokenizer(dir, WRITER_TOKENIZER)?;
    Ok(Some(ReadWriter {
        config,
        weights: safetensors_io::read(&weights)?.0,
        tokenizer: tokenizer.ok_or_else(|| missing(WRITER_TOKENIZER))?,
    }))
}

/// The contents of a tokenizer's file, or `None` if there is none.
fn read_tokenizer(dir: &Path, file: &str) -> Result<Option<Vec<u8>>, CheckpointError> {
    let path = dir.join(file);
    let io = CheckpointError::io(&path, "read");
    match fs::metadata(&path) {
        Err(_) => Ok(None),
        Ok(found) if found.len() > MAX_TOKENIZER_BYTES => Err(CheckpointError::Json {
            path: path.clone(),
            problem: format!(
                "it has {} bytes, expected at most {MAX_TOKENIZER_BYTES}",
                found.len()
            ),
        }),
        Ok(_) => fs::read(&path).map(Some).map_err(io),
    }
}

/// The contents of `labels.json`, or `None` if there is none. Errors name the field.
fn read_labels(dir: &Path) -> Result<Option<Labels>, CheckpointError> {
    let Some(value) = read_json::<Value>(dir, LABELS)? else {
        return Ok(None);
    };
    let wrong = |problem: String| CheckpointError::Json {
        path: dir.join(LABELS),
        problem,
    };
    let classes = match (value.get("task"), value.get("classes")) {
        (Some(Value::String(_)), Some(Value::Array(classes))) => classes,
        (Some(Value::String(_)), _) => {
            return Err(wrong("field `classes` is missing or not a list".to_owned()));
        }
        _ => return Err(wrong("field `task` is missing or not a text".to_owned())),
    };
    for (i, class) in classes.iter().enumerate() {
        let fits = [
            (
                "name",
                class.get("name").is_some_and(Value::is_string),
                "missing or not a text",
            ),
            (
                "code",
                class
                    .get("code")
                    .is_none_or(|v| v.is_string() || v.is_null()),
                "not a text",
            ),
            (
                "threshold",
                class
                    .get("threshold")
                    .is_none_or(|v| v.is_number() || v.is_null()),
                "not a number",
            ),
        ];
        if let Some((field, _, what)) = fits.iter().find(|(_, fits, _)| !fits) {
            return Err(wrong(format!("field `classes[{i}].{field}` is {what}")));
        }
    }
    match serde_json::from_value(value) {
        Ok(labels) => Ok(Some(labels)),
        Err(e) => Err(wrong(e.to_string())),
    }
}

/// An error if `dir` exists and is neither empty nor a model folder.
fn refuse_others(dir: &Path) -> Result<(), CheckpointError> {
    let other = |reason| CheckpointError::NotAModelFolder {
        path: dir.to_path_buf(),
        reason,
    };
    if !dir.exists() {
        return Ok(());
    }
    if !dir.is_dir() {
        return Err(other("it is a file"));
    }
    let io = CheckpointError::io(dir, "read");
    if fs::read_dir(dir).map_err(io)?.next().is_none() {
        return Ok(());
    }
    for (file, reason) in [
        (CONFIG, "it has no `config.json`"),
        (WEIGHTS, "it has no `model.safetensors`"),
    ] {
        if !dir.join(file).is_file() {
            return Err(other(reason));
        }
    }
    Ok(())
}

/// The parent of `dir`, and its name.
fn place(dir: &Path) -> Result<(PathBuf, String), CheckpointError> {
    let unnamed = || std::io::Error::new(std::io::ErrorKind::InvalidInput, "the path has no name");
    let name = dir
        .file_name()
        .ok_or_else(|| CheckpointError::io(dir, "written")(unnamed()))?;
    Ok((
        folder_of(dir).to_owned(),
        name.to_string_lossy().into_owned(),
    ))
}

/// A folder beside the one to write, removed when dropped.
fn hidden(parent: &Path, name: &str, purpose: &str) -> std::io::Result<tempfile::TempDir> {
    let prefix = format!(".{name}.{purpose}-");
    let mut builder = tempfile::Builder::new();
    builder.prefix(&prefix);
    // Readable by whom the user's umask lets read, not by the owner alone.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o777));
    builder.tempdir_in(parent)
}

/// Puts `new` in the place of `dir`.
fn replace(dir: &Path, parent: &Path, name: &str, new: tempfile::TempDir) -> std::io::Result<()> {
    if !dir.exists() {
        rename(new.path(), dir)?;
        // It was renamed, so there is nothing to remove.
        let _ = new.keep();
        return Ok(());
    }
    // Only the name is wanted: the folder is removed again.
    let old = hidden(parent, name, "old")?.path().to_path_buf();
    rename(dir, &old)?;
    // From here on `old` is the only copy of the previous folder; it is removed at the end.
    if let Err(error) = rename(new.path(), dir) {
        rename(&old, dir)?;
        return Err(error);
    }
    let _ = new.keep();
    for entry in fs::read_dir(&old)? {
        let entry = entry?;
        if !FILES.iter().any(|file| entry.file_name() == *file) {
            rename(&entry.path(), &dir.join(entry.file_name()))?;
        }
    }
    fs::remove_dir_all(old)
}

fn write_json(dir: &Path, file: &str, value: &impl Serialize) -> Result<(), CheckpointError> {
    let path = dir.join(file);
    let text = serde_json::to_string_pretty(value).map_err(|e| CheckpointError::Json {
        path: path.clone(),
        problem: e.to_string(),
    })?;
    write_synced(&path, (text + "\n").as_bytes())
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), CheckpointError> {
    let write = || -> std::io::Result<()> {
        let mut file = File::create(path)?;
        file.write_all(bytes)?;
        file.sync_all()
    };
    write().map_err(CheckpointError::io(path, "written"))
}

/// The contents of a JSON file, or `None` if there is none.
fn read_json<T: serde::de::DeserializeOwned>(
    dir: &Path,
    file: &str,
) -> Result<Option<T>, CheckpointError> {
    let path = dir.join(file);
    if !path.exists() {
        return Ok(None);
    }
    let text = fs::read(&path).map_err(CheckpointError::io(&path, "read"))?;
    let value = serde_json::from_slice(&text).map_err(|e| CheckpointError::Json {
        path,
        problem: e.to_string(),
    })?;
    Ok(Some(value))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::{Evaluation, NamedTensor};
    use super::*;

    fn weights(value: f32) -> StateDict {
        let tensor = NamedTensor {
            shape: vec![40, 50],
            data: vec![value; 2000],
        };
        [("cls_token".to_owned(), tensor)].into_iter().collect()
    }

    fn contents(weights: &StateDict) -> FolderContents<'_> {
        let class = |name: &str, code: Option<&str>, threshold| LabelClass {
            training_positives: None,
            name: name.to_owned(),
            description: code.map(|_| "normal ECG".to_owned()),
            code: code.map(str::to_owned),
            threshold,
        };
        FolderContents {
            tokenizer: Some(b"{}"),
            writer: None,
            config: json!({"embed_dim": 50, "depth": 2}),
            weights,
            preprocess: json!({"rate_hz": 100, "leads": ["I", "II"], "filter": "band-pass 0.67-40 Hz"}),
            labels: Some(Labels {
                reference: None,
                task: "ptb-xl/super".to_owned(),
                classes: vec![
                    class("NORM", Some("164.0"), Some(0.332_144_916_057_586_67)),
                    class("a|b", None, None),
                ],
            }),
            card: ModelCard {
                preprocessing: "12 leads at 100 Hz".to_owned(),
                name: "clear {{licence}}".to_owned(),
                description: "A test.".to_owned(),
                compat: "paper".to_owned(),
                training_data: "MIMIC-IV-ECG.".to_owned(),
                evaluation: vec![Evaluation {
                    data: "PTB-XL".to_owned(),
                    metric: "macro AUROC".to_owned(),
                    value: "0.9".to_owned(),
                    detail: "fold 10".to_owned(),
                }],
                licence: "apache-2.0".to_owned(),
                how_made: vec!["purkinje import x.pth".to_owned()],
            },
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("models/clear");
        let weights = weights(1.5);
        let contents = contents(&weights);
        ModelFolder::write(&dir, &contents).unwrap();
        let read = ModelFolder::read(&dir).unwrap();
        assert_eq!(read.config, contents.config);
        assert_eq!(read.weights, weights);
        assert_eq!(read.preprocess, contents.preprocess);
        assert_eq!(read.labels, contents.labels);
        assert_eq!(read.metadata["format"], "pt");
        let card = read.card.unwrap();
        for part in [
            "# clear {{licence}}\n",
            "license: apache-2.0\n",
            "2,000 parameters in 1 tensors",
            "**paper**",
            "- `rate_hz`: `100`",
            "| output | name | meaning | code | threshold |",
            "| 0 | NORM | normal ECG | 164.0 | 0.332 |",
            "| 1 | a\\|b |  |  |  |",
            "12 leads at 100 Hz",
            "D-BETA: arXiv:2410.02131",
            "| PTB-XL | macro AUROC | 0.9 | fold 10 |",
            "not a medical device",
            "arXiv:2512.24002",
            "- purkinje import x.pth",
        ] {
            assert!(card.contains(part), "{part}\n{card}");
        }
        let labels: Value =
            serde_json::from_slice(&fs::read(dir.join("labels.json")).unwrap()).unwrap();
        assert_eq!(
            labels["classes"][1],
            json!({"name": "a|b", "code": null, "threshold": null})
        );
    }

    #[test]
    fn a_model_folder_is_replaced_and_files_of_others_stay() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("clear");
        let (first, second) = (weights(1.0), weights(2.0));
        ModelFolder::write(&dir, &contents(&first)).unwrap();
        fs::write(dir.join("notes.txt"), "mine").unwrap();
        let without_labels = FolderContents {
            labels: None,
            ..contents(&second)
        };
        ModelFolder::write(&dir, &without_labels).unwrap();
        let read = ModelFolder::read(&dir).unwrap();
        assert_eq!((read.weights, read.labels), (second, None));
        assert_eq!(fs::read_to_string(dir.join("notes.txt")).unwrap(), "mine");
        let left: Vec<_> = fs::read_dir(root.path())
            .unwrap()
            .map(|e| e.unwrap().file_name())
            .collect();
        assert_eq!(left, ["clear"]);
    }

    #[test]
    fn other_folders_are_refused_and_left_alone() {
        let root = tempfile::tempdir().unwrap();
        let weights = weights(1.0);
        let thesis = root.path().join("thesis");
        fs::create_dir(&thesis).unwrap();
        fs::write(thesis.join("config.json"), "{}").unwrap();
        let error = ModelFolder::write(&thesis, &contents(&weights))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains("thesis") && error.contains("`model.safetensors`"),
            "{error}"
        );
        assert_eq!(fs::read_dir(&thesis).unwrap().count(), 1);
        let file = root.path().join("file");
        fs::write(&file, "x").unwrap();
        assert!(ModelFolder::write(&file, &contents(&weights)).is_err());
        assert_eq!(fs::read_to_string(&file).unwrap(), "x");
        // A failure while writing leaves no half-written folder.
        let odd = NamedTensor {
            shape: vec![3],
            data: vec![],
        };
        let odd = [("w".to_owned(), odd)].into_iter().collect();
        assert!(ModelFolder::write(&root.path().join("new"), &contents(&odd)).is_err());
        assert_eq!(fs::read_dir(root.path()).unwrap().count(), 2);
    }

    #[test]
    fn what_is_wrong_in_a_file_is_named_with_its_field() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("clear");
        let weights = weights(1.0);
        ModelFolder::write(&dir, &contents(&weights)).unwrap();
        for (labels, expected) in [
            (json!({"classes": []}), "field `task` is missing"),
            (
                json!({"task": "t", "classes": {}}),
                "field `classes` is missing or not a list",
            ),
            (
                json!({"task": "t", "classes": [{"name": "a"}, {}]}),
                "`classes[1].name` is missing",
            ),
            (
                json!({"task": "t", "classes": [{"name": "a", "code": 3}]}),
                "`classes[0].code` is not a text",
            ),
            (
                json!({"task": "t", "classes": [{"name": "a", "threshold": "x"}]}),
                "`classes[0].threshold` is not a number",
            ),
        ] {
            fs::write(dir.join("labels.json"), labels.to_string()).unwrap();
            let error = ModelFolder::read(&dir).unwrap_err().to_string();
            assert!(
                error.contains("labels.json") && error.contains(expected),
                "{error}"
            );
        }
        fs::write(
            dir.join("labels.json"),
            "{\"task\": \"t\", \"classes\": [{\"name\": \"a\"}]}",
        )
        .unwrap();
        let labels = ModelFolder::read(&dir).unwrap().labels.unwrap();
        assert_eq!(labels.classes[0].threshold, None);
        fs::write(dir.join("preprocess.json"), "{\"rate_hz\": ").unwrap();
        let error = ModelFolder::read(&dir).unwrap_err().to_string();
        assert!(
            error.contains("preprocess.json") && error.contains("line 1"),
            "{error}"
        );
    }

    #[test]
    fn what_is_missing_is_named() {
        let root = tempfile::tempdir().unwrap();
        let dir = root.path().join("clear");
        let weights = weights(1.0);
        for file in ["config.json", "model.safetensors", "preprocess.json"] {
            ModelFolder::write(&dir, &contents(&weights)).unwrap();
            fs::remove_file(dir.join(file)).unwrap();
            let error = ModelFolder::read(&dir).unwrap_err().to_string();
            assert!(error.contains(file), "{error}");
            fs::remove_dir_all(&dir).unwrap();
        }
    }
}
