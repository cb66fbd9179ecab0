//! An HTML report on the contents of a store.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use purkinje_figures::Svg;
use purkinje_figures::chart::{BarChart, BarRow, Heatmap, Histogram};
use purkinje_figures::page::{Page, Table};
use purkinje_figures::paper::{self, Marks, PaperOptions};
use purkinje_record::Recording;
use purkinje_signal::quality::{HeartRate, LimbLeads};
use purkinje_store::{Row, Split, Status, Store, read_outcomes};

use crate::Result;
use crate::text::{count, printable};

/// Classes of a label set that are drawn as bars; the table has them all.
const CLASSES_DRAWN: usize = 30;

/// Reasons for failure that are listed.
const REASONS_LISTED: usize = 12;

/// The report on a store as HTML: patients, labels, quality, examples, and records that were not stored.
///
/// # Errors
/// When a row or the table of outcomes cannot be read.
pub fn of_store(store: &Store) -> Result<String> {
    let statistics = Statistics::of(store);
    let info = store.info();
    let mut page = Page::new(&format!("{}: what the store holds", info.name))
        .summary(&summary(store, &statistics))
        .facts([
            ("Store", store.dir().display().to_string()),
            ("Source", info.made_by.source.clone()),
            ("Leads", info.leads.to_string()),
            ("Sampling rate", format!("{} Hz", info.rate_hz)),
            ("Preprocessing", info.preprocess.in_words()),
            (
                "Made by",
                format!("{} {}", info.made_by.program, info.made_by.version),
            ),
        ])
        .table(&split_table(store, &statistics))
        .section("Recordings and patients");
    for (chart, caption) in statistics.distributions() {
        page = page.figure(&chart, &caption);
    }
    page = page.section("Quality");
    page = page
        .text(
            "Measured on the original samples, before preprocessing. Noise is the change from sample to sample in the quieter half of a \
             recording, baseline wander the movement below about 0.5 Hz, mains the amplitude at 50 or 60 Hz; each is the median over the leads.",
        )
        .table(&statistics.faults());
    for (chart, caption) in statistics.disturbances() {
        page = page.figure(&chart, &caption);
    }
    page = labels(page, store)?;
    page = examples(page, store, &statistics)?;
    page = outcomes(page, store)?;
    Ok(page.finish())
}

/// Statistics of the rows, from one pass over them.
#[derive(Default)]
struct Statistics {
    heart_rate_bpm: Vec<f64>,
    age_years: Vec<f64>,
    duration_s: Vec<f64>,
    sexes: BTreeMap<String, usize>,
    patients: BTreeMap<Split, std::collections::HashSet<u64>>,
    reports: usize,
    annotated: usize,
    without_beats: usize,
    measured: usize,
    missing_leads: usize,
    missing_samples: usize,
    flat_leads: usize,
    clipped_leads: usize,
    limb_leads: BTreeMap<&'static str, usize>,
    noise_mv: Measured,
    baseline_mv: Measured,
    powerline_mv: Measured,
    einthoven_mv: Measured,
    /// Row with the median noise among those without faults, shown as a typical recording.
    typical: Option<usize>,
}

/// The values of one measure over all records that have it.
#[derive(Default)]
struct Measured {
    values: Vec<f64>,
    /// Row and value of the largest.
    worst: Option<(usize, f64)>,
}

impl Measured {
    fn add(&mut self, row: usize, value: Option<f32>) {
        let Some(value) = value.map(f64::from).filter(|value| value.is_finite()) else {
            return;
        };
        self.values.push(value);
        if self.worst.is_none_or(|(_, worst)| value > worst) {
            self.worst = Some((row, value));
        }
    }
}

/// Ages above this are codes, not years: PTB-XL writes 300 for everyone above 89.
const MOST_YEARS: f32 = 120.0;

