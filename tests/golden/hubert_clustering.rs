//! HuBERT-ECG's code books: kind `kmeans`.

use purkinje_cluster::{CodeBook, MiniBatch, Rows, normalise, quality};

use crate::Check;
use crate::compare::{Findings, Tolerance};
use crate::io::Io;
use crate::walk::Case;

/// The kinds checked here.
pub const CHECKS: &[(&str, Check)] = &[("kmeans", kmeans)];

const CLOSE: Tolerance = Tolerance {
    absolute: 1e-6,
    relative: 1e-6,
};

fn kmeans(case: &Case, findings: &mut Findings) -> Result<(), String> {
    let mut io = Io::open(case)?;
    let width = io.shape("init_centers")?[1];
    let mut state = MiniBatch::new(single(&io.f64("init_centers")?), width).map_err(text)?;
    let mut unit = Vec::new();
    for batch in 0.. {
        let features = format!("batch{batch}.features");
        if !io.has(&features) {
            break;
        }
        let mut rows = single(&io.f64(&features)?);
        normalise(&mut rows, width);
        io.close(
            findings,
            &format!("batch{batch}.normalised"),
            &double(&rows),
            CLOSE,
        )?;
        let report = state.update(&rows).map_err(text)?;
        let book = state.book();
        io.close(
            findings,
            &format!("batch{batch}.centers_after"),
            &double(book.centers()),
            CLOSE,
        )?;
        let counts = io.f64(&format!("batch{batch}.counts_after"))?;
        findings.exact_all(
            &format!("batch{batch}.counts_after"),
            book.counts(),
            &counts,
        );
        labels(
            &format!("batch{batch}.labels_after"),
            &report.labels,
            &mut io,
            findings,
        )?;
        io.close(
            findings,
            &format!("batch{batch}.inertia_after"),
            &[report.sse],
            CLOSE,
        )?;
        unit.push(rows);
    }

    let mut book = state.book().clone();
    let features = single(&io.f64("features")?);
    book.assigned_on = Rows::Raw;
    let raw = book.assign(&features).map_err(text)?;
    labels("labels.as_in_pretraining", &raw, &mut io, findings)?;
    book.assigned_on = Rows::UnitNorm;
    let normalised = book.assign(&features).map_err(text)?;
    labels("labels.normalised", &normalised, &mut io, findings)?;
    if io.has("zero_rows.normalised") {
        // Only what they became is stored: a row of zeros stays one.
        let mut rows = single(&io.f64("zero_rows.normalised")?);
        normalise(&mut rows, width);
        io.close(findings, "zero_rows.normalised", &double(&rows), CLOSE)?;
        let found = book.assign_on(&rows, Rows::Raw).map_err(text)?;
        labels("zero_rows.labels", &found, &mut io, findings)?;
    }
    figures(
        "davies_bouldin",
        quality::davies_bouldin,
        &book,
        &unit,
        &mut io,
        findings,
    )?;
    figures(
        "calinski_harabasz",
        quality::calinski_harabasz,
        &book,
        &unit,
        &mut io,
        findings,
    )?;
    io.finish(findings);
    Ok(())
}

type Figure = fn(&[f32], usize, &[u32]) -> Result<Option<f64>, purkinje_cluster::ClusterError>;

/// A figure of each batch with the final centres, and their mean.
fn figures(
    name: &str,
    figure: Figure,
    book: &CodeBook,
    batches: &[Vec<f32>],
    io: &mut Io,
    findings: &mut Findings,
) -> Result<(), String> {
    let mut found = Vec::new();
    for rows in batches {
        let labels = book.assign_on(rows, Rows::Raw).map_err(text)?;
        let value = figure(rows, book.width(), &labels).map_err(text)?;
        found.push(value.unwrap_or(f64::NAN));
    }
    io.close(findings, name, &found, CLOSE)?;
    let mean = found.iter().sum::<f64>() / found.len() as f64;
    io.close(findings, &format!("{name}.mean"), &[mean], CLOSE)
}

fn labels(name: &str, found: &[u32], io: &mut Io, findings: &mut Findings) -> Result<(), String> {
    let found: Vec<i64> = found.iter().map(|label| i64::from(*label)).collect();
    findings.exact_all(name, &found, &io.i64(name)?);
    Ok(())
}

fn single(values: &[f64]) -> Vec<f32> {
    values.iter().map(|v| *v as f32).collect()
}

fn double(values: &[f32]) -> Vec<f64> {
    values.iter().map(|v| f64::from(*v)).collect()
}

fn text(error: purkinje_cluster::ClusterError) -> String {
    error.to_string()
}
