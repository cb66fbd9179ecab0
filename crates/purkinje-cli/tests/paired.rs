//! Recordings and reports in one space: what DERI and MERL do by command.

mod common;

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Output;

use common::{command, data, failed, files, json, ok, ptb_xl, record, run};

/// A store of the recordings of the tests at 100 Hz under the contract of these systems.
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
        "deri-100"
    ));
    store
}

/// A short pre-training of the smallest network, with more arguments.
fn pretrained(system: &str, store: &Path, out: &Path, more: &[&str]) -> Output {
    let mut args: Vec<OsString> = ["pretrain", system, "--data"].map(Into::into).to_vec();
    args.push(store.into());
    args.extend(["--out".into(), out.into()]);
    args.extend(["--size", "tiny", "--set", "vocabulary=300"].map(Into::into));
    for (option, value) in [
        ("--preset", "deri-100"),
        ("--batch", "5"),
        ("--updates", "4"),
    ] {
        if !more.contains(&option) {
            args.extend([option, value].map(Into::into));
        }
    }
    args.extend(more.iter().map(Into::into));
    command(&args).output().unwrap()
}

#[test]
fn recordings_and_reports_meet_in_one_space() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let prompts = dir.path().join("prompts.json");
    fs::write(
        &prompts,
        r#"{"NORM": "Normal ECG", "MI": ["infarct", "infarction"]}"#,
    )
    .unwrap();
    for (system, terms) in [
        (
            "deri",
            &["alignment", "mixed", "views", "decoded_ecg", "decoded_text"][..],
        ),
        ("merl", &["alignment", "views"]),
    ] {
        let run = dir.path().join(system);
        ok(pretrained(system, &store, &run, &[]));
        let again = dir.path().join(format!("{system}-again"));
        ok(pretrained(system, &store, &again, &[]));
        let model = run.join("model");
        for name in ["tokenizer.json", "model.safetensors"] {
            let same = files(&again.join("model"))[name] == files(&model)[name];
            assert!(same, "{system}: {name} differs");
        }
        let log = fs::read_to_string(run.join("log.jsonl")).unwrap();
        for term in terms.iter().chain(&["top1_of_texts", "top5_of_recordings"]) {
            assert!(
                log.contains(&format!("\"{term}\"")),
                "{system}: {term}: {log}"
            );
        }
        let text = ok(run!(
            "zero-shot",
            "--model",
            &model,
            "--data",
            &store,
            "--task",
            "superdiagnostic",
            "--split",
            "train",
            "--resamples",
            "20",
            "--prompts",
            &prompts
        ));
        assert!(
            text.contains("NORM") && text.contains("random weights"),
            "{text}"
        );
        several_sets(&model, &store);
        let vectors = |name: &str, feature: &[&str]| {
            let out = dir.path().join(format!("{system}-{name}.npy"));
            let mut args: Vec<OsString> = ["embed", "--model"].map(Into::into).to_vec();
            args.extend([model.clone().into(), "--out".into(), out.clone().into()]);
            args.extend(feature.iter().map(Into::into));
            args.push(record().into());
            (command(&args).output().unwrap(), out)
        };
        let (found, own) = vectors("own", &[]);
        ok(found);
        let (found, other) = vectors("align", &["--feature", "align"]);
        match system {
            "deri" => {
                ok(found);
                assert!(fs::read(own).unwrap() != fs::read(other).unwrap());
                let (found, _) = vectors("mean", &["--feature", "mean"]);
                assert!(failed(found).contains("mix, align"));
            }
            _ => assert!(failed(found).contains("one vector of a recording")),
        }
        written_back(dir.path(), system, &model);
    }
}