impl Statistics {
    fn of(store: &Store) -> Statistics {
        let mut statistics = Statistics::default();
        let mut clean: Vec<(usize, f32)> = Vec::new();
        for (at, row) in store.rows().enumerate() {
            statistics.add(store, at, &row);
            let noise = row.quality().and_then(|quality| {
                let faults = quality.missing_leads | quality.flat_leads | quality.clipped_leads;
                quality.noise_mv.filter(|_| faults == 0)
            });
            clean.extend(noise.map(|noise| (at, noise)));
        }
        let middle = clean.len() / 2;
        if !clean.is_empty() {
            let (_, typical, _) = clean.select_nth_unstable_by(middle, |a, b| a.1.total_cmp(&b.1));
            statistics.typical = Some(typical.0);
        }
        statistics
    }

    fn add(&mut self, store: &Store, at: usize, row: &Row<'_>) {
        let rate_hz = store.info().rate_hz;
        if row.beats_detected() {
            let seconds = row.r_peaks().iter().map(|&peak| f64::from(peak) / rate_hz);
            let rate = HeartRate::of(&seconds.collect::<Vec<_>>());
            self.heart_rate_bpm.extend(rate.map(|rate| rate.bpm));
        } else {
            self.without_beats += 1;
        }
        let age = row.age().filter(|age| (0.0..=MOST_YEARS).contains(age));
        self.age_years.extend(age.map(f64::from));
        let (samples, rate) = match (row.source_samples(), row.source_rate_hz()) {
            (Some(samples), Some(rate)) => (samples, f64::from(rate)),
            _ => (row.samples(), rate_hz),
        };
        self.duration_s.push(samples as f64 / rate);
        let sex = row.sex().unwrap_or("not stated").to_owned();
        *self.sexes.entry(sex).or_default() += 1;
        if let Some(patient) = row.patient() {
            let hash = blake3::hash(patient.as_bytes());
            let mut word = [0; 8];
            word.copy_from_slice(&hash.as_bytes()[..8]);
            let patients = self.patients.entry(row.split()).or_default();
            patients.insert(u64::from_le_bytes(word));
        }
        self.reports += usize::from(row.report().is_some());
        self.annotated += usize::from(row.annotations().len() > 0);
        self.missing_samples += usize::from(row.missing_samples() > 0);
        let Some(quality) = row.quality() else { return };
        self.measured += 1;
        self.missing_leads += usize::from(quality.missing_leads != 0);
        self.flat_leads += usize::from(quality.flat_leads != 0);
        self.clipped_leads += usize::from(quality.clipped_leads != 0);
        *self
            .limb_leads
            .entry(quality.limb_leads.name())
            .or_default() += 1;
        self.noise_mv.add(at, quality.noise_mv);
        self.baseline_mv.add(at, quality.baseline_mv);
        self.powerline_mv.add(at, quality.powerline_mv);
        self.einthoven_mv.add(at, quality.einthoven_mv);
    }

    /// Charts about recordings and patients, with captions.
    fn distributions(&self) -> Vec<(Svg, String)> {
        let chart = |title: &str, x_label: &str, values: &[f64]| {
            let histogram = Histogram {
                title: title.into(),
                x_label: x_label.into(),
                values: within(values),
                ..Histogram::default()
            };
            histogram.draw()
        };
        let mut charts = vec![(
            chart("Heart rate", "beats per minute", &self.heart_rate_bpm),
            format!(
                "From the median interval between R-peaks, {}.{}",
                count(self.heart_rate_bpm.len(), "recording"),
                match self.without_beats {
                    0 => String::new(),
                    n => format!(" In {n} no beat was found."),
                }
            ),
        )];
        if !self.age_years.is_empty() {
            let aged = count(self.age_years.len(), "recording");
            charts.push((
                chart("Age", "years", &self.age_years),
                format!("{aged} with an age up to {MOST_YEARS} years; larger values are codes and were left out."),
            ));
        }
        let same = self.duration_s.iter().all(|&s| s == self.duration_s[0]);
        if !same {
            charts.push((
                chart("Duration", "seconds, as recorded", &self.duration_s),
                "Duration of the recordings before a window was cut.".to_owned(),
            ));
        }
        if self.sexes.len() > 1 {
            let rows = self.sexes.iter().map(|(name, &n)| bar(name, n)).collect();
            charts.push((bars("Sex", rows), "As stated by the source.".to_owned()));
        }
        charts
    }

