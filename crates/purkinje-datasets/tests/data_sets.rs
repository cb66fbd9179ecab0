//! Data sets in their published layouts: real records where this repository has some, otherwise small files made in the layout.

#[path = "../../purkinje-store/tests/common/mod.rs"]
mod common;

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use purkinje_datasets::import::ReadWhole as _;
use purkinje_datasets::import::{
    Catalogue, Code15, CodeTest, Fault, Hefei, ImportError, ImportOptions, Importer, Item, Ludb,
    MitBih, PtbDb, SamiTrop, data_sets, importer, usual_preprocess,
};
use purkinje_record::{Lead, LeadSet};
use purkinje_store::{FailureLimit, PrepareOptions, Split, Store, prepare};

use common::copy_tree;

fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../tests/data")
        .join(name)
}

fn item<'a>(catalogue: &'a Catalogue, id: &str) -> &'a Item {
    catalogue.items.iter().find(|item| item.id == id).unwrap()
}

/// The names of a record's classes in a label set; `None`: not part of it.
fn labels<'a>(catalogue: &'a Catalogue, id: &str, set: &str) -> Option<Vec<&'a str>> {
    let index = catalogue
        .label_sets
        .iter()
        .position(|own| own.name == set)
        .unwrap();
    let classes = &catalogue.label_sets[index].classes;
    let indices = item(catalogue, id).labels[index].as_ref()?;
    Some(
        indices
            .iter()
            .map(|&i| classes[i as usize].name.as_str())
            .collect(),
    )
}

fn symbols(annotations: &[purkinje_record::Annotation]) -> BTreeMap<&str, usize> {
    let mut counts = BTreeMap::new();
    for annotation in annotations {
        *counts.entry(annotation.symbol.as_str()).or_default() += 1;
    }
    counts
}

/// Prepares with the usual contract, whatever fails.
fn stored(name: &str, root: &Path, options: &ImportOptions) -> (tempfile::TempDir, Store) {
    let dir = tempfile::tempdir().unwrap();
    let target = dir.path().join("store");
    let source = importer(name, root.to_owned(), options).unwrap();
    let contract = usual_preprocess(name, options).unwrap();
    let prepare_options = PrepareOptions {
        max_failed: FailureLimit::Count(usize::MAX),
        ..PrepareOptions::default()
    };
    prepare(source.as_ref(), &contract, &target, &prepare_options, &()).unwrap();
    let store = Store::open(&target).unwrap();
    (dir, store)
}

#[test]
fn ludb_has_its_labels_and_the_limits_of_every_wave() {
    let source = Ludb::new(data("ludb"));
    let catalogue = source.catalogue().unwrap();
    assert_eq!(catalogue.items.len(), 200);
    // The complete table: the published counts hold, and only the age above 89 is worth a word.
    assert_eq!(catalogue.remarks.len(), 1, "{:?}", catalogue.remarks);
    assert!(catalogue.remarks[0].contains(">89"));
    let eight = item(&catalogue, "8");
    assert_eq!(
        (eight.age, eight.sex.as_deref()),
        (Some(57.0), Some("female"))
    );
    assert_eq!(eight.patient.as_deref(), Some("8"));
    assert_eq!(
        labels(&catalogue, "8", "rhythm"),
        Some(vec!["Atrial fibrillation"])
    );
    // A paced heart has no axis in the table.
    assert_eq!(labels(&catalogue, "8", "axis"), None);
    assert_eq!(labels(&catalogue, "8", "conduction"), Some(vec![]));
    assert_eq!(
        labels(&catalogue, "8", "ischemia").unwrap(),
        ["anterior wall", "apical", "lateral wall", "septal"]
            .map(|place| format!("Undefined ischemia/scar/supp.nstemi: {place}"))
    );
    assert_eq!(
        labels(&catalogue, "1", "repolarization"),
        Some(vec!["posterior wall"])
    );
    assert_eq!(
        labels(&catalogue, "1", "axis"),
        Some(vec!["left axis deviation"])
    );
    let report = item(&catalogue, "1").report.as_deref().unwrap();
    assert!(
        report.starts_with("Rhythm: Sinus bradycardia. Electric axis"),
        "{report}"
    );
    let missing = catalogue
        .items
        .iter()
        .filter(|i| matches!(i.fault, Some(Fault::Missing(_))));
    assert_eq!(missing.count(), 198);

    let twelve = LeadSet::standard_12();
    let one = source
        .read(&catalogue, item(&catalogue, "1"), &twelve)
        .unwrap();
    assert_eq!((one.len(), one.rate_hz), (5000, 500.0));
    assert_eq!(
        symbols(&one.annotations),
        BTreeMap::from([("(", 192), (")", 192), ("N", 72), ("p", 60), ("t", 60)])
    );
    let first: Vec<(i64, &str)> = one
        .annotations
        .iter()
        .filter(|mark| mark.lead == Some(Lead::I))
        .map(|mark| (mark.sample, mark.symbol.as_str()))
        .take(4)
        .collect();
    assert_eq!(first, [(641, "("), (664, "N"), (690, ")"), (773, "(")]);
    // Just the leads that are asked for.
    let v6 = LeadSet::new(vec![Lead::V6]);
    let one = source.read(&catalogue, item(&catalogue, "1"), &v6).unwrap();
    assert_eq!(one.annotations.len(), 48);
    assert!(
        one.annotations
            .iter()
            .all(|mark| mark.lead == Some(Lead::V6))
    );
}

