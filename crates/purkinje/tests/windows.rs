//! Embedding, predicting, probing and evaluating give a network the same windows of a recording.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use purkinje::datasets::import::{Folder, PtbXl};
use purkinje::embed::Embedded;
use purkinje::evaluate::{EvaluateOptions, evaluate};
use purkinje::features::{FeatureOptions, Features};
use purkinje::inputs::{Input, ReadOptions, StoreRows};
use purkinje::models::checkpoint::Labels;
use purkinje::models::compat::Compat;
use purkinje::predict::{PredictOptions, Prediction};
use purkinje::signal::Preprocess;
use purkinje::signal::windows::Take;
use purkinje::store::{self, PrepareOptions, Store};
use purkinje::{Device, Level, Model, Recording, Registry, Silent, WindowOptions};

fn recording() -> Recording {
    let file = "../../tests/data/ptb-xl/records100/00000/00006_lr.hea";
    purkinje::read(Path::new(env!("CARGO_MANIFEST_DIR")).join(file)).unwrap()
}

/// The recording several times, one after another, and a piece of it.
fn long(times: usize, more: usize) -> Recording {
    let short = recording();
    let samples = short.rows().flat_map(|row| {
        let whole = std::iter::repeat_n(row, times).flatten();
        whole.chain(&row[..more]).copied().collect::<Vec<f32>>()
    });
    let (leads, rate_hz) = (short.leads.clone(), short.rate_hz);
    Recording::new("long", leads, rate_hz, samples.collect()).unwrap()
}

fn model(system: &str) -> Model {
    Model::random(system, "tiny", 3, &Device::cpu()).unwrap()
}

fn labels() -> Labels {
    let names = ["NORM", "MI"].map(str::to_owned);
    purkinje::model::labels("two", &names, &[0.5, 0.5])
}

fn classifier(system: &str) -> Model {
    model(system).with_new_head("linear", labels(), 0).unwrap()
}

fn read(windows: WindowOptions) -> ReadOptions {
    ReadOptions {
        windows,
        ..ReadOptions::new()
    }
}

fn embedded(model: &Model, recording: &Recording, level: Level, how: WindowOptions) -> Embedded {
    let input = Input::Recording(Arc::new(recording.clone()));
    let mut all = model.embed_all([input], level, read(how)).unwrap();
    all.next().unwrap().unwrap()
}

fn predicted(model: &Model, recording: &Recording, how: WindowOptions) -> Prediction {
    let input = Input::Recording(Arc::new(recording.clone()));
    let options = PredictOptions {
        read: read(how),
        explain: false,
    };
    let mut all = model.predict_all([input], options).unwrap();
    all.next().unwrap().unwrap()
}

#[test]
fn all_of_a_recording_counts_unless_asked_otherwise() {
    let (one, three) = (recording(), long(3, 250));
    for system in ["clear", "hubert"] {
        let model = classifier(system);
        let default = WindowOptions::default();
        let all = predicted(&model, &three, default);
        let used = &all.used;
        assert_eq!((used.windows, used.windows_asked), (3, 3), "{system}");
        assert_eq!((used.seconds_used, used.seconds), (30.0, 32.5), "{system}");
        assert_eq!(used.beats_used.is_some(), system == "clear");
        assert_eq!(all.windows[1].start_s, 10.0);

        // The windows are those of the recordings they are; beats at borders may differ.
        let alone = predicted(&model, &one, default);
        assert_eq!(alone.used.in_words(), None, "{system}");
        let first = WindowOptions {
            take: Some(Take::First),
            ..default
        };
        let first = predicted(&model, &three, first);
        assert_eq!(first.used.windows, 1);
        let gap = (first.labels[0].probability - alone.labels[0].probability).abs();
        assert!(
            gap < if system == "clear" { 0.05 } else { 1e-6 },
            "{system}: {gap}"
        );
        let mean = all.windows.iter().map(|window| f64::from(window.value[0]));
        let gap = (mean.sum::<f64>() / 3.0 - all.labels[0].probability).abs();
        assert!(gap < 1e-6, "{system}: {gap}");

        let vectors = embedded(&model, &three, Level::Recording, default);
        assert_eq!(vectors.used, all.used, "{system}");
        let each = WindowOptions {
            each: true,
            ..default
        };
        let each = embedded(&model, &three, Level::Recording, each);
        let starts: Vec<_> = each.places.iter().map(|place| place.window_s).collect();
        assert_eq!(starts, [Some(0.0), Some(10.0), Some(20.0)]);
        for (place, value) in vectors.values.iter().enumerate() {
            let own = each.values.iter().skip(place).step_by(each.width);
            let mean = own.map(|v| f64::from(*v)).sum::<f64>() / 3.0;
            assert!((mean - f64::from(*value)).abs() < 1e-5, "{system}");
        }
    }
}