    fn faults(&self) -> Table {
        let mut table = Table::new(["finding", "recordings", "fraction"]).caption(&format!(
            "Findings in {}.",
            count(self.measured, "recording")
        ));
        let mut line = |what: String, n: usize| {
            let percent = 100.0 * n as f64 / self.measured.max(1) as f64;
            let row = [what, n.to_string(), format!("{percent:.1} %")];
            table = std::mem::take(&mut table).row(row);
        };
        line("a lead without any value".into(), self.missing_leads);
        line("samples missing".into(), self.missing_samples);
        line("a flat lead".into(), self.flat_leads);
        line("a clipped lead".into(), self.clipped_leads);
        line("no beat found".into(), self.without_beats);
        for (name, &n) in &self.limb_leads {
            if *name != LimbLeads::AsNamed.name() && *name != LimbLeads::Unknown.name() {
                line(format!("limb leads: {}", name.replace('_', " ")), n);
            }
        }
        table
    }

    fn disturbances(&self) -> Vec<(Svg, String)> {
        let all = [
            ("Noise", &self.noise_mv),
            ("Baseline wander", &self.baseline_mv),
            ("Mains", &self.powerline_mv),
            ("Einthoven residual", &self.einthoven_mv),
        ];
        let drawn = all
            .into_iter()
            .filter(|(_, measured)| !measured.values.is_empty());
        drawn
            .map(|(title, measured)| {
                let shown = within(&measured.values);
                let left_out = measured.values.len() - shown.len();
                let histogram = Histogram {
                    title: title.into(),
                    x_label: "mV".into(),
                    values: shown,
                    ..Histogram::default()
                };
                let worst = measured.worst.map_or(0.0, |(_, worst)| worst);
                let caption = format!(
                    "{}; the largest is {worst:.3} mV.{}",
                    count(measured.values.len(), "recording"),
                    match left_out {
                        0 => String::new(),
                        n => format!(" {n} beyond the axis are not shown."),
                    }
                );
                (histogram.draw(), caption)
            })
            .collect()
    }
}

/// The values without outliers that would squeeze all others into one bar: those further outside the range from the
/// 0.5th to the 99.5th percentile than half its width.
fn within(values: &[f64]) -> Vec<f64> {
    let mut sorted = values.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let at = |fraction: f64| {
        sorted
            .get((fraction * sorted.len() as f64) as usize)
            .copied()
    };
    let (Some(low), Some(high)) = (at(0.005), at(0.995)) else {
        return values.to_vec();
    };
    let room = 0.5 * (high - low);
    let kept = |&v: &f64| v >= low - room && v <= high + room;
    values.iter().copied().filter(kept).collect()
}

fn bar(name: &str, n: usize) -> BarRow {
    BarRow {
        label: name.to_owned(),
        value: n as f64,
        ..BarRow::default()
    }
}

fn bars(title: &str, rows: Vec<BarRow>) -> Svg {
    let chart = BarChart {
        title: title.to_owned(),
        x_label: "recordings".to_owned(),
        decimals: 0,
        rows,
        ..BarChart::default()
    };
    chart.draw()
}

fn summary(store: &Store, statistics: &Statistics) -> String {
    let info = store.info();
    let patients: usize = statistics.patients.values().map(|set| set.len()).sum();
    let mut text = count(info.records, "recording");
    if patients > 0 {
        let _ = write!(text, " of {}", count(patients, "patient"));
    }
    let _ = write!(
        text,
        ", {} at {} Hz.",
        count(info.leads.len(), "lead"),
        info.rate_hz
    );
    if statistics.reports > 0 {
        let _ = write!(text, " {} with a report.", statistics.reports);
    }
    if statistics.annotated > 0 {
        let _ = write!(text, " {} with annotations.", statistics.annotated);
    }
    let outcomes = info.outcomes;
    let _ = write!(
        text,
        " Of {} in the source {} were skipped, {} failed and {} had no file.",
        count(outcomes.total(), "record"),
        outcomes.skipped,
        outcomes.failed,
        outcomes.missing
    );
    text
}