#[test]
fn ludb_without_annotations_or_with_another_table_says_so() {
    let dir = tempfile::tempdir().unwrap();
    copy_tree(&data("ludb"), dir.path());
    fs::remove_file(dir.path().join("data/1.avf")).unwrap();
    let source = Ludb::new(dir.path());
    let catalogue = source.catalogue().unwrap();
    let error = source
        .read(&catalogue, item(&catalogue, "1"), &LeadSet::standard_12())
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("1.avf") && error.contains("lead aVF"),
        "{error}"
    );

    let table = fs::read_to_string(dir.path().join("ludb.csv")).unwrap();
    let changed = table.replacen("Atrial fibrillation", "Sinus rhythm", 1);
    fs::write(dir.path().join("ludb.csv"), changed).unwrap();
    let remarks = source.catalogue().unwrap().remarks.join("\n");
    assert!(
        remarks.contains("Atrial fibrillation 14 instead of 15"),
        "{remarks}"
    );

    fs::write(
        dir.path().join("ludb.csv"),
        table.replace("Rhythms", "Rhythm"),
    )
    .unwrap();
    let error = source.catalogue().unwrap_err().to_string();
    assert!(error.contains("`Rhythms`"), "{error}");
}

/// Record 100 under its own name, and as record 202 of the patient of 201.
fn mit_bih(root: &Path) {
    for (name, extension) in [
        ("100", "hea"),
        ("100", "dat"),
        ("100", "atr"),
        ("100", "hea"),
    ] {
        fs::copy(
            data("wfdb").join(format!("{name}.{extension}")),
            root.join(format!("{name}.{extension}")),
        )
        .unwrap();
    }
    for record in ["201", "202"] {
        let header = fs::read_to_string(data("wfdb").join("100.hea")).unwrap();
        fs::write(
            root.join(format!("{record}.hea")),
            header.replace("100", record),
        )
        .unwrap();
        fs::copy(root.join("100.dat"), root.join(format!("{record}.dat"))).unwrap();
        fs::copy(root.join("100.atr"), root.join(format!("{record}.atr"))).unwrap();
    }
}

