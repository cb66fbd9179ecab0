//! Folders of records with tables about them: CSV and Parquet, numbers, patients of files.

#[path = "../../purkinje-store/tests/common/mod.rs"]
mod common;

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;

use arrow_array::types::Int32Type;
use arrow_array::{
    ArrayRef, BooleanArray, DictionaryArray, Float64Array, Int64Array, ListArray, RecordBatch,
    StringArray,
};
use parquet::arrow::ArrowWriter;
use purkinje_datasets::import::{Catalogue, Folder, Importer, LabelTable};
use purkinje_signal::Preprocess;
use purkinje_store::{FailureLimit, Ids, PrepareOptions, Split, Status, prepare, read_outcomes};

use common::{TWELVE, beating, write_wfdb};

fn records(root: &Path, names: &[&str]) {
    for name in names {
        write_wfdb(root, name, &TWELVE, "mV", &beating(12, 1000));
    }
}

fn write_parquet(path: &Path, columns: Vec<(&str, ArrayRef)>) {
    let batch = RecordBatch::try_from_iter(columns).unwrap();
    let mut writer =
        ArrowWriter::try_new(File::create(path).unwrap(), batch.schema(), None).unwrap();
    writer.write(&batch).unwrap();
    writer.close().unwrap();
}

/// The same table in two forms.
fn tables(dir: &Path) -> [std::path::PathBuf; 2] {
    let csv = dir.join("about.csv");
    fs::write(
        &csv,
        "id,patient,split,cv,report,age,dx,qtc_ms,lvef\na,p1,train,3,\"sinus, normal\",61,NORM,412.5,55\nb,p2,test,,,47.5,MI;CD,,\nc,p1,train,4,x,,,390,true\n",
    )
    .unwrap();
    let parquet = dir.join("about.parquet");
    let text = |cells: [Option<&str>; 3]| Arc::new(StringArray::from(cells.to_vec())) as ArrayRef;
    let mut dx = arrow_array::builder::ListBuilder::new(arrow_array::builder::StringBuilder::new());
    dx.append_value([Some("NORM")]);
    dx.append_value([Some("MI"), Some("CD")]);
    dx.append_null();
    let dx: ListArray = dx.finish();
    let split: DictionaryArray<Int32Type> = ["train", "test", "train"].into_iter().collect();
    write_parquet(
        &parquet,
        vec![
            ("id", text([Some("a"), Some("b"), Some("c")])),
            ("patient", text([Some("p1"), Some("p2"), Some("p1")])),
            ("split", Arc::new(split)),
            (
                "cv",
                Arc::new(Int64Array::from(vec![Some(3), None, Some(4)])),
            ),
            ("report", text([Some("sinus, normal"), None, Some("x")])),
            (
                "age",
                Arc::new(Float64Array::from(vec![Some(61.0), Some(47.5), None])),
            ),
            ("dx", Arc::new(dx)),
            (
                "qtc_ms",
                Arc::new(Float64Array::from(vec![Some(412.5), None, Some(390.0)])),
            ),
            ("lvef", text([Some("55"), None, Some("true")])),
        ],
    );
    [csv, parquet]
}

fn catalogue(root: &Path, table: &Path) -> Catalogue {
    let mut table = LabelTable::new(table);
    table.columns.fold = Some("cv".to_owned());
    table.columns.values = vec!["qtc_ms".to_owned(), "lvef".to_owned()];
    let source = Folder {
        table: Some(table),
        ..Folder::new(root)
    };
    source.catalogue().unwrap()
}

