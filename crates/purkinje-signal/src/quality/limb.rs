//! Whether limb leads are what their names say, by the relations between them.
//!
//! Einthoven: II = I + III. Goldberger: aVR = -(I + II)/2, aVL = I - II/2, aVF = II - I/2. They hold for
//! any three electrodes, so exchanged *electrodes* fulfil them and exchanged *names* do not.

use std::fmt;

use purkinje_record::Lead;
use serde::{Deserialize, Serialize};

use crate::beats::Sample;
use crate::simd::{self, Kernel};

/// What the relations between the limb leads say about their names.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum LimbLeads {
    /// Nothing: fewer than I, II and one more limb lead, no signal, or no exchange that makes the relations hold.
    #[default]
    Unknown,
    /// The relations hold as named.
    AsNamed,
    /// The relations hold, but I points down and aVR up against V6: the arm electrodes were probably exchanged.
    ArmsReversed,
    /// aVL and aVF bear each other's name.
    AvlAvfExchanged,
    /// aVR and aVL do.
    AvrAvlExchanged,
    /// aVR and aVF do.
    AvrAvfExchanged,
    /// aVR, aVL, aVF are in truth aVL, aVF, aVR.
    AugmentedShifted,
    /// aVR, aVL, aVF are in truth aVF, aVR, aVL.
    AugmentedShiftedTwice,
    /// I and II bear each other's name.
    IIiExchanged,
    /// I and III do.
    IIiiExchanged,
    /// II and III do.
    IiIiiExchanged,
    /// I is upside down.
    INegated,
    /// II is.
    IiNegated,
    /// III is.
    IiiNegated,
    /// aVR is: written as -aVR.
    AvrNegated,
}

impl LimbLeads {
    /// All of them.
    pub const ALL: [LimbLeads; 15] = [
        LimbLeads::Unknown,
        LimbLeads::AsNamed,
        LimbLeads::ArmsReversed,
        LimbLeads::AvlAvfExchanged,
        LimbLeads::AvrAvlExchanged,
        LimbLeads::AvrAvfExchanged,
        LimbLeads::AugmentedShifted,
        LimbLeads::AugmentedShiftedTwice,
        LimbLeads::IIiExchanged,
        LimbLeads::IIiiExchanged,
        LimbLeads::IiIiiExchanged,
        LimbLeads::INegated,
        LimbLeads::IiNegated,
        LimbLeads::IiiNegated,
        LimbLeads::AvrNegated,
    ];

    /// The name by which a store keeps it (`as_named`, `avl_avf_exchanged`, ...).
    pub fn name(self) -> &'static str {
        match self {
            LimbLeads::Unknown => "unknown",
            LimbLeads::AsNamed => "as_named",
            LimbLeads::ArmsReversed => "arms_reversed",
            LimbLeads::AvlAvfExchanged => "avl_avf_exchanged",
            LimbLeads::AvrAvlExchanged => "avr_avl_exchanged",
            LimbLeads::AvrAvfExchanged => "avr_avf_exchanged",
            LimbLeads::AugmentedShifted => "augmented_shifted",
            LimbLeads::AugmentedShiftedTwice => "augmented_shifted_twice",
            LimbLeads::IIiExchanged => "i_ii_exchanged",
            LimbLeads::IIiiExchanged => "i_iii_exchanged",
            LimbLeads::IiIiiExchanged => "ii_iii_exchanged",
            LimbLeads::INegated => "i_negated",
            LimbLeads::IiNegated => "ii_negated",
            LimbLeads::IiiNegated => "iii_negated",
            LimbLeads::AvrNegated => "avr_negated",
        }
    }

    /// The one of this [`name`](Self::name).
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|own| own.name() == name)
    }
}

