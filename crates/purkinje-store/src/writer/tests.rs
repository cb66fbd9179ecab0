//! The writer is interrupted at every one of its steps.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::Write;
use std::sync::{Arc, Mutex};

use super::*;
use crate::Store;

const ITEMS: usize = 11;

fn spec() -> StoreSpec {
    let leads = LeadSet::new(LeadSet::standard_12().leads()[..2].to_vec());
    StoreSpec {
        name: "test".to_owned(),
        preprocess: Preprocess::clear().with_leads(leads.clone()),
        leads,
        rate_hz: 100.0,
        unit: "mV".to_owned(),
        label_sets: Vec::new(),
        texts: Vec::new(),
        values: Vec::new(),
        made_by: MadeBy::default(),
        fingerprint: "test".to_owned(),
        rows_per_shard: 4,
        rows_per_batch: 2,
        schema_version: SCHEMA_VERSION,
        part: None,
    }
}

/// Every fourth record fails, the last one too.
fn item(index: usize) -> (Outcome, Option<NewRow>) {
    let id = format!("r{index}");
    if index % 4 == 2 {
        let failed = Outcome::not_stored(&id, Path::new(&id), Status::Failed, "it is torn");
        return (failed, None);
    }
    let row = NewRow {
        id: id.clone(),
        source: id.clone(),
        split: Split::Train,
        gain_per_mv: 1000.0,
        signal: vec![index as i16; 20],
        r_peaks: vec![3],
        beats_detected: true,
        flat_leads: 2,
        ..NewRow::default()
    };
    let stored = Outcome::not_stored(&id, Path::new(&id), Status::Ok, "");
    (stored, Some(row))
}

type FailAt = Box<dyn FnMut(Step) -> std::io::Result<()> + Send>;

fn write_all(dir: &Path, fail_at: Option<FailAt>) -> Result<StoreInfo, StoreError> {
    let mut writer = match StoreWriter::begin(dir, spec())? {
        Begin::Complete(info) => return Ok(*info),
        Begin::Writing(writer) => writer,
    };
    writer.fail_at = fail_at;
    for index in writer.items_done()..ITEMS {
        let (outcome, row) = item(index);
        writer.append(outcome, row)?;
    }
    writer.finish()
}

fn files(dir: &Path) -> BTreeMap<String, Vec<u8>> {
    fs::read_dir(dir)
        .unwrap()
        .map(|entry| {
            let entry = entry.unwrap();
            let name = entry.file_name().into_string().unwrap();
            (name, fs::read(entry.path()).unwrap())
        })
        .collect()
}

#[test]
fn a_crash_or_an_error_at_any_step_changes_no_byte() {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole");
    let steps = Arc::new(Mutex::new(Vec::new()));
    let (seen, from, to) = (steps.clone(), whole.clone(), dir.path().to_owned());
    // What lies on disk at every step, as a crash there would leave it.
    let snapshot = move |step| {
        let mut seen = seen.lock().unwrap();
        let snapshot = to.join(format!("crash-{}", seen.len()));
        fs::create_dir(&snapshot)?;
        for (name, bytes) in files(&from) {
            fs::write(snapshot.join(name), bytes)?;
        }
        seen.push(step);
        Ok(())
    };
    let info = write_all(&whole, Some(Box::new(snapshot))).unwrap();
    assert_eq!((info.records, info.shards.len()), (8, 3));
    let expected = files(&whole);
    let steps = steps.lock().unwrap().clone();
    for step in [
        Step::Batch,
        Step::ShardWritten,
        Step::OutcomesWritten,
        Step::ShardNamed,
        Step::Journaled,
        Step::OutcomesNamed,
        Step::Described,
    ] {
        assert!(steps.contains(&step), "{step:?} is never reached");
    }
    for (number, step) in steps.iter().enumerate() {
        let crashed = dir.path().join(format!("crash-{number}"));
        assert_eq!(write_all(&crashed, None).unwrap(), info, "{step:?}");
        assert!(files(&crashed) == expected, "crash at {step:?} ({number})");

        let failed = dir.path().join(format!("error-{number}"));
        let mut left = number;
        let full = move |_| {
            if left == 0 {
                return Err(std::io::ErrorKind::StorageFull.into());
            }
            left -= 1;
            Ok(())
        };
        let error = write_all(&failed, Some(Box::new(full))).unwrap_err();
        assert!(
            error.to_string().contains("Make room on the disk"),
            "{error}"
        );
        assert_eq!(write_all(&failed, None).unwrap(), info, "{step:?}");
        assert!(files(&failed) == expected, "error at {step:?} ({number})");
    }
}

