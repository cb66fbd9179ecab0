//! Finding cases and loading what is in them.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::rc::Rc;

use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

/// A folder with a `case.json`.
#[derive(Clone, Debug)]
pub struct Case {
    /// The folder.
    pub dir: PathBuf,
    /// Its path below the root, for reports.
    pub name: String,
    /// The system it belongs to.
    pub system: String,
    /// What kind of case it is.
    pub kind: String,
    looked_at: LookedAt,
}

/// The files of a case that a check read, and of those read by tensor the tensors that it did not look at.
type LookedAt = Rc<RefCell<BTreeMap<String, Option<BTreeSet<String>>>>>;

/// A file about a case, not of it.
const ABOUT: &str = "README.md";

/// The tensors of one file, by name.
#[derive(Clone, Debug)]
pub struct Tensors {
    file: String,
    arrays: BTreeMap<String, Array>,
    looked_at: LookedAt,
}

/// One tensor, row-major.
#[derive(Clone, Debug)]
pub struct Array {
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Its values.
    pub data: Data,
}

/// Values in the type they are stored in.
#[derive(Clone, Debug)]
pub enum Data {
    F32(Vec<f32>),
    F64(Vec<f64>),
    U8(Vec<u8>),
    I16(Vec<i16>),
    I32(Vec<i32>),
    I64(Vec<i64>),
}

/// Every case below `root`, by path.
pub fn find(root: &Path) -> Result<Vec<Case>, String> {
    let mut cases = Vec::new();
    let mut waiting = vec![root.to_path_buf()];
    while let Some(dir) = waiting.pop() {
        let entries = fs::read_dir(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        for entry in entries {
            let path = entry.map_err(|e| format!("{}: {e}", dir.display()))?.path();
            if path.is_dir() {
                waiting.push(path);
            } else if path.file_name().is_some_and(|name| name == "case.json") {
                cases.push(Case::read(root, &dir)?);
            }
        }
    }
    cases.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(cases)
}

impl Case {
    fn read(root: &Path, dir: &Path) -> Result<Case, String> {
        let name = dir.strip_prefix(root).unwrap_or(dir).display().to_string();
        let mut case = Case {
            dir: dir.to_path_buf(),
            name,
            system: String::new(),
            kind: String::new(),
            looked_at: LookedAt::default(),
        };
        let json = case.json("case.json")?;
        let text = |key: &str| {
            json[key]
                .as_str()
                .map(str::to_owned)
                .ok_or_else(|| format!("{}/case.json: no text `{key}`", case.name))
        };
        (case.system, case.kind) = (text("system")?, text("kind")?);
        Ok(case)
    }

    /// Whether the case has this file.
    pub fn has(&self, file: &str) -> bool {
        self.dir.join(file).is_file()
    }

    /// Names of the case's files that end so, sorted.
    pub fn files(&self, ending: &str) -> Result<Vec<String>, String> {
        let problem = |e: std::io::Error| format!("{}: {e}", self.dir.display());
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.dir).map_err(problem)? {
            let name = entry.map_err(problem)?.file_name();
            names.extend(
                name.to_str()
                    .filter(|n| n.ends_with(ending))
                    .map(str::to_owned),
            );
        }
        names.sort();
        Ok(names)
    }

    /// Names of the files in a folder of the case, sorted.
    pub fn files_below(&self, folder: &str) -> Result<Vec<String>, String> {
        let problem = |e: std::io::Error| format!("{}: {folder}: {e}", self.dir.display());
        let mut names = Vec::new();
        for entry in fs::read_dir(self.dir.join(folder)).map_err(problem)? {
            names.extend(
                entry
                    .map_err(problem)?
                    .file_name()
                    .to_str()
                    .map(str::to_owned),
            );
        }
        names.sort();
        Ok(names)
    }

    /// The path of a file of the case, which counts as read.
    pub fn path(&self, file: &str) -> PathBuf {
        let mut files = self.looked_at.borrow_mut();
        files.entry(file.to_owned()).or_default();
        self.dir.join(file)
    }

    /// The files of the case that nobody read so far, and the tensors that nobody looked at.
    pub fn unread(&self) -> Result<Vec<String>, String> {
        let looked_at = self.looked_at.borrow();
        let mut unread = Vec::new();
        let mut waiting = vec![PathBuf::new()];
        while let Some(below) = waiting.pop() {
            let dir = self.dir.join(&below);
            let problem = |e: std::io::Error| format!("{}: {e}", dir.display());
            for entry in fs::read_dir(&dir).map_err(problem)? {
                let own = below.join(entry.map_err(problem)?.file_name());
                let name = own.display().to_string();
                if self.dir.join(&own).is_dir() {
                    waiting.push(own);
                } else if let Some(tensors) = looked_at.get(&name) {
                    let tensors = tensors.iter().flatten();
                    unread.extend(tensors.map(|tensor| format!("{name}: {tensor}")));
                } else if name != ABOUT {
                    unread.push(name);
                }
            }
        }
        unread.sort();
        Ok(unread)
    }

    /// A JSON file of the case.
    pub fn json(&self, file: &str) -> Result<Value, String> {
        let text = fs::read(self.path(file)).map_err(|e| format!("{file}: {e}"))?;
        serde_json::from_slice(&text).map_err(|e| format!("{file}: {e}"))
    }

    /// A safetensors file of the case; `file` may lead into a neighbouring case (`../records/x.safetensors`).
    pub fn tensors(&self, file: &str) -> Result<Tensors, String> {
        let bytes = fs::read(self.path(file)).map_err(|e| format!("{file}: {e}"))?;
        let stored = SafeTensors::deserialize(&bytes).map_err(|e| format!("{file}: {e}"))?;
        let arrays = stored
            .iter()
            .map(|(name, view)| {
                let data = Data::read(view.dtype(), view.data()).ok_or_else(|| {
                    format!("{file}, `{name}`: type {:?} is not read", view.dtype())
                })?;
                let shape = view.shape().to_vec();
                Ok((name.to_owned(), Array { shape, data }))
            })
            .collect::<Result<BTreeMap<_, _>, String>>()?;
        let mut files = self.looked_at.borrow_mut();
        files
            .entry(file.to_owned())
            .or_default()
            .get_or_insert_with(|| arrays.keys().cloned().collect());
        Ok(Tensors {
            file: file.to_owned(),
            arrays,
            looked_at: Rc::clone(&self.looked_at),
        })
    }
}

