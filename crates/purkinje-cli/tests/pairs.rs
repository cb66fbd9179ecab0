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
    reads_texts(dir.path(), &model, &store, &prompts);
    let recording = record();
    let args = [&args[..], &[recording.as_os_str()]].concat();
    let text = ok(zero_shot(&model, None, &args));
    assert!(text.contains("NORM"), "{text}");
    assert!(json(&fs::read_to_string(&out).unwrap())[0]["scores"]["MI"].is_number());
    // The model compares by cosines.
    let scores = |how: &str| {
        ok(zero_shot(
            &model,
            None,
            &[&args[..], &["--similarity".as_ref(), how.as_ref()]].concat(),
        ));
        json(&fs::read_to_string(&out).unwrap())[0]["scores"]["NORM"]
            .as_f64()
            .unwrap()
    };
    let (cosine, dot) = (scores("cosine"), scores("dot"));
    ok(zero_shot(&model, None, &args));
    let own = json(&fs::read_to_string(&out).unwrap())[0]["scores"]["NORM"]
        .as_f64()
        .unwrap();
    assert!(
        (own - cosine).abs() < 1e-5 && (own - dot).abs() > 1e-4,
        "{own} {cosine} {dot}"
    );
    let pictures = dir.path().join("pictures");
    let explained = [&args[..], &["--explain".as_ref(), pictures.as_os_str()]].concat();
    ok(zero_shot(&model, None, &explained));
    let facts = json(&fs::read_to_string(&out).unwrap());
    let losses = &facts[0]["silenced"]["losses"];
    assert_eq!(losses["leads"].as_array().unwrap().len(), 12);
    assert_eq!(losses["stretches"].as_array().unwrap().len(), 50);
    let picture = facts[0]["silenced"]["pictures"][0].as_str().unwrap();
    let drawn = fs::read_to_string(Path::new(picture).with_extension("svg")).unwrap();
    assert!(drawn.contains("similarity"), "{drawn}");

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

/// What a model of recordings and texts does with texts and with patients.
fn reads_texts(dir: &Path, model: &Path, store: &Path, prompts: &Path) {
    let [table, lines, vectors, again, scores, map] =
        ["t.csv", "t.txt", "t.npy", "l.npy", "scores.csv", "map.tsv"].map(|name| dir.join(name));
    fs::write(&table, "id,report\nb,Sinus rhythm.\na,\nc,Normal ECG.\n").unwrap();
    fs::write(&lines, "Normal ECG.\nSinus rhythm.\n").unwrap();
    let embed = |texts: &Path, out: &Path, most: &str| {
        run!(
            "embed",
            "--model",
            model,
            "--texts",
            texts,
            "--out",
            out,
            "--max-failed",
            most
        )
    };
    let text = failed(embed(&table, &vectors, "0"));
    assert!(text.contains("text a: it has no words"), "{text}");
    assert!(!vectors.exists());
    let text = ok(embed(&table, &vectors, "1"));
    assert!(
        text.contains("2 vectors") && text.contains("1 left out"),
        "{text}"
    );
    ok(embed(&lines, &again, "0"));
    let [first, second] = [&vectors, &again].map(|file| fs::read(file).unwrap());
    let [first, second] = [first, second].map(|bytes| bytes[bytes.len() - 1024..].to_vec());
    // The same bits in another order and company.
    assert!(first[..512] == second[512..] && first[512..] == second[..512]);
    let about = json(&fs::read_to_string(vectors.with_extension("npy.json")).unwrap());
    assert_eq!(about["rows"][1]["id"], "c");
    assert_eq!(about["per"], "text");

    let text = ok(run!("text", "tokens", "--model", model, "Sinus rhythm"));
    assert!(text.contains("</s>"), "{text}");

    fs::write(&map, "NORM\tnone\n").unwrap();
    let more = [
        "--prompts".as_ref(),
        prompts.as_os_str(),
        "--map".as_ref(),
        map.as_os_str(),
        "--predict".as_ref(),
        scores.as_os_str(),
        "--calibrate".as_ref(),
        store.as_os_str(),
        "--against".as_ref(),
        "superdiagnostic".as_ref(),
        "--no-twin".as_ref(),
    ];
    let text = ok(zero_shot(model, Some(store), &more));
    // Labels measured against themselves are right.
    let own = text.split("measured in the same way").nth(1).unwrap();
    assert!(own.contains("100.0") || own.contains("1.000"), "{text}");
    assert!(text.contains("thresholds of best F1"), "{text}");
    let table = fs::read_to_string(&scores).unwrap();
    assert!(
        table.starts_with("id,patient,MI,MI label,NORM,NORM label"),
        "{table}"
    );
    fs::write(&map, "NORM\tmissing\n").unwrap();
    let text = failed(zero_shot(model, Some(store), &more));
    assert!(text.contains("label `missing`"), "{text}");

    let text = failed(run!(
        "evaluate", "--model", model, "--data", store, "--task", "patient", "--split", "train"
    ));
    assert!(
        text.contains("patients with at least two recordings"),
        "{text}"
    );
}

