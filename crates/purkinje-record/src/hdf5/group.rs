//! Groups: from the root to every data set.

use std::collections::HashSet;
use std::sync::Arc;

use super::chunks::Layout;
use super::datatype::{self, Element};
use super::filter::Filter;
use super::header::{self, Message};
use super::source::{Meta, Source};
use super::{Attribute, Dataset, Hdf5File, MAX_DEPTH, MAX_OBJECTS};
use crate::{RecordError, names};

/// Characters of the longest name, with those of its groups.
const MAX_NAME_CHARS: usize = 1024;

/// Lists the data sets of a file.
pub(super) fn list(source: &Arc<Source>) -> Result<Hdf5File, RecordError> {
    let meta = Meta::new(source);
    let mut walk = Walk {
        source,
        meta: &meta,
        groups: HashSet::from([source.root]),
        objects: 0,
        datasets: Vec::new(),
        attributes: Vec::new(),
    };
    let root = header::messages(&meta, source.root)?;
    let attributes = datatype::attributes(&meta, &root)?;
    walk.group("", &root, 0)?;
    Ok(Hdf5File {
        datasets: walk.datasets,
        of_groups: walk.attributes,
        attributes,
    })
}

struct Walk<'a> {
    source: &'a Arc<Source>,
    meta: &'a Meta<'a>,
    groups: HashSet<u64>,
    objects: usize,
    datasets: Vec<Dataset>,
    attributes: Vec<(String, Attribute)>,
}

impl Walk<'_> {
    fn group(&mut self, name: &str, messages: &[Message], depth: usize) -> Result<(), RecordError> {
        for (child, address) in links(self.meta, messages)? {
            self.objects += 1;
            if self.objects > MAX_OBJECTS {
                return Err(self.source.too_large(
                    "number of groups and data sets",
                    self.objects as u64,
                    MAX_OBJECTS as u64,
                ));
            }
            let path = if name.is_empty() {
                child
            } else {
                format!("{name}/{child}")
            };
            if path.len() > MAX_NAME_CHARS {
                return Err(self.source.too_large(
                    "length of a name",
                    path.len() as u64,
                    MAX_NAME_CHARS as u64,
                ));
            }
            let messages = header::messages(self.meta, address)?;
            let has = |kind: u16| messages.iter().any(|message| message.kind == kind);
            if has(header::LAYOUT) {
                let dataset = self.dataset(path, address, &messages)?;
                self.datasets.extend(dataset);
            } else if has(header::SYMBOL_TABLE) || has(header::LINK) || has(header::LINK_INFO) {
                // A group that two names lead to keeps the first; it may even hold itself.
                if !self.groups.insert(address) {
                    continue;
                }
                if depth >= MAX_DEPTH {
                    return Err(self.source.too_large(
                        "nesting of groups",
                        depth as u64 + 1,
                        MAX_DEPTH as u64,
                    ));
                }
                let own = datatype::attributes(self.meta, &messages)?;
                let own = own.into_iter().filter(|(name, _)| names::says(name));
                self.attributes
                    .extend(own.map(|(name, value)| (format!("{path}/{name}"), value)));
                self.group(&path, &messages, depth + 1)?;
            }
        }
        Ok(())
    }

    /// A data set; `None` for one without elements.
    fn dataset(
        &self,
        name: String,
        address: u64,
        messages: &[Message],
    ) -> Result<Option<Dataset>, RecordError> {
        let find = |kind: u16| messages.iter().find(|message| message.kind == kind);
        let broken = |what: &str| {
            self.source.bad(
                &format!("the {what} of `{name}`"),
                "absent or not understood",
                "a data set as HDF5 1.8 to 1.14 write it; convert the file with h5repack, or copy it again",
            )
        };
        let space = find(header::DATASPACE).filter(|message| !message.shared);
        let space = space.and_then(|message| datatype::dataspace(self.source, &message.data));
        let Some(space) = space.ok_or_else(|| broken("dimensions"))? else {
            return Ok(None);
        };
        let kind = find(header::DATATYPE).ok_or_else(|| broken("type"))?;
        let element = if kind.shared {
            // A type with a name of its own.
            Some(Element::Other {
                bytes: 1,
                what: "of a named type",
            })
        } else {
            Element::parse(self.source, &kind.data)
        };
        let element = element.ok_or_else(|| broken("type"))?;
        let layout = find(header::LAYOUT).filter(|message| !message.shared);
        let layout = layout.and_then(|message| match find(header::EXTERNAL) {
            Some(_) => Some(Layout::Other("kept in other files")),
            None => Layout::parse(self.source, &message.data, &space),
        });
        let layout = layout.ok_or_else(|| broken("layout"))?;
        let filters = match find(header::FILTERS) {
            Some(message) => Filter::parse(self.source, &message.data),
            None => Some(Vec::new()),
        };
        let filters = filters.ok_or_else(|| broken("list of filters"))?;
        let fill = find(header::FILL_VALUE)
            .and_then(|message| fill(self.source, &message.data))
            .filter(|fill| fill.len() == element.bytes())
            .unwrap_or_default();
        Ok(Some(Dataset {
            source: Arc::clone(self.source),
            shape: space.shape,
            address,
            element,
            layout,
            filters,
            fill,
            attributes: datatype::attributes(self.meta, messages)?,
            name,
            unpacked: Default::default(),
        }))
    }
}

