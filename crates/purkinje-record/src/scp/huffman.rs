//! Huffman tables (section 2) and the samples that are coded with them.

/// Code structures of all tables of a file, which bounds the memory that they take.
pub const MAX_CODES: usize = 4096;

/// Stands for the table that the standard itself gives.
const DEFAULT: u16 = 19_999;
/// Bytes of a code structure.
const CODE_BYTES: usize = 9;
/// The longest prefix in bits.
const MAX_PREFIX: u8 = 32;
/// The longest sample behind a prefix in bits.
const MAX_REST: u8 = 16;

/// What is wrong: the field, what was found, what was expected.
pub type Fault = (String, String, String);

/// What the bits of a prefix stand for.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Meaning {
    /// A sample: this value and a signed number of so many bits.
    Sample { base: i16, rest: u8 },
    /// From here on the table with this index counts.
    Table(usize),
}

/// A table as a tree: what follows on a bit of 0 and of 1.
#[derive(Debug, Default)]
struct Tree {
    nodes: Vec<[Next; 2]>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Next {
    #[default]
    Nothing,
    Node(usize),
    Is(Meaning),
}

impl Tree {
    /// Adds a prefix of `bits` bits, the first one in the lowest bit of `code`; `None` where it and another begin alike.
    fn add(&mut self, code: u32, bits: u8, meaning: Meaning) -> Option<()> {
        if self.nodes.is_empty() {
            self.nodes.push(Default::default());
        }
        let mut at = 0;
        for bit in 0..bits {
            let branch = (code >> bit & 1) as usize;
            let next = self.nodes[at][branch];
            at = match next {
                Next::Nothing if bit + 1 == bits => {
                    self.nodes[at][branch] = Next::Is(meaning);
                    return Some(());
                }
                Next::Nothing => {
                    let new = self.nodes.len();
                    self.nodes[at][branch] = Next::Node(new);
                    self.nodes.push(Default::default());
                    new
                }
                Next::Node(next) => next,
                Next::Is(_) => return None,
            };
        }
        None
    }

    /// The table that the standard gives: 0 is no bit but `0`; 1 to 8 are so many ones, a zero and the sign; ten bits announce
    /// numbers of 8 and of 16 bits.
    fn default_table() -> Tree {
        let mut tree = Tree::default();
        let mut add = |code, bits, base, rest| {
            let added = tree.add(code, bits, Meaning::Sample { base, rest });
            debug_assert!(added.is_some());
        };
        add(0, 1, 0, 0);
        for size in 1..=8_u8 {
            let ones = (1 << size) - 1;
            add(ones, size + 2, i16::from(size), 0);
            add(ones | 2 << size, size + 2, -i16::from(size), 0);
        }
        add(0x1ff, 10, 0, 8);
        add(0x3ff, 10, 0, 16);
        tree
    }
}

/// The Huffman tables of a file; decoding begins with the first.
#[derive(Debug)]
pub struct Tables(Vec<Tree>);

impl Tables {
    /// The tables of section 2, without its header.
    ///
    /// # Errors
    /// When there is no table or none of that form, or codes of one table begin alike.
    pub fn read(body: &[u8]) -> Result<Tables, Fault> {
        let u16_at = |at: usize| {
            let bytes = body.get(at..at + 2)?;
            Some(u16::from_le_bytes([bytes[0], bytes[1]]))
        };
        let fault = |field: &str, found: String, expected: &str| {
            let field = format!("section 2 (Huffman tables), {field}");
            (field, found, expected.to_owned())
        };
        let ends = |table: usize| {
            fault(
                &format!("table {}", table + 1),
                format!("cut after {} bytes of the section", body.len()),
                "tables as long as their number of codes says; copy the file again",
            )
        };
        let count = match u16_at(0) {
            Some(DEFAULT) => return Ok(Tables(vec![Tree::default_table()])),
            Some(count) if count > 0 => usize::from(count),
            found => {
                let found = found.map_or("absent".to_owned(), |count| count.to_string());
                let expected = "1 or more, or 19999 for the table of the standard";
                return Err(fault("the number of tables", found, expected));
            }
        };
        let mut trees = Vec::new();
        let (mut at, mut left) = (2, MAX_CODES);
        for table in 0..count {
            let codes = usize::from(u16_at(at).ok_or_else(|| ends(table))?);
            at += 2;
            let (structures, rest) = body[at..]
                .split_at_checked(codes * CODE_BYTES)
                .ok_or_else(|| ends(table))?;
            at = body.len() - rest.len();
            left = left.checked_sub(codes.max(1)).ok_or_else(|| {
                let found = format!("more than {MAX_CODES}");
                fault("the number of codes of all tables", found, "a few hundred")
            })?;
            let mut tree = Tree::default();
            for (number, code) in structures.chunks_exact(CODE_BYTES).enumerate() {
                let field = format!("code {} of table {}", number + 1, table + 1);
                add(&mut tree, code, count)
                    .map_err(|(found, expected)| fault(&field, found, expected))?;
            }
            trees.push(tree);
        }
        Ok(Tables(trees))
    }

