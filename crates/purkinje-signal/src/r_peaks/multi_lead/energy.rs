//! From samples to the curve of QRS energy, a frame at a time: its candidates and how high it is.

use std::ops::Range;

use crate::beats::Sample;

/// Width of the wavelet in seconds.
const WAVELET_S: f32 = 0.012;
/// Length of a frame; the last one is up to twice as long.
const FRAME_S: f32 = 10.0;
/// Length of a block, which holds a beat at 50 per minute and above.
const BLOCK_S: f32 = 1.2;
/// Length of a piece, which lies between beats more often than not.
const PIECE_S: f32 = 0.1;
/// Width over which the curve is smoothed.
const SMOOTH_S: f32 = 0.09;
/// Candidates are the largest within this distance.
const RADIUS_S: f32 = 0.1;
/// The centre of a beat is looked for this far from its highest point.
const CENTRE_S: f32 = 0.06;
/// Rank among blocks of what counts as the typical beat: with every second or third block empty it is still one.
pub(super) const TYPICAL: f32 = 0.65;
/// Most that one lead may show, in typical beats: artefacts of one lead stay below the beats of all.
const LIMIT: f32 = 1.5;
/// Floor of a lead's noise, as a fraction of its beats, when leads are weighted.
const CLEAN: f32 = 0.05;

/// Samples that are filtered side by side.
const LANES: usize = 16;

/// A local maximum of the curve.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Candidate {
    /// Sample of the curve.
    pub at: usize,
    /// Centre of the energy around it, in samples of the curve.
    pub centre: f64,
    /// Height of the curve.
    pub height: f32,
    /// The frame it lies in.
    pub frame: usize,
    /// The block it lies in, counted over all frames.
    pub block: usize,
}

/// How high the curve is in one frame.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Level {
    /// Highest value of each block.
    pub blocks: Vec<f32>,
    /// Typical height between beats: the median of the highest values of pieces.
    pub between: f32,
    /// Typical lowest value of pieces.
    pub floor: f32,
}

/// Lengths in samples of the curve.
#[derive(Clone, Copy, Debug)]
struct Lengths {
    frame: usize,
    block: usize,
    piece: usize,
    smooth: usize,
    radius: usize,
    centre: usize,
}

#[derive(Clone, Debug)]
pub(super) struct Frames {
    /// Samples of the signal in one of the curve.
    step: usize,
    rate_hz: f64,
    /// The right half of the symmetric wavelet, its centre first and halved, because it is added to both sides.
    wavelet: Vec<f32>,
    lengths: Lengths,
    leads: Vec<Row>,
    /// Sample of the curve at which the rows begin, and at which the next frame begins.
    origin: usize,
    next: usize,
    levels: Vec<Level>,
    blocks: usize,
    candidates: Vec<Candidate>,
    weights: Vec<f64>,
    work: Work,
}

/// One lead, averaged down, as far as it is still needed.
#[derive(Clone, Debug, Default)]
struct Row {
    values: Vec<f32>,
    /// Places of `values` that had no sample, as ranges of the curve.
    gaps: Vec<Range<usize>>,
    /// Samples of the signal that do not fill a step yet: their number, how many are finite, and the sum of those.
    pending: (usize, usize, f64),
    /// The first finite sample, from which all are measured.
    first: Option<f64>,
}

#[derive(Clone, Debug, Default)]
struct Work {
    extended: Vec<f32>,
    energy: Vec<f32>,
    curve: Vec<f32>,
    smooth: Vec<f32>,
    maxima: Vec<f32>,
    blocks: Vec<f32>,
    sorted: Vec<f32>,
}

