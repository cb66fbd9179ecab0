//! A tokenizer made from the reports at hand: byte-pair encoding (Sennrich et al., ACL 2016), laid out as that of T5.
//!
//! T5 has a Unigram tokenizer. The library's trainer of those gives other scores in every process, and spells words that have one
//! ending only in characters, however frequent they are; merges of pairs are counted in whole numbers.

use tokenizers::models::bpe::{BPE, BpeTrainer};
use tokenizers::normalizers::NFKC;
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{
    AddedToken, DecoderWrapper, NormalizerWrapper, PostProcessorWrapper, PreTokenizerWrapper,
    TokenizerBuilder,
};

use crate::{TextError, Tokenizer};

/// Padding, end, unknown, mask: the first four ids.
const SPECIAL: [&str; 4] = ["<pad>", "</s>", "<unk>", "<extra_id_0>"];
const END: (&str, u32) = ("</s>", 1);
/// The fifth, if there is a mark in front of texts.
const BEGIN: (&str, u32) = ("<s>", 4);

/// Whether texts have a mark in front of them as well as behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Marks {
    /// Behind them, as T5 has it.
    End,
    /// Around them, as BERT has it.
    Both,
}

/// A tokenizer of at most `vocabulary` word pieces for texts like these. The same texts give the same tokenizer.
///
/// # Errors
/// When there is no text, or the vocabulary has no room for all characters.
pub fn train(texts: &[String], vocabulary: usize, marks: Marks) -> Result<Tokenizer, TextError> {
    let fail = |problem: String| TextError::Content {
        origin: "made from the reports".to_owned(),
        problem,
    };
    let library = |error: tokenizers::Error| fail(error.to_string());
    if texts.iter().all(|text| text.trim().is_empty()) {
        return Err(fail("there is no report with words".to_owned()));
    }
    let (special, around, used) = match marks {
        Marks::End => (SPECIAL.to_vec(), "$A </s>", vec![END]),
        Marks::Both => (
            [&SPECIAL[..], &[BEGIN.0]].concat(),
            "<s> $A </s>",
            vec![BEGIN, END],
        ),
    };
    let special: Vec<AddedToken> = special
        .into_iter()
        .map(|name| AddedToken::from(name, true))
        .collect();
    let ending = TemplateProcessing::builder()
        .try_single(around)
        .map_err(|error| fail(error.clone()))?
        .special_tokens(used)
        .build()
        .map_err(|error| fail(error.to_string()))?;
    let model = BPE::builder().unk_token(SPECIAL[2].to_owned()).build();
    let model = model.map_err(library)?;
    let spaces = Metaspace::new('\u{2581}', PrependScheme::Always, true);
    let mut tokenizer = TokenizerBuilder::<
        BPE,
        NormalizerWrapper,
        PreTokenizerWrapper,
        PostProcessorWrapper,
        DecoderWrapper,
    >::new()
    .with_model(model)
    .with_normalizer(Some(NFKC.into()))
    .with_pre_tokenizer(Some(spaces.clone().into()))
    .with_post_processor(Some(ending.into()))
    .with_decoder(Some(spaces.into()))
    .build()
    .map_err(library)?;
    let mut trainer = BpeTrainer::builder()
        .show_progress(false)
        .vocab_size(vocabulary)
        .min_frequency(2)
        .special_tokens(special.clone())
        .build();
    tokenizer
        .train(&mut trainer, texts.iter().map(String::as_str))
        .map_err(library)?;
    let size = tokenizer.get_vocab_size(true);
    if size > vocabulary {
        return Err(fail(format!(
            "their characters and {} special pieces need a vocabulary of {size}, asked for was {vocabulary}",
            special.len()
        )));
    }
    let json = tokenizer.to_string(false).map_err(library)?;
    Tokenizer::from_json(json.into_bytes(), "made from the reports")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tokenizer_is_made_from_reports() {
        let texts: Vec<String> = (0..200)
            .map(|i| {
                let words = [
                    "sinus rhythm",
                    "atrial fibrillation",
                    "normal ecg",
                    "vorhofflimmern",
                ];
                format!("{}. rate {}", words[i % 4], 40 + i % 90)
            })
            .collect();
        let made = train(&texts, 120, Marks::End).unwrap();
        assert!(made.size() <= 120 && made.size() > 40, "{}", made.size());
        assert_eq!(
            (made.pad(), made.end(), made.unknown(), made.mask()),
            (0, 1, Some(2), Some(3))
        );
        let ids = made.ids("sinus rhythm. rate 70").unwrap();
        assert_eq!(ids.last(), Some(&1));
        assert!(ids.len() < 12 && !ids.contains(&2), "{ids:?}");
        assert!(made.ids("\u{4e2d}").unwrap().contains(&2));
        let both = train(&texts, 120, Marks::Both).unwrap();
        let ids = both.ids("sinus rhythm. rate 70").unwrap();
        assert_eq!(
            (ids[0], ids.last(), both.piece(4).as_deref()),
            (4, Some(&1), Some("<s>"))
        );
        for threads in [1, 2, 7] {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            let again = pool
                .unwrap()
                .install(|| train(&texts, 120, Marks::End).unwrap());
            assert!(again.json() == made.json(), "{threads} threads");
        }
        assert!(
            train(&texts, 20, Marks::End)
                .unwrap_err()
                .to_string()
                .contains("vocabulary of")
        );
        assert!(train(&["  ".to_owned()], 100, Marks::End).is_err());
    }
}
