//! Recordings and reports: pre-training, vectors, diagnosis by sentences, published files.

mod common;

use std::fs;
use std::path::{Path, PathBuf};

use common::{command, data, failed, files, json, ok, ptb_xl, record, run};

/// A store of the recordings of the tests under the contract of D-BETA.
fn store(dir: &Path) -> PathBuf {
    let store = dir.join("store");
    ok(run!(
        "prepare",
        "ptb-xl",
        ptb_xl(),
        "--out",
        &store,
        "--rate",
        "100",
        "--preset",
        "d-beta"
    ));
    store
}

const PROMPTS: &str =
    r#"{"NORM": "normal ecg", "MI": ["myocardial infarction", "infarct"], "none": "x"}"#;

/// `zero-shot` with these arguments after the model, and the superclasses of a store if one is named.
fn zero_shot(
    model: &Path,
    store: Option<&Path>,
    more: &[&std::ffi::OsStr],
) -> std::process::Output {
    let mut args: Vec<std::ffi::OsString> = ["zero-shot", "--model"].map(Into::into).to_vec();
    args.push(model.into());
    if let Some(store) = store {
        args.extend(["--data".into(), store.into()]);
        let task = [
            "--task",
            "superdiagnostic",
            "--split",
            "train",
            "--resamples",
            "20",
        ];
        args.extend(task.map(Into::into));
    }
    args.extend(more.iter().map(Into::into));
    command(&args).output().unwrap()
}

#[test]
fn a_network_of_recordings_and_reports_is_trained_and_diagnoses_by_sentences() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let pretrained = |name: &str| {
        let out = dir.path().join(name);
        ok(run!(
            "pretrain",
            "dbeta",
            "--data",
            &store,
            "--out",
            &out,
            "--size",
            "tiny",
            "--batch",
            "4",
            "--updates",
            "7",
            "--set",
            "vocabulary=300",
            "--keep-every",
            "1"
        ));
        out
    };
    let run = pretrained("run");
    let model = run.join("model");
    for kept in [&model, &run.join("model-epoch-1")] {
        assert!(kept.join("tokenizer.json").is_file(), "{}", kept.display());
    }
    let again = pretrained("again");
    for name in ["tokenizer.json", "model.safetensors"] {
        let same = files(&again.join("model"))[name] == files(&model)[name];
        assert!(same, "{name} differs");
    }
    let log = fs::read_to_string(run.join("log.jsonl")).unwrap();
    for term in ["words", "signal", "matching", "alignment"] {
        assert!(log.contains(term), "{term} is not in the log");
    }

    let prompts = dir.path().join("prompts.json");
    fs::write(&prompts, PROMPTS).unwrap();
    let out = dir.path().join("figures.json");
    let args = [
        "--prompts".as_ref(),
        prompts.as_os_str(),
        "--out".as_ref(),
        out.as_os_str(),
    ];
    let text = ok(zero_shot(&model, Some(&store), &args));
    for part in ["NORM", "MI", "random weights", "no probabilities"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let once = fs::read(&out).unwrap();
    let found = json(&String::from_utf8_lossy(&once));
    assert_eq!(found["ranking"]["classes"].as_array().unwrap().len(), 2);
    assert!(found["random_weights"]["auroc"]["value"].is_number());
    ok(zero_shot(&model, Some(&store), &args));
    assert_eq!(fs::read(&out).unwrap(), once);
    let recording = record();
    let args = [&args[..], &[recording.as_os_str()]].concat();
    let text = ok(zero_shot(&model, None, &args));
    assert!(text.contains("NORM"), "{text}");
    assert!(json(&fs::read_to_string(&out).unwrap())[0]["scores"]["MI"].is_number());

    // A model of recordings alone says what it lacks.
    let clear = purkinje::Model::random("clear", "tiny", 0, &purkinje::Device::cpu()).unwrap();
    let other = dir.path().join("clear");
    clear.save(&other, "by a test").unwrap();
    let text = failed(zero_shot(&other, None, &args));
    assert!(text.contains("reads no texts"), "{text}");
    fs::write(&prompts, r#"{"nothing": "x"}"#).unwrap();
    let text = failed(zero_shot(&model, Some(&store), &args[..2]));
    assert!(text.contains("no class of task"), "{text}");
}

#[test]
fn reports_of_others_are_drawn_from_the_least_similar() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let embedder = dir.path().join("embedder");
    let pretrained = |name: &str| {
        let out = dir.path().join(name);
        let set = format!("embedder={}", embedder.display());
        let of = [
            "--set",
            &set,
            "--set",
            "neighbours=3",
            "--set",
            "vocabulary=300",
            "--size",
            "tiny",
        ];
        let mut args = vec![
            "pretrain",
            "dbeta",
            "--batch",
            "4",
            "--updates",
            "2",
            "--out",
        ];
        let (out, store) = (out.to_str().unwrap(), store.to_str().unwrap());
        args.extend([out, "--data", store].iter().chain(&of));
        command(&args).output().unwrap()
    };
    let text = failed(pretrained("none"));
    assert!(
        text.contains("embedder") && text.contains("config.json"),
        "{text}"
    );
    let case = data("golden-data/d-beta/n3s_build");
    let config = json(&fs::read_to_string(case.join("config.json")).unwrap());
    fs::create_dir(&embedder).unwrap();
    fs::write(embedder.join("config.json"), config["embedder"].to_string()).unwrap();
    fs::copy(
        case.join("weights.safetensors"),
        embedder.join("model.safetensors"),
    )
    .unwrap();
    let tokenizer = data("golden-data/d-beta/tokenizer_tiny/tokenizer.json");
    fs::copy(tokenizer, embedder.join("tokenizer.json")).unwrap();
    // What failed before its first step is in nobody's way.
    ok(pretrained("none"));
    ok(pretrained("again"));
    let model =
        |name: &str| files(&dir.path().join(name).join("model"))["model.safetensors"].clone();
    assert!(model("none") == model("again"));
}

