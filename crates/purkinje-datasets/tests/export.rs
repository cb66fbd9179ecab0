//! Stores in the layouts of the original programs, read back by our readers and by Python as the originals read them.
//!
//! `PURKINJE_PYTHON` names the Python; otherwise it is `python3`.

#[path = "../../purkinje-store/tests/common/mod.rs"]
mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use purkinje_datasets::export::{
    EXPORT_FILE, ExportError, ExportOptions, Exported, Layout, export,
};
use purkinje_datasets::import::{PtbXl, PtbXlRate};
use purkinje_record::mat::MatFile;
use purkinje_record::{LeadSet, OpenOptions};
use purkinje_signal::Preprocess;
use purkinje_signal::Tokenizer;
use purkinje_signal::beats::Tokenized;
use purkinje_store::{PrepareOptions, Split, Store, prepare};

use common::{ptb_xl, python, table};

fn go(_: usize, _: usize) -> bool {
    true
}

fn write(store: &Store, layout: Layout, out: &Path) -> Result<Exported, ExportError> {
    export(store, layout, out, &ExportOptions::default(), &go)
}

/// The piece of PTB-XL at one of its rates.
fn store(dir: &Path, rate: PtbXlRate, preset: &str) -> Store {
    let target = dir.join(format!("store-{preset}"));
    let source = PtbXl {
        rate,
        ..PtbXl::new(ptb_xl())
    };
    let options = PrepareOptions {
        max_failed: purkinje_store::FailureLimit::Fraction(1.0),
        ..PrepareOptions::default()
    };
    let contract = Preprocess::preset(preset).unwrap();
    prepare(&source, &contract, &target, &options, &()).unwrap();
    Store::open(target).unwrap()
}

/// Samples of a row in double precision, as the file has them.
fn samples(store: &Store, index: usize) -> Vec<f64> {
    let row = store.row(index).unwrap();
    let gain = f64::from(row.gain_per_mv());
    assert_eq!(gain, 1000.0);
    row.signal().iter().map(|&u| f64::from(u) / gain).collect()
}

/// The bytes of an array after its header, and the header.
fn array(path: &Path) -> (String, Vec<u8>) {
    let bytes = fs::read(path).unwrap();
    let header = String::from_utf8_lossy(&bytes[10..128]).into_owned();
    (header, bytes[128..].to_vec())
}

fn array_of<const N: usize, T>(path: &Path, from: fn([u8; N]) -> T) -> Vec<T> {
    let bytes = array(path).1;
    bytes
        .chunks_exact(N)
        .map(|chunk| from(chunk.try_into().unwrap()))
        .collect()
}

#[test]
fn clear_hug_gets_its_tokens() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), PtbXlRate::Hz100, "clear-ptbxl");
    let out = dir.path().join("PTBXL_QRS");
    let exported = write(&store, Layout::ClearHug, &out).unwrap();
    assert_eq!(exported.classes.len(), 6);
    let tokenizer = Tokenizer::new(&LeadSet::standard_12()).unwrap();
    for set in &store.info().label_sets {
        let folder = out.join(&set.name);
        // Over all samples and leads of the task's training part, in two passes.
        let train = store.label_matrix_of(&set.name, Split::Train).unwrap();
        let all: Vec<f64> = train
            .rows
            .iter()
            .flat_map(|&r| samples(&store, r))
            .collect();
        let mean = all.iter().sum::<f64>() / all.len() as f64;
        let variance = all.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / all.len() as f64;
        let [found_mean, found_deviation] = exported.standardised[&set.name];
        assert!((found_mean - mean).abs() < 1e-12, "{}", set.name);
        assert!((found_deviation - variance.sqrt()).abs() < 1e-12);
        for split in [Split::Train, Split::Val, Split::Test] {
            let labels = store.label_matrix_of(&set.name, split).unwrap();
            let n = labels.rows.len();
            let file = |what: &str| folder.join(format!("{split}_{what}.npy"));
            let (header, _) = array(&file("data"));
            assert!(header.contains(&format!(
                "'<f4', 'fortran_order': False, 'shape': ({n}, 180, 96)"
            )));
            let data = array_of(&file("data"), f32::from_le_bytes);
            let chans = array_of(&file("data_in_chans"), i64::from_le_bytes);
            let times = array_of(&file("data_in_times"), i64::from_le_bytes);
            let pads = array_of(&file("data_mask_pad"), i64::from_le_bytes);
            let found = array_of(&file("labels"), i64::from_le_bytes);
            let expected: Vec<i64> = labels.multi_hot.iter().map(|&x| i64::from(x)).collect();
            assert_eq!(found, expected, "{} {split}", set.name);
            assert_eq!(exported.rows[&format!("{}/{split}_data.npy", set.name)], n);
            for (at, &row) in labels.rows.iter().enumerate() {
                let scaled: Vec<f64> = samples(&store, row)
                    .into_iter()
                    .map(|x| (x - found_mean) / found_deviation)
                    .collect();
                let Tokenized::Beats(beats) = tokenizer.clone().tokenize(&scaled).unwrap() else {
                    panic!("silent");
                };
                assert_eq!(data[at * 180 * 96..(at + 1) * 180 * 96], beats.samples);
                let part = at * 180..(at + 1) * 180;
                let wide = |bytes: &[u8]| bytes.iter().map(|&b| i64::from(b)).collect::<Vec<_>>();
                assert_eq!(chans[part.clone()], wide(&beats.lead_index));
                assert_eq!(times[part.clone()], wide(&beats.time_index));
                let padding: Vec<i64> = beats.padding.iter().map(|&p| i64::from(p)).collect();
                assert_eq!(pads[part], padding);
            }
        }
    }
    let script = r#"
