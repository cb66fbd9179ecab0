//! Limb leads that a file does not hold, computed from two that it does.
//!
//! Einthoven's law, III = II - I, and Goldberger's definitions, aVR = -(I + II) / 2, aVL = I - II / 2, aVF = II - I / 2, make any two of I,
//! II and III give the other four limb leads. Many devices store just eight leads for this reason.

use std::ops::Range;

use crate::reader::Stretches;
use crate::{Digital, Lead, LeadSet, RecordError, Recording};

/// What a limb lead is made of: a multiple of lead I and one of lead II.
fn parts(lead: &Lead) -> Option<[f64; 2]> {
    Some(match lead {
        Lead::I => [1.0, 0.0],
        Lead::II => [0.0, 1.0],
        Lead::III => [-1.0, 1.0],
        Lead::AVR => [-0.5, -0.5],
        Lead::AVL => [1.0, -0.5],
        Lead::AVF => [-0.5, 1.0],
        _ => return None,
    })
}

/// Two limb leads, and what makes leads I and II of them.
struct Base {
    leads: [Lead; 2],
    i: [f64; 2],
    ii: [f64; 2],
}

impl Base {
    /// The leads among `present` that the others are computed from.
    fn of(present: &LeadSet) -> Option<Base> {
        let bases = [
            (Lead::I, Lead::II, [1.0, 0.0], [0.0, 1.0]),
            (Lead::I, Lead::III, [1.0, 0.0], [1.0, 1.0]),
            (Lead::II, Lead::III, [1.0, -1.0], [1.0, 0.0]),
        ];
        let mut bases = bases.into_iter();
        let there = |lead: &Lead| present.position(lead).is_some();
        let (first, second, i, ii) = bases.find(|(one, other, ..)| there(one) && there(other))?;
        Some(Base {
            leads: [first, second],
            i,
            ii,
        })
    }

    /// The multiples of the two leads that make another.
    fn weights(&self, lead: &Lead) -> Option<[f64; 2]> {
        let [i, ii] = parts(lead)?;
        Some([
            i * self.i[0] + ii * self.ii[0],
            i * self.i[1] + ii * self.ii[1],
        ])
    }
}

/// The leads to read of a file with the leads `present` so that all of `wanted` can be had: `wanted` itself, unless some of it is absent and
/// can be computed.
pub(crate) fn to_read(wanted: &LeadSet, present: &LeadSet) -> LeadSet {
    let absent = |lead: &&Lead| present.position(lead).is_none();
    let Some(base) = Base::of(present) else {
        return wanted.clone();
    };
    if !wanted
        .leads()
        .iter()
        .filter(absent)
        .any(|lead| base.weights(lead).is_some())
    {
        return wanted.clone();
    }
    let kept = wanted.leads().iter();
    let mut read: Vec<Lead> = kept
        .filter(|lead| !absent(lead) || base.weights(lead).is_none())
        .cloned()
        .collect();
    for lead in base.leads {
        if !read.contains(&lead) {
            read.push(lead);
        }
    }
    LeadSet::new(read)
}

impl LeadSet {
    /// The leads of `wanted` that are here, or are limb leads that two that are here give.
    pub fn able_to_give(&self, wanted: &LeadSet) -> LeadSet {
        let base = Base::of(self);
        let given = |lead: &&Lead| {
            let derived = base.as_ref().and_then(|base| base.weights(lead));
            self.position(lead).is_some() || derived.is_some()
        };
        LeadSet::new(wanted.leads().iter().filter(given).cloned().collect())
    }
}

