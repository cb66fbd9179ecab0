//! Values of MATLAB.

use std::fmt;
use std::ops::Range;

use crate::values::{Bytes, Raw};

/// A value of MATLAB.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// An array of real numbers or truth values.
    Numeric(Numeric),
    /// Characters; the rows of a matrix of characters are joined by line breaks.
    Text(String),
    /// A struct or an array of structs.
    Struct(Struct),
    /// An array of values of any kind, column by column.
    Cell(Vec<Value>),
    /// What is not read; says what it is: `sparse array`, `object`, ...
    Other(&'static str),
}

/// What an array is in MATLAB. It may be stored with fewer bytes than that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Class {
    Double,
    Single,
    Int8,
    Uint8,
    Int16,
    Uint16,
    Int32,
    Uint32,
    Int64,
    Uint64,
}

/// An array of real numbers, kept in the form in which the file stores them.
#[derive(Clone, Debug, PartialEq)]
pub struct Numeric {
    /// Sizes; rows and columns come first.
    pub dims: Vec<usize>,
    /// What it is in MATLAB.
    pub class: Class,
    stored: Class,
    big_endian: bool,
    bytes: Bytes,
}

/// A struct, or an array of them.
#[derive(Clone, Debug, PartialEq)]
pub struct Struct {
    /// Names of the fields.
    pub fields: Vec<String>,
    /// The fields of the first struct in the order of `fields`, then those of the next, ...
    pub values: Vec<Value>,
}

impl Value {
    /// The array, if it is one.
    pub fn numeric(&self) -> Option<&Numeric> {
        match self {
            Value::Numeric(numeric) => Some(numeric),
            _ => None,
        }
    }

    /// The text, if it is one; also of a cell that holds nothing but one text.
    pub fn text(&self) -> Option<&str> {
        match self {
            Value::Text(text) => Some(text),
            Value::Cell(cells) => match &cells[..] {
                [Value::Text(text)] => Some(text),
                _ => None,
            },
            _ => None,
        }
    }

    /// The number, if it is an array of just one.
    pub fn scalar(&self) -> Option<f64> {
        let numeric = self.numeric()?;
        (numeric.len() == 1).then(|| numeric.get(0))?
    }
}

impl Struct {
    /// The field `name` of the first struct.
    pub fn get(&self, name: &str) -> Option<&Value> {
        let at = self.fields.iter().position(|field| field == name)?;
        self.values.get(at)
    }
}

impl Numeric {
    /// `bytes` holds just the values of the product of `dims`.
    pub(super) fn new(
        dims: Vec<usize>,
        class: Class,
        stored: Class,
        big_endian: bool,
        bytes: Bytes,
    ) -> Self {
        Numeric {
            dims,
            class,
            stored,
            big_endian,
            bytes,
        }
    }

    /// Without values.
    pub(super) fn empty(dims: Vec<usize>, class: Class) -> Self {
        Numeric::new(dims, class, class, false, Bytes::Memory(Vec::new()))
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.stored.bytes()
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.bytes.len() == 0
    }

    /// The value at `index`, counted column by column; `None` beyond the end, or where the file cannot be read.
    pub fn get(&self, index: usize) -> Option<f64> {
        (index < self.len()).then(|| self.part(index..index + 1).pop())?
    }

    /// All values as f64, column by column; none where the file cannot be read.
    pub fn to_f64(&self) -> Vec<f64> {
        self.part(0..self.len())
    }

    fn part(&self, numbers: Range<usize>) -> Vec<f64> {
        let size = self.stored.bytes();
        let mut out = Vec::with_capacity(numbers.len());
        let decode = |bytes: &[u8]| self.stored.decode(self.big_endian, bytes, &mut out);
        let read = self
            .bytes
            .with(numbers.start * size..numbers.end * size, decode);
        if read.is_ok() { out } else { Vec::new() }
    }

    /// The values side by side, in rows of `columns`: those of one column each.
    pub(super) fn values(&self, columns: usize) -> Raw {
        Raw {
            bytes: self.bytes.clone(),
            kind: self.stored,
            big_endian: self.big_endian,
            columns,
        }
    }

    /// Rows and columns, provided that there are no more dimensions than these two, but for such of size 1.
    pub fn matrix_shape(&self) -> Option<[usize; 2]> {
        match self.dims[..] {
            [rows, columns] => Some([rows, columns]),
            _ => {
                let mut more = self.dims.iter().copied().filter(|&size| size != 1);
                let shape = [more.next().unwrap_or(1), more.next().unwrap_or(1)];
                more.next().is_none().then_some(shape)
            }
        }
    }
}

impl Class {
    /// Size of a number in bytes.
    pub(crate) fn bytes(self) -> usize {
        match self {
            Class::Int8 | Class::Uint8 => 1,
            Class::Int16 | Class::Uint16 => 2,
            Class::Single | Class::Int32 | Class::Uint32 => 4,
            Class::Double | Class::Int64 | Class::Uint64 => 8,
        }
    }
}

impl Class {
    /// Adds the numbers that `bytes` hold to `out`.
    pub(crate) fn decode(self, big_endian: bool, bytes: &[u8], out: &mut Vec<f64>) {
        macro_rules! decode {
            ($type:ty) => {
                out.extend(bytes.as_chunks().0.iter().map(|&number| match big_endian {
                    true => <$type>::from_be_bytes(number) as f64,
                    false => <$type>::from_le_bytes(number) as f64,
                }))
            };
        }
        match self {
            Class::Double => decode!(f64),
            Class::Single => decode!(f32),
            Class::Int8 => decode!(i8),
            Class::Uint8 => decode!(u8),
            Class::Int16 => decode!(i16),
            Class::Uint16 => decode!(u16),
            Class::Int32 => decode!(i32),
            Class::Uint32 => decode!(u32),
            Class::Int64 => decode!(i64),
            Class::Uint64 => decode!(u64),
        }
    }
}

impl fmt::Display for Class {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Class::Double => "double",
            Class::Single => "single",
            Class::Int8 => "int8",
            Class::Uint8 => "uint8",
            Class::Int16 => "int16",
            Class::Uint16 => "uint16",
            Class::Int32 => "int32",
            Class::Uint32 => "uint32",
            Class::Int64 => "int64",
            Class::Uint64 => "uint64",
        })
    }
}

impl fmt::Display for Value {
    /// The kind of the value in few words: `12x5000 double`, `text`, `struct with sex, age, data`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Numeric(numeric) => {
                let dims: Vec<String> = numeric.dims.iter().map(usize::to_string).collect();
                write!(f, "{} {}", dims.join("x"), numeric.class)
            }
            Value::Text(_) => f.write_str("text"),
            Value::Struct(value) => {
                let fields: Vec<&str> = value.fields.iter().take(8).map(String::as_str).collect();
                write!(f, "struct with {}", fields.join(", "))
            }
            Value::Cell(cells) => write!(f, "cell of {}", cells.len()),
            Value::Other(what) => f.write_str(what),
        }
    }
}