/// Several label sets, the classes of a shift, and the sentences of other classes.
fn several_sets(model: &Path, store: &Path) {
    let prompts = data("../prompts/ptb-xl-german.json");
    let measured = |task: &str, more: &[&str]| {
        let mut args: Vec<OsString> = ["zero-shot", "--no-twin", "--resamples", "10", "--model"]
            .map(Into::into)
            .to_vec();
        args.extend([model.into(), "--data".into(), store.into()]);
        args.extend(["--prompts".into(), prompts.clone().into()]);
        args.extend(["--split", "train", "--task", task].map(Into::into));
        args.extend(more.iter().map(Into::into));
        command(&args).output().unwrap()
    };
    let text = ok(measured("superdiagnostic,rhythm", &[]));
    for part in [
        "mean over 2 label sets",
        "with the sentences of other classes",
        "SR",
        "NORM",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let text = ok(measured("superdiagnostic", &["--shift", "cpsc2018:super"]));
    assert!(text.contains("STTC") && !text.contains("HYP"), "{text}");
    let text = failed(measured("superdiagnostic", &["--shift", "super:super"]));
    assert!(text.contains("csn"), "{text}");
    let text = failed(measured("superdiagnostic,rhythm", &["--predict", "x.csv"]));
    assert!(text.contains("one at a time"), "{text}");
}

/// A model exported under published names and imported again gives the same vectors.
fn written_back(dir: &Path, system: &str, model: &Path) {
    let file = dir.join(format!("{system}.safetensors"));
    ok(run!("export-checkpoint", "--model", model, "--out", &file));
    let (names, _) = purkinje::models::checkpoint::read_safetensors(&file).unwrap();
    // What nothing uses is there for the published program.
    let unused = names.get("ecg_encoder.linear.weight").unwrap();
    assert_eq!(unused.shape, [10, 32]);
    assert!(names.get("att_pool_head.c_proj.weight").is_some());
    let back = dir.join(format!("{system}-back"));
    let heads = match system {
        "deri" => ["--heads", "4", "--decoder-heads", "4"],
        _ => ["--heads", "4", "--set", "samples=1000"],
    };
    let mut args: Vec<OsString> = vec!["import-checkpoint".into(), system.into(), file.into()];
    args.extend(["--out".into(), back.clone().into(), "--tokenizer".into()]);
    args.extend([model.into(), "--preset".into(), "deri-100".into()]);
    args.extend(["--compat", "paper"].map(Into::into));
    args.extend(heads.map(Into::into));
    ok(command(&args).output().unwrap());
    let vectors = |model: &Path, name: &str| {
        let out = dir.join(format!("{system}-{name}.npy"));
        ok(run!("embed", "--model", model, "--out", &out, record()));
        fs::read(out).unwrap()
    };
    assert!(
        vectors(model, "before") == vectors(&back, "after"),
        "{system}"
    );
}

#[test]
fn what_does_not_fit_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let out = dir.path().join("run");
    for (system, more, expected) in [
        (
            "deri",
            &["--set", "encoder=vit-tiny"][..],
            "residual network",
        ),
        ("deri", &["--set", "encoder=resnet19"], "resnet18"),
        ("merl", &["--set", "text=missing"], "has no text `missing`"),
        ("merl", &["--set", "losses=alignments"], "alignment, views"),
        (
            "deri",
            &["--set", "losses=alignment=0"],
            "nothing to minimise",
        ),
        ("deri", &["--set", "select=zero-shot"], "`prompts`"),
        ("merl", &["--set", "max-text=2"], "at least 3"),
        ("merl", &["--set", "max-text=1000"], "512 word pieces"),
        (
            "deri",
            &["--set", "text-layers=none"],
            "text-encoder=FOLDER",
        ),
        ("deri", &["--set", "restart-every=0"], "at least one update"),
        ("merl", &["--set", "text-layers=some"], "none, all"),
        ("merl", &["--batch", "1"], "at least 2"),
        ("merl", &["--preset", "d-beta-100"], "deri-100"),
        ("merl", &["--leads", "I,II,X"], "X"),
    ] {
        let text = failed(pretrained(system, &store, &out, more));
        assert!(text.contains(expected), "{more:?}: {text}");
        assert!(!out.join("model").exists());
        let _ = fs::remove_dir_all(&out);
    }
    // A transformer over patches is MERL's.
    ok(pretrained(
        "merl",
        &store,
        &out,
        &["--set", "encoder=vit-tiny", "--updates", "1"],
    ));
    // What is not of the length that the network reads is named.
    let text = failed(run!(
        "embed",
        "--model",
        &out,
        "--out",
        dir.path().join("v.npy"),
        data("data/code-15/code_15_358121.mat")
    ));
    assert!(text.contains("reads exactly 1000"), "{text}");
}