#[test]
fn a_parquet_table_says_what_a_csv_table_says() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("records");
    records(&root, &["a", "b", "c", "d"]);
    let [csv, parquet] = tables(dir.path());
    let found = catalogue(&root, &csv);
    assert_eq!(found.items, catalogue(&root, &parquet).items);
    assert_eq!(found.label_sets, catalogue(&root, &parquet).label_sets);
    assert_eq!(found.values, ["qtc_ms", "lvef"]);
    let [a, b, c, d] = &found.items[..] else {
        panic!("{:?}", found.items)
    };
    assert_eq!(
        (a.patient.as_deref(), a.split, a.fold),
        (Some("p1"), Some(Split::Train), Some(3))
    );
    assert_eq!(
        (a.report.as_deref(), a.age),
        (Some("sinus, normal"), Some(61.0))
    );
    assert_eq!(a.values, [Some(412.5), Some(55.0)]);
    assert_eq!(names(&found), ["CD", "MI", "NORM"]);
    assert_eq!(b.labels, [Some(vec![0, 1])]);
    assert_eq!((b.fold, &b.values[..]), (None, &[None, None][..]));
    assert_eq!(
        (&c.labels[..], &c.values[..]),
        (&[None][..], &[Some(390.0), Some(1.0)][..])
    );
    assert!(d.values.is_empty() && d.split.is_none());
}

#[test]
fn one_column_a_class_in_parquet() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("records");
    records(&root, &["a", "b"]);
    let table = dir.path().join("about.parquet");
    write_parquet(
        &table,
        vec![
            ("id", Arc::new(StringArray::from(vec!["a", "b"]))),
            (
                "AF",
                Arc::new(BooleanArray::from(vec![Some(true), Some(false)])),
            ),
            ("SR", Arc::new(Int64Array::from(vec![0, 1]))),
            ("hr", Arc::new(Int64Array::from(vec![80, 61]))),
        ],
    );
    let source = Folder {
        table: Some(LabelTable::new(&table)),
        ..Folder::new(&root)
    };
    let found = source.catalogue().unwrap();
    assert_eq!(names(&found), ["AF", "SR"]);
    let labels: Vec<_> = found
        .items
        .iter()
        .map(|item| item.labels[0].clone().unwrap())
        .collect();
    assert_eq!(labels, [vec![0], vec![1]]);
}

#[test]
fn numbers_that_are_none_are_refused_with_their_line() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("records");
    records(&root, &["a"]);
    let path = dir.path().join("t.csv");
    fs::write(&path, "id,hr\na,fast\n").unwrap();
    let mut table = LabelTable::new(&path);
    table.columns.values = vec!["hr".to_owned()];
    let source = |table: &LabelTable| Folder {
        table: Some(table.clone()),
        ..Folder::new(&root)
    };
    let error = source(&table).catalogue().unwrap_err().to_string();
    assert!(
        error.contains("line 2") && error.contains("`hr` is `fast`"),
        "{error}"
    );
    table.columns.values = vec!["rate".to_owned()];
    let error = source(&table).catalogue().unwrap_err().to_string();
    assert!(
        error.contains("`rate`") && error.contains("id, hr"),
        "{error}"
    );
}

#[test]
fn damaged_parquet_tables_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("records");
    records(&root, &["a", "b", "c"]);
    let [_, parquet] = tables(dir.path());
    let whole = fs::read(&parquet).unwrap();
    let source = Folder {
        table: Some(LabelTable::new(&parquet)),
        ..Folder::new(&root)
    };
    let mut refused = 0;
    for end in (4..whole.len()).step_by(7) {
        fs::write(&parquet, &whole[..end]).unwrap();
        refused += usize::from(source.catalogue().is_err());
    }
    assert_eq!(
        refused,
        (whole.len() - 4).div_ceil(7),
        "a part of a Parquet file is none"
    );
    // Bytes changed: an error or other cells, never more than that.
    let mut seed = 1u64;
    for _ in 0..2000 {
        let mut bytes = whole.clone();
        for _ in 0..3 {
            seed = seed
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1_442_695_040_888_963_407);
            let at = (seed >> 33) as usize % (bytes.len() - 4) + 4;
            bytes[at] ^= (seed >> 24) as u8;
        }
        fs::write(&parquet, &bytes).unwrap();
        let _ = source.catalogue();
    }
}

/// The classes of the first label set.
fn names(catalogue: &Catalogue) -> Vec<&str> {
    let classes = &catalogue.label_sets[0].classes;
    classes.iter().map(|class| class.name.as_str()).collect()
}

/// The contents of a folder with a table whose columns have usual names.
fn plain(root: &Path, table: &Path) -> Catalogue {
    let source = Folder {
        table: Some(LabelTable::new(table)),
        ..Folder::new(root)
    };
    source.catalogue().unwrap()
}

