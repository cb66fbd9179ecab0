//! An XML document as a tree of elements, within bounds.
//!
//! What is not needed to read a recording is refused rather than understood: a document that declares entities (they can be
//! made to expand without end, or to read other files) is an error, and nothing outside the document is ever opened.

use std::borrow::Cow;
use std::path::Path;

use quick_xml::events::{BytesStart, Event};
use quick_xml::{Reader, XmlVersion};

use crate::RecordError;
use crate::error::content;

/// Bytes of the largest XML document that is read.
pub const MAX_XML_BYTES: u64 = 1 << 26;
/// Elements of the largest document that is read.
pub const MAX_ELEMENTS: usize = 250_000;
/// Elements inside each other.
pub const MAX_DEPTH: usize = 128;

/// No element.
const NONE: u32 = u32::MAX;

/// A document, decoded to UTF-8 before.
pub(super) struct Document<'a> {
    nodes: Vec<Node<'a>>,
}

struct Node<'a> {
    /// Name and attributes as written.
    tag: &'a str,
    name_len: u32,
    first_child: u32,
    next: u32,
    text: Cow<'a, str>,
}

/// An element of a document.
#[derive(Clone, Copy)]
pub(super) struct Element<'d, 'a> {
    document: &'d Document<'a>,
    index: u32,
}

impl<'a> Document<'a> {
    pub fn parse(path: &Path, text: &'a str) -> Result<Document<'a>, RecordError> {
        let mut reader = Reader::from_str(text);
        let mut nodes: Vec<Node<'a>> = Vec::new();
        // The open elements, each with its last child.
        let mut open: Vec<(u32, u32)> = Vec::new();
        loop {
            let event = reader.read_event().map_err(|error| {
                let line = line_of(text, reader.error_position());
                broken(path, line, &error.to_string())
            })?;
            let end = usize::try_from(reader.buffer_position()).unwrap_or(usize::MAX);
            let here = || line_of(text, end as u64);
            match event {
                Event::Start(tag) => {
                    let node = Node::new(text, &tag, end.saturating_sub(1));
                    let index = attach(path, &mut nodes, &mut open, node, here)?;
                    if open.len() >= MAX_DEPTH {
                        return Err(too_large(path, "depth of elements", MAX_DEPTH));
                    }
                    open.push((index, NONE));
                }
                Event::Empty(tag) => {
                    let node = Node::new(text, &tag, end.saturating_sub(2));
                    attach(path, &mut nodes, &mut open, node, here)?;
                }
                Event::End(_) => {
                    open.pop();
                }
                Event::Text(piece) => add(&mut nodes, &open, piece.into_inner()),
                Event::CData(piece) => add(&mut nodes, &open, piece.into_inner()),
                Event::GeneralRef(reference) => {
                    let character = reference.resolve_char_ref().ok().flatten();
                    let piece = match character {
                        Some(character) => Cow::Owned(character.to_string()),
                        None => quick_xml::escape::resolve_predefined_entity(&reference)
                            .map(Cow::Borrowed)
                            .ok_or_else(|| {
                                let found = format!("the entity `&{};`", &*reference);
                                content(
                                    path,
                                    &format!("line {}", here()),
                                    &found,
                                    "no other entities than &lt; &gt; &amp; &apos; &quot; and characters by number",
                                )
                            })?,
                    };
                    add(&mut nodes, &open, piece);
                }
                Event::DocType(declaration) => {
                    if declaration.contains("<!ENTITY") {
                        return Err(content(
                            path,
                            "the document type",
                            "a declaration of entities",
                            "none: entities can expand without end or read other files. Remove the declaration",
                        ));
                    }
                }
                Event::Comment(_) | Event::Decl(_) | Event::PI(_) => {}
                Event::Eof => break,
            }
        }
        if let Some(&(index, _)) = open.last() {
            let name = nodes[index as usize].name();
            return Err(content(
                path,
                "the end of the document",
                &format!("reached within the element `{name}`"),
                &format!("`</{name}>`; the file may be cut off, copy it again"),
            ));
        }
        if nodes.is_empty() {
            return Err(content(
                path,
                "the document",
                "without any element",
                "XML with one root element",
            ));
        }
        Ok(Document { nodes })
    }

    pub fn root(&self) -> Element<'_, 'a> {
        Element {
            document: self,
            index: 0,
        }
    }
}

impl<'a> Node<'a> {
    /// The element whose tag ends before `end` of `text`: the reader's event does not live as long as the text.
    fn new(text: &'a str, tag: &BytesStart<'_>, end: usize) -> Node<'a> {
        let start = end.saturating_sub(tag.len());
        Node {
            tag: text.get(start..end).unwrap_or(""),
            name_len: tag.name().as_ref().len() as u32,
            first_child: NONE,
            next: NONE,
            text: Cow::Borrowed(""),
        }
    }

