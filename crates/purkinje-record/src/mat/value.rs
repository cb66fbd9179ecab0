//! Values of MATLAB.

use std::fmt;

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
    bytes: Vec<u8>,
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
        bytes: Vec<u8>,
    ) -> Self {
        Numeric {
            dims,
            class,
            stored,
            big_endian,
            bytes,
        }
    }

    /// How many values there are.
    pub fn len(&self) -> usize {
        self.bytes.len() / self.stored.bytes()
    }

    /// Whether there is no value.
    pub fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    /// The value at `index`, counted column by column.
    pub fn get(&self, index: usize) -> Option<f64> {
        let size = self.stored.bytes();
        let start = index.checked_mul(size)?;
        let stored = self.bytes.get(start..start.checked_add(size)?)?;
        let mut bytes = [0u8; 8];
        bytes[..size].copy_from_slice(stored);
        if self.big_endian {
            bytes[..size].reverse();
        }
        let [a, b, c, d, ..] = bytes;
        Some(match self.stored {
            Class::Double => f64::from_le_bytes(bytes),
            Class::Single => f64::from(f32::from_le_bytes([a, b, c, d])),
            Class::Int8 => f64::from(a as i8),
            Class::Uint8 => f64::from(a),
            Class::Int16 => f64::from(i16::from_le_bytes([a, b])),
            Class::Uint16 => f64::from(u16::from_le_bytes([a, b])),
            Class::Int32 => f64::from(i32::from_le_bytes([a, b, c, d])),
            Class::Uint32 => f64::from(u32::from_le_bytes([a, b, c, d])),
            Class::Int64 => i64::from_le_bytes(bytes) as f64,
            Class::Uint64 => u64::from_le_bytes(bytes) as f64,
        })
    }

    /// All values as f64, column by column.
    pub fn to_f64(&self) -> Vec<f64> {
        (0..self.len())
            .filter_map(|index| self.get(index))
            .collect()
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
    pub(super) fn bytes(self) -> usize {
        match self {
            Class::Int8 | Class::Uint8 => 1,
            Class::Int16 | Class::Uint16 => 2,
            Class::Single | Class::Int32 | Class::Uint32 => 4,
            Class::Double | Class::Int64 | Class::Uint64 => 8,
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
