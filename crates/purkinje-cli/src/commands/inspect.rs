//! `purkinje inspect`: shows what is in a recording, and what a model would be given of it.

use std::path::PathBuf;

use miette::{IntoDiagnostic, WrapErr, bail};
use purkinje::figures::paper::{Marks, PaperOptions};
use purkinje::figures::terminal::TerminalOptions;
use purkinje::figures::{Svg, paper, raster, terminal};
use purkinje::record::{Lead, LeadChoice, LeadSet, OpenOptions, Reader, Recording};
use purkinje::signal::Preprocess;
use purkinje::signal::quality::{self, HeartRate, LimbLeads, Measures, Quality, Unusable};
use serde_json::{Value, json};

use super::ReadArgs;
use crate::output::{self, Show as _, Table, printable};
use crate::progress;
use purkinje::beats::{BeatSpan, View};
use purkinje::inputs::beat_files;
use purkinje::leads::WantedLeads;

/// Options of `inspect`.
#[derive(clap::Args, Debug)]
pub struct Args {
    /// The recording, in any format: WFDB (.hea, or its name), EDF, SCP-ECG, DICOM, MUSE, Philips or aECG XML, MATLAB, HDF5, .npy, .npz, CSV, Parquet
    record: PathBuf,
    /// Draw it on ECG paper as SVG
    #[arg(long, value_name = "FILE")]
    svg: Option<PathBuf>,
    /// Draw it on ECG paper as PNG
    #[arg(long, value_name = "FILE")]
    png: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Read only these leads, in this order, such as I,II,V2 or limb
    #[arg(long, value_name = "LEADS")]
    leads: Option<LeadSet>,
    /// Start at this second of the recording
    #[arg(long, value_name = "SECONDS", default_value_t = 0.0, value_parser = super::seconds)]
    start: f64,
    /// Preset of preprocessing for the model's input
    #[arg(long, value_name = "NAME", default_value = "clear", value_parser = super::preset)]
    preset: Preprocess,
    /// Draw a plain sheet on paper, without marks of R-peaks and tokens
    #[arg(long)]
    plain: bool,
    /// Draw the model's input instead of the original recording
    #[arg(long)]
    as_model: bool,
    /// Do not draw in the terminal
    #[arg(long)]
    no_plot: bool,
    #[command(flatten)]
    read: ReadArgs,
}

/// Runs the command.
pub fn run(args: Args) -> miette::Result<()> {
    let leads = match &args.leads {
        Some(leads) => LeadChoice::Named(leads.clone()),
        None => LeadChoice::Voltages,
    };
    let mut options = args.read.options(leads);
    options.annotators = beat_files(&args.record);
    let mut opened = Reader::open(&args.record, &options);
    if let (Err(problem), false) = (&opened, options.annotators.is_empty()) {
        // Damaged annotations do not keep anybody from the signal.
        let problem = problem.to_string();
        options.annotators.clear();
        opened = Reader::open(&args.record, &options);
        if opened.is_ok() {
            progress::note(format_args!("annotations left out: {problem}"));
        }
    }
    let reader = opened.map_err(purkinje::Error::from).shown()?;
    if args.start >= reader.duration_s() {
        bail!(
            "`{}` ends at {:.1} s, but `--start` is {}; choose an earlier start",
            args.record.display(),
            reader.duration_s(),
            args.start
        );
    }
    let about = reader.about();
    let quality = quality::assess_long(&reader).into_diagnostic()?;
    let measures = quality::measure_long(&reader, &about.leads).into_diagnostic()?;
    let unusable = quality::usable_long(&reader, &about.leads).into_diagnostic()?;
    let found = (&quality, &measures, &unusable);
    let view = view(&reader, &args, &options)?;
    let drawing = Drawing::new(&reader, &view, &quality, &args)?;
    if let Some(path) = &args.svg {
        output::write_file(path, drawing.paper(&args).to_string().as_bytes())?;
    }
    if let Some(path) = &args.png {
        let png = raster::png(&drawing.paper(&args), raster::CRISP_DPI)
            .into_diagnostic()
            .wrap_err_with(|| format!("cannot draw `{}`", path.display()))?;
        output::write_file(path, &png)?;
    }
    if args.json {
        return output::print_json(&facts(&reader, found, &view));
    }
    let mut text = words(&reader, found, &view);
    if !args.no_plot {
        text += "\n";
        text += &drawing.terminal(&args);
    }
    for path in args.svg.iter().chain(&args.png) {
        text += &format!("\nwrote {}", path.display());
    }
    output::print(&(text.trim_end().to_owned() + "\n"))
}

