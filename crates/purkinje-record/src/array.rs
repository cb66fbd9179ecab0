//! What the formats of plain arrays share: an array of two dimensions, plus what is known about it, becomes a recording.
//!
//! Which dimension is the leads follows from their number; what a file leaves open comes from the caller.

use std::ops::Range;
use std::path::{Path, PathBuf};

use crate::error::{content, listed};
use crate::names::{Said, Scaling};
use crate::open::{OpenOptions, id_of, valid_rate};
use crate::reader::Stretches;
use crate::values::Values;
use crate::{Digital, Lead, LeadSet, RecordError, Recording, Source, Unit, names};

/// Bytes that reading a small file may take whatever its size; see [`budget`].
const FREE_BYTES: usize = 24 << 20;

/// What is said of a recording whose leads are named nowhere.
pub(crate) const ASSUMED: &str =
    "no lead is named: they are taken for the twelve standard leads in their order";

/// Numbers that are read at once, so that no more are held twice.
const BLOCK: usize = 1 << 18;

/// Bytes that the contents of a file of `file_bytes` may take once unpacked: one and a half times its size, but 24 MB in any
/// case. With what is needed on the way this keeps reading below four times the file and 64 MB, whatever the file claims.
pub(crate) fn budget(file_bytes: u64) -> usize {
    let file = usize::try_from(file_bytes).unwrap_or(usize::MAX / 4);
    file.saturating_add(file / 2).saturating_add(FREE_BYTES)
}

/// Bytes that they may take in a temporary file: what ECGs pack well in, but 1 GB in any case.
pub(crate) fn disk_budget(file_bytes: u64) -> usize {
    let file = usize::try_from(file_bytes).unwrap_or(usize::MAX);
    file.saturating_mul(64).max(1 << 30)
}

/// An array of two dimensions.
#[derive(Debug)]
pub(crate) struct Matrix {
    pub shape: [usize; 2],
    /// Whether values of one column lie side by side (MATLAB, Fortran) instead of those of one row.
    pub column_major: bool,
    /// Whether the values are 16-bit integers.
    pub int16: bool,
    /// The value that stands for none.
    pub missing: Option<f64>,
    /// In the order of memory: with `column_major`, its rows are the columns of the array.
    pub values: Box<dyn Values>,
}

/// What a file says about its array, and where a caller can say the rest.
pub(crate) struct Known {
    pub format: &'static str,
    /// The rate where nothing else says one.
    pub rate_hz: Option<f64>,
    /// Names of the leads, where the format has a place for them.
    pub leads: Option<LeadSet>,
    /// Everything the file says beside the samples: among it may be the rate, names of leads and units.
    pub said: Said,
    /// Name of the array of samples, or of the group of the arrays of leads.
    pub own: String,
    /// What is known of each lead alone: its unit, and what a digital step is worth.
    pub each: Vec<(Option<Unit>, Option<Scaling>)>,
    /// Whether samples are whole numbers, of which nobody knows the unit unless it is said.
    pub whole: bool,
    /// Whether twelve rows or columns are the standard leads when nothing else is said.
    pub standard_12: bool,
    /// Where a rate may come from, for the message when there is none.
    pub rate_from: &'static str,
    /// Where the leads may come from, for the message when they are not named.
    pub leads_from: &'static str,
}

impl Known {
    fn rate_hz(&self, path: &Path, options: &OpenOptions) -> Result<f64, RecordError> {
        let mut rate_hz = options.rate_hz;
        if rate_hz.is_none() {
            rate_hz = self.said.rate(path, &self.own)?.or(self.rate_hz);
        }
        valid_rate(path, rate_hz, self.rate_from)
    }

