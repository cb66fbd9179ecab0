//! The values in a pickle, without executing it.
//!
//! The bytes are read as data: a call is stored as a description of the call.

use std::collections::HashMap;

use serde_json::{Map, Value};

use super::pickle_parser::PickleProblem;

/// Largest depth of nesting; models saved by PyTorch are nested about 10 deep.
const DEEPEST: usize = 64;
/// Largest number of values, counting repeated ones each time: a pickle of 100 bytes can expand to 2^30.
const MOST_VALUES: usize = 16_000_000;
/// Objects that are read as their attributes.
const ATTRIBUTES_OF: [&str; 3] = [
    "argparse.Namespace",
    "hubert_ecg.HuBERTECGConfig",
    "transformers.models.hubert.configuration_hubert.HubertConfig",
];

/// A value of the pickle; parts are indices into [`Pickle::nodes`], so that values that are shared or filled later
/// exist once.
#[derive(Clone, Debug)]
pub(super) enum Node {
    None,
    Bool(bool),
    Int(i64),
    Float(f64),
    Text(String),
    Bytes(Vec<u8>),
    Sequence(Vec<usize>),
    Dict(Vec<(usize, usize)>),
    Global(String),
    /// A call of `what` with arguments, and the state given to the result.
    Call {
        what: usize,
        args: usize,
        state: Option<usize>,
    },
    /// A reference to the numbers of a tensor, with the tuple that identifies them.
    Storage(usize),
}

/// A tensor as the pickle describes it.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Described {
    Tensor(View),
    /// In an unsupported way: quantized, sparse, or invalid.
    Other,
}

/// A view of a storage as a tensor.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct View {
    /// Such as `torch.FloatStorage`.
    pub(super) storage_type: String,
    /// Which storage.
    pub(super) key: String,
    /// Index of its first number; strides are counted in numbers too.
    pub(super) offset: usize,
    pub(super) shape: Vec<usize>,
    pub(super) strides: Vec<usize>,
}

/// The values of one pickle.
#[derive(Debug)]
pub(super) struct Pickle {
    pub(super) nodes: Vec<Node>,
    pub(super) root: usize,
}

impl Pickle {
    /// The value at the end of a path of dictionary keys, as JSON: namespaces as objects, NumPy scalars as numbers,
    /// what is neither text, number nor collection as `<name>`.
    pub(super) fn value(&self, path: &[&str]) -> Option<Value> {
        Some(self.json(self.find(path)?))
    }

    /// The keys of the dictionary at the end of a path, in order; `None` where there is no dictionary.
    pub(super) fn keys(&self, path: &[&str]) -> Option<Vec<&str>> {
        match &self.nodes[self.find(path)?] {
            Node::Dict(pairs) => Some(pairs.iter().filter_map(|(k, _)| self.text(*k)).collect()),
            _ => None,
        }
    }

    fn find(&self, path: &[&str]) -> Option<usize> {
        path.iter().try_fold(self.root, |at, key| {
            let Node::Dict(pairs) = &self.nodes[at] else {
                return None;
            };
            // As in Python, a later entry replaces an earlier one.
            let found = pairs.iter().rev().find(|(k, _)| self.text(*k) == Some(key));
            found.map(|(_, value)| *value)
        })
    }

    /// Refuses values that are nested too deep or contain themselves, and those that expand without bounds, so that
    /// every traversal of this pickle terminates.
    pub(super) fn check_extent(&self) -> Result<(), PickleProblem> {
        // Depth and number of values of each node, once known; `Some(None)` while its parts are looked at.
        let mut known: Vec<Option<Option<(usize, usize)>>> = vec![None; self.nodes.len()];
        let mut open = vec![self.root];
        while let Some(&at) = open.last() {
            match known[at] {
                Some(Some(_)) => {
                    open.pop();
                }
                None => {
                    known[at] = Some(None);
                    if open.len() > MOST_VALUES {
                        break;
                    }
                    for part in self.parts(at) {
                        match known[part] {
                            None => open.push(part),
                            Some(Some(_)) => {}
                            Some(None) => {
                                return Err("a value of its pickle contains itself".into());
                            }
                        }
                    }
                }
                Some(None) => {
                    let (mut depth, mut values) = (0, 1usize);
                    for part in self.parts(at) {
                        // A part is known by now unless it contains `at`.
                        let Some(Some((deep, many))) = known[part] else {
                            return Err("a value of its pickle contains itself".into());
                        };
                        depth = depth.max(deep + 1);
                        values = values.saturating_add(many);
                    }
                    if depth > DEEPEST {
                        let problem = format!("its pickle is nested more than {DEEPEST} deep");
                        return Err(PickleProblem::Bomb(problem));
                    }
                    known[at] = Some(Some((depth, values)));
                    open.pop();
                }
            }
        }
        match known[self.root] {
            Some(Some((_, values))) if values <= MOST_VALUES => Ok(()),
            _ => Err(PickleProblem::Bomb(format!(
                "its pickle expands to more than {MOST_VALUES} values"
            ))),
        }
    }

