//! The pre-training arrays and tables of DERI and MERL.
use purkinje_store::Split;

use super::{ExportError, Job, TEN_SECONDS_SAMPLES};

/// Quantisation steps per unit in the stored integers.
const PER_UNIT: f64 = 1000.0;

/// The text with reports as DERI assembles them.
const TEXT: &str = "deri";

pub(super) fn write(job: &mut Job<'_>, prefix: &str) -> Result<(), ExportError> {
    job.leave_out_unplaced();
    let tested = job.part(Split::Test).len();
    if tested > 0 {
        let reason = "in the test split, which the layout does not have".to_owned();
        job.exported.left_out.insert(reason, tested);
    }
    let store = job.store;
    let text = store.text(TEXT);
    let report = |index: usize| -> Result<Option<String>, ExportError> {
        let row = store.row(index)?;
        let report = text.and_then(|text| row.text(text)).or(row.report());
        let report = report.filter(|report| !report.trim().is_empty());
        // The reader takes every line as a record.
        Ok(report.map(|report| report.replace(['\n', '\r', '\t'], " ")))
    };
    let parts = [Split::Train, Split::Val].map(|split| (split, job.part(split)));
    let total = parts.iter().map(|(_, rows)| rows.len()).sum();
    for (split, rows) in parts {
        let (array_name, table_name) = (format!("{prefix}{split}.npy"), format!("{split}.csv"));
        let mut array = job
            .place
            .array::<i16>(&array_name, &[12, TEN_SECONDS_SAMPLES])?;
        let mut table = job.place.text(&table_name)?;
        table.cells(
            &["subject_id", "study_id", "report_length", "total_report"].map(String::from),
        )?;
        let each = |index: usize, samples: Vec<f64>| {
            if samples.len() != 12 * TEN_SECONDS_SAMPLES {
                return Ok(Err("not 10 s long"));
            }
            let Some(report) = report(index)? else {
                return Ok(Err("no report"));
            };
            let integers: Vec<i16> = samples.iter().map(|&x| truncated(x)).collect();
            Ok(Ok((integers, report)))
        };
        let mut left_out = Vec::new();
        let mut done = 0;
        let (watch, before) = (job.watch, job.done);
        job.rows.for_each(&rows, each, |indices, results| {
            for (&index, result) in indices.iter().zip(results) {
                let (integers, report) = match result {
                    Ok(Ok(made)) => made,
                    Ok(Err(reason)) => {
                        left_out.push(reason.to_owned());
                        continue;
                    }
                    Err(reason) => {
                        left_out.push(reason);
                        continue;
                    }
                };
                array.push(&integers)?;
                let row = store.row(index)?;
                let words = report.split_whitespace().count();
                table.cells(&[
                    row.patient().unwrap_or_default().to_owned(),
                    row.id().to_owned(),
                    words.to_string(),
                    report,
                ])?;
            }
            done += indices.len();
            match watch(before + done, total) {
                true => Ok(()),
                false => Err(ExportError::Stopped),
            }
        })?;
        job.done = before + done;
        for reason in left_out {
            job.leave_out(reason);
        }
        table.finish()?;
        let rows = array.finish()?;
        job.exported.rows.insert(array_name, rows);
        job.exported.rows.insert(table_name, rows);
    }
    Ok(())
}

/// Truncates to thousandths, towards zero. Values that were truncated before are unchanged, although a quotient may be
/// slightly below its integer.
fn truncated(unit: f64) -> i16 {
    let steps = unit * PER_UNIT;
    let nearest = steps.round();
    // A cast saturates.
    if (steps - nearest).abs() < 1e-9 * nearest.abs().max(1.0) {
        nearest as i16
    } else {
        steps as i16
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousandths_survive_a_second_time() {
        for step in 0..=1000i16 {
            assert_eq!(truncated(f64::from(step) / 1000.0), step);
        }
        assert_eq!(truncated(0.9999), 999);
        assert_eq!(truncated(-0.0019), -1);
    }
}