impl Frames {
    pub(super) fn new(rate_hz: f64, leads: usize) -> Self {
        let step = ((rate_hz / 100.0).floor() as usize).max(1);
        let rate = rate_hz / step as f64;
        let samples = |seconds: f32| ((seconds * rate as f32).round() as usize).max(1);
        Frames {
            step,
            rate_hz: rate,
            wavelet: wavelet((WAVELET_S * rate as f32).max(1.0)),
            lengths: Lengths {
                frame: samples(FRAME_S),
                block: samples(BLOCK_S),
                piece: samples(PIECE_S),
                smooth: samples(SMOOTH_S) / 2,
                radius: samples(RADIUS_S),
                centre: samples(CENTRE_S),
            },
            leads: vec![Row::default(); leads],
            origin: 0,
            next: 0,
            levels: Vec::new(),
            blocks: 0,
            candidates: Vec::new(),
            weights: vec![0.0; leads],
            work: Work::default(),
        }
    }

    /// Rate of the curve in hertz.
    pub(super) fn rate_hz(&self) -> f64 {
        self.rate_hz
    }

    /// A place on the curve in samples of the signal. The curve goes on beyond the end of the signal, which is held there: a beat that is
    /// cut off by the end may have its centre outside.
    pub(super) fn source_sample(&self, place: f64) -> f64 {
        let place = place.min(self.end().saturating_sub(1) as f64);
        place * self.step as f64 + (self.step - 1) as f64 / 2.0
    }

    pub(super) fn reset(&mut self) {
        self.leads.iter_mut().for_each(Row::reset);
        (self.origin, self.next, self.blocks) = (0, 0, 0);
        self.levels.clear();
        self.candidates.clear();
        self.weights.fill(0.0);
    }

    pub(super) fn push<S: Sample>(&mut self, rows: &[&[S]]) {
        // Rows of one length, whatever is handed over.
        let len = rows.iter().map(|row| row.len()).min().unwrap_or(0);
        let stretch = self.lengths.frame * self.step;
        for first in (0..len).step_by(stretch) {
            let stretch = first..len.min(first + stretch);
            for (row, samples) in self.leads.iter_mut().zip(rows) {
                row.push(&samples[stretch.clone()], self.step, self.origin);
            }
            // A frame waits until the one after it is complete: the last takes the rest.
            while self.end() >= self.next + 2 * self.lengths.frame + self.margin() {
                self.frame(self.next..self.next + self.lengths.frame);
            }
        }
    }

    pub(super) fn finish(&mut self) -> (&[Level], &[Candidate], Vec<f64>) {
        let end = self.end();
        if end >= self.next + self.lengths.frame / 20 {
            self.frame(self.next..end);
        }
        let total: f64 = self.weights.iter().sum();
        let share = |weight: &f64| if total > 0.0 { weight / total } else { 0.0 };
        let weights = self.weights.iter().map(share).collect();
        (&self.levels, &self.candidates, weights)
    }

    fn end(&self) -> usize {
        self.leads
            .first()
            .map_or(0, |row| self.origin + row.values.len())
    }

    /// Samples of the curve before and after a frame that it depends on.
    fn margin(&self) -> usize {
        self.lengths.radius + self.lengths.smooth + self.wavelet.len() - 1
    }

    fn frame(&mut self, frame: Range<usize>) {
        let Lengths {
            piece,
            smooth,
            radius,
            ..
        } = self.lengths;
        let mut work = std::mem::take(&mut self.work);
        let reach = radius + smooth;
        // The curve before smoothing, from `reach` before the frame to `reach` after it.
        work.curve.clear();
        work.curve.resize(frame.len() + 2 * reach, 0.0);
        let mut total = 0.0;
        let first = frame.start as isize - reach as isize;
        for lead in 0..self.leads.len() {
            self.energy_of(&self.leads[lead], first, frame.len() + 2 * reach, &mut work);
            let inside = &work.energy[reach..reach + frame.len()];
            work.maxima.clear();
            work.maxima.extend(inside.chunks(piece).map(largest));
            let between = quantile(&work.maxima, 0.5, &mut work.sorted);
            work.blocks.clear();
            work.blocks.extend(self.largest_of_blocks(&work.maxima));
            let beat = quantile(&work.blocks, TYPICAL, &mut work.sorted);
            // Beats of less than a microvolt are arithmetic.
            if beat <= 1e-6 || beat.is_nan() {
                continue;
            }
            let weight = (between / beat + CLEAN).powi(-2);
            total += weight;
            self.weights[lead] += f64::from(weight) * frame.len() as f64;
            let scale = beat.recip();
            for (sum, energy) in work.curve.iter_mut().zip(&work.energy) {
                *sum += weight * (energy * scale).min(LIMIT);
            }
        }
        let scale = if total > 0.0 { 1.0 / total } else { 0.0 };
        work.curve.iter_mut().for_each(|value| *value *= scale);
        box_mean(&work.curve, smooth, &mut work.smooth);
        self.look(&frame, &mut work);
        self.work = work;
        self.forget(frame.end);
    }

