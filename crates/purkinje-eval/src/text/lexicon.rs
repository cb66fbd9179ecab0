//! Texts as lists of numbers: every distinct word is cut and stemmed once.

use std::collections::HashMap;
use std::ops::Range;

use rayon::prelude::*;

use super::negation::Role;
use super::tokens::{ascii_pieces, is_letter, rouge_stem, words};

/// Texts that one thread tokenises with a map of its own.
const CHUNK: usize = 1024;

/// Ends a clause, among the items of a text.
pub(super) const CLAUSE_END: u32 = u32::MAX;

/// The words of texts, as numbers.
pub(super) struct Corpus {
    words: Vec<u32>,
    ends: Vec<usize>,
    lexicon: Lexicon,
}

/// The words of some of the texts, as places in a list of their own.
struct Chunk<'a> {
    distinct: Vec<&'a str>,
    words: Vec<u32>,
    lengths: Vec<usize>,
}

impl Corpus {
    /// Tokenises texts in parallel; numbers do not depend on the threads.
    pub fn new(texts: &[&str]) -> Self {
        let chunks: Vec<Chunk<'_>> = texts.par_chunks(CHUNK).map(Chunk::new).collect();
        let mut corpus = Corpus {
            words: Vec::with_capacity(chunks.iter().map(|chunk| chunk.words.len()).sum()),
            ends: Vec::with_capacity(texts.len()),
            lexicon: Lexicon::default(),
        };
        let mut known: HashMap<&str, u32> = HashMap::new();
        let mut end = 0;
        for chunk in chunks {
            let numbers: Vec<u32> = chunk
                .distinct
                .into_iter()
                .map(|word| {
                    let next = known.len() as u32;
                    *known.entry(word).or_insert_with(|| {
                        corpus.lexicon.add(word);
                        next
                    })
                })
                .collect();
            let own = chunk.words.iter().map(|&word| numbers[word as usize]);
            corpus.words.extend(own);
            for length in chunk.lengths {
                end += length;
                corpus.ends.push(end);
            }
        }
        corpus
    }

    /// The words of text `index`.
    pub fn text(&self, index: usize) -> &[u32] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.words[start..self.ends[index]]
    }

    /// What is known about the words.
    pub fn lexicon(&self) -> &Lexicon {
        &self.lexicon
    }
}

impl<'a> Chunk<'a> {
    fn new(texts: &[&'a str]) -> Self {
        let mut known: HashMap<&str, u32> = HashMap::new();
        let mut chunk = Chunk {
            distinct: Vec::new(),
            words: Vec::new(),
            lengths: Vec::with_capacity(texts.len()),
        };
        for text in texts {
            let before = chunk.words.len();
            for word in words(text) {
                let number = *known.entry(word).or_insert_with(|| {
                    chunk.distinct.push(word);
                    chunk.distinct.len() as u32 - 1
                });
                chunk.words.push(number);
            }
            chunk.lengths.push(chunk.words.len() - before);
        }
        chunk
    }
}

/// What the scores need to know about each distinct word. A term is a text in lower case: a word, a part of one, a stem.
#[derive(Default)]
pub(super) struct Lexicon {
    words: Vec<Word>,
    /// Terms that ROUGE sees in the words, one word after the other.
    rouge: Vec<u32>,
    /// Runs of letters and digits in the words, and [`CLAUSE_END`].
    items: Vec<u32>,
    terms: Vec<String>,
    roles: Vec<Role>,
    numbers: HashMap<String, u32>,
}

struct Word {
    lower: u32,
    stem: u32,
    rouge: Range<usize>,
    items: Range<usize>,
}

impl Lexicon {
    fn add(&mut self, word: &str) {
        let lower = word.to_lowercase();
        let starts = (self.rouge.len(), self.items.len());
        // White space separates in every tokenisation, so that the parts of a text are those of its words.
        for piece in ascii_pieces(&lower) {
            let term = self.term(&rouge_stem(piece));
            self.rouge.push(term);
        }
        self.add_items(&lower);
        let word = Word {
            stem: self.term(&super::porter::stem(&lower)),
            lower: self.term(&lower),
            rouge: starts.0..self.rouge.len(),
            items: starts.1..self.items.len(),
        };
        self.words.push(word);
    }