/// The value of elements that were never written; empty for zero.
fn fill(source: &Source, message: &[u8]) -> Option<Vec<u8>> {
    let mut field = source.fields(message);
    match field.u8()? {
        version @ (1 | 2) => {
            field.take(2)?;
            let defined = field.u8()? != 0;
            if version == 2 && !defined {
                return Some(Vec::new());
            }
        }
        3 => {
            if field.u8()? & 0x20 == 0 {
                return Some(Vec::new());
            }
        }
        _ => return None,
    }
    let size = field.u32()? as usize;
    Some(field.take(size)?.to_vec())
}

/// Names and object headers of the members of a group.
fn links(meta: &Meta<'_>, messages: &[Message]) -> Result<Vec<(String, u64)>, RecordError> {
    let source = meta.source;
    let mut links = Vec::new();
    for message in messages.iter().filter(|message| !message.shared) {
        let mut field = source.fields(&message.data);
        match message.kind {
            header::LINK => links.extend(link(source, &message.data)),
            header::LINK_INFO => {
                // Many links are kept elsewhere.
                let flags = message.data.get(1).copied().unwrap_or(0);
                field.skip(if flags & 1 == 0 { 2 } else { 10 });
                if let Some(Some(_)) = field.address() {
                    return Err(source.bad(
                        "a group",
                        "one with its links in a fractal heap (libver='latest')",
                        "a group of the old kind or of at most 8 members; write the file with libver='earliest', or convert it with `h5repack --high=v18`",
                    ));
                }
            }
            header::SYMBOL_TABLE => {
                if let (Some(Some(tree)), Some(Some(heap))) = (field.address(), field.address()) {
                    let heap = local_heap(meta, heap)?;
                    symbols(meta, tree, &heap, &mut links, 0)?;
                }
            }
            _ => {}
        }
    }
    Ok(links)
}

/// A hard link in a message of its own; soft and external links lead to no object of their own.
fn link(source: &Source, message: &[u8]) -> Option<(String, u64)> {
    let mut field = source.fields(message);
    field.take(1)?;
    let flags = field.u8()?;
    let kind = if flags & 8 != 0 { field.u8()? } else { 0 };
    if flags & 4 != 0 {
        field.take(8)?;
    }
    if flags & 16 != 0 {
        field.take(1)?;
    }
    let length = usize::try_from(field.number(1 << (flags & 3))?).ok()?;
    let name = String::from_utf8_lossy(field.take(length)?).into_owned();
    let address = field.address()??;
    (kind == 0).then_some((name, address))
}

/// The texts of a group of the old kind.
fn local_heap(meta: &Meta<'_>, address: u64) -> Result<Vec<u8>, RecordError> {
    let source = meta.source;
    let head = meta.at(
        address,
        (8 + 2 * source.length_bytes + source.offset_bytes) as u64,
        "the names of a group",
    )?;
    let mut field = source.fields(&head);
    let signature = field.take(4);
    field.skip(4);
    let size = field.length().unwrap_or(0);
    field.length();
    match (signature, field.address()) {
        (Some(b"HEAP"), Some(Some(data))) => meta.at(data, size, "the names of a group"),
        _ => Err(source.bad(
            &format!("the names of a group at {address}"),
            "something else",
            "a local heap; copy the file again",
        )),
    }
}

/// The members below a node of the tree of a group of the old kind.
fn symbols(
    meta: &Meta<'_>,
    address: u64,
    heap: &[u8],
    links: &mut Vec<(String, u64)>,
    depth: usize,
) -> Result<(), RecordError> {
    let source = meta.source;
    let (offset, length) = (source.offset_bytes, source.length_bytes);
    let what = "the tree of a group";
    let bad = || {
        source.bad(
            &format!("{what} at {address}"),
            "something else",
            "a node of the tree; copy the file again",
        )
    };
    if depth > MAX_DEPTH {
        return Err(bad());
    }
    let head = meta.at(address, 8, what)?;
    let count = usize::from(u16::from_le_bytes([head[6], head[7]]));
    if head.starts_with(b"TREE") && head[4] == 0 {
        let size = 8 + 2 * offset + (count + 1) * length + count * offset;
        let node = meta.at(address, size as u64, what)?;
        let mut field = source.fields(&node);
        field.skip(8 + 2 * offset);
        for _ in 0..count {
            field.length();
            if let Some(Some(child)) = field.address() {
                symbols(meta, child, heap, links, depth + 1)?;
            }
        }
        return Ok(());
    }
    if !head.starts_with(b"SNOD") {
        return Err(bad());
    }
    let entry = 2 * offset + 24;
    let node = meta.at(address, (8 + count * entry) as u64, what)?;
    for entry in node[8..].chunks_exact(entry) {
        let mut field = source.fields(entry);
        let name = field.offset().and_then(|at| usize::try_from(at).ok());
        let header = field.address().flatten();
        // A link by name (cache type 2) has no header.
        let soft = field.u32() == Some(2);
        let name = name.and_then(|at| heap.get(at..)).map(|name| {
            let end = name.iter().position(|&b| b == 0).unwrap_or(name.len());
            String::from_utf8_lossy(&name[..end.min(1025)]).into_owned()
        });
        if let (Some(name), Some(header), false) = (name, header, soft) {
            if links.len() >= MAX_OBJECTS {
                return Err(source.too_large(
                    "number of members of a group",
                    links.len() as u64 + 1,
                    MAX_OBJECTS as u64,
                ));
            }
            links.push((name, header));
        }
    }
    Ok(())
}