#[test]
fn a_recording_longer_than_a_network_reads_is_no_error_for_others() {
    // More than fifteen seconds of a slow heart, one after another beside a short one.
    let model = model("clear");
    let inputs = [long(30, 0), recording(), long(2, 600)];
    let inputs = inputs.map(|recording| Input::Recording(Arc::new(recording)));
    let all = model
        .embed_all(inputs, Level::Beat, ReadOptions::new())
        .unwrap();
    let all: Vec<Embedded> = all.map(Result::unwrap).collect();
    let windows: Vec<usize> = all.iter().map(|one| one.used.windows).collect();
    assert_eq!(windows, [30, 1, 3]);
    // Beats lie in the time of the recording, numbered through.
    let first = &all[0].places;
    let mut own = first.iter().filter(|place| place.lead == first[0].lead);
    let last = own.next_back().unwrap();
    assert!(last.time_s.unwrap() > 290.0 && last.number.unwrap() > 250);
}

#[test]
fn released_networks_take_what_their_programs_took() {
    let (registry, device) = (Registry::default(), Device::cpu());
    let system = registry.get("hubert").unwrap();
    let network = system.random("tiny", Compat::Released, 3, &device).unwrap();
    let model = Model::encoder(network, system.preprocess().unwrap(), &device, &registry);
    let released = model.with_new_head("linear", labels(), 0).unwrap();
    let three = long(3, 0);
    let found = predicted(&released, &three, WindowOptions::default());
    assert_eq!((found.used.windows, found.used.seconds_used), (1, 5.0));
    let asked = WindowOptions {
        take: Some(Take::All),
        ..WindowOptions::default()
    };
    assert_eq!(predicted(&released, &three, asked).used.windows, 3);
}

#[test]
fn what_a_released_network_cannot_read_fails_no_other_recording() {
    let (registry, device) = (Registry::default(), Device::cpu());
    let system = registry.get("clear").unwrap();
    let network = system.random("tiny", Compat::Released, 3, &device).unwrap();
    // Without a window: the first fifteen beats of a slow heart end after fifteen seconds.
    let contract = Preprocess::clear_mimic();
    let model = Model::encoder(network, contract, &device, &registry);
    let short = recording();
    let slow = Recording::new(
        "slow",
        short.leads.clone(),
        50.0,
        long(3, 0).samples_mv().to_vec(),
    );
    let inputs = [slow.unwrap(), short].map(|recording| Input::Recording(Arc::new(recording)));
    let all = model
        .embed_all(inputs, Level::Recording, ReadOptions::new())
        .unwrap();
    let all: Vec<_> = all.collect();
    let message = all[0].as_ref().unwrap_err().to_string();
    assert!(
        message.contains("slow") && message.contains("--windows first"),
        "{message}"
    );
    assert!(all[1].is_ok());
}

#[test]
fn windows_that_make_no_sense_are_refused() {
    let (clear, hubert) = (classifier("clear"), classifier("hubert"));
    let refused = |model: &Model, how: WindowOptions| {
        let options = PredictOptions {
            read: read(how),
            explain: false,
        };
        let none = std::iter::empty();
        model.predict_all(none, options).err().unwrap().to_string()
    };
    let length = |length_s| WindowOptions {
        length_s: Some(length_s),
        ..WindowOptions::default()
    };
    assert!(refused(&clear, length(30.0)).contains("at most 10 s"));
    assert!(refused(&clear, length(0.0)).contains("`--window` is 0 s"));
    let stride = WindowOptions {
        stride_s: Some(f64::NAN),
        ..WindowOptions::default()
    };
    assert!(refused(&hubert, stride).contains("--stride"));
    let crops = WindowOptions {
        crops: Some(2),
        ..WindowOptions::default()
    };
    assert!(refused(&clear, crops).contains("HuBERT-ECG"));
}

#[test]
fn a_window_that_cannot_be_used_is_left_out_and_named() {
    let mut three = long(3, 0);
    let len = three.len();
    let samples: Vec<f32> = three
        .rows()
        .flat_map(|row| {
            let silent = |(k, &v): (usize, &f32)| if k / 1000 == 1 { 0.0 } else { v };
            row.iter().enumerate().map(silent).collect::<Vec<f32>>()
        })
        .collect();
    three = Recording::new("gap", three.leads.clone(), three.rate_hz, samples).unwrap();
    assert_eq!(three.len(), len);
    let found = predicted(&classifier("clear"), &three, WindowOptions::default());
    assert_eq!((found.used.windows, found.used.windows_asked), (2, 3));
    let left_out = &found.used.left_out[0];
    assert!(left_out.start_s == 10.0 && left_out.reason.contains("exactly 0"));
}