/// A store whose patients have two recordings each, half of them in the test split.
fn store_of_pairs(dir: &Path) -> PathBuf {
    let source = dir.join("pairs");
    fs::create_dir(&source).unwrap();
    let statements = "scp_statements.csv";
    fs::copy(ptb_xl().join(statements), source.join(statements)).unwrap();
    let table = fs::read_to_string(ptb_xl().join("ptbxl_database.csv")).unwrap();
    let mut lines = table.lines();
    let mut changed = vec![lines.next().unwrap().to_owned()];
    for (number, line) in lines.enumerate() {
        let (id, rest) = line.split_once(',').unwrap();
        let (_, rest) = rest.split_once(',').unwrap();
        let mut end = rest.rsplitn(4, ',');
        let [high, low, _, rest] = [0; 4].map(|_| end.next().unwrap());
        let low = ptb_xl().join(low);
        let fold = if number % 4 < 2 { 1 } else { 10 };
        let patient = number / 2;
        changed.push(format!(
            "{id},{patient},{rest},{fold},{},{high}",
            low.display()
        ));
    }
    fs::write(source.join("ptbxl_database.csv"), changed.join("\n") + "\n").unwrap();
    let store = dir.join("store-of-pairs");
    ok(run!(
        "prepare", "ptb-xl", &source, "--out", &store, "--rate", "100", "--preset", "d-beta"
    ));
    store
}

#[test]
fn patients_are_told_apart_by_any_encoder() {
    let dir = tempfile::tempdir().unwrap();
    let store = store_of_pairs(dir.path());
    let model = dir.path().join("model");
    let device = purkinje::Device::cpu();
    let random = purkinje::Model::random("dbeta", "tiny", 0, &device).unwrap();
    random.save(&model, "by a test").unwrap();
    let text = ok(run!(
        "evaluate", "--model", &model, "--data", &store, "--task", "patient"
    ));
    assert!(
        text.contains("equal error rate") && text.contains("random weights"),
        "{text}"
    );
    let learned = |out: &str, updates: &str, resume: bool| {
        let out = dir.path().join(out);
        let mut args = [
            "finetune",
            "--task",
            "patient",
            "--recipe",
            "dbeta-id",
            "--batch",
            "4",
            "--updates",
            updates,
        ]
        .map(std::ffi::OsString::from)
        .to_vec();
        args.extend([
            "--model".into(),
            model.clone().into(),
            "--data".into(),
            store.clone().into(),
        ]);
        args.extend(["--out".into(), out.into()]);
        args.extend(resume.then(|| "--resume".into()));
        command(&args).output().unwrap()
    };
    let text = ok(learned("learned", "3", false));
    assert!(
        text.contains("patients in") && text.contains("this model"),
        "{text}"
    );
    let config = fs::read_to_string(dir.path().join("learned/config.toml")).unwrap();
    for part in ["kind = \"three_stage\"", "margin = 1.0", "lr = 0.00003"] {
        assert!(config.contains(part), "{part}: {config}");
    }
    let kept = files(&dir.path().join("learned/model"));
    assert!(kept["model.safetensors"] != files(&model)["model.safetensors"]);
    let out = dir.path().join("v.npy");
    ok(run!(
        "embed",
        "--model",
        dir.path().join("learned"),
        "--out",
        &out,
        record()
    ));
    let text = failed(run!(
        "finetune",
        "--model",
        &model,
        "--data",
        &store,
        "--task",
        "rhythm",
        "--recipe",
        "dbeta-id",
        "--out",
        dir.path().join("no")
    ));
    assert!(text.contains("--task patient"), "{text}");
}