#[test]
fn mit_bih_has_its_beats_and_rhythms() {
    let dir = tempfile::tempdir().unwrap();
    mit_bih(dir.path());
    let source = MitBih::new(dir.path());
    let catalogue = source.catalogue().unwrap();
    assert_eq!(catalogue.items.len(), 3);
    assert!(catalogue.remarks[0].starts_with("45 of the 48 published records"));
    let one = item(&catalogue, "100");
    assert_eq!((one.age, one.sex.as_deref()), (Some(69.0), Some("male")));
    assert_eq!(
        catalogue.values,
        ["beats_n", "beats_s", "beats_v", "beats_f", "beats_q"]
    );
    assert_eq!(one.values, [2239.0, 33.0, 1.0, 0.0, 0.0].map(Some));
    assert_eq!(labels(&catalogue, "100", "aami"), Some(vec!["N", "S", "V"]));
    assert_eq!(labels(&catalogue, "100", "rhythm"), Some(vec!["N"]));
    assert_eq!(one.split, None);
    assert_eq!(item(&catalogue, "202").patient.as_deref(), Some("201"));

    let leads = usual_preprocess("mitdb", &ImportOptions::default())
        .unwrap()
        .leads;
    let recording = source.read(&catalogue, one, &leads).unwrap();
    assert_eq!((recording.len(), recording.rate_hz), (650_000, 360.0));
    assert_eq!(
        symbols(&recording.annotations),
        BTreeMap::from([("+", 1), ("A", 33), ("N", 2239), ("V", 1)])
    );
    let rhythm = &recording.annotations[0];
    assert_eq!((rhythm.sample, rhythm.note.as_deref()), (18, Some("(N")));

    let divided = MitBih {
        de_chazal: true,
        ..source
    }
    .catalogue()
    .unwrap();
    let parts = ["100", "201", "202"].map(|id| item(&divided, id).split);
    assert_eq!(parts, [Split::Test, Split::Train, Split::Test].map(Some));
    assert!(
        divided
            .remarks
            .iter()
            .any(|remark| remark.contains("of the same patient"))
    );
}

#[test]
fn mit_bih_is_stored_whole_and_a_record_without_the_lead_fails() {
    let dir = tempfile::tempdir().unwrap();
    mit_bih(dir.path());
    // As records 102 and 104 have it.
    let header = fs::read_to_string(dir.path().join("202.hea")).unwrap();
    fs::write(dir.path().join("202.hea"), header.replace("MLII", "V2")).unwrap();
    fs::write(dir.path().join("201.atr"), [1, 2, 3]).unwrap();
    let (_dir, store) = stored("mitdb", dir.path(), &ImportOptions::default());
    assert_eq!(common::ids(&store), ["100"]);
    let row = store.rows().next().unwrap();
    assert_eq!(row.samples(), 650_000);
    // The detector and the annotators agree on the number of beats of this easy record.
    assert!(
        (2200..2350).contains(&row.r_peaks().len()),
        "{}",
        row.r_peaks().len()
    );
}

#[test]
fn ptb_has_its_patients_summaries_and_frank_leads() {
    let source = PtbDb::new(data("ptbdb"));
    let catalogue = source.catalogue().unwrap();
    let id = "patient001/s0010_re";
    let one = item(&catalogue, id);
    assert_eq!(one.patient.as_deref(), Some("patient001"));
    assert_eq!((one.age, one.sex.as_deref()), (Some(81.0), Some("female")));
    assert_eq!(
        labels(&catalogue, id, "diagnosis"),
        Some(vec!["Myocardial infarction"])
    );
    let report = one.report.as_deref().unwrap();
    assert!(
        report.starts_with("Reason for admission: Myocardial infarction\n"),
        "{report}"
    );
    assert!(
        report.contains("Echocardiography") == report.contains("Echocardiography: "),
        "{report}"
    );
    assert!(
        !report.contains("n/a") && !report.contains("age: 81"),
        "{report}"
    );
    let leads: Vec<Lead> = ["vx", "I", "vz"].map(Lead::parse).to_vec();
    let recording = source.read(&catalogue, one, &LeadSet::new(leads)).unwrap();
    assert_eq!((recording.len(), recording.rate_hz), (38_400, 1000.0));
    assert_eq!(recording.lead_mv(&Lead::I).unwrap()[0], -489.0 / 2000.0);
    assert_eq!(recording.rows().next().unwrap()[0], -3.0 / 2000.0);
    let (_dir, store) = stored("ptbdb", &data("ptbdb"), &ImportOptions::default());
    assert_eq!(common::ids(&store), [id]);
}

