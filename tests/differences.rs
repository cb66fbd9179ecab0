//! `docs/differences.md` is complete and names tests that exist; and what crosses crates of the differences it lists.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use purkinje_cluster::{CodeBook, FitConfig, Rows};
use purkinje_datasets::import::PtbXl;
use purkinje_models::checkpoint::{
    self, HubertLayout, ImportOptions, NamedTensor, StateDict, export_as, import_as,
};
use purkinje_models::hubert::{
    Head, Hubert, HubertBatch, HubertClassifier, HubertConfig, HubertInput,
};
use purkinje_models::layers::Context;
use purkinje_record::LeadSet;
use purkinje_signal::Preprocess;
use purkinje_signal::beats::BeatTokens;
use purkinje_signal::descriptors::AnalysisRate;
use purkinje_signal::hubert_input::{DECIMATION, HubertInputs};
use purkinje_signal::preprocess::{BeatSearch, Preparer};
use purkinje_store::{PrepareOptions, Store, prepare};
use purkinje_train::source::{Look, Source as _, StoreTokens};

/// Defects of HuBERT-ECG's program, numbered as in `docs/differences.md`.
const DEFECTS: usize = 25;
const HEADING: &str = "# Where HuBERT-ECG's program departs";

fn project() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Cells of the rows of tables about HuBERT-ECG whose first cell begins with a number of section 13, and that number.
fn rows() -> Vec<(usize, Vec<String>)> {
    let text = fs::read_to_string(project().join("docs/differences.md")).unwrap();
    let (_, text) = text.split_once(HEADING).unwrap();
    text.lines()
        .filter_map(|line| {
            let line = line.strip_prefix('|')?.strip_suffix('|')?;
            let cells: Vec<String> = line.split('|').map(|cell| cell.trim().to_owned()).collect();
            let number = cells[0].strip_prefix("13.")?;
            let end = number.find(|c: char| !c.is_ascii_digit());
            let number = number[..end.unwrap_or(number.len())].parse().ok()?;
            Some((number, cells))
        })
        .collect()
}

/// What stands between backticks.
fn quoted(text: &str) -> Vec<&str> {
    text.split('`').skip(1).step_by(2).collect()
}

/// The names of all functions that are tests, in crates and golden checks.
fn tests() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut waiting = vec![project().join("crates"), project().join("tests")];
    while let Some(path) = waiting.pop() {
        if path.is_dir() {
            waiting.extend(
                fs::read_dir(&path)
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        } else if path.extension().is_some_and(|ending| ending == "rs") {
            let text = fs::read_to_string(&path).unwrap();
            for part in text.split("#[test]").skip(1) {
                let rest = part.split_once("fn ").map_or("", |(_, rest)| rest);
                let end = rest.find('(').unwrap_or(0);
                found.insert(rest[..end].to_owned());
            }
        }
    }
    found
}

#[test]
fn every_defect_is_listed_in_order_with_tests_that_exist() {
    let rows = rows();
    let numbers: Vec<usize> = rows.iter().map(|(number, _)| *number).collect();
    assert!(numbers.is_sorted(), "{numbers:?}");
    let listed: BTreeSet<usize> = numbers.into_iter().collect();
    assert_eq!(listed, (1..=DEFECTS).collect());
    let tests = tests();
    assert!(tests.contains("every_defect_is_listed_in_order_with_tests_that_exist"));
    let golden = project().join("tests/golden-data/hubert-ecg");
    let mut without = Vec::new();
    for (number, cells) in &rows {
        assert_eq!(cells.len(), 4, "13.{number}: {cells:?}");
        let shown_by = &cells[3];
        let mut named = 0;
        for name in quoted(shown_by) {
            // Functions have underscores, golden cases have not.
            let exists = match name.contains('_') {
                true => tests.contains(name),
                false => golden.join(name).join("case.json").is_file(),
            };
            assert!(exists, "13.{number} names `{name}`, which is no test");
            named += 1;
        }
        if named == 0 {
            assert!(shown_by.starts_with("none: "), "13.{number}: {shown_by}");
            without.push(*number);
        }
    }
    // What programs do not do cannot be tested: numbers in the publication.
    assert_eq!(without, [21, 22]);
}

#[test]
fn a_golden_case_that_is_named_is_checked() {
    // Kinds of case that are named must be walked by the golden test; it fails for kinds that it does not know.
    let main = fs::read_to_string(project().join("tests/golden/main.rs")).unwrap();
    let complete = main.lines().find(|line| line.starts_with("const COMPLETE"));
    assert!(complete.unwrap().contains("\"hubert-ecg\""));
}

