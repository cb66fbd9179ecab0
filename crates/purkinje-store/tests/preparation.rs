//! Preparation: the same bytes however it runs, and an outcome for every record.

mod common;

use std::fs;
use std::path::Path;
use std::sync::atomic::{AtomicUsize, Ordering};

use purkinje_datasets::import::{
    Catalogue, Folder, ImportError, Importer, Item, LabelTable, PtbXl,
};
use purkinje_record::{Lead, LeadSet};
use purkinje_signal::Preprocess;
use purkinje_store::{
    FailureLimit, Outcome, PrepareOptions, Progress, Status, Store, StoreError, prepare,
    read_outcomes,
};

use common::{TWELVE, beating, copy, files, ids, ptb_xl, small_shards, write_wfdb};

fn contract() -> Preprocess {
    Preprocess::clear_ptbxl()
}

#[test]
fn bytes_do_not_depend_on_the_number_of_threads() {
    let dir = tempfile::tempdir().unwrap();
    let source = PtbXl::new(ptb_xl());
    let stores = [1, 2, 8].map(|threads| {
        let target = dir.path().join(threads.to_string());
        let options = PrepareOptions {
            threads: Some(threads),
            ..small_shards()
        };
        prepare(&source, &contract(), &target, &options, &()).unwrap();
        files(&target)
    });
    let names: Vec<&str> = stores[0].keys().map(String::as_str).collect();
    // 56 rows: eleven full shards and one of a single row.
    assert_eq!(names.len(), 12 + 2, "{names:?}");
    assert_eq!(names[0], "outcomes.csv");
    assert_eq!(names[13], "store.json");
    assert!(stores[0] == stores[1] && stores[0] == stores[2]);
}

/// Copies the store as it lies on disk after every record: what a crash there would leave.
struct Snapshots<'a> {
    store: &'a Path,
    into: &'a Path,
    records: AtomicUsize,
}

impl Progress for Snapshots<'_> {
    fn record(&self, _: &Outcome) {
        let record = self.records.fetch_add(1, Ordering::Relaxed);
        copy(self.store, &self.into.join(record.to_string()));
    }
}

/// Records what an unfinished preparation had done, then lets it run.
#[derive(Default)]
struct Resumed(AtomicUsize);

impl Progress for Resumed {
    fn begin(&self, _: usize, done: usize) {
        self.0.store(done, Ordering::Relaxed);
    }
}

#[test]
fn a_crash_after_any_record_changes_no_byte() {
    let dir = tempfile::tempdir().unwrap();
    let (store, snapshots) = (dir.path().join("store"), dir.path().join("snapshots"));
    let source = mixed_folder(&dir.path().join("records"));
    let options = PrepareOptions {
        max_failed: FailureLimit::Fraction(1.0),
        ..small_shards()
    };
    let progress = Snapshots {
        store: &store,
        into: &snapshots,
        records: AtomicUsize::new(0),
    };
    prepare(&source, &contract(), &store, &options, &progress).unwrap();
    let whole = files(&store);
    assert!(whole.contains_key("shard-00003.arrow"), "too few shards");
    let mut starts = std::collections::BTreeSet::new();
    for record in 0..progress.records.into_inner() {
        let snapshot = snapshots.join(record.to_string());
        let error = Store::open(&snapshot).err().unwrap();
        assert!(matches!(error, StoreError::Unfinished { .. }), "{error:?}");
        let resumed = Resumed::default();
        let summary = prepare(&source, &contract(), &snapshot, &options, &resumed).unwrap();
        assert_eq!(summary.resumed_at, resumed.0.into_inner());
        assert!(summary.resumed_at <= record + 1);
        starts.insert(summary.resumed_at);
        assert!(files(&snapshot) == whole, "after record {record}");
    }
    // Before the first border, and at every border between shards.
    assert_eq!(starts.len(), 6, "{starts:?}");
}

/// 29 records, every sixth of them unreadable or silent: 24 rows.
fn mixed_folder(root: &Path) -> Folder {
    for i in 0..29 {
        let name = format!("r{i:02}");
        match i {
            5 | 11 => write_wfdb(root, &name, &TWELVE[..8], "mV", &beating(8, 500)),
            17 | 23 | 28 => write_wfdb(root, &name, &TWELVE, "mV", &vec![vec![0; 500]; 12]),
            _ => write_wfdb(root, &name, &TWELVE, "mV", &beating(12, 400 + 10 * i)),
        }
    }
    Folder::new(root)
}

/// Asks to stop once so many records have been dealt with, or breaks off right there.
struct StopAfter {
    limit: usize,
    break_off: bool,
    records: AtomicUsize,
}

impl Progress for StopAfter {
    fn record(&self, _: &Outcome) {
        let records = self.records.fetch_add(1, Ordering::Relaxed) + 1;
        if self.break_off && records == self.limit {
            // Without a word on standard error.
            std::panic::resume_unwind(Box::new("broken off"));
        }
    }
    fn stop(&self) -> bool {
        self.records.load(Ordering::Relaxed) >= self.limit
    }
}