#[test]
fn labels_alone_train_the_same_encoder() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let out = dir.path().join("supervised");
    let text = ok(run!(
        "finetune",
        "--scratch",
        "--encoder",
        "resnet18",
        "--size",
        "tiny",
        "--data",
        &store,
        "--task",
        "superdiagnostic",
        "--out",
        &out,
        "--updates",
        "2",
        "--batch",
        "4",
        "--baseline",
        "probe",
        "--resamples",
        "20"
    ));
    assert!(text.contains("MERL tiny resnet18"), "{text}");
    let config = fs::read_to_string(out.join("config.toml")).unwrap();
    assert!(config.contains("encoder = \"resnet18\""), "{config}");
    let text = failed(run!(
        "finetune",
        "--scratch",
        "--encoder",
        "resnet1",
        "--data",
        &store,
        "--task",
        "superdiagnostic",
        "--out",
        &out
    ));
    assert!(text.contains("resnet101"), "{text}");
}

#[test]
fn a_body_that_does_not_learn_stays_as_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let run = dir.path().join("run");
    ok(pretrained("deri", &store, &run, &[]));
    let before = files(&run.join("model"));
    assert!(!before.is_empty());
    for (recipe, compat, moves) in [
        ("deri-linear", "paper", false),
        ("deri-linear", "released", true),
        ("deri-linear-supplement", "paper", false),
    ] {
        let out = dir.path().join(format!("{recipe}-{compat}"));
        let text = ok(run!(
            "finetune",
            "--model",
            &run,
            "--data",
            &store,
            "--task",
            "superdiagnostic",
            "--out",
            &out,
            "--recipe",
            recipe,
            "--compat",
            compat,
            "--updates",
            "2",
            "--batch",
            "4",
            "--resamples",
            "20",
            "--baseline",
            "probe"
        ));
        // What the released program would have printed stands there, and nothing was chosen by it.
        let claimed = text.contains("claimed as released, not selected");
        assert_eq!(claimed, compat == "released", "{text}");
        let weights = |folder: &Path| {
            let file = folder.join("model.safetensors");
            purkinje::models::checkpoint::read_safetensors(&file)
                .unwrap()
                .0
        };
        let (own, found) = (weights(&run.join("model")), weights(&out.join("model")));
        let name = "ecg_encoder.bn1.running_mean";
        let moved = own.get(name).unwrap().data != found.get(name).unwrap().data;
        assert_eq!(moved, moves, "{recipe} {compat}");
        let same = |name: &str| own.get(name).unwrap().data == found.get(name).unwrap().data;
        assert!(same("ecg_encoder.conv1.weight"));
        let config = fs::read_to_string(out.join("config.toml")).unwrap();
        let kind = if recipe == "deri-linear" {
            "milestones"
        } else {
            "cosine"
        };
        assert!(
            config.contains(kind) && config.contains("lr = 0.01"),
            "{config}"
        );
    }
}