/// Ends of the names of functions, and golden cases, that a part names where it says what shows a difference.
fn shown_in(text: &str) -> Vec<String> {
    let mut shown = Vec::new();
    let mut in_table = false;
    for line in text.lines() {
        in_table = match line.ends_with("| shown by |") {
            true => true,
            false => in_table && line.starts_with('|'),
        };
        if in_table && let Some(cell) = line.trim_end_matches('|').rsplit('|').next() {
            shown.push(cell.to_owned());
        }
    }
    for part in text.split("Shown by").skip(1) {
        shown.push(part.split("\n\n").next().unwrap_or(part).to_owned());
    }
    shown
        .iter()
        .flat_map(|text| quoted(text))
        .map(|name| name.rsplit("::").next().unwrap_or(name).to_owned())
        .collect()
}

/// Defects of DERI's program, numbered as in `docs/differences.md`.
const DERI_DEFECTS: usize = 31;

/// The part about DERI and MERL: every defect has a row, and every row a test or a kind of golden case that exists.
#[test]
fn what_is_named_for_deri_and_merl_exists() {
    let text = fs::read_to_string(project().join("docs/differences.md")).unwrap();
    let (_, text) = text
        .split_once("# Where DERI's and MERL's programs depart")
        .unwrap();
    let (tests, mut kinds) = (tests(), String::new());
    for entry in fs::read_dir(project().join("tests/golden")).unwrap() {
        kinds += &fs::read_to_string(entry.unwrap().path()).unwrap();
    }
    let rows = text
        .lines()
        .filter(|line| line.starts_with('|') && !line.starts_with("| ---"))
        .skip(1);
    let mut listed = BTreeSet::new();
    for row in rows {
        let cells: Vec<&str> = row.trim_matches('|').split('|').collect();
        assert_eq!(cells.len(), 4, "{row}");
        // Numbers stand for themselves, joined by `to` for all between them.
        let words = cells[0].split([' ', ',']).filter(|word| !word.is_empty());
        let (mut last, mut through) = (None, false);
        for word in words {
            match word.strip_prefix('D').and_then(|n| n.parse::<usize>().ok()) {
                Some(number) if through => listed.extend(last.unwrap_or(number)..=number),
                Some(number) => {
                    listed.insert(number);
                    last = Some(number);
                }
                None if word == "to" => {
                    through = true;
                    continue;
                }
                None => break,
            }
            through = false;
        }
        let names = quoted(cells[3]);
        assert!(
            !names.is_empty() || cells[3].trim().starts_with("none: "),
            "nothing shows {row}"
        );
        for name in names {
            let kind = kinds.contains(&format!("(\"{name}\", "));
            assert!(kind || tests.contains(name), "`{name}` shows nothing");
        }
    }
    assert_eq!(listed, (1..=DERI_DEFECTS).collect());
}

/// The part about D-BETA: every row has a test or a golden case that exists.
#[test]
fn what_is_named_for_d_beta_exists() {
    let text = fs::read_to_string(project().join("docs/differences.md")).unwrap();
    let (_, text) = text.split_once("# Where D-BETA's program departs").unwrap();
    let (text, _) = text.split_once("# Where DERI's").unwrap();
    let (tests, golden) = (tests(), project().join("tests/golden-data/d-beta"));
    let rows: Vec<&str> = text
        .lines()
        .filter(|line| line.starts_with('|') && !line.starts_with("| ---"))
        .skip(1)
        .collect();
    assert!(rows.len() >= 18, "{} rows", rows.len());
    for row in rows {
        let last = row.trim_end_matches('|').rsplit('|').next().unwrap();
        let names = quoted(last);
        assert!(!names.is_empty(), "nothing shows {row}");
        for name in names {
            let case = golden.join(name).join("case.json").is_file();
            assert!(case || tests.contains(name), "`{name}` shows nothing");
        }
    }
}

#[test]
fn what_is_named_for_clear_hug_exists() {
    let (tests, golden) = (tests(), project().join("tests/golden-data/clear-hug"));
    let text = fs::read_to_string(project().join("docs/differences.md")).unwrap();
    let shown = shown_in(text.split_once(HEADING).unwrap().0);
    assert!(shown.len() > 20, "{shown:?}");
    for expected in [
        "tokenizer-lead-order",
        "r_peaks_come_from_lead_ii_by_name_or_from_the_second_row_as_released",
    ] {
        assert!(shown.iter().any(|name| name == expected), "{expected}");
    }
    // Tensors of golden cases and modes are named beside the cases and tests.
    let others = [
        "ids_keep",
        "token_embed",
        "logits_noise_*",
        "*_encoder_unmasked",
    ];
    for name in shown.iter().filter(|name| !others.contains(&name.as_str())) {
        let exists = match name.contains('_') {
            true => tests.contains(name),
            false => {
                golden.join(name).join("case.json").is_file()
                    || name == "embedded"
                    || name == "circular"
            }
        };
        assert!(exists, "`{name}` is no test");
    }
}