impl fmt::Display for LimbLeads {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The limb leads in the order in which they are judged.
pub(super) const LEADS: [Lead; 6] = [
    Lead::I,
    Lead::II,
    Lead::III,
    Lead::AVR,
    Lead::AVL,
    Lead::AVF,
];

/// Which leads three rows are that bear the names of the augmented ones, by Goldberger's relations to I and II: the order
/// that leaves by far the least. `None` where no order stands out, or rows differ in length.
///
/// Source: the published program of D-BETA (the two descriptions of the CODE test set disagree).
pub fn augmented_order<S: Sample>(
    i_mv: &[S],
    ii_mv: &[S],
    augmented_mv: [&[S]; 3],
) -> Option<[Lead; 3]> {
    let rows = [
        i_mv,
        ii_mv,
        augmented_mv[0],
        augmented_mv[1],
        augmented_mv[2],
    ];
    if rows.iter().any(|row| row.len() != i_mv.len()) {
        return None;
    }
    let [i, ii, a, b, c] = rows.map(|row| row.iter().map(|v| v.to_f32()).collect::<Vec<f32>>());
    let moments = Moments::of([Some(&i), Some(&ii), None, Some(&a), Some(&b), Some(&c)], 1);
    // I and II are believed: exchanging them instead would look the same.
    let named = match moments.name(&NAMINGS[..AUGMENTED]) {
        LimbLeads::AsNamed => [0, 1, 2],
        LimbLeads::AvlAvfExchanged => [0, 2, 1],
        LimbLeads::AvrAvlExchanged => [1, 0, 2],
        LimbLeads::AvrAvfExchanged => [2, 1, 0],
        LimbLeads::AugmentedShifted => [1, 2, 0],
        LimbLeads::AugmentedShiftedTwice => [2, 0, 1],
        _ => return None,
    };
    Some(named.map(|k| LEADS[3 + k].clone()))
}

/// What the relations leave, and what that means.
pub(super) struct Judged {
    pub residual_mv: Option<f64>,
    pub leads: LimbLeads,
}

/// Judges rows that bear the names [`LEADS`], of one length, by every `step`-th sample; V6 tells reversed arms
/// from a heart that lies so.
pub(super) fn judge(rows: [Option<&[f32]>; 6], v6: Option<&[f32]>, step: usize) -> Judged {
    let moments = Moments::of(rows, step);
    let leads = match moments.name(&NAMINGS) {
        LimbLeads::AsNamed if arms_reversed(rows[0], rows[3], v6, step) => LimbLeads::ArmsReversed,
        leads => leads,
    };
    Judged {
        residual_mv: moments.residual(&moments.raw, &AS_NAMED).map(f64::sqrt),
        leads,
    }
}

/// A residual below this share of the signal fulfils the relations.
const HOLDS: f64 = 0.15;
/// How much less another naming must leave to be believed.
const MUCH_LESS: f64 = 1.0 / 3.0;
/// Residuals that differ by less than this share of the signal are the same.
const SAME: f64 = 0.01;
/// A residual in millivolts that needs no explanation: the steps of a converter.
const STEPS_MV: f64 = 0.01;
/// How lop-sided I and aVR must be (-1 to 1), and how I must correlate with V6, for reversed arms.
const LOP_SIDED: f64 = 0.6;
const UNLIKE_V6: f64 = -0.5;

/// The true leads in terms of the rows: which row, and its sign.
type Naming = [(usize, f64); 6];

const AS_NAMED: Naming = rows_named([0, 1, 2, 3, 4, 5]);

const fn rows_named(rows: [usize; 6]) -> Naming {
    let mut naming = [(0, 1.0); 6];
    let mut k = 0;
    while k < 6 {
        naming[k].0 = rows[k];
        k += 1;
    }
    naming
}

const fn negated(row: usize) -> Naming {
    let mut naming = AS_NAMED;
    naming[row].1 = -1.0;
    naming
}

/// What may have happened to names, and where the true leads then are; the first [`AUGMENTED`] concern the augmented leads only.
const NAMINGS: [(LimbLeads, Naming); 13] = [
    (LimbLeads::AsNamed, AS_NAMED),
    (LimbLeads::AvlAvfExchanged, rows_named([0, 1, 2, 3, 5, 4])),
    (LimbLeads::AvrAvlExchanged, rows_named([0, 1, 2, 4, 3, 5])),
    (LimbLeads::AvrAvfExchanged, rows_named([0, 1, 2, 5, 4, 3])),
    (LimbLeads::AugmentedShifted, rows_named([0, 1, 2, 5, 3, 4])),
    (
        LimbLeads::AugmentedShiftedTwice,
        rows_named([0, 1, 2, 4, 5, 3]),
    ),
    (LimbLeads::IIiExchanged, rows_named([1, 0, 2, 3, 4, 5])),
    (LimbLeads::IIiiExchanged, rows_named([2, 1, 0, 3, 4, 5])),
    (LimbLeads::IiIiiExchanged, rows_named([0, 2, 1, 3, 4, 5])),
    (LimbLeads::INegated, negated(0)),
    (LimbLeads::IiNegated, negated(1)),
    (LimbLeads::IiiNegated, negated(2)),
    (LimbLeads::AvrNegated, negated(3)),
];

const AUGMENTED: usize = 6;

/// III, aVR, aVL, aVF as sums of I and II: lead, share of I, share of II.
const RELATIONS: [(usize, f64, f64); 4] = [
    (2, -1.0, 1.0),
    (3, -0.5, -0.5),
    (4, 1.0, -0.5),
    (5, -0.5, 1.0),
];

/// Means of all products of two rows: whatever a relation leaves is a sum of them.
struct Moments {
    present: [bool; 6],
    raw: [[f64; 6]; 6],
    /// Around the means: an offset of the amplifier says nothing about names.
    centred: [[f64; 6]; 6],
}

/// Sums of six rows and of the products of each two of them (the lower triangle).
struct Products<'a> {
    values: &'a [f64],
    len: usize,
}