impl Recording {
    /// The same with the leads `wanted` in their order, of which absent limb leads are computed from two of I, II and III; they are named in
    /// [`Source::derived`](crate::Source::derived). Unchanged where a lead of `wanted` can neither be found nor computed.
    pub fn deriving(self, wanted: &LeadSet) -> Recording {
        let absent = wanted.leads().iter();
        let absent: Vec<&Lead> = absent
            .filter(|l| self.leads.position(l).is_none())
            .collect();
        let base = Base::of(&self.leads);
        let (false, Some(base)) = (absent.is_empty(), base) else {
            return self;
        };
        let Some(made) = absent
            .iter()
            .map(|lead| Some(((*lead).clone(), base.weights(lead)?)))
            .collect::<Option<Vec<_>>>()
        else {
            return self;
        };
        let extended = extend(&self, &base, &made);
        extended.select(wanted).unwrap_or(self)
    }
}

/// The recording with rows of its own for the leads that are made.
fn extend(recording: &Recording, base: &Base, made: &[(Lead, [f64; 2])]) -> Recording {
    let len = recording.len();
    let rows: Vec<usize> = base
        .leads
        .iter()
        .filter_map(|lead| recording.leads.position(lead))
        .collect();
    let [a, b] = [rows[0], rows[1]];
    let mut samples = recording.samples_mv().to_vec();
    let mut digital = recording.digital.clone();
    let exact = |row: usize, at: usize| match &recording.digital {
        Some(digital) => digital.exact_mv(row, len, at),
        None => f64::from(recording.samples_mv()[row * len + at]),
    };
    for (_, [x, y]) in made {
        samples.extend((0..len).map(|at| (x * exact(a, at) + y * exact(b, at)) as f32));
        digital = digital.and_then(|kept| kept.with_sum(len, (a, *x), (b, *y)));
    }
    let mut leads = recording.leads.leads().to_vec();
    leads.extend(made.iter().map(|(lead, _)| lead.clone()));
    let mut extended = recording
        .with_samples(samples, digital)
        .annotated(recording.annotations.clone());
    extended.leads = LeadSet::new(leads);
    extended
        .source
        .derived
        .extend(made.iter().map(|(lead, _)| lead.clone()));
    extended
}

impl Digital {
    /// A sample in millivolts.
    fn exact_mv(&self, row: usize, len: usize, at: usize) -> f64 {
        match self.samples()[row * len + at] {
            Digital::MISSING => f64::NAN,
            unit => f64::from(i32::from(unit) - self.baseline()[row]) / self.gain_per_mv()[row],
        }
    }

    /// The same with one more row, the sum of multiples of two, as long as 16 bits hold it.
    fn with_sum(
        &self,
        len: usize,
        (a, x): (usize, f64),
        (b, y): (usize, f64),
    ) -> Option<Box<Digital>> {
        let gain = self.gain_per_mv()[a];
        if gain != self.gain_per_mv()[b] {
            return None;
        }
        // Halves are counted in steps of half the size.
        let steps = if x.fract() == 0.0 && y.fract() == 0.0 {
            1.0
        } else {
            2.0
        };
        let [x, y] = [x * steps, y * steps].map(|times| times as i32);
        let row = |row: usize| &self.samples()[row * len..(row + 1) * len];
        let sums = row(a).iter().zip(row(b)).map(|(&one, &other)| {
            if one == Digital::MISSING || other == Digital::MISSING {
                return Some(Digital::MISSING);
            }
            let sum = i16::try_from(x * i32::from(one) + y * i32::from(other)).ok()?;
            (sum != Digital::MISSING).then_some(sum)
        });
        let mut samples = self.samples().to_vec();
        samples.extend(sums.collect::<Option<Vec<i16>>>()?);
        let of = |row: usize, times: i32| self.baseline()[row].checked_mul(times);
        let baseline = of(a, x)?.checked_add(of(b, y)?)?;
        Some(Box::new(Digital::new(
            samples,
            [self.gain_per_mv(), &[gain * steps]].concat(),
            [self.baseline(), &[baseline]].concat(),
        )))
    }
}

/// A file of whose stretches leads are made.
#[derive(Debug)]
pub(crate) struct Deriving {
    pub stretches: Box<dyn Stretches>,
    pub wanted: LeadSet,
}