/// Three records in the layout of the competition's second round. The samples are made up.
fn hefei(root: &Path) {
    fs::create_dir_all(root.join("hf_round2_train")).unwrap();
    fs::write(
        root.join("hf_round2_label.txt"),
        "100001.txt\t73\tFEMALE\t左心室高电压\t窦性心律\t\n100003.txt\t\t\t右束支传导阻滞\t完全性右束支传导阻滞\n100008.txt\t40\tMALE\t新的说法\n100049.txt\t\t\t窦性心律\n",
    )
    .unwrap();
    fs::write(
        root.join("hf_round2_arrythmia.txt"),
        "右束支传导阻滞\n左心室高电压\n窦性心律\n完全性右束支传导阻滞\n",
    )
    .unwrap();
    for name in ["100001", "100003"] {
        let mut text = "I II V1 V2 V3 V4 V5 V6\n".to_owned();
        for t in 0..5000 {
            let beat = if t % 400 == 150 { 200 } else { t % 5 };
            text += &format!("{} {} 1 2 3 4 5 {beat}\n", beat, 2 * beat);
        }
        fs::write(root.join(format!("hf_round2_train/{name}.txt")), text).unwrap();
    }
}

#[test]
fn hefei_statements_become_two_label_sets() {
    let dir = tempfile::tempdir().unwrap();
    hefei(dir.path());
    let source = Hefei::new(dir.path());
    let catalogue = source.catalogue().unwrap();
    assert_eq!(catalogue.label_sets[0].classes.len(), 4);
    assert_eq!(catalogue.label_sets[1].classes.len(), 27);
    assert_eq!(
        catalogue.label_sets[0].classes[2].description.as_deref(),
        Some("sinus rhythm")
    );
    assert_eq!(
        labels(&catalogue, "100001", "statements"),
        Some(vec!["左心室高电压", "窦性心律"])
    );
    assert_eq!(
        labels(&catalogue, "100001", "hubert"),
        Some(vec!["LVH", "NSR"])
    );
    assert_eq!(
        labels(&catalogue, "100003", "hubert"),
        Some(vec!["CRBBB|RBBB"])
    );
    let one = item(&catalogue, "100001");
    assert_eq!((one.age, one.sex.as_deref()), (Some(73.0), Some("female")));
    assert!(
        catalogue
            .remarks
            .iter()
            .any(|remark| remark.contains("新的说法"))
    );
    assert!(matches!(
        item(&catalogue, "100008").fault,
        Some(Fault::Missing(_))
    ));
    let recording = source
        .read(&catalogue, one, &"III,V6".parse().unwrap())
        .unwrap();
    assert_eq!(recording.lead_mv(&Lead::III), recording.lead_mv(&Lead::V6));
    let (_dir, store) = stored("hefei", dir.path(), &ImportOptions::default());
    assert_eq!(common::ids(&store), ["100001", "100003"]);
}

#[test]
fn folders_of_something_else_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    for name in data_sets().iter().map(|set| set.name) {
        let source = importer(name, dir.path().to_owned(), &ImportOptions::default()).unwrap();
        let error = source.catalogue().unwrap_err();
        assert!(
            error
                .to_string()
                .contains(&dir.path().display().to_string()),
            "{name}: {error}"
        );
        let source = importer(name, dir.path().join("x"), &ImportOptions::default()).unwrap();
        assert!(
            matches!(source.catalogue(), Err(ImportError::NoFolder { .. })),
            "{name}"
        );
    }
}

#[test]
fn hefei_takes_the_folds_of_hubert() {
    let dir = tempfile::tempdir().unwrap();
    hefei(dir.path());
    let options = ImportOptions {
        split: Some("hubert-0".to_owned()),
        ..ImportOptions::default()
    };
    let source = importer("hefei", dir.path().to_owned(), &options).unwrap();
    let catalogue = source.catalogue().unwrap();
    // As in the published tables: two are for training, the third was not in the second round.
    let parts =
        ["100001", "100003", "100049", "100008"].map(|id| item(&catalogue, id).split.unwrap());
    assert_eq!(
        parts,
        [Split::Train, Split::Train, Split::Test, Split::None]
    );
    let told = catalogue
        .remarks
        .iter()
        .any(|remark| remark.starts_with("split hubert-0: 20032 of its 20035"));
    assert!(told, "{:?}", catalogue.remarks);
}