#[test]
fn a_stop_or_an_unwinding_caller_changes_no_byte() {
    let dir = tempfile::tempdir().unwrap();
    let source = PtbXl::new(ptb_xl());
    let whole = dir.path().join("whole");
    prepare(&source, &contract(), &whole, &small_shards(), &()).unwrap();
    for limit in [0, 1, 4, 5, 6, 23, 40, 55] {
        for break_off in [false, true] {
            let target = dir.path().join(format!("{limit}-{break_off}"));
            let progress = StopAfter {
                limit,
                break_off,
                records: AtomicUsize::new(0),
            };
            let attempt = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                prepare(&source, &contract(), &target, &small_shards(), &progress)
            }));
            match attempt {
                Ok(Err(StoreError::Stopped {
                    items_done,
                    kept,
                    items,
                })) => {
                    assert_eq!(items, 56);
                    assert!(items_done >= limit);
                    // Whole shards of five, of which the journal knows.
                    assert_eq!(kept, items_done / 5 * 5);
                    let journal = fs::read_to_string(target.join("prepare.journal"));
                    assert_eq!(journal.is_ok(), kept > 0);
                }
                // With few records, all may be written before the next question.
                Ok(Ok(_)) => assert!(limit > 16 && !break_off),
                Ok(Err(error)) => panic!("{error}"),
                Err(_) => assert!(break_off),
            }
            prepare(&source, &contract(), &target, &small_shards(), &()).unwrap();
            assert!(files(&target) == files(&whole), "{limit} {break_off}");
        }
    }
}

#[test]
fn a_finished_store_is_left_alone_and_another_is_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    let source = PtbXl::new(ptb_xl());
    let options = small_shards();
    let first = prepare(&source, &contract(), dir.path(), &options, &()).unwrap();
    let before = files(dir.path());
    let again = prepare(&source, &contract(), dir.path(), &options, &()).unwrap();
    assert_eq!((first.resumed_at, again.resumed_at), (0, 56));
    assert_eq!(first.info, again.info);
    let one_lead = contract().with_leads(LeadSet::new(vec![Lead::II]));
    let error = prepare(&source, &one_lead, dir.path(), &options, &()).unwrap_err();
    assert!(matches!(error, StoreError::OtherStore { .. }), "{error:?}");
    assert!(files(dir.path()) == before);

    fs::write(dir.path().join("notes.txt"), "mine").unwrap();
    let overwrite = PrepareOptions {
        overwrite: true,
        ..options
    };
    prepare(&source, &one_lead, dir.path(), &overwrite, &()).unwrap();
    assert_eq!(Store::open(dir.path()).unwrap().info().leads.len(), 1);
    assert_eq!(fs::read(dir.path().join("notes.txt")).unwrap(), b"mine");
}

/// One record of each way to be wrong, among good ones.
fn bad_folder(root: &Path) {
    let good = |name: &str| write_wfdb(root, name, &TWELVE, "mV", &beating(12, 1000));
    for name in ["good1", "good2", "truncated", "twice", "unit", "wide"] {
        good(name);
    }
    write_wfdb(root, "eight", &TWELVE[..8], "mV", &beating(8, 1000));
    write_wfdb(root, "flat", &TWELVE, "mV", &vec![vec![0; 1000]; 12]);
    write_wfdb(root, "one-flat", &TWELVE, "mV", &{
        let mut samples = beating(12, 1000);
        samples[7] = vec![40; 1000];
        samples
    });
    write_wfdb(root, "no-value", &TWELVE, "mV", &{
        let mut samples = beating(12, 1000);
        // What format 16 writes for "no value".
        samples[3] = vec![i16::MIN; 1000];
        samples
    });
    write_wfdb(root, "empty", &TWELVE, "mV", &vec![Vec::new(); 12]);
    let dat = root.join("truncated.dat");
    let bytes = fs::read(&dat).unwrap();
    fs::write(&dat, &bytes[..5000]).unwrap();
    write_wfdb(root, "unit", &TWELVE, "mmHg", &beating(12, 1000));
    fs::write(root.join("garbled.hea"), "garbled twelve\n").unwrap();
    fs::write(root.join("lonely.hea"), {
        let text = fs::read_to_string(root.join("good1.hea")).unwrap();
        text.replace("good1", "lonely")
    })
    .unwrap();
}

