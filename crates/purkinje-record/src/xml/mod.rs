//! Recordings as XML: GE MUSE, Philips Sierra, HL7 aECG, told apart by the root element.

use std::path::Path;

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};

use crate::error::content;
use crate::privacy::Identifiers;
use crate::wfdb::files;
use crate::{OpenOptions, RecordError, Recording};

mod aecg;
mod encoding;
mod muse;
mod sierra;
mod tree;
mod xli;

pub(crate) use encoding::decode;
use tree::MAX_XML_BYTES;

/// The root elements that are understood, and what they mean.
const ROOTS: [(&str, &str); 3] = [
    ("RestingECG", "GE MUSE"),
    ("restingecgdata", "Philips Sierra"),
    ("AnnotatedECG", "HL7 aECG"),
];

/// The elements about the patient, in all three.
const PERSONS: [&str; 3] = ["PatientDemographics", "generalpatientdata", "trialSubject"];

pub(crate) fn open(path: &Path, options: &OpenOptions) -> Result<Recording, RecordError> {
    let bytes = files::read_small(path, MAX_XML_BYTES, "size in bytes")?;
    let text = decode(bytes);
    let document = tree::Document::parse(path, &text)?;
    let root = document.root();
    let mut recording = match root.name() {
        "RestingECG" => muse::read(path, root, options)?,
        "restingecgdata" => sierra::read(path, root, options)?,
        "AnnotatedECG" => aecg::read(path, root, options)?,
        other => {
            let known = ROOTS.map(|(name, kind)| format!("`{name}` ({kind})"));
            return Err(content(
                path,
                "the root element",
                &format!("`{other}`"),
                &format!("one of {}", known.join(", ")),
            ));
        }
    };
    let mut identifiers = Identifiers::default();
    for name in PERSONS {
        for person in root.descendants(name) {
            identify(person, &mut identifiers);
        }
    }
    identifiers.remove_from(&mut recording);
    Ok(recording)
}

/// Notes who the patient is, from everything inside an element about a person.
fn identify(element: tree::Element<'_, '_>, found: &mut Identifiers) {
    for child in element.children() {
        let name = child.name().to_ascii_lowercase();
        if name.contains("birth") {
            found.born(child.text());
            found.born(&child.attribute("value").unwrap_or_default());
        } else if name.ends_with("name") || matches!(name.as_str(), "given" | "family") {
            found.name(child.text());
        } else if name.ends_with("id")
            || name.ends_with("number")
            || matches!(name.as_str(), "mrn" | "ssn")
        {
            found.number(child.text());
            found.number(&child.attribute("extension").unwrap_or_default());
        }
        // No deeper than MAX_DEPTH.
        identify(child, found);
    }
}

/// Whether the start of a document shows one of the root elements that are understood, or none at all.
pub(crate) fn is_recording(start: Vec<u8>) -> bool {
    let mut rest = decode(start);
    // The first thing that is neither declaration, comment nor document type.
    while let Some(at) = rest.find('<') {
        rest.drain(..at);
        let skip = if rest.starts_with("<!--") {
            rest.find("-->")
        } else if rest.starts_with("<?") || rest.starts_with("<!") {
            rest.find('>')
        } else {
            let name: String = rest
                .chars()
                .skip(1)
                .take_while(|c| !c.is_whitespace() && !matches!(c, '>' | '/'))
                .collect();
            let local = name.rsplit(':').next().unwrap_or("");
            return ROOTS.iter().any(|(root, _)| *root == local);
        };
        match skip {
            Some(end) => rest.drain(..end + 1),
            None => return true,
        };
    }
    true
}

/// Bytes written as base64, with line breaks and blanks anywhere.
fn base64(path: &Path, field: &str, text: &str) -> Result<Vec<u8>, RecordError> {
    // Padding is left out by some writers.
    const ENGINE: GeneralPurpose = GeneralPurpose::new(
        &STANDARD,
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
    );
    let dense: Vec<u8> = text.bytes().filter(|b| !b.is_ascii_whitespace()).collect();
    ENGINE.decode(&dense).map_err(|error| {
        content(
            path,
            field,
            &error.to_string(),
            "bytes in base64; the file may be damaged, copy it again",
        )
    })
}

/// Pairs of bytes as numbers, the low byte first. A byte left over is dropped; callers compare the length before.
fn little_endian(bytes: &[u8]) -> impl ExactSizeIterator<Item = i32> + Clone + '_ {
    bytes
        .chunks_exact(2)
        .map(|pair| i32::from(i16::from_le_bytes([pair[0], pair[1]])))
}

/// A 16-bit sample; nothing for the lowest code, which stands for a missing one as in other formats.
fn present(sample: i32) -> Option<i32> {
    (sample != i32::from(i16::MIN)).then_some(sample)
}

/// A number written in an element or attribute.
fn number(path: &Path, field: &str, text: &str) -> Result<f64, RecordError> {
    let value: Option<f64> = text.trim().parse().ok();
    value
        .filter(|value| value.is_finite())
        .ok_or_else(|| content(path, field, &format!("`{}`", text.trim()), "a number"))
}

/// Lines of a report; `None` when there are none.
fn report(lines: Vec<String>) -> Option<String> {
    let lines: Vec<String> = lines.into_iter().filter(|line| !line.is_empty()).collect();
    (!lines.is_empty()).then(|| lines.join("\n"))
}
