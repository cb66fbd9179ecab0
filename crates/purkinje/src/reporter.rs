//! How long work tells what it is doing, and hears that it should stop.

/// Hears of the progress of long work, and may ask it to stop.
///
/// Everything has a default that does nothing, so a caller implements what it wants; [`Silent`] is nothing at all.
pub trait Reporter: Send + Sync {
    /// Work begins: `what` ("encode") will be done to `total` `unit`s ("records").
    fn begin(&self, what: &str, total: usize, unit: &'static str) -> Box<dyn Progress> {
        let _ = (what, total, unit);
        Box::new(Silent)
    }

    /// Something a person should know that is no result: records left out, a default that was chosen.
    fn note(&self, text: &str) {
        let _ = text;
    }

    /// Numbers worth seeing while the work goes on.
    fn table(&self, table: &Table) {
        let _ = table;
    }

    /// Whether the work should stop. It is asked between batches and steps; the work then ends with
    /// [`Error::Stopped`](crate::Error::Stopped), or resumably.
    fn stop_requested(&self) -> bool {
        false
    }
}

/// Numbers in rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Table {
    /// The names of the columns.
    pub header: Vec<String>,
    /// The rows.
    pub rows: Vec<Vec<String>>,
}

/// One piece of work.
pub trait Progress: Send + Sync {
    /// `done` units were done before: they count, but not for the rate.
    fn resume(&self, done: usize) {
        let _ = done;
    }

    /// `more` units have been done.
    fn add(&self, more: usize) {
        let _ = more;
    }

    /// Something to show beside the numbers ("loss 0.41").
    fn message(&self, text: &str) {
        let _ = text;
    }

    /// The work is over.
    fn finish(&self) {}
}

/// Says nothing and never stops.
#[derive(Clone, Copy, Debug, Default)]
pub struct Silent;

impl Reporter for Silent {}
impl Progress for Silent {}

/// Ends the work when that was asked for.
///
/// # Errors
/// [`Error::Stopped`](crate::Error::Stopped) then.
pub fn go_on(reporter: &dyn Reporter) -> crate::Result<()> {
    match reporter.stop_requested() {
        true => Err(crate::Error::Stopped),
        false => Ok(()),
    }
}
