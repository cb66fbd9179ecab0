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

    /// Every option of a command and of those below it, as it is called, with what its help says.
    fn options(command: &clap::Command, called: &[String], all: &mut Vec<(Vec<String>, String)>) {
        for option in command.get_opts() {
            let Some(name) = option.get_long() else {
                continue;
            };
            let help = option.get_long_help().or(option.get_help());
            let called = [called, &[format!("--{name}=no such value")]].concat();
            all.push((called, help.map(ToString::to_string).unwrap_or_default()));
        }
        for below in command.get_subcommands() {
            options(
                below,
                &[called, &[below.get_name().to_owned()]].concat(),
                all,
            );
        }
    }

    #[test]
    fn help_names_every_value_of_a_choice() {
        let program = command(&Registry::default());
        let (mut all, mut choices) = (Vec::new(), 0);
        options(&program, &["purkinje".to_owned()], &mut all);
        for (called, help) in all {
            let Err(error) = program.clone().try_get_matches_from(&called) else {
                continue;
            };
            let error = error.to_string();
            let Some((_, values)) = error.split_once("unknown variant `no such value`, ") else {
                continue;
            };
            choices += 1;
            for value in values
                .lines()
                .next()
                .unwrap_or_default()
                .split('`')
                .skip(1)
                .step_by(2)
            {
                let mut words = help.split(|c: char| !(c.is_alphanumeric() || "-_".contains(c)));
                assert!(
                    words.any(|word| word == value),
                    "{called:?} takes `{value}`: {help}"
                );
            }
        }
        assert!(choices > 15, "{choices}");
    }

    /// The options that string literals of Rust sources below a folder name as `--option`, each with its file.
    fn options_named(folder: &std::path::Path, found: &mut Vec<(String, String)>) {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                options_named(&path, found);
                continue;
            }
            if path.extension().is_none_or(|ending| ending != "rs") {
                continue;
            }
            let text = std::fs::read_to_string(&path).unwrap();
            // What tests say need not exist.
            let text = text.split("#[cfg(test)]").next().unwrap_or_default();
            for line in text
                .lines()
                .filter(|line| !line.trim_start().starts_with("//"))
            {
                for named in line.split("`--").skip(1) {
                    let end = named.find(|c: char| !(c.is_ascii_alphanumeric() || c == '-'));
                    let name = named[..end.unwrap_or(named.len())].to_owned();
                    found.push((name, path.display().to_string()));
                }
            }
        }
    }

    #[test]
    fn every_option_that_a_message_names_exists() {
        let program = command(&Registry::default());
        let mut all = Vec::new();
        options(&program, &["purkinje".to_owned()], &mut all);
        let name = |called: &[String]| -> Option<String> {
            let last = called.last()?.strip_prefix("--")?;
            Some(last.split('=').next()?.to_owned())
        };
        let known: Vec<String> = all.iter().filter_map(|(called, _)| name(called)).collect();
        let crates = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let mut named = Vec::new();
        for folder in std::fs::read_dir(&crates).unwrap() {
            options_named(&folder.unwrap().path().join("src"), &mut named);
        }
        assert!(named.len() > 100, "{}", named.len());
        for (option, file) in &named {
            // Those of the parser itself.
            if ["help", "version"].contains(&&**option) {
                continue;
            }
            assert!(known.contains(option), "{file}: `--{option}`");
        }
        // What is said of a file must be possible wherever files are read.
        let mut of_files = Vec::new();
        options_named(&crates.join("purkinje-record/src"), &mut of_files);
        assert!(of_files.len() > 20, "{}", of_files.len());
        for reads in [
            "inspect",
            "embed",
            "predict",
            "prepare",
            "zero-shot",
            "report generate",
        ] {
            let own: Vec<String> = all
                .iter()
                .filter(|(called, _)| called[1..called.len() - 1].join(" ") == reads)
                .filter_map(|(called, _)| name(called))
                .collect();
            for (option, file) in of_files.iter().filter(|(option, _)| option != "leads") {
                assert!(own.contains(option), "{reads} lacks `--{option}` of {file}");
            }
        }
    }

    /// The commands in the blocks of a Markdown file, continued lines joined and comments left out; of a block with prompts only those behind one.
    fn printed_commands(text: &str) -> Vec<String> {
        let mut found = Vec::new();
        for block in text.split("```").skip(1).step_by(2) {
            let block = block.replace("\\\n", " ");
            let prompts = block.lines().any(|line| line.starts_with("$ "));
            for line in block.lines() {
                let line = match prompts {
                    true => line.strip_prefix("$ ").unwrap_or_default(),
                    false => line,
                };
                let line = line.replacen("cargo run --release -- ", "purkinje ", 1);
                let line = line.split(" # ").next().unwrap_or_default().trim();
                if line.starts_with("purkinje ") {
                    found.push(line.to_owned());
                }
            }
        }
        found
    }

    /// The words of a line as a shell splits them.
    fn words(line: &str) -> Vec<String> {
        let (mut words, mut word, mut quote) = (Vec::new(), None::<String>, None);
        for c in line.chars() {
            match (quote, c) {
                (Some(open), c) if c == open => quote = None,
                (None, '\'' | '"') => {
                    quote = Some(c);
                    word.get_or_insert_default();
                }
                (None, ' ') => words.extend(word.take()),
                (_, c) => word.get_or_insert_default().push(c),
            }
        }
        words.extend(word);
        words
    }

    #[test]
    fn every_printed_command_is_one_that_the_program_takes() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
        let mut files = vec![root.join("README.md")];
        for folder in ["docs", "docs/data", "docs/systems"] {
            let entries = std::fs::read_dir(root.join(folder)).unwrap();
            files.extend(entries.map(|entry| entry.unwrap().path()));
        }
        files.retain(|path| path.extension().is_some_and(|ending| ending == "md"));
        let parser = command(&Registry::default());
        let (mut parsed, mut wrong) = (0, Vec::new());
        for path in &files {
            let text = std::fs::read_to_string(path).unwrap();
            for line in printed_commands(&text) {
                parsed += 1;
                if let Err(error) = parser.clone().try_get_matches_from(words(&line)) {
                    wrong.push(format!("{}: {line}\n{error}", path.display()));
                }
            }
        }
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        assert!(parsed > 40, "{parsed} commands found");
        // The search sees what it looks for.
        let found =
            printed_commands("```\n$ purkinje a \\\n  b # c\npurkinje d\n```\n`purkinje e`\n");
        assert_eq!(found.len(), 1);
        assert_eq!(words(&found[0]), ["purkinje", "a", "b"]);
        assert!(
            parser
                .try_get_matches_from(["purkinje", "inspect", "--nope", "x"])
                .is_err()
        );
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