    fn parts(&self, at: usize) -> Vec<usize> {
        match &self.nodes[at] {
            Node::Sequence(items) => items.clone(),
            Node::Dict(pairs) => pairs.iter().flat_map(|(k, v)| [*k, *v]).collect(),
            Node::Call { what, args, state } => [*what, *args].into_iter().chain(*state).collect(),
            Node::Storage(which) => vec![*which],
            _ => Vec::new(),
        }
    }

    /// Every tensor in dictionaries within dictionaries, by the keys on the way to it joined by dots, in order.
    pub(super) fn tensors(&self) -> Vec<(String, Described)> {
        let mut all = Vec::new();
        self.gather_tensors(self.root, "", &mut all);
        all
    }

    /// Terminates because [`Self::check_extent`] has bounded depth and number.
    fn gather_tensors(&self, at: usize, name: &str, all: &mut Vec<(String, Described)>) {
        match &self.nodes[at] {
            Node::Dict(pairs) => {
                for (key, value) in pairs {
                    let key = match &self.nodes[*key] {
                        Node::Text(text) => text.clone(),
                        Node::Int(number) => number.to_string(),
                        _ => continue,
                    };
                    let dot = if name.is_empty() { "" } else { "." };
                    self.gather_tensors(*value, &format!("{name}{dot}{key}"), all);
                }
            }
            Node::Call { what, args, .. } => {
                let items = self.items(*args);
                match (self.name(*what), items) {
                    // A parameter is its tensor and whether it is trained.
                    ("torch._utils._rebuild_parameter", [tensor, ..]) => {
                        self.gather_tensors(*tensor, name, all);
                    }
                    (function, _) if function.starts_with("torch._utils._rebuild") => {
                        let view = self.view(items);
                        let described = view.map_or(Described::Other, Described::Tensor);
                        all.push((name.to_owned(), described));
                    }
                    _ => {}
                }
            }
            _ => {}
        }
    }

    /// The arguments of `_rebuild_tensor_v2`: storage, offset, size, strides, and what does not matter here.
    fn view(&self, items: &[usize]) -> Option<View> {
        let [storage, offset, shape, strides, ..] = *items else {
            return None;
        };
        let Node::Storage(which) = self.nodes[storage] else {
            return None;
        };
        // 'storage', class, key, device, count; and before PyTorch 1.6 of which other storage this is a part.
        let [_, class, key, _, _, ref part @ ..] = *self.items(which) else {
            return None;
        };
        let start = match part {
            [part] => match *self.items(*part) {
                [_, start, _] => self.size(start)?,
                _ => 0,
            },
            _ => 0,
        };
        let (shape, strides) = (self.sizes(shape)?, self.sizes(strides)?);
        (shape.len() == strides.len()).then_some(View {
            storage_type: self.name(class).to_owned(),
            key: self.text(key)?.to_owned(),
            offset: self.size(offset)?.checked_add(start)?,
            shape,
            strides,
        })
    }

    /// The class of each storage that is referred to, by its key.
    pub(super) fn storage_classes(&self) -> HashMap<&str, &str> {
        let storages = self.nodes.iter().filter_map(|node| match node {
            Node::Storage(which) => Some(self.items(*which)),
            _ => None,
        });
        storages
            .filter_map(|items| match *items {
                [_, class, key, ..] => Some((self.text(key)?, self.name(class))),
                _ => None,
            })
            .collect()
    }

    /// The texts of a pickle that is a list of them.
    pub(super) fn texts(&self) -> Option<Vec<&str>> {
        match &self.nodes[self.root] {
            Node::Sequence(items) => items.iter().map(|item| self.text(*item)).collect(),
            _ => None,
        }
    }