impl Kernel for Products<'_> {
    type Output = ([f64; 6], [[f64; 6]; 6]);

    #[inline(always)]
    fn run(self) -> Self::Output {
        let (mut sums, mut products) = ([0.0; 6], [[0.0; 6]; 6]);
        for a in 0..6 {
            let row = |k: usize| &self.values[k * self.len..(k + 1) * self.len];
            sums[a] = sum_of(row(a));
            for (b, product) in products[a].iter_mut().enumerate().take(a + 1) {
                *product = dot(row(a), row(b));
            }
        }
        (sums, products)
    }
}

#[inline(always)]
fn dot(a: &[f64], b: &[f64]) -> f64 {
    let ((a, a_rest), (b, b_rest)) = (a.as_chunks::<LANES>(), b.as_chunks::<LANES>());
    let mut lanes = [0.0; LANES];
    for (a, b) in a.iter().zip(b) {
        for lane in 0..LANES {
            lanes[lane] += a[lane] * b[lane];
        }
    }
    let rest = a_rest.iter().zip(b_rest).map(|(a, b)| a * b);
    lanes.into_iter().chain(rest).sum()
}

#[inline(always)]
fn sum_of(values: &[f64]) -> f64 {
    let (chunks, rest) = values.as_chunks::<LANES>();
    let mut lanes = [0.0; LANES];
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += value;
        }
    }
    lanes.iter().chain(rest).sum()
}

/// Sums run side by side in this many lanes.
const LANES: usize = 16;

impl Moments {
    fn of(rows: [Option<&[f32]>; 6], step: usize) -> Self {
        let step = step.max(1);
        let shortest = rows.iter().flatten().map(|row| row.len()).min();
        let len = shortest.unwrap_or(0).div_ceil(step);
        // [lead, sample]; absent leads are silent.
        let mut values = vec![0.0; 6 * len];
        for (row, place) in rows.iter().zip(values.chunks_exact_mut(len.max(1))) {
            for (to, from) in place
                .iter_mut()
                .zip(row.iter().flat_map(|row| row.iter().step_by(step)))
            {
                *to = f64::from(*from);
            }
        }
        let (sums, mut raw) = simd::widest(Products {
            values: &values,
            len,
        });
        let count = len as f64;
        let mut centred = raw;
        for a in 0..6 {
            for b in 0..=a {
                raw[a][b] /= count;
                centred[a][b] = raw[a][b] - sums[a] / count * (sums[b] / count);
                raw[b][a] = raw[a][b];
                centred[b][a] = centred[a][b];
            }
        }
        Moments {
            present: rows.map(|row| row.is_some()),
            raw,
            centred,
        }
    }

    /// Mean square that the relations leave under a naming; `None` when the leads it speaks of are not there.
    fn residual(&self, moments: &[[f64; 6]; 6], naming: &Naming) -> Option<f64> {
        let there = |lead: usize| self.present[naming[lead].0];
        let moved = (0..6).any(|k| naming[k] != AS_NAMED[k] && !(self.present[k] && there(k)));
        if moved || !there(0) || !there(1) {
            return None;
        }
        let (mut sum, mut count) = (0.0, 0);
        for (lead, of_i, of_ii) in RELATIONS.into_iter().filter(|(lead, ..)| there(*lead)) {
            let terms = [(lead, 1.0), (0, -of_i), (1, -of_ii)]
                .map(|(lead, share)| (naming[lead].0, naming[lead].1 * share));
            for (a, of_a) in terms {
                for (b, of_b) in terms {
                    sum += of_a * of_b * moments[a][b];
                }
            }
            count += 1;
        }
        // Rounding may leave a little less than nothing.
        (count > 0).then(|| (sum / f64::from(count)).max(0.0))
    }