fn split_table(store: &Store, statistics: &Statistics) -> Table {
    let info = store.info();
    let mut table = Table::new(["split", "recordings", "patients"])
        .caption("Recordings and patients of each split.");
    for split in Split::ALL {
        let n = info.splits.get(&split).copied().unwrap_or(0);
        if n == 0 {
            continue;
        }
        let patients = match statistics.patients.get(&split).map_or(0, |set| set.len()) {
            0 => "\u{2013}".to_owned(),
            n => n.to_string(),
        };
        table = table.row([split.name().to_owned(), n.to_string(), patients]);
    }
    table
}

/// A section for every label set: its classes as bars and as a table, and which occur together.
fn labels(mut page: Page, store: &Store) -> Result<Page> {
    for set in &store.info().label_sets {
        let splits: Vec<Split> = Split::ALL
            .into_iter()
            .filter(|split| store.info().splits.get(split).is_some_and(|&n| n > 0))
            .collect();
        let counts = splits
            .iter()
            .map(|&split| Ok(store.label_matrix_of(&set.name, split)?.counts()))
            .collect::<Result<Vec<_>, purkinje_store::StoreError>>()?;
        let all: Vec<usize> = (0..set.classes.len())
            .map(|class| counts.iter().map(|split| split[class]).sum())
            .collect();
        let matrix = store.label_matrix(&set.name)?;
        page = page.section(&format!("Labels: {}", set.name));
        let mut order: Vec<usize> = (0..all.len()).collect();
        order.sort_by_key(|&class| std::cmp::Reverse(all[class]));
        let name = |class: usize| printable(&set.classes[class].name);
        let drawn = &order[..order.len().min(CLASSES_DRAWN)];
        let rows = drawn.iter().map(|&c| bar(&name(c), all[c])).collect();
        let caption = match order.len() - drawn.len() {
            0 => format!(
                "Classes of {} by number of recordings.",
                count(matrix.rows.len(), "labelled recording")
            ),
            more => {
                format!("The {CLASSES_DRAWN} most frequent classes; {more} more are in the table.")
            }
        };
        page = page.figure(&bars(&format!("Classes of {}", set.name), rows), &caption);
        if drawn.len() > 1 {
            let chart = together(&matrix, drawn, &all, name);
            page = page.figure(&chart, "Labels that occur together.");
        }
        let header = ["class", "meaning"].map(str::to_owned).into_iter();
        let names = splits.iter().map(|split| split.name().to_owned());
        let mut table = Table::new(header.chain(names).chain(["total".to_owned()]))
            .caption(&format!("Recordings with each class of {}.", set.name));
        for &class in &order {
            let meaning = set.classes[class]
                .description
                .as_deref()
                .unwrap_or_default();
            let cells = [name(class), printable(meaning)].into_iter();
            let numbers = counts.iter().map(|split| split[class].to_string());
            table = table.row(cells.chain(numbers).chain([all[class].to_string()]));
        }
        page = page.table(&table);
    }
    Ok(page)
}

/// For every drawn class, the fraction of its recordings that also have each other class.
fn together(
    matrix: &purkinje_store::Labels,
    drawn: &[usize],
    all: &[usize],
    name: impl Fn(usize) -> String,
) -> Svg {
    let n = drawn.len();
    let mut pairs = vec![0usize; n * n];
    for row in 0..matrix.rows.len() {
        let labels = matrix.row(row);
        let carried = || (0..n).filter(|&at| labels[drawn[at]] != 0);
        for i in carried() {
            for j in carried() {
                pairs[i * n + j] += 1;
            }
        }
    }
    let values = (0..n * n)
        .map(|at| pairs[at] as f64 / all[drawn[at / n]] as f64)
        .collect();
    let names: Vec<String> = drawn.iter().map(|&class| name(class)).collect();
    let chart = Heatmap {
        title: "Labels that occur together".into(),
        rows: names.clone(),
        columns: names,
        values,
        legend: "percent of the recordings with the row's label that also have the column's label"
            .into(),
    };
    chart.draw()
}