    /// The unit of each of so many leads, and what a digital step is worth.
    fn scales(
        &self,
        path: &Path,
        leads: usize,
        options: &OpenOptions,
    ) -> Result<Vec<(Unit, Scaling)>, RecordError> {
        let mut units = match options.unit {
            Some(unit) => vec![unit],
            None => names::units(path, &self.said.texts, leads)?,
        };
        // Which of several is of which array nobody says.
        let mixed = units.iter().any(|unit| *unit != units[0]);
        if !self.each.is_empty() && mixed {
            return Err(content(
                path,
                "the list of units",
                "one of several units, while each lead has an array of its own",
                "one unit, or one with each array, or a unit (`--input-unit`)",
            ));
        }
        if units.is_empty() {
            units.extend(names::unit_in(&self.own));
        }
        let own = |row: usize| {
            let own = self.each.get(row).copied().unwrap_or_default();
            (own.0.filter(|_| options.unit.is_none()), own.1)
        };
        if units.is_empty() && self.whole && (0..leads).any(|row| own(row).0.is_none()) {
            return Err(content(
                path,
                "the unit",
                "absent, and the samples are whole numbers",
                "a unit in the file, or `--input-unit` (uV where 1000 steps make 1 mV)",
            ));
        }
        let unit_of = |row: usize| {
            let all = units.get(row).or(units.first()).copied();
            own(row).0.or(all).unwrap_or_default()
        };
        let units: Vec<Unit> = (0..leads).map(unit_of).collect();
        let scales = self.said.scales(path, &units, options, self.whole)?;
        let each = units.into_iter().enumerate();
        Ok(each
            .map(|(row, unit)| {
                let scale = own(row).1.or(scales.get(row).copied());
                (unit, scale.unwrap_or_default())
            })
            .collect())
    }
}

/// The recording in an array; its samples are read when they are needed.
#[derive(Debug)]
pub(crate) struct Array {
    path: PathBuf,
    /// Without samples.
    pub about: Recording,
    matrix: Matrix,
    order: Order,
    /// Rows of the leads taken, and the unit of each.
    chosen: Vec<(usize, Unit, Scaling)>,
    keep_digital: bool,
}

impl Array {
    /// The recording in `matrix`, with the leads that `options` ask for.
    pub fn new(
        path: &Path,
        matrix: Matrix,
        known: Known,
        options: &OpenOptions,
    ) -> Result<Array, RecordError> {
        let rate_hz = known.rate_hz(path, options)?;
        known.said.check(path, options, known.leads.is_some())?;
        let [rows, columns] = matrix.shape;
        let said = known.leads.as_ref().map(|leads| leads.leads().to_vec());
        let said = said.or_else(|| names::leads(&known.said.texts, matrix.shape));
        let said = said.map(|mut leads| {
            options.settle(&mut leads);
            LeadSet::new(leads)
        });
        let leads = options.array_leads.clone().or(said);
        let mut assumed = false;
        let leads = leads.filter(|leads| !leads.is_empty()).or_else(|| {
            assumed = known.standard_12 && (rows == 12) != (columns == 12);
            assumed.then(LeadSet::standard_12)
        });
        let Some(leads) = leads else {
            let found = if known.standard_12 {
                format!("absent, and the array is {rows} x {columns}")
            } else {
                "absent".into()
            };
            return Err(content(path, "the list of leads", &found, known.leads_from));
        };
        let scales = known.scales(path, leads.len(), options)?;
        let order = Order::find(path, &matrix, leads.len())?;
        if order.time == 0 {
            return Err(RecordError::NoSamples {
                path: path.to_owned(),
                why: format!("its array is {rows} x {columns}"),
            });
        }
        let chosen = options.choose(path, leads.leads(), |_| true)?;
        let mut array = Array {
            about: about(path, known.format, leads.clone(), rate_hz, options)?,
            path: path.to_owned(),
            keep_digital: false,
            matrix,
            order,
            chosen: Vec::new(),
        };
        let with_scale = |row: usize| (row, scales[row].0, scales[row].1);
        if assumed {
            array.chosen = (0..leads.len()).map(with_scale).collect();
            array.check_assumed()?;
            array.about.source.comments.push(ASSUMED.to_owned());
        }
        let exact = chosen.iter().all(|&row| {
            let (unit, Scaling { zero, .. }) = scales[row];
            unit != Unit::Volt && f64::from(zero as i32) == zero
        });
        array.keep_digital = options.keep_digital && array.matrix.int16 && exact;
        let names = chosen.iter().map(|&row| leads.leads()[row].clone());
        array.about.leads = LeadSet::new(names.collect());
        array.chosen = chosen.into_iter().map(with_scale).collect();
        Ok(array)
    }