    fn add_items(&mut self, lower: &str) {
        let mut rest = lower;
        let mut before = None;
        while let Some(c) = rest.chars().next() {
            if is_letter(c) {
                let end = rest.find(|c| !is_letter(c)).unwrap_or(rest.len());
                let term = self.term(&rest[..end]);
                self.items.push(term);
                before = rest[..end].chars().next_back();
                rest = &rest[end..];
                continue;
            }
            rest = &rest[c.len_utf8()..];
            // The point or comma of a number ends nothing.
            let digit = |c: Option<char>| c.is_some_and(|c| c.is_ascii_digit());
            let in_number = c != ';' && digit(before) && digit(rest.chars().next());
            if matches!(c, '.' | ',' | ';') && !in_number {
                self.items.push(CLAUSE_END);
            }
            before = Some(c);
        }
    }

    fn term(&mut self, text: &str) -> u32 {
        if let Some(&number) = self.numbers.get(text) {
            return number;
        }
        let number = self.terms.len() as u32;
        self.numbers.insert(text.to_owned(), number);
        self.roles.push(Role::of(text));
        self.terms.push(text.to_owned());
        number
    }

    /// The words in lower case.
    pub fn lower(&self, words: &[u32], out: &mut Vec<u32>) {
        out.clear();
        out.extend(words.iter().map(|&word| self.words[word as usize].lower));
    }

    /// The stems of the words.
    pub fn stems(&self, words: &[u32], out: &mut Vec<u32>) {
        out.clear();
        out.extend(words.iter().map(|&word| self.words[word as usize].stem));
    }

    /// The tokens of ROUGE.
    pub fn rouge(&self, words: &[u32], out: &mut Vec<u32>) {
        out.clear();
        for &word in words {
            out.extend_from_slice(&self.rouge[self.words[word as usize].rouge.clone()]);
        }
    }

    /// Runs of letters and digits, and [`CLAUSE_END`] where a clause ends.
    pub fn items(&self, words: &[u32], out: &mut Vec<u32>) {
        out.clear();
        for &word in words {
            out.extend_from_slice(&self.items[self.words[word as usize].items.clone()]);
        }
    }

    /// What a term does to negation.
    pub fn role(&self, term: u32) -> Role {
        self.roles[term as usize]
    }

    /// A term as text.
    pub fn term_text(&self, term: u32) -> &str {
        &self.terms[term as usize]
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::text::tokens::{rouge_tokens, unicode_tokens};

    fn texts(corpus: &Corpus, terms: &[u32]) -> Vec<String> {
        let terms = terms.iter().filter(|&&term| term != CLAUSE_END);
        terms
            .map(|&term| corpus.lexicon.term_text(term).to_owned())
            .collect()
    }

    proptest! {
        #[test]
        fn tokens_of_texts_are_those_of_their_words(all in prop::collection::vec(
            prop_oneof!["\\PC{0,30}", "[aΣσK .,;\u{1f}äB0-9ing]{0,30}"], 1..6))
        {
            let all: Vec<&str> = all.iter().map(String::as_str).collect();
            let corpus = Corpus::new(&all);
            let mut found = Vec::new();
            for (index, text) in all.iter().enumerate() {
                let words = corpus.text(index);
                prop_assert_eq!(words.len(), super::words(text).count());
                corpus.lexicon.rouge(words, &mut found);
                prop_assert_eq!(texts(&corpus, &found), rouge_tokens(text));
                corpus.lexicon.items(words, &mut found);
                prop_assert_eq!(texts(&corpus, &found), unicode_tokens(text));
                corpus.lexicon.lower(words, &mut found);
                let lower = text.to_lowercase();
                prop_assert_eq!(texts(&corpus, &found), super::words(&lower).collect::<Vec<_>>());
            }
        }
    }

    #[test]
    fn numbers_go_on_from_chunk_to_chunk() {
        let all: Vec<String> = (0..2 * CHUNK + 3)
            .map(|i| format!("w{} x", i % 700))
            .collect();
        let all: Vec<&str> = all.iter().map(String::as_str).collect();
        let corpus = Corpus::new(&all);
        assert_eq!(corpus.text(5), corpus.text(705));
        assert_eq!(corpus.text(1), corpus.text(2 * CHUNK + 1 - 2 * CHUNK % 700));
        assert_eq!(corpus.lexicon.words.len(), 701);
    }

    #[test]
    fn points_within_numbers_end_no_clause() {
        let corpus = Corpus::new(&["qt 0.44, 1,5 s. 2;3 x."]);
        let mut items = Vec::new();
        corpus.lexicon.items(corpus.text(0), &mut items);
        let ends: Vec<bool> = items.iter().map(|&item| item == CLAUSE_END).collect();
        let (w, e) = (false, true);
        // qt 0 44 , 1 5 s . 2 ; 3 x .
        assert_eq!(ends, [w, w, w, e, w, w, w, e, w, e, w, w, e]);
    }
}
