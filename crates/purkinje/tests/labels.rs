//! Heads on frozen vectors, fine-tuning and evaluating, from stores made of real recordings.

use std::path::{Path, PathBuf};

use purkinje::datasets::import::PtbXl;
use purkinje::features::{FeatureOptions, Features};
use purkinje::finetune::{FinetuneOptions, finetune};
use purkinje::models::compat::Compat;
use purkinje::network::state_dict;
use purkinje::probe::{HeadOptions, ProbeOptions, Probed, probe};
use purkinje::record::{OpenOptions, Recording};
use purkinje::signal::Preprocess;
use purkinje::store::{PrepareOptions, Store, prepare};
use purkinje::{Device, EvaluateOptions, Model, Registry, Silent, evaluate};
use tempfile::TempDir;

fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/ptb-xl")
}

fn recording() -> Recording {
    let file = data().join("records100/00000/00006_lr.hea");
    purkinje::record::open(&file, &OpenOptions::default()).unwrap()
}

/// A small network with random weights and a store for it.
fn made(system: &str, preprocess: Preprocess) -> (TempDir, Store, Model) {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("store");
    let options = PrepareOptions::default();
    prepare(&PtbXl::new(data()), &preprocess, &out, &options, &()).unwrap();
    let (registry, device) = (Registry::default(), Device::cpu());
    let network = registry.named(system).unwrap();
    let network = network.random("tiny", Compat::Paper, 1, &device).unwrap();
    let model = Model::encoder(network, preprocess, &device, &registry);
    (dir, Store::open(&out).unwrap(), model)
}

fn clear() -> (TempDir, Store, Model) {
    made("clear", Preprocess::clear_ptbxl())
}

fn probed(model: &Model, store: &Store, heads: &[&str], memory_limit: u64) -> Probed {
    let options = ProbeOptions {
        tasks: vec!["superdiagnostic".into()],
        fractions: vec![0.5, 1.0],
        heads: heads.iter().map(|head| (*head).to_owned()).collect(),
        head: HeadOptions {
            epochs: 2,
            ..HeadOptions::default()
        },
        resamples: 5,
        memory_limit,
        ..ProbeOptions::default()
    };
    probe(model, store, &options, &Silent).unwrap()
}

/// Base and contributions are the logit, whatever the base is.
fn sums_to_the_logit(model: &Model) {
    let recording = recording();
    let reference = model.labelled().unwrap().reference.clone().unwrap();
    assert!(reference.records > 1);
    let zero = model.clone().with_reference(None).unwrap();
    for class in &model.labelled().unwrap().classes {
        let against_mean = model.explain(&recording, &class.name).unwrap();
        let against_zero = zero.explain(&recording, &class.name).unwrap();
        assert_eq!(against_mean.reference_records, Some(reference.records));
        assert_eq!(against_zero.reference_records, None);
        for explanation in [&against_mean, &against_zero] {
            let gap = explanation.sum() - f64::from(explanation.logit);
            assert!(gap.abs() < 1e-5, "{}: {gap}", class.name);
        }
        assert_ne!(against_mean.base, against_zero.base);
    }
}

#[test]
fn where_vectors_lie_does_not_change_a_bit() {
    let (_dir, store, model) = clear();
    let contract = store.info().preprocess.clone();
    let held = |memory_limit| {
        let options = FeatureOptions {
            memory_limit,
            ..FeatureOptions::default()
        };
        Features::compute(&model, &store, &contract, &options, "encode", &Silent).unwrap()
    };
    let (memory, disk) = (held(u64::MAX), held(1000));
    assert!(disk.on_disk() && !memory.on_disk());
    let rows = [3, 0, 3, store.len() - 1];
    assert_eq!(memory.rows(&rows).unwrap(), disk.rows(&rows).unwrap());
    assert_eq!(memory.means(&rows).unwrap(), disk.means(&rows).unwrap());
    assert!(disk.rows(&[store.len()]).is_err());

    let heads = ["linear", "hug"];
    let [memory, disk] = [u64::MAX, 1000].map(|limit| probed(&model, &store, &heads, limit));
    let json = |probed: &Probed| serde_json::to_string(probed).unwrap();
    assert_eq!(json(&memory), json(&disk));
    assert_eq!(memory.classifiers.len(), 4);
    for (a, b) in memory.classifiers.iter().zip(&disk.classifiers) {
        let state = |model: &Model| state_dict(model.network().weights());
        assert_eq!(state(&a.model), state(&b.model));
        assert_eq!(a.model.labels(), b.model.labels());
    }
}

#[test]
fn explanations_of_fitted_heads_compare_with_the_mean_recording() {
    let (_dir, store, model) = clear();
    for classifier in probed(&model, &store, &["linear", "hug"], u64::MAX).classifiers {
        sums_to_the_logit(&classifier.model);
        // From features that were at hand, or by another pass over the records.
        let rows = purkinje::task::Task::load(&store, "superdiagnostic", None, &Silent);
        let rows = rows.unwrap().train.rows;
        if classifier.fraction == 1.0 {
            let contract = &store.info().preprocess;
            let passed = classifier.model.reference(&store, &rows, contract, &Silent);
            let passed = passed.unwrap().unwrap();
            let own = classifier
                .model
                .labels()
                .unwrap()
                .reference
                .clone()
                .unwrap();
            assert_eq!((own.records, &own.leads), (passed.records, &passed.leads));
            for (a, b) in own.contributions.iter().zip(&passed.contributions) {
                assert!((a - b).abs() < 1e-4 * (1.0 + a.abs()), "{a} {b}");
            }
        }
    }
    let (_dir, store, model) = made("hubert", Preprocess::hubert());
    for classifier in probed(&model, &store, &["linear"], u64::MAX).classifiers {
        sums_to_the_logit(&classifier.model);
    }
}

#[test]
fn a_fine_tuned_model_is_saved_read_and_evaluated_as_it_was() {
    let (dir, store, model) = clear();
    let out = dir.path().join("run");
    let options = FinetuneOptions {
        out: Some(out.clone()),
        resamples: 5,
        ..FinetuneOptions::new("superdiagnostic")
    };
    let options = options.with("train.updates", 2).with("batch", 8);
    let found = finetune(&model, &store, &options, &Silent).unwrap();
    sums_to_the_logit(&found.model);
    assert_eq!(found.config.batch, 8);

    let read = Model::load(&out, &Device::cpu()).unwrap();
    assert_eq!(read.labels(), found.model.labels());
    let options = EvaluateOptions {
        resamples: 5,
        ..EvaluateOptions::new("superdiagnostic")
    };
    let again = evaluate(&read, &store, &options, &Silent).unwrap();
    let first = &found.table.rows()[0].trained;
    assert_eq!(again.metrics.macro_mean, first.metrics.macro_mean);
    assert_eq!(again.metrics.classes, first.metrics.classes);

    // What the system does not have names those that have it.
    for (path, value) in [("settings.layerdrop", "0.1"), ("recipe", "cpsc")] {
        let options = FinetuneOptions::new("superdiagnostic").with(path, value);
        let error = finetune(&model, &store, &options, &Silent).unwrap_err();
        let error = error.to_string();
        assert!(
            error.contains("not supported by CLEAR") && error.contains("HuBERT-ECG"),
            "{error}"
        );
    }
    let options = FinetuneOptions::new("superdiagnostic").with("bach", 8);
    let error = finetune(&model, &store, &options, &Silent).unwrap_err();
    assert!(error.to_string().contains("bach"), "{error}");
}
