//! An XML document as a tree of elements, within bounds.
//!
//! `roxmltree` parses; what it would answer with much memory or time is refused before: it reserves a node for each `<` and an
//! attribute for each `=`, compares the attributes of a tag with each other, and copies the name spaces in scope for each element
//! that declares one. What is not needed to read a recording is refused as well: a document that declares entities (they can be
//! made to expand without end, or to read other files) is an error, and nothing outside the document is ever opened. Names must
//! be sound: a prefix that is not declared and an attribute that stands twice are errors.

use std::collections::HashMap;
use std::path::Path;

use roxmltree::{Error, Node, NodeId, ParsingOptions};

use crate::RecordError;
use crate::error::content;

/// Bytes of the largest XML document that is read.
pub const MAX_XML_BYTES: u64 = 1 << 26;
/// Tags of the largest document that is read: an element has one or two.
pub const MAX_TAGS: usize = 200_000;
/// Attributes of the largest document that is read, with every other `=`.
pub const MAX_ATTRIBUTES: usize = 200_000;
/// The same of one tag.
pub const MAX_TAG_ATTRIBUTES: usize = 1024;
/// Declarations of name spaces in the largest document that is read.
pub const MAX_NAMESPACES: usize = 1000;
/// Elements inside each other.
pub const MAX_DEPTH: usize = 128;

/// A document, decoded to UTF-8 before.
pub(super) struct Document<'a> {
    tree: roxmltree::Document<'a>,
    /// Texts of elements that hold several pieces of them, with comments or other elements between.
    joined: HashMap<NodeId, String>,
}

/// An element of a document.
#[derive(Clone, Copy)]
pub(super) struct Element<'d, 'a> {
    document: &'d Document<'a>,
    node: Node<'d, 'a>,
}

impl<'a> Document<'a> {
    pub fn parse(path: &Path, text: &'a str) -> Result<Document<'a>, RecordError> {
        // Blank lines before the declaration and padding behind the end are met in files, and do no harm.
        let body = text.trim_start();
        let above = text[..text.len() - body.len()].matches('\n').count();
        let body = body.trim_end_matches(|c: char| c.is_whitespace() || c == '\0');
        check_claims(path, body)?;
        let options = ParsingOptions {
            allow_dtd: true,
            ..ParsingOptions::default()
        };
        let tree = roxmltree::Document::parse_with_options(body, options)
            .map_err(|error| broken(path, above, &error))?;
        let joined = check_depth(path, &tree)?;
        Ok(Document { tree, joined })
    }

    pub fn root(&self) -> Element<'_, 'a> {
        Element {
            document: self,
            node: self.tree.root_element(),
        }
    }
}

/// Refuses what the parser would spend much memory or time on.
fn check_claims(path: &Path, text: &str) -> Result<(), RecordError> {
    let (mut attributes, mut most) = (0, 0);
    let mut tags = 0;
    // An attribute cannot hold a `<`, so that those of a tag lie between two of them.
    for piece in text.split('<') {
        let count = piece.bytes().filter(|&b| b == b'=').count();
        (attributes, most) = (attributes + count, most.max(count));
        tags += 1;
    }
    for (what, found, limit) in [
        ("number of tags", tags, MAX_TAGS),
        ("number of attributes", attributes, MAX_ATTRIBUTES),
        ("number of attributes of a tag", most, MAX_TAG_ATTRIBUTES),
        (
            "number of name spaces",
            text.matches("xmlns").count(),
            MAX_NAMESPACES,
        ),
    ] {
        if found > limit {
            return Err(too_large(path, what, found, limit));
        }
    }
    let declared = text.split_once("<!DOCTYPE");
    if declared.is_some_and(|(_, rest)| rest.contains("<!ENTITY")) {
        return Err(content(
            path,
            "the document type",
            "a declaration of entities",
            "none: entities can expand without end or read other files. Remove the declaration",
        ));
    }
    Ok(())
}

/// Refuses elements too deep within each other, so that what walks over them may recurse; returns the texts that come in pieces.
fn check_depth(
    path: &Path,
    tree: &roxmltree::Document<'_>,
) -> Result<HashMap<NodeId, String>, RecordError> {
    let mut joined = HashMap::new();
    // For each open element, whether it has text yet.
    let mut open = vec![false];
    let mut node = tree.root();
    loop {
        if node.is_text()
            && !blank(node)
            && let (Some(has_text), Some(parent)) = (open.last_mut(), node.parent())
            && std::mem::replace(has_text, true)
        {
            joined.entry(parent.id()).or_insert_with(|| {
                let texts = parent.children().filter(Node::is_text);
                texts.filter_map(|text| text.text()).collect()
            });
        }
        if let Some(child) = node.first_child() {
            node = child;
            open.push(false);
            // The root of the tree is no element.
            if node.is_element() && open.len() > MAX_DEPTH + 1 {
                return Err(too_large(
                    path,
                    "depth of elements",
                    MAX_DEPTH + 1,
                    MAX_DEPTH,
                ));
            }
            continue;
        }
        node = loop {
            if let Some(next) = node.next_sibling() {
                break next;
            }
            let Some(parent) = node.parent() else {
                return Ok(joined);
            };
            open.pop();
            node = parent;
        };
    }
}

fn blank(node: Node<'_, '_>) -> bool {
    node.text().is_none_or(|text| text.trim().is_empty())
}

impl<'d, 'a> Element<'d, 'a> {
    /// Name without its namespace.
    pub fn name(&self) -> &'a str {
        self.node.tag_name().name()
    }

