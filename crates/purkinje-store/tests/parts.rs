//! A preparation in parts: joined, it is the one by one process, byte for byte.

mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};

use purkinje_datasets::import::{Folder, PtbXl};
use purkinje_signal::Preprocess;
use purkinje_store::{
    FailureLimit, Outcome, PrepareOptions, Progress, Store, StoreError, merge, prepare,
};

use common::{TWELVE, beating, copy, files, ptb_xl, small_shards, write_wfdb};

fn contract() -> Preprocess {
    Preprocess::clear_ptbxl()
}

fn options(shard: Option<(usize, usize)>) -> PrepareOptions {
    PrepareOptions {
        shard,
        max_failed: FailureLimit::Fraction(1.0),
        command: "prepare".to_owned(),
        ..small_shards()
    }
}

/// 38 records: those from 10 to 14 fail, so that a shard is missing, and some others.
fn mixed_folder(root: &Path) -> Folder {
    for i in 0..38 {
        let name = format!("r{i:02}");
        match i {
            10..15 => write_wfdb(root, &name, &TWELVE[..8], "mV", &beating(8, 500)),
            3 | 21 | 37 => write_wfdb(root, &name, &TWELVE, "mV", &vec![vec![0; 500]; 12]),
            _ => write_wfdb(root, &name, &TWELVE, "mV", &beating(12, 400 + 10 * i)),
        }
    }
    Folder::new(root)
}

fn whole(dir: &Path) -> (Folder, BTreeMap<String, Vec<u8>>) {
    let source = mixed_folder(&dir.join("records"));
    let target = dir.join("whole");
    prepare(&source, &contract(), &target, &options(None), &()).unwrap();
    let whole = files(&target);
    assert!(whole.contains_key("shard-00001.arrow") && whole.contains_key("shard-00007.arrow"));
    assert!(!whole.contains_key("shard-00002.arrow"), "nothing is in it");
    (source, whole)
}

#[test]
fn parts_in_one_folder_or_in_several_become_the_same_store() {
    let dir = tempfile::tempdir().unwrap();
    let (source, whole) = whole(dir.path());
    for of in [1, 2, 3, 8, 11] {
        let shared = dir.path().join(format!("shared-{of}"));
        // The last part first: order does not matter.
        for number in (1..=of).rev() {
            prepare(
                &source,
                &contract(),
                &shared,
                &options(Some((number, of))),
                &(),
            )
            .unwrap();
        }
        let error = Store::open(&shared).err().unwrap();
        assert!(matches!(error, StoreError::InParts { .. }), "{error}");
        merge(&[&shared], &shared).unwrap();
        assert!(files(&shared) == whole, "{of} in one folder");
        // Once more changes nothing, and a part knows that the store is complete.
        merge(&[&shared], &shared).unwrap();
        prepare(&source, &contract(), &shared, &options(Some((1, of))), &()).unwrap();
        assert!(files(&shared) == whole);

        let folders: Vec<PathBuf> = (1..=of)
            .map(|number| {
                let folder = dir.path().join(format!("part-{number}-of-{of}"));
                prepare(
                    &source,
                    &contract(),
                    &folder,
                    &options(Some((number, of))),
                    &(),
                )
                .unwrap();
                folder
            })
            .collect();
        let out = dir.path().join(format!("joined-{of}"));
        let info = merge(&folders, &out).unwrap();
        assert!(files(&out) == whole, "{of} in folders of their own");
        assert_eq!(Store::open(&out).unwrap().info(), &info);
    }
}

