//! The values in a pickle, without running it.
//!
//! `pytorch-reader` gives the tensors of a checkpoint and leaves out Python objects such as the `argparse.Namespace`
//! with the arguments of the run. This reads the same bytes as data: a call stays a description of a call.

use std::io::Read;

use serde_json::{Map, Value};

/// Nested this deep or deeper, a value becomes `null`: a pickle may contain itself.
const DEEPEST: usize = 32;
/// Values converted at most for one request: a short pickle may repeat one value without end.
const MOST_VALUES: usize = 100_000;

/// A value of the pickle; parts are places in [`Pickle::nodes`], so that values shared or filled later stay one.
#[derive(Clone, Debug)]
enum Node {
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
    nodes: Vec<Node>,
    root: usize,
}

impl Pickle {
    /// Reads up to the end mark of a pickle of protocol 2 to 5.
    ///
    /// # Errors
    /// What is wrong, as the rest of a sentence.
    pub(super) fn parse(source: &mut impl Read) -> Result<Pickle, String> {
        Parser {
            source,
            nodes: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: Vec::new(),
        }
        .run()
    }

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
        parts.join("/").into()
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

struct Parser<'a, R: Read> {
    source: &'a mut R,
    nodes: Vec<Node>,
    stack: Vec<usize>,
    /// Heights of the stack at the open marks.
    marks: Vec<usize>,
    memo: Vec<Option<usize>>,
}

