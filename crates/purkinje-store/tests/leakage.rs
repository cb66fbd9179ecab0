//! Patients and recordings in more than one part or store are found, and nothing else is.

mod common;

use std::path::Path;

use purkinje_datasets::import::{
    Catalogue, ImportError, Importer, Item, PtbXl, PtbXlRate, ReadWhole as _,
};
use purkinje_record::{LeadSet, Reader, RecordError, Recording};
use purkinje_signal::Preprocess;
use purkinje_store::leakage::{LeakageReport, leakage};
use purkinje_store::{Split, Store, prepare};

use common::{ptb_xl, small_shards};

fn stored(source: &dyn Importer, contract: &Preprocess, dir: &Path, name: &str) -> Store {
    let target = dir.join(name);
    prepare(source, contract, &target, &small_shards(), &()).unwrap();
    Store::open(&target).unwrap()
}

fn similar(report: &LeakageReport) -> Vec<(&str, &str)> {
    let pair = |pair: &purkinje_store::leakage::SignalPair| {
        (pair.first.id.clone(), pair.second.id.clone())
    };
    assert_eq!(report.similar.count, report.similar.listed.len());
    let listed = &report.similar.listed;
    assert!(
        listed.iter().all(|p| p.similarity > 0.98),
        "{:?}",
        listed.iter().map(pair).collect::<Vec<_>>()
    );
    listed
        .iter()
        .map(|pair| (pair.first.id.as_str(), pair.second.id.as_str()))
        .collect()
}

#[test]
fn recordings_are_known_again_at_another_rate_and_after_another_filter() {
    let dir = tempfile::tempdir().unwrap();
    let at_100 = stored(
        &PtbXl::new(ptb_xl()),
        &Preprocess::clear_ptbxl(),
        dir.path(),
        "100",
    );
    let at_500 = PtbXl {
        rate: PtbXlRate::Hz500,
        ..PtbXl::new(ptb_xl())
    };
    // Millivolts as they are at 100 Hz, once band-passed, and scaled to a range and cut after five seconds.
    for preset in ["clear-raw", "clear", "clear-cpsc2018"] {
        let contract = Preprocess::preset(preset).unwrap();
        let other = stored(&at_500, &contract, dir.path(), preset);
        let report = leakage(&[&at_100, &other]).unwrap();
        assert_eq!(similar(&report), [("77", "77"), ("235", "235")], "{preset}");
        assert_eq!(report.identical.count, 0);
        assert_eq!(report.leads.len(), 12);
        assert!(!report.is_clean());
        // The other way round the pairs are the same.
        let report = leakage(&[&other, &at_100]).unwrap();
        assert_eq!(report.similar.count, 2);
    }
    // Alone, the folds of PTB-XL share neither patients nor recordings.
    let report = leakage(&[&at_100]).unwrap();
    assert!(report.is_clean(), "{report:?}");
    assert_eq!(report.not_compared, 0);
}

/// PTB-XL under other names, the second half shifted and scaled, with patients and parts of our own.
struct Disguised(PtbXl);

impl Importer for Disguised {
    fn catalogue(&self) -> Result<Catalogue, ImportError> {
        let mut catalogue = self.0.catalogue()?;
        for (index, item) in catalogue.items.iter_mut().enumerate() {
            item.id = format!("X{:04}", index);
            item.split = Some([Split::Train, Split::Test][index % 2]);
            // Records 0 and 1, 2 and 3, ... are of one patient, and so in both parts.
            item.patient = Some(format!("p{}", index / 2 + 1000 * (index / 10)));
        }
        Ok(catalogue)
    }

    fn open(
        &self,
        catalogue: &Catalogue,
        item: &Item,
        leads: &LeadSet,
    ) -> Result<Reader, RecordError> {
        let recording = self.0.read(catalogue, item, leads)?;
        let index: usize = item.id[1..].parse().unwrap_or(0);
        if index < 28 {
            return Ok(recording.into());
        }
        let samples = recording
            .rows()
            .flat_map(|row| {
                let shift = 7;
                row[shift..]
                    .iter()
                    .map(|mv| 0.5 * mv + 0.25)
                    .collect::<Vec<f32>>()
            })
            .collect();
        Ok(Recording::new(
            &recording.id,
            recording.leads.clone(),
            recording.rate_hz,
            samples,
        )
        .unwrap()
        .into())
    }
}

