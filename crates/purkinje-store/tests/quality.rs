//! Records are left out by their quality, while preparing and while reading.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use purkinje_datasets::import::{Folder, Importer, Physionet2021, PtbXl};
use purkinje_signal::Preprocess;
use purkinje_store::{
    PrepareOptions, QualityFilter, Row, Status, Store, StoreError, prepare, read_outcomes,
};

use common::{TWELVE, beating, ids, ptb_xl, write_wfdb};

fn challenge() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/physionet2021")
}

fn filter(text: &str) -> QualityFilter {
    text.parse().unwrap()
}

fn with(quality: &str) -> PrepareOptions {
    PrepareOptions {
        quality: filter(quality),
        max_failed: purkinje_store::FailureLimit::Fraction(1.0),
        ..PrepareOptions::default()
    }
}

/// The figure of a row under its name in a filter.
fn figure(row: &Row<'_>, measure: &str) -> Option<f64> {
    let quality = row.quality().unwrap();
    let of = match measure {
        "missing_leads" => Some(quality.missing_leads.count_ones() as f32),
        "flat_leads" => Some(quality.flat_leads.count_ones() as f32),
        "clipped_leads" => Some(quality.clipped_leads.count_ones() as f32),
        "einthoven_mv" => quality.einthoven_mv,
        "noise_mv" => quality.noise_mv,
        "baseline_mv" => quality.baseline_mv,
        "powerline_mv" => quality.powerline_mv,
        other => panic!("{other}"),
    };
    of.map(f64::from)
}

/// On real recordings, half of them above the limit: the same are left out while preparing and while reading.
#[test]
fn real_records_are_left_out_by_every_figure() {
    let dir = tempfile::tempdir().unwrap();
    let [fast, slow] = ["fast", "slow"].map(|name| dir.path().join(name));
    let challenge = Physionet2021::new(challenge());
    let ptb_xl = PtbXl::new(ptb_xl());
    let (raw_500, raw_100) = (Preprocess::raw(500.0), Preprocess::raw(100.0));
    prepare(&challenge, &raw_500, &fast, &with(""), &()).unwrap();
    prepare(&ptb_xl, &raw_100, &slow, &with(""), &()).unwrap();
    let fast = Store::open(&fast).unwrap();
    let slow = Store::open(&slow).unwrap();
    let at_100_hz: (&dyn Importer, _, _) = (&ptb_xl, &raw_100, &slow);
    let at_500_hz: (&dyn Importer, _, _) = (&challenge, &raw_500, &fast);
    for (measure, (source, contract, store)) in [
        ("noise_mv", at_100_hz),
        ("baseline_mv", at_100_hz),
        ("einthoven_mv", at_100_hz),
        ("noise_mv", at_500_hz),
        ("powerline_mv", at_500_hz),
    ] {
        assert!(store.len() >= 3);
        let mut figures: Vec<f64> = store.rows().filter_map(|r| figure(&r, measure)).collect();
        figures.sort_by(f64::total_cmp);
        let limit = figures[figures.len() / 2] as f32;
        let text = format!("{measure}={limit}");
        let kept: Vec<String> = store
            .rows()
            .filter(|row| figure(row, measure).is_none_or(|found| found <= f64::from(limit)))
            .map(|row| row.id().to_owned())
            .collect();
        assert!((1..store.len()).contains(&kept.len()), "{text}");
        let read: Vec<String> = store
            .indices_of_quality(&filter(&text))
            .into_iter()
            .map(|index| store.row(index).unwrap().id().to_owned())
            .collect();
        assert_eq!(read, kept, "{text}");

        let target = dir.path().join(format!("{measure}-{}", store.len()));
        let summary = prepare(source, contract, &target, &with(&text), &()).unwrap();
        assert_eq!(ids(&Store::open(&target).unwrap()), kept, "{text}");
        assert_eq!(
            summary.info.outcomes.skipped,
            store.len() - kept.len(),
            "{text}"
        );
        for outcome in read_outcomes(&target).unwrap() {
            if outcome.status == Status::Skipped {
                let start = format!("signal quality: {measure} is ");
                assert!(outcome.reason.starts_with(&start), "{}", outcome.reason);
                assert!(outcome.reason.ends_with(&format!("the limit is {limit}")));
            }
        }
    }
}

