//! The characters of an XML document.

use std::borrow::Cow;

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE};

/// Bytes in which an encoding is declared, at the start of a document.
const DECLARATION_BYTES: usize = 256;

/// The text of a document, by its byte order mark, its first bytes or its declaration, in this order; UTF-8 when nothing is said.
///
/// Bytes that are no characters become U+FFFD: real files declare the wrong encoding now and then, and a garbled name does not
/// make the samples wrong.
pub(crate) fn decode(bytes: Vec<u8>) -> String {
    let (encoding, mark) = Encoding::for_bom(&bytes).unwrap_or_else(|| (guess(&bytes), 0));
    let body = bytes.get(mark..).unwrap_or(&[]);
    if encoding == UTF_8 && mark == 0 {
        return String::from_utf8(bytes)
            .unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned());
    }
    let (text, _) = encoding.decode_without_bom_handling(body);
    match text {
        Cow::Owned(text) => text,
        Cow::Borrowed(text) => text.to_owned(),
    }
}

/// The encoding of a document without a byte order mark.
fn guess(bytes: &[u8]) -> &'static Encoding {
    match bytes {
        [b'<', 0, ..] => return UTF_16LE,
        [0, b'<', ..] => return UTF_16BE,
        _ => {}
    }
    let start = bytes.get(..DECLARATION_BYTES).unwrap_or(bytes);
    let start = String::from_utf8_lossy(start);
    let declared = start
        .split_once("?>")
        .and_then(|(declaration, _)| declaration.split_once("encoding"))
        .and_then(|(_, rest)| rest.trim_start().strip_prefix('='))
        .map(str::trim_start)
        .and_then(|rest| {
            let quote = rest.chars().next().filter(|c| matches!(c, '"' | '\''))?;
            rest.get(1..)?.split(quote).next()
        })
        .and_then(|label| Encoding::for_label(label.as_bytes()));
    match declared {
        // A declaration that can be read byte by byte is not UTF-16, whatever it says: the file was converted.
        Some(encoding) if encoding != UTF_16LE && encoding != UTF_16BE => encoding,
        _ => UTF_8,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn encodings_are_told_by_mark_bytes_and_declaration() {
        let text = "<?xml version=\"1.0\" encoding=\"UTF-16\"?><a>\u{e4}</a>";
        let little: Vec<u8> = text.encode_utf16().flat_map(u16::to_le_bytes).collect();
        let big: Vec<u8> = text.encode_utf16().flat_map(u16::to_be_bytes).collect();
        assert_eq!(decode(little.clone()), text);
        assert_eq!(decode(big.clone()), text);
        assert_eq!(decode([&[0xff, 0xfe], &little[..]].concat()), text);
        assert_eq!(decode([&[0xfe, 0xff], &big[..]].concat()), text);
        assert_eq!(decode(text.as_bytes().to_vec()), text);
        assert_eq!(decode([b"\xef\xbb\xbf", text.as_bytes()].concat()), text);
        let latin = b"<?xml version='1.0' encoding = 'ISO-8859-1' ?><a>\xe4</a>".to_vec();
        assert!(decode(latin).ends_with("<a>\u{e4}</a>"));
        assert_eq!(decode(b"<a>\xe4</a>".to_vec()), "<a>\u{fffd}</a>");
    }
}
