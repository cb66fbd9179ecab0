//! Which candidates are beats.

use super::energy::{Candidate, Level, TYPICAL, quantile};

/// Blocks on either side that say how high beats are.
const BLOCKS_AROUND: usize = 4;
/// A beat is at least this high, in beats around it.
const BEAT: f32 = 0.18;
/// With noise between beats, this many times the noise, but no more than [`BEAT_IN_NOISE`].
const OVER_NOISE: f32 = 2.0;
const BEAT_IN_NOISE: f32 = 0.45;
/// The same where an interval is too long.
const MISSED: f32 = 0.08;
const MISSED_OVER_NOISE: f32 = 1.4;
const MISSED_IN_NOISE: f32 = 0.3;
/// An interval is too long at this multiple of those around it.
const TOO_LONG: f32 = 1.6;
/// No two beats are closer.
const REFRACTORY_S: f32 = 0.2;
/// A T wave follows its beat within these times.
const T_WAVE_S: [f32; 2] = [0.16, 0.42];
/// What is lower than this fraction of the beat before it may be a T wave: whatever its beats usually show there, times
/// [`OVER_T_WAVES`], within these bounds.
const T_WAVE: [f32; 2] = [0.12, 0.35];
const OVER_T_WAVES: f32 = 2.5;
/// A P wave precedes its beat by less.
const P_WAVE_S: f32 = 0.3;
/// A missed beat keeps this distance from the beats before and after it.
const MISSED_S: [f32; 2] = [0.36, 0.3];
/// A beat is no larger than this when others are held against it.
const LARGE: f32 = 1.5;
/// Candidates of this height are beats for certain.
const CERTAIN: f32 = 0.5;
/// Where the curve does not fall below the first of these, in what is usual between beats, and that is more than the second, in
/// beats, there is nothing but noise. (A heart at 260 per minute leaves no time between beats, but falls far in it.)
const NOISE: [f32; 2] = [0.25, 0.28];

#[derive(Clone, Debug)]
pub(super) struct Chooser {
    rate_hz: f32,
    scored: Vec<Scored>,
    certain: Vec<(usize, f32)>,
    accepted: Vec<usize>,
    work: Vec<f32>,
    sorted: Vec<f32>,
}

/// A candidate beside its surroundings.
#[derive(Clone, Copy, Debug)]
struct Scored {
    at: usize,
    centre: f64,
    frame: usize,
    height: f32,
    /// Height in beats around it.
    ratio: f32,
    /// What makes a beat here, and one that was missed.
    beat: f32,
    missed: f32,
}

impl Chooser {
    pub(super) fn new(rate_hz: f64) -> Self {
        Chooser {
            rate_hz: rate_hz as f32,
            scored: Vec::new(),
            certain: Vec::new(),
            accepted: Vec::new(),
            work: Vec::new(),
            sorted: Vec::new(),
        }
    }

