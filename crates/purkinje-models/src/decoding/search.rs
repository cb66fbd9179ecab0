//! The search for one sequence.

use super::candidates::{self, Candidate};
use super::{Decoding, Finish, Written};

/// By how much a beam that ended is lowered where it goes on.
const LOWERED: f32 = 1000.0;

/// A sequence that goes on.
#[derive(Clone, Debug)]
pub(super) struct Beam {
    tokens: Vec<u32>,
    sum: f32,
}

impl Beam {
    pub fn last(&self) -> u32 {
        // It begins with the start token.
        self.tokens.last().copied().unwrap_or_default()
    }

    fn followed(&self, next: Candidate) -> Beam {
        let mut tokens = self.tokens.clone();
        tokens.push(next.token);
        Beam {
            tokens,
            sum: next.sum,
        }
    }

    fn recorded(&self, how: &Decoding) -> Written {
        Written {
            tokens: self.tokens.clone(),
            log_probability: self.sum,
            score: how.score(self.sum, self.tokens.len() - 1),
        }
    }
}

/// The sequences of one search: those that go on, and those that ended.
#[derive(Clone, Debug)]
pub(super) struct Search {
    /// None once it is over.
    pub beams: Vec<Beam>,
    recorded: Vec<Written>,
}

impl Search {
    pub fn new(how: &Decoding) -> Self {
        let beam = Beam {
            tokens: vec![how.start],
            sum: 0.0,
        };
        Search {
            beams: vec![beam],
            recorded: Vec::new(),
        }
    }

    /// One step by `scores` `[beams, vocabulary]`, to the token of this `position`; returns which beam each new one follows. `None`
    /// when nothing can follow.
    pub fn advance(
        &mut self,
        how: &Decoding,
        scores: &[f32],
        vocabulary: usize,
        position: usize,
    ) -> Option<Vec<usize>> {
        if self.beams.is_empty() {
            return Some(Vec::new());
        }
        let sums: Vec<f32> = self.beams.iter().map(|beam| beam.sum).collect();
        let count = match how.finish {
            Finish::Penalised { .. } if how.beams > 1 => 2 * how.beams,
            _ => how.beams,
        };
        let found = candidates::best(&sums, scores, vocabulary, count);
        let best = found.first()?.sum;
        let last = position + 1 == how.max_tokens;
        let (beams, origins) = match how.finish {
            Finish::Penalised { .. } if how.beams > 1 => self.penalised(how, &found),
            Finish::Penalised { .. } => self.greedy(how, found[0]),
            Finish::Summed => self.summed(how, &found, last),
        };
        self.beams = beams;
        let over = match how.finish {
            Finish::Summed => {
                // Sums only fall.
                let recorded = self.recorded.iter().map(|own| own.score);
                let recorded = recorded.fold(f64::NEG_INFINITY, f64::max);
                self.beams
                    .iter()
                    .all(|beam| f64::from(beam.sum) <= recorded)
            }
            Finish::Penalised { .. } => {
                self.recorded.len() >= how.beams && self.worst() >= how.score(best, position)
            }
        };
        if over || last {
            let running = std::mem::take(&mut self.beams);
            // A search that is over has nothing better; at the limit all count.
            if !over && !matches!(how.finish, Finish::Summed) {
                running.iter().for_each(|beam| self.record(how, beam));
            }
            return Some(Vec::new());
        }
        Some(origins)
    }

    /// The most likely token.
    fn greedy(&mut self, how: &Decoding, next: Candidate) -> (Vec<Beam>, Vec<usize>) {
        let beam = self.beams[next.beam].followed(next);
        if next.token == how.end {
            self.record(how, &beam);
            return (Vec::new(), Vec::new());
        }
        (vec![beam], vec![next.beam])
    }

    fn penalised(&mut self, how: &Decoding, found: &[Candidate]) -> (Vec<Beam>, Vec<usize>) {
        let (mut beams, mut origins) = (Vec::new(), Vec::new());
        for (rank, next) in found.iter().enumerate() {
            let beam = self.beams[next.beam].followed(*next);
            if next.token == how.end {
                if rank < how.beams {
                    self.record(how, &beam);
                }
                continue;
            }
            beams.push(beam);
            origins.push(next.beam);
            if beams.len() == how.beams {
                break;
            }
        }
        (beams, origins)
    }

    fn summed(
        &mut self,
        how: &Decoding,
        found: &[Candidate],
        last: bool,
    ) -> (Vec<Beam>, Vec<usize>) {
        let (mut beams, mut origins) = (Vec::new(), Vec::new());
        for next in found {
            let mut beam = self.beams[next.beam].followed(*next);
            if next.token == how.end || last {
                self.recorded.push(beam.recorded(how));
                beam.sum -= LOWERED;
            }
            beams.push(beam);
            origins.push(next.beam);
        }
        (beams, origins)
    }

    /// Keeps as many sequences as there are beams.
    fn record(&mut self, how: &Decoding, beam: &Beam) {
        let (own, worst) = (beam.recorded(how), self.worst());
        if self.recorded.len() >= how.beams {
            if own.score <= worst {
                return;
            }
            let at = self.recorded.iter().position(|own| own.score == worst);
            if let Some(at) = at {
                self.recorded.remove(at);
            }
        }
        self.recorded.push(own);
    }

    /// The lowest score that is recorded.
    fn worst(&self) -> f64 {
        let scores = self.recorded.iter().map(|own| own.score);
        scores.fold(f64::INFINITY, f64::min)
    }

    /// The best sequence.
    pub fn best(self, how: &Decoding) -> Written {
        let mut best: Option<Written> = None;
        for own in self.recorded {
            if best.as_ref().is_none_or(|best| own.score > best.score) {
                best = Some(own);
            }
        }
        best.unwrap_or_else(|| Written {
            tokens: vec![how.start],
            log_probability: 0.0,
            score: 0.0,
        })
    }
}