    /// Name without its namespace.
    fn name(&self) -> &'a str {
        let name = self.tag.get(..self.name_len as usize).unwrap_or("");
        name.rsplit_once(':').map_or(name, |(_, local)| local)
    }
}

fn attach<'a>(
    path: &Path,
    nodes: &mut Vec<Node<'a>>,
    open: &mut [(u32, u32)],
    node: Node<'a>,
    line: impl Fn() -> usize,
) -> Result<u32, RecordError> {
    if nodes.len() >= MAX_ELEMENTS {
        return Err(too_large(path, "number of elements", MAX_ELEMENTS));
    }
    let index = nodes.len() as u32;
    match open.last_mut() {
        Some((parent, last)) => {
            match *last {
                NONE => nodes[*parent as usize].first_child = index,
                last => nodes[last as usize].next = index,
            }
            *last = index;
        }
        None if index > 0 => {
            return Err(content(
                path,
                &format!("line {}", line()),
                &format!("a second root element, `{}`", node.name()),
                "one document a file",
            ));
        }
        None => {}
    }
    nodes.push(node);
    Ok(index)
}

/// Adds text to the innermost open element; what lies between elements is only indentation.
fn add<'a>(nodes: &mut [Node<'a>], open: &[(u32, u32)], piece: Cow<'a, str>) {
    let Some(&(index, _)) = open.last() else {
        return;
    };
    let text = &mut nodes[index as usize].text;
    if text.is_empty() {
        if !piece.trim().is_empty() {
            *text = piece;
        }
    } else {
        text.to_mut().push_str(&piece);
    }
}

impl<'d, 'a> Element<'d, 'a> {
    fn node(&self) -> &'d Node<'a> {
        &self.document.nodes[self.index as usize]
    }

    /// Name without its namespace.
    pub fn name(&self) -> &'a str {
        self.node().name()
    }

    /// The text directly inside, without surrounding blanks.
    pub fn text(&self) -> &'d str {
        self.node().text.trim()
    }

    /// The value of an attribute, by its name without namespace.
    pub fn attribute(&self, name: &str) -> Option<String> {
        let node = self.node();
        let tag = BytesStart::from_content(node.tag, node.name_len as usize);
        let mut attributes = tag.attributes();
        let found = attributes
            .with_checks(false)
            .flatten()
            .find(|attribute| attribute.key.local_name().as_ref() == name)?;
        let value = found.normalized_value(XmlVersion::Implicit1_0);
        Some(value.map_or_else(|_| found.value.to_string(), Cow::into_owned))
    }

    /// The elements directly inside, in order.
    pub fn children(&self) -> Children<'d, 'a> {
        Children {
            document: self.document,
            next: self.node().first_child,
        }
    }

    /// The elements of this name directly inside.
    pub fn all<'n>(
        &self,
        name: &'n str,
    ) -> impl Iterator<Item = Element<'d, 'a>> + use<'d, 'a, 'n> {
        self.children().filter(move |child| child.name() == name)
    }

    /// The first element of this name directly inside.
    pub fn child(&self, name: &str) -> Option<Element<'d, 'a>> {
        self.children().find(|child| child.name() == name)
    }

    /// The first element that can be reached by these names, one inside the other.
    pub fn path(&self, names: &[&str]) -> Option<Element<'d, 'a>> {
        let Some((name, rest)) = names.split_first() else {
            return Some(*self);
        };
        self.children()
            .filter(|child| child.name() == *name)
            .find_map(|child| child.path(rest))
    }

    /// The text of the element at these names, when there is some.
    pub fn text_at(&self, names: &[&str]) -> Option<&'d str> {
        let text = self.path(names)?.text();
        (!text.is_empty()).then_some(text)
    }

    /// All elements of this name inside, at any depth, in the order of the document. Not looked for inside each other.
    pub fn descendants(&self, name: &str) -> Vec<Element<'d, 'a>> {
        let mut found = Vec::new();
        self.collect(name, &mut found);
        found
    }

    fn collect(&self, name: &str, found: &mut Vec<Element<'d, 'a>>) {
        for child in self.children() {
            if child.name() == name {
                found.push(child);
            } else {
                // No deeper than MAX_DEPTH.
                child.collect(name, found);
            }
        }
    }
}