/// 3.1: a store has the R-peaks that its contract looks for, and a network gets those that its own contract looks for.
#[test]
fn r_peaks_are_stored_and_read_as_the_contract_looks_for_them() {
    let dir = tempfile::tempdir().unwrap();
    let source = PtbXl::new(project().join("tests/data/ptb-xl"));
    let stored = |name: &str, contract: &Preprocess| {
        let target = dir.path().join(name);
        prepare(&source, contract, &target, &PrepareOptions::default(), &()).unwrap();
        let json = fs::read_to_string(target.join("store.json")).unwrap();
        (Store::open(&target).unwrap(), json)
    };
    let turned: LeadSet = "V6,V5,II,I".parse().unwrap();
    let (second, first) = (
        LeadSet::new(vec![turned.leads()[1].clone()]),
        Preprocess::clear_ptbxl(),
    );
    let paper = first.clone().with_leads(turned.clone());
    let released = paper.clone().with_beats(BeatSearch::RELEASED);
    let (twelve, json) = stored("twelve", &first);
    assert!(json.contains("\"multi_lead\""));
    let (of_second, json) = stored("second", &released);
    assert!(json.contains("\"second_row\""));
    let (alone, _) = stored("alone", &released.clone().with_leads(second));

    let peaks = |store: &Store| -> Vec<Vec<i32>> {
        store.rows().map(|row| row.r_peaks().to_vec()).collect()
    };
    assert_eq!(peaks(&of_second), peaks(&alone));
    assert_ne!(peaks(&of_second), peaks(&twelve));
    let cut = |store: &Store, contract: &Preprocess| -> Vec<BeatTokens> {
        let rows = (0..store.len()).collect();
        let tokens = StoreTokens::new(store, rows, contract).unwrap();
        (0..tokens.len())
            .map(|row| tokens.see(row, Look::Whole).unwrap())
            .collect()
    };
    // Whichever leads a store holds, and whatever it was asked for, tokens are those of the network's contract.
    assert_eq!(cut(&twelve, &released), cut(&of_second, &released));
    assert_eq!(cut(&twelve, &paper), cut(&of_second, &paper));
    assert_ne!(cut(&twelve, &paper), cut(&twelve, &released));
    // With lead II second, XQRS gives the same by name and by place; all leads together give others.
    let [by_name, second] =
        [BeatSearch::UNSAID, BeatSearch::RELEASED].map(|beats| first.clone().with_beats(beats));
    assert_eq!(cut(&twelve, &by_name), cut(&twelve, &second));
    assert_ne!(cut(&twelve, &first), cut(&twelve, &second));
}

/// 13.1: the centres of two books are the same, the rows they are nearest to are not.
#[test]
fn cluster_indices_are_of_rows_as_fitted_unless_released() {
    let (paper, released) = (FitConfig::new(2), FitConfig::released(2));
    assert_eq!(
        (paper.fitted_on, released.fitted_on),
        (Rows::UnitNorm, Rows::UnitNorm)
    );
    let word = |config: &FitConfig, row: [f32; 2]| {
        let mut book = CodeBook::new(vec![0.6, 0.8, 1.4, 0.2], 2, config.fitted_on).unwrap();
        book.assigned_on = config.assigned_on;
        book.assign(&row).unwrap()[0]
    };
    // Short of the first centre in direction, near the second as it is.
    assert_eq!(word(&paper, [2.0, 1.0]), 0);
    assert_eq!(word(&released, [2.0, 1.0]), 1);
}