    /// The one of `namings` that makes the relations hold; the first of them is as named.
    fn name(&self, namings: &[(LimbLeads, Naming)]) -> LimbLeads {
        let left = |naming: &Naming| self.residual(&self.centred, naming).map(f64::sqrt);
        let Some(as_named) = left(&AS_NAMED) else {
            return LimbLeads::Unknown;
        };
        let present = || (0..6).filter(|k| self.present[*k]);
        let power: f64 = present().map(|k| self.centred[k][k]).sum();
        let signal = (power / present().count() as f64).sqrt();
        let (mut best, mut second) = ((as_named, LimbLeads::AsNamed), f64::INFINITY);
        for (leads, naming) in &namings[1..] {
            let Some(residual) = left(naming) else {
                continue;
            };
            if residual < best.0 {
                second = best.0;
                best = (residual, *leads);
            } else {
                second = second.min(residual);
            }
        }
        // Written so that a sum that overflowed is believed by nobody.
        let holds = |residual: f64| residual <= (HOLDS * signal).max(STEPS_MV) && signal > 0.0;
        if best.1 != LimbLeads::AsNamed
            && holds(best.0)
            && as_named > STEPS_MV
            && best.0 <= MUCH_LESS * as_named
        {
            // Two explanations that are equally good explain nothing.
            return if best.0.max(SAME * signal) <= MUCH_LESS * second {
                best.1
            } else {
                LimbLeads::Unknown
            };
        }
        if holds(as_named) {
            LimbLeads::AsNamed
        } else {
            LimbLeads::Unknown
        }
    }
}

/// I points down, aVR up, V6 up and not with I: as exchanged arm electrodes make it. A heart on the right side turns V6 too.
fn arms_reversed(i: Option<&[f32]>, avr: Option<&[f32]>, v6: Option<&[f32]>, step: usize) -> bool {
    let (Some(i), Some(avr), Some(v6)) = (i, avr, v6) else {
        return false;
    };
    let i = Centred::of(i, step);
    // Nearly always this settles it.
    let points_down = i.lop_sided() <= -LOP_SIDED;
    if !points_down {
        return false;
    }
    let [avr, v6] = [avr, v6].map(|row| Centred::of(row, step));
    let product: f64 = i.0.iter().zip(&v6.0).map(|(a, b)| a * b).sum();
    avr.lop_sided() >= LOP_SIDED
        && v6.lop_sided() > 0.0
        && product / (i.power() * v6.power()).sqrt() <= UNLIKE_V6
}

struct Centred(Vec<f64>);

impl Centred {
    fn of(row: &[f32], step: usize) -> Self {
        let values: Vec<f64> = row
            .iter()
            .step_by(step.max(1))
            .map(|v| f64::from(*v))
            .collect();
        let mean = values.iter().sum::<f64>() / values.len() as f64;
        Centred(values.into_iter().map(|v| v - mean).collect())
    }

    fn power(&self) -> f64 {
        self.0.iter().map(|v| v * v).sum()
    }

