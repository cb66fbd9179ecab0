//! FLAC signal files (formats 508, 516, 524): one channel per signal, `frames * samples_per_frame` samples each.

use std::fs::File;
use std::io::{BufReader, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use claxon::{FlacReader, FlacReaderOptions};

use super::Format;
use super::files::Named;
use super::header::MAX_UNBACKED_SAMPLES;
use super::record::Digits;
use crate::RecordError;

/// Channels that a FLAC stream can have.
pub const MAX_CHANNELS: usize = 8;

/// Samples that one byte may hold before [`MAX_UNBACKED_SAMPLES`] counts; ECGs take about one byte a sample.
pub const MAX_EXPANSION: u64 = 64;

/// An open FLAC file.
pub(super) struct Stream {
    path: PathBuf,
    reader: FlacReader<BufReader<File>>,
    format: Format,
    /// Samples of all channels beyond which it is not believed.
    limit: u64,
}

impl Stream {
    /// The stream that starts at a byte of the file.
    pub fn open(file: &Named, byte_offset: u64, format: Format) -> Result<Stream, RecordError> {
        let start = byte_offset.min(file.size);
        let mut opened = File::open(&file.path).map_err(|source| RecordError::Io {
            path: file.path.clone(),
            source,
        })?;
        opened
            .seek(SeekFrom::Start(start))
            .map_err(|source| RecordError::Io {
                path: file.path.clone(),
                source,
            })?;
        let options = FlacReaderOptions {
            metadata_only: false,
            read_vorbis_comment: false,
        };
        let reader = FlacReader::new_ext(BufReader::new(opened), options);
        let reader = reader.map_err(|error| RecordError::Flac {
            path: file.path.clone(),
            problem: error.to_string(),
        })?;
        Ok(Stream {
            path: file.path.clone(),
            reader,
            format,
            limit: MAX_UNBACKED_SAMPLES + MAX_EXPANSION * (file.size - start),
        })
    }

    /// Decodes the channels: at most `samples` samples of each (all of them when `None`).
    ///
    /// Memory grows with what is really decoded, never with what a header claims.
    pub fn decode(
        mut self,
        out: &mut [impl Digits],
        samples: Option<u64>,
    ) -> Result<(), RecordError> {
        let channels = out.len();
        let info = self.reader.streaminfo();
        let bits = self.format.code() - 500;
        if info.bits_per_sample != bits {
            return Err(self.problem(format!(
                "found {} bits per sample, expected {bits} for format {}",
                info.bits_per_sample,
                self.format.code()
            )));
        }
        if info.channels as usize != channels {
            return Err(self.problem(format!(
                "found {} channels, expected {channels}, one for each signal of the file",
                info.channels
            )));
        }
        let wanted = samples.unwrap_or(u64::MAX);
        let mut blocks = self.reader.blocks();
        let mut buffer = Vec::new();
        while (out[0].len() as u64) < wanted {
            let block = match blocks.read_next_or_eof(buffer) {
                Ok(Some(block)) => block,
                Ok(None) => break,
                Err(error) => return Err(self.problem(error.to_string())),
            };
            if block.channels() as usize != channels {
                return Err(self.problem(format!(
                    "found a block of {} channels, expected {channels}",
                    block.channels()
                )));
            }
            let left = wanted - out[0].len() as u64;
            for (channel, out) in out.iter_mut().enumerate() {
                let block = block.channel(channel as u32);
                let take = usize::try_from(left).map_or(block.len(), |left| left.min(block.len()));
                out.add(&block[..take])?;
            }
            if out[0].len() as u64 * channels as u64 > self.limit {
                return Err(RecordError::TooLarge {
                    path: self.path.clone(),
                    what: "number of samples",
                    found: out[0].len() as u64 * channels as u64,
                    limit: self.limit,
                });
            }
            buffer = block.into_buffer();
        }
        if let Some(samples) = samples
            && (out[0].len() as u64) < samples
        {
            return Err(self.problem(format!(
                "found {} samples per channel, expected {samples}",
                out[0].len()
            )));
        }
        Ok(())
    }

    fn problem(&self, problem: String) -> RecordError {
        problem_in(&self.path, problem)
    }
}

fn problem_in(path: &Path, problem: String) -> RecordError {
    RecordError::Flac {
        path: path.to_owned(),
        problem,
    }
}
