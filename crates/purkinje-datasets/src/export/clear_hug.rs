//! CLEAR-HUG's token files.

use purkinje_signal::Preprocess;
use purkinje_signal::Tokenizer;
use purkinje_signal::beats::{BeatTokens, TOKEN_SAMPLES, Tokenized};
use purkinje_store::{Split, StoreError};

use super::{CLEAR_HUG_BATCH, ExportError, Job, SPLITS, file_name};

/// Rows of one split of a folder: indices into the store, and the classes of each.
struct Part {
    split: Split,
    rows: Vec<usize>,
    /// `[rows, classes]`; empty without a task.
    labels: Vec<u8>,
}

pub(super) fn write(job: &mut Job<'_>) -> Result<(), ExportError> {
    let tokenizer =
        Tokenizer::for_contract(job.rows.contract()).map_err(|error| StoreError::Settings {
            reason: error.to_string(),
        })?;
    let standardise = job.rows.contract().same_samples(&Preprocess::clear_ptbxl());
    let folders = match job.tasks.is_empty() {
        true => {
            job.leave_out_unplaced();
            batches(job)
        }
        false => of_tasks(job)?,
    };
    let total = folders.iter().flat_map(|(_, _, parts)| parts);
    let total = total
        .map(|part| part.rows.len() * (1 + usize::from(standardise && part.split == Split::Train)))
        .sum();
    for (folder, classes, parts) in folders {
        job.place.folder(&folder)?;
        let scale = match parts.iter().find(|part| part.split == Split::Train) {
            Some(train) if standardise && !train.rows.is_empty() => {
                let moments = moments(job, &train.rows, total)?;
                let scale = [moments.mean, moments.deviation()];
                job.exported.standardised.insert(folder.clone(), scale);
                Some(scale)
            }
            _ => None,
        };
        for part in &parts {
            write_part(job, &tokenizer, &folder, classes.len(), part, scale, total)?;
        }
        if !classes.is_empty() {
            job.exported.classes.insert(folder, classes);
        }
    }
    Ok(())
}

/// Folder, classes and splits.
type Folder = (String, Vec<String>, Vec<Part>);

/// One folder for every label set; named `data` where the data set has only one task, as in the original program.
fn of_tasks(job: &mut Job<'_>) -> Result<Vec<Folder>, ExportError> {
    let usable: std::collections::HashSet<usize> = job.rows.usable().iter().copied().collect();
    let sets = &job.store.info().label_sets;
    let single = sets.len() == 1;
    let mut folders = Vec::new();
    for &task in &job.tasks {
        let Some(set) = sets.get(task) else { continue };
        let mut parts = Vec::new();
        for split in SPLITS {
            let labels = job.store.label_matrix_of(&set.name, split)?;
            let kept: Vec<usize> = (0..labels.rows.len())
                .filter(|&at| usable.contains(&labels.rows[at]))
                .collect();
            parts.push(Part {
                split,
                rows: kept.iter().map(|&at| labels.rows[at]).collect(),
                labels: kept
                    .iter()
                    .flat_map(|&at| labels.row(at))
                    .copied()
                    .collect(),
            });
        }
        let folder = match single {
            true => "data".to_owned(),
            false => file_name(&set.name),
        };
        folders.push((folder, set.class_names(), parts));
    }
    Ok(folders)
}

/// Folders of records in order, for pre-training: training and validation, and test if there is one.
fn batches(job: &Job<'_>) -> Vec<Folder> {
    let placed = |&index: &usize| {
        let row = job.store.row(index);
        row.is_ok_and(|row| row.split() != Split::None)
    };
    let rows: Vec<usize> = job.rows.usable().iter().copied().filter(placed).collect();
    let folder = |(number, rows): (usize, &[usize])| {
        let of = |split: Split| Part {
            split,
            rows: rows
                .iter()
                .copied()
                .filter(|&i| job.store.row(i).is_ok_and(|row| row.split() == split))
                .collect(),
            labels: Vec::new(),
        };
        let parts = SPLITS.into_iter().map(of);
        let parts = parts.filter(|part| part.split != Split::Test || !part.rows.is_empty());
        (format!("batch_{number}"), Vec::new(), parts.collect())
    };
    rows.chunks(CLEAR_HUG_BATCH)
        .enumerate()
        .map(folder)
        .collect()
}