#[test]
fn every_record_ends_with_a_reason() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("records");
    bad_folder(&root);
    let table = dir.path().join("labels.csv");
    fs::write(
        &table,
        "path,id,label,split\ngood1.hea,,a;b,train\ngood2.hea,,,test\n\
         nowhere/x.hea,,a,train\nwide.hea,twice,,train\n",
    )
    .unwrap();
    let source = Folder {
        table: Some(LabelTable::new(&table)),
        ..Folder::new(root)
    };
    let target = dir.path().join("store");
    let options = PrepareOptions {
        max_failed: FailureLimit::Count(2),
        ..small_shards()
    };
    let error = prepare(&source, &contract(), &target, &options, &()).unwrap_err();
    let outcomes = read_outcomes(&target).unwrap();
    let expected: [(&str, Status, &[&str]); 14] = [
        ("eight", Status::Failed, &["eight.hea", "lead V3"]),
        ("empty", Status::Failed, &["empty"]),
        ("flat", Status::Skipped, &["exactly 0"]),
        ("garbled", Status::Failed, &["garbled.hea", "twelve"]),
        ("good1", Status::Ok, &[]),
        ("good2", Status::Ok, &[]),
        ("lonely", Status::Failed, &["lonely.dat"]),
        ("no-value", Status::Failed, &["aVR"]),
        ("one-flat", Status::Ok, &["without variation: V2"]),
        ("truncated", Status::Failed, &["truncated.dat", "5000"]),
        ("unit", Status::Failed, &["unit.hea", "mmHg"]),
        (
            "nowhere/x.hea",
            Status::Missing,
            &["line 4", "labels.csv", "nowhere/x.hea"],
        ),
        ("twice", Status::Ok, &[]),
        ("twice", Status::Failed, &["the id `twice`", "twice.hea"]),
    ];
    for (id, status, words) in expected {
        let found: Vec<&Outcome> = outcomes.iter().filter(|o| o.id == id).collect();
        let Some(found) = found.iter().find(|outcome| outcome.status == status) else {
            panic!("{id} is not {status:?}: {found:?}");
        };
        for word in words {
            assert!(found.reason.contains(word), "{id}: {}", found.reason);
        }
        if status == Status::Failed {
            let names_file = found.reason.contains(id) || found.path.contains(id);
            assert!(names_file && found.reason.len() > 20, "{found:?}");
        }
    }
    // Nothing else is listed: `wide` goes by the name that the table gives it.
    assert_eq!(outcomes.len(), expected.len());
    let failed = outcomes
        .iter()
        .filter(|o| o.status == Status::Failed)
        .count();
    match error {
        StoreError::TooManyFailed {
            failed: counted,
            records,
            allowed,
            ..
        } => assert_eq!((counted, records, allowed), (failed, 13, 2)),
        other => panic!("{other}"),
    }
    // The others are stored all the same.
    let store = Store::open(&target).unwrap();
    store.verify().unwrap();
    assert_eq!(ids(&store), ["good1", "good2", "one-flat", "twice"]);
    assert_eq!(store.info().outcomes.failed, failed);
    let labels = store.label_matrix("labels").unwrap();
    assert_eq!(labels.classes, ["a", "b"]);
    assert_eq!((labels.rows.len(), labels.row(0)), (1, &[1, 1][..]));
}

#[test]
fn tables_that_make_no_sense_are_refused_with_their_line() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("records");
    for name in ["a", "b"] {
        write_wfdb(&root, name, &TWELVE, "mV", &beating(12, 1000));
    }
    let table = dir.path().join("labels.csv");
    let cases: [(&str, &[&str]); 4] = [
        ("id,split\na,train\nb,holdout\n", &["line 3", "`holdout`"]),
        ("id,fold\na,one\n", &["line 2", "`one`"]),
        ("id,label\na,x,y\n", &["line 2", "3 cells"]),
        ("colour\nred\n", &["`id` or `path`", "colour"]),
    ];
    for (text, words) in cases {
        fs::write(&table, text).unwrap();
        let source = Folder {
            table: Some(LabelTable::new(&table)),
            ..Folder::new(&root)
        };
        let target = dir.path().join("store");
        let error = prepare(&source, &contract(), &target, &small_shards(), &()).unwrap_err();
        let error = error.to_string();
        assert!(error.contains("labels.csv"), "{error}");
        for word in words {
            assert!(error.contains(word), "{word}: {error}");
        }
        assert!(!target.exists(), "{text}");
    }
}

/// A source that does not look at its ids.
struct Careless(Folder);

impl Importer for Careless {
    fn catalogue(&self) -> Result<Catalogue, ImportError> {
        let mut catalogue = self.0.catalogue()?;
        for Item { id, .. } in &mut catalogue.items {
            "same".clone_into(id);
        }
        Ok(catalogue)
    }
}

#[test]
fn repeated_ids_of_any_source_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("records");
    for name in ["a", "b", "c"] {
        write_wfdb(&root, name, &TWELVE, "mV", &beating(12, 1000));
    }
    let source = Careless(Folder::new(root));
    let target = dir.path().join("store");
    let error = prepare(&source, &contract(), &target, &small_shards(), &()).unwrap_err();
    assert!(
        matches!(error, StoreError::TooManyFailed { failed: 2, .. }),
        "{error:?}"
    );
    assert_eq!(Store::open(&target).unwrap().len(), 1);
    let outcomes = read_outcomes(&target).unwrap();
    assert!(
        outcomes[1]
            .reason
            .contains("the id `same` is already used by")
    );
}
