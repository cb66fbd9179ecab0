//! The instructions of a pickle: they build values on a stack; no call is executed.

use std::collections::HashMap;
use std::io::{ErrorKind, Read};

use super::pickle::{Node, Pickle};

/// Largest number of values; the pickle of a model with a thousand tensors has about 30,000.
const MOST_NODES: usize = 4_000_000;

/// The types and functions that a checkpoint may name. None is imported or called: these are the ones whose meaning as
/// data is known.
const KNOWN_GLOBALS: [&str; 55] = [
    "__builtin__.frozenset",
    "__builtin__.set",
    "_codecs.encode",
    "argparse.Namespace",
    "builtins.bytearray",
    "builtins.complex",
    "builtins.dict",
    "builtins.float",
    "builtins.frozenset",
    "builtins.int",
    "builtins.list",
    "builtins.set",
    "collections.OrderedDict",
    "collections.defaultdict",
    "hubert_ecg.HuBERTECGConfig",
    "numpy._core.multiarray._reconstruct",
    "numpy._core.multiarray.scalar",
    "numpy.core.multiarray._reconstruct",
    "numpy.core.multiarray.scalar",
    "numpy.dtype",
    "numpy.ndarray",
    "pathlib.Path",
    "pathlib.PosixPath",
    "pathlib.PurePosixPath",
    "pathlib.WindowsPath",
    "pathlib._local.PosixPath",
    "pathlib._local.WindowsPath",
    "torch.BFloat16Storage",
    "torch.BoolStorage",
    "torch.ByteStorage",
    "torch.CharStorage",
    "torch.DoubleStorage",
    "torch.FloatStorage",
    "torch.HalfStorage",
    "torch.IntStorage",
    "torch.LongStorage",
    "torch.ShortStorage",
    "torch.Size",
    "torch.UntypedStorage",
    "torch._utils._rebuild_parameter",
    "torch._utils._rebuild_tensor",
    "torch._utils._rebuild_tensor_v2",
    "torch.bfloat16",
    "torch.bool",
    "torch.device",
    "torch.float16",
    "torch.float32",
    "torch.float64",
    "torch.int16",
    "torch.int32",
    "torch.int64",
    "torch.int8",
    "torch.storage.UntypedStorage",
    "torch.uint8",
    "transformers.models.hubert.configuration_hubert.HubertConfig",
];

/// Why a pickle was not read.
#[derive(Debug, PartialEq)]
pub(super) enum PickleProblem {
    /// It ends before its end mark.
    Truncated,
    /// What is wrong, as the rest of a sentence.
    Damaged(String),
    /// It names this type or function, which is not known as data.
    Forbidden(String),
    /// It expands to too many values; the rest of a sentence.
    Bomb(String),
}

impl From<String> for PickleProblem {
    fn from(problem: String) -> Self {
        PickleProblem::Damaged(problem)
    }
}

impl From<&str> for PickleProblem {
    fn from(problem: &str) -> Self {
        PickleProblem::Damaged(problem.to_owned())
    }
}

type Result<T> = std::result::Result<T, PickleProblem>;

impl Pickle {
    /// Reads up to the end mark of a pickle of protocol 2 to 5. Memory is bounded by the bytes read, whatever sizes
    /// they claim.
    ///
    /// `allowed` are types and functions to accept beside the known ones, as `module.name`.
    pub(super) fn parse(source: &mut impl Read, allowed: &[String]) -> Result<Pickle> {
        Parser {
            source,
            allowed,
            nodes: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: HashMap::new(),
        }
        .run()
    }
}

struct Parser<'a, R: Read> {
    source: &'a mut R,
    allowed: &'a [String],
    nodes: Vec<Node>,
    stack: Vec<usize>,
    /// Heights of the stack at the open marks.
    marks: Vec<usize>,
    /// Values by the number they were given.
    memo: HashMap<usize, usize>,
}