/// What a model sees: of the leads that are there, and of those that they give.
fn view(
    reader: &Reader,
    args: &Args,
    options: &OpenOptions,
) -> miette::Result<Result<View, String>> {
    let (own, present) = (&args.preset.leads, &reader.about().leads);
    let wanted = present.able_to_give(own);
    let completed = match options.derive && args.leads.is_none() {
        true if present.rows_of(&wanted).is_err() => {
            let again = Reader::open(&args.record, options).into_diagnostic()?;
            Some(again.deriving(&wanted))
        }
        _ => None,
    };
    let reader = completed.as_ref().unwrap_or(reader);
    let leads = WantedLeads::choose(Some(&WantedLeads::Present), own, &reader.about().leads);
    Ok(leads.and_then(|leads| {
        let contract = args.preset.clone().with_leads(leads);
        View::of(reader, &contract, args.start)
    }))
}

/// Seconds that are drawn.
const DRAWN_S: f64 = 10.0;

/// What is drawn: the recording from `--start` on, with its marks in samples.
struct Drawing {
    recording: Recording,
    r_peaks: Vec<usize>,
    tokens: Vec<(usize, usize, usize)>,
    filter: Option<String>,
    /// Beats per minute of the whole recording.
    heart_rate_bpm: Option<f64>,
    /// Length of the whole recording.
    all_s: f64,
}

impl Drawing {
    fn new(
        reader: &Reader,
        view: &Result<View, String>,
        quality: &Quality,
        args: &Args,
    ) -> miette::Result<Self> {
        let rate_hz = reader.about().rate_hz;
        let place = |time_s: f64| ((time_s * rate_hz).round() as usize).min(reader.len());
        let drawn = match view {
            Ok(view) if args.as_model => view.recording(reader.about()),
            _ => {
                let stretch = place(args.start)..place(args.start + DRAWN_S);
                reader.read(&stretch).into_diagnostic()?.into_owned()
            }
        };
        let sample = |time_s: f64| ((time_s - args.start) * drawn.rate_hz).round() as usize;
        let beats = view.as_ref().map_or(&[][..], |view| &view.beats);
        Ok(Drawing {
            r_peaks: beats.iter().map(|beat| sample(beat.peak_s)).collect(),
            tokens: beats
                .iter()
                .filter_map(|beat| {
                    let BeatSpan { peak_s, token_s } = beat;
                    let (start, end) = (*token_s)?;
                    Some((sample(start), sample(*peak_s), sample(end)))
                })
                .collect(),
            filter: match view {
                Ok(view) if args.as_model => Some(view.contract.in_words()),
                _ => None,
            },
            recording: drawn,
            heart_rate_bpm: quality.heart_rate.as_ref().map(|rate| rate.bpm),
            all_s: reader.duration_s(),
        })
    }

    fn paper(&self, args: &Args) -> Svg {
        let options = PaperOptions {
            part_of: Some((args.start, self.all_s)),
            filter: self.filter.clone(),
            heart_rate_bpm: self.heart_rate_bpm,
            rhythm: args.leads.as_ref().and_then(|l| l.leads().first().cloned()),
            ..PaperOptions::default()
        };
        let marks = match args.plain {
            true => Marks::default(),
            false => Marks {
                r_peaks: &self.r_peaks,
                tokens: &self.tokens,
            },
        };
        paper::draw(&self.recording, &options, &marks)
    }