    /// The first `count` samples in `data`, and the bytes behind the last one.
    ///
    /// # Errors
    /// What is wrong, when the bits end before, or are no code.
    pub fn decode<'d>(&self, data: &'d [u8], count: usize) -> Result<(Vec<i32>, &'d [u8]), String> {
        let mut bits = Bits { data, at: 0 };
        // A sample takes one bit or more.
        let mut samples = Vec::with_capacity(count.min(8 * data.len()));
        let mut table = &self.0[0];
        while samples.len() < count {
            let ended = || format!("ends after {} of {count} samples", samples.len());
            let mut node = 0;
            let meaning = loop {
                let bit = bits.next().ok_or_else(ended)?;
                let next = table.nodes.get(node).map(|next| next[bit as usize]);
                match next.unwrap_or_default() {
                    Next::Is(meaning) => break meaning,
                    Next::Node(next) => node = next,
                    Next::Nothing => {
                        return Err(format!(
                            "has bits that are no code after {} of {count} samples",
                            samples.len()
                        ));
                    }
                }
            };
            match meaning {
                Meaning::Table(index) => table = &self.0[index],
                Meaning::Sample { base, rest } => {
                    let mut value = 0_i32;
                    for place in 0..rest {
                        let bit = bits.next().ok_or_else(ended)? as i32;
                        // The first bit is the sign.
                        value = value << 1 | if place == 0 { -bit } else { bit };
                    }
                    samples.push(i32::from(base) + value);
                }
            }
        }
        Ok((samples, &data[bits.at.div_ceil(8)..]))
    }
}

/// Adds a code structure of nine bytes; else what was found and what was expected.
fn add(tree: &mut Tree, code: &[u8], tables: usize) -> Result<(), (String, &'static str)> {
    let (prefix, total) = (code[0], code[1]);
    let base = i16::from_le_bytes([code[3], code[4]]);
    let bits = u32::from_le_bytes([code[5], code[6], code[7], code[8]]);
    let rest = total.checked_sub(prefix).filter(|&rest| rest <= MAX_REST);
    let (Some(rest), 1..=MAX_PREFIX) = (rest, prefix) else {
        return Err((
            format!("a prefix of {prefix} of {total} bits"),
            "1 to 32 bits of a prefix and at most 16 more",
        ));
    };
    let meaning = match code[2] {
        1 => Meaning::Sample { base, rest },
        0 => match usize::try_from(base) {
            Ok(table) if (1..=tables).contains(&table) => Meaning::Table(table - 1),
            _ => return Err((format!("a switch to table {base}"), "a table of the file")),
        },
        other => return Err((format!("of mode {other}"), "1 (a sample) or 0 (a switch)")),
    };
    let alike = "begins as another code of its table does";
    tree.add(bits, prefix, meaning)
        .ok_or((alike.to_owned(), "codes of which none begins another"))
}

/// Bits of bytes, the highest of a byte first.
struct Bits<'d> {
    data: &'d [u8],
    at: usize,
}