import sys, numpy as np
folder = sys.argv[1] + "/superdiagnostic/"
for split in ("train", "val", "test"):
    data = np.load(folder + split + "_data.npy", mmap_mode="r")
    chans, times, pad, labels = (np.load(folder + f"{split}_{what}.npy")
        for what in ("data_in_chans", "data_in_times", "data_mask_pad", "labels"))
    assert data.dtype == np.float32 and data.shape[1:] == (180, 96)
    assert all(a.dtype == np.int64 and a.shape == (len(data), 180) for a in (chans, times, pad))
    assert labels.dtype == np.int64 and labels.shape == (len(data), 5)
    assert chans.min() == 1 and chans.max() == 12 and times.max() <= 15 and set(np.unique(pad)) <= {0, 1}
    assert (np.abs(data[pad == 1]).max() == 0) if (pad == 1).any() else True
    print(split, len(data), labels.sum(), pad.sum())
"#;
    if let Some(found) = python("numpy", script, &[&out]) {
        let expected: String = [Split::Train, Split::Val, Split::Test]
            .iter()
            .map(|&split| {
                let labels = store.label_matrix_of("superdiagnostic", split).unwrap();
                let sum: usize = labels.counts().iter().sum();
                let file = format!("superdiagnostic/{split}_data_mask_pad.npy");
                let pads: i64 = array_of(&out.join(file), i64::from_le_bytes).iter().sum();
                format!("{split} {} {sum} {pads}\n", labels.rows.len())
            })
            .collect();
        assert_eq!(found, expected);
    }
}

#[test]
fn clear_hug_pre_trains_on_batches() {
    let dir = tempfile::tempdir().unwrap();
    let source = purkinje_datasets::import::Folder::new(ptb_xl().join("records100"));
    let target = dir.path().join("store");
    let contract = Preprocess::preset("clear").unwrap();
    prepare(&source, &contract, &target, &PrepareOptions::default(), &()).unwrap();
    let store = Store::open(&target).unwrap();
    let out = dir.path().join("out");
    let exported = write(&store, Layout::ClearHug, &out).unwrap();
    for split in [Split::Train, Split::Val] {
        let rows = exported.rows[&format!("batch_0/{split}_data.npy")];
        assert_eq!(rows, store.indices(split).len());
        assert!(!out.join(format!("batch_0/{split}_labels.npy")).exists());
    }
    // Where nothing is standardised, tokens are the stored samples.
    let first = store.indices(Split::Train)[0];
    let mut signal = Vec::new();
    store.row(first).unwrap().signal_mv_into(&mut signal);
    let data = array_of(&out.join("batch_0/train_data.npy"), f32::from_le_bytes);
    assert!(data[..180 * 96].iter().any(|x| *x != 0.0));
    assert!(
        data[..180 * 96]
            .iter()
            .all(|x| *x == 0.0 || signal.contains(x))
    );
}