#[test]
fn reports_are_written_and_scored() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let encoder = dir.path().join("encoder");
    ok(pretrained("deri", &store, &encoder, &[]));
    let train = |out: &Path, more: &[&str]| {
        let mut args: Vec<OsString> = ["report", "train", "--model"].map(Into::into).to_vec();
        args.extend([
            encoder.clone().into(),
            "--data".into(),
            store.clone().into(),
        ]);
        args.extend([
            "--out".into(),
            out.into(),
            "--decoder-size".into(),
            "tiny".into(),
        ]);
        args.extend(["--batch", "4", "--epochs", "3", "--max-tokens", "40"].map(Into::into));
        args.extend(more.iter().map(Into::into));
        command(&args).output().unwrap()
    };
    let (run, again) = (dir.path().join("run"), dir.path().join("again"));
    let text = ok(train(&run, &[]));
    assert!(text.contains("generated text, not findings"), "{text}");
    ok(train(&again, &[]));
    let model = run.join("model");
    for name in ["writer.json", "writer.safetensors", "writer-tokenizer.json"] {
        assert!(
            files(&again.join("model"))[name] == files(&model)[name],
            "{name} differs"
        );
    }
    let card = fs::read_to_string(model.join("README.md")).unwrap();
    assert!(
        card.contains("not findings") && card.contains("by language"),
        "{card}"
    );

    let generate = |inputs: &[&Path], out: &Path, more: &[&str]| {
        let mut args: Vec<OsString> = ["report", "generate", "--model"].map(Into::into).to_vec();
        args.extend([run.clone().into(), "--out".into(), out.into()]);
        args.extend(more.iter().map(Into::into));
        args.extend(inputs.iter().map(|own| own.into()));
        command(&args).output().unwrap()
    };
    let (one, all) = (dir.path().join("one.jsonl"), dir.path().join("all.jsonl"));
    let text = ok(generate(&[&record()], &one, &[]));
    assert!(text.contains("generated text, not findings"), "{text}");
    ok(generate(&[&store], &all, &["--batch", "3"]));
    let lines = |path: &Path| -> Vec<serde_json::Value> {
        fs::read_to_string(path)
            .unwrap()
            .lines()
            .map(json)
            .collect()
    };
    // Alone, of a file, a report is what it is among others, of a store.
    let (one, all) = (lines(&one), lines(&all));
    let same = all.iter().find(|own| own["recording"] == "6").unwrap();
    assert_eq!(one[0]["report"], same["report"]);
    assert!(one[0]["tokens"].as_u64().unwrap() > 0 && one[0]["score"].is_number());
    for (more, expected) in [
        (&["--beams", "0"][..], "0 beams"),
        (&["--beams", "100000"], "100000 beams"),
        (&["--max-tokens", "41"], "the positions of the decoder"),
    ] {
        let text = failed(generate(&[&record()], &dir.path().join("x.csv"), more));
        assert!(text.contains(expected), "{more:?}: {text}");
    }

    judged(dir.path(), &run, &store);
    another_decoder(dir.path(), &encoder, &store, &train);
    said_with_labels(dir.path(), &run);
    let text = failed(run!(
        "report",
        "generate",
        "--model",
        &encoder,
        "--out",
        "x.csv",
        record()
    ));
    assert!(text.contains("report train"), "{text}");
    let text = failed(train(&dir.path().join("other"), &["--text", "missing"]));
    assert!(text.contains("missing"), "{text}");
}

