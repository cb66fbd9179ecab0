//! The tokenizer of GPT-2 (byte-level byte-pair encoding) as it is published: a vocabulary and a list of merges.

use std::fs;
use std::path::{Path, PathBuf};

use tokenizers::models::bpe::BPE;
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, Tokenizer as Library};

use crate::TextError;
use crate::tokenizer::MAX_TOKENIZER_BYTES;

/// The vocabulary.
pub(crate) const VOCABULARY: &str = "vocab.json";
/// The merges.
pub(crate) const MERGES: &str = "merges.txt";
/// What begins a report.
const START: &str = "[BOS]";
/// What ends it, which stands for what is not known too.
const END: &str = "<|endoftext|>";
/// What reports are filled up with.
const PAD: &str = "[PAD]";

/// What the `tokenizer.json` of a folder with `vocab.json` and `merges.txt` would be. Where they are missing, a start token and padding get the numbers behind
/// the vocabulary, in this order; ids of a text begin with the one and end with the end of text.
///
/// # Errors
/// When a file cannot be read, or used.
pub(crate) fn json(folder: &Path) -> Result<Vec<u8>, TextError> {
    let (vocabulary, merges) = (folder.join(VOCABULARY), folder.join(MERGES));
    let fail = |problem: String| TextError::Content {
        origin: folder.display().to_string(),
        problem,
    };
    let library = |error: tokenizers::Error| fail(error.to_string());
    for path in [&vocabulary, &merges] {
        bounded(path)?;
    }
    let path = |path: &PathBuf| {
        let text = path.to_str().map(str::to_owned);
        text.ok_or_else(|| fail("its path is not UTF-8".to_owned()))
    };
    let model = BPE::from_file(&path(&vocabulary)?, &path(&merges)?);
    let mut tokenizer = Library::new(model.build().map_err(library)?);
    if tokenizer.token_to_id(END).is_none() {
        return Err(fail(format!("its vocabulary has no {END}")));
    }
    let bytes = ByteLevel::new(false, true, true);
    tokenizer.with_pre_tokenizer(Some(bytes));
    tokenizer.with_decoder(Some(bytes));
    let special = [END, START, PAD].map(|name| AddedToken::from(name, true));
    tokenizer.add_special_tokens(special).map_err(library)?;
    let ids = [START, END].map(|name| (name, tokenizer.token_to_id(name).unwrap_or_default()));
    let around = TemplateProcessing::builder()
        .try_single(format!("{START} $A {END}"))
        .map_err(|e| fail(e.clone()))?
        .special_tokens(ids.to_vec())
        .build()
        .map_err(|e| fail(e.to_string()))?;
    tokenizer.with_post_processor(Some(around));
    let json = tokenizer.to_string(false).map_err(library)?;
    Ok(json.into_bytes())
}

fn bounded(path: &Path) -> Result<(), TextError> {
    let found = fs::metadata(path).map_err(|source| TextError::Read {
        path: path.to_owned(),
        source,
    })?;
    match found.len() > MAX_TOKENIZER_BYTES {
        true => Err(TextError::TooLarge {
            path: path.to_owned(),
            found: found.len(),
        }),
        false => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tokenizer;

    #[test]
    fn a_published_vocabulary_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let pieces = ["s", "i", "n", "u", "\u{120}", "in", "sin", END];
        let vocabulary = pieces.iter().enumerate();
        let vocabulary = vocabulary.map(|(id, piece)| format!("\"{piece}\": {id}"));
        let vocabulary = vocabulary.collect::<Vec<_>>().join(", ");
        fs::write(
            folder.path().join("vocab.json"),
            format!("{{{vocabulary}}}"),
        )
        .unwrap();
        assert!(Tokenizer::read(folder.path()).is_err());
        fs::write(
            folder.path().join("merges.txt"),
            "#version: 0.2\ni n\ns in\n",
        )
        .unwrap();
        let tokenizer = Tokenizer::read(folder.path()).unwrap();
        assert_eq!(
            (tokenizer.start(), tokenizer.end(), tokenizer.pad()),
            (Some(8), 7, 9)
        );
        let ids = tokenizer.ids("sinus in").unwrap();
        assert_eq!(ids, [8, 6, 3, 0, 4, 5, 7]);
        assert_eq!(tokenizer.text(&ids).unwrap(), "sinus in");
        // What was read is kept with a model as one file.
        let again = Tokenizer::from_json(tokenizer.json().to_vec(), "again").unwrap();
        assert_eq!(again.ids("sinus in").unwrap(), ids);
        fs::write(folder.path().join("merges.txt"), "x y\n").unwrap();
        assert!(Tokenizer::read(folder.path()).is_err());
    }
}
