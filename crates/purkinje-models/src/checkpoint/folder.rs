//! A model as others receive it: a folder in the manner of Hugging Face.
//!
//! `config.json` (architecture), `model.safetensors` (weights), `preprocess.json` (the form of the input),
//! `labels.json` (the meaning of the outputs, for classifiers), `README.md` (model card).

use std::collections::{BTreeMap, HashMap};
use std::fmt::Write as _;
use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::safetensors_io::{self, sync_folder};
use super::{CheckpointError, StateDict};

const CONFIG: &str = "config.json";
const WEIGHTS: &str = "model.safetensors";
const PREPROCESS: &str = "preprocess.json";
const LABELS: &str = "labels.json";
const CARD: &str = "README.md";
const FILES: [&str; 5] = [CONFIG, WEIGHTS, PREPROCESS, LABELS, CARD];
const TEMPLATE: &str = include_str!("card_template.md");

/// What goes into a model folder.
#[derive(Clone, Debug)]
pub struct FolderContents<'a> {
    /// The architecture, for `config.json`.
    pub config: Value,
    /// The weights.
    pub weights: &'a StateDict,
    /// The preprocessing contract, for `preprocess.json`.
    pub preprocess: Value,
    /// What the outputs mean; `None` for a model without classifier.
    pub labels: Option<Labels>,
    /// What people should know.
    pub card: ModelCard,
}

/// What the outputs of a classifier mean: the contents of `labels.json`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Labels {
    /// The task, for instance `ptb-xl/super`.
    pub task: String,
    /// One entry for each output, in order.
    pub classes: Vec<LabelClass>,
}

/// One output of a classifier.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LabelClass {
    /// What it says, for people.
    pub name: String,
    /// Its code in the label system of the data, for instance an SCP or SNOMED CT code.
    #[serde(default)]
    pub code: Option<String>,
    /// The probability from which it counts as present, where one was chosen.
    #[serde(default)]
    pub threshold: Option<f64>,
}

/// What the model card tells beyond the other files.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ModelCard {
    /// Name of the model.
    pub name: String,
    /// What it is, in one paragraph.
    pub description: String,
    /// `paper` or `released`.
    pub compat: String,
    /// Data sets, their sizes, and what was left out.
    pub training_data: String,
    /// Measured results; none if it was not evaluated.
    pub evaluation: Vec<Evaluation>,
    /// SPDX identifier of the licence of the weights.
    pub licence: String,
    /// Commands, versions and source of the weights, one line each.
    pub how_made: Vec<String>,
}

/// One measured result.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Evaluation {
    /// Data and split, for instance `PTB-XL super, fold 10`.
    pub data: String,
    /// The metric, for instance `macro AUROC`.
    pub metric: String,
    /// Its value, with an interval where there is one.
    pub value: String,
    /// How it was measured.
    pub detail: String,
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
    /// What the outputs mean, where the folder has `labels.json`.
    pub labels: Option<Labels>,
    /// The text of the model card, where there is one.
    pub card: Option<String>,
}

impl ModelFolder {
    /// Writes a model folder. It is prepared beside `dir` and renamed into place, so `dir` never holds half a model.
    ///
    /// An existing model folder is replaced; files of others in it (`.gitattributes`, notes) are kept. While it is
    /// replaced it exists, for the time of a rename, only as `.<name>.old-<random>`, which a kill at that moment leaves.
    ///
    /// # Errors
    /// When `dir` exists and is neither empty nor a model folder, or cannot be written; what was there before stays.
    pub fn write(dir: &Path, contents: &FolderContents<'_>) -> Result<(), CheckpointError> {
        // A link to a folder stays a link: the folder it names is replaced.
        let dir = &fs::canonicalize(dir).unwrap_or_else(|_| dir.to_path_buf());
        refuse_others(dir)?;
        let (parent, name) = place(dir)?;
        let io = || CheckpointError::io(dir, "written");
        fs::create_dir_all(&parent).map_err(io())?;
        let new = hidden(&parent, &name, "new").map_err(io())?;

        write_json(new.path(), CONFIG, &contents.config)?;
        write_json(new.path(), PREPROCESS, &contents.preprocess)?;
        if let Some(labels) = &contents.labels {
            write_json(new.path(), LABELS, labels)?;
        }
        let card = contents.card.render(contents);
        write_synced(&new.path().join(CARD), card.as_bytes())?;
        let metadata = HashMap::from([("format".to_owned(), "pt".to_owned())]);
        safetensors_io::write(&new.path().join(WEIGHTS), contents.weights, &metadata)?;
        sync_folder(new.path()).map_err(io())?;

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
        let config = read_json(dir, CONFIG)?
            .ok_or_else(|| missing(CONFIG, "give the folder that holds the model"))?;
        let preprocess = read_json(dir, PREPROCESS)?.ok_or_else(|| {
            missing(
                PREPROCESS,
                "without it the scale and order of the input would be guessed; copy it from where the model came from",
            )
        })?;
        let weights = dir.join(WEIGHTS);
        if !weights.exists() {
            return Err(missing(WEIGHTS, "copy it from where the model came from"));
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
            labels: read_json(dir, LABELS)?,
            card,
        })
    }
}

impl ModelCard {
    /// The model card as Markdown.
    pub fn render(&self, contents: &FolderContents<'_>) -> String {
        let tensors = contents.weights;
        let architecture = format!(
            "{} parameters in {} tensors (`config.json`)",
            grouped(tensors.parameters()),
            tensors.len()
        );
        let values = BTreeMap::from([
            ("name", self.name.clone()),
            ("description", self.description.clone()),
            ("architecture", architecture),
            ("compat", self.compat.clone()),
            ("training_data", or(&self.training_data, "Not stated.")),
            ("preprocessing", settings(&contents.preprocess)),
            ("labels", labels(contents.labels.as_ref())),
            ("evaluation", evaluation(&self.evaluation)),
            ("licence", or(&self.licence, "unknown")),
            ("how_made", or(&bullets(&self.how_made), "Not stated.")),
        ]);
        fill(TEMPLATE, &values)
    }
}