#[test]
fn small_networks_learn_at_another_rate_where_that_is_chosen() {
    let dir = tempfile::tempdir().unwrap();
    let store = dir.path().join("store");
    ok(run!(
        "prepare",
        "ptb-xl",
        ptb_xl(),
        "--out",
        &store,
        "--preset",
        "d-beta-100"
    ));
    let info = ok(run!("store", "info", &store));
    assert!(
        info.contains("statements") && info.contains("language: "),
        "{info}"
    );
    let prompts = dir.path().join("prompts.json");
    fs::write(&prompts, PROMPTS).unwrap();
    let pretrained = |preset: &str| {
        let out = dir.path().join(preset);
        let set = format!("prompts={}", prompts.display());
        run!(
            "pretrain",
            "dbeta",
            "--data",
            &store,
            "--out",
            &out,
            "--preset",
            preset,
            "--batch",
            "4",
            "--updates",
            "1",
            "--validate-every",
            "1",
            "--set",
            "text=statements",
            "--set",
            "convolutions=3",
            "--set",
            "vocabulary=300",
            "--set",
            "task=superdiagnostic",
            "--set",
            &set
        )
    };
    let text = failed(pretrained("clear-raw"));
    assert!(text.contains("--preset d-beta-100"), "{text}");
    ok(pretrained("d-beta-100"));
    let model = dir.path().join("d-beta-100/model");
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
    let about = json(&fs::read_to_string(tokens.with_extension("npy.json")).unwrap());
    let rows = about["rows"].as_array().unwrap();
    assert_eq!(
        (rows.len(), &rows[124]["start_s"]),
        (125, &serde_json::json!(9.92))
    );

    follows_a_recipe(dir.path(), &model, &store);
}

/// Fine-tuning by the published recipe of diagnosis, on limb leads.
fn follows_a_recipe(dir: &Path, model: &Path, store: &Path) {
    let tuned = dir.join("tuned");
    ok(run!(
        "finetune",
        "--model",
        model,
        "--data",
        store,
        "--task",
        "superdiagnostic",
        "--recipe",
        "dbeta-dx",
        "--batch",
        "4",
        "--epochs",
        "1",
        "--leads",
        "limb",
        "--out",
        &tuned
    ));
    let config = fs::read_to_string(tuned.join("config.toml")).unwrap();
    for part in [
        "behind-convolutions",
        "linear-mean",
        "activation-dropout = 0.1",
        "eps = 0.00000001",
        "lr = 0.00005",
        "kind = \"constant\"",
    ] {
        assert!(config.contains(part), "{part}: {config}");
    }
    assert!(!config.contains("clip_norm"), "{config}");
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
    draws_from_an_index(dir.path(), &store, &embedder);
}

/// With an index, and from an encoder of texts.
fn draws_from_an_index(dir: &Path, store: &Path, embedder: &Path) {
    let model = |name: &str| files(&dir.join(name).join("model"))["model.safetensors"].clone();
    // An index of the same texts gives the same draws; one of others is refused.
    let index = dir.join("index");
    let indexed = |out: &Path, text: &str| {
        run!(
            "text",
            "index",
            "--data",
            store,
            "--text",
            text,
            "--embedder",
            embedder,
            "--neighbours",
            "3",
            "--out",
            out
        )
    };
    let text = ok(indexed(&index, "report"));
    assert!(text.contains("the 3 least similar ones"), "{text}");
    let learned = |out: &str, setting: &str, value: &Path| {
        let set = format!("{setting}={}", value.display());
        run!(
            "pretrain",
            "dbeta",
            "--data",
            store,
            "--out",
            dir.join(out),
            "--size",
            "tiny",
            "--batch",
            "4",
            "--updates",
            "2",
            "--set",
            &set,
            "--set",
            "neighbours=3",
            "--set",
            if setting == "text-encoder" {
                "text-learns=false"
            } else {
                "vocabulary=300"
            }
        )
    };
    ok(learned("indexed", "index", &index));
    assert!(model("indexed") == model("none"));
    let shown = ok(run!(
        "text",
        "neighbours",
        &index,
        "sinusrhythmus normales ekg",
        "-k",
        "2"
    ));
    assert_eq!(shown.lines().count(), 4, "{shown}");
    let other = dir.join("other");
    ok(indexed(&other, "statements"));
    let text = failed(learned("refused", "index", &other));
    assert!(text.contains("made from other texts"), "{text}");

    // Pre-training starts from an encoder of texts, and leaves it as it is.
    ok(learned("started", "text-encoder", embedder));
    let kept = files(&dir.join("started/model"));
    assert_eq!(
        kept["tokenizer.json"],
        fs::read(embedder.join("tokenizer.json")).unwrap()
    );
    let weights = &kept["model.safetensors"];
    let table = fs::read(embedder.join("model.safetensors")).unwrap();
    // The last kilobyte of the encoder's file is one of its tensors.
    let part = &table[table.len() - 64..];
    assert!(weights.windows(64).any(|own| own == part));
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
