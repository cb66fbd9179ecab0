//! The values in a pickle, without running it.
//!
//! `pytorch-reader` gives the tensors of a checkpoint and leaves out Python objects such as the `argparse.Namespace`
//! with the arguments of the run. This reads the same bytes as data: a call stays a description of a call.

use serde_json::{Map, Value};

/// Nested this deep or deeper, a value becomes `null`: a pickle may contain itself.
const DEEPEST: usize = 32;
/// Values converted at most for one request: a short pickle may repeat one value without end.
const MOST_VALUES: usize = 100_000;

/// A value of the pickle; parts are places in [`Pickle::nodes`], so that values shared or filled later stay one.
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
    /// A reference to the numbers of a tensor.
    Storage,
}

/// The values of one pickle.
#[derive(Debug)]
pub(super) struct Pickle {
    pub(super) nodes: Vec<Node>,
    pub(super) root: usize,
}

impl Pickle {
    /// The entry of the top-level dictionary, as JSON: namespaces as objects, NumPy scalars as numbers, what is neither
    /// text, number nor collection as `<name>`.
    pub(super) fn entry(&self, key: &str) -> Option<Value> {
        let mut budget = MOST_VALUES;
        let value = self.value_of(self.root, key)?;
        Some(self.json(value, 0, &mut budget))
    }

    /// The keys of the dictionary under `key`, or of the top-level dictionary itself.
    pub(super) fn keys(&self, key: Option<&str>) -> Vec<&str> {
        let dict = match key {
            None => Some(self.root),
            Some(key) => self.value_of(self.root, key),
        };
        match dict.map(|at| &self.nodes[at]) {
            Some(Node::Dict(pairs)) => pairs.iter().filter_map(|(k, _)| self.text(*k)).collect(),
            _ => Vec::new(),
        }
    }

    fn value_of(&self, dict: usize, key: &str) -> Option<usize> {
        let Node::Dict(pairs) = &self.nodes[dict] else {
            return None;
        };
        // As in Python, a later entry replaces an earlier one.
        pairs
            .iter()
            .rev()
            .find(|(k, _)| self.text(*k) == Some(key))
            .map(|(_, value)| *value)
    }

    fn text(&self, at: usize) -> Option<&str> {
        match &self.nodes[at] {
            Node::Text(text) => Some(text),
            _ => None,
        }
    }

    fn json(&self, at: usize, depth: usize, budget: &mut usize) -> Value {
        if depth >= DEEPEST || *budget == 0 {
            return Value::Null;
        }
        *budget -= 1;
        match &self.nodes[at] {
            Node::None => Value::Null,
            Node::Bool(value) => (*value).into(),
            Node::Int(value) => (*value).into(),
            Node::Float(value) => number(*value),
            Node::Text(text) => text.as_str().into(),
            Node::Bytes(bytes) => format!("<{} bytes>", bytes.len()).into(),
            Node::Sequence(items) => items
                .iter()
                .map(|item| self.json(*item, depth + 1, budget))
                .collect(),
            Node::Dict(pairs) => Value::Object(self.object(pairs, depth, budget)),
            Node::Global(name) => format!("<{name}>").into(),
            Node::Storage => "<storage>".into(),
            Node::Call { what, args, state } => match (self.scalar(at), state) {
                (Some(value), _) => number(value),
                (None, Some(state)) if self.name(*what) == "argparse.Namespace" => {
                    self.json(*state, depth + 1, budget)
                }
                // Paths are the one kind of object that people give as arguments.
                (None, _) if self.name(*what).starts_with("pathlib.") => self.path(*args),
                _ => format!("<{}>", self.name(*what)).into(),
            },
        }
    }

    fn object(
        &self,
        pairs: &[(usize, usize)],
        depth: usize,
        budget: &mut usize,
    ) -> Map<String, Value> {
        let mut object = Map::new();
        for (key, value) in pairs {
            let key = match self.json(*key, depth + 1, budget) {
                Value::String(text) => text,
                other => other.to_string(),
            };
            object.insert(key, self.json(*value, depth + 1, budget));
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
        let pickle = Pickle::parse(&mut &bytes[..]).unwrap();
        let args = pickle.entry("args").unwrap();
        assert_eq!(args, serde_json::json!({"lr": 0.5, "n": -1, "name": "x"}));
        assert_eq!(pickle.keys(None), ["args"]);
        for length in 0..bytes.len() {
            assert!(Pickle::parse(&mut &bytes[..length]).is_err());
        }
    }

    #[test]
    fn a_call_is_described_and_not_made() {
        // The classic attack: a value that runs a command when a careless reader meets it.
        let bytes = b"\x80\x02}X\x01\x00\x00\x00acos\nsystem\nX\x04\x00\x00\x00true\x85Rs.";
        let pickle = Pickle::parse(&mut &bytes[..]).unwrap();
        assert_eq!(pickle.entry("a").unwrap(), "<os.system>");
    }

    #[test]
    fn a_list_within_itself_ends() {
        let bytes = b"\x80\x02}X\x01\x00\x00\x00a]q\x00h\x00a\x68\x00as.";
        let pickle = Pickle::parse(&mut &bytes[..]).unwrap();
        let text = pickle.entry("a").unwrap().to_string();
        assert!(text.len() < 2 * MOST_VALUES * 5, "{}", text.len());
    }
}