    /// Candidates of a frame and its level; `smooth` begins `radius` before it, `curve` `radius + smooth` before it.
    fn look(&mut self, frame: &Range<usize>, work: &mut Work) {
        let Lengths {
            piece,
            smooth,
            radius,
            centre,
            ..
        } = self.lengths;
        let curve = &work.smooth;
        let number = self.levels.len();
        let inside = &curve[radius..radius + frame.len()];
        work.maxima.clear();
        work.maxima.extend(inside.chunks(piece).map(largest));
        let blocks: Vec<f32> = self.largest_of_blocks(&work.maxima).collect();
        let count = blocks.len();
        let mut at = radius;
        while at < radius + frame.len() {
            if curve[at] > 0.0 && is_peak(curve, at, radius) {
                let raw = at + smooth;
                let around = raw - centre..(raw + centre + 1).min(work.curve.len());
                let offset = frame.start as f64 - (radius + smooth) as f64;
                let place = at - radius;
                self.candidates.push(Candidate {
                    at: frame.start + place,
                    centre: (offset + centroid(&work.curve, around)).max(0.0),
                    height: curve[at],
                    frame: number,
                    block: self.blocks + place * count / frame.len(),
                });
                at += radius;
            }
            at += 1;
        }
        let between = quantile(&work.maxima, 0.5, &mut work.sorted);
        work.maxima.clear();
        work.maxima.extend(inside.chunks(piece).map(smallest));
        let floor = quantile(&work.maxima, 0.5, &mut work.sorted);
        self.blocks += blocks.len();
        self.levels.push(Level {
            blocks,
            between,
            floor,
        });
        self.next = frame.end;
    }

