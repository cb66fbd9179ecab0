//! Requests and answers as JSON lines, the same as in peers/worker.py:
//!
//! - `setup ROW` makes a row, `answer ROW` leaves what it computes in EXCHANGE/ROW.answer.safetensors,
//! - `measure ROW SECONDS CLOCK` gives the median seconds of one call, on the wall's clock or the processor's,
//! - `bounds ROW` says in words how near to the machine's limits the last of these came, `drop ROW` frees the row.

#![allow(unsafe_code)]

use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::exchange::Answer;
use crate::{clear, cluster, dbeta, deri, descriptors, hubert, signals, texts, writing};

/// One thing to measure.
pub trait Row {
    /// What the peer must compute too.
    fn answer(&mut self) -> Result<Answer>;
    /// One call.
    fn run(&mut self) -> Result<()>;
    /// Given the seconds of a call: how near it came to the limits of the machine, where that is worth saying.
    fn bounds(&mut self, _seconds: f64) -> Option<String> {
        None
    }
}

/// What time is taken from.
#[derive(Clone, Copy, Default, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Clock {
    /// That on the wall.
    #[default]
    Wall,
    /// That of the processor, all threads of this process together.
    Processor,
}

impl Clock {
    /// Seconds since some time.
    pub fn now(self) -> f64 {
        let id = match self {
            Clock::Wall => libc::CLOCK_MONOTONIC,
            Clock::Processor => libc::CLOCK_PROCESS_CPUTIME_ID,
        };
        let mut time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 0,
        };
        // SAFETY: the call writes to the structure it is given, which lives on this stack.
        let failed = unsafe { libc::clock_gettime(id, &mut time) } != 0;
        assert!(!failed, "every system has both clocks");
        time.tv_sec as f64 + time.tv_nsec as f64 * 1e-9
    }
}

#[derive(Deserialize)]
struct Request {
    op: String,
    row: String,
    #[serde(default)]
    seconds: f64,
    #[serde(default)]
    clock: Clock,
}

#[derive(Default, Serialize)]
struct Reply {
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Answers requests until standard input ends.
pub fn serve(data: &Path, exchange: &Path) -> Result<()> {
    let mut rows: HashMap<String, Made> = HashMap::new();
    for line in std::io::stdin().lock().lines() {
        let request: Request = serde_json::from_str(&line?)?;
        let reply = handle(&mut rows, &request, data, exchange).unwrap_or_else(|error| Reply {
            error: Some(error.to_string()),
            ..Reply::default()
        });
        let mut out = std::io::stdout().lock();
        writeln!(out, "{}", serde_json::to_string(&reply)?)?;
        out.flush()?;
    }
    Ok(())
}

fn handle(
    rows: &mut HashMap<String, Made>,
    request: &Request,
    data: &Path,
    exchange: &Path,
) -> Result<Reply> {
    let name = request.row.as_str();
    let mut reply = Reply::default();
    match request.op.as_str() {
        "setup" => {
            let row = make(name, data, exchange)?;
            rows.insert(name.to_owned(), Made { row, seconds: 0.0 });
        }
        "answer" => {
            let path = exchange.join(format!("{name}.answer.safetensors"));
            made(rows, name)?.row.answer()?.save(&path)?;
        }
        "measure" => {
            let limit = Duration::from_secs_f64(request.seconds);
            let seconds = measure(made(rows, name)?.row.as_mut(), limit, request.clock)?;
            made(rows, name)?.seconds = seconds;
            reply.seconds = Some(seconds);
        }
        "bounds" => {
            let Made { row, seconds } = made(rows, name)?;
            reply.text = row.bounds(*seconds);
        }
        "drop" => {
            rows.remove(name);
        }
        other => return Err(format!("unknown request `{other}`").into()),
    }
    Ok(reply)
}

/// A row, and the seconds of a call in its last measurement.
struct Made {
    row: Box<dyn Row>,
    seconds: f64,
}

fn made<'a>(rows: &'a mut HashMap<String, Made>, name: &str) -> Result<&'a mut Made> {
    rows.get_mut(name)
        .ok_or_else(|| format!("row `{name}` was not set up").into())
}

fn make(name: &str, data: &Path, exchange: &Path) -> Result<Box<dyn Row>> {
    Ok(match name {
        "read_wfdb" => Box::new(signals::ReadWfdb::new(data)?),
        "xqrs_100" => Box::new(signals::DetectPeaks::new(data, 100)?),
        "xqrs_500" => Box::new(signals::DetectPeaks::new(data, 500)?),
        "tokenise" => Box::new(signals::Tokenise::new(data)?),
        name if name.starts_with("descriptors") => {
            Box::new(descriptors::Describe::new(name, exchange)?)
        }
        name if name.starts_with("kmeans_assign") => {
            Box::new(cluster::Assign::new(name, exchange)?)
        }
        "clear_pretrain_step" => Box::new(clear::PretrainStep::new(name, exchange)?),
        name if name.starts_with("clear_base_infer") => {
            Box::new(clear::Infer::new(name, exchange)?)
        }
        "hubert_pretrain_step" => Box::new(hubert::PretrainStep::new(name, exchange)?),
        name if name.starts_with("hubert_base_infer") => {
            Box::new(hubert::Infer::new(name, exchange)?)
        }
        "dbeta_pretrain_step" => Box::new(dbeta::PretrainStep::new(name, exchange)?),
        name if name.starts_with("dbeta_base_infer") => {
            Box::new(dbeta::Infer::new(name, exchange)?)
        }
        "deri_pretrain_step" => Box::new(deri::PretrainStep::new(name, exchange)?),
        name if name.starts_with("deri_resnet18_infer") => {
            Box::new(deri::Infer::new(name, exchange)?)
        }
        "gpt2_train_step" => Box::new(writing::TrainStep::new(name, exchange)?),
        name if name.starts_with("gpt2_generate") => {
            Box::new(writing::Generate::new(name, exchange)?)
        }
        "text_scores" => Box::new(writing::Scores::new(name, exchange)?),
        "bert_infer_f32" => Box::new(texts::Encode::new(name, exchange)?),
        "n3s_least_similar" => Box::new(texts::LeastSimilar::new(name, exchange)?),
        name if name.starts_with("text_embed_corpus") => {
            Box::new(texts::Corpus::new(name, exchange)?)
        }
        name if name.ends_with("_encode") => Box::new(texts::Encode::new(name, exchange)?),
        _ => return Err(format!("unknown row `{name}`").into()),
    })
}

/// Median of as many calls as fit into `limit`, three at least.
fn measure(row: &mut dyn Row, limit: Duration, clock: Clock) -> Result<f64> {
    let mut times = Vec::new();
    let begin = Instant::now();
    while times.len() < 3 || begin.elapsed() < limit {
        let start = clock.now();
        row.run()?;
        times.push(clock.now() - start);
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}