#[test]
fn a_torn_journal_and_leftovers_are_cleared_away() {
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole");
    write_all(&whole, None).unwrap();
    let torn = dir.path().join("torn");
    let mut batches = 0;
    let stop = move |step| {
        batches += usize::from(step == Step::Batch);
        if batches == 3 {
            return Err(std::io::ErrorKind::StorageFull.into());
        }
        Ok(())
    };
    write_all(&torn, Some(Box::new(stop))).unwrap_err();
    let error = Store::open(&torn).err().unwrap();
    assert!(
        matches!(error, StoreError::Unfinished { items_done: 4, .. }),
        "{error}"
    );
    let append = |name: &str, bytes: &[u8]| {
        let path = torn.join(name);
        let mut file = OpenOptions::new()
            .append(true)
            .create(true)
            .open(path)
            .unwrap();
        file.write_all(bytes).unwrap();
    };
    append(JOURNAL_FILE, b"{\"shard\":{\"file\":\"sha");
    append("outcomes.csv.partial", b"r7,r7,ok,,1");
    append("shard-00001.arrow.partial", b"ARROW1");
    append("shard-00001.arrow", b"ARROW1");
    write_all(&torn, None).unwrap();
    assert!(files(&torn) == files(&whole));
}

#[test]
fn one_process_writes_at_a_time() {
    let dir = tempfile::tempdir().unwrap();
    let first = StoreWriter::begin(dir.path(), spec()).unwrap();
    let error = StoreWriter::begin(dir.path(), spec()).err().unwrap();
    assert!(matches!(error, StoreError::Busy { .. }), "{error}");
    drop(first);
    write_all(dir.path(), None).unwrap();
}

#[test]
fn what_an_earlier_version_began_is_continued_with_its_columns() {
    let dir = tempfile::tempdir().unwrap();
    let before = StoreSpec {
        schema_version: 2,
        ..spec()
    };
    let finish = |dir: &Path, mut spec: StoreSpec| {
        spec.continue_as_begun(dir).unwrap();
        let Begin::Writing(mut writer) = StoreWriter::begin(dir, spec).unwrap() else {
            panic!("it is complete");
        };
        for index in writer.items_done()..ITEMS {
            let (outcome, row) = item(index);
            writer.append(outcome, row).unwrap();
        }
        writer.finish().unwrap()
    };
    let whole = dir.path().join("whole");
    let info = finish(&whole, before.clone());
    assert_eq!(info.schema_version, 2);
    let old = Store::open(&whole).unwrap();
    assert!(old.rows().all(|row| row.quality().is_none()));
    let cut = dir.path().join("cut");
    let Begin::Writing(mut writer) = StoreWriter::begin(&cut, before).unwrap() else {
        panic!("it is complete");
    };
    for index in 0..7 {
        let (outcome, row) = item(index);
        writer.append(outcome, row).unwrap();
    }
    drop(writer);
    finish(&cut, spec());
    assert!(files(&cut) == files(&whole));
    let new = finish(&dir.path().join("new"), spec());
    assert_eq!(new.schema_version, SCHEMA_VERSION);
}

#[test]
fn a_part_of_an_earlier_division_is_continued_and_its_neighbours_follow() {
    let dir = tempfile::tempdir().unwrap();
    let part = |number| Part::new(number, 2, ITEMS).unwrap();
    // Shards of four: at their border.
    let before = Part {
        first_item: 0,
        end_item: 4,
        ..part(1)
    };
    let with = |part| StoreSpec {
        part: Some(part),
        ..spec()
    };
    let Begin::Writing(mut writer) = StoreWriter::begin(dir.path(), with(before)).unwrap() else {
        panic!("it is complete");
    };
    for index in 0..4 {
        let (outcome, row) = item(index);
        writer.append(outcome, row).unwrap();
    }
    drop(writer);
    for (number, expected) in [(1, 0..4), (2, 4..ITEMS)] {
        let mut spec = with(part(number));
        assert_ne!(spec.part, Some(before));
        spec.continue_as_begun(dir.path()).unwrap();
        let found = spec.part.unwrap();
        assert_eq!(found.first_item..found.end_item, expected);
        assert!(StoreWriter::begin(dir.path(), spec).is_ok());
    }
}