    /// The text directly inside, without surrounding blanks.
    pub fn text(&self) -> &'d str {
        if let Some(text) = self.document.joined.get(&self.node.id()) {
            return text.trim();
        }
        let mut texts = self
            .node
            .children()
            .filter(|child| child.is_text() && !blank(*child));
        texts
            .next()
            .and_then(|text| text.text())
            .unwrap_or("")
            .trim()
    }

    /// The value of an attribute, by its name without namespace.
    pub fn attribute(&self, name: &str) -> Option<String> {
        let mut attributes = self.node.attributes();
        let found = attributes.find(|attribute| attribute.name() == name)?;
        Some(found.value().to_owned())
    }

    /// The elements directly inside, in order.
    pub fn children(&self) -> impl Iterator<Item = Element<'d, 'a>> + use<'d, 'a> {
        let document = self.document;
        let elements = self.node.children().filter(Node::is_element);
        elements.map(move |node| Element { document, node })
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

/// What the parser found, with lines counted from the start of the file, `above` of which it has not seen.
fn broken(path: &Path, above: usize, error: &Error) -> RecordError {
    let line = format!("line {}", above + error.pos().row as usize);
    match error {
        Error::NoRootNode => content(
            path,
            "the document",
            "without any element",
            "XML with one root element",
        ),
        Error::UnclosedRootNode | Error::UnexpectedEndOfStream => content(
            path,
            "the end of the document",
            "reached within an element",
            "the tag that closes it; the file may be cut off, copy it again",
        ),
        Error::UnknownEntityReference(name, _) => content(
            path,
            &line,
            &format!("the entity `&{name};`"),
            "no other entities than &lt; &gt; &amp; &apos; &quot; and characters by number",
        ),
        other => content(
            path,
            &line,
            &other.to_string(),
            "well-formed XML; the file may be cut off or damaged, copy it again",
        ),
    }
}

fn too_large(path: &Path, what: &'static str, found: usize, limit: usize) -> RecordError {
    RecordError::TooLarge {
        path: path.to_owned(),
        what,
        found: found as u64,
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
        for text in ["", "<!-- only -->"] {
            assert!(message(text).contains("without any element"), "{text}");
        }
        assert!(message("plain").contains("line 1"));
        assert!(message("<a>\n<b>\n</a>").contains("line 3"));
        assert!(message("\n\n<a>\n</b>").contains("line 4"));
        assert!(message("<a>\n<b>").contains("within an element"));
        assert!(message("<a>\n<b x='").contains("within an element"));
        assert!(message("<a/><b/>").contains("line 1"));
        assert_eq!(message("\n <?xml version='1.0'?>\n<a/>\n\0\0"), "read");
    }

    #[test]
    fn documents_that_cost_much_are_refused() {
        let nested = |depth: usize| "<a>".repeat(depth) + "text" + &"</a>".repeat(depth);
        assert_eq!(message(&nested(MAX_DEPTH)), "read");
        assert!(message(&nested(MAX_DEPTH + 1)).contains("depth of elements"));
        let wide = format!("<a>{}</a>", "<b/>".repeat(MAX_TAGS));
        assert!(message(&wide).contains("number of tags"));
        let many = |count: usize| (0..count).map(|i| format!(" a{i}='>'")).collect::<String>();
        assert_eq!(message(&format!("<a{}/>", many(1000))), "read");
        assert!(message(&format!("<a{}/>", many(1025))).contains("attributes of a tag"));
        let tags = format!("<a{}/>", many(1000)).repeat(MAX_ATTRIBUTES / 1000 + 1);
        assert!(message(&format!("<a>{tags}</a>")).contains("number of attributes is"));
        let spaces = "<a xmlns:b='u'/>".repeat(MAX_NAMESPACES + 1);
        assert!(message(&format!("<a>{spaces}</a>")).contains("number of name spaces"));
    }
}