#[test]
fn what_is_wrong_with_a_record_is_said() {
    let dir = tempfile::tempdir().unwrap();
    let root = dir.path().join("records");
    // Leads that keep Einthoven's law, each wrong record in one thing.
    let good = || {
        let i: Vec<i16> = beating(1, 1000)[0].iter().map(|x| 4 * x).collect();
        let ii: Vec<i16> = i.iter().map(|x| x + x / 2).collect();
        let mut rows = vec![i.clone(), ii.clone()];
        rows.push(ii.iter().zip(&i).map(|(ii, i)| ii - i).collect());
        rows.push(ii.iter().zip(&i).map(|(ii, i)| -(ii + i) / 2).collect());
        rows.push(ii.iter().zip(&i).map(|(ii, i)| i - ii / 2).collect());
        rows.push(ii.iter().zip(&i).map(|(ii, i)| ii - i / 2).collect());
        rows.extend(beating(6, 1000));
        rows
    };
    let write = |name: &str, change: &dyn Fn(&mut Vec<Vec<i16>>)| {
        let mut rows = good();
        change(&mut rows);
        write_wfdb(&root, name, &TWELVE, "mV", &rows);
    };
    write("good", &|_| {});
    write("missing-lead", &|rows| rows[7].fill(i16::MIN));
    write("flat", &|rows| rows[8].fill(17));
    write("clipped", &|rows| {
        rows[9].iter_mut().for_each(|x| *x = (*x).min(250));
    });
    write("gaps", &|rows| rows[10][100..300].fill(i16::MIN));
    write("exchanged", &|rows| rows.swap(4, 5));
    let contract = Preprocess::preset("raw-100").unwrap();
    let whole = dir.path().join("whole");
    prepare(&Folder::new(&root), &contract, &whole, &with(""), &()).unwrap();
    let all = Store::open(&whole).unwrap();
    for (limit, left_out) in [
        ("missing_leads", vec!["missing-lead"]),
        ("flat", vec!["flat"]),
        ("clipped", vec!["clipped"]),
        ("missing=9%", vec![]),
        ("missing=2%", vec!["missing-lead"]),
        ("missing=1%", vec!["gaps", "missing-lead"]),
        ("limb", vec!["exchanged"]),
        (
            "missing,flat,clipped,limb=ok",
            vec!["clipped", "exchanged", "flat", "gaps", "missing-lead"],
        ),
    ] {
        let target = dir.path().join(limit.replace(['=', '%'], "-"));
        prepare(&Folder::new(&root), &contract, &target, &with(limit), &()).unwrap();
        let skipped: BTreeMap<String, String> = read_outcomes(&target)
            .unwrap()
            .into_iter()
            .filter(|outcome| outcome.status == Status::Skipped)
            .map(|outcome| (outcome.id, outcome.reason))
            .collect();
        assert_eq!(skipped.keys().collect::<Vec<_>>(), left_out, "{limit}");
        assert!(
            skipped
                .values()
                .all(|reason| reason.contains("the limit is"))
        );
        let kept = all.indices_of_quality(&filter(limit));
        let kept: BTreeSet<&str> = kept.iter().map(|&i| all.row(i).unwrap().id()).collect();
        let store = Store::open(&target).unwrap();
        assert_eq!(kept, store.rows().map(|row| row.id()).collect(), "{limit}");
    }
}

#[test]
fn a_filter_is_part_of_the_settings() {
    let dir = tempfile::tempdir().unwrap();
    let source = PtbXl::new(ptb_xl());
    let contract = Preprocess::clear_ptbxl();
    let [plain, noisy] = ["plain", "noisy"].map(|name| dir.path().join(name));
    prepare(&source, &contract, &plain, &with(""), &()).unwrap();
    let store = Store::open(&plain).unwrap();
    let mut noise: Vec<f32> = store.rows().filter_map(|r| r.quality()?.noise_mv).collect();
    noise.sort_by(f32::total_cmp);
    let text = format!("noise_mv={}", noise[noise.len() / 2]);
    let first = prepare(&source, &contract, &noisy, &with(&text), &()).unwrap();
    assert_eq!(first.info.records, store.len() / 2 + 1);
    // Complete already.
    let again = prepare(&source, &contract, &noisy, &with(&text), &()).unwrap();
    assert_eq!(again.resumed_at, 56);
    let other = prepare(&source, &contract, &plain, &with(&text), &()).unwrap_err();
    assert!(matches!(other, StoreError::OtherStore { .. }), "{other}");
}