    fn terminal(&self, args: &Args) -> String {
        /// Characters left of a strip, see `purkinje::figures::terminal`.
        const GUTTER: usize = 9;
        let columns = output::columns().clamp(24, 160);
        let options = TerminalOptions {
            columns,
            all_leads: args.leads.as_ref().is_some_and(|leads| leads.len() <= 3),
            before_s: args.start,
            window_s: DRAWN_S,
            color: output::colour(),
            ..TerminalOptions::default()
        };
        let drawn = terminal::draw(&self.recording, &options, &self.r_peaks);
        if self.tokens.is_empty() {
            return drawn;
        }
        let wanted = (DRAWN_S * self.recording.rate_hz).round() as usize;
        let end = wanted.min(self.recording.len());
        let borders = border_line(&self.tokens, end, columns - GUTTER);
        // The time axis is the last line; the borders go between it and the trace.
        let axis = drawn.trim_end().rfind('\n').map_or(0, |at| at + 1);
        format!(
            "{}{:<GUTTER$}{borders}\n{}",
            &drawn[..axis],
            "tokens",
            &drawn[axis..]
        )
    }
}

/// Tokens as brackets over the columns that the first `end` samples take.
fn border_line(tokens: &[(usize, usize, usize)], end: usize, columns: usize) -> String {
    let mut line = vec![' '; columns];
    let column = |sample: usize| (sample.min(end) * columns / end.max(1)).min(columns - 1);
    let shown = tokens.iter().filter(|t| t.0 < end);
    for &(start, _, stop) in shown {
        let (from, to) = (column(start), column(stop));
        for place in &mut line[from..to] {
            if *place == ' ' {
                *place = '─';
            }
        }
        line[from] = if line[from] == '┤' { '┼' } else { '├' };
        line[to] = '┤';
    }
    line.into_iter().collect::<String>().trim_end().to_owned()
}

/// What was found of the quality.
type Found<'a> = (&'a Quality, &'a Measures, &'a Result<(), Unusable>);

fn words(
    reader: &Reader,
    (quality, measures, unusable): Found<'_>,
    view: &Result<View, String>,
) -> String {
    let recording = reader.about();
    let mut text = format!(
        "{}  {}  {}\n{}: {}\n{} Hz, mV, {:.3} s ({} samples per lead)\n",
        printable(&recording.id),
        recording.source.format,
        recording.source.path.display(),
        output::count(recording.leads.len(), "lead"),
        printable(&recording.leads.to_string()),
        recording.rate_hz,
        reader.duration_s(),
        reader.len()
    );
    if !recording.source.derived.is_empty() {
        text += &format!("{}\n", derived_in_words(&recording.source.derived));
    }
    let also = &recording.source.also;
    if !also.is_empty() {
        text += &format!("also in the file: {}\n", printable(&also.join("; ")));
    }
    match quality.heart_rate {
        Some(HeartRate { bpm, range_bpm }) => {
            let range = range_bpm.map_or(String::new(), |[slowest, fastest]| {
                format!(", irregular: {slowest:.0} to {fastest:.0} from beat to beat")
            });
            text += &format!(
                "heart rate: {bpm:.0} per minute{range} ({})\n",
                in_leads(&quality.heart_rate_leads)
            );
        }
        None => text += "heart rate: not measured (fewer than two heartbeats found)\n",
    }
    if let Some(beats) = quality.annotated_beats {
        text += &format!(
            "beats in the file: {}, {} of them found, {} found besides\n",
            beats.annotated, beats.found, beats.extra
        );
    }
    text += &known(recording);
    if let Some(residual) = quality.einthoven_residual_mv {
        text += &format!("Einthoven, II - I - III: {residual:.4} mV (root mean square)\n");
    }
    if !matches!(measures.limb_leads, LimbLeads::Unknown | LimbLeads::AsNamed) {
        text += &format!(
            "limb leads: {} (found from the relations between them)\n",
            measures.limb_leads.name().replace('_', " ")
        );
    }
    let disturbances: Vec<String> = [
        ("amplitude", measures.amplitude_mv),
        ("noise", measures.noise_mv),
        ("baseline wander", measures.baseline_mv),
        ("mains", measures.powerline_mv),
    ]
    .into_iter()
    .filter_map(|(name, value)| Some(format!("{name} {:.3} mV", value?)))
    .collect();
    if !disturbances.is_empty() {
        text += &format!("{} (median of the leads)\n", disturbances.join(", "));
    }
    if let Err(reason) = unusable {
        text += &format!("not usable: {reason}\n");
    }
    text.push('\n');
    let mut table = Table::new(
        1,
        [
            "lead", "min mV", "max mV", "missing", "infinite", "clipped", "flat",
        ],
    );
    for lead in &quality.leads {
        table.row([
            printable(lead.lead.name()),
            millivolts(lead.min_mv),
            millivolts(lead.max_mv),
            number(lead.missing_samples),
            number(lead.infinite_samples),
            number(lead.clipped_samples),
            if lead.flat { "yes" } else { "-" }.to_owned(),
        ]);
    }
    text += &table.to_string();
    text.push('\n');
    match view {
        Err(reason) => text += &format!("A model cannot use it: {reason}\n"),
        Ok(view) => text += &view_in_words(view),
    }
    let comments = &recording.source.comments;
    if !comments.is_empty() {
        text += "\ncomments\n";
        for comment in comments {
            text += &format!("  {}\n", printable(comment));
        }
    }
    text
}