/// The labels of each record by its id.
fn labelled(found: &Catalogue) -> Vec<(String, Option<Vec<String>>)> {
    let name = |class: &i16| {
        let set = &found.label_sets[0];
        set.classes[usize::try_from(*class).unwrap()].name.clone()
    };
    let items = found.items.iter().filter(|item| item.fault.is_none());
    let labels = items.map(|item| {
        let own = item.labels.first().and_then(Option::as_ref);
        (
            item.id.clone(),
            own.map(|own| own.iter().map(name).collect()),
        )
    });
    labels.collect()
}

#[test]
fn cells_as_programs_write_them_are_labels_or_missing() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("records");
    let ids = ["00001", "00002", "00003", "00004"];
    records(&root, &ids);
    let table = dir.path().join("t.csv");
    let said = |text: &str| {
        fs::write(&table, text).unwrap();
        plain(&root, &table)
    };
    let found = said(
        "id,dx,MRN,age,sex\n00001,nan,7,89+,w\n00002,NA,7,300,F\n00003,SR,-,-1,2\n00004,None,NaN,,m\n",
    );
    let classes = |found: &Catalogue| -> Vec<String> {
        let classes = found.label_sets[0].classes.iter();
        classes.map(|class| class.name.clone()).collect()
    };
    assert_eq!(classes(&found), ["SR"]);
    let labels: Vec<bool> = labelled(&found)
        .iter()
        .map(|(_, own)| own.is_some())
        .collect();
    assert_eq!(labels, [false, false, true, false]);
    let of = |at: usize| &found.items[at];
    assert_eq!(
        (of(0).age, of(0).sex.as_deref()),
        (Some(89.0), Some("female"))
    );
    assert_eq!(
        (of(1).age, of(2).age, of(2).sex.as_deref()),
        (None, None, None)
    );
    assert_eq!(of(0).patient.as_deref(), Some("7"));
    assert_eq!((&of(2).patient, &of(3).patient), (&None, &None));
    let remarks = found.remarks.join("\n");
    for part in ["2 of the column `age`", "`300` in line 3", "`2` in line 4"] {
        assert!(remarks.contains(part), "{part}: {remarks}");
    }

    let found = said(
        "id,dx\n00001,\"AF,RBBB\"\n00002,\"['SR']\"\n00003,\"{'NORM': 100.0, 'SR': 0.0}\"\n00004,\"164889003,59118001\"\n",
    );
    assert_eq!(
        classes(&found),
        ["164889003", "59118001", "AF", "NORM", "RBBB", "SR"]
    );
    let third = labelled(&found)[2].1.clone().unwrap();
    assert_eq!(third, ["NORM", "SR"]);
    let remarks = found.remarks.join("\n");
    assert!(remarks.contains("no column of patients"), "{remarks}");

    fs::write(&table, "id,dx\n00001,\"['AF'\"\n").unwrap();
    let folder = Folder {
        table: Some(LabelTable::new(&table)),
        ..Folder::new(&root)
    };
    let error = folder.catalogue().unwrap_err().to_string();
    assert!(
        error.contains("line 2") && error.contains("`dx`"),
        "{error}"
    );
    let found = said("id,dx,note,height\n00001,AF,x,1\n00002,SR,y,2\n00003,AF,z,3\n00004,SR,w,4\n");
    let remarks = found.remarks.join("\n");
    assert!(
        remarks.contains("nothing was made of: note, height"),
        "{remarks}"
    );
}