#[test]
fn hubert_ecg_gets_recordings_and_tables() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), PtbXlRate::Hz500, "raw-500");
    assert_eq!(store.len(), 2);
    let out = dir.path().join("hubert");
    let exported = write(&store, Layout::HubertEcg, &out).unwrap();
    assert_eq!(exported.preprocess, Preprocess::preset("hubert").unwrap());
    let source = ptb_xl().join("records500");
    let mut listed = 0;
    for split in [Split::Train, Split::Val, Split::Test] {
        let rows = table(&out.join(format!("superdiagnostic_{split}.csv")));
        assert_eq!(
            exported.rows[&format!("superdiagnostic_{split}.csv")],
            rows.len()
        );
        for row in rows {
            listed += 1;
            let id: usize = row["filename"][2..7].parse().unwrap();
            let index = store.position(&id.to_string()).unwrap();
            let stored = store.row(index).unwrap();
            assert_eq!(row["filename"], format!("HR{id:05}.hea.npy"));
            assert_eq!(row["strat_fold"], stored.fold().unwrap().to_string());
            let set = store.label_set("superdiagnostic").unwrap();
            let classes = &store.info().label_sets[set].classes;
            let present: Vec<i16> = (0i16..)
                .zip(classes)
                .filter(|(_, class)| row[&class.name] == "1")
                .map(|(class, _)| class)
                .collect();
            assert_eq!(present, stored.labels(set).unwrap_or_default());
            // From the published file, and not by way of the store.
            let path = find(&source, &format!("{id:05}_hr.hea"));
            let whole = OpenOptions {
                keep_digital: true,
                ..OpenOptions::default()
            };
            let recording = purkinje_record::open(&path, &whole).unwrap();
            let digital = recording.digital.as_ref().unwrap();
            let mv: Vec<f64> = digital
                .samples()
                .iter()
                .map(|&u| f64::from(u) / 1000.0)
                .collect();
            let preparer =
                purkinje_signal::Preparer::new(&Preprocess::preset("hubert").unwrap()).unwrap();
            let direct = preparer
                .apply_samples("r", &recording.leads, 500.0, &mv)
                .unwrap();
            let npy = out.join("recordings").join(&row["filename"]);
            assert!(
                array(&npy)
                    .0
                    .contains("'<f8', 'fortran_order': False, 'shape': (12, 5000)")
            );
            assert_eq!(array_of(&npy, f64::from_le_bytes), direct.rows);
            let options = OpenOptions {
                rate_hz: Some(500.0),
                array_leads: Some(LeadSet::standard_12()),
                unit: Some("mV".parse().unwrap()),
                ..OpenOptions::default()
            };
            let read = purkinje_record::open(&npy, &options).unwrap();
            let single: Vec<f32> = direct.rows.iter().map(|x| *x as f32).collect();
            assert_eq!(read.samples_mv(), single);
        }
    }
    assert_eq!(listed, 2);
    let script = r#"
import csv, glob, os, sys, numpy as np
found = 0
for path in sorted(glob.glob(sys.argv[1] + "/superdiagnostic_*.csv")):
    rows = list(csv.reader(open(path)))
    assert rows[0][:4] == ["filename", "age", "sex", "strat_fold"] and len(rows[0]) == 9
    for row in rows[1:]:
        x = np.load(os.path.join(sys.argv[1], "recordings", row[0]))
        assert x.shape == (12, 5000) and x.dtype == np.float64
        assert (x.min(axis=1) == -1).all() and (x.max(axis=1) > 0.999).all()
        assert np.array(row[4:]).astype(float).max() <= 1
        found += 1
print(found)
"#;
    if let Some(found) = python("numpy", script, &[&out]) {
        assert_eq!(found, "2\n");
    }
}

