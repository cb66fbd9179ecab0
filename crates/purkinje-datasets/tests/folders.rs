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
use purkinje_store::Split;

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
