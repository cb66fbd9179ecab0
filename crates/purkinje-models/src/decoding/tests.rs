use super::*;

/// A model whose probabilities depend on the whole sequence and on a seed of its own for each.
struct Chain {
    seeds: Vec<u64>,
    vocabulary: usize,
    /// How much more likely the end is.
    end: f32,
    /// Whether each step reads the whole sequence anew.
    anew: bool,
}

#[derive(Clone)]
struct Row {
    seed: u64,
    read: Vec<u32>,
    hash: u64,
}

fn mixed(hash: u64, token: u32) -> u64 {
    let x = (hash ^ u64::from(token)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (x ^ (x >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

impl Chain {
    fn scores(&self, hash: u64) -> Vec<f32> {
        let mut own: Vec<f32> = (0..self.vocabulary as u32)
            .map(|token| (mixed(hash, token + 1000) >> 40) as f32 / (1u64 << 22) as f32)
            .collect();
        own[1] += self.end;
        let total: f32 = own.iter().map(|x| x.exp()).sum();
        own.iter().map(|x| x - total.ln()).collect()
    }
}

impl NextToken for Chain {
    type State = Vec<Row>;

    fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    fn positions(&self) -> Option<usize> {
        Some(40)
    }

    fn sequences(&self) -> usize {
        self.seeds.len()
    }

    fn start(&self) -> Vec<Row> {
        let row = |seed: &u64| Row {
            seed: *seed,
            read: Vec::new(),
            hash: *seed,
        };
        self.seeds.iter().map(row).collect()
    }

    fn step(&self, state: &mut Vec<Row>, tokens: &[u32]) -> Result<Vec<f32>, String> {
        assert_eq!(state.len(), tokens.len());
        let mut all = Vec::new();
        for (row, &token) in state.iter_mut().zip(tokens) {
            row.read.push(token);
            row.hash = match self.anew {
                true => row
                    .read
                    .iter()
                    .fold(row.seed, |hash, token| mixed(hash, *token)),
                false => mixed(row.hash, token),
            };
            all.extend(self.scores(row.hash));
        }
        Ok(all)
    }

    fn reorder(&self, state: &mut Vec<Row>, rows: &[usize]) {
        *state = rows.iter().map(|&row| state[row].clone()).collect();
    }
}

fn chain(seeds: &[u64], end: f32) -> Chain {
    Chain {
        seeds: seeds.to_vec(),
        vocabulary: 11,
        end,
        anew: false,
    }
}

fn settings() -> Vec<Decoding> {
    let mut all = Vec::new();
    for beams in [1, 2, 3, 5, 11] {
        let penalties = [0.0, 1.0, 2.0, -0.5];
        let finishes = penalties.map(|length_penalty| Finish::Penalised { length_penalty });
        for finish in finishes.into_iter().chain([Finish::Summed]) {
            for max_tokens in [2, 9, 25] {
                all.push(Decoding {
                    beams,
                    max_tokens,
                    start: 0,
                    end: 1,
                    finish,
                });
            }
        }
    }
    all
}

#[test]
fn a_sequence_is_the_same_alone_among_others_and_read_anew() {
    let seeds: Vec<u64> = (1..9).collect();
    for how in settings() {
        for end in [-2.0, 0.0, 1.0] {
            let together = write(&chain(&seeds, end), &how).unwrap();
            let anew = Chain {
                anew: true,
                ..chain(&seeds, end)
            };
            assert_eq!(write(&anew, &how).unwrap(), together);
            for (seed, expected) in seeds.iter().zip(&together) {
                let alone = write(&chain(&[*seed], end), &how).unwrap();
                assert_eq!(&alone[0], expected, "{how:?}");
            }
        }
    }
}

/// The rules of [`Finish`] once more, for one sequence, with all continuations sorted and nothing left out.
fn plainly(model: &Chain, how: &Decoding) -> (Vec<u32>, f64) {
    let (mut running, mut recorded) = (vec![(vec![how.start], 0f32)], Vec::new());
    let score = |sum: f32, tokens: usize| how.score(sum, tokens - 1);
    for position in 1..how.max_tokens {
        let mut all: Vec<(Vec<u32>, f32)> = Vec::new();
        for (tokens, sum) in &running {
            let hash = tokens
                .iter()
                .fold(model.seeds[0], |hash, token| mixed(hash, *token));
            for (token, own) in model.scores(hash).iter().enumerate() {
                let tokens = [&tokens[..], &[token as u32]].concat();
                all.push((tokens, sum + own));
            }
        }
        all.sort_by(|a, b| b.1.total_cmp(&a.1));
        if how.finish == Finish::Summed {
            all.truncate(how.beams);
            for (tokens, sum) in &mut all {
                if tokens.last() == Some(&how.end) || position + 1 == how.max_tokens {
                    recorded.push((tokens.clone(), f64::from(*sum)));
                    *sum -= 1000.0;
                }
            }
            running = all;
            continue;
        }
        all.truncate(2 * how.beams);
        let best = score(all[0].1, position + 1);
        running = Vec::new();
        for (rank, (tokens, sum)) in all.into_iter().enumerate() {
            if tokens.last() != Some(&how.end) {
                running.push((tokens, sum));
            } else if rank < how.beams {
                let own = score(sum, tokens.len());
                recorded.push((tokens, own));
            }
        }
        running.truncate(how.beams);
        recorded.sort_by(|a, b| b.1.total_cmp(&a.1));
        recorded.truncate(how.beams);
        if recorded.len() == how.beams && recorded[how.beams - 1].1 >= best {
            running.clear();
            break;
        }
    }
    if how.finish != Finish::Summed {
        recorded.extend(running.into_iter().map(|(tokens, sum)| {
            let own = score(sum, tokens.len());
            (tokens, own)
        }));
    }
    recorded.sort_by(|a, b| b.1.total_cmp(&a.1));
    recorded.swap_remove(0)
}

#[test]
fn searches_follow_their_rules() {
    let mut lengths = std::collections::BTreeSet::new();
    for how in settings() {
        let greedy = how.beams == 1 && how.finish != Finish::Summed;
        for seed in (0..30).filter(|_| !greedy) {
            let model = chain(&[seed], 0.5);
            let found = write(&model, &how).unwrap().remove(0);
            let (tokens, score) = plainly(&model, &how);
            assert_eq!(found.tokens, tokens, "{how:?}");
            assert!((found.score - score).abs() < 1e-9);
            lengths.insert(tokens.len());
        }
    }
    assert!(lengths.len() > 5, "{lengths:?}");
}

#[test]
fn one_beam_takes_the_most_likely_token() {
    let model = chain(&[3], 0.0);
    let how = Decoding {
        beams: 1,
        max_tokens: 30,
        start: 0,
        end: 1,
        finish: Finish::Penalised {
            length_penalty: 1.0,
        },
    };
    let found = write(&model, &how).unwrap().remove(0);
    let (mut hash, mut tokens) = (mixed(3, 0), vec![0]);
    while tokens.len() < 30 && tokens.last() != Some(&1) {
        let scores = model.scores(hash);
        let best = (0..11)
            .rev()
            .max_by(|&a, &b| scores[a].total_cmp(&scores[b]));
        tokens.push(best.unwrap() as u32);
        hash = mixed(hash, best.unwrap() as u32);
    }
    assert_eq!(found.tokens, tokens);
}

#[test]
fn settings_that_do_not_fit_are_said() {
    let good = Decoding {
        beams: 3,
        max_tokens: 20,
        start: 0,
        end: 1,
        finish: Finish::Summed,
    };
    let penalty = Finish::Penalised {
        length_penalty: f64::NAN,
    };
    for (how, problem) in [
        (Decoding { beams: 0, ..good }, "0 beams, expected 1 to 11"),
        (Decoding { beams: 12, ..good }, "12 beams, expected 1 to 11"),
        (
            Decoding {
                max_tokens: 41,
                ..good
            },
            "41 tokens, expected 2 (the start token and one more) to 40, the positions",
        ),
        (
            Decoding {
                max_tokens: 1,
                ..good
            },
            "at most 1 tokens",
        ),
        (Decoding { end: 11, ..good }, "the end token is 11"),
        (
            Decoding {
                finish: penalty,
                ..good
            },
            "length penalty of NaN",
        ),
    ] {
        let error = write(&chain(&[1], 0.0), &how).unwrap_err().to_string();
        assert!(error.contains(problem), "{error}");
    }
    let broken = chain(&[1], f32::NAN);
    let error = write(&broken, &good).unwrap_err();
    assert_eq!(error, DecodingError::NotFinite { position: 1 });
}