    /// Whether the limb leads are in another order than the assumed one, by the relations between them: III = II - I, and so on. Where no
    /// order fits (leads that were scaled each by itself) nothing is known.
    fn check_assumed(&self) -> Result<(), RecordError> {
        /// Samples that are looked at.
        const SAMPLES: usize = 1000;
        let len = self.order.time.min(SAMPLES);
        let read = self.read(&(0..len))?;
        let rows: Vec<&[f32]> = read.samples_mv().chunks_exact(len.max(1)).collect();
        let Some(found) = limb_leads(&rows).filter(|found| *found != [0, 1, 2, 3, 4, 5]) else {
            return Ok(());
        };
        let places = found.iter().zip(&Lead::STANDARD_12).enumerate();
        let places = places.filter(|(own, (row, _))| own != *row);
        let places = places.map(|(_, (row, lead))| format!("{lead} in row {}", row + 1));
        Err(listed(
            &self.path,
            "the order of the leads",
            &format!(
                "stated nowhere, and not the standard one: by the relations between them {}",
                places.collect::<Vec<_>>().join(", ")
            ),
            "names of the leads in the file, or `--input-leads`",
        ))
    }

    /// The recording of leads that were read in millivolts, `shape` of them and of samples in either order.
    pub fn of_leads(
        path: &Path,
        about: Recording,
        leads_first: bool,
        time: usize,
        values: Box<dyn Values>,
    ) -> Array {
        let leads = about.leads.len();
        Array {
            path: path.to_owned(),
            about,
            matrix: Matrix {
                shape: if leads_first {
                    [leads, time]
                } else {
                    [time, leads]
                },
                column_major: false,
                int16: false,
                missing: None,
                values,
            },
            order: Order {
                leads,
                time,
                side_by_side: leads_first,
            },
            chosen: (0..leads)
                .map(|row| (row, Unit::default(), Scaling::default()))
                .collect(),
            keep_digital: false,
        }
    }

    /// The same with just these of its leads, in this order.
    pub fn keeping(mut self, rows: &[usize]) -> Array {
        let leads = self.about.leads.leads();
        let names = rows.iter().map(|&row| leads[row].clone()).collect();
        self.chosen = rows.iter().map(|&row| self.chosen[row]).collect();
        self.about.leads = LeadSet::new(names);
        self
    }

    /// Samples of a lead.
    pub fn len(&self) -> usize {
        self.order.time
    }

    fn infinite(&self, lead: usize, t: usize) -> RecordError {
        content(
            &self.path,
            &format!("the value of lead {} at sample {t}", lead + 1),
            "infinite",
            "a voltage, or NaN where it is missing",
        )
    }
}