#[test]
fn code_15_has_its_labels_numbers_and_real_tracings() {
    let source = Code15::new(data("code-15"));
    let catalogue = source.catalogue().unwrap();
    assert_eq!(catalogue.items.len(), 10);
    // The three exams that are here first, in the order of their file.
    let here: Vec<&str> = catalogue.items[..3]
        .iter()
        .map(|item| item.id.as_str())
        .collect();
    assert_eq!(here, ["438277", "358121", "1594286"]);
    let missing = catalogue
        .items
        .iter()
        .filter(|i| matches!(i.fault, Some(Fault::Missing(_))));
    assert_eq!(missing.count(), 7);
    assert_eq!(
        labels(&catalogue, "438277", "abnormalities"),
        Some(vec!["1dAVb"])
    );
    assert_eq!(
        labels(&catalogue, "358121", "abnormalities"),
        Some(vec!["RBBB"])
    );
    assert_eq!(labels(&catalogue, "358121", "normal_ecg"), Some(vec![]));
    assert_eq!(
        catalogue.values,
        ["death", "follow_up_years", "predicted_age"]
    );
    let one = item(&catalogue, "438277");
    assert_eq!(one.values, [None, None, Some(38.72283)]);
    assert_eq!(
        item(&catalogue, "358121").values,
        [0.0, 3.846572, 44.204422].map(Some)
    );
    assert_eq!(item(&catalogue, "795649").values[0], Some(1.0));
    assert_eq!(
        (one.patient.as_deref(), one.age),
        (Some("185323"), Some(46.0))
    );
    assert_eq!((one.sex.as_deref(), one.entry), (Some("male"), Some(0)));
    // 358121 was seen alive after 3.8 years, 1594286 after 1.3, 795649 died after 1.2, and of 438277 nothing is known.
    for (id, within_follow_up, within_two_years) in [
        ("358121", Some(vec![]), Some(vec![])),
        ("1594286", Some(vec![]), None),
        ("795649", Some(vec!["death"]), Some(vec!["death-2y"])),
        ("438277", None, None),
    ] {
        assert_eq!(labels(&catalogue, id, "death"), within_follow_up, "{id}");
        assert_eq!(labels(&catalogue, id, "death-2y"), within_two_years, "{id}");
    }
    let [remark] = catalogue.remarks.as_slice() else {
        panic!("{:?}", catalogue.remarks);
    };
    assert!(remark.starts_with("1 of 7 exams"), "{remark}");

    let twelve = LeadSet::standard_12();
    let short = source.read(&catalogue, one, &twelve).unwrap();
    assert_eq!((short.len(), short.rate_hz), (2934, 400.0));
    assert_eq!(short.lead_mv(&Lead::I).unwrap()[0], -0.117_262_1 / 10.0);
    let long = source
        .read(&catalogue, item(&catalogue, "1594286"), &twelve)
        .unwrap();
    assert_eq!(long.len(), 4096);

    let mut padded = Code15::new(data("code-15"));
    padded.keep_padding = true;
    let kept = padded.read(&catalogue, one, &twelve).unwrap();
    assert_eq!(kept.len(), 4096);
    assert_eq!(
        kept.lead_mv(&Lead::V6).unwrap()[581..3515],
        *short.lead_mv(&Lead::V6).unwrap()
    );
    assert!(
        kept.rows()
            .all(|row| row[..581].iter().chain(&row[3515..]).all(|v| *v == 0.0))
    );

    let (_dir, store) = stored("code-15", &data("code-15"), &ImportOptions::default());
    assert_eq!(common::ids(&store), ["438277", "358121", "1594286"]);
}