    fn items(&self, at: usize) -> &[usize] {
        match &self.nodes[at] {
            Node::Sequence(items) => items,
            _ => &[],
        }
    }

    fn size(&self, at: usize) -> Option<usize> {
        match &self.nodes[at] {
            Node::Int(number) => usize::try_from(*number).ok(),
            _ => None,
        }
    }

    /// A tuple of sizes, or `torch.Size` of one.
    fn sizes(&self, at: usize) -> Option<Vec<usize>> {
        match &self.nodes[at] {
            Node::Sequence(items) => items.iter().map(|item| self.size(*item)).collect(),
            Node::Call { what, args, .. } if self.name(*what) == "torch.Size" => {
                let [sizes] = *self.items(*args) else {
                    return None;
                };
                self.sizes(sizes)
            }
            _ => None,
        }
    }

    fn text(&self, at: usize) -> Option<&str> {
        match &self.nodes[at] {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    /// Terminates because [`Self::check_extent`] has bounded depth and number.
    fn json(&self, at: usize) -> Value {
        match &self.nodes[at] {
            Node::None => Value::Null,
            Node::Bool(value) => (*value).into(),
            Node::Int(value) => (*value).into(),
            Node::Float(value) => number(*value),
            Node::Text(text) => text.as_str().into(),
            Node::Bytes(bytes) => format!("<{} bytes>", bytes.len()).into(),
            Node::Sequence(items) => items.iter().map(|item| self.json(*item)).collect(),
            Node::Dict(pairs) => Value::Object(self.object(pairs)),
            Node::Global(name) => format!("<{name}>").into(),
            Node::Storage(_) => "<storage>".into(),
            Node::Call { what, args, state } => match (self.scalar(at), state) {
                (Some(value), _) => number(value),
                (None, Some(state)) if ATTRIBUTES_OF.contains(&self.name(*what)) => {
                    self.json(*state)
                }
                // Paths are the one kind of object that people give as arguments.
                (None, _) if self.name(*what).starts_with("pathlib.") => self.path(*args),
                _ => format!("<{}>", self.name(*what)).into(),
            },
        }
    }

    fn object(&self, pairs: &[(usize, usize)]) -> Map<String, Value> {
        let mut object = Map::new();
        for (key, value) in pairs {
            let key = match self.json(*key) {
                Value::String(text) => text,
                other => other.to_string(),
            };
            object.insert(key, self.json(*value));
        }
        object
    }

    fn name(&self, at: usize) -> &str {
        match &self.nodes[at] {
            Node::Global(name) => name,
            _ => "object",
        }
    }

    fn path(&self, args: usize) -> Value {
        let parts: Vec<&str> = match &self.nodes[args] {
            Node::Sequence(items) => items.iter().filter_map(|at| self.text(*at)).collect(),
            _ => Vec::new(),
        };
        // An absolute path begins with a part `/` of its own.
        parts.join("/").replacen("//", "/", 1).into()
    }

    /// The value of a NumPy double: `scalar(dtype('f8', ...), bytes)`, the bytes as such (protocol 3 and later) or as
    /// `_codecs.encode(text, 'latin1')`.
    fn scalar(&self, at: usize) -> Option<f64> {
        let Node::Call { what, args, .. } = &self.nodes[at] else {
            return None;
        };
        let known = [
            "numpy.core.multiarray.scalar",
            "numpy._core.multiarray.scalar",
        ];
        if !known.contains(&self.name(*what)) {
            return None;
        }
        let Node::Sequence(args) = &self.nodes[*args] else {
            return None;
        };
        let [dtype, bytes] = args[..] else {
            return None;
        };
        let Node::Call { args: dtype, .. } = &self.nodes[dtype] else {
            return None;
        };
        let Node::Sequence(dtype) = &self.nodes[*dtype] else {
            return None;
        };
        let bytes = self.bytes(bytes)?;
        match self.text(*dtype.first()?)? {
            "f8" => Some(f64::from_le_bytes(bytes.try_into().ok()?)),
            "f4" => Some(f32::from_le_bytes(bytes.try_into().ok()?).into()),
            "i8" => Some(i64::from_le_bytes(bytes.try_into().ok()?) as f64),
            _ => None,
        }
    }

    fn bytes(&self, at: usize) -> Option<Vec<u8>> {
        match &self.nodes[at] {
            Node::Bytes(bytes) => Some(bytes.clone()),
            Node::Call { what, args, .. } if self.name(*what) == "_codecs.encode" => {
                let Node::Sequence(args) = &self.nodes[*args] else {
                    return None;
                };
                let text = self.text(*args.first()?)?;
                text.chars()
                    .map(|c| u8::try_from(u32::from(c)).ok())
                    .collect()
            }
            _ => None,
        }
    }
}

/// JSON has no infinity; it becomes text.
fn number(value: f64) -> Value {
    serde_json::Number::from_f64(value).map_or_else(|| value.to_string().into(), Value::Number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_namespace_is_its_arguments_and_a_numpy_scalar_its_value() {
        // pickle.dumps({"args": argparse.Namespace(lr=numpy.float64(0.5), n=-1, name="x")}, protocol=2)
        let bytes = b"\x80\x02}q\x00X\x04\x00\x00\x00argsq\x01cargparse\nNamespace\nq\x02)\x81q\x03}q\x04(\
            X\x02\x00\x00\x00lrq\x05cnumpy._core.multiarray\nscalar\nq\x06cnumpy\ndtype\nq\x07X\x02\x00\x00\x00f8\
            \x89\x88\x87R(K\x03X\x01\x00\x00\x00<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb\
            c_codecs\nencode\nX\x09\x00\x00\x00\x00\x00\x00\x00\x00\x00\xc3\xa0?X\x06\x00\x00\x00latin1\x86R\x86R\
            X\x01\x00\x00\x00nJ\xff\xff\xff\xffX\x04\x00\x00\x00nameX\x01\x00\x00\x00xubs.";
        let pickle = parse(bytes).unwrap();
        let args = pickle.value(&["args"]).unwrap();
        assert_eq!(args, serde_json::json!({"lr": 0.5, "n": -1, "name": "x"}));
        assert_eq!(pickle.keys(&[]).unwrap(), ["args"]);
        for length in 0..bytes.len() {
            assert_eq!(
                parse(&bytes[..length]).unwrap_err(),
                PickleProblem::Truncated
            );
        }
    }

    #[test]
    fn a_function_that_is_no_data_is_refused_by_name() {
        // The classic attack: a value that runs a command when a careless reader meets it.
        let attack = b"\x80\x02}X\x01\x00\x00\x00acos\nsystem\nX\x04\x00\x00\x00true\x85Rs.";
        let problem = parse(attack).unwrap_err();
        assert_eq!(problem, PickleProblem::Forbidden("os.system".to_owned()));
        // The same in protocol 4, where the name is on the stack.
        let attack = b"\x80\x04\x8c\x02os\x8c\x06system\x93\x8c\x04true\x85R.";
        let problem = parse(attack).unwrap_err();
        assert_eq!(problem, PickleProblem::Forbidden("os.system".to_owned()));
        // Accepted on request, it is described and not called.
        let allowed = ["os.system".to_owned()];
        let pickle = Pickle::parse(&mut &attack[..], &allowed).unwrap();
        assert_eq!(pickle.value(&[]).unwrap(), "<os.system>");
    }

    #[test]
    fn values_that_never_end_are_refused() {
        // A list within itself: directly, and through a dictionary.
        for bytes in [
            &b"\x80\x02]q\x00h\x00a."[..],
            b"\x80\x02]q\x00}K\x00h\x00sa.",
        ] {
            let problem = parse(bytes).unwrap_err();
            assert_eq!(problem, "a value of its pickle contains itself".into());
        }
        // Each list holds the one before twice: 2^40 values in 200 bytes.
        let mut doubling = b"\x80\x02]".to_vec();
        for _ in 0..40 {
            doubling.extend(b"q\x00h\x00\x86");
        }
        doubling.push(b'.');
        assert!(matches!(
            parse(&doubling).unwrap_err(),
            PickleProblem::Bomb(_)
        ));
        // Lists within lists, deeper than any stack.
        let mut deep = b"\x80\x02]".to_vec();
        deep.extend([b'\x85'; 1_000_000]);
        deep.push(b'.');
        assert!(matches!(parse(&deep).unwrap_err(), PickleProblem::Bomb(_)));
        // Shared values that stay few are fine.
        assert!(parse(b"\x80\x02]q\x00h\x00h\x00\x87.").is_ok());
    }

    fn parse(bytes: &[u8]) -> Result<Pickle, PickleProblem> {
        Pickle::parse(&mut &bytes[..], &[])
    }
}
