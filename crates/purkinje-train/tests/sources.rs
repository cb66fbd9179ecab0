//! A recording in memory and its row of a store give the same input, bit for bit.

use std::path::Path;

use purkinje_datasets::import::PtbXl;
use purkinje_record::{Digital, OpenOptions, Recording};
use purkinje_signal::{Prepared, Preparer, Preprocess};
use purkinje_store::{PrepareOptions, Store, prepare};
use purkinje_train::source::{Cut, Look, SignalCutter, Source, StoreSignals, Window, as_stored};

/// As stores are prepared: from the file's own integers.
fn in_memory(recording: &Recording, preparer: &Preparer) -> Prepared {
    let digital = recording.digital.as_ref().unwrap();
    let gains = digital.gain_per_mv().iter().zip(digital.baseline());
    let rows = digital.samples().chunks_exact(recording.len()).zip(gains);
    let samples: Vec<f64> = rows
        .flat_map(|(row, (gain, baseline))| {
            row.iter().map(move |&unit| match unit {
                Digital::MISSING => f64::NAN,
                unit => f64::from(i32::from(unit) - baseline) / gain,
            })
        })
        .collect();
    let (id, leads) = (&recording.id, &recording.leads);
    let prepared = preparer.apply_samples(id, leads, recording.rate_hz, &samples);
    prepared.unwrap()
}

#[test]
fn a_recording_and_its_stored_row_give_the_same_input() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/ptb-xl");
    let dir = tempfile::tempdir().unwrap();
    let contract = Preprocess::hubert();
    let source = PtbXl::new(&root);
    prepare(
        &source,
        &contract,
        dir.path(),
        &PrepareOptions::default(),
        &(),
    )
    .unwrap();
    let store = Store::open(dir.path()).unwrap();

    let signals = SignalCutter::new(Window::of(2000).random(3), Some(5)).unwrap();
    let signals = signals.marked();
    let stored_signals = StoreSignals::new(
        &store,
        (0..store.len()).collect(),
        &contract,
        signals.clone(),
    )
    .unwrap();
    let looks = [
        Look::Whole,
        Look::Step(17),
        Look::Crop { k: 1, n: 3 },
        Look::Crop { k: 0, n: 1 },
    ];

    let preparer = Preparer::new(&contract).unwrap();
    let open = OpenOptions {
        keep_digital: true,
        ..OpenOptions::default()
    };
    assert!(store.len() > 6);
    for index in 0..6 {
        let row = store.row(index).unwrap();
        let path = root.join(row.source());
        let recording = purkinje_record::open(&path, &open).unwrap();
        let samples = as_stored(&in_memory(&recording, &preparer)).unwrap();
        let leads = contract.leads.len();
        for look in looks {
            let found = signals.cut(&samples, leads, index, look).unwrap();
            assert_eq!(found, stored_signals.see(index, look).unwrap(), "{look:?}");
            assert_eq!(found.samples.len(), leads * 400);
        }
        let (id, signal) = stored_signals.signal(index).unwrap();
        assert_eq!((id.as_str(), signal), (row.id(), samples));
    }
    let first = |look| stored_signals.see(0, look).unwrap();
    assert_ne!(first(Look::Step(1)), first(Look::Step(2)));
    assert_eq!(first(Look::Whole), first(Look::Crop { k: 0, n: 3 }));
}
