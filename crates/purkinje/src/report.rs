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
            ("Source", source_in_words(store)),
            ("Leads", info.leads.to_string()),
            ("Sampling rate", format!("{} Hz", info.rate_hz)),
            ("Preprocessing", info.preprocess.in_words()),
            (
                "Made by",
                format!("{} {}", info.made_by.program, info.made_by.version),
            ),
            ("Fingerprint", info.fingerprint.clone()),
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

/// The kind of the source, and where it was, if the store says so.
fn source_in_words(store: &Store) -> String {
    let info = store.info();
    match info.made_by.source.as_str() {
        "" => info.name.clone(),
        place => format!("{}, {}", info.name, printable(place)),
    }
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
    /// Rows and values of the largest, from the largest down.
    largest: Vec<(usize, f64)>,
}

/// Rows with large values among which the worst example is looked for.
const CANDIDATES: usize = 40;

impl Measured {
    fn add(&mut self, row: usize, value: Option<f32>) {
        let Some(value) = value.map(f64::from).filter(|value| value.is_finite()) else {
            return;
        };
        self.values.push(value);
        let place = self.largest.partition_point(|&(_, own)| own >= value);
        if place < CANDIDATES {
            self.largest.insert(place, (row, value));
            self.largest.truncate(CANDIDATES);
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
                let worst = measured.largest.first().map_or(0.0, |(_, worst)| *worst);
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

/// A disturbance of which the worst example is drawn.
struct Disturbance<'s> {
    words: &'static str,
    measured: &'s Measured,
    /// The least that can be seen at 10 mm/mV; the largest value of a clean store is a rounding error or the signal itself.
    seen_mv: f64,
    /// The least share of the range of the signal.
    seen_share: f64,
    /// Measures it again in the stored signal, where the measure over all samples takes tall or frequent complexes for it.
    again: Option<fn(&Row<'_>) -> f64>,
}

/// The row in which a disturbance is largest, by its measure in the stored signal or else beside the range of that, among those with the
/// largest values; `None` where it cannot be seen in any.
fn worst(store: &Store, of: &Disturbance<'_>) -> Result<Option<(usize, String)>> {
    let mut found: Option<(f64, usize, f64, f64)> = None;
    let large = of.measured.largest.iter();
    for &(at, value) in large.take_while(|(_, value)| *value >= of.seen_mv) {
        let row = store.row(at)?;
        let value_mv = of.again.map_or(value, |measure| measure(&row));
        let range_mv = range_mv(&row);
        let share = if range_mv > 0.0 {
            value_mv / range_mv
        } else {
            f64::INFINITY
        };
        let rank = of.again.map_or(share, |_| value_mv);
        let seen = value_mv >= of.seen_mv && share >= of.seen_share;
        if seen && found.is_none_or(|(most, ..)| rank > most) {
            found = Some((rank, at, value_mv, share));
        }
    }
    Ok(found.map(|(_, at, value_mv, share)| {
        let share = match share.is_finite() {
            true => format!(", {:.0} % of the range of the signal", 100.0 * share),
            false => String::new(),
        };
        (at, format!("{}: {value_mv:.3} mV{share}.", of.words))
    }))
}

/// The standard deviation of white noise that would leave fourth differences of samples as large as the median ones of a stored signal are: the
/// complexes, which are the fewer samples, do not count. The median over the leads.
fn noise_between_complexes_mv(row: &Row<'_>) -> f64 {
    /// Standard deviation of the fourth difference of white noise of 1, and the median of the absolute value of a normal variable.
    const DIFFERENCE: f64 = 8.366_600_265_340_756;
    const MEDIAN: f64 = 0.674_489_750_196_081_7;
    let mut signal = Vec::new(); // [lead, time]
    row.signal_mv_into(&mut signal);
    let leads = signal.chunks_exact(row.samples().max(1));
    let differences = leads.map(|lead| {
        let fourth = |w: &[f32]| (w[0] - 4.0 * w[1] + 6.0 * w[2] - 4.0 * w[3] + w[4]).abs();
        let found = lead.windows(5).map(fourth);
        median(found.filter(|own| own.is_finite()).collect())
    });
    f64::from(median(differences.collect())) / (DIFFERENCE * MEDIAN)
}

/// The upper median; 0 of nothing.
fn median(mut values: Vec<f32>) -> f32 {
    values.sort_unstable_by(f32::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or_default()
}

/// The range of a stored signal without the outermost hundredth on both sides, the median over its leads.
fn range_mv(row: &Row<'_>) -> f64 {
    let mut signal = Vec::new(); // [lead, time]
    row.signal_mv_into(&mut signal);
    let ranges = signal
        .chunks_exact_mut(row.samples().max(1))
        .filter_map(|lead| {
            lead.sort_unstable_by(f32::total_cmp);
            let edge = lead.len() / 100;
            let range = lead.get(lead.len() - 1 - edge)? - lead.get(edge)?;
            (range.is_finite() && range > 0.0).then_some(range)
        });
    f64::from(median(ranges.collect()))
}

/// A typical recording, and the worst one by each measure of which something can be seen.
fn examples(mut page: Page, store: &Store, statistics: &Statistics) -> Result<Page> {
    page = page.section("Examples, as stored");
    let typical = statistics.typical.or((!store.is_empty()).then_some(0));
    let mut shown: Vec<(usize, String)> = typical
        .map(|row| (row, "Typical: no fault, and median noise.".to_owned()))
        .into_iter()
        .collect();
    let mut unseen = Vec::new();
    for of in [
        Disturbance {
            words: "Most noise",
            measured: &statistics.noise_mv,
            seen_mv: 0.015,
            seen_share: 0.0,
            again: Some(noise_between_complexes_mv),
        },
        Disturbance {
            words: "Most baseline wander",
            measured: &statistics.baseline_mv,
            seen_mv: 0.1,
            seen_share: 0.1,
            again: None,
        },
        Disturbance {
            words: "Most mains interference",
            measured: &statistics.powerline_mv,
            seen_mv: 0.02,
            seen_share: 0.02,
            again: None,
        },
        Disturbance {
            words: "Limb leads that contradict each other most",
            measured: &statistics.einthoven_mv,
            seen_mv: 0.05,
            seen_share: 0.05,
            again: None,
        },
    ] {
        match worst(store, &of)? {
            Some((row, words)) => match shown.iter_mut().find(|(at, _)| *at == row) {
                Some((_, said)) => *said = format!("{said} {words}"),
                None => shown.push((row, words)),
            },
            None => unseen.extend(of.measured.largest.first().map(|(_, most)| {
                format!(
                    "{} (largest value {most:.4} mV, drawn from {} mV on)",
                    of.words.to_lowercase(),
                    of.seen_mv
                )
            })),
        }
    }
    for (at, words) in shown {
        let row = store.row(at)?;
        let caption = format!("{} ({}). {words}", printable(row.id()), row.split());
        page = page.figure(&drawing(store, &row, None)?, &caption);
    }
    Ok(match unseen.is_empty() {
        true => page,
        false => page.note(&format!(
            "Nothing that could be seen at 10 mm/mV, so no example: {}.",
            unseen.join("; ")
        )),
    })
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

#[cfg(test)]
mod tests {
    use super::*;
    use purkinje_record::LeadSet;
    use purkinje_signal::Preprocess;
    use purkinje_signal::quality::Measures;
    use purkinje_store::{
        Begin, LabelSet, MadeBy, NewRow, Outcome, SCHEMA_VERSION, Status, StoreSpec, StoreWriter,
    };
    use std::path::Path;

    /// A store of recordings by name: a peak of so many millivolts every second, noise around it, and what was measured as noise and as
    /// II - I - III.
    fn store_of(dir: &Path, rows: &[(&str, f32, f32, f32, f32)]) -> Store {
        let leads: LeadSet = "I,II,III".parse().unwrap();
        let spec = StoreSpec {
            schema_version: SCHEMA_VERSION,
            name: "test".to_owned(),
            preprocess: Preprocess::clear().with_leads(leads.clone()),
            leads,
            rate_hz: 100.0,
            unit: "mV".to_owned(),
            label_sets: vec![LabelSet::from_names("rhythm", ["AF", "SR"])],
            texts: Vec::new(),
            values: Vec::new(),
            made_by: MadeBy::default(),
            fingerprint: "print".to_owned(),
            rows_per_shard: 100,
            rows_per_batch: 10,
            part: None,
        };
        let Begin::Writing(mut writer) = StoreWriter::begin(dir, spec).unwrap() else {
            panic!("a store in an empty folder");
        };
        for &(id, peak_mv, around_mv, noise_mv, einthoven_mv) in rows {
            let sample = |at: usize| {
                let peak_mv = if at % 100 < 5 { peak_mv } else { 0.0 };
                let noise_mv = around_mv * ((at * 7919 % 13) as f32 - 6.0) / 6.0;
                (1000.0 * (peak_mv + noise_mv)) as i16
            };
            let row = NewRow {
                id: id.to_owned(),
                gain_per_mv: 1000.0,
                signal: (0..3000).map(sample).collect(),
                quality: Some(Measures {
                    noise_mv: Some(noise_mv),
                    einthoven_mv: Some(einthoven_mv),
                    ..Measures::default()
                }),
                labels: vec![Some(vec![1])],
                ..NewRow::default()
            };
            let outcome = Outcome::not_stored(id, Path::new(id), Status::Ok, "");
            writer.append(outcome, Some(row)).unwrap();
        }
        writer.finish().unwrap();
        Store::open(dir).unwrap()
    }

    #[test]
    fn the_noisiest_is_noisy_beside_its_signal() {
        let dir = tempfile::tempdir().unwrap();
        // Tall complexes leave a larger residual than the noise of a small signal.
        let rows = [
            ("tall", 4.0, 0.0, 0.12, 0.0005),
            ("noisy", 1.0, 0.08, 0.03, 0.0004),
            ("clean", 1.0, 0.0, 0.002, 0.0),
        ];
        let page = of_store(&store_of(dir.path(), &rows)).unwrap();
        assert!(
            page.contains("noisy (none). Typical: no fault, and median noise. Most noise: 0.0"),
            "{page}"
        );
        // A rounding error is no contradiction of leads.
        assert!(!page.contains("Limb leads that contradict each other most: "));
        assert!(
            page.contains("limb leads that contradict each other most (largest value 0.0005 mV")
        );
        // The kind of the source stands where the store does not name the place.
        assert!(page.contains("<dt>Source</dt><dd>test</dd>"), "{page}");
        assert!(page.contains("<nav"), "{page}");
    }

    #[test]
    fn a_clean_store_has_no_worst_recordings() {
        let dir = tempfile::tempdir().unwrap();
        let rows = [("a", 4.0, 0.0, 0.12, 0.03), ("b", 1.0, 0.0, 0.004, 0.001)];
        let page = of_store(&store_of(dir.path(), &rows)).unwrap();
        assert!(!page.contains("Most noise: "), "{page}");
        let dir = tempfile::tempdir().unwrap();
        let page = of_store(&store_of(dir.path(), &[("a", 1.0, 0.0, 0.0, 0.5)])).unwrap();
        assert!(
            page.contains("contradict each other most: 0.500 mV"),
            "{page}"
        );
    }
}