#[test]
fn ids_match_without_zeros_and_paths_from_elsewhere_where_only_one_record_can_be_meant() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("records");
    records(&root, &["00001", "00002", "00003_lr", "00103"]);
    let table = dir.path().join("t.csv");
    let labels = |text: &str| {
        fs::write(&table, text).unwrap();
        let found = plain(&root, &table);
        let absent = found
            .items
            .iter()
            .filter(|item| item.fault.is_some())
            .count();
        let own = labelled(&found)
            .into_iter()
            .filter(|(_, own)| own.is_some());
        (
            own.map(|(id, _)| id).collect::<Vec<_>>(),
            absent,
            found.remarks.join("\n"),
        )
    };
    let (ids, absent, remarks) = labels("id,dx\n1,AF\n2.0,SR\n3,AF\n");
    assert_eq!(
        (ids, absent),
        (
            vec!["00001".to_owned(), "00002".into(), "00003_lr".into()],
            0
        )
    );
    assert!(
        remarks.contains("3 rows") && remarks.contains("leading zeros"),
        "{remarks}"
    );
    let (ids, absent, _) = labels(
        "path,dx\nrecords\\00001.hea,AF\nrecords/00002.hea,SR\n/data/records/00103.hea,SR\n./00003_lr.hea,AF\nx/00009.hea,AF\n",
    );
    assert_eq!((ids.len(), absent), (4, 1));
    // Records of two sites under one number: the folder has one of them at most.
    let (ids, absent, _) = labels("path,dx\na/00001.hea,AF\nb/00001.hea,SR\n00002.hea,SR\n");
    assert_eq!((ids, absent), (vec!["00002".to_owned()], 2));
    // Two records begin with the number 1.
    records(&root, &["0001"]);
    let (ids, absent, _) = labels("id,dx\n1,AF\n2,SR\n");
    assert_eq!((ids, absent), (vec!["00002".to_owned()], 1));
    fs::write(&table, "id,dx\nx1,AF\nx2,SR\n").unwrap();
    let folder = Folder {
        table: Some(LabelTable::new(&table)),
        ..Folder::new(&root)
    };
    let error = folder.catalogue().unwrap_err().to_string();
    for part in ["no row of the table", "`x1`", "`00001`", "--column"] {
        assert!(error.contains(part), "{part}: {error}");
    }
}

fn world(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/data/world")
        .join(name)
}

/// All bytes of a store.
fn bytes_of(store: &Path) -> Vec<u8> {
    let files = fs::read_dir(store)
        .unwrap()
        .map(|file| file.unwrap().path());
    files.flat_map(|file| fs::read(file).unwrap()).collect()
}

fn holds(bytes: &[u8], text: &str) -> bool {
    let text = text.as_bytes();
    bytes
        .windows(text.len())
        .any(|part| part.eq_ignore_ascii_case(text))
}

/// Files and folders called after their patient, one that is damaged in no way, one that lacks a lead, one in a format that names nobody.
#[test]
fn names_of_patients_do_not_leave_their_paths() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("archive");
    let doe = root.join("Doe, John 1950-01-01");
    fs::create_dir_all(&doe).unwrap();
    fs::copy(
        world("patient-in-path/edf.edf"),
        doe.join("EDF_Doe_John.edf"),
    )
    .unwrap();
    fs::copy(
        world("patient-in-path/dicom.dcm"),
        doe.join("12345678_DOE_JOHN.dcm"),
    )
    .unwrap();
    fs::copy(world("eight-leads/eight.edf"), root.join("plain.edf")).unwrap();
    let contract = |leads: &str| {
        Preprocess::preset("raw-500")
            .unwrap()
            .with_leads(leads.parse().unwrap())
    };
    let options = PrepareOptions {
        max_failed: FailureLimit::Count(9),
        command: format!("prepare folder {}", root.display()),
        source: root.display().to_string(),
        ..PrepareOptions::default()
    };
    let secrets = ["doe", "john", "12345678", "1950"];
    let names = |store: &Path| -> Vec<(String, String, bool)> {
        let outcomes = read_outcomes(store).unwrap().into_iter();
        outcomes
            .map(|own| (own.id, own.path, own.reason.is_empty()))
            .collect()
    };
    // By default what the files state is looked for; V9 is in none of them.
    for (leads, kept) in [("I,II", true), ("I,V9", false)] {
        let store = dir.path().join(format!("by-default-{kept}"));
        let map = dir.path().join(format!("map-{kept}.csv"));
        let own = PrepareOptions {
            id_map: Some(map.clone()),
            ..options.clone()
        };
        let summary = prepare(&Folder::new(&root), &contract(leads), &store, &own, &());
        assert_eq!(summary.is_ok(), kept);
        let bytes = bytes_of(&store);
        for secret in secrets {
            assert!(!holds(&bytes, secret), "{leads}: {secret}");
        }
        let found = names(&store);
        assert_eq!(found[0], ("number-1".into(), "number-1".into(), kept));
        assert_eq!(found[1], ("number-2".into(), "number-2".into(), kept));
        assert_eq!((&*found[2].0, &*found[2].1), ("plain", "plain.edf"));
        if let Ok(summary) = summary {
            let told = summary.remarks.iter().any(|own| own.contains("2 records"));
            assert!(told, "{:?}", summary.remarks);
            assert_eq!(summary.info.made_by.source, "(withheld)");
            let map = fs::read_to_string(map).unwrap();
            assert!(
                map.contains("number-2,\"Doe, John 1950-01-01/EDF_Doe_John.edf\""),
                "{map}"
            );
        }
    }
    // On request no path is kept, whatever the files state.
    fs::rename(doe.join("EDF_Doe_John.edf"), doe.join("Roe.edf")).unwrap();
    let salted = Ids::Hash("a secret of some length".into());
    for (name, ids, first) in [
        ("number", Ids::Number, "number-"),
        ("hash", salted, "hash-"),
    ] {
        let store = dir.path().join(name);
        let own = PrepareOptions {
            ids,
            ..options.clone()
        };
        prepare(&Folder::new(&root), &contract("I,II"), &store, &own, &()).unwrap();
        let bytes = bytes_of(&store);
        for secret in [&secrets[..], &["roe", "plain", "archive"]].concat() {
            assert!(!holds(&bytes, secret), "{name}: {secret}");
        }
        let found = names(&store);
        assert!(
            found
                .iter()
                .all(|(id, path, _)| id == path && id.starts_with(first))
        );
    }
}

