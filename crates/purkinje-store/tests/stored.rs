//! What is written is read back; what is damaged is refused by name.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use proptest::prelude::*;
use purkinje_datasets::import::PtbXl;
use purkinje_record::LeadSet;
use purkinje_signal::Preprocess;
use purkinje_signal::preprocess::BeatSearch;
use purkinje_signal::quality::{LimbLeads, Measures};
use purkinje_store::{
    Begin, LabelSet, MadeBy, Mark, NewRow, Outcome, SCHEMA_VERSION, Split, Status, Store,
    StoreError, StoreSpec, StoreWriter, prepare,
};

use common::{copy, ptb_xl, small_shards};

fn whole() -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("whole");
    let contract = Preprocess::clear_ptbxl();
    prepare(
        &PtbXl::new(ptb_xl()),
        &contract,
        &target,
        &small_shards(),
        &(),
    )
    .unwrap();
    (dir, target)
}

#[test]
fn damage_is_found_and_named() {
    let (dir, whole) = whole();
    let shard = "shard-00004.arrow";
    let damaged = |name: &str, damage: &dyn Fn(&Path)| {
        let target = dir.path().join(name);
        copy(&whole, &target);
        damage(&target);
        target
    };
    let truncate = |target: &Path| {
        let bytes = fs::read(target.join(shard)).unwrap();
        fs::write(target.join(shard), &bytes[..bytes.len() - 1]).unwrap();
    };
    match Store::open(damaged("truncated", &truncate)).err().unwrap() {
        StoreError::Shard { path, reason } => {
            assert!(
                path.ends_with(shard) && reason.contains("bytes"),
                "{reason}"
            );
        }
        other => panic!("{other}"),
    }
    let remove = |target: &Path| fs::remove_file(target.join(shard)).unwrap();
    match Store::open(damaged("missing", &remove)).err().unwrap() {
        StoreError::Io { path, .. } => assert!(path.ends_with(shard)),
        other => panic!("{other}"),
    }
    let version = |target: &Path| {
        let path = target.join("store.json");
        let mut json: serde_json::Value =
            serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
        json["schema_version"] = 99.into();
        // A later version may describe things this one does not know.
        json["shards"] = "elsewhere".into();
        fs::write(&path, json.to_string()).unwrap();
    };
    let error = Store::open(damaged("version", &version)).err().unwrap();
    assert!(
        matches!(error, StoreError::SchemaVersion { found: 99, .. })
            && error.to_string().contains("update the program"),
        "{error}"
    );
    let escape = |target: &Path| {
        let path = target.join("store.json");
        let text = fs::read_to_string(&path).unwrap();
        fs::write(&path, text.replace(shard, "../whole/shard-00004.arrow")).unwrap();
    };
    let error = Store::open(damaged("escape", &escape)).err().unwrap();
    assert!(matches!(error, StoreError::Description { .. }), "{error}");
    let error = Store::open(dir.path()).err().unwrap();
    assert!(matches!(error, StoreError::NotAStore { .. }), "{error}");
    Store::open(&whole).unwrap().verify().unwrap();
}

#[test]
fn any_changed_byte_is_found_and_none_is_a_crash() {
    let (dir, whole) = whole();
    let target = dir.path().join("changed");
    copy(&whole, &target);
    let path = target.join("shard-00002.arrow");
    let bytes = fs::read(&path).unwrap();
    // All of the head and of the footer, where every byte steers the reader; samples here and there.
    let (head, foot) = (512, bytes.len() - 4096);
    let positions = (0..head)
        .step_by(3)
        .chain((head..foot).step_by(4999))
        .chain((foot..bytes.len()).step_by(5));
    let mut opened = 0;
    for position in positions {
        let mut changed = bytes.clone();
        changed[position] ^= 0x41;
        fs::write(&path, &changed).unwrap();
        match Store::open(&target) {
            Err(StoreError::Shard { path: named, .. }) => assert_eq!(named, path),
            Err(other) => panic!("byte {position}: {other}"),
            Ok(store) => {
                opened += 1;
                // Whatever the bytes say, reading all of it is safe.
                let sum: usize = store.rows().map(|row| row.r_peaks().len()).sum();
                assert!(sum < 100_000_000);
                match store.verify() {
                    Err(StoreError::Checksum { path: named, .. }) => assert_eq!(named, path),
                    other => panic!("byte {position}: {other:?}"),
                }
            }
        }
    }
    assert!(opened > 0, "changed samples are not found by opening");
}