#[test]
fn a_published_file_is_imported_and_written_back() {
    let dir = tempfile::tempdir().unwrap();
    let case = data("golden-data/d-beta/zero_shot_code");
    let (model, vectors) = (dir.path().join("model"), dir.path().join("v.npy"));
    let file = case.join("checkpoint.pt");
    let text = ok(run!(
        "import-checkpoint",
        &file,
        "--config",
        case.join("config.json"),
        "--tokenizer",
        case.join("tokenizer.json"),
        "--out",
        &model
    ));
    assert!(text.contains("ecg_encoder.mask_emb"), "{text}");
    ok(run!(
        "embed",
        "--model",
        &model,
        "--out",
        &vectors,
        record()
    ));
    assert!(vectors.is_file());
    let tokens = dir.path().join("tokens.npy");
    ok(run!(
        "embed",
        "--model",
        &model,
        "--per",
        "token",
        "--out",
        &tokens,
        record()
    ));
    let about = fs::read_to_string(tokens.with_extension("npy.json")).unwrap();
    let starts = json(&about)["rows"].as_array().unwrap().clone();
    let starts = starts.iter().map(|row| row["start_s"].as_f64().unwrap());
    let steps: Vec<f64> = starts.collect();
    assert!(steps.len() > 2 && steps[0] == 0.0 && steps.windows(2).all(|two| two[0] < two[1]));
    assert!(steps[steps.len() - 1] < 10.0 && 10.0 - steps[steps.len() - 1] < 3.0 * steps[1]);
    let back = dir.path().join("back.safetensors");
    ok(run!("export-checkpoint", "--model", &model, "--out", &back));
    let (again, second) = (dir.path().join("again"), dir.path().join("w.npy"));
    ok(run!(
        "import-checkpoint",
        &back,
        "--config",
        case.join("config.json"),
        "--out",
        &again
    ));
    ok(run!("embed", "--model", &again, "--out", &second, record()));
    assert_eq!(fs::read(&vectors).unwrap(), fs::read(&second).unwrap());
    // Texts need the tokenizer that the file does not hold.
    let prompts = dir.path().join("prompts.tsv");
    fs::write(&prompts, "AFIB\tatrial fibrillation\n").unwrap();
    let text = failed(run!(
        "zero-shot",
        "--model",
        &again,
        "--prompts",
        &prompts,
        record()
    ));
    assert!(text.contains("--tokenizer"), "{text}");
    let ecg = dir.path().join("ecg");
    ok(run!(
        "import-checkpoint",
        &file,
        "--config",
        case.join("config.json"),
        "--set",
        "part=ecg",
        "--out",
        &ecg
    ));
    ok(run!(
        "embed",
        "--model",
        &ecg,
        "--out",
        &second,
        "--per",
        "token",
        record()
    ));
}