#[test]
fn code_15_takes_an_exam_from_a_file_of_its_own() {
    let dir = tempfile::tempdir().unwrap();
    fs::create_dir(dir.path().join("tracings")).unwrap();
    fs::copy(data("code-15/exams.csv"), dir.path().join("exams.csv")).unwrap();
    let mat = dir.path().join("tracings/code_15_358121.mat");
    fs::copy(data("code-15/code_15_358121.mat"), mat).unwrap();
    let source = Code15::new(dir.path());
    let catalogue = source.catalogue().unwrap();
    let wanted: LeadSet = "V6,aVL,I".parse().unwrap();
    let own = source
        .read(&catalogue, item(&catalogue, "358121"), &wanted)
        .unwrap();
    let part = Code15::new(data("code-15"));
    let catalogue = part.catalogue().unwrap();
    let same = part
        .read(&catalogue, item(&catalogue, "358121"), &wanted)
        .unwrap();
    assert_eq!(own.samples_mv(), same.samples_mv());
    assert_eq!(own.rate_hz, same.rate_hz);

    // Without either, the exam is missing; a damaged part is said, and its exams fail.
    let broken = dir.path().join("exams_part12.hdf5");
    fs::write(&broken, b"\x89HDF\r\n\x1a\n and nothing").unwrap();
    fs::remove_dir_all(dir.path().join("tracings")).unwrap();
    let catalogue = source.catalogue().unwrap();
    assert!(
        catalogue.remarks[0].contains("exams_part12.hdf5"),
        "{:?}",
        catalogue.remarks
    );
    assert!(matches!(
        item(&catalogue, "358121").fault,
        Some(Fault::Invalid(_))
    ));
    assert!(matches!(
        item(&catalogue, "438277").fault,
        Some(Fault::Missing(_))
    ));
}

#[test]
fn code_test_is_named_by_its_samples_and_labelled_by_titles() {
    let source = CodeTest::new(data("layouts/code-test"));
    let catalogue = source.catalogue().unwrap();
    let remarks = catalogue.remarks.join("\n");
    assert!(
        remarks.contains("in the order I II III aVL aVF aVR V1"),
        "{remarks}"
    );
    assert!(
        remarks.contains("found 3 tracings, published are 827"),
        "{remarks}"
    );
    let sets: Vec<&str> = catalogue
        .label_sets
        .iter()
        .map(|set| set.name.as_str())
        .collect();
    assert_eq!(sets.len(), 7);
    assert_eq!((sets[0], sets[6]), ("abnormalities", "dnn"));
    // The table says AF before ST.
    assert_eq!(
        labels(&catalogue, "1", "abnormalities"),
        Some(vec!["RBBB", "ST"])
    );
    assert_eq!(labels(&catalogue, "2", "abnormalities"), Some(vec!["AF"]));
    assert_eq!(labels(&catalogue, "2", "dnn"), Some(vec!["AF"]));
    assert_eq!(labels(&catalogue, "0", "cardiologist2"), Some(vec!["AF"]));
    let one = item(&catalogue, "2");
    assert_eq!(
        (one.age, one.sex.as_deref(), one.split),
        (Some(68.0), Some("female"), Some(Split::Test))
    );

    // The same samples, in whatever order they are stored.
    let recording = source
        .read(&catalogue, item(&catalogue, "0"), &LeadSet::standard_12())
        .unwrap();
    let part = Code15::new(data("code-15"));
    let exams = part.catalogue().unwrap();
    let exam = part
        .read(&exams, item(&exams, "438277"), &LeadSet::standard_12())
        .unwrap();
    for (own, same) in recording.rows().zip(exam.rows()) {
        assert_eq!(own, &same[1000 - 581..1800 - 581]);
    }

    let dir = tempfile::tempdir().unwrap();
    copy_tree(&data("layouts/code-test"), dir.path());
    fs::write(dir.path().join("data/attributes.csv"), "age,sex\n1,M\n").unwrap();
    let error = CodeTest::new(dir.path())
        .catalogue()
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("it has 1 rows, expected one for each of the 3 tracings"),
        "{error}"
    );
}

