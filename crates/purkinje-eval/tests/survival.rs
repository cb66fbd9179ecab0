//! Concordance against NumPy and lifelines (`tests/survival/make.py`, versions in the file).

use purkinje_eval::survival::concordance;
use serde::Deserialize;

#[derive(Deserialize)]
struct Reference {
    cases: Vec<Case>,
}

#[derive(Deserialize)]
struct Case {
    scores: Vec<f32>,
    times: Vec<f32>,
    events: Vec<bool>,
    comparable: u64,
    index: f64,
}

#[test]
fn concordance_is_that_of_numpy_and_lifelines() {
    let reference: Reference =
        serde_json::from_str(include_str!("survival/reference.json")).unwrap();
    assert_eq!(reference.cases.len(), 5);
    for case in &reference.cases {
        let found = concordance(&case.scores, &case.times, &case.events).unwrap();
        assert_eq!(found.comparable, case.comparable);
        let index = found.index().unwrap();
        assert!((index - case.index).abs() < 1e-12, "{index}");
    }
}
