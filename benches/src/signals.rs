//! Reading, R-peaks and tokens of the first recording of the data folder.

use std::hint::black_box;
use std::path::{Path, PathBuf};

use purkinje_record::{Lead, OpenOptions, Recording, find_records, open};
use purkinje_signal::beats::{BeatTokens, Tokenized};
use purkinje_signal::preprocess::BeatSearch;
use purkinje_signal::r_peaks::Xqrs;
use purkinje_signal::{Preprocess, Tokenizer};

use crate::Result;
use crate::exchange::Answer;
use crate::worker::Row;

/// A 12 x 5000 record of format 16, checksums verified.
pub struct ReadWfdb {
    path: PathBuf,
    options: OpenOptions,
}

impl ReadWfdb {
    /// The first record at 500 Hz.
    pub fn new(data: &Path) -> Result<Self> {
        Ok(ReadWfdb {
            path: first(&data.join("records500"))?,
            options: OpenOptions::default(),
        })
    }
}

impl Row for ReadWfdb {
    fn answer(&mut self) -> Result<Answer> {
        let recording = open(&self.path, &self.options)?;
        let shape = [recording.leads.len(), recording.len()];
        Ok(Answer::default()
            .f32("samples_mv", &shape, recording.samples_mv())
            .f64("rate_hz", &[recording.rate_hz]))
    }

    fn run(&mut self) -> Result<()> {
        black_box(open(&self.path, &self.options)?);
        Ok(())
    }
}

/// R-peaks of lead II, 10 s.
pub struct DetectPeaks {
    detector: Xqrs,
    signal_mv: Vec<f64>,
}

impl DetectPeaks {
    /// The first record of that rate.
    pub fn new(data: &Path, rate_hz: u32) -> Result<Self> {
        let recording = open_first(data, rate_hz)?;
        let lead = recording.lead_mv(&Lead::II).ok_or("no lead II")?;
        Ok(DetectPeaks {
            detector: Xqrs::new(recording.rate_hz)?,
            signal_mv: lead.iter().map(|v| f64::from(*v)).collect(),
        })
    }
}

impl Row for DetectPeaks {
    fn answer(&mut self) -> Result<Answer> {
        let r_peaks = self.detector.detect(&self.signal_mv);
        Ok(Answer::default().integers("r_peaks", r_peaks))
    }

    fn run(&mut self) -> Result<()> {
        black_box(self.detector.detect(black_box(&self.signal_mv)));
        Ok(())
    }
}

/// R-peaks and 180 tokens of a 12 x 1000 record.
pub struct Tokenise {
    tokenizer: Tokenizer,
    recording: Recording,
}

impl Tokenise {
    /// The first record at 100 Hz.
    pub fn new(data: &Path) -> Result<Self> {
        let recording = open_first(data, 100)?;
        Ok(Tokenise {
            tokenizer: Tokenizer::for_contract(
                &Preprocess::clear_raw()
                    .with_leads(recording.leads.clone())
                    .with_beats(BeatSearch::RELEASED),
            )?,
            recording,
        })
    }

    fn tokens(&mut self) -> Result<BeatTokens> {
        match self.tokenizer.tokenize(self.recording.samples_mv())? {
            Tokenized::Beats(tokens) => Ok(tokens),
            Tokenized::Silent => Err("the record is silent".into()),
        }
    }
}

impl Row for Tokenise {
    fn answer(&mut self) -> Result<Answer> {
        let tokens = self.tokens()?;
        let shape = [
            tokens.lead_index.len(),
            tokens.samples.len() / tokens.lead_index.len(),
        ];
        Ok(Answer::default()
            .f32("tokens", &shape, &tokens.samples)
            .integers("r_peaks", tokens.r_peaks)
            .integers("lead_index", tokens.lead_index.into_iter().map(usize::from))
            .integers("time_index", tokens.time_index.into_iter().map(usize::from))
            .integers("padding", tokens.padding.into_iter().map(usize::from)))
    }

    fn run(&mut self) -> Result<()> {
        black_box(self.tokens()?);
        Ok(())
    }
}

fn open_first(data: &Path, rate_hz: u32) -> Result<Recording> {
    let path = first(&data.join(format!("records{rate_hz}")))?;
    Ok(open(path, &OpenOptions::default())?)
}

fn first(folder: &Path) -> Result<PathBuf> {
    let paths = find_records(folder)?;
    let first = paths.into_iter().min();
    first.ok_or_else(|| format!("no record in {}", folder.display()).into())
}