impl<R: Read> Parser<'_, R> {
    fn run(mut self) -> Result<Pickle> {
        loop {
            if self.nodes.len() + self.stack.len() + self.marks.len() > MOST_NODES {
                let problem = format!("its pickle holds more than {MOST_NODES} values");
                return Err(PickleProblem::Bomb(problem));
            }
            let [code] = self.take()?;
            match code {
                b'.' => break,
                // PROTO, FRAME: how it is written, not what.
                0x80 => drop(self.take::<1>()?),
                0x95 => drop(self.take::<8>()?),
                b'(' => self.marks.push(self.stack.len()),
                b'0' => drop(self.pop()?),
                b'2' => self.stack.push(self.top()?),
                code => {
                    if !(self.plain(code)? || self.collection(code)? || self.named(code)?) {
                        return Err(PickleProblem::Damaged(format!(
                            "its pickle has the instruction {code:#04x}, which `torch.save` does not write"
                        )));
                    }
                }
            }
        }
        let root = self.pop()?;
        let pickle = Pickle {
            nodes: self.nodes,
            root,
        };
        pickle.check_extent()?;
        Ok(pickle)
    }

    /// A number, a text or the like that follows its code; false for another code.
    fn plain(&mut self, code: u8) -> Result<bool> {
        match code {
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
            0x8a => self.long(1)?,
            0x8b => self.long(4)?,
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
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// A sequence or a dictionary, made or filled with what is on the stack; false for another code.
    fn collection(&mut self, code: u8) -> Result<bool> {
        match code {
            b')' | b']' | 0x8f => self.push(Node::Sequence(Vec::new())),
            b'}' => self.push(Node::Dict(Vec::new())),
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
            b's' => {
                let items = self.pop_many(2)?;
                self.extend(&items)?;
            }
            b'e' | b'u' | 0x90 => {
                let items = self.since_mark()?;
                self.extend(&items)?;
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    /// A value by its number or name: remembered, recalled, or what a type or function would make; false for another code.
    fn named(&mut self, code: u8) -> Result<bool> {
        match code {
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
            b'c' => {
                let (module, name) = (self.line()?, self.line()?);
                self.global(&module, &name)?;
            }
            0x93 => self.stack_global()?,
            b'R' | 0x81 => self.call()?,
            b'b' => self.build()?,
            b'Q' => {
                let which = self.pop()?;
                self.push(Node::Storage(which));
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        match self.source.read_exact(&mut bytes) {
            Ok(()) => Ok(bytes),
            Err(e) if e.kind() == ErrorKind::UnexpectedEof => Err(PickleProblem::Truncated),
            Err(e) => Err(PickleProblem::Damaged(format!("reading stopped ({e})"))),
        }
    }

    /// Bytes preceded by a length of `width` bytes.
    fn sized(&mut self, width: usize) -> Result<Vec<u8>> {
        let mut length = 0u64;
        for place in 0..width {
            let [byte] = self.take()?;
            length |= u64::from(byte) << (8 * place);
        }
        // Bounded by the bytes present, whatever length is claimed.
        let mut bytes = Vec::new();
        let read = self.source.by_ref().take(length).read_to_end(&mut bytes);
        match read {
            Ok(count) if count as u64 == length => Ok(bytes),
            Ok(_) => Err(PickleProblem::Truncated),
            Err(e) => Err(PickleProblem::Damaged(format!("reading stopped ({e})"))),
        }
    }

    fn string(&mut self, width: usize) -> Result<()> {
        let bytes = self.sized(width)?;
        let text = String::from_utf8_lossy(&bytes).into_owned();
        self.push(Node::Text(text));
        Ok(())
    }

    fn byte_string(&mut self, width: usize) -> Result<()> {
        let bytes = self.sized(width)?;
        self.push(Node::Bytes(bytes));
        Ok(())
    }

    /// A whole number of any length; one beyond 64 bits is kept as the nearest double.
    fn long(&mut self, width: usize) -> Result<()> {
        let bytes = self.sized(width)?;
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

    fn line(&mut self) -> Result<String> {
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

    fn top(&self) -> Result<usize> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let items = self.stack.get(floor..).unwrap_or_default();
        items
            .last()
            .copied()
            .ok_or_else(|| "a value of its pickle is missing".into())
    }

    fn pop(&mut self) -> Result<usize> {
        let top = self.top()?;
        self.stack.pop();
        Ok(top)
    }

    fn pop_many(&mut self, count: usize) -> Result<Vec<usize>> {
        let mut items = (0..count).map(|_| self.pop()).collect::<Result<Vec<_>>>()?;
        items.reverse();
        Ok(items)
    }

    fn since_mark(&mut self) -> Result<Vec<usize>> {
        let mark = self
            .marks
            .pop()
            .ok_or("a collection of its pickle has no beginning")?;
        // Never above the stack: nothing is popped below an open mark.
        Ok(self.stack.split_off(mark.min(self.stack.len())))
    }

    /// Adds to the list or dictionary on top of the stack; other objects take no parts.
    fn extend(&mut self, items: &[usize]) -> Result<()> {
        let top = self.top()?;
        match &mut self.nodes[top] {
            Node::Sequence(list) => list.extend(items),
            Node::Dict(dict) => dict.extend(pairs(items)),
            _ => {}
        }
        Ok(())
    }

    fn remember(&mut self, number: usize) -> Result<()> {
        let top = self.top()?;
        self.memo.insert(number, top);
        Ok(())
    }

    fn recall(&mut self, number: usize) -> Result<()> {
        let value = self.memo.get(&number).copied();
        self.stack.push(
            value.ok_or_else(|| {
                format!("its pickle refers to value {number}, which does not exist")
            })?,
        );
        Ok(())
    }

    fn stack_global(&mut self) -> Result<()> {
        let (name, module) = (self.pop()?, self.pop()?);
        match (&self.nodes[module], &self.nodes[name]) {
            (Node::Text(module), Node::Text(name)) => {
                let (module, name) = (module.clone(), name.clone());
                self.global(&module, &name)
            }
            _ => Err("the name of a type in its pickle is not a text".into()),
        }
    }

    fn global(&mut self, module: &str, name: &str) -> Result<()> {
        let name = format!("{module}.{name}");
        if KNOWN_GLOBALS.contains(&name.as_str()) || self.allowed.contains(&name) {
            self.push(Node::Global(name));
            Ok(())
        } else {
            Err(PickleProblem::Forbidden(name))
        }
    }

    fn call(&mut self) -> Result<()> {
        let (args, what) = (self.pop()?, self.pop()?);
        let is_dict = matches!(&self.nodes[what], Node::Global(name)
            if name == "collections.OrderedDict" || name == "collections.defaultdict");
        let node = if is_dict {
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

    fn build(&mut self) -> Result<()> {
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