    /// Places of the beats on the curve, increasing.
    pub(super) fn choose(
        &mut self,
        levels: &[Level],
        candidates: &[Candidate],
    ) -> impl Iterator<Item = f64> + '_ {
        self.score(levels, candidates);
        self.accept(levels.len());
        self.fill();
        self.accepted.iter().map(|&k| self.scored[k].centre)
    }

    fn score(&mut self, levels: &[Level], candidates: &[Candidate]) {
        self.scored.clear();
        let blocks: Vec<f32> = levels
            .iter()
            .flat_map(|level| level.blocks.clone())
            .collect();
        let mut known = (usize::MAX, 0.0);
        for candidate in candidates {
            if known.0 != candidate.block {
                let width = blocks.len().min(2 * BLOCKS_AROUND + 1);
                let first = candidate.block.saturating_sub(BLOCKS_AROUND);
                let first = first.min(blocks.len() - width);
                let around = &blocks[first..first + width];
                known = (candidate.block, quantile(around, TYPICAL, &mut self.sorted));
            }
            let typical = known.1;
            let level = &levels[candidate.frame];
            let noise = level.between / typical;
            let noisy = level.floor > NOISE[0] * level.between && noise > NOISE[1];
            if typical <= 0.0 || typical.is_nan() || noisy {
                continue;
            }
            self.scored.push(Scored {
                at: candidate.at,
                centre: candidate.centre,
                frame: candidate.frame,
                height: candidate.height,
                ratio: candidate.height / typical,
                beat: (OVER_NOISE * noise).clamp(BEAT, BEAT_IN_NOISE),
                missed: (MISSED_OVER_NOISE * noise).clamp(MISSED, MISSED_IN_NOISE),
            });
        }
    }

    fn seconds(&self, from: usize, to: usize) -> f32 {
        (self.scored[to].at - self.scored[from].at) as f32 / self.rate_hz
    }

    /// Walks over the candidates from left to right.
    fn accept(&mut self, frames: usize) {
        self.find_t_waves();
        let limits: Vec<f32> = (0..frames).map(|frame| self.t_wave_limit(frame)).collect();
        let mut accepted = std::mem::take(&mut self.accepted);
        accepted.clear();
        for k in 0..self.scored.len() {
            let this = self.scored[k];
            if this.ratio < this.beat {
                continue;
            }
            let keep = loop {
                let Some(&last) = accepted.last() else {
                    break true;
                };
                let (before, apart) = (self.scored[last], self.seconds(last, k));
                if apart < REFRACTORY_S {
                    if this.ratio <= before.ratio {
                        break false;
                    }
                } else if apart < T_WAVE_S[1]
                    && this.ratio < limits[this.frame] * before.ratio.min(LARGE)
                {
                    break false;
                } else if !(apart < P_WAVE_S && before.ratio < T_WAVE[1] * this.ratio.min(LARGE)) {
                    break true;
                }
                accepted.pop();
            };
            if keep {
                accepted.push(k);
            }
        }
        self.accepted = accepted;
    }

    /// For every certain beat, the highest of what follows it at the distance of a T wave, in beats.
    fn find_t_waves(&mut self) {
        self.certain.clear();
        for k in 0..self.scored.len() {
            let beat = self.scored[k];
            if beat.ratio <= CERTAIN {
                continue;
            }
            let after = self.scored[k + 1..].iter().enumerate();
            let wave = after
                .map(|(n, next)| (self.seconds(k, k + 1 + n), next))
                .take_while(|(apart, _)| *apart < T_WAVE_S[1])
                .filter(|(apart, next)| *apart > T_WAVE_S[0] && next.ratio <= CERTAIN)
                .map(|(_, next)| next.height / beat.height)
                .fold(0.0, f32::max);
            self.certain.push((beat.frame, wave));
        }
    }

    fn t_wave_limit(&mut self, frame: usize) -> f32 {
        let near = frame.saturating_sub(1)..=frame + 1;
        let first = self
            .certain
            .partition_point(|(frame, _)| frame < near.start());
        let end = self
            .certain
            .partition_point(|(frame, _)| frame <= near.end());
        self.work.clear();
        self.work
            .extend(self.certain[first..end].iter().map(|(_, wave)| wave));
        let usual = quantile(&self.work, 0.5, &mut self.sorted);
        (OVER_T_WAVES * usual).clamp(T_WAVE[0], T_WAVE[1])
    }

    /// Looks again where an interval is far longer than those around it.
    fn fill(&mut self) {
        if self.accepted.len() < 3 {
            return;
        }
        let mut found = Vec::new();
        let mut open = Vec::new();
        for n in 0..self.accepted.len() - 1 {
            let near = &self.accepted[n.saturating_sub(8)..(n + 10).min(self.accepted.len())];
            let mut intervals = std::mem::take(&mut self.work);
            intervals.clear();
            intervals.extend(near.windows(2).map(|pair| self.seconds(pair[0], pair[1])));
            let longest = TOO_LONG * quantile(&intervals, 0.5, &mut self.sorted);
            self.work = intervals;
            open.push((self.accepted[n], self.accepted[n + 1]));
            while let Some((first, last)) = open.pop() {
                if self.seconds(first, last) > longest
                    && let Some(missed) = self.highest_between(first, last)
                {
                    found.push(missed);
                    open.extend([(first, missed), (missed, last)]);
                }
            }
        }
        self.accepted.extend(found);
        self.accepted.sort_unstable();
    }

    /// The highest candidate that may be a beat between two others.
    fn highest_between(&self, first: usize, last: usize) -> Option<usize> {
        let fits = |&k: &usize| {
            self.scored[k].ratio > self.scored[k].missed
                && self.seconds(first, k) > MISSED_S[0]
                && self.seconds(k, last) > MISSED_S[1]
        };
        let ratio = |k: &usize| self.scored[*k].ratio;
        (first + 1..last)
            .filter(fits)
            .max_by(|a, b| ratio(a).total_cmp(&ratio(b)))
    }
}