#[test]
fn sami_trop_goes_by_the_order_of_its_rows_and_takes_the_folds_of_hubert() {
    let root = data("layouts/sami-trop");
    let options = ImportOptions {
        split: Some("hubert-0".to_owned()),
        keep_padding: true,
        ..ImportOptions::default()
    };
    let source = importer("sami-trop", root.clone(), &options).unwrap();
    let catalogue = source.catalogue().unwrap();
    assert_eq!(labels(&catalogue, "100726", "death"), Some(vec!["death"]));
    assert_eq!(labels(&catalogue, "101191", "death"), Some(vec![]));
    let within = |years: Option<f32>| {
        let options = ImportOptions {
            horizon_years: years,
            ..ImportOptions::default()
        };
        let source = importer("sami-trop", root.clone(), &options).unwrap();
        let catalogue = source.catalogue().unwrap();
        let set = format!("death-{}y", years.unwrap_or(2.0));
        ["100726", "101191", "999"]
            .map(|id| labels(&catalogue, id, &set).map(|classes| classes.len()))
    };
    // Died after 1.5 years; alive after 2.1 and 2.0.
    assert_eq!(within(None), [Some(1), Some(0), None]);
    assert_eq!(within(Some(1.0)), [Some(0), Some(0), Some(0)]);
    assert_eq!(within(Some(2.5)), [Some(1), None, None]);
    assert_eq!(
        labels(&catalogue, "101191", "normal_ecg"),
        Some(vec!["normal_ecg"])
    );
    assert_eq!(item(&catalogue, "999").values, [0.0, 2.0, 71.5].map(Some));
    let parts = ["100726", "101191", "999"].map(|id| item(&catalogue, id).split.unwrap());
    assert_eq!(parts, [Split::Train, Split::Train, Split::None]);
    let read = |source: &dyn Importer| {
        source
            .read(&catalogue, item(&catalogue, "999"), &LeadSet::standard_12())
            .unwrap()
            .len()
    };
    assert_eq!(read(source.as_ref()), 1024);
    assert_eq!(read(&SamiTrop::new(&root)), 800);
    let dir = tempfile::tempdir().unwrap();
    copy_tree(&root, dir.path());
    let table = fs::read_to_string(root.join("exams.csv")).unwrap();
    let fewer = table.lines().take(3).collect::<Vec<_>>().join("\n");
    fs::write(dir.path().join("exams.csv"), fewer).unwrap();
    let error = SamiTrop::new(dir.path())
        .catalogue()
        .unwrap_err()
        .to_string();
    assert!(
        error.contains("3 tracings, expected one for each of the 2 rows"),
        "{error}"
    );
}

#[test]
fn sph_has_statements_modifiers_and_the_names_of_hubert() {
    let options = ImportOptions {
        split: Some("hubert-2".to_owned()),
        ..ImportOptions::default()
    };
    let source = importer("sph", data("layouts/sph"), &options).unwrap();
    let catalogue = source.catalogue().unwrap();
    assert_eq!(
        labels(&catalogue, "A00001", "statements"),
        Some(vec!["Sinus bradycardia", "Sinus arrhythmia"])
    );
    assert_eq!(
        labels(&catalogue, "A00001", "hubert"),
        Some(vec!["SBRAD", "SARRH"])
    );
    assert_eq!(labels(&catalogue, "A00001", "modifiers"), Some(vec![]));
    assert_eq!(
        labels(&catalogue, "A00002", "hubert"),
        Some(vec!["NORM", "PVC", "STD_"])
    );
    assert_eq!(
        labels(&catalogue, "A00002", "modifiers"),
        Some(vec!["Multiform", "Inferior"])
    );
    // HuBERT-ECG's name for the statement.
    assert_eq!(
        labels(&catalogue, "A00003", "statements"),
        Some(vec!["2:1 AV block"])
    );
    assert_eq!(labels(&catalogue, "A00003", "hubert"), Some(vec!["1AVB"]));
    assert_eq!(catalogue.label_sets[0].classes[2].codes["AHA"], "22");
    assert_eq!(
        item(&catalogue, "A00001").patient,
        item(&catalogue, "A00003").patient
    );
    assert!(matches!(
        item(&catalogue, "A00003").fault,
        Some(Fault::Missing(_))
    ));
    assert_eq!(item(&catalogue, "A00001").split, Some(Split::Train));
    let part = Code15::new(data("code-15"));
    let exams = part.catalogue().unwrap();
    let exam = part
        .read(&exams, item(&exams, "358121"), &"V3".parse().unwrap())
        .unwrap();
    let own = source
        .read(
            &catalogue,
            item(&catalogue, "A00002"),
            &"V3".parse().unwrap(),
        )
        .unwrap();
    assert_eq!(own.rate_hz, 500.0);
    assert_eq!(own.samples_mv(), &exam.samples_mv()[1000 - 581..1800 - 581]);
}