impl<R: Read> Parser<'_, R> {
    fn run(mut self) -> Result<Pickle, String> {
        loop {
            let [code] = self.take()?;
            match code {
                // PROTO, FRAME: how it is written, not what.
                0x80 => drop(self.take::<1>()?),
                0x95 => drop(self.take::<8>()?),
                b'N' => self.push(Node::None),
                0x88 => self.push(Node::Bool(true)),
                0x89 => self.push(Node::Bool(false)),
                b'K' => {
                    let value = u8::from_le_bytes(self.take()?);
                    self.push(Node::Int(value.into()));
                }
                b'M' => {
                    let value = u16::from_le_bytes(self.take()?);
                    self.push(Node::Int(value.into()));
                }
                b'J' => {
                    let value = i32::from_le_bytes(self.take()?);
                    self.push(Node::Int(value.into()));
                }
                0x8a => self.long()?,
                b'G' => {
                    let value = f64::from_be_bytes(self.take()?);
                    self.push(Node::Float(value));
                }
                // Text with a length of 1, 4 or 8 bytes; the first two of Python 2.
                b'U' | 0x8c => self.string(1)?,
                b'T' | b'X' => self.string(4)?,
                0x8d => self.string(8)?,
                b'C' => self.byte_string(1)?,
                b'B' => self.byte_string(4)?,
                0x8e => self.byte_string(8)?,
                b')' | b']' | 0x8f => self.push(Node::Sequence(Vec::new())),
                b'}' => self.push(Node::Dict(Vec::new())),
                b'(' => self.marks.push(self.stack.len()),
                b't' | b'l' | 0x91 => {
                    let items = self.since_mark()?;
                    self.push(Node::Sequence(items));
                }
                b'd' => {
                    let items = self.since_mark()?;
                    self.push(Node::Dict(pairs(&items)));
                }
                0x85..=0x87 => {
                    let items = self.pop_many(usize::from(code - 0x84))?;
                    self.push(Node::Sequence(items));
                }
                b'a' => {
                    let items = self.pop_many(1)?;
                    self.extend(&items)?;
                }
                b'e' | 0x90 => {
                    let items = self.since_mark()?;
                    self.extend(&items)?;
                }
                b's' => {
                    let items = self.pop_many(2)?;
                    self.extend(&items)?;
                }
                b'u' => {
                    let items = self.since_mark()?;
                    self.extend(&items)?;
                }
                b'q' => {
                    let [place] = self.take()?;
                    self.remember(place.into())?;
                }
                b'r' => {
                    let place = u32::from_le_bytes(self.take()?);
                    self.remember(place as usize)?;
                }
                0x94 => self.remember(self.memo.len())?,
                b'h' => {
                    let [place] = self.take()?;
                    self.recall(place.into())?;
                }
                b'j' => {
                    let place = u32::from_le_bytes(self.take()?);
                    self.recall(place as usize)?;
                }
                b'0' => drop(self.pop()?),
                b'2' => self.stack.push(self.top()?),
                b'c' => {
                    let (module, name) = (self.line()?, self.line()?);
                    self.push(Node::Global(format!("{module}.{name}")));
                }
                0x93 => self.stack_global()?,
                b'R' | 0x81 => self.call()?,
                b'b' => self.build()?,
                b'Q' => {
                    self.pop()?;
                    self.push(Node::Storage);
                }
                b'.' => {
                    let root = self.pop()?;
                    return Ok(Pickle {
                        nodes: self.nodes,
                        root,
                    });
                }
                other => return Err(format!("it uses the pickle instruction {other:#04x}")),
            }
        }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let mut bytes = [0; N];
        self.source
            .read_exact(&mut bytes)
            .map_err(|e| format!("it ends within a value ({e})"))?;
        Ok(bytes)
    }

    /// Bytes preceded by a length of `width` bytes.
    fn sized(&mut self, width: usize) -> Result<Vec<u8>, String> {
        let mut length = 0u64;
        for place in 0..width {
            let [byte] = self.take()?;
            length |= u64::from(byte) << (8 * place);
        }
        // Grows with what is there, whatever length is claimed.
        let mut bytes = Vec::new();
        let read = self.source.by_ref().take(length).read_to_end(&mut bytes);
        match read {
            Ok(count) if count as u64 == length => Ok(bytes),
            _ => Err(format!("a text of {length} bytes is cut off")),
        }
    }

    fn string(&mut self, width: usize) -> Result<(), String> {
        let bytes = self.sized(width)?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        self.push(Node::Text(text));
        Ok(())
    }

    fn byte_string(&mut self, width: usize) -> Result<(), String> {
        let bytes = self.sized(width)?;
        self.push(Node::Bytes(bytes));
        Ok(())
    }

    /// A whole number of any length; one beyond 64 bits is kept as the nearest double.
    fn long(&mut self) -> Result<(), String> {
        let bytes = self.sized(1)?;
        let negative = bytes.last().is_some_and(|b| b & 0x80 != 0);
        let node = if bytes.len() <= 8 {
            let mut whole = if negative { [0xff; 8] } else { [0; 8] };
            whole[..bytes.len()].copy_from_slice(&bytes);
            Node::Int(i64::from_le_bytes(whole))
        } else {
            let size = bytes
                .iter()
                .rev()
                .fold(0.0, |n, b| n * 256.0 + f64::from(*b));
            let wrap = if negative {
                256f64.powi(bytes.len() as i32)
            } else {
                0.0
            };
            Node::Float(size - wrap)
        };
        self.push(node);
        Ok(())
    }

    fn line(&mut self) -> Result<String, String> {
        let mut bytes = Vec::new();
        loop {
            match self.take()? {
                [b'\n'] => return Ok(String::from_utf8_lossy(&bytes).into_owned()),
                [byte] => bytes.push(byte),
            }
        }
    }

    fn push(&mut self, node: Node) {
        self.nodes.push(node);
        self.stack.push(self.nodes.len() - 1);
    }

    fn top(&self) -> Result<usize, String> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let items = self.stack.get(floor..).unwrap_or_default();
        items
            .last()
            .copied()
            .ok_or_else(|| "a value is missing".to_owned())
    }

    fn pop(&mut self) -> Result<usize, String> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_many(&mut self, count: usize) -> Result<Vec<usize>, String> {
        let mut items = (0..count)
            .map(|_| self.pop())
            .collect::<Result<Vec<_>, _>>()?;
        items.reverse();
        Ok(items)
    }

    fn since_mark(&mut self) -> Result<Vec<usize>, String> {
        let mark = self.marks.pop().ok_or("a collection has no beginning")?;
        // Never above the stack: nothing is popped below an open mark.
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    /// Adds to the list or dictionary on top of the stack; other objects take no parts.
    fn extend(&mut self, items: &[usize]) -> Result<(), String> {
        let top = self.top()?;
        match &mut self.nodes[top] {
            Node::Sequence(list) => list.extend(items),
            Node::Dict(dict) => dict.extend(pairs(items)),
            _ => {}
        }
        Ok(())
    }

    fn remember(&mut self, place: usize) -> Result<(), String> {
        // Python numbers them in order, so a place far ahead is damage, not a large memo.
        if place > self.memo.len() + 1_000_000 {
            return Err(format!("it numbers a value {place}"));
        }
        if place >= self.memo.len() {
            self.memo.resize(place + 1, None);
        }
        self.memo[place] = Some(self.top()?);
        Ok(())
    }

    fn recall(&mut self, place: usize) -> Result<(), String> {
        let value = self.memo.get(place).copied().flatten();
        self.stack
            .push(value.ok_or_else(|| format!("it refers to value {place}, which is not there"))?);
        Ok(())
    }

    fn stack_global(&mut self) -> Result<(), String> {
        let (name, module) = (self.pop()?, self.pop()?);
        match (&self.nodes[module], &self.nodes[name]) {
            (Node::Text(module), Node::Text(name)) => {
                let global = Node::Global(format!("{module}.{name}"));
                self.push(global);
                Ok(())
            }
            _ => Err("the name of a type is no text".to_owned()),
        }
    }

    fn call(&mut self) -> Result<(), String> {
        let (args, what) = (self.pop()?, self.pop()?);
        let ordered =
            matches!(&self.nodes[what], Node::Global(name) if name == "collections.OrderedDict");
        let node = if ordered {
            Node::Dict(self.ordered_pairs(args))
        } else {
            Node::Call {
                what,
                args,
                state: None,
            }
        };
        self.push(node);
        Ok(())
    }

    /// The entries in `OrderedDict([[key, value], ...])`.
    fn ordered_pairs(&self, args: usize) -> Vec<(usize, usize)> {
        let items = |at: usize| match &self.nodes[at] {
            Node::Sequence(items) => items.as_slice(),
            _ => &[],
        };
        let entries = items(args).first().map_or(&[][..], |list| items(*list));
        entries
            .iter()
            .filter_map(|entry| match items(*entry) {
                [key, value] => Some((*key, *value)),
                _ => None,
            })
            .collect()
    }

    fn build(&mut self) -> Result<(), String> {
        let given = self.pop()?;
        let top = self.top()?;
        if let Node::Call { state, .. } = &mut self.nodes[top] {
            *state = Some(given);
        }
        Ok(())
    }
}

fn pairs(items: &[usize]) -> Vec<(usize, usize)> {
    items
        .as_chunks::<2>()
        .0
        .iter()
        .map(|[k, v]| (*k, *v))
        .collect()
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