/// The values of a tensor of doubles of a safetensors file.
fn doubles(file: &Path, name: &str) -> Vec<f64> {
    let bytes = fs::read(file).unwrap();
    let (length, rest) = bytes.split_at(8);
    let length = u64::from_le_bytes(length.try_into().unwrap()) as usize;
    let header = json(std::str::from_utf8(&rest[..length]).unwrap());
    assert_eq!(header[name]["dtype"], "F64");
    let at = |i: usize| length + header[name]["data_offsets"][i].as_u64().unwrap() as usize;
    let values = rest[at(0)..at(1)].chunks_exact(8);
    values
        .map(|value| f64::from_le_bytes(value.try_into().unwrap()))
        .collect()
}

#[test]
fn the_published_example_gives_its_areas_by_command() {
    let dir = tempfile::tempdir().unwrap();
    let case = data("golden-data/d-beta/zero_shot_code");
    let read = |name: &str| json(&fs::read_to_string(case.join(name)).unwrap());
    let [model, store, prompts, out] =
        ["model", "store", "prompts.tsv", "out.json"].map(|name| dir.path().join(name));
    ok(run!(
        "import-checkpoint",
        case.join("checkpoint.pt"),
        "--config",
        case.join("config.json"),
        "--tokenizer",
        case.join("tokenizer.json"),
        "--preset",
        "d-beta-code",
        "--out",
        &model
    ));
    ok(run!(
        "prepare",
        "code-test",
        case.join("data"),
        "--preset",
        "d-beta-code",
        "--keep-padding",
        "--out",
        &store
    ));
    let (expected, texts) = (read("expected.json"), read("context_llm.json"));
    let names = |key: &str| {
        let names = expected[key].as_array().unwrap().iter();
        names
            .map(|name| name.as_str().unwrap().to_owned())
            .collect::<Vec<_>>()
    };
    let columns = names("columns");
    let lines = columns.iter().zip(names("labels"));
    let lines =
        lines.map(|(column, label)| format!("{column}\t{}\n", texts[label].as_str().unwrap()));
    fs::write(&prompts, lines.collect::<String>()).unwrap();
    ok(run!(
        "zero-shot",
        "--model",
        &model,
        "--data",
        &store,
        "--task",
        "abnormalities",
        "--prompts",
        &prompts,
        "--no-twin",
        "--resamples",
        "20",
        "--out",
        &out
    ));
    let found = json(&fs::read_to_string(&out).unwrap());
    let found = found["ranking"]["classes"].as_array().unwrap();
    for (column, expected) in columns
        .iter()
        .zip(doubles(&case.join("io.safetensors"), "auc"))
    {
        let class = found
            .iter()
            .find(|class| class["class"] == column.as_str())
            .unwrap();
        let auroc = class["auroc"]["value"].as_f64().unwrap();
        assert!(
            (auroc - expected).abs() < 1e-12,
            "{column}: {auroc}, expected {expected}"
        );
    }
}