fn spec(label_sets: Vec<LabelSet>, rows_per_shard: usize, rows_per_batch: usize) -> StoreSpec {
    let leads = LeadSet::new(LeadSet::standard_12().leads()[..3].to_vec());
    StoreSpec {
        name: "test".to_owned(),
        preprocess: Preprocess::clear().with_leads(leads.clone()),
        leads,
        rate_hz: 100.0,
        unit: "mV".to_owned(),
        label_sets,
        texts: vec!["merged".to_owned()],
        values: vec!["death".to_owned(), "follow_up_years".to_owned()],
        made_by: MadeBy::default(),
        fingerprint: "test".to_owned(),
        rows_per_shard,
        rows_per_batch,
        schema_version: SCHEMA_VERSION,
        part: None,
    }
}

fn classes(count: i16) -> impl Strategy<Value = Option<Vec<i16>>> {
    prop::option::of(prop::collection::btree_set(0..count, 0..4))
        .prop_map(|classes| classes.map(|set| set.into_iter().collect()))
}

fn any_quality() -> impl Strategy<Value = Option<Measures>> {
    let figure = || prop::option::of(0f32..9.0);
    let measures = (
        (any::<u16>(), any::<u16>(), any::<u16>()),
        prop::sample::select(LimbLeads::ALL.to_vec()),
        (figure(), figure(), figure(), figure(), figure()),
    )
        .prop_map(|(masks, limb_leads, figures)| Measures {
            missing_leads: masks.0,
            flat_leads: masks.1,
            clipped_leads: masks.2,
            limb_leads,
            einthoven_mv: figures.0,
            noise_mv: figures.1,
            baseline_mv: figures.2,
            powerline_mv: figures.3,
            amplitude_mv: figures.4,
        });
    prop::option::of(measures)
}

fn any_marks(samples: usize) -> impl Strategy<Value = Vec<Mark>> {
    let mark = (
        0..samples as i32,
        prop::option::of(0i16..3),
        "\\PC{1,2}",
        "\\PC{0,9}",
    )
        .prop_map(|(sample, lead, symbol, note)| Mark {
            sample,
            lead,
            symbol,
            note,
        });
    prop::collection::vec(mark, 0..5)
}