/// Every file of a folder is stored, failed by name, or counted; a table may name files of any extension.
#[test]
fn every_file_of_a_folder_is_accounted_for() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("folder");
    fs::create_dir(&root).unwrap();
    fs::copy(world("eight-leads/eight.edf"), root.join("sound.edf")).unwrap();
    fs::copy(world("eight-leads/eight.edf"), root.join("renamed.bin")).unwrap();
    let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n";
    let damaged = [
        "a.dcm",
        "b.edf",
        "c.mat",
        "d.npz",
        "e.h5",
        "f.xml",
        "g.csv",
        "h.parquet",
    ];
    for name in damaged {
        fs::write(root.join(name), if name < "e" { pointer } else { "" }).unwrap();
    }
    for name in ["README", "index.html", "notes.md", ".DS_Store"] {
        fs::write(root.join(name), "text").unwrap();
    }
    let table = dir.path().join("labels.csv");
    fs::write(
        &table,
        "path,label\nsound.edf,A\nrenamed.bin,B\na.dcm,A\nnone.edf,A\n",
    )
    .unwrap();
    let mut folder = Folder::new(&root);
    folder.table = Some(LabelTable::new(&table));
    let contract = Preprocess::preset("raw-500")
        .unwrap()
        .with_leads("I,II".parse().unwrap());
    let options = PrepareOptions {
        max_failed: FailureLimit::Count(99),
        ..PrepareOptions::default()
    };
    let store = dir.path().join("store");
    let summary = prepare(&folder, &contract, &store, &options, &()).unwrap();
    let outcomes = read_outcomes(&store).unwrap();
    let with = |status: Status| -> Vec<&str> {
        let own = outcomes.iter().filter(|outcome| outcome.status == status);
        own.map(|outcome| &*outcome.path).collect()
    };
    // EDF by its mark, as the table names it.
    assert_eq!(with(Status::Ok), ["sound.edf", "renamed.bin"]);
    assert_eq!(with(Status::Missing), ["none.edf"]);
    assert_eq!(with(Status::Failed), damaged);
    for outcome in outcomes.iter().filter(|own| own.status == Status::Failed) {
        assert!(outcome.reason.contains(&outcome.path), "{}", outcome.reason);
    }
    let counted = "1 .html, 1 .md, 1 hidden, 1 without extension";
    let told = summary.remarks.iter().any(|own| own.contains(counted));
    assert!(told, "{:?}", summary.remarks);
}
