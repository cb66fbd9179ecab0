//! HuBERT-ECG's learning rate, bookkeeping of validations, and masks: kind `schedules`.

use purkinje_base::legacy_random::Mt19937;
use purkinje_models::hubert::{HubertConfig, TokenMasking, span_count};
use purkinje_train::early_stopping::{
    Behaviour, EarlyStopping, Regularisation, StoppingConfig, Verdict,
};
use purkinje_train::schedule::LinearSchedule;
use serde_json::Value;

use crate::Check;
use crate::compare::{Findings, Tolerance};
use crate::entry::{index_or, number_or, seed_or};
use crate::io::Io;
use crate::walk::Case;

/// The kinds checked here.
pub const CHECKS: &[(&str, Check)] = &[("schedules", schedules)];

const CLOSE: Tolerance = Tolerance::relative(1e-12);
/// Seed of the masks, where the case does not say.
const MASK_SEED: u32 = 25;

fn schedules(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let mut io = Io::open(case)?;
    for name in io.between("lr.", "") {
        let name = format!("lr.{name}");
        let expected = io.f64(&name)?;
        let schedule = of_curve(&expected)?;
        let found: Vec<f64> = (0..expected.len()).map(|step| schedule.at(step)).collect();
        io.close(findings, &name, &found, CLOSE)?;
    }
    if case.has("regulariser.json") {
        let traces = case.json("regulariser.json")?;
        for (name, trace) in traces.as_object().ok_or("regulariser.json: no traces")? {
            bookkeeping(name, trace, findings).map_err(|e| format!("{name}: {e}"))?;
        }
    }
    masks(case, &mut io, findings)?;
    io.finish(findings);
    Ok(())
}

/// The schedule that gives this curve: the peak says where the warm-up ends, the step after it how long the decay is.
pub fn of_curve(rates: &[f64]) -> Result<LinearSchedule, String> {
    let top = rates.iter().copied().fold(0.0, f64::max);
    let peak = rates.iter().position(|rate| *rate == top).unwrap_or(0);
    let next = rates.get(peak + 1).filter(|next| **next < top);
    let next = next.ok_or("a curve without a decay")?;
    let total = peak as f64 + top / (top - next);
    LinearSchedule::new(top, total.round() as usize, peak).map_err(|e| e.to_string())
}

/// One run, validation by validation.
fn bookkeeping(name: &str, trace: &Value, findings: &mut Findings) -> Result<(), String> {
    let number = |value: &Value| value.as_f64().ok_or("a value that is no number".to_owned());
    let list = |key: &str| trace[key].as_array().ok_or(format!("no list `{key}`"));
    let columns: Vec<&str> = list("columns")?.iter().filter_map(Value::as_str).collect();
    let at = |row: &Value, column: &str| -> Result<f64, String> {
        let place = columns.iter().position(|c| *c == column);
        number(&row[place.ok_or(format!("no column `{column}`"))?])
    };
    let rows = list("rows")?;
    let first = rows.first().ok_or("no rows")?;
    let dropout = at(first, "attention_dropout")?;
    let config = StoppingConfig {
        patience: number(&trace["patience"])? as usize,
        intervals: number(&trace["intervals_for_penalty"])? as usize,
        dynamic_regularisation: true,
        behaviour: match name.starts_with("pretrain") {
            true => Behaviour::ReleasedPretrain,
            false => Behaviour::ReleasedFinetune,
        },
    };
    let start = Regularisation {
        weight_decay: 0.01,
        // Encoder, projection, output of the feed-forward network.
        dropouts: vec![dropout, 0.0, dropout],
    };
    let mut state = EarlyStopping::new(config, start);
    for (k, row) in rows.iter().enumerate() {
        let verdict = state.validated(at(row, "val_loss")?, at(row, "val_metric")?);
        let event = match verdict {
            Verdict::Loss => "loss",
            Verdict::Metric => "metric",
            Verdict::Worse => "worse",
            Verdict::Penalty => "worse+penalty",
            Verdict::Stop => "stop",
        };
        let place = columns
            .iter()
            .position(|c| *c == "event")
            .ok_or("no `event`")?;
        findings.exact(
            &format!("{name}: event {k}"),
            Some(event),
            row[place].as_str(),
        );
        let now = state.regularisation();
        for (column, found) in [
            ("best_loss", state.best_loss().unwrap_or(f64::INFINITY)),
            ("best_metric", state.best_metric()),
            ("patience_count", state.count() as f64),
            ("weight_decay", now.weight_decay),
            ("encoder_dropout", now.dropouts[0]),
            ("projection_dropout", now.dropouts[1]),
            ("ffn_output_dropout", now.dropouts[2]),
        ] {
            findings.close(
                &format!("{name}: {column} {k}"),
                found,
                at(row, column)?,
                CLOSE,
            );
        }
    }
    Ok(())
}