prop_compose! {
    fn any_row()(
        samples in 1usize..60,
    )(
        id in "\\PC{0,12}",
        patient in prop::option::of("\\PC{0,8}"),
        source in "[a-z/]{1,20}",
        split in prop::sample::select(Split::ALL.to_vec()),
        fold in prop::option::of(any::<i16>()),
        gain_per_mv in 1e-3f32..1e6,
        signal in prop::collection::vec(any::<i16>(), samples * 3),
        r_peaks in prop::collection::btree_set(0..samples as i32, 0..=samples.min(9)),
        (beats_detected, report) in (any::<bool>(), prop::option::of("(?s).{0,30}")),
        age in prop::option::of(-1e3f32..1e3),
        sex in prop::option::of("[a-z]{0,6}"),
        (flat_leads, missing_samples) in (0i16..4, 0i32..1000),
        (diagnosis, rhythm) in (classes(7), classes(2)),
        (entry, source_samples) in (prop::option::of(any::<i64>()), prop::option::of(0i32..9999)),
        (source_rate_hz, signal_hash) in (prop::option::of(1f32..1e4), prop::option::of("[0-9a-f]{32}")),
        (annotations, quality) in (any_marks(samples), any_quality()),
        (merged, values) in (
            prop::option::of("\\PC{0,12}"),
            prop::collection::vec(prop::option::of(-1f32..1.0), 2),
        ),
    ) -> NewRow {
        NewRow {
            id, patient, source, split, fold, gain_per_mv, signal,
            r_peaks: r_peaks.into_iter().collect(),
            beats_detected, report, age, sex, flat_leads, missing_samples,
            entry, source_rate_hz, source_samples, signal_hash, annotations, quality,
            labels: vec![diagnosis, rhythm],
            texts: vec![merged],
            values,
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn rows_are_read_as_they_were_written(
        mut rows in prop::collection::vec(any_row(), 0..24),
        rows_per_shard in 1usize..9,
        rows_per_batch in 1usize..5,
        order in prop::collection::vec(any::<prop::sample::Index>(), 30),
    ) {
        for (index, row) in rows.iter_mut().enumerate() {
            row.id.push_str(&format!("#{index}"));
        }
        let dir = tempfile::tempdir().unwrap();
        let sets = vec![
            LabelSet::from_names("diagnosis", ["a", "b", "c", "d", "e", "f", "g"]),
            LabelSet::from_names("rhythm", ["x", "y"]),
        ];
        let Begin::Writing(mut writer) =
            StoreWriter::begin(dir.path(), spec(sets, rows_per_shard, rows_per_batch)).unwrap()
        else {
            panic!("a store in an empty folder");
        };
        for row in &rows {
            let outcome = Outcome {
                status: Status::Ok,
                ..Outcome::not_stored(&row.id, Path::new(&row.source), Status::Ok, "")
            };
            writer.append(outcome.clone(), Some(row.clone())).unwrap();
            // The same id again is refused and leaves no trace.
            let again = writer.append(outcome, Some(row.clone()));
            let refused = matches!(again, Err(StoreError::Row { .. }));
            prop_assert!(refused);
        }
        let info = writer.finish().unwrap();
        prop_assert_eq!(info.shards.len(), rows.len().div_ceil(rows_per_shard));
        let store = Store::open(dir.path()).unwrap();
        store.verify().unwrap();
        prop_assert_eq!(store.info(), &info);
        let read: Vec<NewRow> = store.rows().map(|row| row.to_new(&store)).collect();
        prop_assert_eq!(&read, &rows);
        for index in order.iter().filter(|_| !rows.is_empty()) {
            let index = index.index(rows.len());
            prop_assert_eq!(&store.row(index).unwrap().to_new(&store), &rows[index]);
            prop_assert_eq!(store.position(&rows[index].id), Some(index));
        }
        let beyond = matches!(store.row(rows.len()), Err(StoreError::NoRow { .. }));
        prop_assert!(beyond);
    }
}

fn mark(sample: i32, lead: Option<i16>) -> Mark {
    Mark {
        sample,
        lead,
        symbol: "N".to_owned(),
        ..Mark::default()
    }
}

/// What is changed about a good row.
type Change = fn(&mut NewRow);

#[test]
fn rows_that_contradict_the_store_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let sets = vec![LabelSet::from_names("rhythm", ["x", "y"])];
    let Begin::Writing(writer) = StoreWriter::begin(dir.path(), spec(sets, 4, 2)).unwrap() else {
        panic!("a store in an empty folder");
    };
    let good = NewRow {
        id: "r".to_owned(),
        source: "r.hea".to_owned(),
        split: Split::Train,
        gain_per_mv: 1000.0,
        signal: vec![1; 30],
        r_peaks: vec![2, 9],
        beats_detected: true,
        labels: vec![Some(vec![1])],
        ..NewRow::default()
    };
    writer.check(&good).unwrap();
    let bad: [(Change, &str); 12] = [
        (|row| row.signal.truncate(29), "multiple of 3 leads"),
        (|row| row.gain_per_mv = 0.0, "gain is 0"),
        (|row| row.gain_per_mv = f32::NAN, "gain is NaN"),
        (|row| row.r_peaks = vec![10], "indices below 10"),
        (|row| row.r_peaks = vec![5, 4], "increasing indices"),
        (|row| row.labels = vec![Some(vec![2])], "class 2"),
        (|row| row.labels.clear(), "0 label sets, expected 1"),
        (|row| row.texts = vec![None; 2], "2 texts, expected 1"),
        (|row| row.values = vec![None], "1 values, expected 2"),
        (|row| row.signal_hash = Some("ab".to_owned()), "2 digits"),
        (|row| row.annotations = vec![mark(10, None)], "sample 10"),
        (|row| row.annotations = vec![mark(9, Some(3))], "3 leads"),
    ];
    for (change, words) in bad {
        let mut row = good.clone();
        change(&mut row);
        match writer.check(&row) {
            Err(StoreError::Row { id, reason }) => {
                assert!(id == "r" && reason.contains(words), "{reason}");
            }
            other => panic!("{words}: {other:?}"),
        }
    }
}

#[test]
fn stores_of_the_first_schema_version_are_read() {
    let old = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/store-v1");
    let store = Store::open(&old).unwrap();
    store.verify().unwrap();
    assert_eq!(store.info().schema_version, 1);
    let dir = tempfile::tempdir().unwrap();
    let contract = Preprocess::clear_ptbxl()
        .with_leads("I,II".parse().unwrap())
        .with_beats(BeatSearch::UNSAID);
    prepare(
        &PtbXl::new(ptb_xl()),
        &contract,
        &dir.path().join("new"),
        &small_shards(),
        &(),
    )
    .unwrap();
    let new = Store::open(dir.path().join("new")).unwrap();
    for row in store.rows() {
        let index = new.position(row.id()).unwrap();
        let mut same = new.row(index).unwrap().to_new(&new);
        assert!(same.quality.is_some() && same.signal_hash.is_some());
        // What the first version did not know is unknown, not wrong.
        same.quality = None;
        same.signal_hash = None;
        same.source_rate_hz = None;
        same.source_samples = None;
        same.texts.clear();
        same.values.clear();
        assert_eq!(row.to_new(&store), same);
    }
    assert_eq!(store.len(), 3);
}
