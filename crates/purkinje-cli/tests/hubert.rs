//! HuBERT-ECG models from the command line: published files in, vectors, labels and reasons out.

mod common;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use arrow_array::cast::AsArray;
use arrow_array::types::Float32Type;
use parquet::arrow::arrow_reader::ParquetRecordBatchReaderBuilder;
use purkinje::models::checkpoint::{read_safetensors, write_safetensors};
use serde_json::Value;
use tempfile::TempDir;

use common::{data, failed, json, ok, ptb_xl, record, run};

/// A store of the PTB-XL fixture, and published files as model folders.
struct Made(TempDir);

impl Made {
    fn get() -> &'static Made {
        static MADE: OnceLock<Made> = OnceLock::new();
        MADE.get_or_init(|| {
            let made = Made(tempfile::tempdir().unwrap());
            ok(run!(
                "prepare",
                "ptb-xl",
                ptb_xl(),
                "--preset",
                "hubert",
                "--out",
                made.at("store")
            ));
            for (file, name) in [
                ("encoder-100hz/weights.safetensors", "encoder"),
                ("classification-linear/checkpoint.pt", "linear"),
            ] {
                let file = data(&format!("golden-data/hubert-ecg/{file}"));
                let said = ok(run!(
                    "import-checkpoint",
                    "hubert",
                    file,
                    "--heads",
                    "2",
                    "--out",
                    made.at(name)
                ));
                assert!(said.contains("0 missing, 0 mis-shaped, 0 unused"), "{said}");
            }
            made
        })
    }

    fn at(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }
}

fn vectors(path: &Path) -> Vec<f32> {
    let file = std::fs::File::open(path).unwrap();
    let reader = ParquetRecordBatchReaderBuilder::try_new(file)
        .unwrap()
        .build()
        .unwrap();
    let mut all = Vec::new();
    for batch in reader {
        let batch = batch.unwrap();
        let column = batch.column_by_name("vector").unwrap().as_fixed_size_list();
        all.extend_from_slice(column.values().as_primitive::<Float32Type>().values());
    }
    all
}

#[test]
fn a_file_and_its_row_in_a_store_give_one_vector_and_tokens_average_to_it() {
    let made = Made::get();
    let embed = |name: &str, per: &str, input: &Path| {
        let out = made.at(&format!("{name}.parquet"));
        ok(run!(
            "embed",
            "--model",
            made.at("encoder"),
            "--per",
            per,
            "--out",
            &out,
            input
        ));
        vectors(&out)
    };
    let of_store = embed("store", "recording", &made.at("store"));
    let width = of_store.len() / 56;
    let of_file = embed("file", "recording", &record());
    assert_eq!(of_file.len(), width);
    // The fixture's first record; the store holds samples to 16 bits.
    for (a, b) in of_file.iter().zip(&of_store) {
        assert!((a - b).abs() < 2e-3, "{a} {b}");
    }
    let tokens = embed("tokens", "token", &record());
    assert_eq!(tokens.len(), 93 * width);
    for (i, whole) in of_file.iter().enumerate() {
        let mean = tokens.iter().skip(i).step_by(width).sum::<f32>() / 93.0;
        assert!((mean - whole).abs() < 1e-5);
    }
    assert_eq!(embed("leads", "lead", &record()).len(), 12 * width);
    let error = failed(run!(
        "embed",
        "--model",
        made.at("encoder"),
        "--per",
        "beat",
        "--out",
        made.at("b.npy"),
        record()
    ));
    assert!(error.contains("supported by CLEAR"), "{error}");
}

#[test]
fn contributions_of_leads_add_up_to_the_logit() {
    let made = Made::get();
    let why = made.at("why");
    let said = json(&ok(run!(
        "predict",
        "--model",
        made.at("linear"),
        "--explain",
        &why,
        record()
    )));
    for label in said[0]["labels"].as_array().unwrap() {
        let number = |value: &Value| value.as_f64().unwrap();
        let parts: f64 = label["contributions"]
            .as_object()
            .unwrap()
            .values()
            .map(number)
            .sum();
        let gap = number(&label["base"]) + parts - number(&label["logit"]);
        assert!(gap.abs() < 1e-5, "{label}");
    }
    assert_eq!(std::fs::read_dir(&why).unwrap().count(), 6);
}