impl Stretches for Array {
    fn read(&self, stretch: &Range<usize>) -> Result<Recording, RecordError> {
        let (len, leads) = (stretch.len(), self.chosen.len());
        let mut samples_mv = vec![0f32; leads.saturating_mul(len)];
        let mut digital = self.keep_digital.then(|| vec![0i16; samples_mv.len()]);
        let Order {
            leads: all,
            side_by_side,
            ..
        } = self.order;
        // Of leads that lie side by side just those between the first and the last one taken.
        let rows = || self.chosen.iter().map(|(row, ..)| *row);
        let (lowest, end) = match side_by_side {
            true => (
                rows().min().unwrap_or(0),
                rows().max().map_or(0, |row| row + 1),
            ),
            false => (0, all),
        };
        let mut numbers = Vec::new();
        let block = (BLOCK / (end - lowest).max(1)).max(1);
        for first in stretch.clone().step_by(block) {
            let part = first..(first + block).min(stretch.end);
            let (span, values) = (part.len(), &self.matrix.values);
            numbers.clear();
            match side_by_side {
                true => values.read(lowest..end, part, &mut numbers)?,
                false => values.read(part, 0..all, &mut numbers)?,
            }
            for (at, &(lead, unit, scale)) in self.chosen.iter().enumerate() {
                let (start, step) = match side_by_side {
                    true => ((lead - lowest) * span, 1),
                    false => (lead, all),
                };
                let own = numbers.get(start..).unwrap_or_default();
                let from = at * len + (first - stretch.start);
                for (t, &value) in own.iter().step_by(step).take(span).enumerate() {
                    let value = match self.matrix.missing {
                        Some(missing) if value == missing => f64::NAN,
                        _ => value,
                    };
                    if value.is_infinite() {
                        return Err(self.infinite(lead, first + t));
                    }
                    samples_mv[from + t] = scaled_mv(value, unit, scale) as f32;
                    if let Some(kept) = &mut digital {
                        match digital_of(value) {
                            Some(value) => kept[from + t] = value,
                            None => digital = None,
                        }
                    }
                }
            }
        }
        let digital = digital.map(|samples| {
            let gains = self.chosen.iter();
            let gains = gains.map(|(_, unit, scale)| scale.gain * unit.per_mv());
            let zeros = self.chosen.iter().map(|(.., scale)| scale.zero as i32);
            Box::new(Digital::new(samples, gains.collect(), zeros.collect()))
        });
        Ok(self.about.with_samples(samples_mv, digital))
    }
}

/// A value of the array in millivolts; as [`Digital`] says it where that is kept.
fn scaled_mv(value: f64, unit: Unit, scale: Scaling) -> f64 {
    match scale == Scaling::default() {
        true => unit.to_mv(value),
        false => (value - scale.zero) / (scale.gain * unit.per_mv()),
    }
}

/// The rows of I, II, III, aVR, aVL and aVF, if there are six that are to each other as these are; those in the standard order first.
fn limb_leads(rows: &[&[f32]]) -> Option<[usize; 6]> {
    /// The share of a lead by which noise, filters and rounding may make it differ.
    const SAME: f32 = 0.1;
    /// III, aVR, aVL and aVF from I and II.
    const RELATIONS: [fn(f32, f32) -> f32; 4] = [
        |one, two| two - one,
        |one, two| -(one + two) / 2.0,
        |one, two| one - two / 2.0,
        |one, two| two - one / 2.0,
    ];
    // About their means: an offset is no contradiction.
    let strength = |values: &dyn Fn(usize) -> f32, len: usize| {
        let known = (0..len).map(values).filter(|value| value.is_finite());
        let known: Vec<f32> = known.collect();
        let mean = known.iter().sum::<f32>() / known.len().max(1) as f32;
        let squares = known.iter().map(|value| (value - mean).powi(2));
        squares.sum::<f32>().sqrt()
    };
    let len = rows.first().map_or(0, |row| row.len());
    let is = |row: usize, expected: &[f32]| {
        let difference = strength(&|at| rows[row][at] - expected[at], len);
        difference <= SAME * strength(&|at| expected[at], len)
    };
    let pairs = (0..rows.len()).flat_map(|one| (0..rows.len()).map(move |two| (one, two)));
    let mut pairs: Vec<(usize, usize)> = pairs.filter(|(one, two)| one != two).collect();
    pairs.sort_by_key(|pair| *pair != (0, 1));
    for (one, two) in pairs {
        let mut found = [one, two, 0, 0, 0, 0];
        let all = RELATIONS.iter().enumerate().all(|(number, relation)| {
            let expected = rows[one].iter().zip(rows[two]);
            let expected: Vec<f32> = expected.map(|(&a, &b)| relation(a, b)).collect();
            // The usual place first, where flat leads fit everywhere.
            let mut places: Vec<usize> = (0..rows.len()).collect();
            places.sort_by_key(|place| *place != 2 + number);
            let own = places.into_iter().find(|&row| is(row, &expected));
            found[2 + number] = own.unwrap_or(0);
            own.is_some()
        });
        if all {
            return Some(found);
        }
    }
    None
}