/// Patient, labels, report and annotations in the file.
fn known(recording: &Recording) -> String {
    let mut text = String::new();
    let age = recording.age.map(|age| format!("{age} years"));
    let patient: Vec<String> = [age, recording.sex.clone()].into_iter().flatten().collect();
    if !patient.is_empty() {
        text += &format!("patient: {}\n", printable(&patient.join(", ")));
    }
    if !recording.labels.is_empty() {
        text += &format!("labels: {}\n", printable(&recording.labels.join(", ")));
    }
    if let Some(report) = &recording.report {
        for (at, line) in report.lines().enumerate() {
            let name = if at == 0 { "report:" } else { "       " };
            text += &format!("{name} {}\n", printable(line));
        }
    }
    if !recording.annotations.is_empty() {
        text += &output::count(recording.annotations.len(), "annotation");
        text.push('\n');
    }
    text
}

/// `derived: III aVR, from two limb leads`.
fn derived_in_words(derived: &[Lead]) -> String {
    let names: Vec<&str> = derived.iter().map(Lead::name).collect();
    format!("derived from two limb leads: {}", names.join(" "))
}

fn view_in_words(view: &View) -> String {
    let mut text = format!(
        "model input: {} at {} Hz ({}){}\n",
        output::count(view.contract.leads.len(), "lead"),
        view.contract.rate_hz,
        view.contract.in_words(),
        if view.start_s > 0.0 {
            format!(", starting at {} s", view.start_s)
        } else {
            String::new()
        }
    );
    if !view.derived.is_empty() {
        text += &format!(
            "  {} (`--derive no` to do without)\n",
            derived_in_words(&view.derived)
        );
    }
    for repair in &view.prepared.repairs {
        text += &format!(
            "  lead {}: {} repaired\n",
            repair.lead,
            output::count(repair.samples, "missing sample")
        );
    }
    if view.tokens.is_none() {
        return text + "  no heartbeats: the largest sample is exactly 0\n";
    }
    let how = match view.found_in.as_slice() {
        [] => "none detected, evenly spaced positions instead".to_owned(),
        leads => format!("detected in {}", in_leads(leads)),
    };
    text += &format!(
        "  {} ({how}): {} s\n",
        output::count(view.beats.len(), "R-peak"),
        view.beats
            .iter()
            .map(|beat| format!("{:.2}", beat.peak_s))
            .collect::<Vec<_>>()
            .join(" ")
    );
    text += &format!(
        "  {} of 96 samples: {} hold a heartbeat, {} are padding\n",
        output::count(view.places(), "token"),
        view.places() - view.padding(),
        view.padding()
    );
    let cut = view.beats.iter().filter(|b| b.token_s.is_none()).count();
    if cut > 0 {
        text += &format!(
            "  {} after the fifteenth have no token\n",
            output::count(cut, "heartbeat")
        );
    }
    text
}

