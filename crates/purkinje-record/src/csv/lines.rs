//! The lines of a text in any usual encoding, and their cells.

use std::io::{self, BufRead, BufReader, Read};
use std::ops::Range;

use encoding_rs::{CoderResult, Decoder, Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};

use crate::RecordError;
use crate::values::{FilePart, PartReader};

/// Bytes that are read at a time.
const READ_BYTES: usize = 1 << 18;
/// Bytes of the longest line that is read.
pub const MAX_LINE_BYTES: usize = 1 << 20;
/// Lines of the longest cell in quotes.
pub const MAX_CELL_LINES: usize = 8;
/// Bytes at the start of a text by which UTF-16 without a mark is told.
const GUESS_BYTES: usize = 512;

/// The encoding of a text that starts so, and the bytes of its mark: by the mark, else by the zeros that UTF-16 has in every other place,
/// else UTF-8 where it is that, else Windows-1252, which contains ISO 8859-1.
fn encoding(start: &[u8]) -> (&'static Encoding, usize) {
    if let Some(found) = Encoding::for_bom(start) {
        return found;
    }
    let pairs = || start[..start.len().min(GUESS_BYTES)].chunks_exact(2);
    let zeros = |at: usize| {
        pairs()
            .filter(|pair| pair[at] == 0 && pair[1 - at] != 0)
            .count()
    };
    let most = pairs().count() * 9 / 10;
    for (at, encoding) in [(1, UTF_16LE), (0, UTF_16BE)] {
        if most > 0 && zeros(at) >= most {
            return (encoding, 0);
        }
    }
    match std::str::from_utf8(start) {
        // Cut in the middle of a character.
        Err(error) if error.error_len().is_some() => (WINDOWS_1252, 0),
        _ => (UTF_8, 0),
    }
}

/// A file as UTF-8.
struct Decoded<'a> {
    part: PartReader<'a>,
    decoder: Decoder,
    raw: Vec<u8>,
    /// What of `raw` was read and not decoded.
    left: Range<usize>,
    end: bool,
    finished: bool,
}

impl Read for Decoded<'_> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        while !self.finished {
            if self.left.is_empty() && !self.end {
                let read = self.part.read(&mut self.raw)?;
                self.left = 0..read;
                self.end = read == 0;
            }
            let raw = &self.raw[self.left.clone()];
            let (result, read, written, _) = self.decoder.decode_to_utf8(raw, out, self.end);
            self.left.start += read;
            self.finished = self.end && result == CoderResult::InputEmpty;
            if written > 0 {
                return Ok(written);
            }
        }
        Ok(0)
    }
}

/// The lines of a file, whatever ends them.
pub(super) struct Lines<'a> {
    file: &'a FilePart,
    text: BufReader<Decoded<'a>>,
    /// How many were read.
    pub number: u64,
    /// Whether a carriage return ended the last one, to which a line feed may still belong.
    returned: bool,
}

impl<'a> Lines<'a> {
    pub fn of(file: &'a FilePart) -> Result<Lines<'a>, RecordError> {
        let start = file.read(0..file.len.min(super::MAX_HEAD_BYTES))?;
        let (encoding, mark) = encoding(&start);
        let decoded = Decoded {
            part: file.reader_from(mark.min(file.len)),
            decoder: encoding.new_decoder_without_bom_handling(),
            raw: vec![0; READ_BYTES],
            left: 0..0,
            end: false,
            finished: false,
        };
        Ok(Lines {
            file,
            text: BufReader::with_capacity(READ_BYTES, decoded),
            number: 0,
            returned: false,
        })
    }

    /// Reads the next line into `line`, without its end; `false` where there is none. One that is too long is cut.
    pub fn next(&mut self, line: &mut String) -> Result<bool, RecordError> {
        line.clear();
        self.more(line)
    }

    /// Adds the next line to `line`.
    fn more(&mut self, line: &mut String) -> Result<bool, RecordError> {
        let mut bytes = std::mem::take(line).into_bytes();
        let mut any = false;
        loop {
            let text = match self.text.fill_buf() {
                Ok(text) => text,
                Err(source) => {
                    return Err(RecordError::Io {
                        path: self.file.path.clone(),
                        source,
                    });
                }
            };
            let skip = usize::from(std::mem::take(&mut self.returned) && text.starts_with(b"\n"));
            let rest = &text[skip..];
            let end = rest.iter().position(|&b| b == b'\n' || b == b'\r');
            let own = &rest[..end.unwrap_or(rest.len())];
            any |= !rest.is_empty();
            // A byte more than the longest, so that it shows.
            let room = (MAX_LINE_BYTES + 1).saturating_sub(bytes.len());
            bytes.extend_from_slice(&own[..own.len().min(room)]);
            self.returned = end.is_some_and(|end| rest[end] == b'\r');
            let used = skip + own.len() + usize::from(end.is_some());
            let over = text.is_empty();
            self.text.consume(used);
            if end.is_some() || over {
                break;
            }
        }
        self.number += u64::from(any);
        // Cutting may have halved a character.
        *line = String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
        Ok(any)
    }

    /// Reads the next line and finds its cells; a cell in quotes may take several lines. `None`: there is no further line.
    ///
    /// # Errors
    /// When it is too long.
    pub fn row(
        &mut self,
        line: &mut String,
        separator: Separator,
        cells: &mut Vec<Range<usize>>,
    ) -> Result<bool, RecordError> {
        if !self.next(line)? {
            return Ok(false);
        }
        let mut lines = 1;
        while !split(line, separator, cells) && lines < MAX_CELL_LINES {
            line.push('\n');
            if !self.more(line)? {
                break;
            }
            lines += 1;
        }
        match line.len() > MAX_LINE_BYTES {
            true => Err(RecordError::TooLarge {
                path: self.file.path.clone(),
                what: "length of a line in bytes",
                found: line.len() as u64,
                limit: MAX_LINE_BYTES as u64,
            }),
            false => Ok(true),
        }
    }
}

/// What stands between cells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Separator {
    Mark(u8),
    /// Blanks and tabulators, as many as there are.
    Blank,
}