#[test]
fn d_beta_gets_matlab_files_and_manifests() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), PtbXlRate::Hz500, "raw-500");
    let out = dir.path().join("d-beta");
    let exported = write(&store, Layout::DBeta, &out).unwrap();
    assert_eq!(exported.rows.values().sum::<usize>(), 2);
    let contract = Preprocess::preset("d-beta").unwrap();
    let mut lines = 0;
    for (manifest, split) in [
        ("train", Split::Train),
        ("valid", Split::Val),
        ("test", Split::Test),
    ] {
        let path = out.join(format!("{manifest}.tsv"));
        let text = fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(
            text.lines().count(),
            store.indices(split).len(),
            "{manifest}"
        );
        for line in text.lines() {
            lines += 1;
            let (file, length) = line.split_once('\t').unwrap();
            assert_eq!(length, "5000");
            let index = store.position(file.strip_suffix(".mat").unwrap()).unwrap();
            let row = store.row(index).unwrap();
            let path = out.join("processed_data").join(file);
            let mat = MatFile::read(&path).unwrap();
            let names: Vec<&str> = mat.variables.iter().map(|(name, _)| &**name).collect();
            assert_eq!(names, ["feats", "curr_sample_rate", "text"]);
            let report = row.report().unwrap();
            assert!(format!("{:?}", mat.get("text").unwrap()).contains(report));
            let options = OpenOptions {
                array_leads: Some(contract.leads.clone()),
                ..OpenOptions::default()
            };
            let read = purkinje_record::open(&path, &options).unwrap();
            assert_eq!(read.rate_hz, 500.0);
            let stored = samples(&store, index);
            for (at, lead) in contract.leads.leads().iter().enumerate() {
                let own = store.info().leads.position(lead).unwrap();
                let expected: Vec<f32> = stored[own * 5000..(own + 1) * 5000]
                    .iter()
                    .map(|x| *x as f32)
                    .collect();
                assert_eq!(
                    read.samples_mv()[at * 5000..(at + 1) * 5000],
                    expected,
                    "{lead}"
                );
            }
        }
    }
    assert_eq!(lines, 2);
    let script = r#"
import glob, os, sys, numpy as np, scipy.io
found = 0
for manifest in sorted(glob.glob(sys.argv[1] + "/*.tsv")):
    for line in open(manifest):
        name, length = line.rstrip("\n").split("\t")
        record = scipy.io.loadmat(os.path.join(sys.argv[1], "processed_data", name))
        feats, text = record["feats"], record["text"][0]
        assert feats.shape == (12, 5000) and feats.dtype == np.float64 and record["curr_sample_rate"] == 500
        # aVF before aVL.
        assert np.allclose(feats[4], feats[1] - feats[0] / 2, atol=0.02), np.abs(feats[4] - feats[1] + feats[0] / 2).max()
        assert isinstance(str(text), str) and len(text) > 5
        print(str(text))
        found += 1
"#;
    if let Some(found) = python("numpy, scipy", script, &[&out]) {
        let mut found: Vec<&str> = found.lines().collect();
        let mut expected: Vec<&str> = store.rows().map(|row| row.report().unwrap()).collect();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected);
    }
}

#[test]
fn deri_gets_arrays_and_tables() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), PtbXlRate::Hz500, "raw-500");
    for (layout, prefix) in [(Layout::Deri, ""), (Layout::Merl, "mimic_ecg_")] {
        let out = dir.path().join(layout.name());
        let exported = write(&store, layout, &out).unwrap();
        let mut rows = 0;
        for split in [Split::Train, Split::Val] {
            let csv = table(&out.join(format!("{split}.csv")));
            let path = out.join(format!("{prefix}{split}.npy"));
            let n = csv.len();
            assert!(array(&path).0.contains(&format!(
                "'<i2', 'fortran_order': False, 'shape': ({n}, 12, 5000)"
            )));
            let data = array_of(&path, i16::from_le_bytes);
            for (at, row) in csv.iter().enumerate() {
                rows += 1;
                let index = store.position(&row["study_id"]).unwrap();
                assert_eq!(
                    row["total_report"],
                    store.row(index).unwrap().report().unwrap()
                );
                let stored = samples(&store, index);
                let low = stored.iter().copied().fold(f64::INFINITY, f64::min);
                let high = stored.iter().copied().fold(f64::NEG_INFINITY, f64::max);
                // Lead aVL is stored fifth and read sixth.
                for (place, own) in [(0, 0), (4, 5), (5, 4), (11, 11)] {
                    let expected: Vec<i16> = stored[own * 5000..(own + 1) * 5000]
                        .iter()
                        .map(|x| ((x - low) / (high - low) * 1000.0) as i16)
                        .collect();
                    let start = (at * 12 + place) * 5000;
                    assert_eq!(data[start..start + 5000], expected);
                }
            }
        }
        let unused = store.indices(Split::Test).len();
        assert_eq!(rows + unused, 2);
        assert_eq!(exported.left_out.values().sum::<usize>(), unused);
        let script = r#"
import csv, sys, numpy as np
folder, prefix = sys.argv[1], sys.argv[2]
total = 0
for split in ("train", "val"):
    data = np.load(f"{folder}/{prefix}{split}.npy", mmap_mode="r")
    reports = [row["total_report"] for row in csv.DictReader(open(f"{folder}/{split}.csv"))]
    assert data.dtype == np.int16 and data.shape == (len(reports), 12, 5000)
    if len(reports):
        x = (data[:] / 1000).astype(np.float32)
        assert x.min() >= 0 and x.max() <= 1 and x.max() > 0.99
    total += len(reports)
print(total)
"#;
        if let Some(found) = python("numpy", script, &[&out, Path::new(prefix)]) {
            assert_eq!(found, format!("{rows}\n"));
        }
    }
}

