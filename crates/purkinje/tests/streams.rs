//! A stream takes no more inputs than its results ask for, and leaves nothing behind when it is dropped.
//!
//! One test alone, because it counts the threads of the process.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;

use purkinje::inputs::{Input, ReadOptions};
use purkinje::predict::PredictOptions;
use purkinje::stream::READ_AHEAD;
use purkinje::{Device, Level, Model, Recording, Result};

/// The same recording again and again. Asked once more after its end, it begins anew.
struct Inputs {
    recording: Arc<Recording>,
    count: usize,
    left: usize,
    taken: Rc<Cell<usize>>,
}

impl Iterator for Inputs {
    type Item = Input<'static>;

    fn next(&mut self) -> Option<Input<'static>> {
        let Some(left) = self.left.checked_sub(1) else {
            self.left = self.count;
            return None;
        };
        self.left = left;
        self.taken.set(self.taken.get() + 1);
        Some(Input::Recording(Arc::clone(&self.recording)))
    }
}

type Results<'m> = Box<dyn Iterator<Item = Result<()>> + 'm>;

/// Threads of this process, where the system says so.
fn threads() -> Option<usize> {
    let tasks = std::fs::read_dir("/proc/self/task").ok()?;
    Some(tasks.count())
}

fn check<'m>(recording: &Arc<Recording>, open: impl Fn(Inputs) -> Results<'m>) {
    let begin = |count| {
        let taken = Rc::new(Cell::new(0));
        let inputs = Inputs {
            recording: Arc::clone(recording),
            count,
            left: count,
            taken: Rc::clone(&taken),
        };
        (open(inputs), taken)
    };
    // To the end, which starts the threads that all streams share.
    let (mut stream, taken) = begin(3);
    let some = stream.by_ref().take(10);
    assert_eq!(some.filter(Result::is_ok).count(), 3);
    assert!(stream.next().is_none(), "it goes on after its end");
    assert_eq!(taken.get(), 3);
    drop(stream);

    let before = threads();
    for (results, expected) in [(0, 0), (1, READ_AHEAD), (READ_AHEAD + 1, 2 * READ_AHEAD)] {
        let (mut stream, taken) = begin(5 * READ_AHEAD);
        for _ in 0..results {
            stream.next().unwrap().unwrap();
        }
        drop(stream);
        assert_eq!(taken.get(), expected, "inputs taken for {results} results");
        assert_eq!(Arc::strong_count(recording), 1, "{results} results");
        assert_eq!(Rc::strong_count(&taken), 1, "{results} results");
    }
    assert_eq!(threads(), before);
}

#[test]
fn a_stream_that_is_dropped_stops() {
    let file = "../../tests/data/ptb-xl/records100/00000/00006_lr.hea";
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join(file);
    let recording = Arc::new(purkinje::read(file).unwrap());
    let encoder = Model::random("clear", "tiny", 0, &Device::cpu()).unwrap();
    let labels = purkinje::model::labels("one", &["MI".to_owned()], &[0.5]);
    let classifier = encoder.with_new_head("hug", labels, 0).unwrap();
    // One lead, which is read quickly.
    let read = ReadOptions {
        leads: Some("II".parse().unwrap()),
        ..ReadOptions::new()
    };
    check(&recording, |inputs| {
        let all = encoder.embed_all(inputs, Level::Recording, read.clone());
        Box::new(all.unwrap().map(|result| result.map(drop)))
    });
    check(&recording, |inputs| {
        let options = PredictOptions {
            read: read.clone(),
            ..PredictOptions::new()
        };
        let all = classifier.predict_all(inputs, options);
        Box::new(all.unwrap().map(|result| result.map(drop)))
    });
}
