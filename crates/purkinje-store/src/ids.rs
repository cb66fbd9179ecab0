//! How records are called, where their paths are not to be told.

use std::path::Path;

use purkinje_record::without_naming;

use crate::columns::NewRow;
use crate::outcome::{Outcome, portable};
use crate::source::Item;

/// How the records of a store are called.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Ids {
    /// By their paths or as the source says; by a number where the path holds what the file states of who the patient is.
    #[default]
    Path,
    /// By their number in the source, from 1: `number-17`. Paths are not kept.
    Number,
    /// By a hash of their paths with this salt: `hash-` and 16 digits, the same wherever the folder lies. Paths are not kept.
    Hash(String),
}

/// What numbers begin with.
const NUMBER: &str = "number-";
const HASH: &str = "hash-";

impl Ids {
    /// What a record is called instead of its path; `naming` are the parts of paths that name its patient.
    fn instead(&self, item: &Item, naming: &[String]) -> Option<String> {
        let number = || format!("{NUMBER}{}", item.number);
        match self {
            Ids::Path => names_patient(&item.path, naming).then(number),
            Ids::Number => Some(number()),
            Ids::Hash(salt) => {
                let mut hasher = blake3::Hasher::new_derive_key("purkinje record path 1");
                hasher.update(&(salt.len() as u64).to_le_bytes());
                hasher.update(salt.as_bytes());
                hasher.update(portable(&item.path).as_bytes());
                hasher.update(&item.entry.unwrap_or(u64::MAX).to_le_bytes());
                Some(format!("{HASH}{}", &hasher.finalize().to_hex()[..16]))
            }
        }
    }

    /// Takes the path of the record, below the folder `root`, out of what is kept of it.
    pub(crate) fn apply(
        &self,
        root: &Path,
        item: &Item,
        naming: &[String],
        outcome: &mut Outcome,
        row: Option<&mut NewRow>,
    ) {
        let Some(called) = self.instead(item, naming) else {
            return;
        };
        // What a table calls the record may stay, unless it is all to be replaced.
        let stem = portable(&item.path.with_extension(""));
        let own = item.id.split('#').next().unwrap_or_default();
        let kept = *self == Ids::Path
            && own != stem
            && !naming.iter().any(|part| own.contains(stem_of(part)));
        let id = match item.id.split_once('#') {
            _ if kept => item.id.clone(),
            Some((_, window)) if item.window.is_some() => format!("{called}#{window}"),
            _ => called.clone(),
        };
        let mut reason = std::mem::take(&mut outcome.reason);
        let path = portable(&item.path);
        let name = item.path.file_stem().unwrap_or_default().to_string_lossy();
        for known in [
            &root.join(&item.path).display().to_string(),
            &path,
            &stem,
            &item.id,
            &*name,
        ] {
            if known.len() > 2 {
                reason = reason.replace(known, &called);
            }
        }
        outcome.reason = without_naming(&reason, naming);
        outcome.id.clone_from(&id);
        outcome.path.clone_from(&called);
        let Some(row) = row else { return };
        if let (Some(recording), true) = (row.texts.last_mut(), item.window.is_some()) {
            *recording = Some(called.clone());
        }
        row.id = id;
        row.source = called;
    }
}

/// Whether the outcome is of a record whose path is not told.
pub(crate) fn is_withheld(outcome: &Outcome) -> bool {
    let behind = |mark| outcome.path.strip_prefix(mark);
    let is = |rest: Option<&str>, digit: fn(&u8) -> bool| {
        rest.is_some_and(|rest| !rest.is_empty() && rest.bytes().all(|b| digit(&b)))
    };
    is(behind(NUMBER), u8::is_ascii_digit) || is(behind(HASH), u8::is_ascii_hexdigit)
}

fn names_patient(path: &Path, naming: &[String]) -> bool {
    let mut parts = path
        .components()
        .map(|part| part.as_os_str().to_string_lossy());
    parts.any(|part| naming.iter().any(|own| *own == part))
}

fn stem_of(part: &str) -> &str {
    let stem = Path::new(part).file_stem();
    stem.and_then(|stem| stem.to_str()).unwrap_or(part)
}
