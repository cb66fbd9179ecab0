//! What stands at the end of a Parquet file: columns, groups of rows, where their pages lie.
//!
//! Field numbers are those of <https://github.com/apache/parquet-format/blob/master/src/main/thrift/parquet.thrift>.

use super::thrift::{BINARY, FALSE, Fault, I32, I64, LIST, STRUCT, TRUE, Thrift};

/// Pieces of columns (columns times groups of rows) of the largest table that is read.
pub const MAX_CHUNKS: usize = 1 << 18;
/// Elements of the schema of the largest table that is read, groups and their members counted.
pub const MAX_ELEMENTS: usize = 1 << 16;

/// Names of the sampling rate in hertz among the writer's texts, and of the unit of the samples.
pub(super) const NOTES: [&str; 5] = ["rate_hz", "fs", "sampling_rate", "sample_rate", "unit"];

/// The footer.
#[derive(Debug, Default)]
pub(super) struct Footer {
    /// The columns at the top; those that hold others stand for them.
    pub columns: Vec<Column>,
    pub groups: Vec<Group>,
    /// Name and text of what the writer says about the samples.
    notes: Vec<(String, String)>,
}

impl Footer {
    /// What the writer says about the table under this name, one of [`NOTES`].
    pub fn note(&self, name: &str) -> Option<&str> {
        let note = self.notes.iter().find(|(key, _)| key == name);
        note.map(|(_, value)| value.as_str())
    }
}

/// A column at the top of the schema.
#[derive(Debug)]
pub(super) struct Column {
    pub name: String,
    /// `None`: it is nested, or holds no numbers.
    pub kind: Option<Kind>,
    pub optional: bool,
    /// Seconds of a step, when it holds points in time.
    pub tick_s: Option<f64>,
    /// Which of the leaves of the schema it is, as groups of rows list them.
    pub leaf: usize,
    /// What it holds, for messages.
    pub holds: &'static str,
}

/// How a number is stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    I32,
    U32,
    I64,
    U64,
    F16,
    F32,
    F64,
}

/// A group of rows.
#[derive(Debug, Default)]
pub(super) struct Group {
    pub rows: usize,
    pub chunks: Vec<Chunk>,
}

/// Where the pages of one column in one group of rows lie.
#[derive(Debug, Default)]
pub(super) struct Chunk {
    pub kind: u8,
    pub codec: u8,
    pub at: usize,
    pub bytes: usize,
}

#[derive(Default)]
struct Element {
    name: String,
    kind: Option<i64>,
    width: usize,
    repetition: i64,
    children: usize,
    converted: Option<i64>,
    unsigned: bool,
    float16: bool,
    decimal: bool,
    tick_s: Option<f64>,
}