impl Tensors {
    /// Names in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.arrays.keys().map(String::as_str)
    }

    /// Whether there is a tensor of this name.
    pub fn has(&self, name: &str) -> bool {
        self.arrays.contains_key(name)
    }

    /// The tensor of this name, which counts as looked at.
    pub fn get(&self, name: &str) -> Result<&Array, String> {
        let mut files = self.looked_at.borrow_mut();
        if let Some(unread) = files.get_mut(&self.file).and_then(Option::as_mut) {
            unread.remove(name);
        }
        self.find(name)
    }

    /// Its dimensions.
    pub fn shape(&self, name: &str) -> Result<&[usize], String> {
        Ok(&self.find(name)?.shape)
    }

    fn find(&self, name: &str) -> Result<&Array, String> {
        self.arrays
            .get(name)
            .ok_or_else(|| format!("{}: no tensor `{name}`", self.file))
    }

    /// A float32 tensor.
    pub fn f32(&self, name: &str) -> Result<&[f32], String> {
        match &self.get(name)?.data {
            Data::F32(values) => Ok(values),
            other => Err(self.wrong(name, "float32", other)),
        }
    }

    /// A float tensor in double precision.
    pub fn f64(&self, name: &str) -> Result<Vec<f64>, String> {
        match &self.get(name)?.data {
            Data::F32(values) => Ok(values.iter().map(|v| f64::from(*v)).collect()),
            Data::F64(values) => Ok(values.clone()),
            other => Err(self.wrong(name, "float", other)),
        }
    }

    /// An integer tensor of any width.
    pub fn i64(&self, name: &str) -> Result<Vec<i64>, String> {
        match &self.get(name)?.data {
            Data::U8(values) => Ok(values.iter().map(|v| i64::from(*v)).collect()),
            Data::I16(values) => Ok(values.iter().map(|v| i64::from(*v)).collect()),
            Data::I32(values) => Ok(values.iter().map(|v| i64::from(*v)).collect()),
            Data::I64(values) => Ok(values.clone()),
            other => Err(self.wrong(name, "integer", other)),
        }
    }

    fn wrong(&self, name: &str, expected: &str, found: &Data) -> String {
        let found = match found {
            Data::F32(_) => "float32",
            Data::F64(_) => "float64",
            Data::U8(_) => "uint8",
            Data::I16(_) => "int16",
            Data::I32(_) => "int32",
            Data::I64(_) => "int64",
        };
        format!(
            "{}, `{name}`: found {found}, expected {expected}",
            self.file
        )
    }
}

impl Data {
    fn read(dtype: Dtype, bytes: &[u8]) -> Option<Data> {
        fn parts<const N: usize, T>(bytes: &[u8], read: fn([u8; N]) -> T) -> Vec<T> {
            bytes.as_chunks::<N>().0.iter().map(|b| read(*b)).collect()
        }
        Some(match dtype {
            Dtype::F32 => Data::F32(parts(bytes, f32::from_le_bytes)),
            Dtype::F64 => Data::F64(parts(bytes, f64::from_le_bytes)),
            Dtype::U8 | Dtype::BOOL => Data::U8(bytes.to_vec()),
            Dtype::I16 => Data::I16(parts(bytes, i16::from_le_bytes)),
            Dtype::I32 => Data::I32(parts(bytes, i32::from_le_bytes)),
            Dtype::I64 => Data::I64(parts(bytes, i64::from_le_bytes)),
            _ => return None,
        })
    }
}