/// 13.4, 13.7: one large wave late in a recording sets the range of all of it, and the offset stays.
#[test]
fn ranges_are_of_the_recording_and_offsets_stay_as_published_weights_want() {
    let contract = Preprocess::hubert();
    let wave = |k: usize| match k {
        3000..3100 => 3.0,
        _ => 1.0 + 0.1 * (k as f64 * 0.05).sin(),
    };
    let rows: Vec<f64> = (0..12 * 5000).map(|k| wave(k % 5000)).collect();
    let preparer = Preparer::new(&contract).unwrap();
    let prepared = preparer
        .apply_samples("one", &contract.leads, 500.0, &rows)
        .unwrap();
    let lead: Vec<f32> = prepared.rows[..5000].iter().map(|v| *v as f32).collect();
    let range = |values: &[f32]| {
        values.iter().fold((f32::MAX, f32::MIN), |(low, high), v| {
            (low.min(*v), high.max(*v))
        })
    };
    let (low, high) = range(&lead);
    assert!(low == -1.0 && (0.999..=1.0).contains(&high), "{low} {high}");
    let (low, high) = range(&lead[..2500]);
    assert!(high - low < 0.3, "{low} {high}");
    // Decimation rings beyond the range at steep edges.
    let inputs = HubertInputs::new(Some(DECIMATION)).unwrap();
    let square: Vec<f32> = (0..12 * 2500)
        .map(|k| if k / 100 % 2 == 0 { 1.0 } else { -1.0 })
        .collect();
    let input = inputs.crop(&square, 12, 0, 2500).unwrap();
    let (low, high) = range(&input.signal);
    assert!(low < -1.0 && high > 1.0, "{low} {high}");
}

/// 13.9: a rate without a layout is not taken for 50 Hz.
#[test]
fn analysis_rates_are_refused_and_not_guessed() {
    for rate_hz in [0, 49, 60, 250, 1000] {
        assert_eq!(AnalysisRate::from_hz(rate_hz), None);
    }
    let pieces = [50, 100, 500].map(|hz| AnalysisRate::from_hz(hz).unwrap().piece_samples());
    assert_eq!(pieces, [32, 64, 322]);
}

fn classifier(outputs: usize) -> HubertClassifier {
    let config = HubertConfig::tiny();
    let device = Device::flex();
    let mut encoder = Hubert::random(config.clone(), 5, &device);
    let d = config.hidden_size;
    Head::Linear.initialise(encoder.weights_mut(), d, outputs, 5, &device);
    HubertClassifier::new(encoder, Head::Linear, outputs).unwrap()
}

/// 13.12, 13.17: what is judged has a row for each record and a column for each label, also in a last batch of one.
#[test]
fn a_last_batch_of_one_record_has_logits_like_any_other() {
    let model = classifier(4);
    let config = model.encoder().config();
    let inputs: Vec<HubertInput> = (0..3)
        .map(|record| HubertInput {
            samples: (0..6000)
                .map(|k| ((k * (record + 2)) as f32 * 0.013).sin())
                .collect(),
            real: None,
        })
        .collect();
    let ctx = Context::inference(&Device::flex());
    let logits = |inputs: &[HubertInput]| {
        let batch = HubertBatch::new(config, inputs).unwrap();
        let found = model.classify(&batch, &ctx);
        assert_eq!(found.logits.dims(), [inputs.len(), 4]);
        assert_eq!(found.last.dims(), [inputs.len(), 93, config.hidden_size]);
        found.logits.into_data().try_to_vec::<f32>().unwrap()
    };
    let together = logits(&inputs);
    let alone = logits(&inputs[2..]);
    for (a, b) in together[8..].iter().zip(&alone) {
        assert!((a - b).abs() < 1e-5, "{a} {b}");
    }
    assert!(
        together[..4]
            .iter()
            .zip(&alone)
            .any(|(a, b)| (a - b).abs() > 1e-4)
    );
}

/// 13.17, 13.25: a folder of the later layout says two outputs and masking; the head's tensor says seven.
#[test]
fn outputs_and_masking_of_a_classifier_are_not_its_configurations() {
    let model = classifier(7);
    let config = model.encoder().config().clone();
    let layout = HubertLayout::classification(config, Head::Linear, 7);
    let state: StateDict = model
        .encoder()
        .weights()
        .to_host()
        .into_iter()
        .map(|(name, shape, data)| (name, NamedTensor { shape, data }))
        .collect();
    let tensors = export_as(state, &layout).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("model.safetensors");
    checkpoint::write_safetensors(&file, &tensors, &HashMap::default()).unwrap();
    let mut fields = layout.published_config();
    fields["mask_time_prob"] = 0.33.into();
    fields["num_labels"] = 2.into();
    fields["task_type"] = "multi_label".into();
    fs::write(dir.path().join("config.json"), fields.to_string()).unwrap();
    let found = import_as::<HubertLayout>(dir.path(), &ImportOptions::default()).unwrap();
    assert!(found.report.is_complete(), "{}", found.report);
    assert_eq!(found.layout.classifier, Some((Head::Linear, 7)));
    assert_eq!(found.layout.config.mask_time_prob, 0.0);
}
