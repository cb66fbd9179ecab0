//! What the formats of plain arrays share: an array of two dimensions, plus what is known about it, becomes a recording.
//!
//! Which dimension is the leads follows from their number; what a file leaves open comes from the caller.

use std::path::Path;

use crate::error::content;
use crate::open::{LeadChoice, OpenOptions, id_of, valid_rate};
use crate::{Digital, LeadSet, RecordError, Recording, Source, Unit};

/// Bytes that reading a small file may take whatever its size; see [`budget`].
const FREE_BYTES: usize = 24 << 20;

/// Bytes that the contents of a file of `file_bytes` may take once unpacked: one and a half times its size, but 24 MB in any
/// case. With what is needed on the way this keeps reading below four times the file and 64 MB, whatever the file claims.
pub(crate) fn budget(file_bytes: u64) -> usize {
    let file = usize::try_from(file_bytes).unwrap_or(usize::MAX / 4);
    file.saturating_add(file / 2).saturating_add(FREE_BYTES)
}

/// An array of two dimensions.
pub(crate) struct Matrix<'a> {
    pub shape: [usize; 2],
    /// Whether values of one column lie side by side (MATLAB, Fortran) instead of those of one row.
    pub column_major: bool,
    /// Whether the values are 16-bit integers.
    pub int16: bool,
    /// The value at a position in memory; called only below the product of the shape.
    pub value: &'a dyn Fn(usize) -> f64,
}

/// What a file says about its array, and where a caller can say the rest.
pub(crate) struct Known {
    pub format: &'static str,
    pub rate_hz: Option<f64>,
    pub leads: Option<LeadSet>,
    pub unit: Option<Unit>,
    /// Whether twelve rows or columns are the standard leads when nothing else is said.
    pub standard_12: bool,
    /// Where a rate may come from, for the message when there is none.
    pub rate_from: &'static str,
    /// Where the leads may come from, for the message when they are not named.
    pub leads_from: &'static str,
}

/// The recording in `matrix`, with the leads that `options` ask for.
pub(crate) fn recording(
    path: &Path,
    matrix: &Matrix<'_>,
    known: Known,
    options: &OpenOptions,
) -> Result<Recording, RecordError> {
    let rate_hz = valid_rate(path, options.rate_hz.or(known.rate_hz), known.rate_from)?;
    let [rows, columns] = matrix.shape;
    let leads = options.array_leads.clone().or(known.leads);
    let leads = leads.filter(|leads| !leads.is_empty()).or_else(|| {
        (known.standard_12 && (rows == 12) != (columns == 12)).then(LeadSet::standard_12)
    });
    let Some(leads) = leads else {
        let found = if known.standard_12 {
            format!("absent, and the array is {rows} x {columns}")
        } else {
            "absent".into()
        };
        return Err(content(path, "the list of leads", &found, known.leads_from));
    };
    let unit = options.unit.or(known.unit).unwrap_or_default();
    let order = Order::find(path, matrix, leads.len())?;
    if order.time == 0 {
        return Err(RecordError::NoSamples {
            path: path.to_owned(),
            why: format!("its array is {rows} x {columns}"),
        });
    }
    let chosen = match &options.leads {
        LeadChoice::Named(wanted) => {
            leads
                .rows_of(wanted)
                .map_err(|lead| RecordError::MissingLead {
                    path: path.to_owned(),
                    lead: lead.to_string(),
                    present: leads.to_string(),
                })?
        }
        _ => (0..leads.len()).collect(),
    };
    let mut samples_mv = Vec::with_capacity(chosen.len().saturating_mul(order.time));
    for &lead in &chosen {
        for t in 0..order.time {
            let value = (matrix.value)(order.at(lead, t));
            if value.is_infinite() {
                return Err(content(
                    path,
                    &format!("the value of lead {} at sample {t}", lead + 1),
                    "infinite",
                    "a voltage, or NaN where it is missing",
                ));
            }
            samples_mv.push(unit.to_mv(value) as f32);
        }
    }
    let digital = (options.keep_digital && matrix.int16)
        .then(|| digital(matrix, &order, &chosen, unit))
        .flatten();
    let leads = LeadSet::new(
        chosen
            .iter()
            .map(|&row| leads.leads()[row].clone())
            .collect(),
    );
    let recording = Recording::new(id_of(path), leads, rate_hz, samples_mv);
    let mut recording = recording.map_err(|source| RecordError::Shape {
        path: path.to_owned(),
        source,
    })?;
    recording.digital = digital.map(Box::new);
    recording.patient.clone_from(&options.patient);
    recording.source = Source {
        path: path.to_owned(),
        format: known.format,
        comments: Vec::new(),
    };
    Ok(recording)
}

/// Where the sample of a lead lies.
struct Order {
    leads: usize,
    time: usize,
    /// Whether the samples of one lead lie side by side.
    side_by_side: bool,
}

impl Order {
    fn find(path: &Path, matrix: &Matrix<'_>, leads: usize) -> Result<Self, RecordError> {
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

    fn at(&self, lead: usize, t: usize) -> usize {
        if self.side_by_side {
            lead * self.time + t
        } else {
            t * self.leads + lead
        }
    }
}

/// The samples as they are, when 16 bits hold them with their scale.
fn digital(matrix: &Matrix<'_>, order: &Order, chosen: &[usize], unit: Unit) -> Option<Digital> {
    // In volts the scale would not be exact.
    if unit == Unit::Volt {
        return None;
    }
    let mut samples = Vec::with_capacity(chosen.len().saturating_mul(order.time));
    for &lead in chosen {
        for t in 0..order.time {
            let value = (matrix.value)(order.at(lead, t));
            samples.push(if value.is_nan() {
                Digital::MISSING
            } else if value > f64::from(Digital::MISSING) && value <= f64::from(i16::MAX) {
                value as i16
            } else {
                return None;
            });
        }
    }
    let gains = vec![unit.per_mv(); chosen.len()];
    Some(Digital::new(samples, gains, vec![0; chosen.len()]))
}