/// Finds the cells of a line, without quotes and blanks around them; `false` where a quote is open at its end.
pub(super) fn split(line: &str, separator: Separator, cells: &mut Vec<Range<usize>>) -> bool {
    cells.clear();
    let bytes = line.as_bytes();
    let parts = |b: u8| match separator {
        Separator::Mark(mark) => b == mark,
        Separator::Blank => b == b' ' || b == b'\t',
    };
    let blank = |b: u8| (b == b' ' || b == b'\t' || b == b'\n') && !parts(b);
    let trimmed = |mut range: Range<usize>| {
        while range.start < range.end && blank(bytes[range.start]) {
            range.start += 1;
        }
        while range.start < range.end && blank(bytes[range.end - 1]) {
            range.end -= 1;
        }
        range
    };
    let mut closed = true;
    // Quotes that nothing closes any more: they are not looked for again.
    let mut open = [false; 2];
    let mut at = 0;
    loop {
        while at < bytes.len()
            && (blank(bytes[at]) || separator == Separator::Blank && parts(bytes[at]))
        {
            at += 1;
        }
        if separator == Separator::Blank && at == bytes.len() {
            return closed;
        }
        let quote = bytes.get(at).copied().filter(|b| [b'"', b'\''].contains(b));
        let quoted = quote.and_then(|quote| {
            let open = &mut open[usize::from(quote == b'"')];
            let mut from = at + 1;
            if *open {
                return None;
            }
            // The quote that a separator or the end follows.
            while let Some(end) = bytes[from..].iter().position(|&b| b == quote) {
                let end = from + end;
                let next = (end + 1..bytes.len()).find(|&i| !blank(bytes[i]));
                if next.is_none_or(|next| parts(bytes[next])) {
                    return Some((at + 1..end, next.unwrap_or(bytes.len())));
                }
                from = end + 1;
            }
            *open = true;
            closed &= quote != b'"';
            None
        });
        let (cell, end) = quoted.unwrap_or_else(|| {
            let end = bytes[at..].iter().position(|&b| parts(b));
            let end = end.map_or(bytes.len(), |end| at + end);
            (at..end, end)
        });
        cells.push(trimmed(cell));
        if end == bytes.len() {
            return closed;
        }
        at = end + 1;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_are_told_by_mark_zeros_and_content() {
        let text = "time;I (\u{b5}V)\n0;1\n";
        let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert_eq!(encoding(&little), (UTF_16LE, 0));
        assert_eq!(encoding(&big), (UTF_16BE, 0));
        assert_eq!(
            encoding(&[&[0xff, 0xfe], &little[..]].concat()),
            (UTF_16LE, 2)
        );
        assert_eq!(encoding(text.as_bytes()), (UTF_8, 0));
        // Cut in the middle of the letter.
        assert_eq!(encoding(&text.as_bytes()[..9]), (UTF_8, 0));
        assert_eq!(encoding(b"time;I (\xb5V)"), (WINDOWS_1252, 0));
        assert_eq!(encoding(b""), (UTF_8, 0));
    }

    #[test]
    fn cells_are_found_whatever_quotes_them() {
        let cells = |line: &str, separator| {
            let mut cells = Vec::new();
            let closed = split(line, separator, &mut cells);
            let texts: Vec<String> = cells.into_iter().map(|c| line[c].to_owned()).collect();
            (texts.join("|"), closed)
        };
        let comma = Separator::Mark(b',');
        for (line, separator, expected, closed) in [
            ("a, b ,c,", comma, "a|b|c|", true),
            ("", comma, "", true),
            ("'0:00.000','a,b'", comma, "0:00.000|a,b", true),
            ("\"0,1\", \"-2,5\" ,'x\"", comma, "0,1|-2,5|'x\"", true),
            (
                "the patient's, 'not, closed",
                comma,
                "the patient's|'not|closed",
                true,
            ),
            ("a,\"b", comma, "a|\"b", false),
            ("a\tb c\t\td", Separator::Mark(b'\t'), "a|b c||d", true),
            ("  1.0\t 2,5  3 ", Separator::Blank, "1.0|2,5|3", true),
            ("'Elapsed time' I", Separator::Blank, "Elapsed time|I", true),
            ("   ", Separator::Blank, "", true),
        ] {
            assert_eq!(
                cells(line, separator),
                (expected.to_owned(), closed),
                "{line}"
            );
        }
    }
}