/// A value as it is, when 16 bits hold it.
fn digital_of(value: f64) -> Option<i16> {
    if value.is_nan() {
        Some(Digital::MISSING)
    } else {
        (value > f64::from(Digital::MISSING) && value <= f64::from(i16::MAX))
            .then_some(value as i16)
    }
}

/// What is known about a recording of these leads.
pub(crate) fn about(
    path: &Path,
    format: &'static str,
    leads: LeadSet,
    rate_hz: f64,
    options: &OpenOptions,
) -> Result<Recording, RecordError> {
    let recording = Recording::new(id_of(path), leads, rate_hz, Vec::new());
    let mut recording = recording.map_err(|source| RecordError::Shape {
        path: path.to_owned(),
        source,
    })?;
    recording.patient.clone_from(&options.patient);
    recording.source = Source {
        path: path.to_owned(),
        format,
        ..Source::default()
    };
    Ok(recording)
}

/// Where the sample of a lead lies.
#[derive(Debug)]
struct Order {
    leads: usize,
    time: usize,
    /// Whether the samples of one lead lie side by side.
    side_by_side: bool,
}

impl Order {
    fn find(path: &Path, matrix: &Matrix, leads: usize) -> Result<Self, RecordError> {
        let [rows, columns] = matrix.shape;
        let lead_first = match (rows == leads, columns == leads) {
            (true, false) => true,
            (false, true) => false,
            (true, true) if leads == 1 => true,
            (both, _) => {
                let expected = if both {
                    "leads and time of different lengths; both orders would fit".to_owned()
                } else {
                    format!("{leads} leads along one dimension, as the list of leads says")
                };
                return Err(content(
                    path,
                    "the shape",
                    &format!("{rows} x {columns}"),
                    &expected,
                ));
            }
        };
        Ok(Order {
            leads,
            time: if lead_first { columns } else { rows },
            side_by_side: lead_first != matrix.column_major,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limb_leads_are_known_by_what_they_are_to_each_other() {
        let wave = |rate: f32| {
            (0..200)
                .map(|t| (t as f32 * rate).sin())
                .collect::<Vec<f32>>()
        };
        let (one, two) = (wave(0.13), wave(0.31));
        let of = |relation: fn(f32, f32) -> f32| -> Vec<f32> {
            let pairs = one.iter().zip(&two);
            pairs.map(|(&a, &b)| relation(a, b) + 0.3).collect()
        };
        let three = of(|a, b| b - a);
        let [r, l, f] = [
            of(|a, b| -(a + b) / 2.0),
            of(|a, b| a - b / 2.0),
            of(|a, b| b - a / 2.0),
        ];
        let chest = wave(0.7);
        let rows: [&[f32]; 7] = [&one, &two, &three, &r, &l, &f, &chest];
        assert_eq!(limb_leads(&rows), Some([0, 1, 2, 3, 4, 5]));
        let order = [6, 5, 3, 0, 4, 1, 2];
        let mixed: Vec<&[f32]> = order.iter().map(|&row| rows[row]).collect();
        assert_eq!(limb_leads(&mixed), Some([3, 5, 6, 2, 4, 1]));
        let [a, b, c] = [wave(0.9), wave(1.1), wave(1.3)];
        assert_eq!(limb_leads(&[&one, &two, &a, &b, &c, &chest]), None);
        let flat = vec![0.0; 200];
        assert_eq!(limb_leads(&[&*flat; 6]), Some([0, 1, 2, 3, 4, 5]));
    }
}
