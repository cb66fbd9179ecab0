//! Stores are read by other programs as they are: pyarrow and polars, if Python has them.
//!
//! `PURKINJE_PYTHON` names the Python; otherwise it is `python3`.

mod common;

use purkinje_datasets::import::{Catalogue, ImportError, Importer, Item, PtbXl, ReadWhole as _};
use purkinje_signal::Preprocess;
use purkinje_store::{Store, prepare};

use common::{ptb_xl, python, small_shards};

/// PTB-XL with a further text and two numbers.
struct Richer(PtbXl);

impl Importer for Richer {
    fn catalogue(&self) -> Result<Catalogue, ImportError> {
        let mut catalogue = self.0.catalogue()?;
        catalogue.texts = vec!["short".to_owned()];
        catalogue.values = vec!["death".to_owned(), "follow_up_years".to_owned()];
        for (index, item) in catalogue.items.iter_mut().enumerate() {
            item.texts = vec![(index % 3 > 0).then(|| format!("ECG no. {index}"))];
            item.values = vec![Some(0.0), (index % 2 > 0).then_some(index as f32)];
            item.entry = Some(index as u64);
        }
        Ok(catalogue)
    }

    fn open(
        &self,
        catalogue: &Catalogue,
        item: &Item,
        leads: &purkinje_record::LeadSet,
    ) -> Result<purkinje_record::Reader, purkinje_record::RecordError> {
        let mut recording = self.0.read(catalogue, item, leads)?;
        for (sample, lead, symbol) in [(10, None, "N"), (999, Some(purkinje_record::Lead::V1), "+")]
        {
            recording.annotations.push(purkinje_record::Annotation {
                sample,
                lead,
                symbol: symbol.to_owned(),
                note: (symbol == "+").then(|| "(AFIB".to_owned()),
            });
        }
        Ok(recording.into())
    }
}

/// One line a row: what the scripts below print too.
fn expected(store: &Store) -> String {
    store
        .rows()
        .map(|row| {
            let signal: i64 = row.signal().iter().map(|&unit| i64::from(unit)).sum();
            let peaks: i64 = row.r_peaks().iter().map(|&peak| i64::from(peak)).sum();
            let marks: Vec<String> = row
                .annotations()
                .map(|mark| {
                    let lead = mark.lead.unwrap_or(-1);
                    format!("{}{}@{}{}", mark.symbol, mark.note, mark.sample, lead)
                })
                .collect();
            let quality = row.quality().unwrap();
            format!(
                "{}|{}|{}|{}|{}|{signal}|{peaks}|{}|{}|{}|{}|{}|{}|{}|{:?}|{}\n",
                row.id(),
                row.patient().unwrap_or("None"),
                row.split(),
                row.gain_per_mv() as u32,
                row.samples(),
                row.entry().unwrap(),
                row.source_rate_hz().unwrap() as u32,
                row.signal_hash().unwrap(),
                marks.join(" "),
                quality.flat_leads as i16,
                quality.limb_leads.name(),
                row.text(0).unwrap_or("None"),
                row.labels(3)
                    .map_or_else(|| "None".to_owned(), |labels| format!("{labels:?}")),
                row.value(1).map_or(-1, |value| value as i64),
            )
        })
        .collect()
}

const PRINT: &str = r#"
def show(row):
    marks = " ".join(f"{s}{n}@{t}{l}" for t, s, l, n in zip(row["annotation_samples"],
        row["annotation_symbols"], row["annotation_leads"], row["annotation_notes"]))
    value = row["value_follow_up_years"]
    print(row["id"], row["patient"], row["split"], int(row["gain_per_mv"]), row["samples"],
        sum(row["signal"]), sum(row["r_peaks"]), row["entry"], int(row["source_rate_hz"]), row["signal_hash"],
        marks, row["quality_flat_leads"], row["quality_limb_leads"], row["report_short"],
        '"' + str(row["labels_superdiagnostic"]) + '"', -1 if value is None else int(value), sep="|")
"#;

#[test]
fn other_programs_read_columns_and_values() {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("store");
    let source = Richer(PtbXl::new(ptb_xl()));
    prepare(
        &source,
        &Preprocess::clear_ptbxl(),
        &target,
        &small_shards(),
        &(),
    )
    .unwrap();
    let store = Store::open(&target).unwrap();
    let expected = expected(&store);
    assert!(expected.contains("N@10-1 +(AFIB@9996"), "{expected}");

    let arrow = format!(
        "{PRINT}{}",
        r#"
import json, os, sys, pyarrow as pa
folder = sys.argv[1]
for shard in json.load(open(os.path.join(folder, "store.json")))["shards"]:
    with pa.memory_map(os.path.join(folder, shard["file"])) as source:
        table = pa.ipc.open_file(source).read_all()
        table.validate(full=True)
        for row in table.to_pylist(): show(row)
"#
    );
    if let Some(found) = python("pyarrow", &arrow, &[&target]) {
        assert_eq!(found, expected);
    }
    let schema = r#"
import glob, os, sys, pyarrow as pa
with pa.memory_map(sorted(glob.glob(os.path.join(sys.argv[1], "*.arrow")))[0]) as source:
    for field in pa.ipc.open_file(source).schema:
        print(field.name, field.type, field.nullable)
"#;
    if let Some(found) = python("pyarrow", schema, &[&target]) {
        let schema = purkinje_store::arrow_schema(
            &store.info().label_sets,
            &store.info().texts,
            &store.info().values,
        );
        let named = |name: &str| match name {
            "Utf8" => "string",
            "Int16" => "int16",
            "Int32" => "int32",
            "Int64" => "int64",
            "Float32" => "float",
            "Boolean" => "bool",
            "List(non-null Int16)" => "list<item: int16 not null>",
            "List(non-null Int32)" => "list<item: int32 not null>",
            "List(non-null Utf8)" => "list<item: string not null>",
            other => panic!("{other}"),
        };
        let listed: Vec<String> = schema
            .fields()
            .iter()
            .map(|field| {
                let nullable = if field.is_nullable() { "True" } else { "False" };
                format!(
                    "{} {} {nullable}",
                    field.name(),
                    named(&field.data_type().to_string())
                )
            })
            .collect();
        assert_eq!(found.lines().collect::<Vec<_>>(), listed);
    }
    let polars = format!(
        "{PRINT}{}",
        r#"
import json, os, sys, polars as pl
folder = sys.argv[1]
for shard in json.load(open(os.path.join(folder, "store.json")))["shards"]:
    for row in pl.read_ipc(os.path.join(folder, shard["file"])).iter_rows(named=True):
        show(row)
"#
    );
    if let Some(found) = python("polars", &polars, &[&target]) {
        assert_eq!(found, expected);
    }
}