/// Puts the values in the place of `{{key}}`; what a value contains is not looked at again.
fn fill(template: &str, values: &BTreeMap<&str, String>) -> String {
    let mut text = String::new();
    let mut rest = template;
    while let Some((before, after)) = rest.split_once("{{") {
        text.push_str(before);
        let (key, after) = after.split_once("}}").unwrap_or((after, ""));
        text.push_str(values.get(key).map_or("", String::as_str));
        rest = after;
    }
    text + rest
}

fn or(text: &str, otherwise: &str) -> String {
    if text.is_empty() { otherwise } else { text }.to_owned()
}

fn bullets(lines: &[String]) -> String {
    lines
        .iter()
        .map(|line| format!("- {line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

fn settings(preprocess: &Value) -> String {
    match preprocess {
        Value::Object(settings) if !settings.is_empty() => {
            let lines: Vec<String> = settings
                .iter()
                .map(|(key, value)| match value {
                    Value::String(text) => format!("`{key}`: {text}"),
                    other => format!("`{key}`: `{other}`"),
                })
                .collect();
            bullets(&lines)
        }
        other => format!("`{other}`"),
    }
}

fn labels(labels: Option<&Labels>) -> String {
    let Some(labels) = labels else {
        return "None: the model gives representations, not diagnoses.".to_owned();
    };
    let rows = labels.classes.iter().enumerate().map(|(i, class)| {
        let code = class.code.clone().unwrap_or_default();
        let threshold = class.threshold.map_or_else(String::new, |t| t.to_string());
        [i.to_string(), class.name.clone(), code, threshold]
    });
    let table = table(["output", "name", "code", "threshold"], rows);
    format!("Task: {} (`labels.json`).\n\n{table}", labels.task)
}

fn evaluation(results: &[Evaluation]) -> String {
    if results.is_empty() {
        return "Not evaluated.".to_owned();
    }
    let rows = results
        .iter()
        .map(|r| [&r.data, &r.metric, &r.value, &r.detail].map(Clone::clone));
    table(["data", "metric", "value", "measured"], rows)
}

fn table<const N: usize>(head: [&str; N], rows: impl Iterator<Item = [String; N]>) -> String {
    let mut text = format!("| {} |\n|{}", head.join(" | "), " --- |".repeat(N));
    for row in rows {
        let cells = row.map(|cell| cell.replace('|', "\\|").replace('\n', " "));
        // Writing to a string cannot fail.
        let _ = write!(text, "\n| {} |", cells.join(" | "));
    }
    text
}

/// 56639072 as `56,639,072`.
fn grouped(number: usize) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// An error if `dir` exists and is neither empty nor a model folder.
fn refuse_others(dir: &Path) -> Result<(), CheckpointError> {
    let other = |missing| CheckpointError::NotAModelFolder {
        path: dir.to_path_buf(),
        missing,
    };
    if !dir.exists() {
        return Ok(());
    }
    if !dir.is_dir() {
        return Err(other("files, being one itself"));
    }
    let io = CheckpointError::io(dir, "read");
    if fs::read_dir(dir).map_err(io)?.next().is_none() {
        return Ok(());
    }
    for file in [CONFIG, WEIGHTS] {
        if !dir.join(file).is_file() {
            return Err(other(if file == CONFIG {
                "`config.json`"
            } else {
                "`model.safetensors`"
            }));
        }
    }
    Ok(())
}

/// The folder around `dir`, and its name.
fn place(dir: &Path) -> Result<(PathBuf, String), CheckpointError> {
    let unnamed = || std::io::Error::new(std::io::ErrorKind::InvalidInput, "the path has no name");
    let name = dir
        .file_name()
        .ok_or_else(|| CheckpointError::io(dir, "written")(unnamed()))?;
    let parent = match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_path_buf(),
        _ => PathBuf::from("."),
    };
    Ok((parent, name.to_string_lossy().into_owned()))
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
        fs::rename(new.path(), dir)?;
        // Its name is gone, so there is nothing to remove.
        let _ = new.keep();
        return sync_folder(parent);
    }
    let old = hidden(parent, name, "old")?;
    // Onto the empty folder, which gives the name.
    fs::rename(dir, old.path())?;
    // From here on the old folder holds the only copy of what was there; it is removed at the very end.
    let old = old.keep();
    if let Err(error) = fs::rename(new.path(), dir) {
        fs::rename(&old, dir)?;
        return Err(error);
    }
    let _ = new.keep();
    for entry in fs::read_dir(&old)? {
        let entry = entry?;
        if !FILES.iter().any(|file| entry.file_name() == *file) {
            fs::rename(entry.path(), dir.join(entry.file_name()))?;
        }
    }
    sync_folder(dir)?;
    sync_folder(parent)?;
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

    use super::super::NamedTensor;
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
            name: name.to_owned(),
            code: code.map(str::to_owned),
            threshold,
        };
        FolderContents {
            config: json!({"embed_dim": 50, "depth": 2}),
            weights,
            preprocess: json!({"rate_hz": 100, "leads": ["I", "II"], "filter": "band-pass 0.67-40 Hz"}),
            labels: Some(Labels {
                task: "ptb-xl/super".to_owned(),
                classes: vec![
                    class("normal", Some("NORM"), Some(0.25)),
                    class("a|b", None, None),
                ],
            }),
            card: ModelCard {
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
            "| 0 | normal | NORM | 0.25 |",
            "| 1 | a\\|b |  |  |",
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