#[test]
fn missing_and_foreign_parts_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let (source, whole) = whole(dir.path());
    let shared = dir.path().join("shared");
    let error = merge(&[&shared], &shared).unwrap_err();
    assert!(error.to_string().contains("no finished part"), "{error}");
    for number in [1, 3] {
        prepare(
            &source,
            &contract(),
            &shared,
            &options(Some((number, 5))),
            &(),
        )
        .unwrap();
    }
    match merge(&[&shared], &shared).unwrap_err() {
        StoreError::MissingParts { missing, of, .. } => {
            assert_eq!((missing, of), (vec![2, 4, 5], 5))
        }
        other => panic!("{other}"),
    }
    // Another division, or none, has no place in this folder.
    for shard in [Some((1, 4)), None] {
        let error = prepare(&source, &contract(), &shared, &options(shard), &()).unwrap_err();
        assert!(
            error.to_string().contains("another number of parts"),
            "{error}"
        );
    }
    let other = dir.path().join("other");
    let one_lead = contract().with_leads("II".parse().unwrap());
    for number in [2, 4, 5] {
        prepare(&source, &one_lead, &other, &options(Some((number, 5))), &()).unwrap();
    }
    let error = merge(&[&shared, &other], &dir.path().join("joined")).unwrap_err();
    assert!(
        error.to_string().contains("not of the same preparation"),
        "{error}"
    );

    let rest = dir.path().join("rest");
    for number in [1, 2, 4, 5] {
        prepare(
            &source,
            &contract(),
            &rest,
            &options(Some((number, 5))),
            &(),
        )
        .unwrap();
    }
    let error = merge(&[&shared, &rest], &dir.path().join("joined")).unwrap_err();
    assert!(error.to_string().contains("part 1 is in"), "{error}");
    for name in ["part-1-of-5.json", "part-1-of-5.outcomes.csv"] {
        fs::remove_file(rest.join(name)).unwrap();
    }
    // A part that was damaged since.
    let damaged = dir.path().join("damaged");
    copy(&rest, &damaged);
    let shard = damaged.join("shard-00006.arrow");
    let bytes = fs::read(&shard).unwrap();
    fs::write(&shard, &bytes[1..]).unwrap();
    let error = merge(&[&shared, &damaged], &dir.path().join("spoilt")).unwrap_err();
    assert!(matches!(error, StoreError::Shard { .. }), "{error}");

    let joined = dir.path().join("joined");
    merge(&[&shared, &rest, &shared], &joined).unwrap();
    assert!(files(&joined) == whole);
    assert!(
        rest.join("part-2-of-5.json").exists(),
        "parts elsewhere stay"
    );
}

/// Breaks off after so many records.
struct BreakAfter(usize, AtomicUsize);

impl Progress for BreakAfter {
    fn record(&self, _: &Outcome) {
        if self.1.fetch_add(1, Ordering::Relaxed) + 1 == self.0 {
            // Without a word on standard error.
            std::panic::resume_unwind(Box::new("broken off"));
        }
    }
}

#[test]
fn parts_that_are_broken_off_and_continued_beside_each_other_change_no_byte() {
    let dir = tempfile::tempdir().unwrap();
    let (source, whole) = whole(dir.path());
    let shared = dir.path().join("shared");
    // Both parts lie half-done in one folder; the first is broken off right at its last record too.
    for (number, records) in [(1, 7), (2, 13), (1, 20), (1, 13), (2, 1)] {
        let progress = BreakAfter(records, AtomicUsize::new(0));
        let options = options(Some((number, 2)));
        let attempt = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            prepare(&source, &contract(), &shared, &options, &progress)
        }));
        assert!(attempt.is_err() || attempt.is_ok_and(|done| done.is_ok()));
        let error = Store::open(&shared).err().unwrap();
        assert!(matches!(error, StoreError::InParts { .. }), "{error}");
    }
    for number in [2, 1] {
        prepare(
            &source,
            &contract(),
            &shared,
            &options(Some((number, 2))),
            &(),
        )
        .unwrap();
    }
    // What an interrupted call to join leaves behind.
    fs::write(shared.join("merge.lock"), "").unwrap();
    fs::write(shared.join("outcomes.csv.partial"), "torn").unwrap();
    fs::write(shared.join("outcomes.csv"), "id").unwrap();
    merge(&[&shared], &shared).unwrap();
    assert!(files(&shared) == whole);
}

#[test]
fn parts_of_real_records_run_side_by_side() {
    let dir = tempfile::tempdir().unwrap();
    let source = PtbXl::new(ptb_xl());
    let (one, shared) = (dir.path().join("one"), dir.path().join("shared"));
    prepare(&source, &contract(), &one, &options(None), &()).unwrap();
    std::thread::scope(|scope| {
        for number in 1..=4 {
            let (source, shared) = (&source, &shared);
            scope.spawn(move || {
                prepare(
                    source,
                    &contract(),
                    shared,
                    &options(Some((number, 4))),
                    &(),
                )
                .unwrap();
            });
        }
    });
    merge(&[&shared], &shared).unwrap();
    assert!(files(&shared) == files(&one));
}