    /// The largest of each of equal blocks of at least [`BLOCK_S`], or of one, from the largest of each piece.
    fn largest_of_blocks<'a>(&self, pieces: &'a [f32]) -> impl Iterator<Item = f32> + use<'a> {
        let len = pieces.len();
        let count = (len * self.lengths.piece / self.lengths.block).max(1);
        (0..count)
            .map(move |block| largest(&pieces[block * len / count..(block + 1) * len / count]))
    }

    /// Energy of one lead over `len` samples of the curve from `first` on; beyond the ends the signal is held.
    fn energy_of(&self, row: &Row, first: isize, len: usize, work: &mut Work) {
        let half = self.wavelet.len() - 1;
        let begin = first - half as isize - self.origin as isize;
        let before = usize::try_from(-begin).unwrap_or(0).min(len + 2 * half);
        let from = usize::try_from(begin).unwrap_or(0).min(row.values.len());
        work.extended.clear();
        let [start, end] =
            [row.values.first(), row.values.last()].map(|v| v.copied().unwrap_or(0.0));
        work.extended.resize(before, start);
        let rest = len + 2 * half - before;
        let kept = &row.values[from..(from + rest).min(row.values.len())];
        work.extended.extend_from_slice(kept);
        let padded = len.next_multiple_of(LANES);
        work.extended.resize(padded + 2 * half, end);
        work.energy.resize(padded, 0.0);
        let (blocks, _) = work.energy.as_chunks_mut::<LANES>();
        for (block, energy) in blocks.iter_mut().enumerate() {
            let around = &work.extended[block * LANES..][..LANES + 2 * half];
            let mut sums = [0.0; LANES];
            for (k, &tap) in self.wavelet.iter().enumerate() {
                let (left, right) = (&around[half - k..][..LANES], &around[half + k..][..LANES]);
                for lane in 0..LANES {
                    sums[lane] += tap * (left[lane] + right[lane]);
                }
            }
            *energy = sums.map(|sum| sum * sum);
        }
        work.energy.truncate(len);
        // The step from a held value to the next one is no beat.
        for gap in &row.gaps {
            let place =
                |at: usize, by: isize| (at as isize + by - first).clamp(0, len as isize) as usize;
            let reach = half as isize + 1;
            work.energy[place(gap.start, -reach)..place(gap.end, reach)].fill(0.0);
        }
    }

    /// Drops what no frame from `next` on depends on.
    fn forget(&mut self, next: usize) {
        let keep = next.saturating_sub(self.margin());
        let drop = keep - self.origin.min(keep);
        if drop == 0 {
            return;
        }
        for row in &mut self.leads {
            row.values.drain(..drop.min(row.values.len()));
            row.gaps.retain(|gap| gap.end + self.wavelet.len() >= keep);
        }
        self.origin += drop;
    }
}

impl Row {
    fn reset(&mut self) {
        self.values.clear();
        self.gaps.clear();
        self.pending = (0, 0, 0.0);
        self.first = None;
    }

    /// Averages `step` samples at a time; `origin` is where `values` begins on the curve.
    fn push<S: Sample>(&mut self, mut samples: &[S], step: usize, origin: usize) {
        if self.pending.0 > 0 {
            let (some, rest) = samples.split_at(samples.len().min(step - self.pending.0));
            some.iter().for_each(|sample| self.add(sample.to_f64()));
            samples = rest;
            if self.pending.0 == step {
                self.close(origin);
            }
        }
        let whole = samples.chunks_exact(step);
        let rest = whole.remainder();
        let before = self.values.len();
        // The usual case: nothing missing, which shows in the sums.
        let first = self.first.or_else(|| Some(samples.first()?.to_f64()));
        if let Some(first) = first {
            let (values, offset) = (&mut self.values, first as f32);
            // The lengths that occur, so that the compiler knows them.
            match step {
                1 => means::<S, 1>(samples, offset, values),
                2 => means::<S, 2>(samples, offset, values),
                3 => means::<S, 3>(samples, offset, values),
                4 => means::<S, 4>(samples, offset, values),
                5 => means::<S, 5>(samples, offset, values),
                10 => means::<S, 10>(samples, offset, values),
                _ => values.extend(whole.clone().map(|samples| mean_above(samples, offset))),
            }
            if self.values[before..]
                .iter()
                .fold(true, |fine, v| fine & v.is_finite())
            {
                self.first = Some(first);
            } else {
                self.values.truncate(before);
                for samples in whole {
                    samples.iter().for_each(|sample| self.add(sample.to_f64()));
                    self.close(origin);
                }
            }
        }
        rest.iter().for_each(|sample| self.add(sample.to_f64()));
    }

    fn add(&mut self, value: f64) {
        self.pending.0 += 1;
        if value.is_finite() {
            let first = *self.first.get_or_insert(value);
            self.pending.1 += 1;
            self.pending.2 += value - first;
        }
    }

    fn close(&mut self, origin: usize) {
        let (_, count, sum) = std::mem::take(&mut self.pending);
        if count > 0 {
            self.values.push((sum / count as f64) as f32);
            return;
        }
        let at = origin + self.values.len();
        self.values.push(self.values.last().copied().unwrap_or(0.0));
        match self.gaps.last_mut() {
            Some(gap) if gap.end == at => gap.end = at + 1,
            _ => self.gaps.push(at..at + 1),
        }
    }
}

