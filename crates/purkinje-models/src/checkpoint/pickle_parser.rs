//! The instructions of a pickle: they build values on a stack; none of them is a call here.

use std::collections::HashMap;
use std::io::Read;

use super::pickle::{Node, Pickle};

impl Pickle {
    /// Reads up to the end mark of a pickle of protocol 2 to 5. Memory grows with the bytes read, whatever they claim.
    ///
    /// # Errors
    /// What is wrong, as the rest of a sentence.
    pub(super) fn parse(source: &mut impl Read) -> Result<Pickle, String> {
        Parser {
            source,
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
    nodes: Vec<Node>,
    stack: Vec<usize>,
    /// Heights of the stack at the open marks.
    marks: Vec<usize>,
    /// Values by the number they were given.
    memo: HashMap<usize, usize>,
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

    fn remember(&mut self, number: usize) -> Result<(), String> {
        let top = self.top()?;
        self.memo.insert(number, top);
        Ok(())
    }

    fn recall(&mut self, number: usize) -> Result<(), String> {
        let value = self.memo.get(&number).copied();
        self.stack
            .push(value.ok_or_else(|| format!("it refers to value {number}, which is not there"))?);
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
