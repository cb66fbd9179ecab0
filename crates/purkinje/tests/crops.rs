//! A recording in memory and its row of a store give HuBERT-ECG the same crops, bit for bit.

use std::path::Path;

use purkinje::datasets::import::PtbXl;
use purkinje::signal::{Preparer, Preprocess};
use purkinje::store::{self, PrepareOptions, Store};
use purkinje::systems::hubert::cutter::{HubertCutter, StoreCrops};
use purkinje::train::source::{Cut as _, Look, Source as _, as_stored};

#[test]
fn a_recording_and_its_stored_row_give_the_same_crops() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/ptb-xl");
    let dir = tempfile::tempdir().unwrap();
    let (source, contract) = (PtbXl::new(&root), Preprocess::hubert());
    let options = PrepareOptions::default();
    store::prepare(&source, &contract, dir.path(), &options, &()).unwrap();
    let store = Store::open(dir.path()).unwrap();

    let crops = HubertCutter::new(2500, Some(5)).unwrap().random(4);
    let crops = crops.from_long_pieces(5).marked();
    let rows = (0..store.len()).collect();
    let stored = StoreCrops::new(&store, rows, &contract, crops.clone()).unwrap();
    let preparer = Preparer::new(&contract).unwrap();
    assert!(store.len() > 6);
    for index in 0..6 {
        let row = store.row(index).unwrap();
        let recording = purkinje::read(root.join(row.source())).unwrap();
        let (id, leads, rate_hz) = (&recording.id, &recording.leads, recording.rate_hz);
        let prepared = preparer.apply_samples(id, leads, rate_hz, &recording.exact_mv());
        let samples = as_stored(&prepared.unwrap()).unwrap();
        for look in [
            Look::Whole,
            Look::Step(17),
            Look::Crop { k: 1, n: 3 },
            Look::Crop { k: 0, n: 1 },
        ] {
            let found = crops.cut(&samples, contract.leads.len(), index, look);
            let expected = stored.see(index, look).unwrap();
            assert_eq!(found.unwrap(), expected, "{look:?}");
        }
    }
    let first = |look| stored.see(0, look).unwrap();
    assert_ne!(first(Look::Step(1)), first(Look::Step(2)));
    assert_ne!(
        first(Look::Crop { k: 0, n: 3 }),
        first(Look::Crop { k: 1, n: 3 })
    );
    assert_eq!(first(Look::Whole), first(Look::Crop { k: 0, n: 1 }));
}