impl Iterator for Bits<'_> {
    type Item = u8;

    fn next(&mut self) -> Option<u8> {
        let byte = *self.data.get(self.at / 8)?;
        let bit = byte >> (7 - self.at % 8) & 1;
        self.at += 1;
        Some(bit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes of bits written as text.
    fn bytes(bits: &str) -> Vec<u8> {
        let bits: Vec<u8> = bits.bytes().filter(|b| b"01".contains(b)).collect();
        let byte = |bits: &[u8]| {
            let value = bits.iter().fold(0, |value, bit| value << 1 | (bit - b'0'));
            value << (8 - bits.len())
        };
        bits.chunks(8).map(byte).collect()
    }

    fn code(prefix: u8, total: u8, mode: u8, base: i16, bits: u32) -> Vec<u8> {
        let mut code = vec![prefix, total, mode];
        code.extend(base.to_le_bytes());
        code.extend(bits.to_le_bytes());
        code
    }

    #[test]
    fn the_default_table_is_that_of_the_standard() {
        let tables = Tables::read(&DEFAULT.to_le_bytes()).unwrap();
        let data = bytes(
            "0 100 101 1100 1101 1111111100 1111111101 \
             1111111110 10000000 1111111110 01111111 1111111111 1000000000000000 0",
        );
        let (samples, rest) = tables.decode(&data, 11).unwrap();
        assert_eq!(samples, [0, 1, -1, 2, -2, 8, -8, -128, 127, -32768, 0]);
        assert!(rest.is_empty());
        assert!(tables.decode(&data[..3], 11).unwrap_err().contains("of 11"));
    }

    #[test]
    fn tables_of_a_file_may_switch() {
        let mut body = vec![2, 0, 2, 0];
        body.extend(code(1, 1, 1, 5, 0));
        body.extend(code(2, 2, 0, 2, 0b01));
        body.extend([2, 0]);
        body.extend(code(1, 5, 1, -3, 1));
        body.extend(code(2, 2, 0, 1, 0b10));
        let tables = Tables::read(&body).unwrap();
        // 5, to table 2, -3 + 7, -3 - 8, to table 1, 5.
        let data = bytes("0 10 1 0111 1 1000 01 0 00000000 1");
        let (samples, rest) = tables.decode(&data, 4).unwrap();
        assert_eq!(samples, [5, 4, -11, 5]);
        assert_eq!(rest, [0, 0x80]);
        let no_code = tables.decode(&bytes("11"), 1).unwrap_err();
        assert!(no_code.contains("no code"), "{no_code}");
    }

    #[test]
    fn tables_that_say_nothing_are_refused() {
        let table = |codes: &[Vec<u8>]| {
            let mut body = vec![1, 0, codes.len() as u8, 0];
            body.extend(codes.iter().flatten());
            body
        };
        let fault = |body: &[u8]| {
            let (field, found, expected) = Tables::read(body).unwrap_err();
            format!("{field} is {found}; expected {expected}")
        };
        for (body, part) in [
            (vec![], "absent"),
            (vec![0, 0], "is 0"),
            (vec![1, 0], "cut"),
            (table(&[code(1, 1, 1, 0, 0)])[..9].to_vec(), "cut"),
            (table(&[code(0, 1, 1, 0, 0)]), "a prefix of 0"),
            (table(&[code(33, 33, 1, 0, 0)]), "a prefix of 33"),
            (table(&[code(3, 2, 1, 0, 0)]), "a prefix of 3 of 2"),
            (table(&[code(2, 19, 1, 0, 0)]), "of 19 bits"),
            (table(&[code(1, 1, 0, 2, 0)]), "switch to table 2"),
            (table(&[code(1, 1, 0, -1, 0)]), "switch to table -1"),
            (table(&[code(1, 1, 2, 0, 0)]), "mode 2"),
            (
                table(&[code(1, 1, 1, 0, 0), code(2, 2, 1, 0, 2)]),
                "begins as",
            ),
            (
                table(&[code(2, 2, 1, 0, 2), code(1, 1, 1, 0, 0)]),
                "begins as",
            ),
            (vec![255, 255], "cut"),
            ([&[255, 255][..], &[0; 2 * 5000]].concat(), "more than 4096"),
        ] {
            let message = fault(&body);
            assert!(message.contains(part), "`{part}` is not in {message}");
        }
        // Without a code nothing can be decoded, and nothing goes wrong.
        assert!(
            Tables::read(&[1, 0, 0, 0])
                .unwrap()
                .decode(&[0], 1)
                .is_err()
        );
    }
}