/// How tokens are hidden: the generator's seed and the configuration of spans. Cases that say nothing drew as the published
/// configuration does.
struct Drawing {
    stated: Value,
    seed: u32,
    config: HubertConfig,
}

impl Drawing {
    fn of(case: &Case) -> Result<Self, String> {
        let stated = match case.has("config.json") {
            true => case.json("config.json")?,
            false => Value::Null,
        };
        let base = HubertConfig::base();
        Ok(Drawing {
            seed: seed_or(&stated, "mask_seed", MASK_SEED)?,
            config: HubertConfig {
                mask_time_prob: number_or(&stated, "mask_prob", base.mask_time_prob)?,
                mask_time_length: index_or(&stated, "mask_length", base.mask_time_length)?,
                mask_time_min_masks: index_or(&stated, "mask_min", base.mask_time_min_masks)?,
                ..base
            },
            stated,
        })
    }

    /// The same with spans of another length, and whether the case says with which probability these were drawn.
    fn spans_of(&self, length: usize) -> Result<(HubertConfig, bool), String> {
        let key = format!("mask_prob_len{length}");
        let config = HubertConfig {
            mask_time_length: length,
            mask_time_prob: number_or(&self.stated, &key, self.config.mask_time_prob)?,
            ..self.config.clone()
        };
        Ok((config, self.stated.get(&key).is_some()))
    }
}

/// The draws of NumPy's legacy generator, through the same rule and the same spans as ours.
fn masks(case: &Case, io: &mut Io, findings: &mut Findings) -> Result<(), String> {
    let spans = |random: &mut Mt19937, count: usize, span: usize, size: usize, tokens: usize| {
        let starts: Vec<Vec<usize>> = (0..size)
            .map(|_| {
                let mut starts: Vec<usize> = (0..tokens + 1 - span).collect();
                random.numpy_shuffle(&mut starts);
                starts.truncate(count);
                starts
            })
            .collect();
        TokenMasking::from_starts(tokens, span, &starts)
    };
    let drawing = Drawing::of(case)?;
    let config = &drawing.config;
    if io.has("mask.counts") {
        let expected = io.i64("mask.counts")?;
        let tokens = io.shape("mask.example")?[1];
        let size = io.shape("mask.example")?[0];
        let mut random = Mt19937::from_seed(drawing.seed);
        let found: Vec<i64> = expected
            .iter()
            .map(|_| {
                let count = span_count(config, tokens, random.numpy_uniform());
                let mask = spans(&mut random, count, config.mask_time_length, size, tokens);
                let hidden = mask.hidden()[..tokens].iter().filter(|hidden| **hidden);
                hidden.count() as i64
            })
            .collect();
        findings.exact_all("mask.counts", &found, &expected);
    }
    let bits =
        |mask: &TokenMasking| -> Vec<i64> { mask.hidden().iter().map(|h| i64::from(*h)).collect() };
    let mut examples = vec![("mask.example".to_owned(), config.clone(), true)];
    for length in io.between("mask.example_len", "") {
        let name = format!("mask.example_len{length}");
        let length: usize = length.parse().map_err(|_| format!("`{name}`: no length"))?;
        let (config, stated) = drawing.spans_of(length)?;
        examples.push((name, config, stated));
    }
    for (name, config, stated) in examples {
        if !io.has(&name) {
            continue;
        }
        let (expected, shape) = (io.i64(&name)?, io.shape(&name)?);
        let &[size, tokens] = &shape[..] else {
            return Err(format!("`{name}`: expected [item, token]"));
        };
        let draw = |counted: Option<usize>| {
            let mut random = Mt19937::from_seed(drawing.seed);
            let drawn = span_count(&config, tokens, random.numpy_uniform());
            let count = counted.unwrap_or(drawn);
            bits(&spans(
                &mut random,
                count,
                config.mask_time_length,
                size,
                tokens,
            ))
        };
        if stated {
            findings.exact_all(&name, &draw(None), &expected);
        } else {
            // The number of spans may be any; their places may not.
            let found =
                (0..=tokens / config.mask_time_length).any(|count| draw(Some(count)) == expected);
            findings.exact(&name, found, true);
        }
    }
    Ok(())
}
