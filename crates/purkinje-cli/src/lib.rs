//! `purkinje`: raw 12-lead recordings to representations, diagnoses and reports.
//!
//! A thin layer over the library: each command is a file in `commands/` with its options and its output.

#![deny(unsafe_code)]
#![deny(missing_docs)]

mod commands;
mod output;
mod progress;
#[allow(unsafe_code)]
mod system;

use std::ffi::OsString;
use std::fmt::Write;
use std::num::NonZeroUsize;
use std::process::ExitCode;

use clap::{Args, CommandFactory as _, FromArgMatches as _, Parser};
use miette::Report;
use purkinje::Registry;
use tracing::field::{Field, Visit};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;

use commands::Command;

/// Foundation models for the electrocardiogram: from raw recordings to representations, diagnoses and explanations.
///
/// Research use only: Purkinje is not a medical device, and its results are not medical advice.
#[derive(Debug, Parser)]
#[command(
    name = "purkinje",
    version,
    propagate_version = true,
    max_term_width = 110
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Args)]
#[command(next_help_heading = "General options")]
struct Global {
    /// Print only results and errors
    #[arg(short, long, global = true, conflicts_with = "verbose")]
    quiet: bool,
    /// Print more messages; give it twice for debugging output
    #[arg(short, long, global = true, action = clap::ArgAction::Count)]
    verbose: u8,
    /// Number of threads [default: all cores]
    #[arg(long, global = true, value_name = "N")]
    threads: Option<NonZeroUsize>,
}

/// Runs the program with the arguments of the command line, the program's own name first, and the systems in
/// `registry`.
///
/// It is meant to be the only call in `main`: it changes settings of the allocator and the thread pool, installs signal
/// handlers and writes to the standard streams.
pub fn run(args: impl IntoIterator<Item = OsString>, registry: &Registry) -> ExitCode {
    system::tune_allocator();
    let args: Vec<OsString> = args.into_iter().collect();
    output::set_json_errors(args.iter().skip(1).any(asks_for_json));
    let matches = command(registry).try_get_matches_from(args);
    let cli = match matches.and_then(|matches| Cli::from_arg_matches(&matches)) {
        Ok(cli) => cli,
        Err(error) if error.use_stderr() && output::json_errors() => {
            let text = error.to_string();
            let message = text.trim_end().trim_start_matches("error: ");
            eprintln!("{}", output::json_error("usage", message, &[], None));
            return ExitCode::from(2);
        }
        Err(error) => error.exit(),
    };
    start_log(&cli.global);
    progress::set_quiet(cli.global.quiet);
    if let Some(threads) = cli.global.threads {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads.get());
        // Fails only where the pool exists already, and nothing ran before this.
        let _ = pool.build_global();
    }
    system::watch_for_stop();
    match cli.command.run(registry) {
        Ok(()) => ExitCode::SUCCESS,
        Err(report) if report.is::<output::ReaderGone>() => ExitCode::SUCCESS,
        Err(report) => {
            progress::suspended(|| eprint!("{}", chain(&report)));
            match system::stop_code().filter(|_| output::is_stop(&report)) {
                Some(code) => ExitCode::from(code),
                None => ExitCode::FAILURE,
            }
        }
    }
}

/// Whether an argument asks for JSON, so that errors are JSON too.
fn asks_for_json(arg: &OsString) -> bool {
    let arg = arg.to_string_lossy();
    matches!(&*arg, "--json" | "--json-lines") || arg.starts_with("--json=")
}

/// The command line parser for these systems.
fn command(registry: &Registry) -> clap::Command {
    commands::with_systems(Cli::command(), registry)
}

/// An error with its causes, each printed once: many errors of the libraries quote their cause in their own message. As one line of JSON
/// with a code where JSON was asked for.
fn chain(report: &Report) -> String {
    let mut all = report.to_string();
    let mut causes = Vec::new();
    for cause in report.chain().skip(1) {
        let cause = cause.to_string();
        if !all.contains(&cause) {
            all += &cause;
            causes.push(cause);
        }
    }
    let help = report.help().map(|help| help.to_string());
    if output::json_errors() {
        let code = output::code(report);
        let line = output::json_error(code, &report.to_string(), &causes, help.as_deref());
        return format!("{line}\n");
    }
    let mut text = format!("error: {report}\n");
    for cause in causes {
        let _ = writeln!(text, "  because: {cause}");
    }
    if let Some(help) = help {
        let _ = writeln!(text, "  help: {help}");
    }
    text
}

/// Logs warnings of the libraries to standard error, one per line; `PURKINJE_LOG` sets the filter in the syntax of
/// `tracing` (`debug`, `purkinje_store=trace`).
fn start_log(global: &Global) {
    let level = match (global.quiet, global.verbose) {
        (true, _) => "error",
        (_, 0) => "warn",
        (_, 1) => {
            "purkinje=info,purkinje_record=info,purkinje_signal=info,purkinje_store=info,purkinje_models=info,purkinje_train=info,purkinje_eval=info,warn"
        }
        _ => "debug",
    };
    let filter = EnvFilter::try_from_env("PURKINJE_LOG").unwrap_or_else(|_| EnvFilter::new(level));
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(progress::LogWriter::default)
        .with_ansi(false)
        .event_format(Line)
        .init();
}

/// Formats log events as `warning: text` with their fields.
struct Line;

impl<S, N> FormatEvent<S, N> for Line
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        _: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &tracing::Event<'_>,
    ) -> std::fmt::Result {
        let level = match *event.metadata().level() {
            tracing::Level::ERROR => "error",
            tracing::Level::WARN => "warning",
            tracing::Level::INFO => "info",
            tracing::Level::DEBUG => "debug",
            tracing::Level::TRACE => "trace",
        };
        let mut line = Message::default();
        event.record(&mut line);
        writeln!(writer, "{level}: {}{}", line.text, line.fields)
    }
}

#[derive(Default)]
struct Message {
    text: String,
    fields: String,
}

impl Visit for Message {
    fn record_debug(&mut self, field: &Field, value: &dyn std::fmt::Debug) {
        let _ = if field.name() == "message" {
            write!(self.text, "{value:?}")
        } else {
            write!(self.fields, " {}={value:?}", field.name())
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use miette::{IntoDiagnostic, WrapErr};

    #[test]
    fn options_do_not_contradict_each_other() {
        command(&Registry::default()).debug_assert();
    }

    #[test]
    fn every_cause_is_printed_once() {
        let io = std::io::Error::other("disk full");
        let report = Err::<(), _>(io)
            .into_diagnostic()
            .wrap_err("cannot write `a`: disk full")
            .wrap_err("cannot save the model")
            .unwrap_err();
        assert_eq!(
            chain(&report),
            "error: cannot save the model\n  because: cannot write `a`: disk full\n"
        );
    }
}