pub(super) struct Children<'d, 'a> {
    document: &'d Document<'a>,
    next: u32,
}

impl<'d, 'a> Iterator for Children<'d, 'a> {
    type Item = Element<'d, 'a>;

    fn next(&mut self) -> Option<Element<'d, 'a>> {
        let index = self.next;
        self.next = self.document.nodes.get(index as usize)?.next;
        Some(Element {
            document: self.document,
            index,
        })
    }
}

fn line_of(text: &str, byte: u64) -> usize {
    let end = usize::try_from(byte).unwrap_or(usize::MAX).min(text.len());
    1 + text.as_bytes()[..end]
        .iter()
        .filter(|&&b| b == b'\n')
        .count()
}

fn broken(path: &Path, line: usize, problem: &str) -> RecordError {
    content(
        path,
        &format!("line {line}"),
        problem,
        "well-formed XML; the file may be cut off or damaged, copy it again",
    )
}

fn too_large(path: &Path, what: &'static str, limit: usize) -> RecordError {
    RecordError::TooLarge {
        path: path.to_owned(),
        what,
        found: limit as u64 + 1,
        limit: limit as u64,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> String {
        match Document::parse(Path::new("x.xml"), text) {
            Ok(_) => "read".into(),
            Err(error) => error.to_string(),
        }
    }

    #[test]
    fn elements_attributes_and_text_are_found() {
        let text = "<?xml version='1.0'?><!-- c --><n:a xmlns:n='u'>\n <b x='1 &lt; 2' n:y='z'>one &amp; <!-- c -->t&#119;o</b>\n <b/><c><b>in</b></c></n:a>";
        let document = Document::parse(Path::new("x"), text).unwrap();
        let root = document.root();
        assert_eq!(root.name(), "a");
        assert_eq!(root.text(), "");
        let b = root.child("b").unwrap();
        assert_eq!(b.text(), "one & two");
        assert_eq!(b.attribute("x").unwrap(), "1 < 2");
        assert_eq!(b.attribute("y").unwrap(), "z");
        assert_eq!(b.attribute("z"), None);
        assert_eq!(root.all("b").count(), 2);
        assert_eq!(root.descendants("b").len(), 3);
        assert_eq!(root.text_at(&["c", "b"]), Some("in"));
        assert_eq!(root.text_at(&["b", "b"]), None);
    }

    #[test]
    fn entities_are_refused() {
        let bomb = "<!DOCTYPE a [<!ENTITY b 'bb'><!ENTITY c '&b;&b;'>]><a>&c;</a>";
        assert!(message(bomb).contains("declaration of entities"));
        let file = "<!DOCTYPE a [<!ENTITY b SYSTEM 'file:///etc/passwd'>]><a>&b;</a>";
        assert!(message(file).contains("declaration of entities"));
        assert!(message("<a>&b;</a>").contains("the entity `&b;`"));
        assert_eq!(message("<!DOCTYPE a SYSTEM \"a.dtd\"><a/>"), "read");
    }

    #[test]
    fn broken_documents_name_the_line() {
        for text in ["", "plain", "<!-- only -->"] {
            assert!(message(text).contains("without any element"), "{text}");
        }
        assert!(message("<a>\n<b>\n</a>").contains("line 3"));
        assert!(message("<a>\n<b>").contains("within the element `b`"));
        assert!(message("<a>\n<b x='").contains("line 2"));
        assert!(message("<a/><b/>").contains("second root element"));
        let deep = "<a>".repeat(MAX_DEPTH + 1);
        assert!(message(&deep).contains("depth of elements"));
        let wide = format!("<a>{}</a>", "<b/>".repeat(MAX_ELEMENTS));
        assert!(message(&wide).contains("number of elements"));
    }
}
