//! Progress on standard error: a bar with rate and remaining time on a terminal, a plain line every ten seconds
//! elsewhere, a last line with the rate, nothing with `--quiet`.

use std::fmt;
use std::io::{self, IsTerminal, Write};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{LazyLock, Mutex, OnceLock};
use std::time::{Duration, Instant};

use crate::output;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressState, ProgressStyle};

/// Time between two plain lines.
const LINE_EVERY: Duration = Duration::from_secs(10);
/// From this time on a step ends with a line that says how fast it was.
const LONG: Duration = Duration::from_secs(2);

static QUIET: OnceLock<bool> = OnceLock::new();
static BARS: LazyLock<MultiProgress> = LazyLock::new(MultiProgress::new);

/// Sets, once, whether progress and notes are hidden.
pub fn set_quiet(quiet: bool) {
    // A second call would come from a second `main`.
    let _ = QUIET.set(quiet);
}

/// Whether progress and notes are hidden.
pub fn quiet() -> bool {
    QUIET.get().copied().unwrap_or(false)
}

/// Prints a note to standard error, above any bar, unless quiet.
pub fn note(text: impl fmt::Display) {
    if !quiet() {
        BARS.suspend(|| eprintln!("{text}"));
    }
}

/// Runs `f` while no bar is on the screen.
pub fn suspended<T>(f: impl FnOnce() -> T) -> T {
    BARS.suspend(f)
}

/// The reporter of the program: shows progress and notes, and requests a stop after Ctrl-C.
pub struct Bars;

impl purkinje::Reporter for Bars {
    fn begin(&self, what: &str, total: usize, unit: &'static str) -> Box<dyn purkinje::Progress> {
        Box::new(Progress::new(what, total, unit))
    }

    fn note(&self, text: &str) {
        note(text);
    }

    fn table(&self, table: &purkinje::reporter::Table) {
        let mut shown = output::Table::new(0, table.header.iter());
        for row in &table.rows {
            shown.row(row.iter());
        }
        // A closed reader is reported again when the final results are printed.
        let _ = suspended(|| output::print(&format!("{shown}\n")));
    }

    fn command(&self) -> String {
        output::command_line()
    }

    fn stop_requested(&self) -> bool {
        crate::system::stop_requested()
    }

    fn keeps(&self, now: bool) {
        crate::system::set_keeping(now);
    }
}

impl purkinje::Progress for Progress {
    fn resume(&self, done: usize) {
        Progress::resume(self, done);
    }

    fn add(&self, more: usize) {
        Progress::add(self, more);
    }

    fn message(&self, text: &str) {
        Progress::message(self, text);
    }

    fn finish(&self) {
        Progress::finish(self);
    }
}

/// Progress of one step of work.
pub struct Progress {
    what: String,
    unit: &'static str,
    started: Instant,
    /// Units that were finished earlier.
    first: AtomicU64,
    show: Show,
}

enum Show {
    Nothing,
    Bar(ProgressBar),
    Lines(Mutex<Lines>),
}

struct Lines {
    total: u64,
    first: u64,
    done: u64,
    message: String,
    started: Instant,
    last: Instant,
}

impl Progress {
    /// Progress of the step `what` on `total` `unit`s ("prepare", 21799, "records").
    pub fn new(what: impl Into<String>, total: usize, unit: &'static str) -> Self {
        let what = what.into();
        let total = total as u64;
        let show = if quiet() {
            Show::Nothing
        } else if io::stderr().is_terminal() {
            let bar = BARS.add(ProgressBar::with_draw_target(
                Some(total),
                ProgressDrawTarget::stderr_with_hz(5),
            ));
            bar.set_style(style(unit));
            bar.set_prefix(what.clone());
            bar.enable_steady_tick(Duration::from_millis(500));
            Show::Bar(bar)
        } else {
            Show::Lines(Mutex::new(Lines {
                total,
                first: 0,
                done: 0,
                message: String::new(),
                started: Instant::now(),
                last: Instant::now(),
            }))
        };
        Progress {
            what,
            unit,
            started: Instant::now(),
            first: AtomicU64::new(0),
            show,
        }
    }

    /// `done` units were finished earlier: they count as progress, but not for the rate.
    pub fn resume(&self, done: usize) {
        self.first.store(done as u64, Ordering::Relaxed);
        match &self.show {
            Show::Nothing => {}
            Show::Bar(bar) => {
                bar.set_position(done as u64);
                bar.reset_eta();
            }
            Show::Lines(lines) => {
                let mut lines = lock(lines);
                lines.first = done as u64;
                lines.done = done as u64;
            }
        }
    }

    /// `more` units were finished.
    pub fn add(&self, more: usize) {
        match &self.show {
            Show::Nothing => {}
            Show::Bar(bar) => bar.inc(more as u64),
            Show::Lines(lines) => {
                let mut lines = lock(lines);
                lines.done += more as u64;
                if lines.last.elapsed() >= LINE_EVERY {
                    lines.last = Instant::now();
                    eprintln!("{}", lines.line(&self.what, self.unit));
                }
            }
        }
    }

