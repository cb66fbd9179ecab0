//! A user's tokenizer.

use std::collections::HashSet;
use std::fs;
use std::path::{Path, PathBuf};

use crate::folder;
use tokenizers::{TruncationDirection, TruncationParams, TruncationStrategy};

/// Bytes of the largest `tokenizer.json` that is read; that of Flan-T5 has 2.4 MB.
pub const MAX_TOKENIZER_BYTES: u64 = 64 << 20;
/// Word pieces of the largest vocabulary.
pub const MAX_VOCABULARY: usize = 1 << 20;

/// What the pad is called.
const PAD: [&str; 3] = ["<pad>", "[PAD]", "<|pad|>"];
/// What begins a text where a decoder writes it.
const START: [&str; 2] = ["[BOS]", "<s>"];
/// What ends a text.
const END: [&str; 3] = ["</s>", "[SEP]", "<|endoftext|>"];
/// What stands for what is not known.
const UNKNOWN: [&str; 2] = ["<unk>", "[UNK]"];
/// What stands for a hidden word: a tokenizer of T5 has none, but marks for spans.
const MASK: [&str; 3] = ["[MASK]", "<mask>", "<extra_id_0>"];

/// What can be wrong with a tokenizer.
#[derive(Debug, thiserror::Error)]
pub enum TextError {
    /// It cannot be read.
    #[error("cannot read the tokenizer `{}`: {source}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is too large.
    #[error(
        "the tokenizer `{}` has {found} bytes, expected at most {MAX_TOKENIZER_BYTES}; give the `tokenizer.json` of a published model",
        path.display()
    )]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// Its size.
        found: u64,
    },
    /// It is none, or of a kind that is not read.
    #[error(
        "the tokenizer `{origin}` cannot be used: {problem}; expected a `tokenizer.json` as Hugging Face's libraries write it, such as that of google/flan-t5-base"
    )]
    Content {
        /// The file, or where it came from.
        origin: String,
        /// What is wrong.
        problem: String,
    },
    /// A text that cannot be tokenised.
    #[error("a text cannot be tokenised: {0}")]
    Text(String),
}

/// The contents of a file of a tokenizer.
pub(crate) fn read_bytes(path: &Path) -> Result<Vec<u8>, TextError> {
    let io = |source| TextError::Read {
        path: path.to_owned(),
        source,
    };
    let found = fs::metadata(path).map_err(io)?.len();
    if found > MAX_TOKENIZER_BYTES {
        return Err(TextError::TooLarge {
            path: path.to_owned(),
            found,
        });
    }
    fs::read(path).map_err(io)
}

/// Words into word pieces.
#[derive(Clone, Debug)]
pub struct Tokenizer {
    inner: tokenizers::Tokenizer,
    /// The file as it was.
    json: Vec<u8>,
    pad: u32,
    mask: Option<u32>,
    unknown: Option<u32>,
    start: Option<u32>,
    end: u32,
    special: HashSet<u32>,
}

impl Tokenizer {
    /// The tokenizer in a file `tokenizer.json`, or in a folder that has one or the word pieces of BERT (`vocab.txt`).
    ///
    /// # Errors
    /// When it cannot be read, or used.
    pub fn read(path: &Path) -> Result<Self, TextError> {
        let json = match path.is_dir() {
            true => folder::json(path)?,
            false => read_bytes(path)?,
        };
        Self::from_json(json, &path.display().to_string())
    }