/// A store of whole recordings, one of them long.
fn store(dir: &Path, contract: &Preprocess) -> Store {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/ptb-xl");
    let options = PrepareOptions::default();
    store::prepare(&PtbXl::new(&root), contract, dir, &options, &()).unwrap();
    Store::open(dir).unwrap()
}

#[test]
fn a_store_is_read_in_the_same_windows_by_all() {
    let dir = tempfile::tempdir().unwrap();
    for (system, preset) in [("clear", "raw-100"), ("hubert", "hubert")] {
        let preset = Preprocess::preset(preset).unwrap();
        let store = store(&dir.path().join(system), &preset);
        let model = classifier(system);
        let windows = WindowOptions {
            length_s: Some(8.0),
            stride_s: Some(4.0),
            ..WindowOptions::default()
        };
        let leads = model.preprocess().leads.clone();
        let contract = model.check_store(&store, &leads, false).unwrap();
        let rows = StoreRows::under(&model, &store, &contract, Compat::Paper, 0).unwrap();
        let inputs = || (0..store.len()).map(|row| Input::Row(&rows, row));
        let level = match system {
            "clear" => Level::Lead,
            _ => Level::Recording,
        };
        let embedded = model.embed_all(inputs(), level, read(windows)).unwrap();
        let embedded: Vec<Embedded> = embedded.map(Result::unwrap).collect();
        let options = FeatureOptions {
            windows,
            ..FeatureOptions::default()
        };
        let features = Features::compute(&model, &store, &contract, &options, "t", &Silent);
        let features = features.unwrap();
        // 0 to 8 and 4 to 10.
        assert_eq!(features.used().windows, 2 * store.len(), "{system}");
        for (row, own) in embedded.iter().enumerate() {
            assert_eq!(own.values, features.rows(&[row]).unwrap(), "{system} {row}");
        }
        let options = PredictOptions {
            read: read(windows),
            explain: false,
        };
        let predicted = model.predict_all(inputs(), options).unwrap();
        let predicted: Vec<Prediction> = predicted.map(Result::unwrap).collect();
        let options = EvaluateOptions {
            windows,
            resamples: 0,
            ..EvaluateOptions::new("superdiagnostic")
        };
        let found = evaluate(&model, &store, &options, &Silent).unwrap();
        let test = store.indices(store::Split::Test);
        let windows: usize = test.iter().map(|&row| predicted[row].used.windows).sum();
        assert_eq!(found.used.windows, windows, "{system}");
    }
}

#[test]
fn windows_of_one_recording_are_rows_of_one_split() {
    let dir = tempfile::tempdir().unwrap();
    let folder = dir.path().join("in");
    std::fs::create_dir(&folder).unwrap();
    for (name, times) in [("a", 3), ("b", 1)] {
        let samples = long(times, 700);
        let path: PathBuf = folder.join(format!("{name}.csv"));
        let names = samples.leads.leads().iter().map(|lead| lead.name());
        let mut lines = vec![format!("time (s),{}", names.collect::<Vec<_>>().join(","))];
        for k in 0..samples.len() {
            let row = samples.rows().map(|row| format!("{:.3}", row[k]));
            let row = row.collect::<Vec<_>>().join(",");
            lines.push(format!("{:.2},{row}", k as f64 / 100.0));
        }
        std::fs::write(&path, lines.join("\n")).unwrap();
    }
    let prepare = |name: &str, windows| {
        let options = PrepareOptions {
            windows,
            split: store::SplitRule::Patients(store::PatientSplit::default()),
            ..PrepareOptions::default()
        };
        let target = dir.path().join(name);
        let importer = Folder::new(&folder);
        store::prepare(&importer, &Preprocess::clear(), &target, &options, &()).unwrap();
        Store::open(&target).unwrap()
    };
    let all = prepare("all", Some(Take::All));
    let ids: Vec<&str> = all.rows().map(|row| row.id()).collect();
    assert_eq!(ids, ["a", "a#1", "a#2", "a#3", "b", "b#1"]);
    let splits: Vec<_> = all.rows().map(|row| row.split()).collect();
    assert!(splits[..4].iter().all(|split| *split == splits[0]));
    let (recording, start) = (all.text("recording"), all.value("window_start_s"));
    let row = all.row(2).unwrap();
    assert_eq!(row.text(recording.unwrap()), Some("a"));
    assert_eq!(row.value(start.unwrap()), Some(20.0));
    // Resamples of patients draw the windows of a recording together.
    assert_eq!(row.patient(), Some("recording a"));
    // The first windows are what a store without them holds.
    let first = prepare("first", None);
    for (row, of_all) in first.rows().zip([0, 4]) {
        let of_all = all.row(of_all).unwrap();
        assert_eq!(row.signal(), of_all.signal());
        assert_eq!(row.r_peaks(), of_all.r_peaks());
    }
    assert_eq!(first.len(), 2);
    assert!(row.r_peaks().len() > 8 && row.samples() == 1000);
}
