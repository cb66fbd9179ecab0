//! Progress reports of long-running work, and requests to stop it.

/// Receives the progress of long-running work, and may ask it to stop.
///
/// Every method has a default that does nothing, so a caller implements what it wants; [`Silent`] implements none.
pub trait Reporter: Send + Sync {
    /// Work begins: the step `what` ("encode") on `total` `unit`s ("records").
    fn begin(&self, what: &str, total: usize, unit: &'static str) -> Box<dyn Progress> {
        let _ = (what, total, unit);
        Box::new(Silent)
    }

    /// A note to the user that is not a result: records left out, a default that was chosen.
    fn note(&self, text: &str) {
        let _ = text;
    }

    /// Intermediate results worth showing while the work continues.
    fn table(&self, table: &Table) {
        let _ = table;
    }

    /// The command line that asked for the work, without what does not change the result; it is written beside results. Empty for a call
    /// of the library.
    fn command(&self) -> String {
        String::new()
    }

    /// Whether the work should stop. It is called between batches and steps; the work then ends with
    /// [`Error::Stopped`](crate::Error::Stopped), or resumably.
    fn stop_requested(&self) -> bool {
        false
    }

    /// Whether, from now on, work that is asked to stop takes its time to keep what it has done: a training writes a
    /// checkpoint after its update. At other times nothing would be lost by ending the program at once.
    fn keeps(&self, now: bool) {
        let _ = now;
    }
}

/// A table of text.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Table {
    /// The names of the columns.
    pub header: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<String>>,
}

/// The progress of one step of work.
pub trait Progress: Send + Sync {
    /// `done` units were finished earlier: they count as progress, but not for the rate.
    fn resume(&self, done: usize) {
        let _ = done;
    }

    /// `more` units were finished.
    fn add(&self, more: usize) {
        let _ = more;
    }

    /// A message to show beside the progress ("loss 0.41").
    fn message(&self, text: &str) {
        let _ = text;
    }

    /// The step is finished.
    fn finish(&self) {}
}

/// Reports nothing and never asks to stop.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Reporter for Silent {}
impl Progress for Silent {}

/// The progress of a training: its updates, and requests to stop it.
pub(crate) struct Updates<'a> {
    progress: Box<dyn Progress>,
    reporter: &'a dyn Reporter,
}

impl<'a> Updates<'a> {
    /// Begins a training of so many updates.
    pub(crate) fn begin(reporter: &'a dyn Reporter, what: &str, updates: usize) -> Self {
        reporter.keeps(true);
        Updates {
            progress: reporter.begin(what, updates, "steps"),
            reporter,
        }
    }

    /// Counts from the updates made before the run was resumed.
    pub(crate) fn resume(&self, done: usize) {
        if done > 0 {
            self.progress.resume(done);
        }
    }

    /// One more update; says whether to go on.
    pub(crate) fn made(&self, message: &str) -> purkinje_train::Next {
        self.progress.add(1);
        self.progress.message(message);
        match self.reporter.stop_requested() {
            true => purkinje_train::Next::Stop,
            false => purkinje_train::Next::Continue,
        }
    }

    /// The training is finished.
    pub(crate) fn finish(&self) {
        self.progress.finish();
    }
}

impl Drop for Updates<'_> {
    fn drop(&mut self) {
        self.reporter.keeps(false);
    }
}

/// [`go_on`] within a validation of a training.
///
/// # Errors
/// [`TrainError::Interrupted`](purkinje_train::TrainError::Interrupted) if a stop was requested.
pub(crate) fn uninterrupted(reporter: &dyn Reporter) -> Result<(), purkinje_train::TrainError> {
    match reporter.stop_requested() {
        true => Err(purkinje_train::TrainError::Interrupted),
        false => Ok(()),
    }
}

/// Checks whether a stop was requested.
///
/// # Errors
/// [`Error::Stopped`](crate::Error::Stopped) if it was.
pub fn go_on(reporter: &dyn Reporter) -> crate::Result<()> {
    match reporter.stop_requested() {
        true => Err(crate::Error::Stopped),
        false => Ok(()),
    }
}