impl Stretches for Deriving {
    fn read(&self, stretch: &Range<usize>) -> Result<Recording, RecordError> {
        let read = self.stretches.read(stretch)?;
        Ok(read.deriving(&self.wanted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn set(leads: &str) -> LeadSet {
        leads.parse().unwrap()
    }

    #[test]
    fn what_is_read_gives_what_is_wanted() {
        let eight = set("I,II,V1,V2,V3,V4,V5,V6");
        assert_eq!(
            to_read(&LeadSet::standard_12(), &eight),
            set("I,II,V1,V2,V3,V4,V5,V6")
        );
        assert_eq!(to_read(&set("aVR,V1"), &eight), set("V1,I,II"));
        assert_eq!(to_read(&set("II,V2"), &eight), set("II,V2"));
        // What is there is read and not computed.
        assert_eq!(to_read(&set("III,V1"), &set("I,II,III,V1")), set("III,V1"));
        // What nothing gives is asked for, and missed by name.
        assert_eq!(to_read(&set("III,V9"), &set("I,V9")), set("III,V9"));
        assert_eq!(to_read(&set("aVF,V3"), &set("III,II")), set("V3,II,III"));
    }

    proptest! {
        /// Whichever two of the three leads are there, the others come out as the whole recording has them.
        #[test]
        fn any_two_leads_give_all_six(
            i in prop::collection::vec(-3000i16..3000, 1..40),
            seed in any::<u64>(),
            with_digital: bool,
            gap in prop::option::of(0usize..40),
        ) {
            let len = i.len();
            let ii: Vec<i16> = (0..len).map(|at| ((seed >> (at % 48)) % 6000) as i16 - 3000).collect();
            let limb = |lead: &str| -> Vec<f64> {
                let [x, y] = parts(&Lead::parse(lead)).unwrap();
                let pairs = i.iter().zip(&ii);
                pairs.map(|(&i, &ii)| (x * f64::from(i) + y * f64::from(ii)) / 1000.0).collect()
            };
            for pair in ["I,II", "I,III", "II,III"] {
                let leads = set(pair);
                let rows: Vec<f64> = pair.split(',').flat_map(limb).collect();
                let mut samples: Vec<f32> = rows.iter().map(|&mv| mv as f32).collect();
                let mut units: Vec<i16> = rows.iter().map(|mv| (mv * 1000.0).round() as i16 + 7).collect();
                if let Some(gap) = gap.filter(|gap| *gap < len) {
                    samples[gap] = f32::NAN;
                    units[gap] = Digital::MISSING;
                }
                let mut recording = Recording::new("r", leads, 500.0, samples).unwrap();
                if with_digital {
                    let digital = Digital::new(units, vec![1000.0; 2], vec![7; 2]);
                    recording.digital = Some(Box::new(digital));
                }
                let wanted = set("aVF,I,aVR,III,aVL,II");
                let made = recording.deriving(&wanted);
                prop_assert_eq!(&made.leads, &wanted);
                prop_assert_eq!(made.source.derived.len(), 4);
                prop_assert_eq!(made.digital.is_some(), with_digital);
                let exact = made.exact_mv();
                for (lead, row) in wanted.leads().iter().zip(exact.chunks(len)) {
                    for (at, (found, right)) in row.iter().zip(limb(&lead.to_string())).enumerate() {
                        if Some(at) != gap {
                            prop_assert!((found - right).abs() < 1e-6, "{lead} {at}: {found} {right}");
                        }
                    }
                }
                let derived = made.rows().zip(exact.chunks(len));
                for (row, exact) in derived {
                    for (own, exact) in row.iter().zip(exact) {
                        prop_assert!(own.is_nan() == exact.is_nan() && (own.is_nan() || (f64::from(*own) - exact).abs() < 1e-6));
                    }
                }
            }
        }
    }
}