#[test]
fn equal_samples_shifts_and_patients_are_found_whatever_the_names() {
    let dir = tempfile::tempdir().unwrap();
    let contract = Preprocess::clear_ptbxl();
    let original = stored(&PtbXl::new(ptb_xl()), &contract, dir.path(), "original");
    let disguised = stored(
        &Disguised(PtbXl::new(ptb_xl())),
        &contract,
        dir.path(),
        "disguised",
    );
    assert_eq!((original.len(), disguised.len()), (56, 56));
    let report = leakage(&[&original, &disguised]).unwrap();
    assert_eq!(report.identical.count, 28);
    for (index, pair) in report.identical.listed.iter().enumerate() {
        assert_eq!((pair.first.row, pair.second.row), (index, index));
        assert_eq!((pair.first.store, pair.second.store), (0, 1));
        assert_eq!(pair.second.id, format!("X{index:04}"));
    }
    let rows: Vec<(usize, usize)> = report
        .similar
        .listed
        .iter()
        .map(|pair| (pair.first.row, pair.second.row))
        .collect();
    // Shifted by 70 ms: all but those whose first beat is now too near to the beginning.
    assert!(rows.iter().all(|&(a, b)| a == b && a >= 28), "{rows:?}");
    assert!(rows.len() >= 26, "{rows:?}");
    let lags = report.similar.listed.iter().map(|pair| pair.lag_s);
    assert!(
        lags.clone().all(|lag| (lag + 0.07).abs() < 0.001),
        "{:?}",
        lags.collect::<Vec<_>>()
    );
    // Both stores call their source ptb-xl, so a patient of one is that of the other.
    assert_eq!(report.patients.count, 28);
    let first = &report.patients.listed[0];
    assert_eq!((first.patient.as_str(), first.records.len()), ("p0", 2));
    assert_eq!(first.records[0].split, Split::Train);
    assert_eq!(first.records[1].split, Split::Test);
    // As a value for the command line.
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["identical"]["count"], 28);
}

#[test]
fn few_leads_and_short_records_are_no_obstacle() {
    let dir = tempfile::tempdir().unwrap();
    let contract = Preprocess::clear_ptbxl();
    let twelve = stored(&PtbXl::new(ptb_xl()), &contract, dir.path(), "twelve");
    let one_lead = contract.clone().with_leads("aVR".parse().unwrap());
    let one = stored(&PtbXl::new(ptb_xl()), &one_lead, dir.path(), "one");
    let report = leakage(&[&twelve, &one]).unwrap();
    assert_eq!(report.leads, ["aVR"]);
    assert!(
        report
            .similar
            .listed
            .iter()
            .filter(|p| p.first.id == p.second.id)
            .count()
            >= 55
    );
    let two = stored(
        &PtbXl::new(ptb_xl()),
        &contract.with_leads("V1".parse().unwrap()),
        dir.path(),
        "two",
    );
    // Without a lead in common nothing can be said, and that is said.
    let report = leakage(&[&one, &two]).unwrap();
    assert_eq!((report.not_compared, report.leads.len()), (112, 0));
    assert_eq!(leakage(&[]).unwrap().similar.count, 0);
}

/// PTB-XL with a drift of 4 mV from beginning to end.
struct Drifting(PtbXl);

impl Importer for Drifting {
    fn catalogue(&self) -> Result<Catalogue, ImportError> {
        self.0.catalogue()
    }

    fn open(
        &self,
        catalogue: &Catalogue,
        item: &Item,
        leads: &LeadSet,
    ) -> Result<Reader, RecordError> {
        let recording = self.0.read(catalogue, item, leads)?;
        let slope = 4.0 / recording.len() as f32;
        let drifting = |row: &[f32]| -> Vec<f32> {
            let samples = row.iter().enumerate();
            samples.map(|(t, mv)| mv + slope * t as f32).collect()
        };
        let samples = recording.rows().flat_map(drifting).collect();
        let (id, leads) = (&recording.id, recording.leads.clone());
        let drifting = Recording::new(id, leads, recording.rate_hz, samples);
        Ok(drifting.unwrap().into())
    }
}

#[test]
fn ringing_at_the_ends_of_a_resampled_recording_does_not_hide_it() {
    let dir = tempfile::tempdir().unwrap();
    let raw = Preprocess::preset("raw-100").unwrap();
    let at = |rate| {
        Drifting(PtbXl {
            rate,
            ..PtbXl::new(ptb_xl())
        })
    };
    let slow = stored(&at(PtbXlRate::Hz100), &raw, dir.path(), "100");
    let resampled = stored(&at(PtbXlRate::Hz500), &raw, dir.path(), "500");
    let report = leakage(&[&slow, &resampled]).unwrap();
    assert_eq!(similar(&report), [("77", "77"), ("235", "235")]);
}
