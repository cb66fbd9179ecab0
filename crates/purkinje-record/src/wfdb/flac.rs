//! FLAC signal files (formats 508, 516, 524): one channel per signal, `frames * samples_per_frame` samples each.

use std::io::Cursor;
use std::path::Path;

use claxon::{FlacReader, FlacReaderOptions};

use super::Format;
use super::header::MAX_UNBACKED_SAMPLES;
use crate::RecordError;

/// Channels that a FLAC stream can have.
pub const MAX_CHANNELS: usize = 8;

/// Samples that one byte may hold before [`MAX_UNBACKED_SAMPLES`] counts; ECGs take about one byte a sample.
pub const MAX_EXPANSION: u64 = 64;

/// Decodes the channels of a FLAC file: at most `samples` samples of each (all of them when `None`).
///
/// Memory grows with what is really decoded, never with what a header claims.
pub(super) fn decode(
    path: &Path,
    bytes: Vec<u8>,
    format: Format,
    channels: usize,
    samples: Option<u64>,
) -> Result<Vec<Vec<i32>>, RecordError> {
    let problem = |problem: String| RecordError::Flac {
        path: path.to_owned(),
        problem,
    };
    let limit = MAX_UNBACKED_SAMPLES + MAX_EXPANSION * bytes.len() as u64;
    let options = FlacReaderOptions {
        metadata_only: false,
        read_vorbis_comment: false,
    };
    let mut reader = FlacReader::new_ext(Cursor::new(bytes), options)
        .map_err(|error| problem(error.to_string()))?;
    let info = reader.streaminfo();
    let bits = format.code() - 500;
    if info.bits_per_sample != bits {
        return Err(problem(format!(
            "found {} bits per sample, expected {bits} for format {}",
            info.bits_per_sample,
            format.code()
        )));
    }
    if info.channels as usize != channels {
        return Err(problem(format!(
            "found {} channels, expected {channels}, one for each signal of the file",
            info.channels
        )));
    }
    let wanted = samples.unwrap_or(u64::MAX);
    let mut out = vec![Vec::new(); channels];
    let mut blocks = reader.blocks();
    let mut buffer = Vec::new();
    while (out[0].len() as u64) < wanted {
        let block = match blocks.read_next_or_eof(buffer) {
            Ok(Some(block)) => block,
            Ok(None) => break,
            Err(error) => return Err(problem(error.to_string())),
        };
        if block.channels() as usize != channels {
            return Err(problem(format!(
                "found a block of {} channels, expected {channels}",
                block.channels()
            )));
        }
        let left = wanted - out[0].len() as u64;
        for (channel, out) in out.iter_mut().enumerate() {
            let block = block.channel(channel as u32);
            let take = usize::try_from(left).map_or(block.len(), |left| left.min(block.len()));
            out.extend_from_slice(&block[..take]);
        }
        if out[0].len() as u64 * channels as u64 > limit {
            return Err(RecordError::TooLarge {
                path: path.to_owned(),
                what: "number of samples",
                found: out[0].len() as u64 * channels as u64,
                limit,
            });
        }
        buffer = block.into_buffer();
    }
    if let Some(samples) = samples
        && (out[0].len() as u64) < samples
    {
        return Err(problem(format!(
            "found {} samples per channel, expected {samples}",
            out[0].len()
        )));
    }
    Ok(out)
}