fn means<S: Sample, const STEP: usize>(samples: &[S], first: f32, means: &mut Vec<f32>) {
    let whole = samples.as_chunks::<STEP>().0;
    means.extend(whole.iter().map(|samples| mean_above(samples, first)));
}

#[inline]
fn mean_above<S: Sample>(samples: &[S], first: f32) -> f32 {
    let count = samples.len() as f32;
    (samples.iter().map(|sample| sample.to_f32()).sum::<f32>() - first * count) / count
}

/// Right half of a Mexican hat of this width in samples, centre first: no response to a constant, energy 1.
fn wavelet(width: f32) -> Vec<f32> {
    let half = (4.5 * width).ceil() as usize;
    let square = |k: usize| (k as f32 / width).powi(2);
    let bell: Vec<f32> = (0..=half).map(|k| (-square(k) / 2.0).exp()).collect();
    let mut hat: Vec<f32> = (0..=half).map(|k| (1.0 - square(k)) * bell[k]).collect();
    let both = |values: &[f32]| values[0] + 2.0 * values[1..].iter().sum::<f32>();
    let excess = both(&hat) / both(&bell);
    hat.iter_mut()
        .zip(&bell)
        .for_each(|(hat, bell)| *hat -= excess * bell);
    let energy = hat[0] * hat[0] + 2.0 * hat[1..].iter().map(|v| v * v).sum::<f32>();
    hat.iter_mut().for_each(|value| *value /= energy.sqrt());
    hat[0] /= 2.0;
    hat
}

/// Mean over `2 half + 1` values: shorter than `values` by `2 half`.
fn box_mean(values: &[f32], half: usize, means: &mut Vec<f32>) {
    let len = values.len() - 2 * half;
    means.clear();
    means.resize(len, 0.0);
    for shift in 0..=2 * half {
        for (sum, value) in means.iter_mut().zip(&values[shift..]) {
            *sum += value;
        }
    }
    let scale = 1.0 / (2 * half + 1) as f32;
    means.iter_mut().for_each(|value| *value *= scale);
}

fn is_peak(curve: &[f32], at: usize, radius: usize) -> bool {
    let value = curve[at];
    // Most samples lie on a slope.
    if curve[at - 1] > value || curve.get(at + 1).is_some_and(|next| *next > value) {
        return false;
    }
    let around = &curve[at - radius..(at + radius + 1).min(curve.len())];
    around.iter().all(|other| *other <= value)
}

/// Mean place, weighted by the square of the energy.
fn centroid(curve: &[f32], around: Range<usize>) -> f64 {
    let mut sum = (0.0, 0.0);
    for at in around.clone() {
        let weight = f64::from(curve[at]).powi(2);
        sum = (sum.0 + weight * at as f64, sum.1 + weight);
    }
    if sum.1 > 0.0 {
        sum.0 / sum.1
    } else {
        around.start as f64
    }
}

// Without the care for values that are no numbers, which none here is.
fn largest(values: &[f32]) -> f32 {
    values
        .iter()
        .fold(0.0, |most, &value| if value > most { value } else { most })
}

fn smallest(values: &[f32]) -> f32 {
    let less = |least, &value: &f32| if value < least { value } else { least };
    values.iter().fold(f32::INFINITY, less)
}

/// The value at this rank, from 0 (smallest) to 1; 0 of nothing.
pub(super) fn quantile(values: &[f32], rank: f32, sorted: &mut Vec<f32>) -> f32 {
    let Some(last) = values.len().checked_sub(1) else {
        return 0.0;
    };
    sorted.clear();
    sorted.extend_from_slice(values);
    let at = (rank * last as f32).floor() as usize;
    *sorted.select_nth_unstable_by(at, f32::total_cmp).1
}