    /// A message to show beside the progress ("loss 0.41").
    pub fn message(&self, text: impl Into<String>) {
        match &self.show {
            Show::Nothing => {}
            Show::Bar(bar) => bar.set_message(text.into()),
            Show::Lines(lines) => lock(lines).message = text.into(),
        }
    }

    /// Removes the bar from the screen, and says how fast a long step was.
    pub fn finish(&self) {
        let (done, total) = match &self.show {
            Show::Nothing => return,
            Show::Bar(bar) => {
                let found = (bar.position(), bar.length().unwrap_or(0));
                bar.finish_and_clear();
                BARS.remove(bar);
                found
            }
            Show::Lines(lines) => {
                let lines = lock(lines);
                (lines.done, lines.total)
            }
        };
        let took = self.started.elapsed();
        let now = done.saturating_sub(self.first.load(Ordering::Relaxed));
        if took >= LONG && now > 0 {
            note(last_line(&self.what, self.unit, now, total, took));
        }
    }
}

/// What a step did in this run, and how fast.
fn last_line(what: &str, unit: &str, now: u64, total: u64, took: Duration) -> String {
    let seconds = took.as_secs_f64();
    let of = match now == total {
        true => String::new(),
        false => format!(" of {total}"),
    };
    format!(
        "{what}: {now}{of} {unit} in {}, {} {unit}/s",
        duration(seconds),
        decimals(now as f64 / seconds)
    )
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Show::Bar(bar) = &self.show
            && !bar.is_finished()
        {
            bar.finish_and_clear();
            BARS.remove(bar);
        }
    }
}

impl Lines {
    fn line(&self, what: &str, unit: &str) -> String {
        let seconds = self.started.elapsed().as_secs_f64();
        let rate = (self.done - self.first) as f64 / seconds.max(1e-3);
        let mut line = format!(
            "{what}: {}/{} {unit}, {}/s",
            self.done,
            self.total,
            decimals(rate)
        );
        if self.done < self.total && rate > 0.0 {
            let left = (self.total - self.done) as f64 / rate;
            line += &format!(", {} left", duration(left));
        }
        if !self.message.is_empty() {
            line = format!("{line}, {}", self.message);
        }
        line
    }
}

pub use purkinje::text::duration;

fn decimals(rate: f64) -> String {
    if rate < 10.0 {
        format!("{rate:.2}")
    } else {
        format!("{rate:.0}")
    }
}

fn lock(lines: &Mutex<Lines>) -> std::sync::MutexGuard<'_, Lines> {
    // A poisoned lock means that another thread panicked; the numbers are whole anyway.
    lines.lock().unwrap_or_else(|e| e.into_inner())
}

fn style(unit: &'static str) -> ProgressStyle {
    let template = "{prefix} [{bar:30}] {pos}/{len} {unit}, {rate}/s, {left} left  {msg}";
    ProgressStyle::with_template(template)
        .unwrap_or_else(|_| ProgressStyle::default_bar())
        .progress_chars("=> ")
        .with_key("unit", move |_: &ProgressState, w: &mut dyn fmt::Write| {
            let _ = w.write_str(unit);
        })
        .with_key("rate", |state: &ProgressState, w: &mut dyn fmt::Write| {
            let _ = w.write_str(&decimals(state.per_sec()));
        })
        .with_key("left", |state: &ProgressState, w: &mut dyn fmt::Write| {
            let _ = match state.per_sec() > 0.0 {
                true => w.write_str(&duration(state.eta().as_secs_f64())),
                false => w.write_str("?"),
            };
        })
}

/// Standard error for log lines: whole lines, above any bar.
#[derive(Default)]
pub struct LogWriter(Vec<u8>);

impl Write for LogWriter {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        if !self.0.is_empty() {
            BARS.suspend(|| io::stderr().write_all(&self.0))?;
            self.0.clear();
        }
        Ok(())
    }
}

impl Drop for LogWriter {
    fn drop(&mut self) {
        let _ = self.flush();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_count_only_what_this_run_did() {
        let lines = Lines {
            total: 100,
            first: 40,
            done: 60,
            message: "loss 0.5".into(),
            started: Instant::now() - Duration::from_secs(10),
            last: Instant::now(),
        };
        assert_eq!(
            lines.line("prepare", "records"),
            "prepare: 60/100 records, 2.00/s, 20 s left, loss 0.5"
        );
    }

    #[test]
    fn the_last_line_says_how_fast_a_step_was() {
        let took = Duration::from_secs(10);
        assert_eq!(
            last_line("embed", "recordings", 580, 580, took),
            "embed: 580 recordings in 10 s, 58 recordings/s"
        );
        assert_eq!(
            last_line("prepare", "records", 20, 100, took),
            "prepare: 20 of 100 records in 10 s, 2.00 records/s"
        );
    }
}