/// `lead II` or `8 leads: I II V1 ...`.
fn in_leads(leads: &[Lead]) -> String {
    let names: Vec<String> = leads.iter().map(|lead| printable(lead.name())).collect();
    match names.as_slice() {
        [name] => format!("lead {name}"),
        names => format!("{} leads: {}", names.len(), names.join(" ")),
    }
}

fn facts(
    reader: &Reader,
    (quality, measures, unusable): Found<'_>,
    view: &Result<View, String>,
) -> Value {
    let recording = reader.about();
    let finite = |value: f32| value.is_finite().then_some(value);
    json!({
        "id": recording.id,
        "path": recording.source.path.display().to_string(),
        "format": recording.source.format,
        "leads": recording.leads,
        "rate_hz": recording.rate_hz,
        "unit": "mV",
        "samples": reader.len(),
        "duration_s": reader.duration_s(),
        "quality": {
            "leads": quality.leads.iter().map(|lead| json!({
                "lead": lead.lead,
                "min_mv": finite(lead.min_mv),
                "max_mv": finite(lead.max_mv),
                "missing_samples": lead.missing_samples,
                "infinite_samples": lead.infinite_samples,
                "clipped_samples": lead.clipped_samples,
                "flat": lead.flat,
            })).collect::<Vec<_>>(),
            "einthoven_residual_mv": quality.einthoven_residual_mv,
            "heart_rate_bpm": quality.heart_rate.map(|rate| rate.bpm),
            "heart_rate_range_bpm": quality.heart_rate.and_then(|rate| rate.range_bpm),
            "heart_rate_leads": quality.heart_rate_leads,
            "annotated_beats": quality.annotated_beats.map(|beats| json!({
                "annotated": beats.annotated,
                "found": beats.found,
                "extra": beats.extra,
            })),
            "limb_leads": measures.limb_leads,
            "noise_mv": measures.noise_mv,
            "baseline_mv": measures.baseline_mv,
            "powerline_mv": measures.powerline_mv,
            "amplitude_mv": measures.amplitude_mv,
            "usable": unusable.is_ok(),
            "unusable_because": unusable.as_ref().err().map(ToString::to_string),
        },
        "model": match view {
            Err(reason) => json!({ "refused": reason }),
            Ok(view) => json!({
                "preprocess": view.contract,
                "start_s": view.start_s,
                "repaired": view.prepared.repairs.iter().map(|repair| json!({
                    "lead": repair.lead,
                    "samples": repair.samples,
                })).collect::<Vec<_>>(),
                "r_peaks_s": view.beats.iter().map(|beat| beat.peak_s).collect::<Vec<_>>(),
                "r_peaks_leads": view.found_in,
                "token_borders_s": view.beats.iter().filter_map(|beat| beat.token_s).collect::<Vec<_>>(),
                "tokens": view.places(),
                "padding": view.padding(),
                "silent": view.tokens.is_none(),
            }),
        },
        "age": recording.age,
        "sex": recording.sex,
        "labels": recording.labels,
        "report": recording.report,
        "annotations": recording.annotations.iter().map(|mark| json!({
            "time_s": mark.sample as f64 / recording.rate_hz,
            "symbol": mark.symbol,
            "lead": mark.lead,
            "note": mark.note,
        })).collect::<Vec<_>>(),
        "comments": recording.source.comments,
        "also": recording.source.also,
    })
}

fn millivolts(value: f32) -> String {
    if value.is_finite() {
        format!("{value:.3}")
    } else {
        "-".to_owned()
    }
}

/// A count; zero is shown as `-`, so that findings stand out.
fn number(n: usize) -> String {
    if n == 0 {
        "-".to_owned()
    } else {
        n.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbouring_tokens_share_a_border() {
        let line = border_line(&[(0, 4, 10), (10, 15, 20), (25, 27, 30)], 40, 40);
        assert_eq!(line, "├─────────┼─────────┤    ├────┤");
        assert_eq!(border_line(&[(0, 4, 5)], 40, 40), "├────┤");
    }
}