#[test]
fn outputs_are_named_by_the_published_orders() {
    let made = Made::get();
    let golden = |name: &str| data(&format!("golden-data/hubert-ecg/{name}"));
    let import = |file: &Path, labels: &str, out: &Path| {
        run!(
            "import-checkpoint",
            "hubert",
            file,
            "--heads",
            "2",
            "--labels",
            labels,
            "--out",
            out
        )
    };
    // Five outputs, as the superclasses of PTB-XL have; `ptbxl_diag_superclass` is their name in the published tables.
    let five = golden("classification-label-embedding/hf");
    for name in ["ptbxl-super", "ptbxl_diag_superclass"] {
        let out = made.at(name);
        ok(import(&five, name, &out));
        let said = json(&ok(run!("predict", "--model", &out, record())));
        let names: Vec<&str> = said[0]["labels"]
            .as_array()
            .unwrap()
            .iter()
            .map(|label| label["name"].as_str().unwrap())
            .collect();
        // By the table, not by the alphabet (`superdiagnostic` is CLEAR's order).
        assert_eq!(names, ["NORM", "HYP", "STTC", "CD", "MI"]);
    }
    let never = made.at("never-named");
    let refused = |file: &Path, labels: &str| failed(import(file, labels, &never));
    let error = refused(&five, "cardio-learning");
    assert!(
        error.contains("5 outputs") && error.contains("names 164"),
        "{error}"
    );
    let six = golden("classification-linear/checkpoint.pt");
    let error = refused(&six, "ribeiro");
    assert!(
        error.contains("was not published") && error.contains("SB, AF, ST (CODE test set)"),
        "{error}"
    );
    // Two outputs that exclude each other say one label: the logit is their difference.
    let weights = golden("classification-linear/weights.safetensors");
    let (mut state, _) = read_safetensors(&weights).unwrap();
    for name in ["classifier.weight", "classifier.bias"] {
        let mut tensor = state.get(name).unwrap().clone();
        let row: usize = tensor.shape[1..].iter().product();
        tensor.shape[0] = 2;
        tensor.data.truncate(2 * row);
        state.insert(name, tensor);
    }
    let two = made.at("two.safetensors");
    write_safetensors(&two, &state, &HashMap::default()).unwrap();
    let logits = |labels: &str, out: &str| -> Vec<f64> {
        let (names, out) = (made.at("names.txt"), made.at(out));
        std::fs::write(&names, "no\nyes\n").unwrap();
        let labels = labels.replace("NAMES", names.to_str().unwrap());
        ok(import(&two, &labels, &out));
        let said = json(&ok(run!("predict", "--model", &out, record())));
        let all = said[0]["labels"].as_array().unwrap().iter();
        all.map(|label| label["logit"].as_f64().unwrap()).collect()
    };
    let both = logits("NAMES", "both");
    let one = logits("sami-trop", "one");
    assert_eq!((both.len(), one.len()), (2, 1));
    assert!(
        (one[0] - (both[1] - both[0])).abs() < 1e-5,
        "{one:?} {both:?}"
    );

    // A folder that says its outputs are numbers.
    let numbers = tempfile::tempdir().unwrap();
    for name in ["config.json", "model.safetensors"] {
        std::fs::copy(five.join(name), numbers.path().join(name)).unwrap();
    }
    let config = numbers.path().join("config.json");
    let mut fields = json(&std::fs::read_to_string(&config).unwrap());
    fields["task_type"] = "regression".into();
    std::fs::write(&config, fields.to_string()).unwrap();
    let error = refused(numbers.path(), "ptbxl-super");
    assert!(error.contains("predicts numbers"), "{error}");
    let error = refused(&six, "ptbxl");
    assert!(error.contains("ptbxl-super, "), "{error}");
    assert!(!never.exists());
}