fn write_part(
    job: &mut Job<'_>,
    tokenizer: &Tokenizer,
    folder: &str,
    classes: usize,
    part: &Part,
    scale: Option<[f64; 2]>,
    total: usize,
) -> Result<(), ExportError> {
    let tokens = tokenizer.tokens();
    let name = |what: &str| format!("{folder}/{}_{what}.npy", part.split);
    let mut data = job
        .place
        .array::<f32>(&name("data"), &[tokens, TOKEN_SAMPLES])?;
    let mut chans = job.place.array::<i64>(&name("data_in_chans"), &[tokens])?;
    let mut times = job.place.array::<i64>(&name("data_in_times"), &[tokens])?;
    let mut pads = job.place.array::<i64>(&name("data_mask_pad"), &[tokens])?;
    let mut labels = match classes {
        0 => None,
        classes => Some(job.place.array::<i64>(&name("labels"), &[classes])?),
    };
    let cut = |_, samples: Vec<f64>| Ok(cut(tokenizer, samples, scale));
    let mut at = 0;
    let mut left_out = Vec::new();
    let mut done = 0;
    let (watch, before) = (job.watch, job.done);
    job.rows.for_each(&part.rows, cut, |indices, cuts| {
        for cut in cuts {
            let row = at;
            at += 1;
            let beats = match cut.and_then(|cut| cut) {
                Ok(beats) => beats,
                Err(reason) => {
                    left_out.push(reason);
                    continue;
                }
            };
            data.push(&beats.samples)?;
            chans.push(&widened(&beats.lead_index))?;
            times.push(&widened(&beats.time_index))?;
            let padding: Vec<i64> = beats.padding.iter().map(|&pad| i64::from(pad)).collect();
            pads.push(&padding)?;
            if let Some(labels) = &mut labels {
                labels.push(&widened(&part.labels[row * classes..(row + 1) * classes]))?;
            }
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
    let rows = data.finish()?;
    for (array, what) in [
        (chans, "data_in_chans"),
        (times, "data_in_times"),
        (pads, "data_mask_pad"),
    ] {
        let rows = array.finish()?;
        job.exported.rows.insert(name(what), rows);
    }
    if let Some(labels) = labels {
        job.exported.rows.insert(name("labels"), labels.finish()?);
    }
    job.exported.rows.insert(name("data"), rows);
    Ok(())
}

fn widened(bytes: &[u8]) -> Vec<i64> {
    bytes.iter().map(|&byte| i64::from(byte)).collect()
}

/// Standardises if the task does, then cuts at R-peaks detected in the samples, as the original program does.
fn cut(
    tokenizer: &Tokenizer,
    mut samples: Vec<f64>,
    scale: Option<[f64; 2]>,
) -> Result<BeatTokens, String> {
    if let Some([mean, deviation]) = scale {
        for sample in &mut samples {
            *sample = (*sample - mean) / deviation;
        }
    }
    match tokenizer.clone().tokenize(&samples) {
        Ok(Tokenized::Beats(beats)) => Ok(beats),
        Ok(Tokenized::Silent) => Err("its largest sample is exactly 0".to_owned()),
        Err(error) => Err(format!("it cannot be cut into tokens: {error}")),
    }
}

/// Count, mean and sum of squared deviations of samples.
#[derive(Clone, Copy, Default)]
struct Moments {
    count: f64,
    mean: f64,
    squares: f64,
}

impl Moments {
    fn of(samples: &[f64]) -> Self {
        let count = samples.len() as f64;
        let mean = samples.iter().sum::<f64>() / count.max(1.0);
        let squares = samples.iter().map(|x| (x - mean) * (x - mean)).sum();
        Moments {
            count,
            mean,
            squares,
        }
    }

    /// Combines two sets of moments without the cancellation of sums of squares.
    fn with(self, other: Moments) -> Self {
        let count = self.count + other.count;
        if count == 0.0 {
            return self;
        }
        let apart = other.mean - self.mean;
        Moments {
            count,
            mean: self.mean + apart * other.count / count,
            squares: self.squares
                + other.squares
                + apart * apart * self.count * other.count / count,
        }
    }

    /// Population standard deviation; 1 for a constant, as in scikit-learn's scaler.
    fn deviation(self) -> f64 {
        match (self.squares / self.count.max(1.0)).sqrt() {
            0.0 => 1.0,
            deviation => deviation,
        }
    }
}

/// Moments over all samples and leads of these rows.
fn moments(job: &mut Job<'_>, rows: &[usize], total: usize) -> Result<Moments, ExportError> {
    let mut all = Moments::default();
    let (watch, mut done) = (job.watch, job.done);
    let each = |_, samples: Vec<f64>| Ok(Moments::of(&samples));
    job.rows.for_each(rows, each, |indices, found| {
        all = found.into_iter().flatten().fold(all, Moments::with);
        done += indices.len();
        match watch(done, total) {
            true => Ok(()),
            false => Err(ExportError::Stopped),
        }
    })?;
    job.done = done;
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_join() {
        let samples: Vec<f64> = (0..1000)
            .map(|k| 5.0 + (f64::from(k) * 0.7).sin())
            .collect();
        let whole = Moments::of(&samples);
        let joined = samples
            .chunks(77)
            .map(Moments::of)
            .fold(Moments::default(), Moments::with);
        assert!((whole.mean - joined.mean).abs() < 1e-12);
        assert!((whole.deviation() - joined.deviation()).abs() < 1e-12);
        assert_eq!(Moments::of(&[3.0; 4]).deviation(), 1.0);
        assert_eq!(Moments::default().deviation(), 1.0);
    }
}