/// A typical recording, and the worst one by each measure.
fn examples(mut page: Page, store: &Store, statistics: &Statistics) -> Result<Page> {
    page = page.section("Examples, as stored");
    let worst = |measured: &Measured| measured.worst.map(|(row, _)| row);
    let mut shown: Vec<(usize, String)> = Vec::new();
    let picks = [
        (
            statistics.typical.or((!store.is_empty()).then_some(0)),
            "Typical: no fault, and median noise.",
        ),
        (worst(&statistics.noise_mv), "Most noise."),
        (worst(&statistics.baseline_mv), "Most baseline wander."),
        (worst(&statistics.powerline_mv), "Most mains interference."),
        (
            worst(&statistics.einthoven_mv),
            "Largest Einthoven residual: the limb leads contradict each other.",
        ),
    ];
    for (row, words) in picks {
        let Some(row) = row else { continue };
        match shown.iter_mut().find(|(at, _)| *at == row) {
            Some((_, said)) => *said = format!("{said} {words}"),
            None => shown.push((row, words.to_owned())),
        }
    }
    for (at, words) in shown {
        let row = store.row(at)?;
        let caption = format!("{} ({}). {words}", printable(row.id()), row.split());
        page = page.figure(&drawing(store, &row, None)?, &caption);
    }
    Ok(page)
}

/// The first ten seconds of a stored row on ECG paper.
pub(crate) fn drawing(store: &Store, row: &Row<'_>, note: Option<String>) -> Result<Svg> {
    const SHOWN_S: f64 = 10.0;
    let info = store.info();
    let mut signal = Vec::new(); // [lead, time]
    row.signal_mv_into(&mut signal);
    let kept = row.samples().min((SHOWN_S * info.rate_hz) as usize);
    let first: Vec<f32> = signal
        .chunks_exact(row.samples().max(1))
        .flat_map(|lead| &lead[..kept])
        .copied()
        .collect();
    let recording = Recording::new(printable(row.id()), info.leads.clone(), info.rate_hz, first)?;
    let r_peaks: Vec<usize> = row
        .r_peaks()
        .iter()
        .filter(|_| row.beats_detected())
        .map(|&peak| peak.max(0) as usize)
        .filter(|&peak| peak < kept)
        .collect();
    let marks = Marks {
        r_peaks: &r_peaks,
        tokens: &[],
    };
    let options = PaperOptions {
        filter: Some(info.preprocess.in_words()),
        note,
        ..PaperOptions::default()
    };
    Ok(paper::draw(&recording, &options, &marks))
}

/// Records that were not stored, and why.
fn outcomes(page: Page, store: &Store) -> Result<Page> {
    let mut reasons: BTreeMap<(&str, String), (usize, String)> = BTreeMap::new();
    let all = read_outcomes(store.dir())?;
    for outcome in all.iter().filter(|outcome| outcome.status != Status::Ok) {
        let status = match outcome.status {
            Status::Skipped => "skipped",
            Status::Missing => "no file",
            _ => "failed",
        };
        // Reasons that differ only in names and numbers are counted together.
        let kind: String = outcome.reason.split('`').step_by(2).collect();
        let kind = kind
            .split(|c: char| c.is_ascii_digit())
            .collect::<Vec<_>>()
            .join("#");
        let entry = reasons
            .entry((status, kind))
            .or_insert_with(|| (0, printable(&outcome.reason)));
        entry.0 += 1;
    }
    if reasons.is_empty() {
        return Ok(page);
    }
    let mut reasons: Vec<_> = reasons.into_iter().collect();
    reasons.sort_by_key(|(_, (n, _))| std::cmp::Reverse(*n));
    let mut table = Table::new(["outcome", "records", "example"])
        .caption("Records that were not stored, by reason.");
    for ((status, _), (n, example)) in reasons.iter().take(REASONS_LISTED) {
        table = table.row([(*status).to_owned(), n.to_string(), example.clone()]);
    }
    let more = reasons.len().saturating_sub(REASONS_LISTED);
    let page = page.section("Records not stored").table(&table);
    Ok(match more {
        0 => page,
        more => page.text(&format!("{more} more reasons are listed in outcomes.csv.")),
    })
}