#[test]
fn heads_are_fitted_evaluated_saved_and_exported() {
    let made = Made::get();
    let (store, encoder) = (made.at("store"), made.at("encoder"));
    let judged = made.at("judged");
    let table = ok(run!(
        "probe",
        "--model",
        &encoder,
        "--data",
        &store,
        "--task",
        "superdiagnostic",
        "--resamples",
        "20",
        "--out",
        &judged
    ));
    assert!(table.contains("random weights"), "{table}");
    let predict = |model: &Path| json(&ok(run!("predict", "--model", model, record())));
    assert_eq!(
        predict(&judged.join("superdiagnostic-1-linear"))[0]["labels"]
            .as_array()
            .unwrap()
            .len(),
        5
    );

    let tuned = made.at("tuned");
    ok(run!(
        "finetune",
        "--model",
        &encoder,
        "--data",
        &store,
        "--task",
        "superdiagnostic",
        "--head",
        "mlp",
        "--trainable",
        "last-1",
        "--epochs",
        "1",
        "--batch",
        "8",
        "--resamples",
        "20",
        "--out",
        &tuned
    ));
    let (file, again) = (made.at("x.safetensors"), made.at("again"));
    ok(run!("export-checkpoint", "--model", &tuned, "--out", &file));
    ok(run!(
        "import-checkpoint",
        &file,
        "--heads",
        "2",
        "--compat",
        "released",
        "--out",
        &again
    ));
    assert_eq!(
        predict(&again)[0]["labels"][3]["logit"],
        predict(&tuned)[0]["labels"][3]["logit"]
    );

    let error = failed(run!(
        "probe",
        "--model",
        &encoder,
        "--data",
        &store,
        "--task",
        "superdiagnostic",
        "--head",
        "hug"
    ));
    assert!(
        error.contains("`--head hug`") && error.contains("supported by CLEAR"),
        "{error}"
    );
    let error = failed(run!(
        "finetune",
        "--model",
        &encoder,
        "--data",
        &store,
        "--task",
        "superdiagnostic",
        "--head",
        "hug",
        "--out",
        made.at("never")
    ));
    assert!(error.contains("linear, mlp, label-embedding"), "{error}");
}

/// See `docs/differences.md`, 13.17: the published program cannot resume, least of all with a head of two layers.
#[test]
fn fine_tuning_with_two_layers_resumes_to_the_same_bits() {
    let made = Made::get();
    let out = made.at("two-layers");
    let tune = |more: &[&str]| {
        let mut args: Vec<std::ffi::OsString> = vec!["finetune".into(), "--model".into()];
        args.extend([made.at("encoder").into(), "--data".into()]);
        args.extend([made.at("store").into(), "--out".into(), out.clone().into()]);
        let fixed = "--task superdiagnostic --head mlp --trainable last-1 --epochs 1 --batch 8 --resamples 20";
        args.extend(fixed.split(' ').chain(more.iter().copied()).map(Into::into));
        common::command(&args).output().unwrap()
    };
    ok(tune(&[]));
    let weights = || std::fs::read(out.join("model/model.safetensors")).unwrap();
    let whole = weights();
    std::fs::remove_dir_all(out.join("model")).unwrap();
    ok(tune(&["--resume"]));
    assert!(weights() == whole);
}

#[test]
fn pre_training_goes_through_its_iterations_and_resumes_to_the_same_bits() {
    let made = Made::get();
    let run = |out: &Path, more: &[&str]| {
        let mut args: Vec<std::ffi::OsString> =
            ["pretrain", "hubert", "--data"].map(Into::into).into();
        args.extend([made.at("store").into(), "--out".into(), out.into()]);
        let fixed = [
            "--set",
            "clusters=6,4+5",
            "--set",
            "curve=3",
            "--epochs",
            "1",
            "--batch",
            "8",
        ];
        args.extend(fixed.iter().chain(more).map(Into::into));
        common::command(&args).output().unwrap()
    };
    let whole = made.at("run");
    let said = ok(run(&whole, &[]));
    assert!(said.contains("iteration-2, step 3 of 3"), "{said}");
    let weights = std::fs::read(whole.join("model/model.safetensors")).unwrap();
    for number in [1, 2] {
        let dir = whole.join(format!("iteration-{number}"));
        let curve = std::fs::read_to_string(dir.join("code-books/curve.svg")).unwrap();
        assert!(curve.contains("clusters"));
        assert!(!dir.join("features").exists());
    }
    // 28 records, 93 tokens, two books, behind a header of 128 bytes.
    let codes = std::fs::metadata(whole.join("iteration-2/codes.npy"))
        .unwrap()
        .len();
    assert_eq!(codes, 128 + 28 * 93 * 2 * 2);

    let error = failed(run(&whole, &[]));
    assert!(error.contains("already holds a run"), "{error}");
    let error = failed(run(&whole, &["--resume", "--lr", "0.1"]));
    assert!(error.contains("another configuration"), "{error}");
    // What an interruption in the second iteration leaves behind.
    for lost in ["model", "iteration-2"] {
        std::fs::remove_dir_all(whole.join(lost)).unwrap();
    }
    ok(run(&whole, &["--resume"]));
    assert!(std::fs::read(whole.join("model/model.safetensors")).unwrap() == weights);
    // It is a model like any other.
    ok(run!(
        "embed",
        "--model",
        &whole,
        "--out",
        made.at("own.npy"),
        record()
    ));
}
