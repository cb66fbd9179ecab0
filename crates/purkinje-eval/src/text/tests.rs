//! What holds for all texts.

use proptest::prelude::*;

use super::*;

fn scores(pairs: &[(String, String)]) -> TextScores {
    let pairs: Vec<TextPair<'_>> = pairs
        .iter()
        .map(|(reference, generated)| TextPair {
            id: "pair",
            reference,
            generated,
        })
        .collect();
    text_scores(&pairs, &TextOptions::default()).unwrap()
}

/// Any text, and texts of few words, so that much is equal and repeated.
fn text() -> impl Strategy<Value = String> {
    let word = prop::sample::select(vec![
        "no",
        "ecg.",
        "Sinus",
        "sinus",
        "changes",
        "changed",
        "kein",
        "veränderung,",
        "st-t",
        "0.4",
        "rhythm",
        "but",
        "***",
        "İ",
    ]);
    prop_oneof![
        any::<String>(),
        "\\PC{0,80}",
        prop::collection::vec(word, 0..40).prop_map(|words| words.join(" ")),
    ]
}

fn pairs() -> impl Strategy<Value = Vec<(String, String)>> {
    prop::collection::vec((text(), text()), 1..8)
}

fn rouge_values(rouge: &RougeL) -> [f64; 3] {
    [rouge.precision, rouge.recall, rouge.f1]
}

fn fractions(pair: &PairScores) -> Vec<f64> {
    let mut all = vec![pair.meteor, pair.repeated, pair.cider / 10.0];
    all.extend(pair.bleu);
    all.extend(rouge_values(&pair.rouge_l));
    all.extend(rouge_values(&pair.rouge_l_unicode));
    all
}

proptest! {
    #[test]
    fn scores_lie_in_their_range(pairs in pairs()) {
        let found = scores(&pairs);
        prop_assert_eq!(found.pairs.len(), pairs.len());
        for pair in &found.pairs {
            for value in fractions(pair) {
                prop_assert!((0.0..=1.0 + 1e-12).contains(&value), "{:?}", pair);
            }
        }
        prop_assert!(found.distinct_generated <= pairs.len() && found.distinct_references <= pairs.len());
        prop_assert!(found.pairs_with_negation_errors <= found.negation_errors);
    }

    #[test]
    fn equal_texts_score_highest(pairs in pairs(), text in text()) {
        let all: Vec<(String, String)> = pairs
            .iter()
            .map(|(_, other)| (text.clone(), other.clone()))
            .chain([(text.clone(), format!(" {text}")), ("x".into(), "y".into())])
            .collect();
        let found = scores(&all);
        let same = &found.pairs[pairs.len()];
        prop_assert!(same.exact && same.negation_errors.is_empty());
        if same.reference_words >= 4 {
            prop_assert_eq!(same.bleu, [1.0; 4]);
        }
        let one = |is_there: bool| if is_there { [1.0; 3] } else { [0.0; 3] };
        prop_assert_eq!(rouge_values(&same.rouge_l), one(!rouge_tokens(&text).is_empty()));
        prop_assert_eq!(
            rouge_values(&same.rouge_l_unicode),
            one(!unicode_tokens(&text).is_empty())
        );
        for other in &found.pairs[..pairs.len()] {
            prop_assert!(other.meteor <= same.meteor + 1e-12);
            prop_assert!(other.cider <= same.cider + 1e-9);
            prop_assert!(other.rouge_l.f1 <= same.rouge_l.f1);
        }
    }

    #[test]
    fn exchanged_texts_exchange_precision_and_recall(pairs in pairs()) {
        let turned: Vec<_> = pairs.iter().map(|(a, b)| (b.clone(), a.clone())).collect();
        for (pair, turned) in scores(&pairs).pairs.iter().zip(&scores(&turned).pairs) {
            for (one, two) in [
                (pair.rouge_l, turned.rouge_l),
                (pair.rouge_l_unicode, turned.rouge_l_unicode),
            ] {
                prop_assert_eq!((one.precision, one.recall), (two.recall, two.precision));
                prop_assert!((one.f1 - two.f1).abs() < 1e-15);
            }
            prop_assert_eq!(&pair.negation_errors, &turned.negation_errors);
            prop_assert_eq!(pair.exact, turned.exact);
        }
    }

    #[test]
    fn a_pair_does_not_depend_on_its_place(pairs in pairs()) {
        let mut turned: Vec<_> = pairs.clone();
        turned.reverse();
        let mut backwards = scores(&turned).pairs;
        backwards.reverse();
        prop_assert_eq!(scores(&pairs).pairs, backwards);
    }
}

#[test]
fn threads_change_nothing() {
    let pairs: Vec<(String, String)> = (0..3000)
        .map(|i| {
            (
                format!("sinus w{} rhythm w{}", i % 7, i % 1100),
                format!("w{} sinus w{} ecg", i % 1100, i % 5),
            )
        })
        .collect();
    let with = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads);
        pool.build().unwrap().install(|| scores(&pairs))
    };
    let one = with(1);
    assert_eq!(one, with(3));
    let mean: f64 = one.pairs.iter().map(|pair| pair.cider).sum::<f64>() / 3000.0;
    assert_eq!(one.means.cider, mean);
}

#[test]
fn texts_are_counted() {
    let pairs = [
        ("sinus rhythm. normal ecg.", " sinus  rhythm. normal ecg."),
        ("sinus rhythm. normal ecg.", "sinus rhythm. normal ecg"),
        ("no acute infarct", "acute infarct infarct"),
        ("", "sinus rhythm. normal ecg."),
        ("", ""),
    ]
    .map(|(reference, generated)| (reference.to_owned(), generated.to_owned()));
    let found = scores(&pairs);
    assert_eq!(found.exact_matches, 2);
    assert_eq!(
        (found.distinct_references, found.distinct_generated),
        (3, 4)
    );
    assert_eq!(
        (found.negation_errors, found.pairs_with_negation_errors),
        (2, 1)
    );
    assert_eq!(found.means.reference_words, 11.0 / 5.0);
    assert_eq!(found.means.generated_words, 15.0 / 5.0);
    assert_eq!(found.pairs[4].bleu, [0.0; 4]);
    // A German word that ROUGE would cut in two counts once.
    let found = scores(&[("veränderung".into(), "veranderung".into())]);
    assert_eq!(found.pairs[0].rouge_l_unicode.f1, 0.0);
}

#[test]
fn what_cannot_be_scored_is_refused() {
    assert!(text_scores(&[], &TextOptions::default()).is_err());
    let pair = TextPair {
        id: "",
        reference: "a",
        generated: "a",
    };
    let mut options = TextOptions {
        repeat_order: 0,
        ..TextOptions::default()
    };
    assert!(text_scores(&[pair], &options).is_err());
    options.repeat_order = usize::MAX;
    assert!(text_scores(&[pair], &options).is_err());
    let unknown = serde_json::from_str::<TextOptions>(r#"{"bleu": {"epsilonn": 0.1}}"#);
    assert!(unknown.is_err());
}

#[test]
fn scores_survive_json() {
    let found = scores(&[("no infarct".into(), "infarct".into())]);
    let json = serde_json::to_string(&found).unwrap();
    assert_eq!(serde_json::from_str::<TextScores>(&json).unwrap(), found);
}