/// The decoder of R2Gen reads the tokens of a recording; its texts are scored as labels too, and drawn.
fn another_decoder(
    dir: &Path,
    encoder: &Path,
    store: &Path,
    train: &dyn Fn(&Path, &[&str]) -> Output,
) {
    let run = dir.join("r2gen");
    let texts = dir.join("texts.txt");
    fs::write(&texts, "sinus rhythm\natrial fibrillation\n").unwrap();
    let own = ["--decoder", "r2gen", "--text-only", texts.to_str().unwrap()];
    let text = failed(train(&run, &own));
    assert!(text.contains("`--text-only`"), "{text}");
    assert!(!run.exists());
    ok(train(&run, &["--decoder", "r2gen"]));
    let about = fs::read_to_string(run.join("model/writer.json")).unwrap();
    let about = json(&about);
    assert_eq!(about["level"], "token");
    assert_eq!(about["network"]["decoder"]["kind"], "r2gen");
    let out = dir.join("judged-r2gen");
    let text = ok(run!(
        "report",
        "evaluate",
        "--model",
        &run,
        "--data",
        store,
        "--split",
        "train",
        "--baselines",
        "--nearest-by",
        encoder,
        "--prompts",
        data("../prompts/ptb-xl.json"),
        "--text-branch",
        encoder,
        "--resamples",
        "10",
        "--max-tokens",
        "12",
        "--out",
        &out
    ));
    for part in [
        "nearest by another model",
        "what texts say",
        "the report itself",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let labels = json(&fs::read_to_string(out.join("results.json")).unwrap());
    let labels = &labels["groups"][0]["labels"];
    assert_eq!(labels[0]["efficacy"]["accuracy"], 1.0);
    // A constant says nothing about a recording.
    let constant = labels.as_array().unwrap().iter();
    let constant = constant.filter(|own| own["name"] == "best constant");
    assert!(constant.clone().count() == 1);
    assert!(constant.clone().all(|own| own["auroc"]["value"] == 0.5));
    let page = fs::read_to_string(out.join("report.html")).unwrap();
    for part in [
        "class=\"words\"",
        "generated text, not findings",
        "Losses",
        "<svg",
    ] {
        assert!(page.contains(part), "{part}");
    }
    let pictures = dir.join("pictures");
    ok(run!(
        "report",
        "generate",
        "--model",
        &run,
        "--out",
        dir.join("drawn.csv"),
        "--figure",
        &pictures,
        "--beams",
        "1",
        "--max-tokens",
        "8",
        record()
    ));
    let drawn = files(&pictures);
    assert_eq!(drawn.len(), 2);
    let svg = drawn.iter().find(|(name, _)| name.ends_with(".svg"));
    let svg = String::from_utf8_lossy(svg.unwrap().1).into_owned();
    assert!(svg.contains("Generated report"));
}

/// `predict` of a model that writes: its report, and with sentences the scores of labels.
fn said_with_labels(dir: &Path, run: &Path) {
    let predicted = |more: &[&std::ffi::OsStr]| {
        let mut args: Vec<OsString> = ["predict", "--model"].map(Into::into).to_vec();
        args.extend([run.into(), record().into()]);
        args.extend(more.iter().map(Into::into));
        command(&args).output().unwrap()
    };
    let found = json(&ok(predicted(&[])));
    assert!(found[0]["report"]["text"].is_string());
    let note = found[0]["report"]["note"].as_str().unwrap();
    assert!(note.contains("not findings") && found[0]["scores"].is_null());
    let prompts = data("../prompts/ptb-xl.json");
    let found = json(&ok(predicted(&["--prompts".as_ref(), prompts.as_ref()])));
    assert!(found[0]["scores"]["NORM"].is_number() && found[0]["report"].is_object());
    let text = ok(predicted(&[
        "--table".as_ref(),
        "--prompts".as_ref(),
        prompts.as_ref(),
    ]));
    assert!(
        text.contains("NORM") && text.contains("no probabilities"),
        "{text}"
    );
    let text = failed(predicted(&["--explain".as_ref(), dir.join("x").as_ref()]));
    assert!(text.contains("without a classification head"), "{text}");
}

/// Reports of a model, and those of a table, scored.
fn judged(dir: &Path, run: &Path, store: &Path) {
    let folder = dir.join("judged");
    let text = ok(run!(
        "report",
        "evaluate",
        "--model",
        run,
        "--data",
        store,
        "--split",
        "train",
        "--baselines",
        "--resamples",
        "20",
        "--beams",
        "1",
        "--out",
        &folder
    ));
    for part in [
        "ROUGE-L",
        "exchanged within a language",
        "best constant",
        "oracle",
        "not findings",
    ] {
        assert!(text.contains(part), "{part}: {text}");
    }
    let found = json(&fs::read_to_string(folder.join("results.json")).unwrap());
    assert!(found["groups"][0]["rows"].as_array().unwrap().len() > 6);

    let table = dir.join("pairs.csv");
    fs::write(
        &table,
        "id,reference,generated\na,sinus rhythm,sinus rhythm\n",
    )
    .unwrap();
    let text = ok(run!("report", "evaluate", "--reports", &table));
    assert!(
        text.contains("ROUGE-L") && text.contains("100.00"),
        "{text}"
    );
}