#[test]
fn what_a_store_cannot_become_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    let slow = store(dir.path(), PtbXlRate::Hz100, "clear-ptbxl");
    let filtered = store(dir.path(), PtbXlRate::Hz500, "clear");
    let out = dir.path().join("out");
    for layout in [Layout::HubertEcg, Layout::DBeta, Layout::Deri, Layout::Merl] {
        let error = write(&filtered, layout, &out).unwrap_err();
        assert!(matches!(error, ExportError::Contract { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains("500") && text.contains("prepare"), "{text}");
        assert!(!out.exists());
    }
    // What the program behind the layout cannot read is not written, even if it is asked for.
    let options = ExportOptions {
        contract: Some(Preprocess::clear_ptbxl()),
        ..ExportOptions::default()
    };
    let error = export(&slow, Layout::Deri, &out, &options, &go).unwrap_err();
    assert!(error.to_string().contains("500 Hz"), "{error}");
    let options = ExportOptions {
        tasks: vec!["rythm".to_owned()],
        ..ExportOptions::default()
    };
    let error = export(&slow, Layout::ClearHug, &out, &options, &go).unwrap_err();
    assert!(error.to_string().contains("rhythm"), "{error}");
    let options = ExportOptions {
        quality: "noise_mv=0".parse().unwrap(),
        ..ExportOptions::default()
    };
    let error = export(&slow, Layout::ClearHug, &out, &options, &go).unwrap_err();
    assert!(
        error.to_string().contains("quality: noise_mv: 56"),
        "{error}"
    );
    assert!(!out.exists());
}

#[test]
fn a_folder_appears_as_a_whole_and_replaces_only_what_it_may() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path(), PtbXlRate::Hz100, "clear-ptbxl");
    let out = dir.path().join("out");
    let options = ExportOptions {
        tasks: vec!["superdiagnostic".to_owned()],
        ..ExportOptions::default()
    };
    let calls = AtomicUsize::new(0);
    let stop = |_, _| calls.fetch_add(1, Ordering::Relaxed) < 1;
    let error = export(&store, Layout::ClearHug, &out, &options, &stop).unwrap_err();
    assert!(matches!(error, ExportError::Stopped), "{error}");
    assert!(!out.exists());
    // What the stopped one left is no hindrance.
    export(&store, Layout::ClearHug, &out, &options, &go).unwrap();
    assert!(!dir.path().join("out.partial").exists());
    let first = tree(&out);
    assert!(first.contains_key(EXPORT_FILE));
    let error = export(&store, Layout::ClearHug, &out, &options, &go).unwrap_err();
    assert!(
        matches!(error, ExportError::Exists { exported: true, .. }),
        "{error}"
    );
    let again = ExportOptions {
        overwrite: true,
        ..options.clone()
    };
    export(&store, Layout::ClearHug, &out, &again, &go).unwrap();
    assert_eq!(tree(&out), first);
    assert!(!dir.path().join("out.replaced").exists());

    let mine = dir.path().join("mine");
    fs::create_dir(&mine).unwrap();
    fs::write(mine.join("thesis.tex"), "x").unwrap();
    let error = export(&store, Layout::ClearHug, &mine, &again, &go).unwrap_err();
    assert!(
        matches!(
            error,
            ExportError::Exists {
                exported: false,
                ..
            }
        ),
        "{error}"
    );
    assert_eq!(fs::read_dir(&mine).unwrap().count(), 1);
}

/// Every file below a folder.
fn tree(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut files = BTreeMap::new();
    let mut folders = vec![PathBuf::new()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(dir.join(&folder)).unwrap() {
            let name = folder.join(entry.unwrap().file_name());
            if dir.join(&name).is_dir() {
                folders.push(name);
            } else {
                let bytes = fs::read(dir.join(&name)).unwrap();
                files.insert(name.to_str().unwrap().to_owned(), bytes);
            }
        }
    }
    files
}

fn find(dir: &Path, name: &str) -> PathBuf {
    let mut folders = vec![dir.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.file_name().unwrap() == name {
                return path;
            }
        }
    }
    panic!("{name}")
}
