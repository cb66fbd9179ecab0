//! HuBERT-ECG's recordings and tables.

use std::collections::HashSet;
use std::fs::File;
use std::io::BufWriter;

use purkinje_base::npy::NpyWriter;
use purkinje_store::{Row, Split};

use super::{ExportError, HUBERT_SAMPLES, Job, SPLITS, file_name};

/// Folder of the recordings.
const FOLDER: &str = "recordings";

pub(super) fn write(job: &mut Job<'_>) -> Result<(), ExportError> {
    job.leave_out_unplaced();
    job.place.folder(FOLDER)?;
    let samples_12 = 12 * HUBERT_SAMPLES;
    let set = job.store.info().name.clone();
    let placed: Vec<usize> = SPLITS.iter().flat_map(|&split| job.part(split)).collect();
    let names = names(job, &set, &placed)?;
    let folder = job.place.path(FOLDER);
    let each = |index: usize, samples: Vec<f64>| {
        if samples.len() < samples_12 {
            return Ok(Some("shorter than 5 s".to_owned()));
        }
        let at = placed.binary_search_by(|other| order(job, *other).cmp(&order(job, index)));
        let Some(name) = at.ok().and_then(|at| names.get(at)) else {
            return Ok(Some("no id".to_owned()));
        };
        let path = folder.join(name);
        File::create(&path)
            .and_then(|file| {
                let length = samples.len() / 12;
                let mut array = NpyWriter::<f64, _>::new(BufWriter::new(file), &[length])?;
                for lead in samples.chunks_exact(length) {
                    array.push(lead)?;
                }
                array.finish()?.into_inner().map_err(|e| e.into_error())
            })
            .and_then(|file| file.sync_all())
            .map_err(ExportError::write(&path))?;
        Ok(None)
    };
    let mut absent: HashSet<usize> = HashSet::new();
    let mut left_out = Vec::new();
    let mut done = 0;
    let watch = job.watch;
    job.rows.for_each(&placed, each, |indices, results| {
        for (&index, result) in indices.iter().zip(results) {
            if let Err(reason) | Ok(Some(reason)) = result {
                absent.insert(index);
                left_out.push(reason);
            }
        }
        done += indices.len();
        match watch(done, placed.len()) {
            true => Ok(()),
            false => Err(ExportError::Stopped),
        }
    })?;
    for reason in left_out {
        job.leave_out(reason);
    }
    let tasks: Vec<Option<usize>> = match job.tasks.is_empty() {
        true => vec![None],
        false => job.tasks.iter().copied().map(Some).collect(),
    };
    for task in tasks {
        for split in SPLITS {
            table(job, &set, task, split, &placed, &names, &absent)?;
        }
    }
    Ok(())
}

/// Sort key: records by split, each split in the order of the store.
fn order(job: &Job<'_>, index: usize) -> (usize, usize) {
    let split = job.store.row(index).map_or(Split::None, |row| row.split());
    let part = SPLITS.iter().position(|own| *own == split);
    (part.unwrap_or(SPLITS.len()), index)
}

/// The file name of every record in a split; duplicate names get the row number.
fn names(job: &Job<'_>, set: &str, placed: &[usize]) -> Result<Vec<String>, ExportError> {
    let mut taken = HashSet::with_capacity(placed.len());
    let mut names = Vec::with_capacity(placed.len());
    for &index in placed {
        let mut name = published_name(set, job.store.row(index)?.id());
        if !taken.insert(name.clone()) {
            name = format!("{index}-{name}");
            taken.insert(name.clone());
        }
        names.push(name);
    }
    Ok(names)
}

/// The name of a record in the published tables, so that these can be used unchanged.
fn published_name(set: &str, id: &str) -> String {
    let last = file_name(id.rsplit('/').next().unwrap_or(id));
    match set {
        "cpsc2018" | "csn" | "physionet2021" => format!("{last}.hea.npy"),
        "ptb-xl" => match id.parse::<u32>() {
            Ok(number) => format!("HR{number:05}.hea.npy"),
            Err(_) => format!("{last}.npy"),
        },
        "hefei" => format!("{last}.txt.npy"),
        "sami-trop" => format!("samitrop_{last}.npy"),
        "sph" => format!("{last}.h5.npy"),
        _ => format!("{}.npy", file_name(id)),
    }
}

/// The column of a data set's tables between `sex` and the labels.
fn further_column(set: &str) -> Option<&'static str> {
    match set {
        "ptb-xl" => Some("strat_fold"),
        "sph" => Some("Patient_ID"),
        _ => None,
    }
}

fn table(
    job: &mut Job<'_>,
    set: &str,
    task: Option<usize>,
    split: Split,
    placed: &[usize],
    names: &[String],
    absent: &HashSet<usize>,
) -> Result<(), ExportError> {
    let label_set = task.and_then(|task| job.store.info().label_sets.get(task));
    let classes = label_set.map_or_else(Vec::new, |set| set.class_names());
    let prefix = label_set.map_or_else(String::new, |set| format!("{}_", file_name(&set.name)));
    let file = format!("{prefix}{split}.csv");
    let mut header = vec!["filename".to_owned(), "age".to_owned(), "sex".to_owned()];
    header.extend(further_column(set).map(str::to_owned));
    header.extend(classes.iter().cloned());
    let mut text = job.place.text(&file)?;
    text.cells(&header)?;
    let mut rows = 0;
    for (&index, name) in placed.iter().zip(names) {
        let row = job.store.row(index)?;
        if row.split() != split || absent.contains(&index) {
            continue;
        }
        let present = match task.map(|task| row.labels(task)) {
            None => &[][..],
            Some(Some(present)) => present,
            // The tables of PTB-XL include records without any label of the task.
            Some(None) if set == "ptb-xl" => &[][..],
            Some(None) => continue,
        };
        let mut cells = about(set, &row, name);
        cells.extend((0..classes.len()).map(|class| {
            let has = present.iter().any(|&own| usize::try_from(own) == Ok(class));
            String::from(if has { "1" } else { "0" })
        }));
        text.cells(&cells)?;
        rows += 1;
    }
    text.finish()?;
    job.exported.rows.insert(file, rows);
    if let Some(label_set) = label_set {
        job.exported.classes.insert(label_set.name.clone(), classes);
    }
    Ok(())
}

fn about(set: &str, row: &Row<'_>, name: &str) -> Vec<String> {
    let mut cells = vec![
        name.to_owned(),
        row.age().map_or_else(String::new, |age| age.to_string()),
        row.sex().unwrap_or_default().to_owned(),
    ];
    match further_column(set) {
        Some("strat_fold") => {
            cells.push(row.fold().map_or_else(String::new, |fold| fold.to_string()));
        }
        Some(_) => cells.push(row.patient().unwrap_or_default().to_owned()),
        None => {}
    }
    cells
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_called_as_the_published_tables_call_them() {
        for (set, id, name) in [
            ("csn", "JS00004", "JS00004.hea.npy"),
            ("cpsc2018", "A4940", "A4940.hea.npy"),
            ("ptb-xl", "1", "HR00001.hea.npy"),
            ("hefei", "100001", "100001.txt.npy"),
            ("sami-trop", "830663", "samitrop_830663.npy"),
            ("sph", "A00001", "A00001.h5.npy"),
            ("ptbdb", "patient001/s0010_re", "patient001_s0010_re.npy"),
        ] {
            assert_eq!(published_name(set, id), name);
        }
    }
}