    /// The tokenizer in the contents of such a file; `origin` names it in messages. Truncation and padding in it do not count.
    ///
    /// # Errors
    /// When it cannot be used.
    pub fn from_json(json: Vec<u8>, origin: &str) -> Result<Self, TextError> {
        let fail = |problem: String| TextError::Content {
            origin: origin.to_owned(),
            problem,
        };
        let mut inner =
            tokenizers::Tokenizer::from_bytes(&json).map_err(|e| fail(e.to_string()))?;
        inner
            .with_truncation(None)
            .map_err(|e| fail(e.to_string()))?;
        inner.with_padding(None);
        let words = inner.get_vocab_size(true);
        if words > MAX_VOCABULARY {
            return Err(fail(format!(
                "it has {words} word pieces, expected at most {MAX_VOCABULARY}"
            )));
        }
        let id = |names: &[&str]| names.iter().find_map(|name| inner.token_to_id(name));
        let needed = |names: &[&str], what: &str| {
            id(names).ok_or_else(|| fail(format!("it has no {what} ({})", names.join(", "))))
        };
        let (pad, end) = (needed(&PAD, "padding")?, needed(&END, "end of a text")?);
        let added = inner.get_added_tokens_decoder();
        let special = added.iter().filter(|(_, token)| token.special);
        let special: HashSet<u32> = special.map(|(id, _)| *id).chain([pad, end]).collect();
        Ok(Tokenizer {
            pad,
            end,
            mask: id(&MASK),
            unknown: id(&UNKNOWN),
            start: id(&START),
            special,
            inner,
            json,
        })
    }

    /// The file as it was.
    pub fn json(&self) -> &[u8] {
        &self.json
    }

    /// Word pieces, added ones included.
    pub fn size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// The largest id.
    pub fn largest_id(&self) -> u32 {
        self.inner.get_vocab(true).into_values().max().unwrap_or(0)
    }

    /// What texts are filled up with.
    pub fn pad(&self) -> u32 {
        self.pad
    }

    /// What begins a text that a decoder writes.
    pub fn start(&self) -> Option<u32> {
        self.start
    }

    /// What ends a text.
    pub fn end(&self) -> u32 {
        self.end
    }

    /// What stands for what is not known.
    pub fn unknown(&self) -> Option<u32> {
        self.unknown
    }

    /// What stands for a hidden word.
    pub fn mask(&self) -> Option<u32> {
        self.mask
    }

    /// Whether it is no word: padding, ends, marks.
    pub fn is_special(&self, id: u32) -> bool {
        self.special.contains(&id)
    }

    /// The word piece of an id.
    pub fn piece(&self, id: u32) -> Option<String> {
        self.inner.id_to_token(id)
    }

    /// The text of ids, without special ones.
    ///
    /// # Errors
    /// When the library cannot do it.
    pub fn text(&self, ids: &[u32]) -> Result<String, TextError> {
        let text = self.inner.decode(ids, true);
        text.map_err(|e| TextError::Text(e.to_string()))
    }

    /// A text as ids, with what begins and ends it.
    ///
    /// # Errors
    /// When the library cannot do it.
    pub fn ids(&self, text: &str) -> Result<Vec<u32>, TextError> {
        let encoding = self.inner.encode(text, true);
        let encoding = encoding.map_err(|e| TextError::Text(e.to_string()))?;
        Ok(encoding.get_ids().to_vec())
    }

    /// For each id of a text whether the tokenizer added it: what begins and ends it.
    ///
    /// # Errors
    /// As [`ids`](Tokenizer::ids).
    pub fn added(&self, text: &str) -> Result<Vec<bool>, TextError> {
        let encoding = self.inner.encode(text, true);
        let encoding = encoding.map_err(|e| TextError::Text(e.to_string()))?;
        let marks = encoding.get_special_tokens_mask().iter();
        Ok(marks.map(|&mark| mark != 0).collect())
    }

    /// The same tokenizer for texts of at most `length` ids; what ends a text is kept.
    ///
    /// # Errors
    /// When nothing would be left of a text.
    pub fn cut_to(&self, length: usize) -> Result<Self, TextError> {
        let mut cut = self.clone();
        let how = TruncationParams {
            direction: TruncationDirection::Right,
            max_length: length,
            strategy: TruncationStrategy::LongestFirst,
            stride: 0,
        };
        cut.inner
            .with_truncation(Some(how))
            .map_err(|e| TextError::Text(e.to_string()))?;
        Ok(cut)
    }
}