/// Reads the footer.
pub(super) fn read(bytes: &[u8]) -> Result<Footer, Fault> {
    let mut footer = Footer::default();
    let mut elements = Vec::new();
    let mut chunks = 0;
    Thrift::new(bytes).structure(&mut |t, id, kind| {
        match (id, kind) {
            (2, LIST) => t.list(STRUCT, &mut |t| {
                if elements.len() >= MAX_ELEMENTS {
                    return Err(format!("a schema of more than {MAX_ELEMENTS} elements"));
                }
                elements.push(element(t)?);
                Ok(())
            })?,
            (4, LIST) => t.list(STRUCT, &mut |t| {
                // A group costs memory as a piece does.
                count(&mut chunks)?;
                footer.groups.push(group(t, &mut chunks)?);
                Ok(())
            })?,
            (5, LIST) => t.list(STRUCT, &mut |t| {
                let (key, value) = note(t)?;
                // The first of each name, which keeps just these.
                if NOTES.contains(&key.as_str()) && footer.note(&key).is_none() {
                    footer.notes.push((key, value));
                }
                Ok(())
            })?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    footer.columns = columns(elements)?;
    Ok(footer)
}

/// Passes over the leaves of the schema in the order in which groups of rows list them.
fn columns(elements: Vec<Element>) -> Result<Vec<Column>, Fault> {
    let mut elements = elements.into_iter();
    let root = elements.next().ok_or("no schema")?;
    let mut columns = Vec::new();
    let mut leaf = 0;
    for _ in 0..root.children {
        let element = elements.next().ok_or("a schema that is cut off")?;
        let first = leaf;
        // Elements that are still to come below this one.
        let mut below = element.children;
        if below == 0 {
            leaf += 1;
        }
        while below > 0 {
            let inner = elements.next().ok_or("a schema that is cut off")?;
            below = (below - 1)
                .checked_add(inner.children)
                .ok_or("a schema that is cut off")?;
            leaf += usize::from(inner.children == 0);
        }
        let (kind, holds) = element.kind();
        columns.push(Column {
            name: element.name,
            kind,
            optional: element.repetition == 1,
            tick_s: element.tick_s,
            leaf: first,
            holds,
        });
    }
    Ok(columns)
}

impl Element {
    fn kind(&self) -> (Option<Kind>, &'static str) {
        if self.children > 0 || self.repetition == 2 {
            return (None, "lists or structures");
        }
        if self.decimal || self.converted == Some(5) {
            return (None, "decimals");
        }
        // Dates and times of day are no samples; points in time are, for the column of times.
        if matches!(self.converted, Some(6..=8)) {
            return (None, "dates");
        }
        let unsigned = self.unsigned || matches!(self.converted, Some(11..=14));
        match self.kind {
            Some(0) => (None, "true and false"),
            Some(1) if unsigned => (Some(Kind::U32), "numbers"),
            Some(1) => (Some(Kind::I32), "numbers"),
            Some(2) if unsigned => (Some(Kind::U64), "numbers"),
            Some(2) => (Some(Kind::I64), "numbers"),
            Some(3) => (None, "points in time of 96 bits"),
            Some(4) => (Some(Kind::F32), "numbers"),
            Some(5) => (Some(Kind::F64), "numbers"),
            Some(7) if self.float16 && self.width == 2 => (Some(Kind::F16), "numbers"),
            _ => (None, "texts"),
        }
    }
}

fn element(t: &mut Thrift<'_>) -> Result<Element, Fault> {
    let mut out = Element::default();
    t.structure(&mut |t, id, kind| {
        match (id, kind) {
            (1, I32) => out.kind = Some(t.integer()?),
            (2, I32) => out.width = t.size()?,
            (3, I32) => out.repetition = t.integer()?,
            (4, BINARY) => out.name = t.text()?,
            (5, I32) => out.children = t.size()?,
            (6, I32) => {
                let converted = t.integer()?;
                out.converted = Some(converted);
                match converted {
                    9 => out.tick_s = Some(1e-3),
                    10 => out.tick_s = Some(1e-6),
                    _ => {}
                }
            }
            (10, STRUCT) => logical(t, &mut out)?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(out)
}

fn logical(t: &mut Thrift<'_>, out: &mut Element) -> Result<(), Fault> {
    t.structure(&mut |t, id, kind| {
        match (id, kind) {
            (5, STRUCT) => out.decimal = true,
            (6 | 7, STRUCT) => out.converted = Some(6),
            (15, STRUCT) => out.float16 = true,
            (8, STRUCT) => {
                t.structure(&mut |t, id, kind| {
                    if (id, kind) != (2, STRUCT) {
                        return Ok(false);
                    }
                    t.structure(&mut |_, id, _| {
                        out.tick_s = match id {
                            1 => Some(1e-3),
                            2 => Some(1e-6),
                            _ => Some(1e-9),
                        };
                        Ok(false)
                    })?;
                    Ok(true)
                })?;
                return Ok(true);
            }
            (10, STRUCT) => {
                t.structure(&mut |_, id, kind| {
                    if id == 2 && (kind == TRUE || kind == FALSE) {
                        out.unsigned = kind == FALSE;
                    }
                    Ok(false)
                })?;
                return Ok(true);
            }
            _ => {}
        }
        Ok(false)
    })
}

fn group(t: &mut Thrift<'_>, chunks: &mut usize) -> Result<Group, Fault> {
    let mut out = Group::default();
    t.structure(&mut |t, id, kind| {
        match (id, kind) {
            (1, LIST) => t.list(STRUCT, &mut |t| {
                count(chunks)?;
                out.chunks.push(chunk(t)?);
                Ok(())
            })?,
            (3, I64) => out.rows = t.size()?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok(out)
}

fn count(chunks: &mut usize) -> Result<(), Fault> {
    *chunks += 1;
    if *chunks > MAX_CHUNKS {
        return Err(format!(
            "more than {MAX_CHUNKS} pieces of columns; write larger groups of rows"
        ));
    }
    Ok(())
}

fn chunk(t: &mut Thrift<'_>) -> Result<Chunk, Fault> {
    let mut out = Chunk::default();
    let mut seen = false;
    t.structure(&mut |t, id, kind| {
        match (id, kind) {
            (1, BINARY) => {
                if !t.text()?.is_empty() {
                    return Err("a column in another file, which is not opened".into());
                }
            }
            (3, STRUCT) => {
                seen = true;
                let mut dictionary = None;
                t.structure(&mut |t, id, kind| {
                    match (id, kind) {
                        (1, I32) => out.kind = small(t)?,
                        (4, I32) => out.codec = small(t)?,
                        (7, I64) => out.bytes = t.size()?,
                        (9, I64) => out.at = t.size()?,
                        (11, I64) => dictionary = Some(t.size()?),
                        _ => return Ok(false),
                    }
                    Ok(true)
                })?;
                // Some writers put 0 for a dictionary that there is not.
                out.at = dictionary
                    .filter(|&at| at > 0)
                    .unwrap_or(out.at)
                    .min(out.at);
            }
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    if !seen {
        return Err("a column without its place (perhaps it is encrypted)".into());
    }
    Ok(out)
}

fn note(t: &mut Thrift<'_>) -> Result<(String, String), Fault> {
    let mut key = String::new();
    let mut value = String::new();
    t.structure(&mut |t, id, kind| {
        match (id, kind) {
            (1, BINARY) => key = t.text()?,
            (2, BINARY) => value = t.text()?,
            _ => return Ok(false),
        }
        Ok(true)
    })?;
    Ok((key, value))
}

fn small(t: &mut Thrift<'_>) -> Result<u8, Fault> {
    let value = t.integer()?;
    u8::try_from(value).map_err(|_| format!("the code {value}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_rows_without_columns_are_counted_as_well() {
        // Field 4, a list of structures; how many, in groups of seven bits; each of them empty.
        let footer = |groups: usize| {
            let digits = [14, 7, 0].map(|shift| (groups >> shift & 127) as u8);
            let head = [0x49, 0xfc, digits[2] | 128, digits[1] | 128, digits[0]];
            [&head[..], &vec![0; groups + 1]].concat()
        };
        let fault = |groups| read(&footer(groups)).unwrap_err();
        assert_eq!(fault(MAX_CHUNKS), "no schema");
        assert!(fault(MAX_CHUNKS + 1).contains("pieces of columns"));
    }
}
