//! Tokenizers in folders of Hugging Face that have no `tokenizer.json`: the words of BERT (`vocab.txt`), the merges of GPT-2.

use std::fs;
use std::path::Path;

use serde_json::{Map, Value, json};

use crate::gpt2;
use crate::tokenizer::{TextError, read_bytes};

/// The tokenizer as the library writes it today.
const WRITTEN: &str = "tokenizer.json";
/// The words of BERT, one in each line.
const WORDS: &str = "vocab.txt";
/// What else is known of it.
const SETTINGS: &str = "tokenizer_config.json";

/// The contents of the `tokenizer.json` of a folder, or what they would be.
///
/// # Errors
/// When there is no tokenizer in it, or none that can be read.
pub(crate) fn json(folder: &Path) -> Result<Vec<u8>, TextError> {
    let written = folder.join(WRITTEN);
    if written.is_file() {
        return read_bytes(&written);
    }
    let words = folder.join(WORDS);
    if words.is_file() {
        let settings = folder.join(SETTINGS);
        let settings = match settings.is_file() {
            true => serde_json::from_slice(&read_bytes(&settings)?)
                .map_err(|e| content(&settings, e.to_string()))?,
            false => Value::Null,
        };
        return word_pieces(&words, &settings);
    }
    if folder.join(gpt2::MERGES).is_file() {
        return gpt2::json(folder);
    }
    Err(content(
        folder,
        format!(
            "the folder has neither `{WRITTEN}` nor `{WORDS}`, nor `{}` with `{}`",
            gpt2::VOCABULARY,
            gpt2::MERGES
        ),
    ))
}

fn content(path: &Path, problem: String) -> TextError {
    TextError::Content {
        origin: path.display().to_string(),
        problem,
    }
}

/// Word pieces of BERT: lower case without accents unless the settings say otherwise, a mark in front of a text and one behind it.
fn word_pieces(path: &Path, settings: &Value) -> Result<Vec<u8>, TextError> {
    let fail = |problem: String| content(path, problem);
    let bytes = read_bytes(path)?;
    let text = std::str::from_utf8(&bytes).map_err(|error| {
        fail(format!(
            "it is no UTF-8 from byte {} on",
            error.valid_up_to()
        ))
    })?;
    let words = text.lines().map(|line| line.trim_end_matches('\r'));
    let vocabulary: Map<String, Value> = (0u32..)
        .zip(words)
        .map(|(id, word)| (word.to_owned(), id.into()))
        .collect();
    let named = |key: &str, otherwise: &str| {
        let own = settings.get(key);
        let own = own.and_then(|own| own.as_str().or_else(|| own["content"].as_str()));
        own.unwrap_or(otherwise).to_owned()
    };
    let special = [
        ("pad_token", "[PAD]"),
        ("unk_token", "[UNK]"),
        ("cls_token", "[CLS]"),
        ("sep_token", "[SEP]"),
        ("mask_token", "[MASK]"),
    ]
    .map(|(key, otherwise)| named(key, otherwise));
    let id = |word: &String| {
        let found = vocabulary.get(word).cloned();
        found.ok_or_else(|| fail(format!("it lacks `{word}`")))
    };
    let added = special.iter().map(|word| {
        Ok(json!({
            "id": id(word)?, "content": word, "special": true,
            "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
        }))
    });
    let added = added.collect::<Result<Vec<_>, TextError>>()?;
    let (begins, ends) = (id(&special[2])?, id(&special[3])?);
    let is = |key: &str| settings.get(key).and_then(Value::as_bool);
    let whole = json!({
        "version": "1.0",
        "added_tokens": added,
        "normalizer": {
            "type": "BertNormalizer",
            "clean_text": true,
            "handle_chinese_chars": is("tokenize_chinese_chars").unwrap_or(true),
            "strip_accents": is("strip_accents"),
            "lowercase": is("do_lower_case").unwrap_or(true),
        },
        "pre_tokenizer": { "type": "BertPreTokenizer" },
        "post_processor": {
            "type": "BertProcessing", "cls": [special[2], begins], "sep": [special[3], ends],
        },
        "decoder": { "type": "WordPiece", "prefix": "##", "cleanup": true },
        "model": {
            "type": "WordPiece",
            "unk_token": special[1],
            "continuing_subword_prefix": "##",
            "max_input_chars_per_word": 100,
            "vocab": vocabulary,
        },
    });
    Ok(whole.to_string().into_bytes())
}

/// Whether a folder has a tokenizer.
pub fn has_tokenizer(folder: &Path) -> bool {
    [WRITTEN, WORDS, gpt2::MERGES]
        .iter()
        .any(|name| fs::metadata(folder.join(name)).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Tokenizer;

    #[test]
    fn a_list_of_words_is_a_tokenizer() {
        let dir = tempfile::tempdir().unwrap();
        let words = "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\nsinus\nbrady\n##cardia\n.\n";
        fs::write(dir.path().join(WORDS), words).unwrap();
        let made = Tokenizer::read(dir.path()).unwrap();
        assert_eq!((made.pad(), made.end(), made.mask()), (0, 3, Some(4)));
        let ids = made.ids("Sinus bradycárdia. x").unwrap();
        assert_eq!(ids, [2, 5, 6, 7, 8, 1, 3]);
        // Kept and read back it is the same.
        let again = Tokenizer::from_json(made.json().to_vec(), "kept").unwrap();
        assert_eq!(again.ids("sinus.").unwrap(), made.ids("sinus.").unwrap());
        fs::write(dir.path().join(WORDS), "[PAD]\nsinus\n").unwrap();
        let error = Tokenizer::read(dir.path()).unwrap_err().to_string();
        assert!(
            error.contains("[CLS]") || error.contains("[UNK]"),
            "{error}"
        );
        fs::remove_file(dir.path().join(WORDS)).unwrap();
        let error = Tokenizer::read(dir.path()).unwrap_err().to_string();
        assert!(error.contains("neither"), "{error}");
    }
}
