use super::*;

#[test]
fn every_preset_survives_json() {
    for (name, _) in PRESETS {
        let contract = Preprocess::preset(name).unwrap();
        assert_eq!(
            Preprocess::from_json(&contract.to_json()).unwrap(),
            contract
        );
        assert_eq!(contract.check(&contract), Ok(()));
        assert!(Preparer::new(&contract).is_ok(), "{name}");
        assert!(!contract.in_words().is_empty());
    }
}

#[test]
fn strange_json_is_refused() {
    let good = Preprocess::preset("clear-csn").unwrap().to_json();
    let cases = [
        (
            good.replace("\"version\": 2", "\"version\": 3"),
            "version 3",
        ),
        (good.replace("\"version\": 2", "\"version\": 1"), "`steps`"),
        (
            good.replace("\"rate_hz\"", "\"rate\""),
            "unknown field `rate`",
        ),
        (
            good.replace("\"order\"", "\"ordre\""),
            "unknown field `ordre`",
        ),
        (
            good.replace("\"steps\"", "\"step\""),
            "unknown field `step`",
        ),
    ];
    for (text, expected) in cases {
        let error = Preprocess::from_json(&text).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
}

/// As the first version of this program wrote them into stores and checkpoints.
#[test]
fn contracts_of_version_1_are_read() {
    let head = r#"{"version":1,"rate_hz":100.0,"leads":["I","II","III","aVR","aVL","aVF","V1","V2","V3","V4","V5","V6"],"#;
    let cases = [
        (
            "clear",
            r#""missing":{"local_mean":{"half_window":6}},"empty_lead":"reject","window":{"keep_s":10.0,"pad_to_s":null},"scale":"millivolts","resample":"fourier","band_pass":{"order":5,"low_hz":0.67,"high_hz":40.0}}"#,
        ),
        (
            "clear-ptbxl",
            r#""missing":"reject","empty_lead":"reject","window":null,"scale":"millivolts","resample":"fourier","band_pass":null}"#,
        ),
        (
            "clear-csn",
            r#""missing":"reject","empty_lead":"reject","window":null,"scale":{"min_max":{"low":-3.0,"high":3.0,"arithmetic":{"float32":{"units_per_mv":1000.0}}}},"resample":"fourier","band_pass":{"order":5,"low_hz":0.67,"high_hz":40.0}}"#,
        ),
        (
            "clear-cpsc2018-int16",
            r#""missing":"reject","empty_lead":"reject","window":{"keep_s":5.0,"pad_to_s":10.0},"scale":{"min_max":{"low":-3.0,"high":3.0,"arithmetic":{"int16":{"units_per_mv":1000.0}}}},"resample":"fourier","band_pass":null}"#,
        ),
    ];
    for (name, tail) in cases {
        let read = Preprocess::from_json(&format!("{head}{tail}")).unwrap();
        let preset = Preprocess::preset(name).unwrap();
        assert_eq!(read, preset.with_beats(BeatSearch::UNSAID), "{name}");
        assert_eq!(read.version, Version::CURRENT);
    }
    let broken = cases[0].1.replace("\"resample\":\"fourier\",", "");
    let error = Preprocess::from_json(&format!("{head}{broken}")).unwrap_err();
    assert!(error.to_string().contains("`resample`"), "{error}");
}

#[test]
fn differences_are_named() {
    let mimic = Preprocess::preset("clear-mimic").unwrap();
    let raw = mimic.clone().without("filter");
    let error = raw.check(&mimic).unwrap_err();
    assert_eq!((error.field, error.found.as_str()), ("filter", "null"));
    assert_eq!(mimic.check(&raw).unwrap_err().expected, "null");
    let limb = mimic.clone().with_leads("limb".parse().unwrap());
    assert_eq!(limb.check(&mimic).unwrap_err().field, "leads");
    let clear = Preprocess::preset("clear").unwrap();
    let error = clear.check(&mimic).unwrap_err();
    assert_eq!((error.field, error.expected.as_str()), ("window", "null"));
    let fast = mimic.clone().at_rate(500.0);
    assert_eq!(fast.check(&mimic).unwrap_err().field, "rate_hz");
    let mut turned = clear.clone();
    turned.steps.swap(0, 1);
    assert_eq!(turned.check(&clear).unwrap_err().field, "steps");
    let strict = Preprocess::preset("clear-ptbxl").unwrap();
    let error = strict.check(&raw).unwrap_err();
    assert_eq!(error.field, "missing");
    assert!(error.found.contains("reject") && error.expected.contains("local_mean"));
}
