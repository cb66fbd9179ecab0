//! Requests and answers as JSON lines, the same as in peers/worker.py:
//!
//! - `setup ROW` makes a row, `answer ROW` leaves what it computes in EXCHANGE/ROW.answer.safetensors,
//! - `measure ROW SECONDS` gives the median seconds of one call, `drop ROW` frees the row.

use std::collections::HashMap;
use std::io::{BufRead, Write};
use std::path::Path;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use crate::Result;
use crate::exchange::Answer;
use crate::{clear, hubert, signals};

/// One thing to measure.
pub trait Row {
    /// What the peer must compute too.
    fn answer(&mut self) -> Result<Answer>;
    /// One call.
    fn run(&mut self) -> Result<()>;
}

#[derive(Deserialize)]
struct Request {
    op: String,
    row: String,
    #[serde(default)]
    seconds: f64,
}

#[derive(Default, Serialize)]
struct Reply {
    #[serde(skip_serializing_if = "Option::is_none")]
    seconds: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
}

/// Answers requests until standard input ends.
pub fn serve(data: &Path, exchange: &Path) -> Result<()> {
    let mut rows: HashMap<String, Box<dyn Row>> = HashMap::new();
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
    rows: &mut HashMap<String, Box<dyn Row>>,
    request: &Request,
    data: &Path,
    exchange: &Path,
) -> Result<Reply> {
    let name = request.row.as_str();
    let mut reply = Reply::default();
    match request.op.as_str() {
        "setup" => {
            rows.insert(name.to_owned(), make(name, data, exchange)?);
        }
        "answer" => {
            let path = exchange.join(format!("{name}.answer.safetensors"));
            made(rows, name)?.answer()?.save(&path)?;
        }
        "measure" => {
            let limit = Duration::from_secs_f64(request.seconds);
            reply.seconds = Some(measure(made(rows, name)?.as_mut(), limit)?);
        }
        "drop" => {
            rows.remove(name);
        }
        other => return Err(format!("unknown request `{other}`").into()),
    }
    Ok(reply)
}

fn made<'a>(
    rows: &'a mut HashMap<String, Box<dyn Row>>,
    name: &str,
) -> Result<&'a mut Box<dyn Row>> {
    rows.get_mut(name)
        .ok_or_else(|| format!("row `{name}` was not set up").into())
}

fn make(name: &str, data: &Path, exchange: &Path) -> Result<Box<dyn Row>> {
    Ok(match name {
        "read_wfdb" => Box::new(signals::ReadWfdb::new(data)?),
        "xqrs_100" => Box::new(signals::DetectPeaks::new(data, 100)?),
        "xqrs_500" => Box::new(signals::DetectPeaks::new(data, 500)?),
        "tokenise" => Box::new(signals::Tokenise::new(data)?),
        "clear_pretrain_step" => Box::new(clear::PretrainStep::new(name, exchange)?),
        name if name.starts_with("clear_base_infer") => {
            Box::new(clear::Infer::new(name, exchange)?)
        }
        "hubert_pretrain_step" => Box::new(hubert::PretrainStep::new(name, exchange)?),
        name if name.starts_with("hubert_base_infer") => {
            Box::new(hubert::Infer::new(name, exchange)?)
        }
        _ => return Err(format!("unknown row `{name}`").into()),
    })
}

/// Median of as many calls as fit into `limit`, three at least.
fn measure(row: &mut dyn Row, limit: Duration) -> Result<f64> {
    let mut times = Vec::new();
    let begin = Instant::now();
    while times.len() < 3 || begin.elapsed() < limit {
        let start = Instant::now();
        row.run()?;
        times.push(start.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}