    /// Third moment by absolute third moment: -1 when all that stands out points down, 1 when up.
    fn lop_sided(&self) -> f64 {
        let (sum, all) = self.0.iter().fold((0.0, 0.0), |(sum, all), v| {
            (sum + v * v * v, all + (v * v * v).abs())
        });
        sum / all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// I and II that differ, and the other limb leads by their relations.
    fn limb() -> [Vec<f32>; 6] {
        let wave = |width: f32, late: f32, size: f32| -> Vec<f32> {
            (0..1000)
                .map(|k| {
                    let t = (k % 83) as f32 - 40.0 - late;
                    size * (-(t * t) / width).exp()
                })
                .collect()
        };
        let (i, ii) = (wave(4.0, 0.0, 0.6), wave(7.0, 2.0, 1.2));
        let mix = |a: f32, b: f32| i.iter().zip(&ii).map(|(x, y)| a * x + b * y).collect();
        [
            mix(1.0, 0.0),
            mix(0.0, 1.0),
            mix(-1.0, 1.0),
            mix(-0.5, -0.5),
            mix(1.0, -0.5),
            mix(-0.5, 1.0),
        ]
    }

    fn named(rows: &[Vec<f32>; 6], v6: Option<&[f32]>) -> LimbLeads {
        judge(rows.each_ref().map(|row| Some(row.as_slice())), v6, 1).leads
    }

    #[test]
    fn every_exchange_is_recognised() {
        let truth = limb();
        for (leads, naming) in NAMINGS {
            // Lead k is row `naming[k]` up to its sign.
            let mut rows = truth.clone();
            for (lead, (row, sign)) in naming.into_iter().enumerate() {
                rows[row] = truth[lead].iter().map(|v| v * sign as f32).collect();
            }
            assert_eq!(named(&rows, None), leads);
        }
    }

    #[test]
    fn what_cannot_be_told_is_unknown() {
        let truth = limb();
        let mut rows = truth.clone();
        rows[2] = truth[0]
            .iter()
            .zip(&truth[1])
            .map(|(i, ii)| i + ii)
            .collect();
        let limb3 = |rows: &[Vec<f32>; 6]| {
            let rows = [0, 1, 2].map(|k| Some(rows[k].as_slice()));
            judge([rows[0], rows[1], rows[2], None, None, None], None, 1)
        };
        // III = I + II: I upside down, or II and III exchanged.
        assert_eq!(limb3(&rows).leads, LimbLeads::Unknown);
        assert_eq!(limb3(&truth).leads, LimbLeads::AsNamed);
        assert!(limb3(&truth).residual_mv.unwrap() < 1e-6);
        rows[2]
            .iter_mut()
            .enumerate()
            .for_each(|(k, v)| *v = (k % 7) as f32);
        assert_eq!(limb3(&rows).leads, LimbLeads::Unknown);
        assert!(limb3(&rows).residual_mv.unwrap() > 0.5);
        let nothing = judge([None; 6], None, 1);
        assert_eq!(
            (nothing.residual_mv, nothing.leads),
            (None, LimbLeads::Unknown)
        );
    }

    #[test]
    fn exchanged_arm_electrodes_are_suspected() {
        let [i, ii, iii, avr, avl, avf] = limb();
        let v6 = ii.clone();
        // As named, and with the arms exchanged: I upside down, II and III, aVR and aVL in each other's place.
        let right = [
            i.clone(),
            ii.clone(),
            iii.clone(),
            avr.clone(),
            avl.clone(),
            avf.clone(),
        ];
        assert_eq!(named(&right, Some(&v6)), LimbLeads::AsNamed);
        let weak: Vec<f32> = i
            .iter()
            .zip(&ii)
            .map(|(i, ii)| 0.9 * i + 0.1 * ii)
            .collect();
        let (i, ii) = (weak, i.iter().map(|v| 0.4 * v).collect::<Vec<f32>>());
        let mix = |a: f32, b: f32| -> Vec<f32> {
            i.iter().zip(&ii).map(|(x, y)| a * x + b * y).collect()
        };
        let turned = [
            mix(-1.0, 0.0),
            mix(-1.0, 1.0),
            mix(0.0, 1.0),
            mix(1.0, -0.5),
            mix(-0.5, -0.5),
            mix(-0.5, 1.0),
        ];
        assert_eq!(named(&turned, Some(&v6)), LimbLeads::ArmsReversed);
        let mirrored: Vec<f32> = v6.iter().map(|v| -v).collect();
        assert_eq!(named(&turned, Some(&mirrored)), LimbLeads::AsNamed);
        assert_eq!(named(&turned, None), LimbLeads::AsNamed);
    }

    #[test]
    fn augmented_leads_are_found_in_any_order() {
        let [i, ii, _, r, l, f] = limb();
        let order = |a: &[f32], b: &[f32], c: &[f32]| augmented_order(&i, &ii, [a, b, c]);
        assert_eq!(order(&r, &l, &f), Some([Lead::AVR, Lead::AVL, Lead::AVF]));
        assert_eq!(order(&l, &f, &r), Some([Lead::AVL, Lead::AVF, Lead::AVR]));
        assert_eq!(order(&f, &r, &l), Some([Lead::AVF, Lead::AVR, Lead::AVL]));
        assert_eq!(order(&r, &f, &l), Some([Lead::AVR, Lead::AVF, Lead::AVL]));
        assert_eq!(order(&f, &l, &r), Some([Lead::AVF, Lead::AVL, Lead::AVR]));
        assert_eq!(order(&l, &r, &f), Some([Lead::AVL, Lead::AVR, Lead::AVF]));
        assert_eq!(order(&i, &ii, &i), None);
        assert_eq!(order(&[0.0; 1000], &[0.0; 1000], &[0.0; 1000]), None);
        assert_eq!(augmented_order(&i, &ii[1..], [&r, &l, &f]), None);
        assert_eq!(augmented_order::<f32>(&[], &[], [&[], &[], &[]]), None);
    }

    #[test]
    fn names_are_read_back() {
        for leads in LimbLeads::ALL {
            assert_eq!(LimbLeads::from_name(leads.name()), Some(leads));
            assert_eq!(serde_json::to_value(leads).unwrap(), leads.name());
        }
        assert_eq!(LimbLeads::from_name("?"), None);
    }
}
