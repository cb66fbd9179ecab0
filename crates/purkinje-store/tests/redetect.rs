//! R-peaks of a store found again.

mod common;

use purkinje_datasets::import::PtbXl;
use purkinje_signal::Preprocess;
use purkinje_signal::preprocess::BeatSearch;
use purkinje_store::{
    NewRow, RedetectOptions, RedetectedBeats, Store, StoreError, prepare, redetect,
};

use common::{ptb_xl, small_shards};

#[test]
fn a_store_gets_the_r_peaks_it_would_have_if_prepared_again() {
    let dir = tempfile::tempdir().unwrap();
    let place = |name: &str| dir.path().join(name);
    let made = |name: &str, beats: BeatSearch| {
        let contract = Preprocess::clear_ptbxl().with_beats(beats);
        prepare(
            &PtbXl::new(ptb_xl()),
            &contract,
            &place(name),
            &small_shards(),
            &(),
        )
        .unwrap();
        Store::open(place(name)).unwrap()
    };
    let (old, new) = (
        made("old", BeatSearch::UNSAID),
        made("new", BeatSearch::MultiLead),
    );
    let count = old.len();
    let again = |name: &str, options: &RedetectOptions| {
        let done = redetect(&old, &place(name), options, &()).unwrap();
        let store = Store::open(place(name)).unwrap();
        store.verify().unwrap();
        assert_eq!(store.info().preprocess, new.info().preprocess);
        assert_eq!(store.info().made_by.redetected, Some(done.beats));
        assert_eq!(store.info().outcomes, old.info().outcomes);
        (done, store)
    };
    let from = RedetectOptions {
        from: Some(ptb_xl()),
    };
    let (done, of_recordings) = again("recordings", &from);
    let all = RedetectedBeats {
        in_recordings: count,
        in_stored_signal: 0,
    };
    assert_eq!((done.records, done.beats), (count, all));
    let (_, of_signal) = again("signal", &RedetectOptions::default());
    let nowhere = RedetectOptions {
        from: Some(place("nowhere")),
    };
    let (done, _) = again("nowhere-out", &nowhere);
    assert_eq!(done.beats.in_stored_signal, count);
    assert!(done.now > 0 && done.kept <= done.now);

    for index in 0..count {
        let [old_row, fresh, found, stored] =
            [&old, &new, &of_recordings, &of_signal].map(|store| store.row(index).unwrap());
        assert_eq!(found.to_new(&of_recordings), fresh.to_new(&new));
        // These recordings are stored as they came.
        assert_eq!(stored.r_peaks(), fresh.r_peaks());
        let untouched = NewRow {
            r_peaks: old_row.r_peaks().to_vec(),
            beats_detected: old_row.beats_detected(),
            ..found.to_new(&of_recordings)
        };
        assert_eq!(untouched, old_row.to_new(&old));
    }
    // A finished copy is left alone, right R-peaks are not looked for again.
    assert_eq!(
        again("signal", &RedetectOptions::default()).0.records,
        count
    );
    let refused = redetect(&new, &place("more"), &from, &());
    assert!(
        matches!(refused, Err(StoreError::Settings { .. })),
        "{refused:?}"
    );
}
